"""Success is answered after the data is safe: the calls that make it so, in their order."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.index import Index
from archive_objects import encode, image, sink_for
from syscalls import Calls, noted


@pytest.fixture
def indexed(monkeypatch):
    """Makes the writing of the index one of the calls."""
    calls: list[Calls] = []
    real = Index.add

    def add(self, entries, **more):
        entries = list(entries)
        real(self, entries, **more)
        for one in entries:
            calls[0].note("index", f"{one.sop_instance_uid}.dcm")

    monkeypatch.setattr(Index, "add", add)
    return calls


async def stored(folder, durability, numbers, indexed):
    """The calls of committing these objects at once; "answer" is the moment each was answered."""
    with Archive(folder, durability=durability) as archive, noted() as calls:
        indexed.append(calls)
        sinks = {number: sink_for(archive, image(number)) for number in numbers}
        temporaries = {number: os.path.basename(sink.writer.temporary) for number, sink in sinks.items()}
        futures = []
        for number, sink in sinks.items():
            sink.write(memoryview(encode(image(number))))
            future = sink.committed()
            future.add_done_callback(
                lambda _, n=number: calls.note("answer", f"{image(n).SOPInstanceUID}.dcm")
            )
            futures.append(asyncio.wrap_future(future))
        outcomes = await asyncio.gather(*futures)
        assert {one.status for one in outcomes} == {0}
        return calls, temporaries


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_the_order_of_a_commit(tmp_path, indexed, count):
    """Data forced, note written, renamed, folder forced, indexed, answered, for each of a group."""
    calls, temporaries = await stored(tmp_path, "fsync", range(count), indexed)
    for number, temporary in temporaries.items():
        name = f"{image(number).SOPInstanceUID}.dcm"
        folder = os.path.dirname(calls.made[calls.first("replace", name)][1])
        order = [
            calls.last("write", temporary),
            calls.first("fsync", temporary),
            calls.first("pwrite", "incoming/journal"),
            calls.first("replace", name),
            calls.first("fsync", folder[len(str(tmp_path)) :]),
            calls.first("index", name),
            calls.first("answer", name),
        ]
        if count == 1:
            assert order == sorted(order)
        else:  # more may be in one group, or in two: each object's own steps are in order
            assert [order[at] for at in (0, 1, 3, 5, 6)] == sorted(order[at] for at in (0, 1, 3, 5, 6))
    forgotten = calls.last("ftruncate", "incoming/journal")
    assert forgotten > calls.last("index", ".dcm")


async def test_new_folders_are_forced_up_to_the_one_that_was_there(tmp_path, indexed):
    calls, _ = await stored(tmp_path, "fsync", [1], indexed)
    forced = {path[len(str(tmp_path)) :] for name, path in calls.made if name == "fsync"}
    [leaf] = [one for one in forced if one.count("/") == 3 and one.startswith("/objects/")]
    assert {leaf, os.path.dirname(leaf), "/objects"} <= forced


async def test_without_durability_nothing_is_forced(tmp_path, indexed):
    calls, _ = await stored(tmp_path, "rename", [1, 2], indexed)
    assert not [one for one in calls.made if one[0] in ("fsync", "fdatasync")]
    assert calls.first("pwrite", "incoming/journal") < calls.first("replace", ".dcm")


def test_the_index_loses_no_transaction_with_its_process(tmp_path):
    """WAL with synchronous NORMAL: whole after a power failure, and complete after a kill."""
    index = Index(tmp_path / "index.sqlite")
    try:
        assert index._writer.execute("PRAGMA synchronous").fetchone() == (1,)
        assert index._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        index.close()


def test_an_orderly_end_is_marked_after_everything_else(tmp_path):
    with noted() as calls:
        Archive(tmp_path).close()
    assert calls.first("pwrite", "/lock") < calls.last("fsync", "/lock")
    assert calls.made[-1] == ("fsync", str(tmp_path / "lock"))


async def test_what_arrives_is_a_file_that_was_not_there(tmp_path, indexed):
    """O_EXCL and O_NOFOLLOW: nothing that lies in the folder is written through."""
    calls, temporaries = await stored(tmp_path, "rename", [1], indexed)
    [flags] = [flags for path, flags in calls.opened.items() if path.endswith(temporaries[1])]
    assert flags & os.O_EXCL
    assert flags & os.O_NOFOLLOW
    assert flags & os.O_CREAT
