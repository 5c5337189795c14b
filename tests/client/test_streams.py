"""What is iterated or awaited once: it begins when it is asked, and ends when it is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator

import pytest
from aiodicom.client.streams import Stream


class Counting(Stream[int]):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def _start(self) -> AsyncGenerator[int, None]:
        return counting(self.log)


async def counting(log: list[str]) -> AsyncGenerator[int, None]:
    log.append("begun")
    try:
        for number in range(3):
            yield number
    finally:
        log.append("ended")


async def test_nothing_begins_before_it_is_taken_from() -> None:
    stream = Counting()
    assert stream.log == []
    assert [number async for number in stream] == [0, 1, 2]
    assert stream.log == ["begun", "ended"]


async def test_a_loop_that_is_left_ends_it_though_the_stream_is_kept() -> None:
    stream = Counting()
    async for _ in stream:
        break
    gc.collect()
    while "ended" not in stream.log:
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Counting can be iterated once"):
        aiter(stream)


async def test_leaving_async_with_waits_for_its_end() -> None:
    async with Counting() as stream:
        assert await anext(stream) == 0
        assert await anext(stream) == 1
    assert stream.log == ["begun", "ended"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_leaving_async_with_waits_also_where_its_loop_was_left() -> None:
    stream = Slow()
    async with stream:
        async for _ in stream:
            break
    assert stream.log == ["begun", "ended"]
    await stream.aclose()


class Slow(Counting):
    def _start(self) -> AsyncGenerator[int, None]:
        return self._slowly()

    async def _slowly(self) -> AsyncGenerator[int, None]:
        try:
            async for number in counting(self.log):
                yield number
        finally:
            self.log = ["begun"]
            for _ in range(20):
                await asyncio.sleep(0)
            self.log.append("ended")


async def test_one_that_never_began_is_closed_without_beginning() -> None:
    async with Counting() as stream:
        pass
    assert stream.log == []
