"""A data set read out of a file: as from memory, little held, and a bad disk is an error."""

from __future__ import annotations

import errno
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from io import BufferedRandom
from pathlib import Path

import pytest
from aiodicom.dataset.convert import convert
from aiodicom.dataset.encoding import BIG as BIG_SYNTAX
from aiodicom.dataset.encoding import EXPLICIT as EXPLICIT_SYNTAX
from aiodicom.dataset.encoding import reader_of
from aiodicom.dataset.errors import ImagingError
from aiodicom.dataset.scan import scan_dataset
from aiodicom.dataset.window import LARGEST, SMALLEST, FileWindow, read_at
from archive_objects import BIG, EXPLICIT, IMPLICIT, encode, image
from fuzz.run import corpus
from hypothesis import given, settings
from hypothesis import strategies as st

Make = Callable[[bytes], FileWindow]
JPEG = "1.2.840.10008.1.2.4.50"
FAILED = r"became shorter|Input/output error"
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Make]:
    """Makes windows on data put into a file with something around it."""
    files: list[BufferedRandom] = []

    def make(data: bytes) -> FileWindow:
        path = tmp_path / f"{len(files)}"
        path.write_bytes(b"before" + data + b"behind")
        files.append(path.open("r+b"))
        return FileWindow(files[-1].fileno(), 6, len(data))

    yield make
    for file in files:
        file.close()


def of_items(number: int) -> bytes:
    """A sequence of empty items, of undefined length."""
    head = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    return head + ITEM * number + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def encapsulated(frames: int, size: int) -> bytes:
    """Pixel data in fragments."""
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + ITEM
    frame = struct.pack("<HHL", 0xFFFE, 0xE000, size) + b"\xff\xd8" + bytes(size - 4) + b"\xff\xd9"
    return head + frame * frames + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


SAMPLES = {
    "a small one": encode(image()),
    "many items": encode(image()) + of_items(100_000),
    "many frames": encode(image()) + encapsulated(50, 30_000),
    "large values": encode(image())
    + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 500_000)
    + bytes(500_000),
    "zeros behind": encode(image()) + bytes(200_000),
    "cut": (encode(image()) + of_items(1000))[:-5],
    "empty": b"",
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG])
def test_a_scan_says_the_same_as_of_memory(window: Make, name: str, syntax: str) -> None:
    data = SAMPLES[name]
    for nested in (True, False):
        options = {"tags": {0x00080018, 0x00280010}, "check_nested": nested}
        assert scan_dataset(window(data), syntax, **options) == scan_dataset(data, syntax, **options)


@pytest.mark.parametrize("path", corpus("part10"), ids=lambda path: path.name)
def test_and_of_what_the_fuzzer_found(window: Make, path: Path) -> None:
    data = path.read_bytes()
    for syntax in (EXPLICIT, IMPLICIT, BIG):
        told = []
        for source in (data, window(data)):
            try:
                told.append(scan_dataset(source, syntax, {0x00080018}, max_depth=8, check_nested=True))
            except ImagingError as error:
                told.append(str(error))
        assert told[0] == told[1]


def test_a_conversion_is_the_same_as_of_memory(window: Make) -> None:
    for old in (EXPLICIT, IMPLICIT, BIG):
        dataset = image(BitsAllocated=16, PixelRepresentation=0)
        dataset.add_new(0x7FE00010, "OW", bytes(range(256)) * 1000)
        data = encode(dataset, old)
        for new in {EXPLICIT, IMPLICIT, BIG} - {old}:
            there = window(data)
            from_file = b"".join(part for part, _ in convert(there, old, new).parts(there, 1 << 16))
            view = memoryview(data)
            assert from_file == b"".join(part for part, _ in convert(data, old, new).parts(view, 1 << 16))


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(-3, 300_020), max_size=30), data=st.data())
def test_what_is_read_is_what_lies_there(tmp_path_factory, places: list[int], data: st.DataObject) -> None:
    content = bytes(range(251)) * 1200
    path = tmp_path_factory.mktemp("window") / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        for offset in (0, 7):
            held = FileWindow(file.fileno(), offset, len(content) - offset)
            assert len(held) == len(content) - offset
            for pos in places:
                stop = pos + data.draw(st.integers(0, 70_000))
                assert held[max(pos, 0) : stop] == content[offset:][max(pos, 0) : stop]
                for plain in (EXPLICIT_SYNTAX, BIG_SYNTAX):
                    there = reader_of(plain, held)
                    for read, known in ((there.wide, plain.wide), (there.header, plain.header)):
                        if pos < 0:
                            continue
                        if pos + 8 > len(held):
                            with pytest.raises(struct.error):
                                read(held, pos)
                        else:
                            assert read(held, pos) == known(memoryview(content)[offset:], pos)


def test_little_is_held_and_little_read(window: Make, monkeypatch) -> None:
    sizes: list[int] = []
    real = os.pread

    def pread(fd: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return real(fd, size, at)

    monkeypatch.setattr(os, "pread", pread)
    assert scan_dataset(window(encapsulated(200, 100_000)), JPEG).complete
    assert sum(sizes) < 220 * SMALLEST  # from frame to frame, not what lies between
    sizes.clear()
    items = window(of_items(100_000))
    tracemalloc.start()
    assert scan_dataset(items, EXPLICIT).complete
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(sizes) == LARGEST
    assert len(sizes) < 20
    assert peak < 4 * LARGEST


@pytest.mark.parametrize("how", ["shorter", "empty", "an error of the disk"])
def test_a_file_that_cannot_be_read_any_more_is_an_error(window: Make, monkeypatch, how: str) -> None:
    """With a memory map this process would have ended here, by SIGBUS."""
    data = encode(image()) + of_items(200_000)
    there = window(data)
    if how == "an error of the disk":
        real, calls = os.pread, []

        def pread(fd: int, size: int, at: int) -> bytes:
            calls.append(at)
            if len(calls) > 3:
                raise OSError(errno.EIO, "Input/output error")
            return real(fd, size, at)

        monkeypatch.setattr(os, "pread", pread)
    else:
        os.ftruncate(there._descriptor, 0 if how == "empty" else len(data) // 2)
    with pytest.raises(OSError, match=FAILED):
        scan_dataset(there, EXPLICIT)
    with pytest.raises(OSError, match=FAILED):
        assert there[len(data) - 10 : len(data)]


def test_short_reads_are_gone_on_with(window: Make, monkeypatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 3), at))
    there = window(b"abcdefgh")
    assert there[1:8] == b"bcdefgh"
    assert read_at(there._descriptor, 14, 0) == b"beforeabcdefgh"
