"""Objects written on threads while they arrive: only who stores waits for the disk, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.archive import queued
from aiodicom.archive.archive import Archive
from aiodicom.archive.queued import BUFFER, HELD, QueuedSink
from aiodicom.archive.sink import ArchiveSink
from aiodicom.dataset import part10
from aiodicom.dataset.sinks import StoreOutcome
from archive_objects import EXPLICIT, encode, stored
from wire import ct

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="rename") as found:
        yield found


def sink_of(archive: Archive, uid: str) -> QueuedSink:
    return archive.queued(sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)


def data_of(uid: str, pixels: int = 200) -> bytes:
    return encode(ct(uid, BitsAllocated=8, PixelData=random.Random(uid).randbytes(pixels)))


def left(archive: Archive) -> list[str]:
    return [one.name for one in (archive.directory / "incoming").iterdir() if one.name != "journal"]


@pytest.mark.parametrize("pixels", [0, 200, BUFFER - 3000, BUFFER, 3 * BUFFER + 1000])
@pytest.mark.parametrize("step", [1000, 4096, BUFFER - 1, BUFFER, 5 * BUFFER])
async def test_what_comes_in_any_pieces_is_what_is_stored(archive: Archive, pixels: int, step: int) -> None:
    data = data_of("1.2.3.1", pixels)
    sink = sink_of(archive, "1.2.3.1")
    lent = bytearray(step)
    for start in range(0, len(data), step):
        part = data[start : start + step]
        lent[: len(part)] = part
        full = sink.write(memoryview(lent)[: len(part)])
        lent[:] = bytes(step)  # a view is only lent
        if full is not None:
            await full
    assert (await sink.commit()).status == 0
    sink.discard()
    assert stored(archive.directory / "objects") == {"1.2.3.1": data}
    assert left(archive) == []


async def test_many_at_once_share_buffers_and_nothing_else(archive: Archive) -> None:
    objects = {f"1.2.3.{n}": data_of(f"1.2.3.{n}", 50_000 + 40_000 * n) for n in range(20)}
    sinks = {uid: sink_of(archive, uid) for uid in objects}
    places = dict.fromkeys(objects, 0)
    choose = random.Random(1)
    while unfinished := [uid for uid, data in objects.items() if places[uid] < len(data)]:
        uid = choose.choice(unfinished)
        end = places[uid] + choose.randrange(1, 100_000)
        full = sinks[uid].write(memoryview(objects[uid])[places[uid] : end])
        places[uid] = end
        if full is not None:
            await full
    outcomes = await asyncio.gather(*(sink.commit() for sink in sinks.values()))
    assert {one.status for one in outcomes} == {0}
    assert stored(archive.directory / "objects") == objects


class Gate:
    """A disk that stands still while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        real = part10._write_all

        def write(descriptor: int, view: memoryview | bytes) -> None:
            self.reached.set()
            assert self.open.wait(60)
            real(descriptor, view)

        monkeypatch.setattr(part10, "_write_all", write)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate(monkeypatch)
    yield found
    found.open.set()


async def test_a_disk_that_stands_still_stops_nobody_else(tmp_path: Path, gate: Gate) -> None:
    """Echoes and queries are answered; the store is, too, when the disk goes on."""
    async with aiodicom.serve_archive(tmp_path, port=0) as server:
        async with (
            aiodicom.connect("127.0.0.1", server.port) as storing,
            aiodicom.connect("127.0.0.1", server.port) as other,
        ):
            task = asyncio.ensure_future(storing.store([ct("1.2.3.1"), ct("1.2.3.2")]))
            while not gate.reached.is_set():
                await other.echo()
            for _ in range(5):
                await other.echo()
                assert await other.find("STUDY") == []
            assert not task.done()
            gate.open.set()
            assert (await task).ok
            assert len(await other.find("IMAGE", {"StudyInstanceUID": "1.2.3"})) == 2


async def test_a_peer_is_held_when_too_much_waits(archive: Archive, gate: Gate) -> None:
    sink = sink_of(archive, "1.2.3.1")
    data = data_of("1.2.3.1", 2 * HELD)
    view = memoryview(data)
    assert sink.write(view[:BUFFER]) is None
    assert await asyncio.to_thread(gate.reached.wait, 60)  # a thread has that one, and will have no more
    end = HELD + 2 * BUFFER
    held = [sink.write(view[start : start + BUFFER]) for start in range(BUFFER, end, BUFFER)]
    waiting = [one for one in held if one is not None]
    assert len(waiting) == 2
    assert not waiting[0].done()
    waiting[0].cancel()  # who gives up waiting takes nothing out of the queue
    gate.open.set()
    await asyncio.gather(*waiting[1:])
    rest = sink.write(view[end:])
    if rest is not None:
        await rest
    assert (await sink.commit()).status == 0
    assert stored(archive.directory / "objects")["1.2.3.1"] == data


async def test_all_are_held_when_all_of_them_have_too_much(
    archive: Archive, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "HELD_IN_ALL", 3 * BUFFER)
    sinks = [sink_of(archive, f"1.2.3.{n}") for n in range(4)]
    full = [sink.write(memoryview(data_of(f"1.2.3.{n}"))) for n, sink in enumerate(sinks)]
    assert [one is not None for one in full] == [False, False, True, True]
    gate.open.set()
    assert {(await sink.commit()).status for sink in sinks} == {0}
    assert not archive._writers.scarce


@pytest.mark.parametrize("pixels", [200, 3 * BUFFER])
@pytest.mark.parametrize("moment", ["at once", "written", "while it is written", "while it is committed"])
async def test_what_is_discarded_leaves_nothing(
    archive: Archive, gate: Gate, pixels: int, moment: str
) -> None:
    sink = sink_of(archive, "1.2.3.1")
    if moment == "at once":
        sink.discard()
    if moment in ("written", "while it is committed"):
        gate.open.set()
    full = sink.write(memoryview(data_of("1.2.3.1", pixels)))
    if moment == "written" and full is not None:
        await full
    task = asyncio.ensure_future(sink.commit()) if moment == "while it is committed" else None
    if task is not None:
        await asyncio.sleep(0)
        task.cancel()
    sink.discard()
    sink.discard()
    gate.open.set()
    archive.close()  # waits for the threads
    if task is None:
        assert stored(archive.directory / "objects") == {}
    assert left(archive) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("pixels", [200, 3 * BUFFER])
async def test_a_disk_that_fails_is_answered(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, code: int, pixels: int
) -> None:
    def fail(descriptor: int, view: memoryview | bytes) -> None:
        raise OSError(code, "no")

    sink = sink_of(archive, "1.2.3.1")
    monkeypatch.setattr(part10, "_write_all", fail)
    full = sink.write(memoryview(data_of("1.2.3.1", pixels)))
    if full is not None:
        await full
    assert (await sink.commit()).status == 0xA700
    sink.discard()
    archive.close()
    assert stored(archive.directory / "objects") == {}
    assert left(archive) == []


async def test_a_defect_is_raised_to_who_commits(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, view: memoryview | bytes) -> None:
        raise ZeroDivisionError

    sink = sink_of(archive, "1.2.3.1")
    monkeypatch.setattr(part10, "_write_all", fail)
    sink.write(memoryview(data_of("1.2.3.1")))
    with pytest.raises(ZeroDivisionError):
        await sink.commit()
    sink.discard()


async def test_an_object_without_a_byte_is_refused(archive: Archive) -> None:
    assert (await sink_of(archive, "1.2.3.1").commit()).status != 0
    assert stored(archive.directory / "objects") == {}


@pytest.mark.parametrize("pixels", [200, 3 * BUFFER])
async def test_nothing_is_stored_once_the_archive_is_closed(archive: Archive, pixels: int) -> None:
    sink = sink_of(archive, "1.2.3.1")
    sink.write(memoryview(data_of("1.2.3.1", 200)))
    archive.close()
    sink.write(memoryview(data_of("1.2.3.1", pixels)))
    with pytest.raises(RuntimeError, match="closed"):
        await sink.commit()
    sink.discard()
    assert stored(archive.directory / "objects") == {}


async def test_buffers_come_back_whatever_becomes_of_the_object(archive: Archive) -> None:
    made: list[Callable[[], object]] = []
    for number in range(12):
        sink = sink_of(archive, f"1.2.3.{number}")
        full = sink.write(memoryview(data_of(f"1.2.3.{number}", BUFFER * (number % 4))))
        if full is not None:
            await full
        if number % 3:
            await sink.commit()
        made.append(sink.discard)
    for discard in made:
        discard()
    archive.close()
    assert archive._writers._taken == 0


async def test_what_is_discarded_gives_up_its_buffers_while_the_disk_stands_still(
    archive: Archive, gate: Gate
) -> None:
    """Peers that store, go away and come again must not fill the memory."""
    for number in range(100):
        sink = sink_of(archive, f"1.2.3.{number}")
        sink.write(memoryview(data_of(f"1.2.3.{number}", 2 * BUFFER)))
        sink.discard()
    assert archive._writers._taken <= 4 * 4  # what the threads have taken; all else is given back
    gate.open.set()


async def test_one_thread_has_it_while_its_commit_begins(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discarded then, it is let go of behind that, not beside it: nothing of others is touched."""
    begun, go_on, at_once = threading.Event(), threading.Event(), []
    real = archive._committer.submit

    def submit(sink: ArchiveSink) -> Future[StoreOutcome]:
        begun.set()
        assert go_on.wait(60)
        at_once.append(sink.writer is not None)
        return real(sink)

    sink = sink_of(archive, "1.2.3.1")
    monkeypatch.setattr(archive._committer, "submit", submit)
    sink.write(memoryview(data_of("1.2.3.1", 3 * BUFFER)))
    task = asyncio.ensure_future(sink.commit())
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 60)
    task.cancel()
    sink.discard()
    go_on.set()
    archive.close()
    assert at_once == [True]
    assert left(archive) == []


async def test_closing_finishes_small_commits_that_wait(archive: Archive) -> None:
    sinks = [sink_of(archive, f"1.2.3.{n}") for n in range(20)]
    for number, sink in enumerate(sinks):
        sink.write(memoryview(data_of(f"1.2.3.{number}")))
    tasks = [asyncio.ensure_future(sink.commit()) for sink in sinks]
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, archive.close)
    assert {(await task).status for task in tasks} == {0}
    assert len(stored(archive.directory / "objects")) == 20


async def test_a_commit_after_a_discard_is_refused(archive: Archive) -> None:
    sink = sink_of(archive, "1.2.3.1")
    sink.write(memoryview(data_of("1.2.3.1")))
    sink.discard()
    with pytest.raises(RuntimeError, match="discarded"):
        await sink.commit()


async def test_a_loop_is_woken_once_for_all_that_is_told_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    told, woken = queued._Told(loop), []
    wake = loop.call_soon_threadsafe

    def count(*given: Any) -> Any:
        woken.append(given)
        return wake(*given)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    for _ in range(2):  # and again for what is told after that
        woken.clear()
        futures: list[asyncio.Future[StoreOutcome]] = [loop.create_future() for _ in range(5)]
        futures[3].cancel()
        outcomes: list[StoreOutcome | BaseException] = [StoreOutcome(n) for n in range(5)]
        outcomes[4] = RuntimeError("the archive is closed")

        def tell(to: list[asyncio.Future[StoreOutcome]], what: list[StoreOutcome | BaseException]) -> None:
            for future, outcome in zip(to, what, strict=True):
                told.tell(future, outcome)

        thread = threading.Thread(target=tell, args=(futures, outcomes))
        thread.start()
        thread.join()
        assert not any(one.done() for one in futures if not one.cancelled())
        assert [(await one).status for one in futures[:3]] == [0, 1, 2]
        with pytest.raises(RuntimeError, match="closed"):
            await futures[4]
        assert len(woken) == 1


def test_what_is_told_to_a_loop_that_is_closed_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    told, future = queued._Told(loop), loop.create_future()
    loop.close()
    told.tell(future, StoreOutcome(0))
    assert not told._waiting
    assert not future.done()


async def test_one_that_nobody_waits_for_is_not_committed_while_it_is_queued(archive: Archive) -> None:
    """As with any sink: cancelled before its commit has begun, nothing stays."""
    busy, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        busy.set()
        assert go_on.wait(60)

    sink = sink_of(archive, "1.2.3.1")
    sink.write(memoryview(data_of("1.2.3.1", 3 * BUFFER)))
    while sink._sink is None:
        await asyncio.sleep(0)
    archive._committer.soon(stand_still)
    assert await asyncio.to_thread(busy.wait, 60)
    committing = asyncio.ensure_future(sink.commit())
    while sink._committing is None:
        await asyncio.sleep(0)
    committing.cancel()
    await asyncio.wait([committing])
    assert committing.cancelled()
    sink.discard()
    go_on.set()
    archive.close()
    assert (stored(archive.directory), left(archive)) == ({}, [])
