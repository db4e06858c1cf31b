"""Identity: what makes a model or tokenizer *that* one.

An identity is an object in the store; its digest stands in every key, so that one model's answers are never served as
another's.
"""

from __future__ import annotations

from typing import Any

from ..codec import Kind, Object, encode


def identity_object(what: str, **facts: Any) -> Object:
    """The identity of a `what` ("model", "tokenizer", "sampler") from the facts its answers depend on.

    For a model: class path, config, weights fingerprint, dtype, attention implementation. For a tokenizer: class path
    and the content of its files. Facts are plain values.
    """
    return Object(Kind.IDENTITY, encode([what, facts]))
