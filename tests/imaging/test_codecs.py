"""Frames decoded by libraries: what they make is what pydicom makes, and headers that lie are found out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging import codecs
from aiodicom.imaging.codecs import DEFLATED_FRAMES, RLE, decode_frame, reads, stream_size, unpacked
from aiodicom.imaging.errors import UnsupportedPixels
from aiodicom.imaging.headers import frames_of_file
from aiodicom.imaging.image import Image
from aiodicom.imaging.pixel_format import PixelFormat
from aiodicom.imaging.pixels import EncapsulatedPixels
from aiodicom.imaging.volume import Volume
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

FORM = PixelFormat(5, 7, 1, 1, 1, 1, 0, False, False, "MONOCHROME2")


ENCODED = [RLE, DEFLATED_FRAMES, *(f"1.2.840.10008.1.2.4.{last}" for last in (70, 80, 90))]
NO_SCAN = b"\xff\xd8\xff\xc3\0\x0b\x08\0\x05\0\x07\1\1\x11\0"
NONSENSE = [b"", b"\xff" * 90, bytes(90), NO_SCAN, zlib.compress(b"")[2:]]


def grey_frames(data: Path) -> list[Path]:
    """Every real file of which imagecodecs or we ourselves decode the frames."""
    found = []
    for path in sorted(data.glob("*/*.dcm")):
        if path.parent.name == "broken_inputs":
            continue
        frames = frames_of_file(path)
        if frames and isinstance(frames[0].pixels, EncapsulatedPixels):
            found.append(path)
    return found


def test_every_real_frame_is_what_pydicom_makes_of_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    paths = grey_frames(data)
    syntaxes = {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in paths}
    assert len(syntaxes) >= 5
    ours = {path: Image.from_file(path).pixels for path in paths}
    monkeypatch.setattr(codecs, "_functions", lambda names: ())
    compared = 0
    for path in paths:
        if not isinstance(frames_of_file(path)[0].pixels, EncapsulatedPixels):
            assert np.array_equal(Image.from_file(path).pixels, ours[path]), path
            compared += 1
    assert compared > 20


def test_one_frame_is_decoded_without_the_others(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    path = data / "img_emri_syntaxes" / "emri_small_RLE.dcm"
    every = Image.from_file(path).pixels
    decoded: list[int] = []
    encoded = EncapsulatedPixels.encoded

    def counted(source: EncapsulatedPixels, index: int) -> bytes:
        decoded.append(index)
        return encoded(source, index)

    monkeypatch.setattr(EncapsulatedPixels, "encoded", counted)
    assert np.array_equal(Image.from_file(path, frame=6).pixels, every[:, :, 6:7])
    assert decoded == [6]


def test_frames_of_single_bits_deflated_or_run_length_encoded() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (5, 7), np.uint8)
    packed = np.packbits(bits, bitorder="little", axis=None).tobytes()
    machine = zlib.compressobj(wbits=-15)
    assert np.array_equal(
        decode_frame(DEFLATED_FRAMES, machine.compress(packed) + machine.flush(), FORM, "it"), bits
    )
    run = struct.pack("<16L", 1, 64, *[0] * 14) + bytes([len(packed) - 1]) + packed
    assert np.array_equal(decode_frame(RLE, run, FORM, "it"), bits)


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=128),
            st.tuples(st.binary(min_size=1, max_size=1), st.integers(2, 128)),
        )
    )
)
def test_runs_come_out_as_they_went_in(parts: list[bytes | tuple[bytes, int]]) -> None:
    encoded, plain = b"", b""
    for part in parts:
        if isinstance(part, bytes):
            encoded += bytes([len(part) - 1]) + part + b"\x80"
            plain += part
        else:
            encoded += bytes([257 - part[1]]) + part[0]
            plain += part[0] * part[1]
    assert unpacked(encoded, len(plain)) == plain
    assert unpacked(encoded, len(plain) + 9) == plain


@pytest.mark.parametrize("syntax", ENCODED)
@pytest.mark.parametrize("data", NONSENSE)
def test_what_no_decoder_reads_is_our_error(syntax: str, data: bytes) -> None:
    form = replace(FORM, bits_allocated=8, bits_stored=8, high_bit=7)
    with pytest.raises(UnsupportedPixels, match="it"):
        decode_frame(syntax, data, form, "it")


def test_a_code_stream_of_another_size_is_refused_before_it_is_decoded(data: Path) -> None:
    for name in ("mr_compressed_j2k", "mr_compressed_jpeg", "mr_compressed_jpegls"):
        path = next((data / name).glob("*.dcm"))
        (frame,) = frames_of_file(path)
        assert isinstance(frame.pixels, EncapsulatedPixels)
        stream = frame.pixels.encoded(0)
        assert stream_size(stream) == (256, 256)
        lying = replace(frame.pixels.format, rows=128)
        with pytest.raises(UnsupportedPixels, match="its header says 128 x 256, its code stream 256 x 256"):
            decode_frame(frame.pixels.syntax, stream, lying, "it")


def test_a_deflated_frame_never_becomes_more_than_it_may() -> None:
    machine = zlib.compressobj(wbits=-15)
    bomb = machine.compress(bytes(10_000_000)) + machine.flush()
    assert decode_frame(DEFLATED_FRAMES, bomb, FORM, "it").shape == (5, 7)
    assert FORM.cell_bytes <= len(codecs._inflated(bomb, FORM, "it")) <= FORM.cell_bytes + 2


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_a_code_stream_of_more_bits_than_a_pixel_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    form = replace(FORM, bits_allocated=8, bits_stored=8, high_bit=7)
    stream = b"\xff\xd8\xff\xf7\0\x0b\x08\0\x05\0\x07\1\1\x11\0"
    for value, fits in ((255, True), (256, False), (-129, False), (-128, True), (4095, False)):
        if value < 0 and kind is np.uint16:
            continue
        made = np.zeros((5, 7), kind)
        made[2, 3] = value
        monkeypatch.setattr(codecs, "_functions", lambda names, made=made: (lambda data: made,))
        if fits:
            assert decode_frame("1.2.840.10008.1.2.4.80", stream, form, "it")[2, 3] == value % 256
        else:
            with pytest.raises(UnsupportedPixels, match="it: its code stream holds more than the 8 bits"):
                decode_frame("1.2.840.10008.1.2.4.80", stream, form, "it")


@given(st.binary(max_size=60))
def test_any_bytes_have_a_size_or_none(data: bytes) -> None:
    for beginning in (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "):
        size = stream_size(beginning + data)
        assert size is None or (len(size) == 2 and all(isinstance(one, int) and one >= 0 for one in size))


@pytest.mark.parametrize(
    ("version", "able"),
    [("libjpeg_turbo 2.1.5/8.0", False), ("libjpeg_turbo 3.0.0/8.0", True), ("mozjpeg 4.1.5", False)],
)
def test_twelve_bits_where_the_library_has_them(
    monkeypatch: pytest.MonkeyPatch, version: str, able: bool
) -> None:
    library = pytest.importorskip("imagecodecs")
    monkeypatch.setattr(library, "jpeg8_version", lambda: version)
    codecs._twelve_bits.cache_clear()
    twelve = replace(FORM, bits_allocated=16, bits_stored=12, high_bit=11)
    assert reads("1.2.840.10008.1.2.4.51", twelve) == able
    assert reads("1.2.840.10008.1.2.4.51", replace(FORM, bits_allocated=8, bits_stored=8, high_bit=7))
    codecs._twelve_bits.cache_clear()


def test_a_real_image_of_twelve_bits_is_what_gdcm_makes_of_it() -> None:
    """Which pydicom does not ask: its plug-in for GDCM refuses them."""
    if not codecs._twelve_bits():
        pytest.skip("the JPEG library has no twelve bits")
    found = Image.from_file(get_testdata_file("JPEG-lossy.dcm")).pixels
    assert (found.shape, str(found.dtype)) == ((1024, 256, 1, 1), "uint16")
    assert (int(found.max()), int(found.sum(dtype=np.int64))) == (264, 3767007)


def test_what_is_left_to_pydicom() -> None:
    twelve = replace(FORM, bits_allocated=16, bits_stored=12, high_bit=11)
    assert not reads("1.2.840.10008.1.2.4.90", replace(twelve, samples=3))
    assert not reads("1.2.840.10008.1.2.1", twelve)
    assert not reads("1.2.3.4", twelve)


@pytest.mark.parametrize(
    "case", ["mr_compressed_j2k", "mr_compressed_jpeg", "mr_compressed_jpegls", "mr_compressed_rle"]
)
def test_a_broken_frame_among_many_ends_all_in_one_error(data: Path, tmp_path: Path, case: str) -> None:
    for path in (data / case).glob("*.dcm"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    victim = tmp_path / "im0002.dcm"
    dataset = dcmread(victim)
    dataset.PixelData = dataset.PixelData[:30] + bytes(200) + dataset.PixelData[230:]
    dataset.save_as(victim)
    with pytest.raises(UnsupportedPixels, match="im0002"):
        Volume.from_files(tmp_path)
    kept = Volume.from_files(tmp_path, on_broken="leave out", on_gap="keep")
    assert len(kept.voxels) == 3
    assert kept.report.left_out[0].name.endswith("im0002.dcm")
