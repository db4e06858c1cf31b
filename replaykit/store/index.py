"""The index: which outcomes are known for a key. A set that only grows, so that any union of stores is a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..codec import decode
from ..digest import SIZE, Digest
from .environment import IDX, View

ENTRY_SIZE = 3 * SIZE


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a recording: what was asked, where it was answered, what came back. Digests of objects, all three."""

    key: Digest
    provenance: Digest
    outcome: Digest

    def pack(self) -> bytes:
        """The three digests end to end: 96 bytes."""
        return self.key + self.provenance + self.outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the index, and when and by which session it was first seen.

    `note` holds `session` (bytes), `time` (seconds since 1970) and what else the recorder noted.
    """

    key: Digest
    provenance: Digest
    outcome: Digest
    note: dict[str, Any] = field(hash=False)


def split_entries(packed: bytes | memoryview) -> Iterator[Entry]:
    """The entries that lie end to end in `packed`."""
    packed = bytes(packed)
    for at in range(0, len(packed), ENTRY_SIZE):
        key, provenance, outcome = (Digest(packed[at + i : at + i + SIZE]) for i in range(0, ENTRY_SIZE, SIZE))
        yield Entry(key, provenance, outcome)


def read_rows(view: View, key: Digest) -> list[Row]:
    """The rows of a key, sorted by provenance, then outcome."""
    rows = []
    for packed, note in view.scan(IDX, key):
        (entry,) = split_entries(packed)
        rows.append(Row(entry.key, entry.provenance, entry.outcome, decode(note, check=False)))
    return rows
