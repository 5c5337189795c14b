"""The proxy breaks a connection where its plan says, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiodicom.testing import (
    PASS,
    FaultProxy,
    Faults,
    Plan,
    ProxiedConnection,
    ScriptedListener,
    ScriptedPeer,
    ScriptError,
    chaos,
)
from hypothesis import given
from hypothesis import strategies as st

TEXT = bytes(range(256)) * 40


@asynccontextmanager
async def through(
    plan: Plan | Callable[[int], Plan],
) -> AsyncIterator[tuple[ScriptedPeer, ScriptedPeer, ProxiedConnection]]:
    """A client and a server joined through a proxy, and the connection between them."""
    async with (
        ScriptedListener() as listener,
        FaultProxy(listener.host, listener.port, plan) as proxy,
        await ScriptedPeer.connect(proxy.host, proxy.port) as client,
        await listener.next_connection() as server,
    ):
        yield client, server, await proxy.connection()


async def test_bytes_pass_both_ways_and_ends_pass_on() -> None:
    async with through(PASS) as (client, server, connection):
        await client.send(TEXT)
        assert await server.receive_bytes(len(TEXT)) == TEXT
        await server.send(b"back")
        assert await client.receive_bytes(4) == b"back"
        await client.half_close()
        assert await server.expect_close() == "eof"
        await server.send(b"still")  # only one direction has ended
        assert await client.receive_bytes(5) == b"still"
        await server.close()
        assert await client.expect_close() == "eof"
        await client.close()
        await connection.closed.wait()
        way = connection.to_server
        assert (way.received, way.delivered, way.ended) == (len(TEXT), len(TEXT), "eof")
        assert (connection.to_client.delivered, connection.to_client.ended) == (9, "eof")


async def test_a_reset_passes_on() -> None:
    async with through(PASS) as (client, server, connection):
        await client.reset()
        assert await server.expect_close() == "reset"
        await connection.closed.wait()
        assert connection.to_server.ended == "reset"


@pytest.mark.parametrize("after", [0, 1, 6, 5000, len(TEXT)])
@pytest.mark.parametrize(("cut", "ending"), [("fin", "eof"), ("rst", "reset")])
async def test_a_cut_delivers_what_is_before_it_and_ends_both(after: int, cut: str, ending: str) -> None:
    async with through(Plan(to_server=Faults(cut_after=after, cut=cut))) as (client, server, connection):
        try:
            await client.send(TEXT)
        except ScriptError:
            assert cut == "rst"  # a reset may be there before all is written
        assert await server.drain_until_close() == (TEXT[:after], ending)
        assert await client.expect_close() == ending
        await client.close()
        await server.close()
        await connection.closed.wait()
        assert connection.to_server.delivered == after
        assert connection.to_server.ended == connection.to_client.ended == "cut"


async def test_a_cut_of_the_answer_leaves_the_question_whole() -> None:
    async with through(Plan(to_client=Faults(cut_after=3))) as (client, server, _):
        await client.send(TEXT)
        assert await server.receive_bytes(len(TEXT)) == TEXT
        await server.send(b"answer")
        assert await client.drain_until_close() == (b"ans", "eof")
        assert await server.expect_close() == "eof"


async def test_half_a_cut_ends_one_direction() -> None:
    async with through(Plan(to_server=Faults(cut_after=2, cut="half"))) as (client, server, connection):
        await client.send(b"abcdef")
        assert await server.drain_until_close() == (b"ab", "eof")
        await server.send(TEXT)
        assert await client.receive_bytes(len(TEXT)) == TEXT
        assert connection.to_client.ended is None


async def test_a_stall_lasts_until_it_is_released() -> None:
    async with through(Plan(to_server=Faults(stall_after=4))) as (client, server, connection):
        await client.send(b"abcdefgh")
        assert await server.receive_bytes(4) == b"abcd"
        await server.expect_nothing_until(connection.to_server.stalled.wait())
        await server.send(b"alive")  # the other direction goes on
        assert await client.receive_bytes(5) == b"alive"
        assert connection.to_server.delivered == 4
        connection.release()
        assert await server.receive_bytes(4) == b"efgh"


async def test_a_stall_of_the_proxy_ends_with_it() -> None:
    async with through(Plan(to_server=Faults(stall_after=0))) as (client, _, connection):
        await client.send(b"never")
        await connection.to_server.stalled.wait()
    assert connection.closed.is_set()
    assert connection.to_server.delivered == 0


@given(st.lists(st.integers(min_value=1, max_value=3000), min_size=1, max_size=5))
async def test_pieces_have_the_sizes_asked_for(sizes: list[int]) -> None:
    async with through(Plan(to_server=Faults(split=tuple(sizes), merge=len(TEXT)))) as (client, server, link):
        await client.send(TEXT)
        assert await server.receive_bytes(len(TEXT)) == TEXT
        left, pieces = len(TEXT), 0
        while left > 0:
            left -= sizes[pieces % len(sizes)]
            pieces += 1
        assert link.to_server.pieces == pieces


async def test_bytes_are_held_until_enough_have_come() -> None:
    async with through(Plan(to_server=Faults(merge=10))) as (client, server, connection):
        for came, piece in ((3, b"abc"), (6, b"def"), (9, b"ghi")):
            await client.send(piece)
            await server.expect_nothing_until(until(lambda: connection.to_server.received == came))
        assert connection.to_server.delivered == 0
        await client.send(b"jkl")
        assert await server.receive_bytes(12) == b"abcdefghijkl"
        await client.send(b"rest")
        await client.close()
        assert await server.drain_until_close() == (b"rest", "eof")  # the end lets go of what is held


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_bytes_are_flipped_at_their_place_in_the_stream() -> None:
    plan = Plan(to_server=Faults(flip={0: 0xFF, 5: 0x01, 300: 0x80}))
    async with through(plan) as (client, server, connection):
        await client.send_split(TEXT, [3, 4])
        got = await server.receive_bytes(len(TEXT))
        assert {at: a ^ b for at, (a, b) in enumerate(zip(TEXT, got, strict=True)) if a != b} == {
            0: 0xFF,
            5: 0x01,
            300: 0x80,
        }
        assert connection.to_server.flipped == 3


async def test_each_connection_has_its_own_plan() -> None:
    plans = [Plan(to_server=Faults(cut_after=1)), PASS]
    async with (
        ScriptedListener() as listener,
        FaultProxy(listener.host, listener.port, plans.__getitem__) as proxy,
    ):
        for number, arrives in enumerate((b"x", b"xyz")):
            async with await ScriptedPeer.connect(proxy.host, proxy.port) as client:
                server = await listener.next_connection()
                await client.send(b"xyz")
                await client.half_close()
                assert await server.drain_until_close() == (arrives, "eof")
                assert (await proxy.connection(number)).number == number
        assert len(proxy.connections) == 2


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    async with ScriptedListener() as listener:
        port = listener.port
    async with (
        FaultProxy("127.0.0.1", port) as proxy,
        await ScriptedPeer.connect(proxy.host, proxy.port) as client,
    ):
        assert await client.expect_close() == "reset"
        assert (proxy.refused, proxy.connections) == (1, [])


def test_chaos_is_the_same_for_the_same_seed() -> None:
    first = [chaos(7, flips=True)(number) for number in range(50)]
    assert first == [chaos(7, flips=True)(number) for number in range(50)]
    assert first != [chaos(8, flips=True)(number) for number in range(50)]
    drawn = [faults for plan in first for faults in (plan.to_server, plan.to_client)]
    assert {faults.cut for faults in drawn if faults.cut_after is not None} == {"fin", "rst", "half"}
    for kind in ("cut_after", "flip", "split", "merge"):  # each kind of fault is there, and not always
        assert 0 < sum(bool(getattr(faults, kind)) for faults in drawn) < len(drawn)


def test_chaos_draws_only_what_it_may() -> None:
    for number in range(50):
        plan = chaos(1, cuts=False, pieces=False)(number)
        for faults in (plan.to_server, plan.to_client):
            assert (faults.cut_after, faults.flip, faults.split, faults.merge) == (None, {}, (), 0)


@given(st.integers(min_value=0, max_value=10**6))
async def test_chaos_without_flips_delivers_a_prefix(seed: int) -> None:
    async with through(chaos(seed, within=200)) as (client, server, connection):
        try:
            await client.send(TEXT[:300])
            await client.half_close()
        except ScriptError:
            pass  # cut before all was written
        got, _ = await server.drain_until_close()
        assert got == TEXT[: len(got)]
        cut_after = connection.plan.to_server.cut_after
        if connection.to_client.ended != "cut" and cut_after is None:
            assert len(got) == 300
        elif cut_after is not None:
            assert len(got) <= cut_after
