"""Outcome: what came back, as a tree of plain values, or the error that was raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..codec import Kind, Object, Ref, Tensor, decode, encode
from ..codec.lazy import lazy
from ..codec.tree import mapped
from ..digest import Digest
from ..errors import CorruptError
from .call import refer


@dataclass(frozen=True)
class RecordedError:
    """An error that the real tokenizer or model raised: its class by name, and its message arguments."""

    name: str
    arguments: tuple[Any, ...]

    def plain(self) -> list[Any]:
        return [self.name, list(self.arguments)]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> RecordedError:
        name, arguments = plain
        return cls(name, tuple(arguments))


@dataclass(frozen=True)
class Outcome:
    """What came back from one call.

    `value` is plain data; class names, caches and other things of transformers stand in it as `hf` wrote them.
    `files` are objects the value refers to by digest beside its tensors (a source's files, an encoding's offsets).
    """

    value: Any = None
    error: RecordedError | None = None
    files: tuple[Object, ...] = ()
    __hash__ = None  # type: ignore[assignment]

    @lazy
    def object(self) -> Object:
        tensors: list[Object] = []
        if self.error is not None:
            payload = encode(["error", self.error.plain()])
        else:
            payload = encode(["value", refer(self.value, tensors)])
        self.__dict__["tensors"] = tuple(tensors)
        refs = dict.fromkeys(item.digest for item in (*tensors, *self.files))
        return Object.of(Kind.OUTCOME, payload, refs=tuple(refs))

    @lazy
    def tensors(self) -> tuple[Object, ...]:
        """The large tensors of the value, as objects."""
        self.object  # noqa: B018  # making the outcome's object finds them
        return self.__dict__["tensors"]

    @classmethod
    def from_object(cls, item: Object, fetch: Callable[[Digest], Object]) -> Outcome:
        """The outcome that `item` holds; `fetch` brings the objects of large tensors."""
        kind, content = decode(item.payload, check=False)
        if kind == "error":
            return cls(error=RecordedError.from_plain(content))

        def leaf(value: Any) -> Any:
            return tensor_from(fetch(Digest(value.digest))) if type(value) is Ref else value

        return cls(mapped(content, leaf))


def tensor_from(item: Object) -> Tensor:
    """The tensor that an object holds."""
    fields = item.fields
    tensor = Tensor(fields["dtype"], tuple(fields["shape"]), item.payload)
    if tensor.size_bytes != len(tensor.data):
        raise CorruptError(f"tensor object {item.digest.hex()} does not fill its shape")
    return tensor
