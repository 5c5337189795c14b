"""The committing thread: nobody waits for another's object."""

from __future__ import annotations

import struct
import threading
import zlib

import pytest
from aiodicom.archive import commit as archive_commit
from aiodicom.archive.archive import Archive
from aiodicom.archive.record import MAX_INDEXED
from aiodicom.dimse.levels import Root
from archive_objects import DEFLATED, EXPLICIT, encode, image, query, sink_for, store
from pydicom.dataset import Dataset

REQUESTS = 0x00400275  # Request Attributes Sequence
EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


def of_items(number, items):
    """An object with a private sequence of empty items."""
    head = struct.pack("<HH2sHL", 0x0041, 0x1010, b"SQ", 0, len(EMPTY_ITEM) * items)
    return encode(image(number)) + head + EMPTY_ITEM * items


def deflated(data):
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = squeezed.compress(data) + squeezed.flush()
    return whole + b"\0" * (len(whole) % 2)


def held_scans(monkeypatch, go, *, begun=None, of=lambda writer: True):
    """Scans that stop after their first step until `go` is set."""
    real = archive_commit.reading

    def reading(writer, **expected):
        record = yield from real(writer, **expected)
        if of(writer):
            if begun is not None:
                begun.release()
            assert go.wait(30)
        return record

    monkeypatch.setattr(archive_commit, "reading", reading)


def is_large(writer):
    return writer.bytes_written > archive_commit.SCANNED_IN_TURN


@pytest.mark.parametrize("durability", ["rename", "fsync"])
def test_nobody_waits_for_an_object_that_takes_long(tmp_path, monkeypatch, durability):
    """The large one is held in the middle of its scan until all others are answered."""
    go, begun = threading.Event(), threading.Semaphore(0)
    held_scans(monkeypatch, go, begun=begun, of=is_large)
    with Archive(tmp_path, durability=durability) as archive:
        slow = sink_for(archive, image(0))
        slow.write(memoryview(of_items(0, 20_000)))
        waiting = slow.committed()
        assert begun.acquire(timeout=30)
        for number in range(1, 6):
            assert store(archive, image(number)).status == 0
        assert not waiting.done()
        go.set()
        assert waiting.result(30).status == 0
        assert archive.counts().instances == 6


def test_large_objects_do_not_wait_for_two_hostile_ones(tmp_path, monkeypatch):
    """Both scanners have one that never ends: the good ones come in between its steps."""
    go = threading.Event()
    real = archive_commit.reading

    def reading(writer, **expected):
        record = yield from real(writer, **expected)
        while writer.bytes_written > 200_000 and not go.is_set():
            yield  # as a walk over millions of items does
        return record

    monkeypatch.setattr(archive_commit, "reading", reading)
    with Archive(tmp_path, durability="rename") as archive:
        hostile = [sink_for(archive, image(number)) for number in range(3)]
        for number, sink in enumerate(hostile):
            sink.write(memoryview(of_items(number, 30_000)))
        waiting = [sink.committed() for sink in hostile]
        for number in range(3, 6):
            assert store(archive, image(number), data=of_items(number, 10_000)).status == 0
        assert not any(one.done() for one in waiting)
        go.set()
        assert [one.result(30).status for one in waiting] == [0, 0, 0]


def test_closing_waits_for_what_is_scanned_beside(tmp_path):
    archive = Archive(tmp_path)
    sinks = [sink_for(archive, image(number)) for number in range(4)]
    for number, sink in enumerate(sinks):
        sink.write(memoryview(of_items(number, 10_000)))
    waiting = [sink.committed() for sink in sinks]
    archive.close()
    assert [one.result(0).status for one in waiting] == [0] * 4
    with pytest.raises(RuntimeError, match="closed"):
        archive.sink(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=EXPLICIT)
    with Archive(tmp_path) as again:
        assert again.counts().instances == 4


def test_one_taken_back_while_it_waits_leaves_nothing(tmp_path, monkeypatch):
    go = threading.Event()
    held_scans(monkeypatch, go)
    with Archive(tmp_path) as archive:
        sinks = [sink_for(archive, image(number)) for number in range(4)]
        for number, sink in enumerate(sinks):
            sink.write(memoryview(of_items(number, 10_000)))
        for sink in sinks:
            sink.committed()
        sinks[3].discard()  # two are begun, the others wait
        go.set()
    assert not list((tmp_path / "incoming").glob("*.part"))
    assert not list((tmp_path / "incoming").glob(".*.part"))


@pytest.mark.parametrize("items", [99, 101, 20_000])
def test_the_elements_of_an_object_are_bounded(tmp_path, items):
    top = len(image()) + 1
    with Archive(tmp_path, max_elements=top + 2 * 100 + 1) as archive:  # an item's beginning and end
        outcome = store(archive, image(), data=of_items(1, items))
    assert outcome.status == (0 if items < 100 else 0xC000)
    if items > 100:
        assert "elements and items" in outcome.comment


def test_what_is_deflated_is_kept_as_it_came(tmp_path):
    squeezed = deflated(encode(image(ImageComments="x" * 9000)))
    with Archive(tmp_path) as archive:
        outcome = store(archive, image(), DEFLATED, data=squeezed)
        assert outcome.status == 0
        assert outcome.path.read_bytes().endswith(squeezed)
        assert archive.reindex().indexed == 1
        bomb = deflated(encode(image(2)) + bytes(1 << 20) * 300)
        assert store(archive, image(2), DEFLATED, data=bomb).status == 0xC000


def with_requests(number, items):
    """A small object with a stored sequence of items that hold one element each; the rest comes behind it."""
    element = struct.pack("<HH2sH", 0x0040, 0x0008, b"SH", 2) + b"ab"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(element)) + element
    head = struct.pack("<HH2sHL", REQUESTS >> 16, REQUESTS & 0xFFFF, b"SQ", 0, len(item) * items)
    return encode(image(number)) + head + item * items


@pytest.mark.parametrize("fragments", [1, 4])
@pytest.mark.parametrize("items", [200, 900, 3500])
def test_nobody_waits_for_a_small_object_that_is_dear_to_index(tmp_path, monkeypatch, items, fragments):
    """It is held where its values are decoded until all others are answered."""
    go, begun = threading.Event(), threading.Semaphore(0)
    real = archive_commit.entry_of

    def entry_of(record, *rest):
        if record.values.get(REQUESTS):
            begun.release()
            assert go.wait(30)
        return real(record, *rest)

    monkeypatch.setattr(archive_commit, "entry_of", entry_of)
    data = with_requests(0, items)
    with Archive(tmp_path) as archive:
        slow = sink_for(archive, image(0))
        part = len(data) // fragments + 1
        for start in range(0, len(data), part):
            slow.write(memoryview(data)[start : start + part])
        waiting = slow.committed()
        try:
            assert begun.acquire(timeout=30)
            other = sink_for(archive, image(1))
            other.write(memoryview(encode(image(1))))
            assert other.committed().result(30).status == 0
            assert not waiting.done()
        finally:
            go.set()
        assert waiting.result(30).status == 0


@pytest.mark.parametrize("items", [100, 3500])
def test_of_a_long_sequence_the_first_items_are_indexed(tmp_path, caplog, items):
    data = with_requests(1, items)
    with Archive(tmp_path) as archive:
        outcome = store(archive, image(1), data=data)
        assert outcome.status == 0
        assert outcome.path.read_bytes().endswith(data)
        for _ in range(2):
            keys = query("IMAGE", SOPInstanceUID="", RequestAttributesSequence=[Dataset()])
            (answer,) = archive.find(Root.STUDY, "IMAGE", keys)
            found = len(answer.RequestAttributesSequence)
            assert found == items if items == 100 else 100 < found < MAX_INDEXED / 2
            archive.reindex()  # gives the same
    told = [one for one in caplog.messages if "indexed in part" in one]
    assert len(told) == (items > 100)


@pytest.mark.parametrize("other", [False, True])
def test_nobody_waits_for_a_large_object_that_comes_again(tmp_path, monkeypatch, other):
    """The comparison, or the digest of what differs, is held until all others are answered."""
    go, begun = threading.Event(), threading.Semaphore(0)
    name = "digest_of" if other else "same_data"
    real = getattr(archive_commit, name)

    def held(*arguments):
        begun.release()
        assert go.wait(30)
        return real(*arguments)

    data = encode(image(0, BitsAllocated=8, PixelData=bytes(archive_commit.COMPARED_IN_TURN)))
    again = data[:-1] + b"x" if other else data
    with Archive(tmp_path) as archive:
        assert store(archive, image(0), data=data).status == 0
        monkeypatch.setattr(archive_commit, name, held)
        slow = sink_for(archive, image(0))
        slow.write(memoryview(again))
        waiting = slow.committed()
        try:
            assert begun.acquire(timeout=30)
            fresh = sink_for(archive, image(1))
            fresh.write(memoryview(encode(image(1))))
            assert fresh.committed().result(30).status == 0
            assert not waiting.done()
        finally:
            go.set()
        assert waiting.result(30).status == (0x0111 if other else 0)
        assert archive.counts().instances == 2
    assert len(list((tmp_path / "conflicts").iterdir())) == other


def test_what_vanished_while_it_was_compared_is_stored_anew(tmp_path, monkeypatch):
    real = archive_commit.same_data

    def vanishing(*arguments):
        first.path.unlink()
        return real(*arguments)

    data = encode(image(0, BitsAllocated=8, PixelData=bytes(archive_commit.COMPARED_IN_TURN)))
    with Archive(tmp_path) as archive:
        first = store(archive, image(0), data=data)
        monkeypatch.setattr(archive_commit, "same_data", vanishing)
        again = sink_for(archive, image(0))
        again.write(memoryview(data))
        outcome = again.committed().result(30)
        assert outcome.status == 0
        assert outcome.path.read_bytes().endswith(data)
        assert archive.verify().missing == ()


def test_a_defect_in_what_is_done_behind_the_commits_stops_none(tmp_path, caplog):
    """What else runs on the committing thread may fail: the thread goes on, and closing comes to its end."""

    def fail():
        raise KeyError("Doe^Jane")

    with Archive(tmp_path, durability="rename") as archive:
        archive._committer.soon(fail)
        assert store(archive, image(0)).status == 0
    assert "work behind the commits failed: KeyError" in caplog.text
    assert "Doe" not in caplog.text


def test_what_was_replaced_while_it_was_compared_is_compared_again(tmp_path, monkeypatch):
    """The same object came, and the stored one is another by the time it is answered."""
    real = archive_commit.same_data
    compared = []

    def replacing(*arguments):
        compared.append(real(*arguments))
        if len(compared) == 1:
            other = first.path.read_bytes()[:-1] + b"x"
            first.path.with_suffix(".new").write_bytes(other)
            first.path.with_suffix(".new").rename(first.path)
        return compared[-1]

    data = encode(image(0, BitsAllocated=8, PixelData=bytes(archive_commit.COMPARED_IN_TURN)))
    with Archive(tmp_path) as archive:
        first = store(archive, image(0), data=data)
        monkeypatch.setattr(archive_commit, "same_data", replacing)
        again = sink_for(archive, image(0))
        again.write(memoryview(data))
        assert again.committed().result(30).status == 0x0111
    assert compared == [True, False]
    assert len(list((tmp_path / "conflicts").iterdir())) == 1
