"""Keys of model steps, packed by hand: the hot path of recording and replay.

The bytes are exactly the canonical CBOR that `Call.object` would make, several times faster; tests/calls/test_keys.py
holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..codec import Tensor, encode
from ..codec.objects import EMPTY_HEADER
from ..digest import SIZE
from .lineage import NAME_SIZE

_CUT = b"\xff\xff\xff\xff"
_TENSOR_TAG = b"\xd9\x9c\x44\x83"  # tag 40004, array of 3


def step_payload(identity: bytes, inputs: Mapping[str, Any], lineage: bytes, cache: str) -> bytes:
    """Canonical CBOR of ["step", {"cache", "inputs", "lineage", "identity"}], fields at their defaults left out."""
    parts: list[bytes | memoryview] = [b"\x82\x64step", bytes((0xA2 + (lineage != b"") + (cache != ""),))]
    if cache:
        parts += (b"\x65cache", _text(cache))
    parts += (b"\x66inputs", _head(0xA0, len(inputs)))
    for name in _in_order(tuple(inputs)):
        value = inputs[name]
        parts.append(_text(name))
        if type(value) is Tensor:
            parts += (_TENSOR_TAG, _text(value.dtype), _shape(value.shape), _head(0x40, len(value.data)), value.data)
        else:
            parts.append(encode(value))
    if lineage:
        parts += (b"\x67lineage", _head(0x40, len(lineage)), lineage)
    parts += (b"\x68identity", _head(0x40, len(identity)), identity)
    return b"".join(parts)


def step_header(identity: bytes, lineage: bytes, tensors: Sequence[bytes]) -> bytes:
    """Canonical CBOR of {"refs": identity, parent calls, tensors}, each once."""
    refs = [identity] if identity else []
    for start in range(0, len(lineage), NAME_SIZE):
        if lineage[start + SIZE : start + NAME_SIZE] != _CUT:
            refs.append(lineage[start : start + SIZE])
    refs += tensors
    if not refs:
        return EMPTY_HEADER
    joined = b"".join(dict.fromkeys(refs))
    return b"\xa1\x64refs" + _head(0x40, len(joined)) + joined


def _head(major: int, count: int) -> bytes:
    """The shortest CBOR head of a major type (given as the byte it starts at) with a count."""
    if count < 24:
        return bytes((major + count,))
    if count < 0x100:
        return bytes((major + 24, count))
    if count < 0x10000:
        return bytes((major + 25,)) + count.to_bytes(2, "big")
    if count < 0x100000000:
        return bytes((major + 26,)) + count.to_bytes(4, "big")
    return bytes((major + 27,)) + count.to_bytes(8, "big")


@lru_cache(maxsize=4096)
def _text(text: str) -> bytes:
    return encode(text)


@lru_cache(maxsize=4096)
def _shape(shape: tuple[int, ...]) -> bytes:
    return encode(list(shape))


@lru_cache(maxsize=1024)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=encode))
