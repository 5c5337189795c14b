"""Opening an association: each way it can fail has an error of its own that names the cause."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme
from aiodicom.association.association import Association
from aiodicom.association.connect import Peer, associate
from aiodicom.association.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    ContextNotAccepted,
    HostUnknown,
    NotDicomPeer,
    TimeoutExpired,
    TLSFailed,
)
from aiodicom.association.timeouts import Timeouts
from aiodicom.association.tls import client_context, server_context
from aiodicom.client.connect import test_connection
from aiodicom.client.pacs import Pacs
from aiodicom.dimse.contexts import Proposal
from aiodicom.pdu import (
    AAbort,
    AAssociateRJ,
    AAssociateRQ,
    AiodicomError,
    AReleaseRP,
    AReleaseRQ,
    ConnectionClosed,
    LocalProtocolError,
    UserInformation,
    encode,
)
from aiodicom.testing import ScriptedListener, ScriptedPeer, associate_accept
from conftest import TLSPair
from wire import (
    FIND,
    IMPLICIT,
    PATIENCE,
    STEADY,
    VERIFICATION,
    accept_as,
    accepted,
    hear,
    on_each_loop,
    play,
    reply,
    using,
)

SOON = replace(STEADY, artim=0.1)


# --- no connection


@on_each_loop
async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        client = Pacs(Peer(host="127.0.0.1", port=taken.getsockname()[1]))
        with pytest.raises(ConnectionRefused, match="refused") as caught:
            await using(client)
        assert isinstance(caught.value, ConnectFailed)
        assert not await test_connection(client.peer.host, client.peer.port)


@on_each_loop
async def test_a_host_that_does_not_resolve() -> None:
    with pytest.raises(HostUnknown, match=r"nowhere\.invalid.*does not resolve"):
        await using(Pacs(Peer(host="nowhere.invalid", port=104)))


@pytest.mark.parametrize("host", ["", "a" * 64 + ".invalid", "\u2603" * 70, "..", "a b", "nul\0host"])
async def test_a_host_that_is_no_name(host: str) -> None:
    with pytest.raises(ConnectFailed):
        await using(Pacs(Peer(host=host, port=1)))


async def test_the_second_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = taken.getsockname()

        reached: list[str] = []

        async def script(listener: ScriptedListener) -> None:
            peer, _ = await accepted(listener)
            reached.append("the second")
            await peer.answer_release()

        async def user(client: Pacs) -> None:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")

            async def both(host: str, port: int, **ignored: object) -> list[object]:
                return [(*kind, dead), (*kind, ("127.0.0.1", port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
            await using(client)

        await play(script, user)
        assert reached == ["the second"]


@on_each_loop
async def test_a_listener_whose_backlog_is_full_meets_the_connect_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        try:
            for _ in range(4):  # Linux drops the SYNs beyond the backlog
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            timeouts = replace(STEADY, connect=0.1)
            client = Pacs(Peer(host="127.0.0.1", port=full.getsockname()[1], timeouts=timeouts))
            with pytest.raises(ConnectTimeout, match=r"no connection .* within 0\.1 s") as caught:
                await using(client)
            assert isinstance(caught.value, TimeoutError)
        finally:
            for filler in fillers:
                filler.close()


# --- another protocol


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"220 mail.example ESMTP\r\n", "SMTP or FTP"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "TLS"),
    ],
    ids=["http", "ssh", "smtp", "tls"],
)
@on_each_loop
async def test_a_port_that_speaks_something_else(said: bytes, spoken: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.send(said)
        await peer.expect(AAbort)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(NotDicomPeer, match=f"speaks {spoken} where") as caught:
            await using(client)
        assert caught.value.spoken == spoken

    await play(script, user)


async def test_a_server_that_greets_first() -> None:
    """SSH servers speak before they are spoken to."""

    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        await peer.drain_until_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(NotDicomPeer, match="SSH"):
            await using(client)

    await play(script, user, timeouts=SOON)


@pytest.mark.parametrize("said", [bytes(6), b"\xff" * 64, b"\n" * 6, b"\x04\0\xff\xff\xff\xff", bytes(10)])
async def test_garbage_for_an_answer(said: bytes) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.send(said)
        assert (await peer.expect(AAbort)).source == 2
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match="broke the protocol") as caught:
            await using(client)
        assert not caught.value.by_peer

    await play(script, user)


# --- TLS


@dataclass(frozen=True)
class Certificates:
    """Contexts of one authority, and of what goes wrong with certificates."""

    authority: trustme.CA
    folder: Path

    @property
    def ca(self) -> bytes:
        return self.authority.cert_pem.bytes()

    def issue(self, *names: str, **how: object) -> bytes:
        found = self.authority.issue_cert(*names, **how)  # type: ignore[arg-type]
        return found.private_key_and_cert_chain_pem.bytes()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(trustme.CA(), tmp_path_factory.mktemp("tls"))


@on_each_loop
async def test_both_ends_speak_tls(tls_pair: TLSPair) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await client.echo()
            assert client.info.tls is not None
            assert client.info.tls.version in ("TLSv1.2", "TLSv1.3")

    await play(script, user, server_tls=tls_pair.server, client_tls=tls_pair.client, host="localhost")


@on_each_loop
async def test_a_tls_client_at_a_plain_dicom_port(tls_pair: TLSPair) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.receive_bytes(1)
        await peer.send(AAbort(2, 1))  # what our server, and others, say to a ClientHello
        await peer.drain_until_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(TLSFailed, match="the peer does not speak TLS"):
            await using(client)

    await play(script, user, client_tls=tls_pair.client, host="localhost")


@pytest.mark.parametrize("ending", ["eof", "reset"])
async def test_a_tls_client_at_a_port_that_hangs_up(tls_pair: TLSPair, ending: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.receive_bytes(1)
        await (peer.reset() if ending == "reset" else peer.close())

    async def user(client: Pacs) -> None:
        with pytest.raises(TLSFailed, match="closed the connection during the TLS handshake"):
            await using(client)

    await play(script, user, client_tls=tls_pair.client, host="localhost")


@on_each_loop
async def test_a_plain_client_at_a_tls_port(tls_pair: TLSPair) -> None:
    """A real TLS stack answers an A-ASSOCIATE-RQ with an alert, or hangs up."""

    async with ScriptedListener(ssl=tls_pair.server) as listener:
        client = Pacs(Peer(host="127.0.0.1", port=listener.port, timeouts=SOON))
        with pytest.raises((NotDicomPeer, ConnectionClosed)) as caught:
            await using(client)
        if isinstance(caught.value, NotDicomPeer):
            assert "speaks TLS where plain DICOM was expected" in str(caught.value)


@on_each_loop
async def test_a_tls_handshake_that_stalls_meets_the_connect_timeout(tls_pair: TLSPair) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.drain_until_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(ConnectTimeout, match="no TLS handshake"):
            await using(client)

    timeouts = replace(STEADY, connect=0.2)
    await play(script, user, client_tls=tls_pair.client, host="localhost", timeouts=timeouts)


Make = Callable[[Certificates], "ssl.SSLContext"]
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def _server(certificates: Certificates, *names: str, mutual: bool = False, **how: object) -> ssl.SSLContext:
    pem = certificates.issue(*(names or ("localhost",)), **how)
    return server_context(None, pem, certificates.ca if mutual else None)


def _client(
    certificates: Certificates, pem: bytes | None = None, trusted: bytes | None = None
) -> ssl.SSLContext:
    return client_context(None, pem, trusted or certificates.ca)


_TLS_FAILURES: dict[str, tuple[Make, Make, str]] = {
    "untrusted": (
        _server,
        lambda c: _client(c, trusted=trustme.CA().cert_pem.bytes()),
        "not (signed by|among|trusted)|certificate",
    ),
    "expired": (lambda c: _server(c, "localhost", not_after=YESTERDAY), _client, "certificate has expired"),
    "mismatched": (lambda c: _server(c, "elsewhere.example"), _client, "certificate is for another name"),
    "missing": (lambda c: _server(c, mutual=True), _client, "client certificate|certificate that is missing"),
    "foreign client": (
        lambda c: _server(c, mutual=True),
        lambda c: _client(c, trustme.CA().issue_cert("client").private_key_and_cert_chain_pem.bytes()),
        "certificate",
    ),
}


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("case", _TLS_FAILURES)
@on_each_loop
async def test_certificates_that_will_not_do(
    case: str, newest: ssl.TLSVersion, certificates: Certificates
) -> None:
    make_server, make_client, words = _TLS_FAILURES[case]
    server, caller = make_server(certificates), make_client(certificates)
    server.maximum_version = newest

    async with ScriptedListener(ssl=server) as listener:
        client = Pacs(Peer(host="localhost", port=listener.port, tls=caller, timeouts=SOON))
        with pytest.raises(TLSFailed, match=words) as caught:
            await using(client)
        assert "Traceback" not in str(caught.value)
        assert "_ssl.c" not in str(caught.value)


# --- the association is refused


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (AAssociateRJ(1, 1, 1), "permanently by the service user: no reason given"),
        (AAssociateRJ(1, 1, 2), "application context name not supported"),
        (AAssociateRJ(1, 1, 3), "calling AE title not recognized; .*title it knows"),
        (AAssociateRJ(1, 1, 7), "called AE title not recognized; .*check spelling"),
        (AAssociateRJ(1, 2, 1), r"service provider \(ACSE\): no reason given"),
        (AAssociateRJ(1, 2, 2), "protocol version not supported"),
        (AAssociateRJ(2, 3, 1), "transiently.*temporary congestion; .*later"),
        (AAssociateRJ(2, 3, 2), "transiently.*local limit exceeded; .*later"),
        (AAssociateRJ(2, 1, 1), "transiently by the service user"),
        (AAssociateRJ(9, 9, 9), "unknown result 9 by the unknown source 9: reserved reason 9"),
    ],
    ids=lambda value: (
        f"{value.result}-{value.source}-{value.reason}" if isinstance(value, AAssociateRJ) else ""
    ),
)
async def test_rejections_in_words(answer: AAssociateRJ, words: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        # a rejection for good without a reason may be for the relational extension: asked again without it
        for _ in range(2 if (answer.result, answer.reason) == (1, 1) else 1):
            peer = await listener.next_connection()
            await peer.expect(AAssociateRQ)
            await peer.send(answer)
            assert await peer.expect_close() == "eof"  # AE-4: the requestor closes, at once

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationRejected, match=words) as caught:
            await using(client)
        error = caught.value
        assert (error.result, error.source, error.reason) == (answer.result, answer.source, answer.reason)
        assert error.transient == (answer.result == 2)

    await play(script, user)


@on_each_loop
async def test_a_context_that_is_refused_is_named_with_its_reason() -> None:
    async def script(listener: ScriptedListener) -> None:
        answer = accept_as(IMPLICIT, refuse=[FIND], result=3)
        peer, _ = await accepted(listener, answer=answer)
        await reply(peer, await hear(peer), 0)  # the association goes on being good for the rest
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(ContextNotAccepted, match=f"{FIND}.*abstract syntax not supported"):
                async for _ in client.find("STUDY", root="PATIENT"):
                    raise AssertionError("a match")
            await client.echo()

    await play(script, user)


async def test_every_context_refused() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, answer=accept_as("1.2.3"))
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(ContextNotAccepted, match="transfer syntaxes not supported"):
                await client.echo()

    await play(script, user)


async def test_contexts_the_answer_leaves_out() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        request = await peer.expect(AAssociateRQ)
        await peer.send(replace(associate_accept(request), presentation_contexts=()))
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(ContextNotAccepted, match="not answered"):
                await client.echo()
            assert any("not every proposed context" in str(one) for one in client.info.deviations)

    await play(script, user)


@pytest.mark.parametrize("length", [1, 6, 7, 12, 15])
async def test_a_maximum_length_that_leaves_no_room(length: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.accept(user_information=UserInformation(maximum_length=length))
        assert await peer.expect(AAbort) == AAbort(2, 6)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match=f"maximum length of {length} leaves no room"):
            await using(client)

    await play(script, user)


@pytest.mark.parametrize("length", [16, 17, 64, 0xFFFFFFFF, 0, None])
async def test_a_maximum_length_that_is_kept(length: int | None) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, user_information=UserInformation(maximum_length=length))
        command = b""
        while True:
            pdu = await peer.receive_raw()
            assert pdu[0] == 4
            assert not length or len(pdu) - 6 <= length
            assert len(pdu) % 2 == 0
            command += pdu[12:]
            if pdu[11] & 2:
                break
        assert command[8:12] == (len(command) - 12).to_bytes(4, "little")
        await peer.send(AAbort(0, 0))

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match="the peer aborted"):
            async with client:
                await client.echo()

    await play(script, user)


# --- the peer ends it, or says nothing


@pytest.mark.parametrize("how", ["abort", "fin", "rst", "fin mid-PDU", "rst mid-PDU"])
@on_each_loop
async def test_the_peer_ends_it_before_the_answer(how: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        for extended in (True, False):  # it may be for the relational extension: asked again without it
            peer = await listener.next_connection()
            request = await peer.expect(AAssociateRQ)
            assert bool(request.user_information.extended) == extended
            if how == "abort":
                await peer.send(AAbort(2, 1))
                assert await peer.expect_close() == "eof"
                continue
            if "mid" in how:
                await peer.send(encode(associate_accept(request))[:50])
            await (peer.reset() if "rst" in how else peer.close())

    async def user(client: Pacs) -> None:
        kind = AssociationAborted if how == "abort" else ConnectionClosed
        with pytest.raises(kind) as caught:
            await using(client)
        if isinstance(caught.value, AssociationAborted):
            error = caught.value
            assert (error.by_peer, error.source, error.reason) == (True, 2, 1)
            assert "unrecognized PDU" in str(error)

    await play(script, user)


@on_each_loop
async def test_a_peer_that_never_answers_meets_the_association_timeout() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationTimeout, match=r"A-ASSOCIATE-RQ within 0\.1 s") as caught:
            await using(client)
        assert isinstance(caught.value, TimeoutExpired)

    await play(script, user, timeouts=replace(STEADY, association=0.1, artim=0.1))


async def test_half_an_answer_meets_the_association_timeout() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        request = await peer.expect(AAssociateRQ)
        await peer.send(encode(associate_accept(request))[:40])
        await peer.expect(AAbort)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationTimeout):
            await using(client)

    await play(script, user, timeouts=replace(STEADY, association=0.1, artim=0.1))


async def test_cancelled_while_the_answer_is_awaited() -> None:
    asked = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        asked.set()
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.close()

    async def user(client: Pacs) -> None:
        task = asyncio.create_task(using(client))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await play(script, user)


# --- the end of an association


async def open_association(client: Pacs) -> Association:
    return await associate(client.peer, [Proposal(VERIFICATION)])


@on_each_loop
async def test_a_release_in_order() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        await peer.send(AReleaseRP())
        assert await peer.expect_close() == "eof"  # AR-3: who asked closes

    await play(script, using)


@on_each_loop
async def test_a_release_that_is_never_answered() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationTimeout, match=r"no answer to the release within 0\.1 s"):
            await using(client)

    await play(script, user, timeouts=replace(STEADY, association=0.1, artim=0.1))


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_peer_that_hangs_up_instead_of_answering_a_release(how: str) -> None:
    """DCMTK and Orthanc do. The association is over, nothing is lost by it, but it did not end in order."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        await (peer.reset() if how == "rst" else peer.close())

    async def user(client: Pacs) -> AiodicomError | None:
        association = await open_association(client)
        await association.release()
        return association.error

    assert isinstance(await play(script, user), ConnectionClosed)


@on_each_loop
async def test_a_release_collision() -> None:
    """Sta7, Sta9, Sta11: the requestor answers first, and waits for the answer to its own."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        await peer.send(AReleaseRQ())  # as if the two had crossed
        await peer.expect(AReleaseRP)
        await peer.send(AReleaseRP())
        assert await peer.expect_close() == "eof"

    async def user(client: Pacs) -> None:
        association = await open_association(client)
        await association.release()
        assert association.error is None

    await play(script, user)


@on_each_loop
async def test_a_release_collision_the_peer_never_finishes() -> None:
    """Sta11 has no timer in the standard; we give it the one for an answer to a release."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        await peer.send(AReleaseRQ())
        await peer.expect(AReleaseRP)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        association = await open_association(client)
        async with asyncio.timeout(PATIENCE):
            await association.release()

    await play(script, user, timeouts=replace(STEADY, association=0.1, artim=0.1))


async def test_a_peer_that_releases_an_idle_association() -> None:
    """The next operation opens another."""
    first = asyncio.Event()
    asked: list[str] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.release()
        first.set()
        peer, _ = await accepted(listener)
        heard = await hear(peer)
        asked.append(type(heard.message).__name__)
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await first.wait()
            await client.echo()

    await play(script, user)
    assert asked == ["CEchoRQ"]


async def test_data_during_release_is_let_pass() -> None:
    """Sta7, AR-6: what crossed our release on the way is read and dropped."""
    from aiodicom.dimse import messages as m
    from wire import say

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        await say(peer, 1, m.CEchoRQ(message_id=1))
        await peer.send(AReleaseRP())
        await peer.drain_until_close()

    await play(script, using, timeouts=SOON)


async def test_peer_that_keeps_the_connection_after_our_abort() -> None:
    """Sta13: ARTIM closes it."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        association = await open_association(client)
        await association.abort()
        assert association.connection.closed
        with pytest.raises(AssociationAborted, match="we aborted"):
            await association.invoke(association.contexts[1], lambda n: None)  # type: ignore[arg-type,return-value]

    await play(script, user, timeouts=replace(STEADY, artim=0.1))


async def test_leaving_by_an_error_releases_what_is_idle() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        with pytest.raises(ZeroDivisionError):
            async with client:
                raise ZeroDivisionError

    await play(script, user)


async def test_one_release_that_fails_does_not_keep_the_other_association() -> None:
    """`close` ends every association and raises the first error."""
    released = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        first, _ = await accepted(listener)
        second, _ = await accepted(listener)

        async def refuses(peer: ScriptedPeer) -> None:
            await peer.expect(AReleaseRQ)
            await peer.expect(AAbort)
            await peer.close()

        async def answers(peer: ScriptedPeer) -> None:
            await peer.answer_release()
            released.set()

        await asyncio.gather(answers(first), refuses(second))

    async def user(client: Pacs) -> None:
        client._associations._closed = False
        for _ in range(2):
            await client._associations._open([Proposal(VERIFICATION)])
        with pytest.raises(AssociationTimeout):
            await client.close()
        assert released.is_set()

    await play(script, user, timeouts=replace(STEADY, association=0.2))


# --- what we may not ask for


@pytest.mark.parametrize(
    "wrong",
    [
        {"calling_ae": "A" * 17},
        {"called_ae": "tilde\u00e9"},
        {"called_ae": ""},
        {"calling_ae": "back\\slash"},
    ],
    ids=str,
)
async def test_titles_that_cannot_be_sent(wrong: dict[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        await using(Pacs(Peer(host="127.0.0.1", port=1, **wrong)))  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [0, -1, 65536, 99999])
async def test_a_port_that_is_none(port: int) -> None:
    """The resolver would take 99999 for 34463, and we might talk to whoever is there."""
    with pytest.raises(LocalProtocolError, match=f"{port} is no port"):
        await using(Pacs(Peer(host="127.0.0.1", port=port)))


def test_timeouts_have_their_defaults() -> None:
    assert Timeouts() == Timeouts(
        connect=10.0, association=30.0, inactivity=60.0, total=None, artim=2.0, cancel=5.0
    )
