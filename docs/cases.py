"""Draw docs/conformance/cases.md and found.md: `make docs`. A test fails where a page is stale."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from aiodicom.conformance import all_cases
from aiodicom.conformance.case import EDITION
from aiodicom.conformance.rulebook import RULES

FOLDER = Path(__file__).with_name("conformance")
CASES, FOUND = FOLDER / "cases.md", FOLDER / "found.md"
BASELINES = Path(__file__).parents[1] / "conformance" / "baselines"
ROLES = {"scp": "Cases for servers", "scu": "Cases for clients"}


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def cases_page() -> str:
    """Every case and rule."""
    found = all_cases()
    head = f"""# The cases

Drawn from the kit by `make docs`. {len(found)} cases and {len(RULES)} rules, clauses of edition {EDITION}.
An id is for ever. *Expected* is what may be seen; whatever else is a failure. Each case has foils, peers that
break its clause and must be noticed (`tests/conformance/test_foils.py`).
"""
    return "\n".join([head, *_cases(), *_rules()]) + "\n"


def _cases() -> Iterator[str]:
    for role, title in ROLES.items():
        chosen = [case for case in all_cases() if case.role == role]
        yield f"## {title} ({len(chosen)})\n"
        for group in dict.fromkeys(case.group for case in chosen):
            rows = [case for case in chosen if case.group == group]
            yield f"### {group} ({len(rows)})\n"
            yield "| id | level | clause | requirement | expected | effect |\n|---|---|---|---|---|---|"
            for case in rows:
                name = case.id.removeprefix("scu:")
                parts = (case.level, case.clause, case.requirement, case.expected, case.effect)
                yield f"| `{name}` | " + " | ".join(cell(str(part)) for part in parts) + " |"
            yield ""


def _rules() -> Iterator[str]:
    yield f"## Rules, over every conversation ({len(RULES)})\n"
    yield "| id | clause | requirement |\n|---|---|---|"
    for rule in RULES.values():
        yield f"| `{rule.id.removeprefix('any:')}` | {cell(rule.clause)} | {cell(rule.requirement)} |"


def found_page() -> str:
    """What the kit found in whom: the public part of the baselines."""
    lines = [
        "# What the kit found in whom",
        "",
        "Drawn from `conformance/baselines/` by `make docs`, from runs on loopback of the versions named"
        " (`tests/interop/judge.py`). These are deviations by the kit's reading of the standard, no"
        " certificate and no ranking. *Withheld*: the case crashed or hung the peer; what was seen is not"
        " published.",
        "",
    ]
    for path in sorted(BASELINES.glob("*.json")):
        if path.name.endswith(".private.json"):
            continue
        data = json.loads(path.read_text("utf-8"))
        lines += [f"## {data['peer']}", "", f"`--baseline {path.stem}`", ""]
        lines += ["| case | verdict | seen | requirement |", "|---|---|---|---|"]
        known = {case.id: case for case in all_cases()}
        for entry in data["entries"]:
            seen = ("withheld", "") if entry.get("withheld") else (entry["verdict"], entry["outcome"])
            lines.append(
                f"| `{entry['id']}` | {seen[0]} | {cell(seen[1])} | {cell(known[entry['id']].requirement)} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    CASES.write_text(cases_page(), encoding="utf-8")
    FOUND.write_text(found_page(), encoding="utf-8")
