"""Scans of large objects beside the commits: who has had least of the scanners' time goes first.

A scan that is through in a few steps never waits for one that takes seconds, however many of those there are:
each of them gives way after `TURN`, and comes again behind all that have had less.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count

from ..dataset.walk import Steps

TURN = 0.02
"""Seconds a scan goes on while another waits."""


class Scanners:
    """Threads that do work in steps, from construction to `close`; the work itself raises nothing."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, int, Steps[None]]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"archive-scan-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def submit(self, work: Steps[None]) -> None:
        """Have it done. Raises RuntimeError once closed."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the archive is closed")
            self._put(0.0, work)

    def close(self) -> None:
        """Do what waits, then end the threads. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _put(self, used: float, work: Steps[None]) -> None:
        heapq.heappush(self._waiting, (used, next(self._numbers), work))
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
                used, _, work = heapq.heappop(self._waiting)
            begun = self._clock()
            try:
                while True:
                    next(work)
                    spent = self._clock() - begun
                    if spent >= TURN:
                        break
            except StopIteration:
                continue
            with self._changed:
                self._put(used + spent, work)
