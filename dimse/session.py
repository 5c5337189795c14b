"""One association as a value machine: bytes in, DIMSE events out; messages in, buffers out.

Joins the upper layer, the assembly of command sets and the checks between messages and contexts. Nothing
in here waits, so a fuzzer, a tester and the asyncio transport drive it alike:

    session.associate(request); session.connection_made()
    for event in session.receive(view): ...
    session.send(context_id, message); session.send_data(context_id, view, last=True)
    transport.writelines(session.data_to_send())

A data set is handed on as it comes and goes out as it is given; only command sets are held, bounded.
What the peer does wrong becomes an A-ABORT and one `ProviderAbort`, or a failure and one `RequestRefused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ..pdu.errors import AbortReason, Deviation, DeviationLog, LocalProtocolError, RemoteProtocolError
from ..pdu.events import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    Indication,
    ProviderAbort,
    RejectConfirmation,
    ReleaseConfirmation,
    ReleaseIndication,
)
from ..pdu.fsm import State
from ..pdu.reader import Fragment
from ..pdu.types import AAssociateAC, AAssociateRJ, AAssociateRQ, AsyncOperationsWindow
from ..pdu.upper_layer import Buffer, UpperLayer
from . import checks
from . import command as c
from . import messages as m
from .contexts import Context, acceptor_contexts, agreed_window, note_unasked, requestor_contexts
from .events import (
    DataReceived,
    Established,
    MessageReceived,
    Released,
    ReleaseRequested,
    RequestRefused,
    SessionEvent,
)
from .fragments import fragments, room
from .limits import SessionLimits
from .outstanding import Outstanding
from .status import Category, categorize


@dataclass(slots=True)
class _Incoming:
    """The message being received: its command set, then what becomes of its data set."""

    context: Context
    command: bytearray
    complete: bool = False
    dropped: bool = False  # the user was not told of the message, nor will be of its data set
    refusal: bytes | None = None  # the answer to a refused request, sent when its data set has passed


class Session:
    """One association, from either side.

    `lenient_roles`: a requestor whose SCP role was proposed and left out of the answer acts as if it had
    been granted (many archives forget the item). `check_request` is the acceptor's provider-level refusal.
    """

    def __init__(
        self,
        *,
        requestor: bool,
        limits: SessionLimits | None = None,
        check_request: Callable[[AAssociateRQ], AAssociateRJ | None] | None = None,
        lenient_roles: bool = True,
    ) -> None:
        self.limits: SessionLimits = limits if limits is not None else SessionLimits()
        pdu = self.limits.pdu
        self.upper: UpperLayer = UpperLayer(requestor=requestor, limits=pdu, check_request=check_request)
        self.requestor = requestor
        self.contexts: dict[int, Context] = {}
        self.request: AAssociateRQ | None = None
        self.answer: AAssociateAC | None = None
        self.peer_maximum_length: int = 0
        self.window: AsyncOperationsWindow = AsyncOperationsWindow(1, 1)  # invoked, performed
        self._lenient_roles = lenient_roles
        self._incoming: _Incoming | None = None
        self._outgoing: int | None = None  # context id whose data set is being sent
        self._largest = 0  # data bytes of one PDV we send
        self._invoked: dict[int, tuple[int, int]] = {}  # message id: context id, command field
        self._performed = Outstanding(self.limits.outstanding_requests, lenient=requestor)
        self.messages_begun: int = 0
        self._decoder = m.Decoder(self.deviations)
        self._refusals: list[tuple[int, bytes]] = []  # waiting for the end of a data set of ours

    # --- state

    @property
    def state(self) -> State:
        """The upper layer's state."""
        return self.upper.state

    @property
    def established(self) -> bool:
        """Whether messages can be sent."""
        return self.upper.state is State.STA6

    @property
    def deviations(self) -> DeviationLog:
        """What the peer did that the standard does not allow but that could be lived with."""
        return self.upper.deviations

    @property
    def largest_fragment(self) -> int:
        """Data bytes of the largest PDV we send: even, and within the peer's maximum length."""
        return self._largest

    def outstanding(self, message_id: int) -> bool:
        """Whether a request of ours with this id has gone out and not had its final response."""
        return message_id in self._invoked

    @property
    def receiving(self) -> bool:
        """Whether a message has begun to arrive that is not whole."""
        return self._incoming is not None or self.upper.mid_pdu

    # --- for whoever owns the connection

    def connection_made(self) -> None:
        """The transport is open."""
        self.upper.connection_made()

    def connection_lost(self) -> list[SessionEvent]:
        """The transport is closed."""
        return self._translate(self.upper.connection_lost())

    def data_to_send(self) -> list[Buffer]:
        """The buffers to write, in order."""
        return self.upper.data_to_send()

    # --- association verbs

    def associate(self, request: AAssociateRQ) -> None:
        """Ask for an association; the maximum length announced is the one in our limits."""
        info = replace(request.user_information, maximum_length=self.limits.pdu.maximum_length)
        request = replace(request, user_information=info)
        self.upper.associate(request)
        self.request = request

    def accept(self, answer: AAssociateAC) -> dict[int, Context]:
        """Accept the association asked for; returns the contexts that are now open.

        Raises LocalProtocolError when the answer does not fit the request, or when the peer's maximum
        length leaves no room to send a message.
        """
        if self.request is None or self.requestor:
            raise LocalProtocolError("no association to accept was asked for")
        if room(self.request.user_information.maximum_length) <= 0:
            raise LocalProtocolError("the peer's maximum length leaves no room for a fragment")
        info = replace(answer.user_information, maximum_length=self.limits.pdu.maximum_length)
        answer = replace(answer, user_information=info)
        contexts = acceptor_contexts(self.request, answer)
        self.upper.accept(answer)
        self.answer = answer
        self.contexts = contexts
        self._opened(self.request.user_information.maximum_length)
        return self.contexts

    def reject(self, answer: AAssociateRJ) -> None:
        """Reject the association asked for."""
        self.upper.reject(answer)

    def release(self) -> None:
        """Ask for release; only between messages of our own."""
        if self._outgoing is not None:
            raise LocalProtocolError("release in the middle of a data set being sent")
        self.upper.release()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """Abort the association."""
        self.upper.abort(source, reason)

    # --- messages out

    def send(self, context_id: int, message: m.Message) -> None:
        """Send a message's command set; with `has_dataset`, `send_data` must follow before anything else."""
        if self._outgoing is not None:
            raise LocalProtocolError("a message in the middle of another's data set")
        context = self._open(context_id)
        self._check_sending(context, message)
        self._fragment(context_id, memoryview(m.encode_message(message)), command=True, last=True)
        self._account(context, message)
        if message.has_dataset:
            self._outgoing = context_id

    def _open(self, context_id: int) -> Context:
        context = self.contexts.get(context_id)
        if context is None:
            raise LocalProtocolError(f"presentation context {context_id} is not open")
        return context

    def send_data(self, data: Buffer, last: bool) -> None:
        """Send the next part of the data set announced; parts but the last are of even length.

        A data set that is itself of odd length gets a zero byte at its end, as PS3.5 A.5 wants of a deflated
        one: fragments are even (PS3.8 E.2), and DCMTK aborts for one that is not.
        """
        if self._outgoing is None:
            raise LocalProtocolError("a data set that no message announced")
        view = memoryview(data).cast("B")
        if len(view) % 2 and not last:
            raise LocalProtocolError("a part of a data set of odd length")
        self._fragment(self._outgoing, view, command=False, last=last)
        if last:
            self._outgoing = None
            self._flush_refusals()

    def send_each(self, context_id: int, response: m.Response, datasets: Iterable[bytes]) -> None:
        """Send the same pending response once with each of these data sets, as one buffer.

        Raises LocalProtocolError for one that is final or announces no data set, and for what `send` refuses.
        """
        if self._outgoing is not None:
            raise LocalProtocolError("a message in the middle of another's data set")
        if categorize(response.status) is not Category.PENDING or not response.has_dataset:
            raise LocalProtocolError("only pending responses with data sets are sent many at a time")
        self._check_sending(self._open(context_id), response)
        largest = self._largest
        command = fragments(memoryview(m.encode_message(response)), context_id, largest, command=True)
        out: list[Buffer] = []
        for data in datasets:
            out += command
            out += fragments(memoryview(data), context_id, largest)
        if out:
            self.upper.send_pdata([b"".join(out)])

    def _fragment(self, context_id: int, view: memoryview, *, command: bool, last: bool) -> None:
        if view or last:
            self.upper.send_pdata(fragments(view, context_id, self._largest, command=command, last=last))

    def _check_sending(self, context: Context, message: m.Message) -> None:
        """Refuse what our side may not send."""
        if isinstance(message, m.CCancelRQ):
            return
        if isinstance(message, m.Response):
            request_id = message.message_id_being_responded_to
            performed = self._performed.requests.get(request_id)
            if performed is None:
                raise LocalProtocolError(f"a response to message {request_id}, which is not outstanding")
            context_id, command_field = performed
            fault = checks.response_fault(command_field, message)
            if fault is None and context_id != context.context_id:
                fault = f"{type(message).__name__} on another context than its request"
            if fault is not None:
                raise LocalProtocolError(fault)
            return
        if not checks.may_invoke(context, message.command_field):
            raise LocalProtocolError(
                f"{type(message).__name__} on context {context.context_id}: the role was not negotiated"
            )
        if message.message_id in self._invoked:
            raise LocalProtocolError(f"message id {message.message_id} is in use")
        if self.window.invoked and len(self._invoked) >= self.window.invoked:
            raise LocalProtocolError(
                f"{type(message).__name__} where {self.window.invoked} outstanding requests were negotiated"
            )

    def _account(self, context: Context, message: m.Message) -> None:
        """Keep track of what is outstanding."""
        if isinstance(message, m.CCancelRQ):
            return
        if isinstance(message, m.Response):
            if categorize(message.status) is not Category.PENDING:
                del self._performed.requests[message.message_id_being_responded_to]
        else:
            self._invoked[message.message_id] = (context.context_id, message.command_field)

    # --- bytes in

    def receive(self, data: Buffer) -> list[SessionEvent]:
        """Take bytes from the connection. Views in the result are good until the next call."""
        return [one for one in self.events(data) if one is not None]

    def events(self, data: Buffer) -> Iterator[SessionEvent | None]:
        """`receive`, one event at a time; to be run to its end, `UpperLayer.keep` allowing to do it later.

        None is a pause: a PDU or PDV went by without an event.
        """
        for indication in self.upper.indications(data):
            events = () if indication is None else self._translate((indication,))
            if events:
                yield from events
            else:
                yield None

    def _translate(self, indications: Iterable[Indication]) -> list[SessionEvent]:
        events: list[SessionEvent] = []
        for indication in indications:
            try:
                if type(indication) is Fragment:
                    self._take(indication, events)
                else:
                    self._control(indication, events)
            except RemoteProtocolError as error:
                self._fault(error, events)  # the upper layer indicates nothing after it
        return events

    def _fault(self, error: RemoteProtocolError, events: list[SessionEvent]) -> None:
        """The peer broke the rules of messages: abort as the provider, tell the user once."""
        self.upper.abort(2, error.reason)
        events.append(ProviderAbort(error, error.reason, sent=True))

    def _control(self, indication: Indication, events: list[SessionEvent]) -> None:
        match indication:
            case AssociateIndication(request):
                self.request = request
                events.append(indication)
            case AssociateConfirmation(answer):
                self._confirmed(answer, events)
            case ReleaseIndication():
                if self.upper.state in (State.STA8, State.STA9):
                    self.upper.release_response()
                events.append(ReleaseRequested())
            case ReleaseConfirmation():
                if self.upper.state is State.STA12:  # collision: the acceptor answers last
                    self.upper.release_response()
                events.append(Released())
            case RejectConfirmation() | AbortIndication() | ProviderAbort():
                events.append(indication)
            case _:
                raise AssertionError(f"unexpected indication {indication!r}")

    def _confirmed(self, answer: AAssociateAC, events: list[SessionEvent]) -> None:
        assert self.request is not None
        self.answer = answer
        if room(answer.user_information.maximum_length) <= 0:
            raise RemoteProtocolError(
                f"a maximum length of {answer.user_information.maximum_length} leaves no room for a fragment",
                reason=AbortReason.INVALID_PARAMETER,
            )
        note_unasked(self.request, answer, self.deviations)
        self.contexts = requestor_contexts(
            self.request, answer, self.deviations, lenient_roles=self._lenient_roles
        )
        self._opened(answer.user_information.maximum_length)
        events.append(Established(answer, self.contexts))

    def _opened(self, maximum_length: int | None) -> None:
        self.peer_maximum_length = maximum_length or 0
        self._largest = room(maximum_length)
        assert self.request is not None
        assert self.answer is not None
        window = agreed_window(self.request, self.answer)
        if not self.requestor:
            window = AsyncOperationsWindow(window.performed, window.invoked)
        self.window = window

    def _take(self, fragment: Fragment, events: list[SessionEvent]) -> None:
        """One piece of a PDV: command sets are gathered, data sets handed on."""
        incoming = self._incoming
        if incoming is not None and incoming.complete and not fragment.command:  # the fast path
            if fragment.context_id != incoming.context.context_id:
                raise _protocol("a data set fragment on another context than its command set's")
            if fragment.last:
                self._incoming = None
                if incoming.refusal is not None:
                    self._answer(fragment.context_id, incoming.refusal)
            if not incoming.dropped:
                events.append(DataReceived(fragment.data, fragment.last))
            return
        if not fragment.command:
            raise _protocol("a data set fragment without a command set before it")
        if incoming is None:
            context = self.contexts.get(fragment.context_id)
            if context is None:
                raise _protocol(
                    f"a fragment on presentation context {fragment.context_id}, which is not open"
                )
            self._incoming = incoming = _Incoming(context, bytearray())
            self.messages_begun += 1
        elif incoming.complete:
            raise _protocol("a command fragment where a data set was awaited")
        elif fragment.context_id != incoming.context.context_id:
            raise _protocol("a command set spread over two contexts")
        if len(incoming.command) + len(fragment.data) > self.limits.command_length:
            raise _protocol(f"a command set over {self.limits.command_length} bytes")
        incoming.command += fragment.data
        if fragment.last:
            self._message(incoming, events)

    def _message(self, incoming: _Incoming, events: list[SessionEvent]) -> None:
        """A command set is whole: judge it and tell the user, or answer it with a failure."""
        incoming.complete = True
        context = incoming.context
        try:
            message = self._decoder.decode(incoming.command)
        except m.CommandRefused as refused:
            self._refuse(incoming, refused, events)
            return
        if isinstance(message, m.CCancelRQ):
            incoming.dropped = not checks.cancellable(self._performed.requests, context.context_id, message)
        elif isinstance(message, m.Response):
            self._check_response(context, message)
        else:
            refusal = self._check_request(context, message)
            if refusal is not None:
                elements = c.decode_command(incoming.command, [])
                self._refuse(incoming, m.CommandRefused(*refusal, elements), events)
                return
            self._performed.requests[message.message_id] = (context.context_id, message.command_field)
        strayed = checks.failed_list(message, incoming.command, context.transfer_syntax)
        incoming.command = bytearray()
        if not message.has_dataset:
            self._incoming = None
        if strayed is not None:
            events.append(MessageReceived(context, replace(message, has_dataset=True)))
            events.append(DataReceived(memoryview(strayed), last=True))
        elif not incoming.dropped:
            events.append(MessageReceived(context, message))

    def _check_request(self, context: Context, request: m.Request) -> tuple[int, str] | None:
        refusal = checks.refusal(context, request)
        if refusal is not None:
            return refusal
        refusal = self._performed.refusal(request, self.window.performed, self.deviations)
        if refusal is not None:
            return refusal
        if context.roles_assumed:
            self.deviations.append(Deviation("PS3.7 D.3.3.4", "a request in a role the answer did not grant"))
        return None

    def _check_response(self, context: Context, response: m.Response) -> None:
        request_id = response.message_id_being_responded_to
        invoked = self._invoked.get(request_id)
        if invoked is None:
            raise _protocol(f"{type(response).__name__} to message {request_id}, which is not outstanding")
        context_id, command_field = invoked
        fault = checks.response_fault(command_field, response)
        if fault is not None:
            raise _protocol(fault)
        if context_id != context.context_id:
            raise _protocol(f"{type(response).__name__} on another context than its request")
        if categorize(response.status) is not Category.PENDING:
            del self._invoked[request_id]

    def _refuse(
        self,
        incoming: _Incoming,
        refused: m.CommandRefused,
        events: list[SessionEvent],
    ) -> None:
        """Answer a request with a failure status and let its data set pass by unseen."""
        incoming.command = bytearray()
        incoming.dropped = True
        context = incoming.context
        answer = m.failure_response(refused.elements, refused.status, refused.comment)
        if refused.elements[c.COMMAND_DATA_SET_TYPE] != c.NO_DATA_SET:
            incoming.refusal = answer
        else:
            self._incoming = None
            self._answer(context.context_id, answer)
        field = refused.elements[c.COMMAND_FIELD]
        assert isinstance(field, int)
        events.append(RequestRefused(context, field, refused.status, refused.comment))

    def _answer(self, context_id: int, command: bytes) -> None:
        if not self.established:  # our release is under way: nothing may be sent any more
            return
        if len(self._refusals) >= self.limits.outstanding_requests:
            raise _protocol(f"{len(self._refusals)} refused requests while a data set of ours is on its way")
        self._refusals.append((context_id, command))
        self._flush_refusals()

    def _flush_refusals(self) -> None:
        """Send the failure responses due, unless a data set of ours is under way."""
        if self._outgoing is not None:
            return
        waiting, self._refusals = self._refusals, []
        for context_id, command in waiting:
            self._fragment(context_id, memoryview(command), command=True, last=True)


def _protocol(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason=AbortReason.INVALID_PARAMETER)
