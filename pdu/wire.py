"""The item framing both codecs stand on (PS3.8 9.3.1) and UIDs as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from .errors import AbortReason, Deviation, LocalProtocolError, RemoteProtocolError
from .uids import is_uid

_ITEM = struct.Struct(">BBH")


def item(item_type: int, data: bytes) -> bytes:
    """An item: type, reserved byte, 16-bit length, data."""
    if len(data) > 0xFFFF:
        raise LocalProtocolError(f"an item of type {item_type:02X}H can hold 65535 bytes, not {len(data)}")
    return _ITEM.pack(item_type, 0, len(data)) + data


class ItemReader:
    """Walks the items of a container; a length beyond it is a RemoteProtocolError.

    `versioned`: the one item type whose second byte is not reserved.
    """

    def __init__(
        self, view: memoryview, container: str, noted: list[Deviation], *, versioned: int | None = None
    ) -> None:
        self._view = view
        self._container = container
        self._noted = noted
        self._versioned = versioned

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        view, offset = self._view, 0
        while offset < len(view):
            if len(view) - offset < 4:
                raise RemoteProtocolError(
                    f"{self._container}: an item header is cut", reason=AbortReason.INVALID_PARAMETER
                )
            item_type, reserved, length = _ITEM.unpack_from(view, offset)
            offset += 4
            if reserved and item_type != self._versioned:
                note_reserved(self._noted, f"{self._container}: item {item_type:02X}H")
            if length > len(view) - offset:
                raise RemoteProtocolError(
                    f"{self._container}: item {item_type:02X}H of {length} bytes where"
                    f" {len(view) - offset} are left",
                    reason=AbortReason.INVALID_PARAMETER,
                )
            yield item_type, view[offset : offset + length]
            offset += length


def count_items(view: memoryview, containers: Mapping[int, int], limit: int) -> int:
    """How many items lie in `view` and one level below, counted no further than just over `limit`.

    containers: item types that hold items, with the bytes in front of these. A frame that does not fit ends
    its container: what is wrong with it is for `ItemReader` to say.
    """
    count = 0
    todo = [(0, len(view), True)]
    while todo:
        offset, end, outer = todo.pop()
        while offset + 4 <= end and count <= limit:
            item_type, _, length = _ITEM.unpack_from(view, offset)
            count += 1
            offset += 4
            if outer and item_type in containers:
                todo.append((offset + containers[item_type], min(end, offset + length), False))
            offset += length
    return count


def note_reserved(noted: list[Deviation], where: str) -> None:
    """Note a reserved field that is not zero: it is sent as zero and not tested (PS3.8 9.3.1)."""
    noted.append(Deviation("PS3.8 9.3.1", f"{where} with a reserved field that is not zero"))


def encode_uid(uid: str) -> bytes:
    """A UID as it stands in an item: ASCII, no padding (PS3.8 Annex F)."""
    try:
        return uid.encode("ascii")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{uid!r} is no UID") from None


def decode_uid(raw: bytes | memoryview, what: str, noted: list[Deviation]) -> str:
    """The UID in an item; padding and a bad form are noted, never an error."""
    text = bytes(raw).decode("latin-1")
    uid = text.strip("\0 ")
    if uid != text:
        noted.append(Deviation("PS3.8 F.1", f"{what} UID with padding"))
    if not is_uid(uid):
        noted.append(Deviation("PS3.5 9.1", f"{what} is not a well-formed UID"))
    elif any(len(part) > 1 and part[0] == "0" for part in uid.split(".")):
        noted.append(Deviation("PS3.5 9.1", f"{what} has a component that begins with zero"))
    return uid
