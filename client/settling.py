"""What follows the name of a received file: forcing it to the disk in groups, before it is reported as safe.

The peer of a retrieve waits for each answer and keeps its own copy, so a C-STORE is answered when the file
has its name; what is told to be safe is on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..association.tasks import Tasks, on_thread
from ..dataset.part10 import sync_directory
from ..dataset.sinks import StoreOutcome
from ..dimse.status import OUT_OF_RESOURCES, Status
from .receiving import FileSink
from .retrieved import ReceivedItem

log: logging.Logger = logging.getLogger("aiodicom.receiving")

GROUP = 0.1
"""Seconds in which what comes is one group: one pass over the disk forces all of it."""
MAX_UNSETTLED = 4096
"""Files that may wait for that at which the peer is held."""
MAX_LATER = 32
"""Objects that may wait for their names after their answers ("none"): each holds a descriptor."""


@dataclass(slots=True)
class _Waiting:
    item: ReceivedItem
    done: Callable[[ReceivedItem, OSError | None], None]


class Settler:
    """Forces files to the disk group by group, on a thread, and tells of each when it is there.

    `hold` is told whether too many wait. Below `directory` new folders are forced as well.
    """

    def __init__(self, directory: Path, hold: Callable[[bool], None]) -> None:
        self._directory = directory
        self._hold = hold
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._tasks: Tasks | None = None
        self._known: set[Path] = set()  # folders that are on the disk

    def add(self, item: ReceivedItem, done: Callable[[ReceivedItem, OSError | None], None]) -> None:
        """A file has its name; `done` is called when it is on the disk, or cannot be forced there.

        What failed may be added too: it is told in its turn.
        """
        self._waiting.append(_Waiting(item, done))
        if len(self._waiting) + self._under_way >= MAX_UNSETTLED:
            self._hold(True)
        if self._tasks is None:
            self._tasks = Tasks()
            self._tasks.start(self._work())

    async def _work(self) -> None:
        try:
            await asyncio.sleep(GROUP)
            while self._waiting:
                await self._pass()
        finally:
            self._tasks = None
            self._hold(False)

    async def _pass(self) -> None:
        group, self._waiting = self._waiting, []
        self._under_way = len(group)
        try:
            named = [one.item.path for one in group if one.item.ok and one.item.path is not None]
            failed = await on_thread(partial(self._force, named)) if named else {}
        finally:
            self._under_way = 0
        self._hold(len(self._waiting) >= MAX_UNSETTLED)
        for one in group:
            error = failed.get(one.item.path) if one.item.path is not None else None
            one.done(one.item if error is None else not_forced(one.item, error), error)

    async def flush(self) -> None:
        """Wait until nothing waits."""
        while self._tasks is not None:
            await self._tasks.wait()

    def _force(self, paths: list[Path]) -> dict[Path | None, OSError]:
        """Force files and the folders that name them; what failed. Blocks."""
        failed: dict[Path | None, OSError] = {}
        folders: dict[Path, list[Path]] = {}
        for path in dict.fromkeys(paths):
            try:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                failed[path] = error
            folders.setdefault(path.parent, []).append(path)
        for folder, named in folders.items():
            try:
                sync_directory(os.fspath(folder))
                self._force_above(folder)
            except OSError as error:
                failed.update(dict.fromkeys(named, error))
        return failed

    def _force_above(self, folder: Path) -> None:
        """Force the entries of folders above, up to the directory's own, where that has not been done."""
        while folder not in self._known and folder.is_relative_to(self._directory):
            own = folder == self._directory
            try:
                sync_directory(os.fspath(folder / ".." if own else folder.parent))
            except PermissionError:  # of a parent that may not be listed: our folder was there before
                if not own:
                    raise
            self._known.add(folder)
            if own:
                return
            folder = folder.parent


def not_forced(item: ReceivedItem, error: OSError) -> ReceivedItem:
    """An object that was answered for, has its name and may not survive a power failure."""
    log.warning("a file that was received cannot be forced to the disk: %s", error.strerror)
    text = f"not forced to the disk: {error.strerror}"
    return replace(item, status=Status(OUT_OF_RESOURCES, "C-STORE"), comment=text)


class Later:
    """Sinks whose objects are answered for when their last byte is here, and checked and named after that."""

    def __init__(self) -> None:
        self._tasks: Tasks | None = None

    async def commit(self, sink: FileSink) -> StoreOutcome:
        """Begin it; where many wait, wait for them first."""
        if self._tasks is None:
            self._tasks = Tasks()
        if len(self._tasks) >= MAX_LATER:
            await self._tasks.wait()
        self._tasks.start(self._commit(sink), sink.discard)
        return StoreOutcome(0)

    async def _commit(self, sink: FileSink) -> None:
        outcome = await sink.commit()
        if outcome.status:
            log.warning("an object that was answered for is not kept: %s", outcome.comment)

    async def flush(self) -> None:
        """Wait until nothing waits."""
        if self._tasks is not None:
            await self._tasks.wait()


@dataclass(slots=True)
class LateSink:
    """A `StoreSink` that answers before its file has its name."""

    sink: FileSink
    later: Later
    _given: bool = False

    def write(self, data: memoryview, /) -> None:
        """Append."""
        self.sink.write(data)

    async def commit(self) -> StoreOutcome:
        """Answer for it; the check and the name follow."""
        self._given = True
        return await self.later.commit(self.sink)

    def discard(self) -> None:
        """Remove the temporary file, unless it is to get its name."""
        if not self._given:
            self.sink.discard()
