"""One connection: a reader from the first moment, a log of what went and came, fences and endings.

Silence is never proven by a clock. A caller sends what must be answered next, or its FIN, and looks at what
came before; `patience` only bounds how long something that must come may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from . import wire
from .dissect import outcome, split
from .guard import Guard

PAUSE = 0.002
"""Seconds between pieces that should arrive apart: TCP promises nothing, and no verdict depends on it."""
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Of Linux: a peer that writes a PDU in two pieces waits 40 ms for the acknowledgement of the first."""
MAX_STREAM = 16 * 1024 * 1024
"""Bytes taken from a peer on one connection; one more ends it: a report needs no more."""


@dataclass(slots=True)
class Entry:
    """A line of the log: seconds since the connection, number of it, ">" sent or "<" came, the bytes."""

    seconds: float
    connection: int
    way: str
    raw: bytes
    note: str = ""


@dataclass(slots=True)
class Trace:
    """What went and came in one case, over all of its connections."""

    entries: list[Entry] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    connections: int = 0

    def add(self, connection: int, way: str, raw: bytes, note: str = "") -> None:
        """Append a line."""
        self.entries.append(Entry(time.monotonic() - self.started, connection, way, raw, note))


class Link(asyncio.Protocol):
    """A TCP or TLS connection to or from the peer.

    `ending` is None while it is open, then "closed" (their FIN) or "reset".
    """

    def __init__(self, trace: Trace, patience: float) -> None:
        self.trace = trace
        self.patience = patience
        self.number: int = trace.connections
        trace.connections += 1
        self.ending: str | None = None
        self.came: list[bytes] = []
        self._unread: deque[bytes] = deque()
        self._tail = bytearray()
        self._need = 0
        self._taken = 0
        self._guard = Guard()
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self.finished: bool = False

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._acknowledge()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._acknowledge()
        self._taken += len(data)
        self._tail += data
        if len(self._tail) >= self._need:
            whole, rest = split(bytes(self._tail))
            self._tail[:] = rest
            self._need = 6 + int.from_bytes(rest[2:6], "big") if len(rest) >= 6 else 0
            for raw in whole:
                self.trace.add(self.number, "<", raw)
                self.came.append(raw)
                self._unread.append(raw)
        if self._taken > MAX_STREAM and self._transport is not None:
            self.trace.add(self.number, "<", b"", "more bytes than the kit takes")
            self._transport.abort()
        self._news.set()

    def _acknowledge(self) -> None:
        """What was read is acknowledged at once: Linux forgets the option with each segment."""
        if QUICKACK is not None and self._transport is not None:
            with contextlib.suppress(OSError):  # reset meanwhile
                self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def eof_received(self) -> bool:
        """Called by the event loop: our half stays open."""
        self._ended("closed")
        return not isinstance(self._transport and self._transport.get_extra_info("ssl_object"), ssl.SSLObject)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._ended("reset" if exc is not None else "closed")

    def _ended(self, how: str) -> None:
        if self.ending is None:
            self.ending = how
            if self._tail:
                self.trace.add(self.number, "<", bytes(self._tail), "in the middle of a PDU")
            self.trace.add(self.number, "<", b"", how)
        self._news.set()

    # --- the case's side

    @property
    def tail(self) -> bytes:
        """The bytes of a PDU that has not come whole."""
        return bytes(self._tail)

    async def send(self, *data: bytes, sizes: tuple[int, ...] = ()) -> None:
        """Send bytes in one write, or in pieces of these sizes, each its own segment where TCP lets it."""
        joined = b"".join(data)
        self._guard.check(joined)
        self.trace.add(self.number, ">", joined)
        assert self._transport is not None
        if self._transport.is_closing():
            return
        at = 0
        for size in sizes:
            self._transport.write(joined[at : at + size])
            at += size
            await asyncio.sleep(PAUSE)
            if self.ending is not None:
                return
        self._transport.write(joined[at:])

    def finish(self) -> None:
        """Our FIN: what the peer says before it closes is all it had to say."""
        assert self._transport is not None
        self.finished = True
        self.trace.add(self.number, ">", b"", "fin")
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has reset it, which the reader is about to learn
                self._transport.write_eof()

    def reset(self) -> None:
        """Our RST: what was not sent yet is gone, and the peer is told of no end in order."""
        assert self._transport is not None
        self.trace.add(self.number, ">", b"", "reset")
        self.ending = self.ending or "reset"  # nothing that comes of it is the peer's doing
        with contextlib.suppress(OSError):  # closed already
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def pdu(self) -> bytes | None:
        """The next PDU; None when the connection ended before one, or patience did."""
        await self._wait(lambda: bool(self._unread))
        return self._unread.popleft() if self._unread else None

    async def seen(self) -> str:
        """The next thing that comes, by its short name: a PDU, "closed", "reset" or "silence"."""
        raw = await self.pdu()
        return outcome(raw) if raw is not None else self.ending or "silence"

    async def until_end(self) -> str:
        """All that comes until the connection ends, names joined by "+", the ending last.

        An orderly end alone is "closed".
        """
        names = []
        while (raw := await self.pdu()) is not None:
            names.append(outcome(raw))
        return "+".join([*names, self.ending or "silence"])

    async def until_over(self) -> str:
        """The same where we sent something last: whether the peer reads it before it closes is a race.

        A close with unread bytes is an RST, so that one is no other ending than a FIN.
        """
        return (await self.until_end()).replace("reset", "closed")

    async def ended(self) -> str:
        """How the connection ended, whatever came before; "silence" when it has not."""
        await self._wait(lambda: self.ending is not None)
        return self.ending or "silence"

    async def _wait(self, ready: object) -> None:
        assert callable(ready)
        with contextlib.suppress(TimeoutError):  # the caller sees that nothing came
            async with asyncio.timeout(self.patience):
                while not ready() and self.ending is None:
                    self._news.clear()
                    await self._news.wait()

    async def close(self, *, associated: bool = True) -> None:
        """End politely: an A-ABORT where an association may stand, FIN, then wait for theirs."""
        if self._transport is None:
            return
        if self.ending is None:
            if associated and not self.finished:
                self._transport.write(wire.abort())
            self.finish()
            await self.ended()
        self._transport.abort()


async def connect(
    host: str, port: int, trace: Trace, patience: float, context: ssl.SSLContext | None = None
) -> Link:
    """A connection to a server. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(patience):
        _, link = await loop.create_connection(
            lambda: Link(trace, patience), host, port, ssl=context, server_hostname=host if context else None
        )
    return link


class Listener:
    """A listening socket that hands out each connection as a Link."""

    def __init__(self, patience: float, context: ssl.SSLContext | None = None) -> None:
        self.patience = patience
        self.trace: Trace = Trace()
        self.port: int = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Queue[Link] = asyncio.Queue()
        self.links: list[Link] = []
        self.otherwise: Callable[[], asyncio.Protocol] | None = None
        """Who serves connections between cases; None while a case takes them."""

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._taken, host, port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    def _taken(self) -> asyncio.Protocol:
        if self.otherwise is not None:
            return self.otherwise()
        link = _Accepted(self.trace, self.patience, self._waiting)
        self.links.append(link)
        return link

    async def accept(self, patience: float | None = None) -> Link | None:
        """The next connection; None when none comes."""
        try:
            async with asyncio.timeout(patience or self.patience):
                return await self._waiting.get()
        except TimeoutError:
            return None

    def renew(self) -> None:
        """Forget what came for the case before."""
        self.trace = Trace()
        self.links = []
        while not self._waiting.empty():
            self._waiting.get_nowait().reset()

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()


class _Accepted(Link):
    def __init__(self, trace: Trace, patience: float, waiting: asyncio.Queue[Link]) -> None:
        super().__init__(trace, patience)
        self._queue = waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self._queue.put_nowait(self)
