"""A PDU as rows for a person, without what may name somebody: values become lengths and digests.

Kept are headers, lengths, tags, numbers, UIDs of the standard, and what is the kit's own. Whatever else
came from a peer (titles, its UIDs, texts, data sets) is hashed: two that are alike look alike.
"""

from __future__ import annotations

import hashlib

from . import wire
from .dissect import FIXED, HEADER, ITEMS, Item, Pdu, Value, command_elements, dissect, items

Row = tuple[int, str, str]
"""Offset in the PDU, bytes in hexadecimal or a digest, name."""
STANDARD = b"1.2.840.10008."
OWN = (wire.text(wire.KIT_CLASS), wire.text(wire.KIT_VERSION), wire.text(wire.NO_SYNTAX), b"AIODICOM-KIT")
NUMBERS = frozenset({0x0000, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1020, 0x1021, 0x1022, 0x1023})
"""Elements of a command set whose values are numbers."""
SHOWN = 48
ROWS = 400


def known(raw: bytes) -> bool:
    """Whether these bytes are the standard's or the kit's own."""
    bare = raw.strip(b"\0 ")
    return bare.startswith(STANDARD) or bare in OWN or not bare


def digest(raw: bytes) -> str:
    """What stands for bytes that are not shown."""
    return f"{len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()[:12]}"


def shown(raw: bytes, keep: bool) -> str:
    """Bytes in hexadecimal, or their digest."""
    if not keep:
        return digest(raw)
    return raw[:SHOWN].hex(" ") + (" ..." if len(raw) > SHOWN else "")


def row(at: int, raw: bytes, keep: bool, name: str) -> Row:
    """A stretch of a PDU, by its text too where it is one that may be shown."""
    text = raw[:SHOWN].rstrip(b"\0 ")
    if keep and len(text) > 2 and all(0x20 <= byte < 0x7F for byte in text):
        name = f'{name} "{text.decode("ascii")}"'
    return at, shown(raw, keep), name


def rows(raw: bytes, *, ours: bool = False) -> list[Row]:
    """A PDU by its fields; what is `ours` is shown whole."""
    found = dissect(raw)
    made: list[Row] = []
    for part in found.fields:
        safe = part.name not in ("called-ae", "calling-ae") and not (
            part.name == "reserved" and any(part.raw)
        )
        if part.raw:
            made.append(row(part.offset, part.raw, ours or safe or known(part.raw), part.name))
    for item in found.items:
        made += _item(item, ours)
    for value in found.values:
        made += _value(value, ours)
    if not found.fields or (found.kind in (1, 2) and len(raw) < HEADER + FIXED) or not _defined(found):
        made.append((HEADER, shown(raw[HEADER:], ours), "body"))
    made += [(0, "", note) for note in found.notes]
    return made[:ROWS]


def _defined(found: Pdu) -> bool:
    return 1 <= found.kind <= 7


def _item(item: Item, keep: bool) -> list[Row]:
    head = bytes((item.kind, item.reserved)) + item.length.to_bytes(2, "big")
    made: list[Row] = [(item.offset, head.hex(" "), ITEMS.get(item.kind, "unknown item"))]
    if item.kind == 0x50:
        inner, base = item.body, item.offset + 4
    elif item.kind in (0x20, 0x21):
        made.append((item.offset + 4, item.body[:4].hex(" "), "context id, reserved, result, reserved"))
        inner, base = item.body[4:], item.offset + 8
    else:
        return [*made, row(item.offset + 4, item.body, keep or known(item.body), "value")]
    for sub in items(inner, base):
        head = bytes((sub.kind, sub.reserved)) + sub.length.to_bytes(2, "big")
        made.append((sub.offset, head.hex(" "), ITEMS.get(sub.kind, "unknown sub-item")))
        safe = keep or sub.kind in (0x51, 0x53) or known(sub.body)
        made.append(row(sub.offset + 4, sub.body, safe, "value"))
    return made


def _value(value: Value, keep: bool) -> list[Row]:
    head = value.length.to_bytes(4, "big") + bytes((max(value.context, 0), max(value.control, 0)))
    made: list[Row] = [(value.offset, head.hex(" "), "PDV length, context id, control header")]
    if not value.control & 1:
        name = "data set" if keep else "data set, not shown"
        return [*made, (value.offset + 6, shown(value.data, keep), name)]
    base = value.offset + 6
    for at, group, number, length, content in command_elements(value.data):
        name = f"({group:04X},{number:04X}) length {length}"
        safe = keep or (group == 0 and number in NUMBERS and len(content) <= 4) or known(content)
        made.append(row(base + at, content, safe, name))
    return made
