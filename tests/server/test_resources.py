"""What the retrieves of many associations hold together: memory, descriptors, converted objects."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.stores import LITTLE
from aiodicom.dimse import messages as m
from aiodicom.pdu import AsyncOperationsWindow
from aiodicom.server.archive_service import ArchiveServer, serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.server.resources import CONVERTED_PER_ADDRESS
from aiodicom.testing import ScriptedPeer
from wire import (
    CT,
    EXPLICIT,
    GET,
    IMPLICIT,
    LONG,
    PATIENCE,
    calling,
    ct,
    hear,
    identifier,
    implicit,
    on_each_loop,
    reply,
    say,
    scp_roles,
    store_request,
)

SIZE = 20_000_000
"""Bytes that no socket's buffers take."""
EVERYTHING = identifier("PATIENT", PatientID="P1")
WIDE = AsyncOperationsWindow(16, 16)


def opened(folder: Path) -> int:
    """How many descriptors this process has for stored objects."""
    names = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            names.append(os.readlink(one))
        except FileNotFoundError:
            continue
    return sum(name.startswith(str(folder)) and name.endswith(".dcm") for name in names)


@asynccontextmanager
async def holding(
    folder: Path, sizes: list[int], limits: ServerLimits = LONG, **how: Any
) -> AsyncIterator[tuple[ArchiveServer, dict[str, bytes]]]:
    """An archive of objects of these sizes, in Implicit VR, and what they are."""
    async with serve_archive(folder, port=0, limits=limits, **how) as server:
        stored = {f"1.2.3.{n}": implicit(ct(f"1.2.3.{n}", size=size)) for n, size in enumerate(sizes, 1)}
        async with calling(server) as peer:
            for number, (uid, data) in enumerate(stored.items()):
                await say(peer, 3, store_request(number, uid), data)
                assert (await hear(peer, m.CStoreRSP)).message.status == 0
        yield server, stored


async def ask(peer: ScriptedPeer, number: int) -> None:
    await say(peer, 1, m.CGetRQ(message_id=number, affected_sop_class_uid=GET), EVERYTHING)


async def fetched(peer: ScriptedPeer, finals: int) -> list[tuple[str, bytes]]:
    """All that is sent, until so many retrieves have succeeded."""
    found = []
    while finals:
        heard = await hear(peer)
        if isinstance(heard.message, m.CStoreRQ):
            found.append((heard.message.affected_sop_instance_uid, heard.data or b""))
            await reply(peer, heard, 0)
        elif heard.message.status != 0xFF00:
            assert heard.message.status == 0
            finals -= 1
    return found


async def held(server: ArchiveServer) -> None:
    """Wait until each association has something to send that its peer does not take."""
    async with asyncio.timeout(PATIENCE):
        while not all(one.connection.writing_held for one in server.server.associations):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("room", [0, 1 << 30])
async def test_without_room_a_peer_that_stands_still_costs_little(tmp_path: Path, room: int) -> None:
    """No descriptor, and a little memory; what it gets in the end is the same."""
    limits = replace(LONG, read_ahead=room)
    async with (
        holding(tmp_path, [SIZE, 100, 200_000], limits) as (server, stored),
        calling(server, [GET, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer,
    ):
        await ask(peer, 1)
        await held(server)
        [association] = server.server.associations
        waits = association.connection.transport.get_write_buffer_size()
        assert (waits <= 2 * LITTLE) == (not room)
        if not room:
            async with asyncio.timeout(PATIENCE):
                while opened(tmp_path):  # a thread may have the next part
                    await asyncio.sleep(0.01)
        assert dict(await fetched(peer, 1)) == stored


@pytest.mark.parametrize("room", [0, 1 << 30])
@on_each_loop
async def test_who_goes_in_the_middle_of_an_object_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    async with holding(tmp_path, [SIZE], replace(LONG, read_ahead=room)) as (server, _):
        async with calling(server, [GET, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer:
            await ask(peer, 1)
            await held(server)
            await peer.reset()
        async with asyncio.timeout(PATIENCE):
            while server.server.associations or opened(tmp_path):
                await asyncio.sleep(0.01)
        assert server.server._reception.shared.read_ahead.all.used == 0
    assert "a request failed here" not in caplog.text


async def test_converted_objects_of_an_address_take_turns(tmp_path: Path) -> None:
    """However many of its retrieves want one; another address does not wait for them."""
    contexts = [GET, (CT, [EXPLICIT])]
    roles = replace(scp_roles(CT), async_operations=WIDE)
    async with (
        holding(tmp_path, [SIZE], host="0.0.0.0") as (server, _),
        AsyncExitStack() as stack,
    ):
        peers = [
            await stack.enter_async_context(calling(server, contexts, user_information=roles))
            for _ in range(CONVERTED_PER_ADDRESS + 2)
        ]
        for peer in peers:
            for number in (1, 2, 3):
                await ask(peer, number)
        turns = server.server._reception.shared.converting
        async with asyncio.timeout(PATIENCE):
            while not turns or turns._shares["127.0.0.1"].users < 3 * len(peers) or not opened(tmp_path):
                await asyncio.sleep(0.01)
        assert opened(tmp_path) <= CONVERTED_PER_ADDRESS
        sock = socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.2", 0))
        reader, writer = await asyncio.open_connection(sock=sock)
        async with ScriptedPeer(reader, writer) as other:
            await other.associate(contexts, user_information=roles)
            await ask(other, 1)
            assert len(await fetched(other, 1)) == 1
        everybody = await asyncio.gather(*(fetched(peer, 3) for peer in peers))
        assert [[uid for uid, _ in found] for found in everybody] == [["1.2.3.1"] * 3] * len(peers)
        assert all(len(data) > SIZE for found in everybody for _, data in found)
        assert not turns
