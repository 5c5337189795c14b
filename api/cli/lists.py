"""``--from FILE``: what a command works on, one a line, beside its arguments or in their place."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from typing import IO, Any

import click

from ..dimse.levels import UNIQUE_KEYS, Level

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


def with_listed(
    given: tuple[str, ...], listed: IO[bytes] | None, name: str, level: Level | None = None
) -> list[str]:
    """The arguments, then the lines; empty ones are none. Raises click.UsageError where there is nothing.

    level: of unique keys; they may stand in a column of what `find` prints, below the line of names.
    """
    if listed is None and not given:
        raise click.UsageError(f"Missing argument '{name}...', or --from.")
    found = list(given)
    if listed is not None:
        try:
            content = listed.read()
        except OSError as error:
            raise click.UsageError(f"{listed.name}: {error.strerror}") from None
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # a name may hold any other character
        texts = [os.fsdecode(line) for one in lines if (line := one.removesuffix(b"\r")).strip()]
        found += texts if level is None else _keys(texts, level, getattr(listed, "name", "the list"))
        if not found:
            raise click.UsageError(f"{getattr(listed, 'name', 'the list')} names nothing")
    return found


def _keys(lines: list[str], level: Level, file: str) -> list[str]:
    """The lines; below a line of names, as `find` prints it, what stands in the column of the level's key."""
    names = [name.strip('"') for name in re.split("[\t,]", lines[0])] if lines else []
    if set(UNIQUE_KEYS.values()).isdisjoint(names):
        return lines
    key = UNIQUE_KEYS[level]
    if key not in names:
        raise click.UsageError(
            f"{file}: there is no {key} among {', '.join(names)}, but --level {level.value}"
        )
    place = names.index(key)
    try:
        rows = [_values(line, lines[0]) for line in lines[1:]]
    except csv.Error as error:
        raise click.UsageError(f"{file}: {error}") from None
    return list(dict.fromkeys(row[place] for row in rows if len(row) > place and row[place].strip()))


def _values(line: str, header: str) -> list[str]:
    """Those of a line, with tabs between them or as CSV; a single one may hold commas."""
    if "\t" in header:
        return line.split("\t")
    return next(csv.reader([line])) if "," in header or line.startswith('"') else [line]
