"""Palettes: colours for stored indices (PS3.3 C.7.6.3.1.5, C.7.9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from .errors import MixedSeries, UnsupportedPixels
from .frames import Frame
from .pixels import DatasetPixels, SlotPixels


def common_colormap(frames: Sequence[Frame]) -> NDArray[np.float64] | None:
    """The palette of all frames, `None` where they hold none; `MixedSeries` where they differ in it."""
    if frames[0].pixels.format.photometric != "PALETTE COLOR":
        return None
    found: NDArray[np.float64] | None = None
    seen: set[int] = set()
    for frame in frames:
        dataset = frame.pixels.dataset if isinstance(frame.pixels, (DatasetPixels, SlotPixels)) else None
        if dataset is None or id(dataset) in seen:
            continue
        seen.add(id(dataset))
        palette = colormap_of(dataset, frame.source)
        if found is not None and not np.array_equal(found, palette):
            raise MixedSeries(f"{frames[0].source} and {frame.source} have different palettes")
        found = palette
    return found


def colormap_of(dataset: Dataset, name: str) -> NDArray[np.float64]:
    """The palette by index, (entries, 3), 0 to 1 (PS3.3 C.7.6.3.1.5)."""
    try:
        descriptor = dataset.get("RedPaletteColorLookupTableDescriptor")
        entries, lowest = int(descriptor[0]) or 65536, int(descriptor[1])
        indices = np.arange(max(lowest, 0) + entries)
        colours = apply_color_lut(indices.astype(np.uint32), dataset)
    except Exception as error:  # whatever a palette that is none meets
        told = type(error).__name__
        raise UnsupportedPixels(f"{name}: its colour palette cannot be read ({told})") from error
    scaled: NDArray[np.float64] = colours / np.float64(np.iinfo(colours.dtype).max)
    return scaled
