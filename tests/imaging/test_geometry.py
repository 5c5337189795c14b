"""Where voxels lie: affine, mappings, planes, for every way slices can be placed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging import space
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.geometry import VolumeGeometry
from aiodicom.imaging.space import plane_of, slice_corners, slice_normal, slice_order
from geometries import AXIAL, close, everywhere, geometries, rotation, stack
from hypothesis import given
from hypothesis import strategies as st


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


def test_a_plane_has_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="axial"):
        stack().axis_of("axial")
    assert plane_of((1, 1, 1)) == "oblique"
    assert plane_of((0, 0.7, 0.72)) == "transverse"
    monkeypatch.setattr(space, "OBLIQUE_DEGREES", 20)
    assert plane_of((0, 0.7, 0.72)) == "oblique"


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


# --- every way slices can be placed -----------------------------------------------------------------------


CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "IS"))
    for letters in itertools.product(*order)
]


@given(geometries())
def test_voxels_are_found_again_from_where_they_lie(geometry: VolumeGeometry) -> None:
    index = everywhere(geometry)
    for system in ("LPS", "RAS"):
        points = geometry.voxel_to_patient(index, system)  # type: ignore[arg-type]
        assert np.abs(geometry.patient_to_voxel(points, system) - index).max() < 1e-4  # type: ignore[arg-type]
        found = geometry.patient_to_subscript(points, system)  # type: ignore[arg-type]
        assert found.inside.all()
        assert np.array_equal(found.indices, index)
        assert geometry.contains(points, system).all()  # type: ignore[arg-type]


@given(geometries(), st.sampled_from(["src", "rcs", "crs"]), st.sampled_from(["LPS", "RAS"]))
def test_a_geometry_is_made_again_of_its_affine(geometry: VolumeGeometry, layout: Any, system: Any) -> None:
    shape = [geometry.shape["src".index(letter)] for letter in layout]
    again = VolumeGeometry.from_affine(
        shape, geometry.affine_in(layout, system), layout=layout, system=system
    )
    assert again.shape == geometry.shape
    close(
        again.voxel_to_patient(everywhere(geometry)),
        geometry.voxel_to_patient(everywhere(geometry)),
        geometry,
    )
    assert again.orientation == geometry.orientation


@given(geometries(), st.sampled_from(CODES))
def test_turned_voxels_stay_where_they_are(geometry: VolumeGeometry, code: str) -> None:
    axes, senses = geometry.reorientation(code)
    flips = tuple(slice(None, None, sense) for sense in senses)
    points = geometry.voxel_to_patient(everywhere(geometry))
    turned = geometry.permuted(axes)
    turned = turned.sliced(*(range(size)[flip] for size, flip in zip(turned.shape, flips, strict=True)))
    assert turned.code == code
    close(turned.voxel_to_patient(everywhere(turned)), points.transpose(*axes, 3)[flips], geometry)
    back = turned.permuted(turned.reorientation(geometry.code)[0])
    again = turned.reorientation(geometry.code)[1]
    back = back.sliced(*(range(size)[::sense] for size, sense in zip(back.shape, again, strict=True)))
    assert back.code == geometry.code
    close(back.affine[:3], geometry.affine[:3], geometry)


@given(geometries(), st.data())
def test_a_part_keeps_its_place(geometry: VolumeGeometry, data: st.DataObject) -> None:
    taken = []
    for size in geometry.shape:
        first = data.draw(st.integers(0, size - 1))
        taken.append(range(first, data.draw(st.integers(first + 1, size)), data.draw(st.integers(1, 2))))
    part = geometry.sliced(*taken)
    assert part.shape == tuple(len(one) for one in taken)
    points = geometry.voxel_to_patient(everywhere(geometry))[np.ix_(*taken)]
    close(part.voxel_to_patient(everywhere(part)), points, geometry)


@given(geometries(), geometries())
def test_a_moved_volume_is_where_the_matrix_puts_it(geometry: VolumeGeometry, other: VolumeGeometry) -> None:
    matrix = other.affine
    moved = geometry.transformed(matrix)
    points = geometry.voxel_to_patient(everywhere(geometry)) @ matrix[:3, :3].T + matrix[:3, 3]
    found = moved._map_by_slice(everywhere(geometry))
    assert np.allclose(found, points, rtol=1e-9, atol=1e-6)
    flip = np.diag([-1.0, -1, 1, 1])
    again = geometry.transformed(flip @ matrix @ flip, "RAS")
    assert np.allclose(again.positions, moved.positions, rtol=1e-9, atol=1e-6)


def test_uneven_slices_are_mapped_one_by_one_in_either_direction() -> None:
    placed = np.array([[0, 0, 0], [0, 0, 2], [0, 0, 7.0]])
    geometry = VolumeGeometry.from_slices((3, 4, 5), placed, AXIAL, (1, 1))
    turned = geometry.sliced(range(2, -1, -1), range(4), range(5))
    assert turned.voxel_to_patient((0, 0, 0)).tolist() == [0, 0, 7]
    assert turned.patient_to_voxel((0, 0, 4.5)).tolist() == [0.5, 0, 0]
    assert turned.patient_to_voxel((3, 2, 1)).tolist() == [1.5, 2, 3]
    assert geometry.limits.tolist() == [[-0.5, -0.5, -1], [4.5, 3.5, 9.5]]
    part = geometry.sliced(range(1, 3), range(1, 4, 2), range(5))
    assert part.voxel_to_patient((1, 1, 0)).tolist() == [0, 3, 7]
    assert turned.permuted((0, 2, 1)).voxel_to_patient((1, 4, 3)).tolist() == [4, 3, 2]
    with pytest.raises(IrregularGeometry, match="resample"):
        geometry.permuted((1, 0, 2))


def test_faces_corners_and_limits() -> None:
    geometry = stack()
    assert geometry.limits.tolist() == [[-10.125, -20.25, 3.5], [-8.125, -17.25, 15.5]]
    assert geometry.contains([[-10.125, -20.25, 3.5], [-8.125, -17.25, 15.5]]).tolist() == [True, True]
    assert geometry.contains([[-10.2, -20, 5], [-9, -18, 15.6]]).tolist() == [False, False]
    assert geometry.corners().shape == (2, 4, 3)
    assert geometry.corners()[1, 2].tolist() == [-8.25, -17.5, 14]
    assert geometry.corners("RAS")[1, 2].tolist() == [8.25, 17.5, 14]
    assert geometry.slice_corners(3)[2].tolist() == [-8.25, -17.5, 14]
    assert geometry.slice_limits(2, "coronal").tolist() == [[-10, -19, 5], [-8.25, -19, 14]]
    outside = geometry.patient_to_subscript([[-10.2, -20, 5], [-10, -20, 5]])
    assert outside.indices[0].tolist() == [0, 0, -1]
    assert outside.inside.tolist() == [False, True]
    for index, plane in ((4, None), (-1, None), (6, "coronal")):
        with pytest.raises(IndexError):
            geometry.slice_corners(index, plane)


@pytest.mark.parametrize("code", ["", "LP", "LPSS", "LRS", "XYZ", "LLL"])
def test_a_code_names_each_axis_once(code: str) -> None:
    with pytest.raises(ValueError, match="orientation code"):
        stack().reorientation(code)


def test_what_is_no_geometry_is_refused() -> None:
    flat = np.diag([0.0, 1, 1, 1])
    for matrix in (flat, np.eye(3), np.full((4, 4), np.nan), np.ones((4, 4))):
        with pytest.raises(IrregularGeometry):
            VolumeGeometry.from_affine((2, 3, 4), matrix)
        with pytest.raises(IrregularGeometry):
            stack().transformed(matrix)
    with pytest.raises(IrregularGeometry, match="shape"):
        VolumeGeometry.from_affine((2, 0, 4), np.eye(4))
    with pytest.raises(ValueError, match="LPI"):
        stack().voxel_to_patient((0, 0, 0), "LPI")  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        stack().sliced(range(5), range(1), range(1))
    with pytest.raises(IndexError):
        stack().sliced(range(0), range(1), range(1))


def test_slices_that_are_not_parallel_have_no_axes() -> None:
    tilted = [(1, 0, 0, 0, math.cos(angle), math.sin(angle)) for angle in (0, 0.1, 0.2)]
    geometry = VolumeGeometry.from_slices((3, 2, 2), [(0, 0, z) for z in range(3)], tilted, (1, 1))
    assert geometry.code == "unknown"
    with pytest.raises(IrregularGeometry, match="parallel"):
        geometry.reorientation("LPS")


def test_rounded_cosines_that_differ_are_averaged() -> None:
    truth = rotation(0.3, 0.2, 0.1)
    rounded = [np.round((*truth[:, 0], *truth[:, 1]), 4), np.round((*truth[:, 0], *truth[:, 1]), 5)]
    geometry = VolumeGeometry.from_slices(
        (4, 3, 3), [k * 2 * truth[:, 2] for k in range(4)], [rounded[k % 2] for k in range(4)], (1, 1)
    )
    assert np.allclose(geometry.affine[:3, 2], (rounded[0] + rounded[1])[:3] / 2)


def test_the_work_for_points_and_corners_is_done_for_all_slices_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depths = (0.0, 1.0, 3.0, 4.0)
    geometry = VolumeGeometry.from_slices(
        (4, 5, 6), [(0, 0, z) for z in depths], (1, 0, 0, 0, 1, 0), (0.5, 0.7), tolerance_mm=0
    )
    inverted: list[int] = []
    pinv = np.linalg.pinv

    def counted(matrices: Any) -> Any:
        inverted.append(len(matrices))
        return pinv(matrices)

    monkeypatch.setattr(np.linalg, "pinv", counted)
    index = np.random.default_rng(3).uniform((0, 0, 0), (3, 4, 5), (1000, 3))
    assert np.allclose(geometry.patient_to_voxel(geometry.voxel_to_patient(index)), index)
    assert inverted == [4]
    corners = geometry._corner_indices()
    assert corners.shape == (4, 4, 3)
    assert all(np.array_equal(corners[n], slice_corners(geometry.shape, 0, n)) for n in range(4))
