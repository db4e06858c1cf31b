"""What is left when a recording process is killed."""

from __future__ import annotations

import signal

import pytest

from replaykit.store import Store

from .samples import python, record, sample

RECORD_UNTIL_KILLED = """
from itertools import count
store = Store.open(sys.argv[1])
recorder = store.begin("repo", sys.argv[2])
for number in count(int(sys.argv[3])):
    recorder.add(*sample(number))
    if number % 7 == 6:
        recorder.flush()
        print(number + 1, flush=True)
"""


def interrupt(path, name, *, after, first=0) -> int:
    """Kill a recording process once it says that so many entries are flushed; how many it said."""
    return kill(python(RECORD_UNTIL_KILLED, path, name, first), after=after, first=first)


def kill(process, *, after, first=0) -> int:
    flushed = 0
    while flushed - first < after:
        flushed = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    flushed = max([flushed, *map(int, process.stdout.read().split())])
    process.wait()
    return flushed


@pytest.mark.parametrize("after", [7, 35, 140, 350])
def test_a_killed_recorder_loses_nothing_it_flushed(path, after):
    flushed = interrupt(path, "test", after=after)

    with Store.open(path) as store:
        entries = list(store.manifest("repo", "test"))
        assert entries == [sample(number)[0] for number in range(len(entries))]
        assert flushed <= len(entries) <= flushed + 7 + 1
        for entry in entries:
            assert store.get(entry.outcome) is not None
            assert store.rows(entry.key)
        assert store.open_sessions() == []


def test_an_interrupted_session_adds_to_a_recording_what_it_has_not(path):
    with Store.open(path) as store:
        record(store, "test", range(105))
    flushed = interrupt(path, "test", after=14, first=100)

    with Store.open(path) as store:
        entries = list(store.manifest("repo", "test"))
        assert entries == [sample(number)[0] for number in range(len(entries))]
        assert len(entries) >= flushed
        assert store.open_sessions() == []


def test_interrupted_sessions_of_one_name_become_one_recording(path):
    with Store.open(path) as store:
        processes = [python(RECORD_UNTIL_KILLED, path, "test", first) for first in (0, 1000)]
        for process in processes:
            process.stdout.readline()
        for first, process in zip((0, 1000), processes, strict=True):
            kill(process, after=7, first=first)
        assert [session.interrupted for session in store.open_sessions()] == [True, True]

    with Store.open(path) as store:
        entries = set(store.manifest("repo", "test"))
        assert {sample(0)[0], sample(6)[0], sample(1000)[0], sample(1006)[0]} <= entries


def test_a_living_recorder_is_left_alone(path):
    process = python(RECORD_UNTIL_KILLED, path, "test", 0)
    process.stdout.readline()
    try:
        with Store.open(path) as store:
            assert store.recordings() == []
            assert [session.alive for session in store.open_sessions()] == [True]
    finally:
        process.kill()
        process.communicate()


def test_a_session_sealed_too_early_keeps_all_it_records(store):
    recorder = store.begin("repo", "test")
    recorder.add(*sample(1))
    recorder.flush()
    store._env.update(lambda update: _pretend_dead(update, recorder.id))
    from replaykit.store import recordings

    recordings.recover(store._env, store.path)
    assert len(store.manifest("repo", "test")) == 1

    recorder.add(*sample(2))
    assert list(recorder.seal()) == [sample(1)[0], sample(2)[0]]


def _pretend_dead(update, session):
    from replaykit.codec import decode, encode

    row = decode(bytes(update.get("ses", session)))
    row["writer"]["born"] = "never"
    update.put("ses", session, encode(row))


def test_what_waits_is_written_at_exit(path):
    code = "store = Store.open(sys.argv[1]); r = store.begin('repo', 'test'); r.add(*sample(1))"
    assert python(code, path).wait() == 0
    with Store.open(path) as store:
        assert sample(1)[0].outcome in store


def test_a_multiprocessing_child_writes_what_waits_when_it_ends(path):
    code = """
import multiprocessing
def work(store):
    recorder = store.begin("repo", "child")
    recorder.add(*sample(1))
store = Store.open(sys.argv[1])
child = multiprocessing.get_context("fork").Process(target=work, args=(store,))
child.start()
child.join()
sys.exit(child.exitcode)
"""
    assert python(code, path).wait() == 0
    with Store.open(path) as store:
        assert list(store.manifest("repo", "child")) == [sample(1)[0]]
