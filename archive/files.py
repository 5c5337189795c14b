"""Where the archive's files lie, and how one becomes visible.

    lock                              held while an archive is open; says how the last use of it ended
    index.sqlite                      the index
    incoming/                         objects still arriving; emptied at every start
    incoming/journal                  names of the group being committed
    objects/<2 hex>/<2 hex>/<SOP Instance UID>.dcm
    conflicts/<SOP Instance UID>.<16 hex>.dcm
                                      objects of a stored UID with other content, so many for each
    quarantine/<SOP Instance UID>.<16 hex>.dcm
                                      what a start found torn, and what came whole and was refused, with a
                                      .reason beside it; nothing here is ever removed

The two folders of an object come from a hash of its series UID, so that what arrives together is synced
together.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Literal

from ..dataset.leftovers import is_part_name
from ..dataset.names import file_stem
from .errors import ArchiveInUse, NoArchive, UnusableArchive

Durability = Literal["fsync", "rename"]
LastEnd = Literal["clean", "killed", "power"]
"""Closed; killed while the machine went on, so that every write it made is there; or anything else."""

Failed = Callable[[Path, OSError], None]
"""Told of what cannot be looked at."""

log: logging.Logger = logging.getLogger("aiodicom.archive")

FOLDER_MODE = 0o750
FILE_MODE = 0o640
"""What is new is for its owner, who may let a group read it: images are nobody else's."""
MAX_CONFLICTS = 16
"""Contradicting objects kept for one SOP Instance UID: a device that stamps each retry anew has no end."""
MAX_CONFLICTS_IN_ALL = 10_000
"""Contradicting objects kept in all."""

MAX_REFUSED = 4
"""Refused objects kept for one SOP Instance UID: a sender tries again and again."""
MAX_REFUSED_SIZE = 1 << 30
"""Bytes of refused objects kept in all."""
MAX_REFUSED_FILES = 10_000
"""Refused objects kept in all."""

INDEX = "index.sqlite"
_CLEAN = "clean"

_STEM = r"([0-9.]{1,64}|x[0-9a-f]{32})"  # what `file_stem` makes
_OBJECT_NAME = re.compile(rf"objects/[0-9a-f]{{2}}/[0-9a-f]{{2}}/{_STEM}\.dcm")
_ASIDE_NAME = re.compile(rf"{_STEM}\.[0-9a-f]{{16}}\.dcm")
_CHUNK = 1 << 20
_MAX_JOURNAL = 1 << 20  # bytes of a group's names, with room to spare


class ObjectFiles:
    """The folder of an archive; made if it is missing, and locked.

    A journal that cannot be read is set aside.

    Raises NoArchive (there is none and none is to be made), ArchiveInUse (the folder is open elsewhere),
    UnusableArchive (something else stands in the place of a part), OSError (it cannot be made or read).
    """

    def __init__(
        self,
        root: Path,
        durability: Durability,
        *,
        create: bool = True,
        max_refused: int = MAX_REFUSED_SIZE,
    ) -> None:
        if find_spec("fcntl") is None or not hasattr(os, "pread"):
            raise UnusableArchive(
                "an archive needs POSIX (Linux, macOS, a BSD): locks of files, and reading at an offset"
            )
        if not create and not os.path.lexists(root / "objects"):
            raise NoArchive(f"{root} holds no archive")
        self.root = root
        self._root = os.fspath(root)
        self.incoming: Path = root / "incoming"
        self.syncs: bool = durability == "fsync"
        self._known: set[str] = set()
        self._aside: Counter[str] | None = None  # conflicts kept, by UID
        self._refused = Refused(root, max_refused)
        for folder in ("", "incoming", "objects", "conflicts", "quarantine"):
            _make_folder(root / folder)
        if _device(self.incoming) != _device(root / "objects"):
            raise UnusableArchive(
                f"{self.incoming} and {root / 'objects'} are on different file systems: an object cannot be"
                " moved from one to the other in one step"
            )
        self._lock = _lock(root / "lock")
        try:
            self.last_end = _last_end(self._lock)
            self._journal = self._open_journal()
        except BaseException:
            os.close(self._lock)
            raise

    def _open_journal(self) -> int:
        """The journal; what stands there and cannot be one is set aside, for it may still tell somebody."""
        path = self.incoming / "journal"
        try:
            journal = open_plain(path)
            os.pread(journal, 1, 0)
        except OSError as error:
            kept = self.root / "quarantine" / f"journal.{secrets.token_hex(8)}"
            log.warning("the journal cannot be used, moved to %s: %s", kept, error)
            os.rename(path, kept)
            # which objects it named is not known: they are found where index and files are compared
            journal = open_plain(path)
        return journal

    def begin(self) -> None:
        """What the last use left undone is done: from now on this one counts as not ended."""
        self.sync_folders([""])
        self._mark(_boot())

    def close(self, *, clean: bool) -> None:
        """Give the folder free. Idempotent.

        clean: index and files agree and are on the disk, so that the next start need not look.
        """
        if self._lock < 0:
            return
        try:
            if clean:
                self._mark(_CLEAN)
        finally:  # nobody else could open the folder while this process lives
            os.close(self._journal)
            os.close(self._lock)
            self._journal = self._lock = -1

    def _mark(self, text: str) -> None:
        data = text.encode().ljust(64)
        os.pwrite(self._lock, data, 0)
        os.fsync(self._lock)

    def object_name(self, series_uid: str, sop_instance_uid: str) -> str:
        """The path of an object within the archive; a UID that cannot be a file name is hashed."""
        return f"{self.folder_of(series_uid)}/{file_stem(sop_instance_uid)}.dcm"

    @staticmethod
    def folder_of(series_uid: str) -> str:
        """The folder within the archive that a series' objects lie in, with those of others."""
        digest = hashlib.sha256(series_uid.encode()).hexdigest()
        return f"objects/{digest[:2]}/{digest[2:4]}"

    def sync_file(self, fd: int) -> None:
        """Force a file to the disk, if the durability asks for it."""
        if self.syncs:
            os.fsync(fd)

    def announce(self, names: Sequence[str]) -> None:
        """Note the objects about to become visible: a start after a crash finds them without a search."""
        data = "".join(f"{name}\n" for name in names).encode()
        written = 0
        while written < len(data):
            written += os.pwrite(self._journal, data[written:], written)

    def clear_announced(self) -> None:
        """The group is through: forget the note."""
        os.ftruncate(self._journal, 0)

    def announced(self) -> list[str]:
        """Objects that were about to become visible when the last process ended."""
        size = os.fstat(self._journal).st_size
        lines = os.pread(self._journal, min(size, _MAX_JOURNAL), 0).decode("ascii", "replace").split("\n")
        return [name for name in lines[:-1] if _OBJECT_NAME.fullmatch(name)]

    def clean_incoming(self) -> None:
        """Remove what a process that was killed left half-written; what is none of ours stays."""
        with os.scandir(self.incoming) as found:
            left = [one.path for one in found if is_part_name(one.name) and _is_plain(one)]
        for path in left:
            os.unlink(path)

    def publish(self, temporary: str, name: str) -> set[str]:
        """Move a whole file to its place; gives the folders `sync_folders` has to see."""
        folder = os.path.dirname(name)
        touched = {folder}
        if folder not in self._known:
            path = self.root / folder
            if not path.is_dir():
                path.parent.mkdir(FOLDER_MODE, exist_ok=True)
                path.mkdir(FOLDER_MODE, exist_ok=True)
                touched |= {os.path.dirname(folder), "objects"}
            self._known.add(folder)
        os.replace(temporary, f"{self._root}/{name}")
        return touched

    def sync_folders(self, folders: Iterable[str]) -> None:
        """Force names to the disk, if the durability asks for it."""
        for folder in folders if self.syncs else ():
            fd = os.open(f"{self._root}/{folder}", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def withdraw(self, name: str) -> None:
        """Take back a published file that the index did not take."""
        (self.root / name).unlink(missing_ok=True)

    def set_aside(self, temporary: str, digest: str, sop_instance_uid: str) -> Path | None:
        """Keep an object that contradicts a stored one; the same content twice is kept once.

        None when MAX_CONFLICTS of that UID, or MAX_CONFLICTS_IN_ALL, are kept already: this one is not.
        """
        uid = file_stem(sop_instance_uid)
        path = self.root / "conflicts" / f"{uid}.{digest[:16]}.dcm"
        if self._aside is None:
            self._aside = Counter(one.rpartition(".")[0] for one in aside(self.root, "conflicts"))
        new = not path.exists()
        if new and (self._aside[uid] >= MAX_CONFLICTS or self._aside.total() >= MAX_CONFLICTS_IN_ALL):
            return None
        os.replace(temporary, path)
        self._aside[uid] += new
        return path

    def quarantine(self, path: Path) -> Path:
        """Move a file that is no whole object out of `objects/`; gives its new place."""
        aside = self.root / "quarantine" / f"{path.stem}.{secrets.token_hex(8)}.dcm"
        os.rename(path, aside)
        self.sync_folders([os.path.relpath(path.parent, self.root), "quarantine"])
        return aside

    def keep_refused(self, temporary: str, sop_instance_uid: str, reason: str) -> bool:
        """Keep a whole object that is no part of the archive, where there is room; on any thread."""
        return self._refused.keep(temporary, file_stem(sop_instance_uid), reason)

    def objects(self, failed: Failed) -> Iterator[str]:
        """Paths of all objects within the archive, sorted, one folder in memory at a time.

        What does not have the name of an object is none, whatever it holds. failed: told of a folder that
        cannot be listed; raises OSError where that is the one of all.
        """
        for folder in self.folders(failed):
            try:
                yield from self.names(folder)
            except OSError as error:
                failed(self.root / folder, error)

    def folders(self, failed: Failed) -> Iterator[str]:
        """The folders within the archive that objects may lie in, sorted; `failed` as of `objects`."""
        for first in _entries(self.root / "objects"):
            try:
                for second in _entries(self.root / "objects" / first):
                    yield f"objects/{first}/{second}"
            except OSError as error:
                failed(self.root / "objects" / first, error)

    def names(self, folder: str) -> list[str]:
        """The objects in one of `folders`, sorted. Raises OSError."""
        paths = (f"{folder}/{name}" for name in _entries(self.root / folder))
        return [path for path in paths if _OBJECT_NAME.fullmatch(path)]

    def sizes(self, folder: str) -> dict[str, int]:
        """The objects in one of `folders` and their lengths; -1 for one that cannot be looked at.

        Raises OSError.
        """
        return {name: _size(f"{self._root}/{name}") for name in self.names(folder)}


class Refused:
    """Objects in `quarantine/` that were refused, of which so many are kept; for any thread."""

    def __init__(self, root: Path, most: int) -> None:
        self._folder = root / "quarantine"
        self._most = most
        self._guard = threading.Lock()
        self._kept: Counter[str] | None = None
        self._size = 0

    def keep(self, temporary: str, stem: str, reason: str) -> bool:
        """Move a file here, and say beside it why; False where enough are here. Raises OSError."""
        size = os.path.getsize(temporary)
        with self._guard:
            kept = self._counted()
            if (
                self._size + size > self._most
                or kept.total() >= MAX_REFUSED_FILES
                or kept[stem] >= MAX_REFUSED
            ):
                return False
            kept[stem] += 1
            self._size += size
        try:
            self._move(temporary, self._folder / f"{stem}.{secrets.token_hex(8)}", reason)
        except OSError:
            with self._guard:
                kept[stem] -= 1
                self._size -= size
            raise
        return True

    def _move(self, temporary: str, name: Path, reason: str) -> None:
        why = Path(f"{name}.reason")
        try:
            beside = os.open(why, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            with open(beside, "w", encoding="utf-8") as file:
                file.write(reason)
            os.replace(temporary, f"{name}.dcm")
        except OSError:
            why.unlink(missing_ok=True)
            raise

    def _counted(self) -> Counter[str]:
        if self._kept is None:
            names = [one[:-7] for one in _entries(self._folder) if one.endswith(".reason")]
            self._kept = Counter(name.rpartition(".")[0] for name in names)
            for name in names:
                self._size += max(0, _size(f"{self._folder}/{name}.dcm"))
        return self._kept


def reason_of(root: Path, name: str) -> str | None:
    """Why an object of `quarantine/` was refused; None for one that was not, but found torn."""
    try:
        return (root / "quarantine" / f"{name}.reason").read_text("utf-8", "replace")
    except FileNotFoundError:
        return None


def is_object_name(path: str) -> bool:
    """Whether a path within an archive is one of those that objects have."""
    return _OBJECT_NAME.fullmatch(path) is not None


def aside(root: Path, folder: Literal["conflicts", "quarantine"]) -> list[str]:
    """What is set aside in an archive's folder, open or not: names without ``.dcm``, sorted."""
    return [name[:-4] for name in _entries(root / folder) if _ASIDE_NAME.fullmatch(name)]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def is_plain_file(path: Path) -> bool:
    """Whether a file is there; `Path.is_file` takes some errors of a disk for none. Raises OSError."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _device(path: Path) -> int:
    return os.stat(path).st_dev


def _make_folder(path: Path) -> None:
    """See that a folder is there, and can be used. Raises OSError."""
    try:
        path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UnusableArchive(f"{path} is no folder, and the archive needs one there: move it away") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the archive may not read and write this folder", str(path))


def open_plain(path: Path) -> int:
    """Open a file of the archive's own, which is made if it is missing. Raises UnusableArchive, OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, FILE_MODE)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise _not_plain(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(path)
    return descriptor


def _not_plain(path: Path) -> UnusableArchive:
    return UnusableArchive(f"{path} is no plain file, and the archive has one there: move it away")


def _is_plain(found: os.DirEntry[str]) -> bool:
    return found.is_file(follow_symlinks=False) or found.is_symlink()


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        return []


def _last_end(lock: int) -> LastEnd:
    """How the last use of the folder ended, from what the lock file says."""
    mark = os.pread(lock, 64, 0).decode("ascii", "replace").strip()
    if mark in ("", _CLEAN):
        return "clean"
    return "killed" if mark == _boot() else "power"


def _boot() -> str:
    """Names the run of the machine since it was switched on; no two calls agree where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return secrets.token_hex(16)


def _lock(path: Path) -> int:
    # imported here: the one thing that needs POSIX, and only when an archive is opened
    import fcntl

    fd = open_plain(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ArchiveInUse(f"the archive {path.parent} is open already") from None
    except OSError:
        os.close(fd)
        raise
    return fd


def digest_of(path: str, data_offset: int) -> str:
    """The SHA-256 of a file from that offset on, in hex digits."""
    with open(path, "rb") as file:
        file.seek(data_offset)
        return hashlib.file_digest(file, "sha256").hexdigest()


def same_data(first: int, first_offset: int, second: int, second_offset: int) -> bool:
    """True when two open files hold the same bytes from their offsets on."""
    sizes = os.fstat(first).st_size - first_offset, os.fstat(second).st_size - second_offset
    if sizes[0] != sizes[1]:
        return False
    for at in range(0, sizes[0], _CHUNK):
        if os.pread(first, _CHUNK, first_offset + at) != os.pread(second, _CHUNK, second_offset + at):
            return False
    return True


def set_index_aside(directory: Path) -> None:
    """Rename the index of an archive, so that the next opening makes one from the objects."""
    index = directory / INDEX
    number = next(n for n in count(1) if not directory.joinpath(f"{INDEX}.damaged-{n}").exists())
    for suffix in ("", "-wal", "-shm"):
        old = index.with_name(index.name + suffix)
        if old.exists():
            old.rename(directory / f"{INDEX}.damaged-{number}{suffix}")
