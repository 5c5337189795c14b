"""Baselines: the findings that are known of a peer. What is new or gone is told.

What crashes or hangs a peer by legal input is withheld: its entry in a public baseline says no more than
that, and what was seen stands in a private one (`*.private.json`, which git ignores).
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from .case import Verdict
from .runner import Result, Run

SECRET = (Verdict.CRASH, Verdict.HANG)
"""Verdicts whose case is withheld from a public baseline."""
Entries = dict[str, dict[str, Any]]


def shipped() -> list[str]:
    """Names of the baselines that come with the kit, as `dcmtk-3.6.7-storescp`."""
    folder = files(__package__) / "baselines"
    names = [one.name for one in folder.iterdir() if one.name.endswith(".json")]
    return sorted(name.removesuffix(".json") for name in names if not name.endswith(".private.json"))


def load(name: Path | str) -> Entries:
    """The entries of a baseline by case id: a file, or the name of one that comes with the kit.

    Raises OSError, or ValueError for what is none.
    """
    source = Path(name)
    resource = files(__package__) / "baselines" / f"{name}.json"
    text = source.read_text("utf-8") if source.exists() else resource.read_text("utf-8")
    data = json.loads(text)
    entries = data.get("entries") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "id" in one for one in entries):
        raise ValueError(f"{name}: no baseline")
    return {entry["id"]: entry for entry in entries}


def apply(run: Run, entries: Entries) -> None:
    """Mark each result: an expected finding must fail in the same way; withheld ones say no more.

    A baseline holds what a strict run finds; what is new, or gone, counts by the options of the run.
    """
    for result in run.results:
        entry = entries.get(result.case.id)
        found = result.finding(strict=True)
        if entry is None:
            result.baseline = "new" if result.finding(run.options.strict) else ""
        elif entry.get("withheld"):
            result.baseline = "expected" if found else ""
        elif found:
            same = (entry["verdict"], entry["outcome"]) == (str(result.verdict), result.outcome)
            result.baseline = "expected" if same else "new"
        elif result.verdict is not Verdict.NOT_RUN:
            result.baseline = "gone"
            if run.options.strict or entry["verdict"] != Verdict.NONSTRICT:
                run.gone.append(result.case.id)


def entry_of(result: Result, *, public: bool) -> dict[str, object]:
    """A finding as an entry."""
    if public and result.verdict in SECRET:
        return {"id": result.case.id, "withheld": True}
    return {"id": result.case.id, "verdict": str(result.verdict), "outcome": result.outcome}


def update(run: Run, path: Path, peer: str) -> None:
    """Write the findings of a run as the baseline of a peer; what is withheld goes beside it."""
    found = [result for result in run.results if result.finding(strict=True)]
    _write(path, peer, [entry_of(result, public=True) for result in found])
    secret = [entry_of(result, public=False) for result in found if result.verdict in SECRET]
    if secret:
        _write(path.with_name(path.stem + ".private.json"), peer, secret)


def _write(path: Path, peer: str, entries: list[dict[str, object]]) -> None:
    text = json.dumps({"format": 1, "peer": peer, "entries": entries}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed between two runs as their JSON has them: one line a case."""
    then = {one["id"]: (one["verdict"], one["outcome"]) for one in before["results"]}
    now = {one["id"]: (one["verdict"], one["outcome"]) for one in after["results"]}
    return [
        f"{name}: {' '.join(then.get(name, ('absent', '')))} -> {' '.join(now.get(name, ('absent', '')))}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
