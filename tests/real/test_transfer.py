"""Real files through store, query and retrieve, with our archive and with Orthanc, and to volumes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodicom
import numpy as np
import pytest
from interop.peers import HOST, Peer
from interop.samples import bodies, body
from interop.site import TIMEOUTS, connect
from pair import even
from pydicom import dcmread
from pydicom.dataset import Dataset

pytestmark = pytest.mark.timeout(60)

VOLUMES = [
    "ct_axial_head",
    "ct_axial_rescale",
    "ct_gantry_tilt",
    "ct_gantry_tilt_small",
    "mr_oblique_3d",
    "mr_sagittal",
    "mr_sagittal_small",
    "mr_coronal",
    "mr_oblique_double",
    "mr_float_rescale_per_slice",
    "mr_compressed_rle",
    "mr_uncompressed_same",
    "mr_enhanced_siemens",
    "mr_enhanced_xa30",
    "ct_legacy_multiframe",
]
OTHER_SERIES = [
    "ct_gap",
    "ct_same_position",
    "ct_duplicate_positions",
    "mr_4d_fmri_ge",
    "mr_4d_dti_philips",
    "mr_compressed",
    "mr_compressed_j2k",
    "mr_compressed_jpeg",
    "mr_compressed_jpegls",
    "mr_enhanced_4d_philips",
    "mr_mosaic_siemens",
    "mr_multi_echo",
    "mr_survey_three_planes",
    "rtdose_multiframe",
    "charsets",
]


@asynccontextmanager
async def our_archive(folder: Path) -> AsyncIterator[aiodicom.Pacs]:
    """Our client connected to an empty archive of ours."""
    async with (
        aiodicom.serve_archive(folder, host=HOST, port=0, durability="rename") as server,
        aiodicom.connect(HOST, server.port, timeouts=TIMEOUTS) as pacs,
    ):
        yield pacs


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def check_volume(volume: aiodicom.Volume, wanted: dict[str, Any]) -> None:
    """Shape, affine, values and windows agree with what independent tools found."""
    voxels = volume.voxels.transpose(1, 2, 0)
    assert list(voxels.shape) == wanted["voxels"]["shape"]
    assert np.abs(volume.geometry.affine_rcs - wanted["affine_lps_rcs"]).max() < 1e-4
    assert volume.modality == wanted["modality"]
    assert volume.orientation == wanted["orientation"]
    if "sha256_int32" in wanted["voxels"]:
        digest = hashlib.sha256(voxels.astype("<i4").tobytes()).hexdigest()
        assert digest == wanted["voxels"]["sha256_int32"]
    else:
        assert volume.voxels.astype(np.float64).mean() == pytest.approx(wanted["voxels"]["mean"], rel=1e-6)
    centers = [center for center in wanted["window_centers"] if center is not None]
    assert list(volume.window_centers) == centers


async def series_of(pacs: aiodicom.Pacs, patient: str, study: str) -> list[Dataset]:
    """The series of a study, asked the way every archive understands."""
    match = {"PatientID": patient, "StudyInstanceUID": study}
    return [one async for one in pacs.find("SERIES", match, ["Modality", "NumberOfSeriesRelatedInstances"])]


@pytest.mark.parametrize("case", VOLUMES)
async def test_volumes_through_our_archive(
    case: str, data: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    sent = files(data / case)
    first = dcmread(sent[0], stop_before_pixels=True)
    async with our_archive(tmp_path / "archive") as pacs:
        report = await pacs.store(data / case)
        assert report.ok, [str(item) for item in report.failed]
        assert len(report.items) == len(sent)
        (series,) = await series_of(pacs, first.PatientID, first.StudyInstanceUID)
        assert series.SeriesInstanceUID == first.SeriesInstanceUID
        assert series.Modality == first.Modality
        assert int(series.NumberOfSeriesRelatedInstances) == len(sent)
        result = await pacs.get("SERIES", series.SeriesInstanceUID, directory=tmp_path / "got", root="STUDY")
        assert result.ok, result
    assert bodies(result.files) == bodies(sent)
    check_volume(aiodicom.Volume.from_files(result.files), expected[case])
    check_volume(aiodicom.Volume.from_files(tmp_path / "got"), expected[case])


@pytest.mark.peers
@pytest.mark.parametrize("case", VOLUMES)
async def test_volumes_through_orthanc(
    case: str, data: Path, expected: dict[str, Any], orthanc_archive: Peer, tmp_path: Path
) -> None:
    sent = files(data / case)
    first = dcmread(sent[0], stop_before_pixels=True)
    async with connect(orthanc_archive) as pacs:
        report = await pacs.store(data / case)
        assert report.ok, [str(item) for item in report.failed]
        uids = [
            one.SeriesInstanceUID for one in await series_of(pacs, first.PatientID, first.StudyInstanceUID)
        ]
        assert first.SeriesInstanceUID in uids
        result = await pacs.get("SERIES", first.SeriesInstanceUID, directory=tmp_path, root="STUDY")
        assert result.ok, (result, orthanc_archive.log[-3000:])
    assert len(result.files) == len(sent)
    by_uid = {str(one.SOPInstanceUID): one for one in map(dcmread, result.files)}
    for path in sent:
        check_kept(dcmread(path), by_uid[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)])
    check_volume(aiodicom.Volume.from_files(result.files), expected[case])


def check_kept(sent: Dataset, got: Dataset) -> None:
    """Orthanc writes what it parsed: the encoding of sequences may change, pixels and syntax may not."""
    assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert got.get("PixelData") == sent.get("PixelData")
    for keyword in (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "PatientID",
        "Rows",
        "Columns",
    ):
        assert got[keyword].value == sent[keyword].value


@pytest.mark.parametrize("case", OTHER_SERIES)
async def test_other_series_through_our_archive(case: str, data: Path, tmp_path: Path) -> None:
    """Whatever they are as volumes, they are stored, found and fetched whole, by patient."""
    sent = files(data / case)
    async with our_archive(tmp_path / "archive") as pacs:
        report = await pacs.store(data / case)
        assert report.ok, [str(item) for item in report.failed]
        studies = sorted({str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in sent})
        found = [one.StudyInstanceUID async for one in pacs.find("STUDY", {}, root="STUDY")]
        assert sorted(found) == studies
        result = await pacs.get("STUDY", studies, directory=tmp_path / "got", root="STUDY")
        assert result.ok, result
    assert bodies(result.files) == bodies(sent)


@pytest.mark.peers
@pytest.mark.parametrize("case", OTHER_SERIES)
async def test_other_series_through_orthanc(
    case: str, data: Path, orthanc_archive: Peer, tmp_path: Path
) -> None:
    sent = {str(one.SOPInstanceUID): one for one in map(dcmread, files(data / case))}
    async with connect(orthanc_archive) as pacs:
        report = await pacs.store(data / case)
        assert report.ok, [str(item) for item in report.failed]
        result = await pacs.get("IMAGE", sorted(sent), directory=tmp_path, root="STUDY")
    assert result.ok, (result, orthanc_archive.log[-3000:])
    got = {str(one.SOPInstanceUID): one for one in map(dcmread, result.files)}
    assert set(got) == set(sent)
    for uid, one in got.items():
        check_kept(sent[uid], one)


def reason_not_stored(path: Path) -> str | None:
    """Why a file cannot be in our archive, in the words our report has; None when it must be."""
    dataset = dcmread(path, stop_before_pixels=True, force=True)
    if not dataset.file_meta.get("MediaStorageSOPInstanceUID"):
        return "no SOP Class UID or SOP Instance UID"
    if not dataset.get("StudyInstanceUID") or not dataset.get("SeriesInstanceUID"):
        return "A900H"  # it could not be found again
    return None


async def test_every_image_and_syntax_through_our_archive(
    image_file: str, data: Path, tmp_path: Path
) -> None:
    path = data / image_file
    reason = reason_not_stored(path)
    async with our_archive(tmp_path / "archive") as pacs:
        report = await pacs.store(path)
        (item,) = report.items
        if reason is not None:
            assert not report.ok
            assert reason in str(item)
            return
        assert report.ok, str(item)
        result = await pacs.get("IMAGE", item.sop_instance_uid, directory=tmp_path / "got", root="STUDY")
        assert result.ok, result
    (got,) = result.files
    assert body(got) == even(body(path))
    sent_meta = dcmread(path, stop_before_pixels=True).file_meta
    got_meta = dcmread(got, stop_before_pixels=True).file_meta
    for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"):
        assert got_meta[keyword].value == sent_meta[keyword].value


async def test_a_whole_folder_tree_and_what_is_broken_in_it(data: Path, tmp_path: Path) -> None:
    """Truncated and foreign files are reported, each with its reason, and the rest goes on."""
    async with our_archive(tmp_path / "archive") as pacs:
        report = await pacs.store([data / "broken_inputs", data / "licences", data / "mr_sagittal_small"])
        outcomes = {item.path.name: item for item in report.items if item.path is not None}
        whole = [item for item in report.items if item.path and item.path.parent.name == "mr_sagittal_small"]
        assert len(whole) == 4
        assert all(item.ok for item in whole)
        assert not report.ok
        (broken,) = report.failed
        assert broken.path is not None
        assert broken.path.name == "MR_truncated.dcm"
        assert broken.status is None
        assert "truncated" in str(broken.error)
        assert {path.name for path, _ in report.skipped} == {
            path.name for path in (data / "licences").iterdir()
        }
        assert {reason for _, reason in report.skipped} == {"not DICOM"}
        kept = [item.path for item in report.stored if item.path is not None]
        result = await pacs.get(
            "IMAGE",
            [item.sop_instance_uid for item in report.stored],
            directory=tmp_path / "got",
            root="STUDY",
        )
    assert result.ok, result
    assert set(outcomes) >= {"MR_small_padded.dcm", "badVR.dcm", "no_meta.dcm", "J2K_pixelrep_mismatch.dcm"}
    sent = {item.sop_instance_uid: item.path for item in report.stored if item.path is not None}
    assert len(sent) == len(kept) == len(result.files)
    for item in result.items:
        assert item.path is not None
        path = sent[item.sop_instance_uid]
        # a bare data set behind one stray byte
        wanted = path.read_bytes()[1:] if path.name == "no_meta.dcm" else body(path)
        assert body(item.path) == wanted, path.name


async def test_names_in_every_character_set_are_found(data: Path, tmp_path: Path) -> None:
    async with our_archive(tmp_path) as pacs:
        assert (await pacs.store(data / "charsets")).ok
        for path in files(data / "charsets"):
            sent = dcmread(path, stop_before_pixels=True)
            name = str(sent.PatientName)
            match = {"PatientName": name, "StudyInstanceUID": sent.StudyInstanceUID}
            found = [one async for one in pacs.find("STUDY", match, root="STUDY")]
            assert [str(one.PatientName) for one in found] == [name], path.name
