"""What lies in a store: `ls` and `show`."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..calls import Call, Generation, Load, ModelStep, SamplerCall, TokenizerCall
from ..codec import Kind, Object, Ref, Tensor, decode
from ..digest import Digest, short
from ..sessions import Session, Settings
from ..sessions.settings import checked_name
from ..store import Entry, Store
from . import words

STORE = click.option(
    "--store", type=click.Path(path_type=Path), help="The store's directory, instead of the one in the settings."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

CALLS: dict[str, type[Call]] = {cls.op: cls for cls in (Load, TokenizerCall, ModelStep, Generation, SamplerCall)}


@click.command()
@STORE
@JSON
def ls(store: Path | None, as_json: bool) -> None:
    """List the recordings of the store.

    One line each: repository, name, entries, when it was sealed, and the digest that names its contents.

    \b
    Examples:
      replaykit ls
      replaykit ls --store fixtures/store --json
    """
    with Store.open(Settings.resolve(store=store).store, create=False) as opened:
        found = opened.recordings()
    if as_json:
        facts = [
            {
                "repository": recording.repository,
                "name": recording.name,
                "entries": recording.count,
                "sealed": recording.sealed,
                "digest": recording.manifest.hex(),
            }
            for recording in found
        ]
        words.as_json(facts)
    elif not found:
        click.echo(f"no recordings in {opened.path}")
    else:
        head = ("repository", "name", "entries", "sealed", "digest")
        rows = [
            (each.repository, each.name, str(each.count), words.moment(each.sealed), short(each.manifest))
            for each in found
        ]
        words.table([head, *rows], right=[2])


@click.command()
@click.argument("name")
@STORE
@click.option("--repository", help="Whose recording of that name, where several repositories have one.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Entries to show; 0 for all.")
@JSON
def show(name: str, store: Path | None, repository: str | None, limit: int, as_json: bool) -> None:
    """Show what the recording NAME holds.

    One line an entry: its number, what kind of call it is, what was asked, and the size of what came back.

    \b
    Examples:
      replaykit show greeting
      replaykit show greeting --limit 0 --json
    """
    settings = Settings.resolve(mode="strict", store=store, repository=repository)
    checked_name("recording", name)
    Store.open(settings.store, create=False).close()  # without a store, the error of the other commands
    with Session(name, settings) as session:
        assert session.manifest is not None, "a strict session with a name has a recording"
        entries = islice(session.manifest, limit or None)
        described = [describe(number, entry, session) for number, entry in enumerate(entries)]
        count = len(session.manifest)
    if as_json:
        words.as_json(described)
        return
    if described:
        words.table(
            [(str(each["entry"]), each["op"], words.size(each["size_bytes"]), each["asked"]) for each in described],
            right=[0, 2],
        )
    if count > len(described):
        click.echo(f"{count - len(described)} more; --limit 0 shows all")


def describe(number: int, entry: Entry, session: Session) -> dict[str, Any]:
    """An entry in words."""
    outcome = session.fetch(entry.outcome)
    size_bytes = len(outcome.payload) + sum(len(session.fetch(name).payload) for name in outcome.refs)
    op, asked = in_words(session.fetch(entry.key), session)
    kind, content = decode(outcome.payload, check=False)
    return {
        "entry": number,
        "op": op,
        "asked": f"{asked}, which raised {content[0].rpartition(':')[2]}" if kind == "error" else asked,
        "size_bytes": size_bytes,
        "key": entry.key.hex(),
        "outcome": entry.outcome.hex(),
        "provenance": entry.provenance.hex(),
    }


def in_words(call: Object, session: Session) -> tuple[str, str]:
    """The operation of a stored call, and its summary."""
    if call.kind != Kind.CALL:
        return "unknown", f"an object of kind {call.kind}"
    op, fields = decode(call.payload, check=False)
    cls = CALLS.get(op)
    if cls is None or not fields.keys() <= {field.name for field in dataclasses.fields(cls)}:
        return op, "recorded by a newer replaykit"
    return op, cls(**shaped(fields, session)).summary()


def shaped(value: Any, session: Session) -> Any:
    """A stored call's fields with its large tensors in place."""
    if isinstance(value, Ref):
        item = session.fetch(Digest(value.digest))
        return Tensor(item.fields["dtype"], tuple(item.fields["shape"]), item.payload)
    if isinstance(value, dict):
        return {name: shaped(item, session) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(shaped(item, session) for item in value)
    return value
