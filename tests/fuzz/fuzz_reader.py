"""Any bytes in any pieces through the framing reader.

Input: the first byte says how many sizes follow, at most 7; then the sizes of the pieces, used in turn;
the rest is the stream.

May be raised: RemoteProtocolError by `next`, which ends the reading. Nothing else. Whole, byte by byte
and in those pieces, the stream must give the same PDUs, joined fragments, error and deviations.
"""

from __future__ import annotations

from aiodicom.pdu.errors import DeviationLog
from readings import read
from strategies import cut


def one_input(data: bytes) -> None:
    """Read one stream three ways."""
    if not data:
        return
    count = data[0] % 8
    sizes, stream = list(data[1 : 1 + count]), data[1 + count :]
    whole = read([stream])
    assert read(cut(stream, [1])) == whole
    assert read(cut(stream, sizes)) == whole
    assert len(whole.deviations) <= DeviationLog.LIMIT
    # every PDU seen took a header of six bytes, and every piece of data was in the stream
    assert whole.started <= len(stream) // 6
