from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replaykit.calls import Outcome, TokenizerCall
from replaykit.codec import Kind, Object, encode
from replaykit.sessions import Session, Settings

HERE = Object(Kind.PROVENANCE, encode({"machine": "here"}))
THERE = Object(Kind.PROVENANCE, encode({"machine": "there"}))
IDENTITY = Object(Kind.IDENTITY, encode(["tokenizer", {}]))


class Desk:
    """Opens sessions on one store, and asks them questions that a dummy answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[str] = []

    def session(self, name: str | None = "chat", mode: str = "strict", **settings: Any) -> Session:
        """A session in a directory whose name, "ours", is the repository unless `settings` name one."""
        ours = self.path.parent / "ours"
        (ours / ".git").mkdir(parents=True, exist_ok=True)
        return Session(
            name, Settings.resolve(mode=mode, **({"store": self.path} | settings), environ={}, directory=ours)
        )

    def record(
        self, *texts: str, mode: str = "once", answer: str = "{}!", provenance: Object = HERE, **more: Any
    ) -> None:
        with self.session(more.pop("name", "chat"), mode, **more) as session:
            for text in texts:
                self.ask(session, text, answer, provenance)

    def ask(self, session: Session, text: str, answer: str = "{}!", provenance: Object = HERE) -> Any:
        """What the session says to a question, where the real thing would say `answer`."""

        call = question(text)
        outcome = session.recall(call)
        if outcome is None:
            self.asked.append(text)
            outcome = Outcome(answer.format(text), files=(IDENTITY,))
            session.record(call, outcome, provenance)
        return outcome.value


def question(text: str, **state: Any) -> TokenizerCall:
    return TokenizerCall(IDENTITY.digest, "encode", {"text": text}, state)


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path / "store")
