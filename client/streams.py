"""What is asked of a peer and answered piece by piece: begun when it is first taken from, ended when left."""

from __future__ import annotations

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Stream(ABC, Generic[T]):
    """Iterated once: ``async for one in stream``. Leaving the loop early ends what runs at the peer.

    ``async with`` and `aclose` wait until it has ended; without them it ends soon after the loop was left,
    also where the stream itself is kept: the loop alone keeps the generator, unless `anext` was called.
    """

    def __init__(self) -> None:
        self._begun = False
        self._running: weakref.ref[AsyncGenerator[T, None]] | None = None
        self._kept: AsyncGenerator[T, None] | None = None
        self._over: asyncio.Event | None = None  # of the generator, once it runs

    @abstractmethod
    def _start(self) -> AsyncGenerator[T, None]:
        """The generator of what comes."""

    def _begin(self) -> bool:
        """Whether it is now that it begins: it does once."""
        begins, self._begun = not self._begun, True
        return begins

    def __aiter__(self) -> AsyncGenerator[T, None]:
        running = None if self._running is None else self._running()
        if running is None:
            if not self._begin():
                raise RuntimeError(f"a {type(self).__name__} can be iterated once")
            running = self._run_through(self._start())
            self._running = weakref.ref(running)
        return running

    async def _run_through(self, generator: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        over = self._over = asyncio.Event()
        try:
            async for one in generator:
                yield one
        finally:
            try:
                await generator.aclose()
            finally:
                over.set()

    async def __anext__(self) -> T:
        if self._kept is None:
            self._kept = aiter(self)
        return await anext(self._kept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it, if it has not ended."""
        running = None if self._running is None else self._running()
        if running is not None:
            await running.aclose()
        await self.left()

    async def left(self) -> None:
        """Wait for its end, if its loop was left: the event loop closes it then."""
        running = None if self._running is None else self._running()
        if running is None and self._over is not None:
            await self._over.wait()
