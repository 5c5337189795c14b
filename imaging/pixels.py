"""Stored pixel values (PS3.5 8): checked against the bytes that are there, unpacked, rescaled."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
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
from ..dataset.positioned import READ_ONLY, pread, pread_into
from ..dataset.window import FileWindow
from .codecs import RLE, decode_frame
from .elements import attribute, value_of
from .encapsulated import JP2_SIGNATURE, Offsets, Span, frame_spans
from .errors import UnsupportedPixels
from .pixel_format import PixelFormat, unpack

MAX_EXPANSION = 4000
"""Times the encoded bytes that decoded pixels may take; `MIN_DECODED` is granted to all."""
MIN_DECODED = 64 * 1024 * 1024

AT_ONCE = 256 * 1024
"""Bytes of plain pixels that are read, unpacked and rescaled before the next: a core's cache holds them."""
_TOLD = 300  # characters of a decoder's message
_ITEM = struct.Struct("<LL")
_ITEM_TAG = 0xE000FFFE  # its group comes first
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
    RLE: "pylibjpeg pylibjpeg-rle",
}


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
        values = np.empty(form.matrix, form.dtype)
        self.read_into(values, index)
        return values

    def read_into(
        self, place: NDArray[Any], index: int, then: Callable[[NDArray[Any]], object] | None = None
    ) -> None:
        """The same into an array of the stored values' type; `then` is called with each part of its rows."""
        form = self.format
        rows, encoded = max(1, AT_ONCE * form.rows // form.frame_bytes), _encoded(form, self.big_endian)
        begin = self.offset + index * form.frame_bytes
        file = os.open(self.path, READ_ONLY)
        try:
            for first in range(0, form.rows, rows):
                part = place[first : first + rows]
                self._read(file, part.data.cast("B"), begin)
                begin += part.nbytes
                unpack(part.view(encoded), form)
                if then is not None:
                    then(part)
        finally:
            os.close(file)

    def _read(self, file: int, buffer: memoryview, begin: int) -> None:
        while len(buffer):
            count = pread_into(file, buffer, begin)
            if count == 0:
                raise UnsupportedPixels(f"{self.path} became shorter while it was read")
            begin, buffer = begin + count, buffer[count:]


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
        syntax = syntax_of(dataset)
        if _is_native(syntax):
            _enough(len(value), form, name)
            big_endian = syntax in BIG_ENDIAN_SYNTAXES
            plain = form.is_plain and not (big_endian and form.bits_allocated == 8)
            if plain:
                return cls(dataset, value, form, name, big_endian)
        else:
            check_expansion(len(value), form, name)
        if syntax is None:
            raise UnsupportedPixels(
                f"{name} does not say its transfer syntax: set file_meta.TransferSyntaxUID"
            )
        decoder_of(syntax, name)
        if JP2_SIGNATURE in value:
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


@dataclass(frozen=True, slots=True, eq=False)
class EncapsulatedPixels:
    """Frames of one sample in fragments, of a file or in memory, decoded one by one on any thread."""

    source: Path | bytes
    spans: list[tuple[Span, ...]]
    syntax: str
    format: PixelFormat
    name: str

    @classmethod
    def opened(
        cls,
        source: Path | bytes,
        at: int,
        syntax: str,
        form: PixelFormat,
        extended: Offsets | None,
        name: str,
    ) -> EncapsulatedPixels:
        """Look for the frames in a file, or in a value; `at` is where its first item begins.

        Raises OSError, `UnsupportedPixels`, `MalformedDataSet`.
        """
        if isinstance(source, bytes):
            spans = frame_spans(memoryview(source), at, form.frames, extended, name)
        else:
            with source.open("rb", buffering=0) as file:
                whole = FileWindow(file.fileno(), 0, os.fstat(file.fileno()).st_size)
                spans = frame_spans(whole, at, form.frames, extended, name)
        check_expansion(sum(length for frame in spans for _, length in frame), form, name)
        return cls(source, spans, syntax, form, name)

    def encoded(self, index: int) -> bytes:
        """The code stream of a zero-based frame."""
        if isinstance(self.source, bytes):
            return b"".join(self.source[at : at + length] for at, length in self.spans[index])
        with self.source.open("rb", buffering=0) as file:
            parts = [pread(file.fileno(), length, at) for at, length in self.spans[index]]
        if any(len(part) < length for part, (_, length) in zip(parts, self.spans[index], strict=True)):
            raise UnsupportedPixels(f"{self.name} became shorter while it was read")
        return b"".join(parts)

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values of a zero-based frame, (rows, columns); the caller may change them."""
        return decode_frame(self.syntax, self.encoded(index), self.format, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class SlotPixels:
    """A frame that was read into its slot of an array."""

    values: NDArray[Any]
    format: PixelFormat

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values, (rows, columns) or (rows, columns, 3), whatever the index; a copy."""
        return self.values.copy()


def check_expansion(length: int, form: PixelFormat, name: str) -> None:
    """`UnsupportedPixels` where so few encoded bytes cannot mean so many pixels."""
    if form.frame_bytes * form.frames > max(MIN_DECODED, MAX_EXPANSION * length):
        raise UnsupportedPixels(f"{name}: {length} encoded bytes cannot hold {form.frames} such frames")


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
        at = len(JP2_SIGNATURE) + 4
        while frame.startswith(JP2_SIGNATURE) and at < len(frame) and frame[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(frame[at : at + 4], "big")
            if not length:
                raise UnsupportedPixels(f"{name}: a JP2 box without length stands before its code stream")
            at += length


def decode(
    dataset: Dataset,
    name: str,
    *,
    index: int,
    raw: bool,
    offsets: tuple[list[int], list[int]] | None = None,
) -> NDArray[Any]:
    """Decode one zero-based frame; `UnsupportedPixels` for what no decoder can read.

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
    syntax = syntax_of(dataset)
    package = _PACKAGES.get(syntax or "")
    if syntax is None or package is None or syntax == RLE:  # of which pydicom reads all there is
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


def syntax_of(dataset: Dataset) -> UID | None:
    """The transfer syntax a data set says it is in."""
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
