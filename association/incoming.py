"""An object taken while it arrives: its header first, then its data set part by part, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

from ..dataset.part10 import encode_file_meta
from ..dataset.sinks import StoreOutcome
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from .performing import Request
from .sinking import Head

PARTS = 1024 * 1024
"""Bytes of one object that wait for who reads it, at which the peer is held."""


class Incoming:
    """One object that arrives: `head` is what stands before its pixels, ``async for part in it`` all of it.

    The parts are those of its data set in its transfer syntax, from the first element on. It is answered for
    when its last part has been taken, or it was left. `request` is what a server was asked, None in a
    retrieve.
    """

    def __init__(self, head: Head, request: Request | None = None) -> None:
        self.head: Head = head
        self.request: Request | None = request
        self.whole: bool = False
        """Whether its last byte is here."""
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._left = False  # nobody reads it any more
        self._lost = False  # it will never be whole
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Incoming {self.head.sop_instance_uid}>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._read()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._held -= len(part)
                self._change()
                yield part
            if self._lost:
                raise EOFError(f"{self.head.sop_instance_uid} ended before it was whole")
            if self.whole:
                return
            await self._changed.wait()

    async def read(self) -> bytes:
        """What is left of it, as one. Raises EOFError when it is cut off."""
        return b"".join([part async for part in self])

    async def file(self) -> AsyncGenerator[bytes, None]:
        """The parts of a file of it (PS3.10 7.1): what stands before the data set, then its parts."""
        head = self.head
        yield encode_file_meta(
            sop_class_uid=head.sop_class_uid,
            sop_instance_uid=head.sop_instance_uid,
            transfer_syntax_uid=head.transfer_syntax_uid,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            source_ae=None if self.request is None else self.request.calling_ae,
        )
        async for part in self:
            yield part

    def leave(self) -> None:
        """Take no more of it: what still comes is dropped."""
        self._left = True
        self._parts.clear()
        self._held = 0
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- the sink

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        """A part has come."""
        if self._left:
            return None
        self._parts.append(bytes(data))
        self._held += len(data)
        self._change()
        return self._room() if self._held >= PARTS else None

    async def _room(self) -> None:
        while self._held >= PARTS // 2:
            await self._changed.wait()

    async def commit(self) -> StoreOutcome:
        """It is whole; wait until it has been taken."""
        self.end()
        while self._parts:
            await self._changed.wait()
        return StoreOutcome(0)

    def end(self) -> None:
        """Its last byte is here."""
        self.whole = True
        self._change()

    def discard(self) -> None:
        """It will never be whole."""
        if not self.whole:
            self._lost = True
            self._change()
