"""Sockets that listen on one address, or on every one."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

from ..association.dialing import bare_host, check_port, os_words

BACKLOG = 1024
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a machine without IPv6 says; who listens on every address does without it."""


async def bind(host: str | None, port: int, purpose: str = "") -> list[socket.socket]:
    """Listen on a name or an address, with None or ``::`` on every one of both families.

    Port 0 is a free one, the same on every address. Raises OSError, which names the `purpose`; ValueError for
    what is no port.
    """
    port, host = check_port(port, 0), host and bare_host(host)
    if host == "::":  # who asks for all of it means both families
        host = None
    flags, loop = socket.AI_PASSIVE, asyncio.get_running_loop()
    made: list[socket.socket] = []
    failed: OSError | None = None
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if port == 0 and made:
                address = (address[0], made[0].getsockname()[1], *address[2:])
            try:
                made.append(_listening(family, kind, protocol, address))
            except OSError as error:
                failed = error
                if host or error.errno not in _NO_SUCH_FAMILY:
                    raise
        if not made and failed is not None:
            raise failed
    except OSError as error:
        for sock in made:
            sock.close()
        where = f"{host or 'any address,'} port {port}: {os_words(error)}"
        raise OSError(error.errno, f"cannot listen {purpose}on {where}") from error
    return made


def _listening(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
