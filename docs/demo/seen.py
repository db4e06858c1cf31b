"""What a program saw, and how to hold two runs of it side by side."""

from __future__ import annotations

import time

import torch


def timed(program, *arguments):
    """What `program` saw, and the milliseconds it took."""
    start = time.perf_counter()
    seen = program(*arguments)
    return seen, 1000 * (time.perf_counter() - start)


def differences(expected, actual):
    """The names of what differs between two runs. Numbers are equal only if their bits are."""
    return [name for name in expected | actual if not same(expected.get(name), actual.get(name))]


def same(before, now):
    if not isinstance(before, torch.Tensor) or not isinstance(now, torch.Tensor):
        return type(before) is type(now) and before == now
    return (before.dtype, before.shape) == (now.dtype, now.shape) and torch.equal(bits(before), bits(now))


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)
