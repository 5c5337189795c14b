"""Axes of the patient, planes, orientation codes, and how near is equal (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import IrregularGeometry

Floats: TypeAlias = NDArray[np.float64]
Layout: TypeAlias = Literal["src", "rcs", "crs"]
"""Orders of indices by their initials: (slice, row, column) in memory, (row, column, slice) as a stack of
pictures, (column, row, slice) as MATLAB, SimpleITK and NIfTI have it."""
System: TypeAlias = Literal["LPS", "RAS"]
"""Where x, y, z grow to: left, back, head as in DICOM, or right, front, head as in NIfTI."""

LAYOUTS: dict[str, tuple[int, int, int]] = {"src": (0, 1, 2), "rcs": (1, 2, 0), "crs": (2, 1, 0)}
"""For each layout the place of its axes among (slice, row, column)."""

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
FACE = 1e-9  # of a voxel: a point on a face is inside, however it was computed


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


def plane_of(normal: ArrayLike) -> str:
    """Return "sagittal", "coronal" or "transverse", the plane nearest to a normal, or "oblique"."""
    components = np.abs(np.asarray(normal, np.float64))
    nearest = int(components.argmax())
    tilt = np.degrees(np.arccos(min(components[nearest] / np.linalg.norm(components), 1.0)))
    return PLANES[nearest] if tilt <= OBLIQUE_DEGREES else "oblique"


def mean_step(steps: Floats) -> Floats:
    """Their mean, of equal ones without rounding."""
    first: Floats = steps[0]
    return first if (steps == first).all() else steps.mean(axis=0)


def slice_corners(shape: tuple[int, int, int], axis: int, index: int) -> Floats:
    """(4, 3) indices of the corners of a slice across `axis`: (first, first), (first, last) and around."""
    others = [other for other in range(3) if other != axis]
    corners = np.full((4, 3), float(index))
    corners[:, others[0]] = (0, 0, shape[others[0]] - 1, shape[others[0]] - 1)
    corners[:, others[1]] = (0, shape[others[1]] - 1, shape[others[1]] - 1, 0)
    return corners


def degrees_between(one: Floats, other: Floats) -> Floats:
    """Angles between vectors along the last axis, exact for small ones."""
    cross = np.linalg.norm(np.cross(one, other), axis=-1)
    angles: Floats = np.degrees(np.arctan2(cross, (one * other).sum(axis=-1)))
    return angles


def system_signs(system: str) -> Floats:
    """(3,) factors between LPS and a coordinate system; `ValueError` for an unknown one."""
    if system not in ("LPS", "RAS"):
        raise ValueError(f"{system!r} is no coordinate system: LPS, RAS")
    return np.array((1.0, 1.0, 1.0) if system == "LPS" else (-1.0, -1.0, 1.0))


ENDS = ("RL", "AP", "IS")
"""The letters of orientation codes at the lower and the higher end of x, y, z: S is the head."""


def code_axes(code: str) -> tuple[tuple[int, int], ...]:
    """Patient axis and sense (1, -1) of each letter of an orientation code such as "LPS" or "RAS".

    Raises `ValueError` for one that does not name each axis once.
    """
    found = []
    for letter in code.upper():
        places = [(axis, ends.index(letter) * 2 - 1) for axis, ends in enumerate(ENDS) if letter in ends]
        found += places
    if len(code) != 3 or sorted(axis for axis, _ in found) != [0, 1, 2]:
        raise ValueError(f"{code!r} is no orientation code: three letters, one each of RL, AP and IS")
    return tuple(found)


class Subscripts(NamedTuple):
    """Voxels that points lie in.

    indices: (..., 3) whole zero-based (slice, row, column), beyond the volume too. inside: (...,), whether
    there is such a voxel; -1 would be the last one to numpy.
    """

    indices: NDArray[np.intp]
    inside: NDArray[np.bool_]
