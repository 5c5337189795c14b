"""The listener: every state of the table as acceptor, TLS, what is no DICOM, and life goes on for others."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import socket
import ssl
import struct
from contextlib import AsyncExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trustme
from aiodicom.association.association import Association
from aiodicom.association.connect import Peer
from aiodicom.association.errors import NotDicomPeer, TLSFailed
from aiodicom.association.tls import client_context, server_context
from aiodicom.client.pacs import Pacs
from aiodicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AReleaseRP,
    AReleaseRQ,
    Event,
    State,
    UserIdentityRQ,
    UserInformation,
    encode,
)
from aiodicom.server import listener
from aiodicom.server.access import Access
from aiodicom.server.listener import Server, serve
from aiodicom.testing import ScriptedPeer, associate_request
from conftest import TLSPair
from wire import (
    INJECTIONS,
    LONG,
    PATIENCE,
    STEADY,
    Held,
    Plain,
    bystander,
    calling,
    cells,
    echo,
    gone,
    inject,
    on_each_loop,
    serving,
    using,
)

STATES = (State.STA2, State.STA3, State.STA6, State.STA7, State.STA10, State.STA13)
SHORT = replace(LONG, artim_timeout=0.2)


def asking_who() -> UserInformation:
    """User information with a user identity, so that the hook is asked."""
    return UserInformation(implementation_class_uid="1.2.3", user_identity=UserIdentityRQ(1, b"somebody"))


BLANK = encode(associate_request(called_ae="X" * 16, calling_ae="SUBJECT")).replace(b"X" * 16, b" " * 16)
"""A request that is rejected: it is for nobody."""


def subject(server: Server) -> Association:
    """The association under test."""
    [found] = [
        one
        for one in server.associations
        if one.session.request is not None and one.session.request.calling_ae == "SUBJECT"
    ]
    return found


async def reach(server: Server, peer: ScriptedPeer, state: State, held: Held) -> list[asyncio.Task[None]]:
    """Bring the server's side of a fresh connection into this state."""
    peer.we_called = True  # type: ignore[attr-defined]
    if state is State.STA2:
        return []
    if state is State.STA13:
        await peer.send(BLANK)
        await peer.expect(AAssociateRJ)
        return []
    if state is State.STA3:
        await peer.send(associate_request(calling_ae="SUBJECT", user_information=asking_who()))
        await held.reached.wait()
        return []
    await peer.associate(calling_ae="SUBJECT")
    if state is State.STA6:
        return []
    releasing = asyncio.create_task(subject(server).release())
    await peer.expect(AReleaseRQ)
    if state is State.STA10:
        await peer.send(AReleaseRQ())
        async with asyncio.timeout(PATIENCE):
            while subject(server).session.state is not State.STA10:
                await asyncio.sleep(0)
    return [releasing]


async def one(state: State, name: str, tls: TLSPair | None) -> None:
    held = Held()
    access = Access(identity=lambda identity, caller: held())  # type: ignore[arg-type]
    secure = {"tls": tls.server} if tls else {}
    async with serving(access=access, **secure) as server:  # type: ignore[arg-type]
        trusting = tls.client if tls else None
        async with (
            bystander(server, tls=trusting) as other,
            await ScriptedPeer.connect(
                "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost" if tls else None
            ) as peer,
        ):
            tasks = await reach(server, peer, state, held)
            await inject(peer, state, name)
            fin_or_rst = INJECTIONS[name][0] is Event.EVT17
            closes = fin_or_rst or name == "A-ABORT" or (name, state) == ("A-RELEASE-RP", State.STA7)
            if (name, state) == ("A-ASSOCIATE-RQ", State.STA2):
                await peer.expect(AAssociateAC)
            elif not closes and (name, state) not in DRAINED:
                # whoever sent the last word waits for the other to close
                await peer.expect_nothing_until(echo(other, 99))
            await peer.close()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        held.go.set()
        await gone(server)
    assert not held.reached.is_set() or held.cancelled.is_set()


# AA-6 cells are tested by an A-ABORT that follows, which closes the connection
DRAINED = {
    (name, State.STA13)
    for name in ("A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", "P-DATA-TF", "A-RELEASE-RQ", "A-RELEASE-RP")
}


@pytest.mark.parametrize(("state", "name"), cells(*STATES), ids=str)
@on_each_loop
async def test_a_cell_of_the_table(state: State, name: str) -> None:
    await one(state, name, None)


@pytest.mark.parametrize("state", STATES, ids=str)
@on_each_loop
async def test_a_column_of_the_table_over_tls(state: State, tls_pair: TLSPair) -> None:
    for _, name in cells(state):
        await one(state, name, tls_pair)


@pytest.mark.parametrize("state", STATES, ids=str)
@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_vanishing_in_the_middle_of_a_pdu(state: State, how: str) -> None:
    held = Held()
    async with (
        serving(access=Access(identity=lambda identity, caller: held())) as server,  # type: ignore[arg-type]
        bystander(server),
        await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
    ):
        tasks = await reach(server, peer, state, held)
        await peer.send(encode(associate_request())[:50] if state is State.STA2 else b"\x04\0\0\0")
        await inject(peer, state, how)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while server.stats().connections < 2:  # both were accepted
                await asyncio.sleep(0)
        await gone(server, 1)
    assert not held.reached.is_set() or held.cancelled.is_set()


# --- ARTIM


@pytest.mark.parametrize("after", ["nothing", "a rejection", "a release", "an abort"])
@on_each_loop
async def test_artim_closes_what_the_peer_leaves_open(after: str) -> None:
    async with (
        serving(limits=SHORT) as server,
        bystander(server),
        await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
    ):
        if after == "a rejection":
            await peer.send(BLANK)
            await peer.expect(AAssociateRJ)
        elif after == "a release":
            await peer.associate()
            await peer.send(AReleaseRQ())
            await peer.expect(AReleaseRP)
        elif after == "an abort":
            await peer.associate()
            await peer.send(b"\x09\0\0\0\0\0")
            await peer.expect(AAbort)
        await peer.expect_close()


@pytest.mark.parametrize("state", [State.STA2, State.STA13], ids=str)
@on_each_loop
async def test_bytes_do_not_restart_artim(state: State) -> None:
    """A byte at a time for as long as the server listens: it ends when ARTIM does."""
    held = Held()
    async with (
        serving(limits=SHORT) as server,
        await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
    ):
        await reach(server, peer, state, held)
        async with asyncio.timeout(PATIENCE):
            while not any(one.session.state is state for one in server.associations):
                await asyncio.sleep(0)
        [association] = server.associations
        timer = association.connection._artim_timer
        assert timer is not None
        expiry = timer.when()
        raw = (encode(associate_request())[:-1] if state is State.STA2 else b"\x05\0\0\0\0\4" + bytes(4)) * 50
        sent = 0
        while not association.connection.closed:
            if sent < len(raw) and (state is State.STA13 or sent < len(raw) // 50):
                await peer.send(raw[sent : sent + 1])
                sent += 1
                current = association.connection._artim_timer
                assert current is None or current.when() == expiry
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() >= expiry - 0.01
        await peer.expect_close()
    assert sent > 10


@on_each_loop
async def test_the_deadline_is_counted_from_the_tcp_accept_with_tls(tls_pair: TLSPair) -> None:
    """What the handshake takes is taken from the time for the A-ASSOCIATE-RQ."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls_pair.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    async with serving(limits=LONG, tls=tls_pair.server) as server:
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, hello[:1])
            async with asyncio.timeout(PATIENCE):
                while not server.associations:
                    await asyncio.sleep(0)
            begun = loop.time()
            while loop.time() < begun + 0.05:
                await asyncio.sleep(0)
            await loop.sock_sendall(sock, hello[1:])
            [association] = server.associations
            async with asyncio.timeout(PATIENCE):
                while association.session.state is not State.STA2:
                    try:
                        client.do_handshake()
                    except ssl.SSLWantReadError:
                        incoming.write(await loop.sock_recv(sock, 65536))
                    await loop.sock_sendall(sock, outgoing.read())
                    await asyncio.sleep(0)
            timer = association.connection._artim_timer
            assert timer is not None
            assert timer.when() < begun + LONG.artim_timeout + 0.01


async def test_twice_an_association_on_one_connection() -> None:
    """After a release nothing starts on the connection."""
    async with serving() as server, calling(server) as peer:
        await peer.send(AReleaseRQ(), associate_request())
        await peer.expect(AReleaseRP)
        assert await peer.expect(AAbort) == AAbort(0, 0)  # AA-7


async def test_two_requests_glued_together() -> None:
    async with serving() as server, await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(associate_request(), associate_request())
        assert await peer.expect(AAbort) == AAbort(2, 2)


async def test_a_request_and_an_abort_glued_together() -> None:
    async with serving() as server, await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(associate_request(), AAbort(0, 0))
        rest, _ = await peer.drain_until_close()
        assert rest[:1] in (b"", b"\x02")
        await gone(server)


# --- other protocols

_OTHERS = {
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
    "post": (b"POST /echo HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "HTTP"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
    "tls": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(507), "TLS"),
    "hl7": (b"\x0bMSH|^~\\&|A|B|C|D\r\x1c\r", "HL7"),
    "zeros": (bytes(1000), "00H"),
    "a huge length": (b"\x01\0\xff\xff\xff\xff", "over the limit"),
    "a huge abort": (b"\x07\0\xff\xff\xff\xff", "over the limit"),
    "an unknown type": (b"\x08\0\0\0\0\0", "08H"),
}


@pytest.mark.parametrize("case", _OTHERS)
@on_each_loop
async def test_what_is_no_dicom(case: str, caplog: pytest.LogCaptureFixture) -> None:
    raw, word = _OTHERS[case]
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with (
            serving() as server,
            bystander(server),
            await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
        ):
            await peer.send(raw)
            assert await peer.expect(AAbort) == AAbort(0, 0)  # AA-1
            await peer.close()
    assert word in caplog.text


@on_each_loop
async def test_random_bytes_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(20240131)
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving(limits=SHORT) as server, bystander(server):
            for _ in range(100):
                async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
                    raw = dice.randbytes(dice.randrange(200))
                    if dice.random() < 0.5:
                        raw = bytes([dice.randrange(1, 8), 0, 0, 0, 0, dice.randrange(200)]) + raw
                    await peer.send(raw)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_flipped_byte_anywhere_in_a_request() -> None:
    """Each is answered by an A-ASSOCIATE-AC, an A-ASSOCIATE-RJ or an A-ABORT, or waited for."""
    raw = encode(associate_request(["1.2.840.10008.1.1"]))
    async with serving() as server, bystander(server):
        for at in range(0, len(raw), 3):
            changed = bytearray(raw)
            changed[at] ^= 0xFF
            async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
                await peer.send(bytes(changed))
                if 2 <= at < 6:
                    continue  # a longer length: it waits for the rest
                assert isinstance(await peer.receive(), AAssociateAC | AAssociateRJ | AAbort)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_port_scan_is_not_worth_a_line(
    secure: bool, tls_pair: TLSPair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving(tls=tls_pair.server if secure else None) as server:
            for reset in (False, True) * 20:
                peer = await ScriptedPeer.connect("127.0.0.1", server.port)
                await (peer.reset() if reset else peer.close())
            async with bystander(server, tls=tls_pair.client if secure else None):
                pass
            await gone(server)
    assert len(caplog.records) <= 3
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_the_same_thing_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving() as server:
            for _ in range(50):
                async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
                    await peer.send(b"GET / HTTP/1.1\r\n\r\n")
                    await peer.expect(AAbort)
            for _ in range(50):
                async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
                    await peer.send(BLANK)
                    await peer.expect(AAssociateRJ)
            await gone(server)
    said = [one.getMessage() for one in caplog.records if one.name == "aiodicom.server"]
    assert len([text for text in said if "HTTP" in text]) == 1
    assert len([text for text in said if "rejected" in text]) == 1


# --- TLS


@on_each_loop
async def test_a_plain_client_on_a_tls_port_is_told_and_logged(
    tls_pair: TLSPair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving(tls=tls_pair.server) as server, bystander(server, tls=tls_pair.client):
            client = Pacs(Peer(host="127.0.0.1", port=server.port, timeouts=STEADY))
            with pytest.raises(NotDicomPeer, match="speaks TLS where plain DICOM was expected"):
                await using(client)
    assert "does not speak TLS, and this port does" in caplog.text


@on_each_loop
async def test_a_tls_client_on_a_plain_port_is_told_and_logged(
    tls_pair: TLSPair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving() as server, bystander(server):
            client = Pacs(Peer(host="localhost", port=server.port, tls=tls_pair.client, timeouts=STEADY))
            with pytest.raises(TLSFailed, match="does not speak TLS"):
                await using(client)
            await gone(server, 1)
    assert "the peer speaks TLS where plain DICOM was expected" in caplog.text


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"])
@on_each_loop
async def test_half_a_handshake_is_closed_by_the_deadline(tls_pair: TLSPair, sent: bytes) -> None:
    async with (
        serving(tls=tls_pair.server, limits=replace(SHORT, artim_timeout=0.4)) as server,
        await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
    ):
        if sent:
            await peer.send(sent)
        async with bystander(server, tls=tls_pair.client):  # nobody waits for it
            pass
        said, _ = await peer.drain_until_close()
        assert not said.startswith(b"\x16")  # no handshake goes on
        async with asyncio.timeout(PATIENCE):
            while server.connections.pending:
                await asyncio.sleep(0)


async def test_a_client_certificate_is_demanded_and_its_lack_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority = trustme.CA()
    mine = authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    ca = authority.cert_pem.bytes()
    context = server_context(None, mine, ca)
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with serving(tls=context) as server:
            good = client_context(
                None, authority.issue_cert("client").private_key_and_cert_chain_pem.bytes(), ca
            )
            for _ in range(3):
                with pytest.raises(TLSFailed, match="certificate"):
                    await using(
                        Pacs(Peer(host="localhost", port=server.port, tls=client_context(None, None, ca)))
                    )
            async with Pacs(Peer(host="localhost", port=server.port, tls=good)) as client:
                await client.echo()
    said = [one.getMessage() for one in caplog.records if "TLS handshake failed" in one.getMessage()]
    assert len(said) == 1
    assert "client certificate" in said[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "cause"),
    [
        ("nothing", "requires a client certificate"),
        ("an expired one", "expired"),
        ("another authority's", "does not trust the authority"),
    ],
)
@on_each_loop
async def test_a_client_is_told_why_its_certificate_will_not_do(
    shown: str, cause: str, version: ssl.TLSVersion
) -> None:
    """The alert reaches it, though neither loop sends what a failed handshake has left to say."""
    authority = trustme.CA()
    ca = authority.cert_pem.bytes()
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    own = {
        "nothing": None,
        "an expired one": authority.issue_cert("client", not_after=past),
        "another authority's": trustme.CA().issue_cert("client"),
    }[shown]
    mine = authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    context = client_context(None, None if own is None else own.private_key_and_cert_chain_pem.bytes(), ca)
    context.maximum_version = version
    async with serving(tls=server_context(None, mine, ca)) as server:
        with pytest.raises(TLSFailed, match=cause):
            await using(Pacs(Peer(host="localhost", port=server.port, tls=context)))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_tls_is_refused(tls_pair: TLSPair) -> None:
    authority = trustme.CA()
    context = server_context(None, authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(tls=context) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ScriptedPeer.connect("127.0.0.1", server.port, ssl=old)


# --- many at once


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@on_each_loop
async def test_every_kind_of_bad_peer_at_once(
    secure: bool, tls_pair: TLSPair, caplog: pytest.LogCaptureFixture
) -> None:
    tls = tls_pair.server if secure else None
    trusting = tls_pair.client if secure else None
    dice = random.Random(7)
    limits = replace(LONG, artim_timeout=0.5)
    async with serving(tls=tls, limits=limits) as server, bystander(server, tls=trusting):
        async with AsyncExitStack() as stack:
            for number in range(60):
                peer = await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
                match number % 6:
                    case 0:
                        await peer.send(dice.randbytes(50))
                    case 1:
                        await peer.send(b"\x16\x03\x01")
                    case 2:
                        await peer.send(encode(associate_request())[:-5])
                    case 3:
                        await peer.send(b"GET / HTTP/1.0\r\n\r\n")
                    case 4:
                        await peer.reset()
                    case 5:
                        pass  # silent
            async with bystander(server, tls=trusting):
                pass
            await gone(server, 1)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_accepting_goes_on_when_descriptors_run_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import errno

    import aiodicom.server.listener as listener_module

    monkeypatch.setattr(listener_module, "ACCEPT_PAUSE", 0.01)
    async with serving() as server:
        loop = asyncio.get_running_loop()
        real = loop.sock_accept
        failures = [OSError(errno.EMFILE, "too many open files"), OSError(errno.ECONNABORTED, "gone")] * 3

        async def accept(sock: socket.socket) -> object:
            if failures:
                raise failures.pop()
            return await real(sock)

        monkeypatch.setattr(loop, "sock_accept", accept)
        for _ in range(2):  # the accept under way, and one that fails first
            async with bystander(server):
                pass
        assert not failures
    assert len([one for one in caplog.records if "no connection can be accepted" in one.getMessage()]) == 1


# --- stopping


@on_each_loop
async def test_closing_aborts_what_is_idle_and_stops_accepting() -> None:
    async with AsyncExitStack() as stack:
        async with serving() as server:
            port = server.port
            idle = await stack.enter_async_context(calling(server))
            silent = await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", port))
            async with asyncio.timeout(PATIENCE):
                while len(server.associations) < 2:
                    await asyncio.sleep(0)
            closing = asyncio.create_task(server.close())
            assert await idle.expect(AAbort) == AAbort(0, 0)
            await idle.expect_close()
            await silent.expect_close()
            await closing
            assert not server.associations
        with pytest.raises(ConnectionRefusedError):
            await ScriptedPeer.connect("127.0.0.1", port)


@pytest.mark.parametrize("in_time", [True, False])
@on_each_loop
async def test_draining(in_time: bool) -> None:
    """What runs may end within the drain time; nobody new is let in meanwhile."""
    held = Held()
    service = Plain(on_echo=held)  # type: ignore[arg-type]
    limits = replace(LONG, drain_timeout=20 if in_time else 0.2)
    async with serving(service, limits=limits) as server, calling(server) as busy:
        from aiodicom.dimse import messages as m
        from wire import hear, say

        late = await ScriptedPeer.connect("127.0.0.1", server.port)  # connected, not associated
        await say(busy, 1, m.CEchoRQ(message_id=1))
        await held.reached.wait()
        async with asyncio.timeout(PATIENCE):
            while len(server.associations) < 2:
                await asyncio.sleep(0)
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        await late.send(associate_request())
        if in_time:
            refusal = await late.expect(AAssociateRJ)
            assert (refusal.result, refusal.source, refusal.reason) == (2, 3, 1)
            held.go.set()
            assert (await hear(busy, m.CEchoRSP)).message.status == 0
        assert await busy.expect(AAbort) == AAbort(0, 0)
        await busy.expect_close()
        await closing
        assert held.cancelled.is_set() != in_time
        await late.close()


async def test_an_address_in_use_is_an_error_at_start() -> None:
    async with serving() as server:
        other = Server(Plain(), port=server.port)
        with pytest.raises(OSError, match="in use"):
            await other
        assert not other._sockets


async def test_every_address_of_a_host_is_listened_on() -> None:
    async with Server(Plain(), host=None, port=0, limits=LONG) as server:
        assert len({sock.getsockname()[1] for sock in server._sockets}) == 1
        for sock in server._sockets:
            host = "::1" if sock.family == socket.AF_INET6 else "127.0.0.1"
            async with calling(SimpleNamespace(port=server.port), host=host) as peer:
                assert await echo(peer) == 0


@on_each_loop
async def test_others_have_their_turn_between_two_accepts() -> None:
    """Connections that wait to be accepted are not all taken before anybody else may go on."""
    async with serving() as server, AsyncExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        turns = 0
        while len(server.connections.pending) < 50:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 50


async def test_keepalive_of_others_during_a_reset_storm() -> None:
    linger = struct.pack("ii", 1, 0)
    async with serving() as server, bystander(server) as other:
        for _ in range(200):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.send(encode(associate_request())[:30])
            sock.close()
        async with asyncio.timeout(PATIENCE):
            while server.stats().connections <= 200:  # all of them were accepted
                await asyncio.sleep(0)
        await gone(server, 1)
        assert await echo(other, 2) == 0


async def test_serving_is_awaited_or_entered_and_not_begun_twice() -> None:
    server = await serve(Plain(), port=0)
    port = server.port
    async with server, calling(SimpleNamespace(port=port)) as peer:
        assert server.port == port
        assert await echo(peer) == 0
    with pytest.raises(RuntimeError, match="was closed"):
        await server
    async with serve(Plain(), port=0) as server, calling(SimpleNamespace(port=server.port)) as peer:
        assert await echo(peer) == 0


@pytest.mark.parametrize("stuck", ["an association", "a task that accepts"])
async def test_a_server_stops_whatever_does_not_end(
    stuck: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What has been given up is waited for, but not for ever: that would be a defect, and is told as one."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(listener, "CLOSING", 0.05)
    server = await serve(Plain(), port=0, limits=replace(LONG, artim_timeout=0.05))
    peer = await ScriptedPeer.connect("127.0.0.1", server.port)
    await peer.associate()
    if stuck == "an association":
        monkeypatch.setattr(Association, "wait_closed", never)
    else:
        monkeypatch.setattr(server._accepting, "wait", never)
    await server.close(drain=0)
    await peer.drain_until_close()
    await peer.close()
    [error] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "are not gone" in error.message or "have not been given up" in error.message
