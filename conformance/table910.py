"""Table 9-10 of PS3.8 as what can be seen of it: typed from the standard, by event, for PDUs that arrive.

The product has its table, and its tests a second one; this is the third writing, and a test compares all
three. An empty cell is a dot. Columns are Sta1 to Sta13.
"""

from __future__ import annotations

EVENTS = {
    "Evt3": ". AA-1 AA-8 . AE-3 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-6",
    "Evt4": ". AA-1 AA-8 . AE-4 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-6",
    "Evt6": ". AE-6 AA-8 . AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-7",
    "Evt10": ". AA-1 AA-8 . AA-8 DT-2 AR-6 AA-8 AA-8 AA-8 AA-8 AA-8 AA-6",
    "Evt12": ". AA-1 AA-8 . AA-8 AR-2 AR-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-6",
    "Evt13": ". AA-1 AA-8 . AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6",
    "Evt16": ". AA-2 AA-3 . AA-3 AA-3 AA-3 AA-3 AA-3 AA-3 AA-3 AA-3 AA-2",
    "Evt17": ". AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AR-5",
    "Evt19": ". AA-1 AA-8 . AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-8 AA-7",
}
"""Events a peer can make: a PDU of each type, the closing of the connection, an unknown or invalid PDU."""


def action(event: str, state: str) -> str:
    """The action of a cell, "." when it is empty."""
    return EVENTS[event].split()[int(state.removeprefix("Sta")) - 1]


INJECTIONS = {
    "associate-rq": "Evt6",
    "associate-ac": "Evt3",
    "associate-rj": "Evt4",
    "p-data": "Evt10",
    "release-rq": "Evt12",
    "release-rp": "Evt13",
    "abort": "Evt16",
    "unknown-00": "Evt19",
    "unknown-08": "Evt19",
    "unknown-ff": "Evt19",
    "fin": "Evt17",
}
"""What the kit puts into a state, and the event that it is."""
