"""A copy of an archive that may serve meanwhile: of the moment at which its index was read.

An object is in the index only when its file lies in its place, and no file is ever changed or removed: so a
copy of the index tells which files belong to it, however many come after.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .errors import ArchiveError, IndexVersionError, NoArchive
from .files import FOLDER_MODE, INDEX, aside, is_object_name
from .index import SCHEMA_VERSION

COPIED_EVERY = 1000
"""Objects between two calls of `progress`."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What was copied, and what was not.

    objects, bytes: what was copied of the objects. missing: SOP Instance UIDs in the index without their
    whole file. left_out: what lay in `conflicts/` or `quarantine/` under a name of theirs, as
    ``folder/name``, and was no plain file, or was taken away meanwhile.
    """

    objects: int
    bytes: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def copy_archive(
    source: Path, target: Path, *, link: bool = False, progress: Callable[[int, int], None] | None = None
) -> CopyReport:
    """Copy an archive, open or not, to a folder that is not there yet, and appears when all of it is.

    link: objects become hard links, which take no room and no time, and share what may happen to the disk.
    progress: told how many of how many objects are there.

    Raises NoArchive, IndexVersionError (its index is of another version, or not whole), FileExistsError
    (`target` is there), OSError or sqlite3.Error (reading or writing failed); nothing of a copy stays then.
    """
    if not (source / INDEX).is_file() or not (source / "objects").is_dir():
        raise NoArchive(f"{source} holds no archive")
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already: name a folder that is not")
    growing = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    for folder in ("incoming", "objects", "conflicts", "quarantine"):
        (growing / folder).mkdir(FOLDER_MODE, parents=True)
    try:
        _copy_index(source / INDEX, growing / INDEX)
        report = _copy_objects(source, growing, link, progress)
        left_out = tuple(_copy_aside(source, growing, link))
        os.sync()
        os.rename(growing, target)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    return replace(report, left_out=left_out)


def _copy_index(source: Path, target: Path) -> None:
    """In one step, so that it is of one moment; who writes does not wait for it."""
    address = f"{source.absolute().as_uri()}?mode=rw"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=30)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        if new.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            raise IndexVersionError(f"{source} is of another version, or not whole: open the archive first")
    os.chmod(target, os.stat(source).st_mode & 0o777)


def _copy_objects(
    source: Path, target: Path, link: bool, progress: Callable[[int, int], None] | None
) -> CopyReport:
    with closing(sqlite3.connect(target / INDEX)) as index:
        (expected,) = index.execute("SELECT count(*) FROM instances").fetchone()
        done = size = 0
        missing: list[str] = []
        for uid, path, length in _objects(index):
            try:
                if os.stat(source / path).st_size != length:
                    missing.append(uid)
                _copy(source / path, target / path, link)
            except FileNotFoundError:
                missing.append(uid)
                continue
            done += 1
            size += length
            if progress is not None and done % COPIED_EVERY == 0:
                progress(done, expected)
    return CopyReport(done, size, tuple(missing))


def _copy_aside(source: Path, target: Path, link: bool) -> Iterator[str]:
    """Copy what was set aside, each with its reason; gives what could not be."""
    folders: tuple[Literal["conflicts"], Literal["quarantine"]] = ("conflicts", "quarantine")
    for folder in folders:
        for stem in aside(source, folder):
            name = f"{folder}/{stem}.dcm"
            try:
                if not stat.S_ISREG(os.lstat(source / name).st_mode):
                    yield name
                    continue
                _copy(source / name, target / name, link)
            except FileNotFoundError:
                yield name
                continue
            with suppress(FileNotFoundError):  # what was found torn has none
                _copy(source / folder / f"{stem}.reason", target / folder / f"{stem}.reason", link)


def _objects(index: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    for uid, path, size in index.execute("SELECT sop_uid, path, size FROM instances ORDER BY path"):
        if not is_object_name(path):
            raise ArchiveError(f"the index names {path!r}, which is no object's path")
        yield uid, path, size


def _copy(source: Path, target: Path, link: bool) -> None:
    if not target.parent.is_dir():
        target.parent.parent.mkdir(FOLDER_MODE, exist_ok=True)
        target.parent.mkdir(FOLDER_MODE, exist_ok=True)
    if link:
        os.link(source, target)
    else:
        shutil.copy2(source, target)  # with its time: the order of storing is made from it
