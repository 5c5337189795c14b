"""Where the voxels of a volume lie in the patient (PS3.3 C.7.6.2.1.1).

Coordinates are millimetres in DICOM's patient axes: x grows to the left, y to the back, z to the head
("LPS"). Indices are zero-based and in the order (slice, row, column), in which voxels lie in memory; what
carries MATLAB's order (column, row, slice) says so. Slices as they are read ascend along the normal, row
cosines x column cosines; a volume turned by `reorient` or `crop` may run against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import IrregularGeometry
from .space import (
    ALIGNED_DEGREES,
    DEFAULT_TOLERANCE_MM,
    ENDS,
    FACE,
    LAYOUTS,
    PARALLEL_DEGREES,
    PLANES,
    Floats,
    Layout,
    Subscripts,
    System,
    code_axes,
    degrees_between,
    mean_step,
    plane_of,
    rounding_of,
    slice_corners,
    slice_normal,
    system_signs,
    tolerance_of,
)


def _fixed(array: Floats) -> Floats:
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, eq=False)
class VolumeGeometry:
    """Position and step vectors of every slice, in mm, LPS.

    shape: number of (slices, rows, columns).
    positions: (slices, 3), centre of the first voxel of each slice.
    row_steps, column_steps: (slices, 3), from a voxel to the one in the next row, in the next column.
    slice_steps: (slices, 3), to the same voxel of the next slice (the last one repeats its neighbour's).
    tolerance_mm: deviation up to which the volume counts as affine.

    >>> geometry = aiodicom.Volume.from_files(FOLDER).geometry
    >>> middle = geometry.voxel_to_patient([2, 8, 8])
    >>> geometry.patient_to_subscript(middle).indices.tolist()
    [2, 8, 8]
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
        rows, columns = cosines[:, 3:] * spacings[:, :1], cosines[:, :3] * spacings[:, 1:]
        made = cls(shape, _fixed(placed), _fixed(rows), _fixed(columns), _fixed(steps))
        return replace(made, tolerance_mm=tolerance_of(made._side) if tolerance_mm is None else tolerance_mm)

    @classmethod
    def from_affine(
        cls, shape: Sequence[int], affine: ArrayLike, *, layout: Layout = "src", system: System = "LPS"
    ) -> VolumeGeometry:
        """Build it from a (4, 4) matrix that maps zero-based indices in the order of `layout` to mm.

        shape: in the order of `layout` too. Raises IrregularGeometry for a matrix that maps to no volume.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise IrregularGeometry(f"{tuple(shape)} is not the shape of a volume: three sizes above zero")
        given = np.asarray(affine, np.float64)
        if given.shape != (4, 4) or not np.isfinite(given).all() or (given[3] != (0, 0, 0, 1)).any():
            raise IrregularGeometry("an affine is (4, 4) finite numbers, and its last row is 0 0 0 1")
        places = [LAYOUTS[layout].index(axis) for axis in range(3)]
        matrix = given[:3] * system_signs(system)[:, None]
        steps, lengths = matrix[:, places], np.linalg.norm(matrix[:, :3], axis=0)
        if not lengths.all() or abs(np.linalg.det(steps)) < 1e-9 * lengths.prod():
            raise IrregularGeometry("the axes of the affine span no volume")
        count = shape[places[0]]
        positions = matrix[:, 3] + np.arange(count)[:, None] * steps[:, 0]
        down, across, along = (np.tile(steps[:, axis], (count, 1)) for axis in (1, 2, 0))
        sizes = (count, shape[places[1]], shape[places[2]])
        made = cls(sizes, _fixed(positions), _fixed(down), _fixed(across), _fixed(along))
        return replace(made, tolerance_mm=tolerance_of(made._side))

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
        return bool((degrees_between(normals, normals[:1]) > PARALLEL_DEGREES).any())

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
        return bool((degrees_between(axes, nearest) <= ALIGNED_DEGREES).all())

    @property
    def shear_angle(self) -> float:
        """Degrees between the way from slice to slice and the normal: the gantry tilt of a CT."""
        angle = float(degrees_between(self._fit()[1], self.normal))
        return min(angle, 180 - angle)

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

        Exact for an affine volume; for another the nearest one in position, of a mixed one with the first
        slice's axes.
        """
        origin, step = self._fit()
        first = slice(0, 1 if self.is_mixed else None)
        axes = [mean_step(steps[first]) for steps in (self.row_steps, self.column_steps)]
        matrix = np.eye(4)
        matrix[:3] = np.column_stack((step, *axes, origin))
        return matrix

    def affine_in(self, layout: Layout = "src", system: System = "LPS") -> Floats:
        """The same for indices in the order of `layout`, to mm in `system`.

        MATLAB's updatePatientCoordinateSystem; `affine_in("crs", "RAS")` is what NIfTI holds.
        """
        matrix = self.affine[:, [*LAYOUTS[layout], 3]]
        matrix[:3] *= system_signs(system)[:, None]
        return matrix

    @property
    def affine_rcs(self) -> Floats:
        """The same for (row, column, slice, 1)."""
        return self.affine[:, [1, 2, 0, 3]]

    @property
    def affine_crs(self) -> Floats:
        """The same for (column, row, slice, 1): MATLAB's order, still zero-based."""
        return self.affine[:, [2, 1, 0, 3]]

    def voxel_to_patient(self, indices: ArrayLike, system: System = "LPS") -> Floats:
        """Map zero-based (slice, row, column), shape (..., 3), fractions allowed, to mm, shape (..., 3).

        Outside the volume it extrapolates. A non-affine volume is mapped slice by slice.
        MATLAB's intrinsicToWorld takes (column, row, slice) counted from 1 and gives the same numbers.
        """
        index = np.asarray(indices, np.float64)
        if not self.is_affine:
            return self._map_by_slice(index) * system_signs(system)
        matrix = self.affine
        return (index @ matrix[:3, :3].T + matrix[:3, 3]) * system_signs(system)

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

    def patient_to_voxel(self, points: ArrayLike, system: System = "LPS") -> Floats:
        """Map mm, shape (..., 3), to zero-based fractional (slice, row, column), shape (..., 3).

        Raises IrregularGeometry for a volume whose slices are not parallel, where it has no one answer.
        """
        point = np.asarray(points, np.float64) * system_signs(system)
        if self.is_affine:
            matrix = self.affine
            flat = (point - matrix[:3, 3]).reshape(-1, 3).T
            return np.asarray(np.linalg.solve(matrix[:3, :3], flat).T.reshape(point.shape))
        if self.is_mixed:
            raise IrregularGeometry("the slices are not parallel: no index belongs to a point of the patient")
        up = self.normal if self.slice_steps[0] @ self.normal > 0 else -self.normal
        depths = self.positions @ up
        depth = point @ up
        below = np.clip(np.searchsorted(depths, depth, "right") - 1, 0, self.shape[0] - 1)
        steps = self.slice_steps[below]
        over = (depth - depths[below]) / (steps @ up)
        rest = point - self.positions[below] - over[..., None] * steps
        in_plane = np.linalg.pinv(np.stack((self.row_steps, self.column_steps), axis=-1))  # one a slice
        solved = (in_plane[below] @ rest[..., None])[..., 0]
        return np.concatenate(((below + over)[..., None], solved), axis=-1)

    def patient_to_subscript(self, points: ArrayLike, system: System = "LPS") -> Subscripts:
        """The voxels that points, (..., 3) mm, lie in: MATLAB's worldToSubscript, counted from 0."""
        index = np.floor(self.patient_to_voxel(points, system) + 0.5).astype(np.intp)
        inside = (index >= 0) & (index < self.shape)
        return Subscripts(index, np.asarray(inside.all(axis=-1)))

    def contains(self, points: ArrayLike, system: System = "LPS") -> NDArray[np.bool_]:
        """Whether points, (..., 3) mm, lie in a voxel, its faces included; shape (...,)."""
        index = self.patient_to_voxel(points, system)
        inside = (index >= -0.5 - FACE) & (index <= np.array(self.shape) - 0.5 + FACE)
        return np.asarray(inside.all(axis=-1))

    def _corner_indices(self) -> Floats:
        """Zero-based indices of the corners of every slice, (slices, 4, 3)."""
        corners = np.tile(slice_corners(self.shape, 0, 0), (self.shape[0], 1, 1))
        corners[..., 0] = np.arange(self.shape[0])[:, None]
        return corners

    def corners(self, system: System = "LPS") -> Floats:
        """(2, 4, 3) mm: the centres of the first slice's corner voxels, and of the last one's."""
        return self._map_by_slice(self._corner_indices()[[0, -1]]) * system_signs(system)

    def slice_corners(self, index: int, plane: str | None = None) -> Floats:
        """(4, 3) mm: the centres of a slice's corner voxels, (first, first), (first, last) and around.

        plane: as for `axis_of`, without one as acquired. Raises IndexError.
        """
        axis = 0 if plane is None else self.axis_of(plane)
        if not 0 <= index < self.shape[axis]:
            raise IndexError(f"slice {index} of {self.shape[axis]}")
        corners = slice_corners(self.shape, axis, index)
        return self._map_by_slice(corners) if axis == 0 else self.voxel_to_patient(corners)

    def slice_limits(self, index: int, plane: str | None = None) -> Floats:
        """(2, 3) mm: the lowest and the highest x, y, z of a slice's corner voxels, their centres."""
        corners = self.slice_corners(index, plane)
        return np.stack((corners.min(axis=0), corners.max(axis=0)))

    @property
    def limits(self) -> Floats:
        """(2, 3) mm, LPS: the lowest and the highest x, y, z of the volume, outer faces of its voxels."""
        slices, rows, columns = (np.array((-0.5, size - 0.5)) for size in self.shape)
        if not self.is_affine:
            slices = np.array((-0.5, *range(self.shape[0]), self.shape[0] - 0.5))
        faces = np.stack(np.meshgrid(slices, rows, columns, indexing="ij"), axis=-1)
        points = self.voxel_to_patient(faces.reshape(-1, 3))
        return np.stack((points.min(axis=0), points.max(axis=0)))

    # --- other geometries of the same patient -------------------------------------------------------------

    def sliced(self, slices: range, rows: range, columns: range) -> VolumeGeometry:
        """The geometry of the voxels with these indices, none of them out of range; steps may be negative.

        Every voxel keeps its place in the patient.
        """
        for taken, size in zip((slices, rows, columns), self.shape, strict=True):
            if not len(taken) or min(taken) < 0 or max(taken) >= size:
                raise IndexError(f"{taken} of {size}")
        shape, ranges = (len(slices), len(rows), len(columns)), (slices, rows, columns)
        if self.is_affine:
            matrix = self.affine
            matrix[:3, 3] += matrix[:3, :3] @ [taken.start for taken in ranges]
            matrix[:3, :3] *= [taken.step for taken in ranges]
            return replace(self.from_affine(shape, matrix), tolerance_mm=self.tolerance_mm)
        kept = np.array(slices)
        positions = self.positions[kept] + (
            rows.start * self.row_steps[kept] + columns.start * self.column_steps[kept]
        )
        steps = np.diff(positions, axis=0)
        last = steps[-1:] if len(kept) > 1 else slices.step * self.slice_steps[kept]
        return replace(
            self,
            shape=shape,
            positions=positions,
            row_steps=self.row_steps[kept] * rows.step,
            column_steps=self.column_steps[kept] * columns.step,
            slice_steps=np.concatenate((steps, last)),
        )

    def permuted(self, axes: Sequence[int]) -> VolumeGeometry:
        """The geometry of `voxels.transpose(axes)`; axes: of (slice, row, column).

        Raises IrregularGeometry where slices would have to become rows and lie on no grid.
        """
        if tuple(axes) == (0, 1, 2):
            return self
        shape = tuple(self.shape[axis] for axis in axes)
        if self.is_affine:
            made = self.from_affine(shape, self.affine[:, [*axes, 3]])
            return replace(made, tolerance_mm=self.tolerance_mm)
        if axes[0] != 0:
            raise IrregularGeometry("slices that lie on no regular grid cannot become rows: resample first")
        turned = replace(self, shape=(shape[0], shape[1], shape[2]))
        return replace(turned, row_steps=self.column_steps, column_steps=self.row_steps)

    def transformed(self, matrix: ArrayLike, system: System = "LPS") -> VolumeGeometry:
        """The same moved by a (4, 4) matrix from mm to mm, both in `system`: MATLAB's reposition.

        Raises IrregularGeometry for a matrix that maps to no volume.
        """
        given = np.asarray(matrix, np.float64)
        if given.shape != (4, 4) or not np.isfinite(given).all() or (given[3] != (0, 0, 0, 1)).any():
            raise IrregularGeometry("a volume is moved by (4, 4) finite numbers whose last row is 0 0 0 1")
        signs = system_signs(system)
        turn, by = given[:3, :3] * signs * signs[:, None], given[:3, 3] * signs
        if abs(np.linalg.det(turn)) <= 1e-9 * np.linalg.norm(turn, axis=0).prod():
            raise IrregularGeometry("the matrix makes the volume flat")
        return replace(
            self,
            positions=self.positions @ turn.T + by,
            row_steps=self.row_steps @ turn.T,
            column_steps=self.column_steps @ turn.T,
            slice_steps=self.slice_steps @ turn.T,
        )

    @property
    def code(self) -> str:
        """Where (column, row, slice) grow to in the patient, to the nearest axis: "LPS" for most CT.

        L or R is left or right, P or A back or front, S or I head or feet. "unknown" for a mixed volume.
        """
        if self.is_mixed:
            return "unknown"
        letters = [""] * 3
        for place, (axis, sense) in enumerate(self._nearest_axes()):
            letters[place] = ENDS[axis][(sense + 1) // 2]
        return "".join(letters)

    def _nearest_axes(self) -> list[tuple[int, int]]:
        """For (column, row, slice) the patient axis each is nearest to, all different, and its sense."""
        matrix = self.affine_crs[:3, :3]
        directions = matrix / np.linalg.norm(matrix, axis=0)
        orders = permutations(range(3))
        best = max(orders, key=lambda order: sum(abs(directions[axis, at]) for at, axis in enumerate(order)))
        return [(axis, 1 if directions[axis, at] >= 0 else -1) for at, axis in enumerate(best)]

    def reorientation(self, code: str) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """How to get to an orientation code: the axes of (slice, row, column) to transpose by, and the sense
        (1, -1) in which each transposed axis is run through.

        Raises `ValueError` for a code that is none, IrregularGeometry for a mixed volume.
        """
        if self.is_mixed:
            raise IrregularGeometry("the slices are not parallel: the volume has no axes")
        now = self._nearest_axes()
        where = {axis: (2 - place, sense) for place, (axis, sense) in enumerate(now)}
        wanted = [(where[axis][0], where[axis][1] * sense) for axis, sense in code_axes(code)][::-1]
        (first, a), (second, b), (third, c) = wanted
        return (first, second, third), (a, b, c)

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
            abs(float(self._fit()[1] @ self.normal)),
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
