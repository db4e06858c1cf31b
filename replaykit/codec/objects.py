"""An object: immutable bytes with a kind and a header, named by their digest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ..digest import SIZE, Digest, digest
from .cbor import decode, encode
from .lazy import lazy

DOMAIN = b"replaykit.v1."
EMPTY_HEADER = b"\xa0"


class Kind(IntEnum):
    """What an object holds. A number never changes its meaning; docs/reference/format.md lists them."""

    CALL = 1
    TENSOR = 2
    LEAF = 3
    NODE = 4
    PROVENANCE = 5
    DICTIONARY = 6
    OUTCOME = 7
    FILE = 8
    IDENTITY = 9
    ENCODING = 10


@dataclass(frozen=True)
class Object:
    """Immutable bytes of one kind.

    `header` is canonical CBOR: a map with text keys. Its key `refs`, where present, is one byte string: the digests of
    the objects this one needs, end to end, so that whoever copies or keeps objects can follow them without
    understanding the payload.
    """

    kind: int
    payload: bytes | memoryview
    header: bytes = EMPTY_HEADER
    __hash__ = None  # type: ignore[assignment]  # named by digest, not by hash

    @lazy
    def digest(self) -> Digest:
        """blake3("replaykit.v1." kind header payload); the header delimits itself, so the borders are unambiguous."""
        return object_digest(self.kind, self.header, self.payload)

    @lazy
    def fields(self) -> dict[str, Any]:
        """The header, decoded. That it is canonical need not be proved again where the digest was verified."""
        return decode(self.header, check="digest" not in self.__dict__)

    @property
    def refs(self) -> tuple[Digest, ...]:
        """The objects this one needs."""
        return split_refs(self.fields.get("refs", b""))

    @classmethod
    def of(cls, kind: int, payload: bytes | memoryview, *, refs: tuple[Digest, ...] = (), **fields: Any) -> Object:
        """An object with its header made from `fields` and `refs`."""
        if refs:
            fields["refs"] = b"".join(refs)
        return cls(kind, payload, encode(fields) if fields else EMPTY_HEADER)


def object_digest(kind: int, header: bytes, payload: bytes | memoryview) -> Digest:
    return digest(DOMAIN, bytes((kind,)), header, payload)


def split_refs(joined: bytes) -> tuple[Digest, ...]:
    return tuple(Digest(joined[i : i + SIZE]) for i in range(0, len(joined), SIZE))
