"""The simple forms of a server: a coroutine takes each object as it comes, or answers a worklist query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ..association.incoming import Incoming
from ..association.performing import Refused, Request
from ..association.sinking import Head, HeadSink
from ..association.tasks import Tasks, on_thread
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.sop_classes import SUPPORTED_STORAGE
from ..dimse.status import PROCESSING_FAILURE, SOP_CLASS_NOT_SUPPORTED
from ..pdu.uids import UNCOMPRESSED
from .service import EncodedMatches, Match, Service, closing_after

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAXIMUM_OBJECT = 64 * 1024**3
"""Bytes of one object that a `StorageService` takes unless told: one without end must not fill a disk."""
MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"

Handled: TypeAlias = "StoreOutcome | int | None"
"""What a handler may return: how it went, a status, or nothing, which is success."""
Worklist: TypeAlias = "Callable[[Dataset], AsyncIterable[Dataset] | Awaitable[Iterable[Dataset]]]"
"""Gives the items there are, at least those that match the identifier it is called with."""


class StorageService(Service):
    """C-STORE by a coroutine: `handler` is called with each object as soon as its header is here.

    async def handler(incoming: Incoming) -> None:
        async with bucket.open(incoming.head.sop_instance_uid) as upload:
            async for part in incoming.file():
                await upload.write(part)

    While it does not read, the peer is held: `association.incoming.PARTS` of an object wait in memory.
    Success is answered when the object is whole and the handler has returned; what it has not read by then
    is dropped. It may return a status or a `StoreOutcome`. Refused gives a status, OSError A700H, any other
    exception 0110H. It is cancelled where the object will never be whole.

    >>> names = []
    >>> async def handler(incoming):
    ...     names.append(incoming.head.dataset.PatientName)
    >>> async with aiodicom.serve(aiodicom.StorageService(handler), host=HOST, port=0) as server:
    ...     async with aiodicom.connect(HOST, server.port) as pacs:
    ...         report = await pacs.store(FOLDER)
    >>> report.ok, len(names)
    (True, 4)
    """

    def __init__(
        self,
        handler: Callable[[Incoming], Awaitable[Handled]],
        *,
        supported: Supported = SUPPORTED_STORAGE,
        max_object_size: int = MAXIMUM_OBJECT,
    ) -> None:
        """supported: by default every object, private classes too, as it is. max_object_size: in bytes."""
        self._handler = handler
        self._supported = supported
        self._limit = max_object_size
        self._tasks: Tasks | None = None

    def supported(self) -> Supported:
        """What was given."""
        return self._supported

    def store(self, request: Request) -> StoreSink:
        """A sink that begins the handler when the header is here."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)

        def begin(head: Head) -> StoreSink:
            incoming = Incoming(head, request)
            if not self._tasks:  # none runs: those of a loop that has ended are no more
                self._tasks = Tasks()
            return _HandledSink(incoming, self._tasks.start(self._handle(incoming), incoming.leave))

        return HeadSink(message, request.context, begin, limit=self._limit)

    async def _handle(self, incoming: Incoming) -> Handled:
        return await self._handler(incoming)


class _HandledSink:
    """One object on its way to a handler that runs."""

    def __init__(self, incoming: Incoming, task: asyncio.Task[Handled]) -> None:
        self._incoming = incoming
        self._task = task

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        """The next part. Raises what the handler has failed with."""
        if self._task.done():
            self._outcome()
        return self._incoming.write(data)

    async def commit(self) -> StoreOutcome:
        """The object is whole: wait for the handler. Raises what it fails with."""
        self._incoming.end()
        await asyncio.wait((self._task,))
        return self._outcome()

    def _outcome(self) -> StoreOutcome:
        if self._task.cancelled():
            raise Refused(PROCESSING_FAILURE, "the handler was cancelled")
        given = self._task.result()
        return given if isinstance(given, StoreOutcome) else StoreOutcome(given or 0)

    def discard(self) -> None:
        """Nothing will come of it."""
        self._incoming.discard()
        self._task.cancel()


class WorklistService(Service):
    """Modality worklist queries (PS3.4 K) by a coroutine that gives the items there are.

    async def items(identifier: Dataset) -> list[Dataset]:
        return await database.scheduled_today()

    Keys of every kind are matched here (ranges, wildcards, within sequences), and what was asked for is
    returned of each item, so `items` may give more than matches, and narrow by the identifier if it likes. It
    may be an async generator too. A key that cannot be used is answered C000H with its tag.

    >>> import pydicom
    >>> async def items(identifier):
    ...     item = pydicom.Dataset()
    ...     item.PatientName, item.PatientID = "Doe^Jane", "1"
    ...     return [item]
    >>> server = aiodicom.serve(aiodicom.WorklistService(items), port=0)
    """

    def __init__(self, items: Worklist) -> None:
        self._items = items

    def supported(self) -> Supported:
        """Verification and the worklist."""
        return Supported({VERIFICATION: UNCOMPRESSED, MODALITY_WORKLIST: UNCOMPRESSED})

    async def find_in_model(
        self, request: Request, identifier: Dataset
    ) -> AsyncIterator[Match | EncodedMatches]:
        """The items that match."""
        from ..archive.errors import IdentifierError
        from ..archive.keys import Keys

        if request.context.abstract_syntax != MODALITY_WORKLIST:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "not the modality worklist")
        try:
            keys = await on_thread(lambda: Keys.of(identifier))
        except IdentifierError as error:
            raise Refused(error.status, error.comment, error.offending_elements) from None

        def matched(item: Dataset) -> Dataset | None:
            return keys.answer(item) if keys.hold(item) else None

        given = self._items(identifier)
        async with closing_after(given if isinstance(given, AsyncIterable) else _each(given)) as items:
            async for item in items:
                answer = await on_thread(partial(matched, item))
                if answer is not None:
                    yield Match(answer)


async def _each(given: Awaitable[Iterable[Dataset]]) -> AsyncIterator[Dataset]:
    for one in await given:
        yield one
