"""Palettes: colours for stored indices (PS3.3 C.7.6.3.1.5, C.7.9)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import MalformedDataSet
from .errors import MixedSeries, UnsupportedPixels
from .frames import Frame
from .lookup import byte_order, table_of

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_DATA = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED = (0x00281221, 0x00281222, 0x00281223)
_REMEMBERED = 8


def common_colormap(frames: Sequence[Frame]) -> NDArray[np.float64] | None:
    """The palette of all frames, `None` where they hold none; `MixedSeries` where they differ in it."""
    found = frames[0].colormap
    for frame in frames:
        other = frame.colormap
        if found is None or other is None or other is found or np.array_equal(found, other):
            continue
        raise MixedSeries(f"{frames[0].source} and {frame.source} have different palettes")
    return found


def colormap_of(dataset: Dataset, name: str, *, signed: bool) -> NDArray[np.float64]:
    """The palette by index, (entries, 3), 0 to 1. signed: the pixels are.

    Each of three tables is as `table_of` reads it, in segments where it is not there otherwise (C.7.9). What
    an Alpha table says is left out. Raises UnsupportedPixels for a palette that is none.
    """
    segmented = _DATA[0] not in dataset and _SEGMENTED[0] in dataset
    order = byte_order(dataset)
    try:
        tables = [
            table_of(dataset, descriptor, data, name, order=order, signed=signed, segmented=segmented)
            for descriptor, data in zip(_DESCRIPTORS, _SEGMENTED if segmented else _DATA, strict=True)
        ]
    except MalformedDataSet as error:
        told = str(error).removeprefix(f"{name}: ")
        raise UnsupportedPixels(f"{name}: its colour palette cannot be read ({told})") from error
    first = tables[0].first
    if first < 0 or any((one.first, len(one.entries)) != (first, len(tables[0].entries)) for one in tables):
        raise UnsupportedPixels(
            f"{name}: its colour palette cannot be read (it begins below 0, or differs from colour to colour)"
        )
    kinds = tuple((one.bits, one.entries.dtype.str, one.entries.tobytes()) for one in tables)
    return _shared(first, kinds)


@lru_cache(_REMEMBERED)
def _shared(first: int, tables: tuple[tuple[int, str, bytes], ...]) -> NDArray[np.float64]:
    """The images of a series mostly have one palette. Indices below the first have the first's colour."""
    columns = [np.frombuffer(entries, kind) / ((1 << bits) - 1) for bits, kind, entries in tables]
    colours = np.stack(columns, axis=-1)
    made: NDArray[np.float64] = np.concatenate((np.repeat(colours[:1], first, axis=0), colours))
    made.flags.writeable = False
    return made
