"""A replayed model: an instance of the real class without weights or submodules, which answers from a recording."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from ..errors import UnsupportedError
from ..hf import choices
from ..hf.caches import empty_cache, is_live
from ..hf.fingerprint import derived_identity
from ..hf.models import Binding, Casts, deep_copied, empty_model, subclass
from ..hf.raised import raise_again
from ..hf.rebuild import rebuilt
from ..hf.runs import Run, RunHooks, current_run
from ..hf.steps import CACHE_NAMES, Step, read_step
from ..hf.tensors import DTYPES, NAMES
from ..hf.values import find_class, python_value
from ..sessions import Session
from .run import ReplayingRun, longest, too_short

Live = Callable[[], Any]
"""Gives the real model, recorded, loading it the first time."""


class ReplayedModel(RunHooks, Casts):
    """Stands before the model's class and answers for it. There is no weight to compute anything with."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UnsupportedError(
            "a replayed model belongs to its session and cannot be pickled; load it where it is needed"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copied(self, memo)

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

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """The first parameter tells dtype and device; there are no others, and to ask for them is refused."""
        yield from (parameter for _, parameter in self.named_parameters())

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield "weight", self._parameters["weight"]
        raise UnsupportedError("a replayed model has no parameters beside one that tells its dtype and device")

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("a replayed model computes nothing, so a hook on it would never be called")

    register_forward_pre_hook = register_full_backward_hook = register_forward_hook

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
    records = False

    def __init__(self, session: Session, facts: dict[str, Any], live: Live | None) -> None:
        self.session = session
        self.attention = facts["attention"]
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

    def __deepcopy__(self, memo: dict[int, Any]) -> ReplayedBinding:
        binding = copy.copy(self)
        binding.casts = list(self.casts)
        binding.live = copy.deepcopy(self.live)
        return binding

    def real_model(self, model: Any) -> Any:
        """The real model, in the state the program brought the replayed one to."""
        assert self.live is not None
        real = self.live()
        for cast in self.casts[len(real.__dict__["_replaykit"].casts) :]:
            real.to(DTYPES[cast.removeprefix("cast ")])
        real.train(model.training)
        loaded = find_class(self.facts["config"][0], PreTrainedConfig).from_dict(json.loads(self.facts["config"][1]))
        for name, value in vars(model.config).items():
            if not name.startswith("_") and name != "name_or_path" and vars(loaded).get(name) != value:
                setattr(real.config, name, value)
        return real

    def open_run(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ReplayingRun:
        return ReplayingRun(model, args, kwargs)

    def begin_run(
        self, model: Any, run: Run, loop: str, input_ids: torch.Tensor, config: Any, inputs: dict[str, Any]
    ) -> Any:
        assert isinstance(run, ReplayingRun)
        call = run.begin(loop, input_ids, config, inputs)
        steps = config.max_length - input_ids.shape[1]
        caches = [inputs[name] for name in CACHE_NAMES if isinstance(inputs.get(name), Cache)]
        choose = functools.partial(longest, steps=steps, observed=run.observed)
        outcome = self.session.recall(call, can_ask=self.live is not None, choose=choose)
        if outcome is not None and self.live is not None:
            unseen = run.observed and not outcome.value["observed"]
            if unseen or too_short(outcome, steps, run.criteria):
                outcome = None
        if self.live is not None and any(is_live(cache) for cache in caches):
            outcome = None
        if outcome is not None:
            run.timed = config.max_time is not None
            run.follow(outcome)
            return None
        real = self.real_model(model)
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
        if isinstance(run, ReplayingRun) and run.model is model and run.is_over():
            self.session.refuse(run.beyond(self.session))
        step = read_step(model, self.identity, args, kwargs, replayed=True)
        if step.state is not None and not step.state.replayed and self.live is not None:
            return self._ask(model, step)  # the cache is the real model's already: it goes on with it
        outcome = self.session.recall(step.call, can_ask=self.live is not None)
        if outcome is None:
            return self._ask(model, step)
        if outcome.error is not None:
            raise_again(outcome.error)
        made: list[Cache] = []

        def new_cache(path: str) -> Cache:
            made.append(step.cache if step.cache is not None else empty_cache(path, model.config, self))
            return made[-1]

        output = python_value(outcome.value, fetch=self.session.fetch, new_cache=new_cache)
        if made:
            step.fill(made[-1], replayed=True)
        return output

    def _ask(self, model: Any, step: Step) -> Any:
        real = self.real_model(model)
        if step.cache is not None:
            rebuilt(step.cache, real)
        output = real(**to_device(step.arguments, real.device))
        return to_device(output, torch.device("cpu"))


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
