"""Canonical CBOR (RFC 8949 core deterministic encoding) for the values a call or an outcome is made of.

One value has one encoding: map keys sorted, shortest numbers, no indefinite lengths. What CBOR cannot tell apart by
itself carries a private tag:

    tag 40001  tuple                      [elements]
    tag 40002  text with lone surrogates  UTF-8 with surrogatepass, as bytes
    tag 40003  map with keys other than text   [[key, value], ...] sorted by the key's encoding
    tag 40004  Tensor                     [dtype, shape, data]
    tag 40005  Ref                        digest of the object that holds a tensor

The only module that imports cbor2.
"""

from __future__ import annotations

import math
from typing import Any

import cbor2

from ..digest import SIZE
from ..errors import FormatError, UnsupportedError
from .tensor import ITEM_SIZE, Ref, Tensor

TUPLE, SURROGATES, PAIRS, TENSOR, REF = 40001, 40002, 40003, 40004, 40005

_PLAIN = (type(None), bool, int, float, bytes)


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`.

    Raises UnsupportedError for a value that is not plain data.
    """
    return cbor2.dumps(_to_cbor(value), canonical=True)


def decode(data: bytes | memoryview, *, check: bool = True) -> Any:
    """The value whose canonical encoding is `data`.

    `check=False` leaves out the proof that the encoding is the canonical one, for bytes whose digest was verified.
    Raises FormatError if `data` is not the canonical encoding of any value: equal values must have equal bytes.
    """
    data = bytes(data)
    try:
        value = _from_cbor(cbor2.loads(data))
        canonical = encode(value) if check else data
    except (cbor2.CBORDecodeError, UnsupportedError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"not canonical CBOR: {error}") from error
    if canonical != data:
        raise FormatError("not canonical CBOR: the same value has another, shorter or sorted, encoding")
    return value


def _to_cbor(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        return _text(value)
    if kind is list:
        return [_to_cbor(item) for item in value]
    if kind is dict:
        if all(type(key) is str and _is_clean(key) for key in value):
            return {key: _to_cbor(item) for key, item in value.items()}
        pairs = [[_to_cbor(key), _to_cbor(item)] for key, item in value.items()]
        pairs.sort(key=lambda pair: cbor2.dumps(pair[0], canonical=True))
        return cbor2.CBORTag(PAIRS, pairs)
    if kind is tuple:
        return cbor2.CBORTag(TUPLE, [_to_cbor(item) for item in value])
    if kind is Tensor:
        return cbor2.CBORTag(TENSOR, [value.dtype, list(value.shape), bytes(value.data)])
    if kind is Ref:
        return cbor2.CBORTag(REF, value.digest)
    if kind in (memoryview, bytearray):
        return bytes(value)
    raise UnsupportedError(f"a {kind.__module__}.{kind.__qualname__} is not plain data and has no canonical bytes")


def _text(value: str) -> Any:
    if _is_clean(value):
        return value
    return cbor2.CBORTag(SURROGATES, value.encode("utf-8", "surrogatepass"))


def _is_clean(value: str) -> bool:
    """Whether UTF-8 can carry the text: tokenizers may return halves of surrogate pairs, which it cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_cbor(value: Any) -> Any:
    kind = type(value)
    if kind is list or kind is tuple:  # below a tag, cbor2 returns immutable containers
        return [_from_cbor(item) for item in value]
    if kind is dict or kind is cbor2.frozendict:
        if not all(type(key) is str for key in value):
            raise ValueError("map keys must be text")
        return {key: _from_cbor(item) for key, item in value.items()}
    if kind is cbor2.CBORTag:
        return _from_tag(value.tag, value.value)
    if kind in _PLAIN or kind is str:
        return value
    raise ValueError(f"unexpected {kind.__qualname__}")


def _from_tag(tag: int, content: Any) -> Any:
    if tag == TUPLE:
        return tuple(_from_cbor(item) for item in content)
    if tag == SURROGATES:
        if type(content) is not bytes:
            raise ValueError("text with surrogates is not bytes")
        return content.decode("utf-8", "surrogatepass")
    if tag == PAIRS:
        return {_from_cbor(key): _from_cbor(item) for key, item in content}
    if tag == TENSOR:
        dtype, shape, data = content
        if dtype not in ITEM_SIZE or type(data) is not bytes:
            raise ValueError(f"unknown tensor dtype {dtype!r}")
        if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * ITEM_SIZE[dtype] != len(data):
            raise ValueError("a tensor's bytes do not fill its shape")
        return Tensor(dtype, tuple(shape), data)
    if tag == REF:
        if type(content) is not bytes or len(content) != SIZE:
            raise ValueError("a reference is not a digest")
        return Ref(content)
    raise ValueError(f"unknown tag {tag}")
