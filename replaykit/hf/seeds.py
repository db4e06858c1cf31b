"""Explicit seeds: `torch.manual_seed` (which `transformers.set_seed` calls) tells the open sessions.

A seed counts for a sampled answer's key; the random numbers themselves are recorded, not drawn again.
"""

from __future__ import annotations

import functools
import threading
import weakref
from typing import Any, Protocol

import torch


class Seeded(Protocol):
    generator: int | None

    def begin(self, seed: int | None) -> None: ...
    def notice(self, seed: int, *, chosen: bool) -> None: ...


_listening: weakref.WeakSet[Any] = weakref.WeakSet()
_installing = threading.Lock()


def listen(scopes: Seeded) -> None:
    """Tell `scopes` each explicit seed from now on.

    A seed set before does not count: whoever made a model from a config seeded for that, not for the answers.
    """
    with _installing:
        if not hasattr(torch.manual_seed, "_replaykit"):
            torch.manual_seed = torch.random.manual_seed = _telling(torch.manual_seed)
    scopes.generator = torch.initial_seed()
    _listening.add(scopes)


def notice(scopes: Seeded) -> None:
    """Look whether the generator was seeded by other ways than `torch.manual_seed`, such as a name imported before."""
    seed = torch.initial_seed()
    scopes.notice(seed, chosen=was_set(seed))


def restore(state: torch.Tensor) -> None:
    """Set the CPU generator's state: what the program draws next is what it drew. That is no seed of the program's."""
    torch.set_rng_state(state)
    for scopes in list(_listening):
        scopes.generator = torch.initial_seed()


def was_set(seed: int) -> bool:
    """Whether a generator's seed was chosen by somebody: by itself it takes 53 random bits."""
    return seed < 2**32


def _telling(manual_seed: Any) -> Any:
    @functools.wraps(manual_seed)
    def wrapper(seed: Any) -> Any:
        generator = manual_seed(seed)
        for scopes in list(_listening):
            scopes.begin(int(seed))
            scopes.generator = torch.initial_seed()
        return generator

    wrapper._replaykit = True  # type: ignore[attr-defined]
    return wrapper
