"""What the demo prints, and the ledger of what it checks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from ..client.progress import ProgressCallback
from .terminal import clean, console, progress_bar, show_pairs, show_table

ROWS = 4
"""Rows of a table that are shown."""


@dataclass(slots=True)
class Check:
    """One thing that must be so; `detail` says what was found when it is not."""

    text: str
    ok: bool
    detail: str = ""


@dataclass(slots=True)
class Show:
    """Prints step by step and keeps what was checked."""

    progress: bool = True
    checks: list[Check] = field(default_factory=list)
    facts: list[tuple[str, object]] = field(default_factory=list)
    console: Console = field(default_factory=console)
    _step: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything checked was as it must be, and something was."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def step(self, title: str) -> None:
        """The heading of the next step."""
        self._step += 1
        self.console.print()
        self.console.print(Text(f"{self._step}  {clean(title)}", style="bold cyan"), soft_wrap=True)

    def note(self, text: str) -> None:
        """A plain line."""
        self.console.print(Text(f"   {clean(text)}"), soft_wrap=True)

    def fact(self, name: str, text: str) -> None:
        """Something for the summary."""
        self.facts.append((name, text))

    def pairs(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values."""
        show_pairs(pairs, indent=3, where=self.console)

    def heading(self, text: str) -> None:
        """What the next table is of."""
        self.console.print()
        self.console.print(Text(f"   {clean(text)}", style="bold"), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table, cut to its first rows."""
        show_table(columns, rows[:ROWS], where=self.console, indent=3)
        if len(rows) > ROWS:
            self.console.print(Text(f"   ... and {len(rows) - ROWS} more", style="dim"))

    def check(self, text: str, ok: bool, detail: str = "") -> bool:
        """Note and print whether something is as it must be."""
        self.checks.append(Check(text, ok, detail))
        mark, style = ("ok", "green") if ok else ("FAILED", "bold red")
        line = Text("   ")
        line.append(f"{self._sign(ok)}{mark}", style=style)
        line.append(f"  {clean(text)}")
        if not ok and detail:
            line.append(f": {clean(detail)}", style="red")
        self.console.print(line, soft_wrap=True)
        return ok

    def _sign(self, ok: bool) -> str:
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        if not encoding.startswith("utf"):
            return ""
        return "✓ " if ok else "✗ "

    @contextmanager
    def bar(self, title: str) -> Iterator[ProgressCallback | None]:
        """A progress bar, where there is a terminal."""
        with progress_bar(f"   {title}", wanted=self.progress) as progress:
            yield progress

    def summary(self, seconds: float) -> None:
        """What was done, what was not as it must be, and the verdict."""
        failed = [check for check in self.checks if not check.ok]
        self.step("Summary")
        self.pairs(self.facts)
        for check in failed:
            self.console.print(
                Text(f"   FAILED  {clean(check.text)}: {clean(check.detail)}", style="bold red"),
                soft_wrap=True,
            )
        good = len(self.checks) - len(failed)
        verdict = "everything is as it must be" if self.ok else "NOT as it must be"
        style = "bold green" if self.ok else "bold red"
        text = f"   {good} of {len(self.checks)} checks passed in {seconds:.1f} s: {verdict}"
        self.console.print(Text(text, style=style), soft_wrap=True)
