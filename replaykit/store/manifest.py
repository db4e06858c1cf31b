"""The manifest of a recording: its entries as a Merkle tree, so that one digest names them all.

Leaves are cut where the content says so, hence two recordings share the leaves in which they agree, and comparing them
costs what differs. A manifest holds no time and no host: the same entries in the same order have the same digest
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..codec import Kind, Object, decode, encode
from ..digest import SIZE, Digest, short
from ..errors import CorruptError, FormatError
from .index import ENTRY_SIZE, Entry, split_entries

LONGEST_LEAF = 1024


class Manifest:
    """A sealed recording. Iterating yields its entries in the order they were recorded, each once.

    `note` is what the recorder noted at sealing; it is a part of the content, so it holds no times or hosts.
    """

    def __init__(self, node: Object, read: Callable[[Digest], Object | None], path: Path) -> None:
        self.digest = node.digest
        self.leaves = node.refs
        self._read = read
        self._path = path
        try:
            if node.kind != Kind.NODE:
                raise FormatError("an object of another kind")
            content = decode(node.payload)
            self.counts: tuple[int, ...] = tuple(content["counts"])
            self.note: dict[str, Any] = content["meta"]
            if len(self.counts) != len(self.leaves):
                raise FormatError("counts that do not match its leaves")
        except (FormatError, KeyError, TypeError) as error:
            raise FormatError(f"not a manifest: {error}", path=path, object=self.digest.hex()) from error
        self.count = sum(self.counts)
        self._by_key: dict[Digest, list[Entry]] | None = None

    def __iter__(self) -> Iterator[Entry]:
        for leaf, count in zip(self.leaves, self.counts, strict=True):
            item = self._read(leaf)
            if item is None or item.kind != Kind.LEAF or len(item.payload) != count * ENTRY_SIZE:
                raise CorruptError(
                    f"the manifest {short(self.digest)} lacks a leaf",
                    path=self._path,
                    object=leaf.hex(),
                    next_step="record again, or pull the recording from a remote",
                )
            yield from split_entries(item.payload)

    def __len__(self) -> int:
        return self.count

    def __contains__(self, entry: object) -> bool:
        return isinstance(entry, Entry) and entry in self.entries_for(entry.key)

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Manifest) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def entries_for(self, key: Digest) -> list[Entry]:
        """The entries of a key, in the order they were recorded."""
        if self._by_key is None:
            by_key: dict[Digest, list[Entry]] = {}
            for entry in self:
                by_key.setdefault(entry.key, []).append(entry)
            self._by_key = by_key
        return list(self._by_key.get(key, ()))

    def __repr__(self) -> str:
        return f"<Manifest {short(self.digest)}: {self.count} entries in {len(self.leaves)} leaves>"


def build(entries: Iterable[Entry], note: Mapping[str, Any]) -> tuple[Object, list[Object]]:
    """The node of a manifest and its leaves. A repeated entry is kept at its first position."""
    leaves: list[Object] = []
    open_leaf: list[bytes] = []
    for entry in dict.fromkeys(entries):
        open_leaf.append(entry.pack())
        if entry.key[SIZE - 1] == 0 or len(open_leaf) == LONGEST_LEAF:
            leaves.append(Object(Kind.LEAF, b"".join(open_leaf)))
            open_leaf = []
    if open_leaf:
        leaves.append(Object(Kind.LEAF, b"".join(open_leaf)))
    counts = [len(leaf.payload) // ENTRY_SIZE for leaf in leaves]
    payload = encode({"counts": counts, "meta": dict(note)})
    return Object.of(Kind.NODE, payload, refs=tuple(leaf.digest for leaf in leaves)), leaves
