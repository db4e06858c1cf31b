"""The command line: what lies in a store, and which settings are in force. Never imports torch.

Nouns: *command*, a file a group of them (`recordings`, `settings`); *exit code*, a number by the family of the error.
Output is plain text without colours, or JSON where asked. docs/reference/cli.md describes every command.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from .. import __version__
from ..errors import ReplaykitError
from .exits import exit_code
from .recordings import ls, show
from .settings import info


class Group(click.Group):
    """Turns the errors of the tree into one message and an exit code, for every command."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ReplaykitError as error:
            click.echo(f"replaykit: {error}", err=True)
            sys.exit(exit_code(error))


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Documentation and exit codes: docs/reference/cli.md",
)
@click.version_option(__version__, "--version", message="replaykit %(version)s")
def main() -> None:
    """Look at what replaykit recorded.

    \b
    Examples:
      replaykit ls                       the recordings of the store
      replaykit show greeting            what a recording holds
      replaykit info                     where the store is, and the settings in force here
    """


for command in (ls, show, info):
    main.add_command(command)

__all__ = ["main"]
