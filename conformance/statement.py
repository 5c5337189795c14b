"""What is claimed beside what was observed, out of a run's JSON: Markdown, in the order of PS3.2 Annex N."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .claims import CLASSES, NAMES, SYNTAXES, claimed
from .report import printable

COMMANDS = {
    "8001": "C-STORE", "8010": "C-GET", "8020": "C-FIND", "8021": "C-MOVE", "8030": "C-ECHO",
    "8100": "N-EVENT-REPORT", "8110": "N-GET", "8120": "N-SET", "8130": "N-ACTION", "8140": "N-CREATE",
    "8150": "N-DELETE",
}  # fmt: skip
DEVIATIONS = ("fail", "crash", "hang", "unstable", "nonstrict")


def cell(value: object) -> str:
    """A value as Markdown: names of a peer are hostile text."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", printable(str(value)))


def to_markdown(data: Mapping[str, Any]) -> str:
    """The statement of a run, by its JSON."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    sut, seen = data["sut"], data.get("observed") or {}
    claims = sut.get("claims") or {}
    name = f"{sut.get('name', '')} {sut.get('version', '')}".strip() or f"{sut.get('host')}:{sut.get('port')}"
    role = "client" if data["role"] == "scu" else "server"
    yield f"# {cell(name)}: claimed and observed\n"
    yield (
        f"A {role}, judged {cell(data['started'])} by the kit {cell(data['kit'])} on edition"
        f" {cell(data['edition'])}. Observations of one run, no certificate.\n"
    )
    yield "## Networking: SOP classes and transfer syntaxes\n"
    yield "| SOP class | claimed | observed | transfer syntaxes |\n|---|---|---|---|"
    yield from _classes(claims, seen, "proposed" if data["role"] == "scu" else "accepted")
    yield "\n## Networking: association policies\n"
    yield "| | claimed | observed |\n|---|---|---|"
    limits = (("maximum PDU length", "max_pdu", "max_pdu"), ("operations window", "async", "window"))
    for title, claim, key in limits:
        found = ", ".join(map(str, seen.get(key, ()))) or "not seen"
        yield f"| {title} | {cell(claims.get(claim, 'nothing'))} | {cell(found)} |"
    for title, claim in (("relational queries", "relational"), ("character sets", "charsets")):
        if claim in claims:  # what comes of them is a matter of cases, or of none yet
            yield f"| {title} | {cell(claims[claim])} | not observed |"
    yield "\n## Status codes seen\n"
    yield "| response | status |\n|---|---|"
    for command, statuses in seen.get("statuses", {}).items():
        name = COMMANDS.get(command, f"{command}H")
        yield f"| {cell(name)} | {cell(', '.join(f'{status}H' for status in statuses))} |"
    yield "\n## Deviations\n"
    yield "| clause | case | level | verdict | seen | requirement |\n|---|---|---|---|---|---|"
    for one in data["results"]:
        if one["verdict"] in DEVIATIONS:
            parts = [one[key] for key in ("clause", "id", "level", "verdict", "outcome", "requirement")]
            yield "| " + " | ".join(map(cell, parts)) + " |"
    for one in data["ambient"]:
        if one["broken"]:
            row = (one["clause"], one["id"], "rule", "violated", f"{one['broken']} times", one["requirement"])
            yield "| " + " | ".join(map(cell, row)) + " |"


def _classes(claims: Mapping[str, Any], seen: Mapping[str, Any], took: str) -> Iterator[str]:
    wanted, found = claimed(claims), seen.get("classes", {})
    refused = set(seen.get("refused", ()))
    for name, uid in CLASSES.items():
        if name not in wanted and uid not in found and uid not in refused:
            continue
        says = "yes" if name in wanted else "no" if claims else "nothing"
        what = took if uid in found else "refused" if uid in refused else "not asked"
        syntaxes = ", ".join(SYNTAXES[one] for one in found.get(uid, ()) if one in SYNTAXES)
        yield f"| {cell(NAMES[uid])} ({uid}) | {says} | {what} | {cell(syntaxes)} |"
