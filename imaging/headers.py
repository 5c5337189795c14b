"""What the headers of images say, frame by frame, whether they come from files or from data sets in memory.

Plain files are read with the scanner, which is a hundred times faster than building data sets; multi-frame
objects, deflated and encapsulated ones with pydicom.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..dataset.deflated import DEFLATED_SYNTAXES
from ..dataset.encoding import BIG_ENDIAN_SYNTAXES
from ..dataset.errors import MalformedDataSet, NestingTooDeep, NotDicom, TruncatedFile
from ..dataset.found import ScanResult
from ..dataset.part10 import FileHeader, read_header
from ..dataset.scan import scan_dataset
from .elements import BINARY, DatasetElements, Elements, Header, ScannedElements, attribute, parse
from .errors import IrregularGeometry, naming
from .groups import FRAME_GROUPS, SHARED_GROUPS, FrameElements, FunctionalGroups
from .pixels import DatasetPixels, FilePixels, PixelFormat, PixelSource
from .space import slice_normal

_IMAGE_TYPE = 0x00080008
_SOP_INSTANCE = 0x00080018
_MODALITY = 0x00080060
_DESCRIPTION = 0x0008103E
_THICKNESS = 0x00180050
_BETWEEN_SLICES = 0x00180088
_SERIES = 0x0020000E
_SERIES_NUMBER = 0x00200011
_POSITION = 0x00200032
_ORIENTATION = 0x00200037
_REFERENCE = 0x00200052
_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_SPACING = 0x00280030
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_SIGNED = 0x00280103
_PADDING = 0x00280120
_PADDING_LIMIT = 0x00280121
_CENTER = 0x00281050
_WIDTH = 0x00281051
_INTERCEPT = 0x00281052
_SLOPE = 0x00281053
_MODALITY_LUT = 0x00283000
_FRAME_OFFSETS = 0x3004000C
_DOSE_SCALING = 0x3004000E
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", *sorted(BIG_ENDIAN_SYNTAXES))
RT_DOSE = "RTDOSE"
_PIXELS = {0x7FE00010: "integer", 0x7FE00008: "float", 0x7FE00009: "double"}
_VARIANTS = {
    0x00180081: "echo time",
    0x00181060: "trigger time",
    0x00189087: "b-value",
    0x00200012: "acquisition number",
    0x00200100: "temporal position",
    0x00200013: "instance number",
}
"""What tells images at one position apart, the most telling first."""
_TAGS = frozenset(
    {
        *(_IMAGE_TYPE, _SOP_INSTANCE, _MODALITY, _DESCRIPTION, _THICKNESS, _BETWEEN_SLICES, _SERIES),
        *(_PADDING, _PADDING_LIMIT),
        *(_SERIES_NUMBER, _POSITION, _ORIENTATION, _REFERENCE, _PHOTOMETRIC, _FRAMES, _SPACING, _CENTER),
        *(
            _WIDTH,
            _INTERCEPT,
            _SLOPE,
            _MODALITY_LUT,
            SHARED_GROUPS,
            FRAME_GROUPS,
            _FRAME_OFFSETS,
            _DOSE_SCALING,
        ),
        *_VARIANTS,
        *BINARY,
        *_PIXELS,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of an image and what places it.

    source: the file's path, or which of the data sets it was; index: zero-based frame in it.
    position: (3,) mm; orientation: (6,); spacing: (between rows, between columns) mm.
    thickness: a guess at the distance of slices where only one is there.
    has_lut: a table, not slope and intercept, makes values of what is stored.
    variants: what may differ between images at one position, by name.
    notes: what of the header was left out, and why.
    has_place: the position is this frame's own, not one for all frames of the object.
    padding: lowest and highest stored value that stands for no measurement.
    """

    source: str
    index: int
    pixels: PixelSource
    sop_instance_uid: str
    series_uid: str
    series_number: str
    description: str
    modality: str
    reference: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    has_lut: bool
    is_mosaic: bool
    variants: dict[str, str]
    notes: tuple[str, ...] = ()
    has_place: bool = True
    padding: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The source, with the number of the frame (from 1) when it has several."""
        return f"{self.source} frame {self.index + 1}" if self.pixels.format.frames > 1 else self.source


def pixel_format(elements: Elements, tag: int, name: str) -> PixelFormat:
    """How the pixels of element `tag` are stored; `UnsupportedPixels` when the header contradicts itself."""
    header = Header(elements, name)

    def whole(number: int, default: int) -> int:
        found = header.whole(number)
        return default if found is None else found

    allocated = whole(_ALLOCATED, {"float": 32, "double": 64}.get(_PIXELS[tag], 0))
    stored = whole(_STORED, allocated)
    return PixelFormat(
        rows=whole(_ROWS, 0),
        columns=whole(_COLUMNS, 0),
        frames=whole(_FRAMES, 1) or 1,
        samples=whole(_SAMPLES, 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=whole(_HIGH_BIT, stored - 1),
        signed=whole(_SIGNED, 0) == 1,
        is_float=_PIXELS[tag] != "integer",
        photometric=header.text(_PHOTOMETRIC),
    ).checked(name)


def _frame(elements: Elements, pixels: PixelSource, name: str, index: int) -> Frame:
    header = Header(elements, name)
    text = header.text
    slope, intercept, has_lut = _modality_transform(header, pixels.format)
    thickness = header.shown(_BETWEEN_SLICES) or header.shown(_THICKNESS)
    variants = {words: header.label(tag) for tag, words in _VARIANTS.items()}
    return Frame(
        source=name,
        index=index,
        pixels=pixels,
        sop_instance_uid=text(_SOP_INSTANCE),
        series_uid=text(_SERIES),
        series_number=header.label(_SERIES_NUMBER),
        description=header.label(_DESCRIPTION),
        modality=text(_MODALITY) or "unknown",
        reference=text(_REFERENCE),
        position=header.numbers(_POSITION, 3),
        orientation=header.numbers(_ORIENTATION, 6),
        spacing=header.numbers(_SPACING, 2),
        thickness=abs(thickness) if thickness else None,
        slope=slope,
        intercept=intercept,
        window=_window(header),
        has_lut=has_lut,
        is_mosaic="MOSAIC" in elements.texts(_IMAGE_TYPE),
        variants={**variants, "image type": text(_IMAGE_TYPE)},
        notes=tuple(header.notes),
        has_place=pixels.format.frames == 1 or not isinstance(elements, FrameElements) or elements.is_placed,
        padding=_padding(header, pixels.format),
    )


def _padding(header: Header, form: PixelFormat) -> tuple[int, int] | None:
    """Stored values outside the measurement: Pixel Padding Value, or from it to its Range Limit.

    (PS3.3 C.7.5.1.1.2.) They are of VR US or SS as Pixel Representation says; pixels of colours and floats
    have none.
    """
    if form.samples != 1 or form.is_float:
        return None
    ends = [header.shown(tag) for tag in (_PADDING, _PADDING_LIMIT)]
    if ends[0] is None:
        return None
    low, high = sorted(
        _as_stored(int(end), form) for end in (ends[0], ends[0] if ends[1] is None else ends[1])
    )
    return low, high


def _as_stored(value: int, form: PixelFormat) -> int:
    """A value written unsigned where pixels are signed, or the other way round, as a pixel holds it."""
    span = 1 << form.bits_allocated
    value %= span
    return value - span if form.signed and value >= span // 2 else value


def _modality_transform(header: Header, form: PixelFormat) -> tuple[float, float, bool]:
    """Slope and intercept that make values of what is stored, and whether a table does instead.

    Doses are scaled by Dose Grid Scaling (PS3.3 C.8.8.3), all else by Rescale Slope and Rescale Intercept, or
    by the Modality LUT Sequence where both are absent (C.11.1). Colours and indices into a palette are no
    such values.
    """
    if form.samples != 1 or form.photometric == "PALETTE COLOR":
        return 1.0, 0.0, False
    slope, intercept = header.number(_SLOPE), header.number(_INTERCEPT)
    rescaled = slope is not None or intercept is not None
    if header.text(_MODALITY) == RT_DOSE:
        scaling = header.number(_DOSE_SCALING)
        if scaling is not None:
            if (slope or 1.0, intercept or 0.0) != (1.0, 0.0):
                header.notes.append(f"{attribute(_SLOPE)} is left out beside {attribute(_DOSE_SCALING)}")
            return scaling, 0.0, False
    has_lut = header.elements.has(_MODALITY_LUT)
    if rescaled and has_lut:
        header.notes.append(f"{attribute(_MODALITY_LUT)} is left out beside {attribute(_INTERCEPT)}")
    if (slope is None) != (intercept is None):
        there, absent = (_SLOPE, _INTERCEPT) if intercept is None else (_INTERCEPT, _SLOPE)
        header.notes.append(f"{attribute(there)} has no {attribute(absent)} beside it")
    return 1.0 if slope is None else slope, intercept or 0.0, has_lut and not rescaled


def _window(header: Header) -> tuple[float, float] | None:
    """The first window (center, width), `None` when it cannot be meant (PS3.3 C.11.2.1.2)."""
    center, width = header.shown(_CENTER), header.shown(_WIDTH)
    if center is None or width is None:
        return None
    if width <= 0:
        header.notes.append(f"{attribute(_WIDTH)} is not above zero and left out")
        return None
    return center, width


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
    with path.open("rb") as file, naming(name):
        if os.fstat(file.fileno()).st_size == 0:
            raise NotDicom(f"{name!r} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as whole:
            header = read_header(whole)
            with whole[header.data_offset :] as view:
                found = scan_dataset(view, header.transfer_syntax_uid, _TAGS, check_nested=True)
                length = len(view)
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


def _mislabelled(view: memoryview, header: FileHeader) -> _Scanned | None:
    """A data set that is whole in another of the plain transfer syntaxes than its file says; else `None`."""
    if header.transfer_syntax_uid not in _PLAIN_SYNTAXES:
        return None
    for syntax in _PLAIN_SYNTAXES:
        try:
            found = scan_dataset(view, syntax, _TAGS, check_nested=True)
        except NestingTooDeep:
            continue
        if found.complete and found.pixel_data is not None and found.values.get(_SOP_INSTANCE):
            note = (
                f"labelled {UID(header.transfer_syntax_uid).name}, but encoded in {UID(syntax).name}: read so"
            )
            return _Scanned(replace(header, transfer_syntax_uid=syntax, has_meta=False), found, None, (note,))
    return None


def frames_of_file(path: Path, index: int | None = None) -> list[Frame]:
    """Read the header of a file, pixels later; no frames when the object holds no pixel data.

    index: the zero-based frame that is wanted alone. Raises OSError, `NotDicom`, `TruncatedFile` when the end
    of the file is missing, `MalformedDataSet` when it contradicts itself, `UnsupportedPixels` when the pixels
    cannot be read, and `IndexError`.
    """
    name = str(path)
    header, found, end, notes = _scan(path)
    location = found.pixel_data
    if location is None:
        return []
    _check_one_kind([tag for tag in _PIXELS if tag in found.values or tag in found.oversized], name)
    big_endian = header.transfer_syntax_uid in BIG_ENDIAN_SYNTAXES
    present = found.values | dict.fromkeys(found.oversized, b"?")
    elements = ScannedElements(present, big_endian)
    form = pixel_format(elements, location.tag, name)
    plain = (
        location.length is not None
        and header.transfer_syntax_uid not in DEFLATED_SYNTAXES
        and form.is_plain
        and not (big_endian and form.bits_allocated == 8)  # words of two swapped pixels: pydicom knows them
    )
    if not plain:
        return _noted(frames_of_dataset(read_dataset(path, header, end=end), name, index), notes)
    offset = header.data_offset + location.offset
    pixels = FilePixels.opened(path, offset, location.length or 0, form, big_endian)
    if form.frames == 1 and SHARED_GROUPS not in present and FRAME_GROUPS not in present:
        _indices(form, index, name)
        return _noted([_frame(elements, pixels, name, 0)], notes)
    dataset = read_dataset(path, header, stop_before_pixels=True)
    return _noted(_frames(dataset, pixels, name, index), notes)


def dataset_of_file(path: Path) -> Dataset:
    """The whole data set of a file; errors as for `frames_of_file`."""
    header, _, end, _ = _scan(path)
    return read_dataset(path, header, end=end)


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


def frames_of_dataset(dataset: Dataset, name: str, index: int | None = None) -> list[Frame]:
    """Read the header of a pydicom data set, named `name` in messages; no frames when it holds no pixel data.

    index: the zero-based frame that is wanted alone. Raises MalformedDataSet, `UnsupportedPixels` when the
    pixels cannot be read, and `IndexError`.
    """
    tags = [tag for tag in _PIXELS if tag in dataset]
    if not tags:
        return []
    _check_one_kind(tags, name)
    tag = tags[0]
    form = pixel_format(DatasetElements(dataset, name), tag, name)
    return _frames(dataset, DatasetPixels.opened(dataset, tag, form, name), name, index)


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


def _frames(dataset: Dataset, pixels: PixelSource, name: str, index: int | None) -> list[Frame]:
    """The frames of one object, each with its own elements before the shared ones (PS3.3 C.7.6.16)."""
    count = pixels.format.frames
    wanted = _indices(pixels.format, index, name)
    groups = FunctionalGroups(dataset, count, name)
    if groups or count == 1:
        return [_frame(FrameElements(groups, one), pixels, name, one) for one in wanted]
    first = _frame(groups.top, pixels, name, wanted[0])
    frames = [replace(first, index=one, has_place=False) for one in wanted]
    offsets = groups.top.texts(_FRAME_OFFSETS) if first.modality == RT_DOSE else []
    return _offset(frames, offsets, name) if offsets and first.position is not None else frames


def _offset(frames: list[Frame], offsets: Sequence[str], name: str) -> list[Frame]:
    """Move the frames of a dose along the normal by Grid Frame Offset Vector (PS3.3 C.8.8.3.2)."""
    first, count = frames[0], frames[0].pixels.format.frames
    if first.orientation is None or first.position is None:
        raise IrregularGeometry(f"{name} has {attribute(_FRAME_OFFSETS)}, but no {attribute(_ORIENTATION)}")
    along = parse(offsets)
    if along is None:
        raise MalformedDataSet(f"{name}: {attribute(_FRAME_OFFSETS)} does not hold numbers")
    if len(along) != count:
        raise MalformedDataSet(f"{name}: {count} frames, but {attribute(_FRAME_OFFSETS)} places {len(along)}")
    with naming(name):
        normal = slice_normal(first.orientation)
    placed = np.asarray(first.position) + (np.array(along) - along[0])[:, None] * normal
    positions = placed.tolist()
    return [replace(frame, position=tuple(positions[frame.index]), has_place=True) for frame in frames]
