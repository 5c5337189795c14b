"""Limits for an address count an IPv6 network as one: whoever has an address of it has them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiodicom.association.performing import Request
from aiodicom.pdu import AAssociateAC, AAssociateRJ
from aiodicom.server import listener
from aiodicom.server.accepted import AcceptedConnection
from aiodicom.server.limits import ServerLimits
from aiodicom.server.origin import origin_of
from aiodicom.testing import ScriptedPeer, associate_request
from wire import LONG, Plain, bystander, calling, echo, on_each_loop, serving

LOCAL_LIMIT = AAssociateRJ(2, 3, 2)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:DB8:0001:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1:2%eth0", "fe80::/64%eth0"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("listener", "listener"),
        ("", ""),
    ],
)
def test_what_an_address_counts_as(address: str, origin: str) -> None:
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    ("prefix", "origin"), [(128, "2001:db8:1:2::7/128"), (56, "2001:db8:1::/56"), (1, "::/1")]
)
def test_how_much_of_it_counts(prefix: int, origin: str) -> None:
    assert origin_of("2001:db8:1:2::7", prefix) == origin
    assert origin_of("::7", prefix) != "0.0.0.0/1"
    assert origin_of("10.0.0.7", prefix) == "10.0.0.7"


@pytest.mark.parametrize("prefix", [0, 129, -1])
def test_a_prefix_that_is_none(prefix: int) -> None:
    with pytest.raises(ValueError, match="ipv6_prefix is 1 to 128 bits"):
        ServerLimits(ipv6_prefix=prefix)


@pytest.fixture
def come_from(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the next connections of a server come from these addresses: this machine has one of IPv6."""

    def use(*addresses: str) -> None:
        left: Iterator[str] = iter(addresses)
        made: Callable[..., Any] = lambda reception, sock, _: AcceptedConnection(reception, sock, next(left))  # noqa: E731
        monkeypatch.setattr(listener, "AcceptedConnection", made)

    return use


async def outcome(server: Any) -> Any:
    async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(associate_request())
        return await peer.receive()


@on_each_loop
async def test_associations_of_a_network(come_from: Any, caplog: pytest.LogCaptureFixture) -> None:
    come_from("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::1", "2001:db8::5")
    limits = replace(LONG, max_associations_per_address=2)
    async with serving(limits=limits) as server, AsyncExitStack() as stack:
        first = await stack.enter_async_context(calling(server))
        await stack.enter_async_context(calling(server))
        assert await outcome(server) == LOCAL_LIMIT
        assert await outcome(server) == LOCAL_LIMIT
        assert isinstance(await outcome(server), AAssociateAC)
        await first.release()
        await first.expect_close()
        assert isinstance(await outcome(server), AAssociateAC)
    [said] = [one for one in caplog.messages if "max_associations_per_address" in one]
    assert said.startswith("2001:db8::3: ")


async def test_addresses_that_count_singly(come_from: Any) -> None:
    come_from("2001:db8::1", "2001:db8::2")
    limits = replace(LONG, max_associations_per_address=1, ipv6_prefix=128)
    async with serving(limits=limits) as server, calling(server):
        assert isinstance(await outcome(server), AAssociateAC)


async def test_a_flood_from_a_network_takes_no_room_from_another(come_from: Any) -> None:
    flood = [f"2001:db8::{number:x}" for number in range(1, 21)]
    come_from("2001:db8:0:1::1", *flood, "10.0.0.1")
    async with serving(limits=replace(LONG, max_pending_connections=5)) as server, AsyncExitStack() as stack:
        other = await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
        for _ in flood:
            await stack.enter_async_context(await ScriptedPeer.connect("127.0.0.1", server.port))
        async with bystander(server):
            pass
        await other.associate()
        assert await echo(other) == 0


async def test_a_request_knows_both(come_from: Any) -> None:
    """By its origin an address has its turns of threads, destinations and what is read ahead."""
    seen: list[tuple[str, str]] = []

    async def look(request: Request) -> None:
        seen.append((request.address, request.origin))

    come_from("2001:db8::1", "2001:db8::2", "10.0.0.1")
    async with serving(Plain(on_echo=look)) as server, AsyncExitStack() as stack:
        for _ in range(3):
            assert await echo(await stack.enter_async_context(calling(server))) == 0
        assert set(server._reception.shared.read_ahead._of) == {"2001:db8::/64", "10.0.0.1"}
    assert seen == [
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::2", "2001:db8::/64"),
        ("10.0.0.1", "10.0.0.1"),
    ]
