from __future__ import annotations

import os
import threading

import pytest

from replaykit.codec import Kind, Object
from replaykit.errors import CorruptError, StoreError, UsageError
from replaykit.store import Entry, Store, frames, writer

from .samples import PROVENANCE, record, rewrite, sample, stored

NOBODY = Object(Kind.CALL, b"never stored").digest


def test_what_was_added_is_found_before_and_after_it_is_written(store):
    entry, objects = sample(1)
    recorder = store.begin("repo", "test")
    recorder.add(entry, objects, note={"step": 3})

    for _ in range(2):
        assert store.get(entry.outcome).payload == b"answer 1"
        assert entry.key in store
        (row,) = store.rows(entry.key)
        assert (row.key, row.provenance, row.outcome) == (entry.key, entry.provenance, entry.outcome)
        assert (row.note["step"], row.note["session"]) == (3, recorder.id)
        recorder.flush()
    assert store.stats().pending == 0


def test_what_is_absent_is_none(store):
    assert store.get(NOBODY) is None
    assert NOBODY not in store
    assert store.rows(NOBODY) == []
    assert store.manifest("repo", "test") is None
    assert store.recordings() == []


def test_equal_things_are_stored_once(store):
    record(store, "a", range(50))
    before = store.stats()
    record(store, "b", range(50))
    after = store.stats()
    assert before.objects == 50 * 2 + 1 + 2  # calls and outcomes, a provenance, a leaf and a node
    assert (after.objects, after.rows, after.recordings) == (before.objects, before.rows, 2)


def test_two_answers_to_one_key_are_both_kept_and_sorted(store):
    recorder = store.begin("repo", "test")
    for answer in (b"one", b"two", b"one"):
        call = Object(Kind.CALL, b"question")
        outcome = Object(Kind.OUTCOME, answer)
        recorder.add(Entry(call.digest, PROVENANCE.digest, outcome.digest), [call, PROVENANCE, outcome])
    waiting = store.rows(call.digest)
    assert len(recorder.seal()) == 2
    assert [row.outcome for row in store.rows(call.digest)] == [row.outcome for row in waiting]
    assert [row.outcome for row in waiting] == sorted(row.outcome for row in waiting)


def test_the_first_note_of_a_row_stays(store):
    entry, objects = sample(1)
    for step in (1, 2):
        recorder = store.begin("repo", "test")
        recorder.add(entry, objects, note={"step": step})
        recorder.seal()
    assert store.rows(entry.key)[0].note["step"] == 1


def test_an_entry_must_name_objects(store):
    recorder = store.begin("repo", "test")
    entry, objects = sample(1)
    for missing in range(3):
        with pytest.raises(UsageError, match="neither among its objects"):
            recorder.add(entry, [item for at, item in enumerate(objects) if at != missing])
    recorder.add(entry, objects)
    recorder.add(entry, [])
    assert len(recorder.seal()) == 1


def test_an_object_that_vanished_before_it_was_written_is_reported(store):
    record(store, "a", [1])
    entry, _ = sample(1)
    store._writer.hold()
    try:
        recorder = store.begin("repo", "b")
        recorder.add(entry, [])
        store._env.update(lambda update: update.delete("obj", entry.outcome))
    finally:
        store._writer.release()
    with pytest.raises(StoreError, match="no longer in the store"):
        recorder.flush()
    assert list(recorder.seal()) == []


def test_a_payload_may_change_after_it_was_added(store):
    payload = bytearray(b"x" * 10_000)
    item = Object(Kind.OUTCOME, memoryview(payload))
    call = Object(Kind.CALL, b"question")
    recorder = store.begin("repo", "test")
    recorder.add(Entry(call.digest, PROVENANCE.digest, item.digest), [call, PROVENANCE, item])
    payload[:] = b"y" * 10_000
    recorder.flush()
    assert store.get(item.digest).payload == b"x" * 10_000


def test_payloads_are_compressed_on_request(store):
    recorder = store.begin("repo", "test")
    call = Object(Kind.CALL, b"question")
    small, large = Object(Kind.TENSOR, b"\0" * 20_000), Object(Kind.OUTCOME, b"\1" * 20_000)
    recorder.add(
        Entry(call.digest, PROVENANCE.digest, large.digest), [call, PROVENANCE, small, large], compress={small.digest}
    )
    recorder.flush()
    assert len(stored(store, "obj", small.digest)) < 1000
    assert len(stored(store, "obj", large.digest)) > 20_000
    assert store.get(small.digest).payload == small.payload


@pytest.mark.parametrize("compress", [False, True])
def test_every_flipped_byte_in_the_environment_is_detected(store, compress):
    item = Object.of(Kind.OUTCOME, b"answer" * 700, dtype="float32")
    call = Object(Kind.CALL, b"question")
    recorder = store.begin("repo", "test")
    recorder.add(Entry(call.digest, PROVENANCE.digest, item.digest), [call, PROVENANCE, item], compress=compress)
    recorder.flush()
    frame = stored(store, "obj", item.digest)

    def flip_and_read(update, at):
        damaged = bytearray(frame)
        damaged[at] ^= 0x01
        update.put("obj", item.digest, bytes(damaged))
        value = update.get("obj", item.digest)
        with pytest.raises(StoreError) as caught:
            frames.verified(frames.split(value, item.digest, store.path), item.digest, store.path)
        assert caught.value.path == store.path
        assert item.digest.hex() in str(caught.value)

    store._env.update(lambda update: [flip_and_read(update, at) for at in range(len(frame))])
    with pytest.raises(StoreError, match=item.digest.hex()):  # the last flip is committed
        store.get(item.digest)


def test_recording_again_heals_a_damaged_object(store):
    entry, _ = sample(1)
    record(store, "a", [1])
    frame = bytearray(stored(store, "obj", entry.outcome))
    frame[-1] ^= 1
    rewrite(store, "obj", entry.outcome, bytes(frame))
    with pytest.raises(CorruptError):
        store.get(entry.outcome)

    record(store, "b", [1])
    assert store.get(entry.outcome).payload == b"answer 1"


def test_a_recorder_says_what_it_is_and_ends_once(store):
    recorder = store.begin("repo", "test")
    assert repr(recorder).endswith("repo/test: open>")
    recorder.seal()
    assert repr(recorder).endswith("repo/test: sealed>")
    for late in (lambda: recorder.add(*sample(1)), recorder.seal, recorder.drop):
        with pytest.raises(UsageError, match="this recorder is sealed"):
            late()


def test_a_dropped_session_leaves_no_recording(store):
    recorder = store.begin("repo", "test")
    recorder.add(*sample(1))
    recorder.flush()
    assert [(found.name, found.count, found.alive) for found in store.open_sessions()] == [("test", 1, True)]
    recorder.drop()
    assert (store.open_sessions(), store.recordings()) == ([], [])
    assert sample(1)[0].outcome in store


@pytest.mark.parametrize(
    ("repository", "name"), [("", "a"), ("a", ""), ("a\0b", "c"), ("a", "b\0"), ("a", "b" * 511), ("a", "\ud800")]
)
def test_names_that_cannot_be_a_key_are_refused(store, repository, name):
    with pytest.raises(UsageError):
        store.begin(repository, name)


def test_recordings_are_listed_by_repository_and_name(store):
    for repository, name in [("b", "x"), ("a", "tests/test_a.py::test[ü]"), ("a", "b")]:
        record(store, name, range(3), repository)
    assert [(found.repository, found.name, found.count) for found in store.recordings()] == [
        ("a", "b", 3),
        ("a", "tests/test_a.py::test[ü]", 3),
        ("b", "x", 3),
    ]


def test_one_directory_is_one_store_in_a_process(store, path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    for name in (path, str(path), tmp_path / "link", tmp_path / "store" / ".." / "store"):
        with Store.open(name) as again:
            assert again is store
    assert store.stats().objects == 0  # still open: as often closed as opened


def test_a_closed_store_says_so_and_opens_again(path):
    store = Store.open(path)
    record(store, "a", [1])
    store.close()
    store.close()
    assert repr(store) == f"<Store {path}: closed>"
    with pytest.raises(StoreError, match="was closed"):
        store.get(NOBODY)
    with Store.open(path) as again:
        assert again is not store
        assert (again.id, repr(again)) == (store.id, f"<Store {path}: 5 objects, 1 recordings>")


def test_a_store_made_anew_in_the_same_place_is_another(path, tmp_path):
    with Store.open(path) as first:
        path.rename(tmp_path / "elsewhere")
        with Store.open(path) as second:
            assert second is not first
            assert second.id != first.id


def test_threads_share_a_recorder(store):
    recorder = store.begin("repo", "test")

    def work(first):
        for number in range(first, first + 100):
            recorder.add(*sample(number))
            assert store.get(sample(number)[0].outcome) is not None

    threads = [threading.Thread(target=work, args=(at * 50,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorder.seal()) == 250


def test_what_waits_is_bounded(store, monkeypatch):
    monkeypatch.setattr(writer, "PENDING_BYTES", 1 << 16)
    most = 0
    recorder = store.begin("repo", "test")
    for number in range(60):
        recorder.add(*sample(number, os.urandom(8000).hex().encode()))
        most = max(most, store._writer._bytes)
    assert most <= 1 << 16
    assert len(recorder.seal()) == 60


def test_writers_touch_what_they_refer_to_while_a_collection_runs(store):
    tensor = Object(Kind.TENSOR, b"tensor")
    call = Object(Kind.CALL, b"question")
    outcome = Object.of(Kind.OUTCOME, b"answer", refs=(tensor.digest,))
    entry = Entry(call.digest, PROVENANCE.digest, outcome.digest)
    first = store.begin("repo", "a")
    first.add(entry, [call, PROVENANCE, tensor, outcome])
    first.seal()
    assert store._env.view(lambda view: view.count("touch")) == 0

    rewrite(store, "meta", b"gc", b"\xa0")
    second = store.begin("repo", "b")
    second.add(entry, [])
    second.flush()
    touched = {key for key, _ in store._env.view(lambda view: list(view.scan("touch")))}
    assert touched == {call.digest, PROVENANCE.digest, tensor.digest, outcome.digest}
    manifest = second.seal()
    assert {manifest.digest, *manifest.leaves} <= {
        key for key, _ in store._env.view(lambda view: list(view.scan("touch")))
    }
