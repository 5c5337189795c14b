"""``--from FILE``: what a command works on, one a line, beside its arguments or in their place."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any

import click

Decorator = Callable[[Any], Any]


def from_option(what: str) -> Decorator:
    """``--from FILE|-``, read by `with_listed`."""
    return click.option(
        "--from",
        "listed",
        type=click.File("rb"),
        metavar="FILE",
        help=f"Read {what} from FILE too, one a line; - is stdin.",
    )


def with_listed(given: tuple[str, ...], listed: IO[bytes] | None, name: str) -> list[str]:
    """The arguments, then the lines; empty ones are none. Raises click.UsageError where there is nothing."""
    if listed is None and not given:
        raise click.UsageError(f"Missing argument '{name}...', or --from.")
    found = list(given)
    if listed is not None:
        try:
            content = listed.read()
        except OSError as error:
            raise click.UsageError(f"{listed.name}: {error.strerror}") from None
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # a name may hold any other character
        found += [os.fsdecode(line) for one in lines if (line := one.removesuffix(b"\r")).strip()]
        if not found:
            raise click.UsageError(f"{getattr(listed, 'name', 'the list')} names nothing")
    return found
