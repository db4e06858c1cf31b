"""What a program saw, and how to hold two runs of it side by side."""

from __future__ import annotations

import time

import torch


def timed(program, *arguments):
    """What `program` saw, and the milliseconds it took."""
    start = time.perf_counter()
    seen = program(*arguments)
    return seen, 1000 * (time.perf_counter() - start)


def differences(name, expected, actual):
    """Where two runs differ, in words. Numbers count as equal only if their bits are."""
    if expected.keys() != actual.keys():
        return [f"{name}: {list(expected)} before, {list(actual)} now"]
    return [
        f"{name}: the {what} differ: {before} before, {now} now"
        for what, before, now in ((what, expected[what], actual[what]) for what in expected)
        if not same(before, now)
    ]


def same(before, now):
    if not isinstance(before, torch.Tensor):
        return before == now
    return (before.dtype, before.shape) == (now.dtype, now.shape) and torch.equal(bits(before), bits(now))


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)
