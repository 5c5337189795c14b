"""What lies in its place, unindexed, was answered once: nothing is put there, nothing is removed."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from aiodicom.archive import upkeep
from aiodicom.archive.archive import Archive
from aiodicom.archive.files import ObjectFiles, aside
from archive_objects import files_below, image, store


def unindexed(folder, monkeypatch):
    """An archive whose last start could not read an object; its file."""
    with Archive(folder, durability="rename") as archive:
        path = store(archive, image(1, PatientName="First")).path
        store(archive, image(2))
    (folder / "index.sqlite").unlink()
    unreadable(monkeypatch, path)
    return path


def failing(real, path):
    """The function, with an error of the disk for that file."""

    def fails(which, *rest, **named):
        if which == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(which, *rest, **named)

    return fails


def unreadable(monkeypatch, path):
    monkeypatch.setattr(upkeep, "read_object", failing(upkeep.read_object, path))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """An archive that serves without an object, which can be read again; the object's file."""
    path = unindexed(tmp_path, monkeypatch)
    with Archive(tmp_path, durability="rename") as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 1
        monkeypatch.undo()
        yield archive, path


def test_another_object_of_its_uid_is_set_aside(opened):
    archive, path = opened
    before = path.read_bytes()
    assert store(archive, image(1, PatientName="Second")).status == 0x0111
    assert path.read_bytes() == before
    assert archive.counts().instances == 2
    assert len(aside(archive.directory, "conflicts")) == 1


def test_the_same_object_is_success_again(opened):
    archive, path = opened
    assert store(archive, image(1, PatientName="First")).path == path
    assert archive.counts().instances == 2


def test_it_stays_where_the_index_cannot_be_written(opened, monkeypatch):
    archive, path = opened
    before = path.read_bytes()

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(archive._index, "add", full)
    assert store(archive, image(1, PatientName="Second")).status == 0xA700
    assert path.read_bytes() == before


def test_it_stays_while_it_cannot_be_read(opened, monkeypatch):
    archive, path = opened
    before = path.read_bytes()
    unreadable(monkeypatch, path)
    assert store(archive, image(1, PatientName="Second")).status == 0xA700
    assert store(archive, image(3)).status == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("kept", [0, -5])
def test_what_is_proven_torn_makes_room(opened, kept):
    archive, path = opened
    path.write_bytes(path.read_bytes()[:kept])
    assert store(archive, image(1, PatientName="Second")).status == 0
    assert path.is_file()
    assert len(os.listdir(archive.directory / "quarantine")) == 1


def test_what_is_none_of_the_archives_harms_that_object_alone(opened):
    archive, path = opened
    path.unlink()
    path.mkdir()
    assert store(archive, image(1)).status == 0xA700
    assert store(archive, image(3)).status == 0


def test_a_disk_that_does_not_tell_whether_a_file_is_there(tmp_path, monkeypatch):
    """An error is not its absence: the stored object is not put out of its place."""
    with Archive(tmp_path, durability="rename") as archive:
        path = store(archive, image(1, PatientName="First")).path
        before = path.read_bytes()
        monkeypatch.setattr(os, "stat", failing(os.stat, path))
        assert store(archive, image(1, PatientName="Second")).status == 0xA700
        monkeypatch.undo()
        assert path.read_bytes() == before


def test_two_files_of_one_uid_are_told(tmp_path, monkeypatch, caplog):
    """In two series; the index has one of them, and whoever looks hears of the other."""
    path = unindexed(tmp_path, monkeypatch)
    with Archive(tmp_path, durability="rename") as archive:
        archive.wait_until_compared(30)
        other = image(1, SeriesInstanceUID="1.2.3.99")
        assert store(archive, other).status == 0
        second = store(archive, other).path
    monkeypatch.undo()
    caplog.clear()
    with Archive(tmp_path, durability="rename") as archive:
        assert archive.wait_until_compared(30)
        assert "another file of its SOP Instance UID" in caplog.text
        assert archive.verify().not_indexed == (path,)
        (left,) = archive.reindex().skipped
        assert left[0] in (path, second)


def refuses_to_list(monkeypatch, folder):
    real = os.listdir

    def listdir(which="."):
        if Path(os.fspath(which)) == folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(which)

    monkeypatch.setattr(os, "listdir", listdir)


@pytest.mark.parametrize("level", [1, 2])
def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch, level):
    with Archive(tmp_path, durability="rename") as archive:
        path = store(archive, image(1)).path
        store(archive, image(2, series="1.2.3.7"))
        folder = path.parents[level - 1]
        refuses_to_list(monkeypatch, folder)
        report = archive.verify()
        assert [one.path for one in report.damaged] == [folder]
        assert not report.ok
        rebuilt = archive.reindex()
        assert rebuilt.indexed == 1
        assert [one[0] for one in rebuilt.skipped] == [folder]
    monkeypatch.undo()
    with Archive(tmp_path, durability="rename") as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 2


def test_where_nothing_can_be_listed_the_old_index_stays(tmp_path, monkeypatch):
    with Archive(tmp_path, durability="rename") as archive:
        store(archive, image(1))
        refuses_to_list(monkeypatch, tmp_path / "objects")
        with pytest.raises(OSError, match="Input/output"):
            archive.reindex()
        assert archive.counts().instances == 1


@pytest.mark.parametrize("what", ["folder", "file"])
def test_lengths_are_looked_at_again_where_they_could_not_be(tmp_path, monkeypatch, what):
    """After a power failure, until a comparison has come to its end."""
    with Archive(tmp_path, durability="rename") as archive:
        path = store(archive, image(1)).path
    (tmp_path / "lock").write_text("another run of the machine")
    path.write_bytes(path.read_bytes()[:-5])
    if what == "folder":
        refuses_to_list(monkeypatch, path.parent)
    else:
        real = os.stat

        def stat(which, *rest, **named):
            if os.fspath(which) == str(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(which, *rest, **named)

        monkeypatch.setattr(os, "stat", stat)
    with Archive(tmp_path, durability="rename") as archive:
        assert not archive.wait_until_compared(30)
    monkeypatch.undo()
    with Archive(tmp_path, durability="rename") as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 0
    assert path.exists()


def test_a_mark_that_cannot_be_written_locks_nobody_out(tmp_path, monkeypatch):
    files = ObjectFiles(tmp_path, "fsync")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        files.close(clean=True)
    monkeypatch.undo()
    ObjectFiles(tmp_path, "fsync").close(clean=True)
    assert "lock" in files_below(tmp_path)
