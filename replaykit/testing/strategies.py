"""Hypothesis strategies of plain data: values, tensors, calls, outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from ..calls import Call, Generation, Load, ModelStep, Outcome, RecordedError, SamplerCall, TokenizerCall
from ..calls.call import INLINE_BYTES
from ..calls.lineage import NAME_SIZE
from ..codec import Ref, Tensor
from ..codec.tensor import ITEM_SIZE
from ..digest import SIZE, Digest

CUT_ROW = b"\xff\xff\xff\xff"


def digests() -> st.SearchStrategy[Digest]:
    return st.binary(min_size=SIZE, max_size=SIZE).map(Digest)


def texts() -> st.SearchStrategy[str]:
    """Text as tokenizers return it, halves of surrogate pairs included."""
    return st.text(st.characters(exclude_categories=()), max_size=12)


def names() -> st.SearchStrategy[str]:
    """Names of arguments: what may stand as a keyword in a Python call."""
    return st.text(st.characters(codec="utf-8", categories=("Ll", "Lu", "Nd", "Pc")), min_size=1, max_size=30)


def scalars() -> st.SearchStrategy[Any]:
    """None, bool, int of any size, float, text, bytes."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False),
        texts(),
        st.binary(max_size=40),
    )


@st.composite
def tensors(draw: Callable[..., Any], *, max_side: int = 4) -> Tensor:
    """Tensors of every dtype, 0-d and empty ones included."""
    dtype = draw(st.sampled_from(sorted(ITEM_SIZE)))
    shape = tuple(draw(st.lists(st.integers(0, max_side), max_size=3)))
    size_bytes = Tensor(dtype, shape, b"").size_bytes
    return Tensor(dtype, shape, draw(st.binary(min_size=size_bytes, max_size=size_bytes)))


def large_tensors() -> st.SearchStrategy[Tensor]:
    """Tensors around the size from which they become objects of their own."""
    return st.integers(INLINE_BYTES - 2, INLINE_BYTES + 2).map(lambda size: Tensor("uint8", (size,), bytes(size)))


def keys() -> st.SearchStrategy[Any]:
    """What may be a key of a map."""
    return st.one_of(texts(), st.integers(), st.tuples(st.integers(), texts()), st.binary(max_size=8))


def values(*, refs: bool = True) -> st.SearchStrategy[Any]:
    """Every kind of value that has canonical bytes, nested; without `refs`, those that need no store."""
    leaves = st.one_of(scalars(), tensors(), digests().map(Ref) if refs else st.nothing())
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(texts(), inner, max_size=4),
            st.dictionaries(keys(), inner, max_size=4),
        ),
        max_leaves=8,
    )


@st.composite
def lineages(draw: Callable[..., Any]) -> bytes:
    """The names of a cache's rows: equal parents, several rows of one call, cut rows; empty for ROOT."""
    known = draw(st.lists(digests(), min_size=1, max_size=3))
    rows = st.integers(0, 3).map(lambda row: row.to_bytes(4, "little")) | st.just(CUT_ROW)
    chosen = draw(st.lists(st.tuples(st.sampled_from(known), rows), max_size=4))
    joined = b"".join(key + row for key, row in chosen)
    assert len(joined) == NAME_SIZE * len(chosen)
    return joined


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(names(), st.one_of(values(), tensors(), large_tensors()), max_size=4)


def identities() -> st.SearchStrategy[bytes]:
    return digests() | st.just(b"")


def model_steps() -> st.SearchStrategy[ModelStep]:
    return st.builds(ModelStep, identities(), arguments(), lineage=lineages(), cache=st.just("") | names())


def generations() -> st.SearchStrategy[Generation]:
    return st.builds(
        Generation,
        identities(),
        names(),
        arguments(),
        arguments(),
        lineage=lineages(),
        cache=st.just("") | names(),
        processors=st.lists(names(), max_size=2).map(tuple),
        seed=st.none() | st.integers(0, 2**64),
        occurrence=st.none() | st.integers(0, 5),
    )


def tokenizer_calls() -> st.SearchStrategy[TokenizerCall]:
    return st.builds(TokenizerCall, identities(), names(), arguments(), arguments())


def sampler_calls() -> st.SearchStrategy[SamplerCall]:
    return st.builds(
        SamplerCall,
        identities(),
        arguments(),
        seed=st.none() | st.integers(0, 2**64),
        occurrence=st.integers(0, 5),
    )


def loads() -> st.SearchStrategy[Load]:
    return st.builds(Load, names(), texts(), names(), arguments())


def calls() -> st.SearchStrategy[Call]:
    """Calls of every class."""
    return st.one_of(model_steps(), generations(), tokenizer_calls(), sampler_calls(), loads())


def outcomes() -> st.SearchStrategy[Outcome]:
    """What came back, or the error that was raised."""
    errors = st.builds(RecordedError, names(), st.lists(scalars(), max_size=3).map(tuple))
    return st.builds(Outcome, st.one_of(values(refs=False), large_tensors())) | errors.map(
        lambda error: Outcome(error=error)
    )
