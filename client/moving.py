"""C-MOVE as a user: to another application entity, or to this process by a listener of its own."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..association.performing import Refused, Request
from ..association.tasks import on_thread
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Proposal, Supported
from ..dimse.levels import Level, Root, move_model
from ..dimse.sop_classes import maybe_storage, patient_sop_classes
from ..dimse.status import NOT_AUTHORIZED, Category, categorize
from ..pdu.errors import AiodicomError
from ..server.access import Access
from ..server.limits import ServerLimits
from ..server.listener import Server
from ..server.service import Service
from .associations import Associations, need_context
from .identifier import build_retrieve
from .planning import Target, make_plan
from .receiving import MAXIMUM_OBJECT, Durability, open_file_sink, prepare
from .results import Progress, ProgressCallback
from .retrieved import Arrived, RetrieveResult
from .retrieving import add_final, nothing_found

log: logging.Logger = logging.getLogger("aiodicom.moving")

LISTEN_PORT = 11112
"""Where a move to this process is listened for, unless told otherwise."""
QUIET_PERIOD = 5.0
"""Seconds without an arrival, after the C-MOVE's final response, at which what is missing is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The listener of a move to this process: where it listens, and what it lets the peer take."""

    host: str | None = None
    port: int = LISTEN_PORT
    tls: ssl.SSLContext | None = None
    limits: ServerLimits | None = None
    quiet: float = QUIET_PERIOD
    accept_from: Sequence[str] = ()


_THIS_MACHINE = ("127.0.0.0/8", "::1")


class Move:
    """One C-MOVE, for each unique key one after the other."""

    def __init__(
        self,
        associations: Associations,
        level: Level,
        root: Root | None,
        uids: Sequence[str],
        title: str,
        parents: Mapping[str, str],
        progress: ProgressCallback | None,
    ) -> None:
        self._associations = associations
        self._level = level
        self._root = root
        self._uids = list(uids)
        self._title = title
        self._parents = parents
        self._progress = progress
        self.result: RetrieveResult = RetrieveResult(service="C-MOVE")

    async def elsewhere(self) -> RetrieveResult:
        """To an application entity the peer knows: the result holds what the peer reported."""
        started = time.perf_counter()
        self.result.received_here = False
        async with self._associations.limited():
            for target in await self._plan(Arrived(self.result, None)):
                await self._ask(target, None)
        self.result.seconds = time.perf_counter() - started
        return self.result

    async def here(self, folder: Path, durability: Durability, listening: Listening) -> RetrieveResult:
        """To this process, into a folder. Raises OSError when the port cannot be had."""
        started = time.perf_counter()
        peer = self._associations.peer
        originators = frozenset((peer.calling_ae, peer.called_ae))
        arrived = Arrived(self.result, self._progress)
        arrivals = _Arrivals(folder, originators, durability, arrived)
        if listening.limits is not None and listening.limits.max_object_size is not None:
            arrivals.max_object_size = listening.limits.max_object_size
        async with self._associations.limited():
            await on_thread(lambda: prepare(folder))
            server = Server(
                arrivals,
                host=listening.host,
                port=listening.port,
                tls=listening.tls,
                limits=listening.limits,
                access=Access(addresses=[*await self._senders(), *listening.accept_from]),
            )
            try:
                await server.start()
            except OSError as error:
                why = f"cannot listen on port {listening.port} for the move: {error.strerror or error}"
                raise OSError(error.errno, why) from error
            async with server:
                await self._receive(arrivals, server, listening.quiet)
        self.result.seconds = time.perf_counter() - started
        return self.result

    async def _senders(self) -> list[str]:
        """Addresses a peer may send from unless more are allowed: its own, and those of this machine."""
        peer = self._associations.peer
        try:
            found = await asyncio.get_running_loop().getaddrinfo(peer.host, peer.port)
        except OSError:  # connecting to it will say so
            found = []
        return [*_THIS_MACHINE, *dict.fromkeys(str(one[4][0]).split("%")[0] for one in found)]

    async def _receive(self, arrivals: _Arrivals, server: Server, quiet: float) -> None:
        try:
            targets = await self._plan(arrivals.arrived)
            if self.result.expected is not None:
                arrivals.planned = frozenset(self.result.expected)
            for target in targets:
                await self._ask(target, arrivals)
        except AiodicomError as error:
            self.result.ended_by(error)
            if not self.result.items:
                raise
        else:
            await arrivals.late(server, quiet)

    async def _plan(self, arrived: Arrived) -> list[Target]:
        self._root = await self._associations.choose_root(self._level, self._root, move_model)
        plan = await make_plan(self._associations, self._level, self._root, self._uids, self._parents)
        arrived.expect(plan.expected)
        self.result.parents_unknown = plan.parents_unknown
        return plan.targets

    async def _ask(self, target: Target, arrivals: _Arrivals | None) -> None:
        """One C-MOVE, from its request to its final response."""
        assert self._root is not None  # chosen with the plan
        query = build_retrieve("C-MOVE", self._level, self._root, [target.uid], target.parents)
        async with self._associations.use([Proposal(query.model)]) as association:
            context = need_context(association, query.model)
            operation = await association.invoke(
                context,
                lambda n: m.CMoveRQ(
                    message_id=n, affected_sop_class_uid=query.model, move_destination=self._title
                ),
                query.encode(context.transfer_syntax),
            )
            if arrivals is not None:
                arrivals.message_ids.add(operation.message_id)
            try:
                while True:
                    response, data = await operation.next()
                    assert isinstance(response, m.CMoveRSP)
                    if categorize(response.status) is not Category.PENDING:
                        add_final(self.result, response, data, context.transfer_syntax)
                        if response.completed is not None and nothing_found(target, response):
                            self.result.not_found.append(target.uid)  # uncounted ones may still come
                        return
                    if arrivals is None:
                        self._tell(response)
            finally:
                await association.cancel(operation)

    def _tell(self, response: m.CMoveRSP) -> None:
        if self._progress is not None:
            done = (response.completed or 0) + (response.warning or 0)
            total = done + (response.failed or 0) + (response.remaining or 0)
            self._progress(Progress(done, total, 0, None, response.failed or 0))


class Moving:
    """A C-MOVE to be awaited for its result, which is alive meanwhile and after a cancel."""

    def __init__(self, move: Move, work: Callable[[], Coroutine[Any, Any, RetrieveResult]]) -> None:
        self.result: RetrieveResult = move.result
        self._work = work

    def __await__(self) -> Generator[Any, None, RetrieveResult]:
        return self._work().__await__()


@dataclass(slots=True)
class _Arrivals(Service):
    """Takes the objects of the C-MOVEs of one call: those of its plan, whoever they say they were moved for.

    Where there is no plan they are told by move originator and message id. Every message id of the call
    counts until its end: an archive may answer a C-MOVE before it sends.
    """

    directory: Path
    originators: frozenset[str]
    durability: Durability
    arrived: Arrived
    message_ids: set[int] = field(default_factory=set)
    planned: frozenset[str] | None = None
    max_object_size: int = MAXIMUM_OBJECT

    def supported(self) -> Supported:
        """Verification and storage of every class."""
        classes: dict[str, tuple[str, ...]] = dict.fromkeys((VERIFICATION, *patient_sop_classes()), ())
        return Supported(classes, accept_unknown=maybe_storage)

    def store(self, request: Request) -> StoreSink:
        """A file, if the object belongs to the move under way."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        if not self.message_ids or self._foreign(message):
            if self.arrived.turn_away(message.affected_sop_instance_uid):
                log.warning("%s (%s) sent what was not asked for", request.address, request.calling_ae)
            raise Refused(NOT_AUTHORIZED, "not part of the move under way")
        return open_file_sink(
            self.directory,
            message,
            request.context,
            source_ae=request.calling_ae,
            durability=self.durability,
            done=self.arrived.add,
            limit=self.max_object_size,
        )

    def _foreign(self, message: m.CStoreRQ) -> bool:
        if self.planned is not None:
            return message.affected_sop_instance_uid not in self.planned
        # Many archives leave the originator out, and pynetdicom names itself in its place (PS3.7 9.1.1.1.7
        # wants us); one that names another move is not ours to take.
        return (
            message.move_originator_ae is not None and message.move_originator_ae not in self.originators
        ) or message.move_originator_message_id not in (None, *self.message_ids)

    def awaited(self) -> bool:
        """Whether something is still to come, by what the query promised or the final response counted."""
        result = self.arrived.result
        failed = result.status is not None and result.status.category is Category.FAILURE
        if failed and not result.completed and not result.warning:
            return False  # the peer could not send, or does not know us
        if self.arrived.missing is not None:
            return bool(self.arrived.missing)
        return self.arrived.good < (result.completed or 0) + (result.warning or 0)

    async def late(self, server: Server, quiet: float) -> None:
        """Some archives answer the C-MOVE before they have sent: wait while objects come."""
        while self.awaited():
            self.arrived.event.clear()
            try:
                async with asyncio.timeout(quiet):
                    await self.arrived.event.wait()
            except TimeoutError:
                if not any(association.busy for association in server.associations):
                    return  # quiet: `missing` says what did not come
