"""From a source's name and a session to a tokenizer and a model: recorded or replayed, as the mode says."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from .calls import Load
from .errors import IdentityError, NotRecordedError, UsageError
from .hf import seeds
from .hf.models import original_class
from .hf.sources import WRAPPED, load_questions, means, wrap_question, written
from .hf.values import class_path
from .record.facts import describe, identity_of
from .record.model import record_model
from .record.sampler import record_sampler
from .record.tokenizer import record_tokenizer
from .replay.model import replay_model
from .replay.tokenizer import replay_tokenizer
from .sessions import Session, Settings
from .sessions.mode import Mode

_FOR_TOKENIZERS = frozenset(
    {
        "cache_dir",
        "force_download",
        "local_files_only",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
        "use_fast",
    }
)


class ModelSession(Session):
    """A session that gives out models, tokenizers and samplers.

    Use it as a context manager; see `replaykit.session`.
    """

    def __init__(self, name: str | None, settings: Settings) -> None:
        super().__init__(name, settings)
        self._wrapped: dict[tuple[str, str], Any] = {}
        self._bound: dict[bytes, bytes] = {}
        self._samplers: dict[str, list[Any]] = {}
        seeds.listen(self.seeds)

    def load(
        self, source: str | os.PathLike[str], *, model_class: Any = None, tokenizer_class: Any = None, **options: Any
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """The tokenizer and the model of `source`, a path or a hub id.

        `options` go to `from_pretrained`: all of them to the model's, those about fetching also to the tokenizer's.
        Raises MissError if the session may only replay and this source was not recorded.
        """
        for_tokenizer = {name: value for name, value in options.items() if name in _FOR_TOKENIZERS}
        tokenizer = self.tokenizer(source, tokenizer_class=tokenizer_class, **for_tokenizer)
        options.pop("use_fast", None)
        return tokenizer, self.model(source, model_class=model_class, **options)

    def model(self, source: str | os.PathLike[str], *, model_class: Any = None, **options: Any) -> PreTrainedModel:
        """The model of `source`, by `AutoModelForCausalLM` unless `model_class` says otherwise.

        In a session that replays, nothing of the source needs to exist. Raises MissError if it was not recorded.
        """
        return self._load_by(model_class or AutoModelForCausalLM, "model", source, options)

    def tokenizer(
        self, source: str | os.PathLike[str], *, tokenizer_class: Any = None, **options: Any
    ) -> PreTrainedTokenizerBase:
        """The tokenizer of `source`, by `AutoTokenizer` unless `tokenizer_class` says otherwise.

        In a session that replays, nothing of the source needs to exist. Raises MissError if it was not recorded.
        """
        return self._load_by(tokenizer_class or AutoTokenizer, "tokenizer", source, options)

    def wrap(self, thing: Any, *, name: str) -> Any:
        """`thing`, a model or tokenizer that is loaded already, recorded or replayed under `name`.

        While recording, the same object comes back. A replaying session gives a stand-in, which `session.model(name)`
        or `session.tokenizer(name)` also gives. Raises IdentityError if another one was recorded under that name.
        """
        if isinstance(thing, PreTrainedModel):
            what = "model"
        elif isinstance(thing, PreTrainedTokenizerBase):
            what = "tokenizer"
        else:
            raise UsageError(
                f"wrap takes a transformers model or tokenizer, not a {class_path(type(thing))};"
                " build what needs them from what session.load(...) gives"
            )
        binding = thing.__dict__.get("_replaykit")
        if binding is not None and binding.session is self:
            raise UsageError(
                f"this {what} is known to the session already; wrap a copy.deepcopy of it under another name"
            )
        if binding is not None:
            _unwrap(thing)
        given = self._give(what, [wrap_question(what, name)], name, lambda: thing)
        if given is not thing:
            try:
                _check_identity(what, name, given.__dict__["_replaykit"].facts["identity"], identity_of(what, thing))
            except IdentityError as error:
                self.refuse(error)
        self._wrapped[what, name] = given
        return given

    def sampler(self, sampler: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
        """`sampler`, a callable from logits to a token, whose choices are recorded or replayed.

        It is known by `name`, or else by its qualified name. Its arguments are its question, tensors by content.
        """
        if not callable(sampler):
            raise UsageError(f"sampler takes a callable, not a {class_path(type(sampler))}")
        known_as = name if name is not None else str(getattr(sampler, "__qualname__", type(sampler).__qualname__))
        # Another function of the same name (two lambdas, say) is another sampler: they are numbered as they come.
        others = self._samplers.setdefault(known_as, [])
        code = getattr(sampler, "__code__", sampler)
        if code not in others:
            others.append(code)
        number = others.index(code)
        return record_sampler(sampler, self, f"{known_as}#{number + 1}" if number else known_as)

    # -- inside

    def _load_by(self, loader: Any, what: str, source: str | os.PathLike[str], options: dict[str, Any]) -> Any:
        known = self._wrapped.get((what, str(source)))
        if known is not None:
            return known
        questions = load_questions(what, source, loader, options)
        return self._give(what, questions, source, lambda: loader.from_pretrained(source, **options))

    def _give(self, what: str, questions: list[Load], source: str | os.PathLike[str], fetch: Callable[[], Any]) -> Any:
        """Record the real thing that `fetch` brings, or replay it, as the mode says of the first known question."""
        name = os.fspath(source)
        asked = next((question for question in questions if question.loader != WRAPPED), questions[0])
        outcome = self.recall(next((known for known in questions if self._is_recorded(known, source)), asked))
        if outcome is None:
            real = fetch()
            if isinstance(real, tuple):
                raise UsageError(f"{asked.loader} returned more than the {what}; leave output_loading_info out")
            facts, identity, provenance = describe(what, real)
            if not os.path.isabs(written(source)):
                facts.value["written"] = written(source)
            if self._bind(asked, identity):
                self.record(asked, facts, provenance)
            return _record(what, real, self, identity)
        facts = outcome.value
        replay: Any = replay_model if what == "model" else replay_tokenizer
        if self.mode is not Mode.NEW_EPISODES:
            return replay(facts, self, name, None)
        return replay(facts, self, name, _Live(self, what, name, facts["identity"], fetch))

    def _is_recorded(self, question: Load, source: str | os.PathLike[str]) -> bool:
        recorded = self.recorded_outcomes(question)
        return bool(recorded) and means(question, source, self.recorded_value(recorded[0]))

    def _bind(self, question: Load, identity: Any) -> bool:
        """One name stands for one model or tokenizer in a recording. Says whether it is new."""
        is_new = question.key not in self._bound
        if self._bound.setdefault(question.key, identity.digest) != identity.digest:
            self.refuse(
                IdentityError(
                    f"two different {question.what}s are known as {question.source!r} in this recording",
                    expected=self._bound[question.key].hex(),
                    actual=identity.digest.hex(),
                    to_record="load the second one yourself and session.wrap(it, name=...) it under a name of its own",
                )
            )
        return is_new


class _Live:
    """Gives the real thing, recorded, loading it the first time. A copy of a replayed thing loads its own."""

    def __init__(self, session: ModelSession, what: str, name: str, identity: bytes, fetch: Callable[[], Any]) -> None:
        self._facts = (session, what, name, identity, fetch)
        self._loading = threading.Lock()
        self._real: Any = None

    def __call__(self) -> Any:
        session, what, name, recorded, fetch = self._facts
        with self._loading:
            if self._real is None:
                try:
                    real = fetch()
                except Exception as error:
                    raise NotRecordedError(
                        f"a question is new, so the real {what} was to be loaded, and that failed:"
                        f" {type(error).__name__}: {str(error).splitlines()[0]}",
                        recording=session.name,
                        source=name,
                        to_record="on a machine that has the model, or undo what made the question new",
                    ) from error
                identity = identity_of(what, real)
                _check_identity(what, name, recorded, identity)
                self._real = _record(what, real, session, identity)
        return self._real

    def __deepcopy__(self, memo: Any) -> _Live:
        return _Live(*self._facts)


def session(
    name: str | None = None,
    *,
    mode: str | Mode | None = None,
    store: str | os.PathLike[str] | None = None,
    fidelity: str | None = None,
    repository: str | None = None,
) -> ModelSession:
    """A session on the recording `name`.

    What is not given comes from the environment, then `[tool.replaykit]` in pyproject.toml, then the defaults: mode
    "strict", the user's store, fidelity "auto", the project's directory name as the repository. In strict mode `name`
    may be left out: then any recording of the store may answer.

    Raises RecordingNotFoundError if a strict session's recording does not exist, UsageError for a wrong setting,
    StoreError if the store cannot be opened.
    """
    settings = Settings.resolve(mode=mode, store=store, fidelity=fidelity, repository=repository)
    return ModelSession(name, settings)


def _record(what: str, real: Any, session: ModelSession, identity: Any) -> Any:
    return record_model(real, session, identity) if what == "model" else record_tokenizer(real, session, identity)


def _check_identity(what: str, name: str, recorded: bytes, identity: Any) -> None:
    if identity.digest != recorded:
        raise IdentityError(
            f"the {what} {name!r} is not the one that was recorded under this name",
            expected=recorded.hex(),
            actual=identity.digest.hex(),
            to_record=f'mode="all" records this {what} afresh; another name keeps both',
        )


def _unwrap(thing: Any) -> None:
    """Forget the session that recorded `thing` before."""
    binding = thing.__dict__["_replaykit"]
    if not binding.session.closed:
        raise UsageError(f"this {class_path(original_class(type(thing)))} is in use by {binding.session!r}")
    thing.__class__ = original_class(type(thing))
    del thing.__dict__["_replaykit"]
