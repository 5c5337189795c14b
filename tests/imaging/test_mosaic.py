"""Mosaics: tiles become slices, placed by what the private elements say."""

from __future__ import annotations

import gc
import struct
import weakref
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.dataset.errors import ImagingError, MalformedDataSet
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.headers import frames_of_dataset
from aiodicom.imaging.image import Image
from aiodicom.imaging.mosaic import csa_elements
from aiodicom.imaging.pixels import DatasetPixels
from aiodicom.imaging.volume import Volume
from imaging_series import image, save
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence


def csa(elements: dict[str, list[str]], version: int = 2) -> bytes:
    """A CSA header as Siemens writes it."""
    made = (b"SV10\4\3\2\1" if version == 2 else b"") + struct.pack("<II", len(elements), 77)
    base = len(next(iter(elements.values())))
    for name, values in elements.items():
        made += name.encode().ljust(64, b"\0") + struct.pack("<i4siii", 1, b"DS", 0, len(values), 77)
        for value in values:
            text = value.encode() + b"\0"
            sizes = [len(text)] * 4 if version == 2 else [len(text) + base, 0, 0, 0]
            made += struct.pack("<4I", *sizes) + text + bytes(-len(text) % 4)
    return made


HEADER = {"NumberOfImagesInMosaic": ["3"], "SliceNormalVector": ["0.0", "0.0", "-1.0"]}


def mosaic(header: bytes | None = None, count: int | None = None, **changes: Any) -> Dataset:
    """Three tiles of 2 x 3, of 0, 1 and 2, in a mosaic of 2 x 2."""
    dataset = image(
        1, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], SpacingBetweenSlices=4, **changes
    )
    dataset.Rows, dataset.Columns = 4, 6
    dataset.PixelData = (
        np.block([[np.full((2, 3), 0), np.full((2, 3), 1)], [np.full((2, 3), 2), np.full((2, 3), 9)]])
        .astype("<i2")
        .tobytes()
    )
    if header is not None:
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    if count is not None:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    return dataset


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("count", [None, 3])
def test_tiles_become_slices(version: int, count: int | None) -> None:
    volume = Volume.from_datasets([mosaic(csa(HEADER, version), count)])
    assert volume.voxels.shape == (3, 2, 3)
    assert volume.voxels[:, 0, 0].tolist() == [2, 1, 0]  # the normal of the slices runs against theirs
    # The header places a matrix of 4 x 6 around the slice: 2 x 3 in its middle begins 1 row, 1.5 columns in.
    first = np.array([-1 + 1.5 * 0.25, -2 + 1 * 0.5, 2])
    assert np.allclose(volume.geometry.voxel_to_patient((2, 0, 0)), first)
    assert np.allclose(volume.geometry.voxel_to_patient((0, 0, 0)), first - (0, 0, 8))


def test_over_time() -> None:
    made = [mosaic(csa(HEADER), AcquisitionNumber=k, SOPInstanceUID=f"1.2.{k}") for k in (2, 1)]
    made[0].PixelData = bytes(48)
    volume = Volume.from_datasets(made)
    assert volume.voxels.shape == (2, 3, 2, 3)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    made = mosaic(csa(HEADER))
    save(tmp_path, [made])
    assert Volume.from_files(tmp_path).voxels[:, 0, 0].tolist() == [2, 1, 0]
    made.PixelData = bytes(48)
    save(tmp_path, [made])
    assert not Volume.from_files(tmp_path).voxels.any()


@pytest.mark.parametrize(
    "made",
    [
        mosaic(),
        mosaic(csa({"NumberOfImagesInMosaic": ["3"]})),
        mosaic(csa({**HEADER, "NumberOfImagesInMosaic": ["0"]})),
        mosaic(csa({**HEADER, "NumberOfImagesInMosaic": ["99999999"]})),
        mosaic(csa({**HEADER, "NumberOfImagesInMosaic": ["26"]})),
        mosaic(csa({**HEADER, "SliceNormalVector": ["0", "0", "nan"]})),
        mosaic(csa({**HEADER, "SliceNormalVector": ["0", "0", "3"]})),
        mosaic(csa(HEADER), PixelSpacing=None),
    ],
)
def test_what_does_not_say_where_its_tiles_are_is_refused(made: Dataset) -> None:
    with pytest.raises(IrregularGeometry, match="data set 1"):
        Volume.from_datasets([made])


@pytest.mark.parametrize("made", [mosaic(csa(HEADER)), mosaic()])
@pytest.mark.parametrize("groups", [False, True])
def test_an_image_is_the_mosaic_as_it_is_stored(tmp_path: Path, made: Dataset, groups: bool) -> None:
    """Nobody asks an image where its slices lie, and removed private elements cannot tell it."""
    if groups:
        made = deepcopy(made)
        made.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    path = save(tmp_path, [made]) / "z.dcm"
    wanted = pixel_array(made)
    for image_ in (Image.from_dataset(made), Image.from_file(path), Image.from_file(path, frame=0)):
        assert image_.pixels[:, :, 0, 0].tolist() == wanted.tolist()


@pytest.mark.parametrize("version", [1, 2])
def test_a_torn_header_is_our_error_wherever_it_is_cut(version: int) -> None:
    whole = csa(HEADER, version)
    assert dict(csa_elements(whole, "it")) == HEADER
    for end in range(len(whole) - 3):
        with pytest.raises(ImagingError):
            dict(csa_elements(whole[:end], "it"))
    with pytest.raises(MalformedDataSet, match="claims"):
        dict(csa_elements(b"SV10\4\3\2\1" + b"\xff" * 40, "it"))


def test_a_mosaic_that_was_read_is_not_kept() -> None:
    dataset = mosaic(csa(HEADER))
    frames = frames_of_dataset(dataset, "it")
    assert [int(frame.pixels.stored(frame.index)[0, 0]) for frame in frames] == [0, 1, 2]
    gone = weakref.ref(dataset)
    del dataset, frames
    gc.collect()
    assert gone() is None


def test_the_tiles_of_one_mosaic_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    stored = DatasetPixels.stored

    def counted(source: DatasetPixels, index: int) -> Any:
        decoded.append(index)
        return stored(source, index)

    monkeypatch.setattr(DatasetPixels, "stored", counted)
    Volume.from_datasets([mosaic(csa(HEADER))])
    assert decoded == [0]
