"""Buffers that objects are read into and sent from, used again when the system has taken what was in them.

A buffer made anew for each object has its memory touched for the first time each time, which is a large part
of the time that sending takes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from ..pdu.upper_layer import Buffer

_STEP = 64 * 1024
KEPT = 64 * 1024 * 1024
"""Bytes of buffers kept for later, by all runs together: one whose peer stands still keeps none."""


class _Ours(bytearray):
    """A buffer of a pool: told by its kind from a user's, whatever a user hands us."""

    __slots__ = ()


class Pool:
    """Buffers that nobody uses, by their size in steps; used on any thread.

    Of what is too much, those go first whose size was used longest ago: else it would be full of one size for
    ever, and those of any other made anew each time.
    """

    def __init__(self, limit: int = KEPT) -> None:
        self.held: int = 0
        """Bytes of them all."""
        self._limit = limit
        self._free: OrderedDict[int, list[_Ours]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, size: int) -> memoryview:
        """A buffer of that many bytes, of which nothing is known."""
        steps = -(-size // _STEP)
        with self._guard:
            free = self._free.get(steps)
            buffer = None
            if free:
                buffer = free.pop()
                self.held -= len(buffer)
                self._free.move_to_end(steps)
        return memoryview(_Ours(steps * _STEP) if buffer is None else buffer)[:size]

    def put(self, buffers: Iterable[_Ours]) -> None:
        """These are free now; what is too much is forgotten."""
        with self._guard:
            for buffer in buffers:
                if not 0 < len(buffer) <= self._limit:
                    continue
                steps = len(buffer) // _STEP
                self._free.setdefault(steps, []).append(buffer)
                self._free.move_to_end(steps)
                self.held += len(buffer)
                while self.held > self._limit:
                    self._forget_one()

    def _forget_one(self) -> None:
        steps, free = next(iter(self._free.items()))
        if free:
            self.held -= len(free.pop())
        else:
            del self._free[steps]


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
