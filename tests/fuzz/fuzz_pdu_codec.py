"""Any bytes as the body of any PDU type, through `pdu.decode`.

Input: the first byte is the PDU type, the rest the body.

May be raised: RemoteProtocolError by `decode`, with a reason of PS3.8 Table 9-26; LocalProtocolError by
`encode` for what was read but may not be sent (a blank AE title, a UID beyond ASCII). Nothing else, and
never by a read of what was written: a value that can be sent comes back as it went.
"""

from __future__ import annotations

from aiodicom.pdu import AbortReason, Deviation, LocalProtocolError, Pdu, RemoteProtocolError, decode, encode

_REASONS = {AbortReason.UNRECOGNIZED_PDU, AbortReason.INVALID_PARAMETER}


def _decoded(data: bytes, noted: list[Deviation]) -> Pdu | RemoteProtocolError:
    try:
        return decode(data[0], data[1:], noted)
    except RemoteProtocolError as error:
        return error


def one_input(data: bytes) -> None:
    """Decode one input; what is accepted must settle after one round trip."""
    if not data:
        return
    noted: list[Deviation] = []
    pdu = _decoded(data, noted)
    if isinstance(pdu, RemoteProtocolError):
        assert pdu.reason in _REASONS, pdu.reason
        return
    try:
        raw = encode(pdu)
    except LocalProtocolError:
        assert noted, f"{pdu!r} is without fault and cannot be sent"
        return
    assert raw[0] == data[0]
    assert int.from_bytes(raw[2:6], "big") == len(raw) - 6
    again = decode(raw[0], raw[6:])
    if not noted:
        assert again == pdu, f"{pdu!r} came back as {again!r}"
    assert encode(again) == raw
