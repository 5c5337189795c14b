"""Objects taken while they arrive: the header first, then the data set part by part, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from ..association.tasks import Tasks
from ..dataset.sinks import StoreOutcome
from .retrieved import ReceivedItem, RetrieveResult
from .retrieving import Retrieve
from .sinking import Head, SinkFactory
from .streams import Stream

PARTS = 1024 * 1024
"""Bytes of one object that wait for who reads it, at which the peer is held."""


class Incoming:
    """One object that arrives: `head` is what stands before its pixels, ``async for part in it`` all of it.

    The parts are those of its data set in its transfer syntax, from the first element on. It is answered for
    when its last part has been taken, or it was left.
    """

    def __init__(self, head: Head) -> None:
        self.head: Head = head
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
        self.whole = True
        self._change()
        while self._parts:
            await self._changed.wait()
        return StoreOutcome(0)

    def discard(self) -> None:
        """It will never be whole."""
        if not self.whole:
            self._lost = True
            self._change()


class Objects(Stream[Incoming]):
    """The objects of a retrieve, each as soon as its header is here: ``async for one in pacs.stream(...)``.

    What is not read of one when the next is asked for is dropped. `result` is the retrieve's.
    """

    def __init__(self, make: Callable[[SinkFactory], Retrieve[ReceivedItem]]) -> None:
        super().__init__()
        self._coming: deque[Incoming] = deque()
        self._all_came = False
        self._left = False  # nobody takes any more: what still comes while it is cancelled is dropped
        self._changed = asyncio.Event()
        self._retrieve = make(self._sink)

    @property
    def result(self) -> RetrieveResult:
        """What the retrieve came to so far."""
        return self._retrieve.result

    def _sink(self, head: Head) -> Incoming:
        coming = Incoming(head)
        if self._left:
            coming.leave()
        else:
            self._coming.append(coming)
            self._changed.set()
        return coming

    async def _start(self) -> AsyncGenerator[Incoming, None]:
        async def work() -> None:
            async for _ in self._retrieve:  # raises at its end what it ended with
                continue

        def ended() -> None:
            self._all_came = True
            self._changed.set()

        tasks = Tasks()
        task = tasks.start(work(), ended)
        one: Incoming | None = None
        try:
            while True:
                while not self._coming and not self._all_came:
                    self._changed.clear()
                    await self._changed.wait()
                if not self._coming:
                    break
                one = self._coming.popleft()
                yield one
                one.leave()
            await task
        finally:
            self._left = True
            for left in [*([one] if one is not None else []), *self._coming]:
                left.leave()
            tasks.end()
            await tasks.wait()
