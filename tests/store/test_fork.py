from __future__ import annotations

import os
import threading
import time
import traceback

import pytest

from replaykit.errors import UsageError

from .samples import record, sample


def in_child(work) -> None:
    """Run `work` in a forked child, and fail if it does."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_child_reads_and_writes_and_the_parent_goes_on(store):
    record(store, "parent", range(5))

    def child():
        for _ in range(300):  # an inherited environment has 126 slots, and never gives one back
            for number in range(5):
                assert store.get(sample(number)[0].outcome) is not None
        record(store, "child", range(3, 8))

    in_child(child)
    for _ in range(300):
        assert store.get(sample(7)[0].outcome) is not None
    record(store, "parent again", range(9))
    assert [found.name for found in store.recordings()] == ["child", "parent", "parent again"]


def test_what_waits_is_the_parents_and_already_visible_to_the_child(store):
    recorder = store.begin("repo", "test")
    for number in range(10):
        recorder.add(*sample(number))

    def child():
        assert store.stats().pending == 0
        assert all(sample(number)[0].outcome in store for number in range(10))

    in_child(child)
    assert len(recorder.seal()) == 10


def test_a_child_adds_to_the_recorder_of_its_parent_who_seals(store):
    recorder = store.begin("repo", "test")
    recorder.add(*sample(1))

    def child():
        recorder.add(*sample(2))
        recorder.flush()
        with pytest.raises(UsageError, match="only the process that began"):
            recorder.seal()

    in_child(child)
    recorder.add(*sample(3))
    assert list(recorder.seal()) == [sample(number)[0] for number in (1, 2, 3)]


def test_a_child_has_a_writer_of_its_own(store):
    recorder = store.begin("repo", "test")
    recorder.add(*sample(1))

    def child():
        recorder.add(*sample(2))
        deadline = time.monotonic() + 10
        while store.stats().pending:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    in_child(child)
    assert len(recorder.seal()) == 2


def test_forks_amid_threads_that_read_and_write(store):
    record(store, "before", range(20))
    recorder = store.begin("repo", "during")
    wanted = sample(3)[0].outcome
    samples = list(map(sample, range(100, 400)))  # hashed here: what threads lock while they hash is not the store's
    done = threading.Event()

    def read():
        while not done.is_set():
            assert store.get(wanted) is not None

    def write():
        for entry, objects in samples:
            recorder.add(entry, objects)
        recorder.flush()

    threads = [threading.Thread(target=read), threading.Thread(target=read), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for at in range(8):
        in_child(lambda at=at: record(store, f"child {at}", range(at, at + 30)))
    threads[2].join()
    done.set()
    for thread in threads:
        thread.join()
    assert len(recorder.seal()) == 300
    assert len(store.recordings()) == 10


def test_a_grandchild_works_too(store):
    in_child(lambda: in_child(lambda: record(store, "grandchild", range(3))))
    assert len(store.manifest("repo", "grandchild")) == 3
