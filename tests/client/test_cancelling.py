"""Every operation cancelled at every point where it waits: nothing stays, and the next one works."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import AssociationEnded
from aiodicom.association.timeouts import Timeouts
from aiodicom.association.transport import Connection
from aiodicom.client.connect import connect
from aiodicom.client.pacs import Pacs
from aiodicom.client.receiving import FileSink
from aiodicom.server.archive_service import ArchiveServer
from aiodicom.server.limits import ServerLimits
from archive_objects import EXPLICIT, files_below, image, part10
from conftest import TLSPair
from wire import PATIENCE, file_sink, free_port, on_each_loop, serving

TIMES = Timeouts(connect=20, association=20, inactivity=20, artim=2, cancel=20)
OBJECTS = 3


@dataclass
class Place:
    """Where an operation works: a folder to store, one to retrieve into, a port to listen on."""

    source: Path
    out: Path
    port: int


Work = Callable[[Pacs, Place], Awaitable[Any]]


async def echo(pacs: Pacs, place: Place) -> None:
    await pacs.echo()


async def store(pacs: Pacs, place: Place) -> None:
    assert (await pacs.store(place.source)).ok


async def find(pacs: Pacs, place: Place) -> None:
    assert len([match async for match in pacs.find("SERIES", root="STUDY", match=STUDY)]) == 1


async def get(pacs: Pacs, place: Place) -> None:
    assert (await pacs.get("STUDY", "1.2.3", directory=place.out, root="STUDY")).ok


async def iterate(pacs: Pacs, place: Place) -> None:
    assert len([dataset async for dataset in pacs.get("STUDY", "1.2.3", root="STUDY")]) == OBJECTS


async def move_to_self(pacs: Pacs, place: Place) -> None:
    how: dict[str, Any] = {"listen_host": "127.0.0.1", "listen_port": place.port, "root": "STUDY"}
    assert (await pacs.move("STUDY", "1.2.3", directory=place.out, **how)).ok


STUDY = {"StudyInstanceUID": "1.2.3"}
WORKS = [echo, store, find, get, iterate, move_to_self]


@types.coroutine
def interrupted(work: Awaitable[None], at: int, late: bool) -> Generator[Any, Any, bool]:
    """`work`, its task cancelled where it waits for the `at`th time; False when it waited less often.

    `late`: what it waited for has come when the cancellation does.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    steps: Any = work.__await__()
    step, argument = steps.send, None
    for number in itertools.count():
        try:
            future = step(argument)
        except StopIteration:
            return number > at
        if number == at and late and future is not None:
            future.add_done_callback(lambda _: task.cancel())
        elif number == at:
            loop.call_soon(task.cancel)
        step, argument = steps.send, None
        try:
            yield future
        except BaseException as error:
            step, argument = steps.throw, error
    raise AssertionError("unreachable")


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:  # the one of the listing itself
            continue
    return found


@asynccontextmanager
async def archive(folder: Path, place: Place, tls: TLSPair | None) -> AsyncIterator[ArchiveServer]:
    place.port = free_port()
    async with ArchiveServer(
        folder,
        port=0,
        durability="rename",
        tls=tls.server if tls else None,
        destinations={"SELF": ("127.0.0.1", place.port)},
        limits=ServerLimits(artim_timeout=20, drain_timeout=20),
    ) as server:
        yield server


@pytest.mark.parametrize("late", [False, True], ids=["soon", "late"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("work", WORKS, ids=[work.__name__ for work in WORKS])
@on_each_loop
async def test_cancelled_at_every_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls_pair: TLSPair, work: Work, secure: bool, late: bool
) -> None:
    place = Place(tmp_path / "in", tmp_path / "out", 0)
    place.source.mkdir()
    sent = {f"1.2.3.1.{n}.dcm": part10(image(n), EXPLICIT) for n in range(OBJECTS)}
    for name, raw in sent.items():
        (place.source / name).write_bytes(raw)
    ours: list[Connection] = []
    real = Connection.connection_made

    def made(self: Connection, transport: asyncio.BaseTransport) -> None:
        request = self.session.request
        if request is not None and request.calling_ae == "SELF":
            ours.append(self)
        real(self, transport)

    monkeypatch.setattr(Connection, "connection_made", made)
    tls = tls_pair if secure else None
    async with archive(tmp_path / "archive", place, tls) as server:

        async def run(work: Work) -> None:
            client = tls.client if tls else None
            async with connect(
                "127.0.0.1", server.port, calling_ae="SELF", tls=client, timeouts=TIMES
            ) as pacs:
                await work(pacs, place)

        await run(store)
        await left(server)
        before = sockets()
        for at in itertools.count():
            ours.clear()
            task = asyncio.ensure_future(_awaited(interrupted(run(work), at, late)))
            done, _ = await asyncio.wait([task], timeout=PATIENCE)
            assert done, f"cancelled at its wait {at} it hangs"
            assert task.cancelled() or task.exception() is None, f"at wait {at}: {task.exception()!r}"
            assert all(one.closed for one in ours), f"a connection is open after wait {at}"
            await left(server)
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
            assert sockets() == before, f"a socket is open after wait {at}"
            for name in files_below(place.out):
                raw = (place.out / name).read_bytes()
                assert raw.endswith(sent[Path(name).name][-100:]), f"{name} after wait {at}"
            if not task.cancelled() and not task.result():
                return  # it came to its end, and was not cancelled at all


@pytest.mark.parametrize("work", WORKS, ids=[work.__name__ for work in WORKS])
@on_each_loop
async def test_closing_ends_what_is_about_to_open_another_association(tmp_path: Path, work: Work) -> None:
    place = Place(tmp_path / "in", tmp_path / "out", 0)
    place.source.mkdir()
    for number in range(OBJECTS):
        (place.source / f"{number}.dcm").write_bytes(part10(image(number), EXPLICIT))
    async with archive(tmp_path / "archive", place, None) as server:

        async def connected() -> Pacs:
            pacs = connect("127.0.0.1", server.port, calling_ae="SELF", timeouts=TIMES)
            return await pacs.__aenter__()

        async with await connected() as pacs:
            await store(pacs, place)
        await left(server)
        before = sockets()
        for turns in range(0, 40, 2):
            pacs = await connected()
            task = asyncio.ensure_future(_awaited(work(pacs, place)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await pacs.close()
            done, _ = await asyncio.wait([task], timeout=PATIENCE)
            assert done, f"closed after {turns} turns it hangs"
            assert isinstance(
                task.exception(), AssociationEnded | AssertionError | None
            )  # not whole, told so
            await left(server)
            assert sockets() == before, f"a socket is open, closed after {turns} turns"


async def left(server: ArchiveServer) -> None:
    """Wait until the server has no connection, those whose handshake fails included."""
    async with asyncio.timeout(PATIENCE):
        while server.server.associations:
            await asyncio.sleep(0)


async def _awaited(something: Any) -> Any:
    return await something


@on_each_loop
async def test_a_server_whose_closing_is_cancelled_listens_no_more() -> None:
    async with serving() as server:
        port = server.port
        closing = asyncio.ensure_future(server.close())
        asyncio.get_running_loop().call_soon(closing.cancel)
        with pytest.raises(asyncio.CancelledError):
            await closing
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))


async def test_a_commit_cancelled_before_its_thread_ran_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSink, "_free_path", lambda sink: None)  # as where it has not been looked through
    loop = asyncio.get_running_loop()
    go = threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    blocked = loop.run_in_executor(None, go.wait)
    told: list[Any] = []
    sink = file_sink(tmp_path, EXPLICIT, told.append)
    sink.write(memoryview(part10(image(1), EXPLICIT)))
    commit = asyncio.ensure_future(sink.commit())
    loop.call_soon(commit.cancel)
    loop.call_soon(loop.call_soon, go.set)
    with pytest.raises(asyncio.CancelledError):
        await commit
    await blocked
    assert files_below(tmp_path) == []
    assert told == []
