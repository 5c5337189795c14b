"""Volumes: from real series with known answers, and from small ones made to be wrong in one way."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.cli.exits import sentence
from aiodicom.dataset.errors import ImagingError, MalformedDataSet, NestingTooDeep, TruncatedFile
from aiodicom.dataset.part10 import read_header
from aiodicom.imaging import codecs, piles, pixels
from aiodicom.imaging.builder import VolumeBuilder
from aiodicom.imaging.errors import (
    DuplicateSlices,
    IrregularGeometry,
    MixedSeries,
    SlicesMissing,
    UnsupportedPixels,
    VolumeError,
)
from aiodicom.imaging.headers import frames_of_file
from aiodicom.imaging.image import Image
from aiodicom.imaging.volume import Volume
from imaging_series import BIG, DEFLATED, EXPLICIT, IMPLICIT, image, raw, save, series
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

# --- real series ------------------------------------------------------------------------------------------

REGULAR = [
    "ct_axial_head",
    "ct_axial_rescale",
    "ct_gantry_tilt",
    "ct_gantry_tilt_small",
    "mr_oblique_3d",
    "mr_sagittal",
    "mr_sagittal_small",
    "mr_coronal",
    "mr_oblique_double",
    "mr_float_rescale_per_slice",
    "mr_compressed_rle",
    "mr_uncompressed_same",
    "mr_enhanced_siemens",
    "mr_enhanced_xa30",
    "ct_legacy_multiframe",
]


@pytest.mark.parametrize("case", REGULAR)
def test_real_series_agree_with_independent_tools(data: Path, expected: dict[str, Any], case: str) -> None:
    wanted = expected[case]
    volume = Volume.from_files(data / case)
    voxels = volume.voxels.transpose(1, 2, 0)
    assert list(voxels.shape) == wanted["voxels"]["shape"]
    assert np.abs(volume.geometry.affine_rcs - wanted["affine_lps_rcs"]).max() < 1e-4
    corners = volume.geometry._map_by_slice(volume.geometry._corner_indices())
    assert np.abs(corners - volume.geometry.voxel_to_patient(volume.geometry._corner_indices())).max() < 0.02
    if "sha256_int32" in wanted["voxels"]:
        assert volume.voxels.dtype.kind in "iu"
        assert hashlib.sha256(voxels.astype("<i4").tobytes()).hexdigest() == wanted["voxels"]["sha256_int32"]
    else:
        assert volume.voxels.dtype == np.float32
        for statistic in ("min", "max", "mean"):
            found = getattr(volume.voxels.astype(np.float64), statistic)()
            assert found == pytest.approx(wanted["voxels"][statistic], rel=1e-6)
    assert volume.voxels.flags.c_contiguous
    assert volume.modality == wanted["modality"]
    assert volume.orientation == wanted["orientation"]
    assert volume.geometry.shear_angle == pytest.approx(wanted["shear_deg"], abs=0.01)
    matlab = wanted["matlab"]
    assert volume.voxel_spacing == pytest.approx(matlab["VoxelSpacing"], abs=1e-5)
    assert volume.normal_vector == pytest.approx(matlab["NormalVector"], abs=1e-5)
    row, column, third = matlab["planes_of_row_col_slice"]
    assert volume.plane_mapping == (column, row, third)
    assert volume.num_transverse_slices == matlab["NumTransverseSlices"]
    assert volume.num_coronal_slices == matlab["NumCoronalSlices"]
    assert volume.num_sagittal_slices == matlab["NumSagittalSlices"]
    assert [center for center in wanted["window_centers"] if center is not None] == list(
        volume.window_centers
    )
    assert [width for width in wanted["window_widths"] if width is not None] == list(volume.window_widths)
    if wanted["slice_files"]:
        assert [Path(source.name).name for source in volume.sources] == wanted["slice_files"]


@pytest.mark.parametrize(
    "case", ["mr_compressed", "mr_compressed_j2k", "mr_compressed_jpeg", "mr_compressed_jpegls"]
)
def test_compressed_series_are_right_or_name_the_package(
    data: Path, expected: dict[str, Any], case: str
) -> None:
    try:
        volume = Volume.from_files(data / case)
    except UnsupportedPixels as error:
        if "pip install" not in str(error):
            raise
        return
    digest = hashlib.sha256(volume.voxels.transpose(1, 2, 0).astype("<i4").tobytes()).hexdigest()
    assert digest == expected[case]["voxels"]["sha256_int32"]


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("ct_gap", SlicesMissing, "10 mm from .*im0003.dcm to .*im0000.dcm"),
        ("ct_same_position", DuplicateSlices, "acquisition number"),
        ("ct_duplicate_positions", SlicesMissing, "missing"),
        ("mr_survey_three_planes", MixedSeries, "3 stacks"),
        ("mr_multi_echo", DuplicateSlices, "echo time"),
        ("broken_inputs", TruncatedFile, "MR_truncated.dcm"),
        ("img_sc_rgb", ImagingError, "SC_|Text"),
        ("licences", VolumeError, "no image"),
    ],
)
def test_real_defects_are_named(data: Path, case: str, error: type[ImagingError], words: str) -> None:
    with pytest.raises(error, match=words):
        Volume.from_files(data / case)


def test_a_real_gap_can_be_kept(data: Path, expected: dict[str, Any]) -> None:
    volume = Volume.from_files(data / "ct_gap", on_gap="keep")
    assert not volume.geometry.is_affine
    depths = volume.geometry.positions @ volume.normal_vector
    assert depths == pytest.approx(expected["ct_gap"]["slice_positions"], abs=1e-4)
    assert volume.geometry.voxel_to_patient((3, 0, 0))[2] == pytest.approx(38.107498)
    digest = hashlib.sha256(volume.voxels.transpose(1, 2, 0).astype("<i4").tobytes()).hexdigest()
    assert digest == expected["ct_gap"]["voxels"]["sha256_int32"]


def test_one_volume_of_a_real_time_series_can_be_chosen(data: Path) -> None:
    first = Volume.from_files(data / "mr_4d_fmri_ge", on_duplicate="first")
    last = Volume.from_files(data / "mr_4d_fmri_ge", on_duplicate="last")
    assert first.voxels.shape == last.voxels.shape == (4, 64, 64)
    assert not np.array_equal(first.voxels, last.voxels)
    assert len(first.report.left_out) == 4


def test_a_real_dose_is_placed_by_its_frame_offsets(data: Path) -> None:
    volume = Volume.from_files(data / "rtdose_multiframe")
    assert volume.voxels.shape == (15, 10, 10)
    assert volume.voxel_spacing == (10, 10, 5)
    assert volume.voxels.max() == pytest.approx(1.254)


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("kind", ["<i2", "<u2", "<u1", "<i1", "<u4", "<i4"])
def test_stored_values_in_every_syntax_and_width(tmp_path: Path, syntax: str, kind: str) -> None:
    made = [image(number, syntax, kind) for number in (1, 0)]
    if syntax != DEFLATED:
        straight = Volume.from_datasets(made).voxels
    volume = Volume.from_files(save(tmp_path, made))
    assert volume.voxels.dtype == np.dtype(kind)
    assert volume.voxels[1].tolist() == (np.arange(12).reshape(3, 4) + 100).tolist()
    assert volume.voxels[0].tolist() == np.arange(12).reshape(3, 4).tolist()
    if syntax != DEFLATED:
        assert np.array_equal(straight, volume.voxels)


def test_slices_are_sorted_by_place_whatever_their_names_and_numbers(read: Callable[..., Volume]) -> None:
    made = series(6)
    for number, dataset in enumerate(made):
        dataset.InstanceNumber = number
        dataset.SliceLocation = -number
    volume = read(made)
    assert volume.voxels[:, 0, 0].tolist() == [100, 200, 300, 400, 500, 600]
    assert [source.sop_instance_uid for source in volume.sources] == [f"1.2.3.{n}" for n in range(1, 7)]
    assert volume.geometry.affine[:3, 3].tolist() == [-1, -2, 2]
    assert volume.matlab_voxels.shape == (4, 3, 6)
    assert volume.matlab_voxels[3, 1, 5] == volume.voxels[5, 1, 3] == 607
    assert np.shares_memory(volume.matlab_voxels, volume.voxels)
    assert volume.spatial_units == "mm"
    assert volume.window_centers == ()


@pytest.mark.parametrize(
    ("slopes", "intercepts", "kind", "result"),
    [
        ((1, 1), (-1024, -1024), "<u2", "int16"),
        ((2, 1), (0, -5), "<u2", "int16"),
        ((1, 1), (-40000, 7), "<i2", "int32"),
        ((-30000, 1), (0, 0), "<i2", "int32"),
        ((1, 1), (-1, -1), "<u1", "int8"),
        ((1, 3), (-1, -1), "<u1", "int16"),
        ((1, 0.5), (0, 0), "<i2", "float32"),
        ((1, 1), (0, 0.25), "<u2", "float32"),
        ((1e-9, 3e-8), (0, 0), "<u2", "float32"),
    ],
)
def test_rescale_is_exact_for_each_slice(
    read: Callable[..., Volume], slopes: Any, intercepts: Any, kind: str, result: str
) -> None:
    made = [
        image(number, kind=kind, RescaleSlope=str(slope), RescaleIntercept=str(intercept))
        for number, slope, intercept in zip((0, 1), slopes, intercepts, strict=True)
    ]
    volume = read(made)
    assert volume.voxels.dtype == result
    stored = np.arange(12).reshape(3, 4) + np.array([0, 100])[:, None, None]
    wanted = stored * np.array(slopes, float)[:, None, None] + np.array(intercepts, float)[:, None, None]
    assert np.array_equal(volume.voxels, wanted.astype(result))
    assert volume.rescale == tuple(zip(slopes, intercepts, strict=True))


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beside_the_stored_ones_are_cleared(read: Callable[..., Volume], signed: int) -> None:
    made = image(1, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    made.PixelData = np.array([0xF801, 0x17FF] * 6, "<u2").tobytes()
    voxels = read([made]).voxels
    assert voxels.ravel()[:2].tolist() == ([-2047, 2047] if signed else [0x801, 0x7FF])


def test_bits_stored_at_the_top_are_moved_down(read: Callable[..., Volume]) -> None:
    made = image(1, BitsStored=12, HighBit=15, PixelRepresentation=0)
    made.PixelData = np.array([0xABCF] * 12, "<u2").tobytes()
    assert set(read([made]).voxels.ravel().tolist()) == {0xABC}


def test_windows_of_each_slice(read: Callable[..., Volume]) -> None:
    made = [image(n, WindowCenter=[10 * n, 5], WindowWidth=[100 + n, 5]) for n in (2, 1, 3)]
    volume = read(made)
    assert volume.window_centers == (10, 20, 30)
    assert volume.window_widths == (101, 102, 103)


@pytest.mark.parametrize("value", [b"NaN ", b"AUTO", b"40,0"])
@pytest.mark.parametrize("name", ["WindowCenter", "WindowWidth"])
def test_a_window_that_is_no_number_is_left_out_and_told(
    read: Callable[..., Volume], value: bytes, name: str
) -> None:
    made = [image(n, WindowCenter=40, WindowWidth=400) for n in (1, 2, 3)]
    for dataset in made[:2]:
        raw(dataset, name, value)
    volume = read(made)
    assert volume.windows == (None, None, (40, 400))
    assert len(volume.report.assumptions) == 1
    assert "and 1 more" in volume.report.assumptions[0]
    assert "is no number and left out" in volume.report.assumptions[0]
    assert volume.report.left_out == ()


def test_a_window_without_width_is_left_out_and_told(read: Callable[..., Volume]) -> None:
    """PS3.3 C.11.2.1.2.1: Window Width is at least 1, C.11.2.1.3: at any rate above 0."""
    volume = read([image(1, WindowCenter=40, WindowWidth=0), image(2)])
    assert volume.windows == (None, None)
    assert "Window Width (0028,1051) is not above zero" in volume.report.assumptions[0]


def test_distances_that_only_one_slice_needs_do_not_stop_a_stack(read: Callable[..., Volume]) -> None:
    made = series(3)
    raw(made[0], "SpacingBetweenSlices", b"none")
    raw(made[1], "SliceThickness", b"thin")
    volume = read(made)
    assert volume.voxel_spacing == (0.25, 0.5, 2)
    assert len(volume.report.assumptions) == 2


def test_what_only_tells_images_apart_does_not_stop_them() -> None:
    made = series(3)
    tag = Tag("DiffusionBValue")
    made[0][tag] = RawDataElement(tag, "FD", 3, b"abc", 0, False, True)
    volume = Volume.from_datasets(made)
    assert volume.voxels.shape[0] == 3
    assert volume.report.assumptions == (
        "data set 1: Diffusion b-value (0018,9087) cannot be read and is left out",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImagePositionPatient", b"-1\\-2\\NaN"),
        ("PixelSpacing", b"0,5\\0.5 "),
        ("RescaleSlope", b"AUTO"),
        ("RescaleIntercept", b"1_0 "),
    ],
)
def test_what_places_and_scales_stays_strict(read: Callable[..., Volume], name: str, value: bytes) -> None:
    made = series(3)
    raw(made[1], name, value)
    with pytest.raises(MalformedDataSet, match=r"(y\.dcm|data set 2): .* does not hold"):
        read(made)


def test_enhanced_frames_have_their_own_place_and_rescale(read: Callable[..., Volume]) -> None:
    made = image(
        1, NumberOfFrames=3, ImagePositionPatient=None, PixelSpacing=None, ImageOrientationPatient=None
    )
    made.PixelData = b"".join(image(n).PixelData for n in (3, 1, 2))
    orientation, spacing, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    spacing.PixelSpacing = [0.5, 0.25]
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([spacing])
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in (3, 1, 2):
        place, transform, frame = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-4 * number, 0, 0]
        transform.RescaleSlope, transform.RescaleIntercept = 1, number
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([transform])
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    volume = read([made])
    assert volume.voxels[:, 0, 0].tolist() == [101, 202, 303]
    assert [source.frame for source in volume.sources] == [1, 2, 0]
    assert volume.orientation == "sagittal"
    assert volume.voxel_spacing == (0.25, 0.5, 4)


def test_slices_of_a_plane(read: Callable[..., Volume]) -> None:
    volume = read(series(5))
    taken = volume.extract_slice(2, "coronal")
    assert np.array_equal(taken.pixels, volume.voxels[:, 2, :])
    assert taken.spacing == (2, 0.25)
    assert taken.corners[0].tolist() == [-1, -1, 2]
    assert taken.corners[2].tolist() == [-0.25, -1, 10]
    assert np.shares_memory(taken.pixels, volume.voxels)
    assert np.array_equal(volume.extract_slice(4).pixels, volume.voxels[4])
    assert volume.extract_slice(3, "sagittal").pixels.shape == (5, 3)
    with pytest.raises(IndexError):
        volume.extract_slice(5, "transverse")
    with pytest.raises(ValueError, match="plane"):
        volume.extract_slice(0, "axial")


# --- defects ----------------------------------------------------------------------------------------------


def test_a_missing_slice_is_named_or_kept(read: Callable[..., Volume]) -> None:
    made = [image(number) for number in (1, 2, 3, 5, 6)]
    with pytest.raises(SlicesMissing, match=r"about 1 slices.* 4 mm from .* where 2 mm is usual"):
        read(made)


def test_a_kept_gap_maps_slice_by_slice(read: Callable[..., Volume]) -> None:
    volume = read([image(number) for number in (1, 2, 3, 5)], on_gap="keep")
    assert volume.geometry.voxel_to_patient((3, 0, 0)).tolist() == [-1, -2, 10]
    assert volume.report.deviation_mm > 0.5


def test_uneven_distances_need_a_tolerance(read: Callable[..., Volume]) -> None:
    made = series(4)
    made[0].ImagePositionPatient[2] += 0.5
    with pytest.raises(IrregularGeometry, match="tolerance_mm"):
        read(made)


def test_uneven_distances_within_the_tolerance(read: Callable[..., Volume]) -> None:
    made = series(4)
    made[0].ImagePositionPatient[2] += 0.5
    assert read(made, tolerance_mm=0.6).geometry.is_affine


def scaled(scale: float, numbers: list[float], **moved: float) -> list[Dataset]:
    """Slices at z = 2 * number, all lengths times `scale`; of the last x and z are moved by so much."""
    made = []
    for place, number in enumerate(numbers):
        last = place == len(numbers) - 1
        x = -1 + (moved.get("x", 0) if last else 0)
        z = 2 * number + (moved.get("z", 0) if last else 0)
        dataset = image(place + 1, PixelSpacing=[f"{0.5 * scale:.8g}", f"{0.25 * scale:.8g}"])
        dataset.ImagePositionPatient = [f"{value * scale:.8g}" for value in (x, -2, z)]
        made.append(dataset)
    return made


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 1.0, 100.0])
class TestDistancesInMicrometresAndDecimetres:
    """What counts as a distance follows the voxel: micro-CT has voxels of micrometres."""

    def test_neighbours_are_not_taken_for_one_position(self, scale: float) -> None:
        volume = Volume.from_datasets(scaled(scale, [1, 2, 3, 4]))
        assert volume.voxels.shape == (4, 3, 4)
        assert volume.voxel_spacing == pytest.approx((0.25 * scale, 0.5 * scale, 2 * scale))

    def test_gaps_are_seen(self, scale: float) -> None:
        with pytest.raises(SlicesMissing):
            Volume.from_datasets(scaled(scale, [1, 2, 3, 5]))

    def test_uneven_distances_are_seen(self, scale: float) -> None:
        with pytest.raises(IrregularGeometry, match="off the regular grid"):
            Volume.from_datasets(scaled(scale, [1, 2, 3, 4], z=0.6))

    def test_rounding_is_allowed(self, scale: float) -> None:
        volume = Volume.from_datasets(scaled(scale, [1, 2, 3, 4], z=0.04 / max(scale, 1)))
        assert volume.geometry.is_affine

    def test_one_position_is_seen(self, scale: float) -> None:
        with pytest.raises(DuplicateSlices):
            Volume.from_datasets(scaled(scale, [1, 2, 3, 3], z=0.001 / max(scale, 1)))

    def test_images_side_by_side_are_seen(self, scale: float) -> None:
        with pytest.raises(IrregularGeometry, match="side by side"):
            Volume.from_datasets(scaled(scale, [1, 2, 3, 3], x=0.2))


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    save(tmp_path, series(3))
    shutil.copy(tmp_path / "z.dcm", tmp_path / "copy.dcm")
    volume = Volume.from_files(tmp_path)
    assert volume.voxels.shape[0] == 3
    assert [Path(left.name).name for left in volume.report.left_out] == ["z.dcm"]
    assert "same instance" in volume.report.left_out[0].why


def test_one_uid_on_two_different_images_is_an_error(read: Callable[..., Volume]) -> None:
    with pytest.raises(DuplicateSlices, match="one SOP Instance UID"):
        read([image(1), image(2), image(3, SOPInstanceUID="1.2.3.1")])


def test_equal_pixels_at_one_position_count_once(read: Callable[..., Volume]) -> None:
    volume = read([*series(3), image(2, SOPInstanceUID="1.2.3.9")])
    assert volume.voxels.shape[0] == 3
    assert "same position" in volume.report.left_out[0].why


@pytest.mark.parametrize(("choice", "value"), [("first", 200), ("last", 900)])
def test_different_images_at_one_position_are_chosen_by_number(
    read: Callable[..., Volume], choice: str, value: int
) -> None:
    volume = read([image(9, ImagePositionPatient=[-1, -2, 4]), *series(3)], on_duplicate=choice)
    assert volume.voxels[:, 0, 0].tolist() == [100, value, 300]
    assert len(volume.report.left_out) == 1


def test_different_images_at_one_position_are_an_error(read: Callable[..., Volume]) -> None:
    made = [image(9, ImagePositionPatient=[-1, -2, 4], EchoTime=20), *series(3, EchoTime=10)]
    with pytest.raises(DuplicateSlices, match=r"1 of 3 positions.*echo time, instance number"):
        read(made)


def test_images_side_by_side_are_no_volume(read: Callable[..., Volume]) -> None:
    with pytest.raises(IrregularGeometry, match="side by side"):
        read([*series(3), image(9, ImagePositionPatient=[50, -2, 4])])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "sagittal"),
        ({"Rows": 2, "Columns": 2}, "2 x 2"),
        ({"PixelSpacing": [1, 1]}, "2 stacks, which differ in pixel spacing;"),
        ({"SeriesInstanceUID": "1.9", "SeriesDescription": "other/one"}, r"series_uid=.*other_one \(1\.9\)"),
        ({"FrameOfReferenceUID": "1.7"}, "differ in frame of reference;.*, frame of reference 1.7"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "differ in orientation"),
        ({"Modality": "CT"}, "differ in modality"),
    ],
)
def test_several_stacks_are_told_apart(
    read: Callable[..., Volume], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(MixedSeries, match=words) as caught:
        read([*series(3), image(7, **changes)])
    assert "Secret" not in str(caught.value)


def test_a_series_can_be_chosen(read: Callable[..., Volume]) -> None:
    volume = read([*series(3), image(7, SeriesInstanceUID="1.9")], series_uid="1.2.3")
    assert volume.voxels.shape[0] == 3
    assert volume.series_uid == "1.2.3"
    assert volume.report.left_out[0].why == "of series 1.9"


def test_an_unknown_series_is_an_error(read: Callable[..., Volume]) -> None:
    with pytest.raises(VolumeError, match=r"no image is of series 1\.8; there is 1\.2\.3"):
        read(series(2), series_uid="1.8")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ImagePositionPatient": None}, IrregularGeometry, "Position"),
        ({"PixelSpacing": None}, IrregularGeometry, "Spacing"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, IrregularGeometry, "mosaic"),
        ({"Rows": 60000}, UnsupportedPixels, "24 bytes of pixel data"),
        ({"Rows": 0}, UnsupportedPixels, "no image"),
        ({"BitsAllocated": 12}, UnsupportedPixels, "12 bits"),
        ({"BitsStored": 17}, UnsupportedPixels, "17"),
        ({"HighBit": 20}, UnsupportedPixels, "20"),
        ({"NumberOfFrames": 1000000}, UnsupportedPixels, "1000000"),
    ],
)
def test_headers_that_cannot_be_true(
    read: Callable[..., Volume], changes: dict[str, Any], error: type[ImagingError], words: str
) -> None:
    with pytest.raises(error, match=words):
        read([image(1, **changes)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angle"),
        ({"PixelSpacing": [0, 1]}, r"Pixel Spacing \(0028,0030\) is not above zero"),
        ({"PixelSpacing": ["1e-300", "1e300"]}, r"\(0028,0030\) cannot be meant"),
        ({"PixelSpacing": ["1e-7", "1"]}, r"\(0028,0030\) cannot be meant"),
        ({"ImagePositionPatient": ["0", "-1e300", "0"]}, r"\(0020,0032\) cannot be meant"),
        ({"RescaleIntercept": "1e30"}, "64 bits"),
        ({"NumberOfFrames": 2}, "24 bytes of pixel data"),
    ],
)
def test_every_refusal_names_the_image(
    read: Callable[..., Volume], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ImagingError, match=rf"(z\.dcm|data set 1).*{words}"):
        read([image(1, **changes)])


def test_a_file_whose_head_is_cut_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, [image(1)]) / "z.dcm"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TruncatedFile, match=r"z\.dcm"):
        Volume.from_files(path)


def test_frames_that_have_no_places_of_their_own_are_called_that(read: Callable[..., Volume]) -> None:
    made = image(1, NumberOfFrames=3)
    made.PixelData = b"".join(image(n).PixelData for n in (3, 1, 2))
    with pytest.raises(IrregularGeometry, match=r"3 frames have no places of their own.*an Image"):
        read([made])


def test_one_of_the_frames_without_places_can_be_taken(read: Callable[..., Volume]) -> None:
    made = image(1, NumberOfFrames=3)
    made.PixelData = b"".join(image(n).PixelData for n in (3, 1, 2))
    assert read([made], on_duplicate="first").voxels[:, 0, 0].tolist() == [300]


def test_private_elements_that_nobody_can_read_do_no_harm(tmp_path: Path) -> None:
    made = image(1, NumberOfFrames=2, ImagePositionPatient=None)
    made.PixelData = image(1).PixelData + image(2).PixelData
    frames = []
    for number in (1, 2):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, number]
        frame.PlanePositionSequence = Sequence([place])
        frame.add_new(0x20051001, "LO", "abcdef")
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    path = save(tmp_path, [made]) / "z.dcm"
    spoiled = path.read_bytes().replace(b"\x05\x20\x01\x10LO", b"\x05\x20\x01\x10FL")  # of 6 bytes
    path.write_bytes(spoiled)
    assert Volume.from_files(path).voxels.shape == (2, 3, 4)
    assert Volume.from_datasets([dcmread(path)]).voxels.shape == (2, 3, 4)


# --- precedence and place ---------------------------------------------------------------------------------


def dose(**changes: Any) -> Dataset:
    return image(1, Modality="RTDOSE", DoseGridScaling="0.5", **changes)


def test_doses_are_scaled_whether_they_have_one_frame_or_many(read: Callable[..., Volume]) -> None:
    """PS3.3 C.8.8.3: Dose Grid Scaling times Pixel Data are the doses."""
    assert read([dose()]).voxels.ravel()[:3].tolist() == [50, 50.5, 51]


def test_dose_grid_scaling_counts_before_a_rescale(read: Callable[..., Volume]) -> None:
    """PS3.3 C.8.8.3: it is Pixel Data that it multiplies."""
    volume = read([dose(RescaleSlope=3, RescaleIntercept=7)])
    assert volume.rescale == ((0.5, 0),)
    assert any("beside Dose Grid Scaling" in told for told in volume.report.assumptions)


def test_dose_grid_scaling_of_anything_else_does_not_count(read: Callable[..., Volume]) -> None:
    assert read([image(1, DoseGridScaling="0.5")]).rescale == ((1, 0),)


@pytest.mark.parametrize("first", [0, 7])
def test_frames_of_a_dose_lie_where_their_offsets_say(read: Callable[..., Volume], first: int) -> None:
    """PS3.3 C.8.8.3.2: relative to Image Position (Patient), or absolute."""
    made = dose(NumberOfFrames=3, GridFrameOffsetVector=[first, first + 4, first + 2])
    made.PixelData = b"".join(image(n).PixelData for n in (1, 3, 2))
    volume = read([made])
    assert volume.voxels[:, 0, 0].tolist() == [50, 100, 150]
    assert volume.geometry.positions.tolist() == [[-1, -2, 2], [-1, -2, 4], [-1, -2, 6]]


def test_offsets_of_anything_but_a_dose_do_not_count(read: Callable[..., Volume]) -> None:
    made = image(1, NumberOfFrames=3, GridFrameOffsetVector=[0, 2, 4])
    made.PixelData = b"".join(image(n).PixelData for n in (1, 2, 3))
    with pytest.raises(IrregularGeometry, match="no places of their own"):
        read([made])


@pytest.mark.parametrize("offsets", [[0, 2], [0, 2, 4, 6]])
def test_offsets_that_are_not_one_a_frame(read: Callable[..., Volume], offsets: list[int]) -> None:
    made = dose(NumberOfFrames=3, GridFrameOffsetVector=offsets)
    made.PixelData = bytes(72)
    with pytest.raises(MalformedDataSet, match=r"Vector \(3004,000C\) places"):
        read([made])


def table(**changes: Any) -> Dataset:
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [3, 100, 16], "US"
    lut.add_new(0x00283006, "US", [7, 8, 9])
    return image(1, kind="<u2", ModalityLUTSequence=Sequence([lut]), **changes)


@pytest.mark.parametrize("changes", [{"RescaleIntercept": 5}, {"RescaleSlope": 2}])
def test_a_table_beside_a_rescale_does_not_count(
    read: Callable[..., Volume], changes: dict[str, Any]
) -> None:
    """PS3.3 C.11.1: the sequence shall not be present if Rescale Intercept is."""
    volume = read([table(**changes)])
    assert volume.voxels[0, 0, 1] == (106 if "RescaleIntercept" in changes else 202)
    told = "; ".join(volume.report.assumptions)
    assert "Modality LUT Sequence (0028,3000) is left out" in told
    assert "beside it" in told


def test_a_table_alone_counts() -> None:
    """PS3.3 C.11.1: Rescale Intercept is required if the sequence is not present."""
    volume = Volume.from_datasets([table()])
    assert volume.voxels.ravel().tolist() == [7, 8] + [9] * 10
    assert volume.voxels.dtype == np.uint16
    assert Image.from_dataset(table()).pixels.ravel().tolist() == [7, 8] + [9] * 10
    stored = Volume.from_datasets([table()], values="stored")
    assert stored.voxels.ravel().tolist() == list(range(100, 112))


def test_tables_of_each_slice_in_files_and_while_they_come(read: Callable[..., Volume]) -> None:
    made = [table(), table(), table()]
    for number, one in enumerate(made):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        one.ImagePositionPatient = [0, 0, 2 * number]
        one.ModalityLUTSequence[0]["LUTData"].value = [number, 8, 300]
    volume = read([made[2], made[0], made[1]])
    assert volume.voxels[:, 0, :3].tolist() == [[0, 8, 300], [1, 8, 300], [2, 8, 300]]
    assert volume.rescale == ((1, 0),) * 3
    builder = VolumeBuilder(3)
    for one in (made[2], made[0], made[1]):
        builder.add(one)
    assert np.array_equal(builder.partial().voxels, volume.voxels)
    assert np.array_equal(builder.volume().voxels, volume.voxels)


def test_a_table_beside_slices_without_one_is_refused() -> None:
    with pytest.raises(UnsupportedPixels, match="no modality look-up table"):
        Volume.from_datasets([table(), image(2, kind="<u2")])


def test_padding_behind_a_table_is_not_known() -> None:
    assert Volume.from_datasets([table(PixelPaddingValue=100)]).padding_mask() is None
    mask = Volume.from_datasets([table(PixelPaddingValue=100)], values="stored").padding_mask()
    assert mask is not None
    assert mask.sum() == 1


def test_real_world_values_do_not_stand_for_the_rescale(read: Callable[..., Volume]) -> None:
    """PS3.3 C.7.6.16.2.11: they are another mapping of what is stored."""
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 9.0, 9.0
    mapping.add_new(0x00281053, "DS", "9")
    volume = read([image(1, RealWorldValueMappingSequence=Sequence([mapping]))])
    assert volume.rescale == ((1, 0),)


@pytest.mark.parametrize("name", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_spacing_elsewhere_than_in_the_patient_does_not_count(read: Callable[..., Volume], name: str) -> None:
    """PS3.3 10.7.1.1: it is that of the detector or of the scanned film."""
    with pytest.raises(IrregularGeometry, match="no Pixel Spacing"):
        read([image(1, PixelSpacing=None, **{name: [0.5, 0.25]})])


def test_of_one_slice_the_distance_counts_before_the_thickness(read: Callable[..., Volume]) -> None:
    """PS3.3 C.7.6.2.1.1: Slice Thickness is not how far slices lie apart."""
    assert read([image(1, SpacingBetweenSlices=4, SliceThickness=3)]).voxel_spacing[2] == 4


def test_the_window_of_a_frame_counts_before_that_of_the_object(read: Callable[..., Volume]) -> None:
    """PS3.3 C.7.6.16.2.10."""
    window, group = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = [40, 1], [400, 1]
    group.FrameVOILUTSequence = Sequence([window])
    made = image(1, WindowCenter=9, WindowWidth=9, SharedFunctionalGroupsSequence=Sequence([group]))
    assert read([made]).windows == ((40, 400),)


def test_indices_into_a_palette_need_their_palette(read: Callable[..., Volume]) -> None:
    """PS3.3 C.7.6.3.1.2."""
    with pytest.raises(UnsupportedPixels, match="palette"):
        read([image(1, PhotometricInterpretation="PALETTE COLOR")])


def test_pixel_data_of_two_kinds_are_refused(read: Callable[..., Volume]) -> None:
    """PS3.3 C.7.6.3, C.7.6.24: each excludes the other."""
    made = image(1)
    made.add_new(0x7FE00008, "OF", bytes(48))
    with pytest.raises(MalformedDataSet, match=r"Pixel Data .* exclude each other"):
        read([made])


# --- work grows with the work ------------------------------------------------------------------------------


def test_images_at_one_position_are_read_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each other image there: a series over time has hundreds."""
    reads: list[str] = []
    stored = pixels.DatasetPixels.stored

    def counted(source: pixels.DatasetPixels, index: int) -> Any:
        reads.append(source.name)
        return stored(source, index)

    monkeypatch.setattr(pixels.DatasetPixels, "stored", counted)
    made = [image(n, ImagePositionPatient=[-1, -2, n % 2], InstanceNumber=None) for n in range(60)]
    with pytest.raises(DuplicateSlices, match="2 of 2 positions"):
        Volume.from_datasets(made)
    assert len(reads) == len(set(reads)) == 60


def test_equal_images_among_many_different_ones_are_still_found() -> None:
    made = [image(n, ImagePositionPatient=[-1, -2, 0]) for n in range(1, 9)]
    made.append(image(5, ImagePositionPatient=[-1, -2, 0], SOPInstanceUID="1.2.3.50", InstanceNumber=50))
    volume = Volume.from_datasets(made, on_duplicate="first")
    assert volume.voxels[0, 0, 0] == 100
    whys = [left.why for left in volume.report.left_out]
    assert whys.count("the same position and pixels as data set 5") == 1
    assert whys.count("at the position of data set 1") == 7


def test_many_stacks_are_told_apart_without_comparing_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    agree = piles._agree

    def counted(*pair: Any) -> bool:
        compared.append(pair)
        return agree(*pair)

    monkeypatch.setattr(piles, "_agree", counted)
    made = []
    for number in range(200):
        turn = math.radians(number * 0.9)
        cosines = [f"{value:.12f}" for value in (math.cos(turn), math.sin(turn), 0, 0, 0, -1)]
        made.append(image(number + 1, ImageOrientationPatient=cosines))
    with pytest.raises(MixedSeries, match="200 stacks, which differ in orientation"):
        Volume.from_datasets(made)
    assert len(compared) < 5 * len(made)


def test_orientations_that_agree_form_one_stack_whatever_the_order() -> None:
    rounded = [[1, 0, 0, 0, 1, 0], [0.999, 0.001, 0, -0.001, 0.999, 0], [1, -0.001, 0, 0.001, 1, 0]]
    made = [image(n + 1, ImageOrientationPatient=rounded[n % 3]) for n in range(6)]
    assert Volume.from_datasets(made).voxels.shape[0] == 6


def test_one_frame_of_many_is_found_by_its_number(tmp_path: Path) -> None:
    made = image(1, NumberOfFrames=3)
    made.PixelData = b"".join(image(n).PixelData for n in (3, 1, 2))
    path = save(tmp_path, [made]) / "z.dcm"
    assert [frame.name for frame in frames_of_file(path, 1)] == [f"{path} frame 2"]
    assert [frame.index for frame in frames_of_file(path)] == [0, 1, 2]
    with pytest.raises(IndexError, match="3 frames, none is 3"):
        frames_of_file(path, 3)


# --- whole and not whole ----------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"\1\2\3\4\5\6\7\x08\x09\x0a", b"\xff" * 100, bytes(8) + b"rest of it"])
def test_bytes_behind_whole_pixel_data_are_left_out_and_told(tmp_path: Path, behind: bytes) -> None:
    path = save(tmp_path, [image(1)]) / "z.dcm"
    path.write_bytes(path.read_bytes() + behind)
    volume = Volume.from_files(path)
    assert volume.voxels.ravel().tolist() == list(range(100, 112))
    assert f"{len(behind)} bytes behind the pixel data" in "".join(volume.report.assumptions)


def test_bytes_behind_encapsulated_pixel_data_are_left_out_and_told(tmp_path: Path) -> None:
    made = image(1, syntax="1.2.840.10008.1.2.5", kind="<u1")
    row = bytes([11, *range(12)])
    made.PixelData = encapsulate([b"\1\0\0\0\x40" + bytes(59) + row + b"\0"])
    made["PixelData"].is_undefined_length = True
    path = save(tmp_path, [made]) / "z.dcm"
    path.write_bytes(path.read_bytes() + b"\xfe" * 20)
    volume = Volume.from_files(path)
    assert volume.voxels.ravel().tolist() == list(range(12))
    assert "20 bytes behind the pixel data" in "".join(volume.report.assumptions)


@pytest.mark.parametrize(("syntax", "label"), [(BIG, EXPLICIT), (EXPLICIT, BIG), (EXPLICIT, IMPLICIT)])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_file_labelled_with_another_plain_syntax_is_read_and_told(
    tmp_path: Path, syntax: str, label: str, frames: int
) -> None:
    made = image(1, syntax, NumberOfFrames=frames, Modality="RTDOSE", GridFrameOffsetVector=[0, 2][:frames])
    made.PixelData = made.PixelData * frames
    path = save(tmp_path, [made]) / "z.dcm"
    written = path.read_bytes()
    spoiled = written.replace(f"{syntax}\0".encode(), f"{label}\0".encode().ljust(len(syntax) + 1, b"\0"))
    assert spoiled != written
    path.write_bytes(spoiled)
    volume = Volume.from_files(path)
    assert volume.voxels.ravel().tolist() == list(range(100, 112)) * frames
    assert "labelled" in "".join(volume.report.assumptions)
    assert np.array_equal(Image.from_file(path).pixels[:, :, 0, 0], volume.voxels[0])


def test_a_cut_file_is_truncated_whatever_its_label(tmp_path: Path) -> None:
    path = save(tmp_path, [image(1, BIG)]) / "z.dcm"
    path.write_bytes(path.read_bytes().replace(f"{BIG}\0".encode(), f"{EXPLICIT}\0".encode())[:-3])
    with pytest.raises(TruncatedFile, match=r"z\.dcm"):
        Volume.from_files(path)


def relabelled(path: Path, label: str) -> None:
    """Give a file another transfer syntax, and leave its data set as it is."""
    meta, data = read_file_meta_info(path), path.read_bytes()[read_header(path).data_offset :]
    meta.TransferSyntaxUID = UID(label)
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)
        file.write(data)


@pytest.mark.parametrize("label", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", DEFLATED])
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("pixels", [b"\1\0\2\0\3\0", b"\1\2\3\0"])  # the last byte pads
def test_plain_pixels_labelled_as_compressed_are_read_and_told(
    tmp_path: Path, label: str, encoding: str, pixels: bytes
) -> None:
    kind = "<i2" if len(pixels) == 6 else "<u1"
    path = save(tmp_path, [image(1, encoding, kind, Rows=1, Columns=3, PixelData=pixels)]) / "z.dcm"
    relabelled(path, label)
    volume = Volume.from_files(path)
    assert volume.voxels.ravel().tolist() == [1, 2, 3]
    assert "labelled" in "".join(volume.report.assumptions)
    assert Image.from_file(path).pixels.ravel().tolist() == [1, 2, 3]
    if encoding == EXPLICIT and label != DEFLATED:
        volume = Volume.from_datasets([dcmread(path)])
        assert volume.voxels.ravel().tolist() == [1, 2, 3]
        assert "not compressed" in "".join(volume.report.assumptions)


@pytest.mark.parametrize("changes", [{"ImageOrientationPatient": None}, {"GridFrameOffsetVector": [0, 1, 2]}])
def test_an_image_is_read_where_its_frames_cannot_be_placed(changes: dict[str, Any]) -> None:
    made = image(1, Modality="RTDOSE", NumberOfFrames=2, GridFrameOffsetVector=[0, 1], DoseGridScaling=1)
    made.PixelData = bytes(48)
    for name, value in changes.items():
        setattr(made, name, value)
    assert Image.from_dataset(made).num_frames == 2
    with pytest.raises((IrregularGeometry, MalformedDataSet)):
        Volume.from_datasets([made])


def test_plain_colours_labelled_as_compressed_are_read_and_told() -> None:
    made = image(
        1, kind="<u1", SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(range(36))
    )
    made.PlanarConfiguration = 0
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.70")
    for found in (Image.from_dataset(made).pixels[:, :, 0], Volume.from_datasets([made]).voxels[0]):
        assert found.ravel().tolist() == list(range(36))


@pytest.mark.parametrize("length", [2, 22, 40])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_fragments_labelled_as_plain_are_no_pixels(length: int, syntax: str) -> None:
    """PS3.5 A.4: shorter or longer than the 24 bytes of the pixels."""
    made = image(1, syntax, PixelData=encapsulate([bytes(range(length))], has_bot=False))
    for work in (lambda: Image.from_dataset(made), lambda: Volume.from_datasets([made])):
        with pytest.raises(MalformedDataSet, match="are encapsulated, which its"):
            work()


def test_pixels_that_look_like_an_item_are_pixels() -> None:
    pixels = b"\xfe\xff\0\xe0" + bytes(20)
    assert Volume.from_datasets([image(1, kind="<u2", PixelData=pixels)]).voxels[0, 0, 1] == 0xE000


def test_a_whole_file_that_contradicts_itself_is_not_called_truncated(tmp_path: Path) -> None:
    made = image(1)
    made.PixelData += b"\0\0"  # and what it says can be nothing else
    path = save(tmp_path, [made]) / "z.dcm"
    relabelled(path, "1.2.840.10008.1.2.5")
    with pytest.raises(MalformedDataSet, match=r"z\.dcm contradicts itself: .*not encapsulated") as caught:
        Volume.from_files(path)
    assert "fetch" not in str(caught.value)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    path = save(tmp_path, [image(1, RescaleSlope="1.0")]) / "z.dcm"
    path.write_bytes(path.read_bytes().replace(b"DS\x04\x001.0 ", b"DS\x04\x00nan "))
    with pytest.raises(MalformedDataSet, match="0028,1053"):
        Volume.from_files(path)


def test_a_small_file_cannot_claim_huge_frames(read: Callable[..., Volume]) -> None:
    huge = image(1, syntax="1.2.840.10008.1.2.5", Rows=65535, Columns=65535)
    huge["PixelData"].VR = "OB"
    huge.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x40\0\0\0" + bytes(64)
    huge["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels, match="cannot hold"):
        read([huge])


def test_other_files_in_the_folder_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, series(3))
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "empty").touch()
    (tmp_path / ".half.part").write_bytes(b"half a file")
    report = image(9)
    del report.PixelData
    report.save_as(tmp_path / "report", enforce_file_format=True)
    (tmp_path / "sub").mkdir()
    image(4).save_as(tmp_path / "sub" / "deeper", enforce_file_format=True)
    volume = Volume.from_files(tmp_path)
    assert volume.voxels.shape[0] == 4
    assert sorted(Path(left.name).name for left in volume.report.left_out) == [
        "empty",
        "readme.txt",
        "report",
    ]


def test_files_in_a_list_and_a_single_one(tmp_path: Path) -> None:
    folder = save(tmp_path, series(3, SliceThickness=1.5))
    paths = [str(path) for path in folder.iterdir()]
    assert Volume.from_files(paths).voxels.shape == (3, 3, 4)
    one = Volume.from_files(paths[0])
    assert one.voxel_spacing == (0.25, 0.5, 1.5)
    assert "1.5 mm" in one.report.assumptions[0]
    with pytest.raises(FileNotFoundError):
        Volume.from_files(tmp_path / "absent")


@pytest.mark.parametrize("given", [[], ["folder"]])
def test_nothing_to_make_a_volume_of(tmp_path: Path, given: list[str]) -> None:
    with pytest.raises(VolumeError, match="no image"):
        Volume.from_files(tmp_path if given else [])


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, series(3))
    path = folder / "y.dcm"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TruncatedFile, match=r"y\.dcm"):
        Volume.from_files(folder)


def test_what_pydicom_stumbles_over_is_our_error(tmp_path: Path) -> None:
    path = save(tmp_path, [image(1, NumberOfFrames=2, Rows=1, Columns=4)]) / "z.dcm"
    path.write_bytes(path.read_bytes().replace(b"\2\0\x10\0UI", b"\2\0\x10\0WI"))
    with pytest.raises(ImagingError):
        Volume.from_files(path)


def test_deep_nesting_never_reaches_pydicom(tmp_path: Path) -> None:
    nested = Dataset()
    for _ in range(70):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([nested])
        nested = outer
    path = save(tmp_path, [image(1, ReferencedImageSequence=Sequence([nested]))]) / "z.dcm"
    with pytest.raises(NestingTooDeep):
        Volume.from_files(path)


def test_a_missing_decoder_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Absent:
        is_available = False

    monkeypatch.setattr(codecs, "_functions", lambda names: ())
    monkeypatch.setattr(pixels, "get_decoder", lambda uid: Absent)
    made = image(1, syntax="1.2.840.10008.1.2.4.90")
    made.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd\xfe\xff\xdd\xe0\0\0\0\0"
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels, match="pip install pylibjpeg pylibjpeg-openjpeg"):
        Volume.from_datasets([made])


@pytest.mark.parametrize(("installed", "told"), [(False, True), (True, False)])
def test_a_decoder_that_cannot_read_an_image_is_not_the_last_word(
    monkeypatch: pytest.MonkeyPatch, installed: bool, told: bool
) -> None:
    """Pillow is there for JPEG, and refuses 12 bits."""

    class Pillow:
        is_available = True
        missing_dependencies: list[str] = (
            [] if installed else ["x - requires a>=2.0 and pylibjpeg-libjpeg>=2"]
        )

    def refuse(*given: Any, **options: Any) -> None:
        raise NotImplementedError("12 bits")

    monkeypatch.setattr(codecs, "_functions", lambda names: ())
    monkeypatch.setattr(codecs, "_twelve_bits", lambda: False)
    monkeypatch.setattr(pixels, "get_decoder", lambda uid: Pillow)
    monkeypatch.setattr(pixels, "pixel_array", refuse)
    made = image(1, syntax="1.2.840.10008.1.2.4.51", BitsStored=12, HighBit=11)
    made.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels, match="data set 1: its pixels cannot be decoded") as caught:
        Volume.from_datasets([made])
    assert ("pip install pylibjpeg pylibjpeg-libjpeg" in str(caught.value)) == told


def test_no_package_is_named_for_what_every_machine_decodes() -> None:
    made = image(1, syntax="1.2.840.10008.1.2.5")
    made.PixelData = encapsulate([b"\xff" * 64])
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels, match="cannot be decoded") as caught:
        Volume.from_datasets([made])
    assert "pip" not in str(caught.value)


@pytest.mark.parametrize("numbers", [[1, 2, 3, 5], [1, 2, 3.3, 4]])
def test_advice_names_the_parameter_here_and_the_flag_on_the_command_line(numbers: list[float]) -> None:
    with pytest.raises(VolumeError, match='on_gap="keep"') as caught:
        Volume.from_datasets(scaled(1, numbers))
    assert "--" not in str(caught.value)
    assert "--keep-gaps" in sentence(caught.value)
    assert "on_gap" not in sentence(caught.value)


def test_advice_on_several_series_names_the_parameter_and_the_flag() -> None:
    with pytest.raises(MixedSeries, match="series_uid=") as caught:
        Volume.from_datasets([image(1), image(2, SeriesInstanceUID="1.9")])
    assert "choose one with --series, or list them with --table" in sentence(caught.value)
    with pytest.raises(DuplicateSlices, match="on_duplicate=") as doubled:
        Volume.from_datasets([image(1), image(2, ImagePositionPatient=[-1, -2, 2]), image(3)])
    assert "choose with --duplicates first or last" in sentence(doubled.value)
    with pytest.raises(IrregularGeometry, match="tolerance_mm=") as uneven:
        Volume.from_datasets([image(1), image(2), image(3, ImagePositionPatient=[-1, -2, 6.5])])
    assert "allow it with --tolerance, or" in sentence(uneven.value)


def test_jp2_boxes_that_never_end_do_not_hang_the_decoder() -> None:
    stream = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08ftyp" + bytes(40)
    made = image(1, syntax="1.2.840.10008.1.2.4.90")
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels):
        Volume.from_datasets([made])


def test_a_broken_code_stream_is_our_error() -> None:
    made = image(1, syntax="1.2.840.10008.1.2.5")
    made.PixelData = (
        b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x40\0\0\0" + b"\xff" * 64 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnsupportedPixels, match="cannot be decoded"):
        Volume.from_datasets([made])


def test_data_sets_without_a_transfer_syntax_are_native() -> None:
    made = series(2)
    for dataset in made:
        del dataset.file_meta
    assert Volume.from_datasets(iter(made)).voxels[:, 0, 0].tolist() == [100, 200]
