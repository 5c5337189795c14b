"""C-GET and C-MOVE as a user: what will come is found out first, then fetched into sinks and compared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..association.association import Association
from ..association.errors import ContextNotAccepted, OperationCancelled, OperationFailed
from ..association.performing import Request
from ..association.reading import Reading
from ..association.tasks import Tasks, on_thread
from ..dataset.coding import DatasetDecodeError, decode_dataset
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.levels import Level, QueryError, Root, get_model, levels, unique_key
from ..dimse.sop_classes import TRANSFER_SYNTAXES, storage_sop_classes
from ..dimse.status import CANCEL, Category, categorize
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_uid
from .identifier import PLAN_KEYS, Query, build_plan, build_retrieve, parse_root
from .receiving import DatasetSink, Durability, Receiver, SinkFactory, open_file_sink, received
from .results import Progress, ProgressCallback, ReceivedItem, RetrieveResult

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .client import Client

log = logging.getLogger("aiodicom.retrieving")

DATASETS_AHEAD = 8
"""Data sets received but not yet taken, at which the peer is held."""
MAXIMUM_DATASET = 2 * 1024 * 1024 * 1024
"""Bytes of one object that a retrieve into memory takes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One unique key to retrieve: its parents' unique keys, and what lies below it as far as is known."""

    uid: str
    parents: Mapping[str, str]
    instances: tuple[str, ...] | None = None
    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()


@dataclass(slots=True)
class Plan:
    """What a retrieve will ask for."""

    level: Level
    root: Root
    targets: list[Target] = field(default_factory=list)

    @property
    def expected(self) -> list[str] | None:
        """Every instance promised, or None when some target's are not known."""
        found: list[str] = []
        for target in self.targets:
            if target.instances is None:
                return None
            found += target.instances
        return list(dict.fromkeys(found))

    def proposals(self) -> list[Proposal]:
        """The C-GET context and the storage contexts for what will come, as many as an association holds.

        A SOP class that the query told gets one context a transfer syntax, the told syntaxes first, so that
        the peer can send every object as it is stored. Where some target's classes are not known, half of
        the room is for the standard's classes, the everyday ones first, one context each.
        """
        room = MAX_CONTEXTS - 1
        classes = sorted(set[str]().union(*(target.sop_classes for target in self.targets)))
        told = set[str]().union(*(target.transfer_syntaxes for target in self.targets))
        syntaxes = (*sorted(told), *(uid for uid in TRANSFER_SYNTAXES if uid not in told))
        unknown = any(not target.sop_classes for target in self.targets)
        proposals: list[Proposal] = []
        if classes:
            each = max(1, (room // 2 if unknown else room) // len(classes))
            for uid in classes:
                proposals += _storage_proposals(uid, syntaxes, each)
        if unknown:
            others = (uid for uid in storage_sop_classes() if uid not in classes)
            proposals += (Proposal(uid, syntaxes, scp_role=True) for uid in others)
        return [Proposal(get_model(self.root)), *proposals[:room]]


def _storage_proposals(sop_class: str, syntaxes: tuple[str, ...], contexts: int) -> Iterator[Proposal]:
    """One context a transfer syntax, the last one of so many taking all that are left."""
    single = syntaxes if len(syntaxes) <= contexts else syntaxes[: contexts - 1]
    for syntax in single:
        yield Proposal(sop_class, (syntax,), scp_role=True)
    if len(single) < len(syntaxes):
        yield Proposal(sop_class, syntaxes[len(single) :], scp_role=True)


def check_uids(level: Level, root: Root, uids: str | Iterable[str]) -> list[str]:
    """The unique keys to retrieve, as a list. Raises QueryError for one that cannot be one."""
    if level not in levels(root):
        names = ", ".join(one.value for one in levels(root))
        raise QueryError(f"level {level.value} is not in the {root.value} root; its levels are {names}")
    wanted = [uids] if isinstance(uids, str) else list(uids)
    if not wanted:
        raise QueryError("nothing to retrieve: no unique key given")
    for uid in wanted:
        if level is not Level.PATIENT and not is_uid(uid):
            raise QueryError(f"{uid[:80]!r} is no UID, so no {unique_key(level)}")
        if level is Level.PATIENT and (not uid or any(c in uid for c in "*?\\")):
            raise QueryError(f"{uid[:64]!r} is no single Patient ID")
    return wanted


async def make_plan(
    client: Client, level: Level, root: Root, uids: list[str], parents: Mapping[str, str]
) -> Plan:
    """Ask the peer by C-FIND what lies below each unique key, and under which parents."""
    plan = Plan(level, root)
    for uid in uids:
        plan.targets.append(await _locate(client, level, root, uid, parents))
    return plan


async def _locate(client: Client, level: Level, root: Root, uid: str, parents: Mapping[str, str]) -> Target:
    """One target: by one query at the image level where the peer allows it, else level by level."""
    above = [unique_key(one) for one in levels(root) if one < level]
    below = [unique_key(one) for one in levels(root) if level < one < Level.IMAGE]
    match = {**parents, unique_key(level): uid}
    keys = [*above, *below, "SOPClassUID", "AvailableTransferSyntaxUID"]
    query = build_plan(root, match, keys)
    try:
        answers = [
            _values(data, syntax, [*keys, *match, "SOPInstanceUID"])
            async for data, syntax in client.find_encoded(query)
        ]
    except OperationFailed as error:
        log.info("no plan by one query: %s", error)
        return await _walk(client, level, root, uid, parents)
    except ContextNotAccepted as error:
        log.info("no plan, the peer answers no queries: %s", error)
        return Target(uid, dict(parents))
    # some archives ignore a key they do not know
    found = [a for a in answers if all(a.get(key, value) == value for key, value in match.items())]
    if not found:
        return Target(uid, dict(parents))
    return Target(
        uid,
        {**{key: found[0][key] for key in above if found[0].get(key)}, **parents},
        tuple(answer["SOPInstanceUID"] for answer in found if "SOPInstanceUID" in answer),
        frozenset(uid for answer in found if is_uid(uid := answer.get("SOPClassUID", ""))),
        frozenset(
            syntax
            for answer in found
            for syntax in answer.get("AvailableTransferSyntaxUID", "").split("\\")
            if is_uid(syntax)
        ),
    )


def _values(data: bytes, transfer_syntax: str, keywords: Iterable[str]) -> dict[str, str]:
    """The non-empty values of an answer's keys, without the cost of a data set: a study has thousands."""
    tags = {PLAN_KEYS[keyword][0]: keyword for keyword in keywords}
    try:
        values = scan_dataset(data, transfer_syntax, tags).values
    except ImagingError as error:
        log.warning("an answer to a query cannot be read: %s", error)
        return {}
    texts = {tags[tag]: raw.decode("latin-1").strip(" \0") for tag, raw in values.items()}
    return {keyword: text for keyword, text in texts.items() if text}


async def _walk(client: Client, level: Level, root: Root, uid: str, parents: Mapping[str, str]) -> Target:
    """Find a target on a peer that wants every upper unique key: down from the top, one level at a time.

    When it cannot be found the retrieve is asked for all the same, with the parents that were given: the
    peer's answer is the one the user should see.
    """
    path = [one for one in levels(root) if one <= level]
    try:
        found = await _descend(client, path, root, uid, dict(parents))
    except OperationFailed as error:
        log.info("no plan level by level: %s", error)
        found = None
    if found is None:
        return Target(uid, dict(parents))
    instances, classes = [], set()
    try:
        async for dataset in _leaves(client, level, root, {**found, unique_key(level): uid}):
            instances.append(str(dataset.get("SOPInstanceUID", "")))
            classes.add(str(dataset.get("SOPClassUID", "") or ""))
    except OperationFailed as error:
        log.info("the instances could not be listed: %s", error)
        return Target(uid, found)
    return Target(uid, found, tuple(instances) or None, frozenset(filter(is_uid, classes)))


async def _descend(
    client: Client, path: Sequence[Level], root: Root, uid: str, parents: dict[str, str]
) -> dict[str, str] | None:
    """The unique keys above `uid`, searching below every candidate that `parents` leaves open."""
    for depth, level in enumerate(path):
        key = unique_key(level)
        if level is path[-1]:
            match = {**parents, key: uid}
            async for dataset in client.find(level, match, root=root):
                if str(dataset.get(key, "")) == uid:
                    return {k: v for k, v in parents.items() if k != key}
            return None
        if key in parents:
            continue
        upper = {k: v for k, v in parents.items() if k in {unique_key(one) for one in path[:depth]}}
        candidates = [str(d.get(key, "")) async for d in client.find(level, upper, [key], root=root)]
        for candidate in filter(None, candidates):
            found = await _descend(client, path, root, uid, {**parents, key: candidate})
            if found is not None:
                return found
        return None
    return None


async def _leaves(client: Client, level: Level, root: Root, keys: dict[str, str]) -> AsyncIterator[Dataset]:
    """Every instance below the unique keys, each level asked with all keys above it."""
    below = [one for one in levels(root) if one > level]
    if not below:
        async for dataset in client.find(Level.IMAGE, keys, ["SOPClassUID"], root=root):
            yield dataset
        return
    if below[0] is Level.IMAGE:
        async for dataset in client.find(Level.IMAGE, keys, ["SOPClassUID"], root=root):
            yield dataset
        return
    key = unique_key(below[0])
    children = [str(d.get(key, "")) async for d in client.find(below[0], keys, [key], root=root)]
    for child in filter(None, children):
        async for dataset in _leaves(client, below[0], root, {**keys, key: child}):
            yield dataset


class Retrieve:
    """One C-GET: `into_directory`, or iterated for the data sets themselves."""

    def __init__(
        self,
        client: Client,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: str | Path | None,
        root: Root | str,
        parents: Mapping[str, str] | None,
        durability: Durability,
        progress: ProgressCallback | None,
    ) -> None:
        self.result = RetrieveResult()
        self._client = client
        self._level = Level.parse(level)
        self._root = parse_root(root)
        self._uids = check_uids(self._level, self._root, uid)
        self._directory = Path(directory) if directory is not None else None
        self._parents = dict(parents or {})
        self._durability: Durability = durability
        self._progress = progress
        self._ready: asyncio.Queue[Dataset | None] = asyncio.Queue()
        self._reading: Reading | None = None  # of the association it runs on
        self._left = False  # nobody iterates any more
        self._good = 0  # objects and bytes safe here, counted as they come
        self._bytes = 0

    async def into_directory(self) -> RetrieveResult:
        """The whole retrieve, into files."""
        return await self._run(self._file_sink)

    async def __aiter__(self) -> AsyncIterator[Dataset]:
        """Every data set as it arrives; leaving early cancels. A failure is raised at the end."""

        async def work() -> None:
            try:
                await self._run(self._dataset_sink)
            finally:
                self._ready.put_nowait(None)

        tasks = Tasks()
        task = tasks.start(work())
        try:
            while (dataset := await self._ready.get()) is not None:
                self._release()
                yield dataset
            await task
        finally:
            self._left = True
            self._release(everything=True)
            if not task.done():
                tasks.end()
                await tasks.wait()
            if task.done() and not task.cancelled() and task.exception() is not None:
                log.debug("the retrieve iterated over ended with: %s", task.exception())
        if self.result.error is not None:
            raise self.result.error
        if self.result.status != 0:  # a warning, too, says that an object failed
            failed = OperationCancelled if self.result.status == CANCEL else OperationFailed
            raise failed("C-GET", self.result.status, self.result.comment)

    # --- sinks

    def _received(self, item: ReceivedItem) -> None:
        self.result.items.append(item)
        if item.ok:
            self._good += 1
            self._bytes += item.bytes
        self._tell()

    def _file_sink(self, request: Request) -> StoreSink:
        assert self._directory is not None
        assert isinstance(request.message, m.CStoreRQ)
        return open_file_sink(
            self._directory,
            request.message,
            request.context,
            source_ae=self._client.peer.called_ae,
            durability=self._durability,
            done=self._received,
        )

    def _dataset_sink(self, request: Request) -> StoreSink:
        message, context = request.message, request.context
        assert isinstance(message, m.CStoreRQ)

        def done(outcome: StoreOutcome, dataset: Dataset | None) -> None:
            if dataset is not None and not self._left:  # else what comes while it is cancelled is dropped
                self._ready.put_nowait(dataset)
                if self._ready.qsize() >= DATASETS_AHEAD and self._reading is not None:
                    self._reading.full(self)
            self._received(received(message, context, outcome))

        return DatasetSink(message, context, MAXIMUM_DATASET, done)

    def _release(self, *, everything: bool = False) -> None:
        """Let the peer go on once half of what was waiting has been taken."""
        if self._reading is not None and (everything or self._ready.qsize() <= DATASETS_AHEAD // 2):
            self._reading.room(self)

    # --- the work

    async def _run(self, factory: SinkFactory) -> RetrieveResult:
        started = time.perf_counter()
        client = self._client
        receiver = Receiver()
        async with client.limited():
            if self._directory is not None:
                await on_thread(partial(_make_directory, self._directory))
            plan = await make_plan(client, self._level, self._root, self._uids, self._parents)
            self.result.expected = plan.expected
            self._tell()
            try:
                async with client.association(plan.proposals(), provider=receiver) as association:
                    receiver.factory = factory
                    self._reading = association.connection.reading
                    try:
                        for target in plan.targets:
                            await self._get(association, plan, target)
                    finally:
                        receiver.factory = None
            except AiodicomError as error:
                if not self.result.items:
                    raise
                self.result.error = error
        self.result.seconds = time.perf_counter() - started
        return self.result

    async def _get(self, association: Association, plan: Plan, target: Target) -> None:
        query = build_retrieve("C-GET", plan.level, plan.root, [target.uid], target.parents)
        context = self._client.need_context(association, query.model)
        operation = await association.invoke(
            context,
            lambda n: m.CGetRQ(message_id=n, affected_sop_class_uid=query.model),
            query.encode(context.transfer_syntax),
        )
        operation.consumer = self
        try:
            while True:
                response, data = await operation.next()
                assert isinstance(response, m.CGetRSP)
                if categorize(response.status) is not Category.PENDING:
                    add_final(self.result, response, data, context.transfer_syntax)
                    return
        finally:
            await association.cancel(operation)

    def _tell(self) -> None:
        if self._progress is None:
            return
        total = len(self.result.expected) if self.result.expected is not None else None
        failed = len(self.result.items) - self._good
        self._progress(Progress(self._good, total, self._bytes, None, failed))


def add_final(
    result: RetrieveResult, response: m.CGetRSP | m.CMoveRSP, data: bytes | None, transfer_syntax: str
) -> None:
    """Add a final response to a result: the first that is no success stays the status of the whole."""
    if result.status == 0:
        result.status = response.status
        result.comment = response.error_comment
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


def _make_directory(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)


MoveResponses = Callable[[], Awaitable[tuple[m.CMoveRSP, bytes | None, str]]]


async def follow_move(
    result: RetrieveResult, following: MoveResponses, progress: ProgressCallback | None
) -> None:
    """Take a C-MOVE's responses to the final one."""
    while True:
        response, data, transfer_syntax = await following()
        if categorize(response.status) is not Category.PENDING:
            add_final(result, response, data, transfer_syntax)
            return
        if progress is not None:
            done = (response.completed or 0) + (response.warning or 0)
            total = done + (response.failed or 0) + (response.remaining or 0)
            progress(Progress(done, total, 0, None, response.failed or 0))


@asynccontextmanager
async def moving(client: Client, query: Query, destination: str) -> AsyncIterator[tuple[int, MoveResponses]]:
    """A C-MOVE under way: its message id, and a call that gives response after response."""
    async with client.association([Proposal(query.model)]) as association:
        context = client.need_context(association, query.model)
        operation = await association.invoke(
            context,
            lambda n: m.CMoveRQ(
                message_id=n, affected_sop_class_uid=query.model, move_destination=destination
            ),
            query.encode(context.transfer_syntax),
        )

        async def following() -> tuple[m.CMoveRSP, bytes | None, str]:
            response, data = await operation.next()
            assert isinstance(response, m.CMoveRSP)
            return response, data, context.transfer_syntax

        try:
            yield operation.message_id, following
        finally:
            await association.cancel(operation)
