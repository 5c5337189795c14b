"""What a retrieve will send: read as it is sent, in the order it was stored in."""

from __future__ import annotations

import tracemalloc

import pytest
from aiodicom.archive import selection as selection_module
from aiodicom.archive.archive import Archive
from aiodicom.dimse.levels import Root
from archive_objects import CT, EXPLICIT, IMPLICIT, MR, image, query, store


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path, durability="rename") as opened:
        for number in range(10):
            store(opened, image(number))
        store(opened, image(20, SOPClassUID=MR), IMPLICIT)
        yield opened


def selected(archive):
    return archive.select(Root.STUDY, "STUDY", query("STUDY", StudyInstanceUID="1.2.3"))


@pytest.mark.parametrize("page", [1, 3, 512])
def test_it_is_a_sequence(archive, monkeypatch, page):
    monkeypatch.setattr(selection_module, "PAGE", page)
    found = selected(archive)
    uids = [f"1.2.3.1.{number}" for number in (*range(10), 20)]
    assert len(found) == 11
    assert [one.sop_instance_uid for one in found] == uids
    assert [one.sop_instance_uid for one in found[2:7]] == uids[2:7]
    assert [one.sop_instance_uid for one in found[7:2:-2]] == uids[7:2:-2]
    assert (found[-1].sop_instance_uid, found[0].sop_instance_uid) == (uids[-1], uids[0])
    assert found[5:5] == []
    for wrong in (11, -12):
        with pytest.raises(IndexError):
            found[wrong]
    assert found[0].path.exists()


def test_the_kinds_of_objects_are_known_without_reading_them(archive):
    found = selected(archive)
    assert found.pairs == ((CT, EXPLICIT), (MR, IMPLICIT))
    assert found._page == []


def test_what_comes_later_is_not_in_it_and_what_goes_has_no_file(archive):
    found = selected(archive)
    store(archive, image(30))
    archive._committer.run(lambda: archive._index.remove(["1.2.3.1.4"]))
    assert len(found) == 11
    assert [one.sop_instance_uid for one in found][:6] == [
        "1.2.3.1.0", "1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3", "", "1.2.3.1.5"
    ]  # fmt: skip
    assert not found[4].path.exists()


def test_no_database_is_held(archive):
    """A retrieve that takes hours must not keep the log from being folded into the file."""
    found = selected(archive)
    assert found[0].sop_instance_uid
    archive._committer.run(lambda: archive._index._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert (archive.directory / "index.sqlite-wal").stat().st_size == 0


def test_its_memory_does_not_follow_its_length(archive):
    found = selected(archive)
    many = selection_module.Selection(found._rows * 10_000, found.pairs, found._read)
    assert len(many) == 110_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in many) == 110_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
