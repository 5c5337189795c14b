"""A server's numbers in Prometheus' text format, and a small HTTP responder that gives them away.

It answers ``GET /metrics`` and closes: no connection may say much or stay long, and few may be there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from ..association.dialing import check_port
from .binding import bind
from .stats import ServerStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_REQUEST = 8192
"""Bytes of a request; one that is longer is answered 431."""
TIME_LIMIT = 5.0
"""Seconds that a connection may stay, however it came along."""
MAX_CONNECTIONS = 16
"""Connections at once; one more is closed."""

_Labels = Mapping[str, str]
_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_WORDS[431] = "Request Header Fields Too Large"


def prometheus_text(stats: ServerStats) -> str:
    """The numbers in the text format 0.0.4 of Prometheus; statuses are four hexadecimal digits.

    >>> async with aiodicom.serve_archive(OUT, port=0) as server:
    ...     text = aiodicom.prometheus_text(server.stats())
    >>> "# TYPE aiodicom_associations_total counter" in text
    True
    """
    outcomes = [({"outcome": name}, count) for name, count in stats.ended.items()]
    requests = [
        ({"service": service, "status": f"{status:04X}"}, count)
        for (service, status), count in sorted(stats.requests.items())
    ]
    limits = [({"limit": name}, count) for name, count in sorted(stats.limits.items())]
    lines = [
        *_metric("uptime_seconds", "gauge", "How long the server has been there.", stats.seconds),
        *_metric("connections_pending", "gauge", "Connections without an association.", stats.pending),
        *_metric("associations", "gauge", "Associations that are open.", stats.associations),
        *_metric("queue_depth", "gauge", "Objects that came whole and are not safe yet.", stats.queue_depth),
        *_metric("connections_total", "counter", "Connections that came.", stats.connections),
        *_metric("associations_total", "counter", "Associations accepted.", stats.accepted),
        *_metric("associations_ended_total", "counter", "Associations that ended, by how.", outcomes),
        *_metric("requests_total", "counter", "Requests by service and final status.", requests),
        *_metric(
            "limits_reached_total",
            "counter",
            "Refused or ended by a limit.",
            limits,
        ),
        *_metric("received_bytes_total", "counter", "Bytes received, without TLS.", stats.bytes_received),
        *_metric("sent_bytes_total", "counter", "Bytes sent, without TLS.", stats.bytes_sent),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, words: str, value: float | Iterable[tuple[_Labels, int]]) -> Iterable[str]:
    full = f"aiodicom_{name}"
    yield f"# HELP {full} {words}"
    yield f"# TYPE {full} {kind}"
    if isinstance(value, int | float):
        yield f"{full} {value}"
        return
    for labels, count in value:
        said = ",".join(f'{label}="{text}"' for label, text in labels.items())
        yield f"{full}{{{said}}} {count}"


class MetricsEndpoint:
    """Answers ``GET /metrics`` on a port of its own: ``async with MetricsEndpoint(server.stats, ...)``.

    Whoever reaches the port may ask: it tells no names and no data, but how busy the server is.
    """

    def __init__(self, stats: Callable[[], ServerStats], *, host: str | None, port: int) -> None:
        """`host` None is every address, `port` 0 a free one."""
        self._stats = stats
        self._where = (host, check_port(port, 0))
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """The port listened on, while open."""
        found: int = self._servers[0].sockets[0].getsockname()[1]
        return found

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        for sock in await bind(*self._where, "for metrics "):
            made = await loop.create_server(lambda: _Connection(self._answer, self._connections), sock=sock)
            self._servers.append(made)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drop()
        for server in self._servers:
            await server.wait_closed()

    def _answer(self, method: str, target: str) -> tuple[int, str]:
        """Status and text."""
        if target.partition("?")[0] != "/metrics":
            return 404, "there is /metrics alone\n"
        if method not in ("GET", "HEAD"):
            return 405, "GET and HEAD alone\n"
        return 200, prometheus_text(self._stats())


class _Connection(asyncio.Protocol):
    """One request and its answer; then, or when its time is up, it closes."""

    def __init__(self, answer: Callable[[str, str], tuple[int, str]], connections: set[_Connection]) -> None:
        self._answer = answer
        self._connections = connections
        self._received = bytearray()
        self._answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, if there is room."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not registered as one
        if len(self._connections) >= MAX_CONNECTIONS:
            self.drop()
            return
        self._connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(TIME_LIMIT, self.drop)

    def data_received(self, data: bytes) -> None:
        """Answer when the head of a request is whole. What follows it is not looked at."""
        if self._answered:
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if max(end, len(self._received) if end < 0 else 0) > MAX_REQUEST:
            self._send("GET", 431, "the request is too long\n")
        elif end >= 0:
            words = self._received[: self._received.find(b"\r\n")].decode("latin-1").split(" ")
            if len(words) != 3 or not words[2].startswith("HTTP/1."):
                self._send("GET", 400, "this is no request of HTTP/1\n")
            else:
                self._send(words[0], *self._answer(words[0], words[1]))

    def _send(self, method: str, status: int, text: str) -> None:
        self._answered = True
        self._received.clear()
        body = text.encode()
        kind = CONTENT_TYPE if status == 200 else "text/plain; charset=utf-8"
        head = (
            f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        assert self._transport is not None
        self._transport.write(head.encode() + (b"" if method == "HEAD" else body))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def drop(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()
