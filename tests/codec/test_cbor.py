"""One value has one encoding, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import datetime
import math
import struct
from fractions import Fraction

import cbor2
import pytest
from hypothesis import given

from replaykit.codec import Ref, Tensor, decode, encode
from replaykit.codec.cbor import PAIRS, REF, SURROGATES, TENSOR, TUPLE
from replaykit.errors import FormatError, UnsupportedError
from replaykit.testing.strategies import values


@given(values())
def test_decoding_gives_the_value_back(value):
    again = decode(encode(value))

    assert again == value
    assert types_of(again) == types_of(value)


@given(values())
def test_encoding_is_canonical(value):
    assert encode(decode(encode(value))) == encode(value)


@given(values())
def test_decoding_without_the_check_gives_the_same(value):
    assert types_of(decode(encode(value), check=False)) == types_of(decode(encode(value)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (-1, "20"),
        (2**64 - 1, "1bffffffffffffffff"),
        (2**64, "c249010000000000000000"),
        (-(2**64) - 1, "c349010000000000000000"),
        (False, "f4"),
        (None, "f6"),
        (1.0, "f93c00"),
        (-0.0, "f98000"),
        (0.1, "fb3fb999999999999a"),
        (math.inf, "f97c00"),
        ("ü", "62c3bc"),
        (b"\x00", "4100"),
        ([], "80"),
        ({}, "a0"),
        ({"b": 1, "a": 2, "aa": 3}, "a36161026162016261 6103"),
        ((1, 2), "d99c41820102"),
        ("\ud83d", "d99c4243eda0bd"),
        ({2: "x", 1: "y"}, "d99c43828201617982026178"),
        (Tensor("int8", (2,), b"\x01\x02"), "d99c448364696e743881 02420102"),
        (Ref(b"\x07" * 32), "d99c455820" + "07" * 32),
    ],
)
def test_the_bytes_are_those_of_the_format_document(value, expected):
    assert encode(value).hex() == expected.replace(" ", "")


def test_nan_has_one_encoding():
    odd = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]

    assert encode(odd) == encode(math.nan) == bytes.fromhex("f97e00")
    assert math.isnan(decode(encode(odd)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (0.0, -0.0),
        ("a", b"a"),
        ([1], (1,)),
        ({"1": 0}, {1: 0}),
        ([], {}),
        ("\ud83d\ude00", "\U0001f600"),  # two halves are not the whole
        (Tensor("int8", (2,), b"ab"), Tensor("uint8", (2,), b"ab")),
        (Tensor("int8", (2,), b"ab"), Tensor("int8", (1, 2), b"ab")),
        (Tensor("int8", (0,), b""), Tensor("int8", (0, 3), b"")),
        (Ref(b"\x07" * 32), b"\x07" * 32),
    ],
)
def test_what_is_not_the_same_has_other_bytes(one, other):
    assert encode(one) != encode(other)


def test_the_order_in_a_map_does_not_count():
    assert encode({"a": 1, "b": 2}) == encode({"b": 2, "a": 1})
    assert encode({1: 1, (2, "x"): 2, "b": 3}) == encode({"b": 3, (2, "x"): 2, 1: 1})


def test_views_are_bytes():
    assert encode(memoryview(b"abc")) == encode(bytearray(b"abc")) == encode(b"abc")
    assert encode(Tensor("int8", (2,), memoryview(b"ab"))) == encode(Tensor("int8", (2,), b"ab"))


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 1j, range(3), datetime.date(2020, 1, 1), Fraction(1, 2), [object()], {"a": object()}, int],
    ids=repr,
)
def test_what_is_not_plain_data_is_refused(value):
    with pytest.raises(UnsupportedError, match="has no canonical bytes"):
        encode(value)


NOT_CANONICAL = {
    "a number in too many bytes": "1801",
    "a float in too many bytes": "fb3ff0000000000000",
    "another NaN": "fb7ff8000000000001",
    "a length in too many bytes": "780161",
    "a list without end": "9f01ff",
    "a map without end": "bfff",
    "bytes in pieces": "5f4100ff",
    "keys out of order": "a2616201616102",
    "a key twice": "a2616101616102",
    "something after the end": "0000",
    "a bignum that is small": "c24101",
    "undefined": "f7",
    "a date": "c11a514b67b0",
    "an unknown tag": "d99c4f00",
    "a simple value": "e0",
    "a number as a map's key": "a10102",
    "nothing": "",
    "cut short": "6261",
    "no UTF-8": "61ff",
    "lone surrogates as text": "63eda0bd",
}

NOT_A_VALUE = {
    "clean text as surrogates": cbor2.CBORTag(SURROGATES, b"clean"),
    "surrogates as a list": cbor2.CBORTag(SURROGATES, [["a"]]),
    "a tuple of nothing": cbor2.CBORTag(TUPLE, None),
    "text keys as pairs": cbor2.CBORTag(PAIRS, [["a", 1]]),
    "no pairs as pairs": cbor2.CBORTag(PAIRS, []),
    "pairs out of order": cbor2.CBORTag(PAIRS, [[2, 0], [1, 0]]),
    "a key twice in pairs": cbor2.CBORTag(PAIRS, [[1, 0], [1, 1]]),
    "a pair of three": cbor2.CBORTag(PAIRS, [[1, 2, 3]]),
    "a list as a key": cbor2.CBORTag(PAIRS, [[[1], 2]]),
    "a tensor of unknown dtype": cbor2.CBORTag(TENSOR, ["int7", [1], b"x"]),
    "a tensor that overflows": cbor2.CBORTag(TENSOR, ["int8", [1], b"xy"]),
    "a tensor that is not full": cbor2.CBORTag(TENSOR, ["int64", [2], b"xy"]),
    "a tensor of negative size": cbor2.CBORTag(TENSOR, ["int8", [-1, -1], b"x"]),
    "a tensor with a bool for a side": cbor2.CBORTag(TENSOR, ["int8", [True], b"x"]),
    "a tensor of text": cbor2.CBORTag(TENSOR, ["int8", [1], "x"]),
    "a tensor of two parts": cbor2.CBORTag(TENSOR, ["int8", [1]]),
    "a tensor of one number": cbor2.CBORTag(TENSOR, 7),
    "a reference that is too short": cbor2.CBORTag(REF, b"x" * 31),
    "a reference that is text": cbor2.CBORTag(REF, "x" * 32),
}


@pytest.mark.parametrize("what", NOT_CANONICAL)
def test_other_bytes_are_refused(what):
    with pytest.raises(FormatError, match="not canonical CBOR"):
        decode(bytes.fromhex(NOT_CANONICAL[what]))


@pytest.mark.parametrize("what", NOT_A_VALUE)
def test_tags_with_other_contents_are_refused(what):
    with pytest.raises(FormatError, match="not canonical CBOR"):
        decode(cbor2.dumps(NOT_A_VALUE[what], canonical=True))


def test_an_endless_nesting_is_refused():
    with pytest.raises(FormatError):
        decode(b"\x81" * 100_000 + b"\x00")


def types_of(value):
    """A value with every type spelled out, so that 1, True and 1.0 are told apart, and 0.0 from -0.0."""
    if isinstance(value, dict):
        return dict, {(type(key), key): types_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [types_of(item) for item in value]
    if dataclasses.is_dataclass(value):
        return value
    return type(value), repr(value)
