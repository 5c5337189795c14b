"""Single images: colour, palette, cine, what is not rescaled and what is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from aiodicom.dataset.errors import ImagingError, MalformedDataSet, NotDicom, TruncatedFile
from aiodicom.imaging import headers, pixels
from aiodicom.imaging.errors import UnsupportedPixels
from aiodicom.imaging.geometry import VolumeGeometry
from aiodicom.imaging.image import Image
from aiodicom.imaging.pixel_format import PixelFormat, unpack
from aiodicom.imaging.pixels import frame_offsets
from aiodicom.imaging.render import render_cine, render_slice, render_volume
from aiodicom.imaging.volume import Volume
from imaging_series import BIG, EXPLICIT, save
from imaging_series import image as one_slice
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID


def test_a_cine_in_colour(data: Path) -> None:
    image = Image.from_file(data / "img_us_multiframe_jpeg" / "examples_ybr_color.dcm")
    assert image.pixels.shape == (240, 320, 30, 3)
    assert image.num_frames == 30
    assert image.frame_time == pytest.approx(33.333)
    assert image.modality == "US"
    assert image.pixel_spacing is None
    assert image.colormap is None
    one = Image.from_file(data / "img_us_multiframe_jpeg" / "examples_ybr_color.dcm", frame=7)
    assert np.array_equal(one.pixels[:, :, 0], image.pixels[:, :, 7])


def test_palette_indices_and_colours(data: Path) -> None:
    path = data / "img_us_palette" / "OBXXXX1A_rle_2frame.dcm"
    image = Image.from_file(path)
    assert image.pixels.shape == (600, 800, 2, 1)
    assert image.colormap is not None
    assert image.colormap.shape == (256, 3)
    assert 0 <= image.colormap.min() <= image.colormap.max() <= 1
    dataset = pydicom.dcmread(path)
    wanted = pydicom.pixels.apply_color_lut(dataset.pixel_array[1], dataset) / 65535
    assert np.allclose(image.colormap[image.pixels[:, :, 1, 0]], wanted)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("img_sc_rgb/SC_rgb_16bit.dcm", (100, 100, 1, 3), "uint16"),
        ("img_sc_rgb/SC_rgb_expb_2frame.dcm", (100, 100, 2, 3), "uint8"),
        ("img_sc_rgb/SC_rgb_rle_16bit_2frame.dcm", (100, 100, 2, 3), "uint16"),
        ("img_sc_rgb/SC_rgb_small_odd.dcm", (3, 3, 1, 3), "uint8"),
        ("img_sc_rgb/SC_ybr_full_422_uncompressed.dcm", (100, 100, 1, 3), "uint8"),
        ("img_big_endian/ExplVR_BigEnd.dcm", (60, 80, 1, 3), "uint8"),
        ("img_big_endian/MR_small_bigendian.dcm", (64, 64, 1, 1), "int16"),
        ("img_deflated/image_dfl.dcm", (512, 512, 1, 1), "uint8"),
        ("img_emri_syntaxes/emri_small.dcm", (64, 64, 10, 1), "uint16"),
        ("img_emri_syntaxes/emri_small_RLE.dcm", (64, 64, 10, 1), "uint16"),
        ("img_seg_binary/liver_nonbyte_aligned.dcm", (510, 510, 3, 1), "uint8"),
        ("img_float/parametric_map_float.dcm", (128, 128, 1, 1), "float32"),
        ("broken_inputs/no_meta.dcm", (128, 128, 1, 1), "int16"),
        ("broken_inputs/MR_small_padded.dcm", (64, 64, 1, 1), "int16"),
    ],
)
def test_shapes_and_types(data: Path, name: str, shape: tuple[int, ...], kind: str) -> None:
    image = Image.from_file(data / name)
    assert image.pixels.shape == shape
    assert image.pixels.dtype == kind


def test_colours_are_rgb_however_they_were_stored(data: Path) -> None:
    plain = Image.from_file(data / "img_sc_rgb" / "SC_rgb_rle.dcm").pixels.astype(int)
    for name in ("SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm"):
        other = Image.from_file(data / "img_sc_rgb" / name).pixels.astype(int)
        assert np.abs(other - plain).mean() < 3


def test_every_encoding_of_one_image_agrees(data: Path) -> None:
    folder = data / "img_emri_syntaxes"
    plain = Image.from_file(folder / "emri_small.dcm").pixels
    for name in ("emri_small_big_endian.dcm", "emri_small_RLE.dcm"):
        assert np.array_equal(Image.from_file(folder / name).pixels, plain)
    big = Image.from_file(data / "img_big_endian" / "MR_small_bigendian.dcm").pixels
    padded = Image.from_file(data / "broken_inputs" / "MR_small_padded.dcm").pixels
    assert np.array_equal(big, padded)


def test_segments_that_share_bytes(data: Path) -> None:
    path = data / "img_seg_binary" / "liver_nonbyte_aligned.dcm"
    image = Image.from_file(path)
    wanted = pydicom.dcmread(path).pixel_array
    assert np.array_equal(image.pixels[..., 0].transpose(2, 0, 1), wanted)


def test_a_modality_table_is_applied(data: Path) -> None:
    path = data / "img_luts" / "mlut_18.dcm"
    dataset = pydicom.dcmread(path)
    wanted = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    assert np.array_equal(Image.from_file(path).pixels[:, :, 0, 0], wanted)


def test_inverted_grey_is_left_as_it_is(data: Path) -> None:
    path = data / "img_monochrome1" / "dx_image.dcm"
    image = Image.from_file(path)
    assert image.photometric == "MONOCHROME1"
    assert np.array_equal(image.pixels[:, :, 0, 0], pydicom.dcmread(path).pixel_array)
    assert image.window_center == 128


def test_rescale_spacing_and_window(data: Path) -> None:
    path = data / "ct_axial_rescale" / "im0000.dcm"
    image = Image.from_file(path)
    dataset = pydicom.dcmread(path)
    assert np.array_equal(image.pixels[:, :, 0, 0], dataset.pixel_array.astype(int) - 1024)
    assert image.pixels.dtype == np.int16
    assert image.pixel_spacing == (0.451171875, 0.451171875)
    assert (image.window_center, image.window_width) == (40, 80)
    assert image.frame_time is None
    same = Image.from_dataset(dataset)
    assert np.array_equal(same.pixels, image.pixels)


def test_frames_that_are_not_there(data: Path) -> None:
    for frame in (-1, 10):
        with pytest.raises(IndexError, match="10 frames"):
            Image.from_file(data / "img_emri_syntaxes" / "emri_small.dcm", frame=frame)


def test_what_is_no_image(data: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(NotDicom):
        Image.from_file(tmp_path / "text")
    with pytest.raises(TruncatedFile):
        Image.from_file(data / "broken_inputs" / "MR_truncated.dcm")
    with pytest.raises(UnsupportedPixels, match="holds no image"):
        Image.from_file(data / "charsets" / "chrJapMulti.dcm")


@pytest.mark.filterwarnings("ignore")
def test_every_real_file_is_read_or_refused_in_our_words(data: Path) -> None:
    refused = set()
    for path in sorted([*data.glob("img_*/*.dcm"), *data.glob("broken_inputs/*.dcm")]):
        try:
            image = Image.from_file(path)
        except ImagingError as error:
            refused.add(path.name if path.name in str(error) else f"{path.name} is not in {error}")
            continue
        assert image.pixels.ndim == 4
        assert image.pixels.size
    assert {"MR_truncated.dcm", "badVR.dcm"} <= refused
    assert not [name for name in refused if " is not in " in name]


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_grey_pixels_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str) -> None:
    save(tmp_path, [one_slice(1, syntax, RescaleSlope=2, RescaleIntercept=1)])
    whole: list[bool] = []
    read = headers.dcmread

    def counted(*given: Any, **options: Any) -> Dataset:
        whole.append(not options.get("stop_before_pixels"))
        return read(*given, **options)

    monkeypatch.setattr(headers, "dcmread", counted)
    made = Image.from_file(tmp_path / "z.dcm")
    assert made.pixels[0, :, 0, 0].tolist() == [201, 203, 205, 207]
    assert whole == [False]


def cine(**values: object) -> Dataset:
    """Three frames of 1 x 2."""
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 1, 2, 3
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.add_new(0x7FE00010, "OB", bytes(range(6)))
    for name, value in values.items():
        if isinstance(value, bytes):
            tag = Tag(name)
            dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        else:
            setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "time"),
    [
        ({"FrameTime": 40}, 40),
        ({"FrameTimeVector": [0, 30, 50]}, 40),
        ({"FrameTime": 10, "FrameTimeVector": [0, 30, 50]}, 10),
        ({"FrameTime": 10, "FrameTimeVector": [0, 30, 50], "FrameIncrementPointer": 0x00181065}, 40),
        ({"FrameTime": 10, "FrameTimeVector": [0, 30, 50], "FrameIncrementPointer": 0x00181063}, 10),
        ({"FrameTime": 0, "CineRate": 20}, 50),
        ({"CineRate": 0, "RecommendedDisplayFrameRate": 25}, 40),
        ({"FrameTimeVector": b"5 "}, None),
        ({}, None),
    ],
)
def test_the_time_from_frame_to_frame(values: dict[str, object], time: float | None) -> None:
    """PS3.3 C.7.6.6.1.1: Frame Increment Pointer says which attribute counts."""
    image = Image.from_dataset(cine(**values), frame=0)
    assert image.frame_time == time
    assert image.assumptions == ()


@pytest.mark.parametrize(
    "name", ["FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "WindowCenter"]
)
@pytest.mark.parametrize("value", [b"NaN ", b"AUTO", b"40,0", b"  "])
def test_what_only_shows_an_image_is_left_out_and_told(name: str, value: bytes) -> None:
    image = Image.from_dataset(cine(**{name: value}))
    assert image.frame_time is None
    assert image.window_center is None
    assert image.pixels[0, 1, :, 0].tolist() == [1, 3, 5]
    assert len(image.assumptions) == 1
    assert "is no number and left out" in image.assumptions[0]
    assert image.to_dict()["assumptions"] == list(image.assumptions)


@pytest.mark.parametrize("value", [b"abc", b"\1\0"])
def test_a_palette_that_is_none_is_our_error(value: bytes) -> None:
    made = cine(PhotometricInterpretation="PALETTE COLOR")
    tag = Tag("RedPaletteColorLookupTableDescriptor")
    made[tag] = RawDataElement(tag, "US", len(value), value, 0, False, True)
    with pytest.raises(UnsupportedPixels, match="the data set: its colour palette cannot be read"):
        Image.from_dataset(made)


def test_a_modality_table_that_is_none_is_our_error() -> None:
    made = cine(ModalityLUTSequence=Sequence([Dataset()]))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    with pytest.raises(MalformedDataSet, match=r"the data set: LUT Data .* holds no table"):
        Image.from_dataset(made)


def test_one_frame_of_many_is_read_with_its_own_header_alone() -> None:
    frames = [Dataset() for _ in range(3)]
    for frame, slope in zip(frames, (b"AUTO", b"2 ", b"AUTO"), strict=True):
        transform = Dataset()
        tag = Tag("RescaleSlope")
        transform[tag] = RawDataElement(tag, "DS", len(slope), slope, 0, False, True)
        frame.PixelValueTransformationSequence = Sequence([transform])
    made = cine(PerFrameFunctionalGroupsSequence=Sequence(frames))
    assert Image.from_dataset(made, frame=1).pixels.ravel().tolist() == [4, 6]
    with pytest.raises(IndexError, match="3 frames, none is 3"):
        Image.from_dataset(made, frame=3)


def palette(entries: int, lowest: int, **values: object) -> Dataset:
    made = cine(PhotometricInterpretation="PALETTE COLOR", **values)
    for colour, first in (("Red", 0), ("Green", 100), ("Blue", 200)):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [entries, lowest, 8])
        data = bytes(first + place for place in range(entries))
        setattr(made, f"{colour}PaletteColorLookupTableData", data)
    return made


def test_the_descriptor_says_which_index_the_first_colour_is_of() -> None:
    """PS3.3 C.7.6.3.1.5: indices below it have the first colour."""
    image = Image.from_dataset(palette(4, 2))
    assert image.colormap is not None
    red = (image.colormap[:, 0] * 255).round().tolist()
    assert red == [0, 0, 0, 1, 2, 3]


def test_indices_into_a_palette_are_not_rescaled() -> None:
    """PS3.3 C.11.1: the modality transformation is of grey values."""
    image = Image.from_dataset(palette(6, 0, RescaleSlope=2, RescaleIntercept=1))
    assert image.pixels[0, 1, :, 0].tolist() == [1, 3, 5]


def run_lengths(frames: int, *, table: bool, fragments: int = 1) -> Dataset:
    """Frames of 1 x 2, run-length encoded (PS3.5 G): the values of frame n are n and n + 1."""
    made = cine(NumberOfFrames=frames)
    encoded = [b"\1\0\0\0\x40" + bytes(59) + bytes([1, n, n + 1, 0]) for n in range(frames)]
    made.PixelData = encapsulate(encoded, fragments_per_frame=fragments, has_bot=table)
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.5")
    return made


@pytest.mark.parametrize(("table", "fragments"), [(True, 1), (False, 1), (True, 2)])
def test_encapsulated_frames_with_and_without_a_table_of_their_offsets(table: bool, fragments: int) -> None:
    made = run_lengths(5, table=table, fragments=fragments)
    assert Image.from_dataset(made).pixels[0, :, :, 0].T.tolist() == [[n, n + 1] for n in range(5)]
    assert Image.from_dataset(made, frame=3).pixels.ravel().tolist() == [3, 4]


def test_offsets_are_told_where_each_frame_is_one_fragment() -> None:
    """PS3.5 A.4: an empty offset table says nothing of where frames begin."""
    form = PixelFormat(1, 2, 3, 1, 8, 8, 7, False, False, "MONOCHROME2")
    assert frame_offsets(run_lengths(3, table=False).PixelData, form) == ([0, 76, 152], [68, 68, 68])
    assert frame_offsets(run_lengths(3, table=True).PixelData, form) is None
    assert frame_offsets(run_lengths(3, table=False, fragments=2).PixelData, form) is None
    assert frame_offsets(run_lengths(3, table=False).PixelData[:-60], form) is None


# --- pictures of volumes ----------------------------------------------------------------------------------


def test_pictures_of_every_kind_of_volume(data: Path, tmp_path: Path) -> None:
    for case in ("mr_4d_dti_philips", "mr_oblique_double", "ct_gap"):
        volume = Volume.from_files(data / case, on_gap="keep")
        assert render_volume(volume, tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")
        assert render_slice(volume, tmp_path / "s.png", 1).read_bytes().startswith(b"\x89PNG")
        assert len(volume.plot().axes) > 3
    assert render_slice(volume, tmp_path / "s.png", 100, "coronal").read_bytes().startswith(b"\x89PNG")


def test_what_is_seen_through_a_volume() -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([2.0, 1, 1, 1])[[2, 1, 0, 3]]
    volume = Volume.from_array(voxels, VolumeGeometry.from_affine((2, 3, 4), affine))
    assert volume.orientation == "transverse"
    assert np.array_equal(volume.mip(), voxels.max(axis=0))
    assert np.array_equal(volume.mip("coronal"), voxels.max(axis=1))
    dark = replace(volume, photometric="MONOCHROME1")
    assert np.array_equal(dark.mip("sagittal"), voxels.min(axis=2))


def test_one_volume_of_several(data: Path) -> None:
    volume = Volume.from_files(data / "mr_4d_dti_philips")
    one = volume.at(2)
    assert np.array_equal(one.voxels, volume.voxels[2])
    assert one.sources == volume.sources[6:9]
    assert one.axes == ()
    for places in ((), (4,), (-1,), (0, 0)):
        with pytest.raises(IndexError):
            volume.at(*places)


def test_a_cine_has_all_frames_at_their_time(data: Path, tmp_path: Path) -> None:
    pictures = pytest.importorskip("PIL.Image")
    path = next((data / "img_us_multiframe_jpeg").glob("*.dcm"))
    made = Image.from_file(path)
    with pictures.open(render_cine(made, tmp_path / "c.gif")) as cine:
        assert cine.n_frames > 10
        assert cine.info["duration"] >= 20


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_bits_beside_a_value_are_cleared_or_its_sign_extended(allocated: int, signed: bool) -> None:
    """PS3.5 8.1.1; every stored depth and place, with bits beside it and without, in both byte orders."""
    rng = np.random.default_rng(allocated)
    for stored in range(1, allocated + 1):
        for high in {stored - 1, allocated - 1, (stored + allocated) // 2 - 1} & {
            *range(stored - 1, allocated)
        }:
            form = PixelFormat(2, 32, 1, 1, allocated, stored, high, signed, False, "MONOCHROME2")
            low = -(1 << stored - 1) if signed else 0
            wanted = rng.integers(low, low + (1 << stored), (2, 32))
            wanted[0, :2] = low, low + (1 << stored) - 1
            for beside in (0, (1 << allocated) - 1, 0x55555555):
                cells = (wanted & ((1 << stored) - 1)) << (high - stored + 1)
                mask = ((1 << stored) - 1) << (high - stored + 1)
                cells |= beside & ~mask & ((1 << allocated) - 1)
                for order in "<>":
                    raw = cells.astype(f"{order}u{allocated // 8}").view(
                        f"{order}{'i' if signed else 'u'}{allocated // 8}"
                    )
                    assert np.array_equal(unpack(raw, form), wanted), (stored, high, beside, order)
            if high == stored - 1:  # as most write them: the sign is extended already
                assert np.array_equal(unpack(wanted.astype(form.dtype), form), wanted)


@pytest.mark.parametrize("at_once", [1, 8, 16, 20, 24, 1000])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
@pytest.mark.parametrize(
    "changes", [{}, {"RescaleIntercept": -7}, {"RescaleIntercept": 1, "RescaleSlope": 3}]
)
def test_a_frame_is_read_in_any_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, syntax: str, changes: dict[str, Any]
) -> None:
    """Rows of 8 bytes, three of them."""
    changes = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": 0, **changes}
    save(tmp_path, [one_slice(2, syntax, "<u2", **changes)])
    monkeypatch.setattr(pixels, "AT_ONCE", at_once)
    wanted = np.arange(200, 212) * changes["RescaleSlope"] + changes["RescaleIntercept"]
    assert Volume.from_files(tmp_path).voxels.ravel().tolist() == wanted.tolist()
