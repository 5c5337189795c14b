"""Group 10 and 11 for servers: P-DATA-TF, fragments, and lengths that lie (PS3.8 9.3.5, E.1, E.2; 9.3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..case import NONSTRICT, PASS, Effect, Level, Verdict
from ..link import Link
from ..target import Sut
from .build import ABORTED, ANSWERED, ROBUST, SHALL, SHOULD, SURVIVES, answered, case, message, talk

GROUP = "p-data"
ECHO = wire.command(wire.echo_fields(21))
WHOLE = wire.COMMAND | wire.LAST
INVALID: Mapping[str, Verdict] = {**ABORTED, "closed reset": NONSTRICT}


def says(
    slug: str,
    level: Level,
    clause: str,
    requirement: str,
    data: bytes,
    accept: Mapping[str, Verdict],
    *foils: str,
    contexts: tuple[bytes, ...] | None = None,
    group: str = GROUP,
) -> None:
    """A case that sends bytes in an association and looks at the answer to message 21."""
    changes: dict[str, object] = {} if contexts is None else {"contexts": contexts}
    case(
        f"ps3.8/{slug}",
        level,
        f"PS3.8 {clause}",
        requirement,
        talk(answered(data, level), **changes),
        accept,
        *foils,
        group=group,
    )


def fragments(sizes: tuple[int, ...], *, together: bool = False, final: bool = False) -> bytes:
    """The C-ECHO-RQ in fragments of these sizes, the rest last; in one PDU together or each in its own."""
    parts, at = [], 0
    for size in sizes:
        parts.append(wire.pdv(1, wire.COMMAND, ECHO[at : at + size]))
        at += size
    if final:
        parts += [wire.pdv(1, wire.COMMAND, ECHO[at:]), wire.pdv(1, WHOLE, b"")]
    else:
        parts.append(wire.pdv(1, WHOLE, ECHO[at:]))
    return wire.p_data(*parts) if together else b"".join(wire.p_data(part) for part in parts)


CUT = "A message is cut into fragments anywhere, and they stand in one PDU or in several."
for slug, data in {
    "whole": fragments(()),
    "two-pdus": fragments((20,)),
    "two-pdvs": fragments((20,), together=True),
    "tens": fragments((10,) * 6),
    "tens-together": fragments((10,) * 6, together=True),
    "twos": fragments((2,) * 30),
    "in-tag": fragments((14,)),
    "in-length": fragments((18,)),
    "in-value": fragments((40,)),
    "in-group-length": fragments((10,)),
    "two-bytes-first": fragments((2,)),
}.items():
    says(
        f"E.1/cut-{slug}",
        SHALL,
        "E.1, 9.3.5.1",
        CUT,
        data,
        ANSWERED,
        "whole-messages-only" if slug != "whole" else "never-answers",
    )
for slug, data in {
    "last-is-empty": fragments((), final=True),
    "last-is-empty-together": fragments((), final=True, together=True),
    "first-is-empty": fragments((0,)),
    "odd": fragments((21, 13)),
    "single-bytes": fragments((1,) * 60),
}.items():
    says(
        f"E.1/cut-{slug}",
        ROBUST,
        "E.1, E.2",
        "Fragments of odd length, or without any bytes, are survived.",
        data,
        SURVIVES,
        "crash-on-fragment",
    )
for value in (0x07, 0xFF, 0x83, 0x43):
    says(
        f"E.2/reserved-bits-{value:02x}",
        SHALL,
        "E.2",
        "Bits 2 to 7 of the message control header are not tested.",
        wire.p_data(wire.pdv(1, value, ECHO)),
        ANSWERED,
        "picky-control",
    )
says(
    "9.3.5/reserved-header",
    SHALL,
    "9.3.5, Table 9-22",
    "The reserved byte of a P-DATA-TF is not tested.",
    wire.p_data(wire.pdv(1, WHOLE, ECHO), reserved=0xFF),
    ANSWERED,
    "picky-reserved",
)
TWO = (
    wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),
    wire.context_rq(201, wire.VERIFICATION, wire.IMPLICIT),
)
says(
    "9.3.5.1/second-context",
    SHALL,
    "9.3.5.1, E.1",
    "A message may come on any context that was accepted.",
    wire.p_data(wire.pdv(201, WHOLE, ECHO)),
    ANSWERED,
    "first-context-only",
    contexts=TWO,
)


async def _answers_there(sut: Sut, link: Link) -> str:
    await link.send(wire.p_data(wire.pdv(201, WHOLE, ECHO)))
    raw = await link.pdu()
    if raw is None or raw[0] != wire.DATA:
        return "no-answer"
    return "answered" if raw[10] == 201 else f"context-{raw[10]}"


case(
    "ps3.8/9.3.5.1/answered-on-the-same-context",
    SHALL,
    "PS3.8 9.3.5.1; PS3.7 6.2",
    "A response comes on the context of its request.",
    talk(_answers_there, contexts=TWO),
    ANSWERED,
    "answers-on-context-1",
    group=GROUP,
)
REFUSED = (
    wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),
    wire.context_rq(3, wire.NO_SOP_CLASS, wire.IMPLICIT),
)
for slug, number, contexts in (
    ("unknown-context", 99, None),
    ("refused-context", 3, REFUSED),
    ("even-context", 2, None),
    ("context-0", 0, None),
):
    says(
        f"9.3.5.1/{slug}",
        SHOULD,
        "9.3.5.1, 9.3.8",
        "Data on a context that was not accepted end the association.",
        wire.p_data(wire.pdv(number, WHOLE, ECHO)),
        INVALID,
        "any-context",
        contexts=contexts,
    )
says(
    "E.1/fragments-on-two-contexts",
    SHOULD,
    "E.1",
    "The fragments of one message are on one context.",
    wire.p_data(wire.pdv(1, wire.COMMAND, ECHO[:20]), wire.pdv(201, WHOLE, ECHO[20:])),
    INVALID,
    "any-context",
    contexts=TWO,
)
for slug, data in {
    "data-first": wire.p_data(wire.pdv(1, wire.LAST, b"\x10\0\x10\0\0\0\0\0")),
    "data-inside-command": wire.p_data(
        wire.pdv(1, wire.COMMAND, ECHO[:20]), wire.pdv(1, wire.LAST, ECHO[20:])
    ),
    "command-inside-data": message({0x0002: wire.VERIFICATION, 0x0100: 0x0030, 0x0110: 21, 0x0800: 1})
    + wire.p_data(wire.pdv(1, 0, b"\x10\0\x10\0"), wire.pdv(1, WHOLE, ECHO)),
}.items():
    says(
        f"E.1/{slug}",
        SHOULD,
        "E.1, E.2",
        "A command set comes before its data set, each whole.",
        data,
        INVALID,
        "any-order",
    )
for slug, data in {
    "no-pdvs": wire.p_data(),
    "echo-behind": wire.p_data() + wire.p_data(wire.pdv(1, WHOLE, ECHO)),
    "empty-fragments": wire.p_data(wire.pdv(1, wire.COMMAND, b""), wire.pdv(1, wire.COMMAND, b"")),
}.items():
    says(
        f"9.3.5/{slug}",
        ROBUST,
        "9.3.5, Table 9-22",
        "A P-DATA-TF with nothing in it is survived.",
        data,
        SURVIVES,
        "crash-on-fragment",
    )


async def _too_long(sut: Sut, link: Link) -> str:
    await link.send(wire.p_data(*[wire.pdv(1, wire.COMMAND, b"\0" * 16000)] * 32))
    link.finish()
    return await link.until_end()


case(
    "ps3.8/D.1/longer-than-theirs",
    ROBUST,
    "PS3.8 D.1",
    "A P-DATA-TF above the maximum length announced is survived.",
    talk(_too_long),
    SURVIVES,
    "crash-on-fragment",
    group="maximum-length",
    effect=Effect.HARSH,
)

# --- group 11

LIES = "lengths"


def lies(slug: str, data: bytes, clause: str, *, associated: bool, fin: bool = True) -> None:
    """A case that sends bytes whose lengths lie, then our FIN; the health check decides."""

    async def steps(sut: Sut) -> str:
        link = await (sut.associate() if associated else sut.connect())
        await link.send(data)
        if fin:
            link.finish()
        return await link.until_end()

    case(
        f"ps3.8/{slug}",
        ROBUST,
        f"PS3.8 {clause}",
        "A length that lies is survived, and its bytes are not waited for when the connection is over.",
        steps,
        {"silence": Verdict.HANG, "*": PASS},
        "crash-on-lie" if associated else "crash-on-request-lie",
        group=LIES,
        effect=Effect.HARSH,
    )


PLAIN = wire.Associate(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),))
ENCODED = PLAIN.encode()
for slug, length in {
    "zero": 0,
    "one": 1,
    "67": 67,
    "short-by-one": len(ENCODED) - 7,
    "long-by-one": len(ENCODED) - 5,
    "64k": 65536,
    "2g": 0x7FFFFFFF,
    "4g": 0xFFFFFFFF,
}.items():
    lies(f"9.3.1/request-length-{slug}", PLAIN.encode(length=length), "9.3.1, 9.3.2", associated=False)
ITEM = wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT)
for slug, length in {"zero": 0, "short": 5, "long": 60, "64k": 0xFFFF}.items():
    body = ITEM[:2] + length.to_bytes(2, "big") + ITEM[4:]
    lies(f"9.3.2.2/context-length-{slug}", PLAIN.but(contexts=(body,)).encode(), "9.3.2.2", associated=False)
for slug, user in {
    "user-sub-item-long": (b"\x51\0\xff\xff\0\0\x40\0",),
    "role-uid-long": (wire.item(0x54, b"\xff\xff1.2\1\1"),),
    "trailing-byte": (wire.maximum_length(16384), b"\x52"),
}.items():
    lies(f"9.3.2.3/{slug}", PLAIN.but(user=user).encode(), "9.3.2.3; PS3.7 D.3.3", associated=False)
for slug, after in {"one-byte": b"\0", "three-bytes": b"\x20\0\xff"}.items():
    lies(f"9.3.2/trailing-{slug}", PLAIN.but(after=after).encode(), "9.3.2, Table 9-11", associated=False)
for slug, data in {
    "pdv-length-zero": wire.p_data(wire.pdv(1, WHOLE, b"", length=0)),
    "pdv-length-one": wire.p_data(b"\0\0\0\1\1"),
    "pdv-length-long": wire.p_data(wire.pdv(1, WHOLE, ECHO, length=5000)),
    "pdv-length-4g": wire.p_data(wire.pdv(1, WHOLE, ECHO, length=0xFFFFFFFF)),
    "pdv-length-short": wire.p_data(wire.pdv(1, WHOLE, ECHO, length=len(ECHO) - 6)),
    "pdv-header-alone": wire.p_data(b"\0\0"),
    "p-data-4g": wire.p_data(wire.pdv(1, WHOLE, ECHO), length=0xFFFFFFFF),
    "p-data-length-short": wire.p_data(wire.pdv(1, WHOLE, ECHO), length=20),
}.items():
    lies(f"9.3.5.1/{slug}", data, "9.3.5, 9.3.5.1", associated=True)
for slug, data in {
    "abort-length-zero": wire.pdu(7, b""),
    "abort-length-5": wire.pdu(7, b"\0" * 5),
    "release-length-4g": wire.pdu(5, b"\0" * 4, length=0xFFFFFFFF),
}.items():
    lies(f"9.3.1/{slug}", data, "9.3.1, 9.3.6, 9.3.8", associated=True)
