"""One request of ours and the responses to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

from ..dimse.messages import Response
from ..dimse.status import Category, categorize
from .errors import AssociationEnded
from .reading import Reading

QUEUE_HIGH = 256
"""Undelivered responses at which the peer is held."""
QUEUE_LOW = 64
"""Undelivered responses at which it may go on."""


class Operation:
    """A request that has been sent; `next` gives its responses one by one.

    `reading` is told when the consumer has too many waiting, so that a slow consumer of a C-FIND holds the
    peer and not our memory.
    """

    __slots__ = (
        "_error",
        "_queue",
        "_reading",
        "_waiter",
        "abandoned",
        "cancel_sent",
        "cancellable",
        "consumer",
        "context_id",
        "ended",
        "ending",
        "finished",
        "message_id",
        "on_finished",
    )

    def __init__(self, message_id: int, context_id: int, reading: Reading) -> None:
        self.message_id: int = message_id
        self.context_id: int = context_id
        self.finished: bool = False  # the final response, or the end of the association, has come
        self.abandoned: bool = False  # nobody waits any more: what comes is dropped
        self.cancellable: bool = False  # a find, get or move: C-CANCEL ends it
        self.cancel_sent: bool = False
        self.ending: int = 0  # how many wait for its end, having cancelled it
        self.ended: asyncio.Event = asyncio.Event()
        self.on_finished: Callable[[], None] | None = None
        self._queue: deque[tuple[Response, bytes | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._reading = reading
        self.consumer: Hashable = self  # who waits for it, by the name it is full under

    def __str__(self) -> str:
        return f"request {self.message_id}"

    def deliver(self, response: Response, data: bytes | None) -> None:
        """A response has come, with its data set."""
        final = categorize(response.status) is not Category.PENDING
        if not self.abandoned:
            self._queue.append((response, data))
            if len(self._queue) >= QUEUE_HIGH and not final:
                self._reading.full(self)
        if final:
            self._finish()
        self._wake()

    def fail(self, error: BaseException) -> None:
        """No more responses will come."""
        if not self.finished:
            self._error = error
            self._finish()
            self._wake()

    async def next(self) -> tuple[Response, bytes | None]:
        """The next response and its data set.

        Raises the error the association ended with when it ended first, AssociationEnded when the operation
        was given up by another task: a client closed while it ran.
        """
        while not self._queue:
            if self._error is not None:
                raise self._error
            if self.abandoned:
                raise AssociationEnded("the operation was given up")
            self._waiter = asyncio.get_running_loop().create_future()
            self._reading.waits(self.consumer)
            try:
                await self._waiter
            finally:
                self._reading.goes_on(self.consumer)
                self._waiter = None
        item = self._queue.popleft()
        if len(self._queue) <= QUEUE_LOW:
            self._reading.room(self)
        return item

    def abandon(self) -> None:
        """Nobody will call `next` again."""
        self.abandoned = True
        self._queue.clear()
        self._reading.room(self)
        self._wake()

    def _finish(self) -> None:
        self.finished = True
        self.ended.set()
        self._reading.room(self)  # nothing more will come of it, and another operation's responses may
        if self.on_finished is not None:
            self.on_finished()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
