"""The upper layer machine: PDUs, verbs and transport events through Table 9-10, actions carried out.

Bytes in by `receive`, indications out as its result, bytes out by `data_to_send`. Whoever owns the
connection closes it when `close_requested` is set, and runs the ARTIM timer while `artim_running`,
starting it anew whenever `artim_generation` changes.

Nothing a peer does raises here: it becomes an A-ABORT to send and one `ProviderAbort`. A verb in the
wrong state raises LocalProtocolError and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

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
from .fsm import NEXT_STATE, TRANSITIONS, Action, Event, State
from .limits import PduLimits
from .reader import PAUSE, Fragment, PDUReader, guess_protocol
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
_EVENT_OF_PDU: dict[type[Pdu], Event] = {
    AAssociateAC: Event.EVT3,
    AAssociateRJ: Event.EVT4,
    AAssociateRQ: Event.EVT6,
    AReleaseRQ: Event.EVT12,
    AReleaseRP: Event.EVT13,
    AAbort: Event.EVT16,
}
_AT_HEADER = frozenset({Action.AA_1, Action.AA_6, Action.AA_7, Action.AA_8})
"""Actions taken for a PDU's type alone: its body is skipped."""

_DATA_STATES = frozenset(
    state for (event, state), action in TRANSITIONS.items() if action in (Action.DT_2, Action.AR_6)
)
"""Where P-DATA is welcome (DT-2, AR-6): it leaves the state as it is, so no step is run for it."""


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
        self.limits: PduLimits = limits if limits is not None else PduLimits()
        self.state: State = State.STA1
        self.deviations: DeviationLog = DeviationLog()
        self.artim_running: bool = False
        self.artim_generation: int = 0
        self.close_requested: bool = False
        self._check_request = check_request
        self._reader = PDUReader(self._judge, self.deviations)
        self._used = False  # Sta1 is left once: no association starts on a used connection
        self._told: list[Indication] = []  # what the actions issued and nobody has taken yet
        self._broken = False  # framing is lost: what still arrives cannot be read
        self._out: list[Buffer] = []
        self._request = b""  # the A-ASSOCIATE-RQ that goes out when the connection is open

    # --- for whoever owns the connection

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun that has not ended."""
        return self._reader.mid_pdu

    @property
    def pdus_started(self) -> int:
        """How many PDU headers have arrived."""
        return self._reader.started

    @property
    def filled(self) -> int:
        """How many PDUs and PDVs have begun that hold something: an empty one says nothing."""
        return self._reader.filled

    @property
    def mid_content(self) -> bool:
        """Whether the next byte to come belongs to what a PDU carries, and not to a header."""
        return self._reader.mid_content

    def keep(self) -> None:
        """Of the view given to `indications` nothing is looked at any more: what is left is copied."""
        self._reader.keep()

    def data_to_send(self) -> list[Buffer]:
        """The buffers to write, in order; they now belong to the caller."""
        out, self._out = self._out, []
        return out

    def connection_made(self) -> None:
        """The transport is open: Evt2 for a requestor, Evt5 for an acceptor."""
        self._step(Event.EVT2 if self.requestor else Event.EVT5)

    def connection_lost(self) -> list[Indication]:
        """The transport is closed (Evt17)."""
        self._broken = True  # what has been read and not looked at yet says nothing to Sta1
        self._step(Event.EVT17)
        return self._take_told()

    def artim_expired(self) -> None:
        """The ARTIM timer ran out (Evt18)."""
        self._step(Event.EVT18)

    # --- verbs of the user

    def associate(self, request: AAssociateRQ) -> None:
        """A-ASSOCIATE request (Evt1): goes out once `connection_made` is called."""
        self._step(Event.EVT1, request)

    def accept(self, answer: AAssociateAC) -> None:
        """A-ASSOCIATE response, accepting (Evt7)."""
        self._step(Event.EVT7, answer)

    def reject(self, answer: AAssociateRJ) -> None:
        """A-ASSOCIATE response, rejecting (Evt8)."""
        self._step(Event.EVT8, answer)

    def send_pdata(self, buffers: list[Buffer]) -> None:
        """P-DATA request (Evt9): `buffers` are whole P-DATA-TF PDUs, header included."""
        self._step(Event.EVT9, buffers)

    def release(self) -> None:
        """A-RELEASE request (Evt11)."""
        self._step(Event.EVT11)

    def release_response(self) -> None:
        """A-RELEASE response (Evt14)."""
        self._step(Event.EVT14)

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """A-ABORT request (Evt15). `source` 2 is for a user that found the peer breaking the protocol."""
        self._step(Event.EVT15, AAbort(source, reason))

    # --- bytes in

    def receive(self, data: Buffer) -> list[Indication]:
        """Take bytes from the connection; fragments among the result are views of `data`."""
        return [one for one in self.indications(data) if one is not None]

    def indications(self, data: Buffer) -> Iterator[Indication | None]:
        """`receive`, one indication at a time. To be run to its end, `keep` allowing to do it later.

        Who acts on each before taking the next has every PDU judged in the state that action led to,
        however many of them came in one read. None is a pause: a PDU or PDV went by that indicates nothing.
        """
        if self._broken or self.state in (State.STA1, State.STA4):  # no connection for them to come from
            return
        reader = self._reader
        reader.feed(memoryview(data))
        try:
            while not (self._broken or self.close_requested):
                item = reader.step()
                if self._told:  # of a PDU before it, by its header
                    yield from self._take_told()
                if item is None:
                    return
                if type(item) is Fragment:
                    # the judge has let this PDU pass, DT-2 or AR-6; our own abort may have come since
                    yield item if self.state is not State.STA13 else None
                elif item is PAUSE:
                    yield None
                else:
                    self._pdu(item)  # type: ignore[arg-type]
                    yield from self._take_told()
        except RemoteProtocolError as error:
            self._broken = True  # framing is lost from here on
            self._step(Event.EVT19, error)
        yield from self._take_told()

    def _take_told(self) -> list[Indication]:
        told, self._told = self._told, []
        return told

    def _judge(self, pdu_type: int, length: int, header: bytes) -> bool:
        """Judge a PDU by its header alone: its type against the state, its length against the limits."""
        if pdu_type == PduType.P_DATA_TF and self.state in _DATA_STATES:
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
        if TRANSITIONS.get((event, self.state)) in _AT_HEADER:
            text = f"{PduType(pdu_type).name.replace('_', '-')} received {_WHEN[self.state]}"
            # its length is known, so the framing is sound: Sta13 goes on reading behind it
            self._step(event, RemoteProtocolError(text, reason=AbortReason.UNEXPECTED_PDU))
            return False
        associate = pdu_type in (PduType.A_ASSOCIATE_RQ, PduType.A_ASSOCIATE_AC)
        if length > (self.limits.associate_length if associate else 4):
            raise RemoteProtocolError(
                f"{PduType(pdu_type).name.replace('_', '-')} of {length} bytes, over the limit",
                reason=AbortReason.INVALID_PARAMETER,
            )
        return True

    def _pdu(self, pdu: Pdu) -> None:
        """A control PDU is whole: what counts is the state now, not the one at its header."""
        if isinstance(pdu, AAbort) and not is_abort(pdu.source, pdu.reason):
            self.deviations.append(Deviation("PS3.8 9.3.8", f"not in Table 9-26: {pdu}"))
        self._step(_EVENT_OF_PDU[type(pdu)], pdu)

    # --- the table

    def _step(self, event: Event, given: object = None) -> None:
        """Run one event, and what came with it, through Table 9-10: the only place that changes the state.

        An action that raises, for what it was given cannot be sent or the peer may not say it, leaves the
        state as it was. Raises LocalProtocolError for an event of ours in an empty cell; any other does
        nothing there.
        """
        action = TRANSITIONS.get((event, self.state))
        if action is None:
            if event in _VERBS:
                raise LocalProtocolError(f"{_VERBS[event]} is not possible {_WHEN[self.state]}")
            return
        chosen = _ACTIONS[action](self, given)
        self.state = NEXT_STATE[action][0] if chosen is None else chosen

    # --- actions: association establishment (PS3.8 Table 9-6)

    def _ae_1(self, request: AAssociateRQ) -> None:
        """Issue a transport connect request: whoever owns the connection is about to open it."""
        if not self.requestor:
            raise LocalProtocolError(f"{_VERBS[Event.EVT1]} is not possible: one association, in one role")
        encoded = encode(request)  # what cannot be sent is refused now, not when the connection is open
        self._begin(Event.EVT1)
        self._request = encoded

    def _ae_2(self, _: None) -> None:
        """Send the A-ASSOCIATE-RQ."""
        self._out.append(self._request)

    def _ae_3(self, answer: AAssociateAC) -> None:
        """A-ASSOCIATE confirmation, accepting; of its head only bit 0 of the version is tested (9.3.3)."""
        if not answer.protocol_version & 1:
            raise RemoteProtocolError(
                f"an A-ASSOCIATE-AC of protocol version {answer.protocol_version:04X}H",
                reason=AbortReason.INVALID_PARAMETER,
            )
        if answer.application_context_name not in ("", APPLICATION_CONTEXT_NAME):  # absent: noted already
            self.deviations.append(Deviation("PS3.8 9.3.3.1", "an answer in another application context"))
        self._told.append(AssociateConfirmation(answer))

    def _ae_4(self, answer: AAssociateRJ) -> None:
        """A-ASSOCIATE confirmation, rejecting; close."""
        if not is_rejection(answer.result, answer.source, answer.reason):
            self.deviations.append(Deviation("PS3.8 9.3.4", f"not in Table 9-21: {answer}"))
        self._told.append(RejectConfirmation(answer))
        self._close()

    def _ae_5(self, _: None) -> None:
        """The transport connection is taken; start ARTIM."""
        self._begin(Event.EVT5)
        self._start_artim()

    def _ae_6(self, request: AAssociateRQ) -> State:
        """Stop ARTIM. A-ASSOCIATE indication; or a rejection and ARTIM where it cannot be accepted."""
        self._stop_artim()
        refusal = self._refusal(request)
        if refusal is None:
            self._told.append(AssociateIndication(request))
            return State.STA3
        self._ae_8(refusal)
        self._told.append(RejectConfirmation(refusal))
        return State.STA13

    def _ae_7(self, answer: AAssociateAC) -> None:
        """Send the A-ASSOCIATE-AC."""
        self._out.append(encode(answer))

    def _ae_8(self, answer: AAssociateRJ) -> None:
        """Send the A-ASSOCIATE-RJ; start ARTIM."""
        self._out.append(encode(answer))
        self._start_artim()

    # --- actions: data transfer (Table 9-7)

    def _dt_1(self, buffers: list[Buffer]) -> None:
        """Send P-DATA-TF."""
        self._out += buffers

    def _dt_2(self, _: object) -> None:
        """P-DATA indication: the fragments, which `indications` gives as they come."""

    # --- actions: association release (Table 9-8)

    def _ar_1(self, _: None) -> None:
        """Send A-RELEASE-RQ."""
        self._out.append(encode(AReleaseRQ()))

    def _ar_2(self, _: AReleaseRQ) -> None:
        """A-RELEASE indication."""
        self._told.append(ReleaseIndication())

    def _ar_3(self, _: AReleaseRP) -> None:
        """A-RELEASE confirmation; close."""
        self._told.append(ReleaseConfirmation())
        self._close()

    def _ar_4(self, _: None) -> None:
        """Send A-RELEASE-RP; start ARTIM."""
        self._out.append(encode(AReleaseRP()))
        self._start_artim()

    def _ar_5(self, _: None) -> None:
        """Stop ARTIM."""
        self._stop_artim()

    def _ar_6(self, _: object) -> None:
        """P-DATA indication, as in DT-2."""

    def _ar_7(self, buffers: list[Buffer]) -> None:
        """Send P-DATA-TF."""
        self._out += buffers

    def _ar_8(self, _: AReleaseRQ) -> State:
        """A-RELEASE indication: a collision, in which the requestor answers first."""
        self._told.append(ReleaseIndication(collision=True))
        return State.STA9 if self.requestor else State.STA10

    def _ar_9(self, _: None) -> None:
        """Send A-RELEASE-RP."""
        self._out.append(encode(AReleaseRP()))

    def _ar_10(self, _: AReleaseRP) -> None:
        """A-RELEASE confirmation."""
        self._told.append(ReleaseConfirmation())

    # --- actions: abort (Table 9-9)

    def _aa_1(self, cause: AAbort | RemoteProtocolError) -> None:
        """Send A-ABORT as the service user; start ARTIM. What a peer did is told, beyond the standard."""
        if isinstance(cause, AAbort):
            self._out.append(encode(cause))
        else:
            self._out.append(encode(AAbort(0, 0)))
            self._told.append(ProviderAbort(cause, cause.reason, sent=True))
        self._start_artim()

    def _aa_2(self, _: object) -> None:
        """Stop ARTIM; close."""
        self._close()

    def _aa_3(self, abort: AAbort) -> None:
        """A-ABORT or A-P-ABORT indication; close."""
        self._told.append(AbortIndication(abort.source, abort.reason))
        self._close()

    def _aa_4(self, _: None) -> None:
        """A-P-ABORT indication: the connection has gone."""
        error = ConnectionClosed(f"the connection closed {_WHEN[self.state]}")
        self._told.append(ProviderAbort(error, AbortReason.NOT_SPECIFIED, sent=False))

    def _aa_5(self, _: None) -> None:
        """Stop ARTIM."""
        self._stop_artim()

    def _aa_6(self, _: object) -> None:
        """Ignore the PDU."""

    def _aa_7(self, _: RemoteProtocolError) -> None:
        """Send A-ABORT; ARTIM runs on, so that a peer cannot keep us here."""
        self._out.append(encode(AAbort(0, 0)))

    def _aa_8(self, error: RemoteProtocolError) -> None:
        """Send A-ABORT as the service provider, A-P-ABORT indication; start ARTIM."""
        self._out.append(encode(AAbort(2, error.reason)))
        self._told.append(ProviderAbort(error, error.reason, sent=True))
        self._start_artim()

    # --- what the actions are made of

    def _begin(self, event: Event) -> None:
        if self._used:
            raise LocalProtocolError(f"{_VERBS[event]} is not possible: one association, in one role")
        self._used = True

    def _refusal(self, request: AAssociateRQ) -> AAssociateRJ | None:
        """Whether the request is acceptable: the provider's own checks, then the user's."""
        if not request.protocol_version & 1:  # PS3.8 9.3.2: only bit 0 is tested
            return Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
        if request.application_context_name != APPLICATION_CONTEXT_NAME:
            return Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
        return None if self._check_request is None else self._check_request(request)

    def _close(self) -> None:
        self._stop_artim()
        self.close_requested = True

    def _start_artim(self) -> None:
        self.artim_running = True
        self.artim_generation += 1

    def _stop_artim(self) -> None:
        self.artim_running = False


_ACTIONS: dict[Action, Callable[[UpperLayer, Any], State | None]] = {
    action: getattr(UpperLayer, f"_{action.name.lower()}") for action in Action
}
"""The method of each action, by its name; only AE-6 and AR-8 choose the state they lead to."""

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
_VERBS = {  # the events of our own side
    Event.EVT1: "A-ASSOCIATE request",
    Event.EVT2: "a transport connect confirmation",
    Event.EVT5: "a transport connection indication",
    Event.EVT7: "A-ASSOCIATE response",
    Event.EVT8: "A-ASSOCIATE response",
    Event.EVT9: "P-DATA request",
    Event.EVT11: "A-RELEASE request",
    Event.EVT14: "A-RELEASE response",
    Event.EVT15: "A-ABORT request",
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
