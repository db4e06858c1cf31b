"""torch's tensors to plain data and back, bit for bit."""

from __future__ import annotations

import torch

from ..codec import Tensor
from ..codec.tensor import ITEM_SIZE
from ..errors import UnsupportedError

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in ITEM_SIZE if hasattr(torch, name)}
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}

# What numpy can take as it is: the ids and flags of the hot path.
_QUICK = frozenset({torch.int64, torch.float32, torch.bool, torch.int32})


def plain_tensor(tensor: torch.Tensor) -> Tensor:
    """A snapshot of `tensor`, wherever it lives and however it is strided.

    Raises UnsupportedError for a tensor whose elements are not simply there: sparse, quantised, meta.
    """
    if tensor.dtype in _QUICK and tensor.device.type == "cpu" and type(tensor) is torch.Tensor:
        quick = tensor.detach()
        if quick.layout is torch.strided and quick.is_contiguous():
            return Tensor(NAMES[tensor.dtype], tuple(tensor.shape), quick.numpy().tobytes())
    dtype = NAMES.get(tensor.dtype)
    if dtype is None or tensor.layout is not torch.strided or tensor.device.type == "meta":
        raise UnsupportedError(f"a {tensor.layout} {tensor.dtype} tensor on {tensor.device} has no bytes to record")
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    data = flat.reshape(-1).view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return Tensor(dtype, tuple(tensor.shape), data)


def torch_tensor(tensor: Tensor) -> torch.Tensor:
    """A new CPU tensor with the elements of `tensor`; the caller may write to it."""
    dtype = DTYPES[tensor.dtype]
    if not tensor.data:
        return torch.empty(tensor.shape, dtype=dtype)
    return torch.frombuffer(bytearray(tensor.data), dtype=torch.uint8).view(dtype).reshape(tensor.shape)
