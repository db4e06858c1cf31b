"""Models that look the same from outside: how recording and replay put themselves before a model's class."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

DECODING_LOOPS = ("_sample", "_beam_search", "_assisted_decoding")
_CASTS = {"half": torch.float16, "bfloat16": torch.bfloat16, "float": torch.float32, "double": torch.float64}


class Binding:
    """What a recorded or replayed model carries: its session, and its identity since the last cast."""

    session: Any
    identity: bytes
    attention: str  # the attention implementation when the model was loaded
    records: bool

    @property
    def active(self) -> bool:
        return not self.session.closed

    def check(self, model: Any) -> None:
        """Raises IdentityError if the model is no longer the one of `identity`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Binding:
        """A copied model goes its own way: its casts are its own."""
        raise NotImplementedError

    def recompute(self, model: Any, arguments: dict[str, Any]) -> Any:
        """What the real model answers to a call that is recorded already, filling the cache in `arguments`."""
        raise NotImplementedError

    def cast(self, dtype: torch.dtype) -> None:
        """The program cast the model: from now on it is another model."""
        raise NotImplementedError

    def forward(
        self, model: Any, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, in_loop: bool
    ) -> Any:
        """Answer one forward call; `real` is what the class below would do, `in_loop` whether generate() asks."""
        raise NotImplementedError


class Casts:
    """Overrides of the methods that move or cast a model, which tell its binding the dtype."""

    def type(self, dst_type: Any) -> Any:
        dtype = dst_type if isinstance(dst_type, torch.dtype) else torch.empty(0).type(dst_type).dtype
        return self._replaykit_cast(super().type, dtype, (dst_type,), {})  # type: ignore[misc]

    def to(self, *args: Any, **kwargs: Any) -> Any:
        _, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        return self._replaykit_cast(super().to, dtype, args, kwargs)  # type: ignore[misc]

    def half(self, *args: Any) -> Any:
        return self._replaykit_cast(super().half, _CASTS["half"], args, {})  # type: ignore[misc]

    def float(self, *args: Any) -> Any:
        return self._replaykit_cast(super().float, _CASTS["float"], args, {})  # type: ignore[misc]

    def bfloat16(self) -> Any:
        return self._replaykit_cast(super().bfloat16, _CASTS["bfloat16"], (), {})  # type: ignore[misc]

    def double(self) -> Any:
        return self._replaykit_cast(super().double, _CASTS["double"], (), {})  # type: ignore[misc]

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        return self._replaykit_cast(super().cuda, None, args, kwargs)  # type: ignore[misc]

    def cpu(self) -> Any:
        return self._replaykit_cast(super().cpu, None, (), {})  # type: ignore[misc]

    def _replaykit_cast(self, real: Callable[..., Any], dtype: torch.dtype | None, args: Any, kwargs: Any) -> Any:
        """The program moves or casts the model; `real` is what the class below would do, `dtype` the one asked for."""
        raise NotImplementedError


@functools.lru_cache(maxsize=256)
def subclass(cls: Any, mixin: Any) -> Any:
    """A subclass of `cls` with `mixin` before it that looks the same from outside: name, module, signatures.

    transformers asks a model's class for its name ("mamba" in it), inspects the signatures of `forward` and
    `prepare_inputs_for_generation`, and looks its decoding loops up on the class.
    """
    names: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    names["_replaykit_of"] = cls
    made = type(cls.__name__, (mixin, cls), names)
    for loop in DECODING_LOOPS:
        if hasattr(cls, loop):
            setattr(made, loop, _looping(loop, getattr(cls, loop)))
    for name in ("forward", "generate", "_get_top_k_continuations", "to", "cuda", "half", "float"):
        if hasattr(cls, name) and hasattr(mixin, name):
            setattr(made, name, _like(getattr(cls, name), getattr(mixin, name)))
    return made


def _looping(loop: str, real: Any) -> Any:
    @functools.wraps(real)
    def decode(self: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._replaykit_loop(loop, input_ids, *args, **kwargs)

    return decode


def _like(real: Any, override: Any) -> Any:
    """`override` with the signature of `real`."""

    @functools.wraps(real)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return override(self, *args, **kwargs)

    return method


def original_class(cls: type) -> type:
    """The class that `subclass` made `cls` from, or `cls` itself."""
    return cls.__dict__.get("_replaykit_of", cls)


def empty_model(cls: type) -> Any:
    """An instance of a model's class without weights or submodules: `nn.Module.__init__` alone, 0.1 ms for any size."""
    model: Any = object.__new__(cls)
    nn.Module.__init__(model)
    return model


def as_the_original(thing: Any) -> Any:
    """`thing` as an instance of its original class, without its session: what is pickled in its place."""
    original: Any = object.__new__(original_class(type(thing)))
    original.__dict__.update({name: value for name, value in thing.__dict__.items() if name != "_replaykit"})
    return original


def as_it_is(thing: Any) -> Any:
    """`thing`: what a pickle calls to make a swapped instance's original."""
    return thing


def deep_copied(thing: Any, memo: dict[int, Any]) -> Any:
    """A deep copy that is of the same swapped class, with a binding of its own."""
    copied = memo[id(thing)] = object.__new__(type(thing))
    for name, value in thing.__dict__.items():
        copied.__dict__[name] = copy.deepcopy(value, memo)
    return copied
