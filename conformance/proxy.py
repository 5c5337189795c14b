"""A proxy between two peers that changes nothing and judges both by the rules; TLS may end on either side."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable

from .watch import Watched

PIECE = 65536


class WatchingProxy:
    """Listens, joins each connection to one of its own to the server, and hands over what was said.

    A context manager; `told` is awaited with each conversation when it has ended. Judging one takes a time
    that its peers choose: who shares the loop with others does it on a thread.
    """

    def __init__(
        self,
        host: str,
        port: int,
        told: Callable[[Watched], Awaitable[object]],
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls_in: ssl.SSLContext | None = None,
        tls_out: ssl.SSLContext | None = None,
    ) -> None:
        self.host: str = listen[0]
        self.port: int = listen[1]
        self._target = (host, port)
        self._told = told
        self._tls_in, self._tls_out = tls_in, tls_out
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> WatchingProxy:
        self._server = await asyncio.start_server(self._taken, self.host, self.port, ssl=self._tls_in)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def forever(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = writer.get_extra_info("peername") or ("?", 0)
        target = f"{self._target[0]}:{self._target[1]}"
        watched = Watched(f"{who[0]}:{who[1]} to {target}", time.monotonic())
        self._writers.add(writer)
        try:
            theirs, ours = await asyncio.open_connection(*self._target, ssl=self._tls_out)
        except OSError as error:
            watched.notes.append(f"{target} could not be reached: {error}")
            writer.transport.abort()
            await self._told(watched)
            return
        finally:
            self._writers.discard(writer)
        self._writers |= {writer, ours}
        try:
            await asyncio.gather(
                self._pump(reader, ours, ">", watched), self._pump(theirs, writer, "<", watched)
            )
        finally:
            self._writers -= {writer, ours}
            for one in (writer, ours):
                one.close()
            watched.finish(time.monotonic())
            await self._told(watched)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str, watched: Watched
    ) -> None:
        try:
            while data := await source.read(PIECE):
                watched.feed(way, data, time.monotonic())
                sink.write(data)
                await sink.drain()
        except OSError:
            watched.notes.append(f"the connection was lost from the {'caller' if way == '>' else 'called'}")
            sink.transport.abort()
            return
        with contextlib.suppress(OSError, RuntimeError):  # gone already
            if sink.can_write_eof():
                sink.write_eof()
            else:
                sink.close()
