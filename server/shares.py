"""Turns by peer address: however many requests come from one, it has its share of the threads and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Share:
    """The turns of one address, and how many of its requests use or await them."""

    turns: asyncio.Semaphore
    users: int = 0


class Shares:
    """Gives each address `at_once` turns at a time; its others wait in order. Of one event loop."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        """How many addresses have or await a turn."""
        return len(self._shares)

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncGenerator[None, None]:
        """One of the turns that an address may have at a time, for as long as the context lasts."""
        share = self._shares.setdefault(address, _Share(asyncio.Semaphore(self._at_once)))
        share.users += 1
        try:
            async with share.turns:
                yield
        finally:
            share.users -= 1
            if not share.users:
                self._shares.pop(address, None)
