"""Write-behind: records wait a moment in memory, so that one durable transaction carries many of them.

A batch is written when 32 records or 8 MiB wait, or the first has waited 50 ms; batches cost a fifth to a tenth of
single commits. What waits is already visible to readers of this process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codec import Object, decode
from ..digest import Digest
from ..errors import StoreError
from . import frames, journal, objects
from .environment import IDX, OBJ, Environment, Update, View
from .index import Entry, Row

BATCH_RECORDS = 32
BATCH_BYTES = 8 << 20
BATCH_WAIT_S = 0.05
LONGEST_BATCH = 1024
PENDING_BYTES = 64 << 20
_ROW_BYTES = 512  # what an entry costs beside its objects, about


@dataclass(frozen=True, slots=True)
class Record:
    """One call to `Recorder.add`, waiting."""

    session: bytes
    opening: Mapping[str, Any]
    entry: Entry
    objects: tuple[Object, ...]
    note: bytes
    compress: frozenset[Digest]

    @property
    def size_bytes(self) -> int:
        return _ROW_BYTES + sum(len(item.payload) + len(item.header) for item in self.objects)


class Writer:
    """The queue of one store and the thread that empties it. Any thread may empty it too: `flush` does."""

    def __init__(self, env: Environment, path: Path) -> None:
        self._env = env
        self._path = path
        self.reset()

    def reset(self) -> None:
        """Begin anew with nothing waiting, as a forked child must: what waits is its parent's to write."""
        self._queue: deque[Record] = deque()
        self._objects: dict[Digest, tuple[Object, int]] = {}
        self._rows: dict[Digest, dict[Entry, tuple[Row, int]]] = {}
        self._bytes = 0
        self._count = 0
        self._waiting_since = 0.0
        self._failure: Exception | None = None
        self._lost: list[Entry] = []
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._changed = threading.Condition(threading.RLock())
        self._committing = threading.RLock()

    def add(self, record: Record) -> None:
        """Let a record wait for its batch. Blocks while 64 MiB wait.

        Raises what the last batch failed with, until a `flush` has cured it.
        """
        size = record.size_bytes
        with self._changed:
            self._changed.wait_for(lambda: self._failure or not self._bytes or self._bytes + size <= PENDING_BYTES)
            if self._failure is not None:
                raise self._failure
            if self._stopped:
                raise StoreError("this store was closed", path=self._path, next_step="open it again")
            if not self._queue:
                self._waiting_since = time.monotonic()
            self._queue.append(record)
            self._bytes += size
            self._count += 1
            self._show(record)
            if self._thread is None:
                self._start()
            if len(self._queue) == 1 or self._is_due():
                self._changed.notify_all()

    def object(self, name: Digest) -> Object | None:
        """An object that waits."""
        waiting = self._objects.get(name)
        return waiting[0] if waiting else None

    def rows(self, key: Digest) -> list[Row]:
        """The index rows of a key that wait."""
        with self._changed:
            return [row for row, _ in self._rows.get(key, {}).values()]

    def flush(self) -> None:
        """Write what waits, in this thread. All that was added before is durable on return.

        Raises FullError and the like; what could not be written goes on waiting, and the next flush tries again.
        """
        with self._changed:
            self._failure = None
        self._drain()
        with self._changed:
            lost, self._lost = self._lost, []
        if lost:
            raise StoreError(
                f"{len(lost)} entries were left out, because an object they name is no longer in the store",
                path=self._path,
                key=lost[0].key.hex(),
                next_step="record them again",
            )

    def flush_quietly(self) -> None:
        """Flush where nobody listens for an error: it is kept, and the next `add` raises it."""
        with suppress(Exception):  # kept in _failure
            self.flush()

    @property
    def pending(self) -> int:
        """How many records are not durable yet, those of a batch that is being written among them."""
        return self._count

    def stop(self) -> None:
        """Write what waits and let nothing more be added."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def hold(self) -> None:
        """Let no thread be inside of the queue, until `release`."""
        self._committing.acquire()
        self._changed.acquire()

    def release(self) -> None:
        self._changed.release()
        self._committing.release()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="replaykit-writer", daemon=True)
        self._thread.start()
        if "multiprocessing.util" in sys.modules:  # its children leave without running what atexit knows
            sys.modules["multiprocessing.util"].Finalize(self, self.flush_quietly, exitpriority=100)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or (self._queue and not self._failure))
                if self._stopped:
                    return
                left = self._waiting_since + BATCH_WAIT_S - time.monotonic()
                self._changed.wait_for(lambda: self._stopped or not self._queue or self._is_due(), max(left, 0))
            with suppress(Exception):  # kept in _failure, for the next add or flush
                self._drain()

    def _is_due(self) -> bool:
        return len(self._queue) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    def _drain(self) -> None:
        with self._committing:
            while True:
                with self._changed:
                    batch = self._take()
                if not batch:
                    return
                try:
                    self._commit(batch)
                except Exception as error:
                    with self._changed:
                        self._queue.extendleft(reversed(batch))
                        self._failure = error
                        self._changed.notify_all()
                    raise
                with self._changed:
                    for record in batch:
                        self._hide(record)
                        self._bytes -= record.size_bytes
                        self._count -= 1
                    self._waiting_since = time.monotonic()
                    self._changed.notify_all()

    def _take(self) -> list[Record]:
        batch: list[Record] = []
        size = 0
        while self._queue and len(batch) < LONGEST_BATCH and size < BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += batch[-1].size_bytes
        return batch

    def _commit(self, batch: list[Record]) -> None:
        made = self._compressed(batch)
        lost: list[Entry] = []

        def work(update: Update) -> None:
            lost.clear()
            by_session: dict[bytes, list[Record]] = {}
            for record in batch:
                for item in record.objects:
                    objects.write(update, item, self._path, frame=made.get(item.digest))
                entry = record.entry
                given = {item.digest for item in record.objects}
                named = {entry.key, entry.provenance, entry.outcome}
                if any(update.get(OBJ, name) is None for name in named - given):
                    lost.append(entry)
                    continue
                update.put(IDX, entry.pack(), record.note, overwrite=False)
                objects.touch(update, named | given, self._path)
                by_session.setdefault(record.session, []).append(record)
            for session, records in by_session.items():
                journal.append(update, session, dict(records[0].opening), (record.entry for record in records))

        self._env.update(work)
        self._lost += lost

    def _compressed(self, batch: list[Record]) -> dict[Digest, bytes]:
        """The frames that must be compressed, made before the transaction keeps other processes waiting."""
        wanted = {item.digest: item for record in batch for item in record.objects if item.digest in record.compress}
        if not wanted:
            return {}

        def absent(view: View) -> list[Object]:
            return [item for name, item in wanted.items() if view.get(OBJ, name) is None]

        return {item.digest: frames.pack(item, compress=True) for item in self._env.view(absent)}

    def _show(self, record: Record) -> None:
        for item in record.objects:
            _, times = self._objects.get(item.digest, (item, 0))
            self._objects[item.digest] = (item, times + 1)
        entry = record.entry
        rows = self._rows.setdefault(entry.key, {})
        row, times = rows.get(entry) or (
            Row(entry.key, entry.provenance, entry.outcome, decode(record.note, check=False)),
            0,
        )
        rows[entry] = (row, times + 1)

    def _hide(self, record: Record) -> None:
        for item in record.objects:
            shown, times = self._objects[item.digest]
            if times > 1:
                self._objects[item.digest] = (shown, times - 1)
            else:
                del self._objects[item.digest]
        rows = self._rows[record.entry.key]
        row, times = rows[record.entry]
        if times > 1:
            rows[record.entry] = (row, times - 1)
        else:
            del rows[record.entry]
        if not rows:
            del self._rows[record.entry.key]
