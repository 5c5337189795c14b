"""One association over one connection, from either side: its beginning, what runs on it, its end.

The session decides what the protocol allows; this class gives it time and tasks. Our own requests are in
`invoking`, the peer's in `performing`, and a C-STORE's data set goes to the provider's sink as it arrives.
However the association ends, every operation gets the reason, every task is cancelled, every sink is
discarded and the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.events import (
    DataReceived,
    Established,
    MessageReceived,
    Released,
    ReleaseRequested,
    RequestRefused,
    SessionEvent,
)
from ..dimse.session import Session
from ..pdu.errors import AiodicomError, ConnectionClosed
from ..pdu.events import AbortIndication, AssociateIndication, ProviderAbort, RejectConfirmation
from ..pdu.fsm import State
from ..pdu.types import AAssociateAC, AAssociateRJ
from ..pdu.upper_layer import Buffer
from .endings import provider_error, rejected
from .errors import AssociationAborted, AssociationEnded, AssociationTimeout, traced
from .gathered import Gathered
from .invoking import Invoking
from .observing import Observer
from .operations import Operation
from .performing import Collector, DatasetTarget, Performing, Provider
from .sending import Parts, Sender
from .tap import make_tap
from .tasks import Tasks
from .timeouts import Timeouts
from .transport import Connection
from .watchdog import Watch, Watchdog

log: logging.Logger = logging.getLogger("aiodicom.association")


class Acceptor(Protocol):
    """Who accepted the connection of an association; nothing here may block."""

    def on_indication(self, event: AssociateIndication) -> None:
        """The peer asks for the association: `accept` or `reject` is called, now or later."""

    def on_ended(self) -> None:
        """The association is over; its connection may still be closing."""

    def on_gone(self) -> None:
        """The connection is gone."""

    def on_note(self, kind: str, message: str) -> None:
        """Log what a peer can repeat at will."""

    def on_answered(self, command_field: int, status: int) -> None:
        """A request of the peer, of this kind, has its final response."""


class Association:
    """See the module. Made by `connect` and by the listener; `start` is called before the connection is.

    `address` is the peer's, `origin` what it counts as where so much is for an address.
    """

    def __init__(
        self,
        session: Session,
        *,
        address: str,
        origin: str = "",
        timeouts: Timeouts,
        watch: Watch,
        provider: Provider | None = None,
        identifier_length: int = 4 * 1024 * 1024,
        opening: float | None = None,
        acceptor: Acceptor | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.session = session
        self.address: str = address
        self.origin: str = origin or address
        self._port = ""
        self.timeouts = timeouts
        self.connection: Connection = Connection(session, self, artim=timeouts.artim, opening=opening)
        self.connection.tap = make_tap(observer, peer=self._whom, requestor=session.requestor)
        self.error: AiodicomError | None = None  # how it ended, unless by release
        self._loop = asyncio.get_running_loop()
        self._identifier_length = identifier_length
        self._acceptor = acceptor
        self._idle_waiter: asyncio.Future[None] | None = None
        self._open: asyncio.Future[None] = self._loop.create_future()
        self._over = asyncio.Event()
        self._closed = asyncio.Event()
        self._tasks = Tasks(failed=self._task_failed, changed=self._changed)
        self._sender = Sender(self, None if acceptor is None else acceptor.on_answered)
        self._invoking = Invoking(self, self._sender, cancel=timeouts.cancel, changed=self._changed)
        self._performing = Performing(
            self, provider, self._tasks, identifier_length=identifier_length, changed=self._changed
        )
        self._target: DatasetTarget | None = None
        self._gathered = Gathered()
        self._notes: dict[str, int] = {}
        self._watchdog = Watchdog(
            watch,
            self.connection,
            invoking=lambda: bool(self._invoking.operations),
            performing=lambda: bool(self._performing.running or self._tasks),
            act=self.abort_now,
        )
        self._collision_timer: asyncio.TimerHandle | None = None

    # --- what it is

    @property
    def peer(self) -> str:
        """The peer as `TITLE@address`, as far as it is known."""
        request = self.session.request
        title = ""
        if request is not None:
            title = request.called_ae if self.session.requestor else request.calling_ae
        return f"{title}@{self.address}" if title else self.address

    def _whom(self) -> str:
        """The peer for observers: of one that came to us, the port it came from, too."""
        if self.session.requestor:
            return self.peer
        if not self._port and self.connection.connected:
            name = self.connection.transport.get_extra_info("peername")
            self._port = f":{name[1]}" if isinstance(name, tuple) else ""
        return self.peer + self._port

    @property
    def contexts(self) -> dict[int, Context]:
        """The accepted presentation contexts by id."""
        return self.session.contexts

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self.session.established and not self._over.is_set()

    @property
    def over(self) -> bool:
        """Whether it has ended, however it did."""
        return self._over.is_set()

    @property
    def busy(self) -> bool:
        """Whether an operation runs, in either direction."""
        return bool(self._invoking.operations or self._performing.running or self._target or self._tasks)

    def find_contexts(self, abstract_syntax: str) -> list[Context]:
        """The accepted contexts of an abstract syntax on which we are SCU."""
        return [c for c in self.contexts.values() if c.abstract_syntax == abstract_syntax and c.scu]

    def check_usable(self) -> None:
        """Raise what ended the association, or AssociationEnded when it was or is being released."""
        if self._over.is_set():
            raise self.error or AssociationEnded("the association was released").at(self.peer)
        if not self.session.established:
            raise AssociationEnded("the association is being released").at(self.peer)

    @contextmanager
    def patient(self, inactivity: float | None) -> Iterator[None]:
        """Inside, nothing may move for so long: the peer fetches what it is asked for from somewhere slow."""
        before = self._watchdog.watch
        self._watchdog.watch = replace(before, inactivity=inactivity)
        try:
            yield
        finally:
            self._watchdog.watch = before
            self._watchdog.arm()

    def hold(self, name: Hashable, on: bool) -> None:
        """Whether somebody who is given what comes has no room for more, and gets it elsewhere than here."""
        if on:
            self.connection.reading.full(name, firm=True)
        else:
            self.connection.reading.room(name)

    def touch(self) -> None:
        """What the peer does elsewhere counts as if something had moved here."""
        self.connection.last_activity = self._loop.time()

    # --- its beginning and its end

    async def opened(self) -> None:
        """Wait for the answer to our A-ASSOCIATE-RQ.

        Raises AssociationRejected, AssociationAborted, NotDicomPeer, ConnectionClosed or AssociationTimeout.
        """
        try:
            async with asyncio.timeout(self.timeouts.association):
                await asyncio.shield(self._open)
        except TimeoutError:
            limit = self.timeouts.association
            text = f"no answer to the A-ASSOCIATE-RQ within {limit} s"
            error = AssociationTimeout(text, limit="association", seconds=limit)
            await self.abort(error=error)
            raise error from None

    async def release(self) -> None:
        """Release the association and wait until the connection is closed; what still runs is cancelled.

        Raises AssociationTimeout when the peer does not answer (the association is then aborted), and what
        ended the association if that was no release. A peer that hangs up instead of answering has done what
        was asked, if not in order: DCMTK and Orthanc can; `error` tells. Cancelled, it aborts.
        """
        try:
            if not self._over.is_set():
                await self._release()
            await self.wait_closed()
        except asyncio.CancelledError:
            self.abort_now()
            await self.wait_closed()
            raise
        if self.error is not None and not isinstance(self.error, ConnectionClosed):
            raise self.error

    async def _release(self) -> None:
        try:
            await self.settle()
            async with asyncio.timeout(self.timeouts.association):
                async with self._sender.lock:
                    if not self._over.is_set() and self.session.established:
                        self.session.release()
                        self.connection.flush()
                await self._over.wait()
        except TimeoutError:
            limit = self.timeouts.association
            text = f"no answer to the release within {limit} s"
            error = AssociationTimeout(text, limit="association", seconds=limit)
            await self.abort(error=error)
            raise error from None

    async def abort(self, *, error: AiodicomError | None = None) -> None:
        """Abort the association and wait until the connection is closed; `error` is what users are told."""
        self.abort_now(error)
        await self.wait_closed()

    def abort_now(self, error: AiodicomError | None = None) -> None:
        """Send the A-ABORT and end everything that runs; the connection closes by itself."""
        if self.session.state not in (State.STA1, State.STA2, State.STA13):
            self.session.abort()
            self.connection.flush()
        elif self.session.state is State.STA2:  # the table has no A-ABORT request before a request came
            self.connection.close()
        self._end(error or AssociationAborted("we aborted the association", by_peer=False))

    async def wait_closed(self) -> None:
        """Wait until the connection is gone and every task of the association has ended."""
        await self._closed.wait()
        await self._tasks.wait()

    async def wait_gone(self) -> None:
        """`wait_closed` for one whose opening failed: perhaps it never had a connection."""
        if self.connection.connected:
            await self.wait_closed()

    async def wait_over(self) -> None:
        """Wait until the association has ended, however it did."""
        await self._over.wait()

    async def wait_idle(self) -> None:
        """Wait until nothing runs on the association, or it is over."""
        while self.busy and not self._over.is_set():
            if self._idle_waiter is None:
                self._idle_waiter = self._loop.create_future()
            await asyncio.shield(self._idle_waiter)

    def _look_idle(self) -> None:
        if self._idle_waiter is not None and (self._over.is_set() or not self.busy):
            self._idle_waiter.set_result(None)
            self._idle_waiter = None

    def accept(self, answer: AAssociateAC) -> None:
        """Accept the association asked for (acceptor). Raises LocalProtocolError."""
        self.session.accept(answer)
        self.connection.flush()
        self._established()

    def reject(self, answer: AAssociateRJ) -> None:
        """Reject the association asked for (acceptor); the peer closes the connection, or ARTIM does."""
        self.session.reject(answer)
        self.connection.flush()
        self._end(rejected(answer, self.session.request))

    def _end(self, error: AiodicomError | None) -> None:
        """Everything that runs on the association ends now. The first reason given stays."""
        if self._over.is_set():
            return
        self.error = error if error is None else error.at(self.peer)
        self._over.set()
        self._watchdog.stop()
        for kind, count in self._notes.items():
            if count > 1:
                log.warning("%s on this association: %d", kind, count)
        reason = error or AssociationEnded("the association was released").at(self.peer)
        if not self._open.done():
            self._open.set_exception(reason)
            self._open.exception()  # told to whoever asks; not asking is no defect
        target, self._target = self._target, None
        if target is not None:
            self._gathered.clear()
            target.discard()
        self._invoking.end(reason)
        self._tasks.end()
        self.connection.reading.clear()
        self._look_idle()
        if self._acceptor is not None:
            self._acceptor.on_ended()

    # --- requests of ours, answers of ours

    async def invoke(
        self, context: Context, make: Callable[[int], m.Request], data: Buffer | Parts | None = None
    ) -> Operation:
        """Send a request made with the message id it is given, and its data set.

        Waits while as many operations as negotiated are outstanding (PS3.7 D.3.3.3).
        """
        return await self._invoking.invoke(context, make, data)

    async def cancel(self, operation: Operation) -> None:
        """End an operation of ours early, so that the association stays usable; else abort it.

        A find, get or move is sent a C-CANCEL. Whatever it is, its final response is awaited for
        `Timeouts.cancel` and dropped.
        """
        await self._invoking.cancel(operation)

    async def ask_to_end(self, operation: Operation) -> None:
        """Send a C-CANCEL for a find, get or move that goes on being listened to until its final response."""
        await self._invoking.ask_to_end(operation)

    async def settle(self) -> None:
        """Cancel every operation of ours that runs, and wait for their ends."""
        await self._invoking.settle()

    async def respond(self, context_id: int, response: m.Response, data: Buffer | None = None) -> None:
        """Answer a request of the peer."""
        await self._sender.send(context_id, response, data)

    async def respond_each(self, context_id: int, response: m.Response, datasets: Sequence[bytes]) -> None:
        """Answer a request of the peer with the same pending response and each of these data sets."""
        await self._sender.send_each(context_id, response, datasets)

    def note(self, kind: str, message: str) -> None:
        """Log what a peer can repeat at will: the first of a kind, and at the end how many there were."""
        if self._acceptor is not None:
            self._acceptor.on_note(kind, message)
            return
        self._notes[kind] = self._notes.get(kind, 0) + 1
        if self._notes[kind] == 1:
            log.warning("%s: %s", kind, message)

    # --- what the connection reports

    def on_event(self, event: SessionEvent) -> None:
        """Dispatch a session event; called within the read that brought it."""
        if self._over.is_set():  # ended by an earlier event of the same read: nobody waits for this one
            return
        try:
            if type(event) is DataReceived:
                self._data(event)
            elif type(event) is MessageReceived:
                self._message(event.context, event.message)
            else:
                self._control(event)
        except Exception as error:  # noqa: BLE001 - out of here it would drop the connection without a word
            self.note("a defect here", f"handling {type(event).__name__} failed: {traced(error)}")
            self.abort_now(AssociationAborted("an internal error here", by_peer=False))

    def _data(self, event: DataReceived) -> None:
        target = self._target
        if target is None:
            return
        self._gathered.add(event.data, target.write)
        if event.last:
            self._gathered.flush(target.write)
            self._target = None
            target.finish()

    def on_read(self) -> None:
        """A read has been dealt with: watch the PDU that has begun, if one has."""
        if self._target is not None:
            self._gathered.flush(self._target.write)
        self._watchdog.arm_for_pdu()

    def on_held(self) -> None:
        """The peer does not read what waits for it: watch how long."""
        self._watchdog.arm()

    def on_overflow(self, text: str) -> None:
        """The peer lets more wait for it than may."""
        self._end(AssociationAborted(text, by_peer=False))

    def on_closed(self, error: Exception | None) -> None:
        """The transport is gone."""
        if self._collision_timer is not None:
            self._collision_timer.cancel()
        if self.connection.opening_missed:
            text = "closed a connection: no whole A-ASSOCIATE-RQ came in time"
            self._end(AssociationTimeout(text, limit="artim", seconds=self.timeouts.artim))
        else:
            self._end(AssociationAborted("the connection closed", by_peer=True))
        self._closed.set()
        if self.connection.tap is not None:
            self.connection.tap.closed(self.error)
        if self._acceptor is not None:
            self._acceptor.on_gone()

    def _control(self, event: SessionEvent) -> None:
        match event:
            case AssociateIndication():
                if self._acceptor is not None:
                    self._acceptor.on_indication(event)
            case Established():
                self._established()
                if not self._open.done():
                    self._open.set_result(None)
            case RejectConfirmation(answer):
                self._end(rejected(answer, self.session.request))
            case ReleaseRequested() | Released():
                if self.session.state in (State.STA10, State.STA11):
                    self._watch_collision()
                self._end(None)
            case AbortIndication(source, reason):
                self._end(AssociationAborted.received(source, reason))
            case ProviderAbort(error=error):
                unanswered = self.session.requestor and self.session.answer is None
                self._end(provider_error(error, self.connection, unanswered=unanswered))
            case RequestRefused():
                self.note("requests refused", f"{event.command_field:04X}H, {event.comment}")
                if self._acceptor is not None:
                    self._acceptor.on_answered(event.command_field, event.status)
            case _:
                raise AssertionError(f"unexpected event {event!r}")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the association lives."""
        self._tasks.start(work)

    def _watch_collision(self) -> None:
        """Table 9-10 waits for the peer's half of a release collision without a timer; we do not for ever."""
        limit = self.timeouts.artim if self.timeouts.association is None else self.timeouts.association
        self._collision_timer = self._loop.call_later(limit, self.abort_now)

    def _established(self) -> None:
        """The association is open, on either side: how many operations may overlap is known now."""
        self._invoking.established(self.session.window.invoked)
        self._watchdog.arm()

    def _changed(self) -> None:
        """A task, an operation or a request has begun or ended."""
        self._look_idle()
        self._watchdog.arm()

    def _task_failed(self, error: BaseException) -> None:
        if isinstance(error, AiodicomError) and not self.usable:
            return  # nobody is left to answer
        if not isinstance(error, AiodicomError):
            self.note("a defect here", f"a task of an association failed: {traced(error)}")
        self.abort_now(AssociationAborted("an internal error here", by_peer=False))

    # --- messages in

    def _message(self, context: Context, message: m.Message) -> None:
        if isinstance(message, m.CCancelRQ):
            self._performing.cancel(message.message_id_being_responded_to)
        elif isinstance(message, m.Request):
            self._target = self._performing.target(context, message)
        elif isinstance(message, m.Response):
            operation = self._invoking.operations[message.message_id_being_responded_to]
            if message.has_dataset:
                self._target = Collector(
                    self._identifier_length, lambda data: self._deliver(operation, message, data)
                )
            else:
                operation.deliver(message, None)

    def _deliver(self, operation: Operation, response: m.Response, data: bytes | None) -> None:
        if data is None:
            text = f"a response's data set over {self._identifier_length} bytes"
            self.abort_now(AssociationAborted(text, by_peer=False))
        else:
            operation.deliver(response, data)
