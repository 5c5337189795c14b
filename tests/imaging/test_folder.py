"""The table of a folder: a row for each volume, and why others are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiodicom.imaging.folder import collection
from aiodicom.imaging.pixels import FilePixels
from aiodicom.imaging.volume import Volume
from imaging_series import image, save, series


def folder_of(tmp_path: Path) -> Path:
    second = [image(number + 50, SeriesInstanceUID="1.2.9", SeriesNumber=3) for number in (1, 2, 5)]
    second[0].SeriesDescription = "T1 \x1b[31m"
    save(tmp_path, [*series(4), *second])
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_row_for_each_volume(tmp_path: Path) -> None:
    found = collection(folder_of(tmp_path))
    assert len(found) == 2
    first, second = found
    assert (second.series_number, second.shape, second.spacing) == ("7", (4, 3, 4), (0.25, 0.5, 2.0))
    assert (second.modality, second.orientation, second.problem) == ("MR", "transverse", "")
    assert (first.series_uid, first.images, first.shape) == ("1.2.9", 3, None)
    assert "missing" in first.problem
    assert Volume.from_files(second.files).voxels.shape == second.shape
    assert found.left_out[0].name.endswith("notes.txt")


def test_it_prints_as_a_table_without_control_characters(tmp_path: Path) -> None:
    lines = str(collection(folder_of(tmp_path))).splitlines()
    assert lines[0].startswith("modality  series  description")
    assert "4 x 3 x 4" in lines[2]
    assert "\x1b" not in "".join(lines)
    assert "notes.txt" in lines[3]


def test_no_pixels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(FilePixels, "stored", forbidden)
    assert len(collection(folder_of(tmp_path))) == 2


def test_real_folders_say_what_is_in_them(data: Path) -> None:
    found = collection(data / "mr_survey_three_planes")
    assert sorted(row.orientation for row in found if row.shape) == ["coronal", "sagittal", "transverse"]
    assert collection(data / "broken_inputs").left_out
