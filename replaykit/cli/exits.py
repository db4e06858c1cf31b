"""Exit codes, by the family of the error: what the caller does next is the same within one. Numbers are append-only."""

from __future__ import annotations

from ..errors import (
    DivergenceError,
    FidelityError,
    MissError,
    RemoteError,
    ReplaykitError,
    StoreError,
    UnsupportedError,
    UsageError,
)

EXIT_CODES: dict[type[ReplaykitError], int] = {
    ReplaykitError: 1,
    UsageError: 2,  # what click says of a wrong option, too
    MissError: 3,
    DivergenceError: 4,
    FidelityError: 5,
    StoreError: 6,
    RemoteError: 7,
    UnsupportedError: 8,
}


def exit_code(error: ReplaykitError) -> int:
    """The number of the nearest family the error belongs to."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)
