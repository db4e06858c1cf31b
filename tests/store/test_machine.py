"""Whatever is done to a store in whatever order, it says what a dict would say."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from replaykit.store import Entry, Store

from .samples import PROVENANCE, sample

numbers = st.integers(0, 40)
answers = st.sampled_from((b"one", b"two", b"many" * 2000))
names = st.sampled_from(("a", "b"))


class StoreMachine(RuleBasedStateMachine):
    recorders = Bundle("recorders")

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="replaykit-machine-"))
        self.store = Store.open(self.path)
        self.objects: dict[bytes, bytes] = {}
        self.index: dict[bytes, set[tuple[bytes, bytes]]] = {}
        self.recordings: dict[str, list[Entry]] = {}

    @rule(target=recorders, name=names)
    def begin(self, name):
        return name, self.store.begin("repo", name), []

    @rule(recorder=recorders, number=numbers, answer=answers, compress=st.booleans())
    def add(self, recorder, number, answer, compress):
        _, session, entries = recorder
        if session._state != "open":
            return
        entry, objects = sample(number, answer)
        session.add(entry, objects, compress=compress)
        entries.append(entry)
        self.objects.update((item.digest, item.payload) for item in objects)
        self.index.setdefault(entry.key, set()).add((entry.provenance, entry.outcome))

    @rule(recorder=consumes(recorders))
    def seal(self, recorder):
        name, session, entries = recorder
        if session._state != "open":
            return
        wanted = list(dict.fromkeys(entries))
        present = self.recordings.get(name)
        if present is None or set(present) != set(wanted):
            self.recordings[name] = wanted
        assert list(session.seal()) == self.recordings[name]

    @rule(recorder=consumes(recorders))
    def drop(self, recorder):
        if recorder[1]._state == "open":
            recorder[1].drop()

    @rule()
    def flush(self):
        self.store.flush()

    @rule()
    def fork(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.says_what_a_dict_says()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    @rule(number=numbers, answer=answers)
    def get(self, number, answer):
        entry, _ = sample(number, answer)
        found = self.store.get(entry.outcome)
        assert (found and found.payload) == self.objects.get(entry.outcome)
        assert {(row.provenance, row.outcome) for row in self.store.rows(entry.key)} == self.index.get(entry.key, set())

    @invariant()
    def says_what_a_dict_says(self):
        for name, entries in self.recordings.items():
            assert list(self.store.manifest("repo", name)) == entries
        assert [found.name for found in self.store.recordings()] == sorted(self.recordings)

    def teardown(self):
        self.store.close()
        try:
            with Store.open(self.path) as store:
                assert store.stats().rows == sum(map(len, self.index.values()))
                for digest, payload in self.objects.items():
                    assert store.get(digest).payload == payload
                assert self.objects == {} or PROVENANCE.digest in store
        finally:
            shutil.rmtree(self.path)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
