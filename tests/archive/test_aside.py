"""Conflicts are bounded, folders closed to others, and an archive is made only where one is wanted."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from aiodicom.archive import files
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import NoArchive
from aiodicom.archive.files import MAX_CONFLICTS, MAX_REFUSED, aside, reason_of
from aiodicom.dimse.levels import Root
from archive_objects import encode, image, query, store


def test_conflicts_of_one_object_are_bounded(tmp_path, caplog):
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(MAX_CONFLICTS):
            store(archive, image(ImageComments=f"stamped {number}"))
        again = store(archive, image(ImageComments="stamped 1"))
        assert again.status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS - 1
    with Archive(tmp_path, durability="rename") as archive:  # counted anew
        for number in range(100, 105):
            assert store(archive, image(ImageComments=f"stamped {number}")).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS
        assert "not kept" in caplog.text
        store(archive, image(2))
        assert store(archive, image(2, ImageComments="another object has room of its own")).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS + 1
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]


def test_the_same_conflict_again_takes_no_room(tmp_path):
    with Archive(tmp_path, durability="rename") as archive:
        store(archive, image())
        for _ in range(MAX_CONFLICTS + 1):
            assert store(archive, image(ImageComments="the same")).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == 1
        store(archive, image(ImageComments="another"))
        assert len(aside(tmp_path, "conflicts")) == 2


def test_conflicts_are_bounded_in_all(tmp_path, monkeypatch, caplog):
    """A peer that contradicts every object of the archive does not fill its disk."""
    monkeypatch.setattr(files, "MAX_CONFLICTS_IN_ALL", 3)
    for _ in range(2):  # counted anew by the next
        with Archive(tmp_path, durability="rename") as archive:
            for number in range(5):
                store(archive, image(number))
                other = store(archive, image(number, ImageComments="other"))
                assert other.status == 0x0111
            assert len(aside(tmp_path, "conflicts")) == 3
            assert "not kept" in caplog.text
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]


TORN = encode(image())[:-3]


def test_what_came_whole_and_is_refused_is_kept_with_the_reason(tmp_path, caplog):
    """It may be all there is of it: its sender has an answer that is honest, an operator has the object."""
    with Archive(tmp_path, durability="rename") as archive:
        outcome = store(archive, image(), data=TORN)
        assert outcome.status & 0xF000 == 0xC000
        other = encode(image(2, StudyInstanceUID=None))
        assert store(archive, image(2), data=other).status == 0xA900
        assert archive.counts().instances == 0
        assert not list(archive.find(Root.STUDY, "STUDY", query("STUDY", StudyInstanceUID="")))
    names = aside(tmp_path, "quarantine")
    assert [name.rpartition(".")[0] for name in names] == ["1.2.3.1.1", "1.2.3.1.2"]
    for name, data, reason in zip(names, (TORN, other), ("not whole", "Study Instance UID"), strict=True):
        assert (tmp_path / "quarantine" / f"{name}.dcm").read_bytes().endswith(data)
        assert reason in (reason_of(tmp_path, name) or "")
    assert "see quarantine" in caplog.text
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]
    with Archive(tmp_path) as archive:
        assert store(archive, image()).status == 0
        assert archive.reindex().indexed == 1
    assert aside(tmp_path, "quarantine") == names


def test_refused_objects_are_bounded(tmp_path, monkeypatch, caplog):
    def tried(archive, number, times):
        for _ in range(times):
            assert store(archive, image(number), data=encode(image(number))[:-3]).status & 0xF000 == 0xC000
        return len(aside(tmp_path, "quarantine"))

    with Archive(tmp_path, durability="rename") as archive:
        assert tried(archive, 1, MAX_REFUSED + 3) == MAX_REFUSED
        assert "not kept" in caplog.text
        assert tried(archive, 2, 1) == MAX_REFUSED + 1
    size = sum(path.stat().st_size for path in (tmp_path / "quarantine").glob("*.dcm"))
    with Archive(tmp_path, durability="rename", max_quarantine_size=size + 10) as archive:  # counted anew
        assert tried(archive, 3, 1) == MAX_REFUSED + 1
    monkeypatch.setattr(files, "MAX_REFUSED_FILES", MAX_REFUSED + 2)
    with Archive(tmp_path, durability="rename") as archive:
        assert tried(archive, 1, 1) == MAX_REFUSED + 1
        assert tried(archive, 4, 1) == MAX_REFUSED + 2
        assert tried(archive, 5, 1) == MAX_REFUSED + 2
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]


def test_none_is_kept_where_none_is_wanted_or_can_be(tmp_path, caplog):
    with Archive(tmp_path, durability="rename", max_quarantine_size=0) as archive:
        assert store(archive, image(), data=TORN).status & 0xF000 == 0xC000
        assert aside(tmp_path, "quarantine") == []
    with Archive(tmp_path, durability="rename") as archive:
        (tmp_path / "quarantine").rmdir()
        assert store(archive, image(), data=TORN).status & 0xF000 == 0xC000
    assert "could not be kept" in caplog.text
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]


def test_nothing_is_for_everyone(tmp_path):
    umask = os.umask(0)
    try:
        with Archive(tmp_path / "new") as archive:
            store(archive, image())
            store(archive, image(ImageComments="other"))
            found = list((tmp_path / "new").rglob("*"))
            assert len(found) > 8
            for path in [tmp_path / "new", *found]:
                assert not path.stat().st_mode & stat.S_IRWXO, path
    finally:
        os.umask(umask)


def test_no_archive_is_made_where_none_is_wanted(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoArchive):
            Archive(folder, create=False)
    assert list(tmp_path.iterdir()) == []
    Archive(tmp_path).close()
    Archive(tmp_path, create=False).close()


@pytest.mark.parametrize("failing", ["open", "write", "replace"])
def test_what_could_not_be_kept_does_not_count(tmp_path, monkeypatch, failing):
    """Neither against a UID nor in bytes; and no reason stays without its object."""
    folder = tmp_path / "quarantine"
    folder.mkdir()
    refused = files.Refused(tmp_path, 10 * MAX_REFUSED)

    def keep() -> bool:
        came = tmp_path / "came"
        came.write_bytes(bytes(10))
        return refused.keep(str(came), "1.2.3", "torn")

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(files, "open", full, raising=False)
        else:
            patch.setattr(os, failing, full)
        for _ in range(MAX_REFUSED + 1):
            with pytest.raises(OSError, match="no space"):
                keep()
    assert not list(folder.iterdir())
    assert [keep() for _ in range(MAX_REFUSED + 1)] == [True] * MAX_REFUSED + [False]


def test_a_conflict_that_could_not_be_kept_does_not_count(tmp_path, monkeypatch):
    kept = files.ObjectFiles(tmp_path, "rename")
    came = tmp_path / "incoming" / "came"
    came.write_bytes(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: os.stat(tmp_path / "nowhere"))
        for number in range(MAX_CONFLICTS + 1):
            with pytest.raises(FileNotFoundError):
                kept.set_aside(str(came), f"{number:016x}", "1.2.3")
    assert kept.set_aside(str(came), "0" * 16, "1.2.3") is not None
    kept.close(clean=True)
