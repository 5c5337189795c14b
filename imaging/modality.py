"""The modality look-up table (PS3.3 C.11.1), which makes values of what is stored where no rescale does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.encoding import BIG_ENDIAN_SYNTAXES
from ..dataset.errors import MalformedDataSet
from .elements import attribute, value_of
from .groups import one_item
from .pixels import syntax_of

MODALITY_LUT = 0x00283000
_DESCRIPTOR = 0x00283002
_DATA = 0x00283006
_ALL = 1 << 16
_REMEMBERED = 8


@dataclass(frozen=True, slots=True, eq=False)
class ModalityTable:
    """first: the stored value that the first entry is for; entries: of 8 or 16 bits without sign."""

    first: int
    entries: NDArray[Any]

    def same(self, other: ModalityTable | None) -> bool:
        """The other makes the same values."""
        if other is None or self.first != other.first:
            return False
        return self is other or np.array_equal(self.entries, other.entries)

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Their entries; values beyond either end have that of the end (PS3.3 C.11.1.1)."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        found: NDArray[Any] = self.entries[places]
        return found


def modality_table(dataset: Dataset, name: str, *, signed: bool) -> ModalityTable:
    """The table of a data set that has one. signed: its pixels. Raises MalformedDataSet for one that is none.

    LUT Descriptor holds the number of entries (0 for 65536), the first value, which has the sign of the
    pixels, and the bits of an entry (PS3.3 C.11.1.1). Entries of 8 bits may lie two in a word.
    """
    item = one_item(dataset, MODALITY_LUT, name)
    order = ">" if (syntax_of(dataset) or "") in BIG_ENDIAN_SYNTAXES else "<"
    told = None if item is None else _numbers(value_of(item, _DESCRIPTOR, name), order)
    data = None if item is None else _numbers(value_of(item, _DATA, name), order)
    if told is None or len(told) != 3 or data is None:
        raise MalformedDataSet(f"{name}: {attribute(MODALITY_LUT)} holds no table")
    count, first, bits = int(told[0]) % _ALL or _ALL, int(told[1]), int(told[2])
    if not 1 <= bits <= 16:
        raise MalformedDataSet(f"{name}: {attribute(_DESCRIPTOR)} gives an entry {bits} bits")
    if bits <= 8 and len(data) < count:
        data = (data % _ALL).astype("<u2").view(np.uint8).astype(np.int64)
    if len(data) < count:
        raise MalformedDataSet(f"{name}: {attribute(_DATA)} has {len(data)} entries of {count}")
    entries = data[:count] % _ALL
    kind = np.uint8 if bits <= 8 and entries.max() < 1 << 8 else np.uint16
    if signed and first >= _ALL // 2:
        first -= _ALL  # written as if pixels had no sign
    return _shared(first, np.dtype(kind).str, entries.astype(kind).tobytes())


@lru_cache(_REMEMBERED)
def _shared(first: int, kind: str, entries: bytes) -> ModalityTable:
    """The slices of a series mostly have one table."""
    return ModalityTable(first, np.frombuffer(entries, kind))


def _numbers(value: Any, order: str) -> NDArray[np.int64] | None:
    """The numbers of an element that pydicom gives as numbers, as one, or as words of bytes."""
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").astype(np.int64)
    try:
        found = np.atleast_1d(np.asarray(value, np.int64))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.size else None
