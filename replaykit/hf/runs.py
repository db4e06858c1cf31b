"""One `generate()` under way: what recording and replaying it share.

`RunHooks` stands before the model's class. `generate()` opens a run; the decoding loop (`_sample`, `_beam_search`,
...), which transformers looks up on the class, tells the run what the loop starts from; each forward call, each set of
processed scores and each choice then goes through the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.cache_utils import Cache
from transformers.generation.stopping_criteria import MaxTimeCriteria

from ..calls import Decisions, Generation
from ..errors import ReplaykitError, UnsupportedError
from . import choices, seeds
from .beams import beam_choice, continuations
from .caches import kind_of, state_of
from .steps import CACHE_NAMES, normal_inputs
from .values import Values

ELIDING_LOOPS = ("_sample", "_beam_search")
"""The loops in which nobody but the caller's own code can see the logits."""

# What limits a generation or says what to return changes no choice; the rest is for the machine, not the question.
_NOT_ASKED = frozenset(
    {
        "max_length",
        "max_new_tokens",
        "max_time",
        "stop_strings",
        "output_scores",
        "output_logits",
        "output_hidden_states",
        "output_attentions",
        "return_dict_in_generate",
        "transformers_version",
        "use_cache",
        "compile_config",
        "disable_compile",
        "use_model_defaults",
    }
)
# Parameters of generate() that its loops never see: position and name.
_OWN_TENSORS = ((8, "negative_prompt_ids"), (9, "negative_prompt_attention_mask"))
_NOT_INPUTS = frozenset(
    {"synced_gpus", "streamer", "tokenizer", "assistant_tokenizer", "assistant_model", "logits_to_keep"}
)
_WITNESSES = ("output_scores", "output_logits", "output_hidden_states", "output_attentions")


class Run:
    """One call of `generate()` on one model.

    `observed`: the caller can see the logits or what is made from them, so each step is recorded and replayed in full;
    otherwise the choices suffice. `tracked`: the caller keeps or gets the cache, so its lineage must be right.
    """

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.model = model
        self.processors = _own_processors(args, kwargs)
        self.streamer = kwargs.get("streamer") or (args[7] if len(args) > 7 else None)
        self.own_tensors = {
            name: kwargs.get(name, args[place] if len(args) > place else None) for place, name in _OWN_TENSORS
        }
        given = kwargs.get("stopping_criteria") or (args[3] if len(args) > 3 else None) or ()
        self.criteria = [type(criterion).__qualname__ for criterion in given]
        self.own_cache = any(isinstance(kwargs.get(name), Cache) for name in CACHE_NAMES)
        self.observed = True
        self.tracked = True
        self.call: Generation | None = None
        self.decisions = Decisions()
        self.steps = 0

    def begin(self, loop: str, input_ids: torch.Tensor, config: Any, inputs: dict[str, Any]) -> Generation:
        """The decoding loop starts from these: which generation it is.

        A generation that draws random numbers is counted: its occurrence is part of the call.
        """
        binding = self.model.__dict__["_replaykit"]
        full = binding.records and binding.session.fidelity == "full"
        witnessed = config.return_dict_in_generate and any(getattr(config, name, False) for name in _WITNESSES)
        self.observed = bool(full or witnessed or self.processors or loop not in ELIDING_LOOPS)
        cache = next((inputs[name] for name in CACHE_NAMES if inputs.get(name) is not None), None)
        state = state_of(cache) if cache is not None else None
        lineage = state.lineage if state is not None else None
        self.tracked = bool(self.own_cache or config.return_dict_in_generate or self.observed)
        given = {"input_ids": input_ids} | {name: value for name, value in inputs.items() if name not in _NOT_INPUTS}
        given |= self.own_tensors
        question = Generation(
            binding.identity,
            loop.strip("_"),
            normal_inputs(self.model, given, lineage.length if lineage is not None else 0, whole=True),
            _asked(config),
            lineage=lineage.names if lineage is not None else b"",
            cache=kind_of(cache),
            processors=self.processors,
        )
        if config.do_sample:
            seeds.notice(binding.session.seeds)
            scope = binding.session.seeds.current
            question = replace(question, seed=scope.seed, occurrence=scope.occurrence(question.key))
        self.call = question
        return question

    # What a recording or replaying run does at each point of the loop.

    def choose(self, operation: str, compute: Callable[[], Any], source: torch.Tensor) -> Any:
        raise NotImplementedError

    def process(
        self, processors: LogitsProcessorList, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> Any:
        raise NotImplementedError

    def stop(self, done: torch.Tensor, *, clocked: bool) -> torch.Tensor:
        """The loop's criteria say which rows are done, of shape (B,); `clocked` if it was the clock."""
        raise NotImplementedError

    def finish(self, error: BaseException | None) -> None:
        """The generation is over, by itself or by `error`."""


class RunProcessors(LogitsProcessorList):
    """The loop's logits processors, called by way of the run."""

    def __init__(self, processors: LogitsProcessorList, run: Run) -> None:
        super().__init__(processors)
        self.run = run

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> Any:
        return self.run.process(self, input_ids, scores, **kwargs)

    def live(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> Any:
        return super().__call__(input_ids, scores, **kwargs)  # type: ignore[arg-type]


class RunCriteria(StoppingCriteriaList):
    """The loop's stopping criteria, called live; the run hears which rows are done."""

    def __init__(self, criteria: StoppingCriteriaList, run: Run) -> None:
        super().__init__(criteria)
        self.run = run

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        done = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        clocked = False
        for criterion in self:
            says = criterion(input_ids, scores, **kwargs)
            done = done | says
            clocked |= isinstance(criterion, MaxTimeCriteria) and bool(says.any())
        return self.run.stop(done, clocked=clocked)


current_run: ContextVar[Run | None] = ContextVar("replaykit_run", default=None)
"""The run of the innermost `generate()` in this thread or task."""


class RunHooks:
    """Overrides that stand before a model's class, shared by recording and replaying models."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        binding = self.__dict__["_replaykit"]
        if not binding.active and binding.records:
            return super().generate(*args, **kwargs)  # type: ignore[misc]
        run = binding.open_run(self, args, kwargs)
        token = current_run.set(run)
        try:
            binding.check(self)
            result = super().generate(*args, **kwargs)  # type: ignore[misc]
            current_run.get().finish(None)  # type: ignore[union-attr]
        except BaseException as error:
            current_run.get().finish(error)  # type: ignore[union-attr]
            if isinstance(error, ReplaykitError):
                binding.session.latch(error)
                _end_stream(run.streamer)
            raise
        finally:
            current_run.reset(token)
        return result

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        binding = self.__dict__["_replaykit"]
        try:
            return binding.forward(self, super().__call__, args, kwargs, in_loop=is_loop_call())  # type: ignore[misc]
        except ReplaykitError as error:
            binding.session.latch(error)
            raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        binding = self.__dict__["_replaykit"]
        try:
            return binding.forward(self, super().forward, args, kwargs, in_loop=False)  # type: ignore[misc]
        except ReplaykitError as error:
            binding.session.latch(error)
            raise

    def _replaykit_loop(self, loop: str, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        run = current_run.get()
        decode = getattr(super(), loop)
        if run is None or run.model is not self:
            return decode(input_ids, *args, **kwargs)
        binding = self.__dict__["_replaykit"]
        names = ("logits_processor", "stopping_criteria", "generation_config")
        kwargs.update(zip(names, args, strict=False))
        config = kwargs["generation_config"]
        inputs = {name: value for name, value in kwargs.items() if name not in names}
        elsewhere = binding.begin_run(self, run, loop, input_ids, config, inputs)
        if elsewhere is not None:
            return getattr(type(elsewhere), loop)(elsewhere, input_ids, **kwargs)
        if loop in ELIDING_LOOPS:
            kwargs["logits_processor"] = RunProcessors(kwargs["logits_processor"], run)
        if loop == "_sample":
            kwargs["stopping_criteria"] = RunCriteria(kwargs["stopping_criteria"], run)
        token = choices.current_chooser.set(run)
        try:
            return decode(input_ids, **kwargs)
        finally:
            choices.current_chooser.reset(token)

    def _get_top_k_continuations(self, *args: Any, **kwargs: Any) -> Any:
        run = current_run.get()
        if run is None or run.model is not self:
            return super()._get_top_k_continuations(*args, **kwargs)  # type: ignore[misc]
        real = super()._get_top_k_continuations  # type: ignore[misc]

        def compute() -> Any:
            token = choices.current_chooser.set(None)  # this choice is recorded whole, not the draws inside it
            try:
                return beam_choice(real(*args, **kwargs), kwargs)
            finally:
                choices.current_chooser.reset(token)

        return continuations(run.choose("beams", compute, kwargs["accumulated_log_probs"]), kwargs)


def is_loop_call() -> bool:
    """Whether the caller's caller is transformers' generation loop, not a callback of the user's inside it."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("transformers.generation.")


def _own_processors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """The qualified names of the caller's own logits processors, in order."""
    given = kwargs.get("logits_processor") or (args[2] if len(args) > 2 else None) or ()
    names = [type(processor).__qualname__ for processor in given]
    allowed = kwargs.get("prefix_allowed_tokens_fn") or (args[4] if len(args) > 4 else None)
    if allowed is not None:
        names.append(getattr(allowed, "__qualname__", type(allowed).__qualname__))
    return tuple(names)


def _asked(config: Any) -> dict[str, Any]:
    """What of a resolved generation config is part of the question: values that differ from the library's defaults."""
    values = Values()
    asked = {}
    # Releases that have this fill it in wherever nobody chose.
    defaults: dict[str, Any] = getattr(config, "_get_default_generation_params", dict)()
    for name, value in config.to_diff_dict().items():
        # Forcing the last token makes the limit a part of what is asked.
        limit = name == "max_length" and config.forced_eos_token_id is not None
        if (name in _NOT_ASKED and not limit) or name.startswith("_") or value is None or value == defaults.get(name):
            continue
        try:
            asked[name] = values.plain(value.to_dict() if hasattr(value, "to_dict") else value)
        except UnsupportedError as error:
            raise UnsupportedError(f"the generation option {name} cannot be recorded: {error.message}") from error
    return asked


def _end_stream(streamer: Any) -> None:
    """End a stream that a refusal cut off, so that whoever reads it does not wait for ever.

    `TextStreamer.end` decodes what is left, which may be refused in turn; then only the end is signalled.
    """
    if streamer is None:
        return
    try:
        streamer.end()
    except ReplaykitError:
        finalize = getattr(streamer, "on_finalized_text", None)
        if finalize is not None:
            finalize("", stream_end=True)
