"""A retrieve asked again: for what is missing alone, in one run of the program or in the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client.connect import connect
from aiodicom.client.pacs import Pacs
from aiodicom.client.progress import Progress
from aiodicom.client.retrieved import ReceivedItem
from aiodicom.pdu.errors import ConnectionClosed
from aiodicom.server.archive_service import serve_archive
from archive_objects import files_below
from peers.misbehaving import Misbehaving, Ways
from pydicom.dataset import Dataset
from wire import STEADY, ct, free_port, study

TIMES = replace(STEADY, artim=0.1, cancel=0.2)


def at(peer: Misbehaving) -> Pacs:
    return connect("127.0.0.1", peer.port, timeouts=TIMES)


async def test_again_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    async with Misbehaving(study(), Ways(drop_after=4)) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        result = await get
        assert (result.outcome, result.received) == ("partial", 4)
        assert isinstance(result.error, ConnectionClosed)
        queries = len(peer.queries)
        assert await get.again() is result
        assert result.ok
        assert (result.received, result.missing) == (6, [])
        assert max(peer.sent.values()) == 1  # nothing came twice
        assert len(peer.queries) == queries
        assert [level for _, level, _ in peer.asked] == ["STUDY", "IMAGE", "IMAGE"]
        assert await get.again() is result  # all is here: nothing is asked
        assert len(peer.asked) == 3
    assert len(files_below(tmp_path)) == 6
    assert len(result.files) == 6


async def test_a_series_that_is_whole_missing_is_asked_for_as_one(tmp_path: Path) -> None:
    objects = sorted(study(6), key=lambda one: str(one.SeriesInstanceUID))
    async with Misbehaving(objects, Ways(drop_after=2)) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        await get
        assert (await get.again()).ok
        assert [level for _, level, _ in peer.asked] == ["STUDY", "IMAGE", "SERIES"]


async def test_a_cancelled_retrieve_is_alive_and_can_be_asked_again(tmp_path: Path) -> None:
    async with Misbehaving(study(), Ways(stall_after=3)) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        task = asyncio.ensure_future(awaited(get))
        while get.result.received < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (get.result.received, len(get.result.missing or ())) == (3, 3)
        assert not get.result.ok
        assert (await get.again()).ok
        assert max(peer.sent.values()) == 1


async def awaited(something: Awaitable[Any]) -> Any:
    return await something


async def test_again_without_a_plan_asks_for_everything(tmp_path: Path) -> None:
    ways = Ways(relational="refuse", hierarchical="refuse", drop_after=2)
    async with Misbehaving(study(), ways) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        assert (await get).expected is None
        assert (await get.again()).ok
        assert get.result.received == 6


async def test_again_of_data_sets_adds_to_them() -> None:
    async with Misbehaving(study(), Ways(drop_after=2)) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", root="STUDY")
        await get
        await get.again()
        assert sorted(str(one.SOPInstanceUID) for one in get.result.datasets) == sorted(peer.uids)


async def test_again_after_a_loop_that_was_left(tmp_path: Path) -> None:
    async with Misbehaving(study()) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        async with aclosing(aiter(get)) as items:  # type: ignore[type-var]
            async for item in items:
                assert isinstance(item, ReceivedItem)
                break
        assert get.result.received > 0
        assert (await get.again()).ok


@pytest.mark.parametrize("into", ["files", "datasets"])
async def test_again_right_after_a_break(tmp_path: Path, into: str) -> None:
    """The event loop closes the generator of a loop that was left: that is waited for."""
    async with Misbehaving(study()) as peer, at(peer) as pacs:
        where: dict[str, Any] = {"directory": tmp_path} if into == "files" else {}
        get = pacs.get("STUDY", "1.2.3", root="STUDY", **where)
        async for _ in get:
            break
        assert (await get.again()).ok
        assert get.result.received == 6


@pytest.mark.parametrize("plan", [True, False])
async def test_a_move_to_this_process_is_iterated_and_asked_again(tmp_path: Path, plan: bool) -> None:
    query = "answer" if plan else "refuse"
    ways = Ways(drop_after=4, relational=query, hierarchical=query)
    port = free_port()
    async with Misbehaving(study(), ways, move_port=port) as peer, at(peer) as pacs:
        where = {"listen_host": "127.0.0.1", "listen_port": port, "quiet": 0.2}
        move = pacs.move("STUDY", "1.2.3", directory=tmp_path, root="STUDY", **where)
        came = []
        with pytest.raises(ConnectionClosed):
            async for item in move:
                came.append(item.sop_instance_uid)
        assert sorted(came) == sorted(one.sop_instance_uid for one in move.result.items)
        assert len(came) == 4
        assert (await move.again()).ok
        assert move.result.received == 6
        assert (max(peer.sent.values()) == 1) is plan
        assert await move is move.result


# --- what is there already


@pytest.mark.parametrize("way", ["get", "move"])
async def test_the_same_command_again_fetches_only_what_is_missing(tmp_path: Path, way: str) -> None:
    port = free_port()
    async with Misbehaving(study(), move_port=port) as peer:

        async def run(**how: Any) -> Any:
            async with at(peer) as pacs:
                if way == "get":
                    return await pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY", **how)
                where = {"listen_host": "127.0.0.1", "listen_port": port}
                return await pacs.move("STUDY", "1.2.3", directory=tmp_path, root="STUDY", **where, **how)

        first = await run()
        assert (first.received, first.present, first.ok) == (6, 0, True)
        again = await run()
        assert (again.received, again.present, again.outcome) == (0, 6, "complete")
        assert again.ok
        assert sorted(again.files) == sorted(first.files)
        told = again.to_dict()
        assert (told["present"], told["ok"], told["status"], told["missing"]) == (6, True, None, [])
        assert all(one["present"] for one in told["items"])
        assert len(peer.asked) == 1
        first.files[0].unlink()
        third = await run()
        assert (third.received, third.present, third.ok) == (1, 5, True)
        assert [level for _, level, _ in peer.asked] == ["STUDY", "IMAGE"]
        assert (await run(skip_present=False)).received == 6
    assert len(files_below(tmp_path)) == 6


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


@pytest.mark.parametrize("harm", [torn, emptied, zeroed])
async def test_a_file_that_is_not_whole_is_not_believed(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """It is kept, named, and the object fetched again, beside it."""
    objects = [ct(f"1.2.3.1.{n}", size=400) for n in range(3)]
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(objects)).ok
            out = tmp_path / "out"
            result = await pacs.get("STUDY", "1.2.3", directory=out)
            whole = result.files[1].read_bytes()
            harm(result.files[1])
            again = await pacs.get("STUDY", "1.2.3", directory=out)
            assert (again.present, again.received, again.ok) == (2, 1, True)
            [came] = [one for one in again.items if not one.present]
            assert came.beside == result.files[1]
            assert came.path is not None
            assert came.path.read_bytes() == whole
            third = await pacs.get("STUDY", "1.2.3", directory=out)
            assert third.ok


async def test_data_sets_that_nobody_took_before_the_loop_was_left_stay_in_the_result() -> None:
    async with Misbehaving(study()) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", root="STUDY")
        taken = []
        async with aclosing(aiter(get)) as datasets:  # type: ignore[type-var]
            async for one in datasets:
                assert isinstance(one, Dataset)
                taken.append(one)
                while get.result.received < 6:
                    await asyncio.sleep(0)
                break
        assert sorted(str(one.SOPInstanceUID) for one in [*taken, *get.result.datasets]) == sorted(peer.uids)
        assert (await get.again()).ok
        assert len(get.result.datasets) == 5
        assert max(peer.sent.values()) == 1


async def test_what_comes_when_nobody_takes_it_any_more_is_refused_and_asked_for_again() -> None:
    """A peer that does not stop at a C-CANCEL fills no memory."""
    objects = study(40)
    async with Misbehaving(objects) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", root="STUDY")
        taken = []
        async with aclosing(aiter(get)) as datasets:  # type: ignore[type-var]
            async for one in datasets:
                taken.append(one)
                break
        result = get.result
        assert len(result.datasets) + len(taken) == result.received
        assert result.received < 40
        assert (await get.again()).ok
        uids = sorted(str(one.SOPInstanceUID) for one in [*taken, *result.datasets])
        assert uids == sorted(peer.uids)


@pytest.mark.parametrize("into", ["files", "datasets"])
@pytest.mark.parametrize("plan", ["later", "never"])
async def test_what_came_before_counts_once_when_all_is_asked_for_again(
    tmp_path: Path, into: str, plan: str
) -> None:
    """Whether the list is had at the second time, which then has what is here, or is not."""
    ways = Ways(relational="refuse", hierarchical="refuse", drop_after=4)
    told: list[Progress] = []
    async with Misbehaving(study(), ways) as peer, at(peer) as pacs:
        where: dict[str, Any] = {"directory": tmp_path} if into == "files" else {}
        get = pacs.get("STUDY", "1.2.3", root="STUDY", progress=told.append, **where)
        result = await get
        assert (result.expected, result.received) == (None, 4)
        if plan == "later":
            ways.relational = "answer"
        assert (await get.again()).ok
        assert (result.received, result.present, result.found) == (6, 0, 6)
        assert (len(result.items), len(result.datasets)) == (6, 0 if into == "files" else 6)
        assert max(peer.sent.values()) == (1 if plan == "later" else 2)
        assert (told[-1].safe, told[-1].phase) == (6, "done")
    if into == "files":
        assert len(result.files) == len(set(result.files)) == len(files_below(tmp_path)) == 6


async def test_what_failed_and_came_at_the_second_time_has_not_failed(tmp_path: Path) -> None:
    told: list[Progress] = []
    objects = [ct(f"1.2.3.0.{n}", size=100_000 if n == 2 else 0) for n in range(4)]
    async with Misbehaving(objects) as peer, at(peer) as pacs:
        how: dict[str, Any] = {"root": "STUDY", "max_object_size": 50_000, "progress": told.append}
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, **how)
        await get
        assert (told[-1].safe, told[-1].failed) == (3, 1)
        get._intake.where = replace(get._intake.where, max_object_size=1_000_000)
        assert (await get.again()).ok
        assert (told[-1].safe, told[-1].failed) == (4, 0)


async def test_what_nobody_asked_for_is_named_once_however_often_it_comes(tmp_path: Path) -> None:
    stranger = ct("1.2.9.1", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.0")
    kept_back = frozenset({"1.2.3.0.0"})
    ways = Ways(
        relational="refuse",
        hierarchical="refuse",
        keep_back=kept_back,
        status_kept=0xB000,
        strangers=(stranger,),
    )
    async with Misbehaving(study(), ways) as peer, at(peer) as pacs:
        get = pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
        assert (await get).received == 5
        ways.keep_back = frozenset()
        assert (await get.again()).ok
        assert peer.sent["1.2.9.1"] == 2
        assert [one.sop_instance_uid for one in get.result.unasked] == ["1.2.9.1"]
        assert get.result.received == 6
