"""Bytes of PDUs, items, PDVs and command sets. Every field may be given raw; nothing is checked.

Written apart from the product's codec on purpose: the judge must be able to send what is illegal, and must
not share a misreading with what it judges (PS3.8 9.3, D; PS3.7 6.3.1, D.3.3, E.1).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION = "1.2.840.10008.3.1.1.1"
NO_SOP_CLASS = "1.2.840.10008.1.4.1.1"
"""A registered UID that is no SOP class (a frame of reference): no acceptor has a service for it."""
NO_SYNTAX = "2.25.329800735698586629295641978511506172917"
"""A UID that names no transfer syntax."""
KIT_CLASS = "2.25.70853163286206230193424926128127310337"
KIT_VERSION = "AIODICOM_KIT_1"

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""
NO_DATA = 0x0101
"""Command Data Set Type of a message without data set (PS3.7 E.1)."""


def pdu(kind: int, body: bytes, *, reserved: int = 0, length: int | None = None) -> bytes:
    """A PDU of any type, with its own length or a false one (PS3.8 9.3.1)."""
    return struct.pack(">BBL", kind, reserved, len(body) if length is None else length) + body


def item(kind: int, body: bytes, *, reserved: int = 0, length: int | None = None) -> bytes:
    """An item or sub-item (PS3.8 9.3.2.1)."""
    return struct.pack(">BBH", kind, reserved, len(body) if length is None else length) + body


def marked(raw: bytes) -> bytes:
    """An item or PDU with its reserved byte set."""
    return raw[:1] + b"\xff" + raw[2:]


def text(value: str | bytes) -> bytes:
    """A text as bytes; bytes pass as they are."""
    return value if isinstance(value, bytes) else value.encode("ascii")


def title(value: str | bytes) -> bytes:
    """An AE title, padded with spaces to 16 bytes when it is a text."""
    return value if isinstance(value, bytes) else value.encode("ascii").ljust(16)


def context_rq(
    number: int,
    abstract: str = VERIFICATION,
    *syntaxes: str,
    reserved: bytes = b"\0\0\0",
    abstracts: int = 1,
) -> bytes:
    """A presentation context item of a request (PS3.8 9.3.2.2)."""
    body = bytes((number,)) + reserved + item(0x30, text(abstract)) * abstracts
    return item(0x20, body + b"".join(item(0x40, text(syntax)) for syntax in syntaxes))


def context_ac(
    number: int, result: int = 0, syntax: str | bytes | None = IMPLICIT, *, reserved: int = 0
) -> bytes:
    """A presentation context item of an answer (PS3.8 9.3.3.2)."""
    body = bytes((number, reserved, result, reserved))
    return item(0x21, body + (b"" if syntax is None else item(0x40, text(syntax))))


def maximum_length(value: int) -> bytes:
    """PS3.8 D.1."""
    return item(0x51, struct.pack(">L", value))


def window(invoked: int, performed: int) -> bytes:
    """PS3.7 D.3.3.3."""
    return item(0x53, struct.pack(">HH", invoked, performed))


def role(uid: str, scu: int, scp: int) -> bytes:
    """PS3.7 D.3.3.4."""
    return item(0x54, struct.pack(">H", len(uid)) + text(uid) + bytes((scu, scp)))


def extended(uid: str, information: bytes) -> bytes:
    """PS3.7 D.3.3.5."""
    return item(0x56, struct.pack(">H", len(uid)) + text(uid) + information)


def common_extended(uid: str, service: str, *related: str, version: int = 0) -> bytes:
    """PS3.7 D.3.3.6: the second byte of this sub-item is its version."""
    names = b"".join(struct.pack(">H", len(name)) + text(name) for name in related)
    body = struct.pack(">H", len(uid)) + text(uid) + struct.pack(">H", len(service)) + text(service)
    return item(0x57, body + struct.pack(">H", len(names)) + names, reserved=version)


def identity(kind: int, primary: bytes, secondary: bytes = b"", *, response: int = 0) -> bytes:
    """PS3.7 D.3.3.7.1."""
    body = bytes((kind, response)) + struct.pack(">H", len(primary)) + primary
    return item(0x58, body + struct.pack(">H", len(secondary)) + secondary)


IMPLEMENTATION = item(0x52, text(KIT_CLASS)) + item(0x55, text(KIT_VERSION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Associate:
    """An A-ASSOCIATE-RQ or -AC with every part open to change (PS3.8 9.3.2, 9.3.3)."""

    kind: int = RQ
    version: int = 1
    called: str | bytes = "ANY-SCP"
    calling: str | bytes = "AIODICOM-KIT"
    reserved: bytes = b"\0\0"
    reserved32: bytes = bytes(32)
    application: bytes = field(default_factory=lambda: item(0x10, text(APPLICATION)))
    contexts: tuple[bytes, ...] = ()
    user: tuple[bytes, ...] = (maximum_length(16384), IMPLEMENTATION)
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""
    order: str = "acu"
    """Order of the application context, presentation contexts and user information."""

    def body(self) -> bytes:
        """All behind the six bytes of the header."""
        head = struct.pack(">H", self.version) + self.reserved + title(self.called) + title(self.calling)
        parts = {
            "a": self.application,
            "c": self.between.join(self.contexts),
            "u": item(0x50, b"".join(self.user)),
        }
        items = b"".join(parts[letter] for letter in self.order)
        return head + self.reserved32 + self.before + items + self.after

    def encode(self, *, length: int | None = None, reserved: int = 0) -> bytes:
        """The PDU."""
        return pdu(self.kind, self.body(), length=length, reserved=reserved)

    def but(self, **changes: object) -> Associate:
        """The same but for some parts."""
        return replace(self, **changes)  # type: ignore[arg-type]


def reject(result: int = 1, source: int = 1, reason: int = 1, *, reserved: int = 0) -> bytes:
    """PS3.8 9.3.4."""
    return pdu(RJ, bytes((reserved, result, source, reason)), reserved=reserved)


def release_rq(*, reserved: int = 0) -> bytes:
    """PS3.8 9.3.6."""
    return pdu(RELEASE_RQ, bytes((reserved,)) * 4, reserved=reserved)


def release_rp(*, reserved: int = 0) -> bytes:
    """PS3.8 9.3.7."""
    return pdu(RELEASE_RP, bytes((reserved,)) * 4, reserved=reserved)


def abort(source: int = 0, reason: int = 0, *, reserved: int = 0) -> bytes:
    """PS3.8 9.3.8."""
    return pdu(ABORT, bytes((reserved, reserved, source, reason)), reserved=reserved)


def pdv(context: int, control: int, data: bytes, *, length: int | None = None) -> bytes:
    """A presentation data value item with its message control header (PS3.8 9.3.5.1, E.2)."""
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context, control) + data


def p_data(*pdvs: bytes, reserved: int = 0, length: int | None = None) -> bytes:
    """PS3.8 9.3.5."""
    return pdu(DATA, b"".join(pdvs), reserved=reserved, length=length)


def element(number: int, value: bytes, *, group: int = 0, length: int | None = None) -> bytes:
    """One element in Implicit VR Little Endian."""
    return struct.pack("<HHL", group, number, len(value) if length is None else length) + value


def value_of(value: int | str | bytes) -> bytes:
    """US, an even UI or text, or bytes as they are."""
    if isinstance(value, int):
        return struct.pack("<H", value)
    raw = text(value)
    return raw + b"\0" * (len(raw) % 2) if isinstance(value, str) else raw


def command(
    elements: Mapping[int, int | str | bytes], *, group_length: int | None = None, extra: bytes = b""
) -> bytes:
    """A command set in ascending order with its group length, or a false one (PS3.7 6.3.1)."""
    body = b"".join(element(number, value_of(value)) for number, value in sorted(elements.items())) + extra
    length = len(body) if group_length is None else group_length
    return element(0, struct.pack("<L", length)) + body


def echo_fields(message_id: int = 1) -> dict[int, int | str | bytes]:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: message_id, 0x0800: NO_DATA}


def echo_rq(message_id: int = 1, *, context: int = 1) -> bytes:
    """A P-DATA-TF with a whole C-ECHO-RQ."""
    return p_data(pdv(context, COMMAND | LAST, command(echo_fields(message_id))))


def response(
    request: Mapping[int, bytes], *, status: int = 0, changes: Mapping[int, int | str | bytes] | None = None
) -> bytes:
    """The command set of a response without data set to a dissected request."""
    code = int.from_bytes(request.get(0x0100, b"\0\0"), "little") | 0x8000
    fields: dict[int, int | str | bytes] = {
        0x0100: code,
        0x0120: request.get(0x0110, b"\0\0"),
        0x0800: NO_DATA,
        0x0900: status,
    }
    for number in (0x0002, 0x1000):
        if number in request:
            fields[number] = request[number]
    return command(fields | dict(changes or {}))
