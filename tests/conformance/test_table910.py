"""The third writing of Table 9-10 against the product's: on a difference a person reads the standard."""

from __future__ import annotations

from aiodicom.conformance.table910 import EVENTS, action
from aiodicom.pdu.fsm import TRANSITIONS, Event, State


def test_the_writings_agree() -> None:
    for event in EVENTS:
        for state in State:
            cell = action(event, f"Sta{state.value}")
            found = TRANSITIONS.get((Event[event.upper()], state))
            assert cell == ("." if found is None else found.name.replace("_", "-")), (event, state)
