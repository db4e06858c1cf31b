"""Maps that grow, and disks that are full."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest

from replaykit.errors import FullError
from replaykit.store import Store

from .samples import python, record, sample

GROW = """
store = Store.open(sys.argv[1], map_size_bytes=1 << 20)
first = int(sys.argv[2])
recorder = store.begin("repo", f"writer {first}")
for number in range(first, first + 300):
    recorder.add(*sample(number, b"x" * 9000))
    if number % 10 == 0:
        recorder.flush()
        assert store.get(sample(number, b"x" * 9000)[0].outcome) is not None
recorder.seal()
store.close()
"""


def test_a_small_map_grows(path):
    with Store.open(path, map_size_bytes=1 << 20) as store:
        recorder = store.begin("repo", "test")
        for number in range(100):
            recorder.add(*sample(number, b"x" * 50_000))
        assert len(recorder.seal()) == 100


def test_several_processes_grow_one_map(path):
    with Store.open(path, map_size_bytes=1 << 20) as store:
        processes = [python(GROW, path, first) for first in (0, 1000, 2000, 3000)]
        for number in range(200):  # a reader whose map is overtaken
            assert store.get(sample(number)[0].outcome) is None
        assert [process.wait() for process in processes] == [0, 0, 0, 0]
        assert [found.count for found in store.recordings()] == [300] * 4
        for first in (0, 1000, 2000, 3000):
            for entry in store.manifest("repo", f"writer {first}"):
                assert store.get(entry.outcome) is not None


def test_little_address_space_is_enough(path):
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
with Store.open(sys.argv[1]) as store:
    print(len(record(store, "test", range(100))))
"""
    assert python(code, path).communicate()[0] == "100\n"


def test_a_full_disk_keeps_what_was_recorded_and_recording_goes_on_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        with Store.open(disk / "store") as store:
            record(store, "before", range(20))
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(2 << 20))
            recorder = store.begin("repo", "test")
            with pytest.raises(FullError, match="no space left") as caught:
                for number in range(400):
                    recorder.add(*sample(number, os.urandom(20_000)))
                    recorder.flush()
            assert str(disk / "store") in str(caught.value)
            with pytest.raises(FullError):
                recorder.add(*sample(1000))
            for entry in store.manifest("repo", "before"):  # replay goes on
                assert store.get(entry.outcome) is not None

            ballast.unlink()
            recorder.flush()
            assert len(recorder.seal()) == number + 1
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_that_may_not_grow_is_a_full_disk(path):
    code = """
import resource, signal
from replaykit.errors import FullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(sys.argv[1])
record(store, "before", range(20))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
recorder = store.begin("repo", "test")
try:
    for number in range(400):
        recorder.add(*sample(number, b"x" * 20_000))
    recorder.flush()
except FullError:
    print("full", len(store.manifest("repo", "before")), flush=True)
import os
os._exit(0)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    assert python(code, path).communicate()[0] == "full 20\n"
