"""Provenance: where an outcome was made. It stands beside the key, never in it."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from typing import Any

import torch

from ..codec import Kind, Object, encode


def model_provenance(model: Any) -> Object:
    """Library versions, device, dtype, kernels and determinism flags that a model's numbers depend on."""
    device = model.device
    return Object(
        Kind.PROVENANCE,
        encode(
            {
                **_libraries("torch", "transformers", "scikit-learn", "accelerate"),
                "device": device.type,
                "device_name": _device_name(device.type, device.index),
                "dtype": str(model.dtype).removeprefix("torch."),
                "attention": str(model.config._attn_implementation),
                "threads": torch.get_num_threads() if device.type == "cpu" else None,
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "matmul_precision": torch.get_float32_matmul_precision(),
                "cuda": torch.version.cuda if device.type == "cuda" else None,
            }
        ),
    )


def tokenizer_provenance() -> Object:
    """The library versions that a tokenizer's answers depend on."""
    return Object(Kind.PROVENANCE, encode(_libraries("transformers", "tokenizers", "jinja2")))


@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _libraries(*names: str) -> dict[str, str | None]:
    return {name: _version(name) for name in names}


@functools.cache
def _device_name(kind: str, index: int | None) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name(index)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}" if kind == "cpu" else kind
