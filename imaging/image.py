"""Single images, colour and cine included: what MATLAB calls medicalImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .derived import Overlay, RealWorldMapping, mappings_of, overlays_of
from .display import colours_of, grey, png, png_of_colours
from .elements import DatasetElements, Header
from .errors import UnsupportedPixels
from .filling import fill
from .frames import Frame
from .headers import frames_of_dataset, frames_of_file, header_of_file
from .stack import tell_notes

_CINE_RATE = 0x00180040
_FRAME_TIME = 0x00181063
_FRAME_TIME_VECTOR = 0x00181065
_DISPLAY_RATE = 0x00082144


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """Pixels and what shows them rightly.

    pixels: (rows, columns, frames, channels), MATLAB's m x n x t x c. Grey values are rescaled, colour is RGB
    whatever it was stored as, palette colour stays indices into `colormap`. MONOCHROME1 is not inverted.
    colormap: (entries, 3) from 0 to 1 for palette colour, else `None`.
    frame_time: milliseconds from frame to frame, `None` when the header gives none.
    assumptions: what of the header was left out, such as a window that is no number, an overlay of few bits.
    pixel_spacing: mm in the patient (between rows, between columns), or `None`.
    window_center, window_width: of the first frame held, or `None`.
    overlays: planes of bits over the image, which the pixels do not show.
    real_world: mappings of stored values to quantities, of the first frame held; never applied to `pixels`.
    stored: the values before the rescale, (rows, columns, frames, 1), if asked for, else `None`.

    >>> image = aiodicom.Image.from_file(next(FOLDER.glob("*.dcm")))
    >>> image.pixels.shape
    (16, 16, 1, 1)
    """

    pixels: NDArray[Any]
    colormap: NDArray[np.float64] | None
    frame_time: float | None
    pixel_spacing: tuple[float, float] | None
    modality: str
    window_center: float | None
    window_width: float | None
    photometric: str
    sop_instance_uid: str
    assumptions: tuple[str, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    real_world: tuple[RealWorldMapping, ...] = ()
    stored: NDArray[Any] | None = None

    def __repr__(self) -> str:
        rows, columns, frames, channels = self.pixels.shape
        return (
            f"<Image {self.modality}, {rows} x {columns}, {frames} frames, {channels} channels"
            f" {self.pixels.dtype}, {self.photometric}>"
        )

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the first frame, through its window, its colours or its palette."""
        frame = self.pixels[:, :, 0, :]
        if frame.shape[2] == 3:
            return png_of_colours(frame)
        if self.colormap is not None:
            return png_of_colours(colours_of(frame[:, :, 0], self.colormap))
        window = None
        if self.window_center is not None and self.window_width is not None:
            window = (self.window_center, self.window_width)
        return png(grey(frame[:, :, 0], window, inverted=self.photometric == "MONOCHROME1"))

    def to_dict(self) -> dict[str, Any]:
        """What the image is, as plain values; spacing in mm, times in ms."""
        return {
            "shape": list(self.pixels.shape),
            "dtype": str(self.pixels.dtype),
            "modality": self.modality,
            "photometric": self.photometric,
            "pixel_spacing": None if self.pixel_spacing is None else list(self.pixel_spacing),
            "frame_time": self.frame_time,
            "window": [self.window_center, self.window_width],
            "colormap_entries": None if self.colormap is None else len(self.colormap),
            "sop_instance_uid": self.sop_instance_uid,
            "assumptions": list(self.assumptions),
        }

    @property
    def num_frames(self) -> int:
        """Number of frames held."""
        return int(self.pixels.shape[2])

    @classmethod
    def from_file(
        cls, path: Path | str, *, frame: int | None = None, keep_stored: bool = False, double: bool = False
    ) -> Image:
        """Read an image; of a multi-frame one all frames, or only the zero-based `frame`.

        keep_stored: keep grey values before the rescale in `stored`. double: values that are no whole numbers
        as 64-bit floats, not 32.

        Raises OSError, `NotDicom`, `TruncatedFile`, `MalformedDataSet`, `UnsupportedPixels`, and
        `IndexError` for a frame that is not there.
        """
        path = Path(path)
        frames = frames_of_file(path, frame, as_stored=True)
        return _make(header_of_file(path), frames, str(path), stored=keep_stored, double=double)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, *, frame: int | None = None, keep_stored: bool = False, double: bool = False
    ) -> Image:
        """Make an image of a pydicom data set with its pixel data. Options, errors as for `from_file`."""
        name = "the data set"
        frames = frames_of_dataset(dataset, name, frame, as_stored=True)
        return _make(dataset, frames, name, stored=keep_stored, double=double)


def _make(dataset: Dataset, frames: Sequence[Frame], name: str, *, stored: bool, double: bool) -> Image:
    if not frames:
        raise UnsupportedPixels(f"{name} holds no image")
    first = frames[0]
    form = first.pixels.format
    beside = Header(DatasetElements(dataset, name), name)
    frame_time = _frame_time(beside)
    overlays, mappings = overlays_of(dataset, beside), mappings_of(dataset, first.index, beside)
    return Image(
        pixels=_pixels(frames, double=double),
        colormap=first.colormap,
        frame_time=frame_time,
        pixel_spacing=(first.spacing[0], first.spacing[1]) if first.spacing else None,
        modality=first.modality,
        window_center=first.window[0] if first.window else None,
        window_width=first.window[1] if first.window else None,
        photometric=form.photometric,
        sop_instance_uid=first.sop_instance_uid,
        assumptions=(*tell_notes(frames), *(f"{name}: {note}" for note in beside.notes)),
        overlays=overlays,
        real_world=mappings,
        stored=_pixels(frames, stored=True) if stored and form.samples == 1 else None,
    )


def _pixels(frames: Sequence[Frame], *, stored: bool = False, double: bool = False) -> NDArray[Any]:
    """The frames as (rows, columns, frames, channels), a view of how they were read."""
    read = fill(frames, stored=stored, double=double)
    return np.moveaxis(read if read.ndim == 4 else read[..., None], 0, 2)


def _frame_time(header: Header) -> float | None:
    """Milliseconds from frame to frame; `None`, with a note, where the header has no such number.

    Frame Increment Pointer tells which of Frame Time and Frame Time Vector counts, if it names one of them
    (PS3.3 C.7.6.6.1.1); without both, the rates of the cine module (C.7.6.5).
    """
    order = [_FRAME_TIME, _FRAME_TIME_VECTOR]
    if header.points_to(_FRAME_TIME_VECTOR):
        order.reverse()
    for tag in order:
        steps = header.shown_all(tag)[1 if tag == _FRAME_TIME_VECTOR else 0 :]  # a vector's first is 0
        if steps and sum(steps) > 0:
            return sum(steps) / len(steps)
    for tag in (_CINE_RATE, _DISPLAY_RATE):
        rate = header.shown(tag)
        if rate is not None and rate > 0:
            return 1000 / rate
    return None
