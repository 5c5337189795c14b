"""Any bytes in any pieces through the framing reader.

Input: the first byte says how many sizes follow, at most 7; then the sizes of the pieces, used in turn;
the rest is the stream.

May be raised: RemoteProtocolError by `next`, which ends the reading. Nothing else. Whole, byte by byte
and in those pieces, the stream must give the same PDUs, joined fragments, error and deviations; and what
the codec makes of its PDUs one by one, which knows nothing of framing.
"""

from __future__ import annotations

from aiodicom.pdu import PDataTF, Pdu, RemoteProtocolError, decode
from aiodicom.pdu.errors import DeviationLog
from readings import Piece, join, read
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
    decoded, bad = _decoded(stream)
    end = stream[: sum(6 + len(body) for _, body in _whole_pdus(stream))]
    found = read([end])
    assert (found.error is not None) == bad
    assert found.items[: len(decoded)] == decoded if bad else found.items == decoded


def _whole_pdus(stream: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(stream) >= 6:
        end = 6 + int.from_bytes(stream[2:6], "big")
        if end > len(stream):
            break
        found.append((stream[0], stream[6:end]))
        stream = stream[end:]
    return found


def _decoded(stream: bytes) -> tuple[list[Pdu | Piece], bool]:
    """What the whole PDUs hold by the codec, up to the first that it refuses, and whether one was."""
    items: list[Pdu | Piece] = []
    for kind, body in _whole_pdus(stream):
        try:
            pdu = decode(kind, body)
        except RemoteProtocolError:
            return _closed(items), True
        if not isinstance(pdu, PDataTF):
            items.append(pdu)
            continue
        for pdv in pdu.pdvs:
            if pdv.data or pdv.last:
                join(items, Piece(pdv.context_id, pdv.command, pdv.last, pdv.data))
    return items, False


def _closed(items: list[Pdu | Piece]) -> list[Pdu | Piece]:
    """Without a last piece that the reader may have gone on with before it met the error."""
    return items[:-1] if items and isinstance(items[-1], Piece) and not items[-1].last else items
