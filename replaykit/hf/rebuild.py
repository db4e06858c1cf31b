"""Rebuilding a replayed cache for the real model: its lineage's calls are made again, in order."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers.cache_utils import Cache

from ..calls import Lineage, ModelStep, Node, Outcome
from ..errors import LineageError
from .caches import adopt, state_of
from .values import Values, no_cache, python_value


def rebuilt(cache: Cache, model: Any) -> None:
    """Fill a replayed `cache`, in place, with what its lineage says, computed by the recorded `model`.

    Raises LineageError for a lineage whose rows come from several calls (such a batch cannot be computed again in one
    piece), and where the model answers a call on the way otherwise than it is recorded.
    """
    state = state_of(cache)
    if state is None or not state.replayed or state.lineage.rows is None:
        return
    wanted = state.lineage
    chain = _chain(wanted)
    filled = copy.deepcopy(cache)  # what goes wrong on the way leaves the program's cache as it was
    state = adopt(filled, model.__dict__["_replaykit"], replayed=False)
    for call, keep in chain:
        arguments = {
            name: python_value(value, fetch=_absent, new_cache=no_cache) for name, value in call.inputs.items()
        }
        arguments = {
            name: value.to(model.device) if isinstance(value, torch.Tensor) else value
            for name, value in arguments.items()
            if name != "training"
        }
        _compare(call, model.__dict__["_replaykit"].recompute(model, arguments | {"past_key_values": filled}), model)
        if keep < state.lineage.length:
            filled.crop(keep - state.lineage.length)
    if state.lineage.names != wanted.names:
        raise LineageError(
            "the cache was rebuilt, but by another chain of calls than the recorded one",
            expected=repr(wanted),
            actual=repr(state.lineage),
        )
    cache.__dict__.update(filled.__dict__)


def _compare(call: ModelStep, output: Any, model: Any) -> None:
    """A step whose answer is recorded must be answered so again, or the cache would not be the one the program saw."""
    recorded = model.__dict__["_replaykit"].session.recorded_outcomes(call)
    again = Outcome(Values().plain(output)).object.digest
    if recorded and again not in recorded:
        raise LineageError(
            "the real model answers a step of this conversation otherwise than it is recorded,"
            " so the conversation cannot be taken up where the recording ends",
            expected=", ".join(digest.hex()[:8] for digest in recorded),
            actual=again.hex()[:8],
            asked=call.summary(),
            to_record='the whole conversation afresh, with mode="all"',
        )


def _chain(lineage: Lineage) -> list[tuple[ModelStep, int]]:
    """The calls from the root on, each with the number of positions that are left of the cache after it."""
    nodes: list[Node | None] = list(lineage.rows or [])
    length = lineage.length
    chain: list[tuple[ModelStep, int]] = []
    while nodes and nodes[0] is not None:
        first = nodes[0]
        if [node.row if node else -1 for node in nodes] != list(range(len(nodes))) or any(
            node is None or node.call is not first.call for node in nodes
        ):
            raise LineageError(
                "the rows of this cache come from several calls (beams, or rows picked by hand),"
                " so the real model cannot be brought to where it stood",
                to_record='record this conversation from its start with mode="all"',
            )
        chain.append((first.call, length))
        length -= first.length
        nodes = [node.parent if node else None for node in nodes]
    return chain[::-1]


def _absent(digest: Any) -> Any:
    raise LineageError(f"a tensor of a call in the lineage is not at hand ({digest.hex()})")
