"""C-GET as a user: what will come is found out first, then fetched into sinks and compared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..association.answers import words_of
from ..association.association import Association
from ..association.errors import OperationCancelled, OperationFailed
from ..association.performing import Refused, Request
from ..association.reading import Reading
from ..association.tasks import Tasks, on_thread
from ..dataset.coding import DatasetDecodeError, decode_dataset
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.levels import Level, Root, get_model
from ..dimse.status import (
    CANCEL,
    NOT_AUTHORIZED,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    Category,
    Status,
    categorize,
)
from ..pdu.errors import AiodicomError
from .associations import Associations, need_context
from .identifier import build_retrieve
from .planning import Plan, Target, make_plan
from .receiving import NO_ROOM, DatasetSink, Durability, FileSink, open_file_sink, prepare, received
from .results import Keep, ProgressCallback
from .retrieved import Arrived, ReceivedItem, RetrieveResult
from .streams import Stream

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

T = TypeVar("T")

DATASETS_AHEAD = 8
"""Objects received but not yet taken by who iterates, at which the peer is held."""
BYTES_AHEAD = 64 * 1024 * 1024
"""Bytes of such objects at which the peer is held too: one of any size may wait."""
MAX_ASIDE = 1000
"""Objects that were not asked for which are set aside; more are refused."""
MAXIMUM_DATASET = 2 * 1024 * 1024 * 1024
"""Bytes of one object that a retrieve into memory takes."""


class Retrieve(Stream[T]):
    """One C-GET: awaited for its result, or iterated for what comes, as it comes.

    Into a `directory` it gives the objects' `ReceivedItem`s, else their data sets. `result` is alive at any
    moment, also after the retrieve was cancelled. It runs once: awaited again, or after a loop, it gives
    the result there is. Leaving the loop early cancels; a failure is raised at the end of it. It is the
    provider of the association it runs on.
    """

    def __init__(
        self,
        associations: Associations,
        level: Level,
        root: Root | None,
        uids: Sequence[str],
        *,
        directory: Path | None,
        parents: Mapping[str, str],
        durability: Durability,
        progress: ProgressCallback | None,
        max_object_size: int,
        items: Keep[ReceivedItem] = "all",
    ) -> None:
        super().__init__()
        self.result: RetrieveResult = RetrieveResult(keep=items)
        self._associations = associations
        self._level = level
        self._root = root
        self._uids = list(uids)
        self._wanted = frozenset(uids)
        self._planned: frozenset[str] = frozenset()
        self._directory = directory
        self._parents = parents
        self._durability: Durability = durability
        self._max_object_size = max_object_size
        self._over = False  # nothing more is asked for
        self._stop: Callable[[], object] | None = None  # sends a C-CANCEL for what runs
        self._ahead = 0  # bytes of what waits for who iterates
        self._arrived = Arrived(self.result, progress)
        self._ready: asyncio.Queue[tuple[T, int] | None] | None = None  # of who iterates
        self._reading: Reading | None = None  # of the association, while objects are taken
        self._awaited = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Retrieve from {self._associations.peer.name}: {self.result!r}>"

    def __await__(self) -> Generator[Any, None, RetrieveResult]:
        return self._once().__await__()

    async def _once(self) -> RetrieveResult:
        async with self._awaited:
            if self._begin():
                await self._run()
        return self.result

    async def _start(self) -> AsyncGenerator[T, None]:
        ready = self._ready = asyncio.Queue[tuple[T, int] | None]()

        async def work() -> None:
            try:
                await self._run()
            finally:
                ready.put_nowait(None)

        tasks = Tasks()
        task = tasks.start(work())
        try:
            while (came := await ready.get()) is not None:
                one, held = came
                self._ahead -= held
                few = ready.qsize() <= DATASETS_AHEAD // 2 and self._ahead <= BYTES_AHEAD // 2
                if self._reading is not None and few:
                    self._reading.room(self)
                yield one
            await task
        finally:
            self._ready = None  # what comes while it is cancelled is dropped
            if self._reading is not None:
                self._reading.room(self)
            tasks.end()
            await tasks.wait()
            if not task.cancelled() and task.exception() is not None:
                log.debug("the retrieve iterated over ended with: %s", task.exception())
        self._raise_failure()

    def _raise_failure(self) -> None:
        result = self.result
        if result.error is not None:
            raise result.error
        if result.status is not None and result.status != SUCCESS:  # a warning says that an object failed
            failed = OperationCancelled if result.status == CANCEL else OperationFailed
            comment = "; ".join(filter(None, (result.comment, _refused_here(result.items))))
            raise failed("C-GET", result.status, comment or None).at(self._associations.peer.name)

    # --- the provider of its association

    def store(self, request: Request) -> StoreSink:
        """Where an object goes."""
        message, context = request.message, request.context
        assert isinstance(message, m.CStoreRQ)
        if self._reading is None:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "nothing is being retrieved")
        uid = message.affected_sop_instance_uid
        if len(self.result.unasked) >= MAX_ASIDE and uid not in self._planned:
            self._arrived.turn_away(uid)
            raise Refused(NOT_AUTHORIZED, "not asked for")
        if self._directory is None:

            def done(outcome: StoreOutcome, dataset: Dataset | None) -> None:
                if outcome.status == NOT_AUTHORIZED:
                    self._arrived.turn_away(message.affected_sop_instance_uid)
                else:
                    self._take(dataset, received(message, context, outcome, into.size))

            size = min(self._max_object_size, MAXIMUM_DATASET)
            into = DatasetSink(message, context, size, done, self._asked_for)
            return into
        return self._file_sink(request, message)

    def _file_sink(self, request: Request, message: m.CStoreRQ) -> FileSink:
        assert self._directory is not None

        def came(item: ReceivedItem) -> None:
            if sink is not None and sink.no_room:
                self._stop_here()
            if sink is not None and sink.unasked and item.ok:
                self._arrived.set_aside(item)
            else:
                self._take(item, item)

        sink: FileSink | None = None
        try:
            sink = open_file_sink(
                self._directory,
                message,
                request.context,
                source_ae=self._associations.peer.called_ae,
                durability=self._durability,
                done=came,
                limit=self._max_object_size,
                asked=self._asked_for,
            )
        except OSError as error:
            if error.errno in NO_ROOM:
                self._stop_here()
            raise
        return sink

    def _stop_here(self) -> None:
        """The disk is full: what is still to come could not be kept either."""
        self._over = True
        if self._stop is not None:
            log.warning("no room is left: the rest is not asked for")
            self._stop()

    def _asked_for(self, uid: str, keys: Mapping[str, str]) -> bool:
        """Whether an object belongs to what was asked for: by the plan, or by its own keys.

        What has no such key, or a Patient ID that would have to be decoded, may well belong to it.
        """
        if uid in self._planned:
            return True
        key = {Level.PATIENT: "patient_id", Level.STUDY: "study_uid", Level.SERIES: "series_uid"}
        own = uid if self._level is Level.IMAGE else keys.get(key[self._level], "")
        return own in self._wanted or not own or not own.isascii()

    async def perform(self, request: Request, data: bytes | None) -> None:
        """No other request is offered by a client."""
        raise Refused(UNRECOGNIZED_OPERATION, "not offered here")

    def _take(self, one: Any, item: ReceivedItem) -> None:
        """An object has come, or failed to: `one` is what is handed to who iterates, or None."""
        if self._ready is not None and one is not None:
            held = item.bytes if self._directory is None else 0
            self._ready.put_nowait((one, held))
            self._ahead += held
            waiting = self._ready.qsize() >= DATASETS_AHEAD or self._ahead >= BYTES_AHEAD
            if waiting and self._reading is not None:
                self._reading.full(self)
        elif self._directory is None and one is not None and self._ready is None:
            self.result.datasets.append(one)
        self._arrived.add(item)

    # --- the work

    async def _run(self) -> None:
        started = time.perf_counter()
        try:
            async with self._associations.limited():
                if self._directory is not None:
                    await on_thread(partial(prepare, self._directory))
                root = await self._associations.choose_root(self._level, self._root, get_model)
                plan = await make_plan(self._associations, self._level, root, self._uids, self._parents)
                self._arrived.expect(plan.expected)
                self._planned = frozenset(uid for one in plan.targets for uid in one.instances or ())
                self.result.parents_unknown = plan.parents_unknown
                self._arrived.tell()
                try:
                    await self._fetch(plan)
                except AiodicomError as error:
                    self.result.ended_by(error)
                    if not self.result.came:
                        raise
        finally:
            self._arrived.end()
            self.result.seconds = time.perf_counter() - started

    async def _fetch(self, plan: Plan) -> None:
        for part in plan.parts():
            async with self._associations.use(part.proposals, self) as association:
                self._reading = association.connection.reading
                try:
                    for target in part.targets:
                        if not self._over:
                            await self._get(association, plan, target)
                finally:
                    self._reading = None

    async def _get(self, association: Association, plan: Plan, target: Target) -> None:
        level = target.level or plan.level  # its own: instances of what was asked for, one by one
        query = build_retrieve("C-GET", level, plan.root, [target.uid], target.parents)
        context = need_context(association, query.model)
        before = self.result.came
        operation = await association.invoke(
            context,
            lambda n: m.CGetRQ(message_id=n, affected_sop_class_uid=query.model),
            query.encode(context.transfer_syntax),
        )
        operation.consumer = self
        tasks = Tasks()
        self._stop = lambda: tasks.start(association.ask_to_end(operation))
        try:
            while True:
                response, data = await operation.next()
                assert isinstance(response, m.CGetRSP)
                if categorize(response.status) is not Category.PENDING:
                    add_final(self.result, response, data, context.transfer_syntax)
                    if nothing_found(target, response) and self.result.came == before:
                        self.result.not_found.append(target.uid)
                    return
        finally:
            self._stop = None
            await tasks.wait()
            await association.cancel(operation)


def _refused_here(items: Sequence[ReceivedItem]) -> str:
    """What of it we ourselves did not keep: the peer's status only follows from that."""
    refused = [item for item in items if not item.ok]
    if not refused:
        return ""
    first = refused[0]
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"refused here: {first.sop_instance_uid} ({first.comment or first.status}){more}"


def add_final(
    result: RetrieveResult, response: m.CGetRSP | m.CMoveRSP, data: bytes | None, transfer_syntax: str
) -> None:
    """Add a final response to a result: the first that is no success stays the status of the whole."""
    if not result.status:
        result.status = Status(response.status, result.service)
        result.comment = words_of(response, data, transfer_syntax)
    for name in ("completed", "failed", "warning"):
        value = getattr(response, name)
        if value is not None:
            setattr(result, name, (getattr(result, name) or 0) + value)
    if data:
        try:
            found = decode_dataset(data, transfer_syntax).get("FailedSOPInstanceUIDList", None)
        except DatasetDecodeError as error:
            log.warning("the list of failed instances cannot be read: %s", error)
            return
        if found:
            result.failed_uids += [found] if isinstance(found, str) else map(str, found)


def nothing_found(target: Target, response: m.CGetRSP | m.CMoveRSP) -> bool:
    """Whether a final response is a success with nothing of what was asked for."""
    counted = (response.completed or 0) + (response.failed or 0) + (response.warning or 0)
    return response.status == SUCCESS and not target.instances and not counted
