"""Objects on their way into the archive, counted by the address they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable

from ..archive.queued import QueuedSink
from ..association.performing import Performed
from ..dataset.sinks import StoreOutcome

ARRIVING_PER_ADDRESS = 64
"""Objects of one peer address that arrive or wait to be committed, each with a descriptor: who begins one
more is not read until one of them is through."""


class Arriving:
    """The objects of each address that are not committed yet, and those whose associations are held."""

    def __init__(self) -> None:
        self.committing: int = 0
        self._going_on: Counter[str] = Counter()
        self._held: dict[str, dict[CountedSink, None]] = {}

    def begin(self, sink: CountedSink) -> None:
        """Count one more, or hold its association."""
        address = sink.association.origin
        if self._going_on[address] < ARRIVING_PER_ADDRESS:
            self._going_on[address] += 1
            return
        self._held.setdefault(address, {})[sink] = None
        sink.association.hold(sink, True)

    def end(self, sink: CountedSink) -> None:
        """It is through: the oldest that is held goes on."""
        address = sink.association.origin
        held = self._held.get(address, {})
        if sink in held:
            next_one = sink
        elif held:
            next_one = next(iter(held))  # in the place of this one
        else:
            self._going_on[address] -= 1
            if not self._going_on[address]:
                del self._going_on[address]
            return
        del held[next_one]
        if not held:
            del self._held[address]
        next_one.association.hold(next_one, False)


class CountedSink:
    """A sink that counts as one of its address until it is committed or let go of."""

    def __init__(self, sink: QueuedSink, association: Performed, arriving: Arriving) -> None:
        self.association = association
        self._sink = sink
        self._all = arriving
        self._arriving: Arriving | None = arriving  # until it is through
        arriving.begin(self)

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        """Hand it on."""
        return self._sink.write(data)

    async def commit(self) -> StoreOutcome:
        """Commit it; whatever comes of that, it is through."""
        self._all.committing += 1
        try:
            return await self._sink.commit()
        finally:
            self._all.committing -= 1
            self._through()

    def discard(self) -> None:
        """Let go of it."""
        self._sink.discard()
        self._through()

    def _through(self) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.end(self)
