"""Frames decoded by well-kept libraries behind one function (`pip install 'aiodicom[codecs]'`).

imagecodecs works without holding Python's lock, so that frames are decoded on all cores; what it does not
read, and all colour, goes to pydicom and its plug-ins. What a code stream says of its size is compared with
the header before a decoder sees it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encapsulated import JP2_SIGNATURE
from .errors import UnsupportedPixels
from .pixel_format import PixelFormat, unpack

_UID = "1.2.840.10008.1.2."
RLE = _UID + "5"
_EXTENDED = _UID + "4.51"
DEFLATED_FRAMES = _UID + "8.1"
_LIBRARY = {
    **dict.fromkeys((_UID + "4.50", _UID + "4.51"), ("jpeg8",)),
    **dict.fromkeys((_UID + "4.57", _UID + "4.70"), ("ljpeg", "jpegsof3")),
    **dict.fromkeys((_UID + "4.80", _UID + "4.81"), ("jpegls",)),
    **dict.fromkeys((_UID + "4.90", _UID + "4.91"), ("jpeg2k",)),
    **dict.fromkeys((_UID + "4.201", _UID + "4.202", _UID + "4.203"), ("jpeg2k", "htj2k")),
}
_TOLD = 200  # characters of a decoder's message


@cache
def _functions(names: tuple[str, ...]) -> tuple[Callable[..., Any], ...]:
    """The functions of imagecodecs there are."""
    try:
        library = import_module("imagecodecs")
    except ImportError:
        return ()
    found = []
    for name in names:
        if getattr(getattr(library, name.upper(), None), "available", False):
            found.append(getattr(library, f"{name}_decode"))
    return tuple(found)


@cache
def _twelve_bits() -> bool:
    """The JPEG library has twelve bits: libjpeg-turbo from 3.0 on, and not every build is of it."""
    if not _functions(("jpeg8",)):
        return False
    told = re.match(r"libjpeg_turbo (\d+)", import_module("imagecodecs").jpeg8_version())
    return told is not None and int(told[1]) >= 3


def reads(syntax: str, form: PixelFormat) -> bool:
    """Whether `decode_frame` can decode such frames on this machine."""
    if form.samples != 1 or form.is_float:
        return False
    if syntax == DEFLATED_FRAMES or (syntax == RLE and form.bits_allocated == 1):
        return True
    if syntax == RLE:
        return bool(_functions(("dicomrle",)))
    if syntax == _EXTENDED and form.bits_stored > 8 and not _twelve_bits():
        return False
    return form.bits_allocated in (8, 16) and bool(_functions(_LIBRARY.get(syntax, ())))


def decode_frame(syntax: str, data: bytes, form: PixelFormat, name: str) -> NDArray[Any]:
    """The stored values of one frame of one sample, (rows, columns). Raises UnsupportedPixels."""
    if syntax == DEFLATED_FRAMES:
        return _of_bytes(_inflated(data, form, name), form, name)
    if syntax == RLE:
        return _of_bytes(_run_lengths(data, form, name), form, name)
    _check_size(data, form, name)
    told = ""
    for function in _functions(_LIBRARY.get(syntax, ())):
        try:
            found: NDArray[Any] = function(data)
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            told = " ".join(f"{type(error).__name__}: {error}".split())[:_TOLD]
            continue
        if found.shape != form.matrix or found.dtype.kind not in "iu":
            told = f"it makes {found.shape} of {found.dtype}"
            continue
        return _stored(found, form, name)
    raise UnsupportedPixels(f"{name}: its pixels cannot be decoded ({told})")


def _stored(found: NDArray[Any], form: PixelFormat, name: str) -> NDArray[Any]:
    """Decoded values in the type of the header; code streams do not always know of a sign (PS3.5 8.2.4).

    UnsupportedPixels for such as need more bits than a pixel has.
    """
    bits = form.bits_allocated
    wider = found.dtype.itemsize > form.dtype.itemsize
    if wider and not (-(1 << bits) // 2 <= int(found.min()) and int(found.max()) < 1 << bits):
        raise UnsupportedPixels(
            f"{name}: its code stream holds more than the {bits} bits its header allocates"
        )
    if found.dtype.itemsize == form.dtype.itemsize:
        values = found.view(form.dtype)
    else:
        values = found.astype(form.dtype)
    values = values if values.flags.writeable and values.flags.c_contiguous else values.copy()
    return unpack(values, replace(form, high_bit=form.bits_stored - 1))


def _inflated(data: bytes, form: PixelFormat, name: str) -> bytes:
    """One frame of the deflated image frame compression (PS3.5 10.20), never more than it may hold."""
    size = form.cell_bytes
    machine = zlib.decompressobj(-15)
    try:
        found = machine.decompress(data, size + 2)
    except zlib.error as error:
        raise UnsupportedPixels(f"{name}: its pixels cannot be inflated ({error})") from error
    return found


def _run_lengths(data: bytes, form: PixelFormat, name: str) -> bytes:
    """One frame of RLE (PS3.5 Annex G): segments, most significant bytes first, as little endian cells."""
    segments = max(form.bits_allocated // 8, 1)
    count, *offsets = struct.unpack("<16L", data[:64].ljust(64, b"\0"))
    bounds = [*offsets[:segments], len(data)]
    if count != segments or any(a < 64 or a > b for a, b in pairwise(bounds)):
        raise UnsupportedPixels(f"{name}: its pixels cannot be decoded (its RLE header contradicts them)")
    size = form.cell_bytes // segments
    if form.bits_allocated > 1 and (functions := _functions(("dicomrle",))):
        try:
            return bytes(functions[0](data, np.dtype(f"<u{segments}")))
        except Exception as error:  # of the library
            raise UnsupportedPixels(f"{name}: its pixels cannot be decoded ({error})") from error
    planes = [np.frombuffer(unpacked(data[a:b], size), np.uint8) for a, b in pairwise(bounds)]
    if any(len(plane) < size for plane in planes):
        raise UnsupportedPixels(f"{name}: its pixels cannot be decoded (an RLE segment ends too early)")
    return np.stack(planes[::-1], axis=-1).tobytes()


def unpacked(segment: bytes, size: int) -> bytes:
    """The first `size` bytes of an RLE segment (PS3.5 G.3.2); fewer where it ends too early."""
    made, at = bytearray(), 0
    while at < len(segment) and len(made) < size:
        head = segment[at]
        if head < 128:
            made += segment[at + 1 : at + 2 + head]
            at += head + 2
        elif head > 128:
            made += segment[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(made[:size])


def _of_bytes(cells: bytes, form: PixelFormat, name: str) -> NDArray[Any]:
    """Little endian cells, or packed bits, as stored values."""
    size = form.cell_bytes
    if len(cells) < size:
        raise UnsupportedPixels(f"{name}: {len(cells)} decoded bytes, but a frame has {size}")
    if form.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(cells, np.uint8, size), bitorder="little")
        return bits[: form.rows * form.columns].reshape(form.matrix)
    kind = form.dtype.newbyteorder("<")
    return unpack(np.frombuffer(cells, kind, form.rows * form.columns).reshape(form.matrix).copy(), form)


def _check_size(data: bytes, form: PixelFormat, name: str) -> None:
    """Refuse a code stream of another size than the header's, which a decoder would make room for."""
    size = stream_size(data)
    if size is None:
        raise UnsupportedPixels(f"{name}: its pixels are no code stream of its transfer syntax")
    if size != form.matrix:
        raise UnsupportedPixels(
            f"{name}: its header says {form.rows} x {form.columns}, its code stream {size[0]} x {size[1]}"
        )


def stream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 code stream claims; `None` for anything else."""
    if data.startswith(JP2_SIGNATURE):
        data = data[max(data.find(b"\xff\x4f\xff\x51", 0, 4096), 0) :]
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 24:
        width, height, left, top = struct.unpack_from(">4L", data, 8)
        return (height - top, width - left) if height >= top and width >= left else None
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            return None
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # fill bytes, and markers that stand alone
            at += 1 if marker == 0xFF else 2
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack_from(">HH", data, at + 5)
            return rows, columns
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
