"""Where the voxels of a volume lie in the patient (PS3.3 C.7.6.2.1.1).

Coordinates are millimetres in DICOM's patient axes: x grows to the left, y to the back, z to the head
("LPS"). Indices are zero-based and in the order (slice, row, column), in which voxels lie in memory; what
carries MATLAB's order (column, row, slice) says so. Slices ascend along the normal, row cosines x column
cosines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import IrregularGeometry

Floats: TypeAlias = NDArray[np.float64]

PLANES = ("sagittal", "coronal", "transverse")
"""The planes whose normals are the patient axes x, y and z."""

DEFAULT_TOLERANCE_MM = 0.1
"""How far a slice may lie from the regular grid: more than headers round, less than tables move by."""
TOLERATED_PART = 0.25
"""The same as a part of the voxel's shortest side, where that is less."""
ROUNDING_MM = 0.005
"""Slices this near to the line through first and last take their step from those two, else from all."""
ROUNDING_PART = 0.02
"""The same as a part of the voxel's shortest side, where that is less."""
PARALLEL_DEGREES = 0.1
"""Slices tilted less against each other count as parallel: the cosines of some headers have 3 decimals."""
ALIGNED_DEGREES = 0.1
"""Axes tilted less against the patient's count as aligned."""
OBLIQUE_DEGREES = 45.0
"""A slice tilted more than this against each of the three planes is called oblique."""
_UNIT_TOLERANCE = 0.02


def slice_normal(orientation: ArrayLike) -> Floats:
    """Return the unit normal of a slice from Image Orientation (Patient), shape (6,).

    Raises IrregularGeometry when the cosines are not two unit vectors at a right angle.
    """
    cosines = np.asarray(orientation, np.float64)
    if cosines.shape != (6,) or not np.isfinite(cosines).all():
        raise IrregularGeometry("Image Orientation (Patient) must be six numbers")
    row, column = cosines[:3], cosines[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))) > _UNIT_TOLERANCE:
        raise IrregularGeometry("Image Orientation (Patient) is not two unit vectors at a right angle")
    normal: Floats = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return normal


def tolerance_of(side: float) -> float:
    """How far in mm a slice may lie from the regular grid; side: the voxel's shortest in mm."""
    return min(DEFAULT_TOLERANCE_MM, TOLERATED_PART * side)


def rounding_of(side: float) -> float:
    """Distance in mm that counts as none; side: the voxel's shortest in mm."""
    return min(ROUNDING_MM, ROUNDING_PART * side)


def slice_order(positions: ArrayLike, normal: ArrayLike) -> NDArray[np.intp]:
    """Return the indices that sort slices along the normal; equal ones keep their order.

    positions: (n, 3) mm. normal: (3,).
    """
    return np.argsort(np.asarray(positions, np.float64) @ np.asarray(normal, np.float64), kind="stable")


def plane_of(normal: ArrayLike, *, oblique_degrees: float = OBLIQUE_DEGREES) -> str:
    """Return "sagittal", "coronal" or "transverse", the plane nearest to a normal, or "oblique"."""
    components = np.abs(np.asarray(normal, np.float64))
    nearest = int(components.argmax())
    tilt = np.degrees(np.arccos(min(components[nearest] / np.linalg.norm(components), 1.0)))
    return PLANES[nearest] if tilt <= oblique_degrees else "oblique"


def _degrees_between(one: Floats, other: Floats) -> Floats:
    """Angles between vectors along the last axis, exact for small ones."""
    cross = np.linalg.norm(np.cross(one, other), axis=-1)
    angles: Floats = np.degrees(np.arctan2(cross, (one * other).sum(axis=-1)))
    return angles


@dataclass(frozen=True, slots=True, eq=False)
class VolumeGeometry:
    """Position and step vectors of every slice, in mm, LPS.

    shape: number of (slices, rows, columns).
    positions: (slices, 3), centre of the first voxel of each slice.
    row_steps, column_steps: (slices, 3), from a voxel to the one in the next row, in the next column.
    slice_steps: (slices, 3), to the same voxel of the next slice (the last one repeats its neighbour's).
    tolerance_mm: deviation up to which the volume counts as affine.
    """

    shape: tuple[int, int, int]
    positions: Floats
    row_steps: Floats
    column_steps: Floats
    slice_steps: Floats
    tolerance_mm: float = DEFAULT_TOLERANCE_MM

    @classmethod
    def from_slices(
        cls,
        shape: tuple[int, int, int],
        positions: ArrayLike,
        orientations: ArrayLike,
        pixel_spacings: ArrayLike,
        *,
        single_slice_step: float = 1.0,
        tolerance_mm: float | None = None,
    ) -> VolumeGeometry:
        """Build it from the headers of the slices, in slice order.

        positions: (n, 3), orientations: (n, 6) or (6,), pixel_spacings: (n, 2) or (2,) as (between rows,
        between columns). single_slice_step: distance in mm assumed behind a volume of one slice.
        tolerance_mm: deviation up to which it counts as affine, 0.1 mm or a quarter of the voxel's shortest
        side unless given. Raises IrregularGeometry for numbers that describe no slice.
        """
        count = shape[0]
        placed = np.array(positions, np.float64).reshape(count, 3)
        cosines = np.broadcast_to(np.asarray(orientations, np.float64), (count, 6))
        spacings = np.broadcast_to(np.asarray(pixel_spacings, np.float64), (count, 2))
        if not (np.isfinite(placed).all() and np.isfinite(spacings).all() and (spacings > 0).all()):
            raise IrregularGeometry(
                "positions and pixel spacings must be finite numbers, spacings above zero"
            )
        normal = slice_normal(cosines[0])
        if count == 1:
            steps = normal[None] * single_slice_step
        else:
            steps = np.diff(placed, axis=0)
            steps = np.concatenate((steps, steps[-1:]))
        arrays = (placed, cosines[:, 3:] * spacings[:, :1], cosines[:, :3] * spacings[:, 1:], steps)
        for array in arrays:
            array.flags.writeable = False
        made = cls(shape, *arrays)
        return replace(made, tolerance_mm=tolerance_of(made._side) if tolerance_mm is None else tolerance_mm)

    # --- the slices ---------------------------------------------------------------------------------------

    @property
    def normals(self) -> Floats:
        """Unit normals, (slices, 3): row cosines x column cosines."""
        crossed: Floats = np.cross(self.column_steps, self.row_steps)
        crossed /= np.linalg.norm(crossed, axis=1, keepdims=True)
        return crossed + 0.0  # no negative zeros

    @property
    def normal(self) -> Floats:
        """Unit normal of the first slice, (3,)."""
        first: Floats = self.normals[0]
        return first

    @property
    def is_mixed(self) -> bool:
        """The slices are not parallel."""
        normals = self.normals
        return bool((_degrees_between(normals, normals[:1]) > PARALLEL_DEGREES).any())

    @property
    def deviation_mm(self) -> float:
        """Largest distance of a slice's corners from where `affine` puts them."""
        corners = self._corner_indices()
        by_slice = self._map_by_slice(corners)
        regular = corners @ self.affine[:3, :3].T + self.affine[:3, 3]
        return float(np.linalg.norm(by_slice - regular, axis=-1).max())

    @property
    def is_affine(self) -> bool:
        """One affine (with shear, if need be) maps all voxels within `tolerance_mm`."""
        return self.deviation_mm <= self.tolerance_mm

    @property
    def is_axes_aligned(self) -> bool:
        """The volume is affine and its axes run along the patient's."""
        if not self.is_affine:
            return False
        axes = np.abs(self.affine[:3, :3].T)
        nearest = np.eye(3)[axes.argmax(axis=1)]
        return bool((_degrees_between(axes, nearest) <= ALIGNED_DEGREES).all())

    @property
    def shear_angle(self) -> float:
        """Degrees between the way from slice to slice and the normal: the gantry tilt of a CT."""
        return float(_degrees_between(self._fit()[1], self.normal))

    @property
    def _side(self) -> float:
        """The shortest side of a voxel in mm; of uneven steps the usual one counts."""
        step = float(np.median(np.linalg.norm(self.slice_steps, axis=1)))
        row, column = np.linalg.norm(self.row_steps[0]), np.linalg.norm(self.column_steps[0])
        return min(step, float(row), float(column))

    def _fit(self) -> tuple[Floats, Floats]:
        """Origin and step of the line through the slices.

        Taken from its ends where that is exact up to rounding, as tools agree on; else by least squares, so
        that rounded headers do not add up over the stack.
        """
        count = self.shape[0]
        if count == 1:
            return self.positions[0], self.slice_steps[0]
        index = np.arange(count)
        step: Floats = (self.positions[-1] - self.positions[0]) / (count - 1)
        line = self.positions[0] + index[:, None] * step
        if np.abs(line - self.positions).max() <= rounding_of(self._side):
            return self.positions[0], step
        centred = index - index.mean()
        step = centred @ self.positions / (centred @ centred)
        return self.positions.mean(axis=0) - step * index.mean(), step

    # --- mappings -----------------------------------------------------------------------------------------

    @property
    def affine(self) -> Floats:
        """(4, 4) matrix that maps zero-based (slice, row, column, 1) to (x, y, z, 1) mm, LPS.

        Exact for an affine volume; for another the nearest one in position, with the first slice's axes.
        """
        origin, step = self._fit()
        matrix = np.eye(4)
        matrix[:3] = np.column_stack((step, self.row_steps[0], self.column_steps[0], origin))
        return matrix

    @property
    def affine_rcs(self) -> Floats:
        """The same for (row, column, slice, 1)."""
        return self.affine[:, [1, 2, 0, 3]]

    @property
    def affine_crs(self) -> Floats:
        """The same for (column, row, slice, 1): MATLAB's order, still zero-based."""
        return self.affine[:, [2, 1, 0, 3]]

    def voxel_to_patient(self, indices: ArrayLike) -> Floats:
        """Map zero-based (slice, row, column), shape (..., 3), fractions allowed, to mm, shape (..., 3).

        Outside the volume it extrapolates. A non-affine volume is mapped slice by slice.
        MATLAB's intrinsicToWorld takes (column, row, slice) counted from 1 and gives the same numbers.
        """
        index = np.asarray(indices, np.float64)
        if self.is_affine:
            return index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return self._map_by_slice(index)

    def _map_by_slice(self, index: Floats) -> Floats:
        below = np.clip(np.floor(index[..., 0]), 0, self.shape[0] - 1).astype(np.intp)
        over = index[..., 0] - below
        mapped: Floats = (
            self.positions[below]
            + over[..., None] * self.slice_steps[below]
            + index[..., 1, None] * self.row_steps[below]
            + index[..., 2, None] * self.column_steps[below]
        )
        return mapped

    def patient_to_voxel(self, points: ArrayLike) -> Floats:
        """Map mm, shape (..., 3), to zero-based fractional (slice, row, column), shape (..., 3).

        Raises IrregularGeometry for a volume whose slices are not parallel, where it has no one answer.
        """
        point = np.asarray(points, np.float64)
        if self.is_affine:
            matrix = self.affine
            flat = (point - matrix[:3, 3]).reshape(-1, 3).T
            return np.asarray(np.linalg.solve(matrix[:3, :3], flat).T.reshape(point.shape))
        if self.is_mixed:
            raise IrregularGeometry("the slices are not parallel: no index belongs to a point of the patient")
        depths = self.positions @ self.normal
        depth = point @ self.normal
        below = np.clip(np.searchsorted(depths, depth, "right") - 1, 0, self.shape[0] - 1)
        steps = self.slice_steps[below]
        over = (depth - depths[below]) / (steps @ self.normal)
        rest = point - self.positions[below] - over[..., None] * steps
        in_plane = np.stack((self.row_steps[below], self.column_steps[below]), axis=-1)
        solved = (np.linalg.pinv(in_plane) @ rest[..., None])[..., 0]
        return np.concatenate(((below + over)[..., None], solved), axis=-1)

    def _corner_indices(self) -> Floats:
        """Zero-based indices of the corners of every slice, (slices, 4, 3)."""
        slices, rows, columns = self.shape
        corners = np.empty((slices, 4, 3))
        corners[:, :, 0] = np.arange(slices)[:, None]
        corners[:, :, 1] = (0, 0, rows - 1, rows - 1)
        corners[:, :, 2] = (0, columns - 1, columns - 1, 0)
        return corners

    def slice_corners(self, index: int) -> Floats:
        """(4, 3) mm: the centres of a slice's corner voxels, (first, first), (first, last) and around."""
        return self._map_by_slice(self._corner_indices()[index])

    # --- MATLAB's words -----------------------------------------------------------------------------------

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances in mm along (column, row, slice), MATLAB's order.

        The last is the distance of neighbouring slices along the normal: less than the step of a sheared
        volume.
        """
        return (
            float(np.linalg.norm(self.column_steps[0])),
            float(np.linalg.norm(self.row_steps[0])),
            float(self._fit()[1] @ self.normal),
        )

    @property
    def orientation(self) -> str:
        """Plane of the slices: "transverse", "coronal", "sagittal", "oblique", or "mixed"."""
        return "mixed" if self.is_mixed else plane_of(self.normal)

    @property
    def plane_mapping(self) -> tuple[str, str, str]:
        """The plane seen when an index of (column, row, slice), so ordered, is held; or three "unknown"."""
        if self.orientation not in PLANES:
            return ("unknown", "unknown", "unknown")
        third = PLANES.index(self.orientation)
        second = int(np.abs(np.delete(self.row_steps[0], third)).argmax())
        others = [axis for axis in range(3) if axis != third]
        second = others[second]
        first = 3 - second - third
        return (PLANES[first], PLANES[second], PLANES[third])

    def axis_of(self, plane: str) -> int:
        """Return the axis of (slice, row, column) whose index counts the slices of a plane.

        Raises IrregularGeometry when the volume is oblique or mixed, `ValueError` for an unknown plane.
        """
        if plane not in PLANES:
            raise ValueError(f"{plane!r} is no plane: {', '.join(PLANES)}")
        mapping = self.plane_mapping
        if plane not in mapping:
            raise IrregularGeometry(f"the volume is {self.orientation}: it has no {plane} slices")
        return 2 - mapping.index(plane)

    def _count(self, plane: str) -> int | None:
        mapping = self.plane_mapping
        return self.shape[2 - mapping.index(plane)] if plane in mapping else None

    @property
    def num_transverse_slices(self) -> int | None:
        """Number of transverse slices; `None` for an oblique or mixed volume."""
        return self._count("transverse")

    @property
    def num_coronal_slices(self) -> int | None:
        """Number of coronal slices; `None` for an oblique or mixed volume."""
        return self._count("coronal")

    @property
    def num_sagittal_slices(self) -> int | None:
        """Number of sagittal slices; `None` for an oblique or mixed volume."""
        return self._count("sagittal")
