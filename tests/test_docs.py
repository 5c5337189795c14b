"""Pages drawn from the code say what the code says."""

from __future__ import annotations

import importlib.util
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
