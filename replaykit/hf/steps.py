"""A forward call in normal form: what the logits depend on, and nothing that follows from the rest.

transformers' releases feed one step in different ways (5.0 passes `cache_position` and an all-ones mask, 5.23 neither).
One form serves them all: no `None`s, no `return_dict`, no `cache_position`; flags only where they differ from the
model's config; no mask that masks nothing, and then no positions that merely count; an empty cache is no cache. What
does not reduce stays as it was fed.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from transformers.cache_utils import Cache

from ..calls import ModelStep
from ..errors import LineageError, UnsupportedError
from .caches import CacheState, adopt, kind_of, meet, settle
from .values import Values

CACHE_NAMES = ("past_key_values", "cache_params")
# Objects that generate() hands through to forward in some releases; they choose nothing.
_PASSENGERS = ("cache_position", "tokenizer", "assistant_tokenizer", "streamer")
_FLAGS = ("output_attentions", "output_hidden_states", "output_router_logits")
_TOKENS = ("input_ids", "inputs_embeds", "decoder_input_ids", "decoder_inputs_embeds")


class Step:
    """One forward call and the cache it was made on.

    `batch` rows of `positions` new positions go in. `cache` and `state` are None where no cache was passed.
    """

    __slots__ = ("arguments", "batch", "cache", "call", "positions", "state")

    def __init__(
        self, call: ModelStep, arguments: dict[str, Any], cache: Cache | None, state: CacheState | None
    ) -> None:
        self.call = call
        self.arguments = arguments
        self.cache = cache
        self.state = state
        tokens = next((arguments[name] for name in _TOKENS if arguments.get(name) is not None), None)
        self.batch: int = 1 if tokens is None else tokens.shape[0]
        self.positions: int = 0 if tokens is None else tokens.shape[1]

    def fill(self, cache: Cache | None, *, replayed: bool) -> None:
        """The call has filled `cache` (the one passed in, or one the model made): lengthen its lineage."""
        if cache is None:
            return
        state = self.state if self.state is not None and cache is self.cache else adopt(cache, replayed=replayed)
        state.lineage.advance(self.call.key, self.positions, self.batch, self.call)
        settle(cache, state)


@lru_cache(maxsize=256)
def parameter_names(cls: Any) -> tuple[str, ...]:
    """The names of forward's parameters, so that positional arguments can be told by name."""
    return tuple(inspect.signature(cls.forward).parameters)[1:]


def read_step(model: Any, identity: bytes, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, replayed: bool) -> Step:
    """The call `model(*args, **kwargs)` in normal form.

    Raises UnsupportedError for an argument that cannot be told by its content, LineageError for a cache whose contents
    the session cannot account for.
    """
    arguments = dict(kwargs)
    if args:
        names = parameter_names(type(model))  # type: ignore[arg-type]
        arguments.update(zip(names, args, strict=False))
    cache, state = _cache_in(arguments, replayed)
    past = state.lineage.length if state is not None else 0
    inputs = normal_inputs(model, arguments, past)
    rows = state.lineage.rows if state is not None else None
    step = Step(
        ModelStep(
            identity,
            inputs,
            lineage=state.lineage.names if state is not None else b"",
            cache=kind_of(cache),
        ),
        arguments,
        cache,
        state,
    )
    if rows is not None and len(rows) != step.batch:
        raise LineageError(f"the cache has {len(rows)} rows, the call {step.batch}")
    return step


def normal_inputs(model: Any, arguments: Mapping[str, Any], past: int) -> dict[str, Any]:
    """The named arguments in normal form, as plain values; `past` is the number of positions in the cache."""
    values = Values()
    config = model.config
    inputs: dict[str, Any] = {}
    masks = masks_something(arguments.get("attention_mask"))
    for name, value in arguments.items():
        if value is None or name in _PASSENGERS or name in CACHE_NAMES:
            continue
        if name == "attention_mask" and not masks:
            continue
        if name == "position_ids" and not masks and counts_from(value, past):
            continue
        if name in _FLAGS:
            if not value:
                continue
        elif name in ("use_cache", "return_dict"):
            if value:
                continue
        elif name == "logits_to_keep" and type(value) is int and value == 0:
            continue
        inputs[name] = values.plain(value)
    for flag in _FLAGS:
        if arguments.get(flag) is None and getattr(config, flag, False):
            inputs[flag] = True
    if arguments.get("use_cache") is None and getattr(config, "use_cache", True) is False:
        inputs["use_cache"] = False
    if arguments.get("return_dict") is None and getattr(config, "return_dict", True) is False:
        inputs["return_dict"] = False
    if model.training:
        inputs["training"] = True  # dropout may be on
    if values.files:
        raise UnsupportedError(
            "a tokenizer's encoding was passed to the model as one argument; pass its tensors by name"
        )
    return inputs


def masks_something(mask: Any) -> bool:
    """Whether an attention mask hides any position. What is not a 2D mask is taken to."""
    if mask is None:
        return False
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
        return True
    return not bool((mask == 1).all())


def counts_from(positions: Any, past: int) -> bool:
    """Whether position ids merely count on from the cache's length, as the model does without them."""
    if not isinstance(positions, torch.Tensor) or positions.dim() != 2:
        return False
    if positions.shape == (1, 1):
        return int(positions) == past
    count = torch.arange(past, past + positions.shape[1], device=positions.device)
    return bool((positions == count).all())


def _cache_in(arguments: Mapping[str, Any], replayed: bool) -> tuple[Cache | None, CacheState | None]:
    for name in CACHE_NAMES:
        cache = arguments.get(name)
        if isinstance(cache, Cache):
            return cache, meet(cache, replayed=replayed)
        if cache is not None:
            raise UnsupportedError(
                f"{name} is a {type(cache).__name__}; only transformers' Cache classes can be followed"
            )
    return None, None
