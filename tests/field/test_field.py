"""Every report in every role it concerns: archive, query, client into files and memory, store, peers."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiodicom.association.errors import AssociationAborted, InactivityTimeout
from aiodicom.association.timeouts import Timeouts
from aiodicom.client.connect import connect
from aiodicom.client.pacs import Pacs
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dataset.instance import Instance
from aiodicom.dataset.part10 import encode_file_meta
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Proposal, Supported
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.listener import serve
from aiodicom.testing import ScriptedListener
from archive_objects import files_below
from field.reports import (
    CT,
    IMPLICIT,
    OBJECTS,
    REPORTS,
    RESPONSES,
    TEXTS,
    ReportedObject,
    ReportedResponse,
    ReportedText,
    parse,
)
from interop.peers import HOST, Peer, Peers, require_peer
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from wire import LONG, Plain, Said, accepted, calling, hear, play, say, store_request

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning"),
    pytest.mark.filterwarnings("ignore:The value length:UserWarning"),
]
objects = pytest.mark.parametrize("report", OBJECTS, ids=lambda one: one.name)
texts = pytest.mark.parametrize("report", TEXTS, ids=lambda one: one.name)
responses = pytest.mark.parametrize("report", RESPONSES, ids=lambda one: one.name)


def test_the_corpus_is_told_in_words_and_by_reference() -> None:
    assert len(OBJECTS) > 20
    assert len(TEXTS) > 4
    assert len(RESPONSES) > 2
    assert len({one.name for one in REPORTS}) == len(REPORTS)
    for one in REPORTS:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+|seen at .+", one.report), one.name
        assert one.wrong.endswith(".")
        assert one.right.endswith(".")
        assert one.wrong != one.right


# --- objects


async def stored(peer: object, report: ReportedObject) -> int:
    """The status an archive answers it with."""
    await say(peer, 1, store_request(uid=report.instance), report.data)
    return int((await hear(peer, m.CStoreRSP)).message.status)


@objects
async def test_the_archive(report: ReportedObject, tmp_path: Path) -> None:
    """Kept with success, kept with B007H, or refused with C000H; what is kept is found, and is as it came."""
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(server, [(CT, [report.syntax])]) as peer:
            status = await stored(peer, report)
        async with connect(HOST, server.port) as pacs:
            found = await pacs.find("IMAGE", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"})
        listed = await peer_listing(server)
    if report.refused:
        assert status == 0xC000
        assert found == []
        assert files_below(tmp_path / "objects") == []
        return
    assert status == (0xB007 if report.doubt else 0)
    assert [one.SOPInstanceUID for one in found] == [report.instance]
    assert bool(listed) == report.doubt
    [path] = files_below(tmp_path / "objects")
    assert (tmp_path / "objects" / path).read_bytes().endswith(report.data)


async def peer_listing(server: object) -> list[str]:
    """What `aiodicom archive verify` lists as doubtful."""
    return list(server.archive.verify().doubtful)  # type: ignore[attr-defined]


class Taker(Plain):
    """Takes and gives every transfer syntax, deflated ones too."""

    def supported(self) -> Supported:
        return replace(Plain.supported(self), excluded_transfer_syntaxes=frozenset())


@asynccontextmanager
async def holding(report: ReportedObject, folder: Path) -> AsyncIterator[Pacs]:
    """A peer that has the object and gives it byte for byte, whatever it is."""
    file = folder / "held"
    file.write_bytes(report.data)
    item = Instance(file, CT, report.instance, report.syntax, 0, len(report.data))
    match = Dataset()
    match.QueryRetrieveLevel = "IMAGE"
    match.StudyInstanceUID = "1.2.3"
    match.SOPClassUID = CT
    match.SOPInstanceUID = report.instance
    match.AvailableTransferSyntaxUID = report.syntax
    async with serve(Taker(matches=[match], instances=[item]), port=0) as server:
        async with connect(HOST, server.port) as pacs:
            yield pacs


def judged(result: RetrieveResult, report: ReportedObject) -> None:
    """Whether a retrieve says what is right."""
    [item] = result.items
    assert item.ok == result.ok == (not report.refused)
    words = {"truncated": "not whole", "malformed": "contradict|not encoded|not allow|demands"}
    if report.refused:
        assert item.status == 0xC000
        assert result.missing == [report.instance]
        if report.refused == "malformed":
            assert "not whole" not in str(item.comment) or re.search(words["malformed"], str(item.comment))
        else:
            assert "not whole" in str(item.comment) or "not a whole" in str(item.comment)
    else:
        assert ("encoding in doubt" in (item.comment or "")) == report.doubt


@objects
async def test_a_client_into_files(report: ReportedObject, tmp_path: Path) -> None:
    async with holding(report, tmp_path) as pacs:
        result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out")
    judged(result, report)
    assert len(files_below(tmp_path / "out")) == (0 if report.refused else 1)
    if not report.refused:
        assert result.files[0].read_bytes().endswith(report.data)


@objects
async def test_a_client_into_memory(report: ReportedObject, tmp_path: Path) -> None:
    """As into files, where pydicom reads it as we do; else it is refused, and said to be what it is."""
    async with holding(report, tmp_path) as pacs:
        result = await pacs.get("STUDY", "1.2.3")
    [item] = result.items
    if report.doubt and not item.ok:
        assert "pydicom" in str(item.comment)
        assert result.datasets == []
        return
    judged(result, report)
    assert len(result.datasets) == (0 if report.refused else 1)
    for dataset in result.datasets:
        assert str(dataset.SOPInstanceUID) == report.instance


@objects
async def test_a_client_that_stores_it(report: ReportedObject, tmp_path: Path) -> None:
    meta = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid=report.instance,
        transfer_syntax_uid=report.syntax,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )
    file = tmp_path / "a.dcm"
    file.write_bytes(meta + report.data)
    there = Taker()
    async with serve(there, port=0) as server, connect(HOST, server.port) as pacs:
        result = await pacs.store(file)
    if report.refused:
        assert not there.stored
        said = "truncated" if report.refused == "truncated" else "contradicts its own encoding"
        assert said in str(result.items[0].error)
    else:
        assert result.ok, result.items
        assert there.stored == {report.instance: report.data}


# --- texts


@texts
async def test_a_text_stored_and_asked_for(report: ReportedText, tmp_path: Path) -> None:
    """In an object, by a key in its own set and in UTF-8, and in the answer."""
    tag = tag_for_keyword(report.keyword)
    assert tag is not None
    data = report.data(tag, dictionary_VR(tag))
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(server, [(CT, [IMPLICIT])]) as peer:
            await say(peer, 1, store_request(uid="1.2.3.4.5"), data)
            assert (await hear(peer, m.CStoreRSP)).message.status == 0
        async with connect(HOST, server.port) as pacs:
            own: dict[str, object] = {"SpecificCharacterSet": report.charset.split("\\")}
            for keys in ({}, own if report.charset else {}):
                [answer] = await pacs.find("STUDY", {**keys, report.keyword: report.key})
                assert str(answer[report.keyword].value) == report.value


@texts
async def test_a_text_as_an_answer(report: ReportedText) -> None:
    """By a peer that sends the bytes as they are."""
    tag = tag_for_keyword(report.keyword)
    assert tag is not None

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        pending = m.make_response(heard.message, 0xFF00, has_dataset=True)
        await say(peer, heard.context_id, pending, report.data(tag, dictionary_VR(tag)))
        await say(peer, heard.context_id, m.make_response(heard.message, 0))
        await peer.answer_release()

    async def user(client: Pacs) -> object:
        async with Pacs(client.peer) as pacs:
            return await pacs.find("STUDY", {report.keyword: ""}, root="STUDY")

    [answer] = await play(script, user)
    assert str(answer[report.keyword].value) == report.value


# --- responses


@responses
async def test_a_response_to_a_retrieve(report: ReportedResponse, tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        query = await hear(peer, m.CFindRQ)
        await say(peer, query.context_id, m.make_response(query.message, 0))
        await peer.answer_release()
        peer, _ = await accepted(listener)
        heard: Said = await hear(peer, m.CGetRQ)
        usual = m.encode_message(m.make_response(heard.message, 0))
        await peer.send_message(heard.context_id, without_status(usual) + parse(report.command), None)
        await peer.answer_release()

    async def user(client: Pacs) -> RetrieveResult:
        async with Pacs(client.peer) as pacs:
            return await pacs.get("SERIES", "1.2.3.4", directory=tmp_path)

    result = await play(script, user)
    assert result.outcome == report.outcome
    assert not result.ok
    assert result.failed == report.failed
    assert result.failed_uids == report.failed_uids


def without_status(command: bytes) -> bytes:
    """A command set without its group length and its status."""
    kept, at = b"", 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHL", command, at)
        if element not in (0x0000, 0x0900):
            kept += command[at : at + 8 + length]
        at += 8 + length
    return kept


# --- the peers, for comparison


QUIET = Timeouts(inactivity=5)
"""Orthanc gives no answer at all to what it cannot read."""


async def answered(peer: Peer, report: ReportedObject) -> str:
    """What a peer answers the object with, sent as it is: stored, refused, silent, or aborted."""
    async with connect(HOST, peer.port, called_ae=peer.ae_title, timeouts=QUIET) as pacs:
        try:
            async with pacs.association([Proposal(CT, (report.syntax,))]) as association:
                [context] = association.find_contexts(CT)
                operation = await association.invoke(
                    context, lambda n: store_request(n, report.instance), report.data
                )
                response, _ = await operation.next()
        except InactivityTimeout:
            return "silent"
        except AssociationAborted:
            return "aborted"
    return "stored" if response.status == 0 else "refused"


@pytest.mark.parametrize(("program", "name"), [("storescp", "dcmtk"), ("Orthanc", "orthanc")])
async def test_what_others_do_with_them(program: str, name: str, tmp_path: Path) -> None:
    """Measured, so that a report says by itself who takes what: storescp writes what comes, unlooked at."""
    require_peer(program)
    running = Peers(tmp_path)
    try:
        peer = running.storescp() if name == "dcmtk" else running.orthanc()
        outcomes = await asyncio.gather(*(answered(peer, report) for report in OBJECTS))
    finally:
        running.close()
    measured = dict(zip((one.name for one in OBJECTS), outcomes, strict=True))
    assert measured == {one.name: getattr(one, name) for one in OBJECTS}
