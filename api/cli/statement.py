"""``aiodicom statement``: what of DICOM is supported, as a conformance statement."""

from __future__ import annotations

import click

from ..statement import statement as made
from .commands import Command


@click.command(cls=Command)
def statement() -> None:
    """Print a DICOM conformance statement (PS3.2 Annex N) in Markdown, made from the code's own tables."""
    click.echo(made(), nl=False)
