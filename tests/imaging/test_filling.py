"""Frames into one array: stored or rescaled, as floats of either width, the same on one core and on all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aiodicom.imaging import filling
from aiodicom.imaging.errors import UnsupportedPixels, naming
from aiodicom.imaging.volume import Volume
from imaging_series import image, save, series


def test_stored_values_are_left_as_they_are(tmp_path: Path) -> None:
    made = series(RescaleSlope=0.5, RescaleIntercept=-3)
    for volume in (
        Volume.from_datasets(made, values="stored"),
        Volume.from_files(save(tmp_path, made), values="stored"),
    ):
        assert volume.voxels.dtype == np.int16
        assert volume.voxels[1, 0].tolist() == [200, 201, 202, 203]
        assert volume.rescale == ((1, 0),) * 4


def test_floats_of_either_width(tmp_path: Path) -> None:
    made = series(RescaleSlope=0.1, RescaleIntercept=0)
    assert Volume.from_datasets(made).voxels.dtype == np.float32
    wide = Volume.from_datasets(made, double=True)
    assert wide.voxels.dtype == np.float64
    assert wide.voxels[0, 0, 1] == 101 * 0.1


def test_whole_values_stay_integers_even_where_doubles_are_asked_for() -> None:
    assert (
        Volume.from_datasets(series(RescaleSlope=2, RescaleIntercept=1), double=True).voxels.dtype == np.int16
    )


@pytest.mark.parametrize("cores", [1, 4])
def test_the_number_of_cores_changes_nothing(data: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(filling.os, "sched_getaffinity", lambda pid: range(cores))
    volume = Volume.from_files(data / "mr_compressed_jpegls")
    plain = Volume.from_files(data / "mr_compressed_rle")
    assert np.array_equal(volume.voxels, plain.voxels)


def test_a_file_that_became_shorter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, [image(1)])
    read = filling.read_into

    def cut(place: object, frame: object) -> None:
        (tmp_path / "z.dcm").write_bytes((tmp_path / "z.dcm").read_bytes()[:-9])
        read(place, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(filling, "read_into", cut)
    with pytest.raises(Exception, match="shorter"):
        Volume.from_files(tmp_path)


def test_what_cannot_be_read_names_its_own_file_and_no_other() -> None:
    given = [
        image(
            number,
            kind="<u1",
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            PixelData=bytes(36),
        )
        for number in range(1, 11)
    ]
    given[9].BitsAllocated = given[9].BitsStored = 16
    given[9].HighBit, given[9].PixelData = 15, bytes(72)
    with pytest.raises(UnsupportedPixels, match=r"^data set 10: colours of uint16"):
        Volume.from_datasets(given)
    with pytest.raises(UnsupportedPixels, match=r"^data set 2: the rescaled values"):
        Volume.from_datasets([image(1), image(2, RescaleSlope=1 << 60, RescaleIntercept=0)])


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("data set 10 is bad", "data set 1: data set 10 is bad"),
        ("data set 1 is bad", "data set 1 is bad"),
        ("data set 1: bad", "data set 1: bad"),
        ("'data set 1' is empty", "'data set 1' is empty"),
        ("a data set 1, and others", "a data set 1, and others"),
        ("/data set 1 is bad", "data set 1: /data set 1 is bad"),
        ("data set 1.dcm is bad", "data set 1: data set 1.dcm is bad"),
        ("bad data set 1", "bad data set 1"),
        ("bad", "data set 1: bad"),
    ],
)
def test_a_name_counts_whole(told: str, named: str) -> None:
    with pytest.raises(UnsupportedPixels) as caught, naming("data set 1"):
        raise UnsupportedPixels(told)
    assert str(caught.value) == named
