"""What is reported as safe has been forced to disk: in groups, after the answer, and told where it failed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client import settling
from aiodicom.client.connect import connect
from aiodicom.client.retrieved import ReceivedItem
from aiodicom.client.settling import Settler
from aiodicom.dimse.status import SUCCESS
from aiodicom.server.archive_service import serve_archive
from peers.misbehaving import Misbehaving
from syscalls import noted
from wire import CT, IMPLICIT, ct


def item(path: Path, number: int = 0) -> ReceivedItem:
    return ReceivedItem(CT, f"1.2.{number}", IMPLICIT, SUCCESS, path=path, bytes=1)


def placed(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.dcm" for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


async def test_a_group_is_forced_in_one_pass_before_it_is_told(tmp_path: Path) -> None:
    paths = placed(tmp_path / "out" / "a" / "b", 50)
    told: list[ReceivedItem] = []
    with noted() as calls:
        settler = Settler(tmp_path / "out", lambda hold: None)
        for number, path in enumerate(paths):
            settler.add(item(path, number), lambda one, error: told.append(one))
        assert told == []
        await settler.flush()
    forced = [str(name) for call, name in calls.made if call == "fsync"]
    assert [one.path for one in told] == paths
    assert set(map(str, paths)) <= set(forced)
    folders = [name for name in forced if not name.endswith(".dcm")]
    assert sorted(folders) == sorted(
        map(str, [tmp_path, tmp_path / "out", tmp_path / "out" / "a", tmp_path / "out" / "a" / "b"])
    )


@pytest.mark.parametrize("given", [".", "out", "../work/out", "absolute"])
async def test_every_folder_of_an_object_is_forced_however_the_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    directory = work if given == "absolute" else Path(given)
    paths = placed(directory / "a" / "b", 2)
    settler = Settler(directory, lambda hold: None)
    with noted() as calls:
        for path in paths:
            settler.add(item(path), lambda one, error: None)
        await settler.flush()
    folders = [str(name) for call, name in calls.made if call == "fsync" and not str(name).endswith(".dcm")]
    own = directory.resolve()
    assert sorted(folders) == sorted(map(str, [own.parent, own, own / "a", own / "a" / "b"]))


async def test_a_folder_whose_name_begins_like_the_directorys_is_not_below_it(tmp_path: Path) -> None:
    paths = placed(tmp_path / "other" / "out2", 1)
    settler = Settler(tmp_path / "other" / "out", lambda hold: None)
    with noted() as calls:
        settler.add(item(paths[0]), lambda one, error: None)
        await settler.flush()
    assert [name for call, name in calls.made if call == "fsync"] == [
        str(paths[0]),
        str(paths[0].parent),
    ]


async def test_a_parent_that_may_not_be_listed_costs_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry for the retrieve's folder was there before; below that folder all is ours."""
    real, refused = settling.sync_directory, {str(tmp_path)}

    def sync(directory: str) -> None:
        if str(Path(directory).resolve()) in refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(directory)

    monkeypatch.setattr(settling, "sync_directory", sync)
    told: list[OSError | None] = []
    for name in ("one", "two"):
        [path] = placed(tmp_path / name / "a", 1)
        settler = Settler(tmp_path / name, lambda hold: None)
        settler.add(item(path), lambda one, error: told.append(error))
        await settler.flush()
        refused.add(str(tmp_path / "two"))
    assert [type(one) for one in told] == [type(None), PermissionError]


async def test_the_folders_of_a_retrieve_are_forced_up_to_the_first_that_was_there(tmp_path: Path) -> None:
    objects = [ct("1.2.3.1.1")]
    async with Misbehaving(objects) as peer, connect("127.0.0.1", peer.port) as pacs:
        for durability, forced in (("fsync", True), ("rename", False)):
            out = tmp_path / durability / "b" / "out"
            with noted() as calls:
                how: Any = {"durability": durability, "root": "STUDY"}
                assert (await pacs.get("STUDY", "1.2.3", directory=out, **how)).ok
            names = {str(name) for call, name in calls.made if call == "fsync"}
            assert ({str(tmp_path), str(tmp_path / durability), str(out.parent)} <= names) is forced


async def test_what_cannot_be_forced_is_told_as_failed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = [ct(f"1.2.3.1.{n}") for n in range(3)]
    real = os.fsync

    def fails(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("1.2.3.1.1.dcm"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    async with Misbehaving(objects) as peer, connect("127.0.0.1", peer.port) as pacs:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
    assert (result.outcome, result.received, result.missing) == ("partial", 2, ["1.2.3.1.1"])
    [bad] = [one for one in result.items if not one.ok]
    assert bad.comment == "not forced to the disk: Input/output error"
    assert bad.path is not None
    assert bad.path.exists()  # the peer was told that we have it
    assert dict(peer.statuses) == dict.fromkeys(peer.uids, 0)


async def test_the_peer_is_held_where_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_UNSETTLED", 4)
    held: list[bool] = []
    settler = Settler(tmp_path / "out", held.append)
    for number, path in enumerate(placed(tmp_path / "out", 6)):
        settler.add(item(path, number), lambda one, error: None)
    assert held == [True, True, True]
    await settler.flush()
    assert held[-1] is False


@pytest.mark.parametrize("durability", ["none", "rename", "fsync"])
async def test_every_durability_brings_the_same(
    tmp_path: Path, durability: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_LATER", 3)
    monkeypatch.setattr(settling, "MAX_UNSETTLED", 5)
    objects = [ct(f"1.2.3.1.{n}", size=1000) for n in range(40)]
    async with serve_archive(tmp_path / "archive", port=0, durability="rename") as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(objects)).ok
            out = tmp_path / "out"
            with noted() as calls:
                result = await pacs.get("STUDY", "1.2.3", directory=out, durability=durability)
    assert result.ok
    assert len(result.files) == 40
    assert len({path.read_bytes() for path in result.files}) == 40
    forced = sum(
        call == "fsync" and str(name).endswith(".dcm") and str(name).startswith(str(out))
        for call, name in calls.made
    )
    assert forced == (40 if durability == "fsync" else 0)
    assert [path.name for path in out.rglob("*.part")] == []
