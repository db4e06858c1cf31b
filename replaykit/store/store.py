"""The face of the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..codec import Object, decode, encode
from ..digest import Digest
from ..errors import CorruptError, FormatError, ReadOnlyError, StoreError
from . import frames, journal, layout, recordings, registry
from .datafile import check_data_file
from .environment import IDX, MAP_SIZE_BYTES, META, OBJ, REF, Environment, Update, View, audit
from .index import Row, read_rows
from .manifest import Manifest
from .recorder import Recorder
from .recordings import Recording
from .writer import Writer

REQUIRED_FEATURES: frozenset[str] = frozenset()
COMPATIBLE_FEATURES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stats:
    """How much a store holds. What still waits to be written counts only in `pending`."""

    objects: int
    rows: int
    recordings: int
    open_sessions: int
    pending: int
    size_bytes: int  # of env/data.mdb


class Store:
    """Objects named by their digests, an index of entries, and recordings, in one directory.

    Made by `Store.open`; close it, or use it in a `with` statement. Threads share it, and so may forked children.
    `readonly` says that it cannot be written here; `id` is the same wherever the directory is moved.
    """

    def __init__(self, path: Path, store_id: str, *, map_size_bytes: int) -> None:
        self.path = path
        self.id = store_id
        self._lock = layout.share(path)
        try:
            check_data_file(path / layout.ENV / "data.mdb", audit)
            self._env = Environment(path / layout.ENV, map_size_bytes=map_size_bytes)
            self._writer = Writer(self._env, path)
            self._check_meta()
            if not self.readonly:
                recordings.recover(self._env, path)
        except BaseException:
            self._unlock()
            raise
        self._closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True, map_size_bytes: int = MAP_SIZE_BYTES) -> Store:
        """The store at `path`, made there if `create` is set and nothing is there.

        A process has one `Store` for one directory, by whatever path it is opened; it closes when all have closed it.
        `map_size_bytes` is the address space to begin with, which grows. Raises StoreError where there is no store,
        FormatError for what is none of this version, CorruptError for a damaged one.
        """
        path = Path(path)
        try:
            return registry.share(path, lambda: cls._make(path, create=create, map_size_bytes=map_size_bytes))
        except OSError as error:
            raise StoreError(
                f"the store cannot be opened: {error.strerror}",
                path=error.filename or path,
                next_step="see who owns the file, and its permissions",
            ) from error

    @classmethod
    def _make(cls, path: Path, *, create: bool, map_size_bytes: int) -> Store:
        store_id = layout.locate(path, create=create)
        return cls(path.resolve(), store_id, map_size_bytes=map_size_bytes)

    @property
    def readonly(self) -> bool:
        return self._env.readonly

    def get(self, digest: Digest) -> Object | None:
        """The object of that name, verified; None where the store has none. Sees what waits to be written.

        Raises CorruptError if the bytes no longer hash to their name.
        """
        waiting = self._writer.object(digest)
        if waiting is not None:
            return waiting

        def copy(view: View) -> frames.Frame | None:
            value = view.get(OBJ, digest)
            return None if value is None else frames.split(value, digest, self.path)

        frame = self._env.view(copy)
        return None if frame is None else frames.verified(frame, digest, self.path)

    def __contains__(self, digest: object) -> bool:
        """Whether the store has an object of that name; whether it is sound, `get` tells."""
        if not isinstance(digest, bytes):
            return False
        name = Digest(digest)
        return self._writer.object(name) is not None or self._env.view(lambda view: view.get(OBJ, name) is not None)

    def rows(self, key: Digest) -> list[Row]:
        """What the index knows for a key, sorted by provenance, then outcome. Sees what waits to be written."""
        waiting = self._writer.rows(key)
        found = self._env.view(lambda view: read_rows(view, key))
        if not waiting:
            return found
        merged = {(row.provenance, row.outcome): row for row in (*waiting, *found)}
        return [merged[at] for at in sorted(merged)]

    def begin(self, repository: str, name: str) -> Recorder:
        """A session of recording, for the recording of that name in that repository.

        Raises ReadOnlyError where the store cannot be written.
        """
        if self.readonly:
            raise ReadOnlyError("this store cannot be written here", path=self.path, next_step="record into another")
        return Recorder(self, repository, name)

    def manifest(self, repository: str, name: str) -> Manifest | None:
        """The sealed recording of that name; None where there is none."""
        digest = self._env.view(lambda view: recordings.find(view, repository, name))
        return None if digest is None else self._manifest(digest)

    def recordings(self) -> list[Recording]:
        """All sealed recordings, sorted by repository, then name."""
        return self._env.view(recordings.listed)

    def open_sessions(self) -> list[journal.OpenSession]:
        """The sessions of recording that have entries and are neither sealed nor dropped, of all processes."""
        return self._env.view(journal.open_sessions)

    def stats(self) -> Stats:
        """How much the store holds."""

        def count(view: View) -> tuple[int, int, int, int]:
            return view.count(OBJ), view.count(IDX), view.count(REF), len(journal.open_sessions(view))

        size_bytes = (self.path / layout.ENV / "data.mdb").stat().st_size
        return Stats(*self._env.view(count), pending=self._writer.pending, size_bytes=size_bytes)

    def flush(self) -> None:
        """Make durable what all recorders of this process added so far."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits and let go of the files, once all who opened the store have closed it."""
        if registry.let_go(self):
            try:
                self._writer.stop()
            finally:
                self._closed = True
                self._env.close()
                self._unlock()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<Store {self.path}: closed>"
        stats = self.stats()
        state = ", read-only" if self.readonly else ""
        return f"<Store {self.path}: {stats.objects} objects, {stats.recordings} recordings{state}>"

    def _manifest(self, digest: Digest) -> Manifest:
        node = self.get(digest)
        if node is None:
            raise CorruptError(
                "a recording's manifest is not in the store",
                path=self.path,
                object=digest.hex(),
                next_step="record again, or pull the recording from a remote",
            )
        return Manifest(node, self.get, self.path)

    def _check_meta(self) -> None:
        """Read what the environment says of itself, or write it into a new one."""
        ours = {
            b"format": layout.VERSION,
            b"id": self.id,
            b"engine": "lmdb 0.9",
            b"hash": "blake3",
            b"required": sorted(REQUIRED_FEATURES),
            b"compatible": sorted(COMPATIBLE_FEATURES),
        }

        def read(view: View) -> dict[bytes, object]:
            return {key: decode(value) for key, value in view.scan(META) if key in ours}

        def write(update: Update) -> dict[bytes, object]:
            for key, value in ours.items():
                update.put(META, key, encode(value), overwrite=False)
            return read(update)

        meta = self._env.view(read)
        if not meta and not self.readonly:
            meta = self._env.update(write)
        unknown = set(meta.get(b"required", ())) - REQUIRED_FEATURES  # type: ignore[call-overload]
        if meta.get(b"format") != layout.VERSION or meta.get(b"hash") != "blake3" or unknown:
            needs = ", ".join(sorted(unknown)) or f"format {meta.get(b'format')} with {meta.get(b'hash')}"
            raise FormatError(
                f"the store needs what this replaykit does not know: {needs}",
                path=self.path,
                next_step="upgrade replaykit",
            )
        if set(meta.get(b"compatible", ())) - COMPATIBLE_FEATURES:  # type: ignore[call-overload]
            self._env.refuse_updates()
        self.id = str(meta[b"id"])

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _before_fork(self) -> Callable[[], None]:
        """Let no thread be inside of the store while the process forks; the result ends that in the parent."""
        self._writer.flush_quietly()
        self._writer.hold()
        self._env.hold()

        def release() -> None:
            self._env.release()
            self._writer.release()

        return release

    def _after_fork(self) -> None:
        """In the child: hold what is one's own, and nothing of the parent's."""
        self._env.forget()
        self._writer.reset()
        self._unlock()
        self._lock = layout.share(self.path)
