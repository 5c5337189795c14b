"""``aiodicom trace``: what a trace holds, a line an event."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from .commands import Command
from .options import Common, local_command
from .terminal import say
from .tracing import read_trace


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--association", type=click.IntRange(1), metavar="N", help="Only the association #N.")
@local_command(json=False)
def trace(common: Common, file: Path, association: int | None) -> None:
    """Show a FILE that --trace of another command wrote: associations, PDUs and messages, never data.

    For captures of other programs there is ``aiodicom conformance sniff``.
    """
    for at, number, text in read_trace(file):
        if association in (None, number):
            say(f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f} {text}")
