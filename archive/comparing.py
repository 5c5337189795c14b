"""Index and files brought in line by name, folder by folder, on a thread beside the archive that serves.

What looks wrong here may be a commit under way: each difference is looked at once more on the thread that
writes, which alone makes and takes out objects, before anything is done about it. No file is removed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from .entry import Entry
from .files import ObjectFiles
from .index import Index
from .upkeep import SAID, LeftOut, Upkeep, doubled, is_there, say

log: logging.Logger = logging.getLogger("aiodicom.archive")

BATCH = 64
"""Differences mended in one turn of the writing thread: commits go on between two."""

_PAGE = 10_000
_AT_ONCE = 500

_T = TypeVar("_T")


class RunsWriting(Protocol):
    """Who runs something on the writing thread, and waits for it."""

    def run(self, work: Callable[[], _T], /) -> _T:
        """Run it."""


class Comparison:
    """Compares an open archive's files with its index, once, on a thread of its own.

    sizes: whether files may have lost their content (a power failure), so that their lengths are looked at;
        else their names are.
    then: called when all was compared.
    """

    def __init__(
        self,
        files: ObjectFiles,
        index: Index,
        upkeep: Upkeep,
        writing: RunsWriting,
        *,
        sizes: bool,
        then: Callable[[], None],
    ) -> None:
        self._files = files
        self._index = index
        self._upkeep = upkeep
        self._writing = writing
        self._sizes = sizes
        self._then = then
        self._stop = threading.Event()
        self._failed = 0  # folders and files that could not be looked at
        self.whole: bool = False
        self._thread = threading.Thread(target=self._run, name="archive-compare", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; gives whether all was compared by then."""
        self._thread.join(timeout)
        return self.whole

    def stop(self) -> None:
        """End it where it is, and wait for that. Idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        if self._sizes:
            log.warning("the last use did not end in order: index and files are compared while it serves")
        try:
            added, gone, left = self._compare()
            if self._stop.is_set():
                return
            if self._failed:
                log.error(
                    "%d folders or files could not be looked at, the next start tries again", self._failed
                )
                return
            self._then()
            self.whole = True
        except Exception as error:  # noqa: BLE001 - whatever it is, the archive serves on and says so
            why = error if isinstance(error, OSError | sqlite3.Error) else type(error).__name__
            log.error("index and files could not be compared, the next start tries again: %s", why)
            return
        if added or gone:
            log.warning("index and files differed: %d objects added, %d taken out", added, gone)
        elif self._sizes:
            log.warning("index and files were compared: they agree, but for %d objects left out", left)

    def _compare(self) -> tuple[int, int, int]:
        """Look through all folders; gives how many objects were added, taken out and left out."""
        added = gone = left = 0
        series = _series_by_folder(self._index, self._files)
        for folder in sorted({*self._files.folders(self._cannot), *series}):
            try:
                missing, lost = self._differences(folder, series.get(folder, ()))
            except FileNotFoundError:  # the index alone has it
                missing, lost = [], [uid for uid, _, _ in _paths(self._index, series.get(folder, ()))]
            except OSError as error:
                self._cannot(self._files.root / folder, error)
                continue
            gone += sum(self._take_out(part) for part in _batches(lost))
            for part in _batches(missing):
                more, unread = self._add(part)
                say(unread[: max(0, SAID - left)])
                added, left = added + more, left + len(unread)
            if self._stop.is_set():
                break
        if left > SAID:
            log.warning("not indexed: %d more objects", left - SAID)
        return added, gone, left

    def _cannot(self, path: Path, error: OSError) -> None:
        """Count what cannot be looked at; it may be there, so nothing is done about it."""
        self._failed += 1
        if self._failed <= SAID:
            log.warning("not compared: %s: %s", path, error.strerror)

    def _differences(self, folder: str, series: Sequence[int]) -> tuple[list[str], list[str]]:
        """Names that the index lacks, and SOP Instance UIDs whose file is not there or another."""
        sizes = self._files.sizes(folder) if self._sizes else dict.fromkeys(self._files.names(folder), -1)
        lost = []
        for uid, path, size in _paths(self._index, series):
            found = sizes.pop(path, None)
            if found is None or (found >= 0 and found != size):
                lost.append(uid)
            self._failed += self._sizes and found == -1
        return list(sizes), lost

    def _take_out(self, uids: Sequence[str]) -> int:
        def work() -> int:
            stored = [self._index.locate(uid) for uid in uids]
            return self._index.remove(
                one.sop_instance_uid for one in stored if one is not None and not is_there(one)
            )

        return 0 if self._stop.is_set() else self._writing.run(work)

    def _add(self, names: Sequence[str]) -> tuple[int, list[LeftOut]]:
        entries, left = self._upkeep.read(names)

        def work() -> int:
            # a group that was taken back meanwhile left no file
            here = [one for one in entries if os.path.lexists(self._files.root / one.path)]
            stored = [self._index.locate(one.sop_instance_uid) for one in here]
            lost = [one.sop_instance_uid for one in stored if one is not None and not is_there(one)]
            paths = {one.path for one in stored if one is not None}

            def note(one: Entry) -> None:
                path = self._files.root / one.path
                if path not in paths:  # else it was committed meanwhile
                    left.append(doubled(path))

            return self._index.add(here, forget=lost, doubled=note)

        added = self._writing.run(work) if entries and not self._stop.is_set() else 0
        return added, [one for one in left if os.path.lexists(one.path)]


def _series_by_folder(index: Index, files: ObjectFiles) -> dict[str, array[int]]:
    """The numbers of all series by the folder their objects lie in; eight bytes each."""
    found: dict[str, array[int]] = {}
    last = 0
    while True:
        with index.reader() as connection:  # no snapshot of minutes
            rows = connection.execute(
                "SELECT id, series_uid FROM series WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
            ).fetchall()
        if not rows:
            return found
        for number, uid in rows:
            found.setdefault(files.folder_of(uid), array("q")).append(number)
        last = rows[-1][0]


def _paths(index: Index, series: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """SOP Instance UID, path and length of the file of each object of these series."""
    with index.reader() as connection:
        for start in range(0, len(series), _AT_ONCE):
            part = tuple(series[start : start + _AT_ONCE])
            marks = ",".join("?" * len(part))
            yield from connection.execute(
                f"SELECT sop_uid, path, size FROM instances WHERE series_id IN ({marks})",  # noqa: S608
                part,
            )


def _batches(found: Iterable[str]) -> Iterable[list[str]]:
    left = iter(found)
    while part := list(islice(left, BATCH)):
        yield part
