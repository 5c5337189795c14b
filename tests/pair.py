"""Two Sessions joined in memory, and one Session driven by what a peer might send.

`Pair` plays the network: what one side sends waits in the other's `incoming` until it is delivered, in
pieces of any size, from a scratch buffer that is used again for the next piece as a transport's is.
`open_session` gives a session in Sta6 in either role. `Side.take` keeps what a user may keep of events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiodicom.dimse import (
    DataReceived,
    Established,
    Message,
    MessageReceived,
    Proposal,
    Released,
    ReleaseRequested,
    Session,
    SessionEvent,
    SessionLimits,
    build_contexts,
    encode_message,
)
from aiodicom.pdu import (
    PDV,
    AAssociateAC,
    AAssociateRQ,
    AbortIndication,
    AsyncOperationsWindow,
    ContextResult,
    PDataTF,
    Pdu,
    PduLimits,
    PresentationContextAC,
    ProviderAbort,
    RejectConfirmation,
    RoleSelection,
    UserInformation,
    decode,
    encode,
)

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
MPPS = "1.2.840.10008.3.1.2.3.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
OURS = "1.2.826.0.1.3680043.10.999"

PROPOSALS = tuple(
    Proposal(uid, (IMPLICIT,), scp_role=uid == CT) for uid in (VERIFICATION, CT, FIND, MOVE, GET, MPPS)
)
ECHO_ID, CT_ID, FIND_ID, MOVE_ID, GET_ID, MPPS_ID = 1, 3, 5, 7, 9, 11

ENDS = (Released, ReleaseRequested, AbortIndication, ProviderAbort, RejectConfirmation)


@dataclass(frozen=True)
class Data:
    """What was received of a data set up to here, joined and copied."""

    data: bytes
    last: bool


@dataclass(frozen=True)
class Fault:
    """A ProviderAbort in a form that can be compared."""

    kind: str
    text: str
    reason: int
    sent: bool


Told = Data | Fault | Any


def request(
    proposals: Iterable[Proposal] = PROPOSALS, *, window: AsyncOperationsWindow | None = None
) -> AAssociateRQ:
    """A request for these contexts."""
    contexts, roles = build_contexts(proposals)
    return AAssociateRQ(
        called_ae="CALLED",
        calling_ae="CALLING",
        presentation_contexts=contexts,
        user_information=UserInformation(roles=roles, async_operations=window, implementation_class_uid=OURS),
    )


def answer(
    asked: AAssociateRQ,
    *,
    roles: tuple[RoleSelection, ...] | None = None,
    window: AsyncOperationsWindow | None = None,
    refused: Sequence[int] = (),
    maximum_length: int | None = 0,
) -> AAssociateAC:
    """The answer that accepts every context but those `refused`, each in its first transfer syntax, and
    grants the roles asked for unless others are given. A session puts its own maximum length in it."""
    results = tuple(
        PresentationContextAC(
            context.context_id,
            ContextResult.USER_REJECTION if context.context_id in refused else ContextResult.ACCEPTANCE,
            context.transfer_syntaxes[0],
        )
        for context in asked.presentation_contexts
    )
    return AAssociateAC(
        called_ae=asked.called_ae,
        calling_ae=asked.calling_ae,
        presentation_contexts=results,
        user_information=UserInformation(
            maximum_length=maximum_length,
            roles=asked.user_information.roles if roles is None else roles,
            async_operations=window,
            implementation_class_uid=OURS,
        ),
    )


def unlimited(requestor: bool = False) -> Session:
    """A session in Sta6 with any number of requests outstanding, either way."""
    asked = request(window=AsyncOperationsWindow(0, 0))
    given = answer(asked, window=AsyncOperationsWindow(0, 0))
    return open_session(requestor, asked=asked, given=given)


def open_session(
    requestor: bool,
    *,
    limits: SessionLimits | None = None,
    peer_maximum: int | None = 0,
    asked: AAssociateRQ | None = None,
    given: AAssociateAC | None = None,
    lenient_roles: bool = True,
) -> Session:
    """A session in Sta6 whose peer is the test; what it sent so far is taken out."""
    asked = request() if asked is None else asked
    given = answer(asked) if given is None else given
    session = Session(requestor=requestor, limits=limits, lenient_roles=lenient_roles)
    if requestor:
        session.associate(asked)
        session.connection_made()
        session.receive(encode(_announcing(given, peer_maximum)))
    else:
        session.connection_made()
        session.receive(encode(_announcing(asked, peer_maximum)))
        session.accept(given)
    session.data_to_send()
    return session


def _announcing(pdu: Any, maximum_length: int | None) -> Any:
    return replace(pdu, user_information=replace(pdu.user_information, maximum_length=maximum_length))


# --- what a peer sends


def pdata(*pdvs: PDV) -> bytes:
    """One P-DATA-TF."""
    return encode(PDataTF(pdvs))


def command_pdv(context_id: int, message: Message | bytes, last: bool = True) -> PDV:
    """A command set as one PDV."""
    raw = message if isinstance(message, bytes) else encode_message(message)
    return PDV(context_id, True, last, raw)


def data_pdv(context_id: int, data: bytes, last: bool = True) -> PDV:
    """A data set fragment as one PDV."""
    return PDV(context_id, False, last, data)


def wire(context_id: int, message: Message | bytes, data: bytes | None = None) -> bytes:
    """A message as a peer may send it, one PDV a PDU."""
    raw = pdata(command_pdv(context_id, message))
    return raw if data is None else raw + pdata(data_pdv(context_id, data))


# --- what a session sends


def split_pdus(raw: bytes) -> list[bytes]:
    """Whole PDUs one after the other, each as bytes."""
    found = []
    while raw:
        end = 6 + int.from_bytes(raw[2:6], "big")
        assert len(raw) >= end, "a PDU is cut"
        found.append(raw[:end])
        raw = raw[end:]
    return found


def sent_bytes(session: Session) -> bytes:
    """What waits to be sent, taken out."""
    return b"".join(bytes(buffer) for buffer in session.data_to_send())


def sent_pdus(session: Session) -> list[Pdu]:
    """What waits to be sent, taken out and decoded."""
    return [decode(raw[0], raw[6:]) for raw in split_pdus(sent_bytes(session))]


def sent_pdvs(session: Session) -> list[PDV]:
    """The PDVs that wait to be sent, taken out; there is nothing but P-DATA."""
    found: list[PDV] = []
    for pdu in sent_pdus(session):
        assert isinstance(pdu, PDataTF), pdu
        found += pdu.pdvs
    return found


def check_pdata(raw: bytes, maximum: int | None) -> None:
    """What we promise of every P-DATA-TF: one PDV, nothing over the peer's maximum, of even length."""
    length, pdv_length, _, control = struct.unpack_from(">LLBB", raw, 2)
    assert pdv_length == length - 4, "not exactly one PDV"
    assert control <= 3
    assert not maximum or length <= maximum, f"a P-DATA-TF of {length} bytes where {maximum} were announced"
    assert length % 2 == 0, "an odd fragment"
    if not control & 2:
        assert length > 6, "an empty fragment that is not the last"


def even(data: bytes) -> bytes:
    """A data set as it arrives: with the byte that makes its length even."""
    return data + bytes(len(data) % 2)


# --- what a user keeps


def keep(told: list[Told], event: SessionEvent) -> None:
    """Append an event in a form that lasts and does not depend on the pieces the bytes came in."""
    if isinstance(event, DataReceived):
        before = told[-1] if told else None
        if isinstance(before, Data) and not before.last:
            told[-1] = Data(before.data + bytes(event.data), event.last)
        elif event.data.nbytes or event.last:
            told.append(Data(bytes(event.data), event.last))
    elif isinstance(event, ProviderAbort):
        told.append(Fault(type(event.error).__name__, str(event), event.reason, event.sent))
    else:
        told.append(event)


def tell(session: Session, pieces: Iterable[bytes | memoryview]) -> list[Told]:
    """What the session tells of these pieces, each in a buffer that is overwritten afterwards."""
    told: list[Told] = []
    for piece in pieces:
        scratch = bytearray(piece)
        for event in session.receive(memoryview(scratch)):
            keep(told, event)
        scratch[:] = b"\xa5" * len(scratch)
    return told


def ends(told: Iterable[Told]) -> list[Told]:
    """The events among them that end an association."""
    return [event for event in told if isinstance(event, (*ENDS, Fault))]


def held(session: Session) -> int:
    """Bytes a session keeps for what has not arrived whole (white box)."""
    reader = session.upper._reader
    incoming = session._incoming
    return (
        len(reader._head)
        + (len(reader._body) if reader._body is not None else 0)
        + (len(incoming.command) if incoming is not None else 0)
        + (len(incoming.refusal or b"") if incoming is not None else 0)
        + sum(len(raw) for _, raw in session._refusals)
    )


# --- two of them


class Side:
    """One session of a pair, the bytes on their way to it, and what its user was told."""

    def __init__(self, name: str, session: Session) -> None:
        self.name = name
        self.session = session
        self.incoming = bytearray()
        self.connected = False
        self.peer_gone = False  # the other side closed: an end follows the incoming bytes
        self.told: list[Told] = []

    def take(self, events: Iterable[SessionEvent]) -> None:
        """Keep these events."""
        for event in events:
            keep(self.told, event)

    @property
    def messages(self) -> list[tuple[Message, bytes | None]]:
        """The messages received whole, with their data sets."""
        found: list[tuple[Message, bytes | None]] = []
        waiting: Message | None = None
        for event in self.told:
            if isinstance(event, MessageReceived):
                assert waiting is None, "a message in the middle of another's data set"
                if event.message.has_dataset:
                    waiting = event.message
                else:
                    found.append((event.message, None))
            elif isinstance(event, Data):
                assert waiting is not None, "a data set without a message"
                if event.last:
                    found.append((waiting, event.data))
                    waiting = None
        return found

    @property
    def partial(self) -> tuple[Message, bytes] | None:
        """The message whose data set is not whole, and what there is of it."""
        found: tuple[Message, bytes] | None = None
        for event in self.told:
            if isinstance(event, MessageReceived):
                found = (event.message, b"") if event.message.has_dataset else None
            elif isinstance(event, Data) and found is not None:
                found = None if event.last else (found[0], event.data)
        return found

    @property
    def ends(self) -> list[Told]:
        """The events that ended the association, in order."""
        return ends(self.told)


class Pair:
    """Two sessions and the network between them; every PDU sent is checked by `check_pdata`."""

    def __init__(
        self,
        *,
        requestor_limits: SessionLimits | None = None,
        acceptor_limits: SessionLimits | None = None,
        lenient_roles: bool = True,
    ) -> None:
        self.requestor = Side(
            "requestor", Session(requestor=True, limits=requestor_limits, lenient_roles=lenient_roles)
        )
        self.acceptor = Side("acceptor", Session(requestor=False, limits=acceptor_limits))
        self.sides = (self.requestor, self.acceptor)

    def other(self, side: Side) -> Side:
        """The side at the other end."""
        return self.acceptor if side is self.requestor else self.requestor

    def connect(self) -> None:
        """Open the connection at both ends."""
        for side in (self.acceptor, self.requestor):
            side.connected = True
            side.session.connection_made()
        for side in self.sides:
            self.flush(side)

    def flush(self, side: Side) -> None:
        """Put what a side has to send on the wire, and close its connection when it asks for it."""
        raw = sent_bytes(side.session)
        other = self.other(side)
        for pdu in split_pdus(raw):
            if pdu[0] == 4:
                check_pdata(pdu, other.session.limits.pdu.maximum_length)
        if side.connected:
            if other.connected:
                other.incoming += raw
            if side.session.upper.close_requested:
                self.drop(side)

    def drop(self, side: Side) -> None:
        """Close a side's connection: what was on the way to it is lost, the other is told after its bytes."""
        side.connected = False
        side.incoming.clear()
        self.other(side).peer_gone = True
        side.take(side.session.connection_lost())

    def deliver(self, side: Side, size: int | None = None) -> bool:
        """Give a side its next bytes, or the end of the connection after the last; False: nothing is due."""
        if not side.connected:
            return False
        if side.incoming:
            size = len(side.incoming) if size is None else size
            scratch = bytearray(side.incoming[:size])
            del side.incoming[:size]
            side.take(side.session.receive(memoryview(scratch)))
            scratch[:] = b"\xa5" * len(scratch)
            self.flush(side)
            return True
        if side.peer_gone:
            self.drop(side)
            return True
        return False

    def settle(self, sizes: Sequence[int] = ()) -> None:
        """Deliver until nothing is on its way, in pieces of these sizes in turn."""
        turn = 0
        while True:
            moved = False
            for side in self.sides:
                moved |= self.deliver(side, max(sizes[turn % len(sizes)], 1) if sizes else None)
                turn += 1
            if not moved:
                return


def open_pair(
    *,
    asked: AAssociateRQ | None = None,
    requestor_maximum: int = 131072,
    acceptor_maximum: int = 131072,
    lenient_roles: bool = True,
    **answered: Any,
) -> Pair:
    """A pair with an association between them; `answered` goes to `answer`."""
    pair = Pair(
        requestor_limits=SessionLimits(pdu=PduLimits(maximum_length=requestor_maximum)),
        acceptor_limits=SessionLimits(pdu=PduLimits(maximum_length=acceptor_maximum)),
        lenient_roles=lenient_roles,
    )
    pair.requestor.session.associate(request() if asked is None else asked)
    pair.connect()
    pair.settle()
    received = pair.acceptor.session.request
    assert received is not None
    pair.acceptor.session.accept(answer(received, **answered))
    pair.flush(pair.acceptor)
    pair.settle()
    assert isinstance(pair.requestor.told[-1], Established)
    pair.requestor.told.clear()
    pair.acceptor.told.clear()
    return pair
