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

    __slots__ = ("arguments", "batch", "cache", "call", "owner", "positions", "state")

    def __init__(
        self,
        call: ModelStep,
        arguments: dict[str, Any],
        cache: Cache | None,
        state: CacheState | None,
        owner: Any,
    ) -> None:
        self.owner = owner
        self.call = call
        self.arguments = arguments
        self.cache = cache
        self.state = state
        tokens = new_tokens(arguments)
        self.batch: int = 1 if tokens is None else tokens.shape[0]
        self.positions: int = 0 if tokens is None else tokens.shape[1]

    def fill(self, cache: Cache | None, *, replayed: bool) -> None:
        """The call has filled `cache` (the one passed in, or one the model made): lengthen its lineage."""
        if cache is None:
            return
        state = self.state if cache is self.cache else None
        if state is None:
            state = adopt(cache, self.owner, replayed=replayed)
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
    binding = model.__dict__["_replaykit"]
    cache, state = _cache_in(arguments, binding, replayed)
    past = state.lineage.length if state is not None else 0
    inputs = normal_inputs(model, arguments, past, whole=False)
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
        binding,
    )
    if rows is not None and len(rows) != step.batch:
        raise LineageError(f"the cache has {len(rows)} rows, the call {step.batch}")
    return step


def normal_inputs(model: Any, arguments: Mapping[str, Any], past: int, *, whole: bool) -> dict[str, Any]:
    """The named arguments in normal form, as plain values; `past` is the number of positions in the cache.

    `whole`: these are what a `generate()` starts from, whose ids may repeat what the cache holds.
    """
    values = Values()
    config = model.config
    inputs: dict[str, Any] = {}
    tokens = new_tokens(arguments)
    positions = 0 if tokens is None else tokens.shape[1]
    masks = masks_something(
        arguments.get("attention_mask"), (past + positions, positions) if whole else (past + positions,)
    )
    for name, value in arguments.items():
        if value is None or name in _PASSENGERS or name in CACHE_NAMES:
            continue
        if name == "attention_mask" and not masks:
            continue
        if name == "position_ids" and not masks and counts_from(value, past, positions):
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
    attention = config._attn_implementation
    if attention != model.__dict__["_replaykit"].attention:
        inputs["attention"] = str(attention)  # set since the model was loaded
    autocast = autocast_dtype()
    if autocast is not None:
        inputs["autocast"] = autocast
    if model.training:
        inputs["training"] = True  # dropout may be on
    if values.files:
        raise UnsupportedError(
            "a tokenizer's encoding was passed to the model as one argument; pass its tensors by name"
        )
    return inputs


def new_tokens(arguments: Mapping[str, Any]) -> Any:
    """The ids or embeddings that a call feeds, of shape (B, T) or (B, T, H); None if it feeds none."""
    return next((arguments[name] for name in _TOKENS if arguments.get(name) is not None), None)


def masks_something(mask: Any, lengths: tuple[int, ...]) -> bool:
    """Whether an attention mask hides any position. What is not a 2D mask of one of the lengths is taken to."""
    if mask is None:
        return False
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2 or mask.shape[1] not in lengths:
        return True
    return not bool((mask == 1).all())


def counts_from(ids: Any, past: int, positions: int) -> bool:
    """Whether position ids merely count on from the cache's length, as the model does without them."""
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or ids.shape[1] != positions:
        return False
    if ids.shape == (1, 1):
        return int(ids) == past
    return bool((ids == torch.arange(past, past + positions, device=ids.device)).all())


def autocast_dtype() -> str | None:
    """The dtype torch casts to on the way, where the program switched that on."""
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            return str(torch.get_autocast_dtype(device)).removeprefix("torch.")
    return None


def _cache_in(arguments: Mapping[str, Any], owner: Any, replayed: bool) -> tuple[Cache | None, CacheState | None]:
    for name in CACHE_NAMES:
        cache = arguments.get(name)
        if isinstance(cache, Cache):
            return cache, meet(cache, owner, replayed=replayed)
        if cache is not None:
            raise UnsupportedError(
                f"{name} is a {type(cache).__name__}; only transformers' Cache classes can be followed"
            )
    return None, None
