"""One association over one connection, from either side: requests out, requests in, its end.

The session decides what the protocol allows; this class gives it time and tasks. Our own requests are
`Operation`s; the peer's are performed by a `Provider`, each in a task of its own, and a C-STORE's data set
goes to the provider's sink as it arrives. However the association ends, every operation gets the reason,
every task is cancelled, every sink is discarded and the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

from ..dimse import messages as m
from ..dimse.checks import MULTIPLE_RESPONSES
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
from ..dimse.status import RESOURCE_LIMITATION, SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.events import (
    AbortIndication,
    AssociateIndication,
    ConnectionClosed,
    ProviderAbort,
    RejectConfirmation,
)
from ..pdu.fsm import State
from ..pdu.types import AAssociateAC, AAssociateRJ
from ..pdu.upper_layer import Buffer
from .endings import provider_error, rejected
from .errors import AssociationAborted, AssociationEnded, AssociationTimeout
from .operations import Operation
from .performing import Collector, Provider, RunningRequest, StoreTarget, Target
from .timeouts import Timeouts
from .transport import Connection
from .watchdog import Watch, Watchdog

log = logging.getLogger("aiodicom.association")

UNCANCELLABLE = 0.5
"""Seconds an echo or a store that was given up may still be answered in: nothing ends one early."""
PART = 1024 * 1024
"""Bytes of a data set given to the connection at a time (even)."""

Parts = AsyncIterator[tuple[Buffer, bool]]
"""A data set in parts: (buffer, whether it is the last); parts but the last have even length."""


class Association:
    """See the module. Made by `connect` and by the listener; `start` is called before the connection is."""

    def __init__(
        self,
        session: Session,
        *,
        timeouts: Timeouts,
        watch: Watch,
        provider: Provider | None = None,
        identifier_length: int = 4 * 1024 * 1024,
        opening: float | None = None,
        on_indication: Callable[[AssociateIndication], None] | None = None,
        on_ended: Callable[[], None] | None = None,
        on_gone: Callable[[], None] | None = None,
        on_note: Callable[[str, str], None] | None = None,
    ) -> None:
        self.session = session
        self.timeouts = timeouts
        self.identifier_length = identifier_length
        self.connection = Connection(session, self, artim=timeouts.artim, opening=opening)
        self.error: AiodicomError | None = None  # how it ended, unless by release
        self._loop = asyncio.get_running_loop()
        self._provider = provider
        self._on_indication = on_indication
        self._on_ended = on_ended
        self._on_gone = on_gone
        self._on_note = on_note
        self._idle_waiter: asyncio.Future[None] | None = None
        self._open: asyncio.Future[None] = self._loop.create_future()
        self._over = asyncio.Event()
        self._closed = asyncio.Event()
        self._sending = asyncio.Lock()
        self._window: asyncio.Semaphore | None = None
        self._operations: dict[int, Operation] = {}
        self._running: dict[int, RunningRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._target: Target | None = None
        self._notes: dict[str, int] = {}
        self._last_id = 0
        self._watchdog = Watchdog(
            watch,
            self.connection,
            invoking=lambda: bool(self._operations),
            performing=lambda: bool(self._running or self._tasks),
            act=self.abort_now,
        )
        self._collision_timer: asyncio.TimerHandle | None = None

    # --- what it is

    @property
    def contexts(self) -> dict[int, Context]:
        """The accepted presentation contexts by id."""
        return self.session.contexts

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self.session.established and not self._over.is_set()

    @property
    def busy(self) -> bool:
        """Whether an operation runs, in either direction."""
        return bool(self._operations or self._running or self._target or self._tasks)

    def find_contexts(self, abstract_syntax: str) -> list[Context]:
        """The accepted contexts of an abstract syntax on which we are SCU."""
        return [c for c in self.contexts.values() if c.abstract_syntax == abstract_syntax and c.scu]

    # --- its beginning and its end

    async def opened(self) -> None:
        """Wait for the answer to our A-ASSOCIATE-RQ.

        Raises AssociationRejected, AssociationAborted, NotDicomPeer, ConnectionClosed or AssociationTimeout.
        """
        try:
            async with asyncio.timeout(self.timeouts.association):
                await asyncio.shield(self._open)
        except TimeoutError:
            error = AssociationTimeout(
                f"no answer to the A-ASSOCIATE-RQ within {self.timeouts.association} s"
            )
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
                async with self._sending:
                    if not self._over.is_set() and self.session.established:
                        self.session.release()
                        self.connection.flush()
                await self._over.wait()
        except TimeoutError:
            error = AssociationTimeout(f"no answer to the release within {self.timeouts.association} s")
            await self.abort(error=error)
            raise error from None

    async def abort(self, *, error: AiodicomError | None = None) -> None:
        """Abort the association and wait until the connection is closed; `error` is what users are told."""
        self.abort_now(error)
        await self.wait_closed()

    def abort_now(self, error: AiodicomError | None = None, *, source: int = 0, reason: int = 0) -> None:
        """Send the A-ABORT and end everything that runs; the connection closes by itself."""
        if self.session.state not in (State.STA1, State.STA2, State.STA13):
            self.session.abort(source, reason)
            self.connection.flush()
        elif self.session.state is State.STA2:  # the table has no A-ABORT request before a request came
            self.connection.close()
        self._end(error or AssociationAborted("we aborted the association", by_peer=False))

    async def wait_closed(self) -> None:
        """Wait until the connection is gone and every task of the association has ended."""
        await self._closed.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

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
        self.established()

    def reject(self, answer: AAssociateRJ) -> None:
        """Reject the association asked for (acceptor); the peer closes the connection, or ARTIM does."""
        self.session.reject(answer)
        self.connection.flush()
        self._end(rejected(answer))

    def _end(self, error: AiodicomError | None) -> None:
        """Everything that runs on the association ends now. The first reason given stays."""
        if self._over.is_set():
            return
        self.error = error
        self._over.set()
        self._watchdog.stop()
        self._log_notes()
        reason = error or AssociationEnded("the association was released")
        if not self._open.done():
            self._open.set_exception(reason)
            self._open.exception()  # told to whoever asks; not asking is no defect
        target, self._target = self._target, None
        if target is not None:
            target.discard()
        for operation in list(self._operations.values()):
            operation.fail(reason)
        for task in self._tasks:
            task.cancel()
        self._look_idle()
        if self._on_ended is not None:
            self._on_ended()

    # --- requests of ours

    async def invoke(
        self, context: Context, make: Callable[[int], m.Request], data: Buffer | Parts | None = None
    ) -> Operation:
        """Send a request made with the message id it is given, and its data set.

        Waits while as many operations as negotiated are outstanding (PS3.7 D.3.3.3).
        """
        self._check_usable()
        window = self._window
        if window is not None:
            self._let_run()
            await window.acquire()
        try:
            self._check_usable()
            message_id = self._next_id()
            operation = Operation(
                message_id, context.context_id, self.connection.hold_reading, self.connection.release_reading
            )
            request = make(message_id)
            operation.cancellable = request.command_field in MULTIPLE_RESPONSES
            self._operations[message_id] = operation
            if len(self._operations) > 1:  # a held one would keep back the others' responses too
                self._let_run()
        except BaseException:
            if window is not None:
                window.release()
            raise
        operation.on_finished = lambda: self._finished(operation, window)
        self.connection.touch()  # the time it was idle before does not count
        self._watchdog.arm()
        try:
            await self.send(context.context_id, request, data)
        except LocalProtocolError as error:
            operation.abandon()
            operation.fail(error)
            raise
        except BaseException as error:
            operation.abandon()
            if not self.session.outstanding(message_id):  # it never went out: no answer will end it
                operation.fail(error)
            raise
        return operation

    def _let_run(self) -> None:
        for operation in self._operations.values():
            operation.let_run()

    def _finished(self, operation: Operation, window: asyncio.Semaphore | None) -> None:
        self._operations.pop(operation.message_id, None)
        if window is not None:
            window.release()
        self._look_idle()

    async def cancel(self, operation: Operation) -> None:
        """End an operation of ours early, so that the association stays usable; else abort it.

        A find, get or move is sent a C-CANCEL. Whatever it is, its final response is awaited for
        `Timeouts.cancel` and dropped.
        """
        operation.abandon()
        if operation.finished or self._over.is_set():
            return
        limit = self.timeouts.cancel
        if not operation.cancellable and len(self._operations) == 1:
            limit = min(limit, UNCANCELLABLE)
        try:
            async with asyncio.timeout(limit):
                if operation.cancellable and not operation.cancel_sent:
                    operation.cancel_sent = True
                    message = m.CCancelRQ(message_id_being_responded_to=operation.message_id)
                    await self.send(operation.context_id, message)
                await operation.ended.wait()
        except TimeoutError:
            self.abort_now(
                AssociationAborted("the peer did not end a cancelled operation in time", by_peer=False)
            )
        except asyncio.CancelledError:
            self.abort_now()
            raise
        except AiodicomError as error:
            log.debug("the association ended while an operation was cancelled: %s", error)

    async def settle(self) -> None:
        """Cancel every operation of ours that runs, and wait for their ends."""
        while self._operations and not self._over.is_set():
            await self.cancel(next(iter(self._operations.values())))

    def _next_id(self) -> int:
        """A message id that is not in use, 1 to 65535."""
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._operations:
                return self._last_id

    def _check_usable(self) -> None:
        if self._over.is_set():
            raise self.error or AssociationEnded("the association was released")
        if not self.session.established:
            raise AssociationEnded("the association is being released")

    # --- messages out

    async def send(self, context_id: int, message: m.Message, data: Buffer | Parts | None = None) -> None:
        """Send one message whole; messages wait for each other's data sets.

        Cancelled or failing in the middle of a data set it aborts the association: half a message cannot
        be taken back.
        """
        async with self._sending:
            self._check_usable()
            session, connection = self.session, self.connection
            session.send(context_id, with_dataset(message, data is not None))
            if data is None:
                connection.flush()
            elif isinstance(data, bytes | bytearray | memoryview) and len(data) <= PART:
                session.send_data(data, last=True)
                connection.flush()
            elif isinstance(data, bytes | bytearray | memoryview):
                await self._send_parts(parts_of(data))
            else:
                await self._send_parts(data)
            await connection.drain()

    async def _send_parts(self, parts: Parts) -> None:
        session, connection = self.session, self.connection
        try:
            async for part, last in parts:
                self._check_usable()
                session.send_data(part, last)
                connection.flush()
                await connection.drain()
        except BaseException as error:
            if not self._over.is_set():
                self.abort_now(
                    AssociationAborted(f"sending stopped in the middle of a data set: {error}", by_peer=False)
                )
            raise
        finally:  # now, not when the traceback that holds it is forgotten: a file may be open in there
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    async def respond(self, context_id: int, response: m.Response, data: Buffer | None = None) -> None:
        """Answer a request of the peer."""
        await self.send(context_id, response, data)

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
        except Exception:  # out of here it would drop the connection without a word to the peer
            log.exception("a defect in handling %s", type(event).__name__)
            self.abort_now(AssociationAborted("an internal error here", by_peer=False))

    def _data(self, event: DataReceived) -> None:
        target = self._target
        if target is None:
            return
        target.write(event.data)
        if event.last:
            self._target = None
            target.finish()

    def on_read(self) -> None:
        """A read has been dealt with: watch the PDU that has begun, if one has."""
        self._watchdog.arm_for_pdu()

    def on_held(self) -> None:
        """The peer does not read what waits for it: watch how long."""
        self._watchdog.arm()

    def on_closed(self, error: Exception | None) -> None:
        """The transport is gone."""
        if self._collision_timer is not None:
            self._collision_timer.cancel()
        if self.connection.opening_missed:
            self._end(AssociationTimeout("closed a connection: no whole A-ASSOCIATE-RQ came in time"))
        else:
            self._end(AssociationAborted("the connection closed", by_peer=True))
        self._closed.set()
        if self._on_gone is not None:
            self._on_gone()

    def _control(self, event: SessionEvent) -> None:
        match event:
            case AssociateIndication():
                if self._on_indication is not None:
                    self._on_indication(event)
            case Established():
                self.established()
                if not self._open.done():
                    self._open.set_result(None)
            case RejectConfirmation(answer):
                self._end(rejected(answer))
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
            case _:
                raise AssertionError(f"unexpected event {event!r}")

    def note(self, kind: str, message: str) -> None:
        """Log what a peer can repeat at will: the first of a kind, and at the end how many there were."""
        if self._on_note is not None:
            self._on_note(kind, message)
            return
        self._notes[kind] = self._notes.get(kind, 0) + 1
        if self._notes[kind] == 1:
            log.warning("%s: %s", kind, message)

    def _log_notes(self) -> None:
        for kind, count in self._notes.items():
            if count > 1:
                log.warning("%s on this association: %d", kind, count)

    def _watch_collision(self) -> None:
        """Table 9-10 waits for the peer's half of a release collision without a timer; we do not for ever."""
        limit = self.timeouts.association
        self._collision_timer = self._loop.call_later(
            self.timeouts.artim if limit is None else limit, self.abort_now
        )

    def established(self) -> None:
        """The association is open, on either side: how many operations may overlap is known now."""
        invoked = self.session.window.invoked
        self._window = asyncio.Semaphore(invoked) if invoked else None
        self._watchdog.arm()

    # --- messages in

    def _message(self, context: Context, message: m.Message) -> None:
        if isinstance(message, m.CCancelRQ):
            running = self._running.get(message.message_id_being_responded_to)
            if running is not None:
                running.cancel()
        elif isinstance(message, m.Response):
            operation = self._operations[message.message_id_being_responded_to]
            if message.has_dataset:
                self._target = Collector(
                    self.identifier_length, lambda data: self._deliver(operation, message, data)
                )
            else:
                operation.deliver(message, None)
        elif isinstance(message, m.CStoreRQ):
            self._store(context, message)
        elif message.has_dataset:
            self._target = Collector(
                self.identifier_length, lambda data: self._perform(context, message, data)
            )
        else:
            self._perform(context, message, None)

    def _deliver(self, operation: Operation, response: m.Response, data: bytes | None) -> None:
        if data is None:
            self.abort_now(
                AssociationAborted(
                    f"a response's data set over {self.identifier_length} bytes", by_peer=False
                )
            )
        else:
            operation.deliver(response, data)

    def _store(self, context: Context, request: m.CStoreRQ) -> None:
        target = StoreTarget(self, context, request)
        if self._provider is None:
            target.refuse(SOP_CLASS_NOT_SUPPORTED, "storing is not offered here")
        else:
            target.open(self._provider)
        self._target = target

    def _perform(self, context: Context, request: m.Request, data: bytes | None) -> None:
        """Run a request in a task of its own. `data` is None too when its data set was over the limit."""
        running = RunningRequest(self, context, request)
        self._running[request.message_id] = running
        if self._provider is None:
            self.spawn(running.answer(UNRECOGNIZED_OPERATION, "not offered here"))
        elif request.has_dataset and data is None:
            self.spawn(running.answer(RESOURCE_LIMITATION, f"data set over {self.identifier_length} bytes"))
        else:
            running.task = self.spawn(running.run(self._provider, data))

    def request_done(self, running: RunningRequest) -> None:
        """A request of the peer has had its final response; its message id may be in use again."""
        message_id = running.request.message_id
        if self._running.get(message_id) is running:
            del self._running[message_id]
        self._look_idle()
        self._watchdog.arm()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the association lives."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        if self._over.is_set():
            task.cancel()
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_idle()
        self._watchdog.arm()
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            if not isinstance(error, AiodicomError):
                log.error("a task of an association failed", exc_info=error)
            self.abort_now(AssociationAborted("an internal error here", by_peer=False))


def with_dataset(message: m.Message, present: bool) -> m.Message:
    """The message with a true Command Data Set Type. Raises LocalProtocolError where it needs a data set."""
    if message.has_dataset == present:
        return message
    if not present and isinstance(message, m.CStoreRQ | m.CFindRQ | m.CGetRQ | m.CMoveRQ | m.NSetRQ):
        raise LocalProtocolError(f"{type(message).__name__} needs a data set")
    return replace(message, has_dataset=present)


async def parts_of(data: Buffer) -> Parts:
    """A data set in memory in parts, so that a slow peer holds us and not our write buffer."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), PART):
        yield view[start : start + PART], start + PART >= len(view)
