"""Table 9-10 against a second writing of it, by state, and against what must hold of any such table."""

from __future__ import annotations

from itertools import product

import pytest
from aiodicom.pdu import TRANSITIONS, Action, Event, State
from aiodicom.pdu.fsm import NEXT_STATE

# A column of Table 9-10 each: what every event does in this state; events not named have an empty cell.
# The columns are typed out from the standard, none from the table under test or from another column.
BY_STATE: dict[int, dict[int, str]] = {
    1: {1: "AE-1", 5: "AE-5"},
    2: {
        3: "AA-1",
        4: "AA-1",
        6: "AE-6",
        10: "AA-1",
        12: "AA-1",
        13: "AA-1",
        16: "AA-2",
        17: "AA-5",
        18: "AA-2",
        19: "AA-1",
    },
    3: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        7: "AE-7",
        8: "AE-8",
        10: "AA-8",
        12: "AA-8",
        13: "AA-8",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    4: {2: "AE-2", 15: "AA-2", 17: "AA-4"},
    5: {
        3: "AE-3",
        4: "AE-4",
        6: "AA-8",
        10: "AA-8",
        12: "AA-8",
        13: "AA-8",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    6: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        9: "DT-1",
        10: "DT-2",
        11: "AR-1",
        12: "AR-2",
        13: "AA-8",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    7: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        10: "AR-6",
        12: "AR-8",
        13: "AR-3",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    8: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        9: "AR-7",
        10: "AA-8",
        12: "AA-8",
        13: "AA-8",
        14: "AR-4",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    9: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        10: "AA-8",
        12: "AA-8",
        13: "AA-8",
        14: "AR-9",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    10: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        10: "AA-8",
        12: "AA-8",
        13: "AR-10",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    11: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        10: "AA-8",
        12: "AA-8",
        13: "AR-3",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    12: {
        3: "AA-8",
        4: "AA-8",
        6: "AA-8",
        10: "AA-8",
        12: "AA-8",
        13: "AA-8",
        14: "AR-4",
        15: "AA-1",
        16: "AA-3",
        17: "AA-4",
        19: "AA-8",
    },
    13: {
        3: "AA-6",
        4: "AA-6",
        6: "AA-7",
        10: "AA-6",
        12: "AA-6",
        13: "AA-6",
        16: "AA-2",
        17: "AR-5",
        18: "AA-2",
        19: "AA-7",
    },
}

# The "next state" in the action definitions of Tables 9-6 to 9-9.
NEXT: dict[str, set[int]] = {
    "AE-1": {4},
    "AE-2": {5},
    "AE-3": {6},
    "AE-4": {1},
    "AE-5": {2},
    "AE-6": {3, 13},
    "AE-7": {6},
    "AE-8": {13},
    "DT-1": {6},
    "DT-2": {6},
    "AR-1": {7},
    "AR-2": {8},
    "AR-3": {1},
    "AR-4": {13},
    "AR-5": {1},
    "AR-6": {7},
    "AR-7": {8},
    "AR-8": {9, 10},
    "AR-9": {11},
    "AR-10": {12},
    "AA-1": {13},
    "AA-2": {1},
    "AA-3": {1},
    "AA-4": {1},
    "AA-5": {1},
    "AA-6": {13},
    "AA-7": {13},
    "AA-8": {13},
}

PDU_EVENTS = {3, 4, 6, 10, 12, 13, 16}


@pytest.mark.parametrize(("state", "event"), list(product(range(1, 14), range(1, 20))))
def test_every_cell(state: int, event: int) -> None:
    action = TRANSITIONS.get((Event(event), State(state)))
    want = BY_STATE[state].get(event)
    assert (action and action.name.replace("_", "-")) == want


def test_the_table_has_no_cell_outside_13_states_and_19_events() -> None:
    assert list(State) == list(range(1, 14))
    assert list(Event) == list(range(1, 20))
    assert len(TRANSITIONS) == sum(len(column) for column in BY_STATE.values())


def test_every_action_is_used_and_leads_where_the_standard_says() -> None:
    assert {action.name.replace("_", "-") for action in Action} == set(NEXT)
    assert set(TRANSITIONS.values()) == set(Action)
    for action in Action:
        assert {int(state) for state in NEXT_STATE[action]} == NEXT[action.name.replace("_", "-")]


def test_every_state_is_reached_from_idle() -> None:
    reached, edge = {State.STA1}, {State.STA1}
    while edge:
        edge = {
            after
            for (_, state), action in TRANSITIONS.items()
            if state in edge
            for after in NEXT_STATE[action]
        } - reached
        reached |= edge
    assert reached == set(State)


def test_a_peer_is_answered_in_every_state_with_a_connection() -> None:
    with_connection = set(State) - {State.STA1, State.STA4}
    for state, event in product(with_connection, [*PDU_EVENTS, 17, 19]):
        assert (Event(event), state) in TRANSITIONS
