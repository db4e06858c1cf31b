"""A recorded model: the real one, its class swapped for a subclass of the same name that records each call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from transformers import LogitsProcessorList, PreTrainedModel
from transformers.cache_utils import Cache

from ..calls import Outcome, RecordedError
from ..codec import Object
from ..errors import IdentityError
from ..hf import choices
from ..hf.fingerprint import WeightsStamp, derived_identity
from ..hf.models import Binding, Casts, as_it_is, as_the_original, deep_copied, original_class, subclass
from ..hf.provenance import model_provenance
from ..hf.raised import ANSWERS, recorded_error
from ..hf.runs import Run, RunHooks, RunProcessors, current_run
from ..hf.seeds import was_set
from ..hf.steps import Step, read_step
from ..hf.tensors import NAMES, plain_tensor
from ..hf.values import Values, class_path
from ..sessions import Session

DRAWS = ("multinomial", "rand_like", "beams")
"""The choices that advance a random generator, where they draw at all."""

_inside: ContextVar[bool] = ContextVar("replaykit_inside_recorded_call", default=False)
"""Whether a recorded forward call is under way in this thread or task: calls inside it are part of it."""


class RecordedModel(RunHooks, Casts):
    """Stands before the real model's class. Everything is computed by the class below."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return as_it_is, (as_the_original(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copied(self, memo)

    def _replaykit_cast(self, real: Callable[..., Any], dtype: torch.dtype | None, args: Any, kwargs: Any) -> Any:
        before = self.dtype  # type: ignore[attr-defined]
        binding = self.__dict__["_replaykit"]
        binding.check(self)
        real(*args, **kwargs)
        binding.stamp = WeightsStamp(self)  # type: ignore[arg-type]
        if self.dtype != before:  # type: ignore[attr-defined]
            binding.cast(self.dtype)  # type: ignore[attr-defined]
        binding.provenance = model_provenance(self)
        return self


def record_model(model: PreTrainedModel, session: Session, identity: Object) -> PreTrainedModel:
    """Record what `model`, which is the one of `identity`, does from now on. Returns the same model."""
    choices.install()
    model.__dict__["_replaykit"] = RecordedBinding(model, session, identity)
    model.__class__ = subclass(original_class(type(model)), RecordedModel)
    return model


class RecordedBinding(Binding):
    records = True

    def __init__(self, model: Any, session: Session, identity: Object) -> None:
        self.session = session
        self.attention = model.config._attn_implementation
        self.base = identity.digest
        self.identity = identity.digest
        self.casts: list[str] = []
        self.stamp = WeightsStamp(model)
        self.provenance = model_provenance(model)
        self._unwritten = [identity]

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordedBinding:
        binding = copy.copy(self)
        binding.casts = list(self.casts)
        binding.stamp = copy.deepcopy(self.stamp, memo)
        return binding

    def cast(self, dtype: torch.dtype) -> None:
        self.casts.append(f"cast {NAMES[dtype]}")
        changed = derived_identity(self.base, self.casts)
        self._unwritten.append(changed)
        self.identity = changed.digest

    def record(self, call: Any, outcome: Outcome) -> None:
        unwritten, self._unwritten = self._unwritten, []
        self.session.record(call, outcome, self.provenance, objects=unwritten)

    def open_run(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RecordingRun:
        return RecordingRun(model, args, kwargs)

    def begin_run(
        self, model: Any, run: Run, loop: str, input_ids: torch.Tensor, config: Any, inputs: dict[str, Any]
    ) -> None:
        assert isinstance(run, RecordingRun)
        if run.call is None:
            run.begin(loop, input_ids, config, inputs)
        run.limit = config.max_length - input_ids.shape[1]

    def check(self, model: Any) -> None:
        if self.active and not self.stamp.fits(model):
            self.session.refuse(
                IdentityError(
                    "the model's weights were changed since it was loaded,"
                    " and its answers would be taken for those of the model it was",
                    to_record="wrap the changed model under a name of its own: session.wrap(model, name=...)",
                )
            )

    def forward(
        self, model: Any, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, in_loop: bool
    ) -> Any:
        if not self.active or _inside.get():
            return real(*args, **kwargs)
        run = current_run.get() if in_loop else None
        if run is not None and run.model is not model:
            run = None
        step = None
        if run is None or run.tracked:
            if run is None:
                self.check(model)
            step = read_step(model, self.identity, args, kwargs, replayed=False)
        token = _inside.set(True)
        try:
            output = real(*args, **kwargs)
        except ANSWERS as error:
            self._raised(error, run, step)
            raise
        finally:
            _inside.reset(token)
        if isinstance(run, RecordingRun):
            run.saw(output)
        if step is not None and (run is None or run.observed):
            values = Values()
            self.record(step.call, Outcome(values.plain(output), files=tuple(values.files)))
        if step is not None:
            step.fill(_cache_of(output), replayed=False)
        return output

    def recompute(self, model: Any, arguments: dict[str, Any]) -> Any:
        """What the model answers to a call that is recorded already: it fills the cache, and is not recorded again."""
        step = read_step(model, self.identity, (), arguments, replayed=False)
        token = _inside.set(True)
        try:
            output = model(**arguments)
        finally:
            _inside.reset(token)
        step.fill(_cache_of(output), replayed=False)
        return output

    def _raised(self, error: Exception, run: Run | None, step: Step | None) -> None:
        """The model answered with an error: that is an outcome too."""
        answer = recorded_error(error)
        if answer is None:
            return
        if isinstance(run, RecordingRun):
            run.error = answer
        if step is not None and (run is None or run.observed):
            self.record(step.call, Outcome(error=answer))


class RecordingRun(Run):
    """One `generate()` of the real model: its choices, and what the caller can see of the logits."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(model, args, kwargs)
        self.scores: list[Any] = []
        self.limit = 0
        self.output: list[str] | None = None
        self.drew_on_cpu = False
        self.error: RecordedError | None = None
        self.ended: list[int] = []
        self.clocked = False

    def saw(self, output: Any) -> None:
        """A step returned `output`: its class and dtype are all that stays where nobody can see the logits."""
        if self.output is None:
            self.output = [class_path(type(output)), NAMES[output.logits.dtype]]

    def choose(self, operation: str, compute: Callable[[], Any], source: torch.Tensor) -> Any:
        chosen = compute()
        self.drew_on_cpu |= operation in DRAWS and source.device.type == "cpu"
        tensors = chosen if isinstance(chosen, tuple) else (chosen,)
        self.decisions.append(operation, tuple(plain_tensor(tensor) for tensor in tensors))
        return chosen

    def process(
        self, processors: LogitsProcessorList, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        assert isinstance(processors, RunProcessors)
        self.steps += 1
        processed = processors.live(input_ids, scores, **kwargs)
        if self.observed:
            self.scores.append(plain_tensor(processed) if len(processors) else None)
        return processed

    def stop(self, done: torch.Tensor, *, clocked: bool) -> torch.Tensor:
        """The criteria say which rows are done: keep after how many choices each was."""
        self.clocked |= clocked
        if not self.ended:
            self.ended = [0] * done.shape[0]
        for row, is_done in enumerate(done.tolist()):
            if is_done and not self.ended[row]:
                self.ended[row] = self.steps
        return done

    def finish(self, error: BaseException | None) -> None:
        """Keep what the generation had, also where an error broke it off."""
        binding = self.model.__dict__["_replaykit"]
        if self.call is None or not binding.active or not (len(self.decisions) or error is None or self.error):
            return
        outcome = {
            "decisions": self.decisions.plain(),
            "steps": self.steps,
            "observed": self.observed,
            "scores": self.scores,
            "complete": error is None,
            "limited": self.steps >= self.limit,
            "output": self.output,
            "ended": self.ended,
            "clocked": self.clocked,
            "criteria": self.criteria,
        }
        if self.error is not None:
            outcome["error"] = self.error.plain()
        if (
            self.drew_on_cpu
            and self.call.occurrence is not None
            and (self.call.seed is not None or was_set(torch.initial_seed()))
        ):
            # What the program draws for itself after a seeded answer is part of what it observes.
            outcome["random_state"] = plain_tensor(torch.get_rng_state())
        binding.record(self.call, Outcome(outcome))


def _cache_of(output: Any) -> Cache | None:
    fields = output.values() if hasattr(output, "values") else output
    return next((field for field in fields if isinstance(field, Cache)), None)
