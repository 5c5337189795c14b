"""The peer's requests: what a provider is, and how its work is answered.

The provider's work is a task that a C-CANCEL may cancel; the answer to a request is never given by that
task's end alone: what follows it, also when it never began, sees that one final response goes out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Protocol

from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.session import Session
from ..dimse.status import (
    CANCEL,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SOP_CLASS_NOT_SUPPORTED,
    UNRECOGNIZED_OPERATION,
    Category,
    categorize,
)
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.upper_layer import Buffer
from .errors import traced
from .operations import Operation
from .sending import Parts
from .tasks import Tasks
from .transport import Connection

log: logging.Logger = logging.getLogger("aiodicom.provider")


class Refused(AiodicomError):
    """Raised by a provider to answer a request with a failure status."""

    def __init__(self, status: int, comment: str = "", offending_elements: tuple[int, ...] = ()) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.offending_elements = offending_elements


def out_of_resources(error: OSError) -> StoreOutcome:
    """What an object is answered with that this side failed to keep: the system's words, or what it was."""
    why = error.strerror or type(error).__name__
    return StoreOutcome(OUT_OF_RESOURCES, f"out of resources: {why}"[:64])


class Performed(Protocol):
    """The association a request came on, as its provider may use it."""

    session: Session
    connection: Connection
    address: str
    origin: str
    error: AiodicomError | None

    @property
    def usable(self) -> bool:
        """Whether a response can be sent."""

    @property
    def contexts(self) -> Mapping[int, Context]:
        """The accepted presentation contexts by id."""

    async def respond(self, context_id: int, response: m.Response, data: Buffer | None = None) -> None:
        """Send a response."""

    async def respond_each(self, context_id: int, response: m.Response, datasets: Sequence[bytes]) -> None:
        """Send the same pending response with each of these data sets."""

    async def invoke(
        self, context: Context, make: Callable[[int], m.Request], data: Buffer | Parts | None = None
    ) -> Operation:
        """Send a request of ours on it: a sub-operation."""

    def abort_now(self, error: AiodicomError | None = None) -> None:
        """End it with an A-ABORT."""

    def note(self, kind: str, message: str) -> None:
        """Log what a peer can repeat at will."""

    def hold(self, name: Hashable, on: bool) -> None:
        """Whether somebody who is given what comes has no room for more."""


class Request:
    """A request of the peer: on which association and context, from whom, and the message itself.

    `cancelled`: the peer sent C-CANCEL. It cancels the provider's work; a provider that must not be
    cancelled, and looks at `cancelled` itself, says what is to be done instead by setting `on_cancel`.
    """

    def __init__(self, association: Performed, context: Context, message: m.Request) -> None:
        self.association = association
        self.context = context
        self.message = message
        self.cancelled: bool = False
        self.on_cancel: Callable[[], object] | None = None
        self._answered = False
        self._outcome: Refused | None = None  # what the work ended with, unless it was cancelled

    @property
    def calling_ae(self) -> str:
        """The AE title the peer calls itself by."""
        request = self.association.session.request
        return "" if request is None else request.calling_ae

    @property
    def called_ae(self) -> str:
        """The AE title the peer calls us by."""
        request = self.association.session.request
        return "" if request is None else request.called_ae

    @property
    def address(self) -> str:
        """The address the peer connects from."""
        return self.association.address

    @property
    def origin(self) -> str:
        """What that counts as where so much is for an address: of IPv6 its network."""
        return self.association.origin

    async def respond(self, response: m.Response, data: Buffer | None = None) -> None:
        """Send a response; a final one ends the request. Raises LocalProtocolError when it cannot be sent."""
        final = categorize(response.status) is not Category.PENDING
        self._answered = self._answered or final
        try:
            await self.association.respond(self.context.context_id, response, data)
        except LocalProtocolError:  # nothing went out
            self._answered = self._answered and not final
            raise

    async def respond_each(self, response: m.Response, datasets: Sequence[bytes]) -> None:
        """Send a pending response once with each data set. Raises LocalProtocolError for a final one."""
        await self.association.respond_each(self.context.context_id, response, datasets)

    async def answer(self, status: int, comment: str = "", offending_elements: tuple[int, ...] = ()) -> None:
        """Send a final response without a data set, unless there was one."""
        if self._answered or not self.association.usable:
            return
        response = m.make_response(
            self.message, status, error_comment=comment[:64] or None, offending_elements=offending_elements
        )
        await self.respond(response)

    def cancel(self) -> None:
        """A C-CANCEL has come; after the final response it is too late."""
        if not (self.cancelled or self._answered):
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()

    def perform(self, provider: Provider, data: bytes | None, tasks: Tasks, done: Callable[[], None]) -> None:
        """Start the provider's work; `done` is called when the request has its final response."""
        work = tasks.start(self._work(provider, data), lambda: self._after(tasks, done))
        self.on_cancel = work.cancel

    def refuse(self, status: int, comment: str, tasks: Tasks, done: Callable[[], None]) -> None:
        """Answer with a failure without asking the provider."""
        tasks.start(self.answer(status, comment), done)

    async def _work(self, provider: Provider, data: bytes | None) -> None:
        name = type(self.message).__name__
        try:
            await provider.perform(self, data)
            if not self._answered:
                self._note(f"{name} was not answered by its provider")
        except Refused as refused:
            self._outcome = refused
        except AiodicomError as error:
            if self.association.usable:  # else the association is over and there is nobody to answer
                self._note(f"{name} failed: {error}")
        except asyncio.CancelledError:
            if not self.cancelled and self.association.usable:
                self._note(f"{name} failed: something it waited for was cancelled")
            raise
        except Exception as error:
            log.debug("performing %s failed", name, exc_info=error)
            self._note(f"performing {name} failed: {traced(error)}")

    def _note(self, text: str) -> None:
        self.association.note("a request failed here", text)

    def _after(self, tasks: Tasks, done: Callable[[], None]) -> None:
        """The work has ended, or never began: what has not been answered is answered now."""
        if self._answered or not self.association.usable:
            done()
        elif self._outcome is not None:
            refused = self._outcome
            answer = self.answer(refused.status, refused.comment, refused.offending_elements)
            tasks.start(answer, done)
        elif self.cancelled:
            tasks.start(self.answer(CANCEL), done)
        else:
            tasks.start(self.answer(PROCESSING_FAILURE, "processing failure"), done)


class Provider(Protocol):
    """Performs requests of the peer."""

    def store(self, request: Request) -> StoreSink:
        """The sink for a C-STORE, chosen before its data set arrives. Raises Refused."""

    async def perform(self, request: Request, data: bytes | None) -> None:
        """Any other request: `data` is its data set. Answers by `request.respond`. Raises Refused."""


class DatasetTarget(Protocol):
    """Where the data set of the message being received goes."""

    def write(self, data: memoryview, /) -> None:
        """The next part: a view that is good until the call returns."""

    def finish(self) -> None:
        """The data set is whole."""

    def discard(self) -> None:
        """It will never be whole."""


class Collector:
    """Gathers a small data set; one over `limit` is dropped and told as None."""

    def __init__(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        self._limit = limit
        self._done = done
        self._data: bytearray | None = bytearray()

    def write(self, data: memoryview, /) -> None:
        """Keep the next part while there is room."""
        if self._data is not None:
            if len(self._data) + len(data) > self._limit:
                self._data = None
            else:
                self._data += data

    def finish(self) -> None:
        """Hand on what was gathered."""
        self._done(None if self._data is None else bytes(self._data))

    def discard(self) -> None:
        """Forget it."""
        self._data = None


class StoreTarget:
    """Feeds a C-STORE's sink and answers the request: success only after the sink's commit."""

    def __init__(self, request: Request, provider: Provider | None, tasks: Tasks) -> None:
        self._request = request
        self._tasks = tasks
        self._sink: StoreSink | None = None
        self._refusal: StoreOutcome | None = None
        self._full: deque[Awaitable[None]] = deque()  # what the sink waits for, one after the other
        self._making_room: asyncio.Task[None] | None = None
        if provider is None:
            self._refuse(SOP_CLASS_NOT_SUPPORTED, "storing is not offered here")
            return
        try:
            self._sink = provider.store(request)
        except Refused as refused:
            self._refuse(refused.status, refused.comment)
        except OSError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever a service raises: the peer gets its answer
            self._defect("choosing the sink of a C-STORE failed", error)

    def _refuse(self, status: int, comment: str) -> None:
        """Let the data set pass by and answer with a failure."""
        self._refusal = StoreOutcome(status, comment)
        self.discard()

    def _defect(self, what: str, error: Exception) -> None:
        log.debug("%s", what, exc_info=error)
        self._request.association.note("a request failed here", f"{what}: {traced(error)}")
        self._refuse(PROCESSING_FAILURE, "processing failure")

    def _failed(self, error: OSError) -> None:
        failed = out_of_resources(error)
        self._refuse(failed.status, failed.comment)

    def write(self, data: memoryview, /) -> None:
        """Give the sink the next part; its failure is remembered and the rest let pass."""
        if self._sink is None:
            return
        try:
            full = self._sink.write(data)
        except Exception as error:  # noqa: BLE001 - as above
            self._write_failed(error)
        else:
            if full is not None:
                self._wait_for_room(full)

    def _write_failed(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self._failed(error)
        elif isinstance(error, Refused):
            self._refuse(error.status, error.comment)
        else:
            self._defect("the sink of a C-STORE failed", error)

    def _wait_for_room(self, full: Awaitable[None]) -> None:
        """Hold the peer until the sink has room again."""
        self._full.append(full)
        if self._making_room is None:
            self._request.association.hold(self, True)
            self._making_room = self._tasks.start(self._make_room(), self._has_room)

    async def _make_room(self) -> None:
        while self._full:
            try:
                await self._full.popleft()
            except Exception as error:  # noqa: BLE001 - as above
                self._write_failed(error)

    def _has_room(self) -> None:
        self._making_room = None
        self._request.association.hold(self, False)
        for left in self._full:  # it was cancelled
            if isinstance(left, Coroutine):
                left.close()
        self._full.clear()

    def finish(self) -> None:
        """The data set is whole: commit, then answer."""
        self._tasks.start(self._complete(), self.discard)

    def discard(self) -> None:
        """Nothing will become of the object, unless its commit is done: let go of the sink."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

    async def _complete(self) -> None:
        if self._making_room is not None:
            await asyncio.wait([self._making_room])
        outcome = self._refusal
        if outcome is None:
            outcome = await self._commit()
            self.discard()  # before the peer hears of a failure
        comment = outcome.comment[:64] or None
        request, association = self._request, self._request.association
        if categorize(outcome.status) is Category.FAILURE:
            association.note("storing failed", f"{outcome.status:04X}H, {comment or 'no reason given'}")
        response = m.make_response(request.message, outcome.status, error_comment=comment)
        try:
            await association.respond(request.context.context_id, response)
        except AiodicomError as error:
            if association.usable:
                raise
            log.debug("a C-STORE that came during our release is not answered: %s", error)

    async def _commit(self) -> StoreOutcome:
        assert self._sink is not None
        try:
            outcome = await self._sink.commit()
        except OSError as error:
            failed = out_of_resources(error)
            self._request.association.note("storing failed", failed.comment)
            return failed
        except Refused as refused:
            return StoreOutcome(refused.status, refused.comment)
        except Exception as error:  # noqa: BLE001 - as above
            text = f"committing a C-STORE failed: {traced(error)}"
            self._request.association.note("a request failed here", text)
            return StoreOutcome(PROCESSING_FAILURE, "processing failure")
        self._sink = None
        return outcome


class Performing:
    """The requests of the peer that run on one association; `changed` is called when one has ended."""

    def __init__(
        self,
        association: Performed,
        provider: Provider | None,
        tasks: Tasks,
        *,
        identifier_length: int,
        changed: Callable[[], None],
    ) -> None:
        self._association = association
        self._provider = provider
        self._tasks = tasks
        self._identifier_length = identifier_length
        self._changed = changed
        self.running: dict[int, Request] = {}

    def cancel(self, message_id: int) -> None:
        """A C-CANCEL for it has come; for one that is not running it says nothing."""
        running = self.running.get(message_id)
        if running is not None:
            running.cancel()

    def target(self, context: Context, message: m.Request) -> DatasetTarget | None:
        """Where the data set of a request goes; one without is performed at once."""
        request = Request(self._association, context, message)
        if isinstance(message, m.CStoreRQ):
            return StoreTarget(request, self._provider, self._tasks)
        if message.has_dataset:
            return Collector(self._identifier_length, lambda data: self._perform(request, data))
        self._perform(request, None)
        return None

    def _perform(self, request: Request, data: bytes | None) -> None:
        """Have it performed. `data` is None too when its data set was over the limit."""
        message_id = request.message.message_id
        self.running[message_id] = request

        def done() -> None:  # its message id may be in use again
            if self.running.get(message_id) is request:
                del self.running[message_id]
            self._changed()

        if self._provider is None:
            request.refuse(UNRECOGNIZED_OPERATION, "not offered here", self._tasks, done)
        elif request.message.has_dataset and data is None:
            text = f"data set over {self._identifier_length} bytes"
            request.refuse(RESOURCE_LIMITATION, text, self._tasks, done)
        else:
            request.perform(self._provider, data, self._tasks, done)
