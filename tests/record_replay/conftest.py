from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

import replaykit

TINY_LM = Path(__file__).parents[2] / "fixtures" / "tiny-lm"


class Place:
    """A store and a model directory that can be taken away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.source = path / "tiny-lm"
        shutil.copytree(TINY_LM, self.source)

    def session(self, name: str = "chat", **settings: Any) -> Any:
        return replaykit.session(name, store=self.store, **settings)

    def record(self, name: str = "chat", **settings: Any) -> Any:
        return self.session(name, **{"mode": "once", **settings})

    def replay(self, name: str = "chat", **settings: Any) -> Any:
        """A strict session, with the model gone."""
        shutil.rmtree(self.source, ignore_errors=True)
        return self.session(name, **{"mode": "strict", **settings})


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])
