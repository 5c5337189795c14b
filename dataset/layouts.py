"""The layouts of data sets that were walked: one like it need not be walked again, its values are cut out.

The objects of a series have the same elements, most of them of the same lengths. A walk depends on the bytes
it reads, on how many there are, and on nothing else; so where all the bytes it read are the same, so is what
it found, but for the values it kept without a look. No guess: the view that is walked notes what is read.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from .encoding import View
from .found import ScanResult
from .walk import Walk
from .window import FileWindow

KEPT = 16
"""Lengths of which layouts are kept, those used last."""
KEPT_OF_ONE = 4
"""Layouts kept of one length: with `KEPT` they are 5 MB at most, for beginnings of 32 kB."""
_PATIENCE = 8
"""Layouts that are noted while none comes again: to note one takes longer than to walk."""
_RARELY = 32
"""Walks after which another one is noted all the same."""


_rest_of = attrgetter(*(one.name for one in fields(ScanResult)[1:]))


class Noting(FileWindow):
    """Bytes in memory, read as those of a file are, which notes what of them is read."""

    __slots__ = ("data", "read")

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, 0, len(data))
        self.data: bytes = data
        self.read: list[tuple[int, int]] = []

    def __getitem__(self, where: slice) -> bytes:
        start, stop, _ = where.indices(len(self.data))
        self.read.append((start, stop))
        return self.data[start:stop]

    def place(self, pos: int, size: int) -> int:
        """As of a file."""
        if pos + size > len(self.data):
            raise struct.error("the data set ends there")
        self.read.append((pos, pos + size))
        self.base: int = pos
        self.held: int = size
        self.whole: bytes = self.data[pos : pos + size]
        return 0


class NotingWalk(Walk):
    """A walk over a `Noting`: `places` are those of the values it kept without looking at them."""

    __slots__ = ("places",)

    def __init__(self, *limits: Any) -> None:
        super().__init__(*limits)
        self.places: dict[int, tuple[int, int]] = {}

    def _keep(self, tag: int, view: View, start: int, stop: int) -> None:
        assert isinstance(view, Noting)
        kept, read = self.values.get(tag), len(view.read)
        super()._keep(tag, view, start, stop)
        del view.read[read:]
        if self.values.get(tag) is not kept:
            self.places[tag] = start, stop


@dataclass(frozen=True, slots=True)
class _Layout:
    size: int  # of what was read, from the first byte on
    mask: int
    bytes_read: int  # as one number, the others being zero
    places: dict[int, tuple[int, int]]
    rest: tuple[Any, ...]  # of what was found, behind its values

    def of(self, view: memoryview) -> ScanResult | None:
        if int.from_bytes(view[: self.size], "little") & self.mask != self.bytes_read:
            return None
        values = {tag: bytes(view[start:stop]) for tag, (start, stop) in self.places.items()}
        return ScanResult(values, *self.rest)


class Layouts:
    """Layouts by what they were walked with, which must say all that a walk depends on beside the bytes.

    For any thread: what is kept is replaced, not changed.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[_Layout, ...]] = OrderedDict()
        self._patience = _PATIENCE
        self._walks = 0

    def find(self, key: Hashable, view: memoryview) -> ScanResult | None:
        """What a walk would find; None where none like it is known."""
        for layout in self._kept.get(key, ()):
            found = layout.of(view)
            if found is not None:
                self._patience = _PATIENCE
                self._to_front(key, layout)
                return found
        return None

    def worth_noting(self) -> bool:
        """Whether the walk that is to come is to be noted."""
        self._walks += 1
        if self._patience <= 0 and self._walks % _RARELY:
            return False
        self._patience -= 1
        return True

    def keep(self, key: Hashable, noting: Noting, walk: NotingWalk, found: ScanResult) -> None:
        """Remember what was found by a walk that was noted."""
        size = max((stop for _, stop in noting.read), default=0)
        mask = bytearray(size)
        for start, stop in noting.read:
            mask[start:stop] = b"\xff" * (stop - start)
        number = int.from_bytes(mask, "little")
        read = int.from_bytes(noting.data[:size], "little") & number
        self._to_front(key, _Layout(size, number, read, walk.places, _rest_of(found)))

    def _to_front(self, key: Hashable, layout: _Layout) -> None:
        """It was used: it is the last to go, of its length and with it."""
        with self._guard:
            others = [one for one in self._kept.get(key, ()) if one is not layout]
            self._kept[key] = (layout, *others[: KEPT_OF_ONE - 1])
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
