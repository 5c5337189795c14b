"""A pool of associations to one peer: never more than so many, used again, released when idle for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from ..association.connect import Peer
from ..association.tasks import Tasks
from .connect import connect
from .pacs import Pacs
from .quirks import Quirks
from .web import DicomWeb

P = TypeVar("P", bound=Pacs)
MAX_SIZE = 4
"""Associations of a pool where nothing else is said: what archives let one client have without a word."""
MAX_IDLE = 25.0
"""Seconds after which an idle one is released: Orthanc drops it after thirty."""


class Pool(Pacs):
    """A `Pacs` whose operations share at most `max_size` associations; made by `create_pool`.

    Each association is one operation's at a time: what finds none free waits, first come first served.
    Whatever runs at once, the peer never sees more of them. `acquire` keeps one for several operations.
    """

    kind: type[Pacs] = Pacs
    """What `acquire` gives."""

    def __init__(
        self,
        peer: Peer,
        *,
        max_size: int = MAX_SIZE,
        max_idle: float | None = MAX_IDLE,
        quirks: Quirks | None = None,
        dicomweb: DicomWeb | None = None,
    ) -> None:
        """max_idle: seconds; None keeps idle associations open. Raises ValueError."""
        if max_idle is not None and max_idle < 0:
            raise ValueError(f"max_idle is a number of seconds or None, not {max_idle}")
        super().__init__(peer, lazy=True, quirks=quirks, dicomweb=dicomweb, max_associations=max_size)
        self.max_size = max_size
        self.max_idle = max_idle
        self._associations.changed = self._watch
        self._tasks: Tasks | None = None  # while it is open
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "open" if self._associations.opened else "closed"
        held = len(self._associations.all)
        return f"<Pool for {self.peer.name}, {state}, {held} of {self.max_size} associations>"

    async def __aenter__(self) -> Self:
        if self._tasks is None:
            self._tasks = Tasks()
        return await super().__aenter__()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Pacs, None]:
        """A client with one association that nobody else uses until the block is left; waits for it.

        One that is idle is taken, else one is opened by the first operation; it goes back to the pool.
        """
        async with self._associations.turn():
            member = another(self, self.kind, lazy=True)
            member._associations = self._associations.member()
            try:
                yield member
            finally:
                await self._associations.take_back(member._associations)

    async def close(self) -> None:
        """As that of a client; who waits for an association is told AssociationEnded."""
        await self._stop()
        await super().close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        await super().__aexit__(kind, error, trace)

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.end()
            await tasks.wait()

    def _watch(self) -> None:
        """Something is idle: look after `max_idle` whether it still is."""
        if self.max_idle is not None and self._timer is None and self._associations.opened:
            self._timer = asyncio.get_running_loop().call_later(self.max_idle, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._tasks is not None:
            self._tasks.start(self._release_idle())

    async def _release_idle(self) -> None:
        assert self.max_idle is not None
        if await self._associations.release_idle(self.max_idle):
            self._watch()


def create_pool(
    host: str,
    port: int | None = None,
    *,
    max_size: int = MAX_SIZE,
    max_idle: float | None = MAX_IDLE,
    **options: Any,
) -> Pool:
    """A pool for one peer, to be entered, ``async with aiodicom.create_pool(...) as pool``, or awaited.

    `pool.find`, `get`, `store` and the rest are those of `connect`, as many at once as you like:
    `max_size` of them have an association, the others wait. An association that nobody used for `max_idle`
    seconds is released. Nothing is opened before it is needed. `options` are those of `connect`.

    >>> async with aiodicom.create_pool(HOST, PORT, max_size=2) as pool:
    ...     names = [pool.find("STUDY", {"PatientName": name}) for name in ("Phan*", "No*")]
    ...     print([len(await name) for name in names])
    [1, 0]
    """
    client = connect(host, port, **options)
    if client.max_associations is not None:
        raise TypeError("a pool has max_size associations: max_associations is of connect alone")
    return another(client, Pool, max_size=max_size, max_idle=max_idle)


def another(client: Pacs, kind: type[P], **how: Any) -> P:
    """A client of the same peer, of a kind of its own."""
    return kind(client.peer, quirks=client.quirks, dicomweb=client.dicomweb, **how)
