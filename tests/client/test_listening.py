"""Moves to this process at once share their port, and each gets its own objects."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client import listening
from aiodicom.client.connect import connect
from aiodicom.client.intake import Intake, Where
from aiodicom.client.listening import Arrivals, Listening, listened
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dimse.levels import Level
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from wire import ct, free_port


def arrivals(folder: Path) -> Arrivals:
    where = Where(directory=folder, durability="rename")
    return Arrivals(Intake(RetrieveResult(), where, Level.STUDY, frozenset()), frozenset({"AIODICOM"}))


@pytest.mark.parametrize("clients", [1, 2])
async def test_moves_at_once_share_the_port(tmp_path: Path, clients: int) -> None:
    """Of one client, and of several of one process; each study comes to who asked for it."""
    port = free_port()
    where = {"AIODICOM": ("127.0.0.1", port)}
    async with serve_archive(tmp_path / "archive", port=0, destinations=where) as server:
        async with connect("127.0.0.1", server.port) as pacs, connect("127.0.0.1", server.port) as other:
            objects = [
                ct(f"1.2.{study}.{n}", StudyInstanceUID=f"1.2.{study}")
                for study in range(4)
                for n in range(5)
            ]
            assert (await pacs.store(objects)).ok
            results = await asyncio.gather(
                *(
                    (other if clients == 2 and study % 2 else pacs).move(
                        "STUDY",
                        f"1.2.{study}",
                        directory=tmp_path / f"{study}",
                        listen_host="127.0.0.1",
                        listen_port=port,
                    )
                    for study in range(4)
                )
            )
    for study, result in enumerate(results):
        assert result.ok, result
        assert sorted(item.sop_instance_uid for item in result.items) == [
            f"1.2.{study}.{n}" for n in range(5)
        ]
        assert result.turned_away == []
    assert listening._HUBS == {}


async def test_the_last_move_stops_the_listener_and_the_next_begins_anew(tmp_path: Path) -> None:
    where = Listening(host="127.0.0.1", port=free_port())
    async with listened(arrivals(tmp_path), where, ["127.0.0.1"]) as first:
        async with listened(arrivals(tmp_path), where, ["10.0.0.0/8"]) as second:
            assert second is first
            assert second.access.addresses == ["127.0.0.1", "10.0.0.0/8"]
        assert first.access.addresses == ["127.0.0.1"]
    async with listened(arrivals(tmp_path), where, []) as third:
        assert third is not first
    assert listening._HUBS == {}


async def test_a_port_that_is_shared_has_one_kind_of_listener(tmp_path: Path) -> None:
    where = Listening(host="127.0.0.1", port=free_port())
    async with listened(arrivals(tmp_path), where, []):
        other = replace(where, limits=ServerLimits(max_object_size=5))
        with pytest.raises(OSError, match=f"port {where.port}.*other TLS or limits"):
            async with listened(arrivals(tmp_path), other, []):
                pass


async def test_a_port_that_is_somebody_elses(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = Listening(host="127.0.0.1", port=taken.getsockname()[1])
        for _ in range(2):
            with pytest.raises(OSError, match="cannot listen on port"):
                async with listened(arrivals(tmp_path), where, []):
                    pass
    assert listening._HUBS == {}


async def test_what_is_no_network_is_refused_before_anything_is_listened_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        async with listened(arrivals(tmp_path), Listening(host="127.0.0.1", port=free_port()), ["nowhere"]):
            pass
    assert listening._HUBS == {}


@pytest.mark.parametrize("clients", [1, 2])
@pytest.mark.parametrize("what", [("STUDY", "1.2.3"), ("SERIES", "1.2.3.1"), ("IMAGE", "1.2.3.1.0")])
async def test_moves_at_once_of_the_same_content_each_get_it(
    tmp_path: Path, what: tuple[str, str], clients: int
) -> None:
    port = free_port()
    where = {"AIODICOM": ("127.0.0.1", port)}
    how: dict[str, Any] = {"listen_host": "127.0.0.1", "listen_port": port}
    async with (
        serve_archive(tmp_path / "archive", port=0, destinations=where) as server,
        connect("127.0.0.1", server.port) as pacs,
        connect("127.0.0.1", server.port) as second,
    ):
        other = second if clients == 2 else pacs
        assert (await pacs.store([ct(f"1.2.3.1.{n}", SeriesInstanceUID="1.2.3.1") for n in range(4)])).ok
        results = await asyncio.gather(
            pacs.move("STUDY", "1.2.3", directory=tmp_path / "a", **how),
            other.move(what[0], what[1], directory=tmp_path / "b", **how),
        )
    wanted = [4, 1 if what[0] == "IMAGE" else 4]
    assert [len(result.items) for result in results] == wanted
    assert all(result.ok for result in results), results


async def test_a_peer_sends_to_its_own_moves_alone(tmp_path: Path) -> None:
    """Two moves of different peers share a port, and what one may send it may not send to the other's."""
    where = Listening(host="127.0.0.1", port=free_port())
    mine, other = arrivals(tmp_path / "mine"), arrivals(tmp_path / "other")
    for one in (mine, other):
        assert one.intake.where.directory is not None
        one.intake.where.directory.mkdir()
        one.intake.open = True
        one.message_ids.add(7)
    mine.planned = frozenset({"1.2.3.1"})
    other.planned = frozenset({"1.2.3.2"})
    async with listened(mine, where, ["192.0.2.1"]), listened(other, where, ["127.0.0.1"]):
        async with connect("127.0.0.1", where.port) as sender:
            report = await sender.store([ct("1.2.3.1"), ct("1.2.3.2")])
    assert [item.sop_instance_uid for item in report.stored] == ["1.2.3.2"]
    assert mine.intake.result.turned_away == ["1.2.3.1"]
