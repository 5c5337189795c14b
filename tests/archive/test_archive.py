"""The archive: what it keeps, what it refuses, and what is left after the worst moments."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from pathlib import Path

import pydicom
import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import ArchiveInUse
from aiodicom.archive.files import same_data
from aiodicom.archive.index import Counts, Index
from aiodicom.dimse.levels import Root
from archive_objects import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR,
    encode,
    files_below,
    image,
    part10,
    query,
    sink_for,
    store,
)

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive", durability="rename") as opened:
        yield opened


def kept(archive):
    """Files of objects, conflicts and half-received objects; what was refused lies in quarantine."""
    found = files_below(archive.directory)
    return [name for name in found if name.endswith((".dcm", ".part")) and not name.startswith("quarantine/")]


# Storing


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_an_object_is_kept_as_received(archive, syntax):
    dataset = image()
    outcome = store(archive, dataset, syntax)
    assert (outcome.status, outcome.comment) == (0x0000, "")
    content = outcome.path.read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    assert content.endswith(encode(dataset, syntax))
    read = pydicom.dcmread(outcome.path)
    assert read == dataset
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert archive.counts() == Counts(1, 1, 1, 1)


async def test_commit_in_a_loop(archive):
    sinks = [sink_for(archive, image(number)) for number in range(20)]
    for number, sink in enumerate(sinks):
        sink.write(memoryview(encode(image(number))))
    outcomes = await asyncio.gather(*(sink.commit() for sink in sinks))
    assert {outcome.status for outcome in outcomes} == {0}
    assert len({outcome.path for outcome in outcomes}) == 20
    assert archive.counts().instances == 20
    assert (await sinks[0].commit()).path == outcomes[0].path


async def test_durable_commits_in_groups(tmp_path):
    with Archive(tmp_path) as archive:
        sinks = [sink_for(archive, image(number)) for number in range(10)]
        for number, sink in enumerate(sinks):
            sink.write(memoryview(encode(image(number))))
        outcomes = await asyncio.gather(*(sink.commit() for sink in sinks))
        assert [outcome.status for outcome in outcomes] == [0] * 10
        assert len(kept(archive)) == 10


def test_discard_leaves_no_trace(archive):
    sink = sink_for(archive, image())
    sink.write(memoryview(encode(image())))
    sink.discard()
    sink.discard()
    assert kept(archive) == []
    with pytest.raises(RuntimeError):
        sink.commit_now()
    assert archive.counts().instances == 0


def test_discard_after_commit_changes_nothing(archive):
    sink = sink_for(archive, image())
    sink.write(memoryview(encode(image())))
    path = sink.commit_now().path
    sink.discard()
    assert path.is_file()


async def test_a_cancelled_commit_leaves_all_or_nothing(archive):
    sinks = [sink_for(archive, image(number)) for number in range(30)]
    tasks = []
    for number, sink in enumerate(sinks):
        sink.write(memoryview(encode(image(number))))
        tasks.append(asyncio.ensure_future(sink.commit()))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert store(archive, image(99)).status == 0
    files = kept(archive)
    assert archive.counts().instances == len(files)
    assert not [name for name in files if name.endswith(".part")]


def test_many_series_spread_over_folders(archive):
    for number in range(20):
        store(archive, image(1, series=f"1.2.3.{number}"))
    assert len({os.path.dirname(name) for name in kept(archive)}) > 10


# Refusals


@pytest.mark.parametrize("uid", ["", "1.2.3\x01", "1.2\\1.3", "1.*", "1.?", "1" * 129, "1.2.3\n", "1.2.\xe9"])
def test_an_invalid_instance_uid_is_refused(archive, uid):
    outcome = store(archive, image(), sop_instance_uid=uid)
    assert outcome.status == 0x0117
    assert outcome.path is None
    assert kept(archive) == []


@pytest.mark.parametrize("uid", ["../../evil", "/abs", "$(id)", ".", "..", "a b", "C:\0".strip("\0")])
def test_what_looks_like_a_path_is_a_key_and_never_one(archive, uid):
    """PS3.5 9.1 binds who makes UIDs; where a file lies is ours to say."""
    assert store(archive, image(SOPInstanceUID=uid)).status == 0
    [name] = kept(archive)
    assert re.fullmatch(r"objects/[0-9a-f]{2}/[0-9a-f]{2}/[\w-]+\.dcm", name), name
    assert store(archive, image(2), sop_instance_uid=uid).status == 0xA900  # the object says another


def test_invalid_class_and_syntax_uids_are_refused(archive):
    assert store(archive, image(), sop_class_uid="CT").status == 0x0122
    assert store(archive, image(), transfer_syntax_uid="../x").status & 0xF000 == 0xC000
    assert kept(archive) == []


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        ({}, {"sop_instance_uid": "1.9"}, "SOP Instance UID differs"),
        ({}, {"sop_class_uid": MR}, "SOP Class UID differs"),
        ({"StudyInstanceUID": "x*y"}, {}, "Study Instance UID"),
        ({"SeriesInstanceUID": ""}, {}, "Series Instance UID"),
    ],
)
def test_an_object_that_is_not_what_was_announced(archive, values, changes, words):
    outcome = store(archive, image(**values), **({"sop_instance_uid": "1.2.3.1.1"} | changes))
    assert outcome.status == 0xA900
    assert words in outcome.comment
    assert kept(archive) == []


def deep(levels):
    """A sequence in a sequence in a sequence, none of them closed by a length."""
    opened = bytes.fromhex("4000 7502 5351 0000 ffffffff feff00e0 ffffffff")
    closed = bytes.fromhex("feff0de0 00000000 feffdde0 00000000")
    return opened * levels + closed * levels


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"GET / HTTP/1.1\r\n\r\n",
        lambda data: data + bytes.fromhex("e07f1000 4f570000 ffffff7f"),
        lambda data: data + deep(20_000),
    ],
)
def test_a_broken_data_set_is_refused(archive, spoil):
    outcome = store(archive, image(), data=spoil(encode(image())))
    assert outcome.status & 0xF000 == 0xC000
    assert 0 < len(outcome.comment) <= 64
    assert kept(archive) == []
    assert archive.counts().instances == 0
    assert store(archive, image()).status == 0


def test_a_bomb_in_a_deflated_data_set_is_refused(archive, monkeypatch):
    import zlib

    from aiodicom.dataset import scan

    defaults = scan.scanning.__kwdefaults__ | {"max_inflated": 10**6}
    monkeypatch.setattr(scan.scanning, "__kwdefaults__", defaults)
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = stream.compress(encode(image()) + bytes(2_000_000)) + stream.flush()
    assert store(archive, image(), DEFLATED, data=data).status & 0xF000 == 0xC000
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = stream.compress(encode(image())) + stream.flush()
    assert store(archive, image(), DEFLATED, data=data).status == 0


def test_what_scanners_send_is_tolerated(archive):
    dataset = image(PatientName=None, PatientID=None, StudyDate=None, Rows=None)
    dataset.SOPClassUID = "1.2.3.4.5.6"  # private
    block = dataset.private_block(0x0029, "VENDOR", create=True)
    block.add_new(0x10, "OB", b"\1\2\3\4")
    dataset.StudyTime = "garbage"
    assert store(archive, dataset, data=encode(dataset) + bytes(6)).status == 0


def test_an_object_over_the_limit_is_refused_early(tmp_path):
    data = encode(image())
    with Archive(tmp_path, durability="rename", max_object_size=len(data)) as archive:
        assert store(archive, image()).status == 0
        sink = sink_for(archive, image(2))
        sink.write(memoryview(bytes(len(data))))
        assert len(kept(archive)) == 2
        sink.write(memoryview(b"x"))
        assert len(kept(archive)) == 1
        sink.write(memoryview(bytes(100)))
        outcome = sink.commit_now()
        assert outcome.status == 0xA700
        assert "larger" in outcome.comment


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "open", "replace", "fsync", "pwrite"])
def test_a_full_disk_is_answered_and_leaves_nothing(tmp_path, monkeypatch, call):
    with Archive(tmp_path / "archive") as archive:
        assert store(archive, image(1)).status == 0
        before = kept(archive)
        with monkeypatch.context() as patched:
            if call in ("write", "open"):
                patched.setattr(os, call, full)
                sink = sink_for(archive, image(2))
                sink.write(memoryview(encode(image(2))))
                outcome = sink.commit_now()
            else:
                sink = sink_for(archive, image(2))
                sink.write(memoryview(encode(image(2))))
                patched.setattr(os, call, full)
                outcome = sink.commit_now()
        assert outcome.status == 0xA700
        assert outcome.comment == "no space left to store the object"
        assert kept(archive) == before
        assert archive.counts().instances == 1
        assert store(archive, image(2)).status == 0


def test_a_disk_that_fills_in_the_middle(archive, monkeypatch):
    sink = sink_for(archive, image())
    sink.write(memoryview(encode(image())[:100]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        sink.write(memoryview(encode(image())[100:]))
    assert kept(archive) == []
    assert sink.commit_now().status == 0xA700


def test_an_index_that_cannot_be_written_takes_the_files_back(archive, monkeypatch):
    import sqlite3

    def fail(*args, **kwargs):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Index, "add", fail)
        outcome = store(archive, image())
    assert outcome.status == 0xA700
    assert kept(archive) == []
    assert store(archive, image()).status == 0


def test_a_surprise_in_one_object_is_not_its_groups(archive, monkeypatch):
    from aiodicom.archive import commit as archive_commit

    real = archive_commit.reading

    def read(writer, *, sop_instance_uid, **others):
        if sop_instance_uid.endswith(".13"):
            raise ZeroDivisionError
        return real(writer, sop_instance_uid=sop_instance_uid, **others)

    monkeypatch.setattr(archive_commit, "reading", read)
    assert store(archive, image(13)).status == 0x0110
    assert store(archive, image(14)).status == 0
    assert len(kept(archive)) == 1


# The same UID twice


@pytest.mark.parametrize("first_longer", [False, True])
def test_the_same_object_and_more_is_another(archive, first_longer):
    """Trailing zeros are tolerated, and are no less a difference."""
    short = encode(image())
    ways = [short + bytes(8), short] if first_longer else [short, short + bytes(8)]
    assert [store(archive, image(), data=data).status for data in ways] == [0, 0x0111]


@pytest.mark.parametrize("sizes", [(1 << 20, 1 << 20), (1 << 20, 2 << 20), (2 << 20, 1 << 20), (0, 1)])
def test_data_are_compared_to_their_end(tmp_path, sizes):
    """Where a difference begins just behind a part that is read at once, too."""
    for name, size in zip("ab", sizes, strict=True):
        (tmp_path / name).write_bytes(bytes(16) + b"x" * size)
    with (tmp_path / "a").open("rb") as first, (tmp_path / "b").open("rb") as second:
        assert same_data(first.fileno(), 16, second.fileno(), 16) is (sizes[0] == sizes[1])


def test_the_same_object_again_is_success(archive):
    first = store(archive, image())
    again = store(archive, image(), calling_ae="ANOTHER")
    assert (again.status, again.path) == (0, first.path)
    assert len(kept(archive)) == 1


@pytest.mark.parametrize(
    ("other", "syntax"),
    [
        (image(PatientName="Married^Jane"), EXPLICIT),
        (image(SeriesInstanceUID="1.2.3.7"), EXPLICIT),
        (image(), IMPLICIT),
    ],
)
def test_another_object_of_the_same_uid_is_set_aside(archive, other, syntax):
    first = store(archive, image())
    content = first.path.read_bytes()
    for _ in range(2):
        outcome = store(archive, other, syntax)
        assert outcome.status == 0x0111
        assert outcome.path is None
    assert first.path.read_bytes() == content
    aside = [name for name in kept(archive) if name.startswith("conflicts/")]
    assert len(aside) == 1
    assert (archive.directory / aside[0]).read_bytes().endswith(encode(other, syntax))
    assert archive.counts() == Counts(1, 1, 1, 1)


async def test_the_same_uid_twice_at_once(archive):
    sinks = []
    for name in ("Doe^Jane", "Doe^Jane", "Roe^Jane"):
        sink = sink_for(archive, image())
        sink.write(memoryview(encode(image(PatientName=name))))
        sinks.append(sink)
    outcomes = await asyncio.gather(*(sink.commit() for sink in sinks))
    assert [outcome.status for outcome in outcomes] == [0, 0, 0x0111]


def test_an_object_whose_file_vanished_is_taken_again(archive):
    store(archive, image()).path.unlink()
    again = store(archive, image(PatientName="New^Name"))
    assert again.status == 0
    assert pydicom.dcmread(again.path).PatientName == "New^Name"
    assert archive.counts() == Counts(1, 1, 1, 1)


# Files


def test_store_file_drops_the_preamble(archive, tmp_path):
    path = tmp_path / "evil.dcm"
    path.write_bytes(b"MZ" + part10(image())[2:])
    outcome = archive.store_file(path)
    assert outcome.status == 0
    assert outcome.path.read_bytes()[:128] == bytes(128)


def test_pydicoms_own_files(archive):
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    statuses = {}
    names = (
        "CT_small MR_small MR_small_bigendian rtdose rtplan JPEG2000 JPGExtended image_dfl reportsi"
        " test-SR waveform_ecg liver_1frame"
    )
    for name in names.split():
        statuses[name] = archive.store_file(folder / f"{name}.dcm").status
    # MR_small_bigendian is MR_small again, in another syntax
    assert {name for name, status in statuses.items() if status} == {"MR_small_bigendian"}
    assert statuses["MR_small_bigendian"] == 0x0111
    assert archive.counts().instances == 11
    assert len(list(archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="", Rows=None)))) == 11


# Lifetime


def test_one_archive_per_folder(archive):
    with pytest.raises(ArchiveInUse):
        Archive(archive.directory)


def test_a_closed_archive_refuses_in_words(tmp_path):
    archive = Archive(tmp_path)
    sink = sink_for(archive, image())
    archive.close()
    archive.close()
    with pytest.raises(RuntimeError, match="closed"):
        sink.commit_now()
    sink.discard()
    with pytest.raises(RuntimeError, match="closed"):
        sink_for(archive, image())


def answers(archive):
    """All the archive says about its images, in an order of its own."""
    identifier = query(
        "IMAGE",
        SOPInstanceUID="", StudyInstanceUID="", SeriesInstanceUID="", PatientName="", PatientID="",
        StudyDescription="", Modality="", SeriesDescription="", InstanceNumber=None, Rows=None,
        NumberOfStudyRelatedInstances=None, ModalitiesInStudy="",
    )  # fmt: skip
    found = [dataset.to_json() for dataset in archive.find(Root.PATIENT, None, identifier)]
    return sorted(found)


def test_survives_a_restart(tmp_path):
    with Archive(tmp_path) as archive:
        paths = [store(archive, image(number, StudyDescription=f"d{number}")).path for number in range(5)]
        before = answers(archive)
    with Archive(tmp_path) as archive:
        assert answers(archive) == before
        assert store(archive, image(0, StudyDescription="d0")).path == paths[0]


def test_reindex_rebuilds_the_same_index(archive):
    for number in range(5):
        store(archive, image(number, StudyDescription=f"d{number}", series=f"1.2.3.{number % 2}"))
    store(archive, image(1, study="1.7", PatientName="Other^Name"))
    store(archive, image(3, series="1.2.3.1", StudyDescription="conflicting"))
    before = answers(archive)
    report = archive.reindex()
    assert (report.indexed, report.skipped) == (6, ())
    assert answers(archive) == before


def test_reindex_says_what_it_cannot_read(archive):
    path = store(archive, image()).path
    other = path.with_name("1.2.9.dcm")
    other.write_bytes(path.read_bytes()[:-2])
    stranger = path.with_name("1.2.8.dcm")
    stranger.write_bytes(path.read_bytes())
    report = archive.reindex()
    assert report.indexed == 1
    assert {skipped for skipped, _ in report.skipped} == {other, stranger}


def test_a_missing_index_is_rebuilt(tmp_path):
    with Archive(tmp_path) as archive:
        store(archive, image())
        before = answers(archive)
    (tmp_path / "index.sqlite").rename(tmp_path / "index.sqlite-wal")
    with Archive(tmp_path) as archive:
        assert answers(archive) == before


def test_answered_bytes_are_the_sent_bytes(archive):
    sent = {}
    for number in range(50):
        dataset = image(number, ImageComments="x" * (number * 37))
        store(archive, dataset)
        sent[str(dataset.SOPInstanceUID)] = hashlib.sha256(encode(dataset)).hexdigest()
    for stored in archive.select(Root.PATIENT, "PATIENT", query("PATIENT", PatientID="P1")):
        content = stored.path.read_bytes()[stored.data_offset :]
        assert hashlib.sha256(content).hexdigest() == sent.pop(stored.sop_instance_uid)
    assert sent == {}
