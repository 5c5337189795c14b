"""Something else stands where a part of the archive belongs: it is said, or set aside; nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import ArchiveError, UnusableArchive
from aiodicom.dimse.levels import Root
from archive_objects import files_below, image, query, store
from pydicom.dataset import Dataset

FILES = ("lock", "incoming/journal", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm")
FOLDERS = ("incoming", "objects", "conflicts", "quarantine")


def found(archive: Archive) -> list[Dataset]:
    """Every object, by a query."""
    return list(archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="")))


def folder(path: Path) -> None:
    path.mkdir()
    (path / "precious").write_text("of somebody's")


def nowhere(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def elsewhere(path: Path) -> None:
    """A link to a file that is not to be written into."""
    other = path.parent.parent / "other" if path.parent.name == "incoming" else path.parent / "other"
    other.write_text("of somebody's")
    path.symlink_to(other)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def file(path: Path) -> None:
    path.write_text("of somebody's")


@pytest.fixture
def archive(tmp_path):
    """A folder with five objects, closed in order."""
    with Archive(tmp_path / "archive") as opened:
        for number in range(5):
            store(opened, image(number))
    return tmp_path / "archive"


def away(path: Path) -> Path | None:
    """Move it out of the archive."""
    if not os.path.lexists(path):
        return None
    outside = path.parents[2 if path.parent.name == "incoming" else 1]
    return Path(shutil.move(path, outside / f"moved {path.name} {len(os.listdir(outside))}"))


@pytest.mark.parametrize("make", [folder, nowhere, elsewhere, pipe, file])
@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_start_says_what_is_in_its_way_or_sets_it_aside(archive, name, make):
    path = archive / name
    kept = away(path)
    make(path)
    error = opened_or_why(archive, 0 if name == "objects" else 5)
    if error is not None:
        assert path.name in error
        assert re.search("move it away|remove it", error)
        command = [sys.executable, "-m", "aiodicom", "archive", "verify", str(archive)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 1
        assert path.name in told.stderr
        assert "Traceback" not in told.stderr
        away(path)
        if name in FOLDERS and kept is not None:
            shutil.move(kept, path)
        with Archive(archive) as opened:
            assert opened.wait_until_compared(30)
            assert len(found(opened)) == 5
            assert opened.verify().ok
            assert store(opened, image(9)).status == 0
    if make is folder:
        assert any(one.endswith("precious") for one in files_below(archive.parent))
    if make is elsewhere and name in ("lock", "incoming/journal"):
        assert (archive / "other").read_text() == "of somebody's"


def opened_or_why(archive, objects):
    """None where it opens, with so many objects; else what is said."""
    try:
        with Archive(archive) as opened:
            assert opened.wait_until_compared(30)
            assert len(found(opened)) == objects
    except (ArchiveError, OSError) as error:
        return str(error)
    return None


def test_a_journal_that_cannot_be_read_is_set_aside_and_everything_compared(archive, monkeypatch, caplog):
    """What a killed process had announced is found by its name."""
    with Archive(archive) as opened:
        opened._committer.run(lambda: opened._index.remove(["1.2.3.1.2"]))
    journal = archive / "incoming" / "journal"
    journal.write_text("objects/aa/bb/1.2.dcm\n")
    inode, real = journal.stat().st_ino, os.pread

    def pread(descriptor, size, at):
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size, at)

    monkeypatch.setattr(os, "pread", pread)
    with Archive(archive) as opened:
        assert opened.wait_until_compared(30)
        assert len(found(opened)) == 5
    [aside] = (archive / "quarantine").iterdir()
    assert aside.stat().st_ino == inode
    assert str(aside) in caplog.text


def test_a_folder_that_may_not_be_used_is_named(archive, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "conflicts")
    with pytest.raises(PermissionError, match=r"may not read and write.*conflicts"):
        Archive(archive)


def test_folders_on_two_file_systems_are_refused(archive, monkeypatch):
    """Else every object would be refused, one by one."""
    monkeypatch.setattr("aiodicom.archive.files._device", lambda path: path.name)
    with pytest.raises(UnusableArchive, match="different file systems"):
        Archive(archive)


def test_an_index_that_names_other_objects_is_noticed(archive):
    """As many as there are files, but not the same: a copy of yesterday's, a file that was moved away."""
    with Archive(archive) as opened:
        opened._committer.run(lambda: opened._index.remove(["1.2.3.1.2"]))
    next((archive / "objects").rglob("1.2.3.1.3.dcm")).unlink()
    with Archive(archive) as opened:
        assert opened.wait_until_compared(30)
        assert {one.SOPInstanceUID for one in found(opened)} == {f"1.2.3.1.{n}" for n in (0, 1, 2, 4)}
        assert opened.verify().ok
