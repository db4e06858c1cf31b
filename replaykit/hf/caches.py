"""Caches: the lineage of each, kept in the cache itself, and moved by the operations that move its contents.

The cache's class is never swapped (`generate()` asks `type(cache) is DynamicCache`); instead the methods of
transformers' cache classes that change or tell contents are wrapped, once a process, and do nothing new for a cache
that no session knows. In replay the cache is a real one whose layers are never filled; what it tells of its length
comes from the lineage.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from ..calls import Lineage
from ..errors import LineageError, UnsupportedError
from .values import find_class

_STATE = "_replaykit"
_wrapped: set[type] = set()
_wrapping = threading.Lock()


class CacheState:
    """What a session knows of one cache.

    `replayed`: the cache's layers are empty, and the lineage answers for them. `stamp` is what its tensors were after
    the last call or operation, so that an edit by hand is noticed. `owner` is the binding of the model that fills it.
    """

    __slots__ = ("depth", "lineage", "owner", "replayed", "stamp")

    def __init__(self, lineage: Lineage, owner: Any, *, replayed: bool) -> None:
        self.lineage = lineage
        self.owner = owner
        self.replayed = replayed
        self.stamp: list[Any] | None = None
        self.depth = 0

    def __reduce__(self) -> Any:
        """A pickled cache is one that no session knows."""
        if self.replayed:
            raise UnsupportedError("a replayed cache holds no tensors, so there is nothing to pickle")
        return _nothing, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> CacheState:
        copy = CacheState(self.lineage.copy(), self.owner, replayed=self.replayed)
        if self.stamp is not None:
            # The cache's layers were copied before its state, so the memo holds each tensor's copy.
            originals = [(reference(), version) for reference, version in self.stamp]
            copies: list[Any] = [memo.get(id(tensor)) for tensor, _ in originals]
            if all(tensor is not None for tensor in copies):
                copy.stamp = [(weakref.ref(tensor), _version(tensor)) for tensor in copies]
        return copy


def _nothing() -> None:
    """What a cache's state becomes when the cache is pickled."""


def state_of(cache: Cache) -> CacheState | None:
    """What sessions know of `cache`; None for one they have not met."""
    state = cache.__dict__.get(_STATE)
    if state is not None and not state.owner.active and not state.replayed:
        del cache.__dict__[_STATE]  # its session is over: the cache is the program's alone
        return None
    return state


def meet(cache: Cache, owner: Any, *, replayed: bool) -> CacheState:
    """The state of `cache`, new and at ROOT if no session has met it.

    Raises LineageError if the cache holds anything the lineage does not account for, UnsupportedError for a cache
    whose contents cannot be followed.
    """
    state = state_of(cache)
    if state is None:
        if _can_be_followed(cache) and (length := _real_length(cache)):
            raise LineageError(
                f"the cache holds {length} positions that this session did not see being computed",
                to_mend="fill it by calls of the recorded model inside the session",
            )
        return adopt(cache, owner, replayed=replayed)
    _check(cache, state)
    if state.replayed != replayed and state.lineage.rows is None:
        state.replayed = replayed
    return state


def adopt(cache: Cache, owner: Any, *, replayed: bool) -> CacheState:
    """A new state for a cache that the model itself made during the call: it may be filled, and rightly so.

    Raises UnsupportedError for a cache whose contents cannot be followed.
    """
    if not _can_be_followed(cache):
        raise UnsupportedError(
            f"a {type(cache).__name__} changes in ways a recording cannot follow; use a DynamicCache or a StaticCache"
        )
    _wrap_class(type(cache))
    state = cache.__dict__[_STATE] = CacheState(Lineage(), owner, replayed=replayed)
    return state


def is_live(cache: Cache) -> bool:
    """Whether the cache holds what the real model computed, rather than a lineage alone."""
    state = state_of(cache)
    return state is not None and not state.replayed and state.lineage.rows is not None


def empty_cache(path: str, config: Any, owner: Any) -> Cache:
    """The cache a model makes when none is passed, as transformers makes it: never filled, its lineage answers."""
    cls = find_class(path, Cache)
    if cls is not DynamicCache:
        raise UnsupportedError(f"the recorded model made a {cls.__name__} of its own, which cannot be replayed")
    cache = cls(config=config)
    adopt(cache, owner, replayed=True)
    return cache


def settle(cache: Cache, state: CacheState) -> None:
    """A call or an operation just changed the cache as it should; remember how it looks now."""
    if not state.replayed:
        state.stamp = [(weakref.ref(tensor), _version(tensor)) for tensor in _tensors(cache)]


def kind_of(cache: Cache | None) -> str:
    """The cache's kind for a key: empty for the plain growing cache, else its class, layers and capacity."""
    if cache is None:
        return ""
    layers = [type(layer).__name__ for layer in cache.layers]
    if type(cache) is DynamicCache and not cache.offloading and set(layers) <= {DynamicLayer.__name__}:
        return ""
    # Before transformers 5.10 the method has another name.
    told: Any = getattr(cache, "get_max_length", None) or getattr(cache, "get_max_cache_shape")  # noqa: B009
    capacity = told() if layers else -1
    runs = ",".join(dict.fromkeys(layers))
    return f"{type(cache).__name__}({runs};{capacity}{';offloading' if cache.offloading else ''})"


def _can_be_followed(cache: Cache) -> bool:
    return not hasattr(cache, "self_attention_cache") and type(cache).__module__ == Cache.__module__


def _check(cache: Cache, state: CacheState) -> None:
    if state.replayed:
        if next(_tensors(cache), None) is not None:
            raise LineageError("the cache was filled by hand: a replayed cache holds no tensors")
        return
    real = _real_length(cache)
    if real != state.lineage.length:
        raise LineageError(
            "the cache was edited outside the recorded model",
            expected=f"{state.lineage.length} positions, by its lineage",
            actual=f"{real} positions",
        )
    if state.stamp is not None:
        now = [(tensor, _version(tensor)) for tensor in _tensors(cache)]
        then = [(reference(), version) for reference, version in state.stamp]
        if len(now) != len(then) or any(a is not b or v != w for (a, v), (b, w) in zip(now, then, strict=True)):
            raise LineageError("the cache's tensors were edited by hand since the recorded model last filled it")


def _tensors(cache: Cache) -> Iterator[torch.Tensor]:
    for layer in cache.layers:
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if tensor is not None:
                yield tensor


def _version(tensor: torch.Tensor) -> int:
    """How often the tensor was written in place; tensors made under inference_mode do not count it."""
    return 0 if tensor.is_inference() else tensor._version


def _real_length(cache: Cache) -> int:
    return int(_real(Cache.get_seq_length)(cache)) if type(cache) in _wrapped else int(cache.get_seq_length())


# -- wrapped methods


def _real(method: Any) -> Any:
    """The library's own method under the wrapped one."""
    return method.__wrapped__


def _wrap_class(cls: type[Cache]) -> None:
    with _wrapping:
        for owner in cls.__mro__:
            if owner in _wrapped or not issubclass(owner, Cache):
                continue
            for name, change in _CHANGES.items():
                if name in owner.__dict__:
                    setattr(owner, name, _changing(owner.__dict__[name], change))
            for name, tell in _TOLD.items():
                if name in owner.__dict__:
                    setattr(owner, name, _telling(owner.__dict__[name], tell))
            _wrapped.add(owner)


def _changing(method: Callable[..., Any], change: Callable[..., None]) -> Callable[..., Any]:
    """`method`, which also makes its change to the cache's lineage; in replay only there."""

    @functools.wraps(method)
    def wrapper(self: Cache, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self)
        if state is None:
            return method(self, *args, **kwargs)
        if state.replayed:
            change(state.lineage, method, *args, **kwargs)
            return None
        if not state.depth:
            _check(self, state)
        state.depth += 1  # a subclass's method may call its parent's: the change counts once
        try:
            result = method(self, *args, **kwargs)
        finally:
            state.depth -= 1
        if not state.depth:
            change(state.lineage, method, *args, **kwargs)
            settle(self, state)
        return result

    return wrapper


def _crop(lineage: Lineage, method: Callable[..., Any], amount: int) -> None:
    # Since transformers 5.10 the argument counts the positions to remove; before, a positive one said how many to keep.
    if amount > 0:
        if "tokens_to_remove" in inspect.signature(method).parameters:
            raise ValueError(f"crop takes a negative number of positions to remove, not {amount}")
        amount = min(amount - lineage.length, 0)
    lineage.crop(-amount)


def _select(lineage: Lineage, method: Callable[..., Any], indices: torch.Tensor) -> None:
    chosen = indices.nonzero().flatten() if indices.dtype == torch.bool else indices
    lineage.select(chosen.tolist())


_CHANGES: dict[str, Callable[..., None]] = {
    "reorder_cache": _select,
    "batch_select_indices": _select,
    "batch_repeat_interleave": lambda lineage, method, repeats: lineage.repeat(repeats),
    "crop": _crop,
    "reset": lambda lineage, method: lineage.reset(),
}


def _telling(method: Any, tell: Callable[..., Any]) -> Any:
    """`method` (or property), which for a replayed cache tells what the lineage knows."""
    real: Any = method.fget if isinstance(method, property) else method

    @functools.wraps(real)
    def wrapper(self: Cache, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self)
        if state is None or not state.replayed:
            return real(self, *args, **kwargs)
        return tell(self, state.lineage, *args, **kwargs)

    return property(wrapper) if isinstance(method, property) else wrapper


def _mask_sizes(cache: Cache, lineage: Lineage, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
    layer: Any = cache.layers[layer_idx] if layer_idx < len(cache.layers) else None
    if layer is not None and type(layer) is not DynamicLayer:
        return layer.get_mask_sizes(query_length)
    return lineage.length + query_length, 0


def _refuse_update(cache: Cache, lineage: Lineage, *args: Any, **kwargs: Any) -> None:
    raise LineageError("a replayed cache holds no tensors and cannot be filled by hand")


_TOLD: dict[str, Callable[..., Any]] = {
    "get_seq_length": lambda cache, lineage, layer_idx=0: lineage.length,
    "get_query_offset": lambda cache, lineage, layer_idx=0: lineage.length,
    "get_mask_sizes": _mask_sizes,
    "has_previous_state": lambda cache, lineage, layer_idx=None, state_idx=None: lineage.length > 0,
    "batch_size": lambda cache, lineage: len(lineage.rows) if lineage.rows else -1,
    "is_initialized": lambda cache, lineage: lineage.rows is not None,
    "update": _refuse_update,
}
