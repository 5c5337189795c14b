"""Which files are read, and what becomes of those that cannot be."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiodicom.dataset.errors import TruncatedFile
from aiodicom.imaging import reading
from aiodicom.imaging.errors import MixedSeries, SlicesMissing, UnsupportedPixels, VolumeError
from aiodicom.imaging.volume import Volume
from imaging_series import image, save, series
from pydicom.encaps import encapsulate
from pydicom.uid import UID


def others(**changes: Any) -> list[Any]:
    """A second series, its instances named otherwise."""
    made = series(3, SeriesInstanceUID="1.2.9", **changes)
    for dataset in made:
        dataset.SOPInstanceUID += ".9"
    return made


def test_one_file_of_a_larger_series_says_so(tmp_path: Path) -> None:
    save(tmp_path, series(22) + others())
    (tmp_path / "notes.txt").write_text("no image")
    volume = Volume.from_files(tmp_path / "z.dcm")
    assert len(volume.voxels) == 1
    told = [note for note in volume.report.assumptions if "series" in note]
    assert told == ["1 of 22 slices of this series here: Volume.from_series() takes them all"]
    assert Volume.from_series(tmp_path / "z.dcm").voxels.shape == (22, 3, 4)
    assert not [
        note for note in Volume.from_series(tmp_path / "z.dcm").report.assumptions if "of this" in note
    ]


def test_the_files_beside_a_volume_of_many_slices_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dose = image(1, Modality="RTDOSE", NumberOfFrames=2, GridFrameOffsetVector=[0, 3])
    dose.PixelData *= 2
    save(tmp_path, [dose, *series(3)])
    monkeypatch.setattr(reading, "series_of", lambda path: pytest.fail(f"{path} was opened"))
    volume = Volume.from_files(tmp_path / "z.dcm")
    assert len(volume.voxels) == 2
    assert not [note for note in volume.report.assumptions if "of this series" in note]


def test_a_folder_that_cannot_be_listed_costs_the_note_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, series(3))

    def refused(path: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    volume = Volume.from_files(tmp_path / "z.dcm")
    assert len(volume.voxels) == 1
    assert [note for note in volume.report.assumptions if "not known: Permission denied" in note]


def test_the_only_file_of_its_series_says_nothing(tmp_path: Path) -> None:
    save(tmp_path, [image(1), *others()])
    assert not [note for note in Volume.from_files(tmp_path / "z.dcm").report.assumptions if "series" in note]


def test_a_series_is_taken_with_the_options_of_a_folder(tmp_path: Path) -> None:
    save(tmp_path, [image(number) for number in (1, 2, 4)])
    with pytest.raises(SlicesMissing):
        Volume.from_series(tmp_path / "z.dcm")
    assert Volume.from_series(tmp_path / "z.dcm", on_gap="keep").voxels.shape == (3, 3, 4)


def test_a_file_without_series(tmp_path: Path) -> None:
    save(tmp_path, [image(1, SeriesInstanceUID=None)])
    with pytest.raises(VolumeError, match="names no series"):
        Volume.from_series(tmp_path / "z.dcm")
    assert Volume.from_files(tmp_path / "z.dcm").voxels.shape == (1, 3, 4)


def test_the_series_of_a_file_with_a_long_beginning(tmp_path: Path) -> None:
    dataset = image(1)
    dataset.add_new(0x00091010, "UN", b"x" * 3 * reading._BEGINNING)
    save(tmp_path, [dataset])
    assert reading.series_of(tmp_path / "z.dcm") == "1.2.3"
    with (tmp_path / "z.dcm").open("r+b") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        assert reading.series_of(tmp_path / "z.dcm") == "1.2.3"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    (tmp_path / "other").write_bytes(b"")
    assert reading.series_of(tmp_path / "other") == ""
    assert reading.series_of(tmp_path / "none") == ""


def test_all_volumes_of_a_folder(tmp_path: Path) -> None:
    save(tmp_path, series(4) + others())
    with pytest.raises(MixedSeries, match=r"Volume.volumes\(\)"):
        Volume.from_files(tmp_path)
    found = {volume.series_uid: volume.voxels.shape for volume in Volume.volumes(tmp_path)}
    assert found == {"1.2.3": (4, 3, 4), "1.2.9": (3, 3, 4)}
    assert [v.series_uid for v in Volume.volumes(tmp_path, series_uid="1.2.9")] == ["1.2.9"]


def test_what_forms_no_volume_is_told_at_its_turn_or_left_out(tmp_path: Path) -> None:
    save(tmp_path, [image(number) for number in (1, 2, 5)] + others())
    with pytest.raises(SlicesMissing):
        list(Volume.volumes(tmp_path))
    (volume,) = Volume.volumes(tmp_path, on_broken="leave out")
    assert volume.series_uid == "1.2.9"
    (told,) = volume.report.left_out
    assert "3 transverse MR images" in told.name
    assert "missing" in told.why


def test_a_broken_file_is_an_error_or_left_out(tmp_path: Path) -> None:
    save(tmp_path, series(4))
    whole = (tmp_path / "z.dcm").read_bytes()
    (tmp_path / "torn.dcm").write_bytes(whole[:-5])
    with pytest.raises(TruncatedFile, match="torn"):
        Volume.from_files(tmp_path)
    volume = Volume.from_files(tmp_path, on_broken="leave out")
    assert volume.voxels.shape == (4, 3, 4)
    (told,) = volume.report.left_out
    assert told.name.endswith("torn.dcm")
    assert "not whole" in told.why


def test_a_file_that_cannot_be_opened_is_left_out(tmp_path: Path) -> None:
    save(tmp_path, series(3))
    files = [*tmp_path.iterdir(), tmp_path / "gone.dcm"]
    with pytest.raises(FileNotFoundError):
        Volume.from_files(files)
    assert Volume.from_files(files, on_broken="leave out").report.left_out[0].name.endswith("gone.dcm")


def test_pixels_that_cannot_be_decoded_leave_a_gap_unless_at_an_end() -> None:
    def torn(number: int) -> Any:
        dataset = image(number)
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.5")
        dataset.PixelData = encapsulate([b"\1\0\0\0" + bytes(60) + b"\x80"])
        dataset["PixelData"].VR = "OB"
        return dataset

    with pytest.raises(UnsupportedPixels, match="data set 4"):
        Volume.from_datasets([image(1), image(2), image(3), torn(4)])
    volume = Volume.from_datasets([image(1), image(2), image(3), torn(4)], on_broken="leave out")
    assert len(volume.voxels) == 3
    assert volume.report.left_out[0].name == "data set 4"
    with pytest.raises(SlicesMissing):
        Volume.from_datasets([image(1), image(2), torn(3), image(4), image(5)], on_broken="leave out")


@pytest.mark.parametrize(
    "options",
    [{"on_gap": "fill"}, {"on_duplicate": "all"}, {"on_broken": True}, {"tolerance_mm": -1}],
)
def test_a_choice_there_is_not_is_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Volume.from_datasets(series(), **options)
    with pytest.raises(TypeError):
        Volume.from_datasets(series(), on_gaps="keep")  # type: ignore[call-arg]
