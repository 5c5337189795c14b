"""One ordinary peer: slow, deaf or greedy, it is cut off or refused, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.performing import Request
from aiodicom.dataset.instance import Instance
from aiodicom.dimse import messages as m
from aiodicom.pdu import PDV, AAbort, PDataTF, encode
from aiodicom.server import suboperations
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
    final_of,
    gone,
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
            await gone(server, 1)
            [left] = server.associations
            assert left.session.request is not None
            assert left.session.request.calling_ae != "DEAF"


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
            final = await final_of(peer)
            assert (final.message.completed, final.message.failed) == (1, 11)
            assert len(final.dataset.FailedSOPInstanceUIDList) == 11
    said = [one.message for one in caplog.records if "could not be sent" in one.message]
    assert len(said) == 2  # the first, and how many: a peer can ask for them at will
    assert said[-1].endswith("stored objects could not be sent: 11 of one request")


EMPTY = {
    "a PDU without a PDV": bytes.fromhex("040000000000"),
    "a PDV without data": encode(PDataTF((PDV(1, True, False, b""),))),
    "many of them": encode(PDataTF((PDV(1, True, False, b""),) * 50)),
}


@on_each_loop
@pytest.mark.parametrize("what", EMPTY)
@pytest.mark.parametrize("when", ["nothing runs", "an operation of ours runs"])
async def test_an_empty_pdu_is_no_sign_of_life(tmp_path: Path, what: str, when: str) -> None:
    """Neither on an idle association nor of who is asked for an answer."""
    limits = replace(LONG, idle_timeout=0.4, inactivity_timeout=0.4)
    async with serve_archive(tmp_path, port=0, limits=limits) as server:
        with_store = [GET, (CT, [IMPLICIT])]
        async with calling(server) as storing:
            await say(storing, 3, store_request(), implicit(ct()))
            assert (await hear(storing)).message.status == 0
        async with calling(server, with_store, user_information=scp_roles(CT)) as peer:
            if when != "nothing runs":
                wanted = identifier(level="STUDY", StudyInstanceUID="1.2.3")
                await say(peer, 1, m.CGetRQ(message_id=1, affected_sop_class_uid=GET), wanted)
                assert isinstance((await hear(peer)).message, m.CStoreRQ)
            talking = asyncio.ensure_future(said_again(peer, EMPTY[what]))
            async with asyncio.timeout(PATIENCE):
                while server.server.connections.open:
                    await asyncio.sleep(0.01)
            await ended(talking)


async def said_again(peer: ScriptedPeer, data: bytes) -> None:
    while True:
        await peer.send(data)
        await asyncio.sleep(0.02)


class Broken(Plain):
    """Everything that a peer can ask for raises, with its name in the error."""

    async def echo(self, info: Request) -> int:
        raise ValueError("Doe^Jane")

    def store(self, request: Request) -> Any:
        if request.message.message_id % 3 == 0:
            raise ValueError("Doe^Jane")
        return BrokenSink(request.message.message_id % 3 == 1)

    def find(self, request: Request, root: Any, level: Any, identifier: Any) -> Any:
        raise ValueError("Doe^Jane")

    async def retrieve(self, *_: Any) -> Any:
        raise ValueError("Doe^Jane")


class BrokenSink:
    """Fails where it is told to."""

    def __init__(self, writing: bool) -> None:
        self._writing = writing

    def write(self, data: memoryview) -> None:
        if self._writing:
            raise ValueError("Doe^Jane")

    async def commit(self) -> Any:
        raise ValueError("Doe^Jane")

    def discard(self) -> None:
        """Nothing to discard."""


async def test_what_a_peer_makes_fail_is_said_once_and_quotes_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a service raises, on any number of associations: a dozen lines, and no value of a data set."""
    caplog.set_level(logging.INFO)
    async with serving(Broken()) as server:
        for _ in range(3):
            async with calling(server) as peer:
                for number in range(1, 16):
                    for context, message, data in (
                        (1, m.CEchoRQ(message_id=number), None),
                        (3, store_request(number), implicit(ct())),
                        (5, m.CFindRQ(message_id=number, affected_sop_class_uid=FIND), identifier()),
                        (7, m.CGetRQ(message_id=number, affected_sop_class_uid=GET), identifier()),
                    ):
                        await say(peer, context, message, data)
                        assert (await hear(peer)).message.status == 0x0110
    lines = [one for one in caplog.records if one.levelno >= logging.INFO]
    assert 6 <= len(lines) < 20
    assert "ValueError" in caplog.text
    assert not any("Doe^Jane\n" in one.getMessage() for one in lines)
    assert not any(one.exc_info for one in lines)


async def test_a_long_list_of_failures_is_made_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    real = suboperations.encode_uids

    def made(tag: int, uids: Sequence[str], syntax: str) -> bytes:
        threads.append(threading.current_thread())
        return real(tag, uids, syntax)

    monkeypatch.setattr(suboperations, "encode_uids", made)
    gone = [Instance(Path("gone"), CT, f"1.2.3.{number}", IMPLICIT, 0, 10) for number in range(3000)]
    async with serving(Plain(instances=gone)) as server:
        with_store = [GET, (CT, [IMPLICIT])]
        async with calling(server, with_store, user_information=scp_roles(CT)) as peer:
            await say(peer, 1, m.CGetRQ(message_id=1, affected_sop_class_uid=GET), identifier())
            while (heard := await hear(peer)).message.status == 0xFF00:
                pass
    assert heard.message.failed == 3000
    assert heard.dataset.FailedSOPInstanceUIDList == [one.sop_instance_uid for one in gone]
    assert threads
    assert threading.main_thread() not in threads
