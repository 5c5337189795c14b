"""Objects written on threads while they arrive: who receives them waits for no disk.

What has come waits in buffers that are used again, until a thread has written it. A peer whose object has too
much of it waiting is held; a disk that stands still holds those who store, and nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from ..dataset.sinks import StoreOutcome
from .sink import ArchiveSink

BUFFER = 256 * 1024
"""Bytes written in one go; less, where the object ends."""
HELD = 4 * BUFFER
"""Bytes of one object that may wait to be written before its peer is held."""
HELD_IN_ALL = 64 * 1024 * 1024
"""Bytes of all objects that may; beyond them every peer that stores is held for what it has sent."""
_THREADS = 4

_Part: TypeAlias = "tuple[bytearray, int]"
"""A buffer and how much of it is used."""


class Writers:
    """The threads that write, and the buffers they write from; `close` ends when all is written."""

    def __init__(self, commits: Callable[[Callable[[], None]], None]) -> None:
        """commits: has something done by the thread that commits."""
        self._commits = commits
        self._threads = ThreadPoolExecutor(_THREADS, "archive-write")
        self._guard = threading.Lock()
        self._free: list[bytearray] = []
        self._taken = 0

    @property
    def scarce(self) -> bool:
        """Whether more waits than may."""
        return self._taken * BUFFER >= HELD_IN_ALL

    def buffer(self) -> bytearray:
        """A buffer of `BUFFER` bytes, to be given back."""
        with self._guard:
            self._taken += 1
            return self._free.pop() if self._free else bytearray(BUFFER)

    def give_back(self, buffers: list[bytearray]) -> None:
        """They are not needed any more; some are kept, so that fresh memory need not be touched."""
        with self._guard:
            self._taken -= len(buffers)
            self._free += buffers
            del self._free[_THREADS * 4 :]

    def start(self, work: Callable[[], None]) -> Future[None] | None:
        """Do something on one of the threads; nothing after `close`: the archive cleans up at a start."""
        try:
            return self._threads.submit(work)
        except RuntimeError:
            return None

    def start_committing(self, work: Callable[[], None]) -> Future[None] | None:
        """As `start`, by the thread that commits: what is small need not be handed to two."""
        started: Future[None] = Future()
        try:
            self._commits(work)
        except RuntimeError:
            return None
        return started

    def close(self) -> None:
        """Wait until all that was started is done. Blocks; may be called again."""
        self._threads.shutdown()


class QueuedSink:
    """An `ArchiveSink` made, filled and let go of on threads; one of them at a time has it."""

    __slots__ = (
        "_done",
        "_error",
        "_finishing",
        "_guard",
        "_make",
        "_parts",
        "_result",
        "_running",
        "_sink",
        "_unwanted",
        "_used",
        "_writers",
    )

    def __init__(self, writers: Writers, make: Callable[[], ArchiveSink]) -> None:
        self._writers = writers
        self._make = make
        self._guard = threading.Lock()
        self._parts: deque[_Part] = deque()
        self._used = BUFFER  # of the last part
        self._running: Future[None] | None = None
        self._sink: ArchiveSink | None = None
        self._error: Exception | None = None
        self._result: Future[StoreOutcome | Future[StoreOutcome]] | None = None
        self._unwanted = False
        self._finishing = False  # the commit is under way
        self._done = False

    # --- in the loop

    def write(self, data: memoryview, /) -> asyncio.Future[None] | None:
        """Keep a copy of a fragment until it is written. What it returns says that too much waits."""
        with self._guard:
            if self._unwanted or self._result is not None:
                return None
            at = 0
            while at < len(data):
                if self._used == BUFFER:
                    self._parts.append((self._writers.buffer(), 0))
                    self._used = 0
                buffer, _ = self._parts[-1]
                taken = min(BUFFER - self._used, len(data) - at)
                buffer[self._used : self._used + taken] = data[at : at + taken]
                self._used += taken
                at += taken
                self._parts[-1] = (buffer, self._used)
            scarce = self._writers.scarce
            if self._running is None and (scarce or len(self._parts) > 1 or self._used == BUFFER):
                self._running = self._writers.start(self._run)
            full = scarce or len(self._parts) * BUFFER >= HELD
            if self._running is None or not full:
                return None
            # shielded: to give up waiting must not take the work out of its queue
            return asyncio.shield(asyncio.wrap_future(self._running))

    async def commit(self) -> StoreOutcome:
        """As `ArchiveSink.commit`, behind all that waits to be written."""
        result: Future[StoreOutcome | Future[StoreOutcome]] = Future()
        result.set_running_or_notify_cancel()  # whoever stops waiting does not stop it
        with self._guard:
            self._result = result
            if self._running is None:
                small = self._sink is None and len(self._parts) <= 1
                start = self._writers.start_committing if small else self._writers.start
                self._running = start(self._run)
            if self._running is None:
                raise RuntimeError("the archive is closed")
        outcome = await asyncio.wrap_future(result)
        if not isinstance(outcome, StoreOutcome):
            outcome = await asyncio.wrap_future(outcome)
        self._done = True
        return outcome

    def discard(self) -> None:
        """As `ArchiveSink.discard`, on a thread."""
        with self._guard:
            if self._done or self._unwanted:
                return
            self._unwanted = True
            if self._running is None and (self._sink is not None or self._parts):
                work = self._take_back if self._finishing else self._run
                self._running = self._writers.start(work)

    # --- on a thread

    def _run(self) -> None:
        """Write what waits, until nothing does; then commit, or let go, where that has been asked for."""
        while True:
            with self._guard:
                parts = list(self._parts)
                self._parts.clear()
                self._used = BUFFER
                unwanted, result = self._unwanted, self._result
                if not parts:
                    self._running = None
                    self._finishing = result is not None and not unwanted
                    break
            try:
                self._write(parts)
            finally:
                self._writers.give_back([buffer for buffer, _ in parts])
        if unwanted:
            self._let_go()
        elif result is not None:
            self._finish(result)

    def _write(self, parts: list[_Part]) -> None:
        if self._error is not None or self._unwanted:
            return
        try:
            if self._sink is None:
                self._sink = self._make()
            for buffer, used in parts:
                self._sink.write(memoryview(buffer)[:used])
        except Exception as error:  # noqa: BLE001 - told to who commits
            self._error = error

    def _let_go(self) -> None:
        self._take_back()
        if self._result is not None:
            self._result.set_exception(RuntimeError("the object was discarded"))

    def _take_back(self) -> None:
        if self._sink is not None:
            self._sink.discard()

    def _finish(self, result: Future[StoreOutcome | Future[StoreOutcome]]) -> None:
        try:
            if self._error is not None:
                raise self._error
            if self._sink is None:  # an object without a byte
                self._sink = self._make()
            result.set_result(self._sink.committed())
        except Exception as error:  # noqa: BLE001 - told to who commits
            self._take_back()
            result.set_exception(error)
