"""What each knob of a server changes: whom it refuses, what it says, what it dies of."""

from __future__ import annotations

import struct
from collections.abc import Callable

from .. import wire
from ..dissect import Pdu, command_elements, command_set

Refusal = tuple[int, int, int] | str | None
KNOWN_ITEMS = {0x10, 0x20, 0x50}
KNOWN_SUBS = set(range(0x51, 0x5A))
USER = [wire.maximum_length(16384), wire.IMPLEMENTATION]
TITLE = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ ")


def plain_user(found: Pdu) -> bool:
    """Whether the user information is the kit's own, to the byte."""
    bodies = [part.body for part in found.items if part.kind == 0x50]
    return bodies == [b"".join(USER)]


def _reserved(found: Pdu) -> bool:
    fields = any(any(field.raw) for field in found.fields if field.name == "reserved")
    parts = [*found.items, *found.user, *[sub for c in found.contexts for sub in c.abstracts + c.syntaxes]]
    contexts = any(any(c.item.body[1:4]) for c in found.contexts)
    return fields or contexts or any(part.reserved for part in parts)


def _titles(found: Pdu) -> list[bytes]:
    return [field.raw for field in found.fields if field.name in ("called-ae", "calling-ae")]


PICKY: dict[str, Callable[[Pdu], bool]] = {
    "picky-version": lambda found: found.byte("protocol-version") != 1,
    "picky-reserved": _reserved,
    "picky-titles": lambda found: any(raw[:1] == b" " for raw in _titles(found)),
    "picky-items": lambda found: any(part.kind not in KNOWN_ITEMS for part in found.items),
    "picky-sub-items": lambda found: any(part.kind not in KNOWN_SUBS for part in found.user),
    "picky-order": lambda found: bool(found.user) and found.user[0].kind != 0x51,
    "picky-maximum": lambda found: (sub := found.sub(0x51)) is None or sub.body != USER[0][4:],
    "picky-user": lambda found: not plain_user(found),
}
"""Requests that are right and refused all the same."""


def refusal(knob: str, found: Pdu) -> Refusal:
    """Result, source and reason of a rejection, "abort", or None for a request that is taken."""
    if knob in PICKY and PICKY[knob](found):
        return 1, 1, 1
    if not found.byte("protocol-version") & 1 and knob != "version-unseen":
        return 1, 2, 2
    names = [part.uid for part in found.items if part.kind == 0x10]
    if (not names or names[0] != wire.APPLICATION) and knob != "application-unseen":
        return 1, 1, 2
    numbers = [part.number for part in found.contexts]
    if any(number % 2 == 0 for number in numbers) and knob != "even-ids":
        return "abort"
    if len(set(numbers)) != len(numbers) and knob not in ("ids-twice", "even-ids"):
        return "abort"
    halves = any(not part.abstracts or not part.syntaxes for part in found.contexts)
    return "abort" if halves and knob != "empty-contexts" else None


REJECTIONS: dict[str, Callable[[bytes], bytes]] = {
    "rj-length": lambda raw: wire.pdu(3, raw[6:] + b"\0"),
    "rj-reserved": lambda raw: raw[:6] + b"\1" + raw[7:],
    "rj-result": lambda raw: raw[:7] + b"\7" + raw[8:],
    "rj-source": lambda raw: raw[:8] + b"\7" + raw[9:],
    "rj-reason": lambda raw: raw[:9] + b"\x63",
    "rj-transient": lambda raw: raw[:7] + b"\2" + raw[8:],
}


def rejection(knob: str, result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ, as the knob makes it."""
    raw = wire.reject(result, source, reason)
    return REJECTIONS[knob](raw) if knob in REJECTIONS else raw


ROLE = wire.role(wire.VERIFICATION, 1, 1)
EXTRA_USER = {
    "ac-unasked-role": ROLE,
    "role-wider": ROLE,
    "window-wider": wire.window(0, 0),
    "window-unasked": wire.window(5, 5),
    "identity-always-answered": wire.item(0x59, struct.pack(">H", 0)),
    "common-answered": wire.common_extended(wire.CT_STORAGE, wire.CT_STORAGE),
    "role-other-class": wire.role(wire.CT_STORAGE, 1, 1),
}


def acceptance(knob: str, found: Pdu, answers: list[tuple[int, int, str]]) -> bytes:
    """An A-ASSOCIATE-AC, as the knob makes it."""
    items = []
    for number, result, syntax in answers:
        raw = wire.context_ac(number, 9 if knob == "ac-result-9" else result, syntax)
        if knob == "ac-two-syntaxes":
            raw = wire.item(0x21, raw[4:] + wire.item(0x40, wire.text(syntax)))
        elif knob == "ac-abstract":
            raw = wire.item(0x21, raw[4:] + wire.item(0x30, wire.text(wire.VERIFICATION)))
        elif knob == "ac-padded-syntax":
            raw = wire.context_ac(number, result, wire.text(syntax) + b"\0")
        elif knob == "ac-item-20":
            raw = b"\x20" + raw[1:]
        items.append(raw)
    user = [b"" if knob == "ac-no-maximum" else USER[0], b"" if knob == "ac-no-implementation" else USER[1]]
    relational = found.extended.get(wire.STUDY_ROOT_FIND)
    if relational and knob != "not-relational":
        user.append(wire.extended(wire.STUDY_ROOT_FIND, relational[:1]))
    user.append(EXTRA_USER.get(knob, b""))
    if knob == "ac-long-version":
        user = [USER[0], wire.item(0x52, wire.text(wire.KIT_CLASS)), wire.item(0x55, b"A" * 17)]
    names = {"ac-other-application": b"1.2.3"}
    application = wire.item(0x10, names.get(knob, wire.text(wire.APPLICATION)))
    echoed = {field.offset: field.raw for field in found.fields}
    nothing = knob == "ac-nothing"
    return wire.Associate(
        kind=wire.AC,
        version=0 if knob == "ac-version-zero" else 1,
        called=bytes(16) if nothing else echoed[10],
        calling=bytes(16) if nothing else echoed[26],
        reserved32=bytes(32) if nothing else echoed[42],
        application=b"" if knob == "ac-no-application" else application,
        contexts=tuple(items),
        user=tuple(user),
        order="ac" if knob == "ac-no-user" else "acu",
        after=b"\0\0" if knob == "ac-trailing" else b"",
    ).encode()


def response(knob: str, request: dict[int, bytes], status: int) -> bytes:
    """The command set of a response, as the knob makes it."""
    changes: dict[int, int | str | bytes] = {}
    if knob == "echo-id-fixed":
        changes[0x0120] = 0x1234
    elif knob == "rsp-command-field":
        changes[0x0100] = 0x8031
    elif knob == "rsp-data-flag":
        changes[0x0800] = 0
    elif knob == "rsp-other-class":
        changes[0x0002] = wire.CT_STORAGE
    elif knob == "rsp-odd":
        changes[0x0002] = wire.VERIFICATION.encode()
    raw = wire.response(request, status=status, changes=changes)
    if knob == "rsp-group-length":
        return raw[:8] + b"\0\0\0\0" + raw[12:]
    if knob == "rsp-other-group":
        return wire.command(command_set(raw[12:]), extra=wire.element(0x0010, b"AB", group=8))
    if knob == "rsp-order":
        parts = sorted(command_set(raw[12:]).items(), reverse=True)
        return raw[:12] + b"".join(wire.element(number, value) for number, value in parts)
    return raw


def deaf(knob: str, fields: dict[int, bytes], ids: set[int], echoes: int) -> bool:
    """Whether a request gets no answer."""
    number = int.from_bytes(fields.get(0x0110, b""), "little")
    return (
        knob == "never-answers"
        or (knob == "ids-once" and number in ids)
        or (knob == "ten-echoes" and echoes >= 10)
        or (knob == "picky-elements" and not set(fields) <= {0, 2, 0x0100, 0x0110, 0x0700, 0x0800})
    )


def crashes(knob: str, found: Pdu, state: str) -> bool:
    """Whether this PDU is the end of the process."""
    if not knob.startswith("crash-"):
        return False
    if found.kind == 1 and state == "Sta2":
        return _dies_of_request(knob, found)
    if knob == "crash-on-release":
        return found.kind == 5 and len(found.raw) != 10
    if knob == "crash-on-lie":
        return found.kind in (5, 6, 7) and len(found.raw) != 10
    if found.kind != 4 or state != "Sta6":
        return False
    if knob == "crash-on-fragment":
        return len(found.values) != 1 or found.values[0].control != 3
    if knob == "crash-on-command":
        return any(not _plain_echo(value.data) for value in found.values)
    return False


def _dies_of_request(knob: str, found: Pdu) -> bool:
    plain = [wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT)]
    return {
        "crash-on-user": lambda: not plain_user(found),
        "crash-on-context": lambda: proposed_bodies(found) != plain,
        "crash-on-request-lie": lambda: proposed_bodies(found) != plain or not plain_user(found),
        "crash-on-odd": lambda: _odd(found),
        "crash-on-application": lambda: [p.kind for p in found.items].count(0x10) != 1,
        "crash-on-title": lambda: any(not set(raw) <= TITLE or raw == b" " * 16 for raw in _titles(found)),
    }.get(knob, lambda: False)()


def _odd(found: Pdu) -> bool:
    """Whether a request is other than the plainest of the kit, titles and order of items included."""
    plain = wire.Associate(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),))
    return found.raw != plain.encode()


def proposed_bodies(found: Pdu) -> list[bytes]:
    """The presentation context items of a request as bytes."""
    return [wire.item(0x20, part.item.body) for part in found.contexts]


def _plain_echo(data: bytes) -> bool:
    number = next((value for *_, tag, _, value in command_elements(data) if tag == 0x0110), b"")
    return len(number) == 2 and data == wire.command(wire.echo_fields(int.from_bytes(number, "little")))


KNOWN_REJECTIONS = {
    bytes((0, result, source, reason))
    for result in (1, 2)
    for source, reasons in {1: (1, 2, 3, 7), 2: (1, 2), 3: (1, 2)}.items()
    for reason in reasons
}
"""What stands behind the header of an A-ASSOCIATE-RJ that PS3.8 Table 9-21 defines."""


def echo_request(knob: str, fields: dict[int, int | str | bytes]) -> bytes:
    """The command set of a C-ECHO-RQ, as the knob makes it."""
    left_out = {"rq-no-flag": 0x0800, "rq-no-id": 0x0110, "rq-no-class": 0x0002}.get(knob, -1)
    fields = {key: value for key, value in fields.items() if key != left_out}
    if knob == "rq-odd":
        fields[0x0002] = wire.VERIFICATION.encode()
    elif knob == "maximum-ignored-1024":
        fields[0x0902] = b"x" * 2000
    raw = wire.command(fields, group_length=3 if knob == "rq-group-length" else None)
    if knob == "rq-order":
        parts = sorted(command_set(raw[12:]).items(), reverse=True)
        return raw[:12] + b"".join(wire.element(number, value) for number, value in parts)
    return raw
