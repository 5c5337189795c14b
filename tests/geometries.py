"""Geometries for tests: by hand, and every way slices can be placed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from aiodicom.imaging.geometry import VolumeGeometry
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AXIAL = (1, 0, 0, 0, 1, 0)


def stack(
    count: int = 4,
    orientation: Any = AXIAL,
    spacing: Any = (0.5, 0.25),
    step: Any = (0, 0, 3),
    start: Any = (-10, -20, 5),
    shape: tuple[int, int] = (6, 8),
    **options: Any,
) -> VolumeGeometry:
    positions = np.asarray(start, float) + np.arange(count)[:, None] * np.asarray(step, float)
    return VolumeGeometry.from_slices((count, *shape), positions, orientation, spacing, **options)


def rotation(a: float, b: float, c: float) -> Floats:
    def turn(axis: int, angle: float) -> Floats:
        matrix = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        matrix[i, i] = matrix[j, j] = math.cos(angle)
        matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
        return matrix

    turned: Floats = turn(0, a) @ turn(1, b) @ turn(2, c)
    return turned


@st.composite
def geometries(draw: st.DrawFn) -> VolumeGeometry:
    """Any orientation, spacings of micrometres to decimetres, shear."""
    turn = rotation(*(draw(st.floats(-3, 3)) for _ in range(3)))
    unit = 10.0 ** draw(st.integers(-3, 2))
    sides = [unit * draw(st.floats(0.2, 2)) for _ in range(3)]
    shear = [unit * draw(st.floats(-0.5, 0.5)) for _ in range(2)]
    step = turn @ (*shear, sides[2])
    start = [draw(st.floats(-300, 300)) for _ in range(3)]
    shape = tuple(draw(st.integers(2, 5)) for _ in range(3))
    return stack(shape[0], (*turn[:, 0], *turn[:, 1]), sides[:2], step, start, shape[1:])


def everywhere(geometry: VolumeGeometry) -> Floats:
    """The indices of all voxels, (slices, rows, columns, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).astype(float)


def close(one: Any, other: Any, geometry: VolumeGeometry) -> None:
    """Equal to a millionth of the voxel's side, and what doubles can say at this distance."""
    assert np.abs(np.asarray(one) - other).max() <= 1e-6 * min(geometry.spacing) + 1e-10
