"""Work that several associations share: each takes what is next until nothing is left."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sized
from contextlib import contextmanager
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


async def share(count: int, todo: Sized, worker: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run so many workers until `todo` is empty. Raises the first error of one, when all have ended.

    A peer may take fewer associations than are asked for: a worker that gets none costs nothing as long as
    the others do all there is to do.
    """
    if count <= 1:
        await worker()
        return
    tasks = Tasks()
    started = [tasks.start(worker()) for _ in range(count)]
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
