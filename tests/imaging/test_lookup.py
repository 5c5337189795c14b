"""Look-up tables as writers lay them out, for modality tables and palettes alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom.pixels
import pytest
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.builder import VolumeBuilder
from aiodicom.imaging.errors import UnsupportedPixels
from aiodicom.imaging.image import Image
from aiodicom.imaging.lookup import expanded, table_of
from aiodicom.imaging.volume import Volume
from imaging_series import BIG, EXPLICIT, image
from pydicom.dataset import Dataset

DESCRIPTOR, DATA = 0x00283002, 0x00283006


def coloured(descriptor: list[int], data: bytes, syntax: str = EXPLICIT, kind: str = "<u2") -> Dataset:
    """A slice of indices 0 to 11 whose red, green and blue are one table."""
    made = image(0, syntax, kind=kind, PhotometricInterpretation="PALETTE COLOR")
    for tag in range(0x00281101, 0x00281104):
        made.add_new(tag, "SS" if min(descriptor) < 0 else "US", descriptor)
        made.add_new(tag + 0x100, "OW", data)
    return made


def reds(dataset: Dataset) -> list[float]:
    colormap = Image.from_dataset(dataset).colormap
    assert colormap is not None
    assert colormap.shape[1] == 3
    assert (colormap[:, 0] == colormap[:, 2]).all()
    found: list[float] = colormap[:, 0].tolist()
    return found


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
@pytest.mark.parametrize(
    ("bits", "entries", "top"),
    [
        (8, [0, 51, 255, 5], 255),
        (16, [0, 256, 65535, 5], 65535),
        (12, [0, 1, 4095, 5], 4095),
        (8, [0, 256, 65535, 5], 65535),
    ],
)
def test_colours_in_words_of_either_order(bits: int, entries: list[int], top: int, syntax: str) -> None:
    """PS3.3 C.7.6.3.1.6: entries of 8 bits may have 16 allocated to them."""
    words = np.array(entries, ">u2" if syntax == BIG else "<u2").tobytes()
    made = coloured([4, 0, bits], words, syntax)
    assert reds(made) == [entry / top for entry in entries]
    builder = VolumeBuilder()
    builder.add(made)
    colormap = builder.volume().colormap
    assert colormap is not None
    assert colormap[:, 1].tolist() == reds(made)


@pytest.mark.parametrize("count", [3, 4, 255, 256, 511, 512, 4096])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours_in_bytes_however_many_there_are(count: int, bits: int) -> None:
    entries = (np.arange(count) % 251).astype(np.uint8)
    data = entries.tobytes() + bytes(count % 2)
    assert reds(coloured([count, 0, bits], data)) == (entries / 255).tolist()


def test_an_alpha_table_makes_no_fourth_colour() -> None:
    made = coloured([4, 0, 8], bytes(4))
    made.AlphaPaletteColorLookupTableDescriptor = [4, 0, 8]
    made.AlphaPaletteColorLookupTableData = bytes(4)
    assert reds(made) == [0.0] * 4
    assert Volume.from_datasets([made]).to_rgb().voxels.shape == (1, 3, 4, 3)


def test_a_palette_that_begins_below_zero_has_no_index_of_its_own() -> None:
    with pytest.raises(UnsupportedPixels, match="begins below 0"):
        Image.from_dataset(coloured([4, -2, 16], bytes(8), kind="<i2"))


def test_colours_of_different_numbers_are_no_palette() -> None:
    made = coloured([4, 0, 8], bytes(4))
    made.add_new(0x00281102, "US", [3, 0, 8])
    with pytest.raises(UnsupportedPixels, match="differs from colour to colour"):
        Image.from_dataset(made)


SEGMENTS = [
    ([0, 3, 1, 2, 4], [1, 2, 4]),
    ([0, 1, 10, 1, 4, 20], [10, 12, 15, 18, 20]),
    ([0, 2, 7, 9, 1, 2, 5, 0, 1, 3], [7, 9, 7, 5, 3]),
    ([0, 1, 9, 1, 3, 0, 0, 1, 200], [9, 6, 3, 0, 200]),
]


@pytest.mark.parametrize(("cells", "wanted"), SEGMENTS)
@pytest.mark.parametrize("bits", [8, 16])
def test_segments_are_what_pydicom_makes_of_them(cells: list[int], wanted: list[int], bits: int) -> None:
    """PS3.3 C.7.9.2."""
    data = np.array(cells, "<u2" if bits == 16 else "u1").tobytes()
    made = coloured([len(wanted), 0, bits], b"")
    for tag in range(0x00281201, 0x00281204):
        del made[tag]
        made.add_new(tag + 0x20, "OW", data + bytes(len(data) % 2))
    assert reds(made) == [one / ((1 << bits) - 1) for one in wanted]
    theirs = pydicom.pixels.apply_color_lut(np.arange(len(wanted)), made)
    assert theirs[:, 0].tolist() == wanted


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("segments", "at", "wanted"), [(2, 0, [5, 5, 7, 9, 5, 5, 7, 9, 8]), (1, 4, [5, 5, 7, 9, 9, 9, 8])]
)
def test_segments_repeat_earlier_ones(segments: int, at: int, wanted: list[int], wide: bool) -> None:
    """PS3.3 C.7.9.2.3: the offset counts bytes; a rise goes on from what was last."""
    offset = [2 * at, 0] if wide else [at, 0, 0, 0]
    cells = np.array([0, 2, 5, 5, 1, 2, 9, 2, segments, *offset, 0, 1, 8])
    assert expanded(cells, len(wanted), wide=wide).tolist() == wanted


@pytest.mark.parametrize(
    "cells", [[], [1, 2, 9], [2, 1, 0, 0], [0, 9, 1, 2], [0, 0, 0, 0], [7, 1, 1], [0, 1, 5, 2, 1, 6, 0]]
)
def test_segments_that_are_none_end_the_table(cells: list[int]) -> None:
    assert len(expanded(np.array(cells, np.int64), 65536, wide=True)) < 2


@pytest.mark.parametrize("value", [None, "text", ["1", "x"], b""])
def test_what_is_no_table_is_told(value: Any) -> None:
    item = Dataset()
    item.add_new(DESCRIPTOR, "US", [3, 0, 16])
    if value is not None:
        item.add_new(DATA, "OW" if isinstance(value, bytes) else "LO", value)
    with pytest.raises(MalformedDataSet, match=r"^a: LUT Data .* holds no table"):
        table_of(item, DESCRIPTOR, DATA, "a", order="<", signed=False)
