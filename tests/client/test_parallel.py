"""Several associations share the work of a store or a retrieve: once each, in one report."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import AssociationAborted, AssociationRejected
from aiodicom.client.connect import connect
from aiodicom.client.parallel import MAX_ASSOCIATIONS, Sharing, check_associations, share
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from archive_objects import files_below
from peers.misbehaving import Misbehaving, Ways
from wire import STEADY, free_port, study

TIMES = replace(STEADY, artim=0.1)


@pytest.mark.parametrize("series", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
async def test_one_report_of_what_several_bring(tmp_path: Path, count: int, series: int) -> None:
    async with Misbehaving(study(40, series)) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=TIMES, lazy=True) as pacs:
            how: dict[str, Any] = {"root": "STUDY", "associations": count}
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path, **how)
    assert result.ok
    assert (result.received, result.completed) == (40, 40)
    assert max(peer.sent.values()) == 1
    assert min(count, 2) <= peer.most_at_once <= count
    assert len(files_below(tmp_path)) == 40


async def test_moves_to_this_process_share_as_well(tmp_path: Path) -> None:
    port = free_port()
    async with Misbehaving(study(40, 4), move_port=port) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=TIMES) as pacs:
            where = {"listen_host": "127.0.0.1", "listen_port": port, "root": "STUDY"}
            how: dict[str, Any] = {**where, "associations": 3}
            assert (await pacs.move("STUDY", "1.2.3", directory=tmp_path, **how)).ok
    assert max(peer.sent.values()) == 1
    assert {level for _, level, _ in peer.asked} == {"SERIES"}


async def test_data_sets_of_several_are_iterated(tmp_path: Path) -> None:
    async with Misbehaving(study(40, 4)) as peer, connect("127.0.0.1", peer.port, timeouts=TIMES) as pacs:
        seen = [
            str(one.SOPInstanceUID) async for one in pacs.get("STUDY", "1.2.3", root="STUDY", associations=3)
        ]
    assert sorted(seen) == sorted(peer.uids)


@pytest.mark.parametrize("count", [1, 3, 8])
async def test_a_store_over_several(tmp_path: Path, count: int) -> None:
    async with serve_archive(tmp_path, port=0, durability="rename") as server:
        async with connect("127.0.0.1", server.port) as pacs:
            report = await pacs.store(study(40, 4), associations=count)
            assert report.ok
            assert len({item.sop_instance_uid for item in report.items}) == report.counted == 40
            assert (await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out")).received == 40


async def test_a_peer_that_takes_one_association_gets_everything_over_it(tmp_path: Path) -> None:
    limits = ServerLimits(max_associations=1)
    async with serve_archive(tmp_path / "archive", port=0, limits=limits) as server:
        times = replace(STEADY, busy=0)
        async with connect("127.0.0.1", server.port, timeouts=times, lazy=True) as pacs:
            report = await pacs.store(study(40, 4), associations=4)
            assert (report.ok, report.error) == (True, None)
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", associations=4)
            assert result.ok


async def test_every_third_association_rejected_costs_nothing(tmp_path: Path) -> None:
    async with Misbehaving(study(40, 4), Ways(reject=3)) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=replace(TIMES, busy=2)) as pacs:
            how: dict[str, Any] = {"root": "STUDY", "associations": 4}
            assert (await pacs.get("STUDY", "1.2.3", directory=tmp_path, **how)).ok
    assert peer.rejected


async def test_the_errors_of_workers() -> None:
    async def run(*ends: BaseException | None, left: int = 0) -> None:
        waiting = deque(ends)

        async def worker(_: Sharing) -> None:
            end = waiting.popleft()
            if end is not None:
                raise end

        await share(len(ends), range(left), worker)

    rejected = AssociationRejected(2, 3, 2)
    lost = AssociationAborted("gone", by_peer=True)
    await run(None, None)
    await run(None, rejected)
    for ends, left in (((rejected, rejected), 0), ((None, rejected), 1)):
        with pytest.raises(AssociationRejected):
            await run(*ends, left=left)
    with pytest.raises(AssociationAborted):
        await run(rejected, lost, None)
    with pytest.raises(AssociationAborted):
        await run(lost)


@pytest.mark.parametrize("count", [0, -1, MAX_ASSOCIATIONS + 1])
def test_how_many_there_may_be(count: int) -> None:
    assert check_associations(1) == 1
    with pytest.raises(ValueError, match="associations are"):
        check_associations(count)
