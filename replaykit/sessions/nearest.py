"""What a missed call resembles: the recorded call of the same kind that shares most of its fields."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..calls import Call
from ..calls.call import readable, refer
from ..codec import Kind, Tensor, decode
from ..digest import short
from ..errors import CorruptError
from ..store import Manifest, Store

LOOKED_AT = 2000
"""At most so many entries are compared, so that a miss in a large recording stays quick."""


def describe_nearest(call: Call, manifest: Manifest | None, store: Store) -> str | None:
    """The nearest recorded call: which one, and what differs. None without a recording."""
    if manifest is None:
        return None
    mine = _flat({name: refer(value, []) for name, value in call.plain().items()})
    same = [name for name in ("what", "method") if name in mine]
    best: tuple[float, int, dict[str, Any]] | None = None
    for number, entry in enumerate(islice(manifest, LOOKED_AT)):
        theirs = _call_fields(store, entry.key, call.op)
        if theirs is not None and all(theirs.get(name) == mine[name] for name in same):
            score = _likeness(mine, theirs)
            if best is None or score > best[0]:
                best = (score, number, theirs)
    if best is None:
        return f"nothing: no {' '.join([mine[name] for name in same] + [call.title])} is recorded under this name"
    _, number, theirs = best
    if mine == theirs:
        return None  # the call itself is recorded; what is missing, the error says
    return f"entry {number}: {_differences(mine, theirs)}"


def _call_fields(store: Store, key: Any, op: str) -> dict[str, Any] | None:
    try:
        item = store.get(key)
    except CorruptError:
        return None  # the miss is reported; fsck is where damage is
    if item is None or item.kind != Kind.CALL:
        return None
    recorded_op, fields = decode(item.payload, check=False)
    return _flat(fields) if recorded_op == op else None


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _likeness(mine: dict[str, Any], theirs: dict[str, Any]) -> float:
    return sum(_alike(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())


def _alike(mine: Any, theirs: Any) -> float:
    if mine == theirs:
        return 1.0
    if type(mine) is type(theirs) and isinstance(mine, (int, float)):
        return 0.5 / (1 + abs(mine - theirs))
    if isinstance(mine, str) and isinstance(theirs, str):
        return 0.9 * _common(mine, theirs) / max(len(mine), len(theirs), 1)
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor) and mine.dtype == theirs.dtype:
        return 0.9 * _common(bytes(mine.data), bytes(theirs.data)) / max(len(mine.data), len(theirs.data), 1)
    return 0.0


def _common(mine: Any, theirs: Any) -> int:
    """The length of the common beginning."""
    return next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))


def _differences(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What differs, first what both have, at most three fields of it."""
    differ = [
        name
        for name in mine.keys() | theirs.keys()
        if name not in mine or name not in theirs or mine[name] != theirs[name]
    ]
    differ.sort(key=lambda name: (name not in mine or name not in theirs, name in ("identity", "lineage"), name))
    told = [_difference(name, mine, theirs) for name in differ[:3]]
    return "; ".join(told) + (f"; and {len(differ) - 3} more" if len(differ) > 3 else "")


def _difference(name: str, all_mine: dict[str, Any], all_theirs: dict[str, Any]) -> str:
    if name not in all_theirs:
        return f"{name} is {_show(all_mine[name])} here, absent there"
    if name not in all_mine:
        return f"{name} is absent here, {_show(all_theirs[name])} recorded"
    mine, theirs = all_mine[name], all_theirs[name]
    if isinstance(mine, str) and isinstance(theirs, str):
        at = _common(mine, theirs)
        start = max(at - 20, 0)
        return f"{name} differs at character {at}: {mine[start : at + 30]!r} here, {theirs[start : at + 30]!r} recorded"
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
            return f"{name} differs: {_show(mine)} here, {_show(theirs)} recorded"
        width = max(len(mine.data) // max(len(mine), 1), 1)
        return f"{name} {_show(mine)} differs at element {_common(bytes(mine.data), bytes(theirs.data)) // width}"
    return f"{name} differs: {_show(mine)} here, {_show(theirs)} recorded"


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return short(value) if value else "none"
    return readable(value, 80)
