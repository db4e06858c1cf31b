"""The house's only hash: BLAKE3, 32 bytes."""

from __future__ import annotations

from typing import NewType

from blake3 import blake3

Digest = NewType("Digest", bytes)
"""32 bytes naming content."""

SIZE = 32


def digest(*parts: bytes | memoryview) -> Digest:
    """The digest of the parts laid end to end. The caller makes their borders unambiguous."""
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return Digest(hasher.digest())


def short(value: bytes) -> str:
    """The first eight hex digits: enough to recognise a digest in a message."""
    return value[:4].hex()
