"""What volumes are told with: where slices came from, what was done, views and slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .piles import LeftOut
from .space import Floats


class SliceSource(NamedTuple):
    """Where a slice came from: path (or place among the data sets), zero-based frame, SOP Instance UID."""

    name: str
    frame: int
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """What was done to make the volume.

    left_out: files and frames not used. deviation_mm: largest distance of a voxel from the regular grid.
    assumptions: what had to be supposed because no header says it, or says it in no number.
    """

    left_out: tuple[LeftOut, ...]
    deviation_mm: float
    assumptions: tuple[str, ...]


class Axis(NamedTuple):
    """An axis besides the three of space.

    name: "time", "echo time", "b-value", ... unit: of the coordinates, "" for none. values: the coordinate of
    each place along it.
    """

    name: str
    unit: str
    values: tuple[Any, ...]


class VoxelView(NamedTuple):
    """A view of voxels in a stated order of axes, and the (4, 4) affine that maps indices of that order."""

    voxels: NDArray[Any]
    affine: Floats


class PlaneSlice(NamedTuple):
    """One slice of a volume along an anatomical plane.

    pixels: a view, the two remaining axes of (slice, row, column) in this order.
    corners: (4, 3) mm, centres of the corner pixels: (first, first), (first, last), (last, last), (last,
    first). spacing: mm along the two axes of `pixels`.
    """

    pixels: NDArray[Any]
    corners: Floats
    spacing: tuple[float, float]
