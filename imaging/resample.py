"""Voxels of one grid computed on another; scipy interpolates (`pip install 'aiodicom[resample]'`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..dataset.errors import ImagingError
from .errors import IrregularGeometry
from .geometry import VolumeGeometry
from .space import Floats

Method: TypeAlias = Literal["nearest", "linear", "cubic"]
_Read: TypeAlias = Callable[[Floats], NDArray[Any]]
_ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}

MAX_VOXELS = 1 << 32
"""Of a grid that is asked for by its spacing alone."""


def right_angled(geometry: VolumeGeometry, spacing: Sequence[float] | None = None) -> VolumeGeometry:
    """A regular grid at right angles over all voxel centres of a volume, its first voxel at the lowest end.

    spacing: mm along (column, row, slice); unless given that of the volume, between slices their usual
    distance along the normal. Raises IrregularGeometry for a mixed volume, `ValueError` for a spacing that is
    none or too small.
    """
    if geometry.is_mixed:
        raise IrregularGeometry("the slices are not parallel: no grid is theirs")
    across = geometry.affine[:3, 2] / np.linalg.norm(geometry.affine[:3, 2])
    along = geometry.normal
    if geometry.slice_steps[0] @ along < 0:
        along = -along
    down = geometry.affine[:3, 1] - (geometry.affine[:3, 1] @ across) * across
    axes = np.stack((along, down / np.linalg.norm(down), across))
    depths = geometry.slice_steps @ along
    usual = float(np.sort(depths[:-1])[(len(depths) - 2) // 2]) if len(depths) > 1 else float(depths[0])
    wanted = (usual, *geometry.spacing[1::-1]) if spacing is None else tuple(spacing)[::-1]
    sides = np.array(wanted, np.float64)
    if sides.shape != (3,) or not np.isfinite(sides).all() or (sides <= 0).any():
        raise ValueError(f"{spacing!r} is no spacing: three lengths in mm, all above zero")
    centres = geometry._map_by_slice(geometry._corner_indices()).reshape(-1, 3) @ axes.T
    low, high = centres.min(axis=0), centres.max(axis=0)
    counts = np.ceil((high - low) / sides - 1e-3) + 1  # an end that rounding alone puts behind the last voxel
    if counts.prod() > MAX_VOXELS:
        raise ValueError(f"{spacing!r} mm would make {counts.prod():.3g} voxels: above {MAX_VOXELS}")
    matrix = np.eye(4)
    matrix[:3, :3] = axes.T * sides
    matrix[:3, 3] = low @ axes
    slices, rows, columns = counts.astype(int).tolist()
    return VolumeGeometry.from_affine((slices, rows, columns), matrix)


class Part(NamedTuple):
    """Voxels (slice, row, column) to resample, those of them that are padding, and where the result goes."""

    voxels: NDArray[Any]
    padding: NDArray[np.bool_] | None
    place: NDArray[Any]


def resample_into(
    parts: Sequence[Part], source: VolumeGeometry, target: VolumeGeometry, method: Method, fill: float
) -> None:
    """Voxels of `source` at the voxels of `target`, in the type they have, each part into its place.

    Integers are rounded. Between slices that are far apart it interpolates over the gap. What lies in no
    voxel of `source` becomes `fill`, and so does what is nearest to one of its padding; other voxels take
    nothing from those. Raises ImagingError without scipy, IrregularGeometry for a mixed source.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImagingError("resampling needs scipy: pip install 'aiodicom[resample]'") from error
    if method not in _ORDERS:
        raise ValueError(f"{method!r} is no method: {', '.join(_ORDERS)}")
    order = _ORDERS[method]
    if order < 2 and all(part.padding is None for part in parts):
        _read_parts(parts, [_reader(ndimage, part, order) for part in parts], source, target, fill)
        return
    for part in parts:  # a reader keeps voxels of its own: one at a time, though places are computed again
        _read_parts([part], [_reader(ndimage, part, order)], source, target, fill)


def _read_parts(
    parts: Sequence[Part],
    readers: Sequence[_Read],
    source: VolumeGeometry,
    target: VolumeGeometry,
    fill: float,
) -> None:
    """Where the target's voxels lie in the source is computed once for all parts."""
    for part in parts:
        part.place[...] = _cast(np.array(fill, np.float64), part.voxels.dtype)
    grid = np.stack(np.meshgrid(*map(np.arange, target.shape[1:]), indexing="ij"), axis=-1)
    last = np.array(source.shape) - 1
    for number in range(target.shape[0]):  # slice by slice, for coordinates take more room than voxels
        index = np.concatenate((np.full((*grid.shape[:2], 1), number), grid), axis=-1)
        at = _at(source, target.voxel_to_patient(index))
        within = (at >= -0.5) & (at <= last + 0.5)
        inside = np.asarray(within.all(axis=-1))
        for part, read in zip(parts, readers, strict=True):
            wanted = inside
            if part.padding is not None:
                nearest = np.clip(np.floor(at + 0.5).astype(np.intp), 0, last)
                wanted = inside & ~part.padding[tuple(np.moveaxis(nearest, -1, 0))]
            if wanted.any():
                part.place[number][wanted] = _cast(read(at[wanted].T), part.voxels.dtype)


def _reader(ndimage: Any, part: Part, order: int) -> _Read:
    """What gives the values at indices (3, n); those of padding weigh nothing in what is interpolated."""
    voxels, padding = part.voxels, part.padding
    working = np.float64 if voxels.dtype.itemsize > 2 else np.float32
    mode = "mirror"

    def prepared(values: NDArray[Any]) -> NDArray[Any]:
        if order < 2:
            return values
        coefficients: NDArray[Any] = ndimage.spline_filter(values, order, output=working, mode=mode)
        return coefficients

    def read(values: NDArray[Any], points: Floats, kind: Any) -> NDArray[Any]:
        found: NDArray[Any] = ndimage.map_coordinates(
            values, points, output=kind, order=order, mode=mode, prefilter=False
        )
        return found

    if order == 0:
        return lambda points: read(voxels, points, voxels.dtype)
    if padding is None or not padding.any():
        plain = prepared(voxels)
        return lambda points: read(plain, points, working)
    weight = (~padding).astype(working)
    values, weights = prepared(np.where(padding, 0, voxels).astype(working)), prepared(weight)
    return lambda points: read(values, points, working) / read(weights, points, working)


def _at(source: VolumeGeometry, points: Floats) -> Floats:
    """Indices of points; what rounding alone puts beside a voxel's centre is put there."""
    at = source.patient_to_voxel(points)
    whole = np.rint(at)
    return np.where(np.abs(at - whole) < 1e-6, whole, at)


def _cast(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Values in another type, the nearest it has."""
    if kind.kind not in "iu":
        return values.astype(kind)
    ends = np.iinfo(kind)
    nearest: NDArray[Any] = np.clip(np.rint(values), ends.min, ends.max).astype(kind)
    return nearest
