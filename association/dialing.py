"""A TCP connection to a host of one or several addresses, as RFC 8305 has it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from .errors import HostUnknown
from .tasks import Tasks

ATTEMPT_DELAY = 0.25
"""Seconds that one address has to itself before the next is tried beside it (RFC 8305 5)."""

Address = tuple[int, int, int, Any]
"""Family, kind, protocol and address."""


def os_words(error: OSError | UnicodeError) -> str:
    """The system's words without its number; asyncio puts "Connect call failed" in their place."""
    if isinstance(error, socket.gaierror):
        return (error.strerror or str(error)).lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)


def bare_host(host: str) -> str:
    """A host without the brackets that an IPv6 address has beside a port (RFC 3986 3.2.2)."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def place(host: str, port: int) -> str:
    """``host:port``; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(port: int, least: int = 1) -> int:
    """The port. Raises ValueError for what is none: the system would take the rest of a division."""
    if not least <= port < 65536:
        raise ValueError(f"{port} is no port: {least} to 65535")
    return port


def is_here(address: Address) -> bool:
    """Whether an address is one of this machine's: what goes there comes from there. Nothing is sent."""
    family, _, _, where = address
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return bool(probe.getsockname()[0] == where[0])
    except OSError:  # no way leads there
        return False


async def dial(host: str, port: int) -> socket.socket:
    """A connected socket to the address of the host that answers first.

    The addresses are begun in the system's order, families in turn, each a moment after the one before or
    at once when that failed. Raises HostUnknown, and OSError as the last address failed.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HostUnknown(f"the host name {host!r} does not resolve: {os_words(error)}") from error
    addresses = in_turn([(family, kind, protocol, where) for family, kind, protocol, _, where in found])
    if len(addresses) == 1:
        only = await attempt(addresses[0])
        if isinstance(only, OSError):
            raise only
        return only
    return await _race(addresses)


def in_turn(addresses: Sequence[Address]) -> list[Address]:
    """The families one after the other, the first one's first (RFC 8305 4); each address once."""
    by_family: dict[int, list[Address]] = {}
    for one in dict.fromkeys(addresses):
        by_family.setdefault(one[0], []).append(one)
    return [one for one in chain(*zip_longest(*by_family.values())) if one is not None]


async def attempt(address: Address) -> socket.socket | OSError:
    """A socket connected to it, or why there is none."""
    family, kind, protocol, where = address
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:  # an address family this machine lacks
        return error
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, where)
    except OSError as error:
        sock.close()
        return error
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(addresses: list[Address]) -> socket.socket:
    last: OSError = ConnectionRefusedError("the host has no address")
    tasks, running = Tasks(), set[asyncio.Task[socket.socket | OSError]]()
    won: list[socket.socket] = []
    waiting = addresses[::-1]
    try:
        while waiting or running:
            if waiting:
                running.add(tasks.start(attempt(waiting.pop())))
            delay = ATTEMPT_DELAY if waiting else None
            ended, running = await asyncio.wait(running, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                came = task.result()
                if isinstance(came, OSError):
                    last = came
                else:
                    won.append(came)
            if won:
                return won.pop(0)
        raise last
    finally:
        tasks.end()
        await _left(running, won)


async def _left(running: set[asyncio.Task[socket.socket | OSError]], won: list[socket.socket]) -> None:
    """Close what connected too late."""
    if running:
        await asyncio.wait(running)
    won += [
        came for task in running if not task.cancelled() and isinstance(came := task.result(), socket.socket)
    ]
    for sock in won:
        sock.close()
