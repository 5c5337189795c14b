"""Keeping index and files in agreement: after a kill, without an index, or on request.

Nothing here removes a file. An object that cannot be read is left out and said, and looked for again at the
next start; one of the announced group that is proven torn is moved to `quarantine/`.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..dataset.errors import NotDicom, TruncatedFile
from ..dataset.instance import Instance
from ..dataset.names import file_stem
from ..dataset.part10 import FileHeader, read_header
from ..dataset.window import FileWindow
from ..dimse import status
from .entry import Entry, entry_of
from .errors import ObjectRefused, TornObject
from .files import Failed, ObjectFiles
from .index import Index
from .record import Record, read_record

log: logging.Logger = logging.getLogger("aiodicom.archive")

Progress = Callable[[int, int], None]
"""Told how many of how many objects were read."""
PROGRESS_EVERY = 1000
"""Objects between two calls of a `Progress`."""
ANY_DEPTH = 1 << 62
"""Nested sequences of an object that was taken: as many as there are."""
SAID = 20
"""Objects left out that are named in the log one by one; more are counted."""
_LOGGED_EVERY = 20_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in the index, and why. torn: it is no whole object, as far as it can be read."""

    path: Path
    reason: str
    torn: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a look at every object found; `ok` when nothing is wrong.

    objects: files read. damaged: no whole object, not the one its name says, or a folder that cannot be
    listed. not_indexed: whole, and missing in the index, or another file of that UID is there. missing: SOP
    Instance UIDs in the index whose file is not there. differing: whose file has another size than the index
    says. doubtful: kept as they came, with what of their encoding is against PS3.5; no fault of the archive.
    """

    objects: int
    damaged: tuple[LeftOut, ...]
    not_indexed: tuple[Path, ...]
    missing: tuple[str, ...]
    differing: tuple[str, ...]
    doubtful: tuple[LeftOut, ...] = ()

    @property
    def ok(self) -> bool:
        """Index and files agree, and every file is a whole object."""
        return not (self.damaged or self.not_indexed or self.missing or self.differing)


class Upkeep:
    """Works on one archive's files and index, on the thread that writes them."""

    def __init__(
        self,
        files: ObjectFiles,
        index: Index,
        *,
        progress: Progress | None = None,
    ) -> None:
        self._files = files
        self._index = index
        self._progress = progress

    def settle(self) -> bool:
        """What a start has to do before it serves; gives whether files and index are to be compared then."""
        if not self._index.whole:
            left = self.rebuild()
            say(left)
            count = self._index.counts().instances
            if count or left:  # else the archive is new
                text = "the index was not there, or not whole: made anew of %d objects, %d left out"
                log.warning(text, count, len(left))
            return False
        self._recover()
        return True

    def rebuild(self) -> list[LeftOut]:
        """Fill the index anew from the files alone, in one transaction; gives what was left out."""
        left: list[LeftOut] = []
        expected = self._count()
        self._index.add(
            self._entries(self._files.objects(_into(left)), left, expected),
            replace_all=True,
            doubled=lambda one: left.append(doubled(self._files.root / one.path)),
        )
        self._files.clear_announced()
        return left

    def _recover(self) -> None:
        """Index the group a killed process had announced."""
        announced = self._files.announced()
        if announced:
            left: list[LeftOut] = []
            here = [name for name in announced if os.path.lexists(self._files.root / name)]
            self._index.add(self._entries(here, left))
            torn = [one for one in left if one.torn]
            for one in torn:
                # it may have been answered, by a process before: the note of a group is not forced away
                self._put_aside(one)
            self._index.remove(one.path.stem for one in torn)
            say([one for one in left if not one.torn])
        self._files.clear_announced()

    def _put_aside(self, one: LeftOut) -> None:
        kept = self._files.quarantine(one.path)
        log.warning("%s is no whole object, moved to %s: %s", one.path.name, kept, one.reason)

    def adopt(self, name: str, *, forget: Collection[str] = ()) -> bool:
        """Index what lies in its place and is not indexed, on the writing thread; False if it is no object.

        Proven to be torn it is moved aside. forget: as of `Index.add`.

        Raises OSError (it cannot be read now, or is none of the archive's), sqlite3.Error.
        """
        entries, left = self.read([name])
        for one in left:
            if not one.torn:
                raise OSError(errno.EIO, f"what lies there cannot be read: {one.reason}", os.fspath(one.path))
            self._put_aside(one)
        if entries:
            self._index.add(entries, forget=forget)
            log.warning("an object that was not indexed lies at %s: it is now", name)
        return bool(entries)

    def read(self, names: Iterable[str]) -> tuple[list[Entry], list[LeftOut]]:
        """The entries of these objects, and those that have none."""
        left: list[LeftOut] = []
        return list(self._entries(names, left)), left

    def verify(self) -> VerifyReport:
        """Read every object and compare it with the index, on any thread; changes nothing."""
        indexed = {one.sop_instance_uid: one for one in self._index.stored()}
        damaged: list[LeftOut] = []
        found: set[str] = set()
        new: list[Path] = []
        doubtful: list[LeftOut] = []
        count = 0
        # what is committed after `indexed` was read is in neither list of faults: it is looked up again
        for entry in self._entries(self._files.objects(_into(damaged)), damaged, self._count()):
            count += 1
            uid, path = entry.sop_instance_uid, self._files.root / entry.path
            known = indexed.get(uid)
            found.add(uid)
            if entry.doubt:
                doubtful.append(LeftOut(path, entry.doubt))
            if known.path != path if known is not None else not self._index.holds(uid):
                new.append(path)
        return VerifyReport(
            count + len(damaged),
            tuple(damaged),
            tuple(new),
            tuple(uid for uid, one in indexed.items() if uid not in found and not one.path.exists()),
            tuple(uid for uid, one in indexed.items() if uid in found and not is_there(one)),
            tuple(doubtful),
        )

    def _count(self) -> int:
        return sum(1 for _ in self._files.objects(_unsaid))  # whoever reads them says what cannot be listed

    def _entries(self, names: Iterable[str], left: list[LeftOut], expected: int = 0) -> Iterator[Entry]:
        for number, name in enumerate(names):
            if expected and number and number % PROGRESS_EVERY == 0 and self._progress is not None:
                self._progress(number, expected)
            if expected and number and number % _LOGGED_EVERY == 0:
                log.info("indexing: %d of %d objects read", number, expected)
            path = self._files.root / name
            try:
                yield self._entry(path, name)
            except (TornObject, TruncatedFile, NotDicom) as error:
                left.append(LeftOut(path, str(error), torn=True))
            except (ObjectRefused, OSError) as error:
                left.append(LeftOut(path, str(error)))
            except Exception as error:  # noqa: BLE001 - one object must never stop a start; it is listed
                left.append(LeftOut(path, f"it cannot be read ({type(error).__name__})"))

    def _entry(self, path: Path, name: str) -> Entry:
        header, record, found = read_object(path, own=True)
        if file_stem(record.sop_instance_uid) != path.stem:
            raise ObjectRefused(status.IDENTIFIER_MISMATCH, "the file's name is not its SOP Instance UID")
        return entry_of(record, name, header.data_offset, found.st_size, found.st_mtime_ns)


def read_object(path: Path, *, own: bool = False) -> tuple[FileHeader, Record, os.stat_result]:
    """Read a file as the archive reads what it keeps; own: it wrote it.

    What lies in `objects/` was taken and answered, with whatever limits the archive had then: none holds now.

    Raises OSError, ImagingError, ObjectRefused (it is no whole object the archive can keep).
    """
    # without O_NONBLOCK, opening a pipe would wait for its writer
    with open(
        path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    ) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NotDicom("it is no file")
        if found.st_size == 0:
            raise TruncatedFile("the file is empty")
        header = read_header(file.fileno(), own=own)
        data = FileWindow(file.fileno(), header.data_offset, found.st_size - header.data_offset)
        return header, read_record(data, header.transfer_syntax_uid, max_depth=ANY_DEPTH), found


def is_there(stored: Instance) -> bool:
    """Whether the file of an object is there in its whole length, as far as can be seen."""
    try:
        return stored.path.stat().st_size == stored.data_offset + stored.data_size
    except FileNotFoundError:
        return False
    except OSError:  # it may be there: what cannot be looked at is not taken out of the index
        return True


def doubled(path: Path) -> LeftOut:
    """A file beside another of the same UID, which the index has."""
    return LeftOut(path, "the index has another file of its SOP Instance UID")


def _into(left: list[LeftOut]) -> Failed:
    return lambda path, error: left.append(LeftOut(path, f"it cannot be listed: {error.strerror}"))


def _unsaid(path: Path, error: OSError) -> None:
    del path, error


def say(left: list[LeftOut]) -> None:
    """Log what was left out, and why."""
    for one in left[:SAID]:
        log.warning("not indexed: %s: %s", one.path, one.reason)
    if len(left) > SAID:
        log.warning("not indexed: %d more objects", len(left) - SAID)
