"""Work that several associations share: each takes what is next until nothing is left."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sized
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from ..association.errors import AssociationRejected, AssociationTimeout, ConnectFailed, ConnectTimeout
from ..association.tasks import Tasks
from .holder import Attempt

T = TypeVar("T")

log: logging.Logger = logging.getLogger("aiodicom.client")

MAX_ASSOCIATIONS = 64
"""Associations that one operation may ask for."""


def check_associations(count: int) -> int:
    """A number of associations that may be asked for. Raises ValueError."""
    if not 1 <= count <= MAX_ASSOCIATIONS:
        raise ValueError(f"associations are 1 to {MAX_ASSOCIATIONS}, not {count}")
    return count


@contextmanager
def taken(todo: deque[T], attempt: Attempt) -> Iterator[T]:
    """What is next of it; it is next again where the attempt at it is made once more."""
    one = todo.popleft()
    try:
        yield one
    except Exception as error:
        if attempt.repeats(error):
            todo.appendleft(one)
        raise


class Sharing:
    """Workers that take from one store of work until it is empty.

    One that waits for an association (`use`) has taken nothing yet: when nothing is left, and nobody works,
    it is not waited for.
    """

    def __init__(self, todo: Sized) -> None:
        self._todo = todo
        self.workers: list[asyncio.Task[None]] = []
        self._waiting: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def use(self, one: AbstractAsyncContextManager[T]) -> AsyncGenerator[T, None]:
        """Enter what may be waited for."""
        task = asyncio.current_task()
        assert task is not None
        async with AsyncExitStack() as stack:
            self._waiting.add(task)
            self.look()
            try:
                entered = await stack.enter_async_context(one)
            finally:
                self._waiting.discard(task)
            yield entered

    def look(self) -> None:
        """Wait for nobody who waits, where nothing is left and all who are left do that."""
        running = {task for task in self.workers if not task.done()}
        if not self._todo and running <= self._waiting:
            for task in running:
                task.cancel()


async def share(count: int, todo: Sized, worker: Callable[[Sharing], Coroutine[Any, Any, None]]) -> None:
    """Run so many workers until `todo` is empty. Raises the first error of one, when all have ended.

    A peer may take fewer associations than are asked for: a worker that gets none costs nothing as long as
    the others do all there is to do, not even the time that it would wait for one.
    """
    sharing = Sharing(todo)
    if count <= 1:
        await worker(sharing)
        return
    tasks = Tasks(changed=sharing.look)
    started = sharing.workers = [tasks.start(worker(sharing)) for _ in range(count)]
    try:
        await tasks.wait()
    finally:
        tasks.end()
        await tasks.wait()
    errors = [one.exception() for one in started if not one.cancelled()]
    found = [error for error in errors if error is not None]
    turned_away = (AssociationRejected, ConnectFailed, ConnectTimeout, AssociationTimeout)
    other = [error for error in found if not isinstance(error, turned_away)]
    if other or (found and (todo or len(found) == count)):
        raise (other or found)[0]
    for error in found:
        log.info("the peer takes fewer associations than %d: %s", count, error)
