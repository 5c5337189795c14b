"""Headers that lie end in an error of our own, without room made for what they claim."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiodicom.dataset.errors import ImagingError
from aiodicom.imaging.folder import collection
from aiodicom.imaging.image import Image
from aiodicom.imaging.volume import Volume
from imaging_series import DEFLATED, EXPLICIT, image, save
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

ENCODED = [f"1.2.840.10008.1.2.{last}" for last in ("5", *(f"4.{n}" for n in (50, 51, 57, 70, 80, 90, 201)))]
CLAIMS: list[dict[str, Any]] = [
    {"Rows": 65535, "Columns": 65535},
    {"NumberOfFrames": 2**31 - 1},
    {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 10**9},
    {"NumberOfFrames": -5},
    {"Rows": 0},
    {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63, "Rows": 60000, "Columns": 60000},
    {"SamplesPerPixel": 65535},
    {"BitsStored": 99},
    {"HighBit": 200},
    {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "Rows": 65535, "Columns": 65534},
]


def lying(syntax: str, claim: dict[str, Any]) -> Dataset:
    dataset = image(1, syntax, **claim)
    if syntax in ENCODED:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0\xff\xd9\0"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: "-".join(claim))
@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, *ENCODED])
def test_what_a_header_claims_is_not_allocated(tmp_path: Path, syntax: str, claim: dict[str, Any]) -> None:
    save(tmp_path, [lying(syntax, claim)])
    path = tmp_path / "z.dcm"
    Image.from_dataset(image(1))  # what is loaded when first used does not count
    tracemalloc.start()
    try:
        for read in (lambda: Volume.from_files(path), lambda: Image.from_file(path)):
            with pytest.raises(ImagingError, match=r"z\.dcm"):
                read()
        assert len(collection(path)) <= 1
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()


def test_every_prefix_of_a_file_is_our_error_or_a_volume(tmp_path: Path) -> None:
    save(tmp_path, [image(1, NumberOfFrames=1)])
    whole = (tmp_path / "z.dcm").read_bytes()
    for end in range(0, len(whole), 3):
        (tmp_path / "z.dcm").write_bytes(whole[:end])
        with pytest.raises(ImagingError):
            Volume.from_files(tmp_path)
    (tmp_path / "z.dcm").write_bytes(whole)
    assert Volume.from_files(tmp_path).voxels.shape == (1, 3, 4)


def test_real_broken_files_are_refused_by_name_or_read(data: Path) -> None:
    refused = 0
    for path in (data / "broken_inputs").iterdir():
        for read in (Volume.from_files, Image.from_file):
            try:
                read(path)
            except ImagingError as error:
                refused += path.name in str(error)
                continue
            refused += 1
    assert refused == 2 * len(list((data / "broken_inputs").iterdir()))
