from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from replaykit.codec import Kind, Object
from replaykit.codec.objects import split_refs
from replaykit.digest import digest, short


def test_an_object_is_named_by_its_kind_header_and_payload():
    item = Object.of(Kind.FILE, b"payload", name="x")

    assert item.digest == blake3(b"replaykit.v1.\x08" + item.header + b"payload").digest()


@pytest.mark.parametrize(
    "other",
    [
        Object(Kind.TENSOR, b"payload"),
        Object(Kind.FILE, b"payloaD"),
        Object.of(Kind.FILE, b"payload", name="x"),
        Object.of(Kind.FILE, b"payload", refs=(digest(b"x"),)),
    ],
)
def test_another_kind_header_or_payload_is_another_object(other):
    assert other.digest != Object(Kind.FILE, b"payload").digest


def test_a_view_is_named_as_its_bytes():
    assert Object(Kind.FILE, memoryview(b"payload")).digest == Object(Kind.FILE, b"payload").digest


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4), st.dictionaries(st.just("shape"), st.integers()))
def test_the_header_tells_refs_and_fields(refs, fields):
    item = Object.of(Kind.CALL, b"", refs=tuple(refs), **fields)

    assert item.refs == tuple(refs) == split_refs(b"".join(refs))
    assert {name: value for name, value in item.fields.items() if name != "refs"} == fields


def test_kinds_are_append_only():
    """A number stands in every store there is: it never changes its meaning."""
    assert {kind.name: kind.value for kind in Kind} == {
        "CALL": 1,
        "TENSOR": 2,
        "LEAF": 3,
        "NODE": 4,
        "PROVENANCE": 5,
        "DICTIONARY": 6,
        "OUTCOME": 7,
        "FILE": 8,
        "IDENTITY": 9,
        "ENCODING": 10,
    }


def test_parts_are_hashed_end_to_end():
    assert digest(b"ab", b"c") == digest(b"abc") == digest(memoryview(b"abc"))
    assert short(bytes.fromhex("9f3c21aa" + "00" * 28)) == "9f3c21aa"
