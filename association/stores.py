"""A run of C-STOREs on one association: as many outstanding as negotiated, each with its outcome."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial

from ..dataset.coding import encode_dataset
from ..dataset.errors import ImagingError
from ..dataset.instance import Instance
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.status import Status
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.upper_layer import Buffer
from .answers import words_of
from .budget import Budget
from .buffers import Buffers
from .converting import Conversion, converted_parts, native_context, substitute
from .decompressing import Decompressor
from .errors import InactivityTimeout
from .operations import Operation
from .outgoing import Item, Loaded, is_dataset, load_ahead, read_parts
from .performing import Performed
from .sending import PART, Parts, parts_of
from .tasks import on_thread

log: logging.Logger = logging.getLogger("aiodicom.stores")

READ_AHEAD = 3 * PART
"""Bytes of a large object held at once: a part that waits to be written, one ready, one being read."""
LITTLE = 128 * 1024
"""Bytes of a part of any object, and of what waits to be written, where there is no room to read ahead."""
UNLIMITED_WINDOW = 16
"""C-STOREs kept outstanding where the negotiated window has no limit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object: the status it was answered with, or None and why there is none.

    `refused`: no presentation context carries it. `size` is what was sent, in bytes. `converted`: the
    transfer syntax it was sent in, where that is not its own.
    """

    item: Instance
    status: Status | None = None
    comment: str | None = None
    error: str | None = None
    refused: bool = False
    size: int = 0
    converted: str | None = None


@dataclass(slots=True)
class _Sent:
    operation: Operation
    item: Instance
    size: int
    converted: str | None = None


@dataclass(kw_only=True)
class StoreRun:
    """Sends objects in order and tells `done` of each, once, whatever ends the run.

    `after` is awaited when an object is through, `wanted` asked before one begins; what has not begun by
    then, or by an error, is not told. `limit` is the seconds that a part of an object may take to be taken,
    and the answer to come; `budget` what objects may be read ahead in. `convert`: an object of which the
    peer took no context goes out in another uncompressed transfer syntax, if one was taken (PS3.5 10.1); with
    a `decompressor` a compressed one too; a `turn` is had for as long as such an object is held.
    `progress` is told of each part of a large object that has gone out.
    """

    association: Performed
    done: Callable[[Outcome], None]
    after: Callable[[], Awaitable[None]] | None = None
    wanted: Callable[[], bool] = lambda: True
    progress: Callable[[Instance, int], None] | None = None
    priority: int = m.Priority.MEDIUM
    originator: tuple[str, int] | None = None
    limit: float | None = None
    budget: Budget | None = None
    convert: bool = False
    decompressor: Decompressor | None = None
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    def __post_init__(self) -> None:
        self._buffers = Buffers(self.association.connection.taken)

    async def run(self, items: Sequence[Instance]) -> None:
        """Send them. Raises what ended the association, and an AiodicomError for a file it cannot read."""
        window = self.association.session.window.invoked or UNLIMITED_WINDOW
        contexts = {
            (c.abstract_syntax, c.transfer_syntax): c for c in self.association.contexts.values() if c.scu
        }
        pending: deque[_Sent] = deque()
        try:
            async with aclosing(load_ahead(items, self.budget, self._buffers.take)) as ahead:
                async for loaded in ahead:
                    self._buffers.collect()
                    if len(pending) >= window:
                        await self._answer(pending.popleft())
                    if not self.wanted():  # looked at between objects: half of one cannot be taken back
                        break
                    item = loaded.item
                    if loaded.error is not None:
                        await self._tell(Outcome(item, error=loaded.error))
                        continue
                    context = contexts.get((item.sop_class_uid, item.transfer_syntax_uid))
                    if context is not None:
                        pending.append(await self._send(context, loaded))
                    else:
                        pending += await self._send_changed(loaded, contexts)
            while pending:
                await self._answer(pending.popleft())
            self._buffers.collect()
        except BaseException as error:
            why = str(error) or "storing was stopped"
            for sent in pending:
                self.done(Outcome(sent.item, error=f"not answered: {why}"))
            raise

    async def _tell(self, outcome: Outcome) -> None:
        self.done(outcome)
        if self.after is not None:
            await self.after()

    async def _send_changed(self, loaded: Loaded, contexts: Mapping[tuple[str, str], Context]) -> list[_Sent]:
        """Send it in a transfer syntax that the peer took, where that can be done, in its turn."""
        other = substitute(loaded.item, contexts) if self.convert else None
        if other is not None:
            async with self.turn():
                return await self._send_converted(loaded, *other)
        if self.decompressor is not None and (native := _decoded_for(loaded.item, contexts)):
            async with self.turn():
                return await self._send_decompressed(self.decompressor, loaded, *native)
        await self._tell(Outcome(loaded.item, error="no presentation context", refused=True))
        return []

    async def _send_decompressed(
        self, decompressor: Decompressor, loaded: Loaded, syntax: str, context: Context
    ) -> list[_Sent]:
        """Send it without compression; nothing is sent of an object that cannot be decoded."""
        async with AsyncExitStack() as stack:
            try:
                native = await stack.enter_async_context(decompressor.decompressed(loaded.item))
            except (ImagingError, OSError) as error:
                await self._tell(Outcome(loaded.item, error=str(error)))
                return []
            if not self.wanted():  # decoding may take long
                return []
            if syntax != native.transfer_syntax_uid:
                return await self._send_converted(loaded, syntax, context, native)
            return [await self._send(context, loaded, read_parts(native, PART), syntax)]

    async def _send_converted(
        self, loaded: Loaded, syntax: str, context: Context, source: Instance | None = None
    ) -> list[_Sent]:
        """Send it in another transfer syntax; nothing is sent of an object that cannot be converted.

        source: where it lies decoded.
        """
        item = loaded.item
        try:
            if isinstance(item, Item) and is_dataset(item.dataset):
                data = await on_thread(partial(encode_dataset, item.dataset, syntax))
                return [await self._send(context, Loaded(item, data), converted=syntax)]
            conversion = await on_thread(
                lambda: Conversion(source or loaded.item, syntax), unwanted=Conversion.close
            )
        except (ImagingError, LocalProtocolError, OSError) as error:
            await self._tell(Outcome(item, error=str(error)))
            return []
        log.debug("an object in %s is sent in %s", item.transfer_syntax_uid, syntax)
        try:
            return [await self._send(context, loaded, converted_parts(conversion), syntax)]
        finally:
            if not conversion.begun:  # no part was asked for, so that its parts do not close it
                conversion.close()

    async def _send(
        self, context: Context, loaded: Loaded, parts: Parts | None = None, converted: str | None = None
    ) -> _Sent:
        item = loaded.item
        originator, message_id_of = self.originator or (None, None)

        def request(message_id: int) -> m.CStoreRQ:
            return m.CStoreRQ(
                message_id=message_id,
                affected_sop_class_uid=item.sop_class_uid,
                affected_sop_instance_uid=item.sop_instance_uid,
                priority=self.priority,
                move_originator_ae=originator,
                move_originator_message_id=message_id_of,
            )

        try:
            async with asyncio.timeout(self.limit) as deadline:
                operation = await self.association.invoke(
                    context, request, self._data(loaded, deadline, parts)
                )
        except AiodicomError as error:
            self.done(Outcome(item, error=f"not sent whole: {error}"))
            raise
        except TimeoutError:
            self.done(Outcome(item, error="not sent whole: it was not taken in time"))
            raise self._too_slow() from None
        except OSError as error:
            self.done(Outcome(item, error=f"not sent whole: reading failed: {error}"))
            raise self.association.error or AiodicomError(str(error)) from error
        except BaseException:
            self.done(Outcome(item, error="not answered: storing was stopped"))
            raise
        size = len(loaded.data) if loaded.data is not None else item.data_size
        if loaded.data is not None and parts is None:
            self._buffers.sent(loaded.data, self.association.connection.handed)
        return _Sent(operation, item, size, converted)

    def _too_slow(self) -> InactivityTimeout:
        text = f"an object was not taken or not answered within {self.limit} s"
        error = InactivityTimeout(text, limit="inactivity", seconds=self.limit)
        self.association.abort_now(error)
        return error

    def _data(self, loaded: Loaded, deadline: asyncio.Timeout, parts: Parts | None = None) -> Buffer | Parts:
        """What to send of an object: each part of a large one has the time anew."""
        if parts is not None:
            return self._parts(loaded.item, parts, deadline)
        if loaded.data is not None and len(loaded.data) <= PART:
            return loaded.data
        whole = parts_of(loaded.data) if loaded.data is not None else self._read(loaded.item)
        return self._parts(loaded.item, whole, deadline)

    async def _read(self, item: Instance) -> Parts:
        """A large object in parts, each in a buffer that is used again when it has gone out.

        However many peers take theirs slowly, what is held of them all together is the budget, and a little
        each: without room the parts are small, and none is read before the one in front of it has gone.
        """
        connection, ahead = self.association.connection, self.budget is None or self.budget.take(READ_AHEAD)
        try:
            if not ahead:
                connection.narrow(LITTLE)
            part = PART if ahead else LITTLE
            async with aclosing(read_parts(item, part, self._buffers.take, ahead=ahead)) as parts:
                async for data, last in parts:
                    yield data, last
                    self._buffers.sent(data, connection.handed)
                    self._buffers.collect()
        finally:
            if not ahead:
                connection.narrow(None)
            elif self.budget is not None:
                self.budget.give(READ_AHEAD)

    async def _parts(self, item: Instance, whole: Parts, deadline: asyncio.Timeout) -> Parts:
        try:
            async for part, last in whole:
                if self.limit is not None:
                    deadline.reschedule(asyncio.get_running_loop().time() + self.limit)
                yield part, last
                if self.progress is not None:
                    self.progress(item, len(part))
        finally:  # now: it holds a file and its budget
            if isinstance(whole, AsyncGenerator):
                await whole.aclose()

    async def _answer(self, sent: _Sent) -> None:
        try:
            async with asyncio.timeout(self.limit) as deadline:
                response, data = await sent.operation.next()
        except BaseException as error:
            sent.operation.abandon()
            if isinstance(error, TimeoutError) and deadline.expired():
                self.done(Outcome(sent.item, error="not answered in time"))
                raise self._too_slow() from None
            why = str(error) or "storing was stopped"
            self.done(Outcome(sent.item, error=f"not answered: {why}"))
            raise
        status = Status(response.status, "C-STORE")
        comment = words_of(
            response, data, self.association.contexts[sent.operation.context_id].transfer_syntax
        )
        await self._tell(Outcome(sent.item, status, comment, size=sent.size, converted=sent.converted))


def _decoded_for(item: Instance, contexts: Mapping[tuple[str, str], Context]) -> tuple[str, Context] | None:
    """What carries it without compression; None for one in memory, which no process can be told to read."""
    in_memory = isinstance(item, Item) and (is_dataset(item.dataset) or item.content is not None)
    return None if in_memory else native_context(item, contexts)
