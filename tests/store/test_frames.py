from __future__ import annotations

import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replaykit.codec import Kind, Object
from replaykit.errors import CorruptError, FormatError, StoreError
from replaykit.store import frames

HERE = Path("store")
BIG = bytes(range(256)) * 64

payloads = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(0, 1000)),
)
items = st.builds(
    lambda kind, payload, fields: Object.of(kind, payload, **fields),
    st.sampled_from(Kind),
    payloads,
    st.dictionaries(st.sampled_from(("dtype", "shape", "x" * 70)), st.text(max_size=80)),
)


def read(frame: bytes, item: Object) -> Object:
    return frames.verified(frames.split(memoryview(frame), item.digest, HERE), item.digest, HERE)


def zstd_frame(payload: bytes, encoded: bytes, *, declared: int | None = None) -> tuple[bytes, Object]:
    size = len(payload) if declared is None else declared
    return struct.pack("<BBBBIQ", 1, Kind.TENSOR, frames.ZSTD, 0, 1, size) + b"\xa0" + encoded, Object(
        Kind.TENSOR, payload
    )


@given(items, st.booleans())
def test_a_frame_gives_back_its_object(item, compress):
    found = read(frames.pack(item, compress=compress), item)
    assert (found.kind, found.header, found.payload) == (item.kind, item.header, item.payload)


@given(items)
def test_a_frame_holds_its_object_and_no_other(item):
    other = Object(item.kind, bytes(item.payload) + b"!", item.header)
    for compress in (False, True):
        assert frames.holds(memoryview(frames.pack(item, compress=compress)), item, HERE)
        assert not frames.holds(memoryview(frames.pack(other, compress=compress)), item, HERE)


@pytest.mark.parametrize("header_fields", [{}, {"dtype": "float32"}, {"shape": "x" * 55}])
def test_large_payloads_are_aligned(header_fields):
    item = Object.of(Kind.TENSOR, BIG, **header_fields)
    assert frames.pack(item).index(BIG) % 64 == 48


@pytest.mark.parametrize(
    ("payload", "codec"),
    [
        (b"\0" * 4095, frames.RAW),  # below a page nothing is gained
        (b"\0" * 4096, frames.ZSTD),
        (zstandard.compress(BIG * 9) * 60, frames.ZSTD),
        (zstandard.compress(bytes(i * i * i % 251 for i in range(9000)), 19), frames.RAW),
    ],
)
def test_compression_must_gain(payload, codec):
    assert frames.pack(Object(Kind.TENSOR, payload), compress=True)[2] == codec
    assert frames.pack(Object(Kind.TENSOR, payload))[2] == frames.RAW


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("payload", [b"", b"answer", BIG])
def test_every_flipped_byte_of_a_frame_is_refused(payload, compress):
    item = Object.of(Kind.OUTCOME, payload, note="n")
    frame = frames.pack(item, compress=compress)
    for at in range(len(frame)):
        damaged = bytearray(frame)
        damaged[at] ^= 0x20
        with pytest.raises((CorruptError, FormatError)):
            read(bytes(damaged), item)


@pytest.mark.parametrize("payload", [b"answer", BIG])
def test_every_cut_of_a_frame_is_refused(payload):
    item = Object(Kind.OUTCOME, payload)
    frame = frames.pack(item)
    for size in [*range(64), len(frame) - 1]:
        with pytest.raises(StoreError):
            read(frame[: min(size, len(frame) - 1)], item)


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (2, 2), (2, 3), (2, 4), (2, 9), (3, 2)])
def test_what_a_newer_replaykit_writes_asks_for_an_upgrade(offset, value):
    item = Object(Kind.OUTCOME, b"answer")
    frame = bytearray(frames.pack(item))
    frame[offset] = value
    with pytest.raises(FormatError, match="upgrade replaykit"):
        read(bytes(frame), item)


def unsized(payload: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(payload)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(zstandard.compress(b"\0" * (300 << 20)), id="a bomb that tells its size"),
        pytest.param(unsized(b"\0" * (64 << 20)), id="a bomb that hides its size"),
        pytest.param(unsized(BIG), id="no size told"),
        pytest.param(zstandard.compress(BIG) + b"!", id="something behind it"),
        pytest.param(zstandard.compress(BIG) + zstandard.compress(b""), id="a second frame"),
        pytest.param(zstandard.compress(BIG[:-1]), id="another size"),
        pytest.param(zstandard.compress(BIG)[:-1], id="cut short"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_compressed_payloads_are_exactly_what_they_declare(encoded):
    frame, item = zstd_frame(BIG, encoded)
    with pytest.raises(CorruptError):
        read(frame, item)


def test_a_bomb_that_declares_its_size_is_refused_by_the_cap():
    encoded = zstandard.compress(b"\0" * (frames.LARGEST_DECODED_BYTES + 1))
    frame, item = zstd_frame(b"", encoded, declared=frames.LARGEST_DECODED_BYTES + 1)
    with pytest.raises(CorruptError, match="above the"):
        read(frame, item)
