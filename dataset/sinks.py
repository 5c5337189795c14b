"""Where the data set of a C-STORE goes while it arrives."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """How a stored object ended: the status to answer, a comment (at most 64 characters, no patient data).

    >>> async def handler(incoming):
    ...     return aiodicom.StoreOutcome(0xA700, "no room for more")
    >>> service = aiodicom.StorageService(handler)
    """

    status: int
    comment: str = ""
    path: Path | None = None
    location: str | None = None
    """Where it lies, if not in a file: an address in a bucket, a key."""


class StoreSink(Protocol):
    """Takes one object: `commit` or `discard` is called once; `discard` may follow a failed commit."""

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        """Take the next part: a view that is good until the call returns. An OSError fails the object.

        What it returns, if anything, says that it is full: the peer is held until that has been awaited, and
        `commit` called after it. What had been read from the peer by then still comes.
        """

    async def commit(self) -> StoreOutcome:
        """The data set is whole: make it safe and say how it went."""

    def discard(self) -> None:
        """Leave no trace of it. Never raises."""
