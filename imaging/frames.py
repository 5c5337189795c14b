"""What the elements of an image say of one frame: its place, how values are scaled, what it differs in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .elements import BINARY, Elements, Header, attribute
from .groups import FRAME_GROUPS, SHARED_GROUPS, FrameElements
from .modality import MODALITY_LUT, ModalityTable
from .pixel_format import PALETTE, PixelFormat
from .pixels import PixelSource

_IMAGE_TYPE = 0x00080008
SOP_INSTANCE = 0x00080018
_MODALITY = 0x00080060
_DESCRIPTION = 0x0008103E
_THICKNESS = 0x00180050
BETWEEN_SLICES = 0x00180088
SERIES = 0x0020000E
_SERIES_NUMBER = 0x00200011
POSITION = 0x00200032
EXTENDED_OFFSETS = 0x7FE00001
EXTENDED_LENGTHS = 0x7FE00002
ORIENTATION = 0x00200037
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
_STACK = 0x00209056
FRAME_OFFSETS = 0x3004000C
_DOSE_SCALING = 0x3004000E
RT_DOSE = "RTDOSE"
UNKNOWN = "unknown"
"""The modality of what names none."""
PIXEL_KINDS = {0x7FE00010: "integer", 0x7FE00008: "float", 0x7FE00009: "double"}
_VARIANTS = {
    0x0062000B: "segment",
    0x00089208: "component",
    0x00080008: "image type",
    0x00180081: "echo time",
    0x00180082: "inversion time",
    0x00181314: "flip angle",
    0x00189087: "b-value",
    0x00189089: "direction",
    0x00181060: "trigger time",
    0x00209241: "cardiac phase",
    0x00541300: "frame reference time",
    0x00200100: "temporal position",
    0x00200012: "acquisition number",
    0x00080032: "acquisition time",
    0x00200013: "instance number",
}
"""What tells images at one position apart, the most telling first."""
COUNTED = frozenset({"acquisition number", "acquisition time", "instance number"})
"""Those of them that any two images may differ in."""
FRAME_TAGS = frozenset(
    {
        *(_IMAGE_TYPE, SOP_INSTANCE, _MODALITY, _DESCRIPTION, _THICKNESS, BETWEEN_SLICES, SERIES),
        *(_PADDING, _PADDING_LIMIT, EXTENDED_OFFSETS, EXTENDED_LENGTHS),
        *(_SERIES_NUMBER, POSITION, ORIENTATION, _REFERENCE, _PHOTOMETRIC, _FRAMES, _SPACING, _CENTER),
        *(
            _WIDTH,
            _INTERCEPT,
            _SLOPE,
            MODALITY_LUT,
            SHARED_GROUPS,
            FRAME_GROUPS,
            FRAME_OFFSETS,
            _DOSE_SCALING,
        ),
        *_VARIANTS,
        *BINARY,
        *PIXEL_KINDS,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of an image and what places it.

    source: the file's path, or which of the data sets it was; index: zero-based frame in it.
    position: (3,) mm; orientation: (6,); spacing: (between rows, between columns) mm.
    thickness: a guess at the distance of slices where only one is there.
    has_lut: a table, not slope and intercept, makes values of what is stored; table: that, where it was read.
    variants: what may differ between images at one position, by name.
    notes: what of the header was left out, and why.
    has_place: the position is this frame's own, not one for all frames of the object.
    stack: which of the stacks of its object it is in.
    padding: lowest and highest stored value that stands for no measurement.
    colormap: (entries, 3) from 0 to 1 of indices into a palette, where it was read.
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
    stack: str = ""
    table: ModalityTable | None = None
    colormap: NDArray[np.float64] | None = None

    @property
    def name(self) -> str:
        """The source, with the number of the frame (from 1) when it has several."""
        return f"{self.source} frame {self.index + 1}" if self.pixels.format.frames > 1 else self.source


FORMAT_TAGS = (*sorted(BINARY - {_PADDING, _PADDING_LIMIT}), _FRAMES, _PHOTOMETRIC)
"""What `pixel_format` looks at."""


def pixel_format(elements: Elements, tag: int, name: str) -> PixelFormat:
    """How the pixels of element `tag` are stored; `UnsupportedPixels` when the header contradicts itself."""
    header = Header(elements, name)

    def whole(number: int, default: int) -> int:
        found = header.whole(number)
        return default if found is None else found

    allocated = whole(_ALLOCATED, {"float": 32, "double": 64}.get(PIXEL_KINDS[tag], 0))
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
        is_float=PIXEL_KINDS[tag] != "integer",
        photometric=header.text(_PHOTOMETRIC),
    ).checked(name)


def frame_of(elements: Elements, pixels: PixelSource, name: str, index: int) -> Frame:
    """The frame that `elements` describe. Errors as for `frames_of_file`."""
    header = Header(elements, name)
    text = header.text
    slope, intercept, has_lut = _modality_transform(header, pixels.format)
    thickness = header.shown(BETWEEN_SLICES) or header.shown(_THICKNESS)
    variants = {words: header.label(tag) for tag, words in _VARIANTS.items()}
    grouped = elements if isinstance(elements, FrameElements) else None
    dimensions = grouped.dimensions() if grouped else {}
    return Frame(
        source=name,
        index=index,
        pixels=pixels,
        sop_instance_uid=text(SOP_INSTANCE),
        series_uid=text(SERIES),
        series_number=header.label(_SERIES_NUMBER),
        description=header.label(_DESCRIPTION),
        modality=text(_MODALITY) or UNKNOWN,
        reference=text(_REFERENCE),
        position=header.numbers(POSITION, 3),
        orientation=header.numbers(ORIENTATION, 6),
        spacing=header.numbers(_SPACING, 2),
        thickness=abs(thickness) if thickness else None,
        slope=slope,
        intercept=intercept,
        window=_window(header),
        has_lut=has_lut,
        is_mosaic="MOSAIC" in elements.texts(_IMAGE_TYPE),
        variants={**variants, **dimensions},
        notes=tuple(header.notes),
        has_place=pixels.format.frames == 1 or not grouped or grouped.is_placed,
        stack=header.label(_STACK) if grouped else "",
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
    by the Modality LUT Sequence where both are absent (C.11.1) and pixels are integers. Colours and indices
    into a palette are no such values.
    """
    if form.samples != 1 or form.photometric == PALETTE:
        return 1.0, 0.0, False
    slope, intercept = header.number(_SLOPE), header.number(_INTERCEPT)
    rescaled = slope is not None or intercept is not None
    if header.text(_MODALITY) == RT_DOSE:
        scaling = header.number(_DOSE_SCALING)
        if scaling is not None:
            if (slope or 1.0, intercept or 0.0) != (1.0, 0.0):
                header.notes.append(f"{attribute(_SLOPE)} is left out beside {attribute(_DOSE_SCALING)}")
            return scaling, 0.0, False
    has_lut = header.elements.has(MODALITY_LUT)
    if has_lut and (rescaled or form.is_float):
        beside = "pixels that are floats" if form.is_float else attribute(_INTERCEPT)
        header.notes.append(f"{attribute(MODALITY_LUT)} is left out beside {beside}")
    if slope == 0:
        header.notes.append(f"{attribute(_SLOPE)} is 0: it makes all values equal")
    if (slope is None) != (intercept is None):
        there, absent = (_SLOPE, _INTERCEPT) if intercept is None else (_INTERCEPT, _SLOPE)
        header.notes.append(f"{attribute(there)} has no {attribute(absent)} beside it")
    return 1.0 if slope is None else slope, intercept or 0.0, has_lut and not (rescaled or form.is_float)


def _window(header: Header) -> tuple[float, float] | None:
    """The first window (center, width), `None` when it cannot be meant (PS3.3 C.11.2.1.2)."""
    center, width = header.shown(_CENTER), header.shown(_WIDTH)
    if center is None or width is None:
        return None
    if width <= 0:
        header.notes.append(f"{attribute(_WIDTH)} is not above zero and left out")
        return None
    return center, width
