"""Every limit of a server bites at its value, and not below; others on the server do not notice."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import tracemalloc
from contextlib import AsyncExitStack, ExitStack
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association import stores, turns
from aiodicom.association import transport as transport_module
from aiodicom.association.budget import Budget
from aiodicom.association.performing import Request
from aiodicom.association.transport import Connection
from aiodicom.client.connect import connect
from aiodicom.dimse import messages as m
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AsyncOperationsWindow,
    PDataTF,
    PresentationContextRQ,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserInformation,
    encode,
)
from aiodicom.server import listener
from aiodicom.server.accepted import AcceptedConnection
from aiodicom.server.archive_service import ArchiveService, serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.server.service import Reply
from aiodicom.testing import ScriptedPeer, associate_request, command_set, message_pdvs
from archive_objects import files_below
from conftest import TLSPair
from pydicom.dataset import Dataset
from wire import (
    CT,
    FIND,
    IMPLICIT,
    LONG,
    PATIENCE,
    VERIFICATION,
    Held,
    Plain,
    bystander,
    calling,
    ct,
    echo,
    gone,
    hear,
    identifier,
    implicit,
    on_each_loop,
    say,
    scp_roles,
    serving,
    store_request,
)

LOCAL_LIMIT = AAssociateRJ(2, 3, 2)


async def outcome(server: object, **how: object) -> object:
    """The answer to an association request, the association then being left open."""
    peer = await ScriptedPeer.connect("127.0.0.1", server.port)  # type: ignore[attr-defined]
    await peer.send(associate_request(**how))  # type: ignore[arg-type]
    answer = await peer.receive()
    await peer.close()
    return answer


# --- how many


@on_each_loop
async def test_max_associations() -> None:
    async with serving(limits=replace(LONG, max_associations=3)) as server, AsyncExitStack() as stack:
        open_ = [await stack.enter_async_context(calling(server)) for _ in range(3)]
        assert await outcome(server) == LOCAL_LIMIT
        for peer in open_:
            assert await echo(peer) == 0
        await open_[0].release()
        async with asyncio.timeout(PATIENCE):
            while len(server.connections.open) > 2:
                await asyncio.sleep(0)
        assert isinstance(await outcome(server), AAssociateAC)


async def test_a_rejected_peer_that_stays_does_not_count() -> None:
    async with serving(limits=replace(LONG, max_associations=2)) as server, AsyncExitStack() as stack:
        first = await stack.enter_async_context(calling(server))
        await stack.enter_async_context(calling(server))
        for _ in range(3):
            peer = await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
            await peer.send(associate_request())
            assert await peer.receive() == LOCAL_LIMIT
        await first.release()
        async with asyncio.timeout(PATIENCE):
            while len(server.connections.open) > 1:
                await asyncio.sleep(0)
        async with calling(server) as peer:
            assert await echo(peer) == 0


async def test_max_associations_per_address() -> None:
    limits = replace(LONG, max_associations_per_address=2)
    async with serving(limits=limits, host="0.0.0.0") as server, AsyncExitStack() as stack:  # type: ignore[call-arg]
        for _ in range(2):
            await stack.enter_async_context(calling(server))
        assert await outcome(server) == LOCAL_LIMIT
        # another address of the loopback is another peer
        sock = socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.2", 0))
        reader, writer = await asyncio.open_connection(sock=sock)
        async with ScriptedPeer(reader, writer) as other:
            await other.associate()
            assert await echo(other) == 0


async def test_max_associations_per_ae() -> None:
    async with serving(limits=replace(LONG, max_associations_per_ae=2)) as server, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(calling(server, calling_ae="ONE"))
        assert await outcome(server, calling_ae="ONE") == LOCAL_LIMIT
        assert isinstance(await outcome(server, calling_ae="TWO"), AAssociateAC)


@on_each_loop
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_max_pending_connections(
    secure: bool, tls_pair: TLSPair, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that say nothing make room for others, the oldest first, and are closed."""
    limits = replace(LONG, max_pending_connections=5)
    tls = tls_pair.client if secure else None
    async with (
        serving(limits=limits, tls=tls_pair.server if secure else None) as server,
        AsyncExitStack() as stack,
        bystander(server, tls=tls),
    ):
        silent = [
            await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
            for _ in range(15)
        ]
        for peer in silent[:10]:
            await peer.drain_until_close()
        assert len(server.connections.pending) == 5
        async with bystander(server, tls=tls):
            pass
        await silent[10].expect_close()
        assert len(server.connections.pending) == 4
    assert len([one for one in caplog.records if "too many without" in one.getMessage()]) == 1


async def test_a_flood_from_one_address_takes_no_room_from_another() -> None:
    limits = replace(LONG, max_pending_connections=5)
    async with serving(limits=limits) as server, AsyncExitStack() as stack:
        other = await ScriptedPeer.connect("127.0.0.1", server.port, local_address="127.0.0.2")
        await stack.enter_async_context(other)
        for _ in range(20):
            await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
        async with bystander(server):
            pass
        await other.associate()
        assert await echo(other) == 0


async def test_no_pending_connections_at_all() -> None:
    async with serving(limits=replace(LONG, max_pending_connections=0)) as server:
        async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
            await peer.drain_until_close()
        assert not server.associations


async def test_connections_that_have_ended_make_room() -> None:
    """Peers that never close after a rejection do not use up what new ones need."""
    limits = replace(LONG, max_pending_connections=5, max_associations=1)
    async with serving(limits=limits) as server, calling(server) as one, AsyncExitStack() as stack:
        peers = []
        for _ in range(12):
            peer = await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
            await peer.send(associate_request())
            assert await peer.receive() == LOCAL_LIMIT
            peers.append(peer)
        assert len(server.associations) <= 7
        await peers[0].expect_close()  # the oldest went first
        assert await echo(one) == 0


# --- what an A-ASSOCIATE-RQ may hold


def contexts(count: int, syntaxes: int = 1) -> list[PresentationContextRQ]:
    """That many proposals."""
    return [
        PresentationContextRQ(
            (2 * n + 1) % 256, CT, tuple(f"1.2.840.10008.1.2.4.{i}" for i in range(syntaxes))
        )
        for n in range(count)
    ]


async def test_max_associate_length() -> None:
    raw = encode(associate_request())
    for limit, kind in ((len(raw) - 6, AAssociateAC), (len(raw) - 7, AAbort)):
        async with (
            serving(limits=replace(LONG, max_associate_length=limit)) as server,
            await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
        ):
            # judged from the six bytes of the header: nothing is read for a request that is too long
            await peer.send(raw[:6] if kind is AAbort else raw)
            assert isinstance(await peer.receive(), kind)


async def test_the_default_takes_128_contexts_of_25_transfer_syntaxes() -> None:
    uid = "1.2.840.10008.5.1.4.1.1.2." + "9" * 38
    proposals = [
        PresentationContextRQ(2 * n + 1, uid, tuple(f"{uid[:-2]}{i:02}" for i in range(25)))
        for n in range(128)
    ]
    async with serving() as server, await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        answer = await peer.associate(proposals)
        assert len(answer.presentation_contexts) == 128


async def test_max_contexts() -> None:
    async with serving(limits=replace(LONG, max_contexts=10)) as server, bystander(server):
        assert isinstance(await outcome(server, contexts=contexts(10)), AAssociateAC)
        assert await outcome(server, contexts=contexts(11)) == LOCAL_LIMIT


async def test_max_negotiation_items() -> None:
    async with serving(limits=replace(LONG, max_negotiation_items=10)) as server, bystander(server):
        for count, kind in ((10, AAssociateAC), (11, AAssociateRJ)):
            roles = tuple(RoleSelection(f"1.2.{n}", True, True) for n in range(count - 5))
            extended = tuple(SOPClassExtendedNegotiation(f"1.2.{n}", b"x") for n in range(3))
            unknown = (UnknownItem(0x5F, b"x"), UnknownItem(0x60, b"y"))
            info = UserInformation(
                implementation_class_uid="1.2", roles=roles, extended=extended, unknown=unknown
            )
            assert isinstance(await outcome(server, user_information=info), kind)


# --- what a P-DATA-TF may hold


@on_each_loop
async def test_max_pdu_length() -> None:
    for over in (0, 1):
        async with (
            serving(limits=replace(LONG, max_pdu_length=4096)) as server,
            bystander(server),
            calling(server) as peer,
        ):
            assert peer.peer_maximum_length == 4096
            command = m.encode_message(store_request())
            await peer.send(PDataTF((PDV(3, True, True, command),)))
            await peer.send(PDataTF((PDV(3, False, False, bytes(4096 - 6 + 2 * over)),)))
            if over:
                assert await peer.expect(AAbort) == AAbort(2, 6)
            else:
                await peer.send(PDataTF((PDV(3, False, True, b""),)))
                await hear(peer, m.CStoreRSP)


@pytest.mark.parametrize("length", [1, 7, 1 << 32])
def test_a_maximum_length_nobody_can_keep_to_is_refused_at_once(length: int) -> None:
    with pytest.raises(ValueError, match="max_pdu_length"):
        ServerLimits(max_pdu_length=length)


async def test_no_max_pdu_length() -> None:
    service = Plain()
    async with serving(service, limits=replace(LONG, max_pdu_length=0)) as server, calling(server) as peer:
        assert peer.peer_maximum_length == 0
        data = bytes(3_000_000)
        await say(peer, 3, store_request(), data, pdvs_per_pdu=0, fragment=4_000_000)
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
        assert service.stored["1.2.3.4"] == data


async def test_max_command_length() -> None:
    limit = 2000
    for size, over in ((limit, False), (limit + 1, True)):
        async with (
            serving(limits=replace(LONG, max_command_length=limit)) as server,
            bystander(server),
            calling(server) as peer,
        ):
            fixed: dict[int, int | str | bytes] = {
                0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101,
            }  # fmt: skip
            pad = size - len(command_set({**fixed, 0x5010: b""}))
            command = command_set({**fixed, 0x5010: b"x" * pad})
            assert len(command) == size
            await peer.send_message(1, command, fragment=100)
            if over:
                assert await peer.expect(AAbort) == AAbort(2, 6)
            else:
                assert (await hear(peer, m.CEchoRSP)).message.status == 0


async def test_a_command_set_without_end() -> None:
    async with serving() as server, bystander(server), calling(server) as peer:
        part = encode(PDataTF((PDV(1, True, False, bytes(1000)),)))
        for _ in range(LONG.max_command_length // 1000 + 1):
            await peer.send(part)
        assert await peer.expect(AAbort) == AAbort(2, 6)


@on_each_loop
async def test_empty_fragments_cost_nothing() -> None:
    async with serving() as server, bystander(server), calling(server) as peer:
        _, connection = (one.connection for one in server.associations)
        command = m.encode_message(store_request())
        await fed(connection, peer, encode(PDataTF((PDV(3, True, False, b""),) * 500)))
        await fed(connection, peer, encode(PDataTF((PDV(3, True, True, command),))))
        empty = encode(PDataTF((PDV(3, False, False, b""),) * 1000)) + encode(PDataTF(()))
        tracemalloc.start()
        try:
            await fed(connection, peer, empty * 3)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(10):
                await fed(connection, peer, empty)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 50_000
        await peer.send(PDataTF((PDV(3, False, True, implicit(ct())),)))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0


async def fed(connection: Connection, peer: ScriptedPeer, data: bytes) -> None:
    """Send it, and wait until the server's end has dealt with all of it."""
    whole = connection.bytes_received + len(data)
    await peer.send(data)
    async with asyncio.timeout(PATIENCE):
        while connection.bytes_received < whole or connection._coming is not None:
            await asyncio.sleep(0)


@pytest.mark.parametrize(("over", "status"), [(0, 0), (2, 0x0213)])
async def test_max_identifier_length(over: int, status: int) -> None:
    limit = 5000
    base = implicit(identifier(StudyComments=""))
    comments = "x" * (limit - len(base) + over)
    async with (
        serving(limits=replace(LONG, max_identifier_length=limit)) as server,
        bystander(server),
        calling(server) as peer,
    ):
        data = implicit(identifier(StudyComments=comments))
        assert len(data) == limit + over
        request = m.CFindRQ(message_id=1, affected_sop_class_uid=FIND)
        await say(peer, 5, request, data)
        assert (await hear(peer, m.CFindRSP)).message.status == status
        assert await echo(peer, 2) == 0


@pytest.mark.parametrize(("over", "status"), [(0, 0), (2, 0xA700)])
@on_each_loop
async def test_max_object_size(tmp_path: Path, over: int, status: int) -> None:
    data = implicit(ct(size=20_000))
    limits = replace(LONG, max_object_size=len(data) - over)
    async with (
        serve_archive(tmp_path, port=0, limits=limits) as server,
        calling(server) as peer,
    ):
        await say(peer, 3, store_request(), data)
        assert (await hear(peer, m.CStoreRSP)).message.status == status
        assert await echo(peer, 2) == 0
        assert len(files_below(tmp_path / "objects")) == (0 if over else 1)
        assert files_below(tmp_path / "incoming") == ["journal"]


def nested(levels: int) -> bytes:
    """An identifier with sequences of that depth, each of one item, of undefined lengths."""
    begin = b"\x08\0\x40\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return begin * levels + end * levels


@pytest.mark.parametrize(("levels", "status"), [(0, 0), (7, 0), (8, 0), (9, 0xC000), (900, 0xC000)], ids=str)
async def test_max_sequence_depth_of_an_identifier(levels: int, status: int) -> None:
    level = implicit(identifier())
    async with (
        serving(limits=replace(LONG, max_sequence_depth=8)) as server,
        bystander(server),
        calling(server) as peer,
    ):
        await say(peer, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), level + nested(levels))
        got = (await hear(peer, m.CFindRSP)).message.status
        assert got == status
        assert await echo(peer, 2) == 0


@pytest.mark.parametrize(("over", "status"), [(0, 0), (1, 0xC000)])
async def test_max_identifier_elements(over: int, status: int) -> None:
    level = implicit(identifier())
    many = b"".join(b"\x11\0" + (16 + n).to_bytes(2, "little") + bytes(4) for n in range(19 + over))
    async with (
        serving(limits=replace(LONG, max_identifier_elements=20)) as server,
        bystander(server),
        calling(server) as peer,
    ):
        await say(peer, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), level + many)
        assert (await hear(peer, m.CFindRSP)).message.status == status
        assert await echo(peer, 2) == 0


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize(("inside", "status"), [(4, 0), (20, 0xC000)])
async def test_max_identifier_elements_of_all_levels(inside: int, status: int, defined: bool) -> None:
    """Elements inside items are decoded like others."""
    item = b"".join(b"\x11\0" + (16 + n).to_bytes(2, "little") + bytes(4) for n in range(inside))
    if defined:
        item = b"\xfe\xff\0\xe0" + len(item).to_bytes(4, "little") + item
    else:
        item = b"\xfe\xff\0\xe0" + b"\xff" * 4 + item + b"\xfe\xff\x0d\xe0" + bytes(4)
    sequence = b"\x40\0\x75\x02" + len(item).to_bytes(4, "little") + item
    async with serving(limits=replace(LONG, max_identifier_elements=20)) as server, calling(server) as peer:
        request = m.CFindRQ(message_id=1, affected_sop_class_uid=FIND)
        await say(peer, 5, request, implicit(identifier()) + sequence)
        assert (await hear(peer, m.CFindRSP)).message.status == status
        assert await echo(peer, 2) == 0


@pytest.mark.parametrize("levels", [5, 20000])
async def test_max_sequence_depth_of_an_object(tmp_path: Path, levels: int) -> None:
    data = implicit(ct())
    split = data.index(b"\x10\0\x10\0")  # before the patient's name
    whole = data[:split] + nested(levels) + data[split:]
    async with (
        serve_archive(tmp_path, port=0, limits=LONG) as server,
        bystander(server),
        calling(server) as peer,
    ):
        await say(peer, 3, store_request(), whole)
        status = (await hear(peer, m.CStoreRSP)).message.status
        assert status == (0 if levels == 5 else 0xC000)
        assert len(files_below(tmp_path / "objects")) == (1 if levels == 5 else 0)


@pytest.mark.parametrize("elements", [9, 1000])
async def test_max_object_elements(tmp_path: Path, elements: int) -> None:
    limits = replace(LONG, max_object_elements=elements)
    many = ct(ReferencedImageSequence=[identifier(StudyComments="x") for _ in range(10)])
    async with serve_archive(tmp_path, port=0, limits=limits) as server, calling(server) as peer:
        await say(peer, 3, store_request(), many)
        assert (await hear(peer, m.CStoreRSP)).message.status == (0 if elements == 1000 else 0xC000)


@on_each_loop
async def test_max_outstanding_requests() -> None:
    held = Held()
    limits = replace(LONG, max_outstanding_requests=3)
    wide = AsyncOperationsWindow(16, 16)
    async with (
        serving(Plain(on_echo=held), limits=limits, async_operations=wide) as server,  # type: ignore[arg-type]
        calling(server, user_information=UserInformation(async_operations=wide)) as peer,
    ):
        for number in range(1, 6):
            await say(peer, 1, m.CEchoRQ(message_id=number))
        refused = [await hear(peer, m.CEchoRSP) for _ in range(2)]
        assert [(one.message.message_id_being_responded_to, one.message.status) for one in refused] == [
            (4, 0x0213),
            (5, 0x0213),
        ]
        held.go.set()
        done = [await hear(peer, m.CEchoRSP) for _ in range(3)]
        assert {one.message.message_id_being_responded_to for one in done} == {1, 2, 3}
        assert {one.message.status for one in done} == {0}
        assert await echo(peer, 6) == 0


@on_each_loop
async def test_a_burst_far_over_the_limit_ends_the_association() -> None:
    """A peer that sends requests as fast as it can is not answered for ever."""
    limits = replace(LONG, max_outstanding_requests=2)
    burst = b"".join(
        encode(PDataTF((PDV(1, True, True, m.encode_message(m.CEchoRQ(message_id=n))),)))
        for n in range(1, 2 + 8 * 2 + 2)
    )
    async with serving(limits=limits) as server, bystander(server), calling(server) as peer:
        await peer.send(burst)
        answers = [await peer.receive() for _ in range(8 * 2)]
        assert all(isinstance(one, PDataTF) for one in answers)
        assert await peer.expect(AAbort) == AAbort(2, 6)


@on_each_loop
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_long_read_gives_others_their_turn(
    secure: bool, tls_pair: TLSPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading pauses for a turn of the loop, and goes on: here each read, for no time is left for any."""
    monkeypatch.setattr(turns.Turns, "over", True)
    held: list[bool] = []
    service = Plain()
    service.on_echo = lambda info: turn(info)

    async def turn(info: Request) -> None:
        held.append(info.association.connection.reading.held)  # type: ignore[attr-defined]

    tls = tls_pair.client if secure else None
    async with (
        serving(service, tls=tls_pair.server if secure else None) as server,
        calling(server, tls=tls) as peer,
    ):
        await say(peer, 3, store_request(1), ct(size=1 << 20))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
        for number in range(5):
            assert await echo(peer, number + 2) == 0
        [association] = server.associations
        await peer.release()
    assert len(held) == 5
    assert not association.connection.reading.held


async def test_a_message_id_in_use_is_refused() -> None:
    held = Held()
    async with serving(Plain(on_echo=held)) as server, calling(server) as peer:  # type: ignore[arg-type]
        await say(peer, 1, m.CEchoRQ(message_id=1))
        await say(peer, 1, m.CEchoRQ(message_id=1))
        assert (await hear(peer, m.CEchoRSP)).message.status == 0x0210
        held.go.set()
        assert (await hear(peer, m.CEchoRSP)).message.status == 0


# --- how long


@on_each_loop
async def test_artim_timeout() -> None:
    async with (
        serving(limits=replace(LONG, artim_timeout=0.1)) as server,
        calling(server) as open_,
        await ScriptedPeer.connect("127.0.0.1", server.port) as silent,
    ):
        await silent.expect_close()
        assert await echo(open_) == 0


@on_each_loop
async def test_idle_timeout(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with (
            serving(limits=replace(LONG, idle_timeout=0.2)) as server,
            calling(server) as peer,
        ):
            assert await echo(peer) == 0
            assert await peer.expect(AAbort) == AAbort(0, 0)
    assert "was idle for 0.2 s" in caplog.text


async def test_idle_timeout_in_the_middle_of_a_message() -> None:
    """Between two PDUs of a data set nothing runs that could keep the association alive."""
    service = Plain()
    async with (
        serving(service, limits=replace(LONG, idle_timeout=0.2)) as server,
        calling(server) as peer,
    ):
        pdvs = message_pdvs(3, m.encode_message(store_request()), bytes(1000), fragment=500)
        await peer.send(PDataTF(tuple(pdvs[:2])))
        assert await peer.expect(AAbort) == AAbort(0, 0)
        assert service.discarded == ["1.2.3.4"]


async def test_what_runs_is_not_idle_and_has_the_time_whole_when_it_ends() -> None:
    """A handler that takes longer than the idle timeout: its answer is not followed by an abort."""
    limits = replace(LONG, idle_timeout=5)

    async def slow(info: object) -> None:
        info.association.connection.last_activity -= 1000  # type: ignore[attr-defined]
        for _ in range(20):
            await asyncio.sleep(0)

    async with (
        serving(Plain(on_echo=slow), limits=limits) as server,  # type: ignore[arg-type]
        calling(server) as peer,
        calling(server) as other,
    ):
        for number in range(1, 4):
            assert await echo(peer, number) == 0
            await peer.expect_nothing_until(echo(other, number))


async def test_a_slow_commit_is_not_idle() -> None:
    held = Held()

    class Slow(Plain):
        def store(self, info):  # type: ignore[no-untyped-def]
            sink = super().store(info)
            real = sink.commit

            async def commit():  # type: ignore[no-untyped-def]
                info.association.connection.last_activity -= 1000
                await held()
                return await real()

            sink.commit = commit
            return sink

    async with (
        serving(Slow(), limits=replace(LONG, idle_timeout=5)) as server,
        calling(server) as peer,
        calling(server) as other,
    ):
        await say(peer, 3, store_request(), b"1234")
        await held.reached.wait()
        await peer.expect_nothing_until(echo(other))
        held.go.set()
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
        await peer.expect_nothing_until(echo(other))


@pytest.mark.parametrize("where", ["header", "control PDU", "PDV header", "data"])
@on_each_loop
async def test_pdu_timeout(where: str) -> None:
    """One PDU dribbling in: bytes do not help it, other PDUs are not its business."""
    raw = {
        "header": b"\x04\0\0",
        "control PDU": b"\x05\0\0\0\0\4\0\0",
        "PDV header": b"\x04\0\0\0\1\0\0\0\0",
        "data": encode(PDataTF((PDV(3, True, True, m.encode_message(store_request())),)))
        + b"\x04\0\0\0\1\0\0\0\0\xfc\3\0abc",
    }[where]
    async with (
        serving(limits=replace(LONG, pdu_timeout=0.3)) as server,
        calling(server) as other,
        calling(server) as peer,
    ):
        await peer.send(raw)
        dribbling = asyncio.ensure_future(dribble(peer, b"\0" if where == "data" else b""))
        try:
            assert await peer.expect(AAbort) == AAbort(0, 0)
        finally:
            dribbling.cancel()
            await asyncio.gather(dribbling, return_exceptions=True)
        assert await echo(other) == 0


async def dribble(peer: ScriptedPeer, data: bytes) -> None:
    """One byte now and then, fewer than the PDU has."""
    for _ in range(200):
        if data:
            await peer.send(data)
        await asyncio.sleep(0.01)


async def test_pdu_timeout_does_not_meet_a_slow_sequence_of_pdus() -> None:
    """Each PDU has the time for itself."""
    async with (
        serving(limits=replace(LONG, pdu_timeout=5)) as server,
        calling(server) as peer,
    ):
        pdvs = message_pdvs(3, m.encode_message(store_request()), bytes(1000), fragment=100)
        for pdv in pdvs:
            for one in server.associations:
                if one.connection.pdu_since is not None:
                    one.connection.pdu_since -= 4
            raw = encode(PDataTF((pdv,)))
            await peer.send(raw[:-1])
            await peer.send(raw[-1:])
        assert (await hear(peer, m.CStoreRSP)).message.status == 0


async def test_pdus_that_overlap_in_what_is_read_have_the_time_each() -> None:
    """A read that ends one PDU and begins the next begins its time anew."""
    async with serving(limits=replace(LONG, pdu_timeout=5)) as server, calling(server) as peer:
        pdvs = message_pdvs(3, m.encode_message(store_request()), bytes(1000), fragment=100)
        whole = [encode(PDataTF((pdv,))) for pdv in pdvs]
        pieces = [before[50:] + after[:50] for before, after in pairwise([bytes(50), *whole, bytes(50)])]
        pieces[-1] = pieces[-1][:-50]
        [connection] = [one.connection for one in server.associations]
        received = connection.bytes_received
        for piece in pieces:
            await peer.send(piece)
            received += len(piece)
            async with asyncio.timeout(PATIENCE):
                while connection.bytes_received < received:
                    assert not connection.closed
                    await asyncio.sleep(0)
            if connection.pdu_since is not None:
                connection.pdu_since -= 3
            for _ in range(5):
                await asyncio.sleep(0)
        assert (await hear(peer, m.CStoreRSP)).message.status == 0


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@on_each_loop
async def test_inactivity_timeout_cuts_off_a_peer_that_does_not_read(secure: bool, tls_pair: TLSPair) -> None:
    service = Plain(matches=[identifier(StudyComments="x" * 10_000)] * 5000)
    async with (
        serving(
            service,
            limits=replace(LONG, inactivity_timeout=0.3, artim_timeout=0.5),
            tls=tls_pair.server if secure else None,
        ) as server,
        bystander(server, tls=tls_pair.client if secure else None),
    ):
        trusting = tls_pair.client if secure else None
        async with calling(server, tls=trusting, calling_ae="DEAF") as deaf:
            deaf._writer.transport.pause_reading()  # type: ignore[attr-defined]
            request = m.CFindRQ(message_id=1, affected_sop_class_uid=FIND)
            await say(deaf, 5, request, identifier())
            largest = 0
            async with asyncio.timeout(PATIENCE):
                while "find" not in service.closed:
                    for one in server.associations:
                        if not one.connection.closed:
                            waiting = one.connection.transport.get_write_buffer_size()
                            largest = max(largest, waiting)
                    await asyncio.sleep(0)
            assert 0 < largest < 8 << 20
            await gone(server, 1)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
@on_each_loop
async def test_a_flood_of_requests_whose_answers_are_not_read_is_cut_off() -> None:
    """Answers are small and held by nobody: a bound on the bytes that wait ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport_module, "WRITE_LIMIT", transport_module.WRITE_HIGH + 100_000)
        assert 0 < await flood_of_requests() < FLOOD - 1


FLOOD = 100_000


class Chatty(Plain):
    """Answers every N-GET at length."""

    async def perform(self, info: Request, dataset: Dataset | None) -> Reply:
        return Reply(dataset=identifier(StudyComments="x" * 60_000))


async def flood_of_requests() -> int:
    """How many were sent until the server ended it."""
    async with (
        serving(Chatty(), limits=replace(LONG, inactivity_timeout=None, artim_timeout=0.5)) as server,
        bystander(server),
        calling(server) as deaf,
    ):
        deaf._writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises((AssertionError, ConnectionError)):
            for number in range(FLOOD):
                request = m.NGetRQ(
                    message_id=number % 65535 + 1,
                    requested_sop_class_uid=CT,
                    requested_sop_instance_uid="1.2",
                )
                await say(deaf, 3, request)
                await asyncio.sleep(0)
        await gone(server, 1)
    return number


async def test_inactivity_timeout_of_a_sub_operation(tmp_path: Path) -> None:
    """A C-GET requestor that never answers the C-STORE."""
    limits = replace(LONG, inactivity_timeout=0.2)
    async with serve_archive(tmp_path, port=0, limits=limits) as server, bystander(server):
        async with calling(server) as peer:
            await say(peer, 3, store_request(), implicit(ct()))
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
            await peer.release()
        from wire import GET

        async with calling(server, [GET, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer:
            request = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
            await say(peer, 1, request, identifier("PATIENT", PatientID="P1"))
            await hear(peer, m.CStoreRQ)
            assert await peer.expect(AAbort) == AAbort(0, 0)


async def test_max_queries_per_address(tmp_path: Path) -> None:
    limits = replace(LONG, max_queries_per_address=5, max_open_queries_per_address=7)
    async with serve_archive(tmp_path, port=0, limits=limits) as server:
        service = server.server.service
        assert isinstance(service, ArchiveService)
        assert (service._shares._at_once, service._open._at_once) == (5, 7)


@pytest.mark.parametrize("room", [0, 8 << 20])
async def test_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """What a C-GET reads ahead is in the budget of its association, in its address's, and in the server's."""
    given: list[Budget] = []
    real = stores.load_ahead

    def spy(items: Any, budget: Budget, take: Any) -> Any:
        given.append(budget)
        return real(items, budget, take)

    monkeypatch.setattr(stores, "load_ahead", spy)
    limits = replace(
        LONG, read_ahead_per_association=room, read_ahead_per_address=room + 1, read_ahead=room + 2
    )
    async with serve_archive(tmp_path, port=0, limits=limits) as server:
        uids = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        async with calling(server) as peer:
            for number, uid in enumerate(uids, 1):
                await say(peer, 3, store_request(number, uid), implicit(ct(uid, size=5000)))
                assert (await hear(peer, m.CStoreRSP)).message.status == 0
        async with connect("127.0.0.1", server.port) as pacs, connect("127.0.0.1", server.port) as other:
            for one in (pacs, other):
                assert (await one.get("PATIENT", "P1")).ok
    first, second = given
    assert first is not second
    address = first._above
    assert address is second._above is not None
    whole = address._above
    assert whole is not None
    assert (first.limit, address.limit, whole.limit) == (room, room + 1, room + 2)
    assert first.used == address.used == whole.used == 0


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (10_000, 1)])
async def test_what_is_refused_is_kept_aside_within_a_limit(tmp_path: Path, room: int, kept: int) -> None:
    limits = replace(LONG, max_quarantine_size=room)
    async with serve_archive(tmp_path, port=0, limits=limits) as server, calling(server) as peer:
        await say(peer, 3, store_request(1), b"no data set")
        assert (await hear(peer, m.CStoreRSP)).message.status & 0xF000 == 0xC000
    assert len(list((tmp_path / "quarantine").glob("*.dcm"))) == kept


def test_every_limit_is_described_and_tested_here() -> None:
    described = ServerLimits.describe()
    assert described.keys() == {one.name for one in fields(ServerLimits)}
    assert all(len(text) > 10 for text in described.values())
    here = Path(__file__).read_text("utf-8") + (Path(__file__).parent / "test_listener.py").read_text("utf-8")
    for name in (
        "test_wire_services.py",
        "test_one_peer.py",
        "test_destinations.py",
        "test_origin.py",
        "../association/test_decompressing.py",
    ):
        here += (Path(__file__).parent / name).read_text("utf-8")
    for name in described:
        assert f"{name}=" in here, f"no test sets {name}"


async def test_the_reserved_bytes_of_a_request_come_back() -> None:
    """PS3.8 Table 9-17, bytes 43-74."""
    echoed = bytes(range(1, 33))
    async with serving() as server, await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(replace(associate_request(), reserved=echoed))
        answer = await peer.expect(AAssociateAC)
        assert answer.reserved == echoed


def lowest_free() -> int:
    """The descriptor that the next one to be opened gets."""
    found = os.dup(0)
    os.close(found)
    return found


@pytest.mark.parametrize("by", ["connections", "files"])
async def test_nobody_takes_the_last_descriptors(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Whatever they are used for, so many stay free for the objects and queries of who is there."""
    monkeypatch.setattr("aiodicom.server.listener.descriptors", lambda: lowest_free() + 40)
    limits = replace(LONG, descriptor_reserve=5)
    async with serving(limits=limits) as server, calling(server) as first:
        with ExitStack() as files:
            if by == "files":
                for _ in range(40):
                    files.enter_context(open(os.devnull))
            async with AsyncExitStack() as stack:
                for _ in range(40):
                    peer = await ScriptedPeer.connect("127.0.0.1", server.port)
                    await stack.enter_async_context(peer)
                    if by == "files":
                        await peer.expect_close()
                    # an end of each is in this process
                    assert len(server.connections) <= (1 if by == "files" else 20)
                assert await echo(first) == 0
        async with calling(server) as later:
            assert await echo(later) == 0


def test_the_soft_limit_of_descriptors_is_raised_and_told() -> None:
    code = """
import resource
from aiodicom.server.listener import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
assert descriptors() == 100
assert descriptors(raise_to=200) == 200
assert descriptors(raise_to=50) == 200
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, hard)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_artim_counts_from_the_accept_however_late_its_task_begins(
    secure: bool, tls_pair: TLSPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that is busy gives no peer more time."""
    loop = asyncio.get_running_loop()
    limits, real, late = replace(LONG, artim_timeout=5), loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: real() + late[0])

    def accept(*arguments: Any) -> AcceptedConnection:
        made = AcceptedConnection(*arguments)
        late[0] += 6  # before its task has had its first turn
        return made

    async with serving(limits=limits, tls=tls_pair.server if secure else None) as server:
        monkeypatch.setattr(listener, "AcceptedConnection", accept)
        async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
            await peer.send(b"\x16" if secure else associate_request())
            assert (await peer.drain_until_close())[0] == b""
        assert server.stats().limits == {"artim_timeout": 1}
        assert not server.associations
