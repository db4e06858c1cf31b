"""Which settings are in force: `info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import StoreError
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
    try:
        held, trouble = stats(settings.store), None
    except StoreError as error:
        held, trouble = None, error  # the settings are shown all the same
    if as_json:
        words.as_json(facts | {"holds": held})
    else:
        words.table([(name, str(value)) for name, value in (facts | in_words(held)).items()])
    if trouble is not None:
        raise trouble


def in_words(held: dict[str, Any] | None) -> dict[str, str]:
    """What the store holds, as facts to print."""
    if held is None:
        return {"holds": "nothing that can be read"}
    counts = [words.count(held[noun + "s"], noun) for noun in ("recording", "object")]
    told = {"holds": ", ".join([*counts, words.size(held["size_bytes"])])}
    if held["readonly"]:
        told["holds"] += "; it cannot be written here"
    if held["open_sessions"]:
        told["being recorded"] = words.count(held["open_sessions"], "session") + " not sealed yet"
    return told


def stats(path: Path) -> dict[str, Any]:
    """How much the store holds. Raises StoreError where there is none."""
    with Store.open(path, create=False) as store:
        return asdict(store.stats()) | {"readonly": store.readonly}
