"""Where voxels lie: affine, mappings, planes, for every way slices can be placed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.geometry import VolumeGeometry, plane_of, slice_normal, slice_order
from hypothesis import given
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


def test_the_formula_of_the_standard_by_hand() -> None:
    geometry = stack()
    # Row 2, column 3 of slice 1: 3 columns of 0.25 mm to the left, 2 rows of 0.5 mm to the back, one step up.
    assert geometry.voxel_to_patient((1, 2, 3)).tolist() == [-9.25, -19.0, 8.0]
    assert geometry.affine.tolist() == [[0, 0, 0.25, -10], [0, 0.5, 0, -20], [3, 0, 0, 5], [0, 0, 0, 1]]
    assert (geometry.affine_rcs @ [2, 3, 1, 1]).tolist() == [-9.25, -19.0, 8.0, 1]
    assert (geometry.affine_crs @ [3, 2, 1, 1]).tolist() == [-9.25, -19.0, 8.0, 1]
    assert geometry.spacing == (0.25, 0.5, 3.0)
    assert geometry.is_affine
    assert geometry.is_axes_aligned
    assert not geometry.is_mixed
    assert geometry.shear_angle == 0


def test_matlab_counts_from_one_and_gives_the_same_place() -> None:
    # LungCT01 of its documentation: intrinsicToWorld at 54, 46 gives x = -147.8887.
    geometry = stack(spacing=(0.7285, 0.7285), start=(-186.5, -186.5, 0), shape=(512, 512))
    column, row = 54, 46
    x, y, _ = geometry.voxel_to_patient((0, row - 1, column - 1))
    assert x == pytest.approx(-147.8887, abs=0.002)
    assert y == pytest.approx(-186.5 + 45 * 0.7285)


angles = st.floats(-math.pi, math.pi)
lengths = st.floats(0.05, 20)


@given(
    angles, angles, angles, lengths, lengths, lengths, st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.data()
)
def test_any_placing_and_file_order_gives_the_same_coordinates(
    a: float,
    b: float,
    c: float,
    rows: float,
    columns: float,
    distance: float,
    lean: float,
    slant: float,
    data: Any,
) -> None:
    axes = rotation(a, b, c)
    orientation = np.concatenate((axes[:, 0], axes[:, 1]))
    step = distance * (axes[:, 2] + lean * axes[:, 0] + slant * axes[:, 1])
    start = np.array([12.5, -40.0, 7.0])
    truth = start + np.arange(5)[:, None] * step
    files = data.draw(st.permutations(range(5)))
    order = slice_order(truth[files], slice_normal(orientation))
    geometry = VolumeGeometry.from_slices((5, 7, 9), truth[files][order], orientation, (rows, columns))
    assert geometry.is_affine
    index = np.array([[0, 0, 0], [4, 6, 8], [1.5, 2.25, 3], [-1, 9, 20]])
    wanted = (
        start + index[:, :1] * step + index[:, 1:2] * rows * axes[:, 1] + index[:, 2:] * columns * axes[:, 0]
    )
    assert np.allclose(geometry.voxel_to_patient(index), wanted, atol=1e-6)
    assert np.allclose(geometry.patient_to_voxel(wanted), index, atol=1e-5)
    assert np.allclose(geometry.normal, axes[:, 2], atol=1e-9)
    assert geometry.spacing == pytest.approx((columns, rows, distance))
    assert geometry.shear_angle == pytest.approx(math.degrees(math.atan(math.hypot(lean, slant))), abs=1e-4)


@given(st.integers(3, 40), st.floats(0.3, 8), st.integers(0, 2**32 - 1))
def test_rounded_headers_do_not_add_up(count: int, distance: float, seed: int) -> None:
    exact = np.arange(count) * distance
    rounded = np.column_stack((np.zeros(count), np.zeros(count), np.round(exact + seed % 97 / 13, 1)))
    geometry = VolumeGeometry.from_slices((count, 4, 4), rounded, AXIAL, (1, 1))
    assert geometry.is_affine
    assert geometry.deviation_mm <= 0.1
    assert geometry.spacing[2] == pytest.approx(distance, abs=0.15 / (count - 1))


def test_mappings_keep_the_shape_of_what_they_are_given() -> None:
    geometry = stack()
    index = np.random.default_rng(1).uniform(0, 4, (2, 5, 3))
    assert geometry.voxel_to_patient(index).shape == (2, 5, 3)
    assert np.allclose(geometry.patient_to_voxel(geometry.voxel_to_patient(index)), index)
    assert geometry.patient_to_voxel(geometry.voxel_to_patient((1, 2, 3))).shape == (3,)


def test_uneven_slices_are_mapped_one_by_one() -> None:
    positions = np.array([[0, 0, 0], [0, 0, 5], [0, 0, 15.0]])
    geometry = VolumeGeometry.from_slices((3, 4, 4), positions, AXIAL, (1, 1))
    assert not geometry.is_affine
    assert not geometry.is_axes_aligned
    assert geometry.voxel_to_patient((2, 1, 2)).tolist() == [2, 1, 15]
    assert geometry.voxel_to_patient((1.5, 0, 0)).tolist() == [0, 0, 10]
    index = np.array([[0.5, 1, 2], [1.25, 3, 0], [2, 0, 0], [2.5, 1, 1], [-0.5, 0, 1]])
    assert np.allclose(geometry.patient_to_voxel(geometry.voxel_to_patient(index)), index)


def test_slices_that_are_not_parallel_are_mixed() -> None:
    turned = (1, 0, 0, 0, math.cos(0.1), -math.sin(0.1))
    geometry = VolumeGeometry.from_slices((2, 4, 4), [(0, 0, 0), (0, 0, 3)], [AXIAL, turned], (1, 1))
    assert geometry.is_mixed
    assert geometry.orientation == "mixed"
    assert geometry.plane_mapping == ("unknown",) * 3
    assert geometry.num_transverse_slices is None
    assert geometry.slice_corners(1)[2] == pytest.approx((3, 3 * math.cos(0.1), 3 - 3 * math.sin(0.1)))
    with pytest.raises(IrregularGeometry, match="parallel"):
        geometry.patient_to_voxel((0, 0, 0))
    with pytest.raises(IrregularGeometry, match="mixed"):
        geometry.axis_of("transverse")


@pytest.mark.parametrize(
    ("orientation", "step", "plane", "mapping", "counts"),
    [
        (AXIAL, (0, 0, 3), "transverse", ("sagittal", "coronal", "transverse"), (4, 6, 8)),
        ((1, 0, 0, 0, 0, -1), (0, 3, 0), "coronal", ("sagittal", "transverse", "coronal"), (6, 4, 8)),
        ((0, 1, 0, 0, 0, -1), (-3, 0, 0), "sagittal", ("coronal", "transverse", "sagittal"), (6, 8, 4)),
        ((0, 1, 0, 1, 0, 0), (0, 0, -3), "transverse", ("coronal", "sagittal", "transverse"), (4, 8, 6)),
    ],
)
def test_planes_and_counts(orientation: Any, step: Any, plane: str, mapping: Any, counts: Any) -> None:
    geometry = stack(orientation=orientation, step=step)
    assert geometry.orientation == plane
    assert geometry.plane_mapping == mapping
    found = (geometry.num_transverse_slices, geometry.num_coronal_slices, geometry.num_sagittal_slices)
    assert found == counts
    for name in mapping:
        assert (
            geometry.shape[geometry.axis_of(name)]
            == counts[("transverse", "coronal", "sagittal").index(name)]
        )


def test_a_plane_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="axial"):
        stack().axis_of("axial")
    assert plane_of((1, 1, 1)) == "oblique"
    assert plane_of((0, 0.7, 0.72)) == "transverse"
    assert plane_of((0, 0.7, 0.72), oblique_degrees=20) == "oblique"


def test_one_slice_and_its_supposed_thickness() -> None:
    geometry = stack(1, single_slice_step=2.5)
    assert geometry.is_affine
    assert geometry.spacing == (0.25, 0.5, 2.5)
    assert np.allclose(geometry.patient_to_voxel(geometry.voxel_to_patient((0, 3, 4))), (0, 3, 4))


@pytest.mark.parametrize(
    ("orientation", "spacing", "start"),
    [
        ((1, 0, 0, 1, 0, 0), (1, 1), (0, 0, 0)),
        ((2, 0, 0, 0, 1, 0), (1, 1), (0, 0, 0)),
        ((0, 0, 0, 0, 0, 0), (1, 1), (0, 0, 0)),
        ((1, 0, 0, 0, math.nan, 0), (1, 1), (0, 0, 0)),
        (AXIAL, (0, 1), (0, 0, 0)),
        (AXIAL, (-1, 1), (0, 0, 0)),
        (AXIAL, (1, math.inf), (0, 0, 0)),
        (AXIAL, (1, 1), (0, math.nan, 0)),
    ],
)
def test_numbers_that_describe_no_slice_are_refused(orientation: Any, spacing: Any, start: Any) -> None:
    with pytest.raises(IrregularGeometry):
        stack(orientation=orientation, spacing=spacing, start=start)


def test_geometry_cannot_be_changed_by_accident() -> None:
    geometry = stack()
    with pytest.raises(ValueError, match="read-only"):
        geometry.positions[0, 0] = 1
