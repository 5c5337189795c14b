"""Mosaics of Siemens: the slices of a volume side by side in one image, placed by private elements.

The position in the header is that of a matrix as large as the whole mosaic around the first slice's centre,
so the first slice begins where it would lie in the middle of that (as dcm2niix and SPM read it).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import MalformedDataSet
from .elements import parse, texts_of
from .errors import IrregularGeometry
from .frames import BETWEEN_SLICES, Frame
from .pixel_format import PixelFormat
from .pixels import PixelSource

MAX_ELEMENTS = 1000
"""Of a CSA header; there are about a hundred."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class MosaicPixels:
    """The tiles of one image as frames, row by row."""

    whole: PixelSource
    format: PixelFormat

    def stored(self, index: int) -> NDArray[Any]:
        """The stored values of a zero-based tile, (rows, columns); the caller may change them."""
        rows, columns = self.format.rows, self.format.columns
        down, across = divmod(index, self.whole.format.columns // columns)
        tile = np.s_[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
        return _decoded(self)[tile].copy()


_last: WeakKeyDictionary[MosaicPixels, NDArray[Any]] = WeakKeyDictionary()
"""The image decoded last, for its tiles are read one after the other; it keeps no data set alive."""


def _decoded(source: MosaicPixels) -> NDArray[Any]:
    found = _last.get(source)
    if found is None:
        found = source.whole.stored(0)
        _last.clear()
        _last[source] = found
    return found


def tiles_of(frame: Frame, dataset: Dataset) -> list[Frame]:
    """The slices of a mosaic as frames with places of their own, from its data set without pixels.

    Raises IrregularGeometry where no private element says how many there are or which way they follow.
    """
    count, normal = _described(dataset, frame.name)
    form, name = frame.pixels.format, frame.name
    side = math.isqrt(count - 1) + 1
    if form.frames != 1 or form.rows % side or form.columns % side:
        raise IrregularGeometry(
            f"{name}: a mosaic of {count} slices does not divide {form.rows} x {form.columns}"
        )
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise IrregularGeometry(f"{name} is a mosaic, but has no position, orientation or pixel spacing")
    across, down = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    rows, columns = form.rows // side, form.columns // side
    first = (
        np.array(frame.position)
        + down * frame.spacing[0] * (form.rows - rows) / 2
        + across * frame.spacing[1] * (form.columns - columns) / 2
    )
    step = frame.thickness
    if not step:
        raise IrregularGeometry(f"{name} is a mosaic, but does not say how far its slices lie apart")
    notes = frame.notes
    if not texts_of(dataset, BETWEEN_SLICES, name):
        notes = (*notes, "has no Spacing Between Slices: the slices' thickness is taken for it")
    tile = replace(form, rows=rows, columns=columns, frames=count)
    pixels = MosaicPixels(frame.pixels, tile)
    return [
        replace(
            frame,
            index=number,
            pixels=pixels,
            position=tuple((first + number * step * normal).tolist()),
            is_mosaic=False,
            notes=notes,
        )
        for number in range(count)
    ]


def _described(dataset: Dataset, name: str) -> tuple[int, NDArray[np.float64]]:
    """The number of slices and the unit vector in which they follow."""
    found: dict[str, list[str]] = {}
    header = _private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10, name)
    if isinstance(header, bytes):
        found = dict(csa_elements(header, name))
    number = _private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A, name)
    counts = (
        parse([str(number)]) if number is not None else parse(found.get("NumberOfImagesInMosaic", [])[:1])
    )
    normal = parse(found.get("SliceNormalVector", [])[:3])
    if not counts or not 1 <= counts[0] <= 4096 or normal is None or len(normal) < 3:
        raise IrregularGeometry(
            f"{name} is a mosaic of many slices in one image, but no private element says how many or which "
            "way they follow"
        )
    along = np.array(normal)
    length = float(np.linalg.norm(along))
    if abs(length - 1) > 0.01:
        raise IrregularGeometry(f"{name} is a mosaic whose slices follow no unit vector")
    return int(counts[0]), along / length


def _private(dataset: Dataset, group: int, creator: str, element: int, name: str) -> Any:
    """The value of a private element, whichever block its creator reserved (PS3.5 7.8.1)."""
    try:
        return dataset.get_private_item(group, element, creator).value
    except KeyError:
        return None
    except Exception as error:  # pydicom converts values late, and raises whatever that meets
        told = f"{creator} ({group:04X},xx{element:02X}) cannot be read ({type(error).__name__})"
        raise MalformedDataSet(f"{name}: {told}") from error


def csa_elements(header: bytes, name: str) -> Iterator[tuple[str, list[str]]]:
    """Name and values of each element of a CSA header, versions 1 and 2; MalformedDataSet for a torn one."""
    second = header[:4] == b"SV10"
    at = 8 if second else 0
    try:
        (count,) = struct.unpack_from("<I", header, at)
        if count > MAX_ELEMENTS:
            raise MalformedDataSet(f"{name}: its CSA header claims {count} elements")
        at += 8
        base = -1  # version 1 counts each length from the number of items of the first element
        for _ in range(count):
            label, items = header[at : at + 64].split(b"\0")[0], struct.unpack_from("<I", header, at + 76)[0]
            at += 84
            base = items if base < 0 else base
            values = []
            for _ in range(items):
                sizes = struct.unpack_from("<4I", header, at)
                size = sizes[1] if second else sizes[0] - base
                at += 16
                if size < 0 or size > len(header) - at:
                    raise MalformedDataSet(f"{name}: its CSA header contradicts itself")
                values.append(header[at : at + size].split(b"\0")[0].decode("latin-1").strip())
                at += -(-size // 4) * 4
            yield label.decode("latin-1"), [value for value in values if value]
    except struct.error:
        raise MalformedDataSet(f"{name}: its CSA header ends too early") from None
