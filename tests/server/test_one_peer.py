"""One ordinary peer: slow, deaf or greedy, it is cut off or refused, and nobody else notices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiodicom.dimse import messages as m
from aiodicom.pdu import AAbort, PDataTF
from aiodicom.server.archive_service import serve_archive
from aiodicom.testing import ScriptedPeer, message_pdvs
from wire import (
    CT,
    FIND,
    GET,
    IMPLICIT,
    LONG,
    PATIENCE,
    Held,
    Plain,
    bystander,
    calling,
    ct,
    echo,
    hear,
    identifier,
    implicit,
    on_each_loop,
    reply,
    say,
    scp_roles,
    serving,
    store_request,
)


async def now_and_then(peer: ScriptedPeer, context: int, message: m.Message) -> None:
    """Says it for as long as it is heard."""
    while True:
        await say(peer, context, message)
        await asyncio.sleep(0.02)


async def ended(talking: asyncio.Task[None]) -> None:
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


@on_each_loop
@pytest.mark.parametrize("said", [m.CCancelRQ(message_id_being_responded_to=777), m.CEchoRQ(message_id=9)])
async def test_what_a_peer_says_does_not_stand_for_reading(said: m.Message) -> None:
    service = Plain(matches=[identifier(StudyComments="x" * 10_000)] * 5000)
    limits = replace(LONG, inactivity_timeout=0.3, artim_timeout=0.5)
    async with serving(service, limits=limits) as server, bystander(server):
        async with calling(server, calling_ae="DEAF") as deaf:
            deaf._writer.transport.pause_reading()  # type: ignore[attr-defined]
            await say(deaf, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), identifier())
            context = 5 if isinstance(said, m.CCancelRQ) else 1
            talking = asyncio.ensure_future(now_and_then(deaf, context, said))
            async with asyncio.timeout(PATIENCE):
                while "find" not in service.closed:
                    await asyncio.sleep(0.01)
            await ended(talking)
            async with asyncio.timeout(PATIENCE):
                while len(server.associations) > 1:
                    await asyncio.sleep(0.01)
            assert len(server.associations) == 1  # the bystander's


@on_each_loop
async def test_a_peer_that_reads_slowly_is_let_be() -> None:
    """What it takes counts, however long all of it lasts."""
    matches = [identifier(StudyComments="x" * 10_000)] * 500
    limits = replace(LONG, inactivity_timeout=0.5)
    async with serving(Plain(matches=matches), limits=limits) as server, calling(server) as slow:
        slow._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await say(slow, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), identifier())
        for _ in range(6):
            await asyncio.sleep(0.2)
            slow._writer.transport.resume_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
            slow._writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow._writer.transport.resume_reading()  # type: ignore[attr-defined]
        answers = 0
        while (await hear(slow, m.CFindRSP)).message.status != 0:
            answers += 1
        assert answers == len(matches)


async def test_a_sub_operation_is_to_be_answered_whatever_else_is_said(tmp_path: Path) -> None:
    limits = replace(LONG, inactivity_timeout=0.3)
    async with serve_archive(tmp_path, port=0, limits=limits) as server, bystander(server):
        async with calling(server) as peer:
            await say(peer, 3, store_request(), implicit(ct()))
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
            await peer.release()
        async with calling(server, [GET, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer:
            request = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
            await say(peer, 1, request, identifier("PATIENT", PatientID="P1"))
            await hear(peer, m.CStoreRQ)
            cancel = m.CCancelRQ(message_id_being_responded_to=777)
            talking = asyncio.ensure_future(now_and_then(peer, 1, cancel))
            try:
                assert await peer.expect(AAbort) == AAbort(0, 0)
            finally:
                await ended(talking)


@on_each_loop
@pytest.mark.parametrize("where", ["command", "data"])
async def test_message_timeout(where: str) -> None:
    """Two bytes a PDU, each PDU in good time: the message as a whole is not."""
    limits = replace(LONG, message_timeout=0.4)
    command = m.encode_message(store_request())
    if where == "command":
        pdvs = message_pdvs(3, command, bytes(1000), fragment=2)
    else:
        pdvs = message_pdvs(3, command, None, fragment=1000) + message_pdvs(3, b"", bytes(100000), fragment=2)
        pdvs = [one for one in pdvs if not (one.command and not one.data)]
    async with (
        serving(limits=limits) as server,
        bystander(server),
        calling(server) as peer,
    ):

        async def dribble() -> None:
            for pdv in pdvs:
                await peer.send(PDataTF((pdv,)))
                await asyncio.sleep(0.01)

        talking = asyncio.ensure_future(dribble())
        try:
            assert await peer.expect(AAbort) == AAbort(0, 0)
        finally:
            await ended(talking)


async def test_a_large_object_has_the_time_of_a_message_for_each_mebibyte() -> None:
    limits = replace(LONG, message_timeout=5)
    async with serving(Plain(), limits=limits) as server, calling(server) as peer:
        pdvs = message_pdvs(3, m.encode_message(store_request()), implicit(ct(size=3 << 20)), fragment=65536)
        [connection] = [one.connection for one in server.associations]
        for number, pdv in enumerate(pdvs):
            received = connection.bytes_received
            await peer.send(PDataTF((pdv,)))
            async with asyncio.timeout(PATIENCE):
                while connection.bytes_received - received < len(pdv.data):
                    assert not connection.closed
                    await asyncio.sleep(0)
            if number % 17 == 16:  # once a MiB, and each time nearly all of it is over
                assert connection.message_since is not None
                connection.message_since -= 4
        assert (await hear(peer, m.CStoreRSP)).message.status == 0


async def test_messages_one_after_another_have_the_time_each() -> None:
    async with serving(limits=replace(LONG, message_timeout=5)) as server, calling(server) as peer:
        for number in range(1, 6):
            assert await echo(peer, number) == 0
            for one in server.associations:
                if one.connection.message_since is not None:
                    one.connection.message_since -= 4


@on_each_loop
async def test_one_query_more_than_the_window_is_refused() -> None:
    """PS3.7 D.3.3.3: one outstanding where nothing was negotiated; what was begun goes on."""
    held = Held()
    service = Plain(matches=[identifier(PatientID="1")], on_echo=held)  # type: ignore[arg-type]
    async with serving(service) as server, calling(server) as peer:
        await say(peer, 1, m.CEchoRQ(message_id=1))
        await held.reached.wait()
        await say(peer, 5, m.CFindRQ(message_id=2, affected_sop_class_uid=FIND), identifier())
        answer = (await hear(peer, m.CFindRSP)).message
        assert (answer.message_id_being_responded_to, answer.status) == (2, 0x0213)
        held.go.set()
        assert (await hear(peer, m.CEchoRSP)).message.status == 0
        await say(peer, 5, m.CFindRQ(message_id=3, affected_sop_class_uid=FIND), identifier())
        assert (await hear(peer, m.CFindRSP)).message.status == 0xFF00
        assert (await hear(peer, m.CFindRSP)).message.status == 0


@pytest.mark.parametrize("page", [1, 3, 512])
async def test_objects_that_are_gone_are_counted_and_said_a_few_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("aiodicom.archive.selection.PAGE", page)
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(server) as peer:
            for number in range(1, 13):
                uid = f"1.2.3.1.{number}"
                await say(peer, 3, store_request(number, uid), implicit(ct(uid)))
                assert (await hear(peer, m.CStoreRSP)).message.status == 0
            await peer.release()
        for path in tmp_path.rglob("*.dcm"):
            if path.stem != "1.2.3.1.7":
                path.unlink()
        async with calling(server, [GET, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer:
            request = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
            await say(peer, 1, request, identifier("PATIENT", PatientID="P1"))
            came = await hear(peer, m.CStoreRQ)
            assert came.message.affected_sop_instance_uid == "1.2.3.1.7"
            await reply(peer, came, 0)
            final = await hear(peer, m.CGetRSP)
            assert (final.message.completed, final.message.failed) == (1, 11)
            assert len(final.dataset.FailedSOPInstanceUIDList) == 11
    said = [one.message for one in caplog.records if "could not be sent" in one.message]
    assert len(said) == 2  # the first, and how many: a peer can ask for them at will
    assert said[-1].endswith("stored objects could not be sent: 11 of one request")
