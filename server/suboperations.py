"""C-GET and C-MOVE as a provider: the sub-operations, their counters and the final response."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from ..archive.selection import PAGE, Selection
from ..association.association import Association
from ..association.budget import Budget
from ..association.connect import Peer, associate
from ..association.converting import with_defaults
from ..association.outgoing import groups
from ..association.performing import Performed, Request
from ..association.stores import Outcome, StoreRun
from ..association.tasks import Tasks, on_thread
from ..association.timeouts import Timeouts
from ..dataset.encoding import encode_uids
from ..dataset.instance import Instance
from ..dimse import messages as m
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.status import MOVE_DESTINATION_UNKNOWN, PENDING
from ..dimse.suboperations import FAILED_LIST, SubOperations
from ..pdu.errors import AiodicomError
from .limits import ServerLimits
from .resources import Resources
from .service import Destination

log: logging.Logger = logging.getLogger("aiodicom.server")

PENDING_INTERVAL = 0.25
"""Seconds between pending responses: they tell a user, and each costs the peer a message."""


class SubOperationsSender:
    """One C-GET or C-MOVE being performed: a C-CANCEL is looked at between objects."""

    def __init__(
        self,
        request: Request,
        message: m.CGetRQ | m.CMoveRQ,
        instances: Sequence[Instance],
        limits: ServerLimits,
        shared: Resources,
        budget: Budget,
        ae_title: str = "",
    ) -> None:
        self._shared = shared
        self._budget = budget
        self._decompressor = shared.decompressor
        self._turn = partial(shared.converting.turn, request.origin)
        self._ae_title = ae_title or request.called_ae
        self._request = request
        self._message = message
        self._instances = instances
        self._limits = limits
        self._done = SubOperations(len(instances))
        self._told = time.monotonic()
        self._unsent = 0
        self._dialling: asyncio.Task[Association] | None = None
        self._tasks = Tasks()
        request.on_cancel = self._stop_dialling

    async def get(self) -> None:
        """Send everything on the association the request came on."""
        limit = self._limits.inactivity_timeout
        await self._run(self._request.association, self._record, limit).run(self._instances)
        await self._finish()

    def _run(
        self,
        association: Performed,
        done: Callable[[Outcome], None],
        limit: float | None,
        originator: tuple[str, int] | None = None,
    ) -> StoreRun:
        return StoreRun(
            association=association,
            done=done,
            after=self._tell,
            wanted=self._wanted,
            priority=self._message.priority,
            originator=originator,
            limit=limit,
            budget=self._budget,
            convert=True,
            decompressor=self._decompressor,
            turn=self._turn,
        )

    async def move(self, destination: Destination | None, ae_title: str) -> None:
        """Send everything to another application entity, over an association at a time that has its turn."""
        if destination is None:
            await self._request.answer(MOVE_DESTINATION_UNKNOWN, "move destination unknown")
            return
        peer = self._peer(destination, ae_title)
        for proposals, items in await on_thread(
            lambda: _groups(self._instances, decoding=self._decompressor is not None)
        ):
            if not self._wanted() or not items:
                break
            async with AsyncExitStack() as turn:
                await self._move(peer, proposals, items, turn)
        await self._finish()

    def _peer(self, destination: Destination, ae_title: str) -> Peer:
        limit = self._limits.suboperation_timeout
        artim = self._limits.artim_timeout
        return Peer(
            host=destination.host,
            port=destination.port,
            called_ae=ae_title,
            calling_ae=self._ae_title,
            tls=destination.tls,
            timeouts=Timeouts(connect=limit, association=limit, inactivity=limit, artim=artim),
        )

    async def _move(
        self,
        peer: Peer,
        proposals: Sequence[Proposal],
        items: Sequence[Instance],
        turn: AsyncExitStack,
    ) -> None:
        async def connect() -> Association:
            await turn.enter_async_context(self._shared.destinations.turn(self._request.origin))
            return await associate(peer, proposals)

        try:
            association = await self._dial(connect())
        except AiodicomError as error:
            self._request.association.note("move destination", str(error))
            await self._lost(items)
            return
        if association is None:
            return
        try:
            await self._send(association, items)
        except asyncio.CancelledError:
            association.abort_now()
            raise
        try:
            await association.release()
        except AiodicomError as error:
            self._request.association.note("move destination", f"it did not release: {error}")

    async def _dial(self, connect: Coroutine[Any, Any, Association]) -> Association | None:
        """An association with the destination, or None when a C-CANCEL comes before there is one."""
        self._dialling = self._tasks.start(connect)
        try:
            await asyncio.wait([self._dialling])
            return None if self._dialling.cancelled() else self._dialling.result()
        except asyncio.CancelledError:
            self._dialling.cancel()
            await self._tasks.wait()
            raise
        finally:
            self._dialling = None

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()

    async def _send(self, association: Association, items: Sequence[Instance]) -> None:
        """Send a group's objects to the destination; an association that ends fails what is left."""
        told = 0  # they are begun in order, and each that was begun is told

        def done(outcome: Outcome) -> None:
            nonlocal told
            told += 1
            self._record(outcome)

        originator = (self._request.calling_ae, self._message.message_id)
        run = self._run(association, done, self._limits.suboperation_timeout, originator)
        try:
            await run.run(items)
        except (AiodicomError, OSError) as error:
            if not self._request.association.usable:
                raise
            self._request.association.note("a move's association ended", str(error))
            await self._lost(items, told)

    async def _lost(self, items: Sequence[Instance], begin: int = 0) -> None:
        """What of these was not begun cannot be sent."""
        for start in range(begin, len(items), PAGE):
            part = slice(start, start + PAGE)
            for item in await on_thread(partial(_taken, items, part)):
                self._record(Outcome(item))
            await self._tell()

    # --- responses

    def _wanted(self) -> bool:
        return not self._request.cancelled

    def _record(self, outcome: Outcome) -> None:
        if outcome.error is not None and not outcome.refused:
            self._unsent += 1
            if self._unsent == 1:
                self._request.association.note("a stored object could not be sent", outcome.error)
        self._done.record(outcome.item.sop_instance_uid, outcome.status)

    async def _tell(self) -> None:
        """A pending response, unless there was one a moment ago."""
        now = time.monotonic()
        if self._done.remaining and now - self._told >= PENDING_INTERVAL:
            self._told = now
            counters = self._done.counters(final=False)
            await self._request.respond(m.make_response(self._message, PENDING, **counters))

    async def _finish(self) -> None:
        done = self._done
        if self._unsent > 1:
            text = f"{self._unsent} of one request"
            self._request.association.note("stored objects could not be sent", text)
        status = done.final_status(cancelled=self._request.cancelled)
        data = None
        if done.failed_uids:  # as many as the study has objects: their list is made on a thread
            syntax = self._request.context.transfer_syntax
            data = await on_thread(partial(encode_uids, FAILED_LIST, done.failed_uids, syntax))
        counters = done.counters(final=True)
        response = m.make_response(self._message, status, has_dataset=data is not None, **counters)
        await self._request.respond(response, data)


def _taken(items: Sequence[Instance], part: slice) -> Sequence[Instance]:
    return items[part]


def _groups(
    instances: Sequence[Instance], *, decoding: bool
) -> list[tuple[list[Proposal], Sequence[Instance]]]:
    """What goes over one association each: what it proposes, and the objects. May block."""
    if isinstance(instances, Selection) and len(instances.pairs) <= MAX_CONTEXTS:
        proposals = [Proposal(sop_class, (syntax,)) for sop_class, syntax in instances.pairs]
        return [(with_defaults(proposals, decoding=decoding), instances)]
    found = groups(instances)
    return [(with_defaults(proposals, decoding=decoding), items) for proposals, items in found]
