"""The tree drawn in `errors.py` is the tree of its classes."""

from __future__ import annotations

import inspect
import re

import pytest

import replaykit
from replaykit import errors

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]


def drawn() -> dict[str, tuple[str, str | None]]:
    """From each drawn class to its parent and the builtin it also is."""
    tree: dict[str, tuple[str, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+Error)(?: +\((?P<builtin>\w+)\))?", line)
        if match:
            depth = len(match["branch"]) // 4
            above = [*above[:depth], match["name"]]
            tree[match["name"]] = (above[-2] if depth else "Exception", match["builtin"])
    return tree


def test_the_drawing_is_the_tree():
    def parents(cls: type) -> tuple[str, str | None]:
        first, *others = [base.__name__ for base in cls.__bases__]
        return first, others[0] if others else None

    assert drawn() == {cls.__name__: parents(cls) for cls in CLASSES}


def test_every_error_is_public():
    assert {cls.__name__ for cls in CLASSES} <= set(replaykit.__all__)


def test_every_error_has_a_kind_of_its_own():
    kinds = [cls.__dict__["kind"] for cls in CLASSES]
    assert len(set(kinds)) == len(CLASSES)


def test_kinds_are_append_only():
    """A program may hold on to a kind: these stay what they are."""
    assert {cls.__name__: cls.kind for cls in CLASSES} == {
        "ReplaykitError": "replaykit",
        "MissError": "miss",
        "NotRecordedError": "not-recorded",
        "RecordingNotFoundError": "recording-not-found",
        "DivergenceError": "divergence",
        "IdentityError": "identity",
        "LineageError": "lineage",
        "NondeterminismError": "nondeterminism",
        "FidelityError": "fidelity",
        "StoreError": "store",
        "CorruptError": "corrupt",
        "FullError": "full",
        "BusyError": "busy",
        "ReadOnlyError": "read-only",
        "FormatError": "format",
        "RemoteError": "remote",
        "UnsupportedError": "unsupported",
        "UsageError": "usage",
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_means(cls):
    assert inspect.getdoc(cls)
    assert str(cls("what happened")) == "what happened"


def test_facts_are_attributes_and_lines():
    error = errors.NotRecordedError(
        "no recording answers this model step.",
        call="a call",
        recording="test_summary",
        nearest="step 3:\nthe mask differs",
        to_record='mode="once"',
    )

    assert (error.call, error.recording, error.nearest) == ("a call", "test_summary", "step 3:\nthe mask differs")
    assert str(error) == (
        "no recording answers this model step.\n"
        "  recording  test_summary\n"
        "  nearest    step 3:\n"
        "             the mask differs\n"
        '  to record  mode="once"'
    )


def test_a_fact_that_is_not_known_is_not_printed():
    assert str(errors.StoreError("no", path=None)) == "no"
    assert errors.FidelityError("no").level == "full"
