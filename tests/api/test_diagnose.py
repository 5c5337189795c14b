"""`aiodicom diagnose`: the step that fails, and the likely cause in words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
from aiodicom.association.connect import WINDOW, Peer
from aiodicom.association.errors import AssociationTimeout, Cause
from aiodicom.association.timeouts import Timeouts
from aiodicom.association.tls import client_context
from aiodicom.client import diagnose as module
from aiodicom.client.diagnose import PRIVATE_CLASS, diagnose
from aiodicom.client.diagnosis import Diagnosis, Outcome
from aiodicom.dimse import uid_names
from aiodicom.dimse.contexts import VERIFICATION
from aiodicom.dimse.messages import CEchoRQ
from aiodicom.pdu import AAssociateRJ, AAssociateRQ
from aiodicom.pdu.uids import IMPLICIT_VR_LITTLE_ENDIAN
from aiodicom.server.archive_service import serve_archive
from aiodicom.testing import ScriptedListener
from wire import accept_as, accepted, hear, reply

from .conftest import Files, Invoke, Served, serve, stop
from .test_exit_codes import against

SHORT = Timeouts(connect=5, association=5, inactivity=5, artim=0.2)


def outcomes(found: Diagnosis) -> dict[str, str]:
    return {step.name: step.outcome.value for step in found.steps}


def causes(found: Diagnosis) -> list[Cause | None]:
    """What of ours the failed steps point at."""
    return [step.cause for step in found.steps if step.outcome is Outcome.FAILED]


def failed(found: Diagnosis) -> tuple[str, str, str]:
    """Name, text and advice of the one step that failed."""
    (step,) = [step for step in found.steps if step.outcome is Outcome.FAILED]
    return step.name, step.text, step.advice


async def test_all_is_well(archive: Served) -> None:
    found = await diagnose(Peer(host="127.0.0.1", port=archive.port))
    assert found.ok
    assert found.error is None
    assert outcomes(found) == {
        "name": "ok",
        "tcp": "ok",
        "tls": "skipped",
        "association": "ok",
        "contexts": "ok",
        "echo": "ok",
        "release": "ok",
    }
    accepted_classes = {answer.name for answer in found.contexts if answer.accepted}
    assert any("CT Image Storage" in name for name in accepted_classes)
    assert not all(answer.accepted for answer in found.contexts)
    assert found.info is not None


@pytest.mark.parametrize("private", [True, False])
async def test_whether_private_classes_are_taken_is_said(tmp_path: Path, private: bool) -> None:
    async with serve_archive(tmp_path / "archive", port=0, promiscuous=private) as server:
        found = await diagnose(Peer(host="127.0.0.1", port=server.port))
    [answer] = [one for one in found.contexts if one.abstract_syntax == PRIVATE_CLASS]
    assert (answer.name, answer.accepted) == ("A private SOP class", private)


async def test_an_unknown_host() -> None:
    name, text, advice = failed(await diagnose(Peer(host="nowhere.invalid", port=104, timeouts=SHORT)))
    assert (name, "does not resolve" in text, "spelling" in advice) == ("name", True, True)


async def test_nobody_listens(closed_port: int) -> None:
    name, text, advice = failed(await diagnose(Peer(host="127.0.0.1", port=closed_port)))
    assert name == "tcp"
    assert "nothing listens on this port" in advice
    assert text.endswith("127.0.0.1: connection refused")


async def test_plain_on_a_tls_port(secure_archive: Served) -> None:
    name, _, advice = failed(await diagnose(Peer(host="127.0.0.1", port=secure_archive.port, timeouts=SHORT)))
    assert name == "association"
    assert advice.startswith("TLS on one side only: the port speaks TLS")


async def test_tls_on_a_plain_port(archive: Served, pem: Files) -> None:
    tls = client_context(trusted=pem.trusted)
    name, _, advice = failed(await diagnose(Peer(host="localhost", port=archive.port, tls=tls)))
    assert name == "tls"
    assert advice.startswith("TLS on one side only: the port speaks DICOM without TLS")


QUICK = ("--artim-timeout", 0.1, "--association-timeout", 1)


async def test_tls_on_the_port_of_an_archive_that_hangs_up(invoke: Invoke, pem: Files) -> None:
    """As Orthanc and DCMTK do."""

    async def script(listener: ScriptedListener) -> None:
        await (await listener.next_connection()).expect_close()  # the TCP step
        peer = await listener.next_connection()
        await peer.receive_bytes(6)
        await peer.close()
        await accepted(listener)

    result = await against(script, invoke, "diagnose", "--trusted", pem.trusted, *QUICK)
    assert result.code == 3
    assert "TLS on one side only" in result.error
    assert "the port speaks DICOM without TLS" in result.out


async def test_an_authority_that_is_not_trusted(secure_archive: Served) -> None:
    peer = Peer(host="localhost", port=secure_archive.port, tls=client_context())
    found = await diagnose(peer)
    name, _, advice = failed(found)
    assert name == "tls"
    assert "trust the authority" in advice
    assert causes(found) == [Cause.TRUST]


async def test_a_certificate_for_another_name(tmp_path: Path, pem: Files) -> None:
    served = serve(tmp_path, "--key", pem.client_key, "--cert", pem.client_cert)
    try:
        tls = client_context(trusted=pem.trusted)
        found = await diagnose(Peer(host="localhost", port=served.port, tls=tls))
    finally:
        assert stop(served) == 0
    name, _, advice = failed(found)
    assert name == "tls"
    assert "whatever host it names" in advice
    assert causes(found) == [Cause.HOST_NAME]


async def test_our_certificate_is_missing(secure_archive: Served, pem: Files) -> None:
    tls = client_context(trusted=pem.trusted)
    found = await diagnose(Peer(host="localhost", port=secure_archive.port, tls=tls, called_ae="SECURE"))
    assert not found.ok
    _, text, advice = failed(found)
    assert "certificate" in text + advice


async def test_a_wrong_called_title(secure_archive: Served, pem: Files) -> None:
    tls = client_context(pem.client_key, pem.client_cert, pem.trusted)
    name, text, advice = failed(await diagnose(Peer(host="localhost", port=secure_archive.port, tls=tls)))
    assert name == "association"
    assert "called AE title not recognized" in text
    assert advice.startswith("wrong AE title: the peer is not 'ANY-SCP'")
    assert "'AIODICOM'" in advice  # dcmqrscp answers so to a caller that it does not know


async def test_a_caller_that_is_not_registered(tmp_path: Path) -> None:
    served = serve(tmp_path, "--allow-calling", "SCANNER")
    try:
        found = await diagnose(Peer(host="127.0.0.1", port=served.port))
    finally:
        assert stop(served) == 0
    name, _, advice = failed(found)
    assert name == "association"
    assert advice.startswith("caller not registered: the peer does not know 'AIODICOM'")


async def test_a_peer_that_takes_verification_alone(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()  # the TCP step
        await peer.expect_close()
        peer = await listener.next_connection()
        assert len((await peer.expect(AAssociateRQ)).presentation_contexts) > 10
        await peer.send(AAssociateRJ(1, 1, 1))
        await peer.drain_until_close()
        peer, request = await accepted(listener)
        assert len(request.presentation_contexts) == 1
        await reply(peer, await hear(peer), 0)
        await peer.answer_release()

    result = await against(script, invoke, "diagnose", "--json", "--artim-timeout", 0.2)
    assert result.code == 0, result.err
    steps = {step["name"]: step for step in result.json()["steps"]}
    assert steps["association"]["outcome"] == "warning"
    assert "only for verification alone" in steps["association"]["text"]


async def test_a_web_server_that_waits_for_a_line(invoke: Invoke) -> None:
    """It takes an A-ASSOCIATE-RQ for the beginning of a line; an HTTP request it answers."""

    async def script(listener: ScriptedListener) -> None:
        await (await listener.next_connection()).expect_close()  # the TCP step
        while True:
            peer = await listener.next_connection()
            first = await peer.receive_bytes(5)
            if first == b"OPTIO":
                await peer.send(b"HTTP/1.0 501 Unsupported method\r\n\r\n")
                await peer.close()
                return

    times = ("--association-timeout", 0.2, "--connect-timeout", 0.5, "--artim-timeout", 0.1)
    result = await against(script, invoke, "diagnose", *times)
    assert result.code == 6
    assert "the port belongs to another service (HTTP)" in result.out


async def test_a_port_that_answers_with_rubbish(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        await (await listener.next_connection()).expect_close()  # the TCP step
        for _ in range(2):
            peer = await listener.next_connection()
            await peer.expect(AAssociateRQ)
            await peer.send(bytes(range(64)))
            await peer.drain_until_close()
        await (await listener.next_connection()).close()  # is it TLS?

    result = await against(script, invoke, "diagnose", "--artim-timeout", 0.1)
    assert result.code == 5
    assert "not DICOM, or breaks its rules" in result.out
    assert "have us registered" not in result.out


async def test_a_refused_sop_class(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect_close()
        peer, _ = await accepted(listener, answer=accept_as(IMPLICIT_VR_LITTLE_ENDIAN, refuse=[VERIFICATION]))
        await peer.answer_release()

    result = await against(script, invoke, "diagnose")
    assert result.code == 7
    assert "SOP class refused" in result.out
    assert "Verification SOP Class" in result.error


async def test_an_echo_that_is_not_allowed(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect_close()
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer), 0x0124)
        await peer.answer_release()

    result = await against(script, invoke, "diagnose")
    assert result.code == 1
    assert "0124H failure: not authorized" in result.error
    assert "have our AE title given the right" in result.out


def test_a_needed_class_is_a_failure_when_refused(invoke: Invoke, archive: Served) -> None:
    worklist = "1.2.840.10008.5.1.4.31"
    assert invoke("diagnose", "127.0.0.1", archive.port).code == 0
    result = invoke("diagnose", "127.0.0.1", archive.port, "--need", worklist)
    assert result.code == 7
    assert "Modality Worklist" in result.error


def test_what_is_needed_must_be_a_uid(invoke: Invoke, closed_port: int) -> None:
    result = invoke("diagnose", "127.0.0.1", closed_port, "--need", "CTImageStorage")
    assert result.code == 2
    assert "'CTImageStorage' is no UID" in result.err


@pytest.mark.parametrize("json", [False, True])
def test_the_exit_code_is_that_of_the_step(invoke: Invoke, closed_port: int, json: bool) -> None:
    result = invoke("diagnose", "127.0.0.1", closed_port, *(["--json"] if json else []))
    assert result.code == 3
    if json:
        found = result.json()
        assert found["ok"] is False
        assert found["error"]["type"] == "ConnectionRefused"
        assert [step["outcome"] for step in found["steps"]] == ["ok", "failed"]
    else:
        assert "FAILED" in result.out


_WATCHED = """
import asyncio, sys
from aiodicom.association.connect import WINDOW, Peer
from aiodicom.client.diagnose import diagnose
found = asyncio.run(diagnose(Peer(host="127.0.0.1", port=int(sys.argv[1])), needed=sys.argv[2:]))
assert found.contexts and all(found.contexts)
for one in found.contexts:
    assert one.name != one.abstract_syntax or one.abstract_syntax == "1.2.3.4", one
print([name for name in sys.modules if name.split(".")[0] == "pydicom"])
"""


@pytest.mark.parametrize("needed", [(), ("1.2.840.10008.5.1.4.1.1.481.5",)])
def test_names_load_nothing_in_the_loop(archive: Served, needed: tuple[str, ...]) -> None:
    """pydicom takes a fifth of a second to load."""
    ran = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(archive.port), *needed],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "[]\n", ran.stderr


async def test_names_that_are_not_at_hand_are_looked_up_beside_the_loop(
    archive: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    @cache
    def look(uid: str) -> str:
        asked.append((uid, threading.current_thread() is threading.main_thread()))
        return "Verification SOP Class"

    monkeypatch.setattr(uid_names, "_look_up", look)
    other = "1.2.840.10008.5.1.4.33"  # Substance Administration Logging, which nothing proposes of itself
    found = await diagnose(Peer(host="127.0.0.1", port=archive.port), needed=[other, "1.2.3.4"])
    assert not found.ok
    assert asked
    assert not [one for one in asked if one[1]]


def test_what_is_learned_goes_to_a_node(invoke: Invoke, archive: Served) -> None:
    result = invoke("diagnose", "127.0.0.1", archive.port, "--learn")
    assert result.code == 2
    assert "--learn goes with @NODE" in result.err


def test_learned_in_words(
    invoke: Invoke, archive: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tmp_path / "nodes.toml"
    nodes.write_text(f'[nodes.ours]\nhost = "127.0.0.1"\nport = {archive.port}\n')
    monkeypatch.setenv("AIODICOM_CONFIG", str(nodes))
    result = invoke("diagnose", "@ours", "--learn")
    assert result.code == 0, result.err
    assert "asynchronous operations window: borne: 16 operations at once" in result.out
    assert "[nodes.ours.quirks] says so of" in result.out
    assert 'methods = ["get"]' in nodes.read_text()
    nodes.write_text(nodes.read_text().replace(f"port = {archive.port}", "port = 9"))
    before = nodes.read_text()
    assert invoke("diagnose", "@ours", "--learn").code == 3
    assert nodes.read_text() == before


async def test_a_silent_port_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the association, and then no other: not that of a handshake, nor the same again."""
    monkeypatch.setattr(module, "PROBE", 0.2)
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        timeouts = Timeouts(connect=600, association=600, artim=0.1)
        walk = module._Walk(Peer(host="127.0.0.1", port=port, timeouts=timeouts), ())
        error = AssociationTimeout("no answer", limit="association", seconds=600)
        async with asyncio.timeout(30):
            with pytest.raises(AssociationTimeout):
                await walk._look_into_silence(error, 100)
        await walk.close()
        assert walk.steps[-1].text == "no answer"
        assert "says nothing" in (walk.steps[-1].advice or "")
        while len(held) < 3:  # verification alone, TLS, HTTP: all of them at once
            await asyncio.sleep(0.001)
        for one in held:
            one.close()


@pytest.mark.parametrize("offered", [True, False])
async def test_a_peer_that_drops_what_offers_a_window(offered: bool) -> None:
    """It is asked again without, as every client does, and that is said."""

    async def script(listener: ScriptedListener) -> None:
        await (await listener.next_connection()).close()  # whether the port takes connections at all
        if offered:
            dropping = await listener.next_connection()
            assert (await dropping.expect(AAssociateRQ)).user_information.async_operations == WINDOW
            await dropping.close()
        peer, request = await accepted(listener)
        assert request.user_information.async_operations is None
        await reply(peer, await hear(peer, CEchoRQ), 0)
        await peer.answer_release()

    async with ScriptedListener() as listener:
        window = WINDOW if offered else None
        peer = Peer(host="127.0.0.1", port=listener.port, timeouts=SHORT, async_operations=window)
        found, _ = await asyncio.gather(diagnose(peer), script(listener))
    assert found.ok
    assert outcomes(found)["association"] == ("warning" if offered else "ok")
    told = [step for step in found.steps if "only without an asynchronous operations window" in step.text]
    assert len(told) == offered
