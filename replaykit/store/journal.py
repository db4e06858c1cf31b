"""The journal: sessions of recording that are not sealed yet, their entries in order, and whether their writer lives.

A session has a row in `ses` for ever and rows in `log` while it is open, so the open ones are found without reading the
sealed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..codec import decode, encode
from ..digest import Digest
from .environment import LOG, SES, Update, View
from .index import Entry, split_entries

ID_SIZE = 16
OPEN, SEALED, DROPPED = "open", "sealed", "dropped"


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session of recording that was begun and neither sealed nor dropped."""

    id: bytes
    repository: str
    name: str
    count: int
    alive: bool  # whether its writer still runs, as far as this process can tell

    @property
    def interrupted(self) -> bool:
        return not self.alive


def append(update: Update, session: bytes, opening: dict[str, Any], entries: Iterable[Entry]) -> None:
    """Log entries of a session, opening it with its first ones.

    Numbers continue where the log ends, whoever wrote it: a forked child shares the session of its parent.
    """
    row = read_session(update, session)
    if row.get("state") != OPEN:  # new, or sealed by somebody who took its writer for dead: go on behind that
        update.put(SES, session, encode({**row, **opening, "state": OPEN}))
    for at, entry in enumerate(entries, count(update, session)):
        update.put(LOG, session + at.to_bytes(8, "big"), entry.pack())


def count(view: View, session: bytes) -> int:
    """How many entries a session logged: its numbers have no gaps."""
    last = view.last(LOG, session)
    return int.from_bytes(last[ID_SIZE:], "big") + 1 if last else 0


def entries(view: View, session: bytes) -> list[Entry]:
    """What a session logged, in order."""
    return list(split_entries(b"".join(packed for _, packed in view.scan(LOG, session))))


def end(update: Update, session: bytes, state: str, opening: dict[str, Any], manifest: Digest | None = None) -> None:
    """Seal or drop a session: its log rows go, its row stays and tells the manifest."""
    row = {**opening, **read_session(update, session), "state": state, "ended": int(time.time())}
    if manifest is not None:
        row["manifest"] = manifest
    update.put(SES, session, encode(row))
    for key, _ in list(update.scan(LOG, session)):
        update.delete(LOG, key)


def open_sessions(view: View) -> list[OpenSession]:
    """The sessions that have a log, hopping from one to the next."""
    found = []
    key = view.first(LOG, b"")
    while key is not None:
        session = key[:ID_SIZE]
        row = read_session(view, session)
        alive = is_alive(row.get("writer", {}))
        found.append(OpenSession(session, row.get("repository", ""), row.get("name", ""), count(view, session), alive))
        key = view.first(LOG, session + b"\xff" * 9)
    return found


def read_session(view: View, session: bytes) -> dict[str, Any]:
    """The row of a session in `ses`; empty where there is none."""
    value = view.get(SES, session)
    row: dict[str, Any] = {} if value is None else decode(value, check=False)
    return row


def opening(repository: str, name: str) -> dict[str, Any]:
    """What `ses` says about a session that this process begins now."""
    return {"repository": repository, "name": name, "started": int(time.time()), "writer": this_writer()}


def this_writer() -> dict[str, Any]:
    """What tells this process from all others, now and after a reboot."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot(), "space": _pid_space(), "pid": pid, "born": _born(pid)}


def is_alive(writer: dict[str, Any]) -> bool:
    """Whether a writer still runs. One on another host, or whose process ids mean nothing here, counts as alive."""
    if writer.get("host") != socket.gethostname():
        return True
    if writer.get("boot") != _boot():
        return False
    if writer.get("space") != _pid_space():
        return True
    return _exists(writer.get("pid", 0)) and _born(writer.get("pid", 0)) == writer.get("born")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def _boot() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def _pid_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in ticks since boot: process ids are used again."""
    return (_text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() or [""] * 20)[19]


def _text(path: Path) -> str:
    """A file of /proc, empty where the system has none."""
    return path.read_text().strip() if path.exists() else ""
