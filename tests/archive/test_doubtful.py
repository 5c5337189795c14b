"""Objects encoded against PS3.5: kept with a warning and listed; what contradicts itself is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from aiodicom.archive.archive import Archive
from archive_objects import encode, files_below, image, store

JPEG = "1.2.840.10008.1.2.4.50"
ENCAPSULATED = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + (
    struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL4s", 0xFFFE, 0xE000, 4, b"abcd")
)
NATIVE = struct.pack("<HH2sHL4s", 0x7FE0, 0x0010, b"OW", 0, 4, b"abcd")
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
ODD_VR = struct.pack("<HH2sH2s", 0x7001, 0x0010, b"--", 2, b"ab")


@pytest.mark.parametrize(("tail", "syntax"), [(ODD_VR, "1.2.840.10008.1.2.1"), (ENCAPSULATED, JPEG)])
def test_what_is_in_doubt_is_kept_with_a_warning_and_listed(tmp_path: Path, tail: bytes, syntax: str) -> None:
    data = encode(image(PixelData=None)) + tail
    with Archive(tmp_path, durability="rename") as archive:
        for _ in range(2):  # a device that sends again hears the same
            outcome = store(archive, image(), syntax, data=data)
            assert outcome.status == 0xB007
            assert outcome.comment.startswith("kept as it came: offset")
            assert outcome.path is not None
            assert outcome.path.read_bytes().endswith(data)
        assert archive.counts().instances == 1
        report = archive.verify()
        assert report.ok
        assert [one.path for one in report.doubtful] == [outcome.path]
        assert archive.reindex().indexed == 1


@pytest.mark.parametrize(("tail", "syntax"), [(ENCAPSULATED + END, "1.2.840.10008.1.2.1"), (NATIVE, JPEG)])
def test_pixel_data_that_contradict_their_transfer_syntax_are_refused(
    tmp_path: Path, tail: bytes, syntax: str
) -> None:
    with Archive(tmp_path, durability="rename") as archive:
        outcome = store(archive, image(), syntax, data=encode(image(PixelData=None)) + tail)
        assert outcome.status == 0xC000
        assert "malformed" in outcome.comment
        assert files_below(tmp_path / "objects") == []
