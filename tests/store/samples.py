"""Small recorded things, and other processes to do something with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import replaykit
from replaykit.codec import Kind, Object
from replaykit.store import Entry, Manifest, Store

PROVENANCE = Object(Kind.PROVENANCE, b"cpu")


def sample(number: int, answer: bytes = b"answer") -> tuple[Entry, list[Object]]:
    """The entry of question `number` and its three objects."""
    call = Object(Kind.CALL, b"question %d" % number)
    outcome = Object(Kind.OUTCOME, b"%b %d" % (answer, number))
    return Entry(call.digest, PROVENANCE.digest, outcome.digest), [call, PROVENANCE, outcome]


def record(store: Store, name: str, numbers: Iterable[int], repository: str = "repo") -> Manifest:
    recorder = store.begin(repository, name)
    for number in numbers:
        recorder.add(*sample(number))
    return recorder.seal()


def rewrite(store: Store, database: str, key: bytes, value: bytes) -> None:
    """What nobody does: change bytes in the environment behind the store's back."""
    store._env.update(lambda update: update.put(database, key, value))


def stored(store: Store, database: str, key: bytes) -> bytes:
    def read(view) -> bytes:
        value = view.get(database, key)
        assert value is not None
        return bytes(value)

    return store._env.view(read)


def python(code: str, *arguments: object, **options) -> subprocess.Popen[str]:
    """Another Python, which can import replaykit and this module."""
    paths = [str(Path(replaykit.__file__).parents[1]), str(Path(__file__).parents[1])]
    code = "import sys\nfrom store.samples import *\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        **options,
    )
