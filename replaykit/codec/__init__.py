"""Values to canonical bytes and back.

Nouns: a *value* (None, bool, int, float, str, bytes, list, tuple, dict, `Tensor`), its one canonical encoding, a
`Tensor` as plain data, an `Object` ready for a store. Knows neither torch nor the store.
"""

from .cbor import decode, encode
from .objects import Kind, Object
from .tensor import Ref, Tensor

__all__ = ["Kind", "Object", "Ref", "Tensor", "decode", "encode"]
