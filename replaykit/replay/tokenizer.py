"""A replayed tokenizer: the real class without its files, which answers text calls from a recording.

Questions about the vocabulary are answered by the stored tokenizer itself, which is built when the first such question
comes: a second for a vocabulary of 128k, and text calls never need it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ..digest import Digest
from ..errors import UnsupportedError
from ..hf.models import deep_copied
from ..hf.raised import raise_again
from ..hf.tokenizers import Additions, TokenizerBinding, tokenizer_subclass
from ..hf.values import find_class, no_cache, python_value
from ..sessions import Session


class ReplayedTokenizer(Additions):
    """Stands before the tokenizer's class. `_tokenizer`, transformers' name for the Rust object, is built on demand."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UnsupportedError(
            "a replayed tokenizer belongs to its session and cannot be pickled; load it where it is needed"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copied(self, memo)

    @property
    def _tokenizer(self) -> Any:
        return self.__dict__["_replaykit"].backend()

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        binding = self.__dict__["_replaykit"]
        known = binding.facts["special_ids"]
        if isinstance(tokens, str):
            if tokens in known and not binding.is_built:
                return known[tokens]
        elif all(isinstance(token, str) and token in known for token in tokens) and not binding.is_built:
            return [known[token] for token in tokens]
        return super().convert_tokens_to_ids(tokens)  # type: ignore[misc]

    def __len__(self) -> int:
        binding = self.__dict__["_replaykit"]
        return super().__len__() if binding.is_built else binding.facts["length"]  # type: ignore[misc]

    @property
    def vocab_size(self) -> int:
        return self.__dict__["_replaykit"].facts["vocab_size"]


def replay_tokenizer(
    facts: dict[str, Any], session: Session, name: str, live: Callable[[], Any] | None
) -> PreTrainedTokenizerBase:
    """The tokenizer that a recorded load described by `facts`.

    `live` gives the real one where the session may ask it. Raises UnsupportedError if its class is not here.
    """
    cls = tokenizer_subclass(find_class(facts["class"], PreTrainedTokenizerBase), ReplayedTokenizer)
    tokenizer: Any = object.__new__(cls)
    for attribute, value in facts["attributes"].items():
        tokenizer.__dict__[attribute] = python_value(value, fetch=session.fetch, new_cache=no_cache)
    tokenizer.__dict__ |= {"name_or_path": name, "init_kwargs": {}, "init_inputs": (), "files_loaded": []}
    tokenizer.__dict__["_replaykit"] = ReplayedTokenizerBinding(session, facts, live)
    return tokenizer


class ReplayedTokenizerBinding(TokenizerBinding):
    def __init__(self, session: Session, facts: dict[str, Any], live: Callable[[], Any] | None) -> None:
        super().__init__(session, facts["identity"], facts["state"])
        self.facts = facts
        self.live = live
        self._backend: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenizerBinding:
        binding = super().__deepcopy__(memo)
        assert isinstance(binding, ReplayedTokenizerBinding)
        binding._backend = copy.deepcopy(self._backend)
        binding.live = copy.deepcopy(self.live)
        return binding

    @property
    def is_built(self) -> bool:
        return self._backend is not None

    def backend(self) -> Any:
        """The stored Rust tokenizer."""
        if self._backend is None:
            from tokenizers import Tokenizer

            if self.facts["backend"] is None:
                raise UnsupportedError("this tokenizer is written in Python; its vocabulary was not recorded")
            stored = self.session.fetch(Digest(self.facts["backend"]))
            self._backend = Tokenizer.from_str(bytes(stored.payload).decode())
        return self._backend

    def call(
        self, tokenizer: Any, method: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = self.read(tokenizer, method, args, kwargs)
        outcome = self.session.recall(call, can_ask=self.live is not None)
        if outcome is None:
            return getattr(self._real(tokenizer), method)(*args, **kwargs)
        if outcome.error is not None:
            raise_again(outcome.error)
        return python_value(outcome.value, fetch=self.session.fetch, new_cache=no_cache)

    def _real(self, tokenizer: Any) -> Any:
        """The real tokenizer, brought to the state the program brought the replayed one to."""
        assert self.live is not None
        real = self.live()
        for name in self.facts["attributes"]:
            if name in tokenizer.__dict__:
                real.__dict__[name] = tokenizer.__dict__[name]
        binding = real.__dict__["_replaykit"]
        for plain, special in self.added[len(binding.added) :]:
            tokens = python_value(plain, fetch=self.session.fetch, new_cache=no_cache)
            real.add_tokens(tokens, special_tokens=special)
        return real
