"""The directory of a store: what lies where, the FORMAT file, and the lock that every opener shares."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from pathlib import Path

from ..errors import BusyError, FormatError, ReadOnlyError, StoreError

VERSION = 1
FORMAT, ENV, PACKS, TMP, LOCK = "FORMAT", "env", "packs", "tmp", "store.lock"
_OURS = {FORMAT, ENV, PACKS, TMP, LOCK}
_TITLE = "replaykit store, format "
_LOCK_WAIT_S = 5.0


def locate(path: Path, *, create: bool) -> str:
    """The id of the store at `path`, which is made where there is none and `create` is set.

    Raises FormatError for what is not a store of this version, StoreError where there is none.
    """
    if (path / FORMAT).is_file():
        store_id = _read_format(path / FORMAT)
        data = path / ENV / "data.mdb"
        if not create and (not data.exists() or not data.stat().st_size):
            raise StoreError("the store has lost its data", path=data, next_step="restore the file, or record anew")
        if not (path / ENV).is_dir():  # git keeps no empty directories
            _make_directories(path)
        return store_id
    if path.exists() and not path.is_dir():
        raise FormatError("a file, not the directory of a store", path=path, next_step="name the store's directory")
    strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS) if path.exists() else []
    if strangers:
        raise FormatError(
            f"not a store: it has no {FORMAT} file, but holds {', '.join(strangers[:3])}",
            path=path,
            next_step="name an empty directory, or the store itself",
        )
    if not create:
        raise StoreError("there is no store", path=path, next_step="record first, or name it: REPLAYKIT_STORE")
    _make_directories(path)
    return _make_format(path)


def share(path: Path) -> int | None:
    """Hold the store's lock together with all who use it; None where there is no lock file and none can be made.

    Raises BusyError if somebody works on the store alone.
    """
    lock = path / LOCK
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        if not lock.exists():
            return None
        descriptor = os.open(lock, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise BusyError(
                    "somebody compacts, migrates or repairs the store", path=path, next_step="wait for it to end"
                ) from None
            time.sleep(0.02)


def _make_directories(path: Path) -> None:
    try:
        for name in (ENV, PACKS, TMP):
            (path / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReadOnlyError(
            f"a store cannot be made here: {error.strerror}", path=path, next_step="name a directory you may write to"
        ) from error


def _make_format(path: Path) -> str:
    store_id = uuid.uuid4().hex
    draft = path / TMP / f"{FORMAT}.{store_id}"
    draft.write_text(f"{_TITLE}{VERSION}\nid {store_id}\nengine lmdb 0.9\nhash blake3\n")
    try:
        os.link(draft, path / FORMAT)  # unlike a rename, this lets the first of two makers win
    except FileExistsError:
        return _read_format(path / FORMAT)
    finally:
        draft.unlink()
    return store_id


def _read_format(path: Path) -> str:
    text = path.read_text(errors="replace")
    lines = text.splitlines() or [""]
    version = lines[0].removeprefix(_TITLE)
    if not lines[0].startswith(_TITLE) or not version.isdecimal():
        kind = "a Git LFS pointer" if text.startswith("version https://git-lfs") else "not a store's FORMAT file"
        raise FormatError(f"{kind}: it begins with {lines[0][:40]!r}", path=path, next_step="restore the file")
    if int(version) != VERSION:
        raise FormatError(
            f"a store of format {version}, and this replaykit reads format {VERSION}",
            path=path,
            next_step="upgrade replaykit",
        )
    facts = dict(line.partition(" ")[::2] for line in lines[1:])
    if not facts.get("id"):
        raise FormatError("the FORMAT file names no id", path=path, next_step="restore the file")
    return facts["id"]
