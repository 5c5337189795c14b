"""Volumes made while objects arrive: the same as from files, whatever the order, in one array."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging import builder as builders
from aiodicom.imaging.builder import VolumeBuilder
from aiodicom.imaging.errors import DuplicateSlices, SlicesMissing, UnsupportedPixels
from aiodicom.imaging.volume import Volume
from imaging_series import image, series
from pydicom import dcmread
from pydicom.dataset import Dataset


def built(datasets: list[Dataset], expected: int | None = None, **options: Any) -> Volume:
    builder = VolumeBuilder(expected, **options)
    for dataset in datasets:
        builder.add(dataset)
    return builder.volume()


def same(one: Volume, other: Volume) -> None:
    assert one.voxels.dtype == other.voxels.dtype
    assert np.array_equal(one.voxels, other.voxels, equal_nan=one.voxels.dtype.kind == "f")
    assert np.array_equal(one.geometry.positions, other.geometry.positions)
    assert np.array_equal(one.geometry.affine, other.geometry.affine)
    assert (one.axes, one.windows, one.rescale, one.padding) == (
        other.axes,
        other.windows,
        other.rescale,
        other.padding,
    )
    assert [s.sop_instance_uid for s in one.sources] == [s.sop_instance_uid for s in other.sources]
    assert [s.frame for s in one.sources] == [s.frame for s in other.sources]


CASES = [
    "ct_axial_head",
    "ct_axial_rescale",
    "mr_float_rescale_per_slice",
    "mr_4d_dti_philips",
    "mr_enhanced_4d_philips",
    "mr_mosaic_siemens",
    "mr_compressed_rle",
    "rtdose_multiframe",
]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_real_series_are_the_same_as_from_files(data: Path, tmp_path: Path, case: str, mapped: bool) -> None:
    paths = sorted((data / case).glob("*.dcm"))
    random.Random(case).shuffle(paths)
    where = tmp_path / "voxels" if mapped else None
    made = built([dcmread(path) for path in paths], memory_map=where)
    same(made, Volume.from_files(data / case))
    if mapped:
        assert [path.name for path in tmp_path.iterdir()] == ["voxels"]
        assert np.array_equal(np.fromfile(where, made.voxels.dtype).reshape(made.voxels.shape), made.voxels)


@pytest.mark.parametrize("expected", [None, 1, 4, 100])
@pytest.mark.parametrize("slope", [1, 2, 0.5])
@pytest.mark.parametrize("kind", ["<i2", "<u2", "<u1"])
def test_any_number_promised_makes_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: int | None, slope: float, kind: str
) -> None:
    monkeypatch.setattr(builders, "FIRST_SLOTS", 2)
    if kind == "<u1":
        given = [image(n, kind=kind, RescaleSlope=slope, RescaleIntercept=-3) for n in (2, 1)]
    else:
        given = series(9, kind=kind, RescaleSlope=slope, RescaleIntercept=-3)
    same(built(given, expected), Volume.from_datasets(given))
    same(built(given, expected, memory_map=tmp_path / "m"), Volume.from_datasets(given))


@pytest.mark.parametrize("slope", [0.5, 100, 1])
def test_what_is_mapped_is_never_all_in_memory(tmp_path: Path, slope: float) -> None:
    given = series(24, RescaleSlope=slope, RescaleIntercept=-3)
    with VolumeBuilder(24, memory_map=tmp_path / "voxels") as builder:
        for dataset in given:
            dataset.Rows, dataset.Columns, dataset.PixelData = 128, 128, bytes(range(256)) * 128
            builder.add(dataset)
        tracemalloc.start()
        made = builder.volume()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(made.voxels, np.memmap)
    assert peak < made.voxels.nbytes / 2
    assert np.array_equal(made.voxels, Volume.from_datasets(given).voxels)


@pytest.mark.parametrize("kinds", [("<i2", "<u2"), ("<u1", "<i2"), ("<u2", "<u1"), ("<u1", "<i1", "<u4")])
@pytest.mark.parametrize("slope", [1, 0.5])
@pytest.mark.parametrize("expected", [None, 9])
def test_slices_of_several_types_are_what_they_are_from_files(
    tmp_path: Path, kinds: tuple[str, ...], slope: float, expected: int | None
) -> None:
    given = [
        image(n, kind=kinds[n % len(kinds)], RescaleSlope=slope, RescaleIntercept=0) for n in range(1, 9)
    ]
    for one in given:
        one.PixelData = bytes(range(200, 212)) * (one.BitsAllocated // 8)
    wanted = Volume.from_datasets(given)
    same(built(given, expected), wanted)
    same(built(given, expected, memory_map=tmp_path / "m"), wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_array_is_made_once_and_slices_change_places_in_it() -> None:
    builder = VolumeBuilder(4)
    for dataset in series(4, RescaleIntercept=-5, RescaleSlope=1, BitsStored=12, HighBit=11):
        builder.add(dataset)
    slots = builder._slots
    assert np.shares_memory(builder.volume().voxels, slots)


def test_what_came_can_be_looked_at() -> None:
    builder = VolumeBuilder(5)
    for number in (5, 1, 3):
        builder.add(image(number))
    assert len(builder) == 3
    partial = builder.partial()
    assert partial.voxels[:, 0, 0].tolist() == [100, 300, 500]
    assert any("partial" in told for told in partial.report.assumptions)
    builder.add(image(2))
    assert builder.partial().voxels[:, 0, 0].tolist() == [100, 200, 300, 500]
    with pytest.raises(SlicesMissing):
        builder.volume()
    builder.add(image(4))
    assert builder.volume().voxels[:, 0, 0].tolist() == [100, 200, 300, 400, 500]
    with pytest.raises(ValueError, match="another builder"):
        builder.add(image(6))


def test_a_volume_is_made_once() -> None:
    builder = VolumeBuilder()
    for dataset in series(3, RescaleIntercept=-5, RescaleSlope=1, BitsStored=12, HighBit=11):
        builder.add(dataset)
    first = builder.volume()
    held = first.voxels.copy()
    for again in (builder.volume, builder.partial, lambda: builder.add(image(4))):
        with pytest.raises(ValueError, match="another builder"):
            again()
    assert np.array_equal(first.voxels, held)


def test_an_abandoned_builder_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SlicesMissing), VolumeBuilder(memory_map=tmp_path / "voxels") as builder:
        for number in (1, 2, 5):
            builder.add(image(number))
        assert [path.name for path in tmp_path.iterdir()] == [".voxels.stored"]
        builder.volume()
    assert not list(tmp_path.iterdir())
    builder.close()
    with pytest.raises(ValueError, match="another builder"):
        builder.add(image(6))


@pytest.mark.parametrize("slope", [1, 2, 0.5])
def test_a_volume_that_was_made_outlives_its_builder(tmp_path: Path, slope: float) -> None:
    given = series(3, RescaleSlope=slope, RescaleIntercept=-3)
    with VolumeBuilder(memory_map=tmp_path / "voxels") as builder:
        for dataset in given:
            builder.add(dataset)
        made = builder.volume()
    same(made, Volume.from_datasets(given))
    assert [path.name for path in tmp_path.iterdir()] == ["voxels"]


def test_floats_as_wide_as_what_is_stored_take_its_place() -> None:
    given = series(3, kind="<i4", RescaleSlope=0.5, RescaleIntercept=-3)
    builder = VolumeBuilder(3)
    for dataset in given:
        builder.add(dataset)
    slots = builder._slots
    made = builder.volume()
    same(made, Volume.from_datasets(given))
    assert np.shares_memory(made.voxels, slots)


def test_copies_are_left_out_and_the_others_close_up() -> None:
    given = series(4)
    given.insert(2, given[0])
    same(built(given), Volume.from_datasets(given))
    with pytest.raises(DuplicateSlices):
        built([*series(4), image(9, ImagePositionPatient=[-1, -2, 4])])


def test_broken_and_other_objects() -> None:
    broken = image(9, PixelData=b"\1\0")
    with pytest.raises(UnsupportedPixels, match=r"1\.2\.3\.9"):
        built([*series(3), broken])
    made = built([image(1), broken, image(2), Dataset(), image(3)], on_broken="leave out")
    assert len(made.voxels) == 3
    assert len(made.report.left_out) == 2
    with pytest.raises(UnsupportedPixels, match="series_uid"):
        built([image(1), image(2, Rows=2)])
    other = [image(7, SeriesInstanceUID="1.9", Rows=2), *series(3)]
    assert len(built(other, series_uid="1.2.3").voxels) == 3


def test_a_promise_of_far_too_many_frames_makes_no_such_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "AHEAD", 1000)
    builder = VolumeBuilder(10**12)
    for dataset in series(60):
        builder.add(dataset)
    assert builder._slots is not None
    assert len(builder._slots) < 100
    assert len(builder.volume().voxels) == 60


@pytest.mark.parametrize("numbers", ["up", "down", "from nought", "by time", "absent", "all alike", "huge"])
@pytest.mark.parametrize("expected", [None, 6, 12, 20])
def test_slices_lie_where_they_belong_before_the_last_has_come(
    monkeypatch: pytest.MonkeyPatch, expected: int | None, numbers: str
) -> None:
    """Whatever instance numbers say it is the same volume; where they run along the normal, few move."""
    choices: dict[str, list[int | None]] = {
        "up": [place + 1 for place in range(12)],
        "down": [12 - place for place in range(12)],
        "from nought": list(range(12)),
        "by time": [(place * 5) % 12 + 1 for place in range(12)],
        "absent": [None] * 12,
        "all alike": [1] * 12,
        "huge": [2**31 - 1 - place for place in range(12)],
    }
    given = []
    for place, number in enumerate(choices[numbers]):
        given.append(image(place))
        given[-1].InstanceNumber = number
    random.Random(3).shuffle(given)
    moved: list[int] = []
    permute = builders._permute

    def counted(slots: Any, order: list[int]) -> None:
        moved.append(sum(place != wanted for place, wanted in enumerate(order)))
        permute(slots, order)

    monkeypatch.setattr(builders, "_permute", counted)
    same(built(given, expected), Volume.from_datasets(given))
    if expected == 12 and numbers in ("up", "down"):
        assert moved[0] <= 3


def test_the_place_of_an_object_that_broke_is_free_again() -> None:
    good, broken = [image(place) for place in (1, 2, 3)], image(2, NumberOfFrames=2)
    broken.PixelData += bytes(23)
    builder = VolumeBuilder(3, on_broken="leave out")
    for one in (good[0], broken, *good[1:]):
        builder.add(one)
    made = builder.volume()
    assert np.array_equal(made.voxels, Volume.from_datasets(good).voxels)
    assert len(made.report.left_out) == 1
