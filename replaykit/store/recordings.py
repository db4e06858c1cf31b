"""Recordings: names that stand for manifests. They are the roots: what no name reaches may be collected."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codec import Object, decode, encode
from ..digest import Digest
from ..errors import CorruptError, FormatError, UsageError
from . import journal, objects
from .environment import REF, Environment, Update, View
from .index import Entry
from .manifest import Manifest, build

_LONGEST_NAME_BYTES = 510  # repository and name together: LMDB's longest key, less the zero between them


@dataclass(frozen=True, slots=True)
class Recording:
    """A sealed recording as `ls` shows it."""

    repository: str
    name: str
    manifest: Digest
    count: int
    sealed: int  # seconds since 1970


def ref_key(repository: str, name: str) -> bytes:
    """The key of a recording in `ref`.

    Raises UsageError for names that cannot be one.
    """
    if not repository or not name or "\0" in repository + name:
        raise UsageError("a recording needs a repository and a name, without zero characters in them")
    try:
        key = repository.encode() + b"\0" + name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of a recording must be text: {error}") from error
    if len(key) > _LONGEST_NAME_BYTES + 1:
        raise UsageError(
            f"the name of a recording is too long: {len(key) - 1} bytes with its repository, "
            f"and {_LONGEST_NAME_BYTES} are allowed",
            name=name[:80],
            next_step="shorten it, for instance to its first part and a digest of the whole",
        )
    return key


def listed(view: View) -> list[Recording]:
    """All sealed recordings, sorted by repository, then name."""
    found = []
    for key, value in view.scan(REF):
        repository, _, name = key.partition(b"\0")
        row = decode(value, check=False)
        found.append(Recording(repository.decode(), name.decode(), row["manifest"], row["entries"], row["sealed"]))
    return found


def find(view: View, repository: str, name: str) -> Digest | None:
    """The manifest of a recording."""
    value = view.get(REF, ref_key(repository, name))
    return None if value is None else Digest(decode(value, check=False)["manifest"])


def load(view: View, manifest: Digest, path: Path) -> Manifest:
    """A manifest and its leaves, within one transaction.

    Raises CorruptError where the store has lost it.
    """
    node = objects.read(view, manifest, path)
    if node is None:
        raise CorruptError(
            "a recording's manifest is not in the store",
            path=path,
            object=manifest.hex(),
            next_step="record again, or use another store",
        )
    return Manifest(node, lambda name: objects.read(view, name, path), path)


def seal(
    update: Update,
    sessions: Iterable[bytes],
    opening: Mapping[str, Any],
    note: Mapping[str, Any],
    path: Path,
    *,
    before_all: Sequence[Entry] = (),
) -> Digest:
    """Make the entries of these sessions the recording they were begun for, all in this transaction.

    `before_all` are entries that come first, and whose calls the sessions' entries do not answer anew. A recording of
    that name with the same set of entries and the same note stays as it is. Interrupted sessions of that name are
    dropped: what they began is now recorded.
    """
    sessions = list(sessions)
    entries: list[Entry] = []
    for session in sessions:
        before = journal.read_session(update, session).get("manifest")
        if before is not None:  # sealed early, by somebody who took its writer for dead
            entries += load(update, before, path)
        entries += journal.entries(update, session)
    kept = {entry.key for entry in before_all}
    entries = [*before_all, *(entry for entry in entries if entry.key not in kept)]
    node, leaves = build(entries, note)
    key = ref_key(opening["repository"], opening["name"])
    present = find(update, opening["repository"], opening["name"])
    if present is None or not _same(update, present, node, entries, path):
        for item in (*leaves, node):
            objects.write(update, item, path)
        named = (digest for entry in entries for digest in (entry.key, entry.provenance, entry.outcome))
        objects.touch(update, [node.digest, *(leaf.digest for leaf in leaves), *named], path)
        count = len(dict.fromkeys(entries))
        row = {"manifest": node.digest, "entries": count, "sealed": int(time.time()), "session": sessions[-1]}
        update.put(REF, key, encode(row))
        present = node.digest
    for session in sessions:
        journal.end(update, session, journal.SEALED, dict(opening), present)
    for other in journal.open_sessions(update):
        if other.interrupted and (other.repository, other.name) == (opening["repository"], opening["name"]):
            journal.end(update, other.id, journal.DROPPED, {})
    return present


def recover(env: Environment, path: Path) -> None:
    """Seal what dead processes of this host left open, with the note that it broke off.

    Where a recording of the name exists, it stays as it is, and gets the entries of calls it has not.
    """
    if not any(session.interrupted for session in env.view(journal.open_sessions)):
        return

    def work(update: Update) -> None:
        orphans: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        for session in journal.open_sessions(update):
            row = journal.read_session(update, session.id)
            if session.interrupted and row:
                orphans.setdefault((session.repository, session.name), []).append((row["started"], session.id))
        for (repository, name), found in orphans.items():
            sessions = [session for _, session in sorted(found)]
            present = find(update, repository, name)
            before = None if present is None else load(update, present, path)
            seal(
                update,
                sessions,
                {"repository": repository, "name": name},
                {"broken": True} if before is None else before.note,
                path,
                before_all=[] if before is None else list(before),
            )

    env.update(work)


def _same(view: View, present: Digest, node: Object, entries: list[Entry], path: Path) -> bool:
    """Whether a sealed manifest already says what the new one would, in whatever order."""
    try:
        sealed = load(view, present, path)
        return sealed.note == decode(node.payload)["meta"] and set(sealed) == set(entries)
    except (CorruptError, FormatError):  # damaged: what is sealed now takes its place
        return False
