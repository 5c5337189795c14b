"""Baselines: the findings that are known of a peer. What is new or gone is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .runner import Run


def load(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a baseline by case id. Raises OSError, or ValueError for what is none."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in data["entries"]}


def apply(run: Run, entries: dict[str, dict[str, Any]]) -> None:
    """Mark each result: an expected finding must fail in the same way; withheld ones say no more."""
    for result in run.results:
        entry = entries.get(result.case.id)
        finding = result.finding(run.options.strict)
        if entry is None:
            result.baseline = "new" if finding else ""
        elif entry.get("withheld"):
            result.baseline = "expected"
        elif not finding:
            result.baseline = "gone"
            run.gone.append(result.case.id)
        else:
            same = (entry["verdict"], entry["outcome"]) == (str(result.verdict), result.outcome)
            result.baseline = "expected" if same else "new"


def update(run: Run, path: Path, peer: str) -> None:
    """Write the findings of a run as the baseline of a peer."""
    entries = [
        {"id": result.case.id, "verdict": str(result.verdict), "outcome": result.outcome}
        for result in run.results
        if result.finding(run.options.strict)
    ]
    text = json.dumps({"format": 1, "peer": peer, "entries": entries}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
