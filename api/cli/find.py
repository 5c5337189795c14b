"""``aiodicom find``: a query, its matches as a table, as tab-separated lines or as JSON lines."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from ..client.finding import Finding
from ..client.identifier import build_query, parse_model
from ..client.keys import named
from ..dimse.levels import Level, QueryError
from . import output
from .commands import PeerCommand
from .completion import complete_keyword
from .options import PeerOptions, peer_command
from .terminal import complain, say, show_table, tab_line

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LEVEL = click.Choice([*(level.value for level in Level), "INSTANCE"], case_sensitive=False)
ROOT = click.Choice(["PATIENT", "STUDY"], case_sensitive=False)

SHOWN: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    Level.STUDY: ("PatientName", "PatientID", "StudyDate", "StudyDescription", "StudyInstanceUID"),
    Level.SERIES: ("Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
"""What is asked for when the user names no return keys."""


@click.command(cls=PeerCommand)
@peer_command(lines=True)
@click.argument("matches", nargs=-1, metavar="[KEYWORD=VALUE]...", shell_complete=complete_keyword)
@click.option("--level", type=LEVEL, default="STUDY", show_default=True, help="What is looked for.")
@click.option(
    "--root",
    type=ROOT,
    help="The information model; by default PATIENT for patients, else STUDY if accepted.",
)
@click.option(
    "--return",
    "returned",
    multiple=True,
    metavar="KEYWORDS",
    shell_complete=complete_keyword,
    help="What to return beside the matching keys, with commas between; default: the usual keys.",
)
@click.option("--limit", type=click.IntRange(1), help="Stop after so many matches.")
def find(
    target: PeerOptions,
    matches: tuple[str, ...],
    level: str,
    root: str | None,
    returned: tuple[str, ...],
    limit: int | None,
) -> None:
    """Query HOST PORT: C-FIND for what matches every KEYWORD=VALUE.

    A keyword may be a tag (0008,0050), or a path into a sequence (A.B). Values may hold * and ?, dates and
    ranges of them (2024-01-01..2024-12-31, 20240101-, ..2024-12-31) and lists of UIDs (with backslashes).
    On a terminal matches come as a table, in a pipe as tab-separated lines, with --json as one object a line.
    """
    match = parse_pairs(matches)
    keys = [key for text in returned for key in split_keys(text)]
    wanted, _, checked = parse_model(level, root)
    keys = keys or [key for key in SHOWN[wanted] if key not in match]
    build_query(wanted, checked, match, keys)  # refuses a wrong one before anything is sent
    columns = list(dict.fromkeys(named(key) for key in [*match, *keys]))
    table, rows = not target.json and sys.stdout.isatty(), list[list[str]]()

    async def work() -> int:
        count = 0
        async with target.connect() as peer:
            if not (table or target.json):
                tab_line(columns)
            async with peer.find(wanted, match, keys, root=root, limit=limit) as answers:
                async for answer in answers:
                    count += 1
                    _take(answer)
            _complain_of(answers)
        return count

    def _take(answer: Dataset) -> None:
        if target.json:
            output.emit(output.dataset(answer), line=True)
        elif table:
            rows.append([output.cell(answer, column) for column in columns])
        else:
            tab_line(output.cell(answer, column) for column in columns)

    try:
        count = target.run(work())
    finally:
        if table and rows:
            show_table(columns, rows)
    if table:
        say(f"{count} match" if count == 1 else f"{count} matches")


def _complain_of(answers: Finding) -> None:
    if answers.unsupported:
        complain(f"the peer does not support these keys: {', '.join(answers.unsupported)}")
    if answers.undecoded:
        complain(f"left out of answers, for they cannot be decoded: {', '.join(answers.undecoded)}")


_KEY = re.compile(r"(?:(?<!\w)\(?[0-9A-Fa-f]{4}, ?[0-9A-Fa-f]{4}\b\)?|[^,])+")


def split_keys(text: str) -> list[str]:
    """Keys with commas between; the comma inside a tag (0008,0050) is none of them."""
    return [key.strip() for key in _KEY.findall(text) if key.strip()]


def parse_pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """``KEYWORD=VALUE`` arguments as a mapping. Raises click.UsageError."""
    pairs: dict[str, str] = {}
    for text in texts:
        keyword, sign, value = text.partition("=")
        keyword = keyword.strip()
        if not sign or not keyword:
            raise click.UsageError(f"{text!r} is not of the form KEYWORD=VALUE")
        if keyword in pairs:
            raise QueryError(f"{keyword} is given twice")
        pairs[keyword] = value
    return pairs
