"""Walking a plain value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """`value` with each leaf (whatever is no dict, list or tuple) replaced by what `leaf` makes of it."""
    kind = type(value)
    if kind is dict:
        return {key: mapped(item, leaf) for key, item in value.items()}
    if kind is list:
        return [mapped(item, leaf) for item in value]
    if kind is tuple:
        return tuple([mapped(item, leaf) for item in value])
    return leaf(value)
