"""How the command line puts things: sizes, times, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from shutil import get_terminal_size
from typing import Any

import click


def size(size_bytes: int) -> str:
    """A size as people say it: "512 B", "1.2 kB"."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def count(number: int, noun: str) -> str:
    """A number of things: "1 recording", "2 recordings"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(seconds: int) -> str:
    """Seconds since 1970 as date and time in UTC."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print rows in columns; those in `right` are set to the right. On a terminal, lines end where it ends."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        click.echo(line if room is None or len(line) <= room else line[: room - 3] + "...")


def as_json(value: Any) -> None:
    """Print a value for programs: one JSON document, keys in a fixed order."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
