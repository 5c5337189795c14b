"""The simple forms of a server: a coroutine takes each object as it comes, or answers a worklist query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ..association.incoming import Incoming
from ..association.performing import Refused, Request
from ..association.sinking import Head, HeadSink
from ..association.tasks import Tasks, on_thread
from ..dataset.coding import encode_dataset
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.sop_classes import SUPPORTED_STORAGE
from ..dimse.status import PROCESSING_FAILURE, SOP_CLASS_NOT_SUPPORTED
from ..pdu.uids import UNCOMPRESSED
from .service import EncodedMatches, Service, closing_after

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..archive.keys import Keys

MAXIMUM_OBJECT = 64 * 1024**3
"""Bytes of one object that a `StorageService` takes unless told: one without end must not fill a disk."""
TOGETHER = 64
"""Items of a worklist that are matched and encoded in one go, and that are taken ahead of it."""
WRITE_BYTES = 256 * 1024
"""Bytes of answers at which they are enough for one write."""
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
    may be an async generator too, each item a data set of its own: `TOGETHER` of them are taken ahead of the
    answers. A key that cannot be used is answered C000H with its tag.

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

    async def find_in_model(self, request: Request, identifier: Dataset) -> AsyncIterator[EncodedMatches]:
        """The items that match, matched and encoded on a thread, those together that are there."""
        from ..archive.errors import IdentifierError
        from ..archive.keys import Keys

        if request.context.abstract_syntax != MODALITY_WORKLIST:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "not the modality worklist")
        try:
            keys = await on_thread(lambda: Keys.of(identifier))
        except IdentifierError as error:
            raise Refused(error.status, error.comment, error.offending_elements) from None
        given = self._items(identifier)
        batches = _as_they_come(given) if isinstance(given, AsyncIterable) else _in_batches(given)
        async with aclosing(batches):
            async for batch in batches:
                work = partial(_answers, keys, batch, request.context.transfer_syntax)
                for answers in await on_thread(work):
                    yield EncodedMatches(answers)


def _answers(keys: Keys, items: Iterable[Dataset], transfer_syntax: str) -> list[list[bytes]]:
    """The answers that items make, those of one write together."""
    writes: list[list[bytes]] = []
    room = 0
    for item in items:
        if not keys.hold(item):
            continue
        answer = encode_dataset(keys.answer(item), transfer_syntax)
        if room <= 0:
            writes.append([])
            room = WRITE_BYTES
        writes[-1].append(answer)
        room -= len(answer)
    return writes


async def _in_batches(given: Awaitable[Iterable[Dataset]]) -> AsyncGenerator[list[Dataset], None]:
    items = iter(await given)
    while batch := list(islice(items, TOGETHER)):
        yield batch


async def _as_they_come(items: AsyncIterable[Dataset]) -> AsyncGenerator[list[Dataset], None]:
    """What has come while others were answered is one batch: none waits for a later one."""
    coming = _Coming(items)
    tasks = Tasks()
    taking = tasks.start(coming.take(), coming.changed.set)
    try:
        while True:
            coming.changed.clear()
            batch = coming.batch()
            if batch:
                yield batch
            elif taking.done():
                taking.result()
                return
            else:
                await coming.changed.wait()
    finally:
        tasks.end()
        await tasks.wait()


class _Coming:
    """Items taken from who gives them, `TOGETHER` at most ahead of who answers."""

    def __init__(self, items: AsyncIterable[Dataset]) -> None:
        self.changed = asyncio.Event()
        self._items = items
        self._waiting: list[Dataset] = []
        self._room = asyncio.Event()

    async def take(self) -> None:
        """Take them. Raises ValueError for one data set given twice on end, changed meanwhile maybe."""
        last: Dataset | None = None
        async with closing_after(self._items):
            async for item in self._items:
                if item is last:
                    raise ValueError("a worklist gave the same data set twice: each item needs its own")
                last = item
                self._waiting.append(item)
                self.changed.set()
                if len(self._waiting) >= TOGETHER:
                    self._room.clear()
                    await self._room.wait()

    def batch(self) -> list[Dataset]:
        """Those that wait, which are no more."""
        batch, self._waiting = self._waiting, []
        self._room.set()
        return batch
