"""What calls take and return, as plain values: outputs, encodings, containers, scalars.

What is not plain by itself stands as a map with one key that says what it is: {"output": ...}, {"map": ...},
{"cache": ...}, {"encoding": ...}, {"numpy": ...}, {"token": ...}, {"dtype": ...}, {"device": ...}.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from transformers import BatchEncoding, BatchFeature
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from ..codec import Kind, Object, Tensor
from ..digest import Digest
from ..errors import CorruptError, UnsupportedError
from .tensors import plain_tensor, torch_tensor

NewCache = Callable[[str], Cache]
Fetch = Callable[[Digest], Object]


class Values:
    """Turns one outcome or argument list into plain values, collecting the objects it refers to."""

    def __init__(self) -> None:
        self.files: list[Object] = []

    def plain(self, value: Any) -> Any:
        """The plain value. Raises UnsupportedError for what cannot be told by its content."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str, bytes):
            return value
        if isinstance(value, torch.Tensor):
            return plain_tensor(value)
        if kind is list:
            return [self.plain(item) for item in value]
        if kind is tuple:
            return tuple([self.plain(item) for item in value])
        if isinstance(value, enum.Enum):
            return self.plain(value.value)
        if isinstance(value, ModelOutput):
            return {"output": [class_path(kind), [[name, self.plain(item)] for name, item in value.items()]]}
        if isinstance(value, Cache):
            return {"cache": class_path(kind)}
        if isinstance(value, BatchEncoding):
            return {"encoding": self._encoding(value)}
        if isinstance(value, BatchFeature):
            return {"feature": [class_path(kind), [[key, self.plain(item)] for key, item in value.data.items()]]}
        if isinstance(value, Mapping):
            return {"map": [[self.plain(key), self.plain(item)] for key, item in value.items()]}
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.ascontiguousarray(value)
            if array.dtype.hasobject:
                raise UnsupportedError("a numpy array of Python objects has no bytes to record")
            scalar = isinstance(value, np.generic)
            return {"numpy": [array.dtype.str, list(np.shape(value)), array.tobytes(), scalar]}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if kind.__module__.startswith("tokenizers") and kind.__qualname__ == "AddedToken":
            return {"token": self.plain(value.__getstate__())}
        if isinstance(value, tuple):
            return tuple([self.plain(item) for item in value])
        if isinstance(value, (bool, int, float, str)):  # a subclass: its value is what counts
            return next(base(value) for base in (bool, int, float, str) if isinstance(value, base))
        raise UnsupportedError(f"a {class_path(kind)} cannot be told by its content, so a call with it is not recorded")

    def _encoding(self, value: BatchEncoding) -> list[Any]:
        data = [[key, self.plain(item)] for key, item in value.data.items()]
        states = None
        if value.encodings is not None:
            # Offsets and words are ten times the ids and seldom looked at: an object of their own, compressed.
            states = []
            for encoding in value.encodings:
                self.files.append(Object(Kind.ENCODING, encoding.__getstate__()))
                states.append(self.files[-1].digest)
        return [data, value.n_sequences, states]


def python_value(plain: Any, *, fetch: Fetch, new_cache: NewCache) -> Any:
    """The value that `plain` stands for; `new_cache` makes the cache of the class that a call returned."""
    kind = type(plain)
    if kind is Tensor:
        return torch_tensor(plain)
    if kind is list:
        return [python_value(item, fetch=fetch, new_cache=new_cache) for item in plain]
    if kind is tuple:
        return tuple([python_value(item, fetch=fetch, new_cache=new_cache) for item in plain])
    if kind is not dict:
        return plain
    ((what, content),) = plain.items()
    if what == "output":
        path, fields = content
        made = {name: python_value(item, fetch=fetch, new_cache=new_cache) for name, item in fields}
        return find_class(path, ModelOutput)(**made)
    if what == "cache":
        return new_cache(content)
    if what == "map":
        return {
            python_value(key, fetch=fetch, new_cache=new_cache): python_value(item, fetch=fetch, new_cache=new_cache)
            for key, item in content
        }
    if what == "encoding":
        data, sequences, states = content
        made = {key: python_value(item, fetch=fetch, new_cache=new_cache) for key, item in data}
        encodings = None if states is None else StoredEncodings(states, fetch)
        return _batch_encoding(made, encodings, sequences)
    if what == "feature":
        path, items = content
        return find_class(path, BatchFeature)(
            {key: python_value(item, fetch=fetch, new_cache=new_cache) for key, item in items}
        )
    if what == "numpy":
        dtype, shape, data, scalar = content
        array = np.frombuffer(bytearray(data), dtype=np.dtype(dtype)).reshape(shape)
        return array[()] if scalar else array
    if what == "dtype":
        return getattr(torch, content)
    if what == "device":
        return torch.device(content)
    if what == "token":
        from tokenizers import AddedToken

        token = AddedToken("")
        token.__setstate__(python_value(content, fetch=fetch, new_cache=new_cache))
        return token
    raise CorruptError(f"a recorded value of unknown kind {what!r}: it was recorded by a newer replaykit")


def no_cache(path: str) -> Cache:
    raise CorruptError(f"a {path} stands where no cache can be")


class StoredEncodings(list):  # type: ignore[type-arg]  # BatchEncoding demands a list
    """The `tokenizers.Encoding`s of a replayed call, fetched at the first look at one."""

    def __init__(self, digests: list[bytes], fetch: Fetch) -> None:
        super().__init__(digests)
        self._fetch = fetch

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        item = super().__getitem__(index)
        if isinstance(item, bytes):
            from tokenizers import Encoding

            stored = self._fetch(Digest(item))
            item = Encoding()
            item.__setstate__(bytes(stored.payload))
            self[index] = item
        return item

    def __reduce__(self) -> Any:
        return list, (list(self),)  # a copy stands for itself, without the session

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))


def _batch_encoding(data: dict[str, Any], encodings: Any, sequences: int | None) -> BatchEncoding:
    made = BatchEncoding(data, n_sequences=sequences)
    made._encodings = encodings
    return made


def class_path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(path: str, base: type) -> Any:
    """The class of that path, a subclass of `base`.

    Only transformers and modules the program imported itself are looked into: a name in a store runs no code.
    Raises UnsupportedError if the class is not there.
    """
    module_name, _, name = path.partition(":")
    module = sys.modules.get(module_name)
    if module is None and module_name.partition(".")[0] == "transformers":
        import importlib

        try:
            module = importlib.import_module(module_name)
        except ImportError:
            module = None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UnsupportedError(
            f"the recording needs the class {path}, which is not here; import {module_name} before replaying"
        )
    return found
