"""The objects of a retrieve, each as soon as its header is here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from ..association.incoming import Incoming
from ..association.sinking import Head, SinkFactory
from ..association.tasks import Tasks
from .retrieved import ReceivedItem, RetrieveResult
from .retrieving import Retrieve
from .streams import Stream


class Objects(Stream[Incoming]):
    """The objects of a retrieve, each as soon as its header is here: ``async for one in pacs.stream(...)``.

    What is not read of one when the next is asked for is dropped. `result` is the retrieve's.
    """

    def __init__(self, make: Callable[[SinkFactory], Retrieve[ReceivedItem]]) -> None:
        super().__init__()
        self._coming: deque[Incoming] = deque()
        self._all_came = False
        self._left = False  # nobody takes any more: what still comes while it is cancelled is dropped
        self._changed = asyncio.Event()
        self._retrieve = make(self._sink)

    @property
    def result(self) -> RetrieveResult:
        """What the retrieve came to so far."""
        return self._retrieve.result

    def _sink(self, head: Head) -> Incoming:
        coming = Incoming(head)
        if self._left:
            coming.leave()
        else:
            self._coming.append(coming)
            self._changed.set()
        return coming

    async def _start(self) -> AsyncGenerator[Incoming, None]:
        async def work() -> None:
            async for _ in self._retrieve:  # raises at its end what it ended with
                continue

        def ended() -> None:
            self._all_came = True
            self._changed.set()

        tasks = Tasks()
        task = tasks.start(work(), ended)
        one: Incoming | None = None
        try:
            while True:
                while not self._coming and not self._all_came:
                    self._changed.clear()
                    await self._changed.wait()
                if not self._coming:
                    break
                one = self._coming.popleft()
                yield one
                one.leave()
            await task
        finally:
            self._left = True
            for left in [*([one] if one is not None else []), *self._coming]:
                left.leave()
            tasks.end()
            await tasks.wait()
