"""What may be stored beside paths: content, file objects, iterables that wait; and what is left of them."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.association.buffers import _STEP
from aiodicom.association.outgoing import WHOLE_READ
from aiodicom.client import sources as sources_module
from aiodicom.client.progress import Progress
from aiodicom.client.sources import BATCH, batches, check_sources
from aiodicom.testing import FakePacs, ct, on
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian


def encoded(number: int, rows: int = 8, padding: int = 0) -> bytes:
    """The content of a file."""
    buffer, one = io.BytesIO(), ct(number, rows=rows)
    if padding:
        one.DataSetTrailingPadding = bytes(padding)
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go; nothing stays there."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Pipe:
    """A file object that can be read once, in pieces of its own size."""

    def __init__(self, data: bytes, size: int = 700) -> None:
        self._inner = io.BytesIO(data)
        self._size = size

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(min(size, self._size) if size >= 0 else self._size)


async def waiting(*sources: Any) -> AsyncIterator[Any]:
    for one in sources:
        await asyncio.sleep(0)
        yield one


def written(folder: Path, number: int) -> Path:
    path = folder / f"{number}.dcm"
    path.write_bytes(encoded(number))
    return path


MAKE: dict[str, Callable[[Path, int], Any]] = {
    "bytes": lambda _, n: encoded(n),
    "bytearray": lambda _, n: bytearray(encoded(n)),
    "memoryview": lambda _, n: memoryview(encoded(n)),
    "part of a buffer": lambda _, n: memoryview(b"xx" + encoded(n) + b"xx")[2:-2],
    "BytesIO": lambda _, n: io.BytesIO(encoded(n)),
    "pipe": lambda _, n: Pipe(encoded(n)),
    "file": lambda folder, n: open(written(folder, n), "rb"),  # noqa: SIM115
    "data set": lambda _, n: ct(n),
    "path": lambda folder, n: written(folder, n),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("how", ["one", "list", "generator", "asynchronous"])
async def test_every_kind_of_source_is_stored_as_it_is(
    tmp_path: Path, temporary: Path, kind: str, how: str
) -> None:
    make = MAKE[kind]
    numbers = [1] if how == "one" else [1, 2, 3]
    given = [make(tmp_path, n) for n in numbers]
    source: Any = {
        "one": given[0],
        "list": given,
        "generator": (one for one in given),
        "asynchronous": waiting(*given),
    }[how]
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store(source)
            assert report.ok, [str(one) for one in report.items]
            kept = {str(one.SOPInstanceUID): one for one in (await peer.get("STUDY", "2.25.20002")).datasets}
    assert sorted(kept) == sorted(str(ct(n).SOPInstanceUID) for n in numbers)
    for n in numbers:
        assert bytes(kept[str(ct(n).SOPInstanceUID)].PixelData) == bytes(ct(n).PixelData)
    assert {one.path is None for one in report.items} == {kind != "path"}
    assert list(temporary.iterdir()) == []
    for one in given:
        if kind == "file":
            assert not one.closed
            one.close()


async def test_what_is_no_dicom_is_an_item_with_a_reason_and_the_rest_goes_out(temporary: Path) -> None:
    class Broken(io.RawIOBase):
        name = "broken.dcm"

        def read(self, size: int = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    whole = encoded(3)
    sources = [b"no DICOM", io.BytesIO(b"neither"), b"", Broken(), whole[:-100], whole]
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store(sources)
    assert [one.stored for one in report.items] == [False] * 5 + [True]
    errors = [one.error or "" for one in report.items[:5]]
    assert errors[0].startswith("source 1: ")
    assert errors[1].startswith("a file object: ")
    assert errors[2].startswith("source 3: ")
    assert errors[3] == "broken.dcm: Input/output error"
    assert "truncated" in errors[4]
    assert not any(str(temporary) in one for one in errors)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("source", [5, None, object(), [5], ["a", None]])
async def test_what_is_no_source_is_refused_before_anything_is_sent(source: Any) -> None:
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            with pytest.raises(TypeError, match="store takes paths, data sets, bytes"):
                peer.store(source)
            assert not pacs.requests("C-STORE")


async def test_a_file_of_text_and_one_that_is_awaited_are_told_apart(tmp_path: Path) -> None:
    reader = asyncio.StreamReader()
    with pytest.raises(TypeError, match="give what its read"):
        check_sources(reader)
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            with pytest.raises(TypeError, match="open it as binary"):
                await peer.store(io.StringIO("text"))
    assert list((tmp_path / "copies").iterdir()) == []


async def test_content_larger_than_one_part_and_of_a_size_that_buffers_have() -> None:
    pixels = ct(1, rows=1500).PixelData
    short = len(encoded(1, rows=1500, padding=2)) % _STEP
    one = bytearray(encoded(1, rows=1500, padding=2 + _STEP - short))
    another = bytes(one)
    assert len(one) > WHOLE_READ
    assert len(one) % _STEP == 0
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store([one, io.BytesIO(one)])
            [kept] = (await peer.get("STUDY", "2.25.20002")).datasets
    assert report.stored_count == 2
    assert bytes(kept.PixelData) == pixels
    assert one == another  # no buffer of ours was put in its place


async def test_content_is_converted_where_the_peer_takes_another_syntax_only() -> None:
    one, buffer = ct(1), io.BytesIO()
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    one.save_as(buffer, enforce_file_format=True, little_endian=False, implicit_vr=False)

    class Little(aiodicom.Service):
        def supported(self) -> aiodicom.Supported:
            return aiodicom.Supported({one.SOPClassUID: ("1.2.840.10008.1.2",)})

        def store(self, request: aiodicom.Request) -> Any:
            return Discarding()

    class Discarding:
        def write(self, data: memoryview, /) -> None: ...
        async def commit(self) -> aiodicom.StoreOutcome:
            return aiodicom.StoreOutcome(0)

        def discard(self) -> None: ...

    async with aiodicom.serve(Little(), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as peer:
            report = await peer.store([buffer.getvalue(), io.BytesIO(buffer.getvalue())])
    assert [one.converted_to for one in report.items] == ["1.2.840.10008.1.2"] * 2, report.items
    assert report.ok


# --- iterables that wait


async def test_the_next_are_taken_while_some_are_sent_and_no_more_than_a_few_ahead() -> None:
    given = 0

    async def many() -> AsyncIterator[bytes]:
        nonlocal given
        for n in range(5 * BATCH):
            given += 1
            yield encoded(n + 1)

    ahead: list[int] = []
    seen: list[Progress] = []

    def progress(event: Progress) -> None:
        ahead.append(given - event.arrived)
        seen.append(event)

    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store(many(), progress=progress)
            assert pacs.requests("C-STORE") == 5 * BATCH
            assert pacs.requests("C-ECHO") == 0
    assert report.ok
    assert report.counted == 5 * BATCH
    assert max(ahead) <= 3 * BATCH
    assert [event.phase for event in seen].count("done") == 1
    assert seen[-1].objects == seen[-1].objects_total == 5 * BATCH
    assert seen[-1].bytes == report.bytes


async def test_one_that_comes_slowly_is_sent_when_it_comes() -> None:
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[Dataset]:
        yield ct(1)
        await arrived.wait()  # for ever, unless the first is sent before the second is there
        yield ct(2)

    def progress(event: Progress) -> None:
        if event.arrived == 1:
            arrived.set()

    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store(slow(), progress=progress)
    assert report.ok
    assert report.counted == 2


async def test_what_it_raises_comes_behind_what_it_gave_and_it_is_closed() -> None:
    closed = False

    async def failing() -> AsyncIterator[Dataset]:
        nonlocal closed
        try:
            yield ct(1)
            raise LookupError("no more")
        finally:
            closed = True

    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            storing = peer.store(failing())
            with pytest.raises(LookupError, match="no more"):
                await storing
            assert pacs.requests("C-STORE") == 1
    assert storing.report.stored_count == 1
    assert closed


async def test_a_source_of_no_kind_inside_it_is_told() -> None:
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            with pytest.raises(TypeError, match="not int"):
                await peer.store(waiting(ct(1), 5))


@pytest.mark.parametrize("source", [1, None], ids=["refused", "its end"])
async def test_what_closing_it_raises_is_told(source: Any) -> None:
    async def failing() -> AsyncIterator[Any]:
        try:
            yield ct(1)
            if source is not None:
                yield source
        finally:
            raise LookupError("closed badly")

    with pytest.raises(LookupError, match="closed badly"):
        async with asyncio.timeout(10):
            async for _ in batches(failing()):
                pass


async def test_that_it_is_cancelled_by_itself_is_told() -> None:
    async def waiting_for_another() -> AsyncIterator[Any]:
        yield ct(1)
        other = asyncio.ensure_future(asyncio.Event().wait())
        other.cancel()
        await other

    taken = 0
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            async for batch in batches(waiting_for_another()):
                taken += len(batch)
    assert taken == 1


async def test_no_more_are_taken_ahead_than_one_batch() -> None:
    given = 0

    async def many() -> AsyncIterator[str]:
        nonlocal given
        for number in range(5 * BATCH):
            given += 1
            yield str(number)

    found: list[str] = []
    async for batch in batches(many()):
        for _ in range(3 * BATCH):  # more steps of the loop than it would take to give all
            await asyncio.sleep(0)
        assert given <= len(found) + len(batch) + BATCH
        found += batch
    assert found == [str(number) for number in range(5 * BATCH)]


async def test_it_is_closed_in_its_own_task_when_the_store_is_cancelled() -> None:
    tasks: list[Any] = []
    began = asyncio.Event()

    async def endless() -> AsyncIterator[Dataset]:
        tasks.append(asyncio.current_task())
        try:
            yield ct(1)
            began.set()
            await asyncio.Event().wait()
        finally:
            tasks.append(asyncio.current_task())

    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            storing = asyncio.create_task(peer.store(endless()))
            await began.wait()
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


async def test_an_iterable_without_anything_stores_nothing() -> None:
    async def nothing() -> AsyncIterator[Dataset]:
        for _ in ():
            yield ct(1)

    assert [one async for one in batches(nothing())] == []
    with FakePacs() as pacs:
        async with aiodicom.connect(pacs.host, pacs.port) as peer:
            report = await peer.store(nothing())
    assert not report.ok
    assert report.counted == 0


async def test_each_object_is_reported_once_whatever_ends_it() -> None:
    """A data set's size is not known before it is encoded, so that what is sent is not what was given."""
    for sources in ([ct(n) for n in range(1, 6)], [encoded(n) for n in range(1, 6)]):
        with FakePacs(faults=[on("C-STORE", nth=3).abort()]) as pacs:
            peer = await aiodicom.connect(pacs.host, pacs.port)
            report = await peer.store(sources)
            await peer.close()
        assert report.error is not None
        assert report.counted == len(report.items) == 5
        assert len({one.sop_instance_uid for one in report.items}) == 5


async def test_of_large_content_no_more_is_taken_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources_module, "HELD", 4 * len(encoded(1)))
    given = 0

    async def many() -> AsyncIterator[bytes]:
        nonlocal given
        for n in range(BATCH):
            given += 1
            yield encoded(n + 1)

    taken = sent = most = 0
    async for batch in batches(many()):
        taken += len(batch)
        await asyncio.sleep(0)
        most = max(most, given - sent)
        sent = taken
    assert taken == given == BATCH
    assert most <= 5
