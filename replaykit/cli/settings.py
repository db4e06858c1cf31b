"""Which settings are in force: `info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..sessions import Settings
from ..store import Store
from . import words
from .recordings import JSON, STORE


@click.command()
@STORE
@JSON
def info(store: Path | None, as_json: bool) -> None:
    """Show where the store is, what it holds, and the settings in force in this directory.

    \b
    Examples:
      replaykit info
      REPLAYKIT_STORE=fixtures/store replaykit info
    """
    settings = Settings.resolve(store=store)
    facts: dict[str, Any] = {
        "replaykit": __version__,
        "store": str(settings.store),
        "mode": settings.mode.value,
        "fidelity": settings.fidelity,
        "repository": settings.repository,
    }
    held = stats(settings.store)
    if as_json:
        words.as_json(facts | {"holds": held})
        return
    if held is None:
        facts["holds"] = "nothing: the store is made by the first recording"
    else:
        counts = [words.count(held[noun + "s"], noun) for noun in ("recording", "object")]
        facts["holds"] = ", ".join([*counts, words.size(held["size_bytes"])])
        if held["readonly"]:
            facts["holds"] += "; it cannot be written here"
        if held["open_sessions"]:
            facts["being recorded"] = words.count(held["open_sessions"], "session") + " not sealed yet"
    words.table([(name, str(value)) for name, value in facts.items()])


def stats(path: Path) -> dict[str, Any] | None:
    """How much the store holds; None where there is none yet."""
    if not path.exists():
        return None
    with Store.open(path, create=False) as store:
        return asdict(store.stats()) | {"readonly": store.readonly}
