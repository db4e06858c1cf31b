"""The test vectors of docs/reference/format.md, and its tables, against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replaykit.codec import Kind, Object
from replaykit.store import frames
from replaykit.store.environment import DATABASES
from replaykit.store.index import split_entries
from replaykit.store.manifest import build

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reference" / "format.md").read_text()
VECTORS = [
    dict(line.split() for line in block.splitlines())
    for block in re.findall(r"```\n(kind .*?)\n```", DOCUMENT, re.DOTALL)
]


def payload_of(vector: dict[str, str]) -> bytes:
    return bytes(int(vector["zeros"])) if "zeros" in vector else bytes.fromhex(vector["payload"])


def of_kind(kind: Kind) -> dict[str, str]:
    return next(vector for vector in VECTORS if int(vector["kind"]) == kind)


def test_the_document_has_vectors_of_each_shape():
    assert [int(vector["kind"]) for vector in VECTORS] == [1, 5, 7, 3, 4, 2]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: Kind(int(vector["kind"])).name)
def test_a_vector_is_what_the_code_reads_and_writes(vector):
    item = Object(int(vector["kind"]), payload_of(vector), bytes.fromhex(vector["header"]))
    frame = bytes.fromhex(vector["frame"])

    assert item.digest.hex() == vector["digest"]
    found = frames.verified(frames.split(memoryview(frame), item.digest, Path()), item.digest, Path())
    assert (found.kind, found.header, found.payload) == (item.kind, item.header, item.payload)
    if frame[2] == frames.RAW:
        assert frames.pack(item) == frame


def test_the_leaf_and_the_node_are_those_of_the_three_objects():
    leaf, node = of_kind(Kind.LEAF), of_kind(Kind.NODE)
    (entry,) = split_entries(payload_of(leaf))
    assert [digest.hex() for digest in (entry.key, entry.provenance, entry.outcome)] == [
        of_kind(kind)["digest"] for kind in (Kind.CALL, Kind.PROVENANCE, Kind.OUTCOME)
    ]
    made, leaves = build([entry], {})
    assert ([item.digest.hex() for item in leaves], made.digest.hex()) == ([leaf["digest"]], node["digest"])


def test_the_document_names_every_kind_codec_and_sub_database():
    kinds = dict(re.findall(r"^\| (\w+) \| (\d+) \|", DOCUMENT, re.MULTILINE))
    for kind in Kind:
        assert kinds[kind.name.lower()] == str(int(kind))
    for name in DATABASES:
        assert f"| `{name}` |" in DOCUMENT
    for number, name in {frames.RAW: "raw", frames.ZSTD: "zstd", **frames.RESERVED}.items():
        assert f"| {name} | {number} |" in DOCUMENT
