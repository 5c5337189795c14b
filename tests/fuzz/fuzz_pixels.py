"""Any bytes as pixel data: fragments, offset tables, frames of each encoding, bits, rescale, mosaics.

Input: four bytes choose what is read, its rows, its columns and its bits; the rest is the encoded data.

May be raised: ImagingError (UnsupportedPixels, MalformedDataSet). Nothing else, and no array larger than the
header's size is made. What is decoded has the header's shape; the fragments of frames lie inside the data.
"""

from __future__ import annotations

import numpy as np
from aiodicom.dataset.errors import ImagingError
from aiodicom.imaging.codecs import DEFLATED_FRAMES, RLE, decode_frame, reads, stream_size, unpacked
from aiodicom.imaging.encapsulated import Offsets, frame_spans
from aiodicom.imaging.filling import fill
from aiodicom.imaging.mosaic import csa_elements
from aiodicom.imaging.pixel_format import PixelFormat
from aiodicom.imaging.pixels import EncapsulatedPixels

_SYNTAXES = (RLE, DEFLATED_FRAMES, *(f"1.2.840.10008.1.2.4.{last}" for last in (50, 70, 80, 90, 201)))
_BITS = ((1, 1, 0), (8, 8, 7), (16, 16, 15), (16, 12, 11), (16, 12, 15), (32, 32, 31))


class _Frame:
    """A frame with a rescale that is no whole number."""

    source, slope, intercept, index, table = "it", 0.5, -3.0, 0, None

    def __init__(self, pixels: EncapsulatedPixels, index: int) -> None:
        self.pixels, self.index = pixels, index


def _whole(syntax: str, data: bytes, form: PixelFormat, extended: Offsets | None) -> None:
    source = EncapsulatedPixels.opened(data, 0, syntax, form, extended, "it")
    assert len(source.spans) == form.frames
    for frame in source.spans:
        for at, length in frame:
            assert 0 <= at <= at + length <= len(data)
    made = fill([_Frame(source, index) for index in range(form.frames)])  # type: ignore[arg-type]
    assert made.shape == (form.frames, *form.matrix)
    assert np.isfinite(made).all()


def one_input(data: bytes) -> None:
    """Read pixel data in the way the first bytes choose."""
    if len(data) < 4:
        return
    way, rows, columns, kind = data[0], data[1] % 16 + 1, data[2] % 16 + 1, data[3]
    allocated, stored, high = _BITS[kind % len(_BITS)]
    form = PixelFormat(
        rows, columns, way // 16 % 4 + 1, 1, allocated, stored, high, bool(kind & 64), False, "MONOCHROME2"
    )
    syntax, rest = _SYNTAXES[way % len(_SYNTAXES)], data[4:]
    assert len(unpacked(rest, 64)) <= 64
    stream_size(rest)
    offsets = Offsets(list(rest[:4]), list(rest[4:8])) if way & 128 else None
    for work in (
        lambda: frame_spans(memoryview(rest), 0, form.frames, offsets, "it"),
        lambda: dict(csa_elements(rest, "it")),
        lambda: decode_frame(syntax, rest, form, "it"),
        lambda: _whole(syntax, rest, form, offsets),
    ):
        if not reads(syntax, form):
            continue
        try:
            work()
        except ImagingError:
            continue
