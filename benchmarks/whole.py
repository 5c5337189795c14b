"""What the long runs share: a folder that goes with them, SIGTERM as an end, differences at last."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_folder(place: Path | None, work: Callable[[Path], Awaitable[T]]) -> T:
    """Do it in an empty folder below `place`, which is removed; SIGTERM cancels it and ends the process."""

    async def cancellable(folder: Path) -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work(folder)

    with tempfile.TemporaryDirectory(dir=place) as folder:
        try:
            return asyncio.run(cancellable(Path(folder)))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


def told(lines: Iterable[tuple[str, Any]], differences: Sequence[str]) -> int:
    """Print the counts of a run and its first differences; the exit code."""
    counts = [*lines, ("differences", len(differences))]
    width = max(len(name) for name, _ in counts)
    for name, value in counts:
        print(f"{name:{width}}  {value}")
    print("\n".join(differences[:50]))
    return 1 if differences else 0
