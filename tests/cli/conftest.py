from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from replaykit.calls import Generation, Load, ModelStep, Outcome, RecordedError, TokenizerCall
from replaykit.cli import main
from replaykit.codec import Kind, Object, Tensor, encode
from replaykit.sessions import Session, Settings

IDENTITY = Object(Kind.IDENTITY, encode(["model", {}]))
PROVENANCE = Object(Kind.PROVENANCE, encode({"machine": "here"}))
PROMPT = Tensor("int64", (1, 200), bytes(1600))
MODEL = IDENTITY.digest
ANSWERS = [
    (Load("model", "tiny-lm", "AutoModelForCausalLM", {}), Outcome("facts")),
    (TokenizerCall(MODEL, "encode", {"text": "Say hi."}, {}), Outcome([1, 2])),
    (ModelStep(MODEL, {"input_ids": PROMPT}), Outcome(Tensor("float32", (1, 1, 500), bytes(2000)))),
    (Generation(MODEL, "sample", {"input_ids": PROMPT}, {}, seed=7, occurrence=0), Outcome("decisions")),
    (
        TokenizerCall(MODEL, "decode", {"token_ids": [-1]}, {}),
        Outcome(error=RecordedError("builtins:OverflowError", ("no",))),
    ),
]


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def record(store) -> Callable[..., None]:
    """Make a recording with an entry of each kind of call."""

    def make(name: str = "greeting", repository: str = "ours") -> None:
        with Session(name, Settings.resolve(mode="once", store=store, repository=repository, environ={})) as session:
            for call, outcome in ANSWERS:
                session.record(call, outcome, PROVENANCE, objects=[IDENTITY])

    return make


@pytest.fixture
def run(store, tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run a command in an empty directory, on the store."""
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "REPLAYKIT_MODE", "REPLAYKIT_STORE", "REPLAYKIT_FIDELITY", "REPLAYKIT_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REPLAYKIT_STORE", str(store))
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="replaykit")
