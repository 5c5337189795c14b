"""Any bytes as a modality look-up table, and what it makes of pixels.

Input: the first byte chooses the sign of the pixels, the byte order and how the entries are given; six bytes
are the descriptor, the rest the entries.

May be raised: MalformedDataSet by `modality_table`. Nothing else. A table has as many entries as its
descriptor says; what it makes of a stored value is the entry it has there, or that of the nearer end.
"""

from __future__ import annotations

import numpy as np
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.modality import modality_table
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

_STORED = np.array([-32768, -300, -1, 0, 1, 127, 128, 255, 256, 4095, 32767, 40000, 65535])


def _element(item: Dataset, tag: int, vr: str, value: bytes, little: bool) -> None:
    item[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, little)


def one_input(data: bytes) -> None:
    """Read one table and look values up in it."""
    if len(data) < 7:
        return
    way, descriptor, entries = data[0], data[1:7], data[7:]
    signed, little = bool(way & 1), not way & 2
    item, dataset = Dataset(), Dataset()
    _element(item, 0x00283002, "SS" if way & 4 else "US", descriptor, little)
    _element(item, 0x00283006, ("OW", "US", "OB", "SS")[way >> 3 & 3], entries, little)
    dataset.ModalityLUTSequence = Sequence([item])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    try:
        table = modality_table(dataset, "it", signed=signed)
    except MalformedDataSet:
        return
    count = int.from_bytes(descriptor[:2], "little" if little else "big") or 65536
    assert len(table.entries) == count
    for value, found in zip(_STORED.tolist(), table.apply(_STORED).tolist(), strict=True):
        assert found == table.entries[min(max(value - table.first, 0), count - 1)]
