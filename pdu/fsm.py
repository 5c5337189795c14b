"""Table 9-10 of PS3.8 as a value: states, events, actions, transitions. Nothing else lives here.

Rules for editing: all that decides a transition is in this file; this file does not know what an
action does, which role we play beyond what the state says, or that a network exists. An empty cell of
the table is absent here: for a peer it cannot happen, for our side it is a LocalProtocolError.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """States of PS3.8 Tables 9-1 to 9-5."""

    STA1 = 1  # idle
    STA2 = 2  # transport connection open, awaiting A-ASSOCIATE-RQ
    STA3 = 3  # awaiting local A-ASSOCIATE response primitive
    STA4 = 4  # awaiting transport connection opening to complete
    STA5 = 5  # awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ
    STA6 = 6  # association established, ready for data transfer
    STA7 = 7  # awaiting A-RELEASE-RP
    STA8 = 8  # awaiting local A-RELEASE response primitive
    STA9 = 9  # release collision, requestor: awaiting A-RELEASE response primitive
    STA10 = 10  # release collision, acceptor: awaiting A-RELEASE-RP
    STA11 = 11  # release collision, requestor: awaiting A-RELEASE-RP
    STA12 = 12  # release collision, acceptor: awaiting A-RELEASE response primitive
    STA13 = 13  # awaiting transport connection close indication


class Event(IntEnum):
    """Events of PS3.8 Table 9-10."""

    EVT1 = 1  # A-ASSOCIATE request (local user)
    EVT2 = 2  # transport connect confirmation
    EVT3 = 3  # A-ASSOCIATE-AC PDU received
    EVT4 = 4  # A-ASSOCIATE-RJ PDU received
    EVT5 = 5  # transport connection indication
    EVT6 = 6  # A-ASSOCIATE-RQ PDU received
    EVT7 = 7  # A-ASSOCIATE response primitive (accept)
    EVT8 = 8  # A-ASSOCIATE response primitive (reject)
    EVT9 = 9  # P-DATA request primitive
    EVT10 = 10  # P-DATA-TF PDU received
    EVT11 = 11  # A-RELEASE request primitive
    EVT12 = 12  # A-RELEASE-RQ PDU received
    EVT13 = 13  # A-RELEASE-RP PDU received
    EVT14 = 14  # A-RELEASE response primitive
    EVT15 = 15  # A-ABORT request primitive
    EVT16 = 16  # A-ABORT PDU received
    EVT17 = 17  # transport connection closed
    EVT18 = 18  # ARTIM timer expired
    EVT19 = 19  # unrecognized or invalid PDU received


class Action(IntEnum):
    """Actions of PS3.8 Tables 9-6 to 9-9."""

    AE_1 = 1  # issue transport connect request
    AE_2 = 2  # send A-ASSOCIATE-RQ
    AE_3 = 3  # issue A-ASSOCIATE confirmation (accept)
    AE_4 = 4  # issue A-ASSOCIATE confirmation (reject), close transport
    AE_5 = 5  # issue transport connection response, start ARTIM
    AE_6 = 6  # stop ARTIM; acceptable: A-ASSOCIATE indication; else reject and start ARTIM
    AE_7 = 7  # send A-ASSOCIATE-AC
    AE_8 = 8  # send A-ASSOCIATE-RJ, start ARTIM
    DT_1 = 9  # send P-DATA-TF
    DT_2 = 10  # P-DATA indication
    AR_1 = 11  # send A-RELEASE-RQ
    AR_2 = 12  # A-RELEASE indication
    AR_3 = 13  # A-RELEASE confirmation, close transport
    AR_4 = 14  # send A-RELEASE-RP, start ARTIM
    AR_5 = 15  # stop ARTIM
    AR_6 = 16  # P-DATA indication
    AR_7 = 17  # send P-DATA-TF
    AR_8 = 18  # A-RELEASE indication (collision): requestor to Sta9, acceptor to Sta10
    AR_9 = 19  # send A-RELEASE-RP
    AR_10 = 20  # A-RELEASE confirmation
    AA_1 = 21  # send A-ABORT (service user), start or restart ARTIM
    AA_2 = 22  # stop ARTIM, close transport
    AA_3 = 23  # A-ABORT or A-P-ABORT indication, close transport
    AA_4 = 24  # A-P-ABORT indication
    AA_5 = 25  # stop ARTIM
    AA_6 = 26  # ignore the PDU
    AA_7 = 27  # send A-ABORT
    AA_8 = 28  # send A-ABORT (service provider), A-P-ABORT indication, start ARTIM


# The state after an action (Tables 9-6 to 9-9). AE-6 and AR-8 choose between two: AE-6 goes to Sta3, or
# to Sta13 when the request cannot be accepted; AR-8 to Sta9 as requestor, to Sta10 as acceptor. The other
# actions have one outcome, but for those that leave the state as it is for a given event (DT-1 in Sta6).
NEXT_STATE: dict[Action, tuple[State, ...]] = {
    Action.AE_1: (State.STA4,),
    Action.AE_2: (State.STA5,),
    Action.AE_3: (State.STA6,),
    Action.AE_4: (State.STA1,),
    Action.AE_5: (State.STA2,),
    Action.AE_6: (State.STA3, State.STA13),
    Action.AE_7: (State.STA6,),
    Action.AE_8: (State.STA13,),
    Action.DT_1: (State.STA6,),
    Action.DT_2: (State.STA6,),
    Action.AR_1: (State.STA7,),
    Action.AR_2: (State.STA8,),
    Action.AR_3: (State.STA1,),
    Action.AR_4: (State.STA13,),
    Action.AR_5: (State.STA1,),
    Action.AR_6: (State.STA7,),
    Action.AR_7: (State.STA8,),
    Action.AR_8: (State.STA9, State.STA10),
    Action.AR_9: (State.STA11,),
    Action.AR_10: (State.STA12,),
    Action.AA_1: (State.STA13,),
    Action.AA_2: (State.STA1,),
    Action.AA_3: (State.STA1,),
    Action.AA_4: (State.STA1,),
    Action.AA_5: (State.STA1,),
    Action.AA_6: (State.STA13,),
    Action.AA_7: (State.STA13,),
    Action.AA_8: (State.STA13,),
}

# Table 9-10, a row per event, a column per state Sta1 to Sta13; "." is an empty cell.
_TABLE = """
       Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
Evt1   AE-1  .     .     .     .     .     .     .     .     .     .     .     .
Evt2   .     .     .     AE-2  .     .     .     .     .     .     .     .     .
Evt3   .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4   .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5   AE-5  .     .     .     .     .     .     .     .     .     .     .     .
Evt6   .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7   .     .     AE-7  .     .     .     .     .     .     .     .     .     .
Evt8   .     .     AE-8  .     .     .     .     .     .     .     .     .     .
Evt9   .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
Evt10  .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11  .     .     .     .     .     AR-1  .     .     .     .     .     .     .
Evt12  .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13  .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14  .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
Evt15  .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
Evt16  .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17  .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18  .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
Evt19  .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _parse(table: str) -> dict[tuple[Event, State], Action]:
    rows = [line.split() for line in table.strip().splitlines()]
    states = [State(int(name[3:])) for name in rows[0]]
    return {
        (Event(int(row[0][3:])), state): Action[cell.replace("-", "_")]
        for row in rows[1:]
        for state, cell in zip(states, row[1:], strict=True)
        if cell != "."
    }


TRANSITIONS: dict[tuple[Event, State], Action] = _parse(_TABLE)
