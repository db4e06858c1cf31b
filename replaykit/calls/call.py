"""The questions: each a frozen dataclass of plain data that knows its object and so its key.

A call's payload is the canonical CBOR of [op, fields]; its header lists what it refers to (identity, parent calls,
large tensors). The key of a call is the digest of that object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..codec import Kind, Object, Ref, Tensor, encode
from ..codec.lazy import lazy
from ..codec.tree import mapped
from ..digest import SIZE, Digest
from .key import step_header, step_payload
from .lineage import NAME_SIZE

INLINE_BYTES = 1024
"""A tensor of more bytes than this becomes an object of its own, so that equal tensors are stored once."""


@dataclass(frozen=True)
class Call:
    """One question as plain data."""

    op: ClassVar[str]
    title: ClassVar[str]
    __hash__ = None  # type: ignore[assignment]  # named by key, not by hash

    @lazy
    def object(self) -> Object:
        """The call as an object of the store; its digest is the key."""
        tensors: list[Object] = []
        plain = {name: refer(value, tensors) for name, value in self.plain().items()}
        refs = (*self.needs(), *(tensor.digest for tensor in tensors))
        self.__dict__["tensors"] = tuple(tensors)
        return Object.of(Kind.CALL, encode([self.op, plain]), refs=tuple(dict.fromkeys(refs)))

    @lazy
    def tensors(self) -> tuple[Object, ...]:
        """The large tensors the call refers to, as objects."""
        self.object  # noqa: B018  # making the call's object finds them
        return self.__dict__["tensors"]

    @property
    def key(self) -> Digest:
        return self.object.digest

    @property
    def is_shared(self) -> bool:
        """Whether any recording's answer will do: the content says all there is to ask."""
        return True

    @property
    def must_repeat(self) -> bool:
        """Whether asking twice must bring equal answers."""
        return True

    def plain(self) -> dict[str, Any]:
        """The fields as canonical values. A field at its default is left out, so that a later field changes no key."""
        values = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        kept = ((name, value) for name, value, default in values if value != default)
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in kept}

    def summary(self) -> str:
        """The call in one line, for messages."""
        return readable(self.plain())

    def needs(self) -> Iterator[Digest]:
        """The objects the call refers to beside its tensors."""
        identity = getattr(self, "identity", b"")
        if identity:
            yield Digest(identity)


@dataclass(frozen=True)
class Load(Call):
    """From a source's name to a model or tokenizer.

    `source` is the name the program used (of a local path, its last part) and `options` what changes the result:
    revision, dtype, attention implementation. Devices and caches are not part of the question.
    """

    op = "load"
    title = "loading"
    what: str
    source: str
    loader: str
    options: Mapping[str, Any]

    @property
    def is_shared(self) -> bool:
        return False  # what a name stands for is its recording's own affair

    def summary(self) -> str:
        by = "" if self.loader == "wrap" else f" by {self.loader}"
        return f"{self.what} {self.source!r}{by}{', ' if self.options else ''}{readable(self.options)}"


@dataclass(frozen=True)
class TokenizerCall(Call):
    """One text call to a tokenizer: the method, its arguments by name, the tokenizer's mutable state."""

    op = "tokenizer"
    title = "tokenizer call"
    identity: bytes
    method: str
    arguments: Mapping[str, Any]
    state: Mapping[str, Any]

    def summary(self) -> str:
        changed = f", with {readable(self.state)}" if self.state else ""
        return f"{self.method}({readable(dict(self.arguments))}){changed}"


@dataclass(frozen=True)
class SamplerCall(Call):
    """One call to a user's sampler. Tensors stand as digests: the logits are the answer of the step before."""

    op = "sampler"
    title = "sampler call"
    identity: bytes
    arguments: Mapping[str, Any]
    seed: int | None = None
    occurrence: int = 0

    @property
    def is_shared(self) -> bool:
        return False

    def summary(self) -> str:
        seeded = "" if self.seed is None else f", seed {self.seed}"
        given = self.arguments.get("args", []), self.arguments.get("kwargs", {})
        return f"sampler({readable(given[0])}, {readable(given[1])}), occurrence {self.occurrence}{seeded}"


@dataclass(frozen=True)
class Generation(Call):
    """One `generate()`: what its caller gave, without pure limits and output flags.

    `inputs` are the tensors as the decoding loop gets them; `lineage` names the rows of a cache that was passed in;
    `config` the values of the resolved generation config that differ from the library's defaults; `processors` the
    qualified names of the caller's own logits processors. `seed` and `occurrence` count only where random numbers are
    drawn: the occurrence number tells the first answer to the same question since the seed from the second.
    """

    op = "generation"
    title = "generation"
    identity: bytes
    method: str
    inputs: Mapping[str, Any]
    config: Mapping[str, Any]
    lineage: bytes = b""
    cache: str = ""
    processors: tuple[str, ...] = ()
    seed: int | None = None
    occurrence: int | None = None

    @property
    def is_shared(self) -> bool:
        return self.occurrence is None  # an answer that was drawn belongs to the recording that drew it

    @property
    def must_repeat(self) -> bool:
        return False  # limits and output flags are not in the key: answers may differ in length

    def summary(self) -> str:
        facts = {"lineage": self.lineage, "seed": self.seed, "occurrence": self.occurrence}
        known = {name: value for name, value in facts.items() if value not in (None, b"")}
        return f"{self.method}({readable({**self.inputs, **self.config, **known}, 300)})"

    def needs(self) -> Iterator[Digest]:
        yield from super().needs()
        yield from parents(self.lineage)


@dataclass(frozen=True)
class ModelStep(Call):
    """One forward call: the new tokens and everything else the logits depend on, in normal form.

    `inputs` are the named arguments, tensors as `Tensor`, without what follows from the rest (positions that follow
    from mask and lineage, a mask that masks nothing, flags at their defaults). `lineage` names the cache's rows, empty
    for an empty cache; `cache` the cache's kind where it is not the model's own default.
    """

    op = "step"
    title = "model step"
    identity: bytes
    inputs: Mapping[str, Any]
    lineage: bytes = b""
    cache: str = ""

    def summary(self) -> str:
        step = f"forward({readable(dict(self.inputs))})"
        if not self.lineage:
            return step
        rows = len(self.lineage) // NAME_SIZE
        return f"{step} on a cache of {rows} row{'s' * (rows > 1)}, lineage {readable(self.lineage)}"

    @lazy
    def object(self) -> Object:
        # The hot path: the same bytes as Call.object, packed by hand (tests/calls/test_keys.py holds them together).
        tensors: list[Object] = []
        inputs = self.inputs
        if any(type(value) is not Tensor or len(value.data) > INLINE_BYTES for value in inputs.values()):
            inputs = {name: refer(value, tensors) for name, value in inputs.items()}
        self.__dict__["tensors"] = tuple(tensors)
        header = step_header(self.identity, self.lineage, [tensor.digest for tensor in tensors])
        return Object(Kind.CALL, step_payload(self.identity, inputs, self.lineage, self.cache), header)

    def needs(self) -> Iterator[Digest]:
        yield from super().needs()
        yield from parents(self.lineage)


def parents(names: bytes) -> Iterator[Digest]:
    """The calls that a lineage's names speak of, each once. A cut node is no call."""
    seen = set()
    for start in range(0, len(names), NAME_SIZE):
        key, row = names[start : start + SIZE], names[start + SIZE : start + NAME_SIZE]
        if row != b"\xff\xff\xff\xff" and key not in seen:
            seen.add(key)
            yield Digest(key)


def tensor_object(tensor: Tensor) -> Object:
    """A tensor as an object of its own."""
    return Object.of(Kind.TENSOR, tensor.data, dtype=tensor.dtype, shape=list(tensor.shape))


def _word(name: Any) -> str:
    return name if isinstance(name, str) and name.isprintable() else repr(name)


def refer(value: Any, tensors: list[Object]) -> Any:
    """`value` with each large tensor replaced by a Ref, its object appended to `tensors`."""

    def leaf(item: Any) -> Any:
        if type(item) is not Tensor or len(item.data) <= INLINE_BYTES:
            return item
        tensors.append(tensor_object(item))
        return Ref(tensors[-1].digest)

    return mapped(value, leaf)


def readable(value: Any, limit: int = 120) -> str:
    """A plain value in one line of at most `limit` characters, for messages."""
    if isinstance(value, dict) and set(value) == {"map"}:
        value = dict(value["map"])
    if isinstance(value, bytes):
        text = value[:4].hex()
    elif isinstance(value, Mapping):
        shown = (
            f"{_word(name)}={readable(item, limit)}"
            for name, item in value.items()
            if name != "identity" and item != {}
        )
        text = ", ".join(shown)
    elif isinstance(value, list):
        text = f"[{', '.join(readable(item, limit) for item in value[:8])}{', ...' if len(value) > 8 else ''}]"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
