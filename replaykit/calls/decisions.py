"""Decisions: the choices of one `generate()`, in order.

A CPU draws other tokens than a GPU from the same seed, and ties in `argmax` or `topk` may fall the other way, so the
choices are recorded, not recomputed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..codec import Tensor

Choice = tuple[str, tuple[Tensor, ...]]
"""The operation that chose ("multinomial", "argmax", "topk", ...) and the tensors it returned."""


class Decisions:
    """An append-only log of choices.

    Choices of one operation, dtype and shape that follow each other are stored as one tensor with a leading dimension
    more, so that a greedy or sampled token costs its eight bytes and nothing else.
    """

    def __init__(self, choices: Sequence[Choice] = ()) -> None:
        self.choices = list(choices)

    def __len__(self) -> int:
        return len(self.choices)

    def __repr__(self) -> str:
        return f"<Decisions: {len(self.choices)} choices>"

    def append(self, operation: str, tensors: tuple[Tensor, ...]) -> None:
        self.choices.append((operation, tensors))

    def plain(self) -> list[Any]:
        """As canonical values: [[operation, count, [stacked tensors]], ...]."""
        runs: list[list[Choice]] = []
        for choice in self.choices:
            if not runs or _form(runs[-1][0]) != _form(choice):
                runs.append([])
            runs[-1].append(choice)
        columns = [zip(*(tensors for _, tensors in run), strict=True) for run in runs]
        return [
            [run[0][0], len(run), [_stack(tensors) for tensors in column]]
            for run, column in zip(runs, columns, strict=True)
        ]

    @classmethod
    def from_plain(cls, runs: list[Any]) -> Decisions:
        choices: list[Choice] = []
        for operation, count, stacked in runs:
            columns = [list(_unstack(tensor)) for tensor in stacked]
            choices += [(operation, tuple(column[index] for column in columns)) for index in range(count)]
        return cls(choices)

    def agrees_with(self, other: Decisions) -> bool:
        """Whether one log is the beginning of the other."""
        return all(mine == theirs for mine, theirs in zip(self.choices, other.choices, strict=False))


def _form(choice: Choice) -> Any:
    return choice[0], [(tensor.dtype, tensor.shape) for tensor in choice[1]]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    return Tensor(first.dtype, (len(tensors), *first.shape), b"".join(bytes(tensor.data) for tensor in tensors))


def _unstack(stacked: Tensor) -> Iterator[Tensor]:
    count, *shape = stacked.shape
    size = len(stacked.data) // count
    for index in range(count):
        yield Tensor(stacked.dtype, tuple(shape), bytes(stacked.data[index * size : (index + 1) * size]))
