"""Group 3: an A-ASSOCIATE-RQ as a server takes it (PS3.8 9.3.1, 9.3.2, 9.3.2.1 to 9.3.2.3, F.1)."""

from __future__ import annotations

from dataclasses import replace

from .. import wire
from ..case import INFORM, NONSTRICT, PASS, Level
from ..dissect import Pdu
from ..target import Sut
from .build import INFO, OK, REFUSED, ROBUST, SHALL, SHOULD, SURVIVES, Build, Check, asking, case

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
    accept: object,
    *foils: str,
    check: Check | None = None,
) -> None:
    """A case that sends one request."""
    case(
        f"ps3.8/{id}",
        level,
        f"PS3.8 {clause}",
        requirement,
        asking(build, check),
        accept,
        *foils,
        group=GROUP,
    )  # type: ignore[arg-type]


# --- fixed fields (Table 9-11)

VERSIONS = "Only bit 0 of the protocol version is looked at by a receiver of version 1."
for slug, version in (("more-bits", 0x0003), ("all-bits", 0xFFFF), ("high-bit", 0x8001)):
    row(
        f"9.3.2/version-{slug}",
        SHALL,
        "9.3.2, Table 9-11",
        VERSIONS,
        lambda sut, v=version: sut.request(version=v),
        OK,
        "picky-version",
    )
for slug, version in (("zero", 0x0000), ("two", 0x0002), ("high-alone", 0x8000)):
    row(
        f"9.3.2/version-{slug}",
        SHALL,
        "9.3.2 and 9.3.4",
        "A request without bit 0 of the protocol version is rejected: provider (ACSE), protocol version.",
        lambda sut, v=version: sut.request(version=v),
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
        lambda sut: _with(sut, (wire.item(0x20, HEAD + _marked(ABSTRACT) + SYNTAX),)),
    ),
    (
        "9.3.2.2.2/reserved-transfer",
        "9.3.2.2.2, Table 9-15",
        lambda sut: _with(sut, (wire.item(0x20, HEAD + ABSTRACT + _marked(SYNTAX)),)),
    ),
    (
        "9.3.2.3/reserved-user-information",
        "9.3.2.3, Table 9-16",
        lambda sut: sut.request(order="ac", after=wire.item(0x50, b"".join(USER), reserved=0xFF)),
    ),
    (
        "D.1/reserved-maximum-length",
        "D.1, Table D.1-1",
        lambda sut: sut.request(user=(_marked(USER[0]), USER[1])),
    ),
    (
        "D.2/reserved-implementation",
        "PS3.7 D.3.3.2.1",
        lambda sut: sut.request(user=(USER[0], _marked(wire.item(0x52, wire.text(wire.KIT_CLASS))))),
    ),
):
    row(slug, SHALL, clause, RESERVED, build, OK, "picky-reserved")


def _marked(raw: bytes) -> bytes:
    """An item with its reserved byte set."""
    return raw[:1] + b"\xff" + raw[2:]


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
)
row(
    "9.3.2/calling-one-character",
    INFO,
    "9.3.2, Table 9-11",
    "An AE title has at least one character.",
    lambda sut: sut.request(calling="A"),
    {"accepted": PASS, "rejected-*": INFORM},
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
        lambda sut, t=calling: sut.request(calling=t),
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
        lambda sut, a=application: sut.request(application=a),
        SURVIVES if slug == "twice" else REFUSED,
        "crash-on-application" if slug == "twice" else "application-unseen",
    )

# --- presentation contexts: which are answered

IDS = "Each presentation context proposed is answered by its id, once."


def answers(*numbers: int) -> Check:
    """Check that the contexts of an answer are these."""

    def check(answer: Pdu) -> str:
        found = sorted(part.number for part in answer.contexts)
        return "accepted" if found == sorted(numbers) else f"answered-{'-'.join(map(str, found)) or 'none'}"

    return check


def _ids(sut: Sut, *numbers: int) -> wire.Associate:
    return sut.request(
        contexts=tuple(wire.context_rq(number, wire.VERIFICATION, wire.IMPLICIT) for number in numbers)
    )


for slug, numbers in {
    "one": (1,),
    "255": (255,),
    "descending": (5, 3, 1),
    "gaps": (1, 77, 255),
    "129": (129,),
    "two-alike": (1, 3),
    "sixteen": tuple(range(1, 33, 2)),
    "all-128": tuple(range(1, 256, 2)),
}.items():
    row(
        f"9.3.2.2/ids-{slug}",
        SHALL,
        "9.3.2.2, 9.3.3.2",
        IDS,
        lambda sut, n=numbers: _ids(sut, *n),
        OK,
        "drops-contexts",
        check=answers(*numbers),
    )
for slug, numbers in {"zero": (0,), "two": (2,), "even-after-odd": (1, 4), "254": (254,)}.items():
    row(
        f"9.3.2.2/id-even-{slug}",
        SHOULD,
        "9.3.2.2, Table 9-13; 9.3.8",
        "A presentation context id is odd; another is an invalid value of a PDU parameter.",
        lambda sut, n=numbers: _ids(sut, *n),
        REFUSED,
        "even-ids",
    )
row(
    "9.3.2.2/id-twice",
    SHOULD,
    "7.1.1.13, 9.3.2.2",
    "A presentation context id is used once in a request.",
    lambda sut: _ids(sut, 1, 1),
    REFUSED,
    "ids-twice",
)

# --- presentation contexts: how they are answered


def result(number: int, wanted: int) -> Check:
    """Name the result of a context."""

    def check(answer: Pdu) -> str:
        found = {part.number: part.result for part in answer.contexts}.get(number)
        return "accepted" if found == wanted else f"result-{found}"

    return check


def chosen(number: int, *syntaxes: str) -> Check:
    """Check that a context is accepted in one of these transfer syntaxes."""

    def check(answer: Pdu) -> str:
        for part in answer.contexts:
            if part.number == number:
                if part.result != 0:
                    return f"result-{part.result}"
                found = [sub.uid for sub in part.syntaxes]
                return "accepted" if len(found) == 1 and found[0] in syntaxes else "other-syntax"
        return "unanswered"

    return check


row(
    "9.3.3.2/abstract-unknown-among-known",
    SHALL,
    "9.3.3.2, Table 9-18",
    "One context refused leaves the others as they are.",
    lambda sut: _with(
        sut,
        (
            wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    OK,
    "first-context-decides",
    check=result(3, 0),
)
row(
    "9.3.3.2/abstract-unknown-refused",
    SHALL,
    "9.3.3.2, Table 9-18",
    "An abstract syntax that is not supported is refused with result 3.",
    lambda sut: _with(
        sut,
        (
            wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    {"accepted": PASS, "result-1 result-2 result-4": NONSTRICT},
    "first-context-decides",
    check=result(1, 3),
)
row(
    "9.3.3.2/syntax-unknown-first",
    SHALL,
    "9.3.2.2.2, 9.3.3.2",
    "Of several transfer syntaxes one that is supported is taken, wherever it stands.",
    lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.NO_SYNTAX, wire.IMPLICIT),)),
    OK,
    "first-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-unknown-last",
    SHALL,
    "9.3.2.2.2, 9.3.3.2",
    "Of several transfer syntaxes one that is supported is taken, wherever it stands.",
    lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, wire.NO_SYNTAX),)),
    OK,
    "last-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-unknown-alone-of-two",
    SHALL,
    "9.3.3.2, Table 9-18",
    "A context none of whose transfer syntaxes is supported is refused with result 4, the other stands.",
    lambda sut: _with(
        sut,
        (
            wire.context_rq(1, wire.VERIFICATION, wire.NO_SYNTAX),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    {"accepted": PASS, "result-1 result-2 result-3": NONSTRICT},
    "first-context-decides",
    check=result(1, 4),
)
row(
    "9.3.3.2/syntax-fifty",
    SHALL,
    "9.3.2.2, 9.3.3.2",
    "Any number of transfer syntaxes may be proposed.",
    lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, *[wire.NO_SYNTAX] * 49, wire.IMPLICIT),)),
    OK,
    "first-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-is-proposed",
    SHALL,
    "9.3.3.2, Table 9-18",
    "The transfer syntax of an accepted context is one of those proposed for it.",
    lambda sut: _with(sut, (wire.context_rq(1, wire.VERIFICATION, wire.EXPLICIT, wire.IMPLICIT),)),
    OK,
    "syntax-of-own-choice",
    check=chosen(1, wire.EXPLICIT, wire.IMPLICIT),
)

# --- malformed contexts

for slug, contexts in {
    "no-transfer-syntax": (wire.context_rq(1, wire.VERIFICATION),),
    "no-abstract-syntax": (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, abstracts=0),),
}.items():
    row(
        f"9.3.2.2/{slug}",
        SHOULD,
        "9.3.2.2, Table 9-13",
        "A presentation context has one abstract and at least one transfer syntax: nothing else is accepted.",
        lambda sut, c=contexts: _with(sut, c),
        {**REFUSED, "accepted-nothing": NONSTRICT},
        "empty-contexts",
    )
for slug, contexts in {
    "two-abstract-syntaxes": (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, abstracts=2),),
    "context-empty": (wire.item(0x20, b""), PLAIN),
    "context-id-alone": (wire.item(0x20, b"\x01"), PLAIN),
    "abstract-empty": (wire.item(0x20, HEAD + wire.item(0x30, b"") + SYNTAX),),
    "transfer-empty": (wire.item(0x20, HEAD + ABSTRACT + wire.item(0x40, b"")),),
    "abstract-behind-transfer": (wire.item(0x20, HEAD + SYNTAX + ABSTRACT),),
    "unknown-sub-item": (wire.item(0x20, HEAD + ABSTRACT + wire.item(0x99, b"x") + SYNTAX),),
    "abstract-65-characters": (
        wire.context_rq(1, "1." + "2" * 63, wire.IMPLICIT),
        PLAIN[:4] + b"\x03" + PLAIN[5:],
    ),
    "abstract-no-uid": (
        wire.context_rq(1, "not a uid at all", wire.IMPLICIT),
        PLAIN[:4] + b"\x03" + PLAIN[5:],
    ),
    "abstract-zero-padded": (wire.context_rq(1, wire.VERIFICATION + "\0", wire.IMPLICIT),),
}.items():
    row(
        f"9.3.2.2/{slug}",
        ROBUST,
        "9.3.2.2, F.1",
        "A presentation context that is malformed is survived.",
        lambda sut, c=contexts: _with(sut, c),
        SURVIVES,
        "crash-on-context",
    )
for slug, contexts in {
    "none": (),
    "129": tuple(wire.context_rq(n % 256, wire.VERIFICATION, wire.IMPLICIT) for n in range(1, 259, 2)),
}.items():
    row(
        f"9.3.2/contexts-{slug}",
        ROBUST,
        "9.3.2, Table 9-11",
        "A number of presentation contexts that cannot be is survived.",
        lambda sut, c=contexts: _with(sut, c),
        SURVIVES,
        "crash-on-context",
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
        lambda sut, c=changes: sut.request(**c),
        OK,
        "picky-items",
    )
row(
    "9.3.1/unknown-item-between-contexts",
    SHALL,
    "9.3.1",
    UNKNOWN,
    lambda sut: replace(_ids(sut, 1, 3), between=STRANGE),
    OK,
    "picky-items",
    check=answers(1, 3),
)
for order in ("uca", "cau", "auc"):
    row(
        f"9.3.2/order-{order}",
        INFO,
        "9.3.2, Table 9-11",
        "The table lists the items and lays down no order: what a peer makes of another is told.",
        lambda sut, o=order: sut.request(order=o),
        {"accepted": PASS, "*": INFORM},
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
