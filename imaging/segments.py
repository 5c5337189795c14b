"""Segmentations: frames that hold nothing of their segment may be absent, and are empty (PS3.3 C.8.20.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import Frame
from .pixel_format import PixelFormat
from .space import Floats, rounding_of, slice_normal

MAX_EMPTY = 65536
"""Frames that are filled in; what needs more is no grid with some of its frames left out."""
_WHOLE = 0.02  # of a step: how far from a whole number of steps a frame may lie


@dataclass(frozen=True, slots=True, eq=False)
class EmptyPixels:
    """Frames without a segment."""

    format: PixelFormat

    def stored(self, index: int) -> NDArray[Any]:
        """Zeros, (rows, columns)."""
        return np.zeros(self.format.matrix, self.format.dtype)


def whole_grid(frames: Sequence[Frame]) -> list[Frame]:
    """Segmentation frames with empty ones for each segment and position where there is none.

    Positions in between are filled in where all others lie a whole number of the smallest step apart. Frames
    that cannot be placed are given back as they are, for others to refuse.
    """
    given = list(frames)
    if any(one.position is None or one.orientation is None or one.spacing is None for one in given):
        return given
    normal = slice_normal(given[0].orientation or ())
    same = rounding_of(min(given[0].spacing or (1.0,)))
    grid = _grid(np.array([one.position for one in given], np.float64), normal, same)
    names = sorted({one.variants.get("segment", "") for one in given})
    if grid is None or len(grid) * len(names) - len(given) > MAX_EMPTY:
        return given
    depths = grid @ normal
    there = {
        (one.variants.get("segment", ""), int(np.abs(depths - np.asarray(one.position) @ normal).argmin()))
        for one in given
    }
    form = replace(given[0].pixels.format, frames=1)
    empty = replace(given[0], source="no frame", index=-1, pixels=EmptyPixels(form), sop_instance_uid="")
    return given + [
        replace(empty, position=tuple(grid[place].tolist()), variants={**empty.variants, "segment": name})
        for name in names
        for place in range(len(grid))
        if (name, place) not in there
    ]


def _grid(positions: Floats, normal: Floats, same: float) -> Floats | None:
    """The positions there are, and those between them that a regular grid has; `None` for no grid."""
    ordered = positions[np.argsort(positions @ normal, kind="stable")]
    depths = ordered @ normal
    kept = ordered[np.concatenate(([True], np.diff(depths) > same))]
    if len(kept) < 3:
        return kept
    steps = np.diff(kept @ normal)
    counts = steps / steps.min()
    if (np.abs(counts - np.rint(counts)) > _WHOLE).any() or np.rint(counts).sum() > MAX_EMPTY:
        return None
    places = np.concatenate(([0.0], np.cumsum(np.rint(counts))))
    every = np.arange(int(places[-1]) + 1)
    return np.stack([np.interp(every, places, kept[:, axis]) for axis in range(3)], axis=-1)
