"""Equal calls have equal keys everywhere, any changed field another key; the hot path makes the specified bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replaykit.calls import Call, Generation, Load, ModelStep, SamplerCall, TokenizerCall, identity_object
from replaykit.calls.call import INLINE_BYTES, refer
from replaykit.codec import Kind, Ref, Tensor, decode, encode
from replaykit.testing.strategies import (
    CUT_ROW,
    arguments,
    calls,
    digests,
    generations,
    identities,
    lineages,
    loads,
    model_steps,
    names,
    sampler_calls,
    texts,
    tokenizer_calls,
)

IDENTITY = b"\x01" * 32
PARENT = b"\x02" * 32


def specified(call: Call):
    """The call's object as the plain specification makes it, and its large tensors."""
    plain = replace(call)
    made = Call.__dict__["object"].func(plain)
    return made, plain.__dict__["tensors"]


class TestPackedByHand:
    @given(model_steps())
    def test_a_step_packed_by_hand_is_the_specified_object(self, step):
        made, tensors = specified(step)

        assert (step.object.kind, step.object.header, step.object.payload) == (made.kind, made.header, made.payload)
        assert step.key == made.digest
        assert [tensor.digest for tensor in step.tensors] == [tensor.digest for tensor in tensors]

    @pytest.mark.parametrize("size", [0, 23, 24, 255, 256, INLINE_BYTES, INLINE_BYTES + 1, 65535, 65536, 70000])
    def test_at_every_size_of_a_head(self, size):
        step = ModelStep(IDENTITY, {"input_ids": Tensor("uint8", (size,), bytes(size)), "text": "x" * size})

        assert step.object.payload == specified(step)[0].payload

    @pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 2000])
    def test_at_every_number_of_rows(self, rows):
        names = b"".join(PARENT + row.to_bytes(4, "little") for row in range(rows))
        step = ModelStep(IDENTITY, {}, lineage=names)

        made, _ = specified(step)
        assert (step.object.payload, step.object.header) == (made.payload, made.header)

    @pytest.mark.parametrize("count", [0, 23, 24, 300])
    def test_at_every_number_of_arguments(self, count):
        step = ModelStep(IDENTITY, {f"argument_{number}": number for number in range(count)})

        assert step.object.payload == specified(step)[0].payload

    def test_views_count_as_their_bytes(self):
        step = ModelStep(IDENTITY, {"input_ids": Tensor("uint8", (3,), memoryview(b"abc"))})

        assert step.key == ModelStep(IDENTITY, {"input_ids": Tensor("uint8", (3,), b"abc")}).key


class TestObject:
    @given(calls())
    def test_a_stored_call_is_named_by_its_key_and_says_what_was_asked(self, call):
        op, plain = decode(call.object.payload)

        assert call.key == call.object.digest
        assert call.object.kind == Kind.CALL
        assert op == call.op
        assert encode(plain) == encode({name: refer(value, []) for name, value in call.plain().items()})

    @given(calls())
    def test_its_header_names_all_it_refers_to(self, call):
        assert set(call.object.refs) == {*call.needs(), *(tensor.digest for tensor in call.tensors)}

    def test_a_step_refers_to_its_identity_and_its_parents_each_once(self):
        rows = PARENT + b"\0\0\0\0" + PARENT + b"\1\0\0\0" + b"\x03" * 32 + CUT_ROW
        step = ModelStep(IDENTITY, {}, lineage=rows)

        assert step.object.refs == (IDENTITY, PARENT)  # what was cut is no call

    def test_a_large_tensor_is_an_object_of_its_own(self):
        small, large = Tensor("uint8", (INLINE_BYTES,), bytes(INLINE_BYTES)), Tensor("uint8", (2000,), bytes(2000))
        step = ModelStep(IDENTITY, {"small": small, "large": large, "nested": [{"large": large}]})

        _, plain = decode(step.object.payload)
        (made,) = {tensor.digest for tensor in step.tensors}
        assert plain["inputs"] == {"small": small, "large": Ref(made), "nested": [{"large": Ref(made)}]}
        assert step.tensors[0].payload == large.data
        assert step.tensors[0].fields == {"dtype": "uint8", "shape": [2000]}

    def test_the_tensors_may_be_asked_for_first(self):
        step = Load("model", "x", "Auto", {"table": Tensor("uint8", (2000,), bytes(2000))})

        assert len(step.tensors) == 1


class TestEqual:
    @given(calls())
    def test_equal_calls_have_equal_keys(self, call):
        assert replace(call).key == call.key
        assert replace(call) == call

    def test_the_order_of_arguments_does_not_count(self):
        one = ModelStep(IDENTITY, {"input_ids": 1, "attention_mask": 2})
        other = ModelStep(IDENTITY, {"attention_mask": 2, "input_ids": 1})

        assert one.key == other.key

    def test_in_another_process_with_another_hash_seed(self):
        here = [call.key.hex() for call in EXAMPLES]

        for hash_seed in ("1", "2"):
            code = "from tests.calls.test_keys import EXAMPLES\nfor call in EXAMPLES: print(call.key.hex())"
            environment = os.environ | {"PYTHONHASHSEED": hash_seed}
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert done.stdout.split() == here

    def test_keys_do_not_change_between_releases(self):
        """These are in people's stores. A change here is a new version of the format, and a design note."""
        assert [call.key.hex()[:16] for call in EXAMPLES] == KNOWN_KEYS


OTHER = {
    "identity": identities(),
    "inputs": arguments(),
    "arguments": arguments(),
    "config": arguments(),
    "options": arguments(),
    "state": arguments(),
    "lineage": lineages(),
    "cache": st.just("") | names(),
    "method": names(),
    "what": names(),
    "loader": names(),
    "source": texts(),
    "processors": st.lists(names(), max_size=2).map(tuple),
    "seed": st.none() | st.integers(0, 2**64),
    "occurrence": st.integers(0, 5),
}
CASES = [
    (strategy, field.name)
    for cls, strategy in (
        (ModelStep, model_steps()),
        (Generation, generations()),
        (TokenizerCall, tokenizer_calls()),
        (SamplerCall, sampler_calls()),
        (Load, loads()),
    )
    for field in fields(cls)
]


class TestDifferent:
    @pytest.mark.parametrize(("strategy", "field"), CASES, ids=lambda value: value if isinstance(value, str) else "")
    @given(data=st.data())
    def test_any_changed_field_is_another_key(self, strategy, field, data):
        call = data.draw(strategy)
        other = data.draw(OTHER[field])
        assume(encode(other) != encode(getattr(call, field)))

        assert replace(call, **{field: other}).key != call.key

    @given(arguments(), names(), digests())
    def test_two_kinds_of_call_never_share_a_key(self, inputs, name, identity):
        made = [
            ModelStep(identity, inputs),
            SamplerCall(identity, inputs),
            TokenizerCall(identity, name, inputs, {}),
            Generation(identity, name, inputs, {}),
            Load(name, name, name, inputs),
        ]
        assert len({call.key for call in made}) == len(made)

    @pytest.mark.parametrize(
        "tensor",
        [
            Tensor("int64", (1, 2), bytes(15) + b"\1"),
            Tensor("uint64", (1, 2), bytes(16)),
            Tensor("int64", (2, 1), bytes(16)),
            Tensor("int64", (2,), bytes(16)),
        ],
        ids=str,
    )
    def test_a_tensor_counts_by_dtype_shape_and_every_bit(self, tensor):
        call = ModelStep(IDENTITY, {"input_ids": Tensor("int64", (1, 2), bytes(16))})

        assert replace(call, inputs={"input_ids": tensor}).key != call.key

    def test_large_tensors_count_by_dtype_shape_and_every_bit_too(self):
        tensors = [
            Tensor("int64", (2, 100), bytes(1600)),
            Tensor("int64", (100, 2), bytes(1600)),
            Tensor("uint64", (2, 100), bytes(1600)),
            Tensor("int64", (2, 100), bytes(1599) + b"\1"),
        ]
        assert len({ModelStep(IDENTITY, {"input_ids": tensor}).key for tensor in tensors}) == 4

    def test_the_first_occurrence_is_not_no_occurrence(self):
        call = Generation(IDENTITY, "sample", {}, {})

        assert replace(call, occurrence=0).key != call.key

    def test_rows_count_in_their_order(self):
        first, second = PARENT + b"\0\0\0\0", PARENT + b"\1\0\0\0"

        assert ModelStep(IDENTITY, {}, first + second).key != ModelStep(IDENTITY, {}, second + first).key


@given(texts())
def test_a_summary_is_one_line(text):
    call = TokenizerCall(IDENTITY, "encode", {"text": f"one\n{text}", "pairs": [(text, text)]}, {"state": text})

    assert len(call.summary().splitlines()) == 1


def test_summaries():
    assert [call.summary() for call in EXAMPLES[:4]] == [
        "model 'tiny-lm' by AutoModelForCausalLM, dtype='bfloat16'",
        "decode(token_ids=[1, 2], skip_special_tokens=True), with padding_side='left'",
        "forward(input_ids=Tensor(int64 [1, 2]), use_cache=False) on a cache of 1 row, lineage 02020202",
        "sample(input_ids=Tensor(int64 [1, 2]), do_sample=True, temperature=0.5, seed=7, occurrence=2)",
    ]


def test_identities_are_named_by_their_facts():
    one = identity_object("model", config="a", dtype="float32")

    assert one.digest == identity_object("model", dtype="float32", config="a").digest
    assert one.kind == Kind.IDENTITY
    others = [
        identity_object("tokenizer", config="a", dtype="float32"),
        identity_object("model", config="b", dtype="float32"),
        identity_object("model", config="a"),
    ]
    assert one.digest not in {other.digest for other in others}


ROOT = os.path.join(os.path.dirname(__file__), *[os.pardir] * 2)
TOKENS = Tensor("int64", (1, 2), bytes(range(16)))
EXAMPLES = [
    Load("model", "tiny-lm", "AutoModelForCausalLM", {"dtype": "bfloat16"}),
    TokenizerCall(IDENTITY, "decode", {"token_ids": [1, 2], "skip_special_tokens": True}, {"padding_side": "left"}),
    ModelStep(IDENTITY, {"input_ids": TOKENS, "use_cache": False}, PARENT + b"\0\0\0\0"),
    Generation(
        IDENTITY, "sample", {"input_ids": TOKENS}, {"do_sample": True, "temperature": 0.5}, seed=7, occurrence=2
    ),
    SamplerCall(IDENTITY, {"args": [["tensor", "float32", [1, 8], PARENT]], "kwargs": {}}, seed=7, occurrence=1),
]
KNOWN_KEYS = [
    "72d9d9a80d7ae0e7",
    "f41df4f264516571",
    "f4042f4ee9a1ce17",
    "25f65ee8f967a69e",
    "e2b32b8806b43a5c",
]
