"""What is reported as safe has been forced to disk: in groups, after the answer, and told where it failed."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client import settling
from aiodicom.client.connect import connect
from aiodicom.client.progress import Progress
from aiodicom.client.receiving import FileSink
from aiodicom.client.retrieved import ReceivedItem
from aiodicom.client.settling import Later, LateSink, Settler
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse.status import SUCCESS
from aiodicom.server.archive_service import serve_archive
from peers.misbehaving import Misbehaving
from syscalls import noted
from wire import CT, IMPLICIT, ct, file_sink, implicit


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


async def test_a_callback_that_raises_costs_the_others_nothing(tmp_path: Path) -> None:
    told: list[int] = []
    settler = Settler(tmp_path / "out", lambda hold: None)

    def done(one: ReceivedItem, error: OSError | None) -> None:
        told.append(len(told))
        if len(told) in (1, 3):
            raise RuntimeError(f"a user's, at {len(told)}")

    for number, path in enumerate(placed(tmp_path / "out", 5)):
        settler.add(item(path, number), done)
    with pytest.raises(RuntimeError, match="at 1"):
        await settler.flush()
    assert told == [0, 1, 2, 3, 4]
    await settler.flush()  # it has been raised


@pytest.mark.parametrize("durability", ["fsync", "none"])
@pytest.mark.parametrize("phase", ["transferring", "done"])
@pytest.mark.parametrize("iterated", [True, False])
async def test_what_a_users_progress_raises_is_raised_and_nothing_is_lost(
    tmp_path: Path, durability: Any, phase: str, iterated: bool
) -> None:
    raised: list[int] = []

    def progress(now: Progress) -> None:
        if now.phase == phase and now.arrived and not raised:
            raised.append(now.arrived)
            raise RuntimeError("a user's")

    objects = [ct(f"1.2.3.1.{n}") for n in range(5)]
    async with Misbehaving(objects) as peer, connect("127.0.0.1", peer.port) as pacs:
        how: Any = {"durability": durability, "progress": progress, "root": "STUDY"}
        retrieve = pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", **how)

        async def run() -> None:
            if iterated:
                async for _ in retrieve:
                    continue
            else:
                await retrieve

        with pytest.raises(RuntimeError, match="a user's"):
            await asyncio.wait_for(run(), 60)
        assert retrieve.result.received == 5
        assert len(list((tmp_path / "out").rglob("*.dcm"))) == 5
        assert dict(peer.statuses) == dict.fromkeys(peer.uids, 0)


async def test_who_waits_for_a_group_does_not_wait_for_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "GROUP", 1000.0)
    told: list[ReceivedItem] = []
    settler = Settler(tmp_path / "out", lambda hold: None)
    [path] = placed(tmp_path / "out", 1)
    for count in (1, 2):
        settler.add(item(path), lambda one, error: told.append(one))
        await asyncio.sleep(0)
        await asyncio.wait_for(settler.flush(), 60)
        assert len(told) == count


def late(tmp_path: Path, later: Later, data: bytes, told: list[Any], uid: str = "1.2.3.1") -> LateSink:
    """One whose object is here."""
    sink = LateSink(file_sink(tmp_path, IMPLICIT, told.append, uid=uid), later)
    sink.write(memoryview(data))
    return sink


class Slow:
    """Holds the commit of the first file up until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        commit, first = FileSink.commit, [self]

        async def commits(sink: FileSink) -> StoreOutcome:
            if first:
                first.pop()
                await self.go_on.wait()
            return await commit(sink)

        monkeypatch.setattr(FileSink, "commit", commits)


async def test_late_objects_get_their_names_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the first of them takes: of two of one UID it has the name."""
    slow = Slow(monkeypatch)
    later = Later()
    told: list[ReceivedItem] = []
    first, other = (implicit(ct("1.2.3.1", StudyDescription=text)) for text in ("first", "other"))
    for data in (first, other, first, other):
        sink = late(tmp_path, later, data, told)
        assert (await sink.commit()).status == 0
        sink.discard()  # as an association does that ends meanwhile
    for _ in range(20):
        await asyncio.sleep(0)
    assert told == []
    slow.go_on.set()
    await later.flush()
    assert [one.path.name for one in told if one.path is not None] == [
        "1.2.3.1.dcm",
        "1.2.3.1~2.dcm",
        "1.2.3.1.dcm",
        "1.2.3.1~2.dcm",
    ]
    assert told[0].path is not None
    assert told[0].path.read_bytes().endswith(first)
    assert list(tmp_path.rglob("*.part")) == []


async def test_a_late_sink_that_is_given_up_while_it_waits_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before its commit has begun it is still the association's to let go of; the others go on."""
    slow = Slow(monkeypatch)
    monkeypatch.setattr(settling, "MAX_LATER", 1)
    later = Later()
    told: list[ReceivedItem] = []
    sinks = [late(tmp_path, later, implicit(ct(f"1.2.3.{n}")), told, f"1.2.3.{n}") for n in range(3)]
    assert (await sinks[0].commit()).status == 0
    given_up, waits = (asyncio.create_task(sink.commit()) for sink in sinks[1:])
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waits.done()
    given_up.cancel()
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    sinks[1].discard()
    slow.go_on.set()
    assert (await waits).status == 0
    await later.flush()
    assert [one.sop_instance_uid for one in told] == ["1.2.3.0", "1.2.3.2"]
    assert list(tmp_path.rglob("*.part")) == []


async def test_a_late_callback_that_raises_costs_the_others_nothing(tmp_path: Path) -> None:
    later = Later()
    told: list[ReceivedItem] = []

    def raises(item: ReceivedItem) -> None:
        raise RuntimeError("a user's")

    for number in range(3):
        sink = file_sink(tmp_path, IMPLICIT, raises if number == 0 else told.append, uid=f"1.2.3.{number}")
        sink.write(memoryview(implicit(ct(f"1.2.3.{number}"))))
        await later.commit(sink)
    with pytest.raises(RuntimeError, match="a user's"):
        await later.flush()
    assert [one.sop_instance_uid for one in told] == ["1.2.3.1", "1.2.3.2"]
    assert len(list(tmp_path.rglob("*.dcm"))) == 3
    await later.flush()  # it has been raised


@pytest.mark.parametrize("what", ["settler", "later"])
async def test_work_whose_task_was_cancelled_before_it_began_is_done_all_the_same(
    tmp_path: Path, what: str
) -> None:
    """As `asyncio.run` cancels every task at its end, while a retrieve settles what came."""
    told: list[Any] = []
    before = asyncio.all_tasks()
    if what == "settler":
        settler = Settler(tmp_path / "out", lambda hold: None)
        [path] = placed(tmp_path / "out", 1)
        settler.add(item(path), lambda one, error: told.append(one))
        flush = settler.flush
    else:
        later = Later()
        await late(tmp_path, later, implicit(ct("1.2.3.1")), told).commit()
        flush = later.flush
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.wait_for(flush(), 60)
    assert [one.ok for one in told] == [True]
