"""What lies in a folder already is found by name, and believed only where it is whole."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from aiodicom.client.layout import parse_layout
from aiodicom.client.present import find_present, whole_file
from aiodicom.client.receiving import ASIDE
from aiodicom.dataset.part10 import encode_file_meta
from archive_objects import CT, DEFLATED, EXPLICIT, IMPLICIT, encode, image, part10


def place(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_whole_file_and_every_torn_one(tmp_path: Path, syntax: str) -> None:
    raw = part10(image(1, PixelData=None), syntax)
    path = place(tmp_path, "1.2.3.1.1.dcm", raw)
    item = whole_file(str(path), "1.2.3.1.1")
    assert item is not None
    assert (item.path, item.present, item.transfer_syntax_uid) == (path, True, syntax)
    assert raw.endswith(raw[-item.bytes :])
    assert whole_file(str(path), "1.2.3.1.2") is None
    ends = 0
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        ends += whole_file(str(path), "1.2.3.1.1") is not None
    # a file that ends between two elements is one that could have been sent so
    assert ends < 20


def test_they_are_found_wherever_they_lie(tmp_path: Path) -> None:
    first = place(tmp_path, "a/b/1.2.3.1.1.dcm", part10(image(1), EXPLICIT))
    place(tmp_path, f"{ASIDE}/a/1.2.3.1.2.dcm", part10(image(2), EXPLICIT))
    place(tmp_path, "a/1.2.3.1.3.dcm", part10(image(4), EXPLICIT))  # another one's name
    place(tmp_path, "a/1.2.3.1.5.dcm", b"no DICOM")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a")
    found = find_present(tmp_path, [f"1.2.3.1.{n}" for n in range(9)])
    assert [item.path for item in found] == [first]
    assert find_present(tmp_path / "nowhere", ["1.2.3.1.1"]) == []
    assert find_present(tmp_path, []) == []


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
def test_an_odd_uid_is_found_under_its_hash(tmp_path: Path) -> None:
    from aiodicom.dataset.names import file_stem

    uid = "LOCALIZER2.16"
    raw = part10(image(1, SOPInstanceUID=uid), EXPLICIT)
    path = place(tmp_path, f"{file_stem(uid)}.dcm", raw)
    assert [item.path for item in find_present(tmp_path, [uid])] == [path]


def test_a_deflated_object_is_believed_only_when_seen_to_its_end(tmp_path: Path) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = stream.compress(encode(image(1))) + stream.flush()
    meta = {"sop_class_uid": CT, "sop_instance_uid": "1.2.3.1.1", "transfer_syntax_uid": DEFLATED}
    names = {"implementation_class_uid": "1.2.3", "implementation_version_name": "TEST"}
    raw = encode_file_meta(**meta, **names) + data + b"\0" * (len(data) % 2)
    path = place(tmp_path, "1.2.3.1.1.dcm", raw)
    assert whole_file(str(path), "1.2.3.1.1") is not None
    path.write_bytes(raw[:-8])
    assert whole_file(str(path), "1.2.3.1.1") is None


@pytest.mark.parametrize("layout", [None, "uids", "{PatientID}/{SOPInstanceUID}_x.dcm"])
def test_a_whole_one_beside_a_torn_one_is_found(tmp_path: Path, layout: str | None) -> None:
    raw = part10(image(1), EXPLICIT)
    shape = parse_layout(layout or "patient")
    name = "1.2.3.1.1_x" if layout and "_x" in layout else "1.2.3.1.1"
    torn = place(tmp_path, f"a/{name}.dcm", raw[:-3])
    assert find_present(tmp_path, ["1.2.3.1.1"], shape) == []
    for number in (2, 3, 999):
        whole = place(tmp_path, f"a/{name}~{number}.dcm", raw)
        assert [item.path for item in find_present(tmp_path, ["1.2.3.1.1"], shape)] == [whole]
        whole.unlink()
    assert torn.exists()
