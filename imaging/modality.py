"""The modality look-up table (PS3.3 C.11.1), which makes values of what is stored where no rescale does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import MalformedDataSet
from .elements import attribute
from .groups import one_item
from .lookup import byte_order, table_of

MODALITY_LUT = 0x00283000
_DESCRIPTOR = 0x00283002
_DATA = 0x00283006
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
    """The table of a data set that has one. signed: its pixels. Raises MalformedDataSet for none."""
    item = one_item(dataset, MODALITY_LUT, name)
    if item is None:
        raise MalformedDataSet(f"{name}: {attribute(MODALITY_LUT)} holds no table")
    found = table_of(item, _DESCRIPTOR, _DATA, name, order=byte_order(dataset), signed=signed)
    return _shared(found.first, found.entries.dtype.str, found.entries.tobytes())


@lru_cache(_REMEMBERED)
def _shared(first: int, kind: str, entries: bytes) -> ModalityTable:
    """The slices of a series mostly have one table."""
    return ModalityTable(first, np.frombuffer(entries, kind))
