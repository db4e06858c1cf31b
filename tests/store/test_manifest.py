from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replaykit.codec import Kind, Object
from replaykit.digest import Digest, digest
from replaykit.errors import CorruptError, FormatError
from replaykit.store import Entry, Manifest, Store
from replaykit.store.manifest import LONGEST_LEAF, build

from .samples import record, sample, stored


def entry(number: int, *, last_byte: int | None = None) -> Entry:
    key = digest(b"%d" % number)
    if last_byte is not None:
        key = Digest(key[:31] + bytes((last_byte,)))
    return Entry(key, digest(b"here"), digest(b"outcome %d" % number))


def manifest(entries: list[Entry], note=None) -> Manifest:
    node, leaves = build(entries, note or {})
    objects = {leaf.digest: leaf for leaf in leaves}
    return Manifest(node, objects.get, None)


@given(st.lists(st.integers(0, 3000), max_size=600))
def test_a_manifest_keeps_order_and_the_first_of_repeated_entries(numbers):
    entries = [entry(number) for number in numbers]
    sealed = manifest(entries)
    assert list(sealed) == list(dict.fromkeys(entries))
    assert len(sealed) == sealed.count == len(set(numbers))


@pytest.mark.parametrize(
    ("entries", "counts"),
    [
        ([], ()),
        ([entry(1, last_byte=1)], (1,)),
        ([entry(1, last_byte=0)], (1,)),
        ([entry(1, last_byte=5), entry(2, last_byte=0), entry(3, last_byte=7)], (2, 1)),
        ([entry(n, last_byte=1) for n in range(LONGEST_LEAF + 1)], (LONGEST_LEAF, 1)),
        ([entry(n, last_byte=0) for n in range(3)], (1, 1, 1)),
    ],
)
def test_leaves_are_cut_where_the_content_says(entries, counts):
    assert manifest(entries).counts == counts


def test_recordings_share_the_leaves_in_which_they_agree():
    entries = [entry(number) for number in range(5000)]
    one = manifest(entries)
    other = manifest([*entries[:2000], entry(9999), *entries[2000:]])
    assert len(set(other.leaves) - set(one.leaves)) <= 2


def test_entries_for_a_key_come_in_recorded_order():
    first = Entry(digest(b"key"), digest(b"there"), digest(b"z"))
    second = Entry(digest(b"key"), digest(b"here"), digest(b"a"))
    sealed = manifest([first, entry(1), second])
    assert sealed.entries_for(first.key) == [first, second]
    assert sealed.entries_for(digest(b"other")) == []
    assert first in sealed
    assert entry(2) not in sealed


def test_the_same_entries_have_the_same_digest_in_another_store(store, tmp_path):
    with Store.open(tmp_path / "other") as other:
        record(other, "something else", range(90, 95))
        assert record(other, "b", range(40)) == record(store, "a", range(40), "another repository")


def test_the_same_set_in_another_order_changes_nothing(store):
    first = record(store, "a", range(40))
    before = store.recordings()
    again = record(store, "a", [*reversed(range(40)), 3, 3])
    assert (again, list(again), store.recordings()) == (first, list(first), before)


def test_another_set_or_note_replaces_the_recording(store):
    first = record(store, "a", range(40))
    assert record(store, "a", range(41)) == store.manifest("repo", "a") != first
    recorder = store.begin("repo", "a")
    for number in range(41):
        recorder.add(*sample(number))
    noted = recorder.seal(note={"source": "gpt2"})
    assert store.manifest("repo", "a") == noted
    assert noted.note == {"source": "gpt2"}


def test_an_empty_recording_is_a_recording(store):
    record(store, "a", [])
    assert (list(store.manifest("repo", "a")), store.recordings()[0].count) == ([], 0)


def test_a_lost_leaf_is_reported_and_healed_by_recording_again(store):
    sealed = record(store, "a", range(3))
    leaf = stored(store, "obj", sealed.leaves[0])
    store._env.update(lambda update: update.delete("obj", sealed.leaves[0]))
    with pytest.raises(CorruptError, match="lacks a leaf"):
        list(store.manifest("repo", "a"))
    assert list(record(store, "a", range(3))) == list(store.manifest("repo", "a"))
    assert stored(store, "obj", sealed.leaves[0]) == leaf


def test_what_is_no_manifest_is_refused():
    with pytest.raises(FormatError, match="not a manifest"):
        Manifest(Object(Kind.OUTCOME, b"\xa0"), lambda name: None, None)
