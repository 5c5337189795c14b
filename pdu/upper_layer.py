"""The upper layer machine: PDUs, verbs and transport events through Table 9-10, actions carried out.

Bytes in by `receive`, indications out as its result, bytes out by `data_to_send`. Whoever owns the
connection closes it when `close_requested` is set, and runs the ARTIM timer while `artim_running`,
starting it anew whenever `artim_generation` changes.

Nothing a peer does raises here: it becomes an A-ABORT to send and one `ProviderAbort`. A verb in the
wrong state raises LocalProtocolError and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .codec import encode
from .errors import (
    AbortReason,
    ConnectionClosed,
    Deviation,
    DeviationLog,
    LocalProtocolError,
    RemoteProtocolError,
    is_abort,
    is_rejection,
)
from .events import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    Indication,
    ProviderAbort,
    RejectConfirmation,
    ReleaseConfirmation,
    ReleaseIndication,
)
from .fsm import TRANSITIONS, Action, Event, State
from .limits import PduLimits
from .reader import Fragment, PDUReader, guess_protocol
from .types import (
    APPLICATION_CONTEXT_NAME,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    Pdu,
    PduType,
    Rejection,
)

Buffer = bytes | bytearray | memoryview

_EVENT_OF_TYPE = {
    PduType.A_ASSOCIATE_AC: Event.EVT3,
    PduType.A_ASSOCIATE_RJ: Event.EVT4,
    PduType.A_ASSOCIATE_RQ: Event.EVT6,
    PduType.P_DATA_TF: Event.EVT10,
    PduType.A_RELEASE_RQ: Event.EVT12,
    PduType.A_RELEASE_RP: Event.EVT13,
    PduType.A_ABORT: Event.EVT16,
}
_ABORTING = frozenset({Action.AA_1, Action.AA_7, Action.AA_8})


class UpperLayer:
    """One association's upper layer, from either side.

    `check_request` lets the user refuse an A-ASSOCIATE-RQ as its provider would (AE-6): it returns an
    AAssociateRJ, or None. Protocol version and application context are checked here already.
    """

    def __init__(
        self,
        *,
        requestor: bool,
        limits: PduLimits | None = None,
        check_request: Callable[[AAssociateRQ], AAssociateRJ | None] | None = None,
    ) -> None:
        self.requestor = requestor
        self.limits = limits if limits is not None else PduLimits()
        self.state = State.STA1
        self.deviations = DeviationLog()
        self.artim_running = False
        self.artim_generation = 0
        self.close_requested = False
        self._check_request = check_request
        self._reader = PDUReader(self._judge, self.deviations)
        self._used = False  # Sta1 is left once: no association starts on a used connection
        self._unexpected: ProviderAbort | None = None  # what to tell of a PDU that the state forbids
        self._broken = False  # framing is lost: what still arrives cannot be read
        self._out: list[Buffer] = []
        self._request: AAssociateRQ | None = None

    # --- for whoever owns the connection

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun that has not ended."""
        return self._reader.mid_pdu

    @property
    def pdus_started(self) -> int:
        """How many PDU headers have arrived."""
        return self._reader.started

    def data_to_send(self) -> list[Buffer]:
        """The buffers to write, in order; they now belong to the caller."""
        out, self._out = self._out, []
        return out

    def connection_made(self) -> None:
        """The transport is open: Evt2 for a requestor, Evt5 for an acceptor."""
        self._local(Event.EVT2 if self.requestor else Event.EVT5)

    def connection_lost(self) -> list[Indication]:
        """The transport is closed (Evt17)."""
        state = self.state
        action = TRANSITIONS.get((Event.EVT17, state))
        self._broken = True  # what has been read and not looked at yet says nothing to Sta1
        self._stop_artim()
        self.state = State.STA1
        if action is not Action.AA_4:
            return []
        error = ConnectionClosed(f"the connection closed {_WHEN[state]}")
        return [ProviderAbort(error, AbortReason.NOT_SPECIFIED, sent=False)]

    def artim_expired(self) -> None:
        """The ARTIM timer ran out (Evt18)."""
        if TRANSITIONS.get((Event.EVT18, self.state)) is Action.AA_2:
            self._close()

    # --- verbs of the user

    def associate(self, request: AAssociateRQ) -> None:
        """A-ASSOCIATE request (Evt1): goes out once `connection_made` is called."""
        encode(request)  # what cannot be sent is refused now, not when the connection is open
        self._local(Event.EVT1)
        self._request = request

    def accept(self, answer: AAssociateAC) -> None:
        """A-ASSOCIATE response, accepting (Evt7)."""
        self._send_for(Event.EVT7, encode(answer))

    def reject(self, answer: AAssociateRJ) -> None:
        """A-ASSOCIATE response, rejecting (Evt8)."""
        self._send_for(Event.EVT8, encode(answer))

    def send_pdata(self, buffers: list[Buffer]) -> None:
        """P-DATA request (Evt9): `buffers` are whole P-DATA-TF PDUs, header included."""
        self._local(Event.EVT9)
        self._out += buffers

    def release(self) -> None:
        """A-RELEASE request (Evt11)."""
        self._send_for(Event.EVT11, encode(AReleaseRQ()))

    def release_response(self) -> None:
        """A-RELEASE response (Evt14)."""
        self._send_for(Event.EVT14, encode(AReleaseRP()))

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """A-ABORT request (Evt15). `source` 2 is for a user that found the peer breaking the protocol."""
        action = TRANSITIONS.get((Event.EVT15, self.state))
        if action is None:
            raise LocalProtocolError(f"no A-ABORT in {self.state.name}")
        if action is Action.AA_2:
            self._close()
        else:
            self._abort(source, reason)

    # --- bytes in

    def receive(self, data: Buffer) -> list[Indication]:
        """Take bytes from the connection; fragments among the result are views of `data`."""
        return list(self.indications(data))

    def indications(self, data: Buffer) -> Iterator[Indication]:
        """`receive`, one indication at a time. To be run to its end.

        Who acts on each before taking the next has every PDU judged in the state that action led to,
        however many of them came in one read.
        """
        if self._broken or self.state in (State.STA1, State.STA4):  # no connection for them to come from
            return
        reader = self._reader
        reader.feed(memoryview(data))
        found: list[Indication] = []
        try:
            while not (self._broken or self.close_requested):
                item = reader.next()
                if self._unexpected is not None:
                    yield self._take_unexpected()
                if item is None:
                    return
                if type(item) is Fragment:
                    # the judge has run Evt10 for this PDU, DT-2 or AR-6; our own abort may have come since
                    if self.state is not State.STA13:
                        yield item
                else:
                    self._pdu(item, found)  # type: ignore[arg-type]
                    yield from found
                    found.clear()
        except RemoteProtocolError as error:
            if self._unexpected is not None:  # of a PDU before it
                found.append(self._take_unexpected())
            self._fault(error, found)
        yield from found

    def _take_unexpected(self) -> ProviderAbort:
        indication, self._unexpected = self._unexpected, None
        assert indication is not None
        return indication

    def _judge(self, pdu_type: int, length: int, header: bytes) -> bool:
        """Judge a PDU by its header alone: its type against the state, its length against the limits."""
        if pdu_type == PduType.P_DATA_TF and self.state in (State.STA6, State.STA7):
            limit = self.limits.maximum_length
            if limit and length > limit:
                raise RemoteProtocolError(
                    f"a P-DATA-TF of {length} bytes where {limit} were announced",
                    reason=AbortReason.INVALID_PARAMETER,
                )
            return True
        event = _EVENT_OF_TYPE.get(pdu_type)  # type: ignore[call-overload]
        if event is None:
            raise _not_a_pdu(header)
        action = TRANSITIONS.get((event, self.state))
        if action in _ABORTING or action is None:
            if action is Action.AA_7:  # Sta13: answer and go on reading, for the framing is sound
                self._abort_pdu(0, 0)
                return False
            error = RemoteProtocolError(
                f"{PduType(pdu_type).name.replace('_', '-')} received {_WHEN[self.state]}",
                reason=AbortReason.UNEXPECTED_PDU,
            )
            self._unexpected = self._abort_for(error)  # its length is known: Sta13 goes on reading behind it
            return False
        if action is Action.AA_6:
            return False
        associate = pdu_type in (PduType.A_ASSOCIATE_RQ, PduType.A_ASSOCIATE_AC)
        if length > (self.limits.associate_length if associate else 4):
            raise RemoteProtocolError(
                f"{PduType(pdu_type).name.replace('_', '-')} of {length} bytes, over the limit",
                reason=AbortReason.INVALID_PARAMETER,
            )
        return True

    def _pdu(self, pdu: Pdu, found: list[Indication]) -> None:
        """Act on a whole control PDU; the judge has let its type pass for the state at its header."""
        if self.state is State.STA13 and not isinstance(pdu, AAbort):
            return  # AA-6: our own abort came while it was being received
        match pdu:
            case AAbort():
                self._aborted(pdu, found)
            case AAssociateRQ():
                self._requested(pdu, found)
            case AAssociateAC():  # AE-3
                self._judge_answer(pdu)
                self.state = State.STA6
                found.append(AssociateConfirmation(pdu))
            case AAssociateRJ():  # AE-4
                if not is_rejection(pdu.result, pdu.source, pdu.reason):
                    self.deviations.append(Deviation("PS3.8 9.3.4", f"not in Table 9-21: {pdu}"))
                self._close()
                found.append(RejectConfirmation(pdu))
            case AReleaseRQ():  # AR-2, AR-8
                collision = self.state is State.STA7
                if not collision:
                    self.state = State.STA8
                else:
                    self.state = State.STA9 if self.requestor else State.STA10
                found.append(ReleaseIndication(collision))
            case AReleaseRP():  # AR-3, AR-10
                if self.state is State.STA10:
                    self.state = State.STA12
                else:
                    self._close()
                found.append(ReleaseConfirmation())

    def _judge_answer(self, answer: AAssociateAC) -> None:
        if not answer.protocol_version & 1:  # PS3.8 9.3.3: bit 0 is tested, and nothing else of the head
            raise RemoteProtocolError(
                f"an A-ASSOCIATE-AC of protocol version {answer.protocol_version:04X}H",
                reason=AbortReason.INVALID_PARAMETER,
            )
        if answer.application_context_name not in ("", APPLICATION_CONTEXT_NAME):  # absent: noted already
            self.deviations.append(Deviation("PS3.8 9.3.3.1", "an answer in another application context"))

    def _aborted(self, pdu: AAbort, found: list[Indication]) -> None:
        if not is_abort(pdu.source, pdu.reason):
            self.deviations.append(Deviation("PS3.8 9.3.8", f"not in Table 9-26: {pdu}"))
        told = TRANSITIONS[Event.EVT16, self.state] is Action.AA_3
        self._close()
        if told:
            found.append(AbortIndication(pdu.source, pdu.reason))

    def _requested(self, pdu: AAssociateRQ, found: list[Indication]) -> None:
        """AE-6: the provider's own checks, then the user's."""
        self._stop_artim()
        refusal = None
        if not pdu.protocol_version & 1:  # PS3.8 9.3.2: only bit 0 is tested
            refusal = Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
        elif pdu.application_context_name != APPLICATION_CONTEXT_NAME:
            refusal = Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
        elif self._check_request is not None:
            refusal = self._check_request(pdu)
        if refusal is None:
            self.state = State.STA3
            found.append(AssociateIndication(pdu))
            return
        self._out.append(encode(refusal))
        self.state = State.STA13
        self._start_artim()
        found.append(RejectConfirmation(refusal))

    # --- actions

    def _fault(self, error: RemoteProtocolError, found: list[Indication]) -> None:
        """Evt19: AA-1, AA-7 or AA-8. Framing is lost from here on."""
        self._broken = True
        if self.state is State.STA13:  # AA-7: answered once, for nothing more can be read
            self._abort_pdu(0, 0)
        else:
            found.append(self._abort_for(error))

    def _abort_for(self, error: RemoteProtocolError) -> ProviderAbort:
        """AA-1 or AA-8."""
        if self.state is State.STA2:
            self._abort(0, 0)
        else:
            self._abort(2, error.reason)
        return ProviderAbort(error, error.reason, sent=True)

    def _abort(self, source: int, reason: int) -> None:
        self._abort_pdu(source, reason)
        self.state = State.STA13
        self._start_artim()

    def _abort_pdu(self, source: int, reason: int) -> None:
        self._out.append(encode(AAbort(source, reason)))

    def _close(self) -> None:
        self._stop_artim()
        self.state = State.STA1
        self.close_requested = True

    def _start_artim(self) -> None:
        self.artim_running = True
        self.artim_generation += 1

    def _stop_artim(self) -> None:
        self.artim_running = False

    def _send_for(self, event: Event, pdu: bytes) -> None:
        self._local(event)
        self._out.append(pdu)

    def _local(self, event: Event) -> None:
        """Run one of our own side's events through the table; the caller sends what the action sends."""
        action = TRANSITIONS.get((event, self.state))
        if action is None:
            raise LocalProtocolError(f"{_VERBS[event]} is not possible {_WHEN[self.state]}")
        if action in (Action.AE_1, Action.AE_5):
            if self._used or (action is Action.AE_1) is not self.requestor:
                raise LocalProtocolError(f"{_VERBS[event]} is not possible: one association, in one role")
            self._used = True
        match action:
            case Action.AE_1:
                self.state = State.STA4
            case Action.AE_2:
                self.state = State.STA5
                if self._request is not None:
                    self._out.append(encode(self._request))
            case Action.AE_5:
                self.state = State.STA2
                self._start_artim()
            case Action.AE_7:
                self.state = State.STA6
            case Action.AE_8 | Action.AR_4:
                self.state = State.STA13
                self._start_artim()
            case Action.AR_1:
                self.state = State.STA7
            case Action.AR_9:
                self.state = State.STA11
            case _:  # DT-1 and AR-7 leave the state as it is
                pass


_WHEN = {
    State.STA1: "without a connection",
    State.STA2: "while an A-ASSOCIATE-RQ was awaited",
    State.STA3: "before the association was answered",
    State.STA4: "while the connection was being opened",
    State.STA5: "while the answer to the A-ASSOCIATE-RQ was awaited",
    State.STA6: "on an open association",
    State.STA7: "while the answer to the release was awaited",
    State.STA8: "after the peer's release request",
    State.STA9: "during a release collision",
    State.STA10: "during a release collision",
    State.STA11: "during a release collision",
    State.STA12: "during a release collision",
    State.STA13: "after the association had ended",
}
_VERBS = {
    Event.EVT1: "A-ASSOCIATE request",
    Event.EVT2: "a transport connect confirmation",
    Event.EVT5: "a transport connection indication",
    Event.EVT7: "A-ASSOCIATE response",
    Event.EVT8: "A-ASSOCIATE response",
    Event.EVT9: "P-DATA request",
    Event.EVT11: "A-RELEASE request",
    Event.EVT14: "A-RELEASE response",
}


def _not_a_pdu(header: bytes) -> RemoteProtocolError:
    spoken = guess_protocol(header)
    if spoken is None:
        text = f"unrecognized PDU type {header[0]:02X}H"
    elif spoken == "TLS":
        text = "TLS on one side only: the peer speaks TLS where plain DICOM was expected"
    else:
        text = f"the peer speaks {spoken} where DICOM was expected"
    return RemoteProtocolError(text, reason=AbortReason.UNRECOGNIZED_PDU, spoken=spoken)
