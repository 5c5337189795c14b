"""The only place that starts tasks and thread work, and says what follows them.

What a task must let go of cannot be let go of inside it: one that is cancelled before its first step never
runs. So whoever starts work says here what is to follow its end, and is told also when it never began.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

log: logging.Logger = logging.getLogger("aiodicom.tasks")

T = TypeVar("T")


class Tasks:
    """The tasks of one owner, which waits for them.

    `failed` is told of an exception that a task ended with, `changed` that one has ended.
    """

    def __init__(
        self,
        *,
        failed: Callable[[BaseException], None] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._failed = failed
        self._changed = changed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self, work: Coroutine[Any, Any, T], then: Callable[[], object] | None = None
    ) -> asyncio.Task[T]:
        """Begin a coroutine; `then` is called once when it has ended, however, or never began."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, then))
        if self._over:
            task.cancel()
        return task

    def end(self) -> None:
        """Cancel all; what is started from now on is cancelled at once."""
        self._over = True
        for task in self._tasks:
            task.cancel()

    async def wait(self) -> None:
        """Wait until none is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any], then: Callable[[], object] | None) -> None:
        self._tasks.discard(task)
        try:
            if then is not None:
                then()
        finally:
            if self._changed is not None:
                self._changed()
            error = None if task.cancelled() else task.exception()
            if error is not None and self._failed is not None:
                self._failed(error)


class Job(Generic[T]):
    """Work on a thread, begun now and awaited later, by `result`, or let go of, by `drop`."""

    def __init__(self, work: Callable[[], T], executor: Executor | None = None) -> None:
        self._work = work
        self._lock = threading.Lock()  # between the loop that gives it up and the thread that takes it
        self._begun = False
        self._given_up = False
        self._future: asyncio.Future[T] = asyncio.get_running_loop().run_in_executor(executor, self._run)

    def _run(self) -> T:
        with self._lock:
            if self._given_up:
                raise _NeverBegan
            self._begun = True
        return self._work()

    def _give_up(self) -> bool:
        """See that it never begins; False when a thread has it."""
        with self._lock:
            self._given_up = not self._begun
            return self._given_up

    async def result(
        self, unwanted: Callable[[T], object] | None = None, hurry: Callable[[], object] | None = None
    ) -> T:
        """What came of it.

        Cancelled before a thread had it, it never runs. Cancelled later, it is waited for all the same, and
        `unwanted` gets what came of it; `hurry` is called at once, to tell it that nobody wants it any more.
        """
        try:
            return await asyncio.shield(self._future)
        except asyncio.CancelledError:
            if hurry is not None:
                hurry()
            if self._give_up():
                self.drop()
                raise
            await _ended(self._future)
            error = self._future.exception()
            if error is not None:
                log.debug("work that was given up failed: %s", error)
            elif unwanted is not None:
                unwanted(self._future.result())
            raise

    def drop(self, then: Callable[[], object] | None = None) -> None:
        """Nobody waits for it; `then` is called once no thread is in it."""
        self._give_up()
        if self._future.done():
            _dropped(self._future, then)
        else:
            self._future.add_done_callback(lambda ended: _dropped(ended, then))


class _NeverBegan(Exception):
    """A job that was given up before a thread took it."""


def _dropped(future: asyncio.Future[T], then: Callable[[], object] | None) -> None:
    if then is not None:
        then()
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, _NeverBegan):
        log.debug("work that nobody waits for failed: %s", error)


async def on_thread(
    work: Callable[[], T],
    *,
    unwanted: Callable[[T], object] | None = None,
    hurry: Callable[[], object] | None = None,
    executor: Executor | None = None,
) -> T:
    """Run work on a thread; see `Job.result` for what becomes of it when the caller is cancelled."""
    return await Job(work, executor).result(unwanted, hurry)


async def to_its_end(work: Awaitable[T]) -> T:
    """Await something that must not be cancelled; a cancellation is raised once it has ended."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if future.cancelled():
            raise
        await _ended(future)
        if not future.cancelled() and future.exception() is not None:
            log.debug("what was given up failed: %s", future.exception())
        raise


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for the end of it, however often that is cancelled."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
