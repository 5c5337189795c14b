"""Any bytes as a palette, spelt out or in segments.

Input: the first byte chooses the sign of the pixels, the byte order and whether there are segments; six
bytes are the descriptor of all three colours; the rest is cut into their tables.

May be raised: ImagingError (UnsupportedPixels) by `colormap_of`. Nothing else. A palette has three colours
from 0 to 1 for each index up to its last; segments make no more entries than the descriptor says.
"""

from __future__ import annotations

import numpy as np
from aiodicom.dataset.errors import ImagingError
from aiodicom.imaging.display import colours_of
from aiodicom.imaging.lookup import expanded
from aiodicom.imaging.palette import colormap_of
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian


def one_input(data: bytes) -> None:
    """Read one palette and colour some indices by it."""
    if len(data) < 7:
        return
    way, descriptor, rest = data[0], data[1:7], data[7:]
    little, segmented = not way & 2, bool(way & 4)
    dataset, third = Dataset(), len(rest) // 3
    for colour in range(3):
        part = rest[colour * third : (colour + 1) * third] if way & 8 else rest
        for tag, value in ((0x00281101, descriptor), (0x00281221 if segmented else 0x00281201, part)):
            vr = "OW" if value is part else "US"
            dataset[tag + colour] = RawDataElement(Tag(tag + colour), vr, len(value), value, 0, False, little)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    count = int.from_bytes(descriptor[:2], "little" if little else "big") or 65536
    cells = np.frombuffer(rest, np.uint8).astype(np.int64)
    for wide in (False, True):
        assert len(expanded(cells, min(count, 512), wide=wide)) <= min(count, 512)
    try:
        colormap = colormap_of(dataset, "it", signed=bool(way & 1))
    except ImagingError:
        return
    first = int.from_bytes(descriptor[2:4], "little" if little else "big")
    assert colormap.shape == (first + count, 3)
    assert 0 <= colormap.min() <= colormap.max() <= 1
    assert colours_of(np.array([[-1, 0, 70000]]), colormap).shape == (1, 3, 3)
