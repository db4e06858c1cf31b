"""For every scenario: recording changes nothing, and the replay is the recording, bit for bit and dtype for dtype."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from .scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What each scenario saw unrecorded, recorded and replayed; replay runs in a process that has no model."""
    place = tmp_path_factory.mktemp("scenarios")
    source = place / "tiny-lm"
    shutil.copytree(ROOT / "fixtures" / "tiny-lm", source)
    run("record", place, source)
    shutil.rmtree(source)
    run("replay", place, source)
    recorded, replayed = (torch.load(place / f"{what}.pt", weights_only=False) for what in ("record", "replay"))
    return {name: {"record": recorded[name], "replay": replayed[name]} for name in SCENARIOS}


def run(what: str, place: Path, source: Path) -> None:
    command = [sys.executable, "-m", "tests.record_replay.run", what, str(place / "store"), str(source)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": {"record": "1", "replay": "2"}[what]}
    subprocess.run([*command, str(place / f"{what}.pt")], cwd=ROOT, env=environment, check=True, timeout=600)


@pytest.mark.parametrize("name", SCENARIOS)
def test_recording_changes_nothing(observed, name):
    record = observed[name]["record"]
    assert isinstance(record, dict), record
    assert difference(record["plain"], record["recorded"]) is None


@pytest.mark.parametrize("name", SCENARIOS)
def test_replay_is_the_recording(observed, name):
    record, replay = observed[name]["record"], observed[name]["replay"]
    assert isinstance(record, dict), record
    assert isinstance(replay, dict), replay
    assert difference(record["recorded"], replay["replayed"]) is None


def difference(expected: Any, actual: Any, where: str = "") -> str | None:
    """The first place where two observations differ, or None. Tensors must have equal dtypes and bits."""
    if type(expected) is not type(actual):
        return f"{where}: {type(expected).__name__} and {type(actual).__name__}"
    if isinstance(expected, torch.Tensor):
        if (expected.dtype, expected.shape) != (actual.dtype, actual.shape):
            return f"{where}: {expected.dtype} {expected.shape} and {actual.dtype} {actual.shape}"
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (expected, actual)]
        return None if torch.equal(*bits) else f"{where}: other bits"
    if isinstance(expected, (list, tuple)):
        if len(expected) != len(actual):
            return f"{where}: {len(expected)} and {len(actual)} items"
        pairs = enumerate(zip(expected, actual, strict=True))
        return next((found for i, (a, b) in pairs if (found := difference(a, b, f"{where}[{i}]"))), None)
    return None if expected == actual else f"{where}: {expected!r} and {actual!r}"
