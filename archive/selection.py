"""What a retrieve is to send: a list that is read from the index as it is sent, not held."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import overload

from ..dataset.instance import Instance

PAGE = 512
"""Objects read from the index in one go."""

Read = Callable[[Sequence[int]], list[Instance]]


class Selection(Sequence[Instance]):
    """The stored objects of some rows, in order.

    Eight bytes an object are held, and one page. Taking from it may block on the disk and belongs on a
    thread, one at a time.

    pairs: SOP class and transfer syntax of each kind of object in it.
    """

    def __init__(self, rows: array[int], pairs: Sequence[tuple[str, str]], read: Read) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple(pairs)
        self._rows = rows
        self._read = read
        self._start = 0
        self._page: list[Instance] = []

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Instance: ...
    @overload
    def __getitem__(self, at: slice) -> list[Instance]: ...
    def __getitem__(self, at: int | slice) -> Instance | list[Instance]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        if not self._start <= at < self._start + len(self._page):
            self._start = at
            self._page = self._read(self._rows[at : at + PAGE])
        return self._page[at - self._start]
