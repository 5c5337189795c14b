"""A message cut into P-DATA-TF PDUs, one PDV each (PS3.8 Annex E): DCMTK 3.6.7 mis-steps on several."""

from __future__ import annotations

import struct

from ..pdu.types import PduType
from ..pdu.upper_layer import Buffer

_PDV_OVERHEAD = 6  # PDV length, context id, control header: inside what a maximum length counts
_HEADERS = struct.Struct(">BBLLBB")  # P-DATA-TF header and the header of its one PDV
# What we send to a peer that sets no limit or a huge one; larger PDUs gain nothing on a loopback stream.
_LARGEST_PDU = 1048576
_SMALLEST_PDU = 16  # a peer's maximum below this leaves no room for fragments worth sending


def room(maximum_length: int | None) -> int:
    """Data bytes of the largest PDV within a maximum length, even; 0 and None are no limit (PS3.8 D.1)."""
    limit = _LARGEST_PDU if not maximum_length else min(maximum_length, _LARGEST_PDU)
    return (limit - _PDV_OVERHEAD) & ~1 if limit >= _SMALLEST_PDU else 0


def fragments(
    view: memoryview, context_id: int, largest: int, *, command: bool = False, last: bool = True
) -> list[Buffer]:
    """The buffers of a command set or of a part of a data set; the last fragment is padded to even length.

    largest: see `room`. last: whether the command or data set ends with it.
    """
    total = len(view)
    control = 1 if command else 0
    out: list[Buffer] = []
    offset = 0
    while True:
        size = min(largest, total - offset)
        final = offset + size == total
        pad = size % 2  # of the last fragment alone, the largest being even
        more = control | (2 if final and last else 0)
        out.append(_HEADERS.pack(PduType.P_DATA_TF, 0, size + pad + 6, size + pad + 2, context_id, more))
        if size:
            out.append(view[offset : offset + size])
        if pad:
            out.append(b"\0")
        offset += size
        if final:
            return out
