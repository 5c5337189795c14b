"""A host of several addresses: as RFC 8305 has it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiodicom.association import dialing
from aiodicom.association.dialing import Address, dial, in_turn
from aiodicom.association.errors import HostUnknown
from syscalls import descriptors

V4, V6 = socket.AF_INET, socket.AF_INET6
STREAM = socket.SOCK_STREAM


def address(family: int, host: str, port: int) -> Address:
    return (family, STREAM, 6, (host, port))


def test_families_take_turns() -> None:
    """RFC 8305 4: the system's first family begins; nothing is tried twice."""
    a, b, c = (address(V6, f"::{n}", 1) for n in range(3))
    x = address(V4, "127.0.0.1", 1)
    assert in_turn([a, b, c, x, x, a]) == [a, x, b, c]
    assert in_turn([x, a, b]) == [x, a, b]
    assert in_turn([]) == []


class Host:
    """Names resolve to `addresses`; those of `silent` never answer, those of `refusing` refuse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, addresses: list[str], port: int) -> None:
        self.silent: set[str] = set()
        self.begun: list[str] = []
        self.given_up: list[str] = []
        real = dialing.attempt

        async def attempt(one: Address) -> socket.socket | OSError:
            host = one[3][0]
            self.begun.append(host)
            if host in self.silent:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.given_up.append(host)
                    raise
            return await real(one)

        async def resolved(*asked: object, **how: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
            return [(V4, STREAM, 6, "", (one, port)) for one in addresses]

        monkeypatch.setattr(dialing, "attempt", attempt)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)


@pytest.fixture
async def listening() -> AsyncIterator[int]:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


async def test_one_that_refuses_is_followed_at_once(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 1000)
    host = Host(monkeypatch, ["127.0.0.1", "127.0.0.3", "127.0.0.2"], listening)
    sock = await dial("host", listening)
    assert sock.getpeername() == ("127.0.0.2", listening)
    assert host.begun == ["127.0.0.1", "127.0.0.3", "127.0.0.2"]
    sock.close()


async def test_one_that_is_silent_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 0)
    host = Host(monkeypatch, ["127.0.0.1", "127.0.0.3", "127.0.0.2"], listening)
    host.silent = {"127.0.0.1", "127.0.0.3"}
    sock = await dial("host", listening)
    assert sock.getpeername() == ("127.0.0.2", listening)
    sock.close()
    assert sorted(host.given_up) == ["127.0.0.1", "127.0.0.3"]


async def test_the_first_has_its_moment_alone(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 1000)
    host = Host(monkeypatch, ["127.0.0.2", "127.0.0.1"], listening)
    (await dial("host", listening)).close()
    assert host.begun == ["127.0.0.2"]


@pytest.mark.parametrize("count", [1, 3])
async def test_where_none_answers_the_last_says_why(
    monkeypatch: pytest.MonkeyPatch, listening: int, count: int
) -> None:
    Host(monkeypatch, [f"127.0.0.{n + 3}" for n in range(count)], listening)
    before = descriptors()
    with pytest.raises(ConnectionRefusedError):
        await dial("host", listening)
    assert descriptors() == before


async def test_cancelled_it_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 0)
    host = Host(monkeypatch, ["127.0.0.1", "127.0.0.3"], listening)
    host.silent = {"127.0.0.1", "127.0.0.3"}
    task = asyncio.create_task(dial("host", listening))
    while len(host.begun) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(host.given_up) == ["127.0.0.1", "127.0.0.3"]


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(HostUnknown, match="does not resolve"):
        await dial("no.such.invalid", 104)
