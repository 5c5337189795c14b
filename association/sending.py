"""Messages out: whole, one after the other, a data set of any size in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeGuard

from ..dimse import messages as m
from ..dimse.session import Session
from ..dimse.status import Category, categorize
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.upper_layer import Buffer
from .errors import AssociationAborted
from .transport import Connection

PART = 1024 * 1024
"""Bytes of a data set given to the connection at a time (even)."""

Parts = AsyncIterator[tuple[Buffer, bool]]
"""A data set in parts: (buffer, whether it is the last); parts but the last have even length."""


class Line(Protocol):
    """What the parts of an association ask of it."""

    session: Session
    connection: Connection

    @property
    def over(self) -> bool:
        """Whether it has ended, however it did."""

    def check_usable(self) -> None:
        """Raise why nothing can be sent, if nothing can."""

    def abort_now(self, error: AiodicomError | None = None) -> None:
        """End it; what is over already stays so."""


class Sender:
    """Sends messages; they wait for each other's data sets."""

    def __init__(self, line: Line, answered: Callable[[int, int], None] | None = None) -> None:
        """answered: told the command field of a request, and the status, of each final response."""
        self._line = line
        self._answered = answered
        self.lock: asyncio.Lock = asyncio.Lock()

    async def send(self, context_id: int, message: m.Message, data: Buffer | Parts | None = None) -> None:
        """Send one message whole.

        Cancelled or failing in the middle of a data set it aborts the association: half a message cannot
        be taken back.
        """
        async with self.lock:
            self._line.check_usable()
            session, connection = self._line.session, self._line.connection
            session.send(context_id, with_dataset(message, data is not None))
            if data is None:
                connection.flush()
            elif isinstance(data, bytes | bytearray | memoryview) and len(data) <= PART:
                session.send_data(data, last=True)
                connection.flush()
            elif isinstance(data, bytes | bytearray | memoryview):
                await self._send_parts(parts_of(data))
            else:
                await self._send_parts(data)
            if self._answered is not None and _is_final(message):
                self._answered(message.command_field & 0x7FFF, message.status)
            await connection.drain()

    async def send_each(self, context_id: int, response: m.Response, datasets: Sequence[bytes]) -> None:
        """Send a pending response once with each data set; what makes `PART` bytes goes out in one write."""
        async with self.lock:
            start = held = 0
            for position, data in enumerate(datasets, 1):
                held += len(data)
                if held < PART and position < len(datasets):
                    continue
                self._line.check_usable()
                self._line.session.send_each(context_id, response, datasets[start:position])
                self._line.connection.flush()
                await self._line.connection.drain()
                start, held = position, 0

    async def _send_parts(self, parts: Parts) -> None:
        session, connection = self._line.session, self._line.connection
        try:
            async for part, last in parts:
                self._line.check_usable()
                session.send_data(part, last)
                connection.flush()
                await connection.drain()
        except BaseException as error:
            if not self._line.over:
                text = f"sending stopped in the middle of a data set: {error}"
                self._line.abort_now(AssociationAborted(text, by_peer=False))
            raise
        finally:  # now, not when the traceback that holds it is forgotten: a file may be open in there
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()


def _is_final(message: m.Message) -> TypeGuard[m.Response]:
    return isinstance(message, m.Response) and categorize(message.status) is not Category.PENDING


def with_dataset(message: m.Message, present: bool) -> m.Message:
    """The message with a true Command Data Set Type. Raises LocalProtocolError where it needs a data set."""
    if message.has_dataset == present:
        return message
    if not present and isinstance(message, m.CStoreRQ | m.CFindRQ | m.CGetRQ | m.CMoveRQ | m.NSetRQ):
        raise LocalProtocolError(f"{type(message).__name__} needs a data set")
    return replace(message, has_dataset=present)


async def parts_of(data: Buffer) -> Parts:
    """A data set in memory in parts, so that a slow peer holds us and not our write buffer."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), PART):
        yield view[start : start + PART], start + PART >= len(view)
