"""A retrieve as its user holds it: awaited or iterated, its result alive, asked again for what is missing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict, TypeVar

from ..association.errors import OperationCancelled, OperationFailed
from ..association.tasks import Tasks, on_thread, to_its_end
from ..dimse.levels import Level, Root
from ..dimse.status import CANCEL, SUCCESS
from ..pdu.errors import AiodicomError
from .associations import Associations
from .dicomweb import Fetching
from .intake import Intake, Where
from .ladder import Via, Way, climb
from .listening import Listening
from .plan import Plan
from .planning import MAX_QUERIES
from .present import find_present
from .progress import ProgressCallback
from .receiving import Durability, prepare
from .results import Keep
from .retrieved import ReceivedItem, RetrieveResult
from .streams import Stream
from .webplan import find_plan

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

T = TypeVar("T")


class GetOptions(TypedDict, total=False):
    """The options of `Pacs.get`.

    plan, via: what to ask for, and by which services. root, parents: the information model, and unique keys
    above the level, for peers that want them and cannot be asked. skip_present: ask only for what the
    directory has no whole file of. associations: how many share the work. durability: "fsync", "rename" or
    "none" (`receiving.Durability`). layout: "patient", "uids", or a template of keywords,
    "{PatientID}/{SOPInstanceUID}.dcm". digest: SHA-256 of each data set, as it comes. progress: is told of
    each step. max_object_size: bytes over which an object is refused (64 GiB; 2 GiB in memory). items: which
    objects the result lists; all are counted. listening: of a move to this process. max_queries: by which it
    may be found out what lies below one unique key (50): what is not found out is retrieved without a list.
    """

    plan: Plan | None
    via: Via | None
    root: Root | str | None
    parents: Mapping[str, str] | None
    skip_present: bool
    associations: int
    durability: Durability
    layout: str
    digest: bool
    progress: ProgressCallback | None
    max_object_size: int
    items: Keep[ReceivedItem]
    listening: Listening | None
    max_queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a retrieve is to bring, and what it tells of it; `plan` where it has been planned before."""

    level: Level
    root: Root | None
    uids: Sequence[str]
    parents: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    where: Where = Where()
    skip_present: bool = True
    progress: ProgressCallback | None = None
    items: Keep[ReceivedItem] = "all"
    max_queries: int = MAX_QUERIES


class Retrieve(Stream[T]):
    """One retrieve: awaited for its result, or iterated for what comes, as it comes.

    Into a directory it gives the objects' `ReceivedItem`s, else their data sets. `result` is alive at any
    moment, also after the retrieve was cancelled; `again` asks for what is missing then. It runs once:
    awaited again, or after a loop, it gives the result there is. Leaving the loop early cancels; a failure
    is raised at the end of it. `plan` is what was found out before anything was asked for.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     [study] = await pacs.find("STUDY", {})
    ...     result = await pacs.get("STUDY", study.StudyInstanceUID, directory=OUT)
    >>> result.ok, result.outcome, len(result.items)
    (True, 'complete', 4)
    """

    def __init__(
        self,
        associations: Associations,
        wanted: Wanted,
        result: RetrieveResult,
        ways: Callable[[Intake[T]], Sequence[Way]],
        *,
        ladder: bool = False,
    ) -> None:
        super().__init__()
        self.result: RetrieveResult = result
        self.plan: Plan | None = wanted.plan
        self._associations = associations
        self._wanted = wanted
        self._ladder = ladder
        self._intake = Intake[T](
            result, wanted.where, wanted.level, frozenset(wanted.uids), progress=wanted.progress
        )
        self._ways = ways(self._intake)
        self._promised = False
        self._running_now = False
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

    async def again(self) -> RetrieveResult:
        """Ask once more, for what is not here: after a failure, a cancel, or a loop that was left.

        What is here stays in the result; what the peer says replaces what it said. Where it is not known
        what is missing, everything is asked for again. Raises RuntimeError while it is iterated over.
        """
        async with self._awaited:
            await self.left()
            if self._running_now:
                raise RuntimeError("it is being iterated over: it can be asked again when that has ended")
            if self._begin() or not self.result.ok:
                self.result.begin(forget=True)
                if self.result.expected is None and self._wanted.plan is None:
                    self.plan, self._promised = None, False
                await self._run()
        return self.result

    async def _start(self) -> AsyncGenerator[T, None]:
        tasks = Tasks()
        taken = self._intake.taken()
        task = tasks.start(self._run(), self._intake.end)
        try:
            async for one in taken:
                yield one
            await task
        finally:
            await taken.aclose()
            self._intake.left()
            tasks.end()
            await tasks.wait()
            if not task.cancelled() and task.exception() is not None:
                log.debug("the retrieve iterated over ended with: %s", task.exception())
        self._raise_failure()

    def _raise_failure(self) -> None:
        result = self.result
        if result.error is not None:
            raise result.error
        if result.status is not None and not result.success:  # a warning says that an object failed
            failed = OperationCancelled if result.status == CANCEL else OperationFailed
            comment = "; ".join(filter(None, (result.comment, _refused_here(result.items))))
            name = self._associations.peer.name
            raise failed(result.service, result.status, comment or None).at(name)

    # --- the work

    async def _run(self) -> None:
        started = time.perf_counter()
        self._intake.begin()
        self._running_now = True
        try:
            async with self._associations.limited():
                await self._work()
        finally:
            if self.plan is not None:
                self.result.not_found = [*self.plan.not_found, *self.result.not_found]
            try:
                await to_its_end(self._intake.settle())
            finally:
                self._running_now = False
                self.result.seconds += time.perf_counter() - started
                self._intake.end()

    async def _work(self) -> None:
        wanted, result = self._wanted, self.result
        where = wanted.where
        if where.directory is not None:
            await on_thread(partial(prepare, where.directory, durable=where.durability == "fsync"))
        self._intake.arrived.tell("planning")
        plan = await self._planned()
        if not self._promised:
            self._promised = True
            self._intake.expect(plan)
            await self._look()
        self._intake.arrived.tell()
        left = plan
        if result.expected is not None and result.waiting != len(result.expected):  # a capped one stays
            left = plan.only(result.missing or ())
            result.settled = not left.targets
        if result.settled:
            return
        if not plan.targets:  # it has nothing, and there is nothing to ask for
            result.status = SUCCESS
            return
        if self._ladder:
            await climb(self._ways, left, self._intake, result.rungs.append, self._rooted)
            return
        try:
            await self._ways[0].fetch(left)
        except AiodicomError as error:
            result.ended_by(error)
            await self._intake.settle()
            if not result.came:
                raise

    async def _planned(self) -> Plan:
        """What is to be asked for, found out unless it is known."""
        if self.plan is None:
            wanted = self._wanted
            chosen = wanted.root, self._ways[0].model
            web = next((way.address for way in self._ways if isinstance(way, Fetching)), None)
            most = wanted.max_queries
            self.plan = await find_plan(
                self._associations, wanted.level, chosen, wanted.uids, wanted.parents, most, web
            )
        return self.plan

    async def _rooted(self, way: Way, plan: Plan) -> Plan:
        """The plan in a root that the peer accepts the way's service in, where the user named none."""
        if self._wanted.root is not None or isinstance(way, Fetching):
            return plan
        try:
            return plan.rooted(await self._associations.other_root(plan.root, way.model))
        except AiodicomError as error:  # the attempt will say so
            log.info("what the peer accepts cannot be told: %s", error)
            return plan

    async def _look(self) -> None:
        """Find what of it lies in the directory already, whole."""
        where, result = self._wanted.where, self.result
        if where.directory is None or not self._wanted.skip_present or not result.missing:
            return
        look = partial(find_present, where.directory, result.missing, where.layout)
        for item in await on_thread(look):
            result.add(item)


def _refused_here(items: Sequence[ReceivedItem]) -> str:
    """What of it we ourselves did not keep: the peer's status only follows from that."""
    refused = [item for item in items if not item.ok]
    if not refused:
        return ""
    first = refused[0]
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"refused here: {first.sop_instance_uid} ({first.comment or first.status}){more}"
