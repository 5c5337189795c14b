"""Pages drawn from the code say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parent.parent / "docs"


def drawer(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"drawn_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_states_is_drawn_from_the_table() -> None:
    drawn = drawer("states")
    assert drawn.PAGE.read_text(encoding="utf-8") == drawn.page(), "stale: run `make docs`"


def test_the_page_of_states_explains_every_state_event_and_action() -> None:
    drawn = drawer("states")
    for kind in (drawn.State, drawn.Event, drawn.Action):
        assert drawn.meanings(kind).keys() == {member.name for member in kind}


def test_every_clause_that_is_noted_stands_in_the_page_of_deviations() -> None:
    told: set[str] = set()
    for line in (DOCS / "deviations.md").read_text(encoding="utf-8").split("## Answered")[0].splitlines():
        part = ""
        for clause in re.findall(r"PS3\.\d+|\b[0-9A-F](?:\.\d+)+", line.split("|")[2] if "|" in line else ""):
            part = clause if clause.startswith("PS3") else part
            told.add(f"{part} {clause}")
    noted = {
        clause
        for room in ("pdu", "dimse")
        for path in (DOCS.parent / room).glob("*.py")
        for clause in re.findall(r'Deviation\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(noted) > 10
    assert {one for one in noted if not any(one == t or one.startswith(t + ".") for t in told)} == set()


def test_the_pages_of_the_conformance_kit_are_drawn_from_it() -> None:
    drawn = drawer("cases")
    assert drawn.CASES.read_text(encoding="utf-8") == drawn.cases_page(), "stale: run `make docs`"
    assert drawn.FOUND.read_text(encoding="utf-8") == drawn.found_page(), "stale: run `make docs`"


def test_the_reference_is_drawn_from_the_front_door() -> None:
    drawn = drawer("reference")
    assert drawn.PAGE.read_text(encoding="utf-8") == drawn.page(), "stale: run `make docs`"


def test_the_conformance_statement_is_made_from_the_tables() -> None:
    drawn = drawer("statement")
    assert drawn.PAGE.read_text(encoding="utf-8") == drawn.page(), "stale: run `make docs`"


def test_the_conformance_statement_says_what_is_supported() -> None:
    from aiodicom.client.pacs import BASIC_PROPOSALS
    from aiodicom.dimse.sop_classes import storage_sop_classes
    from aiodicom.dimse.uid_names import uid_name
    from aiodicom.server.limits import ServerLimits

    page = drawer("statement").page()
    for uid in storage_sop_classes():
        assert f"| {uid_name(uid)} | {uid} |" in page
    for proposal in BASIC_PROPOSALS:
        assert f"| {uid_name(proposal.abstract_syntax)} | yes | yes |" in page
    for name in ServerLimits.describe():
        assert f"| {name} | " in page
    assert "| C-STORE | A700H to A7FFH | failure |" in page
