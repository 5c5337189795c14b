"""Volumes straight from a peer: without files, the same as with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiodicom
import numpy as np
import pytest
from imaging_series import image, series
from pydicom.dataset import Dataset


@asynccontextmanager
async def archive_with(folder: Path, datasets: list[Dataset]) -> AsyncIterator[aiodicom.Pacs]:
    for dataset in datasets:
        dataset.StudyInstanceUID, dataset.PatientID = "1.2", "P"
        dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    async with (
        aiodicom.serve_archive(folder, host="127.0.0.1", port=0, durability="rename") as server,
        aiodicom.connect("127.0.0.1", server.port) as pacs,
    ):
        report = await pacs.store(datasets)
        assert not report.failed
        yield pacs


async def test_a_volume_from_the_network_is_the_one_from_files(tmp_path: Path) -> None:
    given = series(12, RescaleSlope=1, RescaleIntercept=-7)
    async with archive_with(tmp_path / "archive", given) as pacs:
        volume = await pacs.volume("1.2.3")
        result = await pacs.get("SERIES", "1.2.3", directory=tmp_path / "files")
    wanted = aiodicom.Volume.from_files(result.files)
    assert volume.voxels.dtype == wanted.voxels.dtype
    assert np.array_equal(volume.voxels, wanted.voxels)
    assert np.array_equal(volume.geometry.affine, wanted.geometry.affine)
    assert volume.windows == wanted.windows
    assert volume.report.left_out == ()


async def test_options_reach_the_volume(tmp_path: Path) -> None:
    given = [image(number) for number in (1, 2, 5)]
    async with archive_with(tmp_path / "archive", given) as pacs:
        with pytest.raises(aiodicom.SlicesMissing):
            await pacs.volume("1.2.3")
        volume = await pacs.volume("1.2.3", on_gap="keep", memory_map=tmp_path / "voxels")
    assert volume.voxels.shape == (3, 3, 4)
    assert (tmp_path / "voxels").stat().st_size == 3 * 12 * 2


async def test_why_nothing_was_taken_is_told(tmp_path: Path) -> None:
    async with archive_with(tmp_path / "archive", [image(1, BitsAllocated=3)]) as pacs:
        with pytest.raises(aiodicom.VolumeError, match=r"left out: 1\.2\.3\.1 \(3 bits"):
            await pacs.volume("1.2.3", on_broken="leave out")


async def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    given = [image(number) for number in (1, 2, 5)]
    (tmp_path / "maps").mkdir()
    async with archive_with(tmp_path / "archive", given) as pacs:
        with pytest.raises(aiodicom.SlicesMissing):
            await pacs.volume("1.2.3", memory_map=tmp_path / "maps" / "voxels")
    assert not list((tmp_path / "maps").iterdir())


async def test_a_series_that_is_not_there(tmp_path: Path) -> None:
    async with archive_with(tmp_path / "archive", series(2)) as pacs:
        with pytest.raises(aiodicom.AiodicomError):
            await pacs.volume("1.2.99")


async def test_objects_that_were_promised_and_did_not_come(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with archive_with(folder, series(5)) as pacs:
        victim = next(
            path for path in folder.rglob("*") if path.is_file() and b"1.2.3.5\0" in path.read_bytes()[:2000]
        )
        victim.unlink()
        with pytest.raises(aiodicom.AiodicomError):
            await pacs.volume("1.2.3")


def test_connect_keeps_its_parameters() -> None:
    pacs = aiodicom.connect("host", 104, called_ae="THEM", lazy=True)
    assert isinstance(pacs, aiodicom.Pacs)
    assert pacs.peer.called_ae == "THEM"
    assert pacs.lazy
