"""Performing the peer's requests: what a provider is, and how its work is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.status import CANCEL, OUT_OF_RESOURCES, PROCESSING_FAILURE, Category, categorize
from ..pdu.errors import AiodicomError, LocalProtocolError

if TYPE_CHECKING:
    from .association import Association

log = logging.getLogger("aiodicom.provider")


class Refused(Exception):
    """Raised by a provider to answer a request with a failure status."""

    def __init__(self, status: int, comment: str = "", offending_elements: tuple[int, ...] = ()) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.offending_elements = offending_elements


class Provider(Protocol):
    """Performs requests of the peer."""

    def store(self, association: Association, context: Context, request: m.CStoreRQ) -> StoreSink:
        """The sink for a C-STORE, chosen before its data set arrives. Raises Refused."""

    async def perform(self, running: RunningRequest, data: bytes | None) -> None:
        """Any other request: `data` is its data set. Answers by `running.respond`. Raises Refused.

        A C-CANCEL sets `running.cancelled` and cancels the task, and FE00H is answered; a provider that
        has more to say then sets `running.cooperative`, looks at `cancelled`, and answers itself.
        """


class Target(Protocol):
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

    def __init__(self, association: Association, context: Context, request: m.CStoreRQ) -> None:
        self._association = association
        self._context = context
        self._request = request
        self._sink: StoreSink | None = None
        self._refusal: StoreOutcome | None = None

    def open(self, provider: Provider) -> None:
        """Have the provider choose the sink."""
        try:
            self._sink = provider.store(self._association, self._context, self._request)
        except Refused as refused:
            self.refuse(refused.status, refused.comment)
        except OSError as error:
            self._failed(error)
        except Exception:
            log.exception("choosing the sink of a C-STORE failed")
            self.refuse(PROCESSING_FAILURE, "processing failure")

    def refuse(self, status: int, comment: str) -> None:
        """Let the data set pass by and answer with a failure."""
        self._refusal = StoreOutcome(status, comment)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.discard()

    def _failed(self, error: OSError) -> None:
        self.refuse(OUT_OF_RESOURCES, f"out of resources: {error.strerror}"[:64])

    def write(self, data: memoryview, /) -> None:
        """Give the sink the next part; its failure is remembered and the rest let pass."""
        if self._sink is None:
            return
        try:
            self._sink.write(data)
        except OSError as error:
            self._failed(error)
        except Refused as refused:
            self.refuse(refused.status, refused.comment)
        except Exception:
            log.exception("the sink of a C-STORE failed")
            self.refuse(PROCESSING_FAILURE, "processing failure")

    def finish(self) -> None:
        """The data set is whole: commit, then answer.

        The sink is let go of when the task ends rather than in it: one cancelled before its first step,
        because the same read brought an A-ABORT, never runs.
        """
        self._association.spawn(self._complete()).add_done_callback(lambda _: self.discard())

    def discard(self) -> None:
        """Nothing will become of the object, unless its commit is done: let go of the sink."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

    async def _complete(self) -> None:
        outcome = self._refusal
        if outcome is None:
            outcome = await self._commit()
            self.discard()  # before the peer hears of a failure
        comment = outcome.comment[:64] or None
        if categorize(outcome.status) is Category.FAILURE:
            self._association.note("storing failed", f"{outcome.status:04X}H, {comment or 'no reason given'}")
        response = m.make_response(self._request, outcome.status, error_comment=comment)
        try:
            await self._association.respond(self._context.context_id, response)
        except AiodicomError as error:
            if self._association.usable:
                raise
            log.debug("a C-STORE that came during our release is not answered: %s", error)

    async def _commit(self) -> StoreOutcome:
        assert self._sink is not None
        try:
            outcome = await self._sink.commit()
        except OSError as error:
            self._association.note("storing failed", str(error.strerror))
            return StoreOutcome(OUT_OF_RESOURCES, f"out of resources: {error.strerror}"[:64])
        except Refused as refused:
            return StoreOutcome(refused.status, refused.comment)
        except Exception:
            log.exception("committing a C-STORE failed")
            return StoreOutcome(PROCESSING_FAILURE, "processing failure")
        self._sink = None
        return outcome


class RunningRequest:
    """A request of the peer being performed."""

    def __init__(self, association: Association, context: Context, request: m.Request) -> None:
        self.association = association
        self.context = context
        self.request = request
        self.cancelled = False  # the peer sent C-CANCEL
        self.cooperative = False  # the provider looks at `cancelled` itself and must not be cancelled
        self.on_cancel: Callable[[], object] | None = None  # what a cooperative one waits for, ended early
        self.task: asyncio.Task[None] | None = None
        self._started = False
        self._answered = False

    def cancel(self) -> None:
        """A C-CANCEL has come.

        A task cancelled before its first step would never run, and the request never be answered.
        """
        if not (self.cancelled or self._answered):  # after the final response it is too late
            self.cancelled = True
            if self.task is not None and self._started and not self.cooperative:
                self.task.cancel()
            elif self.on_cancel is not None:
                self.on_cancel()

    async def run(self, provider: Provider, data: bytes | None) -> None:
        """Have the provider perform it; see that it is answered, whatever happens."""
        self._started = True
        try:
            if self.cancelled:
                await self.answer(CANCEL)
                return
            await provider.perform(self, data)
            if not self._answered:
                log.error("%s was not answered by its provider", type(self.request).__name__)
                await self.answer(PROCESSING_FAILURE, "processing failure")
        except Refused as refused:
            await self.answer(refused.status, refused.comment, refused.offending_elements)
        except asyncio.CancelledError:
            if self._answered or not self.association.usable:
                raise
            if self.cancelled:
                self.uncancel()
                await self.answer(CANCEL)
            elif self.task is not None and not self.task.cancelling():  # the provider's own
                log.error("%s failed: something it waited for was cancelled", type(self.request).__name__)
                await self.answer(PROCESSING_FAILURE, "processing failure")
            else:
                raise
        except AiodicomError as error:
            if self.association.usable:  # else the association is over and there is nobody to answer
                log.warning("%s failed: %s", type(self.request).__name__, error)
                await self.answer(PROCESSING_FAILURE, "processing failure")
        except Exception:
            log.exception("performing %s failed", type(self.request).__name__)
            await self.answer(PROCESSING_FAILURE, "processing failure")
        finally:
            self.association.request_done(self)

    def uncancel(self) -> None:
        """Go on after a C-CANCEL's cancellation was caught, to answer it."""
        if self.task is not None:
            self.task.uncancel()

    async def respond(self, response: m.Response, data: bytes | None = None) -> None:
        """Send a response; a final one ends the request. LocalProtocolError: it cannot be sent."""
        final = categorize(response.status) is not Category.PENDING
        self._answered = self._answered or final
        try:
            await self.association.respond(self.context.context_id, response, data)
        except LocalProtocolError:  # nothing went out
            self._answered = self._answered and not final
            raise

    async def answer(self, status: int, comment: str = "", offending_elements: tuple[int, ...] = ()) -> None:
        """Send a final response without a data set."""
        if self._answered or not self.association.usable:
            return
        self._answered = True
        try:
            await self.association.respond(
                self.context.context_id,
                m.make_response(
                    self.request,
                    status,
                    error_comment=comment[:64] or None,
                    offending_elements=offending_elements,
                ),
            )
        finally:
            self.association.request_done(self)
