"""Turns of the event loop: what one peer sends must not keep the others waiting, however small its pieces."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

MOST_EVENTS = 512
"""Events of one read, and PDUs and PDVs that give none, that are dealt with before others have their turn: of
what peers send a read holds a dozen, of pieces of one byte or none thousands."""

TURN = 0.005
"""Seconds of work on what peers sent in one round of the loop: what is read beyond that waits."""
_LITTLE = 0.0002
"""Seconds of work that are not counted: nearly all reads take less."""

_local = threading.local()


class Turns:
    """Those of one loop who have something left to do: they go on for `TURN` in each round of the loop.

    The loop's own clock does not serve: uvloop's stands still within a round.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent = 0.0
        self._coming = False  # whether a round of theirs is
        self._put_off = False

    @property
    def over(self) -> bool:
        """Whether the time of this round is used up, so that what is read now is to wait."""
        return self._spent > TURN

    def spend(self, seconds: float) -> None:
        """So long was worked on one read."""
        if seconds > _LITTLE:
            if not self._spent:
                self.loop.call_soon(self._next_round)
            self._spent += seconds

    def _next_round(self) -> None:
        self._spent = 0.0

    def join(self, go_on: Callable[[], None]) -> None:
        """Have it called once, behind those who wait already."""
        self._waiting.append(go_on)
        self._see_to_it()

    def _see_to_it(self) -> None:
        if self._waiting and not self._coming:
            self._coming = True
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        """Those who wait, while there is time; who joins meanwhile comes in another round."""
        self._coming = False
        if self.over and not self._put_off:  # reads have had this round; they are not to have all of them
            self._put_off = True
            self._see_to_it()
            return
        self._put_off = False
        begun = monotonic()
        try:
            for _ in range(len(self._waiting)):
                self._waiting.popleft()()
                if monotonic() - begun > TURN:
                    break
        finally:
            self.spend(monotonic() - begun)
            self._see_to_it()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of the loop that runs on this thread."""
    turns: Turns | None = getattr(_local, "turns", None)
    if turns is None or turns.loop is not loop:
        turns = _local.turns = Turns(loop)
    return turns
