"""Groups 6 and 7 for clients: maximum length and user information of an acceptance."""

from __future__ import annotations

from .. import wire
from ..calling import Asked, Scu
from ..case import NONSTRICT, PASS
from ..link import Link
from .build import ROBUST, SHALL, SHOULD, SURVIVES
from .scu_association import CLASS, IMPLEMENTATION, LENGTH, VERSION, taken
from .scu_build import USED, Scene, accepting, busy

MAXIMUM, USER = "maximum-length", "user-information"
for slug, value in {
    "zero": 0,
    "4096": 4096,
    "16k": 16384,
    "1m": 1 << 20,
    "2g": 1 << 31,
    "all-ones": 0xFFFFFFFF,
    "odd": 16385,
}.items():
    taken(
        f"ps3.8/D.1/maximum-{slug}",
        SHALL,
        "PS3.8 D.1, Table D.1-1",
        "Any maximum length may be answered; zero means that none is set.",
        accepting(user=(wire.maximum_length(value), IMPLEMENTATION)),
        USED,
        "picky-maximum" if value != 16384 else "uses-nothing",
        group=MAXIMUM,
    )


def kept(limit: int) -> Scene:
    """A request that comes in PDUs of at most so many bytes."""

    async def play(scu: Scu, link: Link, asked: Asked) -> str:
        longest = max((len(raw) - 6 for raw in link.came if raw[0] == wire.DATA), default=0)
        return "kept" if longest <= limit else f"pdu-of-{longest}"

    return play


for limit in (1024, 128, 64, 48, 32, 20):
    taken(
        f"ps3.8/D.1/kept-{limit}",
        SHALL,
        "PS3.8 D.1",
        "No P-DATA-TF that is sent is longer than the maximum length the other side answered.",
        busy(kept(limit), user=(wire.maximum_length(limit), IMPLEMENTATION)),
        {"kept": PASS, "aborted-* release-asked": NONSTRICT},
        "maximum-ignored-1024" if limit > 64 else "maximum-ignored",
        group=MAXIMUM,
    )
for slug, user in {
    "one": (wire.maximum_length(1), IMPLEMENTATION),
    "seven": (wire.maximum_length(7), IMPLEMENTATION),
    "absent": (IMPLEMENTATION,),
    "twice": (LENGTH, LENGTH, IMPLEMENTATION),
    "two-bytes": (wire.item(0x51, b"\x40\0"), IMPLEMENTATION),
    "eight-bytes": (wire.item(0x51, bytes(8)), IMPLEMENTATION),
}.items():
    taken(
        f"ps3.8/D.1/maximum-{slug}",
        ROBUST,
        "PS3.8 D.1",
        "A maximum length that cannot be used is survived.",
        accepting(user=user),
        SURVIVES,
        "crash-on-answer",
        group=MAXIMUM,
    )
for slug, user in {
    "5a": (LENGTH, IMPLEMENTATION, wire.item(0x5A, b"new")),
    "ff": (LENGTH, IMPLEMENTATION, wire.item(0xFF, b"")),
    "00": (LENGTH, IMPLEMENTATION, wire.item(0, b"x")),
    "first": (wire.item(0x5F, b"new"), LENGTH, IMPLEMENTATION),
    "long": (LENGTH, wire.item(0x70, b"x" * 20000), IMPLEMENTATION),
}.items():
    taken(
        f"ps3.8/9.3.1/unknown-sub-item-{slug}",
        SHALL,
        "PS3.8 9.3.1",
        "A sub-item of a type that is not defined is skipped.",
        accepting(user=user),
        USED,
        "picky-sub-items",
        group=USER,
    )
for slug, clause, text, user in (
    ("ps3.8/D.1/maximum-last", "PS3.8 9.3.3.3, D.1", "Sub-items have no order.", (IMPLEMENTATION, LENGTH)),
    (
        "ps3.7/D.3.3.2/class-alone",
        "PS3.7 D.3.3.2.4",
        "The implementation version name is optional.",
        (LENGTH, CLASS),
    ),
    (
        "ps3.7/D.3.3.2/version-16-characters",
        "PS3.7 D.3.3.2.4",
        "A version name has up to 16 characters.",
        (LENGTH, CLASS, wire.item(0x55, b"ABCDEFGHIJKLMNOP")),
    ),
    (
        "ps3.7/D.3.3.2/class-64-characters",
        "PS3.7 D.3.3.2.2; PS3.8 F.1",
        "A UID has up to 64 characters.",
        (LENGTH, wire.item(0x52, b"2.25." + b"1" * 59), VERSION),
    ),
):
    foil = {"ps3.8/D.1/maximum-last": "picky-order", "ps3.7/D.3.3.2/class-alone": "picky-user"}
    level = SHOULD if slug == "ps3.8/D.1/maximum-last" else SHALL  # a note says so
    taken(slug, level, clause, text, accepting(user=user), USED, foil.get(slug, "picky-names"), group=USER)
for slug, user in {
    "class-absent": (LENGTH, VERSION),
    "class-empty": (LENGTH, wire.item(0x52, b""), VERSION),
    "class-no-uid": (LENGTH, wire.item(0x52, b"\xff\0 no uid"), VERSION),
    "class-200-characters": (LENGTH, wire.item(0x52, b"1." * 100), VERSION),
    "version-17": (LENGTH, CLASS, wire.item(0x55, b"A" * 17)),
    "version-markup": (LENGTH, CLASS, wire.item(0x55, b"<b>\x1b[31m&'\"")),
    "nothing": (),
    "window-unasked": (LENGTH, IMPLEMENTATION, wire.window(9, 9)),
    "window-short": (LENGTH, IMPLEMENTATION, wire.item(0x53, b"\0")),
    "role-unasked": (LENGTH, IMPLEMENTATION, wire.role(wire.CT_STORAGE, 0, 1)),
    "role-short": (LENGTH, IMPLEMENTATION, wire.item(0x54, b"\0\x11" + b"1.2")),
    "extended-unasked": (LENGTH, IMPLEMENTATION, wire.extended(wire.VERIFICATION, b"\1")),
    "identity-unasked": (LENGTH, IMPLEMENTATION, wire.item(0x59, b"\0\0")),
    "identity-short": (LENGTH, IMPLEMENTATION, wire.item(0x59, b"\0\x99x")),
}.items():
    taken(
        f"ps3.7/D.3.3/odd-{slug}",
        ROBUST,
        "PS3.7 D.3.3",
        "User information that is odd, or was not asked for, is survived.",
        accepting(user=user),
        SURVIVES,
        "crash-on-answer",
        group=USER,
    )
