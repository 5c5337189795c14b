"""C-MOVE as a user: to another application entity, or to this process by a listener of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..association.tasks import on_thread
from ..dimse import messages as m
from ..dimse.contexts import Proposal
from ..dimse.levels import Level, Root, move_model
from ..dimse.status import Category, categorize
from ..pdu.errors import AiodicomError
from ..server.listener import Server
from .associations import Associations, need_context
from .identifier import build_retrieve
from .listening import Arrivals, Listening, listened
from .planning import Target, make_plan
from .receiving import Durability, prepare
from .results import Progress, ProgressCallback
from .retrieved import Arrived, RetrieveResult
from .retrieving import add_final, nothing_found

log: logging.Logger = logging.getLogger("aiodicom.moving")

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
        arrivals = Arrivals(folder, originators, durability, arrived)
        if listening.limits is not None and listening.limits.max_object_size is not None:
            arrivals.max_object_size = listening.limits.max_object_size
        async with self._associations.limited():
            await on_thread(lambda: prepare(folder))
            senders = [*await self._senders(), *listening.accept_from]
            async with listened(arrivals, listening, senders) as server:
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

    async def _receive(self, arrivals: Arrivals, server: Server, quiet: float) -> None:
        try:
            targets = await self._plan(arrivals.arrived)
            if self.result.expected is not None:
                arrivals.planned = frozenset(self.result.expected)
            for target in targets:
                await self._ask(target, arrivals)
        except AiodicomError as error:
            self.result.ended_by(error)
            if not self.result.came:
                raise
        else:
            await arrivals.late(server, quiet)

    async def _plan(self, arrived: Arrived) -> list[Target]:
        self._root = await self._associations.choose_root(self._level, self._root, move_model)
        plan = await make_plan(self._associations, self._level, self._root, self._uids, self._parents)
        arrived.expect(plan.expected)
        self.result.parents_unknown = plan.parents_unknown
        return plan.targets

    async def _ask(self, target: Target, arrivals: Arrivals | None) -> None:
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
