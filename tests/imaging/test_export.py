"""Out and in again: every voxel where it was, in each format."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.dataset.errors import ImagingError
from aiodicom.imaging.errors import IrregularGeometry, UnsupportedPixels
from aiodicom.imaging.geometry import VolumeGeometry
from aiodicom.imaging.records import Axis
from aiodicom.imaging.render import render_volume
from aiodicom.imaging.series import decimal_string
from aiodicom.imaging.volume import Volume
from geometries import close, everywhere, geometries
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imaging_series import image, palette, series
from pydicom.dataset import Dataset

SHEARED = np.array([[0.1, 0, 0.5, 4], [0.9, 0.7, 0, 5], [2, 0, 0, 6], [0, 0, 0, 1.0]])


def numbered(geometry: VolumeGeometry, axes: tuple[Axis, ...] = ()) -> Volume:
    shape = (*(len(axis.values) for axis in axes), *geometry.shape)
    return Volume.from_array(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), geometry, axes=axes)


VOLUME = numbered(VolumeGeometry.from_affine((2, 3, 4), SHEARED))
TIMES = (Axis("trigger time", "ms", (0.0, 40.0, 80.0)),)


@pytest.mark.parametrize("axes", [(), TIMES])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti(tmp_path: Path, axes: tuple[Axis, ...], ending: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = numbered(VOLUME.geometry, axes)
    read = nibabel.load(volume.write(tmp_path / f"v.{ending}"))
    assert read.get_fdata().shape == (4, 3, 2, *(len(axis.values) for axis in axes))
    at = (3, 1, 1, *(2 for _ in axes))
    assert read.get_fdata()[at] == volume.view("crs").voxels[at]
    assert read.get_data_dtype() == volume.voxels.dtype
    x, y, z = volume.geometry.voxel_to_patient((1, 1, 3))
    assert np.allclose(read.affine @ (3, 1, 1, 1), (-x, -y, z, 1), atol=1e-5)
    assert read.header["sform_code"] == 1
    assert read.header["qform_code"] == 0  # sheared


@pytest.mark.parametrize(
    ("axes", "step", "unit", "first"),
    [
        ([("trigger time", "ms", (5.0, 505.0, 1005.0))], 500, "msec", 5),
        ([("time", "s", (0.0, 2.5)), ("echo time", "ms", (9.0, 18.0))], 2.5, "sec", 0),
        ([("trigger time", "ms", (0.0, 40.0, 90.0))], 1, "unknown", 0),
        ([("trigger time", "ms", (None, 40.0, 80.0))], 1, "unknown", 0),
        ([("frame reference time", "ms", (7.0,))], 1, "unknown", 0),
        ([("echo time", "ms", (0.0, 9.0))], 1, "unknown", 0),
        ([("echo time", "ms", (0.0, 9.0)), ("trigger time", "ms", (0.0, 40.0))], 1, "unknown", 0),
        ([("temporal position", "", (1.0, 2.0))], 1, "unknown", 0),
    ],
)
def test_nifti_says_times_at_even_steps_and_no_others(
    axes: list[tuple[str, str, tuple[Any, ...]]], step: float, unit: str, first: float
) -> None:
    pytest.importorskip("nibabel")
    made = numbered(VOLUME.geometry, tuple(Axis(*one) for one in axes)).to_nifti()
    assert made.header.get_zooms()[3] == step
    assert made.header.get_xyzt_units() == ("mm", unit)
    assert made.header["toffset"] == first
    assert np.allclose(made.affine, VOLUME.geometry.affine_in("crs", "RAS"))


def test_a_quaternion_where_it_can_say_it(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image_ = Volume.from_datasets(series()).to_nifti()
    assert np.allclose(image_.get_qform(), image_.get_sform(), atol=1e-5)
    assert nibabel.aff2axcodes(image_.affine) == ("L", "P", "S")


@pytest.mark.parametrize("axes", [(), TIMES])
def test_nrrd(tmp_path: Path, axes: tuple[Axis, ...]) -> None:
    nrrd = pytest.importorskip("nrrd")
    volume = numbered(VOLUME.geometry, axes)
    voxels, header = nrrd.read(str(volume.write(tmp_path / "v.nrrd")))
    assert np.array_equal(voxels, volume.view("crs").voxels)
    assert header["space"] == "left-posterior-superior"
    place = header["space origin"] + np.array((3, 1, 1)) @ header["space directions"][:3]
    assert np.allclose(place, volume.geometry.voxel_to_patient((1, 1, 3)))


@settings(max_examples=30)
@given(geometries())
def test_numpy_and_back(tmp_path_factory: pytest.TempPathFactory, geometry: VolumeGeometry) -> None:
    volume = numbered(geometry, TIMES)
    again = Volume.from_npy(volume.write(tmp_path_factory.mktemp("npy") / "v.npy"))
    assert np.array_equal(again.voxels, volume.voxels)
    assert again.axes == volume.axes
    close(
        again.geometry.voxel_to_patient(everywhere(geometry)),
        geometry.voxel_to_patient(everywhere(geometry)),
        geometry,
    )


ECHOES = (Axis("echo time", "ms", (2.0, 5.0)),)


@pytest.mark.parametrize("axes", [(), TIMES, ECHOES, TIMES + ECHOES, ECHOES + TIMES, TIMES + ECHOES + ECHOES])
def test_zarr(tmp_path: Path, axes: tuple[Axis, ...]) -> None:
    """Its folder holds what another program reads: dimensions, axes, scale."""
    zarr = pytest.importorskip("zarr")
    volume = numbered(VOLUME.geometry, axes)
    path = volume.write(tmp_path / "v.zarr")
    group = zarr.open_group(str(path), mode="r")
    assert np.array_equal(group["0"][...], volume.voxels)
    assert group["0"].dtype == volume.voxels.dtype
    names = (*(axis.name for axis in axes), "slice", "row", "column")
    assert group["0"].metadata.dimension_names == names
    ome = group.attrs.get("ome")
    assert (ome is None) == (axes not in ((), TIMES, ECHOES, TIMES + ECHOES))
    if ome is not None:
        (scales,) = ome["multiscales"]
        kinds = {"trigger time": "time", "echo time": None}
        wanted = [*(kinds[axis.name] for axis in axes), "space", "space", "space"]
        assert [axis.get("type") for axis in scales["axes"]] == wanted
        (scaled,) = scales["datasets"][0]["coordinateTransformations"]  # sheared: its place cannot be said
        assert np.allclose(scaled["scale"][-3:], (2, 0.7, 0.5))
        assert scaled["scale"][: len(axes)] == [40.0 if axis is TIMES[0] else 1.0 for axis in axes]
    again = Volume.from_zarr(path)
    assert again.axes == axes
    assert np.array_equal(again.geometry.affine, volume.geometry.affine)
    with pytest.raises(FileExistsError):
        volume.write(path)
    assert [one.name for one in tmp_path.iterdir()] == ["v.zarr"]


def test_zarr_says_the_place_of_what_is_aligned(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = Volume.from_datasets(series()).write(tmp_path / "v.zarr")
    (scales,) = zarr.open_group(str(path), mode="r").attrs["ome"]["multiscales"]
    scaled, moved = scales["datasets"][0]["coordinateTransformations"]
    assert scaled["scale"] == [2, 0.5, 0.25]
    assert moved["translation"] == [2, -2, -1]


def test_zarr_of_colours_and_of_an_axis_at_uneven_steps(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    colours = Volume.from_array(np.ones((2, 3, 4, 3), np.uint8), VOLUME.geometry)
    uneven = numbered(VOLUME.geometry, (Axis("trigger time", "ms", (0.0, 40.0, 90.0)),))
    for number, volume in enumerate((colours, uneven)):
        path = volume.write(tmp_path / f"{number}.zarr")
        group = zarr.open_group(str(path), mode="r")
        assert "ome" not in group.attrs
        assert np.array_equal(Volume.from_zarr(path).voxels, volume.voxels)


@pytest.mark.parametrize("values", [(None, 10.0, 20.0), ("early", 1.0, 2.0), (0.0, 0.0, 0.0)])
def test_zarr_of_times_that_are_none(tmp_path: Path, values: tuple[Any, ...]) -> None:
    zarr = pytest.importorskip("zarr")
    volume = numbered(VOLUME.geometry, (Axis("trigger time", "ms", values),))
    path = volume.write(tmp_path / "v.zarr")
    assert "ome" not in zarr.open_group(str(path), mode="r").attrs
    assert Volume.from_zarr(path).axes == volume.axes


@pytest.mark.parametrize("ending", ["npy", "zarr"])
def test_coordinates_of_several_numbers_and_palettes_come_again(tmp_path: Path, ending: str) -> None:
    directions = (None, (1.0, 0.0, 0.0), (0.0, 0.6, 0.8))
    volume = numbered(VOLUME.geometry, (Axis("direction", "", directions),))
    read = {"npy": Volume.from_npy, "zarr": Volume.from_zarr}[ending]
    assert read(volume.write(tmp_path / f"v.{ending}")).axes == volume.axes
    colours = Volume.from_datasets([palette(1), palette(2)])
    again = read(colours.write(tmp_path / f"p.{ending}"))
    assert again.to_rgb().voxels.tolist() == colours.to_rgb().voxels.tolist()


@pytest.mark.parametrize(("kind", "written"), [("?", "uint8"), ("e", "float32")])
def test_masks_and_half_floats_are_written_everywhere(tmp_path: Path, kind: str, written: str) -> None:
    nibabel, nrrd = pytest.importorskip("nibabel"), pytest.importorskip("nrrd")
    voxels = (np.arange(24).reshape(2, 3, 4) % 2).astype(kind)
    geometry = VolumeGeometry.from_affine((2, 3, 4), np.diag((2, 0.5, 0.25, 1))[:, [2, 1, 0, 3]])
    volume = Volume.from_array(voxels, geometry)
    read = nibabel.load(volume.write(tmp_path / "v.nii"))
    assert read.get_data_dtype() == written
    held, _ = nrrd.read(str(volume.write(tmp_path / "v.nrrd")))
    assert (held.dtype, held.tolist()) == (written, volume.view("crs").voxels.tolist())
    assert volume._repr_png_().startswith(b"\x89PNG")
    assert render_volume(volume, tmp_path / "v.png").is_file()
    if kind == "?":
        again = Volume.from_datasets(volume.to_datasets())
        assert again.voxels.tolist() == voxels.astype(int).tolist()


def test_a_series_of_no_known_modality_is_other() -> None:
    volume = Volume.from_datasets(series(2, Modality=None))
    assert {one.Modality for one in volume.to_datasets()} == {"OT"}


def test_zarr_leaves_nothing_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(zarr.Group, "create_array", lambda *_, **__: 1 / 0)
    with pytest.raises(FileNotFoundError, match=r"'[^']*absent'"):
        VOLUME.write(tmp_path / "absent" / "v.zarr")
    with pytest.raises(ImagingError, match=r"v\.zarr cannot be written"):
        VOLUME.write(tmp_path / "v.zarr")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_zarr_of_ours(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    with pytest.raises((ImagingError, OSError)):
        Volume.from_zarr(tmp_path / "none.zarr")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(ImagingError):
        Volume.from_zarr(tmp_path / "other.zarr")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "aiodicom volume geometry 1"}'])
def test_a_sidecar_that_is_none(tmp_path: Path, text: str) -> None:
    path = VOLUME.write(tmp_path / "v.npy")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ImagingError):
        Volume.from_npy(path)


@pytest.mark.parametrize("change", [{"shape": [9, 9, 9]}, {"affine": [[1]]}, {"axes": [{}]}, {"shape": None}])
def test_a_sidecar_that_does_not_fit(tmp_path: Path, change: dict[str, Any]) -> None:
    path = VOLUME.write(tmp_path / "v.npy")
    facts = json.loads(path.with_suffix(".json").read_text()) | change
    path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(ImagingError):
        Volume.from_npy(path)


def test_simpleitk_has_masks() -> None:
    pytest.importorskip("SimpleITK")
    volume = Volume.from_datasets(series())
    mask = Volume.from_array(volume.voxels > 200, volume.geometry)
    assert mask.to_sitk().GetPixelIDTypeAsString() == "8-bit unsigned integer"


def test_simpleitk() -> None:
    pytest.importorskip("SimpleITK")
    volume = Volume.from_datasets(series())
    made = volume.to_sitk()
    assert made.GetPixel(3, 1, 2) == volume.voxels[2, 1, 3]
    place = made.TransformIndexToPhysicalPoint((3, 1, 2))
    assert np.allclose(place, volume.geometry.voxel_to_patient((2, 1, 3)))
    with pytest.raises(IrregularGeometry, match="deskew"):
        VOLUME.to_sitk()
    with pytest.raises(ImagingError, match="three dimensions"):
        numbered(volume.geometry, TIMES).to_sitk()


def test_what_lies_on_no_grid_is_written_nowhere(tmp_path: Path) -> None:
    uneven = Volume.from_datasets([image(number) for number in (1, 2, 5)], on_gap="keep")
    for name in ("v.nii", "v.nrrd", "v.npy", "v.zarr"):
        with pytest.raises(IrregularGeometry, match="regular"):
            uneven.write(tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="names no format"):
        VOLUME.write(tmp_path / "v.jpg")


def test_an_array_must_fit_its_geometry() -> None:
    with pytest.raises(ValueError, match="array of"):
        Volume.from_array(np.zeros((3, 3, 4)), VOLUME.geometry)
    assert Volume.from_array(np.zeros((2, 3, 4, 3), np.uint8), VOLUME.geometry).photometric == "RGB"


# --- back to a series -------------------------------------------------------------------------------------


def again(volume: Volume, **options: Any) -> Volume:
    return Volume.from_datasets(list(volume.to_datasets()), **options)


@given(st.floats(-1e300, 1e300))
@example(9.999999999999998)
@example(-99.99999999999999)
@example(5e-324)
def test_a_number_fits_into_a_decimal_string(number: float) -> None:
    text = decimal_string(number)
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8, abs=1e-300)


@settings(max_examples=50)
@given(geometries())
def test_a_series_made_again_has_every_voxel_where_it_was(geometry: VolumeGeometry) -> None:
    volume = numbered(geometry)
    made = again(volume, tolerance_mm=0.1)
    close(
        made.geometry.voxel_to_patient(everywhere(geometry)),
        geometry.voxel_to_patient(everywhere(geometry)),
        geometry,
    )
    assert np.array_equal(made.voxels, volume.voxels)


def test_axes_windows_and_signs_come_again() -> None:
    volume = numbered(VOLUME.geometry, TIMES)
    made = again(volume)
    assert made.axes == volume.axes
    assert np.array_equal(made.voxels, volume.voxels)
    windowed = Volume.from_datasets(series(kind="<u2", WindowCenter=300, WindowWidth=50))
    assert again(windowed).windows == windowed.windows
    assert again(windowed.reorient("RAI")).voxels.dtype == np.int16
    kept = Volume.from_datasets([image(number) for number in (1, 2, 5)], on_gap="keep")
    assert np.array_equal(again(kept, on_gap="keep").geometry.positions, kept.geometry.positions)


def test_where_slices_lie_is_asked_for_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    deviation = VolumeGeometry.deviation_mm

    def counted(geometry: VolumeGeometry) -> float:
        asked.append(geometry.shape[0])
        found: float = deviation.__get__(geometry)
        return found

    monkeypatch.setattr(VolumeGeometry, "deviation_mm", property(counted))
    counts = []
    for slices in (2, 20):
        made = list(numbered(VolumeGeometry.from_affine((slices, 3, 4), SHEARED)).to_datasets())
        assert len(made) == slices
        counts.append(asked.count(slices))
    assert counts[0] == counts[1] > 0


def test_new_identifiers_and_the_patient_of_a_template() -> None:
    template = image(1, StudyInstanceUID="1.2.77", FrameOfReferenceUID="1.2.88", PatientID="P7")
    made = list(VOLUME.to_datasets(template))
    assert len({one.SOPInstanceUID for one in made}) == 2
    assert {one.SeriesInstanceUID for one in made}.isdisjoint({template.SeriesInstanceUID})
    assert {(one.StudyInstanceUID, one.FrameOfReferenceUID, one.PatientID) for one in made} == {
        ("1.2.77", "1.2.88", "P7")
    }
    assert made[0].file_meta.MediaStorageSOPInstanceUID == made[0].SOPInstanceUID
    assert not str(next(VOLUME.to_datasets()).PatientName)


@pytest.mark.parametrize(
    "voxels",
    [np.zeros((2, 3, 4), np.float32), np.full((2, 3, 4), 70000), np.zeros((2, 3, 4, 3), np.uint8)],
)
def test_values_an_image_cannot_hold_are_refused(voxels: Any) -> None:
    with pytest.raises(UnsupportedPixels):
        list(Volume.from_array(voxels, VOLUME.geometry).to_datasets())


def test_two_axes_no_attribute_names_are_refused() -> None:
    axes = (Axis("segment", "", (1.0, 2.0)), Axis("phase", "", (1.0, 2.0)))
    with pytest.raises(UnsupportedPixels, match="segment, phase"):
        list(numbered(VOLUME.geometry, axes).to_datasets())


def files(folder: Path, datasets: list[Dataset]) -> list[Path]:
    paths = []
    for number, dataset in enumerate(datasets):
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def test_real_series_come_again_through_files(data: Path, tmp_path: Path) -> None:
    for case in ("ct_gantry_tilt_small", "mr_4d_dti_philips", "mr_oblique_double"):
        volume = Volume.from_files(data / case)
        made = Volume.from_files(files(tmp_path, list(volume.to_datasets())))
        assert np.array_equal(made.voxels, volume.voxels)
        assert np.abs(made.geometry.affine - volume.geometry.affine).max() < 1e-6
        assert [axis.values for axis in made.axes] == [axis.values for axis in volume.axes]


@pytest.mark.parametrize(("ending", "module"), [("nii", "nibabel"), ("nrrd", "nrrd"), ("zarr", "zarr")])
def test_a_package_that_is_absent_is_named_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = "zarr" if ending == "zarr" else "export"
    with pytest.raises(ImagingError, match=rf"this needs {module}: pip install 'aiodicom\[{extra}\]'"):
        VOLUME.write(tmp_path / f"v.{ending}")


@pytest.mark.parametrize(
    ("ending", "writes"), [("nii", "nibabel"), ("nrrd", "nrrd"), ("npy", "numpy"), ("zarr", "zarr")]
)
def test_an_export_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, writes: str
) -> None:
    """A disk that is full when half of it is written."""

    def full(*given: Any, **how: Any) -> None:
        (one,) = [one for one in given if isinstance(one, str | Path) and str(one).endswith(ending)]
        Path(one).mkdir() if ending == "zarr" else Path(one).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    module = pytest.importorskip(writes)
    where = module.Nifti1Image if ending == "nii" else module
    name = {"nii": "to_filename", "nrrd": "write", "npy": "save", "zarr": "open_group"}[ending]
    if ending == "nii":
        monkeypatch.setattr(where, name, lambda self, path: full(path))
    else:
        monkeypatch.setattr(where, name, full)
    with pytest.raises(OSError, match="No space left"):
        VOLUME.write(tmp_path / f"v.{ending}")
    assert list(tmp_path.iterdir()) == []
