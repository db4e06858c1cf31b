"""What a store refuses to open, and how it says so."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess

import lmdb
import pytest

from replaykit.codec import encode
from replaykit.errors import BusyError, CorruptError, FormatError, ReadOnlyError, StoreError
from replaykit.store import Store, layout

from .samples import python, record, rewrite, sample

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def recorded(path):
    """A store of a few hundred pages, closed; the path of its data file."""
    with Store.open(path) as store:
        record(store, "test", range(600))
    return path / "env" / "data.mdb"


def truncate(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def engine_1(data: bytes) -> bytes:
    return data[:8] + bytes(8) + data[8:]


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        pytest.param(lambda data: truncate(data, 0.5), CorruptError, "truncated", id="half"),
        pytest.param(lambda data: truncate(data, 0.9), CorruptError, "truncated", id="nine tenths"),
        pytest.param(lambda data: data[:5000], CorruptError, "truncated", id="a page and a bit"),
        pytest.param(lambda data: data[:100], CorruptError, "its second page is missing", id="100 bytes"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), CorruptError, "line endings", id="CRLF"),
        pytest.param(lambda data: LFS, FormatError, "Git LFS pointer", id="LFS"),
        pytest.param(lambda data: b"SQLite format 3\0" + data, FormatError, "not an LMDB file", id="another format"),
        pytest.param(engine_1, FormatError, "LMDB 1.0", id="engine 1"),
    ],
)
def test_a_damaged_data_file_is_refused_before_it_kills_the_process(recorded, path, damage, error, says):
    recorded.write_bytes(damage(recorded.read_bytes()))
    with pytest.raises(error, match=says) as caught:
        Store.open(path)
    assert str(recorded) in str(caught.value)
    assert "next step" in str(caught.value)


def test_a_data_file_may_lack_free_pages_at_its_end(recorded, path):
    with Store.open(path) as store:
        rewrite(store, "quar", b"last", bytes(400_000))
        store._env.update(lambda update: update.delete("quar", b"last"))
        entries = list(store.manifest("repo", "test"))
    recorded.write_bytes(recorded.read_bytes()[: -50 * 4096])
    with Store.open(path) as store:
        assert list(store.manifest("repo", "test")) == entries


def test_a_write_that_ended_early_leaves_a_store_that_opens(recorded, path):
    with recorded.open("ab") as file:
        file.write(b"half a page")
    Store.open(path).close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("replaykit store, format 2\nid 5f\n", "upgrade replaykit"),
        ("replaykit store, format x\n", "not a store's FORMAT file"),
        ("something else\n", "not a store's FORMAT file"),
        ("", "not a store's FORMAT file"),
        ("replaykit store, format 1\n", "names no id"),
        (LFS.decode(), "a Git LFS pointer"),
    ],
)
def test_a_format_file_that_says_something_else_is_refused(recorded, path, text, says):
    (path / "FORMAT").write_text(text)
    with pytest.raises(FormatError, match=says) as caught:
        Store.open(path)
    assert str(path / "FORMAT") in str(caught.value)


def test_a_format_file_with_other_line_endings_is_read(recorded, path):
    (path / "FORMAT").write_bytes((path / "FORMAT").read_bytes().replace(b"\n", b"\r\n"))
    Store.open(path).close()


def test_an_unknown_required_feature_is_refused_and_a_compatible_one_only_read(path):
    with Store.open(path) as store:
        record(store, "test", [1])
        rewrite(store, "meta", b"compatible", encode(["colour"]))
    with Store.open(path) as store:
        assert store.readonly
        assert store.get(sample(1)[0].outcome) is not None
        with pytest.raises(ReadOnlyError):
            store.begin("repo", "test")
        store._env.readonly = False
        rewrite(store, "meta", b"required", encode(["sharding"]))
    with pytest.raises(FormatError, match="does not know: sharding"):
        Store.open(path)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="a file, not the directory"):
        Store.open(tmp_path / "file")
    with pytest.raises(FormatError, match="holds file"):
        Store.open(tmp_path)
    foreign = lmdb.open(str(tmp_path / "foreign"), lib_version=0)
    foreign.close()
    with pytest.raises(FormatError, match=r"holds data\.mdb"):
        Store.open(tmp_path / "foreign")
    assert sorted(os.listdir(tmp_path)) == ["file", "foreign"]


def test_nothing_is_made_unless_asked(path):
    with pytest.raises(StoreError, match="there is no store") as caught:
        Store.open(path, create=False)
    assert caught.value.path == path
    assert not path.exists()


def test_a_store_whose_empty_directories_were_not_kept_opens(recorded, path):
    for name in ("packs", "tmp"):
        (path / name).rmdir()
    Store.open(path).close()
    shutil.rmtree(path / "env")
    with Store.open(path) as store:
        assert store.stats().objects == 0


def test_the_layout_is_what_the_format_says(path):
    with Store.open(path) as store:
        assert sorted(os.listdir(path)) == ["FORMAT", "env", "packs", "store.lock", "tmp"]
        assert (path / "FORMAT").read_text() == (
            f"replaykit store, format 1\nid {store.id}\nengine lmdb 0.9\nhash blake3\n"
        )
        assert os.listdir(path / "tmp") == []


def test_processes_that_make_one_store_at_once_agree(path):
    code = "with Store.open(sys.argv[1]) as store: print(store.id)"
    ids = {process.communicate()[0] for process in [python(code, path) for _ in range(4)]}
    assert len(ids) == 1


def test_a_store_that_somebody_has_alone_is_busy(recorded, path, monkeypatch):
    monkeypatch.setattr(layout, "_LOCK_WAIT_S", 0.05)
    with open(path / "store.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            Store.open(path)
    Store.open(path).close()


def test_an_open_store_keeps_others_from_having_it_alone(store, path):
    with open(path / "store.lock") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


READ_ONLY = """
import os
if os.getuid() == 0 and sys.argv[2] == "drop":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with Store.open(sys.argv[1], create=False) as store:
    assert store.readonly, "writable"
    assert "read-only" in repr(store)
    entry, objects = sample(3)
    assert store.get(entry.outcome).payload == b"answer 3"
    assert len(store.manifest("repo", "test")) == 600
    try:
        store.begin("repo", "test")
    except Exception as error:
        print(type(error).__name__, store._env.locked)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("lock_mode", "locked"), [(0o666, True), (0o444, False)])
def test_files_of_somebody_else_are_read(recorded, path, lock_mode, locked):
    for directory in (path, path / "env"):
        directory.chmod(0o755)
    for name in ("env/data.mdb", "FORMAT", "store.lock"):
        (path / name).chmod(0o444)
    (path / "env" / "lock.mdb").chmod(lock_mode)
    for parent in path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o005)
    assert python(READ_ONLY, path, "drop").communicate()[0] == f"ReadOnlyError {locked}\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_read_only_media_are_read(recorded, path):
    if subprocess.run(["mount", "--bind", path, path], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        assert python(READ_ONLY, path, "stay").communicate()[0] == "ReadOnlyError True\n"
    finally:
        subprocess.run(["umount", path], check=True)
