"""Our client with Orthanc, dcmqrscp and pynetdicom as archives: every service, the bytes compared."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import aiodicom
import pytest
from interop.peers import HOST, Peer, dicom_files
from interop.samples import LEVEL_KEYS, ROOT_AND_LEVEL, Sample, Samples, bodies
from interop.site import Site, connect
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]


@pytest.fixture(params=["orthanc", "dcmqrscp", "pynetdicom"])
def archive(request: pytest.FixtureRequest, site: Site) -> Peer:
    """An archive that holds the samples."""
    return site.archive(request.param)


def above(sample: Sample, root: str, level: str) -> dict[str, str]:
    """The unique keys of the levels above."""
    names = list(LEVEL_KEYS)[list(LEVEL_KEYS).index(root) : list(LEVEL_KEYS).index(level)]
    return {LEVEL_KEYS[name]: sample.key(name) for name in names}


def check_bodies(archive: Peer, files: list[Path], wanted: list[Sample], *, sent: bool = True) -> None:
    """The bytes and their transfer syntax are those that were stored; `sent`: by a C-STORE of the archive.

    Two archives change some on the way, which PS3.4 B.4.1 allows, and those are compared by their values:
    Orthanc 1.10.1 parses what it receives and writes it again, so that sequences of undefined length get
    explicit ones; dcmqrscp keeps every byte but does the same when it sends. It also sends an object on the
    first context accepted for its SOP class and converts, though one of the object's own transfer syntax
    was accepted too.
    """
    found = bodies(files)
    assert set(found) == {one.uid for one in wanted}
    headers = {str(one.SOPInstanceUID): one for one in map(dcmread, files)}
    kept = None
    for one in wanted:
        syntax = headers[one.uid].file_meta.TransferSyntaxUID
        if archive.name == "Orthanc" and one.undefined_lengths:
            kept = kept or bodies(archive.stored_files())
            assert found[one.uid] == kept[one.uid] != one.body
        elif archive.name == "dcmqrscp" and sent and one.syntax == ImplicitVRLittleEndian:
            assert syntax == ExplicitVRLittleEndian
            assert values(headers[one.uid]) == values(dcmread(one.path))
            continue
        elif archive.name == "dcmqrscp" and sent and one.undefined_lengths:
            assert headers[one.uid] == dcmread(one.path)
        else:
            assert found[one.uid] == one.body, f"{one.path.name} came back changed"
        assert syntax == one.syntax


def values(dataset: Dataset) -> Dataset:
    """What a conversion of the transfer syntax keeps: private elements may lose their VR."""
    dataset.remove_private_tags()
    return dataset


def test_what_was_stored_is_what_was_sent(archive: Peer, site: Site, samples: Samples) -> None:
    report = site.reports[archive.name.lower()]
    assert report.ok, [str(item) for item in report.items]
    assert [item.status for item in report.items] == [0] * len(samples.all)
    assert report.bytes == sum(len(one.body) for one in samples.all)
    assert report.skipped == []
    check_bodies(archive, archive.stored_files(), list(samples.all), sent=False)


async def test_echo_and_what_the_connection_is(archive: Peer) -> None:
    async with connect(archive) as pacs:
        assert (await pacs.echo()) == 0
        info = pacs.info
    assert info.implementation_class_uid
    assert info.peer_maximum_length > 0
    assert info.tls is None
    assert list(info.deviations) == []
    accepted = {context.abstract_syntax for context in info.contexts}
    assert len(accepted) == 7, "verification, and find, get and move of both roots"


@ROOT_AND_LEVEL
async def test_find(archive: Peer, samples: Samples, root: str, level: str) -> None:
    first = samples.all[0]
    match = above(first, root, level)
    returned = {"PATIENT": ["PatientName", "PatientSex"], "STUDY": ["StudyDate", "AccessionNumber"]}
    keys = returned.get(level, ["Modality"] if level == "SERIES" else ["InstanceNumber"])
    asked = keys if level != "IMAGE" else [*keys, "SOPClassUID"]  # optional, and dcmqrscp leaves it out
    async with connect(archive) as pacs:
        found = [one async for one in pacs.find(level, match, asked, root=root)]
    key = LEVEL_KEYS[level]
    assert sorted(str(one[key].value) for one in found) == sorted(samples.keys(level, match))
    for one in found:
        header = samples.below(level, str(one[key].value))[0].header
        assert {name: str(one[name].value) for name in keys} == {
            name: str(header[name].value) for name in keys
        }
        assert one.QueryRetrieveLevel.strip() == level


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ({"PatientID": "P2"}, {"A3"}),
        ({"PatientName": "Doe*"}, {"A3"}),
        ({"PatientID": "P?"}, {"A1", "A2", "A3"}),
        ({"StudyDate": "20210101-"}, {"A2", "A3"}),
        ({"StudyDate": (datetime.date(2020, 1, 1), datetime.date(2021, 12, 31))}, {"A1", "A2"}),
        ({"AccessionNumber": "A2"}, {"A2"}),
        ({"PatientID": "NOBODY"}, set()),
    ],
    ids=["single", "wildcard", "question-mark", "open-range", "range", "number", "none"],
)
async def test_matching(archive: Peer, match: dict[str, object], wanted: set[str]) -> None:
    async with connect(archive) as pacs:
        found = [
            one async for one in pacs.find("STUDY", match, ["AccessionNumber", "PatientID"], root="STUDY")
        ]
    assert {one.AccessionNumber for one in found} == wanted


async def test_matching_a_list_of_uids(archive: Peer, samples: Samples) -> None:
    studies = sorted(samples.keys("STUDY"))[:2]
    async with connect(archive) as pacs:
        found = [one async for one in pacs.find("STUDY", {"StudyInstanceUID": studies}, root="STUDY")]
    assert sorted(one.StudyInstanceUID for one in found) == studies


async def test_a_name_that_is_not_ascii(archive: Peer) -> None:
    async with connect(archive) as pacs:
        found = [one async for one in pacs.find("PATIENT", {"PatientName": "Müller*"}, ["PatientID"])]
    assert [(str(one.PatientName), one.PatientID) for one in found] == [("Müller^Jürgen", "P1")]


async def test_leaving_a_query_early_keeps_the_association(archive: Peer, samples: Samples) -> None:
    async with connect(archive) as pacs:
        match = {"PatientID": "P1", "StudyInstanceUID": samples.all[0].key("STUDY")}
        found = [one async for one in pacs.find("STUDY", {}, root="STUDY", limit=1)]
        assert len(found) == 1
        async for _ in pacs.find("SERIES", match):
            break
        assert (await pacs.echo()) == 0


@ROOT_AND_LEVEL
async def test_get(archive: Peer, samples: Samples, root: str, level: str, tmp_path: Path) -> None:
    key = samples.all[0].key(level)
    wanted = samples.below(level, key)
    async with connect(archive) as pacs:
        result = await pacs.get(level, key, directory=tmp_path, root=root)
    assert result.ok, (result, archive.log[-3000:])
    assert (result.completed, result.failed or 0, result.warning or 0) == (len(wanted), 0, 0)
    assert sorted(result.expected or []) == sorted(one.uid for one in wanted)
    assert result.bytes == sum(len(one) for one in bodies(result.files).values())
    check_bodies(archive, result.files, wanted)
    assert sorted(result.files) == dicom_files(tmp_path)


async def test_get_of_several_and_of_everything(archive: Peer, samples: Samples, tmp_path: Path) -> None:
    series = sorted(samples.keys("SERIES"))
    async with connect(archive) as pacs:
        result = await pacs.get("SERIES", series, directory=tmp_path, root="STUDY")
    assert result.ok, result
    check_bodies(archive, result.files, list(samples.all))


async def test_get_as_data_sets(archive: Peer, samples: Samples) -> None:
    study = samples.all[0].key("STUDY")
    async with connect(archive) as pacs:
        found = {str(one.SOPInstanceUID): one async for one in pacs.get("STUDY", study, root="STUDY")}
    wanted = {one.uid: dcmread(one.path) for one in samples.below("STUDY", study)}
    assert found == wanted


async def test_leaving_a_get_early_is_a_cancel(archive: Peer, samples: Samples) -> None:
    """Its association is released then: dcmqrscp 3.6.7 keeps its database locked on it after the C-CANCEL,
    and answers nothing on any other until it ends."""
    async with connect(archive) as pacs:
        async for _ in pacs.get("PATIENT", "P1"):
            break
        assert (await pacs.echo()) == 0


async def test_get_of_what_is_not_there(archive: Peer, tmp_path: Path) -> None:
    async with connect(archive) as pacs:
        result = await pacs.get("STUDY", "1.2.3.4.5", directory=tmp_path, root="STUDY")
        assert (await pacs.echo()) == 0
    assert result.files == []
    if archive.name == "Orthanc":
        assert result.status == 0xC000  # PS3.4 C.4.3.3.1: success would do; it calls nothing a failure
    else:
        assert (result.status, result.completed or 0) == (0, 0)


@ROOT_AND_LEVEL
async def test_move_to_a_third_party(
    archive: Peer, site: Site, samples: Samples, root: str, level: str
) -> None:
    destination = site.storescp()
    key = samples.all[0].key(level)
    wanted = samples.below(level, key)
    async with connect(archive) as pacs:
        result = await pacs.move(level, key, destination="STORESCP", root=root)
    assert result.ok, (result, archive.log[-3000:])
    assert result.completed == len(wanted)
    check_bodies(archive, destination.stored_files(), wanted)


async def test_move_to_our_own_archive(archive: Peer, site: Site, samples: Samples, tmp_path: Path) -> None:
    ours = aiodicom.serve_archive(
        tmp_path, host=HOST, port=site.ports["OURS"], ae_title="OURS", durability="rename"
    )
    async with ours, connect(archive) as pacs:
        result = await pacs.move("PATIENT", ["P1", "P2"], destination="OURS")
        assert result.ok, (result, archive.log[-3000:])
        assert result.completed == len(samples.all)
    check_bodies(archive, dicom_files(tmp_path), list(samples.all))


@ROOT_AND_LEVEL
async def test_move_to_ourselves(
    archive: Peer, site: Site, samples: Samples, root: str, level: str, tmp_path: Path
) -> None:
    key = samples.all[0].key(level)
    wanted = samples.below(level, key)
    async with connect(archive) as pacs:
        result = await pacs.move(
            level, key, directory=tmp_path, root=root, listen_host=HOST, listen_port=site.ports["AIODICOM"]
        )
    assert result.ok, (result, archive.log[-3000:])
    assert result.completed == len(wanted)
    check_bodies(archive, result.files, wanted)


async def test_a_move_to_a_stranger(archive: Peer, samples: Samples) -> None:
    async with connect(archive) as pacs:
        result = await pacs.move("STUDY", samples.all[0].key("STUDY"), destination="STRANGER", root="STUDY")
        assert not result.ok
        assert not result.completed
        assert (await pacs.echo()) == 0
    # PS3.4 Table C.4-2: an unknown destination is A801H
    assert f"{result.status:04X}" == {"Orthanc": "C000"}.get(archive.name, "A801")


async def test_a_store_while_a_get_runs_and_after_it(archive: Peer, samples: Samples) -> None:
    """The get's association is its own, though the contexts for the store were proposed on it too."""
    sample = samples.all[0]
    async with connect(archive) as pacs:
        count = 0
        async for _ in pacs.get("SERIES", sample.key("SERIES"), root="STUDY"):
            count += 1
            if count == 1 and archive.name != "dcmqrscp":  # which locks its database for the whole get
                assert (await pacs.store(sample.path)).ok
        assert count == 3
        assert (await pacs.store([sample.path, samples.all[3].path])).ok


async def test_several_operations_at_once(archive: Peer, samples: Samples, tmp_path: Path) -> None:
    """One association carries one at a time: the others wait, and a get has its own."""
    async with connect(archive) as pacs:

        async def find() -> int:
            return len([one async for one in pacs.find("STUDY", {}, root="STUDY")])

        *counts, echo = await asyncio.gather(find(), find(), find(), pacs.echo())
    assert counts == [3, 3, 3]
    assert echo == 0
