"""Encapsulated pixel data made native: the pixels and all else stay, what cannot be decoded is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiodicom.dataset import decompress as module
from aiodicom.dataset.decompress import decompress
from aiodicom.dataset.errors import ImagingError, MalformedDataSet
from archive_objects import RLE, compressed, encode, image, picture
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

MPEG2 = "1.2.840.10008.1.2.4.100"  # of which pydicom knows no decoder
LIMIT = 1 << 20


def write(tmp_path: Path, data: bytes) -> tuple[Path, Path]:
    (tmp_path / "source").write_bytes(b"head" + data)
    return tmp_path / "source", tmp_path / "target"


@pytest.mark.parametrize(
    ("frames", "samples", "bits"), [(1, 1, 16), (3, 1, 16), (1, 3, 8), (2, 3, 8), (1, 1, 8)]
)
def test_everything_but_the_encoding_stays(tmp_path: Path, frames: int, samples: int, bits: int) -> None:
    plain = picture(frames, samples, bits)
    expected = encode(plain)
    source, target = write(tmp_path, compressed(plain))
    size = decompress(source, 4, RLE, target, LIMIT)
    assert target.stat().st_size == size
    assert target.read_bytes() == expected


def test_what_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = write(tmp_path, compressed(picture()))
    monkeypatch.setattr(module, "_decode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImagingError, match="70 bytes of pixels, over 69"):
        decompress(source, 4, RLE, target, 69)


def test_what_has_no_decoder(tmp_path: Path) -> None:
    source, target = write(tmp_path, compressed(picture()))
    for syntax in (MPEG2, "1.2.3"):
        with pytest.raises(ImagingError, match=r"no decoder for .* is installed"):
            decompress(source, 4, syntax, target, LIMIT)


def broken(kind: str) -> Dataset:
    dataset = picture(2)
    compressed(dataset)
    if kind == "no size":
        del dataset.Rows
    elif kind == "rows of nothing":
        dataset.Rows = 0
    elif kind == "more frames than there are":
        dataset.NumberOfFrames = 3
    elif kind == "garbage":
        dataset.PixelData = encapsulate([b"\1\0\0\0garbage!"] * 2)
    elif kind == "a compressed icon":
        icon = picture()
        compressed(icon)
        dataset.IconImageSequence = Sequence([icon])
    return dataset


@pytest.mark.parametrize(
    "kind",
    [
        "no size",
        "rows of nothing",
        "more frames than there are",
        "garbage",
        "a compressed icon",
        "an element in doubt",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_decoded_is_that_objects_fault(tmp_path: Path, kind: str) -> None:
    doubtful = b"\xfe\x7f\x12\0--\2\0ab" if kind == "an element in doubt" else b""
    source, target = write(tmp_path, encode(broken(kind)) + doubtful)
    with pytest.raises(MalformedDataSet, match="cannot be decompressed"):
        decompress(source, 4, RLE, target, LIMIT)


def test_what_has_no_pixels_is_in_explicit_vr_already(tmp_path: Path) -> None:
    data = encode(image())
    source, target = write(tmp_path, data)
    assert decompress(source, 4, MPEG2, target, LIMIT) == len(data)
    assert target.read_bytes() == data


def test_tables_of_fragments_that_are_gone(tmp_path: Path) -> None:
    dataset = picture()
    compressed(dataset)
    [frame] = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.ExtendedOffsetTable = bytes(8)
    dataset.ExtendedOffsetTableLengths = len(frame).to_bytes(8, "little")
    source, target = write(tmp_path, encode(dataset))
    decompress(source, 4, RLE, target, LIMIT)
    assert "ExtendedOffsetTable" not in dcmread(target, force=True)
    assert "ExtendedOffsetTableLengths" not in dcmread(target, force=True)


@pytest.mark.parametrize(("syntax", "lossy"), [("1.2.840.10008.1.2.4.50", "01"), (RLE, None)])
def test_once_lossy_always_lossy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, lossy: str
) -> None:
    def decode(dataset: Dataset, _syntax: str) -> None:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.decompress(generate_instance_uid=False)

    monkeypatch.setattr(module, "_decode", decode)
    source, target = write(tmp_path, compressed(picture()))
    decompress(source, 4, syntax, target, LIMIT)
    assert dcmread(target, force=True).get("LossyImageCompression") == lossy


def test_the_process_answers_line_by_line(tmp_path: Path) -> None:
    source, target = write(tmp_path, compressed(picture()))
    good = {"source": str(source), "offset": 4, "syntax": RLE, "target": str(target)}
    asked = [good, good | {"source": "/nowhere"}, good | {"syntax": MPEG2}, {}, good]
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "aiodicom.dataset.decompress", str(LIMIT)],
        input=lines, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    size = len(encode(picture()))
    assert answers[0] == answers[4] == {"size": size}
    assert "No such file" in answers[1]["error"]
    assert "no decoder" in answers[2]["error"]
    assert answers[3] == {"error": "it cannot be decompressed: KeyError"}
