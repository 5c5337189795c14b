"""What follows the name of a received file: forcing it to the disk in groups, before it is reported as safe.

The peer of a retrieve waits for each answer and keeps its own copy, so a C-STORE is answered when the file
has its name; what is told to be safe is on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Coroutine, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..association.tasks import Tasks, on_thread
from ..dataset.part10 import sync_directory
from ..dataset.positioned import sync_file
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


class _Work:
    """One task that works off what waits; its first error is for who waits for the end."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], waiting: Sized) -> None:
        self._work = work
        self._waiting = waiting
        self._tasks: Tasks | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Something waits."""
        if self._tasks is None:
            self._tasks = Tasks(failed=self.failed)
            self._tasks.start(self._work(), self._ended)

    def _ended(self) -> None:
        self._tasks = None
        if len(self._waiting):  # it came when the task had looked for the last time, or the task never began
            self.begin()

    def failed(self, error: BaseException) -> None:
        """Keep an error; what else waits is worked off all the same."""
        if self._error is None:
            self._error = error

    async def end(self) -> None:
        """Wait until nothing waits. Raises the first error there was."""
        while self._tasks is not None:
            await self._tasks.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error


class Settler:
    """Forces files to the disk group by group, on a thread, and tells of each when it is there.

    `hold` is told whether too many wait. Below `directory` new folders are forced as well.
    """

    def __init__(self, directory: Path, hold: Callable[[bool], None]) -> None:
        self._directory = directory
        self._hold = hold
        self._waiting: deque[_Waiting] = deque()
        self._under_way = 0
        self._work = _Work(self._settle, self._waiting)
        self._hurry = asyncio.Event()
        self._known: set[Path] = set()  # folders that are on the disk

    def add(self, item: ReceivedItem, done: Callable[[ReceivedItem, OSError | None], None]) -> None:
        """A file has its name; `done` is called when it is on the disk, or cannot be forced there.

        What failed may be added too: it is told in its turn.
        """
        self._waiting.append(_Waiting(item, done))
        if len(self._waiting) + self._under_way >= MAX_UNSETTLED:
            self._hold(True)
        self._work.begin()

    async def _settle(self) -> None:
        try:
            with suppress(TimeoutError):  # a group is what comes meanwhile, unless somebody waits for it
                async with asyncio.timeout(GROUP):
                    await self._hurry.wait()
            while self._waiting:
                await self._pass()
        finally:
            self._hold(False)

    async def _pass(self) -> None:
        group = [*self._waiting]
        self._waiting.clear()
        self._under_way = len(group)
        try:
            named = [one.item.path for one in group if one.item.ok and one.item.path is not None]
            failed = await on_thread(partial(self._force, named)) if named else {}
        finally:
            self._under_way = 0
        self._hold(len(self._waiting) >= MAX_UNSETTLED)
        for one in group:
            error = failed.get(one.item.path) if one.item.path is not None else None
            try:
                one.done(one.item if error is None else not_forced(one.item, error), error)
            except Exception as raised:  # noqa: BLE001 - a user's callback: the others are told all the same
                self._work.failed(raised)

    async def flush(self) -> None:
        """Wait until nothing waits. Raises the first error of those that were told, when all were."""
        self._hurry.set()
        try:
            await self._work.end()
        finally:
            self._hurry.clear()

    def _force(self, paths: list[Path]) -> dict[Path | None, OSError]:
        """Force files and the folders that name them; what failed. Blocks."""
        failed: dict[Path | None, OSError] = {}
        folders: dict[Path, list[Path]] = {}
        for path in dict.fromkeys(paths):
            try:
                sync_file(path)
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
    """Sinks whose objects are answered for when their last byte is here, and checked and named after that.

    One after the other, as they came: of two objects of one UID the first has the name.
    """

    def __init__(self) -> None:
        self._waiting: deque[FileSink] = deque()
        self._room = asyncio.Semaphore(MAX_LATER)
        self._work = _Work(self._commit, self._waiting)

    async def commit(self, sink: FileSink) -> StoreOutcome:
        """See that it is done; where many wait, wait for one of them first. Cancelled it does nothing."""
        await self._room.acquire()
        self._waiting.append(sink)
        self._work.begin()
        return StoreOutcome(0)

    async def _commit(self) -> None:
        while self._waiting:
            sink = self._waiting.popleft()
            try:
                outcome = await sink.commit()
                if outcome.status:
                    log.warning("an object that was answered for is not kept: %s", outcome.comment)
            except Exception as error:  # noqa: BLE001 - a user's callback, or a defect: the others are kept
                self._work.failed(error)
            finally:
                sink.discard()
                self._room.release()

    async def flush(self) -> None:
        """Wait until nothing waits. Raises the first error of those that were told."""
        await self._work.end()


class LateSink:
    """A `StoreSink` that answers before its file has its name."""

    def __init__(self, sink: FileSink, later: Later) -> None:
        self._sink = sink
        self._later = later
        self._given = False

    def write(self, data: memoryview, /) -> None:
        """Append."""
        self._sink.write(data)

    async def commit(self) -> StoreOutcome:
        """Answer for it; the check and the name follow."""
        outcome = await self._later.commit(self._sink)
        self._given = True
        return outcome

    def discard(self) -> None:
        """Remove the temporary file, unless it is to get its name."""
        if not self._given:
            self._sink.discard()
