"""Choices: the operations by which `generate()` decides, sent through the run that is under way.

transformers' generation loop reaches `torch.argmax`, `torch.multinomial`, `torch.topk` and `torch.rand_like` through
its module's global name `torch`. That name is pointed, once a process, at a module that hands out torch's own names,
except these four, which first ask whether a run is under way; everybody else's torch stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Protocol

import torch
from transformers.generation import utils as generation_utils

OPERATIONS = ("argmax", "multinomial", "topk", "rand_like")


class Chooser(Protocol):
    """A run of `generate()`: records the choices that are made, or makes those that were recorded."""

    def choose(self, operation: str, compute: Callable[[], Any], source: torch.Tensor) -> Any: ...


current_chooser: ContextVar[Chooser | None] = ContextVar("replaykit_chooser", default=None)
"""The run whose decoding loop is under way in this thread or task."""

_installing = threading.Lock()


def install() -> None:
    """Send the generation loop's choices through `current_chooser`. Does nothing the second time."""
    with _installing:
        if not isinstance(generation_utils.__dict__["torch"], _TorchWithChoices):
            generation_utils.__dict__["torch"] = _TorchWithChoices()


class _TorchWithChoices(ModuleType):
    def __init__(self) -> None:
        super().__init__("torch", torch.__doc__)
        self.__dict__.update({name: _asking(name) for name in OPERATIONS})

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _asking(name: str) -> Callable[..., Any]:
    def wrapper(source: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        operation = getattr(torch, name)  # at each call: somebody may have patched it
        chooser = current_chooser.get()
        if chooser is None:
            return operation(source, *args, **kwargs)
        return chooser.choose(name, lambda: operation(source, *args, **kwargs), source)

    wrapper.__name__ = name
    return wrapper
