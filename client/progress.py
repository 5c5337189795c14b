"""How far a store or a retrieve has come, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

WINDOW = 5.0
"""Seconds over which a rate is taken: what a transfer did minutes ago says nothing of what it does now."""
STEP = 0.1
"""Seconds between two measurements of a rate."""

Phase = Literal["planning", "transferring", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a store or a retrieve has come. Totals, rates and times are None where they are not known.

    objects: what is safe: stored at the peer, or here, what was here before included (`present`).
    objects_total: how many are expected. arrived: how many came, or were answered, each time, safe or not.
    rate: bytes a second, over the last seconds. seconds_left: at that rate.

    >>> seen = []
    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     report = await pacs.store(FOLDER, progress=seen.append)
    >>> seen[-1].objects, seen[-1].objects_total
    (4, 4)
    """

    objects: int = 0
    objects_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    failed: int = 0
    phase: Phase = "transferring"
    arrived: int = 0
    present: int = 0
    rate: float | None = None
    seconds_left: float | None = None

    @property
    def expected(self) -> int | None:
        """How many objects are expected."""
        return self.objects_total

    @property
    def safe(self) -> int:
        """How many objects are safe."""
        return self.objects


ProgressCallback = Callable[[Progress], None]


class Rate:
    """How fast a count grows, over the last `WINDOW` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> float | None:
        """The count is this now; what it grows by in a second, None as long as there is nothing to tell."""
        now, seen = self._clock(), self._seen
        if not seen or now - seen[-1][0] >= STEP:
            seen.append((now, count))
        while len(seen) > 1 and now - seen[1][0] >= WINDOW:
            seen.popleft()
        began, before = seen[0]
        return (count - before) / (now - began) if now - began >= STEP else None


class Meter:
    """Makes the events of one transfer, with rate and time left."""

    def __init__(
        self, callback: ProgressCallback | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._callback = callback
        self._bytes = Rate(clock)
        self._objects = Rate(clock)

    def tell(
        self,
        phase: Phase,
        *,
        objects: int,
        total: int | None,
        size: int,
        size_total: int | None = None,
        failed: int = 0,
        arrived: int = 0,
        present: int = 0,
    ) -> None:
        """Tell how far it is; nothing where nobody listens."""
        if self._callback is None:
            return
        rate = self._bytes.add(size)
        done = objects + failed
        each = self._objects.add(done - present)
        left: float | None = None
        if phase == "done":
            left = 0.0
        elif size_total is not None and rate:
            left = max(0.0, (size_total - size) / rate)
        elif total is not None and each:
            left = max(0.0, (total - done) / each)
        self._callback(
            Progress(objects, total, size, size_total, failed, phase, arrived, present, rate, left)
        )
