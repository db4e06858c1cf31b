"""A recorded sampler: any callable from logits to a token. The session decides whether the real one is asked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..calls import Outcome, SamplerCall, identity_object
from ..calls.call import tensor_object
from ..codec import Tensor
from ..codec.tree import mapped
from ..hf.provenance import tokenizer_provenance
from ..hf.seeds import notice
from ..hf.values import Values, no_cache, python_value
from ..sessions import Session


def record_sampler(sampler: Callable[..., Any], session: Session, name: str) -> Callable[..., Any]:
    """`sampler` as a callable whose choices are recorded or replayed, under `name`.

    Equal questions are numbered since the last explicit seed, for a sampler may draw random numbers.
    """
    identity = identity_object("sampler", name=name)
    provenance = tokenizer_provenance()

    @functools.wraps(sampler, updated=())
    def recorded(*args: Any, **kwargs: Any) -> Any:
        if session.closed and session.records:
            return sampler(*args, **kwargs)
        notice(session.seeds)
        question = SamplerCall(identity.digest, _arguments(args, kwargs))
        scope = session.seeds.current
        call = replace(question, seed=scope.seed, occurrence=scope.occurrence(question.key))
        outcome = session.recall(call)
        if outcome is None:
            choice = sampler(*args, **kwargs)
            session.record(call, Outcome(Values().plain(choice)), provenance, objects=[identity])
            return choice
        return python_value(outcome.value, fetch=session.fetch, new_cache=no_cache)

    return recorded


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments as plain data, tensors by digest: the logits are the answer of the step before."""
    values = Values()
    return {
        "args": [mapped(values.plain(value), _by_digest) for value in args],
        "kwargs": {name: mapped(values.plain(value), _by_digest) for name, value in kwargs.items()},
    }


def _by_digest(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ["tensor", value.dtype, list(value.shape), tensor_object(value).digest]
    return value
