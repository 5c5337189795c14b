"""Command sets to bytes and back: group 0000, implicit VR little endian (PS3.7 6.3, Annex E).

No data set library is on this path: a command set is a dozen flat elements of five VRs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from ..pdu.errors import AbortReason, Deviation, LocalProtocolError, RemoteProtocolError
from ..pdu.uids import is_uid

Value = int | str | tuple[int, ...]

GROUP_LENGTH = 0x0000
AFFECTED_SOP_CLASS_UID = 0x0002
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
MOVE_DESTINATION = 0x0600
PRIORITY = 0x0700
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
OFFENDING_ELEMENT = 0x0901
ERROR_COMMENT = 0x0902
ERROR_ID = 0x0903
AFFECTED_SOP_INSTANCE_UID = 0x1000
REQUESTED_SOP_INSTANCE_UID = 0x1001
EVENT_TYPE_ID = 0x1002
ATTRIBUTE_IDENTIFIER_LIST = 0x1005
ACTION_TYPE_ID = 0x1008
REMAINING_SUBOPERATIONS = 0x1020
COMPLETED_SUBOPERATIONS = 0x1021
FAILED_SUBOPERATIONS = 0x1022
WARNING_SUBOPERATIONS = 0x1023
MOVE_ORIGINATOR_AE = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID = 0x1031

NO_DATA_SET = 0x0101
DATA_SET_PRESENT = 0x0001

# PS3.7 Table E.1-1, by element number of group 0000. Retired elements are skipped when they come.
VR = {
    GROUP_LENGTH: "UL",
    AFFECTED_SOP_CLASS_UID: "UI",
    REQUESTED_SOP_CLASS_UID: "UI",
    COMMAND_FIELD: "US",
    MESSAGE_ID: "US",
    MESSAGE_ID_BEING_RESPONDED_TO: "US",
    MOVE_DESTINATION: "AE",
    PRIORITY: "US",
    COMMAND_DATA_SET_TYPE: "US",
    STATUS: "US",
    OFFENDING_ELEMENT: "AT",
    ERROR_COMMENT: "LO",
    ERROR_ID: "US",
    AFFECTED_SOP_INSTANCE_UID: "UI",
    REQUESTED_SOP_INSTANCE_UID: "UI",
    EVENT_TYPE_ID: "US",
    ATTRIBUTE_IDENTIFIER_LIST: "AT",
    ACTION_TYPE_ID: "US",
    REMAINING_SUBOPERATIONS: "US",
    COMPLETED_SUBOPERATIONS: "US",
    FAILED_SUBOPERATIONS: "US",
    WARNING_SUBOPERATIONS: "US",
    MOVE_ORIGINATOR_AE: "AE",
    MOVE_ORIGINATOR_MESSAGE_ID: "US",
}

_ELEMENT = struct.Struct("<HHL")


def _encode_value(vr: str, value: Value) -> bytes:
    if isinstance(value, int):
        return struct.pack("<H", value)
    if isinstance(value, str):
        raw = _comment(value) if vr == "LO" else value.encode("ascii")
        return raw + (b"\0" if vr == "UI" else b" ") if len(raw) % 2 else raw
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)


def _comment(text: str) -> bytes:
    """An error comment may be any text a handler gave: made one LO value of 64 characters (PS3.5 6.2)."""
    return bytes(ord(c) if " " <= c <= "~" and c != "\\" else ord("?") for c in text[:64])


def encode_command(elements: Mapping[int, Value]) -> bytes:
    """A command set, group length included, its elements in ascending order.

    Raises LocalProtocolError for a value that does not fit its element.
    """
    parts = []
    for element in sorted(elements):
        try:
            value = _encode_value(VR[element], elements[element])
        except (KeyError, struct.error, UnicodeEncodeError) as error:
            raise LocalProtocolError(f"(0000,{element:04X}) cannot hold {elements[element]!r}") from error
        parts.append(_ELEMENT.pack(0, element, len(value)) + value)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _decode_number(vr: str, size: int, raw: bytes, noted: list[Deviation]) -> Value:
    """A number of another size is taken if it fits; else it is as if it had not come."""
    if len(raw) != size:
        noted.append(Deviation("PS3.7 6.3.1", f"a {vr} element of {len(raw)} bytes in a command set"))
    value = int.from_bytes(raw, "little")
    return value if value < 1 << 8 * size else ""


def _decode_us(raw: bytes, noted: list[Deviation]) -> Value:
    return _decode_number("US", 2, raw, noted)


def _decode_ul(raw: bytes, noted: list[Deviation]) -> Value:
    return _decode_number("UL", 4, raw, noted)


def _decode_ui(raw: bytes, noted: list[Deviation]) -> Value:
    text = raw.decode("latin-1")
    uid = text.rstrip("\0")
    if uid != uid.strip(" "):
        noted.append(Deviation("PS3.5 9.1", "a UID in a command set is padded with spaces"))
    uid = uid.strip(" \0")
    if not is_uid(uid):
        noted.append(Deviation("PS3.5 9.1", "a UID in a command set is not well-formed"))
    return uid


def _decode_text(raw: bytes, noted: list[Deviation]) -> Value:
    return raw.decode("latin-1").strip(" \0")


def _decode_at(raw: bytes, noted: list[Deviation]) -> Value:
    whole = len(raw) // 4 * 4
    if whole != len(raw):
        noted.append(Deviation("PS3.7 6.3.1", f"an AT element of {len(raw)} bytes in a command set"))
    words = struct.unpack(f"<{whole // 2}H", raw[:whole])
    return tuple(words[i] << 16 | words[i + 1] for i in range(0, len(words), 2))


_DECODERS: dict[str, Callable[[bytes, list[Deviation]], Value]] = {
    "US": _decode_us,
    "UL": _decode_ul,
    "UI": _decode_ui,
    "AE": _decode_text,
    "LO": _decode_text,
    "AT": _decode_at,
}


_DECODER_OF = {element: _DECODERS[vr] for element, vr in VR.items()}


def _malformed(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed command set: {message}", reason=AbortReason.INVALID_PARAMETER)


def decode_command(data: bytes | bytearray | memoryview, noted: list[Deviation]) -> dict[int, Value]:
    """The elements of a command set by element number; empty ones are left out.

    Each element has its own length: a wrong group length, an element of another group, out of order or of
    the wrong size is noted, and what follows is read. So are bytes too few for an element behind the last,
    where the group length does not announce more than came. Raises RemoteProtocolError where the next element
    cannot be found: a header is cut, or a length leads beyond the end.
    """
    raw = bytes(data)
    found: dict[int, Value] = {}
    offset, previous, end = 0, -1, len(raw)
    while offset < end:
        if end - offset < 8:
            told = found.get(GROUP_LENGTH)
            if not isinstance(told, int) or told > end - 12:
                raise _malformed("an element header is cut")
            noted.append(Deviation("PS3.7 6.3.1", f"{end - offset} stray bytes behind a command set"))
            end = offset
            break
        group, element, length = _ELEMENT.unpack_from(raw, offset)
        offset += 8
        if length > end - offset:
            raise _malformed(f"({group:04X},{element:04X}) of {length} bytes where {end - offset} are left")
        if group != 0:
            noted.append(Deviation("PS3.7 6.3.1", f"({group:04X},{element:04X}) in a command set"))
            offset += length
            continue
        if element <= previous:
            noted.append(Deviation("PS3.7 6.3.1", "command elements out of order or doubled"))
        previous = element
        decode = _DECODER_OF.get(element)
        if decode is not None and length and element not in found:
            value = decode(raw[offset : offset + length], noted)
            if value not in ("", ()):  # padding alone is an empty value
                found[element] = value
        offset += length
    _check_group_length(found, end, noted)
    return found


def _check_group_length(found: dict[int, Value], total: int, noted: list[Deviation]) -> None:
    told = found.pop(GROUP_LENGTH, None)
    if told is None:
        noted.append(Deviation("PS3.7 E.1", "command set without a group length"))
    elif told != total - 12:
        noted.append(Deviation("PS3.7 E.1", "command group length is wrong"))


def values_of_group(data: bytes | bytearray, tag: int) -> list[bytes]:
    """The values of elements of another group that strayed into a readable command set, mostly none."""
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    found: list[bytes] = []
    if start not in data:
        return found
    offset = 0
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if data[offset : offset + 4] == start:
            found.append(bytes(data[offset + 8 : offset + 8 + length]))
        offset += 8 + length
    return found
