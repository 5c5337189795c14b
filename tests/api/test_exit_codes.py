"""Every exit code, and the one sentence that goes with it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import VERIFICATION
from aiodicom.imaging.phantom import phantom_uid
from aiodicom.pdu import AAbort, AAssociateRJ, AAssociateRQ
from aiodicom.pdu.uids import IMPLICIT_VR_LITTLE_ENDIAN
from aiodicom.testing import ScriptedListener
from archive_objects import files_below
from peers.misbehaving import Misbehaving, Ways
from wire import CT, IMPLICIT, accept_as, accepted, ct, hear, identifier, implicit, reply, say, store_request

from .conftest import Files, Invoke, Result, Served, start

STUDY = phantom_uid("PHANTOM-1", 1)
FIND = "1.2.840.10008.5.1.4.1.2.1.1"


async def against(
    script: Callable[[ScriptedListener], Awaitable[Any]], invoke: Invoke, command: str, *arguments: object
) -> Result:
    """Run a command against a scripted peer: both sides to their ends."""
    async with ScriptedListener() as listener:
        called = asyncio.create_task(
            asyncio.to_thread(invoke, command, "127.0.0.1", listener.port, *arguments)
        )
        playing = asyncio.ensure_future(script(listener))
        await asyncio.wait({called, playing}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            await playing  # a script that failed fails the test, and closes the peer
        result = await called
        await playing
        return result


# --- 1: failed, or failed in part


def test_a_truncated_file_among_good_ones(
    invoke: Invoke, archive: Served, series: Path, tmp_path: Path
) -> None:
    whole = sorted(series.iterdir())
    (tmp_path / "whole.dcm").write_bytes(whole[0].read_bytes())
    (tmp_path / "cut.dcm").write_bytes(whole[1].read_bytes()[:-100])
    result = invoke("store", "127.0.0.1", archive.port, tmp_path, "--json")
    assert result.code == 1
    assert result.error == "1 of 2 objects not stored"
    found = result.json()
    assert (found["ok"], found["stored"], found["failed"]) == (False, 1, 1)
    (bad,) = [item for item in found["items"] if not item["ok"]]
    assert bad["path"].endswith("cut.dcm")
    assert "truncated" in bad["error"]


def test_nothing_to_store(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear colleague")
    result = invoke("store", "127.0.0.1", archive.port, tmp_path)
    assert result.code == 1
    assert "nothing to store" in result.error
    assert "letter.txt: not DICOM" in result.out


def test_nothing_to_retrieve(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    result = invoke("get", "127.0.0.1", archive.port, "--level", "STUDY", "1.2.3", "--out", tmp_path)
    assert result.code == 1
    assert result.error.startswith("the peer has nothing of that key")


async def test_a_failure_status(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer), 0xA900, error_comment="not \x1b[31mmine")
        await peer.answer_release()

    result = await against(script, invoke, "find", "PatientID=1")
    assert result.code == 1
    assert "A900H failure: error: identifier does not match the SOP class" in result.error
    assert "\x1b" not in result.err


def test_no_volume(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("volume", tmp_path, "--json")
    assert result.code == 1
    assert "no image" in result.error
    assert result.json()["error"]["exit_code"] == 1


def test_serve_on_a_port_that_is_taken(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    result = invoke("serve", tmp_path, "--host", "127.0.0.1", "--port", archive.port)
    assert result.code == 1
    assert "in use" in result.error


def test_serve_of_a_folder_that_is_served(invoke: Invoke, archive: Served) -> None:
    result = invoke("serve", archive.folder, "--host", "127.0.0.1", "--port", 0)
    assert result.code == 1
    assert result.out == ""


def test_serve_of_a_folder_whose_index_is_broken(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"something else entirely" * 100)
    result = invoke("serve", tmp_path, "--host", "127.0.0.1", "--port", 0)
    assert result.code == 1
    assert "remove it to have it rebuilt from the files" in result.error


# --- 2: usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["PatientNme=X"], "unknown keyword 'PatientNme'; did you mean PatientName"),
        (["--return", "StudyDat"], "did you mean StudyDate"),
        (["--level", "PATIENT", "--root", "STUDY"], "level PATIENT is not in the STUDY root"),
        (
            ["--level", "STUDY", "Modality=MR"],
            "Modality is a key of the SERIES level, below the query's STUDY",
        ),
        (["PatientName"], "'PatientName' is not of the form KEYWORD=VALUE"),
        (["--level", "FRAME"], "'FRAME' is not one of"),
        (["--calling", "x" * 17], "is no AE title"),
        (["--calling", "a\\b"], "is no AE title"),
        (["--connect-timeout", "soon"], "'soon' is not a number of seconds"),
        (["--no-tls", "--no-verify-host"], "--no-tls goes with none of"),
    ],
)
def test_a_query_that_cannot_be(invoke: Invoke, closed_port: int, arguments: list[str], words: str) -> None:
    """Told before anything is sent: the port is closed."""
    result = invoke("find", "127.0.0.1", closed_port, *arguments)
    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["get", "--level", "SERIES", "no*uid", "--out", "x"], "'no*uid' is no UID, so no SeriesInstanceUID"),
        (["get", "--level", "SERIES", "1.2.*", "--out", "x"], "is no UID"),
        (["get", "--level", "SERIES", "--out", "x"], "Missing argument 'UID...'"),
        (["get", "--level", "SERIES", "1.2"], "Missing option '--out'"),
        (["get", "--level", "PATIENT", "--root", "STUDY", "1", "--out", "x"], "is not in the STUDY root"),
        (["move", "--level", "SERIES", "1.2"], "give either --destination or --out"),
        (["move", "--level", "SERIES", "1.2", "--destination", "X", "--listen-port", "1"], "goes with --out"),
        (
            ["move", "--level", "SERIES", "1.2", "--destination", "X", "--listen-tls"],
            "--listen-tls goes with",
        ),
        (
            ["move", "--level", "SERIES", "1.2", "--destination", "X", "--durability", "rename"],
            "--durability goes with --out",
        ),
        *(
            (["move", "--level", "SERIES", "1.2", "--destination", "X", *said], "goes with --out")
            for said in (
                ["--durability", "fsync"],
                ["--layout", "uids"],
                ["--layout", "patient"],
                ["--skip-present"],
                ["--no-skip-present"],
                ["--max-object-size", "5"],
                ["--accept-from", "10.0.0.0/8"],
            )
        ),
        (
            ["move", "--level", "SERIES", "1.2", "--out", "x", "--listen-port", "104", "--listen-tls"],
            "--listen-tls needs --cert",
        ),
        (["store", "nowhere"], "Path 'nowhere' does not exist"),
        (["echo", "--trusted", __file__], "is not in PEM format"),
    ],
)
def test_a_command_that_cannot_be(invoke: Invoke, closed_port: int, arguments: list[str], words: str) -> None:
    result = invoke(arguments[0], "127.0.0.1", closed_port, *arguments[1:])
    assert result.code == 2
    assert words in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--destination", "OTHER"], "'OTHER' is not of the form NAME=HOST:PORT"),
        (["--destination", "OTHER=host:0"], "is not of the form NAME=HOST:PORT"),
        (["--allow-address", "300.1.1.1"], "300.1.1.1"),
        (["--allow-subject", "CN=x"], "--allow-subject needs TLS"),
        (["--max-associations", "-1"], "is not a number of count"),
        (["--artim-timeout", "off"], "'off' is not a number of seconds"),
    ],
)
def test_an_archive_that_cannot_be(invoke: Invoke, tmp_path: Path, arguments: list[str], words: str) -> None:
    result = invoke("serve", tmp_path, *arguments)
    assert result.code == 2
    assert words in result.err


# --- 3: no connection


def test_a_refused_port(invoke: Invoke, closed_port: int) -> None:
    result = invoke("echo", "127.0.0.1", closed_port, "--json")
    assert result.code == 3
    assert result.error.startswith(f"no connection to ANY-SCP@127.0.0.1:{closed_port}: ")
    assert result.json() == {
        "ok": False,
        "error": {"type": "ConnectionRefused", "message": result.error, "exit_code": 3},
    }


def test_an_unknown_host(invoke: Invoke) -> None:
    result = invoke("echo", "nowhere.invalid", 104)
    assert result.code == 3
    assert "'nowhere.invalid' does not resolve" in result.error


def test_tls_on_one_side_only(invoke: Invoke, archive: Served, secure_archive: Served, pem: Files) -> None:
    ours = invoke("echo", "localhost", archive.port, "--trusted", pem.trusted)
    assert ours.code == 3
    assert "TLS on one side only" in ours.error
    theirs = invoke("echo", "localhost", secure_archive.port)
    assert theirs.code == 3
    assert "TLS on one side only" in theirs.error


def test_no_certificate_where_one_is_wanted(invoke: Invoke, secure_archive: Served, pem: Files) -> None:
    result = invoke("echo", "localhost", secure_archive.port, "--trusted", pem.trusted)
    assert result.code == 3
    assert "certificate" in result.error


async def test_a_web_server(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.drain_until_close()

    result = await against(script, invoke, "echo", "--artim-timeout", 0.2)
    assert result.code == 3
    assert "HTTP" in result.error


# --- 4: rejected


def test_a_wrong_called_title(invoke: Invoke, secure_archive: Served, pem: Files) -> None:
    result = invoke(
        *("echo", "localhost", secure_archive.port, "--called", "WRONG"),
        *("--key", pem.client_key, "--cert", pem.client_cert, "--trusted", pem.trusted),
    )
    assert result.code == 4
    assert "called AE title not recognized" in result.error


async def test_a_caller_that_is_not_known(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.send(AAssociateRJ(1, 1, 3))
        await peer.drain_until_close()

    result = await against(script, invoke, "echo")
    assert result.code == 4
    assert "calling AE title not recognized" in result.error
    assert "--calling" in result.error


# --- 5: aborted, lost, broken


async def test_a_peer_that_aborts(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer)
        await peer.send(AAbort(2, 6))
        await peer.drain_until_close()

    result = await against(script, invoke, "echo")
    assert result.code == 5
    assert "service provider: invalid PDU parameter value" in result.error


async def test_a_peer_that_vanishes(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer)
        await peer.reset()

    assert (await against(script, invoke, "echo")).code == 5


async def test_a_success_is_none_when_the_association_does_not_end_in_order(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer), 0)
        await peer.receive()  # the A-RELEASE-RQ
        await peer.send(AAbort(0, 0))
        await peer.drain_until_close()

    result = await against(script, invoke, "echo")
    assert result.code == 5
    assert result.out == ""


FEW = [ct(f"1.2.3.1.{n}", SeriesInstanceUID="1.2.3.1") for n in range(3)]


async def retrieved(invoke: Invoke, ways: Ways, tmp_path: Path, *more: object) -> Result:
    """A study of three objects from a peer that misbehaves."""
    async with Misbehaving(FEW, ways) as peer:
        how = ("--level", "STUDY", "1.2.3", "--root", "STUDY", "--out", tmp_path / "out", *more)
        return await asyncio.to_thread(invoke, "get", "127.0.0.1", peer.port, *how)


async def test_a_query_of_ours_that_is_aborted_is_no_failure_of_the_retrieve(
    invoke: Invoke, tmp_path: Path
) -> None:
    ways = Ways(relational="abort", hierarchical="abort")
    result = await retrieved(invoke, ways, tmp_path, "--json")
    assert result.code == 0
    assert result.json()["ok"] is True
    assert result.json()["received"] == 3


@pytest.mark.parametrize("how", ["--json", "--no-progress"])
async def test_what_was_retrieved_is_told_when_the_association_does_not_end_in_order(
    invoke: Invoke, tmp_path: Path, how: str
) -> None:
    result = await retrieved(invoke, Ways(released=False), tmp_path, how)
    assert result.code == 5
    assert "aborted" in result.error
    if how == "--json":
        found = result.json()
        assert (found["ok"], found["outcome"], found["received"]) == (False, "complete", 3)
        assert found["error"]["type"] == "AssociationAborted"
        assert found["error"]["exit_code"] == 5
        assert len(found["items"]) == 3
    else:
        assert "received 3 objects" in result.out


async def test_what_was_stored_is_told_when_the_association_does_not_end_in_order(
    invoke: Invoke, series: Path
) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        for _ in sorted(series.iterdir()):
            await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await peer.receive()  # the A-RELEASE-RQ
        await peer.send(AAbort(0, 0))
        await peer.drain_until_close()

    result = await against(script, invoke, "store", series, "--json")
    assert result.code == 5
    assert (result.json()["ok"], result.json()["stored"]) == (False, 4)


async def test_a_retrieve_that_brings_nothing_says_what_it_misses(invoke: Invoke, tmp_path: Path) -> None:
    result = await retrieved(invoke, Ways(drop_after=0), tmp_path, "--json")
    assert result.code == 5
    found = result.json()
    assert (found["ok"], found["outcome"], found["status"]) == (False, "failed", None)
    assert found["error"]["type"] == "ConnectionClosed"
    assert len(found["missing"]) == 3


async def test_what_the_peer_counted_and_did_not_send_is_told(invoke: Invoke, tmp_path: Path) -> None:
    lost = frozenset({"1.2.3.1.1"})
    ways = Ways(relational="refuse", hierarchical="refuse", keep_back=lost, count_kept=True)
    result = await retrieved(invoke, ways, tmp_path)
    assert result.code == 1
    assert result.error == "1 counted by the peer did not come"


@pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")
async def test_what_has_a_hash_for_a_name_is_told(invoke: Invoke, tmp_path: Path) -> None:
    objects = [ct("LOCALIZER2.16.124.1"), ct("1.2.3.1.1")]
    async with Misbehaving(objects) as peer:
        how = ("--level", "STUDY", "1.2.3", "--root", "STUDY", "--out", tmp_path / "out")
        for _ in range(2):  # when it comes, and when it lies there
            result = await asyncio.to_thread(invoke, "get", "127.0.0.1", peer.port, *how)
            assert result.code == 0
            assert "named by a hash, for their UID is none: 1\n  LOCALIZER2.16.124.1: " in result.out


# --- 6: time


async def test_a_peer_that_does_not_answer_the_request(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.drain_until_close()

    result = await against(script, invoke, "echo", "--association-timeout", 0.2, "--artim-timeout", 0.2)
    assert result.code == 6
    assert "no answer to the A-ASSOCIATE-RQ within 0.2 s" in result.error


async def test_a_peer_that_falls_silent(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer)
        await peer.drain_until_close()

    result = await against(script, invoke, "echo", "--inactivity-timeout", 0.2, "--artim-timeout", 0.2)
    assert result.code == 6
    assert "nothing moved for 0.2 s" in result.error


# --- 7: no presentation context


async def test_a_service_that_is_refused(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, answer=accept_as(IMPLICIT_VR_LITTLE_ENDIAN, refuse=[VERIFICATION]))
        await peer.answer_release()

    result = await against(script, invoke, "echo")
    assert result.code == 7
    assert "Verification SOP Class" in result.error
    assert "abstract syntax not supported" in result.error


async def test_a_storage_class_that_is_refused(invoke: Invoke, series: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, answer=accept_as("1.2.840.10008.1.2.2"))
        await peer.answer_release()

    result = await against(script, invoke, "store", series)
    assert result.code == 7
    assert "4 of 4 objects not stored" in result.error


# --- 130: interrupted


async def test_an_interrupt() -> None:
    async with ScriptedListener() as listener:
        process = start("echo", "127.0.0.1", listener.port)
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        process.send_signal(signal.SIGINT)
        await peer.drain_until_close()
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "aiodicom: interrupted")


@pytest.mark.parametrize("how", ["--json", "--no-progress"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_get_that_is_stopped_says_what_is_there(
    tmp_path: Path, how: str, number: signal.Signals, code: int
) -> None:
    """The retrieve is cancelled in order, and what was received is reported."""
    async with ScriptedListener() as listener:
        process = start(
            "get", "127.0.0.1", listener.port, "--level", "SERIES", "1.2.3.4", "--out", tmp_path / "out", how
        )
        peer, _ = await accepted(listener)
        query = await hear(peer, m.CFindRQ)
        for uid in ("1.2.3.4", "1.2.3.5"):
            one = {"SOPInstanceUID": uid, "SOPClassUID": CT}
            await reply(peer, query, 0xFF00, identifier("IMAGE", SeriesInstanceUID="1.2.3.4", **one))
        await reply(peer, query, 0)
        await peer.answer_release()
        peer, request = await accepted(listener)
        heard = await hear(peer, m.CGetRQ)
        [context_id] = [
            one.context_id
            for one in request.presentation_contexts
            if one.abstract_syntax == CT and one.transfer_syntaxes[0] == IMPLICIT
        ]
        await say(peer, context_id, store_request(uid="1.2.3.4"), implicit(ct("1.2.3.4")))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0
        process.send_signal(number)
        await hear(peer, m.CCancelRQ)
        await reply(peer, heard, 0xFE00, completed=1, failed=0, warning=0)
        await peer.answer_release()
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == code
    assert err.strip() == f"aiodicom: {'interrupted' if code == 130 else 'terminated'}"
    if how == "--json":
        report = json.loads(out)
        assert report["interrupted"] is True
        assert report["ok"] is False
        assert report["missing"] == ["1.2.3.5"]
        assert [one["sop_instance_uid"] for one in report["items"]] == ["1.2.3.4"]
    else:
        assert "received 1 object" in out
        assert "missing: 1" in out
    assert [name for name in files_below(tmp_path / "out") if name.endswith(".part")] == []


@pytest.mark.parametrize("how", ["--json", "--no-progress"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_store_that_is_stopped_says_what_is_there(
    series: Path, how: str, number: signal.Signals, code: int
) -> None:
    """What the peer answered for is reported; the rest is named as not answered, or not sent."""
    async with ScriptedListener() as listener:
        process = start("store", "127.0.0.1", listener.port, series, how)
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CStoreRQ)
        await reply(peer, heard, 0)
        await hear(peer, m.CStoreRQ)
        process.send_signal(number)
        await peer.drain_until_close()
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == code
    assert err.strip() == f"aiodicom: {'interrupted' if code == 130 else 'terminated'}"
    if how == "--json":
        report = json.loads(out)
        assert report["interrupted"] is True
        assert report["ok"] is False
        assert (report["stored"], report["failed"]) == (1, 3)
        reasons = sorted(one["error"].split(":")[0] for one in report["items"] if one["error"])
        assert reasons == ["not answered", "not sent", "not sent"]
    else:
        assert "stored 1 object" in out
        assert "not stored, or with a warning: 3" in out
