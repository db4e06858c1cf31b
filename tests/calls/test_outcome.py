from __future__ import annotations

import pytest
from hypothesis import given

from replaykit.calls import Outcome, RecordedError
from replaykit.calls.outcome import tensor_from
from replaykit.codec import Kind, Object, Tensor, encode
from replaykit.errors import CorruptError
from replaykit.testing.strategies import outcomes

LARGE = Tensor("float32", (2, 300), bytes(range(240)) * 10)


def stored(outcome: Outcome) -> Outcome:
    """The outcome as it comes back from a store."""
    kept = {item.digest: item for item in outcome.tensors}
    return Outcome.from_object(outcome.object, kept.__getitem__)


@given(outcomes())
def test_an_outcome_comes_back(outcome):
    again = stored(outcome)

    assert (encode(again.value), again.error) == (encode(outcome.value), outcome.error)
    assert again.object.digest == outcome.object.digest


def test_large_tensors_are_objects_of_their_own_and_equal_ones_one():
    outcome = Outcome({"logits": LARGE, "again": [(LARGE,)], "small": Tensor("int64", (1,), bytes(8))})

    assert len({item.digest for item in outcome.tensors}) == 1
    assert outcome.object.refs == (outcome.tensors[0].digest,)
    assert len(outcome.object.payload) < 200
    assert stored(outcome).value == outcome.value


def test_files_are_referred_to_each_once():
    file = Object(Kind.FILE, b"vocabulary")

    assert Outcome(None, files=(file, file)).object.refs == (file.digest,)


def test_an_error_is_an_outcome():
    outcome = Outcome(error=RecordedError("builtins:ValueError", ("no", 3)))

    assert stored(outcome).error == RecordedError("builtins:ValueError", ("no", 3))


def test_no_value_is_not_an_error():
    assert stored(Outcome(None)) == Outcome(None)


def test_a_tensor_that_does_not_fill_its_shape_is_damage():
    item = Object.of(Kind.TENSOR, bytes(7), dtype="int64", shape=[1])

    with pytest.raises(CorruptError, match="does not fill its shape"):
        tensor_from(item)
