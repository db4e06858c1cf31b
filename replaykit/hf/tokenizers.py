"""What recording and replaying a tokenizer share: which calls are text calls, their plain form, its state."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import get_json_schema

from ..calls import TokenizerCall, identity_object
from ..codec import Kind, Object, encode
from ..digest import digest
from ..errors import ReplaykitError, UnsupportedError
from .models import original_class
from .values import Values, class_path

TEXT_METHODS = (
    "__call__",
    "encode",
    "decode",
    "batch_decode",
    "apply_chat_template",
    "tokenize",
    "pad",
    "encode_plus",
    "batch_encode_plus",
)
"""Text calls: recorded one by one. Everything else a tokenizer is asked is about its vocabulary."""

# What a program may change and a text call depends on. The token lists stand apart because they hold AddedTokens.
_STATE = (
    "padding_side",
    "truncation_side",
    "model_max_length",
    "chat_template",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "model_input_names",
    "add_prefix_space",
    "_add_bos_token",
    "_add_eos_token",
    "_pad_token_type_id",
    "_special_tokens_map",
    "_extra_special_tokens",
)
# Where the files lay and how loading went is the machine's business, and no answer depends on it.
_NOT_KEPT = ("_tokenizer", "_replaykit", "name_or_path", "init_kwargs", "files_loaded", "init_inputs", "vocab_file")

inside_text_call: ContextVar[bool] = ContextVar("replaykit_inside_text_call", default=False)
"""Whether a recorded text call is under way in this thread or task: calls inside it are part of it."""


class TokenizerBinding:
    """What a recorded or replayed tokenizer carries: its session, its identity, its state when it was loaded."""

    def __init__(self, session: Any, identity: bytes, state: Mapping[str, Any]) -> None:
        self.session = session
        self.identity = identity
        self.state = state
        self.added: list[Any] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenizerBinding:
        """A copied tokenizer goes its own way: the tokens added to it are its own."""
        binding = copy.copy(self)
        binding.added = list(self.added)
        return binding

    def call(
        self, tokenizer: Any, method: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer one text call; `real` is what the tokenizer's own class would do."""
        raise NotImplementedError

    def read(self, tokenizer: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TokenizerCall:
        """The text call as plain data: arguments by name that are not at their defaults, state that was changed.

        Raises UnsupportedError for an argument that cannot be told by its content.
        """
        state = {name: value for name, value in tokenizer_state(tokenizer).items() if value != self.state.get(name)}
        if self.added:
            state["added"] = list(self.added)
        return TokenizerCall(self.identity, method, plain_arguments(type(tokenizer), method, args, kwargs), state)


def tokenizer_state(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer's mutable state as plain values; a chat template stands as its digest."""
    values = Values()
    own = tokenizer.__dict__
    state = {name: values.plain(own[name]) for name in _STATE if own.get(name) is not None}
    if "chat_template" in state:
        state["chat_template"] = digest(encode(state["chat_template"]))
    return state


def plain_arguments(cls: type, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names, defaults = _parameters(cls, method)
    given = dict(zip(names, args, strict=False)) | kwargs
    values = Values()
    plain = {}
    for name, value in given.items():
        if name == "verbose" or _is_default(value, defaults.get(name, inspect.Parameter.empty)):
            continue
        if name == "tools" and value:
            value = [get_json_schema(tool) if callable(tool) else tool for tool in value]
        plain[name] = values.plain(value)
    if values.files:
        # An encoding given back to `pad` counts by its lists; offsets are not what is padded.
        plain = {name: _without_offsets(value) for name, value in plain.items()}
    return plain


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase, backend: Object | None) -> Object:
    """The identity of a real tokenizer: class, vocabulary and rules, and its state as loaded."""
    if backend is None:
        vocabulary = digest(encode(sorted(tokenizer.get_vocab().items())))
    else:
        vocabulary = backend.digest
    return identity_object(
        "tokenizer",
        **{"class": class_path(original_class(type(tokenizer)))},
        vocabulary=vocabulary,
        state=tokenizer_state(tokenizer),
    )


def tokenizer_backend(tokenizer: PreTrainedTokenizerBase) -> Object | None:
    """The Rust tokenizer's own file, as an object; None for a tokenizer written in Python."""
    backend = getattr(tokenizer, "_tokenizer", None)
    return Object(Kind.FILE, backend.to_str().encode()) if backend is not None else None


def tokenizer_attributes(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The instance attributes a replayed tokenizer needs, as plain values; what is not plain data is left behind."""
    attributes = {}
    for name, value in tokenizer.__dict__.items():
        if name in _NOT_KEPT:
            continue
        try:
            attributes[name] = Values().plain(value)
        except UnsupportedError:
            continue
    return attributes


@lru_cache(maxsize=256)
def tokenizer_subclass(cls: Any, mixin: Any) -> type:
    """A subclass of `cls` that looks the same from outside and sends text calls through the instance's binding."""
    names: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "_replaykit_of": cls,
    }
    for method in TEXT_METHODS:
        if hasattr(cls, method):
            names[method] = _sent(method, getattr(cls, method))
    return type(cls.__name__, (mixin, cls), names)


class Additions:
    """Notes the tokens a program adds, which change the answers of every text call."""

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        added = super()._add_tokens(new_tokens, special_tokens=special_tokens)  # type: ignore[misc]
        binding = self.__dict__.get("_replaykit")
        if binding is not None and added:
            binding.added.append([Values().plain(new_tokens), special_tokens])
        return added


def _sent(method: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        binding = self.__dict__["_replaykit"]
        try:
            return binding.call(self, method, functools.partial(real, self), args, kwargs)
        except ReplaykitError as error:
            binding.session.latch(error)
            raise

    return wrapper


@lru_cache(maxsize=1024)
def _parameters(cls: type, method: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    parameters = list(inspect.signature(getattr(cls, method)).parameters.values())[1:]
    return tuple(p.name for p in parameters), {p.name: p.default for p in parameters}


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (
        type(value) is type(default) and isinstance(value, (bool, int, str)) and value == default
    )


def _without_offsets(value: Any) -> Any:
    if isinstance(value, dict) and "encoding" in value:
        data, sequences, _ = value["encoding"]
        return {"encoding": [data, sequences, None]}
    if isinstance(value, list):
        return [_without_offsets(item) for item in value]
    return value
