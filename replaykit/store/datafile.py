"""What a data.mdb looks like from outside, read before LMDB maps it.

LMDB trusts its file: reading a page beyond the end of a truncated one kills the process (SIGBUS), and no error tells.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from ..errors import CorruptError, FormatError

_MAGIC = struct.pack("=I", 0xBEEFC0DE)
_HEADER_SIZE = 16  # of a page, in the 0.9 format
_META = struct.Struct("=IIQQ48s48sQQ")  # magic, version, address, map size, free db, main db, last page, transaction
_PAGE_SIZE = struct.Struct("=I")  # the first field of the free db
_RESTORE = "restore the file from a copy, or delete env/ and record again"
_ROUNDS = 3  # another process may be writing while we look


def check_data_file(path: Path, audit: Callable[[Path], list[str]]) -> None:
    """Refuse a data.mdb that is not one, or of which a part is missing. `audit` walks a whole file, and is slow.

    Raises FormatError for something that never was a store's file, CorruptError for one that was and is damaged.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    for round_left in reversed(range(_ROUNDS)):
        problem = _problem(path, audit)
        if problem is None:
            return
        if not round_left:
            raise problem


def _problem(path: Path, audit: Callable[[Path], list[str]]) -> Exception | None:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    size = path.stat().st_size
    if head.startswith(b"version https://git-lfs"):
        return FormatError("a Git LFS pointer, not the store's data", path=path, next_step="git lfs pull")
    if head[24:28] == _MAGIC:
        return FormatError(
            "written by LMDB 1.0, whose format this replaykit does not read", path=path, next_step="upgrade replaykit"
        )
    if head[_HEADER_SIZE : _HEADER_SIZE + 4] != _MAGIC:
        if _has_text_endings(path):
            return CorruptError("line endings were converted, as if the file were text", path=path, next_step=_RESTORE)
        return FormatError("not an LMDB file of this machine's kind", path=path, next_step="name another store")
    page_size, needed = _needed(head)
    second = head[page_size + _HEADER_SIZE : page_size + _HEADER_SIZE + 4] if page_size else b""
    if second == _MAGIC and needed <= size and size % page_size == 0:
        return None
    found = audit(path) if second == _MAGIC else ["its second page is missing"]
    if not found:  # what is missing at the end is free: nobody will read it
        return None
    if _has_text_endings(path):
        return CorruptError("line endings were converted, as if the file were text", path=path, next_step=_RESTORE)
    missing = f"truncated: {size} of {needed} bytes are left" if needed > size else "damaged"
    return CorruptError(f"the store's file is {missing} ({found[0]})", path=path, next_step=_RESTORE)


def _needed(head: bytes) -> tuple[int, int]:
    """The size of a page, and of the file that the newest meta page speaks of."""
    first = _META.unpack_from(head.ljust(_HEADER_SIZE + _META.size, b"\0"), _HEADER_SIZE)
    (page_size,) = _PAGE_SIZE.unpack_from(first[4])
    metas = [first]
    if len(head) >= page_size + _HEADER_SIZE + _META.size:
        metas.append(_META.unpack_from(head, page_size + _HEADER_SIZE))
    newest = max(metas, key=lambda meta: int(meta[7]))
    return page_size, (newest[6] + 1) * page_size


def _has_text_endings(path: Path) -> bool:
    """Whether every line feed follows a carriage return, which chance does not do to a binary file."""
    with path.open("rb") as file:
        head = file.read(16 << 20)
    return 0 < head.count(b"\n") == head.count(b"\r\n")
