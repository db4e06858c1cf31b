"""Lineage: what stands for a KV cache, the chain of calls that filled it.

Hashing the cache's tensors is slow and bound to a device, so a cache is named by how it came to be: one pointer *per
batch row* into an immutable tree of nodes. Reordering, selecting, repeating and cropping a cache move pointers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from ..digest import SIZE, Digest, digest

NAME_SIZE = SIZE + 4


class Node:
    """What one row of a cache holds after one call: `length` positions, after those of `parent`.

    `name` is the call's key and the row's number in that call's batch (36 bytes). A node cut by a crop has a name of
    its own, made from the whole node's name and the length that is left. `call` is the call as plain data, from which
    a cache can be rebuilt; nodes are immutable and shared.
    """

    __slots__ = ("call", "length", "name", "parent", "row", "whole")

    def __init__(
        self, name: bytes, length: int, parent: Node | None, call: Any = None, row: int = 0, whole: Node | None = None
    ) -> None:
        self.name = name
        self.length = length
        self.parent = parent
        self.call = call
        self.row = row
        self.whole = whole  # the node this one was cut from

    def __deepcopy__(self, memo: Any) -> Node:
        return self

    def cut(self, length: int) -> Node:
        """This node with only its first `length` positions left."""
        whole = self.whole or self
        name = digest(b"replaykit.v1.cut", whole.name, struct.pack("<q", length)) + b"\xff\xff\xff\xff"
        return Node(name, length, self.parent, self.call, self.row, whole)


class Lineage:
    """The rows of one cache. `rows` is None while the cache is empty; `length` counts positions, the same in each row.

    A cache's own lineage is changed in place by the cache's operations; its nodes are not.
    """

    __slots__ = ("length", "rows")

    def __init__(self, rows: list[Node] | None = None, length: int = 0) -> None:
        self.rows = rows
        self.length = length

    def __repr__(self) -> str:
        if self.rows is None:
            return "<Lineage ROOT>"
        tips = ", ".join(node.name[:4].hex() for node in self.rows)
        return f"<Lineage {len(self.rows)} rows, {self.length} positions: {tips}>"

    @property
    def names(self) -> bytes:
        """The rows' names, end to end: what a key is made from. Empty for ROOT."""
        return b"".join([node.name for node in self.rows]) if self.rows else b""

    def copy(self) -> Lineage:
        return Lineage(None if self.rows is None else list(self.rows), self.length)

    def advance(self, key: Digest, positions: int, batch: int, call: Any = None) -> None:
        """A call of `batch` rows added `positions` positions to each."""
        parents: Sequence[Node | None] = self.rows if self.rows is not None else [None] * batch
        self.rows = [
            Node(key + row.to_bytes(4, "little"), positions, parent, call, row) for row, parent in enumerate(parents)
        ]
        self.length += positions

    def advance_unnamed(self, positions: int, batch: int) -> None:
        """Count positions of a cache that nobody outside one `generate()` will see: no key is made from its rows."""
        self.rows = [_UNNAMED] * batch
        self.length += positions

    def select(self, indices: Iterable[int]) -> None:
        if self.rows is not None:
            self.rows = [self.rows[index] for index in indices]

    def repeat(self, times: int) -> None:
        if self.rows is not None:
            self.rows = [node for node in self.rows for _ in range(times)]

    def crop(self, positions: int) -> None:
        """Forget the last `positions` positions of every row."""
        if self.rows is None or positions <= 0:
            return
        if positions >= self.length:
            self.reset()
            return
        cropped: dict[int, Node] = {}
        rows = []
        for node in self.rows:
            if id(node) not in cropped:
                cropped[id(node)] = _without(node, positions)
            rows.append(cropped[id(node)])
        self.rows = rows
        self.length -= positions

    def reset(self) -> None:
        self.rows = None
        self.length = 0


def _without(node: Node, positions: int) -> Node:
    while node.length <= positions:
        positions -= node.length
        assert node.parent is not None, "a crop of less than the whole length ends inside a node"
        node = node.parent
    return node.cut(node.length - positions) if positions else node


_UNNAMED = Node(b"", 0, None)

ROOT = Lineage()
"""The lineage of an empty cache. Never changed: a cache gets a Lineage of its own."""
