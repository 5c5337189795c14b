"""The archive after the worst moments: kill -9, a group half committed, a power failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.files import ObjectFiles
from aiodicom.archive.index import Counts
from aiodicom.dimse.levels import Root
from archive_objects import encode, files_below, image, query, sink_for, store
from syscalls import noted


def kept(archive):
    """Files of objects, conflicts and half-received objects."""
    return [name for name in files_below(archive.directory) if name.endswith((".dcm", ".part"))]


def test_what_was_arriving_is_removed_at_the_start(tmp_path):
    archive = Archive(tmp_path)
    sink = sink_for(archive, image())
    sink.write(memoryview(encode(image())))
    archive.close()
    assert len(kept(archive)) == 1
    with Archive(tmp_path) as again:
        assert kept(again) == []
    sink.discard()


def as_left_by_a_crash(tmp_path, mark):
    """An archive with an object stored and one moved to its place, but not indexed; says it did not end."""
    with Archive(tmp_path) as archive:
        store(archive, image(1))
        second = store(archive, image(2)).path
        archive._committer.run(lambda: archive._index.remove([image(2).SOPInstanceUID]))
    (tmp_path / "lock").write_text(mark)
    return second


def boot_id():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_group_cut_off_before_the_index_is_indexed_at_the_start(tmp_path):
    second = as_left_by_a_crash(tmp_path, boot_id())
    name = second.relative_to(tmp_path)
    journal = tmp_path / "incoming" / "journal"
    journal.write_text(f"{name}\nobjects/00/00/1.2.3.4.dcm\n../../../evil\nobjects/0")
    with Archive(tmp_path) as archive:
        assert archive.counts().instances == 2
        assert journal.read_bytes() == b""


def torn_after_it_was_indexed(tmp_path):
    """An announced object in the index whose file has lost its end."""
    with Archive(tmp_path) as archive:
        path = store(archive, image(1)).path
        store(archive, image(2))
    (tmp_path / "lock").write_text(boot_id())
    (tmp_path / "incoming" / "journal").write_text(f"{path.relative_to(tmp_path)}\n")
    path.write_bytes(path.read_bytes()[:-5])
    return path


def test_a_torn_file_leaves_the_index_too(tmp_path):
    """Else it would be found and could not be sent."""
    path = torn_after_it_was_indexed(tmp_path)
    with Archive(tmp_path) as archive:
        found = archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID=""))
        assert [str(one.SOPInstanceUID) for one in found] == [image(2).SOPInstanceUID]
    assert not path.exists()


def test_a_file_that_is_moved_aside_is_there_after_a_power_failure(tmp_path):
    """Both folders are forced, before the note that names it is forgotten."""
    path = torn_after_it_was_indexed(tmp_path)
    with noted() as calls:
        Archive(tmp_path).close()
    forgotten = calls.first("ftruncate", "incoming/journal")
    assert calls.first("fsync", str(path.parent)) < forgotten
    assert calls.first("fsync", str(tmp_path / "quarantine")) < forgotten


def test_a_torn_file_of_that_group_is_moved_aside(tmp_path):
    second = as_left_by_a_crash(tmp_path, boot_id())
    torn = second.read_bytes()[:-1]
    second.write_bytes(torn)
    (tmp_path / "incoming" / "journal").write_text(f"{second.relative_to(tmp_path)}\n")
    with Archive(tmp_path) as archive:
        assert archive.counts().instances == 1
        assert not second.exists()
        assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [torn]
        assert store(archive, image(2)).status == 0


def test_after_a_power_failure_index_and_files_are_compared(tmp_path):
    as_left_by_a_crash(tmp_path, "another run of the machine")
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 2
        lost = store(archive, image(3, study="1.9")).path
        short = store(archive, image(4)).path
    lost.unlink()
    short.write_bytes(b"")
    (tmp_path / "lock").write_text("yet another")
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts() == Counts(1, 1, 1, 2)
        assert store(archive, image(4)).status == 0


def test_a_clean_end_is_not_looked_into(tmp_path):
    with Archive(tmp_path) as archive:
        store(archive, image())
    files = ObjectFiles(tmp_path, "fsync")
    assert files.last_end == "clean"
    files.begin()
    files.close(clean=False)
    files = ObjectFiles(tmp_path, "fsync")
    assert files.last_end == "killed"
    files.close(clean=False)


STORER = """
import asyncio, sys
from archive_objects import encode, image, sink_for
from aiodicom.archive.archive import Archive

async def stream(archive, lane):
    for number in range(100000):
        name = f"Doe^{lane}^{number}"
        dataset = image(number, series=f"1.2.3.{lane}", PatientName=name, ImageComments="x" * 5000)
        sink = sink_for(archive, dataset)
        sink.write(memoryview(encode(dataset)))
        outcome = await sink.commit()
        assert outcome.status == 0, outcome
        print(dataset.SOPInstanceUID, flush=True)

async def main():
    archive = Archive(sys.argv[1], durability=sys.argv[2])
    await asyncio.gather(*(stream(archive, lane) for lane in range(1, 5)))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("after", "durability"), [(1, "fsync"), (40, "rename"), (150, "fsync")])
def test_kill_9_in_the_middle_of_storing(tmp_path, after, durability):
    """Every object answered with success is there, whole and found; nothing else is half there."""
    folder = tmp_path / "archive"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", STORER, str(folder), durability],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        answered = [process.stdout.readline().strip() for _ in range(after)]
        process.kill()
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert len(answered) >= after
    with Archive(folder) as archive:
        found = archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="", PatientName=""))
        visible = {str(one.SOPInstanceUID) for one in found}
        assert set(answered) <= visible
        on_disk = {Path(name).stem for name in kept(archive)}
        assert on_disk == visible
        for stored in archive.select(Root.STUDY, "STUDY", query("STUDY", StudyInstanceUID="1.2.3")):
            dataset = pydicom.dcmread(stored.path)
            assert dataset.SOPInstanceUID == stored.sop_instance_uid
            assert stored.path.stat().st_size == stored.data_offset + stored.data_size
            number = stored.sop_instance_uid.rsplit(".", 1)[1]
            assert str(dataset.PatientName).endswith(f"^{number}")
            assert dataset.ImageComments == "x" * 5000
        again = image(0, series="1.2.3.1", PatientName="Doe^1^0", ImageComments="x" * 5000)
        assert store(archive, again).status == 0
