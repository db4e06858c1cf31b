"""A tensor as plain data: dtype, shape and bytes. Turning torch's tensors into these and back is `hf`'s work."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

# Bytes an element, by the name torch gives the dtype. A dtype missing here (quantised ones) is refused, not guessed.
# float4_e2m1fn_x2 holds two numbers a byte, and torch counts the bytes.
ITEM_SIZE = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "uint32": 4,
    "int32": 4,
    "uint64": 8,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers of one dtype in a shape.

    `dtype` is torch's name without the prefix ("bfloat16"); `data` holds the elements in row-major order,
    little-endian, in exactly `size_bytes` bytes. A 0-d tensor has shape () and one element.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def size_bytes(self) -> int:
        return len(self) * ITEM_SIZE[self.dtype]

    def __len__(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"Tensor({self.dtype} {list(self.shape)})"


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for a large tensor inside a call or an outcome: the digest of the object that holds it."""

    digest: bytes
