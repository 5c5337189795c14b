"""A TCP proxy that breaks connections on purpose, at a byte and in a way given beforehand.

    plan = Plan(to_server=Faults(cut_after=100, cut="rst"))
    async with FaultProxy("127.0.0.1", server_port, plan) as proxy:
        client = connect("127.0.0.1", proxy.port)

A plan says for each direction what is done to its stream; `plan` may also be a function of the
connection's number (0, 1, 2 ...), or `chaos(seed)`, which draws a plan for each connection from the seed
and nothing else. What is done is counted by place in the stream, never by time, so the same bytes meet
the same fault again. TLS passes through as bytes, or ends here where the proxy has a context (`ssl`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl as ssl_module
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from types import TracebackType
from typing import Literal, Self

Cut = Literal["fin", "rst", "half"]
Ending = Literal["eof", "reset", "cut"]
Tap = Callable[[int, str, bytes, float], None]
"""Is told what passes: connection, ">" to the server or "<" to the client, bytes as they came, clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to one direction of a connection. Nothing given: bytes pass as they come.

    `flip`: offset in the stream -> mask the byte there is XORed with.
    `stall_after`: after this many bytes the direction stops until `Direction.released` is set.
    `cut_after`: this many bytes are delivered, and then `cut` says what happens: "fin" ends both
    sockets in order, "rst" resets both, "half" ends this direction alone.
    `merge`: bytes are held back until this many have come, or the direction ends.
    `split`: bytes are written in pieces of these sizes, used in turn again and again.
    """

    flip: Mapping[int, int] = field(default_factory=dict)
    stall_after: int | None = None
    cut_after: int | None = None
    cut: Cut = "fin"
    merge: int = 0
    split: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The faults of both directions of one connection."""

    to_server: Faults = Faults()
    to_client: Faults = Faults()


PASS = Plan()


def chaos(
    seed: int,
    *,
    within: int = 4096,
    cuts: bool = True,
    flips: bool = False,
    pieces: bool = True,
) -> Callable[[int], Plan]:
    """Plans drawn from `seed` and the connection's number: the same pair gives the same plan.

    `cuts`, `flips` and `pieces` say which kinds of fault may be drawn; `within` bounds the offsets.
    Half of the directions have no cut and half no flip, so that some connections come through.
    """

    def plan(number: int) -> Plan:
        # repeatable on purpose: a text seeds the same on every machine and every run
        random = Random(f"{seed}/{number}")  # noqa: S311

        def faults() -> Faults:
            cut_after = random.randrange(within) if cuts and random.random() < 0.5 else None
            flip: dict[int, int] = {}
            if flips and random.random() < 0.5:
                flip = {random.randrange(within): random.randrange(1, 256) for _ in range(3)}
            sizes: tuple[int, ...] = ()
            merge = 0
            if pieces and random.random() < 0.5:
                sizes = tuple(random.choice((1, 2, 3, 5, 6, 7, 64, 1000)) for _ in range(4))
            elif pieces:
                merge = random.choice((0, 2, 7, 100))
            return Faults(
                cut_after=cut_after,
                cut=random.choice(("fin", "rst", "half")),
                flip=flip,
                split=sizes,
                merge=merge,
            )

        return Plan(to_server=faults(), to_client=faults())

    return plan


class Direction:
    """One direction of a connection: its faults, its counters, and the handle of its stall."""

    def __init__(self, faults: Faults) -> None:
        self.faults: Faults = faults
        self.received: int = 0
        """Bytes that came from the sending side."""
        self.delivered: int = 0
        """Bytes written to the receiving side."""
        self.pieces: int = 0
        """Writes made for them."""
        self.flipped: int = 0
        """Bytes changed."""
        self.stalled: asyncio.Event = asyncio.Event()
        """Set once the stall has been reached."""
        self.released: asyncio.Event = asyncio.Event()
        """Set it to end the stall."""
        self.ended: Ending | None = None
        """How the direction ended, once it has: by its sender, by a reset, or by the plan."""

    def _flip(self, data: bytes) -> bytes:
        start = self.received - len(data)
        hits = [at for at in self.faults.flip if start <= at < self.received]
        if not hits:
            return data
        changed = bytearray(data)
        for at in hits:
            changed[at - start] ^= self.faults.flip[at]
        self.flipped += len(hits)
        return bytes(changed)


class ProxiedConnection:
    """One connection through the proxy; `to_server` and `to_client` are its directions."""

    def __init__(self, number: int, plan: Plan, tap: Tap | None = None) -> None:
        self.number = number
        self._tap = tap
        self.plan = plan
        self.to_server: Direction = Direction(plan.to_server)
        self.to_client: Direction = Direction(plan.to_client)
        self.port: int = 0
        """The port from which the server was called for it."""
        self.closed: asyncio.Event = asyncio.Event()
        """Set once both sockets are closed."""

    def release(self) -> None:
        """End the stalls of both directions, those to come as well."""
        self.to_server.released.set()
        self.to_client.released.set()

    async def _run(self, client: _Side, server: _Side) -> None:
        both = (client, server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(client, server, self.to_server, both))
                group.create_task(self._pump(server, client, self.to_client, both))
        finally:
            for side in both:
                side.writer.transport.abort()  # all that was to be written is written
            for side in both:
                with contextlib.suppress(OSError):
                    await side.writer.wait_closed()
            self.closed.set()

    def _end(self, how: Ending) -> None:
        for way in (self.to_server, self.to_client):
            way.ended = way.ended or how

    async def _pump(self, source: _Side, sink: _Side, way: Direction, both: tuple[_Side, _Side]) -> None:
        held = b""
        try:
            while True:
                faults = way.faults  # a test may give others meanwhile
                if faults.cut_after is not None and faults.cut_after <= way.delivered + len(held):
                    await self._write(sink, way, held[: max(0, faults.cut_after - way.delivered)])
                    await self._cut_off(source, sink, way, both)
                    return
                if faults.stall_after == way.delivered + len(held) and not way.released.is_set():
                    await self._write(sink, way, held)
                    held = b""
                    way.stalled.set()
                    await way.released.wait()
                data = await source.reader.read(self._room(way, len(held)))
                if not data:
                    await self._write(sink, way, held)
                    way.ended = way.ended or "eof"
                    sink.end()
                    return
                way.received += len(data)
                if self._tap is not None:
                    self._tap(self.number, ">" if way is self.to_server else "<", data, time.monotonic())
                held += way._flip(data)
                place = way.faults.cut_after
                if place is not None and place <= way.delivered + len(held):
                    continue
                if len(held) >= faults.merge:
                    await self._write(sink, way, held)
                    held = b""
        except OSError:  # one of the two is gone: so is the other
            self._end("reset")
            for side in both:
                side.reset()

    def _room(self, way: Direction, held: int) -> int:
        """How much may be read without passing a fault's place in the stream."""
        places = [way.faults.cut_after]
        if not way.released.is_set():
            places.append(way.faults.stall_after)
        at = way.delivered + held
        return min([65536, *(place - at for place in places if place is not None and place > at)])

    async def _write(self, sink: _Side, way: Direction, data: bytes) -> None:
        sizes, at = way.faults.split, 0
        while at < len(data) and way.ended is None:  # the other direction's cut may have ended this one
            size = max(sizes[way.pieces % len(sizes)], 1) if sizes else len(data)
            piece = data[at : at + size]
            sink.writer.write(piece)
            await sink.writer.drain()  # the high-water mark is 0: the kernel has it all now
            way.delivered += len(piece)
            way.pieces += 1
            at += size
            await asyncio.sleep(0)  # let a receiver in this loop find the piece alone

    async def _cut_off(self, source: _Side, sink: _Side, way: Direction, both: tuple[_Side, _Side]) -> None:
        if way.faults.cut == "rst":
            self._end("cut")
            for side in both:
                side.reset()
            return
        if way.faults.cut == "fin":
            self._end("cut")
            source.end()
        way.ended = "cut"
        sink.end()
        # closing a socket with unread bytes sends an RST: read on, for nothing
        while data := await source.reader.read(65536):
            way.received += len(data)


class _Side:
    """One of the two sockets of a proxied connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        writer.transport.set_write_buffer_limits(high=0)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def end(self) -> None:
        """FIN to this side, if nothing has ended it yet."""
        with contextlib.suppress(OSError, RuntimeError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            else:  # TLS has no half of a connection
                self.writer.close()

    def reset(self) -> None:
        """RST to this side."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class FaultProxy:
    """Listens, and joins each connection it takes to one of its own to `host`:`port`, by the plan.

    A context manager. `connections` lists every connection taken, in order, ended ones as well.
    """

    def __init__(
        self,
        host: str,
        port: int,
        plan: Plan | Callable[[int], Plan] = PASS,
        *,
        listen_on: str = "127.0.0.1",
        ssl: ssl_module.SSLContext | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.host = listen_on
        self.port: int = 0
        self.connections: list[ProxiedConnection] = []
        self.refused: int = 0
        """Connections dropped because the server could not be reached."""
        self._target = (host, port)
        self._ssl = ssl
        self._tap = tap
        self._plan: Callable[[int], Plan] = (lambda number: plan) if isinstance(plan, Plan) else plan
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, self.host, 0, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def connection(self, number: int = 0) -> ProxiedConnection:
        """The connection of this number, waiting until it has been made."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.connections) > number)
        return self.connections[number]

    def aim(self, host: str, port: int) -> None:
        """Join connections to this server from now on."""
        self._target = (host, port)

    def cut(self, connection: ProxiedConnection, more: int, how: Cut) -> None:
        """Cut a connection when so many more bytes have gone to the client."""
        way = connection.to_client
        way.faults = replace(way.faults, cut_after=way.delivered + more, cut=how)

    def release(self) -> None:
        """End the stalls of every connection."""
        for connection in self.connections:
            connection.release()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            client = _Side(reader, writer)
            try:
                server = _Side(*await asyncio.open_connection(*self._target))
            except OSError:
                self.refused += 1
                client.reset()
                return
            connection = ProxiedConnection(
                len(self.connections), self._plan(len(self.connections)), self._tap
            )
            connection.port = server.writer.get_extra_info("sockname")[1]
            self.connections.append(connection)
            async with self._news:
                self._news.notify_all()
            await connection._run(client, server)
        except asyncio.CancelledError:
            writer.transport.abort()  # the proxy is closing; the task is awaited by nobody but it
        finally:
            self._tasks.discard(task)
