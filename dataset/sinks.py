"""Where the data set of a C-STORE goes while it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """How a stored object ended: the status to answer, a comment (at most 64 characters, no patient data)."""

    status: int
    comment: str = ""
    path: Path | None = None


class StoreSink(Protocol):
    """Takes one object: `commit` or `discard` is called once; `discard` may follow a failed commit."""

    def write(self, data: memoryview, /) -> None:
        """Take the next part: a view that is good until the call returns. An OSError fails the object."""

    async def commit(self) -> StoreOutcome:
        """The data set is whole: make it safe and say how it went."""

    def discard(self) -> None:
        """Leave no trace of it. Never raises."""
