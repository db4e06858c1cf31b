"""A recorder: one session of recording into a store."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..codec import Object, encode
from ..digest import Digest, short
from ..errors import UsageError
from . import journal, recordings
from .environment import Update
from .index import Entry
from .manifest import Manifest
from .writer import Record

if TYPE_CHECKING:
    from .store import Store


class Recorder:
    """An open session of recording: `add` entries, then `seal` them as a recording or `drop` them.

    Threads may share it. A forked child may add to the recorder of its parent, which seals what both added.
    """

    def __init__(self, store: Store, repository: str, name: str) -> None:
        recordings.ref_key(repository, name)
        self.id = secrets.token_bytes(journal.ID_SIZE)
        self.repository = repository
        self.name = name
        self._store = store
        self._opening = journal.opening(repository, name)
        self._pid = os.getpid()
        self._state = journal.OPEN

    def add(
        self,
        entry: Entry,
        objects: Sequence[Object],
        *,
        note: Mapping[str, Any] | None = None,
        compress: Collection[Digest] | bool = False,
    ) -> None:
        """Record an entry and the objects that the store may not have yet. Returns at once; durable after `flush`.

        `note` is plain data for the entry's row in the index, `compress` says which payloads may be compressed.
        Blocks while much waits to be written. Raises UsageError if the entry names an object that is neither among
        `objects` nor in the store, and what an earlier batch failed with: FullError and the like.
        """
        self._check_open()
        kept = tuple(map(_frozen, objects))
        given = {item.digest for item in kept}
        for role in ("key", "provenance", "outcome"):
            name = getattr(entry, role)
            if name not in given and name not in self._store:
                raise UsageError(
                    f"an entry's {role} is neither among its objects nor in the store",
                    object=name.hex(),
                    next_step="pass the object along with the entry",
                )
        row = encode({**(note or {}), "session": self.id, "time": int(time.time())})
        chosen = given if compress is True else given.intersection(compress or ())
        self._store._writer.add(Record(self.id, self._opening, entry, kept, row, frozenset(chosen)))

    def flush(self) -> None:
        """Make durable what was added so far.

        Raises FullError and the like if it cannot be written; it stays in memory, and the next flush tries again.
        """
        self._store._writer.flush()

    def seal(self, *, note: Mapping[str, Any] | None = None) -> Manifest:
        """Make what was added the recording of this name, durably, and end the session.

        Where the recording has the same set of entries and the same note already, it stays what it is. `note` becomes a
        part of the manifest, which must be the same wherever the same is recorded: no times, no hosts.
        """
        self._check_open()
        self._check_owner("seal")
        self.flush()

        def work(update: Update) -> Digest:
            return recordings.seal(update, [self.id], self._opening, note or {}, self._store.path)

        digest = self._store._env.update(work)
        self._state = journal.SEALED
        return self._store._manifest(digest)

    def drop(self) -> None:
        """End the session without a recording. Its objects and index rows stay until they are collected."""
        self._check_open()
        self._check_owner("drop")
        self.flush()
        self._store._env.update(lambda update: journal.end(update, self.id, journal.DROPPED, self._opening))
        self._state = journal.DROPPED

    def _check_open(self) -> None:
        if self._state != journal.OPEN:
            raise UsageError(f"this recorder is {self._state}", recording=self.name, next_step="begin another one")

    def _check_owner(self, verb: str) -> None:
        if self._pid != os.getpid():
            raise UsageError(
                f"only the process that began a recorder may {verb} it",
                recording=self.name,
                next_step="call flush() in a forked child",
            )

    def __repr__(self) -> str:
        return f"<Recorder {short(self.id)} {self.repository}/{self.name}: {self._state}>"


def _frozen(item: Object) -> Object:
    """The object with a payload that nobody can change while it waits to be written."""
    if type(item.payload) is bytes:
        return item
    return Object(item.kind, bytes(item.payload), item.header)
