"""C-GET and C-MOVE as a provider: the sub-operations, their counters and the final response."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing

from ..association.association import PART, Association, Parts, parts_of
from ..association.connect import Peer, associate
from ..association.errors import InactivityTimeout
from ..association.outgoing import Item, Loaded, group_proposals, load_ahead, read_parts
from ..association.performing import RunningRequest
from ..association.timeouts import Timeouts
from ..dataset.coding import encode_dataset
from ..dimse import messages as m
from ..dimse.contexts import Context, Proposal
from ..dimse.status import MOVE_DESTINATION_UNKNOWN, PENDING
from ..dimse.suboperations import SubOperations
from ..pdu.errors import AiodicomError
from ..pdu.upper_layer import Buffer
from .limits import ServerLimits
from .service import Destination, Instance

log = logging.getLogger("aiodicom.server")

PENDING_INTERVAL = 0.25
"""Seconds between pending responses: they tell a user, and each costs the peer a message."""


class Retrieving:
    """One C-GET or C-MOVE being performed."""

    def __init__(
        self,
        running: RunningRequest,
        instances: Sequence[Instance],
        limits: ServerLimits,
        ae_title: str = "",
    ) -> None:
        self._ae_title = ae_title
        running.cooperative = True
        self._running = running
        self._request = running.request
        self._items = [
            Item(
                one.path,
                one.sop_class_uid,
                one.sop_instance_uid,
                one.transfer_syntax_uid,
                one.data_offset,
                one.size - one.data_offset,
                checked=True,
            )
            for one in instances
        ]
        self._limits = limits
        self._done = SubOperations(len(instances))
        self._told = time.monotonic()

    async def get(self) -> None:
        """Send everything on the association the request came on."""
        await self._send_all(self._running.association, self._items, None)
        await self._finish()

    async def move(self, destination: Destination | None, ae_title: str) -> None:
        """Send everything to another application entity."""
        if destination is None:
            await self._running.answer(MOVE_DESTINATION_UNKNOWN, "move destination unknown")
            return
        await self._move(destination, ae_title)
        await self._finish()

    async def _move(self, destination: Destination, ae_title: str) -> None:
        limit = self._limits.suboperation_timeout
        session = self._running.association.session
        assert session.request is not None
        peer = Peer(
            host=destination.host,
            port=destination.port,
            called_ae=ae_title,
            calling_ae=self._ae_title or session.request.called_ae,
            tls=destination.tls,
            timeouts=Timeouts(
                connect=limit, association=limit, inactivity=limit, artim=self._limits.artim_timeout
            ),
        )
        for group in group_proposals(self._items):
            if self._running.cancelled:
                return
            wanted = {(p.abstract_syntax, p.transfer_syntaxes[0]) for p in group}
            items = [i for i in self._items if (i.sop_class_uid, i.transfer_syntax_uid) in wanted]
            try:
                association = await self._dial(peer, group)
            except AiodicomError as error:
                log.warning("move destination %s: %s", ae_title, error)
                for item in items:
                    await self._record(item, None)
                continue
            if association is None:
                return
            try:
                await self._send_all(association, items, session.request.calling_ae)
            except asyncio.CancelledError:
                association.abort_now()
                raise
            try:
                await association.release()
            except AiodicomError as error:
                log.info("move destination %s did not release: %s", ae_title, error)

    async def _dial(self, peer: Peer, group: Sequence[Proposal]) -> Association | None:
        """An association with the destination, or None when a C-CANCEL comes before there is one."""
        dialling = asyncio.ensure_future(associate(peer, group))
        self._running.on_cancel = dialling.cancel
        try:
            return await dialling
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._running.cancelled and task is not None and not task.cancelling():
                return None
            raise
        finally:
            self._running.on_cancel = None

    async def _send_all(
        self, association: Association, items: Sequence[Item], originator: str | None
    ) -> None:
        """One C-STORE after the other; an association that ends fails what is left."""
        contexts = {(c.abstract_syntax, c.transfer_syntax): c for c in association.contexts.values() if c.scu}
        position = 0
        try:
            async with aclosing(load_ahead(items)) as ahead:
                async for loaded in ahead:
                    if self._running.cancelled:  # looked at between objects: half of one cannot be taken back
                        return
                    item = loaded.item
                    context = contexts.get((item.sop_class_uid, item.transfer_syntax_uid))
                    status = None
                    if context is not None and loaded.error is None:
                        status = await self._store(association, context, loaded, originator)
                    elif loaded.error is not None:
                        log.error("a stored object cannot be sent: %s", loaded.error)
                    position += 1
                    await self._record(item, status)
        except (AiodicomError, OSError) as error:  # of the peer, or of a file in the middle of being sent
            if association is self._running.association:
                raise  # nobody is left to answer
            log.warning("a move's association ended: %s", error)
            for item in items[position:]:
                await self._record(item, None)

    async def _store(
        self, association: Association, context: Context, loaded: Loaded, originator: str | None
    ) -> int:
        item, request = loaded.item, self._request
        assert isinstance(request, m.CGetRQ | m.CMoveRQ)

        def make(message_id: int) -> m.CStoreRQ:
            return m.CStoreRQ(
                message_id=message_id,
                affected_sop_class_uid=item.sop_class_uid,
                affected_sop_instance_uid=item.sop_instance_uid,
                priority=request.priority,
                move_originator_ae=originator,
                move_originator_message_id=request.message_id if originator is not None else None,
            )

        limit = self._limits.suboperation_timeout if originator is not None else None
        try:
            async with asyncio.timeout(limit) as deadline:
                operation = await association.invoke(context, make, _data(loaded, deadline, limit))
                _renew(deadline, limit)
                try:
                    response, _ = await operation.next()
                finally:
                    operation.abandon()
        except TimeoutError:
            if not deadline.expired():  # the association's own
                raise
            error = InactivityTimeout(f"an object was not taken or not answered within {limit} s")
            association.abort_now(error)
            raise error from None
        return response.status

    # --- responses

    async def _record(self, item: Item, status: int | None) -> None:
        self._done.record(item.sop_instance_uid, status)
        now = time.monotonic()
        if self._done.remaining and now - self._told >= PENDING_INTERVAL:
            self._told = now
            await self._running.respond(
                m.make_response(self._request, PENDING, **self._done.counters(final=False))
            )

    async def _finish(self) -> None:
        done = self._done
        status = done.final_status(cancelled=self._running.cancelled)
        data = None
        if done.failed_uids:
            from pydicom.dataset import Dataset

            failed = Dataset()
            failed.FailedSOPInstanceUIDList = done.failed_uids
            data = encode_dataset(failed, self._running.context.transfer_syntax)
        await self._running.respond(
            m.make_response(self._request, status, has_dataset=data is not None, **done.counters(final=True)),
            data,
        )


def _data(loaded: Loaded, deadline: asyncio.Timeout, limit: float | None) -> Buffer | Parts:
    """What to send of an object: each part of a large one has the time anew."""
    if loaded.data is not None and len(loaded.data) <= PART:
        return loaded.data
    whole = parts_of(loaded.data) if loaded.data is not None else read_parts(loaded.item, PART)
    return _renewing(whole, deadline, limit)


async def _renewing(whole: Parts, deadline: asyncio.Timeout, limit: float | None) -> Parts:
    async for part, last in whole:
        _renew(deadline, limit)
        yield part, last


def _renew(deadline: asyncio.Timeout, limit: float | None) -> None:
    if limit is not None:
        deadline.reschedule(asyncio.get_running_loop().time() + limit)
