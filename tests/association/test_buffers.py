"""Buffers are used again when the system has taken what was in them, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiodicom.association.buffers import Buffers, Pool
from conftest import TLSPair
from wire import on_each_loop

STEP = 64 * 1024


def address(view: memoryview) -> int:
    return id(view.obj)


def test_a_buffer_is_used_again_when_it_was_taken() -> None:
    taken = 0
    buffers = Buffers(lambda: taken, Pool())
    first, second = buffers.take(100_000), buffers.take(100_001)
    assert (len(first), len(second)) == (100_000, 100_001)
    buffers.sent(first, 100_000)
    buffers.sent(second, 200_001)
    buffers.collect()
    third = buffers.take(100_000)
    assert address(third) not in (address(first), address(second))
    taken = 200_000
    buffers.collect()
    assert address(buffers.take(80_000)) == address(first)
    assert address(buffers.take(80_000)) != address(second)  # its last byte has not gone
    taken = 200_001
    buffers.collect()
    assert address(buffers.take(STEP + 1)) == address(second)
    assert address(buffers.take(STEP)) != address(first)  # another size


def test_what_it_did_not_give_is_left_alone() -> None:
    pool = Pool()
    buffers = Buffers(lambda: 1 << 40, pool)
    buffers.sent(b"bytes", 5)
    buffers.sent(memoryview(b"bytes"), 10)
    buffers.sent(memoryview(bytearray(10)), 20)
    buffers.collect()
    assert not pool.held


def test_what_is_kept_is_bounded_for_all_together() -> None:
    pool = Pool(16 << 20)
    one, other = Buffers(lambda: 1 << 40, pool), Buffers(lambda: 1 << 40, pool)
    lent = [(buffers, buffers.take(1 << 20)) for buffers in [one, other] * 20]
    for buffers, view in lent:
        buffers.sent(view, 1)
    one.collect()
    other.collect()
    assert pool.held == 16 << 20
    again = {address(other.take(1 << 20)) for _ in range(16)}
    assert len(again & {address(view) for _, view in lent}) == 16
    assert not pool.held


def lent(pool: Pool, *sizes: int) -> list[object]:
    """The buffers that were given for these sizes; they are free again."""
    views = [pool.take(size) for size in sizes]
    pool.put([view.obj for view in views])  # type: ignore[misc]
    return [view.obj for view in views]


def same(one: list[object], other: list[object]) -> bool:
    return {id(buffer) for buffer in one} == {id(buffer) for buffer in other}


def test_a_pool_full_of_one_size_takes_to_another() -> None:
    """What a run of today uses is kept, not what one of yesterday used."""
    pool = Pool(16 * STEP)
    lent(pool, *[STEP] * 16)
    assert pool.held == 16 * STEP
    large = lent(pool, 3 * STEP, 3 * STEP)
    assert same(lent(pool, 3 * STEP, 3 * STEP), large)
    assert pool.held == 16 * STEP


def test_sizes_that_are_used_stay_and_those_that_are_not_go() -> None:
    pool = Pool(16 * STEP)
    unused, small = lent(pool, *[2 * STEP] * 6), lent(pool, *[STEP] * 4)
    for steps in range(3, 12):
        lent(pool, steps * STEP)
        assert same(lent(pool, *[STEP] * 4), small)
        assert pool.held <= 16 * STEP
    again = lent(pool, *[2 * STEP] * 6)
    assert not {id(buffer) for buffer in unused} & {id(buffer) for buffer in again}


def test_what_is_larger_than_all_that_is_kept_costs_nobody_his() -> None:
    pool = Pool(4 * STEP)
    kept = lent(pool, STEP, STEP)
    lent(pool, 5 * STEP)
    assert same(lent(pool, STEP, STEP), kept)
    lent(pool, 0)
    assert pool.held == 2 * STEP


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_what_arrives_is_what_was_sent(secure: bool, tls_pair: TLSPair) -> None:
    """Each buffer is filled anew as soon as it may be; the peer reads late and slowly."""
    server_tls, client_tls = (tls_pair.server, tls_pair.client) if secure else (None, None)
    count, size = 60, 200_000
    heard, done = bytearray(), asyncio.Event()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(30_000):
            heard.extend(data)
            await asyncio.sleep(0)
        done.set()
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_tls, server_hostname="localhost" if secure else None
    )
    transport, handed = writer.transport, 0
    taken: Callable[[], int] = lambda: handed - transport.get_write_buffer_size()  # noqa: E731
    buffers, used = Buffers(taken, Pool()), set()
    for number in range(count):
        buffers.collect()
        view = buffers.take(size)
        used.add(address(view))
        view[:] = bytes([number]) * size
        transport.writelines([view[:100], view[100:]])
        handed += size
        buffers.sent(view, handed)
        if number % 3 == 0:
            await writer.drain()
        if number % 7 == 0:
            await asyncio.sleep(0)
    writer.close()
    await done.wait()
    server.close()
    assert heard == b"".join(bytes([number]) * size for number in range(count))
    assert len(used) < count


def test_a_buffer_of_a_users_is_nobody_elses() -> None:
    """However it is handed over, and whatever its size."""
    pool = Pool()
    buffers = Buffers(lambda: 1 << 30, pool)
    mine = bytearray(64 * 1024)
    for view in (memoryview(mine), memoryview(mine).toreadonly(), memoryview(mine)[:10]):
        buffers.sent(view, 0)
    buffers.collect()
    assert pool.held == 0
    buffers.sent(buffers.take(10), 0)
    buffers.collect()
    assert pool.held == 64 * 1024
