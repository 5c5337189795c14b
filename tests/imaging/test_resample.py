"""Other grids: known fields come out as they are, shear is taken out, padding stays what it is."""

from __future__ import annotations

import builtins
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiodicom.dataset.errors import ImagingError
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.geometry import VolumeGeometry
from aiodicom.imaging.records import Axis
from aiodicom.imaging.resample import right_angled
from aiodicom.imaging.volume import Volume
from imaging_series import image, series


def field(points: Any) -> Any:
    """A linear function of the place, which linear interpolation reproduces."""
    return np.asarray(points) @ (2.0, -3.0, 5.0) + 11


def filled(geometry: VolumeGeometry) -> Volume:
    """A volume of 64-bit floats that holds `field`."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    voxels = field(geometry.voxel_to_patient(index))
    return replace(
        Volume.from_datasets(series()), voxels=voxels, geometry=geometry, sources=(), windows=(), rescale=()
    )


def sheared(count: int = 6, step: Any = (0, 0.8, 2)) -> VolumeGeometry:
    placed = np.arange(count)[:, None] * np.asarray(step, float)
    return VolumeGeometry.from_slices((count, 8, 9), placed, (1, 0, 0, 0, 1, 0), (0.5, 0.7))


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_known_field_comes_out_on_another_grid(method: Any) -> None:
    volume = filled(sheared())
    target = VolumeGeometry.from_affine(
        (4, 5, 6), np.array([[0.1, 0, 0.6, 1], [0, 0.5, 0, 2], [1.5, 0, 0.1, 2], [0, 0, 0, 1.0]])
    )
    found = volume.resample(target, method=method, fill=-1)
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
    points = target.voxel_to_patient(index)
    at = volume.geometry.patient_to_voxel(points)
    deep = ((at >= 0) & (at <= np.array(volume.geometry.shape) - 1)).all(axis=-1)
    inside = volume.geometry.contains(points)
    assert 5 < deep.sum() < deep.size
    if method == "linear":
        assert np.allclose(found.voxels[deep], field(points)[deep])
    else:  # a spline that is mirrored at the edge bends there
        assert np.abs(found.voxels[deep] - field(points)[deep]).max() < 1
    assert (found.voxels[~inside] == -1).all()
    assert found.geometry is target


def test_a_sheared_volume_is_straightened() -> None:
    volume = filled(sheared())
    assert volume.geometry.shear_angle > 20
    straight = volume.deskew(fill=math.nan)
    assert straight.geometry.shear_angle < 1e-9
    assert straight.geometry.spacing == pytest.approx((0.7, 0.5, 2.0))
    index = np.stack(np.meshgrid(*map(np.arange, straight.geometry.shape), indexing="ij"), axis=-1)
    points = straight.geometry.voxel_to_patient(index)
    at = volume.geometry.patient_to_voxel(points)
    deep = ((at >= 0) & (at <= np.array(volume.geometry.shape) - 1)).all(axis=-1)
    assert deep.sum() > 200
    assert np.allclose(straight.voxels[deep], field(points)[deep])
    assert straight.geometry.contains(volume.geometry.corners()).all()
    assert straight.deskew() is straight


def test_uneven_slices_become_even_and_those_there_are_stay_as_they_were() -> None:
    volume = Volume.from_datasets([image(number) for number in (1, 2, 4)], on_gap="keep")
    even = volume.regular()
    assert even.geometry.is_affine
    assert even.voxels.dtype == volume.voxels.dtype
    assert np.array_equal(even.voxels[[0, 1, 3]], volume.voxels)
    assert np.array_equal(even.voxels[2], (volume.voxels[1] + volume.voxels[2]) / 2)
    assert any("resampled" in told for told in even.report.assumptions)
    with pytest.raises(IrregularGeometry, match="regular"):
        volume.deskew()


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_padding_stays_padding_and_colours_nothing_else(method: Any) -> None:
    given = [
        image(number, PixelPaddingValue=-2000, RescaleIntercept=-24, RescaleSlope=1)
        for number in (1, 2, 3, 4)
    ]
    for dataset in given:
        values = np.full((3, 4), 1000, "<i2")
        values[:, 0] = -2000
        dataset.PixelData = values.tobytes()
    volume = Volume.from_datasets(given)
    fine = volume.resample(right_angled(volume.geometry, (0.1, 0.25, 1)), method=method)
    assert set(np.unique(fine.voxels).tolist()) == {-2024, 976}
    mask = fine.padding_mask()
    assert mask is not None
    assert np.array_equal(mask, fine.voxels == -2024)
    assert mask[:, :, :2].all()
    assert not mask[:, :, 2:].any()


def test_what_lies_outside_is_the_lowest_there_is_unless_said() -> None:
    volume = Volume.from_datasets(series())
    away = volume.geometry.transformed(np.eye(4) + np.eye(4, k=3) * 100)
    assert (volume.resample(away).voxels == volume.voxels.min()).all()
    assert (volume.resample(away, fill=-5).voxels == -5).all()


def test_grids_that_cannot_be_meant() -> None:
    volume = Volume.from_datasets(series())
    for spacing in ((0, 1, 1), (1, 1), (1, math.nan, 1), (1e-9, 1e-9, 1e-9)):
        with pytest.raises(ValueError):
            volume.regular(spacing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spline"):
        volume.regular(method="spline")  # type: ignore[arg-type]


def test_without_scipy_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImagingError, match=r"pip install 'aiodicom\[resample\]'"):
        Volume.from_datasets(series()).regular((0.1, 0.1, 0.1))


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_further_axes_and_colours_are_resampled_each_like_one_alone(
    monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    geometry, numbers = sheared(), np.random.default_rng(5)
    axis = Axis("trigger time", "ms", (0.0, 40.0, 80.0))
    target = right_angled(geometry, (0.6, 0.6, 1.5))
    several = Volume.from_array(numbers.integers(0, 999, (3, *geometry.shape)), geometry, axes=(axis,))
    coloured = Volume.from_array(numbers.integers(0, 255, (*geometry.shape, 3), np.uint8), geometry)
    asked: list[int] = []
    placed = VolumeGeometry.patient_to_voxel

    def counted(source: VolumeGeometry, points: Any) -> Any:
        asked.append(len(points))
        return placed(source, points)

    monkeypatch.setattr(VolumeGeometry, "patient_to_voxel", counted)
    together = several.resample(target, method=method, fill=-1)
    assert len(asked) == target.shape[0] * (3 if method == "cubic" else 1)  # a spline has voxels of its own
    alone = [several.at(at).resample(target, method=method, fill=-1).voxels for at in range(3)]
    assert np.array_equal(together.voxels, np.stack(alone))
    found = coloured.resample(target, method=method, fill=0)
    for colour in range(3):
        grey = Volume.from_array(coloured.voxels[..., colour], geometry)
        wanted = grey.resample(target, method=method, fill=0)
        assert np.array_equal(found.voxels[..., colour], wanted.voxels)
