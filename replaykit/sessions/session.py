"""A session: one run against one recording in one mode."""

from __future__ import annotations

import difflib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from ..calls import Call, Outcome
from ..codec import Object
from ..digest import Digest
from ..errors import (
    CorruptError,
    NondeterminismError,
    NotRecordedError,
    ReadOnlyError,
    RecordingNotFoundError,
    ReplaykitError,
    StoreError,
    UsageError,
)
from ..store import Entry, Manifest, Recorder, Store
from .mode import Decision, Mode
from .nearest import describe_nearest
from .seeds import SeedScopes
from .settings import Settings, checked_name

Self = TypeVar("Self", bound="Session")
_expected: ContextVar[list[ReplaykitError] | None] = ContextVar("replaykit_expected_misses", default=None)
Choose = Callable[[list[Outcome]], "Outcome | None"]


class Session:
    """Looks calls up in a store, records what is new where its mode allows, and refuses the rest.

    What it refuses is *latched*: `misses` keeps each refusal, and leaving the session raises the first one again if the
    program swallowed it. Leaving the session seals what was recorded; it may be entered once. Safe to share between
    threads.
    """

    def __init__(self, name: str | None, settings: Settings) -> None:
        self.name = checked_name("recording", name) if name is not None else None
        self.mode = settings.mode
        self.fidelity = settings.fidelity
        self.repository = settings.repository
        self._is_repository_given = settings.is_repository_given
        if self.name is None and self.mode is not Mode.STRICT:
            raise UsageError(f"mode {self.mode.value} records, so the session needs a name")
        self.store = _open(settings, self.mode, self.name)
        self.seeds = SeedScopes()
        self.replayed = 0
        self.recorded = 0
        self.misses: list[ReplaykitError] = []
        self.closed = False
        self._lock = threading.RLock()
        self._recorder: Recorder | None = None
        self._answered: dict[Digest, Digest] = {}
        try:
            self.manifest = self._find()
        except BaseException:
            self.store.close()
            raise

    @property
    def fresh(self) -> bool:
        """Whether the recording was not there when the session began."""
        return self.manifest is None

    @property
    def records(self) -> bool:
        """Whether a new call would be recorded rather than refused."""
        return self.mode.decide(known=False, fresh=self.fresh) is Decision.RECORD

    def __repr__(self) -> str:
        parts = [f"{self.replayed} replayed", f"{self.recorded} recorded"]
        if self.misses:
            parts.append(f"{len(self.misses)} missed")
        state = "closed " if self.closed else ""
        return f"<Session {state}{self.mode.value} {self.name or '(any recording)'}: {', '.join(parts)}>"

    # -- answering

    def recall(self, call: Call, *, can_ask: bool = True, choose: Choose | None = None) -> Outcome | None:
        """The recorded outcome of `call`; None if it is new and this session records it.

        `choose` picks one of several outcomes that answer the same call at different lengths, or says None: they
        contradict each other. Raises MissError if the call is refused, NondeterminismError if two recorded outcomes
        contradict each other.
        """
        self._check_open()
        candidates = self._candidates(call)
        decision = self.mode.decide(known=bool(candidates), fresh=self.fresh)
        if decision is Decision.RECORD and can_ask:
            return None
        if not candidates:
            self.refuse(self.miss(call))
        outcome = self._load(call, candidates, choose)
        with self._lock:
            self.replayed += 1
        return outcome

    def recorded_outcomes(self, call: Call) -> list[Digest]:
        """The digests of what was recorded of `call` before this session began."""
        return [outcome for _, outcome in self._candidates(call)]

    def recorded_value(self, outcome: Digest) -> Any:
        """The value of an outcome that `recorded_outcomes` named."""
        return self._outcome(outcome).value

    def record(self, call: Call, outcome: Outcome, provenance: Object, *, objects: Sequence[Object] = ()) -> None:
        """Keep what came back. Durable after `flush()`; `objects` are further ones the call refers to."""
        self._check_open()
        item = outcome.object
        entry = Entry(call.key, provenance.digest, item.digest)
        files = {file.digest for file in outcome.files}
        self._recording().add(
            entry,
            [*objects, call.object, *call.tensors, provenance, *outcome.files, *outcome.tensors, item],
            compress=files,
        )
        with self._lock:
            self.recorded += 1
            before = self._answered.setdefault(call.key, item.digest)
        if before != item.digest and call.must_repeat:
            warnings.warn(
                f"the same {call.title} was answered twice in different ways, so its replay will be refused:"
                f" {call.summary()}",
                stacklevel=2,
            )

    def flush(self) -> None:
        """What was recorded so far is durable when this returns."""
        if self._recorder is not None:
            self._recorder.flush()

    # -- refusing

    def miss(self, call: Call, message: str | None = None, **facts: object) -> NotRecordedError:
        """The error that says this call was not recorded, what is nearest and what to type."""
        entries = len(self.manifest) if self.manifest is not None else 0
        if self.mode is Mode.STRICT:
            way = 'REPLAYKIT_MODE=new_episodes, or mode="new_episodes" in replaykit.session(...), where the model is'
        else:
            way = 'mode="new_episodes", or mode="all" to record everything afresh, where the model is'
        if self.manifest is not None and self.manifest.note.get("broken"):
            facts["note"] = 'the run that made this recording ended with an error; mode="new_episodes" completes it'
        return NotRecordedError(
            message or f"no recording answers this {call.title}.",
            call=call,
            recording=f"{self.name or '(any)'} ({entries} entries) in {self.store.path}",
            asked=call.summary(),
            nearest=describe_nearest(call, self.manifest, self.store),
            **facts,
            to_record=way,
        )

    def refuse(self, error: ReplaykitError) -> NoReturn:
        """Latch `error` and raise it."""
        self.latch(error)
        raise error

    def latch(self, error: ReplaykitError) -> None:
        """Keep a refusal, so that leaving the session fails even if the program swallows it. Each is kept once."""
        expected = _expected.get()
        kept = self.misses if expected is None else expected
        with self._lock:
            if not any(error is one for one in (*self.misses, *kept)):
                kept.append(error)

    @contextmanager
    def expect_misses(self) -> Iterator[list[ReplaykitError]]:
        """Within this block a refusal is what the program wants to see: it is raised, but not again at the end.

        Yields the list that the refusals go to. The block is this thread's (or task's); others' refusals are latched.
        """
        seen: list[ReplaykitError] = []
        token = _expected.set(seen)
        try:
            yield seen
        finally:
            _expected.reset(token)

    # -- life

    def __enter__(self: Self) -> Self:
        if self.closed:
            raise UsageError(f"{self!r} may be entered once; open another with replaykit.session(...)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(broken=error is not None)
        if not self.misses or any(error is miss for miss in self.misses):
            return
        if error is None or (isinstance(error, SystemExit) and not error.code):
            raise self.misses[0]
        if hasattr(error, "add_note"):  # since Python 3.11
            error.add_note(f"before that, replaykit refused: {self.misses[0]}")

    def close(self, *, broken: bool = False) -> None:
        """Seal what was recorded and let go of the store. Does nothing the second time.

        `broken`: the program ended with an error, so the recording has what it had until then, and says so.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if self._recorder is not None:
                self._keep_what_was()
                self.manifest = self._recorder.seal(note={"broken": True} if broken else None)
        finally:
            self.store.close()

    # -- inside

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError(f"{self!r} is closed: what it gave out answers only inside it; open another session")

    def _find(self) -> Manifest | None:
        if self.name is None:
            return None
        own = self.store.manifest(self.repository, self.name)
        if own is not None or self.mode is not Mode.STRICT:
            return own
        # A recording is read wherever it is: replay may run in another directory than the recording did.
        names = {(listed.repository, listed.name) for listed in self.store.recordings()}
        owners = sorted(repository for repository, name in names if name == self.name and not self._is_repository_given)
        if len(owners) == 1:
            return self.store.manifest(owners[0], self.name)
        similar = difflib.get_close_matches(self.name, sorted({name for _, name in names}), n=3)
        raise RecordingNotFoundError(
            f"there is no recording named {self.name!r}"
            + (f" of repository {self.repository!r}, but several other repositories have one" if owners else ""),
            recording=self.name,
            nearest=", ".join(similar) or None,
            store=self.store.path,
            repositories=", ".join(owners) or None,
            to_record=f'replaykit.session("{self.name}", mode="once") on a machine that has the model',
        )

    def _candidates(self, call: Call) -> list[tuple[Digest, Digest]]:
        """(provenance, outcome) of each recorded answer that may be used.

        The recording's own come first. Where only the content counts, another recording's in the store will do.
        """
        if self.mode is Mode.ALL:
            return []
        if self.manifest is not None:
            pinned = self.manifest.entries_for(call.key)
            if pinned:
                return [(entry.provenance, entry.outcome) for entry in pinned]
        if self.records or not (call.is_shared or self.name is None):
            return []
        return [(row.provenance, row.outcome) for row in self.store.rows(call.key)]

    def _load(self, call: Call, candidates: list[tuple[Digest, Digest]], choose: Choose | None) -> Outcome:
        distinct = list(dict.fromkeys(outcome for _, outcome in candidates))
        if len(distinct) == 1:
            return self._outcome(distinct[0])
        chosen = choose([self._outcome(outcome) for outcome in distinct]) if choose is not None else None
        if chosen is None:
            self.refuse(
                NondeterminismError(
                    f"this {call.title} was recorded {len(distinct)} times with different answers,"
                    " and the session's own recording does not say which is meant",
                    expected=distinct[0].hex()[:8],
                    actual=distinct[1].hex()[:8],
                    asked=call.summary(),
                    recording=self.name,
                    to_choose="name the recording that holds the answer you mean in replaykit.session(...)",
                )
            )
        return chosen

    def _outcome(self, digest: Digest) -> Outcome:
        return Outcome.from_object(self.fetch(digest), self.fetch)

    def fetch(self, digest: Digest) -> Object:
        """The object of that digest. Raises CorruptError if it is absent or damaged."""
        self._check_open()
        item = self.store.get(digest)
        if item is None:
            raise CorruptError(
                f"object {digest.hex()} is referred to but absent",
                path=self.store.path,
                next_step='record again with mode="all"',
            )
        return item

    def _keep_what_was(self) -> None:
        """Carry over the recording's entries as they are now, but for calls that were answered afresh.

        Another session may have sealed the same recording meanwhile: what it recorded is kept too.
        """
        if self.mode is Mode.ALL or self._recorder is None or self.name is None:
            return
        for entry in self.store.manifest(self.repository, self.name) or ():
            if entry.key not in self._answered:
                self._recorder.add(entry, [])

    def _recording(self) -> Recorder:
        with self._lock:
            if self._recorder is None:
                assert self.name is not None
                self._recorder = self.store.begin(self.repository, self.name)
            return self._recorder


def _open(settings: Settings, mode: Mode, name: str | None) -> Store:
    if mode is not Mode.STRICT:
        store = Store.open(settings.store)
        if store.readonly:
            store.close()
            raise ReadOnlyError(
                f"mode {mode.value} may record, but the store cannot be written",
                path=settings.store,
                next_step='use mode="strict", or another store',
            )
        return store
    try:
        return Store.open(settings.store, create=False)
    except StoreError as error:
        if settings.store.exists():
            raise
        raise RecordingNotFoundError(
            "there is no store to replay from; if it was recorded elsewhere, name that with store= or REPLAYKIT_STORE",
            recording=name,
            store=settings.store,
            to_record=f'replaykit.session("{name or "..."}", mode="once") on a machine that has the model',
        ) from error
