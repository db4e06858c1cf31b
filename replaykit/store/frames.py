"""Frames: how an object's bytes lie in a store and in a pack.

    offset  size  field
    0       1     version, 1
    1       1     kind of the object
    2       1     codec of the payload
    3       1     flags; bit 0: aligned
    4       4     length of the header
    8       8     length of the payload before encoding
    16            header, then zero bytes if aligned, then the payload as encoded

Numbers are little-endian. In an aligned frame the payload begins at 48 modulo 64, so that it lies on a cache line where
LMDB maps a large value (at 16 modulo 64). The only module that imports zstandard, and only when it meets a frame that
needs it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ..codec import Object
from ..codec.objects import object_digest
from ..digest import Digest
from ..errors import CorruptError, FormatError, StoreError

VERSION = 1
RAW, ZSTD = 0, 1
RESERVED = {2: "zstd with a dictionary", 3: "shuffle and zstd", 4: "bfloat16 repack"}
ALIGNED = 1

COMPRESS_FROM_BYTES = 4096  # below, a page of LMDB is not saved
GAIN = 0.9
LARGEST_DECODED_BYTES = 256 << 20
_LARGEST_WINDOW_BYTES = 8 << 20
_LEVEL = 3

_FIXED = struct.Struct("<BBBBIQ")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart; its payload is still encoded and nothing of it is verified."""

    kind: int
    codec: int
    header: bytes
    size_bytes: int
    encoded: bytes


def pack(item: Object, *, compress: bool = False) -> bytes:
    """The frame of an object. `compress` where that gains a tenth of at least 4 KiB."""
    payload = item.payload
    codec = RAW
    if compress and len(payload) >= COMPRESS_FROM_BYTES:
        encoded = _compress(payload)
        if len(encoded) <= len(payload) * GAIN:
            codec, payload = ZSTD, encoded
    flags = ALIGNED if len(payload) >= COMPRESS_FROM_BYTES else 0
    fixed = _FIXED.pack(VERSION, item.kind, codec, flags, len(item.header), len(item.payload))
    return b"".join((fixed, item.header, bytes(_padding(flags, len(item.header))), payload))


def split(frame: memoryview, name: Digest, path: Path) -> Frame:
    """The parts of a frame, copied out of it.

    Raises CorruptError or FormatError where they do not fit together.
    """
    if len(frame) < _FIXED.size:
        raise _corrupt("a frame is cut short", name, path)
    version, kind, codec, flags, header_size, size_bytes = _FIXED.unpack_from(frame)
    if version != VERSION or codec not in (RAW, ZSTD) or flags & ~ALIGNED:
        what = f"codec {codec} ({RESERVED[codec]})" if codec in RESERVED else f"version {version}, codec {codec}"
        raise FormatError(
            f"a frame of {what}, flags {flags}: written by a newer replaykit, or damaged",
            path=path,
            object=name.hex(),
            next_step="upgrade replaykit",
        )
    start = _FIXED.size + header_size
    payload_start = start + _padding(flags, header_size)
    if payload_start > len(frame) or any(frame[start:payload_start]):
        raise _corrupt("a frame's parts do not fit together", name, path)
    return Frame(kind, codec, bytes(frame[_FIXED.size : start]), size_bytes, bytes(frame[payload_start:]))


def verified(frame: Frame, name: Digest, path: Path) -> Object:
    """The object in a frame, proved to be the one of that name.

    Raises CorruptError if it is not.
    """
    payload = _decompress(frame, name, path) if frame.codec == ZSTD else frame.encoded
    if len(payload) != frame.size_bytes or object_digest(frame.kind, frame.header, payload) != name:
        raise _corrupt("an object no longer hashes to its name", name, path)
    item = Object(frame.kind, payload, frame.header)
    item.__dict__["digest"] = name  # proved above, so nobody need hash it again
    return item


def holds(frame: memoryview, item: Object, path: Path) -> bool:
    """Whether a frame that is already stored still carries the object, whatever its codec."""
    try:
        found = split(frame, item.digest, path)
        payload = _decompress(found, item.digest, path) if found.codec == ZSTD else found.encoded
    except StoreError:
        return False
    return (found.kind, found.header, found.size_bytes) == (item.kind, item.header, len(payload)) and (
        payload == item.payload
    )


def _padding(flags: int, header_size: int) -> int:
    return (48 - _FIXED.size - header_size) % 64 if flags & ALIGNED else 0


def _compress(payload: bytes | memoryview) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(payload)


def _decompress(frame: Frame, name: Digest, path: Path) -> bytes:
    """The payload, of exactly the length declared: a few bytes may otherwise ask for gigabytes."""
    import zstandard

    if frame.size_bytes > LARGEST_DECODED_BYTES:
        raise _corrupt(
            f"a frame declares {frame.size_bytes} bytes, above the {LARGEST_DECODED_BYTES} allowed", name, path
        )
    try:
        parameters = zstandard.get_frame_parameters(frame.encoded)
        if parameters.content_size != frame.size_bytes:
            raise _corrupt("a frame and its compressed payload declare two lengths", name, path)
        decoder = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
        return decoder.decompress(frame.encoded, max_output_size=frame.size_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _corrupt(f"a frame cannot be decompressed: {error}", name, path) from error


def _corrupt(what: str, name: Digest, path: Path) -> CorruptError:
    return CorruptError(what, path=path, object=name.hex(), next_step='record again with mode="all"')
