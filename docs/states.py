"""Draw docs/states.md from the tables of pdu/fsm.py: `make docs`. A test fails where the page is stale."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from aiodicom.pdu import fsm
from aiodicom.pdu.fsm import NEXT_STATE, TRANSITIONS, Action, Event, State

PAGE = Path(__file__).with_name("states.md")
HEAD = """# States of an association

Drawn from `pdu/fsm.py` by `make docs`; edit that file, not this one. An arrow reads *event / action*, in
the words of PS3.8 9.2. Left out of the picture, and in the table below: what aborts (AA-1 and AA-8 lead to
Sta13), what closes for an A-ABORT, a lost connection or ARTIM (AA-2 to AA-5 lead to Sta1), and what Sta13
answers or ignores (AA-6, AA-7).
"""


def meanings(kind: type[State | Event | Action]) -> dict[str, str]:
    """What the source says behind each member's name."""
    source = Path(fsm.__file__).read_text(encoding="utf-8")
    prefixes = {State: "STA", Event: "EVT", Action: "(?:AE|DT|AR|AA)_"}
    return dict(re.findall(rf"^    ({prefixes[kind]}\d+) = \d+  # (.+)$", source, re.MULTILINE))


def spelled(member: State | Event | Action) -> str:
    """As the standard spells it: Sta1, Evt1, AE-1."""
    return member.name.replace("_", "-") if isinstance(member, Action) else member.name.capitalize()


def arrows() -> list[str]:
    """One line of Mermaid for each pair of states, with every event that leads from one to the other."""
    labels: dict[tuple[State, State], list[str]] = defaultdict(list)
    for (event, state), action in sorted(TRANSITIONS.items()):
        if action.name.startswith("AA"):
            continue
        for following in NEXT_STATE[action]:
            labels[state, following].append(f"{spelled(event)} / {spelled(action)}")
    return [
        f"    {spelled(a)} --> {spelled(b)}: {', '.join(said)}" for (a, b), said in sorted(labels.items())
    ]


def table() -> list[str]:
    """Table 9-10, a row for each event."""
    lines = ["| | " + " | ".join(map(spelled, State)) + " |", "|---" * (len(State) + 1) + "|"]
    for event in Event:
        cells = (TRANSITIONS.get((event, state)) for state in State)
        lines.append(f"| {spelled(event)} | " + " | ".join(spelled(a) if a else "" for a in cells) + " |")
    return lines


def page() -> str:
    """The whole page."""
    parts = [HEAD, "```mermaid", "stateDiagram-v2", "    [*] --> Sta1", *arrows(), "```", ""]
    parts += ["## Table 9-10", "", *table(), ""]
    parts += ["## States", "", *(f"- {spelled(s)}: {meanings(State)[s.name]}" for s in State), ""]
    parts += ["## Events", "", *(f"- {spelled(e)}: {meanings(Event)[e.name]}" for e in Event), ""]
    parts += ["## Actions", ""]
    for action in Action:
        leads = " or ".join(map(spelled, NEXT_STATE[action]))
        parts.append(f"- {spelled(action)}: {meanings(Action)[action.name]}. Then {leads}.")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
