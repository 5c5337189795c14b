"""Buffers that objects are read into and sent from, used again when the system has taken what was in them.

A buffer made anew for each object has its memory touched for the first time each time, which is a large part
of the time that sending takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..pdu.upper_layer import Buffer

_STEP = 64 * 1024
KEPT = 64 * 1024 * 1024
"""Bytes of buffers kept for later, by all runs together: one whose peer stands still keeps none."""


class _Ours(bytearray):
    """A buffer of a pool: told by its kind from a user's, whatever a user hands us."""

    __slots__ = ()


class Pool:
    """Buffers that nobody uses, by their size in steps; used on any thread."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self.free: dict[int, list[_Ours]] = {}

    @property
    def held(self) -> int:
        """Bytes of them all."""
        return sum(steps * _STEP * len(free) for steps, free in list(self.free.items()))

    def take(self, size: int) -> memoryview:
        """A buffer of that many bytes, of which nothing is known."""
        steps = -(-size // _STEP)
        try:
            buffer = self.free[steps].pop()
        except (KeyError, IndexError):
            buffer = _Ours(steps * _STEP)
        return memoryview(buffer)[:size]

    def put(self, buffers: list[_Ours]) -> None:
        """These are free now; what is too much is forgotten."""
        room = self._limit - self.held
        for buffer in buffers:
            room -= len(buffer)
            if room >= 0:
                self.free.setdefault(len(buffer) // _STEP, []).append(buffer)


_ALL = Pool()


class Buffers:
    """The buffers of one run. `take` may be called on any thread, the rest in the event loop.

    taken: how many bytes the system has taken of all that was handed to the connection.
    """

    def __init__(self, taken: Callable[[], int], pool: Pool = _ALL) -> None:
        self._taken = taken
        self._pool = pool
        self._lent: deque[tuple[int, _Ours]] = deque()
        self.take: Callable[[int], memoryview] = pool.take

    def sent(self, data: Buffer, handed: int) -> None:
        """What `take` gave has been handed to the connection, with which `handed` bytes have been in all."""
        if isinstance(data, memoryview) and isinstance(data.obj, _Ours):
            self._lent.append((handed, data.obj))

    def collect(self) -> None:
        """See which buffers the system has taken; they may be used again."""
        if not self._lent:
            return
        taken = self._taken()
        done = []
        while self._lent and self._lent[0][0] <= taken:
            done.append(self._lent.popleft()[1])
        self._pool.put(done)
