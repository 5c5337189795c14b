"""Upper layers driven into any state of Table 9-10, and anything that can happen to them there.

`in_state(State.STA9)` gives a fresh machine in that state; `Snapshot.of` what can be seen of it; `EVENTS`
makes an event of the table happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    Event,
    Indication,
    PDataTF,
    Pdu,
    PresentationContextAC,
    PresentationContextRQ,
    Rejection,
    State,
    UpperLayer,
    decode,
    encode,
)

REQUEST = AAssociateRQ(
    called_ae="CALLED",
    calling_ae="CALLING",
    presentation_contexts=(PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
)
ANSWER = AAssociateAC(
    called_ae="CALLED",
    calling_ae="CALLING",
    presentation_contexts=(PresentationContextAC(1, 0, "1.2.840.10008.1.2"),),
)
DATA = PDataTF((PDV(1, True, True, b"command!"),))
UNRECOGNIZED = b"\x09\x00\x00\x00\x00\x04\x00\x00\x00\x00"
INVALID = b"\x07\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00"  # an A-ABORT of length 5

ROLES: dict[State, tuple[bool, ...]] = {
    State.STA1: (True, False),
    State.STA2: (False,),
    State.STA3: (False,),
    State.STA4: (True,),
    State.STA5: (True,),
    State.STA6: (True, False),
    State.STA7: (True, False),
    State.STA8: (True, False),
    State.STA9: (True,),
    State.STA10: (False,),
    State.STA11: (True,),
    State.STA12: (False,),
    State.STA13: (True, False),
}
"""The states, and whether a requestor (True) or an acceptor (False) can be in each."""


def in_state(state: State, requestor: bool) -> UpperLayer:
    """A machine that has come to `state` as it would on the wire; what it sent so far is taken out."""
    assert requestor in ROLES[state]
    layer = UpperLayer(requestor=requestor)
    if state is not State.STA1:
        _start(layer, state)
    layer.data_to_send()
    assert layer.state is state
    return layer


def _start(layer: UpperLayer, state: State) -> None:
    if layer.requestor:
        layer.associate(REQUEST)
        if state is State.STA4:
            return
        layer.connection_made()
        if state is State.STA5:
            return
        layer.receive(encode(ANSWER))
    else:
        layer.connection_made()
        if state is State.STA2:
            return
        layer.receive(encode(REQUEST))
        if state is State.STA3:
            return
        layer.accept(ANSWER)
    _go_on(layer, state)


def _go_on(layer: UpperLayer, state: State) -> None:
    """From Sta6."""
    if state is State.STA13:
        layer.abort()
    elif state is State.STA8:
        layer.receive(encode(AReleaseRQ()))
    elif state is not State.STA6:
        layer.release()
        if state is not State.STA7:
            layer.receive(encode(AReleaseRQ()))
        if state is State.STA11:
            layer.release_response()
        elif state is State.STA12:
            layer.receive(encode(AReleaseRP()))


@dataclass(frozen=True)
class Snapshot:
    """What an owner can see of a machine."""

    state: State
    artim_running: bool
    artim_generation: int
    close_requested: bool
    mid_pdu: bool

    @classmethod
    def of(cls, layer: UpperLayer) -> Snapshot:
        """What can be seen of this one now."""
        return cls(
            layer.state, layer.artim_running, layer.artim_generation, layer.close_requested, layer.mid_pdu
        )


def sent_by(layer: UpperLayer) -> list[Pdu]:
    """The PDUs waiting to be sent, taken out."""
    raw, pdus = b"".join(layer.data_to_send()), []
    while raw:
        end = 6 + int.from_bytes(raw[2:6], "big")
        pdus.append(decode(raw[0], raw[6:end]))
        raw = raw[end:]
    return pdus


def _pdu(pdu: Pdu | bytes) -> Callable[[UpperLayer], list[Indication]]:
    raw = pdu if isinstance(pdu, bytes) else encode(pdu)
    return lambda layer: layer.receive(raw)


def _verb(call: Callable[[UpperLayer], None]) -> Callable[[UpperLayer], list[Indication]]:
    def run(layer: UpperLayer) -> list[Indication]:
        call(layer)
        return []

    return run


EVENTS: dict[Event, Callable[[UpperLayer], list[Indication]]] = {
    Event.EVT1: _verb(lambda layer: layer.associate(REQUEST)),
    Event.EVT2: _verb(lambda layer: layer.connection_made()),
    Event.EVT3: _pdu(ANSWER),
    Event.EVT4: _pdu(AAssociateRJ(1, 1, 1)),
    Event.EVT5: _verb(lambda layer: layer.connection_made()),
    Event.EVT6: _pdu(REQUEST),
    Event.EVT7: _verb(lambda layer: layer.accept(ANSWER)),
    Event.EVT8: _verb(lambda layer: layer.reject(Rejection.CALLED_AE_NOT_RECOGNIZED)),
    Event.EVT9: _verb(lambda layer: layer.send_pdata([encode(DATA)])),
    Event.EVT10: _pdu(DATA),
    Event.EVT11: _verb(lambda layer: layer.release()),
    Event.EVT12: _pdu(AReleaseRQ()),
    Event.EVT13: _pdu(AReleaseRP()),
    Event.EVT14: _verb(lambda layer: layer.release_response()),
    Event.EVT15: _verb(lambda layer: layer.abort()),
    Event.EVT16: _pdu(AAbort(0, 0)),
    Event.EVT17: lambda layer: layer.connection_lost(),
    Event.EVT18: _verb(lambda layer: layer.artim_expired()),
    Event.EVT19: _pdu(UNRECOGNIZED),
}

VERBS = frozenset(
    {
        Event.EVT1,
        Event.EVT2,
        Event.EVT5,
        Event.EVT7,
        Event.EVT8,
        Event.EVT9,
        Event.EVT11,
        Event.EVT14,
        Event.EVT15,
    }
)
"""The events of our own side: what the table leaves empty for them is a LocalProtocolError."""


def happens_to(event: Event, requestor: bool) -> bool:
    """Whether the event can be given to this role at all: each opens its connection in its own way."""
    return event not in ({Event.EVT5} if requestor else {Event.EVT1, Event.EVT2})
