"""``aiodicom find``: a query, its matches as a table, as lines of several kinds, or as blocks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from ..client.finding import Finding
from ..client.keys import named
from ..client.splitting import MAX_SPLIT_QUERIES
from ..client.values import literal
from ..dimse.levels import Level, QueryError
from . import output
from .commands import PeerCommand, said
from .completion import complete_keyword
from .exits import Code
from .options import PeerOptions, peer_command
from .terminal import complain, csv_line, say, show_block, show_matches, tab_line

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LEVEL = click.Choice([*(level.value for level in Level), "INSTANCE"], case_sensitive=False)
ROOT = click.Choice(["PATIENT", "STUDY"], case_sensitive=False)
FORMATS = ("table", "tsv", "csv", "json", "list")

SHOWN: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    Level.STUDY: ("PatientName", "PatientID", "StudyDate", "StudyDescription", "StudyInstanceUID"),
    Level.SERIES: ("Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
"""What is asked for when the user names no return keys."""


@dataclass(slots=True)
class Writer:
    """Writes matches in a format: each as it comes, but for a table, whose columns need all of them."""

    format: str
    columns: list[str]
    header: bool
    count: int = 0
    rows: list[list[str]] = field(default_factory=list)

    def begin(self) -> None:
        """The line of names."""
        if self.header and self.format in ("tsv", "csv"):
            (tab_line if self.format == "tsv" else csv_line)(self.columns)

    def take(self, answer: Dataset) -> None:
        """One match."""
        self.count += 1
        if self.format == "json":
            output.emit(output.dataset(answer), line=True)
            return
        row = [output.cell(answer, column) for column in self.columns]
        if self.format == "table":
            self.rows.append(row)
        elif self.format == "list":
            show_block(zip(self.columns, row, strict=True), first=self.count == 1)
        else:
            (tab_line if self.format == "tsv" else csv_line)(row)

    def end(self) -> None:
        """What could not be written before."""
        if self.rows:
            show_matches(self.columns, self.rows, header=self.header)


@click.command(cls=PeerCommand)
@peer_command(lines=True)
@click.argument("matches", nargs=-1, metavar="[KEYWORD=VALUE]...", shell_complete=complete_keyword)
@click.option(
    "-k",
    "given",
    multiple=True,
    metavar="KEYWORD[=VALUE]",
    shell_complete=complete_keyword,
    help="A key to match, or to return; repeatable.",
)
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
@click.option(
    "--split", is_flag=True, help="Ask in parts, by date, time and modality, where answers are cut off."
)
@click.option(
    "--max-queries",
    type=click.IntRange(1),
    default=MAX_SPLIT_QUERIES,
    show_default=True,
    help="Queries into which --split may go.",
)
@click.option("--literal", "literally", is_flag=True, help="Take * and ? in values for what they are.")
@click.option(
    "--judge/--no-judge", default=True, help="Leave out answers that show other values.  [default: on]"
)
@click.option(
    "--charset", metavar="TERM", help="The peer's character set where answers name none, or a wrong one."
)
@click.option("--cancel/--no-cancel", default=True, help="Whether the peer bears a C-CANCEL.  [default: on]")
@click.option(
    "--cap", type=click.IntRange(1), help="The number of answers at which the peer is known to stop."
)
@click.option(
    "--format", "wanted", type=click.Choice(FORMATS), help="Default: table on a terminal, else tsv."
)
@click.option("--no-header", is_flag=True, help="No line of names.")
@click.option("--columns", multiple=True, metavar="KEYWORDS", help="What to show, in this order.")
def find(target: PeerOptions, matches: tuple[str, ...], **values: Any) -> int:
    """Query HOST PORT: C-FIND for what matches every KEYWORD=VALUE.

    A keyword may be a tag (0008,0050), a private one ((0029,"ACME",01)), or a path into a sequence (A.B).
    Values may hold * and ?, dates and ranges of them (2024-01-01..2024-12-31, 20240101-, ..2024-12-31) and
    lists of UIDs (with backslashes). On a terminal matches come as a table, in a pipe as tab-separated lines.
    """
    given, limit, split = values["given"], values["limit"], values["split"]
    match = parse_pairs((*matches, *(one for one in given if "=" in one)), literally=values["literally"])
    shown = _keys(values["columns"])
    more = _keys((*values["returned"], *(one for one in given if "=" not in one)))
    level = Level.parse(values["level"])
    if not (more or shown):
        more = [key for key in SHOWN[level] if key not in match]
    asked = list(dict.fromkeys([*more, *(key for key in shown if key not in match)]))
    kind = _format(values["wanted"], json=target.json)
    names = dict.fromkeys(named(key) for key in shown or [*match, *more])
    writer = Writer(kind, list(names), header=not values["no_header"])
    how = {"limit": limit, "split": split, "max_queries": values["max_queries"], "judged": values["judge"]}

    async def work() -> int:
        said = {"character_set": values["charset"], "cancel": values["cancel"], "cap": values["cap"]}
        quirks = replace(target.quirks, **said)
        async with target.connect(quirks=quirks) as peer:
            async with peer.find(level, match, asked, root=values["root"], **how) as answers:
                writer.begin()
                async for answer in answers:
                    writer.take(answer)
            limited = limit is not None and writer.count == limit
            _complain_of(answers, limited=limited, split=split, known_set=quirks.character_set is not None)
        return Code.FAILED if split and answers.capped and not limited else Code.OK

    try:
        code = target.run(work())
    finally:
        writer.end()
    if kind == "table":
        say(f"{writer.count} match" if writer.count == 1 else f"{writer.count} matches")
    return code


def _keys(texts: Iterable[str]) -> list[str]:
    return [key for text in texts for key in split_keys(text)]


def _format(wanted: str | None, *, json: bool) -> str:
    if json and wanted not in (None, "json"):
        named = said(click.get_current_context(), ("wanted", "as_json"))
        if len(named) != 1:  # else the command line's, before the environment's
            raise click.UsageError(f"--json is --format json, and not {wanted}")
        json = named == ["--json"]
    return "json" if json else wanted or ("table" if sys.stdout.isatty() else "tsv")


def _complain_of(answers: Finding, *, limited: bool, split: bool, known_set: bool) -> None:
    if answers.emulated:
        complain("the peer knows no patients, they were found by their studies", kind="note")
    if answers.unsupported:
        names = ", ".join(answers.unsupported)
        complain(f"the peer does not support these keys: {names}", kind="warning")
    elif answers.warned:
        complain("the peer warns (FF01H) that it does not support some key, and not which", kind="warning")
    if answers.ignored:
        names = ", ".join(answers.ignored)
        complain(f"left out {answers.filtered} answers: the peer does not go by {names}", kind="warning")
    if answers.empty:
        complain(f"left out {answers.empty} answers: the peer sent no identifier with them", kind="warning")
    if answers.undecoded:
        names = ", ".join(answers.undecoded)
        complain(f"left out of answers, for they cannot be decoded: {names}", kind="warning")
    if answers.guessed and not known_set:
        names = ", ".join(answers.guessed)
        complain(
            f"the text of these is not in the character set that answers name: {names}; --charset says which",
            kind="note",
        )
    if answers.capped and not limited:
        advice = "" if split else "; --split asks in parts"
        complain(f"there may be more matches: {'; '.join(answers.capped)}{advice}", kind="warning")


_KEY = re.compile(r'(?:\([^)]*\)|(?<!\w)[0-9A-Fa-f]{4}, ?(?:"[^"]*", ?\w+|[0-9A-Fa-f]{4}\b)|[^,])+')


def split_keys(text: str) -> list[str]:
    """Keys with commas between; the comma inside a tag (0008,0050) is none of them."""
    return [key.strip() for key in _KEY.findall(text) if key.strip()]


def parse_pairs(texts: tuple[str, ...], *, literally: bool = False) -> dict[str, str]:
    """``KEYWORD=VALUE`` arguments as a mapping. Raises click.UsageError."""
    pairs: dict[str, str] = {}
    for text in texts:
        keyword, sign, value = text.partition("=")
        keyword = keyword.strip()
        if not sign or not keyword:
            raise click.UsageError(f"{text!r} is not of the form KEYWORD=VALUE")
        if keyword in pairs:
            raise QueryError(f"{keyword} is given twice")
        pairs[keyword] = literal(value) if literally and re.search(r"[*?]", value) else value
    return pairs
