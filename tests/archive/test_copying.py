"""A copy of an archive that goes on storing: whole, of one moment, and there when all of it is."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from aiodicom.archive import copying
from aiodicom.archive.archive import Archive
from aiodicom.archive.copying import copy_archive
from aiodicom.archive.errors import ArchiveError, IndexVersionError, NoArchive
from aiodicom.archive.files import reason_of
from archive_objects import files_below, image, store, uids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten objects, a conflict, and something that was set aside."""
    with Archive(tmp_path / "archive", durability="rename") as archive:
        for number in range(10):
            store(archive, image(number, series=f"1.2.{number % 3}"))
        store(archive, image(0, series="1.2.0", ImageComments="other"))
    (tmp_path / "archive" / "quarantine" / f"1.2.3.{'0' * 16}.dcm").write_bytes(b"torn")
    return tmp_path / "archive"


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_copy_is_an_archive_of_its_own(tmp_path: Path, folder: Path, link: bool, is_open: bool) -> None:
    target = tmp_path / "copy"
    archive = Archive(folder) if is_open else None
    try:
        report = copy_archive(folder, target, link=link)
    finally:
        if archive is not None:
            archive.close()
    assert (report.objects, report.missing) == (10, ())
    names = [name for name in files_below(folder) if name.endswith(".dcm")]
    assert [name for name in files_below(target) if name.endswith(".dcm")] == names
    assert report.bytes == sum((folder / name).stat().st_size for name in names if name.startswith("objects"))
    for name in names:
        assert os.path.samefile(folder / name, target / name) is link
        assert (folder / name).stat().st_mtime_ns == (target / name).stat().st_mtime_ns
    with Archive(folder) as first, Archive(target, create=False) as second:
        assert uids(first) == uids(second)
        assert second.verify().ok
        assert store(second, image(77)).status == 0
        assert len(uids(first)) == 10
        assert second.reindex().indexed == 11
    assert not list(tmp_path.glob(".*"))


def test_stores_go_on_meanwhile_and_what_was_answered_before_is_there(tmp_path: Path) -> None:
    enough, stop = threading.Event(), threading.Event()
    answered: list[str] = []

    def keep_storing() -> None:
        number = 0
        while not stop.is_set():
            dataset = image(number, series=f"1.2.{number % 7}")
            assert store(archive, dataset).status == 0
            answered.append(str(dataset.SOPInstanceUID))
            number += 1
            if number == 50:
                enough.set()

    with Archive(tmp_path / "archive", durability="rename") as archive:
        storing = threading.Thread(target=keep_storing)
        storing.start()
        assert enough.wait(60)
        for number in range(3):
            before = set(answered)
            copy_archive(tmp_path / "archive", tmp_path / f"copy {number}")
            with Archive(tmp_path / f"copy {number}", create=False) as copied:
                assert before <= uids(copied)
                assert copied.verify().ok
        stop.set()
        storing.join(60)
        assert uids(archive) == set(answered)


@pytest.mark.parametrize("name", ["a copy", "a?copy#of%20it"])
def test_names_of_any_kind(tmp_path: Path, folder: Path, name: str) -> None:
    os.rename(folder, tmp_path / f"old {name}")
    assert copy_archive(tmp_path / f"old {name}", tmp_path / name).objects == 10
    assert os.stat(tmp_path / name / "index.sqlite").st_mode & 0o777 == 0o640


def test_what_is_missing_is_said(tmp_path: Path, folder: Path) -> None:
    first, second = sorted((folder / "objects").rglob("*.dcm"))[:2]
    first.unlink()
    os.truncate(second, 10)
    report = copy_archive(folder, tmp_path / "copy")
    assert report.objects == 9
    assert set(report.missing) == {first.stem, second.stem}


def test_nothing_stays_of_a_copy_that_fails(tmp_path: Path, folder: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(copying.shutil, "copy2", fail)
    with pytest.raises(OSError, match="no space"):
        copy_archive(folder, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["archive"]


def test_what_cannot_be_copied(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NoArchive):
        copy_archive(tmp_path, tmp_path / "copy")
    with pytest.raises(FileExistsError, match="is there already"):
        copy_archive(folder, folder)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        copy_archive(folder, tmp_path / "link")
    connection = sqlite3.connect(folder / "index.sqlite")
    connection.execute("UPDATE instances SET path = '../../etc/passwd' WHERE id = 1")
    connection.commit()
    with pytest.raises(ArchiveError, match="no object's path"):
        copy_archive(folder, tmp_path / "copy")
    connection.execute("PRAGMA user_version = 0")
    connection.commit()
    with pytest.raises(IndexVersionError, match="not whole"):
        copy_archive(folder, tmp_path / "copy")
    connection.close()
    assert not (tmp_path / "copy").exists()


def test_progress_is_told(tmp_path: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(copying, "COPIED_EVERY", 4)
    told: list[tuple[int, int]] = []
    copy_archive(folder, tmp_path / "copy", progress=lambda *counts: told.append(counts))
    assert told == [(4, 10), (8, 10)]


ASIDE = f"1.2.4.{'0' * 16}"


@pytest.mark.parametrize("link", [False, True])
def test_reasons_are_copied_with_what_they_tell_of(tmp_path: Path, folder: Path, link: bool) -> None:
    (folder / "quarantine" / f"{ASIDE}.dcm").write_bytes(b"x")
    (folder / "quarantine" / f"{ASIDE}.reason").write_text("no study")
    report = copy_archive(folder, tmp_path / "copy", link=link)
    assert report.left_out == ()
    assert reason_of(tmp_path / "copy", ASIDE) == "no study"


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["conflicts", "quarantine"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "taken away"])
def test_what_is_set_aside_and_cannot_be_copied_is_said(
    tmp_path: Path, folder: Path, monkeypatch, kind: str, name: str, link: bool
) -> None:
    path = folder / name / f"{ASIDE}.dcm"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        real = copying.aside
        monkeypatch.setattr(copying, "aside", lambda root, one: [*real(root, one), *[ASIDE] * (one == name)])
    report = copy_archive(folder, tmp_path / "copy", link=link)
    assert report.left_out == (f"{name}/{ASIDE}.dcm",)
    assert not os.path.lexists(tmp_path / "copy" / name / f"{ASIDE}.dcm")
    with Archive(tmp_path / "copy", create=False) as archive:
        assert archive.counts().instances == report.objects > 0


def test_a_copy_is_on_the_disk_before_it_has_its_name(tmp_path: Path, folder: Path, monkeypatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    noted("sync")
    noted("rename")
    copy_archive(folder, tmp_path / "copy")
    assert calls == ["sync", "rename"]


def test_a_reason_that_cannot_be_read_fails_the_copy(tmp_path: Path, folder: Path, monkeypatch) -> None:
    """It is not left out in silence."""
    (folder / "quarantine" / f"1.2.3.{'0' * 16}.reason").write_text("why")
    real = copying._copy

    def failing(source: Path, target: Path, link: bool) -> None:
        if source.suffix == ".reason":
            raise OSError(errno.EIO, "an error of the disk")
        real(source, target, link)

    monkeypatch.setattr(copying, "_copy", failing)
    with pytest.raises(OSError, match="an error of the disk"):
        copy_archive(folder, tmp_path / "copy")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["archive"]
