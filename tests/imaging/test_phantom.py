"""The phantom, its volume, and pictures of both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from aiodicom.dataset.errors import ImagingError
from aiodicom.dataset.part10 import read_header
from aiodicom.dataset.scan import scan_dataset
from aiodicom.imaging import synthesise_series, write_series
from aiodicom.imaging.image import Image
from aiodicom.imaging.phantom import phantom_uid
from aiodicom.imaging.render import render_image, render_volume
from aiodicom.imaging.volume import Volume

SMALL: dict[str, Any] = {"slices": 5, "rows": 48, "columns": 64, "pixel_spacing": 2.5}


def test_the_stated_series(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "series")
    volume = Volume.from_files(tmp_path / "series")
    assert len(paths) == 22
    assert volume.voxels.shape == (22, 512, 512)
    assert volume.voxels.dtype == np.int16
    assert volume.modality == "MR"
    assert volume.voxel_spacing == pytest.approx((0.2734, 0.2734, 3.3), abs=1e-6)
    assert volume.normal_vector == pytest.approx((0, 0.0968, 0.9953), abs=5e-5)
    assert volume.orientation == "transverse"
    assert volume.plane_mapping == ("sagittal", "coronal", "transverse")
    assert volume.geometry.is_affine
    assert not volume.geometry.is_axes_aligned
    assert volume.geometry.shear_angle == pytest.approx(0, abs=1e-4)
    assert (volume.num_transverse_slices, volume.num_coronal_slices, volume.num_sagittal_slices) == (
        22,
        512,
        512,
    )
    assert len(set(volume.window_widths)) > 5
    assert volume.report.left_out == ()
    # A head: dark outside, bright inside, not flat.
    middle = volume.voxels[11].astype(float)
    assert middle[:20, :20].mean() < 40 < 400 < middle[236:276, 236:276].mean()
    assert [path.name for path in paths] != sorted(path.name for path in paths)


def test_it_is_always_the_same_and_others_are_others() -> None:
    first, second = list(synthesise_series(**SMALL)), list(synthesise_series(**SMALL))
    assert first == second
    assert all(a.file_meta == b.file_meta for a, b in zip(first, second, strict=True))
    other = list(synthesise_series(**SMALL, series=2))
    assert other[0].StudyInstanceUID == first[0].StudyInstanceUID
    assert other[0].FrameOfReferenceUID == first[0].FrameOfReferenceUID
    assert other[0].SeriesInstanceUID != first[0].SeriesInstanceUID
    assert other[0].PixelData != first[0].PixelData
    uids = {dataset.SOPInstanceUID for dataset in (*first, *other)}
    assert len(uids) == 10
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)
    assert phantom_uid("a") == phantom_uid("a") != phantom_uid("b")


def test_its_files_are_whole_and_ordered(tmp_path: Path) -> None:
    for path in write_series(tmp_path, **SMALL):
        content = path.read_bytes()
        header = read_header(content)
        result = scan_dataset(
            content[header.data_offset :], header.transfer_syntax_uid, (), check_nested=True
        )
        assert result.complete
        assert result.ordered
        dataset = pydicom.dcmread(path)
        for keyword in (
            "PatientName",
            "StudyDate",
            "ReferringPhysicianName",
            "Manufacturer",
            "SequenceVariant",
        ):
            assert keyword in dataset


def test_files_and_data_sets_give_the_same_volume(tmp_path: Path) -> None:
    write_series(tmp_path, **SMALL)
    files, straight = Volume.from_files(tmp_path), Volume.from_datasets(synthesise_series(**SMALL))
    assert np.array_equal(files.voxels, straight.voxels)
    assert np.array_equal(files.geometry.affine, straight.geometry.affine)
    assert files.window_centers == straight.window_centers


def picture(path: Path) -> np.ndarray[Any, Any]:
    from matplotlib.image import imread

    pixels: np.ndarray[Any, Any] = np.asarray(imread(path))[..., :3]
    return pixels


def test_a_picture_of_a_volume(tmp_path: Path) -> None:
    volume = Volume.from_datasets(synthesise_series(**SMALL | {"slices": 9}))
    path = render_volume(volume, tmp_path / "volume.png")
    drawn = picture(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert drawn.shape[1] == 1500
    assert drawn.std() > 0.1


def test_what_lies_left_is_drawn_on_the_right_and_the_front_on_top() -> None:
    from aiodicom.imaging.render import _view

    volume = Volume.from_datasets(synthesise_series(**SMALL))
    for mirrored in (volume.voxels, volume.voxels[:, ::-1, ::-1]):
        assert mirrored.shape == volume.voxels.shape
    view = _view(volume, "transverse", (2, 24, 32))
    assert view.letters == ("R", "L", "A", "P")
    assert np.array_equal(view.pixels, volume.voxels[2])
    coronal = _view(volume, "coronal", (2, 24, 32))
    assert coronal.letters == ("R", "L", "H", "F")
    assert np.array_equal(coronal.pixels, volume.voxels[::-1, 24, :])
    assert coronal.spacing == pytest.approx((3.3, 2.5))
    sagittal = _view(volume, "sagittal", (2, 24, 32))
    assert sagittal.letters == ("A", "P", "H", "F")
    assert np.array_equal(sagittal.pixels, volume.voxels[::-1, :, 32])


def test_a_picture_of_one_slice_and_of_an_oblique_volume(tmp_path: Path) -> None:
    one = list(synthesise_series(**SMALL | {"slices": 1}))
    assert render_volume(Volume.from_datasets(one), tmp_path / "one.png").is_file()
    made = list(synthesise_series(**SMALL))
    corner = 1 / np.sqrt(3)
    row = np.array([1, -1, 0]) / np.sqrt(2)
    column = np.cross([corner] * 3, row)
    for place, dataset in enumerate(made):
        dataset.ImageOrientationPatient = [f"{value:.10f}" for value in (*row, *column)]
        dataset.ImagePositionPatient = [f"{place * corner * 3:.10f}"] * 3
    volume = Volume.from_datasets(made)
    assert volume.orientation == "oblique"
    assert render_volume(volume, tmp_path / "oblique.png").is_file()


def test_pictures_of_images(tmp_path: Path, data: Path) -> None:
    colour = Image.from_file(data / "img_us_multiframe_jpeg" / "examples_ybr_color.dcm")
    assert picture(render_image(colour, tmp_path / "cine.png")).shape[1] == 1200
    palette = Image.from_file(data / "img_us_palette" / "OBXXXX1A_rle_2frame.dcm", frame=0)
    drawn = picture(render_image(palette, tmp_path / "palette.png"))
    assert drawn.max(axis=2).mean() > drawn.min(axis=2).mean()  # coloured
    inverted = Image.from_file(data / "img_monochrome1" / "dx_image.dcm")
    assert render_image(inverted, tmp_path / "inverted.png").is_file()


def test_a_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    volume = Volume.from_datasets(synthesise_series(**SMALL))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImagingError, match=r"pip install 'aiodicom\[draw\]'"):
        render_volume(volume, tmp_path / "a.png")


def test_imports_are_light() -> None:
    code = """
import sys, importlib
import aiodicom.imaging
before = set(sys.modules)
aiodicom.imaging.Volume, aiodicom.imaging.synthesise_series
assert "matplotlib" not in sys.modules
for name in aiodicom.imaging.__all__:
    getattr(aiodicom.imaging, name)
assert "matplotlib" not in sys.modules
assert set(aiodicom.imaging.__all__) <= set(dir(aiodicom.imaging))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import aiodicom.imaging

    with pytest.raises(AttributeError, match="Nothing"):
        aiodicom.imaging.Nothing  # type: ignore[attr-defined]
