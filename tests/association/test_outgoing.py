"""Files on their way out: in parts that may be sent, whatever a read gives."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association import outgoing
from aiodicom.association.budget import Budget
from aiodicom.association.outgoing import BATCH_BYTES, WHOLE_READ, Item, load_ahead, read_parts
from aiodicom.association.sending import PART
from aiodicom.dataset.instance import Instance
from aiodicom.dataset.window import FileWindow
from syscalls import descriptors

CONTENT = bytes(range(256)) * 9


def instance(path: Path, size: int) -> Instance:
    path.write_bytes(b"head" + CONTENT[:size] + b"behind")
    return Instance(path, "1.2", "1.3", "1.2.840.10008.1.2", 4, size)


@pytest.mark.parametrize("most", [1000, 7, 5])
@pytest.mark.parametrize("size", [64, 63, 1, 1000])
async def test_parts_but_the_last_are_even(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, size: int
) -> None:
    """PS3.8 E.2, also where the system gives less than was asked for."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real(fd, min(count, most), at))
    parts = [part async for part in read_parts(instance(tmp_path / "a", size), 16)]
    assert b"".join(bytes(data) for data, _ in parts) == CONTENT[:size]
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(data) % 2 == 0 for data, _ in parts[:-1])


@pytest.mark.parametrize("left", [100, 101, 1, 0, 999])
async def test_a_file_that_became_shorter_leaves_no_descriptor(tmp_path: Path, left: int) -> None:
    one = instance(tmp_path / "a", 1000)
    before = descriptors()
    (tmp_path / "a").write_bytes(b"head" + CONTENT[:left])
    sizes = []
    with pytest.raises(OSError, match="became shorter"):
        async for data, _ in read_parts(one, 16):
            sizes.append(len(data))
    assert sizes == [16] * (left // 16)
    assert descriptors() == before


SIZES = [100, PART, 3 * PART, WHOLE_READ, WHOLE_READ + 2, 2 * PART, 100, 100, PART + 2]


def objects(folder: Path) -> list[Instance]:
    """One of each size, sparse."""
    found = []
    for number, size in enumerate(SIZES):
        path = folder / str(number)
        with path.open("wb") as file:
            file.truncate(size)
        found.append(Instance(path, "1.2", f"1.3.{number}", "1.2.840.10008.1.2", 0, size))
    return found


@pytest.mark.parametrize("batches", [0, 1, 2, 100])
async def test_objects_are_read_ahead_within_a_budget(tmp_path: Path, batches: int) -> None:
    items = objects(tmp_path)
    whole = Budget(batches * BATCH_BYTES)
    budget = Budget(batches * BATCH_BYTES, whole)
    seen = []
    async for one in load_ahead(items, budget):
        assert budget.used <= budget.limit
        assert (one.data is None) == (one.item.data_size > (WHOLE_READ if batches else 0))
        assert one.data is None or len(one.data) == one.item.data_size
        seen.append(one.item)
    assert seen == items
    assert budget.used == whole.used == 0


@pytest.mark.parametrize("batches", [0, 1, 2])
@pytest.mark.parametrize("taken", [1, 3, 5])
async def test_what_is_left_early_gives_its_budget_back(tmp_path: Path, batches: int, taken: int) -> None:
    budget = Budget(batches * BATCH_BYTES)
    ahead = load_ahead(objects(tmp_path), budget)
    for _ in range(taken):
        await anext(ahead)
    await ahead.aclose()
    assert budget.used == 0


async def test_without_room_nothing_is_read_before_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stands still holds nothing."""
    read: list[int] = []
    real = os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], at: int) -> int:
        read.append(sum(map(len, buffers)))
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    ahead = load_ahead(objects(tmp_path), Budget(0))
    assert [(await anext(ahead)).data for _ in range(3)] == [None] * 3
    assert read == []
    await ahead.aclose()


@pytest.mark.parametrize("whose", ["a user's", "the archive's"])
@pytest.mark.parametrize("when", ["before", "while it is looked through"])
async def test_a_large_file_cut_short_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str, when: str
) -> None:
    """With a memory map the process would have ended here, by SIGBUS."""
    kind = Item if whose == "a user's" else Instance
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(FRAGMENTS)
    items = [
        kind(path, "1.2", f"1.3.{n}", "1.2.840.10008.1.2.4.50", 0, len(FRAGMENTS))
        for n, path in enumerate(paths)
    ]

    def cut(descriptor: int, offset: int, size: int) -> FileWindow:
        if os.fstat(descriptor).st_ino == os.stat(paths[1]).st_ino:
            os.truncate(paths[1], len(FRAGMENTS) // 3)
        return FileWindow(descriptor, offset, size)

    if when == "before":
        os.truncate(paths[1], len(FRAGMENTS) // 3)
    else:
        monkeypatch.setattr(outgoing, "FileWindow", cut)
    told = [one.error async for one in load_ahead(items)]
    assert told[0] is told[2] is None
    if when == "before":
        assert "the file changed" in str(told[1])
    elif whose == "a user's":  # the archive's are known to be whole: nobody looks into them again
        assert "became shorter" in str(told[1])


FRAGMENTS = (
    b"\x08\0\x16\0UI\x04\x001.2\0\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
    + (b"\xfe\xff\0\xe0\0\0\x10\0" + bytes(1 << 20)) * (WHOLE_READ // (1 << 20) + 2)
    + b"\xfe\xff\xdd\xe0\0\0\0\0"
)
"""Encapsulated pixel data over `WHOLE_READ`."""


async def test_a_large_file_is_opened_on_a_thread_and_no_descriptor_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(tmp_path / "a", 100)
    opened: list[bool] = []
    real = os.open

    def noted(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(path) == str(one.path):
            opened.append(threading.current_thread() is threading.main_thread())
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", noted)
    before = descriptors()
    async for _ in read_parts(one, 16):
        pass
    async with aclosing(read_parts(one, 16)) as parts:
        await anext(parts)

    def no_buffer(size: int) -> memoryview:
        raise MemoryError

    with pytest.raises(MemoryError):
        await anext(read_parts(one, 16, no_buffer))
    with pytest.raises(FileNotFoundError):
        await anext(read_parts(replace(one, path=tmp_path / "b"), 16))
    assert opened == [False, False]
    async with asyncio.timeout(10):
        while descriptors() != before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("view", [bytes, memoryview, lambda data: memoryview(data).toreadonly(), bytearray])
def test_content_that_can_be_changed_meanwhile_is_copied(view: Any) -> None:
    mine = bytearray(b"\0" * 128 + b"DICM" + b"\0" * 70)
    content = outgoing._content_item(view(mine), "it").content
    assert content is not None
    mine[:] = b"\1" * len(mine)
    assert not any(content[:128])
