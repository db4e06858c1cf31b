"""Record what a transformers model and tokenizer did once; replay it exactly, without the weights.

Importing this imports neither torch nor transformers nor lmdb: `session` does, when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    BusyError,
    CorruptError,
    DivergenceError,
    FidelityError,
    FormatError,
    FullError,
    IdentityError,
    LineageError,
    MissError,
    NondeterminismError,
    NotRecordedError,
    ReadOnlyError,
    RecordingNotFoundError,
    RemoteError,
    ReplaykitError,
    StoreError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from .load import ModelSession, session

__version__ = "0.1.0"

__all__ = [
    # record and replay
    "session",
    "ModelSession",
    # errors: what the reader does next
    "ReplaykitError",
    "MissError",
    "NotRecordedError",
    "RecordingNotFoundError",
    "DivergenceError",
    "IdentityError",
    "LineageError",
    "NondeterminismError",
    "FidelityError",
    "StoreError",
    "CorruptError",
    "FullError",
    "BusyError",
    "ReadOnlyError",
    "FormatError",
    "RemoteError",
    "UnsupportedError",
    "UsageError",
    # about
    "__version__",
]


def __dir__() -> list[str]:
    return sorted(globals() | dict.fromkeys(__all__))


def __getattr__(name: str) -> Any:
    if name in ("session", "ModelSession"):
        from . import load

        return getattr(load, name)
    raise AttributeError(f"module 'replaykit' has no attribute {name!r}")
