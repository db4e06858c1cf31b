"""The stores this process has open: one for each directory, fit for forks, flushed at exit.

LMDB must not open one file twice in a process, so whoever opens a store again gets the one that is open.
"""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ReplaykitError

if TYPE_CHECKING:
    from .store import Store


@dataclass(slots=True)
class _Opened:
    store: Store
    directory: int  # an open descriptor: it keeps the inode's number from being given to another directory
    users: int


_opened: dict[tuple[int, int], _Opened] = {}
_lock = threading.RLock()
_releases: list[Callable[[], None]] = []


def share(path: Path, make: Callable[[], Store]) -> Store:
    """The store that is open at `path`, or the one that `make` opens."""
    with _lock:
        identity = _identity(path)
        if identity not in _opened:
            store = make()
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            facts = os.fstat(directory)
            _opened[facts.st_dev, facts.st_ino] = _Opened(store, directory, 1)
            return store
        opened = _opened[identity]
        opened.users += 1
        return opened.store


def let_go(store: Store) -> bool:
    """Count one user less; whether it was the last, who has to close the store."""
    with _lock:
        for identity, opened in _opened.items():
            if opened.store is store:
                opened.users -= 1
                if opened.users:
                    return False
                os.close(opened.directory)
                del _opened[identity]
                return True
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _before_fork() -> None:
    _lock.acquire()
    _releases.extend(opened.store._before_fork() for opened in _opened.values())


def _after_in_parent() -> None:
    while _releases:
        _releases.pop()()
    _lock.release()


def _after_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _releases.clear()
    for opened in _opened.values():
        opened.store._after_fork()


def _at_exit() -> None:
    for opened in list(_opened.values()):
        try:
            opened.store.flush()
        except ReplaykitError as error:
            warnings.warn(f"what was recorded last is lost: {error}", stacklevel=1)


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
atexit.register(_at_exit)
