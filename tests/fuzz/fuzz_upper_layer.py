"""Any bytes from the peer to an upper layer in any state and role.

Input: the first byte chooses state and role, the second the size of the pieces (0: all at once); the rest
is what the peer sends.

May be raised: nothing. In pieces or whole, the layer must end in the same state and have sent and told
the same; what it sends are PDUs the state allows, at most one association answer, and the end of the
connection leaves it idle.
"""

from __future__ import annotations

from dataclasses import replace

from aiodicom.pdu import (
    AAbort,
    AAssociateRJ,
    ConnectionClosed,
    Fragment,
    Indication,
    ProviderAbort,
    State,
    UpperLayer,
)
from machines import ROLES, Snapshot, in_state, sent_by
from strategies import cut

_PLACES = [(state, requestor) for state in State for requestor in ROLES[state]]


def one_input(data: bytes) -> None:
    """Give one stream to a layer, whole and in pieces."""
    if len(data) < 2:
        return
    state, requestor = _PLACES[data[0] % len(_PLACES)]
    size, stream = data[1], data[2:]
    whole, pieces = in_state(state, requestor), in_state(state, requestor)
    told = _told(whole, [stream])
    assert _told(pieces, cut(stream, [size] if size else [])) == told
    sent = sent_by(whole)
    assert sent_by(pieces) == sent
    # after an error the rest of a piece is not looked at, so how far a PDU has come has no meaning
    assert replace(Snapshot.of(pieces), mid_pdu=False) == replace(Snapshot.of(whole), mid_pdu=False)
    assert all(isinstance(pdu, AAbort | AAssociateRJ) for pdu in sent), sent
    assert sum(isinstance(pdu, AAssociateRJ) for pdu in sent) <= 1
    if state is not State.STA13 and whole.state not in (State.STA1, State.STA13):
        assert sent == []  # a peer's PDU makes us send only where it ends the association
    assert whole.artim_running == (whole.state in (State.STA2, State.STA13))
    assert not whole.close_requested or whole.state is State.STA1
    _end(whole)


def _end(layer: UpperLayer) -> None:
    open_before = layer.state not in (State.STA1, State.STA2, State.STA13)
    layer.artim_expired()
    told = layer.connection_lost()
    assert (layer.state, layer.artim_running) == (State.STA1, False)
    assert len(told) == int(open_before)
    assert all(isinstance(t, ProviderAbort) and isinstance(t.error, ConnectionClosed) for t in told)


def _told(layer: UpperLayer, pieces: list[bytes]) -> list[object]:
    """What the layer indicates, in a form that does not depend on the pieces."""
    told: list[object] = []
    for piece in pieces:
        for indication in layer.receive(memoryview(piece)):
            _join(told, indication)
    return told


def _join(told: list[object], indication: Indication) -> None:
    if isinstance(indication, ProviderAbort):
        told.append((str(indication), indication.reason, indication.sent))
    elif isinstance(indication, Fragment):
        kind, data = (indication.context_id, indication.command), bytes(indication.data)
        before = told[-1] if told else None
        if isinstance(before, list) and not before[1] and before[0] == kind:
            before[1:] = [indication.last, before[2] + data]
        else:
            told.append([kind, indication.last, data])
    else:
        told.append(indication)
