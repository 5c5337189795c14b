"""Look-up tables as elements hold them: a descriptor, and the entries it tells of.

Modality tables and palettes are written alike (PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.6.3.1.6), and so differently:
numbers or bytes, entries of 8 bits in bytes or in words, in either byte order, spelt out or in segments
(C.7.9.2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.encoding import BIG_ENDIAN_SYNTAXES
from ..dataset.errors import MalformedDataSet
from .elements import attribute, value_of
from .pixels import syntax_of

_ALL = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


class LookupTable(NamedTuple):
    """first: the stored value that the first entry is for; bits: what entries have; entries: without sign."""

    first: int
    bits: int
    entries: NDArray[Any]


def byte_order(dataset: Dataset) -> str:
    """Of the words in a data set and its items."""
    return ">" if (syntax_of(dataset) or "") in BIG_ENDIAN_SYNTAXES else "<"


def table_of(
    dataset: Dataset,
    descriptor: int,
    data: int,
    name: str,
    *,
    order: str,
    signed: bool,
    segmented: bool = False,
) -> LookupTable:
    """The table in two elements. signed: the pixels are. Raises MalformedDataSet for one that is none.

    A descriptor holds the number of entries (0 for 65536), the first stored value, which has the sign of the
    pixels, and the bits of an entry. Entries that need more bits than it says have 16, and bytes 8.
    """
    told = _numbers(value_of(dataset, descriptor, name), order)
    words = _numbers(value_of(dataset, data, name), order)
    if told is None or len(told) != 3 or words is None:
        raise MalformedDataSet(f"{name}: {attribute(data)} holds no table")
    count, first, bits = int(told[0]) % _ALL or _ALL, int(told[1]), int(told[2])
    if not 1 <= bits <= 16:
        raise MalformedDataSet(f"{name}: {attribute(descriptor)} gives an entry {bits} bits")
    words %= _ALL
    if segmented:
        entries = expanded(words if bits > 8 else _bytes(words), count, wide=bits > 8)
    elif len(words) < count and (bits <= 8 or len(words) == (count + 1) // 2):
        entries, bits = _bytes(words)[:count], min(bits, 8)
    else:
        entries = words[:count]
    if len(entries) < count:
        raise MalformedDataSet(f"{name}: {attribute(data)} has {len(entries)} entries of {count}")
    if int(entries.max()) >> bits:
        bits = 16
    if signed and first >= _ALL // 2:
        first -= _ALL  # written as if pixels had no sign
    return LookupTable(first, bits, entries.astype(np.uint8 if bits <= 8 else np.uint16))


def expanded(cells: NDArray[np.int64], count: int, *, wide: bool) -> NDArray[np.int64]:
    """The first `count` entries of a table in segments (PS3.3 C.7.9.2); fewer where those contradict.

    cells: bytes, or if `wide` words. A segment repeats earlier ones by their offset in bytes, low half first.
    """
    made, size = np.empty(count, np.int64), 0
    at, left, after = 0, 0, 0  # left: segments that are still repeated; after: where it goes on then
    while size < count and at + 2 < len(cells):
        kind, length = int(cells[at]), int(cells[at + 1])
        if kind == _DISCRETE and 0 < length <= len(cells) - at - 2:
            values = cells[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == _LINEAR and length and size:
            values = np.rint(np.linspace(made[size - 1], cells[at + 2], length + 1)[1:]).astype(np.int64)
            at += 3
        elif kind == _INDIRECT and length and size and not left:
            places = cells[at + 2 : at + (4 if wide else 6)]
            left, after = length, at + 2 + len(places)
            at = int(sum(int(one) << (16 if wide else 8) * place for place, one in enumerate(places)))
            at = at // 2 if wide else at
            continue
        else:
            break
        values = values[: count - size]
        made[size : size + len(values)] = values
        size += len(values)
        if left:
            left -= 1
            at = at if left else after
    return made[:size]


def _bytes(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two entries of 8 bits in each word, the first in its low half."""
    return words.astype("<u2").view(np.uint8).astype(np.int64)


def _numbers(value: Any, order: str) -> NDArray[np.int64] | None:
    """The numbers of an element that pydicom gives as numbers, as one, or as words of bytes."""
    if isinstance(value, bytes):
        found = np.frombuffer(value + bytes(len(value) % 2), f"{order}u2").astype(np.int64)
    else:
        try:
            found = np.array(value, np.int64, ndmin=1)
        except (TypeError, ValueError, OverflowError):
            return None
    return found if found.ndim == 1 and found.size else None
