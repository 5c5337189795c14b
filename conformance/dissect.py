"""Bytes to named fields with their offsets. Lenient: what cannot be read becomes a note, nothing raises.

PS3.8 9.3 and D, PS3.7 D.3.3 and 6.3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

NAMES = {
    1: "A-ASSOCIATE-RQ",
    2: "A-ASSOCIATE-AC",
    3: "A-ASSOCIATE-RJ",
    4: "P-DATA-TF",
    5: "A-RELEASE-RQ",
    6: "A-RELEASE-RP",
    7: "A-ABORT",
}
ITEMS = {
    0x10: "Application Context",
    0x20: "Presentation Context (RQ)",
    0x21: "Presentation Context (AC)",
    0x30: "Abstract Syntax",
    0x40: "Transfer Syntax",
    0x50: "User Information",
    0x51: "Maximum Length",
    0x52: "Implementation Class UID",
    0x53: "Asynchronous Operations Window",
    0x54: "SCP/SCU Role Selection",
    0x55: "Implementation Version Name",
    0x56: "SOP Class Extended Negotiation",
    0x57: "SOP Class Common Extended Negotiation",
    0x58: "User Identity RQ",
    0x59: "User Identity AC",
}
HEADER = 6
FIXED = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC behind its header and before its items."""


@dataclass(frozen=True, slots=True)
class Field:
    """A named stretch of a PDU."""

    name: str
    offset: int
    raw: bytes

    @property
    def number(self) -> int:
        """The stretch as a big-endian number."""
        return int.from_bytes(self.raw, "big")


@dataclass(frozen=True, slots=True)
class Item:
    """An item or sub-item; `whole` is false where it says more bytes than there are."""

    kind: int
    reserved: int
    offset: int
    length: int
    body: bytes
    whole: bool

    @property
    def uid(self) -> str:
        """The body as a UID text."""
        return self.body.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Value:
    """A presentation data value item (PS3.8 9.3.5.1)."""

    offset: int
    length: int
    context: int
    control: int
    data: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context of a request or an answer."""

    number: int
    result: int
    item: Item
    abstracts: tuple[Item, ...]
    syntaxes: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU taken apart."""

    raw: bytes
    fields: tuple[Field, ...]
    items: tuple[Item, ...] = ()
    values: tuple[Value, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> int:
        """The PDU type."""
        return self.raw[0] if self.raw else 0

    @property
    def name(self) -> str:
        """The name of the PDU type."""
        return NAMES.get(self.kind, f"type {self.kind:02X}H")

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The presentation contexts, whole or not."""
        return tuple(_context(found) for found in self.items if found.kind in (0x20, 0x21))

    @property
    def user(self) -> tuple[Item, ...]:
        """The sub-items of every user information item."""
        return tuple(
            sub for found in self.items if found.kind == 0x50 for sub in items(found.body, found.offset + 4)
        )

    def sub(self, kind: int) -> Item | None:
        """The first user information sub-item of a kind."""
        return next((found for found in self.user if found.kind == kind), None)

    @property
    def max_pdu(self) -> int | None:
        """The maximum length it tells (PS3.8 D.1), 0 for no limit; None where nothing legible is told."""
        found = self.sub(0x51)
        return int.from_bytes(found.body, "big") if found and len(found.body) == 4 else None

    @property
    def window(self) -> tuple[int, int] | None:
        """Operations invoked and performed (PS3.7 D.3.3.3); None where nothing legible is told."""
        found = self.sub(0x53)
        return struct.unpack(">HH", found.body) if found and len(found.body) == 4 else None

    @property
    def extended(self) -> dict[str, bytes]:
        """Service class application information by SOP class (PS3.7 D.3.3.5)."""
        bodies = [found.body for found in self.user if found.kind == 0x56]
        sizes = [int.from_bytes(body[:2], "big") + 2 for body in bodies]
        return {body[2:size].decode("latin-1"): body[size:] for body, size in zip(bodies, sizes, strict=True)}

    def byte(self, name: str) -> int:
        """The number of a named field; -1 when it is not there."""
        return next((found.number for found in self.fields if found.name == name), -1)


def _context(found: Item) -> Context:
    subs = tuple(items(found.body[4:], found.offset + 8))
    return Context(
        found.body[0] if found.body else -1,
        found.body[2] if len(found.body) > 2 else -1,
        found,
        tuple(sub for sub in subs if sub.kind == 0x30),
        tuple(sub for sub in subs if sub.kind == 0x40),
    )


def items(data: bytes, base: int = 0) -> Iterator[Item]:
    """The items in a stretch of bytes."""
    at = 0
    while at + 4 <= len(data):
        kind, reserved, length = struct.unpack_from(">BBH", data, at)
        body = data[at + 4 : at + 4 + length]
        yield Item(kind, reserved, base + at, length, body, len(body) == length)
        at += 4 + length


def values(data: bytes, base: int = 0) -> Iterator[Value]:
    """The presentation data value items in a stretch of bytes."""
    at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from(">L", data, at)
        body = data[at + 4 : at + 4 + length]
        whole = len(body) == length and length >= 2
        context, control = (body[0], body[1]) if len(body) > 1 else (-1, -1)
        yield Value(base + at, length, context, control, body[2:], whole)
        at += 4 + length


_SHORT = {
    3: ("reserved", "result", "source", "reason"),
    5: ("reserved", "reserved", "reserved", "reserved"),
    6: ("reserved", "reserved", "reserved", "reserved"),
    7: ("reserved", "reserved", "source", "reason"),
}
_ASSOCIATE = (
    ("protocol-version", 2),
    ("reserved", 2),
    ("called-ae", 16),
    ("calling-ae", 16),
    ("reserved", 32),
)


def dissect(raw: bytes) -> Pdu:
    """Take one PDU apart; bytes may be missing at the end or be too many."""
    fields = [Field("pdu-type", 0, raw[:1]), Field("reserved", 1, raw[1:2]), Field("pdu-length", 2, raw[2:6])]
    notes: list[str] = []
    kind, body = (raw[0] if raw else 0), raw[HEADER:]
    said = int.from_bytes(raw[2:6], "big")
    if said != len(body):
        notes.append(f"length {said} announced, {len(body)} bytes there")
    if kind in (1, 2):
        at = HEADER
        for name, size in _ASSOCIATE:
            fields.append(Field(name, at, raw[at : at + size]))
            at += size
        return Pdu(raw, tuple(fields), tuple(items(raw[at:], at)), (), tuple(notes))
    if kind == 4:
        return Pdu(raw, tuple(fields), (), tuple(values(body, HEADER)), tuple(notes))
    for index, name in enumerate(_SHORT.get(kind, ())):
        fields.append(Field(name, HEADER + index, raw[HEADER + index : HEADER + index + 1]))
    return Pdu(raw, tuple(fields), (), (), tuple(notes))


def outcome(raw: bytes) -> str:
    """The short name of a PDU as something seen."""
    if raw[:1] == b"\x03" and len(raw) >= 10:
        return f"rejected-{raw[7]}-{raw[8]}-{raw[9]}"
    if raw[:1] == b"\x07" and len(raw) >= 10:
        return f"aborted-{raw[8]}-{raw[9]}"
    short = {1: "request", 2: "accepted", 4: "data", 5: "release-asked", 6: "released"}
    return short.get(raw[0] if raw else 0, "unknown-pdu")


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """The whole PDUs at the front of a stream, and what is left."""
    found, at = [], 0
    while at + HEADER <= len(stream):
        end = at + HEADER + int.from_bytes(stream[at + 2 : at + 6], "big")
        if end > len(stream):
            break
        found.append(stream[at:end])
        at = end
    return found, stream[at:]


def command_set(data: bytes) -> dict[int, bytes]:
    """The elements of a command set by element number; what lies outside of group 0 is left out."""
    return {number: value for _, group, number, _, value in command_elements(data) if group == 0}


def command_elements(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Offset, group, element, length and value of each element of a command set."""
    at = 0
    while at + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHL", data, at)
        yield at, group, number, length, data[at + 8 : at + 8 + length]
        at += 8 + length


def us(elements: dict[int, bytes], number: int, default: int = -1) -> int:
    """An unsigned short of a command set."""
    raw = elements.get(number, b"")
    return int.from_bytes(raw, "little") if len(raw) == 2 else default


class Gathering:
    """Command sets out of the PDVs of one side, over however many PDUs each goes (PS3.8 Annex E)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def whole(self, found: Pdu) -> Iterator[bytes]:
        """The command sets that end in this PDU."""
        for value in found.values:
            if value.control & 1:
                self._data += value.data
                if value.control & 2:
                    data, self._data = bytes(self._data), bytearray()
                    yield data
