"""Who searches when: an address has a share of the threads; a search that nobody wants is told at once."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.archive.search import Search
from aiodicom.association import transport
from aiodicom.association.connect import WINDOW
from aiodicom.dimse import messages as m
from aiodicom.dimse.levels import Level, Root
from aiodicom.pdu import UserInformation
from aiodicom.server.archive_service import FIRST_FETCH, QUERY_THREADS, ArchiveService, serve_archive
from aiodicom.server.limits import ServerLimits
from pydicom.dataset import Dataset
from wire import FIND, LONG, PATIENCE, calling, ct, hear, identifier, implicit, say, store_request

UPPER = {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}


class Slow:
    """A search that goes on until it is let go of, or given up."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()

    def take(self, *ignored: object) -> tuple[list[bytes], bool]:
        self.begun.set()
        assert self.end.wait(10)
        return [], True

    def give_up(self) -> None:
        self.end.set()


class Nobody:
    """An association."""

    session = SimpleNamespace(request=None)


def from_address(address: str) -> Any:
    return SimpleNamespace(
        origin=address,
        context=SimpleNamespace(transfer_syntax="1.2.840.10008.1.2"),
        association=Nobody(),
    )


QUERIES_AT_ONCE = ServerLimits().max_queries_per_address


async def test_one_address_never_has_all_the_threads(service: ArchiveService) -> None:
    assert QUERIES_AT_ONCE < QUERY_THREADS
    many = [Slow() for _ in range(QUERY_THREADS + 2)]
    tasks = [asyncio.create_task(service._fetched(from_address("a"), one)) for one in many]  # type: ignore[arg-type]
    wait = asyncio.get_running_loop().run_in_executor
    for one in many[:QUERIES_AT_ONCE]:
        assert await wait(None, one.begun.wait, 10)
    other = Slow()
    other.end.set()
    assert await service._fetched(from_address("b"), other) == ([], True)  # type: ignore[arg-type]
    assert sum(one.begun.is_set() for one in many) == QUERIES_AT_ONCE
    for one in many:
        one.end.set()
    assert await asyncio.gather(*tasks) == [([], True)] * len(many)
    assert not service._shares


async def test_a_search_that_is_cancelled_is_given_up_at_once(service: ArchiveService) -> None:
    slow = Slow()
    task = asyncio.create_task(service._fetched(from_address("a"), slow))  # type: ignore[arg-type]
    assert await asyncio.get_running_loop().run_in_executor(None, slow.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.end.is_set()
    assert not service._shares


async def test_one_that_waits_for_its_turn_is_cancelled_without_having_searched(
    service: ArchiveService,
) -> None:
    many = [Slow() for _ in range(QUERIES_AT_ONCE + 1)]
    tasks = [asyncio.create_task(service._fetched(from_address("a"), one)) for one in many]  # type: ignore[arg-type]
    for one in many[:-1]:
        assert await asyncio.get_running_loop().run_in_executor(None, one.begun.wait, 10)
    tasks[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[-1]
    assert not many[-1].begun.is_set()
    for one in many:
        one.end.set()
    await asyncio.gather(*tasks[:-1])


class Nothing:
    """The answers to a query that has none."""

    pending_status = 0xFF00

    def take(self, *ignored: object) -> tuple[list[bytes], bool]:
        return [], True

    def give_up(self) -> None:
        return None

    def close(self) -> None:
        return None


def asking(service: ArchiveService, what: str, address: str) -> asyncio.Task[Any]:
    """A C-FIND or a retrieve of that address, begun."""
    request = from_address(address)

    async def found() -> list[Any]:
        return [one async for one in service.find(request, Root.PATIENT, Level.PATIENT, Dataset())]

    async def retrieved() -> Any:
        return await service.retrieve(request, Root.PATIENT, Level.PATIENT, Dataset())

    return asyncio.create_task(found() if what == "find" else retrieved())


@pytest.mark.parametrize(("what", "answer"), [("find", Nothing()), ("select", [])])
async def test_looking_at_an_identifier_takes_its_turn_with_the_searches(
    service: ArchiveService, monkeypatch: pytest.MonkeyPatch, what: str, answer: object
) -> None:
    """Threads that compile queries and make lists of retrieves: an address has its share of them."""
    begun, go = threading.Semaphore(0), threading.Event()

    def look(*ignored: Any, **also: Any) -> Any:
        begun.release()
        go.wait(10)
        return answer

    monkeypatch.setattr(service.archive, what, look)
    many = [asking(service, what, "a") for _ in range(QUERY_THREADS + 2)]
    wait = asyncio.get_running_loop().run_in_executor
    for _ in range(QUERIES_AT_ONCE):
        assert await wait(None, begun.acquire, True, 10)
    other = Slow()
    other.end.set()
    assert await service._fetched(from_address("b"), other) == ([], True)  # type: ignore[arg-type]
    assert not begun.acquire(blocking=False)
    go.set()
    assert await asyncio.gather(*many) == [[]] * len(many)
    assert not service._shares


@pytest.mark.parametrize("what", ["find", "select"])
async def test_looking_at_an_identifier_is_given_up_when_cancelled(
    service: ArchiveService, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    begun = threading.Event()

    def look(*ignored: Any, search: Search, **also: Any) -> Any:
        begun.set()
        assert search._given_up.wait(10)
        search.check()

    monkeypatch.setattr(service.archive, what, look)
    task = asking(service, what, "a")
    assert await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not service._shares


@pytest.mark.parametrize("what", ["find", "select", "take"])
async def test_a_search_waits_for_no_thread_of_files(
    service: ArchiveService, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A disk that stalls holds the threads of files: who looks into the index needs none of them."""
    looked, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def look(*ignored: Any, **also: Any) -> Any:
        loop.call_soon_threadsafe(looked.set)
        return Nothing() if what == "find" else []

    files = ThreadPoolExecutor(1)
    loop.set_default_executor(files)
    held = files.submit(go.wait, 20)
    if what == "take":
        work = asyncio.create_task(service._fetched(from_address("a"), Nothing()))  # type: ignore[arg-type]
        work.add_done_callback(lambda _: looked.set())
    else:
        monkeypatch.setattr(service.archive, what, look)
        work = asking(service, what, "a")
    try:
        await asyncio.wait_for(looked.wait(), 10)
        assert held.running()
    finally:
        go.set()
        await work


async def test_answers_in_part_are_told_where_a_peer_can_repeat_them(service: ArchiveService) -> None:
    """Not to the log for each: in the event loop, to what counts what a peer can do at will."""
    notes: list[tuple[str, int]] = []
    request = from_address("a")
    request.association = SimpleNamespace(
        note=lambda kind, words: notes.append((kind, threading.get_ident()))
    )

    class InPart:
        def take(
            self, syntax: str, count: int, size: int, tell: Callable[[str], object]
        ) -> tuple[list[bytes], bool]:
            tell("one is given in part")
            return [b""], True

        def give_up(self) -> None:
            return None

    assert await service._fetched(request, InPart()) == ([b""], True)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert notes == [("answers given in part", threading.get_ident())]


async def test_what_nobody_reads_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an association's queries one at a time has answers that wait, and none while it does not read."""
    fetching: list[bool] = []
    at_once: set[int] = set()
    real = ArchiveService._fetched

    async def fetched(self: ArchiveService, request: Any, *arguments: Any) -> Any:
        fetching.append(request.association.connection.writing_held)
        at_once.add(len(fetching))
        try:
            return await real(self, request, *arguments)
        finally:
            held.append(fetching.pop())

    held: list[bool] = []
    monkeypatch.setattr(ArchiveService, "_fetched", fetched)
    wide = UserInformation(async_operations=WINDOW)
    count, finds = 300, 6
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(server, user_information=wide) as peer:
            for number in range(count):
                uid = f"1.2.3.{number}"
                await say(peer, 3, store_request(number, uid), implicit(ct(uid, StudyDescription="x" * 64)))
                assert (await hear(peer, m.CStoreRSP)).message.status == 0
        monkeypatch.setattr(transport, "WRITE_HIGH", 10_000)
        keys = identifier("IMAGE", StudyDescription="", SOPInstanceUID="", **UPPER)
        async with calling(server, user_information=wide) as peer:
            [association] = server.server.associations
            raw = association.connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for number in range(1, finds + 1):
                await say(peer, 5, m.CFindRQ(message_id=number, affected_sop_class_uid=FIND), keys)
            async with asyncio.timeout(PATIENCE):
                while not association.connection.writing_held:
                    await asyncio.sleep(0.01)
            found = 0
            while finds:
                status = (await hear(peer, m.CFindRSP)).message.status
                assert status in (0, 0xFF00)
                found, finds = found + (status != 0), finds - (status == 0)
    assert found == 6 * count
    assert at_once == {1}
    assert not any(held)


async def test_an_address_has_so_many_queries_open(tmp_path: Path) -> None:
    """Each has the list of what matches, however slowly it is read; another address does not wait."""
    query = identifier("IMAGE", SOPInstanceUID="", **UPPER)
    where = (Root.PATIENT, Level.IMAGE, query)
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        async with calling(server) as peer:
            for number in range(FIRST_FETCH + 1):
                await say(peer, 3, store_request(1, f"1.2.3.{number}"), implicit(ct(f"1.2.3.{number}")))
                assert (await hear(peer, m.CStoreRSP)).message.status == 0
        service = ArchiveService(server.archive, open_queries_per_address=2)
        many = [service.find(from_address("a"), *where) for _ in range(3)]
        for one in many[:2]:
            assert len((await anext(one)).datasets) == FIRST_FETCH
        third = asyncio.ensure_future(anext(many[2]))
        other = service.find(from_address("b"), *where)
        assert [len(found.datasets) async for found in other] == [FIRST_FETCH, 1]
        assert not third.done()
        assert [len(found.datasets) async for found in many[0]] == [1]
        assert len((await third).datasets) == FIRST_FETCH
        for one in many[1:]:
            assert isinstance(one, AsyncGenerator)
            await one.aclose()
        assert not service._open
