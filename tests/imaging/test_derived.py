"""Overlays and real world values beside the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging.image import Image
from imaging_series import image
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag


def test_real_overlays_are_what_pydicom_makes_of_them(data: Path) -> None:
    path = next((data / "img_overlay").glob("*.dcm"))
    found = Image.from_file(path).overlays
    dataset = dcmread(path)
    assert found
    for overlay in found:
        wanted = dataset.overlay_array(overlay.group)
        assert np.array_equal(overlay.pixels.reshape(wanted.shape), wanted)
        assert overlay.pixels.any()


def overlaid(**changes: Any) -> Dataset:
    dataset = image(1)
    for tag, vr, value in ((0x10, "US", 3), (0x11, "US", 3), (0x15, "IS", 2), (0x50, "SS", [2, -1])):
        dataset.add_new(0x60020000 | tag, vr, changes.get(vr, value))
    dataset.add_new(0x60023000, "OW", changes.get("data", b"\x55\xaa\x01\x00"))
    return dataset


def test_frames_of_an_overlay_run_on_bit_by_bit() -> None:
    (overlay,) = Image.from_dataset(overlaid()).overlays
    bits = np.unpackbits(np.frombuffer(b"\x55\xaa\x01", np.uint8), bitorder="little")[:18]
    assert np.array_equal(overlay.pixels, bits.reshape(2, 3, 3))
    assert (overlay.group, overlay.origin) == (0x6002, (2, -1))


@pytest.mark.parametrize("changes", [{"data": b"\1\0"}, {"US": 0}, {"US": 65535}, {"IS": 99999999}])
def test_an_overlay_that_claims_more_than_there_is_is_left_out_and_told(changes: Any) -> None:
    dataset = overlaid(**changes)
    for tag, vr, value in ((0x10, "US", 1), (0x11, "US", 2), (0x3000, "OW", b"\3\0")):
        dataset.add_new(0x60040000 | tag, vr, value)
    made = Image.from_dataset(dataset)
    assert made.pixels.ravel().tolist() == list(range(100, 112))
    assert [one.group for one in made.overlays] == [0x6004]
    (note,) = made.assumptions
    assert "its overlay 6002 has" in note
    assert note.endswith("left out")


def test_an_overlay_whose_elements_cannot_be_read_is_left_out_and_told() -> None:
    dataset = overlaid()
    tag = Tag(0x60020010)
    dataset[tag] = RawDataElement(tag, "US", 3, b"abc", 0, False, True)
    made = Image.from_dataset(dataset)
    assert made.overlays == ()
    assert "(6002,0010)" in "".join(made.assumptions)


def mapping(**changes: Any) -> Dataset:
    item, units = Dataset(), Dataset()
    units.CodeValue = "Bq/ml"
    item.MeasurementUnitsCodeSequence = Sequence([units])
    item.LUTLabel = "activity"
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 101, 105
    item["RealWorldValueFirstValueMapped"].VR = item["RealWorldValueLastValueMapped"].VR = "US"
    for name, value in changes.items():
        setattr(item, name, value)
    return item


def test_a_line_maps_stored_values_and_nothing_outside_it() -> None:
    line = mapping(RealWorldValueSlope=0.5, RealWorldValueIntercept=-1.0)
    made = Image.from_dataset(
        image(1, RescaleSlope=3, RescaleIntercept=7, RealWorldValueMappingSequence=Sequence([line])),
        keep_stored=True,
    )
    (found,) = made.real_world
    assert (found.label, found.unit, found.first, found.last) == ("activity", "Bq/ml", 101, 105)
    assert made.stored is not None
    assert made.stored[0, :, 0, 0].tolist() == [100, 101, 102, 103]
    assert made.pixels[0, :, 0, 0].tolist() == [307, 310, 313, 316]
    quantities = found.apply(made.stored)[0, :, 0, 0]
    assert np.isnan(quantities[0])
    assert quantities[1:].tolist() == [49.5, 50, 50.5]


def test_a_table_maps_each_value() -> None:
    item = mapping(RealWorldValueLUTData=[9.0, 8.0, 7.0, 6.0, 5.0])
    (found,) = Image.from_dataset(image(1, RealWorldValueMappingSequence=Sequence([item]))).real_world
    assert found.apply(np.array([101, 105, 106]))[:2].tolist() == [9, 5]


@pytest.mark.parametrize(
    "item",
    [
        mapping(),
        mapping(RealWorldValueSlope=1.0),
        mapping(RealWorldValueLUTData=[1.0, 2.0]),
        mapping(RealWorldValueSlope=1.0, RealWorldValueIntercept=0.0, RealWorldValueLUTData=[1.0] * 5),
    ],
)
def test_a_mapping_that_is_none_is_left_out_and_told(item: Dataset) -> None:
    line = mapping(RealWorldValueSlope=0.5, RealWorldValueIntercept=-1.0)
    made = Image.from_dataset(image(1, RealWorldValueMappingSequence=Sequence([item, line])))
    assert [one.slope for one in made.real_world] == [0.5]
    (note,) = made.assumptions
    assert "a real world value mapping" in note
    assert note.endswith("left out")


def test_mappings_in_no_sequence_are_left_out_and_told() -> None:
    made = image(1)
    made.add_new(0x00409096, "LO", "none")
    found = Image.from_dataset(made)
    assert found.real_world == ()
    assert "is no sequence: left out" in "".join(found.assumptions)


def test_an_image_without_them_has_none() -> None:
    made = Image.from_dataset(image(1))
    assert (made.overlays, made.real_world, made.stored) == ((), (), None)
