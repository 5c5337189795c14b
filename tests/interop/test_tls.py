"""Our TLS contexts shake hands with real peers' TLS, whatever the profile."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from aiodicom.association.tls import (
    PROFILES,
    TLSInfo,
    client_context,
    connection_info,
    describe_tls_error,
    server_context,
)
from interop.peers import HOST, PKI, Peers, echoscu, pynetdicom_scu, require_peer

pytestmark = pytest.mark.peers

PROGRAMS = {"storescp": "storescp", "orthanc": "Orthanc", "pynetdicom": "pynetdicom"}


@pytest.mark.parametrize("server", list(PROGRAMS))
async def test_our_client_context_with_a_peers_server(server: str, peers: Peers, pki: PKI) -> None:
    require_peer(PROGRAMS[server])
    peer = getattr(peers, server)(tls=pki.server)
    for profile in PROFILES:
        context = client_context(pki.client.key, pki.client.cert, pki.ca, profile=profile)  # type: ignore[arg-type]
        _, writer = await asyncio.open_connection(HOST, peer.port, ssl=context)
        info = connection_info(writer.get_extra_info("ssl_object"))
        writer.transport.abort()
        assert info.version in ("TLSv1.2", "TLSv1.3")
        assert info.verified
        assert info.peer_subject is not None
        assert "CN=server" in info.peer_subject
    with pytest.raises(ssl.SSLError) as caught:
        await asyncio.open_connection(HOST, peer.port, ssl=client_context(trusted=pki.foreign.trusted))
    assert "not vouched for" in describe_tls_error(caught.value)


@pytest.mark.parametrize("server", list(PROGRAMS))
async def test_a_missing_client_certificate_is_said_in_words(server: str, peers: Peers, pki: PKI) -> None:
    require_peer(PROGRAMS[server])
    peer = getattr(peers, server)(tls=pki.server)
    with pytest.raises(OSError) as caught:  # at the handshake, or under TLS 1.3 at the first read
        reader, writer = await asyncio.open_connection(HOST, peer.port, ssl=client_context(trusted=pki.ca))
        try:
            assert await reader.read(1) != b""
        finally:
            writer.transport.abort()
    assert "requires a client certificate" in describe_tls_error(caught.value)


@pytest.mark.parametrize("server", list(PROGRAMS))
async def test_a_plain_peer_is_told_from_a_secure_one(server: str, peers: Peers, pki: PKI) -> None:
    require_peer(PROGRAMS[server])
    peer = getattr(peers, server)()
    with pytest.raises(OSError) as caught:
        await asyncio.open_connection(HOST, peer.port, ssl=client_context(trusted=pki.ca))
    assert "TLS on one side only" in describe_tls_error(caught.value)


@pytest.mark.parametrize("client", ["echoscu", "pynetdicom"])
@pytest.mark.parametrize("profile", list(PROFILES))
async def test_a_peers_client_with_our_server_context(client: str, profile: str, pki: PKI) -> None:
    require_peer(client)
    seen: asyncio.Queue[TLSInfo] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(connection_info(writer.get_extra_info("ssl_object")))
        assert await reader.readexactly(1) == b"\x01"  # the A-ASSOCIATE-RQ
        writer.transport.abort()

    context = server_context(pki.server.key, pki.server.cert, pki.ca, profile=profile)  # type: ignore[arg-type]
    async with await asyncio.start_server(accept, HOST, 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        if client == "echoscu":
            command = echoscu(port, tls=pki.client)
        else:
            command = pynetdicom_scu("echo", port, tls=pki.client)
        await command.start()  # fails: there is no DICOM behind this port
        info = seen.get_nowait()
    assert info.peer_subject is not None
    assert "CN=client" in info.peer_subject
