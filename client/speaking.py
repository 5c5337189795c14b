"""What a port speaks, where it is not what was wanted: looks at it that leave nothing open."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

from ..association.connect import Peer, associate
from ..association.errors import AssociationRejected
from ..association.tls import client_context, connection_info
from ..dimse.contexts import VERIFICATION, Proposal
from ..pdu.errors import AiodicomError
from . import advice


async def handshake(peer: Peer, context: ssl.SSLContext) -> str:
    """Shake hands and say goodbye; what was agreed, in words. Raises OSError, TimeoutError."""
    async with asyncio.timeout(peer.timeouts.connect):
        _, writer = await asyncio.open_connection(
            peer.host, peer.port, ssl=context, server_hostname=peer.server_hostname or peer.host
        )
    info = connection_info(writer.get_extra_info("ssl_object"))
    writer.transport.abort()
    who = f"; the certificate is {info.peer_subject}'s" if info.peer_subject else ""
    return f"{info.version}, {info.cipher}{who}"


async def speaks_tls(peer: Peer) -> bool:
    """Whether a handshake that asks for no trust comes further than a plain port would let it."""
    try:
        await handshake(peer, client_context(verify=False))
    except ssl.SSLError as error:
        return advice.is_tls_alert(error)
    except (OSError, TimeoutError):
        return False
    return True


async def speaks_http(peer: Peer) -> bool:
    """Whether an HTTP request is answered: web servers wait for the end of a line, whatever comes."""
    try:
        async with asyncio.timeout(peer.timeouts.connect):
            reader, writer = await asyncio.open_connection(peer.host, peer.port)
            try:
                writer.write(b"OPTIONS * HTTP/1.0\r\n\r\n")
                return await reader.readexactly(5) == b"HTTP/"
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def speaks_plain_dicom(peer: Peer) -> bool:
    """Whether the port answers an association request sent without TLS; no credential goes with it."""
    bare = replace(peer, tls=None, user_identity=None, extended=(), common_extended=())
    try:
        association = await associate(bare, [Proposal(VERIFICATION)])
    except AssociationRejected:
        return True
    except AiodicomError:
        return False
    try:
        await association.release()
    except AiodicomError:
        await association.abort()
    return True
