"""Our own requests: message ids, the window of outstanding ones, and ending one early."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ..dimse import messages as m
from ..dimse.checks import MULTIPLE_RESPONSES
from ..dimse.contexts import Context
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.upper_layer import Buffer
from .errors import AssociationAborted
from .operations import Operation
from .sending import Line, Parts, Sender

log: logging.Logger = logging.getLogger("aiodicom.association")

UNCANCELLABLE = 0.5
"""Seconds an echo or a store that was given up may still be answered in: nothing ends one early."""


class Invoking:
    """The operations of ours that run on one association; `changed` is called when one begins or ends."""

    def __init__(
        self, line: Line, sender: Sender, *, cancel: float | None, changed: Callable[[], None]
    ) -> None:
        self._line = line
        self._sender = sender
        self._reading = line.connection.reading
        self._cancel_limit = cancel
        self._changed = changed
        self._window: asyncio.Semaphore | None = None
        self._last_id = 0
        self.operations: dict[int, Operation] = {}

    def established(self, window: int) -> None:
        """How many operations may overlap is known now; 0 is no limit (PS3.7 D.3.3.3)."""
        self._window = asyncio.Semaphore(window) if window else None

    def end(self, reason: AiodicomError) -> None:
        """The association is over, and so is every operation."""
        for operation in list(self.operations.values()):
            operation.fail(reason)

    async def invoke(
        self, context: Context, make: Callable[[int], m.Request], data: Buffer | Parts | None
    ) -> Operation:
        """Send a request made with the message id it is given, and its data set."""
        self._line.check_usable()
        window = self._window
        if window is not None:
            await self._acquire(window)
        try:
            operation, request = self._begin(context, make)
        except BaseException:
            if window is not None:
                window.release()
            raise
        operation.on_finished = lambda: self._finished(operation, window)
        self._line.connection.touch()  # the time it was idle before does not count
        self._changed()
        try:
            await self._sender.send(context.context_id, request, data)
        except LocalProtocolError as error:
            operation.abandon()
            operation.fail(error)
            raise
        except BaseException as error:
            operation.abandon()
            if not self._line.session.outstanding(operation.message_id):  # it never went out
                operation.fail(error)
            raise
        return operation

    async def _acquire(self, window: asyncio.Semaphore) -> None:
        waiter = object()
        self._reading.waits(waiter)
        try:
            await window.acquire()
        finally:
            self._reading.goes_on(waiter)

    def _begin(self, context: Context, make: Callable[[int], m.Request]) -> tuple[Operation, m.Request]:
        self._line.check_usable()
        message_id = self._next_id()
        request = make(message_id)
        operation = Operation(message_id, context.context_id, self._reading)
        operation.cancellable = request.command_field in MULTIPLE_RESPONSES
        self.operations[message_id] = operation
        return operation, request

    def _finished(self, operation: Operation, window: asyncio.Semaphore | None) -> None:
        self.operations.pop(operation.message_id, None)
        if window is not None:
            window.release()
        self._changed()

    def _next_id(self) -> int:
        """A message id that is not in use, 1 to 65535."""
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self.operations:
                return self._last_id

    async def cancel(self, operation: Operation) -> None:
        """See `Association.cancel`."""
        operation.abandon()
        if operation.finished:
            return
        limit = self._cancel_limit
        if not operation.cancellable and len(self.operations) == 1:
            limit = UNCANCELLABLE if limit is None else min(limit, UNCANCELLABLE)
        waiter = object()
        self._reading.waits(waiter)
        operation.ending += 1
        try:
            async with asyncio.timeout(limit):
                await self.ask_to_end(operation)
                await operation.ended.wait()
        except TimeoutError:
            text = "the peer did not end a cancelled operation in time"
            self._line.abort_now(AssociationAborted(text, by_peer=False))
        except asyncio.CancelledError:
            if operation.ending == 1:  # else another waits for the same: a client that is left, for one
                self._line.abort_now()
            raise
        except AiodicomError as error:
            log.debug("the association ended while an operation was cancelled: %s", error)
        finally:
            operation.ending -= 1
            self._reading.goes_on(waiter)

    async def ask_to_end(self, operation: Operation) -> None:
        """See `Association.ask_to_end`."""
        if operation.finished or operation.cancel_sent or not operation.cancellable:
            return
        operation.cancel_sent = True
        message = m.CCancelRQ(message_id_being_responded_to=operation.message_id)
        try:
            await self._sender.send(operation.context_id, message)
        except AiodicomError as error:
            log.debug("the association ended while an operation was cancelled: %s", error)

    async def settle(self) -> None:
        """Cancel every operation that runs, and wait for their ends."""
        while self.operations:
            await self.cancel(next(iter(self.operations.values())))
