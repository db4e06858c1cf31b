"""Fingerprints: what makes a model or tokenizer *that* one, read off the real thing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

from ..calls import identity_object
from ..codec import Object, encode
from ..digest import digest
from ..errors import UnsupportedError
from .models import original_class
from .tensors import NAMES, plain_tensor
from .values import class_path

SAMPLES = 1024
"""Elements of each weight that the fingerprint looks at, evenly strided."""

# Where the config came from and which release wrote it says nothing about what the model computes.
_NOT_CONFIG = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


def model_identity(model: PreTrainedModel) -> Object:
    """The identity of a real model: class, config, weights, dtype, attention implementation."""
    return identity_object(
        "model",
        **{"class": class_path(original_class(type(model)))},
        config=digest(encode(_config(model.config))),
        weights=weights_fingerprint(model),
        dtype=NAMES.get(model.dtype, str(model.dtype)),
        attention=str(model.config._attn_implementation),
    )


def weights_fingerprint(model: torch.nn.Module) -> bytes:
    """Each weight's name, shape, dtype and an evenly strided sample of its bytes, hashed.

    Raises UnsupportedError for weights that are not there (on the meta device, offloaded to disk).
    """
    rows = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.device.type == "meta":
            raise UnsupportedError(f"the weight {name} is on the meta device, so the model cannot be told from another")
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(flat.numel() // SAMPLES, 1)]
        rows.append([name, str(tensor.dtype), list(tensor.shape), digest(plain_tensor(sample).data)])
    return digest(encode(rows))


def derived_identity(base: bytes, changes: Iterable[str]) -> Object:
    """The identity of a model the program changed: the loaded one's, and what was done since, in order."""
    return identity_object("model", base=base, changes=list(changes))


def _config(config: Any) -> Any:
    plain = json.loads(json.dumps(config.to_dict(), default=str))
    return {key: value for key, value in plain.items() if key not in _NOT_CONFIG}


class WeightsStamp:
    """Notices that weights were edited in place or replaced, without looking at their bytes.

    What goes around torch's own count (`parameter.data`, another process) it does not notice.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights = [(tensor, _count(tensor)) for tensor in _weights(model)]

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether `model` has the very weights it had."""
        now = _weights(model)
        return len(now) == len(self._weights) and all(
            tensor is known and _count(tensor) == count
            for tensor, (known, count) in zip(now, self._weights, strict=True)
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightsStamp:
        """The stamp of a copied model: its weights were copied before, so the memo holds them."""
        copy = object.__new__(WeightsStamp)
        copies = [memo.get(id(tensor), tensor) for tensor, _ in self._weights]
        copy._weights = [(tensor, _count(tensor)) for tensor in copies]
        return copy


def _weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor for module in model.modules() for tensor in module._parameters.values() if tensor is not None]


def _count(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
