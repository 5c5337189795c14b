"""The modality look-up table: in every form that writers give it, and beyond its ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.errors import DuplicateSlices
from aiodicom.imaging.image import Image
from aiodicom.imaging.modality import ModalityTable, modality_table
from aiodicom.imaging.volume import Volume
from imaging_series import BIG, EXPLICIT, IMPLICIT, image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def tabled(descriptor: Any, data: Any, vr: str = "US", syntax: str = EXPLICIT) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if min(np.atleast_1d(descriptor)) < 0 else "US", descriptor)
    item.add_new(0x00283006, vr, data)
    return image(1, syntax, ModalityLUTSequence=Sequence([item]))


@pytest.mark.parametrize(
    ("descriptor", "signed", "first"),
    [
        ([3, 5, 16], False, 5),
        ([3, 65531, 16], True, -5),
        ([3, -5, 16], True, -5),
        ([3, 65531, 16], False, 65531),
    ],
)
def test_the_first_value_has_the_sign_of_the_pixels(descriptor: list[int], signed: bool, first: int) -> None:
    """PS3.3 C.11.1.1."""
    assert modality_table(tabled(descriptor, [1, 2, 3]), "a", signed=signed).first == first


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_entries_in_each_form(bits: int, syntax: str) -> None:
    wanted = [7, 8, 255]
    order = ">" if syntax == BIG else "<"
    words = np.array(wanted, f"{order}u2").tobytes()
    forms: list[tuple[str, Any]] = [("US", wanted), ("OW", words)]
    if bits == 8:
        packed = np.array([7 | 8 << 8, 255], f"{order}u2")  # two in a word, the first in its low half
        forms += [("US", packed.tolist()), ("OW", packed.tobytes())]
    for vr, data in forms:
        found = modality_table(tabled([3, 0, bits], data, vr, syntax), "a", signed=False)
        assert found.entries.tolist() == wanted
        assert found.entries.dtype == (np.uint8 if bits == 8 else np.uint16)


def test_no_entries_mean_all() -> None:
    words = np.arange(65536, dtype="<u2").tobytes()
    assert len(modality_table(tabled([0, 0, 16], words, "OW"), "a", signed=False).entries) == 65536


def test_values_beyond_the_ends() -> None:
    found = ModalityTable(-1, np.array([5, 6, 7], np.uint8)).apply(
        np.array([-9, -1, 0, 1, 2, 32767], np.int16)
    )
    assert found.tolist() == [5, 5, 6, 7, 7, 7]


@pytest.mark.parametrize(
    ("descriptor", "data", "vr"),
    [
        ([3, 0], [1, 2, 3], "US"),
        ([3, 0, 0], [1, 2, 3], "US"),
        ([3, 0, 32], [1, 2, 3], "US"),
        ([4, 0, 16], [1, 2, 3], "US"),
        ([4, 0, 8], [1], "US"),
        ([4, 0, 16], b"", "OW"),
        ([1, 0, 16], "text", "LO"),
    ],
)
def test_what_is_no_table_is_told(descriptor: list[int], data: Any, vr: str) -> None:
    with pytest.raises(MalformedDataSet, match=r"^a: .*LUT"):
        modality_table(tabled(descriptor, data, vr), "a", signed=False)


def test_it_is_read_from_files_of_implicit_vr(tmp_path: Path) -> None:
    made = tabled([3, 100, 16], [7, 8, 9], syntax=IMPLICIT)
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert Image.from_file(tmp_path / "a.dcm").pixels.ravel().tolist() == [7, 8] + [9] * 10
    assert pydicom.dcmread(tmp_path / "a.dcm").ModalityLUTSequence


def test_slices_share_their_table() -> None:
    one, other = (modality_table(tabled([3, 1, 16], [1, 2, 3]), "a", signed=False) for _ in range(2))
    assert one is other
    apart = [
        modality_table(tabled([3, first, 16], [1, 2, last]), "a", signed=False)
        for first, last in ((2, 3), (1, 4))
    ]
    assert one.same(other)
    assert not any(one.same(two) for two in (*apart, None))


def test_one_instance_with_two_tables_is_two() -> None:
    with pytest.raises(DuplicateSlices, match="differ"):
        Volume.from_datasets([tabled([3, 100, 16], [7, 8, last]) for last in (9, 10)])


def test_pixels_that_are_floats_have_no_table() -> None:
    """PS3.3 C.11.1 is of stored integers: looked up, floats would be cut to such."""
    made = tabled([3, 0, 16], [7, 8, 9])
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    values = np.arange(12, dtype="<f4") + 0.5
    made.BitsAllocated, made.FloatPixelData = 32, values.tobytes()
    found = Image.from_dataset(made)
    assert found.pixels.ravel().tolist() == values.tolist()
    assert "left out beside pixels that are floats" in "".join(found.assumptions)


def test_a_slope_of_zero_is_told() -> None:
    found = Image.from_dataset(image(1, RescaleSlope=0, RescaleIntercept=5))
    assert set(found.pixels.ravel().tolist()) == {5}
    assert "is 0: it makes all values equal" in "".join(found.assumptions)
