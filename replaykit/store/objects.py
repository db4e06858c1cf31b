"""Objects inside transactions: put once, heal what is damaged, keep what a collection must not take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from ..codec import Object
from ..codec.objects import split_refs
from ..digest import Digest
from . import frames
from .environment import META, OBJ, TOUCH, Update, View

GC = b"gc"
"""The key in `meta` that says a collection runs: until it is gone, writers touch what they refer to."""


def read(view: View, name: Digest, path: Path) -> Object | None:
    """The object of that name, verified. For use inside a transaction; `Store.get` verifies outside of one."""
    value = view.get(OBJ, name)
    return None if value is None else frames.verified(frames.split(value, name, path), name, path)


def write(update: Update, item: Object, path: Path, *, frame: bytes | None = None) -> None:
    """Put an object unless it is there. A damaged one of that name is replaced: recording again heals.

    `frame` is its frame, where the caller has made it already.
    """
    present = update.get(OBJ, item.digest)
    if present is None or not frames.holds(present, item, path):
        update.put(OBJ, item.digest, frame or frames.pack(item))


def touch(update: Update, names: Iterable[Digest], path: Path) -> None:
    """While a collection runs, save these objects and all they refer to from it.

    Called in the same transaction that refers to them: LMDB has one writer at a time, so either the collection sees the
    touch before it deletes, or this transaction sees the object gone.
    """
    if update.get(META, GC) is None:
        return
    waiting = deque(names)
    while waiting:
        name = waiting.popleft()
        if update.put(TOUCH, name, b"", overwrite=False):
            value = update.get(OBJ, name)
            if value is not None:
                header = frames.split(value, name, path).header
                waiting.extend(split_refs(Object(0, b"", header).fields.get("refs", b"")))
