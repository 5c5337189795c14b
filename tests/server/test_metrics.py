"""The text of Prometheus, and the responder: what it answers, and what it refuses to bear."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiodicom.server import metrics
from aiodicom.server.metrics import MAX_CONNECTIONS, MAX_REQUEST, MetricsEndpoint, prometheus_text
from aiodicom.server.stats import ServerStats

STATS = ServerStats(
    seconds=12.5,
    pending=1,
    associations=2,
    queue_depth=3,
    connections=40,
    accepted=30,
    ended={"released": 27, "aborted": 1},
    requests={("C-STORE", 0): 1000, ("C-STORE", 0xA700): 2, ("C-ECHO", 0): 1},
    limits={"idle_timeout": 4},
    bytes_received=12345678901234,
    bytes_sent=17,
)
LINE = re.compile(r'aiodicom_[a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? [0-9.]+')


def test_each_number_is_a_line_of_a_metric_that_is_described() -> None:
    lines = prometheus_text(STATS).splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    values = [line for line in lines if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in values), values
    assert {re.split(r"[{ ]", line)[0] for line in values} == described
    assert {line.split()[2] for line in lines if line.startswith("# HELP ")} == described
    assert 'aiodicom_requests_total{service="C-STORE",status="A700"} 2' in values
    assert "aiodicom_received_bytes_total 12345678901234" in values
    assert 'aiodicom_limits_reached_total{limit="idle_timeout"} 4' in values
    assert prometheus_text(STATS).endswith("\n")


async def ask(port: int, request: bytes, *, step: int = 0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, len(request), step or len(request)):
        writer.write(request[start : start + (step or len(request))])
        await writer.drain()
        await asyncio.sleep(0)
    try:
        return await reader.read()
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the connection is closed without an answer."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, True),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", 200, True),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200, False),
        (b"GET / HTTP/1.1\r\n\r\n", 404, False),
        (b"GET /metrics/../etc HTTP/1.1\r\n\r\n", 404, False),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405, False),
        (b"GET /metrics\r\n\r\n", 400, False),
        (b"\x01\x00\x00\x00\x00\xcd\r\n\r\n", 400, False),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST + b"\r\n\r\n", 431, False),
        (b"x" * (MAX_REQUEST + 1), 431, False),
    ],
)
async def test_a_request_is_answered_and_the_connection_closed(
    request_: bytes, status: int, body: bool
) -> None:
    async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=0) as endpoint:
        for step in (0, 1) if len(request_) < 100 else (0,):
            answer = await ask(endpoint.port, request_, step=step)
            head, _, text = answer.partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
            assert (text.decode() == prometheus_text(STATS)) == body
            if not request_.startswith(b"HEAD"):
                assert f"Content-Length: {len(text)}".encode() in head


async def test_who_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TIME_LIMIT", 0.01)
    async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=0) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET /met")
        assert await ended(reader)
        writer.close()


async def test_no_more_connections_than_there_is_room_for() -> None:
    async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=0) as endpoint:
        held = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(MAX_CONNECTIONS)]
        while len(endpoint._connections) < MAX_CONNECTIONS:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        assert await ended(reader)
        writer.close()
        held[0][1].close()
        while len(endpoint._connections) == MAX_CONNECTIONS:
            await asyncio.sleep(0)
        assert b" 200 OK" in await ask(endpoint.port, b"GET /metrics HTTP/1.1\r\n\r\n")
        for _, one in held:
            one.close()


async def test_closing_does_not_wait_for_anybody() -> None:
    async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=0) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET")
    assert await ended(reader)
    writer.close()


async def test_a_port_that_is_taken_is_said_so() -> None:
    async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=0) as endpoint:
        words = f"cannot listen for metrics on 127.0.0.1 port {endpoint.port}: address already in use"
        with pytest.raises(OSError, match=words):
            async with MetricsEndpoint(lambda: STATS, host="127.0.0.1", port=endpoint.port):
                pass


@pytest.mark.parametrize("host", [None, "::", "[::]"])
async def test_numbers_are_on_one_port_of_both_families(host: str | None) -> None:
    async with MetricsEndpoint(lambda: STATS, host=host, port=0) as endpoint:
        for address in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(address, endpoint.port)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
