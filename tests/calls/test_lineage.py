"""A lineage against a simple model: a row is the list of the positions it holds, each known by who computed it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replaykit.calls import ROOT, Lineage, ModelStep
from replaykit.calls.lineage import NAME_SIZE

Position = tuple[bytes, int, int]
"""(the key of the call, the row in its batch, the place in the call): what one position of a cache came from."""


def fed(lineage: Lineage, positions: int, batch: int, token: int = 0) -> ModelStep:
    """A call of `batch` rows and `positions` tokens on the cache: its lineage grows as a model's would."""
    call = ModelStep(b"\x01" * 32, {"token": token, "positions": positions, "batch": batch}, lineage.names)
    lineage.advance(call.key, positions, batch, call)
    return call


class LineageAgainstLists(RuleBasedStateMachine):
    """Two caches that are copied from each other and changed; what rows hold and what they are called must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.lineage = Lineage()
        self.rows: list[tuple[Position, ...]] = []
        self.kept: list[tuple[Lineage, list[tuple[Position, ...]]]] = []
        self.name_of: dict[tuple[Position, ...], bytes] = {}
        self.content_of: dict[bytes, tuple[Position, ...]] = {}

    @property
    def length(self) -> int:
        return len(self.rows[0]) if self.rows else 0

    @initialize()
    def start(self) -> None:
        self.lineage, self.rows, self.kept = Lineage(), [], []

    @rule(positions=st.integers(1, 4), batch=st.integers(1, 3), token=st.integers(0, 1))
    def feed(self, positions, batch, token):
        batch = len(self.rows) or batch
        call = fed(self.lineage, positions, batch, token)
        before = self.rows or [()] * batch
        self.rows = [
            (*row, *((call.key, number, place) for place in range(positions))) for number, row in enumerate(before)
        ]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def select(self, data):
        indices = data.draw(st.lists(st.integers(0, len(self.rows) - 1), min_size=1, max_size=4))
        self.lineage.select(indices)
        self.rows = [self.rows[index] for index in indices]

    @precondition(lambda self: 0 < len(self.rows) <= 4)
    @rule(times=st.integers(1, 2))
    def repeat(self, times):
        self.lineage.repeat(times)
        self.rows = [row for row in self.rows for _ in range(times)]

    @rule(positions=st.integers(0, 7))
    def crop(self, positions):
        self.lineage.crop(positions)
        kept = max(self.length - positions, 0)
        self.rows = [row[:kept] for row in self.rows] if kept else []

    @rule()
    def reset(self):
        self.lineage.reset()
        self.rows = []

    @rule(deep=st.booleans())
    def keep_a_copy(self, deep):
        self.kept.append((copy.deepcopy(self.lineage) if deep else self.lineage.copy(), list(self.rows)))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def go_on_with_a_copy(self, data):
        at = data.draw(st.integers(0, len(self.kept) - 1))
        self.kept[at], (self.lineage, self.rows) = (self.lineage, self.rows), self.kept[at]

    @invariant()
    def rows_and_length_agree(self):
        for lineage, rows in [(self.lineage, self.rows), *self.kept]:
            assert lineage.length == (len(rows[0]) if rows else 0)
            assert [content(node) for node in lineage.rows or []] == rows
            assert len(lineage.names) == NAME_SIZE * len(rows)

    @invariant()
    def a_name_stands_for_one_content_and_a_content_has_one_name(self):
        for lineage, rows in [(self.lineage, self.rows), *self.kept]:
            for node, row in zip(lineage.rows or [], rows, strict=True):
                assert self.name_of.setdefault(row, node.name) == node.name
                assert self.content_of.setdefault(node.name, row) == row


def content(node) -> tuple[Position, ...]:
    """What a row holds, read off its chain of nodes."""
    before = content(node.parent) if node.parent is not None else ()
    return (*before, *((node.call.key, node.row, place) for place in range(node.length)))


TestLineageAgainstLists = LineageAgainstLists.TestCase


def test_root_is_empty():
    assert (ROOT.names, ROOT.length, ROOT.rows, repr(ROOT)) == (b"", 0, None, "<Lineage ROOT>")


def test_a_row_is_named_by_the_call_and_its_number():
    lineage = Lineage()
    call = fed(lineage, 3, 2)

    assert lineage.names == call.key + b"\0\0\0\0" + call.key + b"\1\0\0\0"
    assert repr(lineage) == f"<Lineage 2 rows, 3 positions: {call.key.hex()[:8]}, {call.key.hex()[:8]}>"


def test_operations_on_an_empty_cache_leave_it_empty():
    lineage = Lineage()
    for change in (lambda: lineage.select([0]), lambda: lineage.repeat(2), lambda: lineage.crop(3), lineage.reset):
        change()
        assert (lineage.rows, lineage.length) == (None, 0)


def test_a_crop_to_the_end_of_a_call_gives_back_its_node():
    lineage = Lineage()
    fed(lineage, 3, 1)
    before = lineage.names
    fed(lineage, 1, 1)
    fed(lineage, 2, 1)

    lineage.crop(3)

    assert lineage.names == before


def test_a_crop_into_a_call_makes_a_name_of_its_own_from_the_whole():
    names = set()
    for positions in (1, 2):
        lineage = Lineage()
        fed(lineage, 3, 1)
        names.add(lineage.names)
        lineage.crop(positions)
        names.add(lineage.names)
    assert len(names) == 3


def test_it_does_not_count_by_how_many_crops_a_cache_was_cut():
    once, twice = Lineage(), Lineage()
    fed(once, 5, 2)
    fed(twice, 5, 2)

    once.crop(3)
    twice.crop(1)
    twice.crop(2)

    assert once.names == twice.names


@pytest.mark.parametrize("positions", [3, 4, 100])
def test_a_crop_of_everything_is_a_reset(positions):
    lineage = Lineage()
    fed(lineage, 3, 1)

    lineage.crop(positions)

    assert (lineage.rows, lineage.length) == (None, 0)


def test_nodes_are_shared_by_copies():
    lineage = Lineage()
    fed(lineage, 3, 2)
    deep = copy.deepcopy(lineage)

    assert [one is other for one, other in zip(lineage.rows, deep.rows, strict=True)] == [True, True]
    fed(deep, 1, 2)
    assert (lineage.length, deep.length) == (3, 4)


@given(st.integers(1, 5), st.integers(1, 4))
def test_an_unnamed_cache_only_counts(positions, batch):
    lineage = Lineage()
    lineage.advance_unnamed(positions, batch)
    lineage.advance_unnamed(1, batch)

    assert (lineage.length, lineage.names) == (positions + 1, b"")
