"""Services over the wire: handlers, cancelling, storing cut short, windows, C-GET and C-MOVE as provider."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.association.connect import Peer
from aiodicom.association.outgoing import Loaded
from aiodicom.association.performing import Refused, Request
from aiodicom.association.stores import StoreRun
from aiodicom.client.pacs import Pacs
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.instance import Instance
from aiodicom.dimse import messages as m
from aiodicom.dimse.command import decode_command
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateRJ,
    AAssociateRQ,
    AiodicomError,
    AReleaseRP,
    AReleaseRQ,
    AsyncOperationsWindow,
    PDataTF,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserInformation,
    encode,
)
from aiodicom.server.archive_service import ArchiveServer, serve_archive
from aiodicom.server.service import Destination, Reply, Service
from aiodicom.testing import (
    FaultProxy,
    Faults,
    Plan,
    ScriptedListener,
    ScriptedPeer,
    ScriptError,
    command_set,
    message_pdvs,
)
from archive_objects import files_below
from conftest import TLSPair
from pydicom.dataset import Dataset
from wire import (
    ALL,
    CT,
    FIND,
    GET,
    IMPLICIT,
    LONG,
    MOVE,
    MR,
    PATIENCE,
    PATIENT,
    STEADY,
    VERIFICATION,
    Held,
    Plain,
    Said,
    accept_as,
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

FIND_RQ = m.CFindRQ(message_id=1, affected_sop_class_uid=FIND)
CANCEL_1 = m.CCancelRQ(message_id_being_responded_to=1)


def glued(*messages: tuple[int, m.Message, bytes | None]) -> bytes:
    """Messages as the bytes of one segment."""
    pdvs: list[PDV] = []
    for context_id, message, data in messages:
        pdvs += message_pdvs(context_id, m.encode_message(message), data, fragment=10_000)
    return b"".join(encode(PDataTF((pdv,))) for pdv in pdvs)


# --- handlers


class Odd(Plain):
    """A service whose echo does what it is told to, by the message id."""

    async def echo(self, info: Request) -> int:
        match info.message.message_id:
            case 1:
                raise RuntimeError("a defect in the handler")
            case 2:
                raise Refused(0x0124, "not you", (0x00080018,))
            case 3:
                return 0x1FFFF  # fits no element
            case 4:
                return None  # type: ignore[return-value]
            case 5:
                return 0xFF00  # pending, to an echo
            case 6:
                raise asyncio.CancelledError
            case 7:
                raise OSError(28, "No space left on device")
            case 8:
                raise TimeoutError
        return 0

    async def perform(self, info: Request, dataset: Dataset | None) -> Reply:
        if info.message.message_id == 1:
            raise RuntimeError("a defect in the handler")
        if info.message.message_id == 2:
            unfit = Dataset()
            unfit.add_new(0x00280010, "US", 70000)
            return Reply(dataset=unfit)
        return Reply(comment="caf\u00e9 " + "x" * 100, dataset=dataset)


@on_each_loop
async def test_a_handler_that_raises_answers_a_processing_failure(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Odd()) as server, bystander(server), calling(server) as peer:
        assert await echo(peer, 1) == 0x0110
        assert await echo(peer, 9) == 0
    texts = [one.getMessage() for one in caplog.records]
    [said] = [text for text in texts if "performing CEchoRQ failed: " in text]
    assert said.startswith("127.0.0.1: a request failed here: ")
    assert 'raise RuntimeError("a defect in the handler")' in said  # where, for who runs the server


@pytest.mark.parametrize("message_id", [3, 4, 5, 7, 8])
@on_each_loop
async def test_a_handler_that_answers_nonsense(message_id: int) -> None:
    async with serving(Odd()) as server, calling(server) as peer:
        assert await echo(peer, message_id) == 0x0110
        assert await echo(peer, 9) == 0


async def test_a_handler_that_refuses() -> None:
    async with serving(Odd()) as server, calling(server) as peer:
        await say(peer, 1, m.CEchoRQ(message_id=2))
        answer = (await hear(peer, m.CEchoRSP)).message
        assert (answer.status, answer.error_comment) == (0x0124, "not you")
        assert answer.offending_elements == (0x00080018,)


async def test_a_handler_that_is_cancelled_from_within() -> None:
    """No C-CANCEL came: it is a failure like another."""
    async with serving(Odd()) as server, bystander(server), calling(server) as peer:
        await say(peer, 1, m.CEchoRQ(message_id=6))
        assert (await hear(peer, m.CEchoRSP)).message.status == 0x0110


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
async def test_generic_handlers_of_normalized_services() -> None:
    async with serving(Odd()) as server, calling(server) as peer:

        async def get(number: int) -> Said:
            request = m.NGetRQ(
                message_id=number, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2"
            )
            await say(peer, 3, request)
            return await hear(peer, m.NGetRSP)

        assert (await get(1)).message.status == 0x0110
        assert (await get(2)).message.status == 0x0110
        good = await get(3)
        assert good.message.status == 0
        assert good.message.affected_sop_instance_uid == "1.2"
        assert (good.message.error_comment or "").startswith("caf? xxx")
        action = m.NActionRQ(
            message_id=4, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2", action_type_id=1,
            has_dataset=True,
        )  # fmt: skip
        await say(peer, 3, action, identifier(PatientID="7"))
        answer = await hear(peer, m.NActionRSP)
        assert answer.dataset.PatientID == "7"
        assert answer.message.action_type_id == 1


async def test_what_a_normalized_response_can_hold() -> None:
    """An instance the provider named, the attributes in question, offending elements (PS3.7 10.3)."""

    class Normalized(Plain):
        async def perform(self, info: Request, dataset: Dataset | None) -> Reply:
            if isinstance(info.message, m.NCreateRQ):
                return Reply(fields={"affected_sop_instance_uid": "1.2.99"})
            return Reply(
                0x0107,
                fields={"attribute_identifier_list": (0x00100020,), "offending_elements": (0x00100010,)},
            )

    async with serving(Normalized()) as server, calling(server) as peer:
        await say(peer, 3, m.NCreateRQ(message_id=1, affected_sop_class_uid=CT))
        created = (await hear(peer, m.NCreateRSP)).message
        assert (created.status, created.affected_sop_class_uid) == (0, CT)
        assert created.affected_sop_instance_uid == "1.2.99"
        change = m.NSetRQ(message_id=2, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2.99")
        await say(peer, 3, change, identifier(PatientID="7"))
        changed = (await hear(peer, m.NSetRSP)).message
        assert (changed.status, changed.affected_sop_instance_uid) == (0x0107, "1.2.99")
        assert changed.attribute_identifier_list == (0x00100020,)
        assert changed.offending_elements == (0x00100010,)
        await peer.release()


async def test_what_a_service_does_not_offer_is_refused() -> None:
    class Bare(Service):
        def supported(self) -> Any:
            return Plain().supported()

    async with serving(Bare()) as server, calling(server) as peer:
        assert await echo(peer) == 0
        await say(peer, 3, store_request(2), b"1234")
        assert (await hear(peer)).message.status == 0x0122
        for context_id, kind, more in ((5, m.CFindRQ, {}), (7, m.CGetRQ, {}), (9, m.CMoveRQ, {"to": "X"})):
            fields = {"move_destination": "X"} if more else {}
            request = kind(message_id=3, affected_sop_class_uid=ALL[context_id // 2], **fields)  # type: ignore[arg-type]
            await say(peer, context_id, request, identifier(StudyInstanceUID="1.2"))
            assert (await hear(peer)).message.status == 0x0122
        request = m.NDeleteRQ(message_id=4, requested_sop_class_uid=CT, requested_sop_instance_uid="1")  # type: ignore[assignment]
        await say(peer, 3, request)
        assert (await hear(peer)).message.status == 0x0211


class Sinks(Plain):
    """Sinks that fail in every place, by SOP Instance UID."""

    def store(self, info: Request) -> Any:
        request = info.message
        assert isinstance(request, m.CStoreRQ)
        uid = request.affected_sop_instance_uid
        if uid == "1.1":
            raise Refused(0xC123, "no")
        if uid == "1.2":
            raise RuntimeError("a defect")
        if uid == "1.3":
            raise OSError(28, "No space left on device")
        sink = super().store(info)

        def failing(error: Exception) -> Callable[..., Any]:
            def fail(*ignored: object) -> Any:
                raise error

            return fail

        if uid == "1.4":
            sink.write = failing(OSError(28, "No space left on device"))
        if uid == "1.5":
            sink.write = failing(RuntimeError("a defect"))
        if uid == "1.6":
            sink.write = failing(Refused(0xA900, "no"))
        if uid == "1.7":
            sink.commit = failing(OSError(28, "No space left on device"))
        if uid == "1.8":
            sink.commit = failing(RuntimeError("a defect"))
        return sink


@pytest.mark.parametrize(
    ("uid", "status"),
    [
        ("1.1", 0xC123), ("1.2", 0x0110), ("1.3", 0xA700), ("1.4", 0xA700), ("1.5", 0x0110),
        ("1.6", 0xA900), ("1.7", 0xA700), ("1.8", 0x0110), ("1.9", 0),
    ],
)  # fmt: skip
async def test_sinks_that_fail(uid: str, status: int) -> None:
    service = Sinks()
    async with serving(service) as server, calling(server) as peer:
        await say(peer, 3, store_request(1, uid), bytes(50_000))
        assert (await hear(peer, m.CStoreRSP)).message.status == status
        assert await echo(peer, 2) == 0
    assert (uid in service.stored) == (status == 0)
    if uid in ("1.4", "1.5", "1.6", "1.7", "1.8"):
        assert service.discarded == [uid]


# --- messages that are none


def elements(**changes: Any) -> dict[int, int | str | bytes]:
    base: dict[int, int | str | bytes] = {0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101}
    base.update({int(name[1:], 16): value for name, value in changes.items()})
    return {key: value for key, value in base.items() if value is not None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (elements(x0100=0x0ABC), 0x0211),  # an operation nobody knows
        (elements(x0110=None), None),  # no message id: nothing to answer to
        (elements(x0100=None), None),
        (elements(x0100=0x8030, x0120=1, x0900=0), None),  # a response to nothing
        (elements(x0110=b"\1\0\0\0"), 0),  # a US of four bytes: what it says is plain
        (elements(x0110=b"\1\0\1\0"), None),  # what it says is no message id
        (elements(x0002=None), 0),  # the SOP class of an echo goes without saying
        (elements(x0100=0x0001, x0800=1), 0x0212),  # a C-STORE without its UIDs
        (elements(x0100=0x0020), 0x0211),  # a C-FIND on Verification
    ],
    ids=str,
)
@on_each_loop
async def test_requests_that_are_none(fields: dict[int, int | str | bytes], expected: int | None) -> None:
    async with serving() as server, bystander(server), calling(server) as peer:
        data = b"1234" if fields.get(0x0800) == 1 else None
        await peer.send_message(1, command_set(fields), data)
        if expected is None:
            assert await peer.expect(AAbort) == AAbort(2, 6)
        else:
            answer = decode_command((await peer.receive_message()).command, [])
            assert answer[0x0900] == expected
            assert answer[0x0120] == 1
            assert await echo(peer, 2) == 0


@pytest.mark.parametrize(
    "pdvs",
    [
        (PDV(2, True, True, b""),),
        (PDV(1, False, True, b"data"),),  # no command before it
        (PDV(1, True, False, b"\0\0"), PDV(3, True, True, b"\0\0")),  # two contexts
        (PDV(11, True, True, b"\0\0"),),  # was not proposed
        (PDV(1, True, True, b""),),
    ],
    ids=str,
)
async def test_fragments_out_of_place(pdvs: tuple[PDV, ...]) -> None:
    async with serving() as server, bystander(server), calling(server) as peer:
        await peer.send(PDataTF(pdvs))
        assert (await peer.expect(AAbort)).source == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"\x04\0\0\0\0\4\0\0\0\0",  # a PDV of length 0
        b"\x04\0\0\0\0\5\0\0\0\1\1",  # a PDV of length 1
        b"\x04\0\0\0\0\6\0\0\0\x20\1\3",  # longer than its PDU
        b"\x04\0\0\0\0\3\0\0\0",  # no room for a PDV
        b"\x04\0\0\0\0\6\xff\xff\xff\xff\1\3",
        b"\x05\0\0\0\0\5\0\0\0\0\0",  # a release of length 5
        b"\x01\0\0\0\0\4\0\1\0\0",  # a request here
    ],
    ids=repr,
)
async def test_lengths_that_lie(raw: bytes) -> None:
    async with serving() as server, bystander(server), calling(server) as peer:
        await peer.send(raw)
        assert (await peer.expect(AAbort)).source == 2


async def test_any_number_of_pdvs_in_a_pdu() -> None:
    service = Plain()
    data = bytes(range(256)) * 40
    async with serving(service) as server, calling(server) as peer:
        for number, per in enumerate((0, 1, 2, 3, 7), 1):
            request = store_request(number, f"1.2.{number}")
            await say(peer, 3, request, data, pdvs_per_pdu=per, fragment=1000)
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
            assert service.stored[f"1.2.{number}"] == data


# --- cancelling


@on_each_loop
async def test_a_cancel_in_the_middle_of_the_answers() -> None:
    """The handler is cancelled where it waits and FE00H comes at once, without a data set."""
    held = Held()

    async def wait(number: int) -> None:
        if number == 2:
            await held()

    service = Plain(matches=[identifier(StudyInstanceUID=f"1.{n}") for n in range(9)], before_match=wait)
    async with serving(service) as server, calling(server) as peer:
        await say(peer, 5, FIND_RQ, identifier())
        for _ in range(2):
            assert (await hear(peer, m.CFindRSP)).message.status == 0xFF00
        await held.reached.wait()
        await say(peer, 5, CANCEL_1)
        final = await hear(peer, m.CFindRSP)
        assert (final.message.status, final.data) == (0xFE00, None)
        assert held.cancelled.is_set()
        assert service.closed == ["find"]
        assert await echo(peer, 1) == 0  # the message id is free again


@on_each_loop
async def test_a_cancel_in_the_segment_of_its_request() -> None:
    service = Plain(matches=[identifier(StudyInstanceUID="1.1")] * 3)
    async with serving(service) as server, calling(server) as peer:
        await peer.send(glued((5, FIND_RQ, implicit(identifier())), (5, CANCEL_1, None)))
        final = await hear(peer, m.CFindRSP)
        assert (final.message.status, final.data) == (0xFE00, None)
        assert await echo(peer, 1) == 0


async def test_cancels_that_are_doubled_foreign_early_or_late() -> None:
    """Only the first of one that runs counts; none of the others is answered."""
    held = Held()
    service = Plain(matches=[identifier(StudyInstanceUID="1.1")], before_match=held)  # type: ignore[arg-type]
    wide = AsyncOperationsWindow(2, 2)
    async with (
        serving(service, async_operations=wide) as server,
        calling(server, user_information=UserInformation(async_operations=wide)) as peer,
    ):
        await say(peer, 5, CANCEL_1)  # early
        await say(peer, 5, FIND_RQ, identifier())
        await held.reached.wait()
        await say(peer, 5, m.CCancelRQ(message_id_being_responded_to=77))  # foreign
        assert await echo(peer, 2) == 0
        assert not held.cancelled.is_set()
        await say(peer, 5, CANCEL_1)
        await say(peer, 5, CANCEL_1)  # doubled
        assert (await hear(peer, m.CFindRSP)).message.status == 0xFE00
        await say(peer, 5, CANCEL_1)  # late
        assert await echo(peer, 3) == 0


async def test_a_handler_that_will_not_be_cancelled() -> None:
    """It swallows the cancellation and answers on: the peer gets a final response all the same."""
    held = Held()

    async def stubborn(number: int) -> None:
        try:
            await held()
        except asyncio.CancelledError:
            return

    service = Plain(matches=[identifier(StudyInstanceUID="1.1")], before_match=stubborn)
    async with serving(service) as server, calling(server) as peer:
        await say(peer, 5, FIND_RQ, identifier())
        await held.reached.wait()
        await say(peer, 5, CANCEL_1)
        statuses: list[int] = []
        while not statuses or statuses[-1] == 0xFF00:
            statuses.append((await hear(peer, m.CFindRSP)).message.status)
        assert statuses[-1] in (0, 0xFE00)
        assert await echo(peer, 2) == 0


# --- release and abort in the middle


@pytest.mark.parametrize("how", ["release", "abort", "FIN", "RST", "garbage"])
@on_each_loop
async def test_the_end_of_an_association_ends_its_handlers(how: str) -> None:
    held = Held()
    async with serving(Plain(on_echo=held)) as server, calling(server) as peer:  # type: ignore[arg-type]
        await say(peer, 1, m.CEchoRQ(message_id=1))
        await held.reached.wait()
        match how:
            case "release":
                await peer.send(AReleaseRQ())
                await peer.expect(AReleaseRP)
            case "abort":
                await peer.send(AAbort(0, 0))
                await peer.expect_close()
            case "FIN":
                await peer.close()
            case "RST":
                await peer.reset()
            case "garbage":
                await peer.send(b"\xff" * 10)
                assert await peer.expect(AAbort) == AAbort(2, 1)
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)


@pytest.mark.parametrize("how", ["abort", "FIN", "RST", "release", "new command", "wrong context"])
@pytest.mark.parametrize("cut", [0, 1, 3])
@on_each_loop
async def test_a_store_cut_short_leaves_no_file(tmp_path: Path, how: str, cut: int) -> None:
    async with (
        serve_archive(tmp_path, port=0, limits=LONG) as server,
        calling(server) as peer,
    ):
        command = m.encode_message(store_request())
        pdvs = message_pdvs(3, command, implicit(ct(size=50_000)), fragment=8000)
        await peer.send(*(PDataTF((pdv,)) for pdv in pdvs[: 1 + cut]))
        match how:
            case "abort":
                await peer.send(AAbort(0, 0))
            case "FIN":
                await peer.close()
            case "RST":
                await peer.reset()
            case "release":
                await peer.send(AReleaseRQ())
                await peer.expect(AReleaseRP)
            case "new command":
                await peer.send(PDataTF((pdvs[0],)))
                assert (await peer.expect(AAbort)).source == 2
            case "wrong context":
                await peer.send(PDataTF((PDV(1, False, True, b""),)))
                assert (await peer.expect(AAbort)).source == 2
        await peer.close()
        async with asyncio.timeout(PATIENCE):
            while server.server.associations:
                await asyncio.sleep(0)
        assert files_below(tmp_path / "objects") == []
        assert files_below(tmp_path / "incoming") == ["journal"]
        assert server.archive.counts().instances == 0


@on_each_loop
async def test_a_store_cut_at_any_byte_through_the_proxy(tmp_path: Path, tls_pair: TLSPair) -> None:
    """TLS or not, wherever the connection is cut: what was not answered is not there."""
    for tls in (None, tls_pair):
        folder = tmp_path / ("tls" if tls else "plain")
        async with serve_archive(folder, port=0, limits=LONG, tls=tls.server if tls else None) as server:
            for cut in (300, 700, 5_000, 20_001, 50_000):
                plan = Plan(to_server=Faults(cut_after=cut, cut="rst" if cut % 2 else "fin"))
                async with FaultProxy("127.0.0.1", server.port, plan) as proxy:
                    peer = Peer(
                        host="localhost" if tls else "127.0.0.1", port=proxy.port, timeouts=STEADY,
                        tls=tls.client if tls else None,
                    )  # fmt: skip
                    with pytest.raises(AiodicomError):
                        async with Pacs(peer) as client:
                            await client.store(ct(size=60_000))
            async with asyncio.timeout(PATIENCE):
                while server.server.associations:
                    await asyncio.sleep(0)
            assert server.archive.counts().instances == len(files_below(folder / "objects")) == 0
            assert files_below(folder / "incoming") == ["journal"]


@pytest.mark.parametrize("uid", ["1.2\x003", "1." * 80, "1.2.\xe9", "a*b", "../\x01"])
async def test_the_archive_refuses_names_that_are_no_uid(tmp_path: Path, uid: str) -> None:
    raw = uid.encode("latin-1")
    folder = tmp_path / "deep" / "archive"
    async with (
        serve_archive(folder, port=0, limits=LONG) as server,
        calling(server) as peer,
    ):
        command = m.encode_message(store_request(1, "9" * len(raw))).replace(b"9" * len(raw), raw)
        await peer.send_message(3, command, implicit(ct()))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0x0117
        assert await echo(peer, 2) == 0
    assert [name for name in files_below(tmp_path) if "journal" not in name and "index" not in name] == [
        "deep/archive/lock"
    ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "..", "a;b"])
async def test_what_looks_like_a_path_leads_nowhere(tmp_path: Path, uid: str) -> None:
    folder = tmp_path / "deep" / "archive"
    async with (
        serve_archive(folder, port=0, limits=LONG) as server,
        calling(server) as peer,
    ):
        await peer.send_message(3, m.encode_message(store_request(1, uid)), implicit(ct()))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0xA900  # the object says another
        await peer.send_message(3, m.encode_message(store_request(2, uid)), implicit(ct(uid)))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
        assert await echo(peer, 3) == 0
    for name in files_below(tmp_path):
        assert re.fullmatch(r"deep/archive/[\w/.-]+", name), name
        assert ".." not in name


async def test_no_patient_in_the_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with (
            serve_archive(tmp_path, port=0, limits=LONG) as server,
            calling(server) as peer,
        ):
            data = implicit(ct(size=100))
            for number, content in enumerate((data, data[:-10], data[:60], data + b"x", implicit(ct("1.9")))):
                await say(peer, 3, store_request(number + 1), content)
                await hear(peer, m.CStoreRSP)
            for number, query in enumerate(
                (identifier(PatientName=PATIENT), identifier("NOWHERE", PatientName=PATIENT))
            ):
                request = m.CFindRQ(message_id=100 + number, affected_sop_class_uid=FIND)
                await say(peer, 5, request, query)
                while (await hear(peer, m.CFindRSP)).message.status == 0xFF00:
                    pass
            broken = m.CFindRQ(message_id=200, affected_sop_class_uid=FIND)
            await say(peer, 5, broken, implicit(identifier(PatientName=PATIENT))[:-4])
            await hear(peer, m.CFindRSP)
            await say(peer, 3, store_request(201), data[:80], fragment=40)
            await peer.reset()
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("aiodicom")]
    assert not [text for text in ours if "Zebedee" in text]


# --- overlapping


@on_each_loop
async def test_operations_overlap_when_both_agreed() -> None:
    held = Held()
    info = UserInformation(implementation_class_uid="1.2", async_operations=AsyncOperationsWindow(5, 2))
    async with (
        serving(Plain(on_echo=held), async_operations=AsyncOperationsWindow(1, 3)) as server,  # type: ignore[arg-type]
        calling(server, user_information=info) as peer,
    ):
        granted = peer.answer.user_information.async_operations  # type: ignore[attr-defined]
        assert granted == AsyncOperationsWindow(3, 1)
        for number in (1, 2, 3):
            await say(peer, 1, m.CEchoRQ(message_id=number))
        [association] = server.associations
        async with asyncio.timeout(PATIENCE):
            while len(association._performing.running) < 3:
                await asyncio.sleep(0)
        held.go.set()
        assert {(await hear(peer)).message.message_id_being_responded_to for _ in range(3)} == {1, 2, 3}


async def test_no_window_is_granted_unless_told_to() -> None:
    info = UserInformation(implementation_class_uid="1.2", async_operations=AsyncOperationsWindow(5, 5))
    async with serving() as server, calling(server, user_information=info) as peer:
        assert peer.answer.user_information.async_operations is None  # type: ignore[attr-defined]


@on_each_loop
async def test_a_query_and_stores_interleaved(tmp_path: Path) -> None:
    """Both directions at once, within a window: nothing is mixed up."""
    service = Plain(
        matches=[identifier(StudyInstanceUID=f"1.{n}", StudyComments="x" * 500) for n in range(200)]
    )
    info = UserInformation(implementation_class_uid="1.2", async_operations=AsyncOperationsWindow(0, 0))
    async with (
        serving(service, async_operations=AsyncOperationsWindow(0, 0)) as server,
        calling(server, user_information=info) as peer,
    ):
        await say(peer, 5, FIND_RQ, identifier())
        for number in range(2, 12):
            await say(peer, 3, store_request(number, f"1.2.{number}"), bytes([number]) * 5000)
        matches = 0
        stored: set[int] = set()
        while matches < 200 or len(stored) < 10:
            heard = await hear(peer)
            if isinstance(heard.message, m.CStoreRSP):
                stored.add(heard.message.message_id_being_responded_to)
            elif heard.message.status == 0xFF00:
                assert heard.dataset.StudyInstanceUID == f"1.{matches}"
                matches += 1
        assert stored == set(range(2, 12))
    assert all(service.stored[f"1.2.{n}"] == bytes([n]) * 5000 for n in range(2, 12))


# --- C-GET


async def fill(folder: Path, count: int, *, size: int = 1000, sop_class: str = CT) -> None:
    """An archive of objects 1.2.3.1.1 and so on, of patient P1."""

    def work() -> None:
        with Archive(folder, durability="rename") as archive:
            for number in range(1, count + 1):
                dataset = ct(f"1.2.3.1.{number}", size=size, SOPClassUID=sop_class)
                sink = archive.sink(
                    sop_class_uid=sop_class, sop_instance_uid=f"1.2.3.1.{number}",
                    transfer_syntax_uid=IMPLICIT,
                )  # fmt: skip
                sink.write(memoryview(implicit(dataset)))
                assert sink.commit_now().status == 0

    await asyncio.to_thread(work)


@asynccontextmanager
async def archive_of(folder: Path, count: int, **how: Any) -> AsyncIterator[ArchiveServer]:
    await fill(folder, count)
    async with serve_archive(folder, port=0, limits=how.pop("limits", LONG), **how) as server:
        yield server


GET_RQ = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
EVERYTHING = identifier("PATIENT", PatientID="P1")
GETTING = (GET, (CT, [IMPLICIT]))


@on_each_loop
async def test_a_get_sends_everything_and_counts(tmp_path: Path) -> None:
    async with (
        archive_of(tmp_path, 5) as server,
        calling(server, GETTING, user_information=scp_roles(CT)) as peer,
    ):
        await say(peer, 1, GET_RQ, EVERYTHING)
        statuses = [0, 0xB000, 0xC001, 0xA700, 0]
        seen = []
        for status in statuses:
            heard = await hear(peer, m.CStoreRQ)
            uid = heard.message.affected_sop_instance_uid
            number = int(uid.rsplit(".", 1)[1])
            assert heard.data == implicit(ct(uid, size=1000)), number
            seen.append(uid)
            await reply(peer, heard, status)
        final = await final_of(peer)
        message = final.message
        assert message.status == 0xB000
        assert (message.completed, message.failed, message.warning) == (2, 2, 1)
        assert list(final.dataset.FailedSOPInstanceUIDList) == seen[2:4]
        assert sorted(seen) == [f"1.2.3.1.{n}" for n in range(1, 6)]


@on_each_loop
async def test_a_get_cancelled_between_objects(tmp_path: Path) -> None:
    async with (
        archive_of(tmp_path, 5) as server,
        calling(server, GETTING, user_information=scp_roles(CT)) as peer,
    ):
        await say(peer, 1, GET_RQ, EVERYTHING)
        await reply(peer, await hear(peer, m.CStoreRQ), 0)
        second = await hear(peer, m.CStoreRQ)
        await say(peer, 1, CANCEL_1)
        await reply(peer, second, 0)
        final = await final_of(peer)
        message = final.message
        assert message.status == 0xFE00
        assert (message.remaining, message.completed, message.failed, message.warning) == (3, 2, 0, 0)
        assert await echo_on(peer) == 0x0122  # the association lives: Verification is not on context 1


async def echo_on(peer: ScriptedPeer) -> int:
    await say(peer, 1, m.CEchoRQ(message_id=9))
    return int((await hear(peer, m.CEchoRSP)).message.status)


async def test_a_get_cancelled_in_its_own_segment(tmp_path: Path) -> None:
    async with (
        archive_of(tmp_path, 2) as server,
        calling(server, GETTING, user_information=scp_roles(CT)) as peer,
    ):
        await peer.send(glued((1, GET_RQ, implicit(EVERYTHING)), (1, CANCEL_1, None)))
        assert (await final_of(peer)).message.status == 0xFE00


@pytest.mark.parametrize("why", ["no role", "no context"])
async def test_a_get_that_cannot_send(tmp_path: Path, why: str) -> None:
    contexts = GETTING if why == "no role" else (GET, (MR, [IMPLICIT]))
    roles = None if why == "no role" else scp_roles(MR)
    async with (
        archive_of(tmp_path, 2) as server,
        calling(server, contexts, user_information=roles) as peer,
    ):
        await say(peer, 1, GET_RQ, EVERYTHING)
        final = await final_of(peer)
        assert final.message.status == 0xA702
        assert (final.message.completed, final.message.failed) == (0, 2)
        assert len(final.dataset.FailedSOPInstanceUIDList) == 2


async def test_a_get_of_nothing(tmp_path: Path) -> None:
    async with (
        archive_of(tmp_path, 1) as server,
        calling(server, GETTING, user_information=scp_roles(CT)) as peer,
    ):
        await say(peer, 1, GET_RQ, identifier("PATIENT", PatientID="NOBODY"))
        final = await final_of(peer)
        assert (final.message.status, final.message.completed, final.data) == (0, 0, None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (identifier("PATIENT"), 0xA900),
        (identifier("FRAME", PatientID="P1"), 0xA900),
        (identifier("STUDY", PatientID="P1"), 0xA900),
        (b"\xff" * 30, 0xC000),
        (b"\x08\0\x32\x10\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff", 0xC000),
        (b"\x08\0\x32\x10\x0a\0\0\0\xfe\xff\0\xe0\x64\0\0\0ab", 0xC000),  # an item of 100 bytes, cut
        (b"\x08\0\x40\x11\x0a\0\0\0\xfe\xff\0\xe0\2\0\0\0ab", 0xC000),
    ],
    ids=lambda value: f"{value:04X}" if isinstance(value, int) else "",
)
async def test_retrieves_that_make_no_sense(tmp_path: Path, query: Any, status: int) -> None:
    async with (
        archive_of(tmp_path, 1) as server,
        calling(server, [GET, MOVE, (CT, [IMPLICIT])], user_information=scp_roles(CT)) as peer,
    ):
        await say(peer, 1, GET_RQ, query)
        assert (await final_of(peer)).message.status == status
        move = m.CMoveRQ(message_id=2, affected_sop_class_uid=MOVE, move_destination="X")
        await say(peer, 3, move, query)
        assert (await final_of(peer)).message.status == status


async def test_a_file_that_vanished_fails_alone(tmp_path: Path) -> None:
    async with (
        archive_of(tmp_path, 3) as server,
        calling(server, GETTING, user_information=scp_roles(CT)) as peer,
    ):
        assert await asyncio.to_thread(server.archive.wait_until_compared, 30)  # which would take it out
        [gone] = tmp_path.rglob("1.2.3.1.2.dcm")
        gone.unlink()
        await say(peer, 1, GET_RQ, EVERYTHING)
        for _ in range(2):
            await reply(peer, await hear(peer, m.CStoreRQ), 0)
        final = await final_of(peer)
        assert (final.message.status, final.message.completed, final.message.failed) == (0xB000, 2, 1)
        assert final.dataset.FailedSOPInstanceUIDList == "1.2.3.1.2"


@pytest.mark.parametrize("how", ["abort", "RST", "release"])
async def test_a_getter_that_goes_in_the_middle(tmp_path: Path, how: str) -> None:
    async with archive_of(tmp_path, 3) as server, bystander(server):
        async with calling(server, GETTING, user_information=scp_roles(CT)) as peer:
            await say(peer, 1, GET_RQ, EVERYTHING)
            await hear(peer, m.CStoreRQ)
            if how == "abort":
                await peer.send(AAbort(0, 0))
                await peer.expect_close()
            elif how == "RST":
                await peer.reset()
            else:
                await peer.send(AReleaseRQ())
                await peer.expect(AReleaseRP)
        await gone(server.server, 1)


# --- C-MOVE


def move_request(destination: str = "DEST") -> m.CMoveRQ:
    return m.CMoveRQ(message_id=7, affected_sop_class_uid=MOVE, move_destination=destination)


@asynccontextmanager
async def mover(
    tmp_path: Path, count: int, port: int, **how: Any
) -> AsyncIterator[tuple[ArchiveServer, ScriptedPeer]]:
    destinations = {"DEST": ("127.0.0.1", port)}
    async with (
        archive_of(tmp_path, count, destinations=destinations, **how) as server,
        bystander(server),
        calling(server, [MOVE], calling_ae="MOVER") as peer,
    ):
        yield server, peer


def failed_list(said: Said) -> list[str]:
    found = said.dataset.get("FailedSOPInstanceUIDList", [])
    return [found] if isinstance(found, str) else [str(one) for one in found or []]


@on_each_loop
async def test_a_move_to_a_destination(tmp_path: Path) -> None:
    async with ScriptedListener() as listener, mover(tmp_path, 4, listener.port) as (_, peer):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        request = await destination.accept()
        assert (request.called_ae, request.calling_ae) == ("DEST", "ARCHIVE")
        for status in (0, 0xB007, 0xC000, 0):
            heard = await hear(destination, m.CStoreRQ)
            assert heard.message.move_originator_ae == "MOVER"
            assert heard.message.move_originator_message_id == 7
            await reply(destination, heard, status)
        await destination.answer_release()
        final = await final_of(peer)
        message = final.message
        assert (message.status, message.completed, message.failed, message.warning) == (0xB000, 2, 1, 1)
        assert len(failed_list(final)) == 1


async def test_a_move_to_an_unknown_destination(tmp_path: Path) -> None:
    async with mover(tmp_path, 1, 1) as (_, peer):
        await say(peer, 1, move_request("NOBODY"), EVERYTHING)
        assert (await final_of(peer)).message.status == 0xA801


@pytest.mark.parametrize("how", ["nobody", "rejects", "no context", "silent", "http", "hangs up"])
@on_each_loop
async def test_a_move_to_a_destination_that_will_not(tmp_path: Path, how: str) -> None:
    limits = replace(LONG, suboperation_timeout=0.3 if how == "silent" else 20, artim_timeout=0.3)
    async with ScriptedListener() as listener:
        import socket

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1] if how == "nobody" else listener.port
            async with mover(tmp_path, 3, port, limits=limits) as (_, peer):
                await say(peer, 1, move_request(), EVERYTHING)
                if how != "nobody":
                    destination = await listener.next_connection()
                    if how == "rejects":
                        await destination.expect(AAssociateRQ)
                        await destination.send(AAssociateRJ(1, 1, 7))
                        await destination.expect_close()
                    elif how == "no context":
                        await destination.accept(accept_as("1.2.3"))
                        await destination.answer_release()
                    elif how == "http":
                        await destination.expect(AAssociateRQ)
                        await destination.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        await destination.close()
                    elif how == "hangs up":
                        await destination.reset()
                final = await final_of(peer)
                message = final.message
                assert (message.status, message.completed, message.failed) == (0xA702, 0, 3)
                assert len(failed_list(final)) == 3


@pytest.mark.parametrize("how", ["aborts", "resets", "hangs", "babbles"])
@on_each_loop
async def test_a_destination_that_goes_in_the_middle(tmp_path: Path, how: str) -> None:
    limits = replace(LONG, suboperation_timeout=0.3 if how in ("hangs", "babbles") else 20, artim_timeout=0.3)
    async with (
        ScriptedListener() as listener,
        mover(tmp_path, 4, listener.port, limits=limits) as (_, peer),
    ):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        await destination.accept()
        first = await hear(destination, m.CStoreRQ)
        await reply(destination, first, 0)
        await hear(destination, m.CStoreRQ)
        if how == "aborts":
            await destination.send(AAbort(0, 0))
        elif how == "resets":
            await destination.reset()
        babble = asyncio.create_task(babbling(destination)) if how == "babbles" else None
        final = await final_of(peer)
        message = final.message
        assert (message.status, message.completed, message.failed) == (0xB000, 1, 3)
        if babble is not None:
            await babble
        assert first.message.affected_sop_instance_uid not in failed_list(final)
        assert len(failed_list(final)) == 3


async def babbling(destination: ScriptedPeer) -> None:
    """Send what says nothing for as long as the other side listens."""
    with contextlib.suppress(ScriptError, OSError):
        while not destination._writer.is_closing():
            await destination.send(PDataTF(()))
            await asyncio.sleep(0)


@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_large_object_has_the_time_for_each_part_of_it(tmp_path: Path, in_memory: bool) -> None:
    """A slow destination is not given up while it takes what is sent."""
    whole = bytes(range(256)) * 12000
    file = tmp_path / "object"
    file.write_bytes(whole)
    item = Instance(file, CT, "1.2.3.4", IMPLICIT, 0, len(whole))
    loaded = Loaded(item, whole if in_memory else None)
    nobody = SimpleNamespace(connection=SimpleNamespace(handed=0, taken=lambda: 0))
    run = StoreRun(association=nobody, done=print, limit=100.0)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE) as deadline:
        data = run._data(loaded, deadline)
        assert not isinstance(data, bytes)
        sent = b""
        async for part, _ in data:
            sent += part
            when = deadline.when()
            assert when is not None
            assert when > asyncio.get_running_loop().time() + 90
            deadline.reschedule(asyncio.get_running_loop().time() + PATIENCE)
    assert sent == whole


@on_each_loop
async def test_a_move_cancelled_between_objects(tmp_path: Path) -> None:
    async with ScriptedListener() as listener, mover(tmp_path, 4, listener.port) as (_, peer):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        await destination.accept()
        await reply(destination, await hear(destination, m.CStoreRQ), 0)
        second = await hear(destination, m.CStoreRQ)
        await say(peer, 1, m.CCancelRQ(message_id_being_responded_to=7))
        await echo_on(peer)  # the cancel has been read
        await reply(destination, second, 0)
        await destination.answer_release()
        final = await final_of(peer)
        message = final.message
        assert message.status == 0xFE00
        assert (message.remaining, message.completed, message.failed) == (2, 2, 0)


@on_each_loop
async def test_a_move_cancelled_while_its_destination_does_not_answer(tmp_path: Path) -> None:
    async with ScriptedListener() as listener, mover(tmp_path, 4, listener.port) as (_, peer):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        await destination.expect(AAssociateRQ)
        await say(peer, 1, m.CCancelRQ(message_id_being_responded_to=7))
        message = (await final_of(peer)).message
        assert message.status == 0xFE00
        assert (message.remaining, message.completed, message.failed) == (4, 0, 0)
        assert await destination.expect(AAbort) == AAbort(0, 0)
        await destination.close()
        await echo_on(peer)


async def test_a_mover_that_goes_ends_the_move(tmp_path: Path) -> None:
    async with ScriptedListener() as listener, mover(tmp_path, 4, listener.port) as (_, peer):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        await destination.accept()
        await hear(destination, m.CStoreRQ)
        await peer.send(AAbort(0, 0))
        await peer.expect_close()
        await destination.expect(AAbort)


async def test_a_move_over_tls(tmp_path: Path, tls_pair: TLSPair) -> None:
    async with (
        ScriptedListener(ssl=tls_pair.server) as listener,
        archive_of(
            tmp_path, 2, destinations={"DEST": Destination("localhost", listener.port, tls_pair.client)}
        ) as server,
        calling(server, [MOVE]) as peer,
    ):
        await say(peer, 1, move_request(), EVERYTHING)
        destination = await listener.next_connection()
        await destination.accept()
        for _ in range(2):
            await reply(destination, await hear(destination, m.CStoreRQ), 0)
        await destination.answer_release()
        assert (await final_of(peer)).message.status == 0


# --- negotiation as acceptor


async def test_roles_are_answered_as_granted() -> None:
    proposals = [PresentationContextRQ(1, CT, (IMPLICIT,)), PresentationContextRQ(3, MR, (IMPLICIT,))]
    roles = (RoleSelection(CT, True, True), RoleSelection(MR, False, True))
    info = UserInformation(implementation_class_uid="1.2", roles=roles)
    async with serving() as server, calling(server, proposals, user_information=info) as peer:
        assert peer.answer.user_information.roles == roles  # type: ignore[attr-defined]
        # on MR we gave the SCU role away
        await say(peer, 3, store_request(1, sop_class=MR), b"1234")
        assert (await hear(peer, m.CStoreRSP)).message.status == 0x0122
        await say(peer, 1, store_request(2), b"1234")
        assert (await hear(peer, m.CStoreRSP)).message.status == 0


async def test_extended_negotiation_is_answered_by_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """What was not asked is not answered; a service that fails answers nothing, and all goes on."""
    asked = SOPClassExtendedNegotiation(FIND, b"\1\1")
    common = SOPClassCommonExtendedNegotiation(CT, "1.2.840.10008.4.2", (MR,))
    seen: list[AAssociateRQ] = []

    class Extending(Plain):
        def extended(self, request: AAssociateRQ) -> list[SOPClassExtendedNegotiation]:
            seen.append(request)
            if len(seen) > 1:
                raise ValueError("a defect")
            return [SOPClassExtendedNegotiation(FIND, b"\1\0"), SOPClassExtendedNegotiation(GET, b"\1")]

    info = UserInformation(implementation_class_uid="1.2", extended=(asked,), common_extended=(common,))
    async with serving(Extending()) as server:
        for expected in ((SOPClassExtendedNegotiation(FIND, b"\1\0"),), ()):
            async with calling(server, user_information=info) as peer:
                assert peer.answer.user_information.extended == expected  # type: ignore[attr-defined]
                assert peer.answer.user_information.common_extended == ()  # type: ignore[attr-defined]
                assert await echo(peer) == 0
                await peer.release()
        async with calling(server) as peer:
            await peer.release()
    assert [request.user_information.common_extended for request in seen] == [(common,), (common,)]
    assert "answering an extended negotiation failed" in caplog.text


async def test_a_service_that_fails_is_logged_by_the_address_not_by_a_name_the_peer_chooses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each name would have a window of its own in the log."""

    class Failing(Plain):
        def extended(self, request: AAssociateRQ) -> list[SOPClassExtendedNegotiation]:
            raise ValueError("a defect")

    asked = SOPClassExtendedNegotiation(FIND, b"\1\1")
    info = UserInformation(implementation_class_uid="1.2", extended=(asked,))
    async with serving(Failing()) as server:
        for number in range(5):
            async with calling(server, user_information=info, calling_ae=f"AE{number}") as peer:
                await peer.release()
    [line] = [one.getMessage() for one in caplog.records if "extended negotiation" in one.getMessage()]
    assert line.startswith("127.0.0.1: ")


@pytest.mark.parametrize("length", [1, 7, 15])
async def test_a_maximum_length_that_leaves_no_room_is_rejected(length: int) -> None:
    from aiodicom.testing import associate_request

    info = UserInformation(implementation_class_uid="1.2", maximum_length=length)
    async with serving() as server, await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(associate_request(user_information=info))
        assert isinstance(await peer.receive(), AAssociateRJ)


@pytest.mark.parametrize("length", [16, 100, 4096, 0])
async def test_the_peers_maximum_length_is_kept(length: int) -> None:
    service = Plain(matches=[identifier(StudyInstanceUID="1.1", StudyComments="x" * 1001)])
    info = UserInformation(implementation_class_uid="1.2", maximum_length=length)
    async with serving(service) as server, calling(server, user_information=info) as peer:
        await say(peer, 5, FIND_RQ, identifier())
        last = 0
        while last < 3:  # command, data, and the final command
            raw = await peer.receive_raw()
            assert raw[0] == 4
            assert not length or len(raw) - 6 <= length
            assert int.from_bytes(raw[6:10], "big") == len(raw) - 10  # one PDV
            last += raw[11] >> 1


# --- stopping the process


SERVE = """
import asyncio, sys
from aiodicom.server.limits import ServerLimits
from aiodicom.server.service import Service
from aiodicom.server.listener import serve
from aiodicom.dimse.contexts import Supported, VERIFICATION

class Slow(Service):
    async def echo(self, info):
        if info.message.message_id == 1:
            print("busy", flush=True)
            await asyncio.sleep(float(sys.argv[1]))
        return 0

async def main():
    limits = ServerLimits(drain_timeout=float(sys.argv[2]))
    async with await serve(Slow(), port=0, limits=limits) as server:
        print(server.port, flush=True)
        await server.serve_forever()

asyncio.run(main())
"""


@pytest.mark.parametrize(("work", "drain"), [(0.5, 30), (1000, 0.3)], ids=["in time", "too slow"])
async def test_sigterm_drains_then_aborts(work: float, drain: float) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(work), str(drain), stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        from types import SimpleNamespace

        async with asyncio.timeout(60):
            server = SimpleNamespace(port=int(await process.stdout.readline()))
            async with calling(server, [VERIFICATION]) as busy, calling(server, [VERIFICATION]) as idle:
                await say(busy, 1, m.CEchoRQ(message_id=1))
                assert await process.stdout.readline() == b"busy\n"
                process.send_signal(signal.SIGTERM)
                if work < drain:
                    assert (await hear(busy, m.CEchoRSP)).message.status == 0
                assert await busy.expect(AAbort) == AAbort(0, 0)
                assert await idle.expect(AAbort) == AAbort(0, 0)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# --- what an archive does not take


async def test_deflated_objects_are_taken_and_given_as_they_are(tmp_path: Path) -> None:
    """Inflated once, in a bounded stream; the last choice where others are proposed; no identifier is so."""
    deflated = "1.2.840.10008.1.2.1.99"
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = squeezed.compress(encode_dataset(ct(), "1.2.840.10008.1.2.1")) + squeezed.flush()
    data += b"\0" * (len(data) % 2)
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(
            server, [(CT, [deflated]), (CT, [deflated, IMPLICIT]), (FIND, [deflated])]
        ) as peer:
            answers = peer.answer.presentation_contexts  # type: ignore[attr-defined]
            assert [one.result for one in answers] == [0, 0, 4]
            assert answers[1].transfer_syntax == IMPLICIT
            await say(peer, 1, store_request(), data)
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
            await peer.release()
        async with calling(server, [GET, (CT, [deflated])], user_information=scp_roles(CT)) as peer:
            request = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
            await say(peer, 1, request, identifier("PATIENT", PatientID="P1"))
            came = await hear(peer, m.CStoreRQ)
            assert came.data == data
            await reply(peer, came, 0)
            assert (await final_of(peer)).message.status == 0


async def test_an_object_of_another_class_than_its_context(tmp_path: Path) -> None:
    async with (
        serve_archive(tmp_path, port=0, limits=LONG) as server,
        calling(server) as peer,
    ):
        await say(peer, 3, store_request(1, sop_class=MR), implicit(ct(SOPClassUID=MR)))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0x0122
        await say(peer, 3, store_request(2), implicit(ct(SOPClassUID=MR)))  # only the command says CT
        assert 0xA900 <= (await hear(peer, m.CStoreRSP)).message.status <= 0xA9FF
        assert server.archive.counts().instances == 0
        assert files_below(tmp_path / "objects") == []


async def test_a_refused_object_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Why an archive does not take what is sent is for its operator to know, once."""
    limits = replace(LONG, max_object_size=100)
    async with serve_archive(tmp_path, port=0, limits=limits) as server, calling(server) as peer:
        for number in range(5):
            await say(peer, 3, store_request(number + 1), ct(size=1000))
            assert (await hear(peer, m.CStoreRSP)).message.status == 0xA700
    said = [one.getMessage() for one in caplog.records if "storing failed" in one.getMessage()]
    assert said == ["127.0.0.1: storing failed: A700H, object larger than 100 bytes"]


async def test_a_stored_file_has_a_preamble_of_zeros(tmp_path: Path) -> None:
    async with (
        serve_archive(tmp_path, port=0, limits=LONG) as server,
        calling(server) as peer,
    ):
        await say(peer, 3, store_request(), implicit(ct()))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
    [name] = files_below(tmp_path / "objects")
    assert (tmp_path / "objects" / name).read_bytes()[:132] == bytes(128) + b"DICM"
