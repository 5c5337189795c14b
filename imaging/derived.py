"""What else an image carries: overlays (PS3.3 C.9.2) and real world value mappings (C.7.6.16.2.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import MalformedDataSet
from .elements import DatasetElements, Header, texts_of, value_of
from .groups import FRAME_GROUPS, SHARED_GROUPS, items_of, one_item

_MAPPINGS = 0x00409096
_TABLE = 0x00409212
_UNITS = 0x004008EA
_MAX_FRAMES = 65536


class Overlay(NamedTuple):
    """A plane of single bits over an image.

    group: 6000H and on. pixels: (frames, rows, columns) of booleans. origin: (row, column) of its first pixel
    in the image, counted from 1 as the header does.
    """

    group: int
    pixels: NDArray[np.bool_]
    origin: tuple[int, int]


class RealWorldMapping(NamedTuple):
    """How stored values from `first` to `last` become quantities.

    slope, intercept: or `table`, one quantity for each stored value from `first` on. label, unit: of the
    header, the unit's code.
    """

    label: str
    unit: str
    first: float
    last: float
    slope: float | None
    intercept: float | None
    table: tuple[float, ...] | None

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Quantities of stored values; NaN where the mapping does not hold."""
        inside = (stored >= self.first) & (stored <= self.last)
        made = np.full(stored.shape, np.nan)
        if self.table is not None:
            made[inside] = np.asarray(self.table)[(stored[inside] - int(self.first)).astype(np.intp)]
        else:
            made[inside] = stored[inside] * np.float64(self.slope or 0.0) + (self.intercept or 0.0)
        return made


def overlays_of(dataset: Dataset, header: Header) -> tuple[Overlay, ...]:
    """The overlays that lie in elements of their own; one that is none is left out, with a note.

    Those in unused bits of the pixels (retired in 2004) have no Overlay Data and are left out. header: of the
    data set.
    """
    found = []
    for group in range(0x6000, 0x6020, 2):
        try:
            overlay = _overlay(dataset, group, header)
        except MalformedDataSet as error:
            header.leave_out(error)
            continue
        if overlay is not None:
            found.append(overlay)
    return tuple(found)


def _overlay(dataset: Dataset, group: int, header: Header) -> Overlay | None:
    """That of a group; MalformedDataSet for one with too few bits."""
    name = header.name
    value = value_of(dataset, group << 16 | 0x3000, name)
    if not isinstance(value, bytes):
        return None
    rows, columns = (header.whole(group << 16 | tag) or 0 for tag in (0x0010, 0x0011))
    frames = header.whole(group << 16 | 0x0015) or 1
    count = rows * columns * frames
    if not (0 < rows < 65536 and 0 < columns < 65536 and 0 < frames <= _MAX_FRAMES):
        raise MalformedDataSet(f"{name}: its overlay {group:04X} has no size")
    if len(value) * 8 < count:
        raise MalformedDataSet(f"{name}: its overlay {group:04X} has {len(value)} bytes for {count} bits")
    bits = np.unpackbits(np.frombuffer(value, np.uint8, (count + 7) // 8), bitorder="little")
    origin = header.numbers(group << 16 | 0x0050, 2) or (1.0, 1.0)
    pixels = bits[:count].reshape(frames, rows, columns).astype(np.bool_)
    return Overlay(group, pixels, (int(origin[0]), int(origin[1])))


def mappings_of(dataset: Dataset, index: int, header: Header) -> tuple[RealWorldMapping, ...]:
    """The real world value mappings of a zero-based frame: its own, those of all frames, those at the top.

    One that is none is left out, with a note. header: of the data set.
    """
    try:
        items = _mapping_items(dataset, index, header.name)
    except MalformedDataSet as error:
        header.leave_out(error)
        return ()
    found = []
    for item in items:
        try:
            found.append(_mapping(item, header.name))
        except MalformedDataSet as error:
            header.leave_out(error)
    return tuple(found)


def _mapping_items(dataset: Dataset, index: int, name: str) -> Sequence[Dataset]:
    frames = items_of(dataset, FRAME_GROUPS, name)
    shared = one_item(dataset, SHARED_GROUPS, name)
    for place in (frames[index] if index < len(frames) else None, shared, dataset):
        items = items_of(place, _MAPPINGS, name) if place is not None else ()
        if items:
            return items
    return ()


def _mapping(item: Dataset, name: str) -> RealWorldMapping:
    header = Header(DatasetElements(item, name), name)
    units = one_item(item, _UNITS, name)
    ends = [
        next((found for tag in tags if (found := header.number(tag)) is not None), None)
        for tags in ((0x00409216, 0x00409214), (0x00409211, 0x00409213))
    ]
    slope, intercept = header.number(0x00409225), header.number(0x00409224)
    table = header.numbers(_TABLE, len(texts_of(item, _TABLE, name)))
    if ends[0] is None or ends[1] is None or (slope is None or intercept is None) == (table is None):
        raise MalformedDataSet(f"{name}: a real world value mapping says neither a line nor a table, or both")
    if table is not None and len(table) != ends[1] - ends[0] + 1:
        raise MalformedDataSet(f"{name}: a real world value mapping has a table of another length")
    return RealWorldMapping(
        label=header.text(0x00409210),
        unit="" if units is None else "\\".join(texts_of(units, 0x00080100, name)),
        first=ends[0],
        last=ends[1],
        slope=None if table is not None else slope,
        intercept=None if table is not None else intercept,
        table=table,
    )
