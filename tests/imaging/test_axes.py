"""More than three dimensions: what tells images at one position apart becomes axes with coordinates."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging.errors import DuplicateSlices
from aiodicom.imaging.folder import collection
from aiodicom.imaging.pixels import FilePixels
from aiodicom.imaging.volume import Volume
from imaging_series import image, save
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

NUMBERS = itertools.count(1)


def at(z: float, value: int, **changes: Any) -> Dataset:
    """A slice at a height whose voxels are one value."""
    dataset = image(next(NUMBERS), ImagePositionPatient=[0, 0, z], **changes)
    dataset.PixelData = np.full(12, value, "<i2").tobytes()
    return dataset


def values(volume: Volume) -> list[Any]:
    """The one value of each slice, (*axes, slice)."""
    assert (volume.voxels == volume.voxels[..., :1, :1]).all()
    found: list[Any] = volume.voxels[..., 0, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("case", "axis"),
    [
        ("mr_4d_fmri_ge", ("instance number", "", (1.0, 43.0))),
        ("mr_4d_dti_philips", ("b-value", "s/mm2", (0.0, 40.0, 273.0, 800.0))),
        ("mr_mosaic_siemens", ("acquisition number", "", (1.0, 2.0))),
        ("mr_enhanced_4d_philips", ("b-value, direction", "s/mm2", None)),
    ],
)
def test_real_series_agree_with_independent_tools(
    data: Path, expected: dict[str, Any], case: str, axis: tuple[str, str, Any]
) -> None:
    wanted = expected[case]["voxels"]
    volume = Volume.from_files(data / case)
    view = volume.view("rcs")
    assert list(view.voxels.shape) == wanted["shape"]
    assert np.abs(view.affine - expected[case]["affine_lps_rcs"]).max() < 1e-6
    assert (volume.axes[0].name, volume.axes[0].unit) == axis[:2]
    if "sha256_int32" in wanted:
        digest = hashlib.sha256(view.voxels.astype("<i4").tobytes()).hexdigest()
        assert digest == wanted["sha256_int32"]
        assert volume.axes[0].values == axis[2]
    else:
        exact = view.voxels.astype(np.float64)
        found = exact.min(), exact.max(), exact.mean(), exact.std()
        assert found == pytest.approx([wanted[name] for name in ("min", "max", "mean", "std")], rel=1e-6)
        assert volume.axes[0].values[:2] == ((0.0, None), (1300.0, (1.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("name", "keyword", "unit"),
    [
        ("echo time", "EchoTime", "ms"),
        ("inversion time", "InversionTime", "ms"),
        ("flip angle", "FlipAngle", "degrees"),
        ("b-value", "DiffusionBValue", "s/mm2"),
        ("trigger time", "TriggerTime", "ms"),
        ("cardiac phase", "NominalPercentageOfCardiacPhase", "%"),
        ("frame reference time", "FrameReferenceTime", "ms"),
        ("temporal position", "TemporalPositionIdentifier", ""),
        ("acquisition number", "AcquisitionNumber", ""),
    ],
)
def test_each_attribute_makes_an_axis(tmp_path: Path, name: str, keyword: str, unit: str) -> None:
    made = [at(z, 10 * k + z, **{keyword: 10 * k}) for k in (3, 1, 2) for z in (2, 0)]
    for volume in (Volume.from_datasets(made), Volume.from_files(save(tmp_path, made))):
        assert volume.axes == ((name, unit, (10.0, 20.0, 30.0)),)
        assert values(volume) == [[10, 12], [20, 22], [30, 32]]
        assert volume.voxels.flags.c_contiguous
        assert len(volume.sources) == 6


def test_two_attributes_make_two_axes_and_what_only_counts_none() -> None:
    made = [
        at(z, 100 * e + 10 * t + z, EchoTime=e, TemporalPositionIdentifier=t, AcquisitionNumber=3 * e + t)
        for e, t, z in itertools.product((1, 2), (1, 2, 3), (0, 2))
    ]
    random.Random(1).shuffle(made)
    volume = Volume.from_datasets(made)
    assert [(axis.name, axis.values) for axis in volume.axes] == [
        ("echo time", (1.0, 2.0)),
        ("temporal position", (1.0, 2.0, 3.0)),
    ]
    assert values(volume)[1][2] == [230, 232]
    assert volume.view("crs").voxels.shape == (4, 3, 2, 2, 3)
    assert np.shares_memory(volume.view("crs").voxels, volume.voxels)
    assert "2 echo time x 3 temporal position x 2 slices" in repr(volume)


def test_directions_share_an_axis_with_their_b_value() -> None:
    gradients = [(0, None), (1000, [1.0, 0, 0]), (1000, [0, 1.0, 0]), (1000, [0, 0, 1.0])]
    made = []
    for z in (0, 2):
        for k, (b, direction) in enumerate(gradients):
            extra = {} if direction is None else {"DiffusionGradientOrientation": direction}
            made.append(at(z, 10 * k + z, DiffusionBValue=float(b), **extra))
    (axis,) = Volume.from_datasets(made[::-1]).axes
    assert axis.name == "b-value, direction"
    assert axis.values[0] == (0.0, None)
    assert axis.values[3] == (1000.0, (0.0, 0.0, 1.0))
    assert values(Volume.from_datasets(made[::-1])) == [[0, 2], [10, 12], [20, 22], [30, 32]]


def test_parts_keep_what_belongs_to_each_slice() -> None:
    made = [
        at(z, 10 * t, TemporalPositionIdentifier=t, WindowCenter=10 * t + z, WindowWidth=5)
        for t in (1, 2)
        for z in (0, 2, 4)
    ]
    volume = Volume.from_datasets(made)
    part = volume.crop(slice(1, None), columns=slice(0, 2))
    assert part.voxels.shape == (2, 2, 3, 2)
    assert part.window_centers == (12, 14, 22, 24)
    turned = volume.reorient("coronal")
    assert turned.voxels.shape == (2, 3, 3, 4)
    assert volume.extract_slice(1, "coronal").pixels.shape == (2, 3, 4)
    assert volume.replace_slice(1, np.zeros((2, 3, 4))).voxels[:, 1].max() == 0


@pytest.mark.parametrize("order", ["by volume", "by position"])
def test_instance_numbers_alone_are_taken_where_they_run_on_and_told(order: str) -> None:
    pairs = [(t, z) for t in range(3) for z in range(2)]
    pairs.sort(key=lambda pair: pair if order == "by volume" else pair[::-1])
    made = [at(2 * z, 10 * t + z, InstanceNumber=number) for number, (t, z) in enumerate(pairs, 1)]
    volume = Volume.from_datasets(made)
    assert volume.axes[0].name == "instance number"
    assert values(volume) == [[0, 1], [10, 11], [20, 21]]
    assert any("only instance numbers" in told for told in volume.report.assumptions)


@pytest.mark.parametrize("numbers", [(1, 4, 2, 3, 6, 5), (None,) * 6])
def test_instance_numbers_in_disorder_tell_nothing(numbers: Any) -> None:
    pairs = [(t, z) for t in range(3) for z in range(2)]
    made = [at(2 * z, 10 * t + z, InstanceNumber=n) for n, (t, z) in zip(numbers, pairs, strict=True)]
    with pytest.raises(DuplicateSlices):
        Volume.from_datasets(made)


def test_what_is_not_complete_is_refused() -> None:
    made = [at(z, 10 * e + z, EchoTime=e) for e in (1, 2, 3) for z in (0, 2)][:-1]
    with pytest.raises(DuplicateSlices, match=r"echo time.*2 to 3 a position"):
        Volume.from_datasets(made)


def test_other_values_at_each_position_are_no_axis() -> None:
    made = [at(z, 10 * e + z, EchoTime=e + z) for e in (10, 20) for z in (0, 2)]
    with pytest.raises(DuplicateSlices):
        Volume.from_datasets([*made, *(at(4, e, EchoTime=e) for e in (7, 8))])


def test_one_position_needs_an_attribute_that_says_why() -> None:
    assert Volume.from_datasets([at(0, t, TriggerTime=t) for t in (10, 20, 30)]).voxels.shape == (3, 1, 3, 4)
    with pytest.raises(DuplicateSlices, match="acquisition number"):
        Volume.from_datasets([at(0, t, AcquisitionNumber=t) for t in (1, 2, 3)])


def test_equal_images_count_once_beside_others_over_time() -> None:
    made = [at(z, 10 * t + z, TemporalPositionIdentifier=t) for t in (1, 2) for z in (0, 2)]
    twin = at(2, 12, TemporalPositionIdentifier=1)
    volume = Volume.from_datasets([*made, twin])
    assert values(volume) == [[10, 12], [20, 22]]
    assert len(volume.report.left_out) == 1


def test_equal_images_among_those_over_time_are_no_twins() -> None:
    made = [at(z, 0 if z == 2 else 10 * t, AcquisitionNumber=t) for t in (1, 2, 3) for z in (0, 2, 4)]
    volume = Volume.from_datasets(made)
    assert values(volume) == [[10, 0, 10], [20, 0, 20], [30, 0, 30]]
    assert volume.report.left_out == ()


def test_neither_pixels_nor_time_are_spent_where_headers_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, [at(z, t, TemporalPositionIdentifier=t) for t in (1, 2, 3) for z in (0, 2)])

    def forbidden(*_: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(FilePixels, "stored", forbidden)
    (row,) = collection(tmp_path)
    assert row.shape == (3, 2, 3, 4)


@pytest.mark.parametrize("pointer", [0x00189073, 0x00189218])
def test_dimensions_of_an_enhanced_object_are_axes(read_frames: Callable[..., Dataset], pointer: int) -> None:
    volume = Volume.from_datasets([read_frames(pointer)])
    (axis,) = volume.axes
    assert axis.name.startswith("dimension ")
    assert axis.values == (1.0, 2.0)
    assert values(volume) == [[0, 2], [1, 3]]


@pytest.fixture
def read_frames() -> Callable[..., Dataset]:
    def made(pointer: int) -> Dataset:
        dataset = image(1, ImagePositionPatient=None, NumberOfFrames=4)
        dataset.PixelData = np.repeat(np.arange(4, dtype="<i2"), 12).tobytes()
        dataset.DimensionIndexSequence = Sequence([Dataset(), Dataset()])
        for item, tag in zip(dataset.DimensionIndexSequence, (0x00200032, pointer), strict=True):
            item.DimensionIndexPointer = tag
        dataset.PerFrameFunctionalGroupsSequence = Sequence()
        for z, other in itertools.product((0, 2), (1, 2)):
            frame, place, content = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, z]
            content.DimensionIndexValues = [z // 2 + 1, other]
            frame.PlanePositionSequence = Sequence([place])
            frame.FrameContentSequence = Sequence([content])
            dataset.PerFrameFunctionalGroupsSequence.append(frame)
        return dataset

    return made
