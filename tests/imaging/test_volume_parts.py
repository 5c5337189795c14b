"""Views, parts and other orders of a volume: every voxel stays where it is."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.volume import Volume
from hypothesis import given
from hypothesis import strategies as st
from imaging_series import image, series


def where(volume: Volume) -> dict[int, tuple[float, ...]]:
    """The place of each voxel by its value; in these volumes no two are equal."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.geometry.shape), indexing="ij"), axis=-1)
    points = volume.geometry.voxel_to_patient(index).round(6) + 0.0
    return {
        int(value): tuple(point) for value, point in zip(volume.voxels.flat, points.reshape(-1, 3).tolist())
    }


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, 0, 0, 1)]),
)
def test_the_order_of_files_does_not_matter(order: random.Random, orientation: Any) -> None:
    images = series(4, ImageOrientationPatient=list(orientation))
    normal = np.cross(orientation[:3], orientation[3:])
    for dataset in images:
        dataset.ImagePositionPatient = (normal * 2 * int(dataset.InstanceNumber)).tolist()
    first = Volume.from_datasets(images)
    order.shuffle(images)
    again = Volume.from_datasets(images)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(first.geometry.affine, again.geometry.affine)


def test_views_are_no_copies_and_carry_their_affine() -> None:
    volume = Volume.from_datasets(series())
    index = np.array((1, 2, 3))
    for layout in ("src", "rcs", "crs"):
        for system, sign in (("LPS", 1), ("RAS", -1)):
            view = volume.view(layout, system)  # type: ignore[arg-type]
            assert np.shares_memory(view.voxels, volume.voxels)
            place = tuple(index["src".index(letter)] for letter in layout)
            assert view.voxels[place] == volume.voxels[1, 2, 3]
            x, y, z = volume.geometry.voxel_to_patient(index)
            assert np.allclose(view.affine @ (*place, 1), (sign * x, sign * y, z, 1))
    assert volume.voxels.flags.c_contiguous


@pytest.mark.parametrize("to", ["LPS", "RAS", "PIR", "SLA", "transverse", "coronal", "sagittal"])
def test_turned_voxels_stay_where_they_are(to: str) -> None:
    volume = Volume.from_datasets(series())
    turned = volume.reorient(to)
    assert turned.voxels.flags.c_contiguous
    assert turned.voxels.shape == turned.geometry.shape
    assert where(turned) == where(volume)
    if len(to) == 3:
        assert turned.geometry.code == to
    else:
        assert turned.orientation == to
        assert turned.geometry.spacing == pytest.approx(turned.geometry.spacing)
    back = turned.reorient(volume.geometry.code)
    assert np.array_equal(back.voxels, volume.voxels)
    assert np.allclose(back.geometry.affine, volume.geometry.affine)


def test_what_belongs_to_a_slice_stays_with_it() -> None:
    volume = Volume.from_datasets(
        [
            image(number, WindowCenter=number, WindowWidth=10, RescaleIntercept=number, RescaleSlope=1)
            for number in (1, 2, 3, 4)
        ]
    )
    turned = volume.reorient("LPI")
    assert turned.windows == volume.windows[::-1]
    assert turned.rescale == volume.rescale[::-1]
    assert turned.sources == volume.sources[::-1]
    part = volume.crop(slices=slice(1, None, 2))
    assert part.window_centers == (2, 4)
    cut = volume.reorient("coronal")
    assert cut.sources == ()
    assert cut.rescale == ()
    assert cut.windows == (None,) * 3
    assert any("slices are others" in told for told in cut.report.assumptions)


def test_a_part_keeps_its_place() -> None:
    volume = Volume.from_datasets(series())
    whole = where(volume)
    part = volume.crop(slice(1, 3), slice(None, None, -1), slice(1, None, 2))
    assert part.voxels.shape == (2, 3, 2)
    assert where(part).items() <= whole.items()
    assert np.shares_memory(volume.crop(slice(1, 3)).voxels, volume.voxels)
    with pytest.raises(IndexError):
        volume.crop(slice(3, 3))


def test_an_uneven_stack_can_be_cropped_but_not_cut_across() -> None:
    volume = Volume.from_datasets([image(number) for number in (1, 2, 5)], on_gap="keep")
    assert where(volume.crop(slice(1, None))).items() <= where(volume).items()
    assert where(volume.reorient("RAI")) == where(volume)
    with pytest.raises(IrregularGeometry, match="resample"):
        volume.reorient("coronal")


def test_a_slice_is_replaced_in_a_copy() -> None:
    volume = Volume.from_datasets(series())
    for plane, shape in ((None, (3, 4)), ("coronal", (4, 4)), ("sagittal", (4, 3))):
        changed = volume.replace_slice(1, np.full(shape, -5), plane)
        assert (changed.extract_slice(1, plane).pixels == -5).all()
        assert (changed.voxels != volume.voxels).sum() == np.prod(shape)
        assert volume.voxels.min() >= 0
    with pytest.raises(ValueError, match="pixels"):
        volume.replace_slice(1, np.zeros((4, 3)))
    for wrong in (0.5, 40000, np.nan):
        with pytest.raises(ValueError, match="cannot hold"):
            volume.replace_slice(1, np.full((3, 4), wrong))


def test_a_volume_moves_with_a_registration() -> None:
    volume = Volume.from_datasets(series())
    moved = volume.reposition([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    x, y, z = volume.geometry.voxel_to_patient((1, 2, 3))
    assert np.allclose(moved.geometry.voxel_to_patient((1, 2, 3)), (5 - y, 6 + x, 7 + z))
    assert moved.voxels is volume.voxels


@pytest.mark.parametrize(("limit", "masked"), [(None, 1), (102, 3)])
def test_padding_is_told_by_stored_values(limit: int | None, masked: int) -> None:
    changes: dict[str, Any] = {"PixelPaddingValue": 100, "RescaleSlope": 0.5, "RescaleIntercept": -7}
    if limit is not None:
        changes["PixelPaddingRangeLimit"] = limit
    volume = Volume.from_datasets([image(number, **changes) for number in (1, 2)])
    mask = volume.padding_mask()
    assert mask is not None
    assert mask.sum() == masked
    assert mask[0].ravel()[:masked].all()
    assert volume.voxels[mask][0] == 43
    assert Volume.from_datasets(series()).padding_mask() is None


@pytest.mark.parametrize("written", [-2000, 63536])
@pytest.mark.parametrize("kind", ["<i2", "<u2"])
def test_padding_written_with_either_sign(kind: str, written: int) -> None:
    dataset = image(1, kind=kind)
    dataset.PixelData = np.full(12, 63536, "<u2").tobytes()
    dataset.add_new(0x00280120, "SS" if written < 0 else "US", written)
    mask = Volume.from_datasets([dataset]).padding_mask()
    assert mask is not None
    assert mask.all()
