"""The door to LMDB: one environment, short transactions, and the cures for what can go wrong inside them.

The only module that imports lmdb. It always asks for engine 0 (the 0.9 file format), since a variable in the process's
surroundings may change lmdb's own default, and every lmdb error becomes one of `errors` here, once.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import lmdb
import lmdb.verify

from ..errors import BusyError, CorruptError, FormatError, FullError, ReadOnlyError, StoreError

T = TypeVar("T")

META, OBJ, IDX, LOG, SES, REF, TOUCH, QUAR = DATABASES = ("meta", "obj", "idx", "log", "ses", "ref", "touch", "quar")

ENGINE = 0
MAP_SIZE_BYTES = 1 << 40  # address space only: the file grows as it is written
SMALLEST_MAP_BYTES = 1 << 20
MAX_READERS = 1024  # fixed by the first process that opens lock.mdb, so every opener must ask for the same
MAX_DATABASES = 16
ATTEMPTS = 24  # several processes may grow the map in turn, each of them failing the others

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def audit(path: Path) -> list[str]:
    """What is structurally wrong with a data.mdb, found without letting LMDB map it. Reads all of it: 50 us a page."""
    try:
        return list(lmdb.verify.verify(str(path), subdir=False))  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError as error:
        return [str(error)]


class View:
    """A read transaction: one consistent state of the store. Values are views that die with it."""

    __slots__ = ("_handles", "_txn")

    def __init__(self, txn: lmdb.Transaction, handles: dict[str, lmdb._Database]) -> None:
        self._txn = txn
        self._handles = handles

    def get(self, database: str, key: bytes) -> memoryview | None:
        value: memoryview | None = self._txn.get(key, db=self._handles[database])  # type: ignore[assignment]
        return value

    def scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin with `prefix` and their values, in order of the keys."""
        found = self.first(database, prefix)
        if found is None:
            return
        with self._txn.cursor(self._handles[database]) as cursor:
            cursor.set_range(found)
            for key, value in cursor.iternext():
                name = bytes(key)
                if not name.startswith(prefix):
                    return
                yield name, bytes(value)

    def first(self, database: str, at: bytes) -> bytes | None:
        """The first key that is not below `at`."""
        with self._txn.cursor(self._handles[database]) as cursor:
            found = cursor.set_range(at) if at else cursor.first()
            return bytes(cursor.key()) if found else None

    def last(self, database: str, prefix: bytes) -> bytes | None:
        """The last key that begins with `prefix`, where no key goes on with eight bytes 0xff."""
        with self._txn.cursor(self._handles[database]) as cursor:
            found = cursor.prev() if cursor.set_range(prefix + b"\xff" * 8) else cursor.last()
            key = bytes(cursor.key()) if found else b""
            return key if key.startswith(prefix) else None

    def count(self, database: str) -> int:
        return int(self._txn.stat(self._handles[database])["entries"])


class Update(View):
    """A write transaction: all of it becomes durable, or nothing."""

    __slots__ = ()

    def put(self, database: str, key: bytes, value: bytes, *, overwrite: bool = True) -> bool:
        """Store `value`; False where the key is there and `overwrite` is not set."""
        return bool(self._txn.put(key, value, overwrite=overwrite, db=self._handles[database]))

    def delete(self, database: str, key: bytes) -> bool:
        return bool(self._txn.delete(key, db=self._handles[database]))


class Environment:
    """`<store>/env`, open: `view` reads, `update` writes. Threads share it; so may a forked child.

    `readonly` says that the files cannot be written here; `locked` that readers are registered in lock.mdb.
    """

    def __init__(self, path: Path, *, map_size_bytes: int = MAP_SIZE_BYTES) -> None:
        self.path = path
        self.readonly = False
        self.locked = True
        self._env: lmdb.Environment | None = None
        self._handles: dict[str, lmdb._Database] = {}
        self._writing = threading.RLock()  # held by whoever has a write transaction
        self._gate = threading.Condition(threading.RLock())  # guards what follows
        self._active = 0
        self._barred = False
        self._map_size = map_size_bytes
        self._refused = False
        self._reset()
        self._open()

    def view(self, work: Callable[[View], T]) -> T:
        """What `work` reads, in one short transaction. It may run more than once."""
        attempt = 0
        while True:
            env = self._enter()
            try:
                txn = env.begin(buffers=True)
                try:
                    return work(View(txn, self._handles))
                finally:
                    txn.abort()
            except lmdb.Error as error:
                problem = error
            finally:
                self._leave()
            attempt += 1
            self._cure(problem, attempt)

    def update(self, work: Callable[[Update], T]) -> T:
        """Do `work` in one write transaction, durable on return. It may run more than once, but commits once."""
        if self.readonly:
            raise ReadOnlyError("this store cannot be written here", path=self.path)
        attempt = 0
        with self._writing:
            while True:
                env = self._enter()
                try:
                    with env.begin(write=True, buffers=True) as txn:
                        return work(Update(txn, self._handles))
                except lmdb.Error as error:
                    problem = error
                finally:
                    self._leave()
                attempt += 1
                self._cure(problem, attempt)

    def refuse_updates(self) -> None:
        """Only read from now on, although the files could be written."""
        self.readonly = self._refused = True

    def close(self) -> None:
        with self._alone():
            if self._env is not None:
                self._env.close()
            self._env, self._closed = None, True

    def hold(self) -> None:
        """Let nobody begin a transaction, here or in other threads, until `release`: what a fork needs."""
        self._writing.acquire()
        self._gate.acquire()
        self._barred = True  # or busy readers, one always inside, would keep us waiting for ever
        self._gate.wait_for(lambda: self._active == 0)

    def release(self) -> None:
        self._barred = False
        self._gate.notify_all()
        self._gate.release()
        self._writing.release()

    def forget(self) -> None:
        """In a forked child: close what was inherited. The next transaction opens the environment anew.

        An inherited environment seems to work, but each of its reads takes a reader's slot for ever, in the parent too.
        """
        inherited = self._env
        self._reset(closed=self._closed)
        if inherited is not None:
            inherited.close()

    def _reset(self, *, closed: bool = False) -> None:
        self._env = None
        self._closed = closed
        self._pid = os.getpid()
        self._active = 0
        self._barred = False
        self._writing = threading.RLock()
        self._gate = threading.Condition(threading.RLock())

    def _enter(self) -> lmdb.Environment:
        with self._gate:
            if self._barred:
                self._gate.wait_for(lambda: not self._barred)
            if self._pid != os.getpid():  # forked by something that runs no hooks
                self.forget()
            if self._env is None:
                self._open()
            self._active += 1
            assert self._env is not None
            return self._env

    def _leave(self) -> None:
        with self._gate:
            self._active -= 1
            if not self._active:
                self._gate.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.hold()
        try:
            yield
        finally:
            self.release()

    def _open(self) -> None:
        if self._closed:
            raise StoreError("this store was closed", path=self.path, next_step="open it again")
        for readonly, locked in ((False, True), (True, True), (True, False)):
            try:
                self._env, self._handles = self._open_with(readonly=readonly, locked=locked)
            except lmdb.Error as error:
                if error.code in _NOT_WRITABLE and locked:
                    continue
                self._refuse(error)
            self.readonly, self.locked = readonly or self._refused, locked
            return

    def _open_with(self, *, readonly: bool, locked: bool) -> tuple[lmdb.Environment, dict[str, lmdb._Database]]:
        size = self._map_size
        while True:
            try:
                env = lmdb.open(
                    str(self.path),
                    map_size=size,
                    readonly=readonly,
                    lock=locked,
                    max_readers=MAX_READERS,
                    max_dbs=MAX_DATABASES,
                    sync=True,
                    writemap=False,
                    lib_version=ENGINE,
                )
                break
            except lmdb.MemoryError:  # the address space is limited: reserve less, growing later if need be
                if size <= SMALLEST_MAP_BYTES:
                    raise
                size //= 2
        try:
            if locked and not readonly:
                env.reader_check()
            return env, {name: self._open_database(env, name, create=not readonly) for name in DATABASES}
        except BaseException:
            env.close()
            raise

    def _open_database(self, env: lmdb.Environment, name: str, *, create: bool) -> lmdb._Database:
        for _ in range(ATTEMPTS):
            try:
                return env.open_db(name.encode(), create=create)
            except lmdb.MapResizedError:  # open_db begins a transaction too
                env.set_mapsize(0)
            except lmdb.MapFullError:
                env.set_mapsize(env.info()["map_size"] * 2)
        raise BusyError("other processes keep growing this store", path=self.path, next_step="try again")

    def _cure(self, error: lmdb.Error, attempt: int) -> None:
        """Do what lets the transaction be tried again, or raise what the caller can act on."""
        # Named before the ifs: the map is too small for what others wrote (resized) or for what we write (full); the
        # table of readers is full of the dead; a page read badly and spoilt its transaction; anything else is final.
        if attempt >= ATTEMPTS:
            self._refuse(error)
        if isinstance(error, lmdb.MapResizedError):
            with self._alone():
                self._resize(0)
        elif isinstance(error, lmdb.MapFullError):
            with self._alone():
                self._resize(self._size() * 2)
        elif isinstance(error, lmdb.ReadersFullError):
            if attempt > 2 or self._env is None or not self._env.reader_check():
                self._refuse(error)
        elif attempt > 1 or isinstance(error, (lmdb.DiskError, lmdb.ReadonlyError, lmdb.LockError)):
            self._refuse(error)

    def _size(self) -> int:
        return int(self._env.info()["map_size"]) if self._env is not None else 0

    def _resize(self, size: int) -> None:
        if self._env is None:
            return
        try:
            self._env.set_mapsize(size)
        except lmdb.Error as error:
            raise FullError(
                f"the store's map cannot grow to {size} bytes: {error}", path=self.path, next_step="raise `ulimit -v`"
            ) from error

    def _refuse(self, error: lmdb.Error) -> NoReturn:
        raise self._translate(error) from error

    def _translate(self, error: lmdb.Error) -> StoreError:
        path = self.path
        if error.code in _NO_SPACE or isinstance(error, lmdb.DiskError):
            return FullError(
                "no space left for the store; what was recorded before is intact",
                path=path,
                next_step="free space, then record again",
            )
        if error.code == errno.EIO:  # LMDB's word for a write that ended early, too: "filesystem full?" says its source
            return FullError(
                "the store's file could not be written: no space left, or a failing disk",
                path=path,
                next_step="free space, look at the disk, then record again",
            )
        if error.code in _NOT_WRITABLE:
            return ReadOnlyError("this store cannot be written here", path=path)
        if isinstance(error, lmdb.NotFoundError):
            return FormatError(
                "the LMDB file holds no replaykit store", path=path, next_step="name the store's directory"
            )
        if isinstance(error, (lmdb.ReadersFullError, lmdb.LockError)):
            return BusyError(f"too many readers or a lock that is held: {error}", path=path, next_step="try again")
        if isinstance(error, (lmdb.MapFullError, lmdb.MapResizedError)):
            return BusyError("other processes keep growing this store", path=path, next_step="try again")
        if isinstance(error, (lmdb.InvalidError, lmdb.VersionMismatchError)):
            return FormatError(f"not the LMDB 0.9 file a store keeps: {error}", path=path, next_step="restore the file")
        if isinstance(error, lmdb.MemoryError):
            return StoreError(f"no address space for the store: {error}", path=path, next_step="raise `ulimit -v`")
        if error.code and error.code > 0:
            return StoreError(
                f"the store's files failed: {error}",
                path=path,
                next_step="look at the disk and at the file's permissions",
            )
        return CorruptError(f"the LMDB file is damaged: {error}", path=path, next_step="restore it, or record again")
