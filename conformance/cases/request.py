"""Group 3: an A-ASSOCIATE-RQ as a server takes it (PS3.8 9.3.1, 9.3.2, 9.3.2.1 to 9.3.2.3, F.1)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..case import INFORM, NONSTRICT, PASS, Level, Verdict
from ..target import Sut
from .build import INFO, OK, REFUSED, ROBUST, SHALL, SHOULD, SURVIVES, Build, Check, asking, case, requesting

GROUP = "request"
PLAIN = wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT)
APP = wire.text(wire.APPLICATION)
USER = (wire.maximum_length(16384), wire.IMPLEMENTATION)


def row(
    id: str,
    level: Level,
    clause: str,
    requirement: str,
    build: Build,
    accept: Mapping[str, Verdict],
    *foils: str,
    check: Check | None = None,
) -> None:
    """A case that sends one request."""
    case(
        f"ps3.8/{id}",
        level,
        f"PS3.8 {clause}",
        requirement,
        asking(build, check, accept),
        accept,
        *foils,
        group=GROUP,
    )


# --- fixed fields (Table 9-11)

VERSIONS = "Only bit 0 of the protocol version is looked at by a receiver of version 1."
for slug, version in (("more-bits", 0x0003), ("all-bits", 0xFFFF), ("high-bit", 0x8001)):
    row(
        f"9.3.2/version-{slug}",
        SHALL,
        "9.3.2, Table 9-11",
        VERSIONS,
        requesting(version=version),
        OK,
        "picky-version",
    )
for slug, version in (("zero", 0x0000), ("two", 0x0002), ("high-alone", 0x8000)):
    row(
        f"9.3.2/version-{slug}",
        SHALL,
        "9.3.2 and 9.3.4",
        "A request without bit 0 of the protocol version is rejected: provider (ACSE), protocol version.",
        requesting(version=version),
        {"rejected-1-2-2": PASS, "rejected-* aborted-*": NONSTRICT},
        "version-unseen",
    )

RESERVED = "A reserved field is sent as zeros and not tested when received."
for slug, build in {
    "pdu-header": lambda sut: sut.request().encode(reserved=0xFF),
    "fixed-9": lambda sut: sut.request(reserved=b"\xff\xff"),
    "fixed-43": lambda sut: sut.request(reserved32=b"\xff" * 32),
}.items():
    row(f"9.3.2/reserved-{slug}", SHALL, "9.3.2, Table 9-11", RESERVED, build, OK, "picky-reserved")


def _app(sut: Sut, **changes: int) -> wire.Associate:
    return sut.request(application=wire.item(0x10, APP, **changes))


def _context(body: bytes, reserved: int = 0) -> wire.Associate:
    return wire.Associate(contexts=(wire.item(0x20, body, reserved=reserved),))


ABSTRACT = wire.item(0x30, wire.text(wire.VERIFICATION))
SYNTAX = wire.item(0x40, wire.text(wire.IMPLICIT))
HEAD = b"\x01\0\0\0"


def _with(sut: Sut, contexts: tuple[bytes, ...]) -> wire.Associate:
    return sut.request(contexts=contexts)


for slug, clause, build in (
    ("9.3.2.1/reserved-application", "9.3.2.1, Table 9-12", lambda sut: _app(sut, reserved=0xFF)),
    (
        "9.3.2.2/reserved-header",
        "9.3.2.2, Table 9-13",
        lambda sut: _with(sut, (wire.item(0x20, HEAD + ABSTRACT + SYNTAX, reserved=0xFF),)),
    ),
    (
        "9.3.2.2/reserved-6",
        "9.3.2.2, Table 9-13",
        lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, reserved=b"\xff\0\0"),)),
    ),
    (
        "9.3.2.2/reserved-7",
        "9.3.2.2, Table 9-13",
        lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, reserved=b"\0\xff\0"),)),
    ),
    (
        "9.3.2.2/reserved-8",
        "9.3.2.2, Table 9-13",
        lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, reserved=b"\0\0\xff"),)),
    ),
    (
        "9.3.2.2.1/reserved-abstract",
        "9.3.2.2.1, Table 9-14",
        lambda sut: _with(sut, (wire.item(0x20, HEAD + wire.marked(ABSTRACT) + SYNTAX),)),
    ),
    (
        "9.3.2.2.2/reserved-transfer",
        "9.3.2.2.2, Table 9-15",
        lambda sut: _with(sut, (wire.item(0x20, HEAD + ABSTRACT + wire.marked(SYNTAX)),)),
    ),
    (
        "9.3.2.3/reserved-user-information",
        "9.3.2.3, Table 9-16",
        lambda sut: sut.request(order="ac", after=wire.item(0x50, b"".join(USER), reserved=0xFF)),
    ),
    (
        "D.1/reserved-maximum-length",
        "D.1, Table D.1-1",
        lambda sut: sut.request(user=(wire.marked(USER[0]), USER[1])),
    ),
    (
        "D.2/reserved-implementation",
        "PS3.7 D.3.3.2.1",
        lambda sut: sut.request(user=(USER[0], wire.marked(wire.item(0x52, wire.text(wire.KIT_CLASS))))),
    ),
):
    row(slug, SHALL, clause, RESERVED, build, OK, "picky-reserved")


# --- titles

TITLES = "Leading and trailing spaces of an AE title are not significant."
row(
    "9.3.2/calling-leading-space",
    SHALL,
    "9.3.2, Table 9-11",
    TITLES,
    lambda sut: sut.request(calling=b" " + wire.title(sut.profile.calling_ae)[:15]),
    OK,
    "picky-titles",
)
row(
    "9.3.2/called-leading-space",
    SHALL,
    "9.3.2, Table 9-11",
    TITLES,
    lambda sut: (
        sut.request(called=b" " + wire.title(sut.profile.called_ae)[:15])
        if len(sut.profile.called_ae) < 16
        else sut.request()
    ),
    OK,
    "picky-titles",
)
row(
    "9.3.2/calling-16-characters",
    INFO,
    "9.3.2, Table 9-11",
    "An AE title has up to 16 characters.",
    lambda sut: sut.request(calling="ABCDEFGHIJKLMNOP"),
    {"accepted": PASS, "rejected-*": INFORM},
    "crash-on-odd",
)
row(
    "9.3.2/calling-one-character",
    INFO,
    "9.3.2, Table 9-11",
    "An AE title has at least one character.",
    lambda sut: sut.request(calling="A"),
    {"accepted": PASS, "rejected-*": INFORM},
    "crash-on-odd",
)
for slug, calling in (
    ("spaces", b" " * 16),
    ("zeros", bytes(16)),
    ("high-bytes", b"\xff" * 16),
    ("control", b"A\x1b[31mB".ljust(16)),
    ("backslash", b"A\\B".ljust(16)),
    ("zero-padded", b"KIT".ljust(16, b"\0")),
):
    row(
        f"9.3.2/calling-{slug}",
        ROBUST,
        "9.3.2, Table 9-11",
        "A calling AE title that is none is survived.",
        requesting(calling=calling),
        SURVIVES,
        "crash-on-title",
    )
row(
    "9.3.2/called-zeros",
    ROBUST,
    "9.3.2, Table 9-11",
    "A called AE title that is none is survived.",
    lambda sut: sut.request(called=bytes(16)),
    SURVIVES,
    "crash-on-title",
)

# --- application context

row(
    "9.3.4/application-context-unknown",
    SHALL,
    "7.1.1.2, 9.3.4",
    "A request with an application context that is not supported is rejected, by the service user.",
    lambda sut: sut.request(application=wire.item(0x10, b"1.2.840.10008.3.1.1.999")),
    {"rejected-1-1-2": PASS, "rejected-*": NONSTRICT},
    "application-unseen",
)
for slug, application in (
    ("absent", b""),
    ("empty", wire.item(0x10, b"")),
    ("twice", wire.item(0x10, APP) * 2),
):
    row(
        f"9.3.2/application-context-{slug}",
        ROBUST if slug == "twice" else SHOULD,
        "9.3.2, Table 9-11",
        "A request has one application context item; without a name in it there is nothing to accept.",
        requesting(application=application),
        SURVIVES if slug == "twice" else REFUSED,
        "crash-on-application" if slug == "twice" else "application-unseen",
    )

# --- items: unknown ones and their order

UNKNOWN = "An item of a type that is not defined is skipped."
STRANGE = wire.item(0x99, b"unknown to everybody")
for slug, changes in {
    "first": {"before": STRANGE},
    "last": {"after": STRANGE},
    "empty": {"after": wire.item(0x99, b"")},
    "three": {"before": STRANGE, "after": STRANGE + wire.item(0xFE, b"x")},
    "type-00": {"after": wire.item(0, b"x")},
    "type-ff": {"after": wire.item(0xFF, b"x")},
    "long": {"after": wire.item(0x99, b"x" * 60000)},
}.items():
    row(
        f"9.3.1/unknown-item-{slug}",
        SHALL,
        "9.3.1",
        UNKNOWN,
        requesting(**changes),
        OK,
        "picky-items",
    )
for order in ("uca", "cau", "auc"):
    row(
        f"9.3.2/order-{order}",
        INFO,
        "9.3.2, Table 9-11",
        "The table lists the items and lays down no order: what a peer makes of another is told.",
        requesting(order=order),
        {"accepted": PASS, "*": INFORM},
        "crash-on-odd",
    )
row(
    "9.3.2/user-information-absent",
    ROBUST,
    "9.3.2, Table 9-11",
    "A request without user information is survived.",
    lambda sut: sut.request(order="ac"),
    SURVIVES,
    "crash-on-user",
)
row(
    "9.3.2/user-information-twice",
    ROBUST,
    "9.3.2, Table 9-11",
    "A second user information item is survived.",
    lambda sut: sut.request(order="acuu"),
    SURVIVES,
    "crash-on-user",
)
