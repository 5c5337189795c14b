"""Turns of the event loop: what one peer sends must not keep the others waiting, however small its pieces."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

MOST_EVENTS = 512
"""Events of one read that are dealt with before others have their turn: some 3 ms, where a read of 256 kB may
hold 37,000 fragments of one byte. Of what peers send a read holds a dozen."""

_local = threading.local()


class Turns:
    """Those of one loop who have something left to do: one goes on in each round of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def join(self, go_on: Callable[[], None]) -> None:
        """Have it called once, behind those who wait already."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        go_on = self._waiting.popleft()
        if self._waiting:
            self.loop.call_soon(self._next)
        go_on()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of the loop that runs on this thread."""
    turns: Turns | None = getattr(_local, "turns", None)
    if turns is None or turns.loop is not loop:
        turns = _local.turns = Turns(loop)
    return turns
