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
from functools import partial

from ..dataset.sinks import StoreOutcome
from .sink import ArchiveSink

BUFFER = 256 * 1024
"""Bytes written in one go; less, where the object ends."""
HELD = 4 * BUFFER
"""Bytes of one object that may wait to be written before its peer is held."""
HELD_IN_ALL = 64 * 1024 * 1024
"""Bytes of all objects that may; beyond them every peer that stores is held for what it has sent."""
_THREADS = 4


_Tell = Callable[[StoreOutcome | BaseException], None]

_local = threading.local()


class _Told:
    """What threads tell a loop, which is woken once for all that waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[asyncio.Future[StoreOutcome], StoreOutcome | BaseException]] = deque()
        self._coming = False

    def tell(self, future: asyncio.Future[StoreOutcome], outcome: StoreOutcome | BaseException) -> None:
        """Have a future of the loop set; on any thread."""
        self._waiting.append((future, outcome))  # before the look: else it might be left behind
        if self._coming:
            return
        self._coming = True
        try:
            self.loop.call_soon_threadsafe(self._tell)
        except RuntimeError:  # the loop is closed, and nobody waits in it any more
            self._waiting.clear()
            self._coming = False

    def _tell(self) -> None:
        self._coming = False
        while self._waiting:
            future, outcome = self._waiting.popleft()
            if future.done():  # whoever waited has gone
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _told() -> _Told:
    """That of the loop that runs on this thread."""
    loop = asyncio.get_running_loop()
    told: _Told | None = getattr(_local, "told", None)
    if told is None or told.loop is not loop:
        told = _local.told = _Told(loop)
    return told


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

    def start_committing(self, work: Callable[[], None]) -> bool:
        """As `start`, by the thread that commits: what is small need not be handed to two. Whether it is."""
        try:
            self._commits(work)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        """Wait until all that was started is done. Blocks; may be called again."""
        self._threads.shutdown()


class QueuedSink:
    """An `ArchiveSink` made, filled and let go of on threads; one of them at a time has it."""

    __slots__ = (
        "_committing",
        "_done",
        "_error",
        "_guard",
        "_had",
        "_job",
        "_make",
        "_parts",
        "_result",
        "_sink",
        "_unwanted",
        "_used",
        "_writers",
    )

    def __init__(self, writers: Writers, make: Callable[[], ArchiveSink]) -> None:
        self._writers = writers
        self._make = make
        self._guard = threading.Lock()
        self._parts: list[bytearray] = []
        self._used = BUFFER  # bytes of the last part; the others are full
        self._had = False  # by a thread, or soon
        self._job: Future[None] | None = None  # of a writing thread that has it
        self._sink: ArchiveSink | None = None
        self._error: Exception | None = None
        self._result: _Tell | None = None
        self._committing: Future[StoreOutcome] | None = None
        self._unwanted = False
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
                    self._parts.append(self._writers.buffer())
                    self._used = 0
                taken = min(BUFFER - self._used, len(data) - at)
                self._parts[-1][self._used : self._used + taken] = data[at : at + taken]
                self._used += taken
                at += taken
            scarce = self._writers.scarce
            if not self._had and (scarce or len(self._parts) > 1 or self._used == BUFFER):
                self._start(self._run)
            if self._job is None or not (scarce or len(self._parts) * BUFFER >= HELD):
                return None
            # shielded: to give up waiting must not take the work out of its queue
            return asyncio.shield(asyncio.wrap_future(self._job))

    async def commit(self) -> StoreOutcome:
        """As `ArchiveSink.committed`, behind all that waits to be written.

        Raises RuntimeError (the sink was discarded, or the archive closed).
        """
        with self._guard:
            if self._unwanted:
                raise RuntimeError("the object was discarded")
            result: asyncio.Future[StoreOutcome] = asyncio.get_running_loop().create_future()
            self._result = partial(_told().tell, result)
            if not self._had and self._sink is None and len(self._parts) <= 1:
                self._had = self._writers.start_committing(self._run)
            elif not self._had:
                self._start(self._run)
            if not self._had:
                raise RuntimeError("the archive is closed")
        try:
            outcome = await result
        except asyncio.CancelledError:
            if self._committing is not None:
                self._committing.cancel()
            raise
        self._done = True
        return outcome

    def discard(self) -> None:
        """As `ArchiveSink.discard`, on a thread; what waits to be written gives up its buffers now."""
        with self._guard:
            if self._done or self._unwanted:
                return
            self._unwanted = True
            self._writers.give_back(self._parts)
            self._parts = []
            if not self._had and self._sink is not None:
                self._start(self._sink.discard)

    def _start(self, work: Callable[[], None]) -> None:
        self._job = self._writers.start(work)
        self._had = self._job is not None

    # --- on a thread

    def _run(self) -> None:
        """Write what waits, until nothing does; then commit, or let go, where that has been asked for."""
        while not isinstance(found := self._next(), bool):
            try:
                self._write(*found)
            finally:
                self._writers.give_back(found[0])
        if not found:
            return
        result = self._result
        if result is not None and self._unwanted:
            result(RuntimeError("the object was discarded"))
        elif result is not None:
            self._finish(result)
        with self._guard:
            self._had = False
            unwanted = self._unwanted
        if unwanted and self._sink is not None:  # it may have become so while the commit was begun
            self._sink.discard()

    def _next(self) -> tuple[list[bytearray], int] | bool:
        """What is to be written, and how much of its last buffer; where nothing is, whether this thread has
        it still, to commit it or let go of it.
        """
        with self._guard:
            if self._parts and not self._unwanted:
                parts, used = self._parts, self._used
                self._parts, self._used = [], BUFFER
                return parts, used
            self._job = None
            self._had = self._unwanted or self._result is not None
            return self._had

    def _write(self, parts: list[bytearray], used: int) -> None:
        if self._error is not None:
            return
        try:
            if self._sink is None:
                self._sink = self._make()
            for part in parts:
                self._sink.write(memoryview(part)[: used if part is parts[-1] else BUFFER])
        except Exception as error:  # noqa: BLE001 - told to who commits
            self._error = error

    def _finish(self, result: _Tell) -> None:
        try:
            if self._error is not None:
                raise self._error
            if self._sink is None:  # an object without a byte
                self._sink = self._make()
            outcome = self._sink.committed()
        except Exception as error:  # noqa: BLE001 - told to who commits
            if self._sink is not None:
                self._sink.discard()
            result(error)
            return
        if isinstance(outcome, StoreOutcome):
            result(outcome)
            return
        self._committing = outcome
        outcome.add_done_callback(lambda committed: result(_came_of(committed)))


def _came_of(committed: Future[StoreOutcome]) -> StoreOutcome | BaseException:
    """What a commit that has ended came to."""
    try:
        return committed.result()
    except Exception as error:  # noqa: BLE001 - told to who commits, also that it was cancelled
        return error
