"""Everything that is shown: nothing a peer or a file says reaches the terminal raw."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..client.progress import Progress, ProgressCallback

if TYPE_CHECKING:  # rich takes longer to load than an echo: only what draws loads it
    from rich.console import Console

WIDE = 10_000
"""Columns of what does not go to a terminal: the next program reads lines, so that none is folded."""
REDRAW = 0.05
"""Seconds between two updates of a progress bar."""
LISTED = 20
"""Lines of a list that are shown."""
_STYLED = {"FORCE_COLOR", "TTY_COMPATIBLE"}
"""What in the environment has rich draw where there is no terminal."""


def clean(text: object) -> str:
    """Text fit for a terminal, on one line: control and format characters become visible escapes."""
    raw = str(text)
    if raw.isprintable():
        return raw
    return "".join(_visible(sign) for sign in raw)


def _visible(sign: str) -> str:
    if sign.isprintable():
        return sign
    if unicodedata.category(sign) == "Zs":  # the spaces of other scripts
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def console(*, error: bool = False) -> Console:
    """A console on stdout or stderr: what is printed on it is never markup."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(file=stream, markup=False, emoji=False, highlight=False, width=width)


def complain(text: str, *, kind: str = "error") -> None:
    """One line of error, or of a warning or note, on stderr."""
    print(f"aiodicom: {kind}: {clean(text)}", file=sys.stderr, flush=True)


def say(text: str = "") -> None:
    """One line on stdout."""
    print(clean(text))


def size(count: float) -> str:
    """Bytes for people: ``11.5 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def speed(count: int, seconds: float) -> str:
    """Bytes per second for people; empty when no time passed."""
    return f"{size(count / seconds)}/s" if seconds > 0 else ""


def short(text: str, length: int = 26) -> str:
    """A long UID with its middle left out."""
    return text if len(text) <= length else f"{text[: length - 12]}...{text[-9:]}"


def objects(count: int) -> str:
    """``1 object``, ``22 objects``."""
    return f"{count} object" if count == 1 else f"{count} objects"


def show_list(title: str, lines: Sequence[str]) -> None:
    """A title with how many lines there are, and the first of them; nothing where there are none."""
    if lines:
        say(f"{title}: {len(lines)}")
    for line in lines[:LISTED]:
        say(f"  {line}")
    if len(lines) > LISTED:
        say(f"  ... and {len(lines) - LISTED} more (--json lists all)")


# --- Tables --------------------------------------------------------------------------------------


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    indent: int = 0,
    where: Console | None = None,
) -> None:
    """A drawn table; long values fold."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    target = console() if where is None else where
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(Text(clean(column), style="bold"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean("" if value is None else value)) for value in row))
    target.print(Padding(table, (0, 0, 0, indent), expand=False))


_UID = r"[0-9]+(?:\.[0-9]+){2,}"  # 2.25 and a number, too
_UNBROKEN = re.compile(rf"{_UID}(?:\\{_UID})*")
"""What looks like UIDs, of no use in two pieces."""
NARROW = 6
"""Characters that any other column of a table keeps at least."""


def show_matches(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> None:
    """A drawn table in which no UID and no name of a column is split: values fold, else there are blocks."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    target = console()
    cleaned = [[clean(value) for value in row] for row in rows]
    names = [clean(column) for column in columns]
    widths = _widths(names if header else [""] * len(names), cleaned, target.width - 2 * (len(columns) - 1))
    if widths is None:
        for number, row in enumerate(cleaned):
            show_block(zip(columns, row, strict=True), first=number == 0, width=target.width)
        return
    shape = box.SIMPLE_HEAD if header else None
    between = 1 if header else 2  # a box has a column of its own there
    table = Table(box=shape, show_header=header, show_edge=False, pad_edge=False, padding=(0, between, 0, 0))
    for name, width in zip(names, widths, strict=True):
        table.add_column(Text(name, style="bold"), overflow="fold", width=width)
    for row in cleaned:
        table.add_row(*map(Text, row))
    target.print(table)


def _widths(names: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The widths of columns that have so much room in all; None where UIDs and names do not go into it.

    The widest that may fold gives way first.
    """
    from rich.cells import cell_len

    whole = [any(_UNBROKEN.fullmatch(value) for value in column) for column in zip(*rows, strict=True)]
    widths, least = [], []
    for number, name in enumerate(names):
        longest = max(cell_len(value) for value in (name, *(row[number] for row in rows)))
        widths.append(longest if whole[number] else min(longest, room))
        least.append(longest if whole[number] else max(min(NARROW, longest), len(name)))
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(
            (number for number, width in enumerate(widths) if width > least[number]), key=widths.__getitem__
        )
        widths[widest] -= 1
    return widths


def show_block(pairs: Iterable[tuple[str, str]], *, first: bool, width: int = WIDE) -> None:
    """One match as lines of names and values, an empty line before any but the first.

    A UID that does not fit beside its name stands below it.
    """
    shown = [(clean(name), clean(value)) for name, value in pairs]
    names = max((len(name) for name, _ in shown), default=0)
    lines = [] if first else [""]
    for name, value in shown:
        fits = names + 2 + len(value) <= width or not _UNBROKEN.fullmatch(value)
        lines += [f"{name:<{names}}  {value}".rstrip()] if fits else [name, f"  {value}"]
    print("\n".join(lines), flush=True)


def csv_line(values: Iterable[object]) -> None:
    """One line of CSV on stdout, at once."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(clean("" if value is None else value) for value in values)
    print(out.getvalue(), flush=True)


def tab_line(values: Iterable[object]) -> None:
    """One tab-separated line on stdout, for other programs, at once."""
    print("\t".join(clean("" if value is None else value) for value in values), flush=True)


def show_pairs(pairs: Iterable[tuple[str, object]], *, indent: int = 0, where: Console | None = None) -> None:
    """Names and values, one a line; a value of None is left out."""
    shown = [(clean(name), clean(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    if where is None and not sys.stdout.isatty() and not _STYLED & os.environ.keys():
        for name, value in shown:  # no styles: what draws them takes longer to load than an echo
            print(f"{'':<{indent}}{name:<{width}}  {value}")
        return
    from rich.text import Text

    target = console() if where is None else where
    for name, value in shown:
        line = Text(" " * indent)
        line.append(f"{name:<{width}}", style="dim")
        line.append(f"  {value}")
        target.print(line, soft_wrap=True)


# --- Progress ------------------------------------------------------------------------------------


@contextmanager
def progress_bar(title: str, *, wanted: bool = True) -> Iterator[ProgressCallback | None]:
    """A bar on stderr: objects, bytes, rate, time left. None, and silence, where stderr is no terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[counted]}"),
        TextColumn("{task.fields[amount]}"),
        TextColumn("{task.fields[rate]}", style="cyan"),
        TextColumn("{task.fields[left]}"),
    )
    with Bars(*columns, console=console(error=True), transient=False) as bars:
        task = bars.add_task(clean(title), total=None, counted="", amount="", rate="", left="")
        last: Progress | None = None
        drawn = 0.0

        def draw(now: Progress) -> None:
            by_bytes = now.bytes_total is not None
            done = now.objects + now.failed
            bars.update(
                task,
                completed=now.bytes if by_bytes else done,
                total=now.bytes_total if by_bytes else now.objects_total,
                counted=_counted(now),
                amount=size(now.bytes),
                rate="" if now.rate is None else f"{size(now.rate)}/s",
                left="" if now.seconds_left is None else _clock(now.seconds_left),
            )

        def update(now: Progress) -> None:
            nonlocal last, drawn
            last = now
            moment = time.monotonic()
            if moment - drawn >= REDRAW:
                drawn = moment
                draw(now)

        yield update
        if last is not None:
            draw(last)


def _clock(seconds: float) -> str:
    """``1:05``, ``2:03:04``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _counted(now: Progress) -> str:
    if now.phase == "planning":
        return "finding out what will come" if now.expected is None else f"{now.expected} objects"
    total = "" if now.objects_total is None else f"/{now.objects_total}"
    failed = f", {now.failed} failed" if now.failed else ""
    return f"{now.objects}{total} objects{failed}"
