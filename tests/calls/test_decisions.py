from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replaykit.calls import Decisions
from replaykit.codec import Tensor, decode, encode
from replaykit.testing.strategies import tensors

OPERATIONS = st.sampled_from(["argmax", "multinomial", "topk", "beams"])


def choices():
    one = st.tuples(OPERATIONS, st.lists(tensors(max_side=2), max_size=3).map(tuple))
    return st.lists(one.flatmap(lambda choice: st.integers(1, 3).map(lambda times: [choice] * times)), max_size=5).map(
        lambda runs: [choice for run in runs for choice in run]
    )


def token(*ids: int) -> tuple[Tensor, ...]:
    return (Tensor("int64", (len(ids),), b"".join(number.to_bytes(8, "little") for number in ids)),)


@given(choices())
def test_decisions_come_back(made):
    again = Decisions.from_plain(decode(encode(Decisions(made).plain())))

    assert again.choices == made
    assert len(again) == len(made)


def test_a_token_costs_its_eight_bytes():
    few, many = Decisions(), Decisions()
    for number in range(1000):
        many.append("multinomial", token(number))
        if number < 100:
            few.append("multinomial", token(number))

    assert (len(encode(many.plain())) - len(encode(few.plain()))) // 900 == 8


def test_choices_of_one_form_are_stacked():
    decisions = Decisions([("argmax", token(1)), ("argmax", token(2)), ("topk", token(3, 4)), ("argmax", token(5))])

    assert [
        (operation, count, [tensor.shape for tensor in stacked]) for operation, count, stacked in decisions.plain()
    ] == [
        ("argmax", 2, [(2, 1)]),
        ("topk", 1, [(1, 2)]),
        ("argmax", 1, [(1, 1)]),
    ]


def test_one_log_agrees_with_its_beginnings_alone():
    long = Decisions([("argmax", token(number)) for number in (1, 2, 3)])

    assert long.agrees_with(Decisions(long.choices[:2]))
    assert Decisions(long.choices[:2]).agrees_with(long)
    assert long.agrees_with(Decisions())
    assert not long.agrees_with(Decisions([("argmax", token(1)), ("argmax", token(7))]))
    assert not long.agrees_with(Decisions([("topk", token(1))]))


def test_repr_counts():
    assert repr(Decisions([("argmax", token(1))])) == "<Decisions: 1 choices>"
