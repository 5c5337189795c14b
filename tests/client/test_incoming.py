"""Objects taken while they arrive: the header before the pixels, in bounded memory, left at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.incoming import PARTS, Incoming
from aiodicom.association.sinking import Head
from aiodicom.client.connect import connect
from aiodicom.client.incoming import Objects
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.server.archive_service import serve_archive
from archive_objects import stored
from pydicom.dataset import Dataset
from wire import IMPLICIT, on_each_loop, random_ct

SIZE = 6_000_000


@on_each_loop
async def test_the_header_is_read_while_the_pixels_arrive(tmp_path: Path) -> None:
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(n, SIZE) for n in range(3)])).ok
        kept = stored(tmp_path / "objects")
        seen: dict[str, bytes] = {}
        early = 0
        objects = pacs.stream("STUDY", "1.2.3", digest=True)
        async for one in objects:
            early += not one.whole
            assert one.head.dataset.PatientID == "P1"
            parts = []
            async for part in one:
                parts.append(part)
                assert one._held < 3 * PARTS
            seen[one.head.sop_instance_uid] = b"".join(parts)
    assert seen == kept
    assert early == 3
    assert objects.result.ok
    assert all(item.sha256 for item in objects.result.items)


async def test_what_is_not_read_is_dropped_and_the_next_comes(tmp_path: Path) -> None:
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(n, SIZE) for n in range(3)])).ok
        names = [one.head.sop_instance_uid async for one in pacs.stream("STUDY", "1.2.3")]
        assert sorted(names) == [f"1.2.3.1.{n}" for n in range(3)]
        async with aclosing(aiter(pacs.stream("STUDY", "1.2.3"))) as objects:  # type: ignore[type-var]
            async for one in objects:
                async for _ in one:
                    break
                break
        await pacs.echo()  # the client is as usable as before


@pytest.mark.parametrize("through", [0, 1])
async def test_a_loop_that_is_left_ends_it_though_more_comes(tmp_path: Path, through: int) -> None:
    """What begins to come after the loop was left is answered for, so that the C-GET ends in order."""
    async with serve_archive(tmp_path, port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store([random_ct(n, 2000) for n in range(60)])).ok
        async with connect("127.0.0.1", server.port) as pacs:
            taken = 0
            async for _ in pacs.stream("STUDY", "1.2.3"):
                taken += 1
                if taken > through:
                    break
        assert not pacs._associations.ended


async def test_what_comes_after_the_loop_was_left_is_dropped() -> None:
    sinks: list[Any] = []
    objects = Objects(lambda sink: sinks.append(sink) or Nothing())  # type: ignore[func-returns-value,return-value]
    running = aiter(objects)
    for before in (True, False):
        one = sinks[0](Head("1.2", "1.2.3", IMPLICIT, Dataset()))
        if before:
            assert await anext(running) is one
            await running.aclose()
        one.write(memoryview(b"ab"))
        async with asyncio.timeout(10):
            assert (await one.commit()).status == 0


class Nothing:
    """A retrieve that nothing ends."""

    async def __aiter__(self) -> AsyncGenerator[None, None]:
        await asyncio.Event().wait()
        yield


async def test_an_object_that_is_cut_off_says_so() -> None:
    one = Incoming(Head("1.2", "1.2.3", IMPLICIT, Dataset()))
    one.write(memoryview(b"ab"))
    one.discard()
    taken = []
    with pytest.raises(EOFError, match="ended before"):
        async for part in one:
            taken.append(part)
    assert taken == [b"ab"]


async def test_it_is_answered_for_when_it_was_taken_or_left() -> None:
    for leave in (True, False):
        one = Incoming(Head("1.2", "1.2.3", IMPLICIT, Dataset()))
        assert one.write(memoryview(bytes(PARTS - 1))) is None
        full = one.write(memoryview(b"ab"))
        assert full is not None
        commit = asyncio.ensure_future(commit_after(one, full))
        await asyncio.sleep(0)
        assert not commit.done()
        if leave:
            one.leave()
        else:
            assert len(await one.read()) == PARTS + 1
        assert (await commit).status == 0


async def commit_after(one: Incoming, full: Awaitable[None]) -> StoreOutcome:
    await full
    return await one.commit()


async def test_small_objects_are_read_whole(tmp_path: Path) -> None:
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(0, 100), random_ct(1, 100)])).ok
        found = {one.head.sop_instance_uid: await one.read() async for one in pacs.stream("STUDY", "1.2.3")}
        assert found == stored(tmp_path / "objects")
