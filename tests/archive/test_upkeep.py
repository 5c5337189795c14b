"""Index and files: an object that cannot be read costs that object, a start that was cut off nothing."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiodicom.archive import upkeep
from aiodicom.archive.archive import Archive
from aiodicom.archive.index import Index
from aiodicom.dimse.levels import Root
from archive_objects import encode, image, query, sink_for, store
from pydicom.dataset import Dataset

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def element(group, number, vr, value):
    if vr in (b"SQ", b"UN", b"OB", b"UT"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def item(content):
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


INSIDE = {
    "a character set with NUL": element(0x0008, 0x0005, b"CS", b"ISO_IR\x00 6\\\x00\x00"),
    "a character set of bytes": element(0x0008, 0x0005, b"CS", b"\xff\xfe\x00\\\x80"),
    "a character set that is a number": element(0x0008, 0x0005, b"US", b"ab"),
    "a character set that is a float": element(0x0008, 0x0005, b"FD", b"abcdefgh"),
    "a character set of broken numbers": element(0x0008, 0x0005, b"UL", b"abc"),
    "a character set that is a sequence": element(0x0008, 0x0005, b"SQ", item(b"")),
    "a character set of infinity": element(0x0008, 0x0005, b"IS", b"1e999 "),
    "a character set that is a tag": element(0x0008, 0x0005, b"AT", b"abcd"),
    "a character set of bytes in OB": element(0x0008, 0x0005, b"OB", b"\xff\0"),
    "a US of three bytes": element(0x0028, 0x0010, b"US", b"abc"),
    "an FD of four bytes": element(0x0018, 0x9089, b"FD", b"abcd"),
    "an AT of three bytes": element(0x0020, 0x9165, b"AT", b"abc"),
    "a huge IS": element(0x0020, 0x0013, b"IS", b"9" * 400),
    "a DS of infinity": element(0x0018, 0x0050, b"DS", b"1e99999 "),
    "an IS of infinity": element(0x0020, 0x0013, b"IS", b"1e999 "),
    "a date that is none": element(0x0008, 0x0020, b"DA", b"\xff\xff\xff\xff"),
}
"""Elements whose conversion ends in something or other of pydicom's, as found by fuzzing."""
REQUEST_ATTRIBUTES = 0x0040, 0x0275  # an indexed sequence of the series
CODE = 0x0040, 0x0008  # a sequence within


def hostile(number, inside):
    """An object with an indexed sequence two levels deep that holds `inside`, as it is encoded."""
    whole = encode(image(number))
    nested = element(*CODE, b"SQ", item(inside))
    sequence = element(*REQUEST_ATTRIBUTES, b"SQ", item(nested + inside))
    return whole + sequence


@pytest.mark.parametrize("name", INSIDE)
def test_an_object_with_strange_values_hurts_no_other(tmp_path, name, caplog):
    caplog.set_level(logging.DEBUG)
    with Archive(tmp_path, durability="rename") as archive:
        sinks = [sink_for(archive, image(number)) for number in range(5)]
        for number, sink in enumerate(sinks):
            data = hostile(number, INSIDE[name]) if number == 2 else encode(image(number))
            sink.write(memoryview(data))
        commits = [sink.committed() for sink in sinks]
        outcomes = [commit.result() for commit in commits]
        assert [one.status for one in outcomes] == [0] * 5
        before = {str(one.SOPInstanceUID) for one in found(archive)}
        assert len(before) == 5
        assert len(archive.reindex().skipped) == 0
    (tmp_path / "index.sqlite").unlink()
    with Archive(tmp_path) as archive:
        assert {str(one.SOPInstanceUID) for one in found(archive)} == before
    assert not [record for record in caplog.records if record.exc_info]


def found(archive):
    return list(archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="", PatientName="")))


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), MemoryError(), TypeError("x")])
def test_whatever_is_raised_between_rename_and_index_is_taken_back(tmp_path, monkeypatch, caplog, error):
    with Archive(tmp_path, durability="rename") as archive:

        def fail(*_, **__):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Index, "add", fail)
            assert store(archive, image(PatientName="Secret^Name")).status == 0xA700
        assert not list((tmp_path / "objects").rglob("*.dcm"))
        assert "secret" not in caplog.text
        assert store(archive, image()).status == 0


def test_all_of_a_group_that_fails_are_taken_back(tmp_path, monkeypatch):
    """What was answered with a failure is nowhere, however many came together."""
    go = threading.Event()
    with Archive(tmp_path, durability="rename") as archive, ThreadPoolExecutor(1) as pool:
        holding = pool.submit(archive._committer.run, lambda: go.wait(30))
        sinks = [sink_for(archive, image(number)) for number in range(5)]
        for number, sink in enumerate(sinks):
            sink.write(memoryview(encode(image(number))))
        commits = [sink.committed() for sink in sinks]
        groups = []

        def fail(_self, entries, **_):
            groups.append(len(list(entries)))
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr(Index, "add", fail)
            go.set()
            assert [commit.result(30).status for commit in commits] == [0xA700] * 5
            assert holding.result(30)
        assert max(groups) > 1
        assert not list((tmp_path / "objects").rglob("*.dcm"))
        assert not list((tmp_path / "incoming").glob(".*"))
        assert archive.counts().instances == 0
        assert [store(archive, image(number)).status for number in range(5)] == [0] * 5


def test_failures_are_said_once_and_counted(tmp_path, monkeypatch, caplog):
    with Archive(tmp_path, durability="rename") as archive:

        def fail(*_, **__):
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(Index, "add", fail)
        for number in range(30):
            store(archive, image(number))
    assert len([record for record in caplog.records if "could not be stored" in record.message]) == 1


def test_an_index_is_whole_once_it_was_filled(tmp_path):
    """Else every start would fill it anew."""
    Archive(tmp_path).close()
    for _ in range(2):
        index = Index(tmp_path / "index.sqlite")
        assert index.whole
        index.close()
        stored(tmp_path, range(2))
        (tmp_path / "index.sqlite").unlink()
        Archive(tmp_path).close()


def stored(folder, numbers):
    with Archive(folder, durability="rename") as archive:
        return {number: store(archive, image(number)).path for number in numbers}


def test_a_rebuild_that_was_cut_off_is_begun_again(tmp_path, monkeypatch):
    stored(tmp_path, range(5))
    (tmp_path / "index.sqlite").unlink()

    def fail(_self, _entry, _series):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Index, "_add_instance", fail)
        with pytest.raises(sqlite3.OperationalError):
            Archive(tmp_path)
    assert (tmp_path / "index.sqlite").exists()
    with Archive(tmp_path) as archive:
        assert archive.counts().instances == 5


@pytest.mark.parametrize("lost", ["index", "lock"])
def test_an_index_older_than_its_files_is_noticed(tmp_path, lost):
    """A restored index, a lost log, a removed lock: what the files have more is found by name."""
    stored(tmp_path, range(3))
    old = (tmp_path / "index.sqlite").read_bytes()
    stored(tmp_path, range(3, 8))
    if lost == "index":
        (tmp_path / "index.sqlite").write_bytes(old)
    else:
        with Archive(tmp_path) as archive:
            archive.wait_until_compared(30)
            archive._committer.run(lambda: archive._index.remove(["1.2.3.1.1"]))
        (tmp_path / "lock").unlink()
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 8


def unreadable(monkeypatch, name, error):
    """Reading that file fails with `error`."""
    real = upkeep.read_object

    def read(path, *some, **named):
        if path.stem == name:
            raise error
        return real(path, *some, **named)

    monkeypatch.setattr(upkeep, "read_object", read)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), TypeError("odd"), MemoryError()])
@pytest.mark.parametrize("mark", ["", "another run of the machine", "journal"])
def test_an_object_that_cannot_be_read_now_is_there_later(tmp_path, monkeypatch, caplog, error, mark):
    """Answered with success once, it is never removed, and found again when it can be read."""
    paths = stored(tmp_path, range(3))
    if mark == "journal":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        (tmp_path / "lock").write_text(boot)
        names = "".join(f"{path.relative_to(tmp_path)}\n" for path in paths.values())
        (tmp_path / "incoming" / "journal").write_text(names)
        with Archive(tmp_path) as archive:
            archive.wait_until_compared(30)
            archive._committer.run(lambda: archive._index.remove([paths[1].stem]))
        (tmp_path / "incoming" / "journal").write_text(names)
        (tmp_path / "lock").write_text(boot)
    else:
        (tmp_path / "index.sqlite").unlink()
        (tmp_path / "lock").write_text(mark)
    with monkeypatch.context() as patched:
        unreadable(patched, paths[1].stem, error)
        with Archive(tmp_path) as archive:
            archive.wait_until_compared(30)
            assert archive.counts().instances == 2
    assert paths[1].exists()
    assert paths[1].stem in caplog.text
    assert ("Input/output error" in caplog.text) is isinstance(error, OSError)
    with Archive(tmp_path) as archive:
        archive.wait_until_compared(30)
        assert archive.counts().instances == 3


@pytest.mark.parametrize("how", ["cut short while it is read", "an error of the disk"])
@pytest.mark.parametrize("where", ["start", "reindex", "verify"])
def test_a_file_that_breaks_under_its_reader_costs_that_object(tmp_path, monkeypatch, how, where):
    """Under a memory map either is SIGBUS, the end of the process."""
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(3):
            path = store(archive, image(number, ContentSequence=[image()] * 400)).path  # over one read
    inode = path.stat().st_ino
    real = os.pread

    def pread(descriptor, size, at):
        if os.fstat(descriptor).st_ino == inode and at > 4096:
            if how == "an error of the disk":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.truncate(path, 5000)
        return real(descriptor, size, at)

    monkeypatch.setattr(os, "pread", pread)
    if where == "start":
        (tmp_path / "index.sqlite").unlink()
    with Archive(tmp_path) as archive:
        if where == "verify":
            [left] = archive.verify().damaged
            assert (left.path, left.torn) == (path, False)
        elif where == "reindex":
            assert [one for one, _ in archive.reindex().skipped] == [path]
        if where != "verify":
            assert archive.counts().instances == 2
        assert store(archive, image(7)).status == 0
    assert path.exists()


def deep(depth):
    inner = Dataset()
    inner.CodeValue = "x"
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = [inner]
        inner = outer
    whole = image(7)
    whole.ContentSequence = inner.ContentSequence
    return whole


@pytest.mark.parametrize("prepare", ["journal", "index", "reindex", "verify"])
def test_what_was_taken_is_kept_whatever_the_limits_are_now(tmp_path, prepare):
    """Of depth, of elements and of size: an object that was answered is found by every later start."""
    with Archive(tmp_path, max_sequence_depth=200) as archive:
        path = store(archive, deep(100)).path
        assert store(archive, image(1, ContentSequence=[image()] * 40)).status == 0
    if prepare == "journal":
        (tmp_path / "lock").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
        (tmp_path / "incoming" / "journal").write_text(f"{path.relative_to(tmp_path)}\n")
    elif prepare == "index":
        (tmp_path / "index.sqlite").unlink()
    with Archive(tmp_path, max_sequence_depth=3, max_elements=20, max_object_size=100) as archive:
        archive.wait_until_compared(30)
        if prepare == "verify":
            assert archive.verify().ok
        if prepare == "reindex":
            found = archive.reindex()
            assert (found.indexed, found.skipped) == (2, ())
        assert archive.counts().instances == 2


def test_strangers_in_the_folders_stop_no_start(tmp_path):
    stored(tmp_path, range(2))
    (tmp_path / "incoming" / "folder").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"incoming", b"no \xff name"), "wb"):
        pass
    place = next((tmp_path / "objects").rglob("*.dcm")).parent
    for name in (b"no \xff name.dcm", b"1.2.\xff.dcm"):
        with open(os.path.join(os.fsencode(place), name), "wb") as file:
            file.write(b"x")
    (tmp_path / "objects" / "notes.txt").write_text("x")
    (tmp_path / "index.sqlite").unlink()
    for mark in ("", "another run of the machine"):
        (tmp_path / "lock").write_text(mark)
        with Archive(tmp_path) as archive:
            assert archive.counts().instances == 2
            assert archive.reindex().indexed == 2
    assert (tmp_path / "incoming" / "folder").is_dir()


def test_progress_of_a_long_rebuild_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "PROGRESS_EVERY", 2)
    stored(tmp_path, range(5))
    (tmp_path / "index.sqlite").unlink()
    told = []
    with Archive(tmp_path, progress=lambda done, of: told.append((done, of))):
        assert told == [(2, 5), (4, 5)]


@pytest.mark.parametrize("lost", ["removed", "emptied"])
def test_that_an_index_was_made_anew_is_said(tmp_path, caplog, lost):
    """An index that is lost may be the mark of a disk that fails; a new archive has lost none."""
    stored(tmp_path, range(3))
    assert "made anew" not in caplog.text
    next((tmp_path / "objects").rglob("*.dcm")).write_bytes(b"")
    (tmp_path / "index.sqlite").unlink()
    if lost == "emptied":
        (tmp_path / "index.sqlite").touch()
    Archive(tmp_path).close()
    [said] = [one for one in caplog.messages if "made anew" in one]
    assert said.endswith("made anew of 2 objects, 1 left out")


def test_many_left_out_are_counted(tmp_path, monkeypatch, caplog):
    stored(tmp_path, range(30))
    for path in (tmp_path / "objects").rglob("*.dcm"):
        path.write_bytes(b"")
    (tmp_path / "index.sqlite").unlink()
    with Archive(tmp_path) as archive:
        assert archive.counts().instances == 0
    assert sum("the file is empty" in record.message for record in caplog.records) == upkeep.SAID
    assert "10 more objects" in caplog.text


def test_verify_says_what_is_wrong_and_changes_nothing(tmp_path):
    paths = stored(tmp_path, range(6))
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.verify().ok
        whole = paths[0].read_bytes()
        paths[0].write_bytes(whole[:-5])
        paths[1].unlink()
        archive._committer.run(lambda: archive._index.remove([paths[2].stem]))
        paths[3].write_bytes(paths[3].read_bytes() + bytes(8))
        before = sorted(tmp_path.rglob("*"))
        found = archive.verify()
        assert not found.ok
        assert found.objects == 5
        assert [one.path for one in found.damaged] == [paths[0]]
        assert found.not_indexed == (paths[2],)
        assert found.missing == (paths[1].stem,)
        assert found.differing == (paths[3].stem,)
        assert sorted(tmp_path.rglob("*")) == before
        assert archive.counts().instances == 5
