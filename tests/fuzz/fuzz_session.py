"""Any bytes from the peer to a session in any role and situation, as a stream or as well-framed PDVs.

Input: the first byte chooses the situation and, by its highest bit, how the rest is read; the second is
the size of the pieces (0: all at once). A stream is given as it is. Otherwise the rest is PDVs: a byte for
the context and the control bits, one for the length, the data.

May be raised: nothing by `receive` and `connection_lost`; LocalProtocolError by the `accept` of our user,
who then rejects. Whole or in pieces, the session tells and sends the same and ends in the same state; one
end is told, after it nothing; what it sends holds to `pair.check_pdata`; little is held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aiodicom.dimse import CEchoRQ, CFindRQ, CFindRSP, ReleaseRequested, Session, Supported
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AReleaseRP,
    AssociateIndication,
    AsyncOperationsWindow,
    LocalProtocolError,
    PDataTF,
    Rejection,
    State,
    decode,
)
from pair import (
    ECHO_ID,
    FIND,
    FIND_ID,
    Told,
    answer,
    check_pdata,
    ends,
    held,
    open_session,
    pdata,
    request,
    sent_bytes,
    split_pdus,
    tell,
    wire,
)
from strategies import cut

_SUPPORTED = Supported({}, accept_unknown=lambda uid: ())
_MAXIMUM = 64  # what our peer announced
_CONTEXTS = (1, 3, 5, 7, 9, 11, 13, 2)  # the last two are not open


def _open(requestor: bool) -> Session:
    asked = request(window=AsyncOperationsWindow(0, 0))
    given = answer(asked, window=AsyncOperationsWindow(0, 0))
    return open_session(requestor, asked=asked, given=given, peer_maximum=_MAXIMUM)


def _asking() -> Session:
    session = Session(requestor=True)
    session.associate(request())
    session.connection_made()
    return session


def _listening() -> Session:
    session = Session(requestor=False)
    session.connection_made()
    return session


def _user() -> Session:
    session = _open(requestor=True)
    session.send(ECHO_ID, CEchoRQ(message_id=1))
    session.send(FIND_ID, CFindRQ(message_id=2, affected_sop_class_uid=FIND))
    session.send_data(b"identifier", last=True)
    return session


def _provider() -> Session:
    session = _open(requestor=False)
    session.receive(wire(FIND_ID, CFindRQ(message_id=2, affected_sop_class_uid=FIND), b"identifier"))
    return session


def _provider_sending() -> Session:
    session = _provider()
    session.send(FIND_ID, CFindRSP(message_id_being_responded_to=2, status=0xFF00, has_dataset=True))
    session.send_data(b"identifi", last=False)
    return session


def _releasing(requestor: bool) -> Session:
    session = _user() if requestor else _provider()
    session.release()
    return session


SITUATIONS: tuple[Callable[[], Session], ...] = (
    _asking,
    _listening,
    _user,
    _provider,
    _provider_sending,
    lambda: _releasing(True),
    lambda: _releasing(False),
)


def one_input(data: bytes) -> None:
    """Give one stream to a session, whole and in pieces."""
    if len(data) < 2:
        return
    situation = SITUATIONS[(data[0] & 0x7F) % len(SITUATIONS)]
    stream = _framed(data[2:]) if data[0] & 0x80 else data[2:]
    pieces = cut(stream, [data[1]] if data[1] else [])
    session, told = _run(situation, pieces)
    sent = sent_bytes(session)
    if situation is not _listening:  # there the user acts between two reads
        other, told_whole = _run(situation, [stream])
        assert told == told_whole
        assert sent == sent_bytes(other)
        assert session.state is other.state
    _check_sent(sent)
    _check_told(session, told)
    assert held(session) <= len(stream) + 8192
    assert len(session.deviations) <= session.deviations.LIMIT
    before = ends(told)
    last = session.connection_lost()
    open_before = not before or (before == [ReleaseRequested()] and session.state is not State.STA13)
    assert len(last) <= 1
    assert not last or open_before
    assert session.state is State.STA1


def _run(situation: Callable[[], Session], pieces: list[bytes]) -> tuple[Session, list[Told]]:
    session = situation()
    sent_bytes(session)
    told: list[Told] = []
    for piece in pieces:
        for event in tell(session, [piece]):
            told.append(event)
            if isinstance(event, AssociateIndication):
                _decide(session, event)
    return session, _joined(told)


def _joined(told: list[Told]) -> list[Told]:
    """Data that came in several reads as what came in one."""
    found: list[Told] = []
    for event in told:
        before = found[-1] if found else None
        if type(event).__name__ == "Data" and type(before).__name__ == "Data" and not before.last:
            found[-1] = replace(event, data=before.data + event.data)
        else:
            found.append(event)
    return found


def _decide(session: Session, event: AssociateIndication) -> None:
    if session.state is not State.STA3:  # what followed in the same read ended it
        return
    asked = event.request
    contexts = tuple(_SUPPORTED.answer(context) for context in asked.presentation_contexts)
    try:
        session.accept(
            replace(answer(request()), presentation_contexts=contexts, called_ae="A", calling_ae="B")
        )
    except LocalProtocolError:
        session.reject(Rejection.NO_REASON)


def _framed(data: bytes) -> bytes:
    out = []
    while len(data) >= 2:
        head, length = data[0], data[1]
        body = data[2 : 2 + length]
        out.append(pdata(PDV(_CONTEXTS[head >> 2 & 7], bool(head & 1), bool(head & 2), body)))
        data = data[2 + length :]
    return b"".join(out)


def _check_sent(raw: bytes) -> None:
    allowed = AAbort | AAssociateRJ | AAssociateAC | AReleaseRP | PDataTF
    for whole in split_pdus(raw):
        pdu = decode(whole[0], whole[6:])
        assert isinstance(pdu, allowed), pdu
        if isinstance(pdu, PDataTF):
            check_pdata(whole, _MAXIMUM)


def _check_told(session: Session, told: list[Told]) -> None:
    found = ends(told)
    assert len(found) <= (2 if found[:1] == [ReleaseRequested()] else 1), found
    if found:
        assert told[-len(found) :] == found, "something was told after the end"
        closed = session.state in (State.STA1, State.STA13)
        assert closed or found == [ReleaseRequested()], session.state
