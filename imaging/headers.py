"""What the headers of images say, frame by frame, whether they come from files or from data sets in memory.

Plain files are read with the scanner, which is far faster than building data sets; multi-frame objects,
deflated and encapsulated ones with pydicom.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from ..dataset.deflated import DEFLATED_SYNTAXES
from ..dataset.encoding import BIG_ENDIAN_SYNTAXES
from ..dataset.errors import ImagingError, MalformedDataSet, NestingTooDeep, NotDicom, TruncatedFile
from ..dataset.found import ScanResult
from ..dataset.oddities import contradiction
from ..dataset.part10 import FileHeader, read_header
from ..dataset.positioned import pread
from ..dataset.scan import scan_beginning, scan_dataset
from ..dataset.window import FileWindow
from .codecs import reads
from .elements import DatasetElements, Elements, ScannedElements, attribute, parse, value_of
from .encapsulated import Offsets
from .errors import IrregularGeometry, naming
from .frames import (
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    FORMAT_TAGS,
    FRAME_OFFSETS,
    FRAME_TAGS,
    ORIENTATION,
    PIXEL_KINDS,
    RT_DOSE,
    SOP_INSTANCE,
    Frame,
    frame_of,
    pixel_format,
)
from .groups import FRAME_GROUPS, SHARED_GROUPS, FrameElements, FunctionalGroups
from .modality import modality_table
from .mosaic import tiles_of
from .nuclear import NUCLEAR, placed_by_detector
from .palette import colormap_of
from .pixel_format import PALETTE, PixelFormat
from .pixels import DatasetPixels, EncapsulatedPixels, FilePixels, PixelSource, syntax_of
from .space import slice_normal

_BEGINNING = 8192
"""Bytes of a data set that tell all of most images: what follows them are pixels."""
_ITEM = b"\xfe\xff\0\xe0"
"""How encapsulated pixel data begin."""
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", *sorted(BIG_ENDIAN_SYNTAXES))


class _Scanned(NamedTuple):
    """A file looked over. end: where what can be read of it ends; notes: what lies behind that."""

    header: FileHeader
    found: ScanResult
    end: int | None
    notes: tuple[str, ...]


def _scan(path: Path) -> _Scanned:
    """Look over a file; `TruncatedFile` where its end is missing, `MalformedDataSet` for contradictions.

    What follows whole pixel data, as the last element of nearly all images, is not worth refusing them.
    """
    name = str(path)
    with path.open("rb", buffering=0) as file, naming(name):
        if os.fstat(file.fileno()).st_size == 0:
            raise NotDicom(f"{name!r} is empty")
        header = read_header(file.fileno())
        length = header.file_size - header.data_offset
        beginning = pread(file.fileno(), _BEGINNING, header.data_offset)
        begun = scan_beginning(beginning, header.transfer_syntax_uid, FRAME_TAGS, check_nested=True)
        if begun is not None and begun.complete and begun.end == length:
            return _Scanned(header, begun, None, ())
        view = FileWindow(file.fileno(), header.data_offset, length)
        found = scan_dataset(view, header.transfer_syntax_uid, FRAME_TAGS, check_nested=True)
        other = None if found.complete else _mislabelled(view, header)
    if found.complete:
        return _Scanned(header, found, None, ())
    if other is not None:
        return other
    pixels = found.pixel_data
    deflated = header.transfer_syntax_uid in DEFLATED_SYNTAXES
    if pixels is not None and not deflated and found.ordered and pixels.offset < found.end < length:
        note = f"{length - found.end} bytes behind the pixel data cannot be read and are left out"
        return _Scanned(header, found, header.data_offset + found.end, (note,))
    if found.truncated:
        raise TruncatedFile(f"{name} is not whole, fetch it again: {found.problem}")
    raise MalformedDataSet(f"{name} contradicts itself: {found.problem}")


def _mislabelled(view: FileWindow, header: FileHeader) -> _Scanned | None:
    """A data set that is whole in another of the plain transfer syntaxes than its file says; else `None`.

    Where that says compressed, its pixel data must have the very length of plain ones.
    """
    compressed = header.transfer_syntax_uid not in _PLAIN_SYNTAXES
    for syntax in _PLAIN_SYNTAXES:
        try:
            found = scan_dataset(view, syntax, FRAME_TAGS, check_nested=True)
        except NestingTooDeep:
            continue
        if found.complete and found.pixel_data is not None and found.values.get(SOP_INSTANCE):
            if compressed and not _holds_plain(found, syntax):
                continue
            note = (
                f"labelled {UID(header.transfer_syntax_uid).name}, but encoded in {UID(syntax).name}: read so"
            )
            return _Scanned(replace(header, transfer_syntax_uid=syntax, has_meta=False), found, None, (note,))
    return None


def _holds_plain(found: ScanResult, syntax: str) -> bool:
    """The pixel data are as long as those of their header are when nothing compresses them."""
    location, values = found.pixel_data, found.values | dict.fromkeys(found.oversized, b"?")
    if location is None or location.length is None:
        return False
    elements = ScannedElements(values, syntax in BIG_ENDIAN_SYNTAXES)
    try:
        form = pixel_format(elements, location.tag, "")
    except ImagingError:
        return False
    return _is_length_of(form, location.length)


def _is_length_of(form: PixelFormat, length: int) -> bool:
    return length in (form.encoded_bytes, form.encoded_bytes + form.encoded_bytes % 2)


def frames_of_file(path: Path, index: int | None = None, *, as_stored: bool = False) -> list[Frame]:
    """Read the header of a file, pixels later; no frames when the object holds no pixel data.

    index: the zero-based frame that is wanted alone. as_stored: nobody asks where frames lie; a mosaic is one
    of them. Raises OSError, `NotDicom`, `TruncatedFile` when the end
    of the file is missing, `MalformedDataSet` when it contradicts itself, `UnsupportedPixels` when the pixels
    cannot be read, and `IndexError`.
    """
    name = str(path)
    header, found, end, notes = _scan(path)
    location = found.pixel_data
    if location is None:
        return []
    _check_one_kind([tag for tag in PIXEL_KINDS if tag in found.values or tag in found.oversized], name)
    big_endian = header.transfer_syntax_uid in BIG_ENDIAN_SYNTAXES
    present = found.values | dict.fromkeys(found.oversized, b"?")
    elements = ScannedElements(present, big_endian)
    form = _known_format(elements, location.tag, name)
    plain = (
        location.length is not None
        and header.transfer_syntax_uid not in DEFLATED_SYNTAXES
        and form.is_plain
        and not (big_endian and form.bits_allocated == 8)  # words of two swapped pixels: pydicom knows them
    )
    syntax = header.transfer_syntax_uid
    pixels: PixelSource
    offset = header.data_offset + location.offset
    if location.length is None and syntax not in DEFLATED_SYNTAXES and reads(syntax, form):
        pixels = EncapsulatedPixels.opened(path, offset, syntax, form, _extended(elements), name)
    elif plain:
        pixels = FilePixels.opened(path, offset, location.length or 0, form, big_endian)
    else:
        dataset = read_dataset(path, header, end=end)
        return _noted(frames_of_dataset(dataset, name, index, as_stored=as_stored), notes)
    if form.frames == 1 and SHARED_GROUPS not in present and FRAME_GROUPS not in present:
        _indices(form, index, name)
        frame = frame_of(elements, pixels, name, 0)
        if _wants_table(frame):
            (frame,) = _tabled([frame], read_dataset(path, header, stop_before_pixels=True), name)
        if frame.is_mosaic and not as_stored:
            return _noted(tiles_of(frame, read_dataset(path, header, stop_before_pixels=True)), notes)
        return _noted([frame], notes)
    dataset = read_dataset(path, header, stop_before_pixels=True)
    return _noted(_frames(dataset, pixels, name, index, as_stored), notes)


_formats: dict[tuple[bytes | None, ...], PixelFormat] = {}
_FORMATS_KEPT = 256


def _known_format(elements: ScannedElements, tag: int, name: str) -> PixelFormat:
    """As `pixel_format`, which is the same for the files of a series, byte for byte."""
    key = (*(elements.values.get(one) for one in FORMAT_TAGS), b"%d" % tag, b"%d" % elements.big_endian)
    found = _formats.get(key)
    if found is None:
        found = pixel_format(elements, tag, name)
        if len(_formats) >= _FORMATS_KEPT:
            _formats.clear()
        _formats[key] = found
    return found


def _extended(elements: Elements) -> Offsets | None:
    """The extended offset table, of which both halves are 64-bit numbers (PS3.3 C.7.6.3.1.8)."""
    halves = [[int(one) for one in elements.texts(tag)] for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS)]
    return Offsets(*halves) if any(halves) else None


def header_of_file(path: Path) -> Dataset:
    """What lies before the pixels in the data set of a file; errors as for `frames_of_file`."""
    return read_dataset(path, _scan(path).header, stop_before_pixels=True)


def _noted(frames: list[Frame], notes: tuple[str, ...]) -> list[Frame]:
    return [replace(frame, notes=(*frame.notes, *notes)) for frame in frames] if notes else frames


def read_dataset(
    path: Path, header: FileHeader, *, stop_before_pixels: bool = False, end: int | None = None
) -> Dataset:
    """Read a file, or what lies before `end`, with pydicom; one without meta information is given its
    transfer syntax.

    Raises OSError, and `MalformedDataSet` for whatever pydicom stumbles over.
    """
    with path.open("rb") as file:
        if not header.has_meta:
            file.seek(header.data_offset)
        whole = header.has_meta and end is None
        source = file if whole else BytesIO(file.read(-1 if end is None else end - file.tell()))
        try:
            dataset = dcmread(source, force=True, stop_before_pixels=stop_before_pixels)
        except Exception as error:  # its errors share no base
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the machine's, not one that pydicom makes of bytes it cannot read
            raise MalformedDataSet(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if not header.has_meta:
        dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax_uid)
    return dataset


def frames_of_dataset(
    dataset: Dataset, name: str, index: int | None = None, *, as_stored: bool = False
) -> list[Frame]:
    """Read the header of a pydicom data set, named `name` in messages; no frames when it holds no pixel data.

    index, as_stored: as for `frames_of_file`. Raises MalformedDataSet, `UnsupportedPixels` when the pixels
    cannot be read, and `IndexError`.
    """
    tags = [tag for tag in PIXEL_KINDS if tag in dataset]
    if not tags:
        return []
    _check_one_kind(tags, name)
    tag = tags[0]
    elements = DatasetElements(dataset, name)
    form = pixel_format(elements, tag, name)
    syntax, value = str(syntax_of(dataset) or ""), value_of(dataset, tag, name)
    if isinstance(value, bytes):
        plain, items = _is_length_of(form, len(value)), value.startswith(_ITEM)
        told = contradiction(syntax, tag, None if items and not plain else len(value))
        if told and plain and not items:
            note = f"labelled {UID(syntax).name}, but not compressed: read so"
            frames = frames_of_dataset(_relabelled(dataset), name, index, as_stored=as_stored)
            return _noted(frames, (note,))
        if told and not plain:
            raise MalformedDataSet(f"{name} contradicts itself: {told}")
    if isinstance(value, bytes) and reads(syntax, form):
        pixels = EncapsulatedPixels.opened(value, 0, syntax, form, _extended(elements), name)
        return _frames(dataset, pixels, name, index, as_stored)
    return _frames(dataset, DatasetPixels.opened(dataset, tag, form, name), name, index, as_stored)


def _relabelled(dataset: Dataset) -> Dataset:
    """The same data set in explicit VR little endian, which compressed ones are encoded in (PS3.5 A.4)."""
    same = copy(dataset)
    same.file_meta = FileMetaDataset()
    same.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return same


def _check_one_kind(tags: Sequence[int], name: str) -> None:
    """Integers, floats and doubles exclude each other (PS3.3 C.7.6.3.1, C.7.6.24, C.7.6.25)."""
    if len(tags) > 1:
        raise MalformedDataSet(f"{name} has {' and '.join(map(attribute, tags))}, which exclude each other")


def _indices(form: PixelFormat, index: int | None, name: str) -> Sequence[int]:
    """The frames that are wanted; `IndexError` where there is no such one."""
    if index is None:
        return range(form.frames)
    if not 0 <= index < form.frames:
        raise IndexError(f"{name} has {form.frames} frames, none is {index}")
    return (index,)


def _tabled(frames: list[Frame], dataset: Dataset, name: str) -> list[Frame]:
    """The frames with the modality look-up table that makes their values, or the palette of their indices."""
    if not any(map(_wants_table, frames)):
        return frames
    form = frames[0].pixels.format
    if form.photometric == PALETTE:
        colormap = colormap_of(dataset, name, signed=form.signed)
        return [replace(frame, colormap=colormap) for frame in frames]
    table = modality_table(dataset, name, signed=form.signed)
    return [replace(frame, table=table) if frame.has_lut else frame for frame in frames]


def _wants_table(frame: Frame) -> bool:
    return frame.has_lut or frame.pixels.format.photometric == PALETTE


def _frames(
    dataset: Dataset, pixels: PixelSource, name: str, index: int | None, as_stored: bool
) -> list[Frame]:
    """The frames of one object, as they are placed and scaled."""
    return _tabled(_placed(dataset, pixels, name, index, as_stored), dataset, name)


def _placed(
    dataset: Dataset, pixels: PixelSource, name: str, index: int | None, as_stored: bool
) -> list[Frame]:
    """The frames of one object, each with its own elements before the shared ones (PS3.3 C.7.6.16)."""
    count = pixels.format.frames
    wanted = _indices(pixels.format, index, name)
    groups = FunctionalGroups(dataset, count, name)
    if groups or count == 1:
        made = [frame_of(FrameElements(groups, one), pixels, name, one) for one in wanted]
        return tiles_of(made[0], dataset) if count == 1 and made[0].is_mosaic and not as_stored else made
    first = frame_of(groups.top, pixels, name, wanted[0])
    frames = [replace(first, index=one, has_place=False) for one in wanted]
    if as_stored:
        return frames
    if first.modality == NUCLEAR:
        return placed_by_detector(frames, dataset, name)
    offsets = groups.top.texts(FRAME_OFFSETS) if first.modality == RT_DOSE else ()
    return _offset(frames, offsets, name) if offsets and first.position is not None else frames


def _offset(frames: list[Frame], offsets: Sequence[str], name: str) -> list[Frame]:
    """Move the frames of a dose along the normal by Grid Frame Offset Vector (PS3.3 C.8.8.3.2)."""
    first, count = frames[0], frames[0].pixels.format.frames
    if first.orientation is None or first.position is None:
        raise IrregularGeometry(f"{name} has {attribute(FRAME_OFFSETS)}, but no {attribute(ORIENTATION)}")
    along = parse(offsets)
    if along is None:
        raise MalformedDataSet(f"{name}: {attribute(FRAME_OFFSETS)} does not hold numbers")
    if len(along) != count:
        raise MalformedDataSet(f"{name}: {count} frames, but {attribute(FRAME_OFFSETS)} places {len(along)}")
    with naming(name):
        normal = slice_normal(first.orientation)
    placed = np.asarray(first.position) + (np.array(along) - along[0])[:, None] * normal
    positions = placed.tolist()
    return [replace(frame, position=tuple(positions[frame.index]), has_place=True) for frame in frames]
