"""Associations with destinations of C-MOVEs: how many a server has at once, and for whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from ..association.errors import ConnectFailed
from .limits import ServerLimits
from .shares import Shares


class Destinations:
    """Turns to have an association with a destination, by the address that asks for the C-MOVE."""

    def __init__(self, limits: ServerLimits, descriptors: int) -> None:
        """descriptors: how many this process may have.

        Half of those kept in reserve may be used: whoever fills the server with connections keeps nobody's
        objects from a destination, and the other half stays for files.
        """
        self._limit = limits.suboperation_timeout
        self._all = asyncio.Semaphore(limits.max_destinations)
        self._shares = Shares(limits.max_destinations_per_address)
        self._capacity = descriptors - limits.descriptor_reserve // 2

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncGenerator[None, None]:
        """Room for one association, for as long as the context lasts.

        Raises ConnectFailed when there is none within `suboperation_timeout`, or no descriptor for it.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._limit):
                    await held.enter_async_context(self._shares.turn(address))
                    await held.enter_async_context(self._all)
            except TimeoutError:
                text = f"other C-MOVEs had every association with a destination for {self._limit} s"
                raise ConnectFailed(text) from None
            if lowest_free() >= self._capacity:
                raise ConnectFailed("no descriptor is free for an association with a destination")
            yield


def lowest_free() -> int:
    """The number of the descriptor that is opened next, which tells how many are in use."""
    try:
        sock = socket.socket()
    except OSError:
        return 1 << 30
    with sock:
        return sock.fileno()
