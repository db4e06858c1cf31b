"""A replayed model: an instance of the real class without weights or submodules, which answers from a recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.utils import ModelOutput

from ..calls import Decisions, Generation, Outcome
from ..errors import DivergenceError, FidelityError, UnsupportedError
from ..hf import choices
from ..hf.caches import adopt, meet, state_of
from ..hf.fingerprint import derived_identity
from ..hf.models import Binding, Casts, empty_model, subclass
from ..hf.rebuild import rebuilt
from ..hf.runs import Run, RunHooks, RunProcessors, current_run
from ..hf.steps import CACHE_NAMES, Step, read_step
from ..hf.tensors import DTYPES, NAMES, torch_tensor
from ..hf.values import class_path, find_class, python_value
from ..sessions import Session

Live = Callable[[], Any]
"""Gives the real model, recorded, loading it the first time."""


class ReplayedModel(RunHooks, Casts):
    """Stands before the model's class and answers for it. There is no weight to compute anything with."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return self.__dict__["_replaykit"].dtype

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        counts = self.__dict__["_replaykit"].facts["parameters"]
        return counts[2 * bool(only_trainable) + bool(exclude_embeddings)]

    def get_compiled_call(self, compile_config: Any) -> Any:
        return self.__call__

    def tie_weights(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to tie."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError("a replayed model has no weights to save")

    def get_input_embeddings(self) -> Any:
        raise UnsupportedError("a replayed model has no embeddings: only its own calls were recorded")

    def get_output_embeddings(self) -> Any:
        raise UnsupportedError("a replayed model has no output embeddings: only its own calls were recorded")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError as error:
            message = f"a replayed {type(self).__name__} has no {name!r}: it has neither weights nor inner modules"
            raise AttributeError(message, name=name, obj=self) from error

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("a replayed model has no weights to read")

    def _replaykit_cast(self, real: Callable[..., Any], dtype: torch.dtype | None, args: Any, kwargs: Any) -> Any:
        if dtype is not None:
            self.__dict__["_replaykit"].cast(dtype)
        return self


def replay_model(facts: dict[str, Any], session: Session, name: str, live: Live | None) -> PreTrainedModel:
    """The model that a recorded load described by `facts`, without its weights.

    `live` gives the real one where the session may ask it. Raises UnsupportedError if the model's class is not here.
    """
    choices.install()
    config_path, config_text = facts["config"]
    config = find_class(config_path, PreTrainedConfig).from_dict(json.loads(config_text))
    config._attn_implementation_internal = facts["attention"]
    config.name_or_path = name
    model = empty_model(subclass(find_class(facts["class"], PreTrainedModel), ReplayedModel))
    for attribute, value in facts["attributes"].items():
        model.__dict__[attribute] = value
    binding = ReplayedBinding(session, facts, live)
    model.__dict__["_replaykit"] = binding
    model.config = config
    model.name_or_path = name
    model.kernel_config = None
    model.training = facts["training"]
    if facts["generation_config"] is not None:
        model.generation_config = GenerationConfig.from_dict(json.loads(facts["generation_config"]))
    # One parameter without elements, so that next(model.parameters()) tells device and dtype.
    model.register_parameter("weight", torch.nn.Parameter(torch.empty(0, dtype=binding.dtype), requires_grad=False))
    return model


class ReplayedBinding(Binding):
    def __init__(self, session: Session, facts: dict[str, Any], live: Live | None) -> None:
        self.session = session
        self.facts = facts
        self.identity = facts["identity"]
        self.dtype = DTYPES[facts["dtype"]]
        self.casts: list[str] = []
        self.live = live

    def cast(self, dtype: torch.dtype) -> None:
        if dtype != self.dtype:
            self.dtype = dtype
            self.casts.append(f"cast {NAMES[dtype]}")
            self.identity = derived_identity(self.facts["identity"], self.casts).digest

    def real_model(self) -> Any:
        """The real model, in the state the program brought the replayed one to."""
        assert self.live is not None
        model = self.live()
        done = len(model.__dict__["_replaykit"].casts)
        for cast in self.casts[done:]:
            model.to(DTYPES[cast.removeprefix("cast ")])
        return model

    def open_run(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ReplayingRun:
        return ReplayingRun(model, args, kwargs)

    def begin_run(
        self, model: Any, run: Run, loop: str, input_ids: torch.Tensor, config: Any, inputs: dict[str, Any]
    ) -> Any:
        assert isinstance(run, ReplayingRun)
        call = run.begin(loop, input_ids, config, inputs)
        steps = config.max_length - input_ids.shape[1]
        caches = [inputs[name] for name in CACHE_NAMES if isinstance(inputs.get(name), Cache)]
        outcome = self.session.recall(call, can_ask=self.live is not None, choose=longest)
        if outcome is not None and self.session.records and self.live is not None and too_short(outcome, steps):
            outcome = None
        if self.live is not None and any(is_live(cache) for cache in caches):
            outcome = None
        if outcome is not None:
            run.follow(outcome)
            return None
        real = self.real_model()
        for cache in caches:
            rebuilt(cache, real)
        successor = real.__dict__["_replaykit"].open_run(real, (), {})
        run.hand_over(successor)
        current_run.set(successor)
        return real

    def forward(
        self, model: Any, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, in_loop: bool
    ) -> Any:
        run = current_run.get() if in_loop else None
        if isinstance(run, ReplayingRun) and run.model is model and not run.observed:
            return run.stand_in(model, args, kwargs)
        step = read_step(model, self.identity, args, kwargs, replayed=True)
        if step.state is not None and not step.state.replayed and self.live is not None:
            return self._ask(step)  # the cache is the real model's already: it goes on with it
        outcome = self.session.recall(step.call, can_ask=self.live is not None)
        if outcome is None:
            return self._ask(step)
        made: list[Cache] = []

        def new_cache(path: str) -> Cache:
            made.append(step.cache if step.cache is not None else empty_cache(path, model.config))
            return made[-1]

        output = python_value(outcome.value, fetch=self.session.fetch, new_cache=new_cache)
        if made:
            step.fill(made[-1], replayed=True)
        return output

    def _ask(self, step: Step) -> Any:
        real = self.real_model()
        if step.cache is not None:
            rebuilt(step.cache, real)
        output = real(**to_device(step.arguments, real.device))
        return to_device(output, torch.device("cpu"))


class ReplayingRun(Run):
    """One `generate()` that follows a recorded one."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(model, args, kwargs)
        self.decisions = Decisions()
        self.recorded: dict[str, Any] = {}
        self.at = 0
        self.steps = 0
        self.successor: Run | None = None

    def follow(self, outcome: Outcome) -> None:
        self.recorded = outcome.value
        self.decisions = Decisions.from_plain(self.recorded["decisions"])
        if self.observed and not self.recorded["observed"]:
            self.model.__dict__["_replaykit"].session.refuse(
                FidelityError(
                    "the logits of this generation were not stored: nobody could see them when it was recorded",
                    level="full",
                    asked=self.call.summary() if self.call else None,
                    to_record='fidelity="full", or with the same output_scores, output_logits or processors as now',
                )
            )

    def hand_over(self, successor: Run) -> None:
        """The real model runs this generation: `successor` records it."""
        self.successor = successor
        successor.call = self.call
        successor.observed = self.observed
        successor.tracked = self.tracked
        successor.processors = self.processors

    def finish(self, error: BaseException | None) -> None:
        if self.successor is not None:
            self.successor.finish(error)
        elif error is None and self.at == len(self.decisions) and "random_state" in self.recorded:
            torch.set_rng_state(torch_tensor(self.recorded["random_state"]))

    def choose(self, operation: str, compute: Callable[[], Any], source: torch.Tensor) -> Any:
        session = self.model.__dict__["_replaykit"].session
        if self.at >= len(self.decisions):
            session.refuse(self._beyond(session))
        recorded, tensors = self.decisions.choices[self.at]
        if recorded != operation:
            session.refuse(
                DivergenceError(
                    f"at choice {self.at} of this generation the library chooses in another way than when it was recorded",
                    expected=recorded,
                    actual=operation,
                )
            )
        self.at += 1
        chosen = tuple(torch_tensor(tensor) for tensor in tensors)
        if self.observed:
            self._check(operation, compute, source, chosen[0])
        return chosen[0] if len(chosen) == 1 else chosen

    def _beyond(self, session: Session) -> Any:
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
        self.model.__dict__["_replaykit"].session.refuse(
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
        live = processors.live(input_ids, scores, **kwargs)
        kept = self.recorded["scores"]
        if self.steps > len(kept) or kept[self.steps - 1] is None:
            return live
        recorded = torch_tensor(kept[self.steps - 1])
        if torch.equal(live, recorded):
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
        """What a step returns whose logits nobody can see: as many rows, one column, no numbers."""
        cache = next((kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None), None)
        tokens = kwargs.get("input_ids") if kwargs.get("input_ids") is not None else kwargs["inputs_embeds"]
        batch, positions = tokens.shape[:2]
        if self.tracked:
            step = read_step(model, model.__dict__["_replaykit"].identity, args, kwargs, replayed=True)
            if cache is None and kwargs.get("use_cache", True):
                cache = empty_cache(class_path(DynamicCache), model.config)
            step.fill(cache, replayed=True)
        elif cache is not None:
            meet(cache, replayed=True).lineage.advance_unnamed(positions, batch)
        path, dtype = self.recorded["output"]
        logits = torch.zeros((batch, 1, 1), dtype=DTYPES[dtype])
        return find_class(path, ModelOutput)(logits=logits, past_key_values=cache)


def longest(outcomes: list[Outcome]) -> Outcome | None:
    """Of generations of which each is the beginning of the next, the longest, with logits if any has them."""
    ranked = sorted(outcomes, key=lambda outcome: (outcome.value["steps"], outcome.value["observed"]))
    best = Decisions.from_plain(ranked[-1].value["decisions"])
    if not all(best.agrees_with(Decisions.from_plain(other.value["decisions"])) for other in ranked[:-1]):
        return None
    return ranked[-1]


def too_short(outcome: Outcome, steps: int) -> bool:
    """Whether a recorded generation ended at its limit, and now a longer one is asked for."""
    value = outcome.value
    return value["steps"] < steps and (value["limited"] or not value["complete"])


def is_live(cache: Cache) -> bool:
    """Whether the cache holds what the real model computed, rather than a lineage alone."""
    state = state_of(cache)
    return state is not None and not state.replayed and state.lineage.rows is not None


def empty_cache(path: str, config: Any) -> Cache:
    """The cache a model makes when none is passed, as transformers makes it: never filled, its lineage answers."""
    cls = find_class(path, Cache)
    if cls is not DynamicCache:
        raise UnsupportedError(f"the recorded model returned a {cls.__name__} of its own making, which cannot be replayed")
    cache = cls(config=config)
    adopt(cache, replayed=True)
    return cache


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with its tensors on `device`; caches and everything else as they are."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, ModelOutput):
        return type(value)(**{name: to_device(item, device) for name, item in value.items()})
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(to_device(item, device) for item in value)
    return value
