"""A run of `generate()` that follows a recorded one: the loop is transformers' own, the choices are the recording's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationMixin, LogitsProcessorList
from transformers.cache_utils import DynamicCache
from transformers.utils.generic import ModelOutput

from ..calls import Decisions, Generation, Outcome, RecordedError
from ..errors import DivergenceError, FidelityError
from ..hf import seeds
from ..hf.caches import empty_cache, meet
from ..hf.raised import raise_again
from ..hf.runs import Run, RunProcessors
from ..hf.steps import CACHE_NAMES, read_step
from ..hf.tensors import DTYPES, torch_tensor
from ..hf.values import class_path, find_class
from ..sessions import Session


class ReplayingRun(Run):
    """One `generate()` that follows a recorded one."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(model, args, kwargs)
        self.recorded: dict[str, Any] = {}
        self.at = 0
        self.strayed = False  # from here on the recorded choices answer another question
        self.timed = False
        self._done: torch.Tensor | None = None

    @property
    def _binding(self) -> Any:
        return self.model.__dict__["_replaykit"]

    def follow(self, outcome: Outcome) -> None:
        self.recorded = outcome.value
        self.decisions = Decisions.from_plain(self.recorded["decisions"])
        if self.observed and not self.recorded["observed"]:
            self._binding.session.refuse(
                FidelityError(
                    "the logits of this generation were not stored: nobody could see them when it was recorded",
                    level="full",
                    asked=self.call.summary() if self.call else None,
                    to_record='mode="new_episodes" with the program as it is, or fidelity="full", where the model is',
                )
            )

    def hand_over(self, successor: Run) -> None:
        """The real model runs this generation: `successor` records it."""
        successor.call = self.call
        successor.observed = self.observed
        successor.tracked = self.tracked
        successor.processors = self.processors
        successor.criteria = self.criteria

    def finish(self, error: BaseException | None) -> None:
        if error is None and "random_state" in self.recorded:
            if self.at == len(self.decisions):
                seeds.restore(torch_tensor(self.recorded["random_state"]))
            else:
                warnings.warn(
                    "this sampled answer is shorter than its recording: random numbers that the program draws for"
                    " itself from here on are not those it would have drawn",
                    stacklevel=4,
                )

    def choose(self, operation: str, compute: Callable[[], Any], source: torch.Tensor) -> Any:
        session = self._binding.session
        if self.at >= len(self.decisions) or (self.strayed and operation != "topk"):
            if "error" in self.recorded and not self.strayed:
                raise_again(RecordedError.from_plain(self.recorded["error"]))
            session.refuse(self.beyond(session))
        recorded, tensors = self.decisions.choices[self.at]
        if recorded != operation:
            session.refuse(
                DivergenceError(
                    f"at choice {self.at} of this generation the library chooses otherwise than when it was recorded",
                    expected=recorded,
                    actual=operation,
                )
            )
        self.at += 1
        chosen = tuple(torch_tensor(tensor) for tensor in tensors)
        if operation == "topk":
            return self._ranked(compute(), chosen)
        if self.observed:
            self._check(operation, compute, source, chosen[0])
        return chosen[0] if len(chosen) == 1 else chosen

    def _ranked(self, live: Any, recorded: tuple[torch.Tensor, ...]) -> Any:
        """Which beams go on, or are finished: ranks of recorded scores, so only ties need the recorded choice.

        At another limit, or with other criteria, the scores are others here; then the live ranks count, and the next
        step's recorded choice no longer answers for the beams that go on.
        """
        if live[0].shape == recorded[0].shape and torch.equal(live[0], recorded[0]):
            return recorded
        self.strayed = True
        return live

    def stop(self, done: torch.Tensor, *, clocked: bool) -> torch.Tensor:
        """The criteria run live. Where rows end otherwise than recorded, no later choice is good for the batch."""
        if self.timed and self.recorded["clocked"] and self.steps >= self.steps_recorded:
            return torch.ones_like(done)  # the clock ended it when it was recorded; replay is faster than the clock
        self._done = done if self._done is None else self._done | done
        ended = [0 < step <= self.steps for step in self.recorded["ended"]]
        self.strayed |= self._done.tolist() != ended and not bool(self._done.all())
        return done

    def is_over(self) -> bool:
        """Whether the recording has no further choice, so that a further step is none of its steps."""
        return self.at >= len(self.decisions) and "error" not in self.recorded

    def beyond(self, session: Session) -> Any:
        if self.strayed and self.steps < self.steps_recorded:
            assert isinstance(self.call, Generation)
            return session.miss(
                self.call,
                "this generation was recorded with another limit or other stopping criteria:"
                f" after token {self.steps} its rows end otherwise.",
                recorded_tokens=self.steps_recorded,
            )
        end = "ends" if self.recorded["complete"] else "was broken off"
        assert isinstance(self.call, Generation)
        return session.miss(
            self.call,
            f"this generation is longer than its recording, which {end} at token {self.steps_recorded}.",
            recorded_tokens=self.steps_recorded,
        )

    @property
    def steps_recorded(self) -> int:
        return self.recorded["steps"]

    def _check(self, operation: str, compute: Callable[[], Any], source: torch.Tensor, chosen: torch.Tensor) -> None:
        """The program's own processors run again: do they still allow what was chosen?"""
        if operation == "multinomial":
            if source.shape[:-1] == chosen.shape[:-1] and bool((source.gather(-1, chosen) <= 0).any()):
                self._diverged("the recorded token has probability 0 now", chosen, source.argmax(-1, keepdim=True))
        elif operation == "argmax" and self.processors:
            live = compute()
            if not torch.equal(live, chosen):
                self._diverged("the processors now lead to another token", chosen, live)

    def _diverged(self, what: str, expected: torch.Tensor, actual: torch.Tensor) -> None:
        self._binding.session.refuse(
            DivergenceError(
                f"at token {self.steps} of this generation: {what}",
                expected=expected.flatten().tolist(),
                actual=actual.flatten().tolist(),
                processors=", ".join(self.processors) or None,
            )
        )

    def process(
        self, processors: LogitsProcessorList, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        assert isinstance(processors, RunProcessors)
        self.steps += 1
        if not self.observed:
            return scores  # a stand-in: nobody looks, and the choice is recorded
        kept = self.recorded["scores"]
        recorded = (
            torch_tensor(kept[self.steps - 1]) if self.steps <= len(kept) and kept[self.steps - 1] is not None else None
        )
        # The library's processors leave two-dimensional scores as they get them, so nobody sees whether they ran.
        if recorded is not None and not self.processors and scores.dim() == 2:
            return recorded
        live = processors.live(input_ids, scores, **kwargs)
        if recorded is None or torch.equal(live, recorded):
            return live
        # Another processor's arithmetic may differ in the last bits, a changed function of the program's does in more.
        if self.processors and not torch.allclose(live, recorded, rtol=1e-4, atol=1e-4, equal_nan=True):
            differs = ~torch.isclose(live, recorded, rtol=1e-4, atol=1e-4, equal_nan=True)
            at = differs.nonzero()[0].tolist()
            self._diverged(
                f"the processors now score token id {at[-1]} of row {at[0]} otherwise",
                recorded[tuple(at)],
                live[tuple(at)],
            )
        return recorded

    def stand_in(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a step returns whose logits nobody can see: as many rows, no numbers."""
        cache = next((kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None), None)
        tokens = next(kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None)
        batch, positions = tokens.shape[:2]
        if self.tracked:
            step = read_step(model, self._binding.identity, args, kwargs, replayed=True)
            if cache is None and kwargs.get("use_cache", True):
                cache = empty_cache(class_path(DynamicCache), model.config, self._binding)
            step.fill(cache, replayed=True)
        elif cache is not None:
            meet(cache, self._binding, replayed=True).lineage.advance_unnamed(positions, batch)
        if self.recorded["output"] is None:  # the real model raised at its first step
            self.choose("argmax", lambda: None, tokens)
        path, dtype = self.recorded["output"]
        logits = torch.zeros((batch, 1, self._columns(model)), dtype=DTYPES[dtype])
        return find_class(path, ModelOutput)(logits=logits, past_key_values=cache)

    def _columns(self, model: Any) -> int:
        """One column will do, but where an older transformers' beam search counts on the whole vocabulary."""
        counts = "vocab_size" in GenerationMixin._beam_search.__code__.co_varnames
        searches = self.call is not None and self.call.method == "beam_search"
        return model.config.get_text_config().vocab_size if counts and searches else 1


def longest(outcomes: list[Outcome], *, steps: int, observed: bool) -> Outcome | None:
    """Of recordings of one generation at several limits, one that answers `steps` steps, with logits if `observed`.

    None if they contradict each other.
    """
    logs = [Decisions.from_plain(outcome.value["decisions"]) for outcome in outcomes]
    if not all(_agree(one, other) for one in logs for other in logs):
        return None

    def rank(outcome: Outcome) -> tuple[bool, bool, bool, int]:
        value = outcome.value
        return value["observed"] or not observed, value["steps"] >= steps, value["steps"] == steps, value["steps"]

    return max(outcomes, key=rank)


def _agree(one: Decisions, other: Decisions) -> bool:
    """Whether two recordings choose alike as far as both go; how beams end depends on the limit."""
    chosen = [[choice for choice in log.choices if choice[0] != "topk"] for log in (one, other)]
    return Decisions(chosen[0]).agrees_with(Decisions(chosen[1]))


def too_short(outcome: Outcome, steps: int, criteria: list[str]) -> bool:
    """Whether a recorded generation ended at its limit or by other criteria, and now a longer one is asked for."""
    value = outcome.value
    other = value["criteria"] != criteria or value["clocked"]
    return value["steps"] < steps and (value["limited"] or not value["complete"] or other)
