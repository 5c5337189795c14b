"""How many associations with destinations of C-MOVEs a server has, and that others wait or are told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiodicom.association.errors import ConnectFailed
from aiodicom.dimse import messages as m
from aiodicom.pdu import AAbort, AsyncOperationsWindow, UserInformation
from aiodicom.server.archive_service import ArchiveServer, serve_archive
from aiodicom.server.destinations import Destinations, lowest_free
from aiodicom.server.limits import ServerLimits
from aiodicom.testing import ScriptedListener, ScriptedPeer
from wire import (
    CT,
    LONG,
    MOVE,
    PATIENCE,
    VERIFICATION,
    calling,
    ct,
    echo,
    final_of,
    hear,
    identifier,
    implicit,
    say,
    store_request,
)

EVERYTHING = identifier("PATIENT", PatientID="P1")
WIDE = UserInformation(maximum_length=16384, async_operations=AsyncOperationsWindow(16, 16))


@asynccontextmanager
async def turned(turns: Destinations, address: str) -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE), turns.turn(address):
        yield


async def test_one_address_has_its_share_and_others_theirs() -> None:
    limits = ServerLimits(max_destinations=3, max_destinations_per_address=2, suboperation_timeout=None)
    turns = Destinations(limits, 1 << 20)
    async with turned(turns, "a"), turned(turns, "a"):
        third = asyncio.create_task(turned(turns, "a").__aenter__())
        async with turned(turns, "b"):  # though the third of `a` came first
            assert not third.done()
            of_b = asyncio.create_task(turned(turns, "b").__aenter__())
            await asyncio.sleep(0)
            assert not of_b.done()
        await of_b  # there is room again
        assert not third.done()
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
    async with turned(turns, "a"), turned(turns, "a"):
        pass


@pytest.mark.parametrize("limits", [{"max_destinations": 1}, {"max_destinations_per_address": 1}])
async def test_nobody_waits_for_ever(limits: dict[str, int]) -> None:
    turns = Destinations(ServerLimits(suboperation_timeout=0.01, **limits), 1 << 20)
    async with turned(turns, "a"):
        with pytest.raises(ConnectFailed, match="other C-MOVEs"):
            await turned(turns, "a").__aenter__()
    async with turned(turns, "a"):
        pass


async def test_what_fails_inside_has_nothing_to_do_with_waiting() -> None:
    turns = Destinations(ServerLimits(), 1 << 20)
    with pytest.raises(TimeoutError, match="of its own"):
        async with turned(turns, "a"):
            raise TimeoutError("of its own")


async def test_half_the_reserve_of_descriptors_is_kept() -> None:
    there_are = lowest_free() + 10
    async with turned(Destinations(ServerLimits(descriptor_reserve=18), there_are), "a"):
        pass
    turns = Destinations(ServerLimits(descriptor_reserve=20), there_are)
    with pytest.raises(ConnectFailed, match="descriptor"):
        await turned(turns, "a").__aenter__()


@asynccontextmanager
async def moving(
    folder: Path, port: int, limits: ServerLimits
) -> AsyncIterator[tuple[ArchiveServer, ScriptedPeer]]:
    """An archive of one object that moves it to a port, and a peer that may ask for sixteen at a time."""
    destinations = {"DEST": ("127.0.0.1", port)}
    async with serve_archive(folder, port=0, limits=limits, destinations=destinations) as server:
        contexts = [VERIFICATION, CT, MOVE]
        async with calling(server, contexts, user_information=WIDE) as peer:
            await say(peer, 3, store_request(1, "1.2.3.4"), implicit(ct("1.2.3.4")))
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
            yield server, peer


async def move(peer: ScriptedPeer, number: int) -> None:
    await say(
        peer,
        5,
        m.CMoveRQ(message_id=number, affected_sop_class_uid=MOVE, move_destination="DEST"),
        EVERYTHING,
    )


@pytest.mark.parametrize("name", ["max_destinations", "max_destinations_per_address"])
async def test_moves_over_the_limit_wait_for_their_turn(tmp_path: Path, name: str) -> None:
    """The destination takes no more at once, and rejects one that comes too early."""
    two = replace(LONG, max_associations=2)
    async with serve_archive(tmp_path / "there", port=0, limits=two) as there:
        limits = replace(LONG, **{name: 2})
        async with moving(tmp_path / "here", there.port, limits) as (_, peer):
            for number in range(2, 12):
                await move(peer, number)
            assert [(await final_of(peer)).message.status for _ in range(10)] == [0] * 10


async def test_a_move_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    limits = replace(LONG, max_destinations=1)
    async with (
        ScriptedListener() as listener,
        moving(tmp_path, listener.port, limits) as (_, peer),
    ):
        await move(peer, 2)
        destination = await listener.next_connection()
        await destination.accept()
        await hear(destination, m.CStoreRQ)
        await move(peer, 3)
        await say(peer, 5, m.CCancelRQ(message_id_being_responded_to=3))
        heard = await final_of(peer)
        assert (heard.message.message_id_being_responded_to, heard.message.status) == (3, 0xFE00)
        assert await echo(peer) == 0
        await destination.send(AAbort(0, 0))
        assert (await final_of(peer)).message.status == 0xA702


async def test_a_move_leaves_the_last_descriptors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(LONG, descriptor_reserve=20)
    async with serve_archive(tmp_path / "there", port=0) as there:
        monkeypatch.setattr("aiodicom.server.listener.descriptors", lambda: lowest_free() + 60)
        async with moving(tmp_path / "here", there.port, limits) as (_, peer):
            with ExitStack() as files:
                for _ in range(60):
                    files.enter_context(open(os.devnull))
                await move(peer, 2)
                assert (await final_of(peer)).message.status == 0xA702
                assert there.server.connections.total == 0
            await move(peer, 3)
            assert (await final_of(peer)).message.status == 0


async def test_the_address_that_hangs_on_keeps_no_other_waiting(tmp_path: Path) -> None:
    """A destination that takes an association and says nothing has as many as one address may."""
    limits = replace(LONG, max_destinations=3, max_destinations_per_address=2)
    async with (
        ScriptedListener() as listener,
        AsyncExitStack() as stack,
        moving(tmp_path, listener.port, limits) as (server, peer),
    ):
        for number in range(2, 8):
            await move(peer, number)
        held = [await listener.next_connection() for _ in range(2)]
        turns = server.server._reception.shared.destinations
        await stack.enter_async_context(turned(turns, "another"))
        assert turns._all.locked()  # the two of one address and the other's: that is all of them
        for destination in held:
            await destination.send(AAbort(0, 0))
