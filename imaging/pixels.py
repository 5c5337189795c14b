"""Stored pixel values (PS3.5 8): checked against the bytes that are there, unpacked, rescaled."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from ..dataset.encoding import BIG_ENDIAN_SYNTAXES
from .elements import attribute, value_of
from .errors import UnsupportedPixels

MAX_EXPANSION = 4000
"""Times the encoded bytes that decoded pixels may take; `MIN_DECODED` is granted to all."""
MIN_DECODED = 64 * 1024 * 1024

_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_TOLD = 300  # characters of a decoder's message
_ITEM = struct.Struct("<LL")
_ITEM_TAG = 0xE000FFFE  # its group comes first
_RLE = "1.2.840.10008.1.2.5"
_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.51": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.57": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.70": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
    _RLE: "pylibjpeg pylibjpeg-rle",
}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_float: bool
    photometric: str

    def checked(self, name: str) -> PixelFormat:
        """Return itself, or raise `UnsupportedPixels` when the numbers cannot be meant."""
        if (
            min(self.rows, self.columns, self.frames, self.samples) < 1
            or max(self.rows, self.columns) > 65535
        ):
            raise UnsupportedPixels(
                f"{name}: {self.rows} rows, {self.columns} columns, {self.frames} frames are no image"
            )
        if self.bits_allocated not in (1, 8, 16, 32, 64):
            raise UnsupportedPixels(f"{name}: {self.bits_allocated} bits are allocated to a pixel")
        if not (0 < self.bits_stored <= self.bits_allocated and self.bits_stored <= self.high_bit + 1):
            raise UnsupportedPixels(
                f"{name}: bits stored {self.bits_stored} and high bit {self.high_bit} contradict"
            )
        if self.high_bit >= self.bits_allocated or (self.is_float and self.bits_allocated not in (32, 64)):
            raise UnsupportedPixels(f"{name}: high bit {self.high_bit} of {self.bits_allocated} bits")
        return self

    @property
    def is_plain(self) -> bool:
        """One grey sample of whole bytes: rows of it can be read straight from a file."""
        return self.samples == 1 and self.bits_allocated >= 8

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def shown_as(self) -> str:
        """What values mean: all colours of several samples are read as RGB."""
        return "RGB" if self.samples > 1 else self.photometric

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values, in this machine's byte order."""
        if self.is_float:
            return np.dtype(f"f{self.bits_allocated // 8}")
        return np.dtype(f"{'i' if self.signed else 'u'}{max(self.bits_allocated // 8, 1)}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, decoded; of a plain one also in the file."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)

    @property
    def encoded_bytes(self) -> int:
        """Bytes all frames take when not compressed (PS3.5 8.1.1; PS3.3 C.7.6.3.1.2 for 4:2:2)."""
        if self.bits_allocated == 1:
            return (self.rows * self.columns * self.samples * self.frames + 7) // 8
        halved = self.photometric == "YBR_FULL_422" and self.samples == 3
        return self.frame_bytes * self.frames * 2 // 3 if halved else self.frame_bytes * self.frames


class PixelSource(Protocol):
    """Something frames of stored values can be read from."""

    @property
    def format(self) -> PixelFormat:
        """How the frames are encoded."""
        ...

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values of a zero-based frame, (rows, columns); the caller may change them.

        Of colours of several samples RGB values, (rows, columns, 3).
        """
        ...


@dataclass(frozen=True, slots=True)
class FilePixels:
    """Plain pixels at `offset` of a file."""

    path: Path
    offset: int
    format: PixelFormat
    big_endian: bool

    @classmethod
    def opened(cls, path: Path, offset: int, length: int, form: PixelFormat, big_endian: bool) -> FilePixels:
        """Check that the `length` bytes at `offset` hold all frames; raises `UnsupportedPixels`."""
        _enough(length, form, str(path))
        return cls(path, offset, form, big_endian)

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values of a zero-based frame, (rows, columns); the caller may change them."""
        form = self.format
        kind, count = _encoded(form, self.big_endian), form.rows * form.columns
        values = np.fromfile(self.path, kind, count, offset=self.offset + index * form.frame_bytes)
        if len(values) < count:
            raise UnsupportedPixels(f"{self.path} became shorter while it was read")
        return unpack(values.reshape(form.rows, form.columns), form)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetPixels:
    """Pixels of a data set in memory: plain ones unpacked here, others decoded by pydicom's plug-ins."""

    dataset: Dataset
    value: bytes | None  # of plain pixels
    format: PixelFormat
    name: str
    big_endian: bool = False
    offsets: tuple[list[int], list[int]] | None = None  # of encapsulated frames, and their lengths

    @classmethod
    def opened(cls, dataset: Dataset, tag: int, form: PixelFormat, name: str) -> DatasetPixels:
        """Check that the bytes suffice and that a decoder is there; raises `UnsupportedPixels`."""
        value: bytes = value_of(dataset, tag, name) or b""
        if not isinstance(value, (bytes, bytearray)):
            raise UnsupportedPixels(f"{name}: {attribute(tag)} holds no bytes")
        syntax = _syntax_of(dataset)
        if _is_native(syntax):
            _enough(len(value), form, name)
            big_endian = syntax in BIG_ENDIAN_SYNTAXES
            plain = form.is_plain and not (big_endian and form.bits_allocated == 8)
            if plain:
                return cls(dataset, value, form, name, big_endian)
        elif form.frame_bytes * form.frames > max(MIN_DECODED, MAX_EXPANSION * len(value)):
            raise UnsupportedPixels(
                f"{name}: {len(value)} encoded bytes cannot hold {form.frames} such frames"
            )
        if syntax is None:
            raise UnsupportedPixels(
                f"{name} does not say its transfer syntax: set file_meta.TransferSyntaxUID"
            )
        decoder_of(syntax, name)
        if _JP2_SIGNATURE in value:
            _check_boxes(value, form.frames, name)
        offsets = (
            None if _is_native(syntax) or "ExtendedOffsetTable" in dataset else frame_offsets(value, form)
        )
        return cls(dataset, None, form, name, offsets=offsets)

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values of a zero-based frame, (rows, columns); the caller may change them."""
        form = self.format
        if self.value is not None:
            kind, count = _encoded(form, self.big_endian), form.rows * form.columns
            values = np.frombuffer(self.value, kind, count, index * form.frame_bytes)
            return unpack(values.reshape(form.rows, form.columns).copy(), form)
        grey = form.samples == 1
        return decode(self.dataset, self.name, index=index, raw=grey, offsets=self.offsets)


def frame_offsets(value: bytes, form: PixelFormat) -> tuple[list[int], list[int]] | None:
    """Where frames of one fragment each begin behind the empty offset table, and their lengths (PS3.5 A.4).

    Without it every single frame is looked for from the first on. `None` where there is a table, or another
    number of fragments.
    """
    if form.frames == 1 or value[4:8] != bytes(4):
        return None
    offsets, lengths, at = [], [], _ITEM.size
    while at + _ITEM.size <= len(value):
        tag, length = _ITEM.unpack_from(value, at)
        if tag != _ITEM_TAG:
            break
        offsets.append(at - _ITEM.size)
        lengths.append(length)
        at += _ITEM.size + length
    return (offsets, lengths) if len(offsets) == form.frames and at <= len(value) else None


def _check_boxes(value: bytes, count: int, name: str) -> None:
    """Refuse JP2 boxes (ISO 15444-1 I.4) of length 0, which pydicom 3.0 would never get past."""
    try:
        frames = list(generate_frames(value, number_of_frames=count))
    except (ValueError, struct.error) as error:
        raise UnsupportedPixels(f"{name}: its fragments are in disorder ({error})") from error
    for frame in frames:
        at = len(_JP2_SIGNATURE) + 4
        while frame.startswith(_JP2_SIGNATURE) and at < len(frame) and frame[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(frame[at : at + 4], "big")
            if not length:
                raise UnsupportedPixels(f"{name}: a JP2 box without length stands before its code stream")
            at += length


def decode(
    dataset: Dataset,
    name: str,
    *,
    index: int | None,
    raw: bool,
    offsets: tuple[list[int], list[int]] | None = None,
) -> NDArray[Any]:
    """Decode one frame, or all when `index` is `None`; `UnsupportedPixels` for what no decoder can read.

    offsets: as `frame_offsets` finds them.
    """
    options: dict[str, Any] = {} if offsets is None else {"extended_offsets": offsets}
    try:
        return pixel_array(dataset, index=index, raw=raw, **options)
    except Exception as error:  # decoders raise whatever their libraries do
        told = " ".join(f"{type(error).__name__}: {error}".split())[:_TOLD]
        advice = other_decoder(dataset)
        raise UnsupportedPixels(f"{name}: its pixels cannot be decoded ({told}){advice}") from error


def other_decoder(dataset: Dataset) -> str:
    """Advice to install the package that reads all of a transfer syntax, where it is not there.

    Pillow alone decodes JPEG of 8 bits and not of 12, and of JPEG 2000 the commoner images.
    """
    syntax = _syntax_of(dataset)
    package = _PACKAGES.get(syntax or "")
    if syntax is None or package is None or syntax == _RLE:  # of which pydicom reads all there is
        return ""
    wanted = package.split()[-1]
    missing = any(wanted in told for told in get_decoder(syntax).missing_dependencies)
    return f"; another decoder may read them: pip install {package}" if missing else ""


def decoder_of(syntax: UID, name: str) -> None:
    """Check that pydicom can decode a transfer syntax; `UnsupportedPixels` names the package to install."""
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise UnsupportedPixels(f"{name}: no decoder is known for transfer syntax {syntax}") from None
    if not available:
        package = _PACKAGES.get(syntax, "pylibjpeg[all]")
        raise UnsupportedPixels(f"{name} is compressed ({syntax.name}): pip install {package}")


def _syntax_of(dataset: Dataset) -> UID | None:
    meta = getattr(dataset, "file_meta", None)
    found = meta.get("TransferSyntaxUID") if meta is not None else None
    return UID(str(found)) if found else None


def _is_native(syntax: UID | None) -> bool:
    """Not encapsulated; a syntax pydicom does not know is taken to be."""
    return syntax is None or (syntax.is_transfer_syntax and (not syntax.is_compressed or syntax.is_deflated))


def _encoded(form: PixelFormat, big_endian: bool) -> np.dtype[Any]:
    return form.dtype.newbyteorder(">" if big_endian else "<")


def _enough(length: int, form: PixelFormat, name: str) -> None:
    needed = form.encoded_bytes
    if length < needed:
        raise UnsupportedPixels(
            f"{name}: {length} bytes of pixel data, but {form.frames} frames of "
            f"{form.rows} x {form.columns} take {needed}"
        )


def unpack(values: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Bring stored values to this machine's byte order and clear, or extend the sign over, the bits beside
    them.

    Overlays and other leftovers may lie in those bits (PS3.5 8.1.1). `values` may be changed in place.
    """
    if not values.dtype.isnative:
        values = values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
    if form.is_float or form.bits_stored == form.bits_allocated:
        return values
    above = form.bits_allocated - 1 - form.high_bit
    if above:
        values <<= above
    values >>= form.bits_allocated - form.bits_stored
    return values


class Rescaled(Protocol):
    """A frame of a source, and its rescale."""

    @property
    def pixels(self) -> PixelSource:
        """Where the frame is read from."""
        ...

    @property
    def index(self) -> int:
        """The frame's zero-based number there."""
        ...

    @property
    def slope(self) -> float:
        """Of the modality rescale."""
        ...

    @property
    def intercept(self) -> float:
        """Of the modality rescale."""
        ...


def scaled(stored: int, rescale: tuple[float, float], kind: np.dtype[Any]) -> Any:
    """The voxel of type `kind` that a stored value became in `fill`."""
    slope, intercept = rescale
    if kind.kind in "iu":
        return stored * int(slope) + int(intercept)
    return kind.type(np.float64(stored) * slope + intercept)


def fill(frames: Sequence[Rescaled]) -> NDArray[Any]:
    """Read frames of one size into a new array (frames, rows, columns), rescaled one by one.

    Values are exact: they keep the stored type when nothing is rescaled, become the smallest signed integers
    that hold them (at least as wide as stored) when all slopes and intercepts are whole, else 32-bit floats
    computed in 64 bits. The array is allocated once; only integers that outgrow their type are copied.
    """
    first = frames[0].pixels.format
    if first.samples > 1:
        return _fill_colours(frames)
    stored = np.result_type(*{frame.pixels.format.dtype for frame in frames})
    shape = (len(frames), first.rows, first.columns)
    whole = stored.kind != "f" and all(
        frame.slope == int(frame.slope) and frame.intercept == int(frame.intercept) for frame in frames
    )
    if not whole:
        return _fill_floats(frames, np.empty(shape, np.float64 if stored == np.float64 else np.float32))
    values = np.empty(shape, stored)
    low = high = 0
    for place, frame in zip(values, frames, strict=True):
        place[...] = frame.pixels.stored(frame.index)
        ends = [int(end) * int(frame.slope) + int(frame.intercept) for end in (place.min(), place.max())]
        low, high = min(low, *ends), max(high, *ends)
    if all(frame.slope == 1 and frame.intercept == 0 for frame in frames):
        return values
    target = _signed_type(stored, low, high)
    result = values.view(target) if target.itemsize == stored.itemsize else np.empty(shape, target)
    for place, plane, frame in zip(result, values, frames, strict=True):
        if frame.slope == 1:
            # In the width of the target sums may wrap on the way, never in the end.
            np.add(plane.astype(target, copy=False), np.array(int(frame.intercept)).astype(target), out=place)
        else:
            place[...] = plane.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return result


def _fill_colours(frames: Sequence[Rescaled]) -> NDArray[Any]:
    first = frames[0].pixels.stored(frames[0].index)
    values = np.empty((len(frames), *first.shape), first.dtype)
    for place, frame in zip(values, frames, strict=True):
        colours = first if frame is frames[0] else frame.pixels.stored(frame.index)
        if colours.shape != first.shape or colours.dtype != first.dtype:
            raise UnsupportedPixels(f"colours of {colours.dtype} lie beside such of {first.dtype}")
        place[...] = colours
    return values


def _fill_floats(frames: Sequence[Rescaled], values: NDArray[Any]) -> NDArray[Any]:
    for place, frame in zip(values, frames, strict=True):
        place[...] = frame.pixels.stored(frame.index) * np.float64(frame.slope) + frame.intercept
    return values


def _signed_type(stored: np.dtype[Any], low: int, high: int) -> np.dtype[Any]:
    for size in (1, 2, 4, 8):
        limit = 1 << (8 * size - 1)
        if size >= stored.itemsize and -limit <= low and high < limit:
            return np.dtype(f"i{size}")
    raise UnsupportedPixels("the rescaled values do not fit into 64 bits")
