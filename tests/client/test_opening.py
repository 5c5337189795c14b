"""A peer that takes one association at a time, and leaves the next connection without an answer meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import AssociationTimeout
from aiodicom.client import opening
from aiodicom.client.connect import connect
from aiodicom.client.opening import opened
from peers.misbehaving import Misbehaving
from wire import STEADY, ct

TIMES = replace(STEADY, artim=0.1, busy=2)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "UNANSWERED", 0.05)


@asynccontextmanager
async def one_at_a_time(port: int) -> AsyncIterator[int]:
    """A port that passes on what the first connection says, and takes the next when that has ended."""
    first = asyncio.Lock()
    tasks: set[asyncio.Task[Any]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            async with first:
                there, back = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await asyncio.gather(pump(reader, back), pump(there, writer))
                finally:
                    back.transport.abort()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = [*tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


def objects() -> list[Any]:
    return [ct(f"1.2.3.{n % 4}.{n}", SeriesInstanceUID=f"1.2.3.{n % 4}") for n in range(12)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def awaited(something: Awaitable[Any]) -> Any:
    return await something


async def test_what_runs_at_once_waits_for_what_the_peer_takes(tmp_path: Path) -> None:
    async with Misbehaving(objects()) as peer, one_at_a_time(peer.port) as port:
        async with connect("127.0.0.1", port, timeouts=TIMES) as pacs:
            gets = (
                pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path / name)
                for name in ("a", "b", "c")
            )
            found = asyncio.ensure_future(awaited(pacs.find("STUDY", {"StudyInstanceUID": "1.2.3"})))
            results = await asyncio.gather(*gets)
            assert len(await found) == 1
    assert all(one.ok for one in results)
    assert peer.most_at_once == 1


@pytest.mark.parametrize("way", ["get", "move"])
async def test_several_associations_end_with_the_work_of_the_one(tmp_path: Path, way: str) -> None:
    """Nothing that a worker was to ask for is lost, and nobody waits for those that got no answer."""
    here = free_port()
    async with Misbehaving(objects(), move_port=here) as peer, one_at_a_time(peer.port) as port:
        async with connect("127.0.0.1", port, timeouts=TIMES, lazy=True) as pacs:
            how: dict[str, Any] = {"root": "STUDY", "directory": tmp_path, "associations": 4}
            if way == "move":
                result = await pacs.move("STUDY", "1.2.3", listen_host="127.0.0.1", listen_port=here, **how)
            else:
                result = await pacs.get("STUDY", "1.2.3", **how)
    assert result.ok, result
    assert max(peer.sent.values()) == 1
    assert peer.most_at_once == 1


async def test_a_loop_that_holds_the_only_one_is_told(tmp_path: Path) -> None:
    """Nothing moves on it: it is not waited for without end."""
    times = replace(TIMES, association=0.3, busy=0.1)
    async with Misbehaving(objects()) as peer, one_at_a_time(peer.port) as port:
        async with connect("127.0.0.1", port, timeouts=times) as pacs:
            async for _ in pacs.find("STUDY", {"StudyInstanceUID": "1.2.3"}):
                with pytest.raises(AssociationTimeout):
                    await pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path)


async def nobody(_: int) -> None:
    raise AssertionError


async def test_what_is_answered_though_nobody_wants_it_any_more_is_let_go() -> None:
    let_go: list[int] = []

    async def answer() -> int:
        return 5

    async def unwanted(number: int) -> None:
        let_go.append(number)

    async def other() -> bool:
        raise AssertionError

    task = asyncio.ensure_future(opened(answer(), asyncio.Event(), other, unwanted))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it has been answered, and nobody was told yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert let_go == [5]


async def test_an_answer_in_time_asks_nobody_else() -> None:
    async def other() -> bool:
        raise AssertionError

    async def answer() -> int:
        await asyncio.sleep(0)
        return 1

    assert await opened(answer(), asyncio.Event(), other, nobody) == 1


async def test_it_is_asked_again_each_time_something_is_given_back() -> None:
    returned, asked = asyncio.Event(), 0
    given_up = asyncio.Event()

    async def silence() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return 0

    async def other() -> bool:
        nonlocal asked
        asked += 1
        asyncio.get_running_loop().call_soon(returned.set)
        return asked == 3

    assert await opened(silence(), returned, other, nobody) is None
    assert given_up.is_set()
