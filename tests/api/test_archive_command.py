"""``aiodicom archive``, and where ``serve`` makes an archive."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.cli.serve import unmounted
from archive_objects import image, store

from .conftest import Invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Archive(tmp_path / "archive", durability="rename") as archive:
        for number in range(3):
            store(archive, image(number))
        store(archive, image(0, ImageComments="other"))
    return tmp_path / "archive"


def test_verify(invoke: Invoke, folder: Path) -> None:
    assert invoke("archive", "verify", folder).code == 0
    assert invoke("archive", "verify", folder, "--json").json()["ok"] is True
    broken = next((folder / "objects").rglob("*.0.dcm"))
    broken.write_bytes(broken.read_bytes()[:-3])
    result = invoke("archive", "verify", folder)
    assert result.code == 1
    assert str(broken) in result.error
    assert "3 objects, 1 with a fault" in result.out
    found = invoke("archive", "verify", folder, "--json").json()
    assert found["ok"] is False
    assert [one["path"] for one in found["damaged"]] == [str(broken)]


def test_reindex(invoke: Invoke, folder: Path) -> None:
    assert "3 objects indexed, 0 left out" in invoke("archive", "reindex", folder).out
    next((folder / "objects").rglob("*.0.dcm")).write_bytes(b"no object")
    result = invoke("archive", "reindex", folder, "--json")
    assert (result.code, result.json()["indexed"], len(result.json()["skipped"])) == (1, 2, 1)


def test_what_was_set_aside_is_listed(invoke: Invoke, folder: Path) -> None:
    [found] = invoke("archive", "conflicts", folder, "--json").json()["conflicts"]
    assert (found["sop_instance_uid"], found["reason"]) == ("1.2.3.1.0", None)
    assert "1.2.3.1.0" in invoke("archive", "conflicts", folder).out
    assert "nothing in quarantine" in invoke("archive", "quarantine", folder).out
    (folder / "quarantine" / f"1.2.3.1.9.{'a' * 16}.dcm").write_bytes(b"")
    [torn] = invoke("archive", "quarantine", folder, "--json").json()["quarantine"]
    assert torn["reason"] == "the file is empty"
    with Archive(folder):  # it may be open meanwhile
        assert invoke("archive", "quarantine", folder).code == 0


@pytest.mark.parametrize("command", ["verify", "reindex", "conflicts", "quarantine"])
def test_a_folder_without_an_archive_is_left_alone(invoke: Invoke, tmp_path: Path, command: str) -> None:
    result = invoke("archive", command, tmp_path)
    assert result.code == 1
    assert "holds no archive" in result.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "reindex"])
def test_an_archive_in_use(invoke: Invoke, folder: Path, command: str) -> None:
    with Archive(folder):
        result = invoke("archive", command, folder)
    assert result.code == 1
    assert "open already" in result.error


def test_serve_makes_no_archive_when_told_so(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("serve", tmp_path, "--no-create", "--host", "127.0.0.1", "--port", 0)
    assert result.code == 1
    assert "holds no archive" in result.error
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text(
        f"# {tmp_path}/comment /x\nUUID=1 / ext4\nUUID=2 {tmp_path}/with\\040space ext4 defaults 0 2\nodd\n"
        f"UUID=3 {tmp_path}/data ext4\nproc /proc proc\n"
    )
    assert unmounted(tmp_path / "data", table) == tmp_path / "data"
    assert unmounted(tmp_path / "data" / "a" / "b", table) == tmp_path / "data"
    assert unmounted(tmp_path / "with space" / "a", table) == tmp_path / "with space"
    assert unmounted(tmp_path / "elsewhere", table) is None
    assert unmounted(Path("/proc/self"), table) is None
    assert unmounted(tmp_path / "data", tmp_path / "no table") is None


@pytest.mark.parametrize("damage", ["pages", "all", "version"])
def test_reindex_repairs_a_damaged_index(invoke: Invoke, folder: Path, damage: str) -> None:
    """What is damaged is kept beside; the objects are the truth."""
    before = sorted(path.name for path in (folder / "objects").rglob("*.dcm"))
    index = folder / "index.sqlite"
    raw = index.read_bytes()
    if damage == "version":
        with contextlib.closing(sqlite3.connect(index)) as connection:
            connection.execute("PRAGMA user_version = 999")
            connection.commit()
    else:
        kept = 4096 if damage == "pages" else 0
        index.write_bytes(raw[:kept] + b"Z" * (len(raw) - kept))
    index_of_it = index.read_bytes()
    assert invoke("archive", "reindex", folder, "--json").json()["indexed"] == len(before)
    (folder / "index.sqlite.damaged-1").unlink()
    index.write_bytes(index_of_it)
    result = invoke("archive", "reindex", folder)
    assert result.code == 0
    assert "the index is set aside" in result.out
    assert f"{len(before)} objects indexed" in result.out
    assert [path.name for path in folder.glob("index.sqlite.damaged-*")] == ["index.sqlite.damaged-1"]
    assert invoke("archive", "verify", folder).code == 0
    assert sorted(path.name for path in (folder / "objects").rglob("*.dcm")) == before


def test_copy(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    with Archive(folder):  # as while it serves
        result = invoke("archive", "copy", folder, tmp_path / "copy")
        assert result.code == 0
        assert "3 objects" in result.out
        again = invoke("archive", "copy", folder, tmp_path / "copy", "--json")
        assert again.code == 1
        assert "is there already" in again.json()["error"]["message"]
        linked = invoke("archive", "copy", folder, tmp_path / "linked", "--link", "--json").json()
    assert (linked["ok"], linked["objects"], linked["missing"]) == (True, 3, [])
    assert invoke("archive", "verify", tmp_path / "copy").code == 0
    next((folder / "objects").rglob("*.0.dcm")).unlink()
    result = invoke("archive", "copy", folder, tmp_path / "third")
    assert result.code == 1
    assert "its whole file is not there" in result.error
    assert invoke("archive", "copy", tmp_path, tmp_path / "fourth").code == 1
