"""Groups 6 and 7 for servers: maximum length and user information (PS3.8 D.1, D.2; PS3.7 D.3.3)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..case import INFORM, NONSTRICT, PASS, Level, Verdict
from ..dissect import Pdu
from ..link import Link
from ..target import Sut
from .build import INFO, OK, ROBUST, SHALL, SHOULD, SURVIVES, Check, Scene, asking, case, requesting, talk

MAXIMUM, USER = "maximum-length", "user-information"
LENGTH, IMPLEMENTATION = wire.maximum_length(16384), wire.IMPLEMENTATION
CLASS = wire.item(0x52, wire.text(wire.KIT_CLASS))
VERSION = wire.item(0x55, wire.text(wire.KIT_VERSION))


def row(
    id: str,
    level: Level,
    clause: str,
    requirement: str,
    user: tuple[bytes, ...],
    accept: Mapping[str, Verdict],
    *foils: str,
    check: Check | None = None,
    group: str = USER,
) -> None:
    """A case whose request has these user information sub-items."""
    case(
        id,
        level,
        clause,
        requirement,
        asking(lambda sut: sut.request(user=user), check, accept),
        accept,
        *foils,
        group=group,
    )


# --- maximum length

for slug, value in {
    "zero": 0,
    "4096": 4096,
    "16k": 16384,
    "1m": 1 << 20,
    "2g": 1 << 31,
    "all-ones": 0xFFFFFFFF,
    "odd": 16385,
}.items():
    row(
        f"ps3.8/D.1/maximum-{slug}",
        SHALL,
        "PS3.8 D.1, Table D.1-1",
        "Any maximum length may be proposed; zero means that none is set.",
        (wire.maximum_length(value), IMPLEMENTATION),
        OK,
        "picky-maximum" if value != 16384 else "refuses-verification",
        group=MAXIMUM,
    )


def kept(limit: int) -> Scene:
    """An echo whose answer comes in PDUs of at most so many bytes."""

    async def play(sut: Sut, link: Link) -> str:
        await link.send(wire.echo_rq(9))
        seen = await sut.answer(link, 9)
        longest = max((len(raw) - 6 for raw in link.came if raw[0] == wire.DATA), default=0)
        return seen if longest <= limit else f"pdu-of-{longest}"

    return play


for limit in (64, 48, 32, 20):
    case(
        f"ps3.8/D.1/kept-{limit}",
        SHALL,
        "PS3.8 D.1",
        "No P-DATA-TF that is sent is longer than the maximum length the other side proposed.",
        talk(kept(limit), user=(wire.maximum_length(limit), IMPLEMENTATION)),
        {"answered": PASS, "aborted-* released": NONSTRICT},
        "maximum-ignored",
        group=MAXIMUM,
    )
for slug, user in {
    "one": (wire.maximum_length(1), IMPLEMENTATION),
    "absent": (IMPLEMENTATION,),
    "twice": (LENGTH, LENGTH, IMPLEMENTATION),
    "two-bytes": (wire.item(0x51, b"\x40\0"), IMPLEMENTATION),
    "eight-bytes": (wire.item(0x51, bytes(8)), IMPLEMENTATION),
}.items():
    row(
        f"ps3.8/D.1/maximum-{slug}",
        ROBUST,
        "PS3.8 D.1",
        "A maximum length that cannot be used is survived.",
        user,
        SURVIVES,
        "crash-on-user",
        group=MAXIMUM,
    )

# --- implementation

row(
    "ps3.7/D.3.3.2/class-and-version",
    SHALL,
    "PS3.7 D.3.3.2.1, D.3.3.2.3",
    "An implementation class UID and a version name may be proposed together.",
    (LENGTH, CLASS, VERSION),
    OK,
    "refuses-verification",
)
row(
    "ps3.7/D.3.3.2/class-alone",
    SHALL,
    "PS3.7 D.3.3.2.3",
    "The implementation version name is optional.",
    (LENGTH, CLASS),
    OK,
    "picky-user",
)
row(
    "ps3.7/D.3.3.2/version-16-characters",
    SHALL,
    "PS3.7 D.3.3.2.3",
    "A version name has up to 16 characters.",
    (LENGTH, CLASS, wire.item(0x55, b"ABCDEFGHIJKLMNOP")),
    OK,
    "picky-user",
)
row(
    "ps3.7/D.3.3.2/version-one-character",
    SHALL,
    "PS3.7 D.3.3.2.3",
    "A version name has at least one character.",
    (LENGTH, CLASS, wire.item(0x55, b"A")),
    OK,
    "picky-user",
)
row(
    "ps3.7/D.3.3.2/class-64-characters",
    SHALL,
    "PS3.7 D.3.3.2.1; PS3.8 F.1",
    "A UID has up to 64 characters.",
    (LENGTH, wire.item(0x52, b"2.25." + b"1" * 59), VERSION),
    OK,
    "picky-user",
)
for slug, user in {
    "class-absent": (LENGTH, VERSION),
    "class-empty": (LENGTH, wire.item(0x52, b""), VERSION),
    "class-twice": (LENGTH, CLASS, CLASS),
    "class-no-uid": (LENGTH, wire.item(0x52, b"\xff\0 no uid"), VERSION),
    "class-200-characters": (LENGTH, wire.item(0x52, b"1." * 100), VERSION),
    "version-empty": (LENGTH, CLASS, wire.item(0x55, b"")),
    "version-17": (LENGTH, CLASS, wire.item(0x55, b"A" * 17)),
    "version-markup": (LENGTH, CLASS, wire.item(0x55, b"<b>\x1b[31m&'\"")),
    "nothing": (),
}.items():
    row(
        f"ps3.7/D.3.3.2/{slug}",
        ROBUST,
        "PS3.7 D.3.3.2",
        "An odd notification of implementation is survived.",
        user,
        SURVIVES,
        "crash-on-user",
    )

# --- asynchronous operations window


def within_window(invoked: int, performed: int) -> Check:
    """Check that an answered window is not wider than the one proposed; zero is without limit."""

    def check(answer: Pdu) -> str:
        found = answer.window
        if found is None:
            return "accepted"
        fits = all(
            got <= (asked or 65535) and (got or not asked)
            for got, asked in zip(found, (invoked, performed), strict=True)
        )
        return "accepted" if fits else f"window-{found[0]}-{found[1]}"

    return check


for invoked, performed in ((1, 1), (5, 5), (2, 1), (1, 2), (65535, 65535), (0, 0), (0, 1), (8, 0)):
    row(
        f"ps3.7/D.3.3.3/window-{invoked}-{performed}",
        SHALL,
        "PS3.7 D.3.3.3.2",
        "A window answered is not wider than the one proposed; none answered means one and one.",
        (LENGTH, IMPLEMENTATION, wire.window(invoked, performed)),
        OK,
        "window-wider" if invoked and performed else "picky-user",
        check=within_window(invoked, performed),
    )
row(
    "ps3.7/D.3.3.3/window-not-proposed",
    SHALL,
    "PS3.7 D.3.3.3",
    "Without a window proposed none is answered.",
    (LENGTH, IMPLEMENTATION),
    {**OK, "one-and-one": NONSTRICT},
    "window-unasked",
    check=lambda answer: {None: "accepted", (1, 1): "one-and-one"}.get(answer.window, "unasked"),
)
for slug, item in {
    "short": wire.item(0x53, b"\0"),
    "long": wire.item(0x53, bytes(9)),
    "twice": wire.window(1, 1) * 2,
}.items():
    row(
        f"ps3.7/D.3.3.3/window-{slug}",
        ROBUST,
        "PS3.7 D.3.3.3.1",
        "A malformed window is survived.",
        (LENGTH, IMPLEMENTATION, item),
        SURVIVES,
        "crash-on-user",
    )

# --- roles


def roles_within(uid: str, scu: int, scp: int) -> Check:
    """Check that a role answered was proposed."""

    def check(answer: Pdu) -> str:
        for sub in answer.user:
            if sub.kind != 0x54:
                continue
            size = int.from_bytes(sub.body[:2], "big")
            name, got = sub.body[2 : 2 + size].decode("latin-1"), sub.body[2 + size :]
            if name != uid:
                return "other-class"
            if len(got) != 2 or got[0] > scu or got[1] > scp:
                return "role-not-proposed"
        return "accepted"

    return check


for scu, scp in ((1, 0), (0, 1), (1, 1), (0, 0)):
    steps = asking(
        requesting(user=(LENGTH, IMPLEMENTATION, wire.role(wire.VERIFICATION, scu, scp))),
        roles_within(wire.VERIFICATION, scu, scp),
    )
    case(
        f"ps3.7/D.3.3.4/role-{scu}-{scp}",
        SHALL,
        "PS3.7 D.3.3.4.2",
        "A role answered is one that was proposed.",
        steps,
        {**OK, "rejected-*": INFORM},
        "role-other-class" if scu and scp else "role-wider",
        group=USER,
    )
row(
    "ps3.7/D.3.3.4/role-of-class-not-proposed",
    ROBUST,
    "PS3.7 D.3.3.4",
    "A role for a class in no context is survived.",
    (LENGTH, IMPLEMENTATION, wire.role(wire.CT_STORAGE, 1, 1)),
    SURVIVES,
    "crash-on-user",
)
for slug, item in {
    "twice": wire.role(wire.VERIFICATION, 1, 0) + wire.role(wire.VERIFICATION, 0, 1),
    "value-2": wire.role(wire.VERIFICATION, 2, 255),
    "short": wire.item(0x54, b"\0\x11" + b"1.2"),
    "empty": wire.item(0x54, b""),
}.items():
    row(
        f"ps3.7/D.3.3.4/role-{slug}",
        ROBUST,
        "PS3.7 D.3.3.4.1",
        "A malformed role selection is survived.",
        (LENGTH, IMPLEMENTATION, item),
        SURVIVES,
        "crash-on-user",
    )

# --- extended and common extended negotiation

EXTENDED = "Extended negotiation that a peer does not know is passed over."
for slug, item in {
    "unknown-class": wire.extended(wire.NO_SOP_CLASS, b"\1\1\1"),
    "verification": wire.extended(wire.VERIFICATION, b"\1"),
    "empty-information": wire.extended(wire.VERIFICATION, b""),
    "long": wire.extended(wire.VERIFICATION, b"\1" * 4000),
}.items():
    row(
        f"ps3.7/D.3.3.5/extended-{slug}",
        SHALL,
        "PS3.7 D.3.3.5",
        EXTENDED,
        (LENGTH, IMPLEMENTATION, item),
        OK,
        "picky-user",
    )
for slug, item in {
    "related": wire.common_extended(wire.CT_STORAGE, "1.2.840.10008.4.2", wire.CT_STORAGE),
    "no-related": wire.common_extended(wire.CT_STORAGE, "1.2.840.10008.4.2"),
    "version-9": wire.common_extended(wire.CT_STORAGE, "1.2.840.10008.4.2", version=9),
}.items():
    row(
        f"ps3.7/D.3.3.6/common-{slug}",
        SHALL,
        "PS3.7 D.3.3.6",
        "Common extended negotiation is taken or passed over, and never answered.",
        (LENGTH, IMPLEMENTATION, item),
        OK,
        "picky-user",
        check=lambda answer: "accepted" if answer.sub(0x57) is None else "answered-57",
    )
for slug, item in {
    "extended-short": wire.item(0x56, b"\0\x20ab"),
    "common-short": wire.item(0x57, b"\0\x09a"),
    "common-empty": wire.item(0x57, b""),
}.items():
    row(
        f"ps3.7/D.3.3.5/{slug}",
        ROBUST,
        "PS3.7 D.3.3.5, D.3.3.6",
        "Malformed extended negotiation is survived.",
        (LENGTH, IMPLEMENTATION, item),
        SURVIVES,
        "crash-on-user",
    )

# --- user identity

for kind, primary, secondary in (
    (1, b"kit", b""),
    (2, b"kit", b"nothing"),
    (3, b"ticket", b""),
    (4, b"<assertion/>", b""),
    (5, b"a.b.c", b""),
):
    row(
        f"ps3.7/D.3.3.7/identity-{kind}-unanswered",
        SHALL,
        "PS3.7 D.3.3.7.1, D.3.3.7.2",
        "No identity response is sent where none was asked for.",
        (LENGTH, IMPLEMENTATION, wire.identity(kind, primary, secondary)),
        {**OK, "rejected-*": INFORM},
        "identity-always-answered",
        check=lambda answer: "accepted" if answer.sub(0x59) is None else "unasked",
    )
    row(
        f"ps3.7/D.3.3.7/identity-{kind}-asked",
        INFO,
        "PS3.7 D.3.3.7.2",
        "Whether an identity is acknowledged when asked for is told.",
        (LENGTH, IMPLEMENTATION, wire.identity(kind, primary, secondary, response=1)),
        {"acknowledged": PASS, "*": INFORM},
        "crash-on-user",
        check=lambda answer: "acknowledged" if answer.sub(0x59) is not None else "unacknowledged",
    )
for slug, item in {
    "kind-99": wire.identity(99, b"x"),
    "short": wire.item(0x58, b"\1\0\0\x99x"),
    "empty": wire.item(0x58, b""),
    "long": wire.identity(3, b"x" * 30000),
}.items():
    row(
        f"ps3.7/D.3.3.7/identity-{slug}",
        ROBUST,
        "PS3.7 D.3.3.7.1",
        "A malformed user identity is survived.",
        (LENGTH, IMPLEMENTATION, item),
        SURVIVES,
        "crash-on-user",
    )

# --- unknown sub-items and order

for slug, user in {
    "5a": (LENGTH, IMPLEMENTATION, wire.item(0x5A, b"new")),
    "ff": (LENGTH, IMPLEMENTATION, wire.item(0xFF, b"")),
    "first": (wire.item(0x5F, b"new"), LENGTH, IMPLEMENTATION),
    "00": (LENGTH, IMPLEMENTATION, wire.item(0, b"x")),
    "long": (LENGTH, wire.item(0x70, b"x" * 20000), IMPLEMENTATION),
}.items():
    row(
        f"ps3.8/9.3.1/unknown-sub-item-{slug}",
        SHALL,
        "PS3.8 9.3.1",
        "A sub-item of a type that is not defined is skipped.",
        user,
        OK,
        "picky-sub-items",
    )
row(
    "ps3.8/D.1/maximum-last",
    SHOULD,
    "PS3.8 9.3.2.3, D.1",
    "Sub-items of user information have no order.",
    (IMPLEMENTATION, LENGTH),
    OK,
    "picky-order",
)
row(
    "ps3.7/D.3.3/all-together",
    SHALL,
    "PS3.7 D.3.3",
    "Every kind of sub-item may stand in one request.",
    (
        LENGTH,
        CLASS,
        wire.window(1, 1),
        wire.role(wire.VERIFICATION, 1, 0),
        VERSION,
        wire.extended(wire.VERIFICATION, b"\1"),
        wire.common_extended(wire.CT_STORAGE, "1.2.840.10008.4.2"),
    ),
    OK,
    "picky-user",
)
