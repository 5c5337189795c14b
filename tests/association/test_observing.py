"""What observers are told, and what the log says: all of it, in order, and no patient, no passcode."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import aiodicom
import pytest
from aiodicom.association import lines, tap
from aiodicom.association.lines import TRACE, hex_lines, line_of, without_identity
from aiodicom.association.observing import (
    BytesEvent,
    EndedEvent,
    Event,
    MessageEvent,
    OpenedEvent,
    PduEvent,
    RequestEvent,
    name_of,
)
from aiodicom.association.tap import Tap
from aiodicom.dimse import messages as m
from aiodicom.imaging.phantom import write_series

CANARY = "CANARY"


class Watcher:
    """Keeps what it is told; a view is only lent."""

    def __init__(self, *, wants_bytes: bool = False) -> None:
        self.wants_bytes = wants_bytes
        self.events: list[Event] = []
        self.raw = {True: b"", False: b""}

    def __call__(self, event: Event) -> None:
        if isinstance(event, BytesEvent):
            self.raw[event.sent] += bytes(event.data)
        else:
            self.events.append(event)

    def only(self, kind: type[Event]) -> list[Event]:
        return [one for one in self.events if isinstance(one, kind)]


async def test_both_ends_see_the_same(tmp_path: Path) -> None:
    ours, theirs = Watcher(wants_bytes=True), Watcher(wants_bytes=True)
    write_series(tmp_path / "in", slices=3, rows=16, columns=16)
    async with aiodicom.serve_archive(tmp_path / "archive", port=0, observer=theirs) as server:
        async with aiodicom.connect(
            "127.0.0.1", server.port, called_ae="ARCHIVE", calling_ae="ME", observer=ours
        ) as pacs:
            await pacs.echo()
            report = await pacs.store(tmp_path / "in")
            assert report.ok
    assert ours.raw[True] == theirs.raw[False]
    assert ours.raw[False] == theirs.raw[True]
    messages = [
        (one.sent, name_of(one.message), one.abstract_syntax)
        for one in ours.events
        if isinstance(one, MessageEvent) and one.message is not None
    ]
    assert messages == [
        (not one.sent, name_of(one.message), one.abstract_syntax)
        for one in theirs.events
        if isinstance(one, MessageEvent) and one.message is not None
    ]
    names = [name for _, name, _ in messages]
    assert names.count("C-ECHO-RQ") == names.count("C-ECHO-RSP") == 1
    assert names.count("C-STORE-RQ") == names.count("C-STORE-RSP") == 3
    requests = [one for one in ours.events if isinstance(one, RequestEvent)]
    assert [(one.name, one.status, one.sent) for one in requests][:1] == [("C-ECHO-RQ", 0, True)]
    assert sum(one.data_bytes for one in requests if one.name == "C-STORE-RQ") > 3 * 2 * 16 * 16
    assert all(one.seconds >= 0 for one in requests)
    ended = [one for one in ours.events if isinstance(one, EndedEvent)]
    assert all(one.outcome == "released" and one.opened and one.reason is None for one in ended)
    assert sum(one.sent.get("C-STORE-RQ", 0) for one in ended) == 3
    assert sum(one.bytes_sent for one in ended) == len(ours.raw[True])
    peers = {one.peer for one in theirs.events if isinstance(one, EndedEvent)}
    assert all(peer.startswith("ME@127.0.0.1:") for peer in peers)  # with the port it came from
    numbers = {one.number for one in ours.events}
    assert len(numbers) == len(ours.only(OpenedEvent)) == len(ended)


async def test_a_rejection_and_a_connection_without_an_association_are_told(tmp_path: Path) -> None:
    ours, theirs = Watcher(), Watcher()
    access = aiodicom.Access(called_ae=["OTHER"])
    async with aiodicom.serve_archive(tmp_path, port=0, access=access, observer=theirs) as server:
        with pytest.raises(aiodicom.AssociationRejected):
            await aiodicom.connect("127.0.0.1", server.port, observer=ours)
    for watcher in (ours, theirs):
        [ended] = watcher.only(EndedEvent)
        assert isinstance(ended, EndedEvent)
        assert (ended.outcome, ended.opened) == ("rejected", False)
        assert ended.reason is not None


async def test_an_observer_that_fails_is_told_no_more_and_nothing_else_suffers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls, patient = [], "DOE^JANE"

    def bad(event: Event) -> None:
        calls.append(event)
        raise RuntimeError(f"a user's mistake with {patient}")

    async with aiodicom.serve_archive(tmp_path, port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, observer=bad) as pacs:
            await pacs.echo()
    assert len(calls) == 1
    assert "an observer failed" in caplog.text
    assert "RuntimeError" in caplog.text
    assert ", in bad" in caplog.text
    assert patient not in caplog.text


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(TRACE, logger="aiodicom")
    caplog.set_level(TRACE, logger="aiodicom.association")
    return caplog


async def test_no_patient_and_no_passcode_in_the_log(
    tmp_path: Path, everything_logged: pytest.LogCaptureFixture
) -> None:
    """A canary in every data set, query and identity; every service; both ends log into this process."""
    write_series(
        tmp_path / "in", slices=2, rows=16, columns=16, patient_id=CANARY, patient_name=f"{CANARY}^Given"
    )
    identity = aiodicom.UserIdentityRQ(2, b"CANARYUSER", b"CANARYPASS", True)
    async with aiodicom.serve_archive(tmp_path / "archive", port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, user_identity=identity) as pacs:
            await pacs.echo()
            assert (await pacs.store(tmp_path / "in")).ok
            found = await pacs.find("STUDY", {"PatientName": "CANARY*"}, ["PatientID", "PatientName"])
            await pacs.find("PATIENT", {"PatientID": "CANARY"})
            assert found
            result = await pacs.get("STUDY", found[0].StudyInstanceUID, directory=tmp_path / "out")
            assert result.ok
    text = everything_logged.text
    assert "C-FIND-RQ id" in text
    assert "A-ASSOCIATE-RQ" in text
    assert CANARY not in text
    assert CANARY.encode().hex(" ") not in text


async def test_levels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with aiodicom.serve_archive(tmp_path, port=0) as server:
        said = {}
        for level in (logging.WARNING, logging.INFO, logging.DEBUG, TRACE):
            caplog.clear()
            caplog.set_level(level, logger="aiodicom.association")
            async with aiodicom.connect("127.0.0.1", server.port) as pacs:
                await pacs.echo()
            for association in server.server.associations:
                await association.wait_closed()
            said[level] = [one.getMessage() for one in caplog.records if one.name == "aiodicom.association"]
    assert said[logging.WARNING] == []
    assert all("association" in line for line in said[logging.INFO])
    assert any(" opened: " in line for line in said[logging.INFO])
    assert any(" released after " in line for line in said[logging.INFO])
    assert any("C-ECHO-RQ id 1 Verification" in line for line in said[logging.DEBUG])
    assert len(said[TRACE]) > len(said[logging.DEBUG]) > len(said[logging.INFO])


def test_nobody_watching_makes_no_tap() -> None:
    logging.getLogger("aiodicom.association").setLevel(logging.WARNING)
    try:
        assert tap.make_tap(None, peer=lambda: "", requestor=True) is None
    finally:
        logging.getLogger("aiodicom.association").setLevel(logging.NOTSET)


BASE = {"number": 3, "at": 0.0, "peer": "X@h:1", "requestor": True}


@pytest.mark.parametrize("kind", list(m.MESSAGES.values()))
def test_every_message_has_a_line_and_the_standard_s_name(kind: type[m.Message]) -> None:
    values: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            values[field.name] = 0 if "int" in str(field.type) else "1.2.3"
    message = kind(**values)
    line = line_of(MessageEvent(**BASE, sent=True, context_id=1, abstract_syntax=None, message=message))
    assert line is not None
    assert line.startswith("#3 -> ")
    service, _, which = name_of(message).rpartition("-")
    assert which in ("RQ", "RSP")
    assert service in {
        "C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE", "C-CANCEL",
        "N-EVENT-REPORT", "N-GET", "N-SET", "N-ACTION", "N-CREATE", "N-DELETE",
    }  # fmt: skip


def test_a_comment_of_the_peer_stands_in_no_line() -> None:
    message = m.CFindRSP(message_id_being_responded_to=1, status=0xC000, error_comment="CANARY")
    line = line_of(MessageEvent(**BASE, sent=False, context_id=1, abstract_syntax=None, message=message))
    assert line is not None
    assert "C000H" in line
    assert CANARY not in line


@pytest.mark.parametrize("cut", [0, 1, 3, 20, 70, 90])
def test_identities_are_struck_out_even_where_the_pdu_is_cut(cut: int) -> None:
    from aiodicom.pdu.codec import encode
    from aiodicom.pdu.types import AAssociateRQ, PresentationContextRQ, UserIdentityRQ, UserInformation

    request = AAssociateRQ(
        called_ae="A",
        calling_ae="B",
        presentation_contexts=(PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
        user_information=UserInformation(
            implementation_class_uid="1.2.3", user_identity=UserIdentityRQ(2, b"CANARY", b"CANARY")
        ),
    )
    body = encode(request)[6:]
    body = body[: len(body) - cut]
    clean = without_identity("A-ASSOCIATE-RQ", body)
    assert len(clean) == len(body)
    assert b"CANAR" not in clean
    event = PduEvent(**BASE, sent=True, name="A-ASSOCIATE-RQ", length=len(body), body=body)
    assert not any("43 41 4e 41 52 59" in line for line in hex_lines(event))
    assert len(list(hex_lines(event))) == (min(len(body), lines.HEX_BYTES) + 15) // 16


def test_requests_that_are_never_answered_are_not_kept_without_end() -> None:
    found: list[Event] = []
    watched = Tap([found.append], peer=lambda: "", requestor=True)
    for number in range(tap.MAXIMUM_REQUESTS + 100):
        command = m.encode_message(m.CEchoRQ(message_id=number % 65536))
        body = (len(command) + 2).to_bytes(4, "big") + b"\x01\x03" + command
        watched.data(sent=True, data=memoryview(b"\x04\x00" + len(body).to_bytes(4, "big") + body))
    assert len(watched._running[True]) == tap.MAXIMUM_REQUESTS
