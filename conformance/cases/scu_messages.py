"""Groups 9 to 12 for clients: release, abort, P-DATA-TF, lengths that lie, and responses."""

from __future__ import annotations

from collections.abc import Callable

from .. import wire
from ..calling import Asked, Scu, answer
from ..case import NONSTRICT, PASS, Accept, Effect, Steps, Verdict
from ..dissect import Gathering, dissect
from ..link import Link
from .build import ABORTS, ROBUST, SHALL, SHOULD, abort_as_sent, command_facts
from .scu_build import ENDED, USED, Scene, busy, responding, scu_case

FENCED: Accept = {"silence": Verdict.HANG, "*": PASS}
"""Whatever is said, the connection ends."""
WHOLE = wire.COMMAND | wire.LAST
RELEASE, DATA, LIES, MESSAGES = "release", "p-data", "lengths", "messages"

# --- group 9: release and abort


async def _release_form(scu: Scu) -> str:
    link = await scu.releasing()
    return "right" if link.came[-1] == wire.release_rq() else "other-bytes"


scu_case(
    "ps3.8/9.3.6/as-sent",
    SHALL,
    "PS3.8 9.3.6, Table 9-24",
    "An A-RELEASE-RQ has four reserved bytes that are zero.",
    _release_form,
    {"right": PASS},
    "rq-reserved",
    group=RELEASE,
)


async def _reply_reserved(scu: Scu) -> str:
    link = await scu.releasing()
    await link.send(wire.release_rp(reserved=0xFF))
    return await link.until_end()


scu_case(
    "ps3.8/9.3.7/reserved",
    SHALL,
    "PS3.8 9.3.7, Table 9-25",
    "Reserved bytes of an A-RELEASE-RP are not tested.",
    _reply_reserved,
    ENDED,
    "picky-reserved",
    group=RELEASE,
)


def saying(data: bytes, *, to_end: bool = False) -> Scene:
    """Send bytes where the client waits, and see what comes."""

    async def play(scu: Scu, link: Link, asked: Asked) -> str:
        await link.send(data)
        return await (link.until_end() if to_end else link.seen())

    return play


scu_case(
    "ps3.8/9.3.6/reserved",
    SHALL,
    "PS3.8 9.3.6, Table 9-24",
    "Reserved bytes of an A-RELEASE-RQ are not tested: it is answered, or the user aborts.",
    busy(saying(wire.release_rq(reserved=0xFF))),
    {"released": PASS, "aborted-0-*": NONSTRICT},
    "picky-reserved-closes",
    group=RELEASE,
)
for slug, source, reason, reserved in ABORTS:
    scu_case(
        f"ps3.8/9.3.8/taken-{slug}",
        SHALL,
        "PS3.8 9.3.8, 9.2.3 (AA-3)",
        "An A-ABORT ends the association whoever sent it: the connection is closed, nothing answered.",
        busy(saying(wire.abort(source, reason, reserved=reserved), to_end=True)),
        ENDED,
        "abort-answered",
        group=RELEASE,
    )


scu_case(
    "ps3.8/9.3.8/as-sent",
    SHALL,
    "PS3.8 9.3.8, Table 9-26",
    "An A-ABORT has four bytes, zeros where reserved, a source of 0 or 2 and a reason that is defined.",
    busy(lambda scu, link, asked: abort_as_sent(link)),
    {"right": PASS, "no-abort": NONSTRICT},
    "abort-form",
    group=RELEASE,
)

# --- group 10: P-DATA


def ending(build: Callable[[Asked], bytes]) -> Steps:
    """Send bytes, then our FIN as the fence: nothing need be said to them."""

    async def play(scu: Scu, link: Link, asked: Asked) -> str:
        await link.send(build(asked))
        link.finish()
        return await link.until_end()

    return busy(play)


def fragments(asked: Asked, sizes: tuple[int, ...], *, together: bool = False, final: bool = False) -> bytes:
    """The response in fragments of these sizes; in one PDU together or each in its own."""
    raw, parts, at = wire.response(asked.fields), [], 0
    for size in sizes:
        parts.append(wire.pdv(asked.context, wire.COMMAND, raw[at : at + size]))
        at += size
    if final:
        rest = wire.pdv(asked.context, wire.COMMAND, raw[at:])
        parts += [rest, wire.pdv(asked.context, WHOLE, b"")]
    else:
        parts.append(wire.pdv(asked.context, WHOLE, raw[at:]))
    return wire.p_data(*parts) if together else b"".join(wire.p_data(part) for part in parts)


def cut(sizes: tuple[int, ...], together: bool = False, final: bool = False) -> Steps:
    """Respond in fragments."""
    return responding(lambda asked: fragments(asked, sizes, together=together, final=final))


for slug, steps in {
    "two-pdus": cut((20,)),
    "two-pdvs": cut((20,), True),
    "tens": cut((10,) * 6),
    "tens-together": cut((10,) * 6, True),
    "twos": cut((2,) * 30),
    "in-tag": cut((14,)),
    "in-length": cut((18,)),
    "in-value": cut((40,)),
    "in-group-length": cut((10,)),
    "two-bytes-first": cut((2,)),
}.items():
    scu_case(
        f"ps3.8/E.1/cut-{slug}",
        SHALL,
        "PS3.8 E.1, 9.3.5.1",
        "A message is cut into fragments anywhere, and they stand in one PDU or in several.",
        steps,
        USED,
        "whole-messages-only",
        group=DATA,
    )
for slug, steps in {
    "last-is-empty": ending(lambda asked: fragments(asked, (), final=True)),
    "first-is-empty": ending(lambda asked: fragments(asked, (0,))),
    "odd": ending(lambda asked: fragments(asked, (21, 13))),
    "single-bytes": ending(lambda asked: fragments(asked, (1,) * 40)),
    "no-pdvs": ending(lambda asked: wire.p_data() + answer(asked)),
}.items():
    scu_case(
        f"ps3.8/E.1/odd-{slug}",
        ROBUST,
        "PS3.8 E.1, E.2",
        "Fragments of odd length, or without any bytes, are survived.",
        steps,
        FENCED,
        "crash-on-fragment",
        group=DATA,
    )
for value in (0x07, 0xFF, 0x83, 0x43):
    scu_case(
        f"ps3.8/E.2/reserved-bits-{value:02x}",
        SHALL,
        "PS3.8 E.2",
        "Bits 2 to 7 of the message control header are not tested.",
        responding(
            lambda asked, v=value: wire.p_data(wire.pdv(asked.context, v, wire.response(asked.fields)))  # type: ignore[misc]
        ),
        USED,
        "picky-control",
        group=DATA,
    )
scu_case(
    "ps3.8/9.3.5/reserved-header",
    SHALL,
    "PS3.8 9.3.5, Table 9-22",
    "The reserved byte of a P-DATA-TF is not tested.",
    responding(
        lambda asked: wire.p_data(wire.pdv(asked.context, 3, wire.response(asked.fields)), reserved=0xFF)
    ),
    USED,
    "picky-reserved",
    group=DATA,
)
BROKEN: Accept = {"aborted-2-*": PASS, "aborted-*": NONSTRICT, "closed reset": NONSTRICT}
for slug, number in {"never-proposed": 253, "even": 2, "zero": 0}.items():
    scu_case(
        f"ps3.8/9.3.5.1/context-{slug}",
        SHOULD,
        "PS3.8 9.3.5.1, 9.3.8",
        "Data on a context that was not accepted end the association.",
        responding(lambda asked, n=number: wire.p_data(wire.pdv(n, WHOLE, wire.response(asked.fields)))),  # type: ignore[misc]
        BROKEN,
        "any-context",
        group=DATA,
    )
scu_case(
    "ps3.8/E.1/data-inside-command",
    SHOULD,
    "PS3.8 E.1, E.2",
    "A command set comes whole before its data set.",
    responding(
        lambda asked: wire.p_data(
            wire.pdv(asked.context, wire.COMMAND, wire.response(asked.fields)[:20]),
            wire.pdv(asked.context, wire.LAST, wire.response(asked.fields)[20:]),
        )
    ),
    BROKEN,
    "any-order",
    group=DATA,
)

# --- group 11: lengths that lie


def lying_answer(change: Callable[[bytes], bytes]) -> Steps:
    """The same with the acceptance."""

    async def steps(scu: Scu) -> str:
        link, request = await scu.asked()
        await link.send(change(scu.acceptance(request).encode()))
        link.finish()
        return await link.until_end()

    return steps


def _pdu_length(length: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:2] + length.to_bytes(4, "big") + raw[6:]


def lie(slug: str, clause: str, steps: Steps) -> None:
    """A case of this group."""
    scu_case(
        slug,
        ROBUST,
        f"PS3.8 {clause}",
        "A length that lies is survived, and its bytes are not waited for when the connection is over.",
        steps,
        {"silence": Verdict.HANG, "*": PASS},
        "crash-on-lie",
        group=LIES,
        effect=Effect.HARSH,
    )


for slug, length in {"zero": 0, "one": 1, "67": 67, "64k": 65536, "2g": 0x7FFFFFFF, "4g": 0xFFFFFFFF}.items():
    lie(f"ps3.8/9.3.1/accept-length-{slug}", "9.3.1, 9.3.3", lying_answer(_pdu_length(length)))
for slug, shift in {"short-by-one": -1, "long-by-one": 1}.items():
    lie(
        f"ps3.8/9.3.1/accept-length-{slug}",
        "9.3.1, 9.3.3",
        lying_answer(lambda raw, s=shift: _pdu_length(len(raw) - 6 + s)(raw)),  # type: ignore[misc]
    )
for slug, length in {"short": 3, "long": 60, "64k": 0xFFFF}.items():
    lie(
        f"ps3.8/9.3.3.2/item-length-{slug}",
        "9.3.3.2",
        lying_answer(lambda raw, n=length: raw[:76] + n.to_bytes(2, "big") + raw[78:]),  # type: ignore[misc]
    )
for slug, length in {"zero": 0, "one": 1, "long": 5000, "4g": 0xFFFFFFFF}.items():
    lie(
        f"ps3.8/9.3.5.1/pdv-length-{slug}",
        "9.3.5.1",
        ending(
            lambda asked, n=length: wire.p_data(  # type: ignore[misc]
                wire.pdv(asked.context, WHOLE, wire.response(asked.fields), length=n)
            )
        ),
    )
for slug, data in {
    "pdv-header-alone": wire.p_data(b"\0\0"),
    "p-data-4g": wire.pdu(4, b"\0" * 20, length=0xFFFFFFFF),
    "abort-empty": wire.pdu(7, b""),
    "release-4g": wire.pdu(6, b"\0" * 4, length=0xFFFFFFFF),
}.items():
    lie(f"ps3.8/9.3.1/{slug}", "9.3.1, 9.3.5.1", ending(lambda asked, d=data: d))  # type: ignore[misc]

# --- group 12: responses

for status in (0x0110, 0x0112, 0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0xA700, 0xC001, 0xFFFF):
    scu_case(
        f"ps3.7/C.5/status-{status:04x}",
        SHALL,
        "PS3.7 9.1, C.5",
        "A failure ends the operation, not the manners: the association is released, or aborted by its user.",
        responding(lambda asked, s=status: answer(asked, status=s)),  # type: ignore[misc]
        {"used aborted-0-*": PASS},
        "stuck-on-status",
        group=MESSAGES,
    )


Change = Callable[[Asked], bytes]


def changed(changes: dict[int, int | str | bytes], gone: int = -1) -> Change:
    """A response with some elements changed and one left out."""

    def build(asked: Asked) -> bytes:
        fields: dict[int, int | str | bytes] = {
            0x0002: asked.fields.get(0x0002, b""),
            0x0100: int.from_bytes(asked.fields.get(0x0100, b"\x30\0"), "little") | 0x8000,
            0x0120: asked.fields.get(0x0110, b"\0\0"),
            0x0800: wire.NO_DATA,
            0x0900: 0,
            **({0x1000: asked.fields[0x1000]} if 0x1000 in asked.fields else {}),
            **changes,
        }
        fields.pop(gone, None)
        return wire.p_data(wire.pdv(asked.context, WHOLE, wire.command(fields)))

    return build


for slug, level, change in (
    ("unknown-element", SHOULD, changed({0x0999: b"xy"})),
    ("retired-elements", SHOULD, changed({0x0010: b"ACR-NEMA 2.0"})),
    ("no-sop-class", SHOULD, changed({}, 0x0002)),
):
    scu_case(
        f"ps3.7/6.3.1/{slug}",
        level,
        "PS3.7 6.3.1, 9.1, E.2",
        "An element that a response does not have is passed over, and its SOP class is optional.",
        responding(change),
        {"used": PASS, "aborted-*": NONSTRICT},
        "picky-elements",
        group=MESSAGES,
    )
ODD: dict[str, Change] = {
    "other-message-id": changed({0x0120: 0xBEEF}),
    "other-command": changed({0x0100: 0x8021}),
    "a-request": changed({0x0100: 0x0030, 0x0110: 7}),
    "no-status": changed({}, 0x0900),
    "no-message-id": changed({}, 0x0120),
    "no-command-field": changed({}, 0x0100),
    "no-flag": changed({}, 0x0800),
    "data-announced": changed({0x0800: 1}),
    "other-class": changed({0x0002: wire.NO_SOP_CLASS}),
    "status-too-long": changed({0x0900: b"\0\0\0\0"}),
    "pending": changed({0x0900: 0xFF00}),
    "cancelled": changed({0x0900: 0xFE00}),
    "comment-markup": changed({0x0900: 0x0110, 0x0902: b"<b>\x1b[31m&'\" "}),
    "comment-64k": changed({0x0900: 0x0110, 0x0902: b"x" * 60000}),
    "noise": lambda asked: wire.p_data(wire.pdv(asked.context, WHOLE, bytes(range(256)))),
    "empty": lambda asked: wire.p_data(wire.pdv(asked.context, WHOLE, b"")),
    "twice": lambda asked: answer(asked) * 2,
}
for slug, change in ODD.items():
    scu_case(
        f"ps3.7/9.3/odd-{slug}",
        ROBUST,
        "PS3.7 6.3.1, 9.3",
        "A response that is malformed or not due is survived.",
        ending(change),
        FENCED,
        "crash-on-command" if slug != "twice" else "crash-on-second",
        group=MESSAGES,
    )

# --- requests, as sent


def request_has(slug: str, clause: str, requirement: str, wrong: str, foil: str) -> None:
    """A case about the command set of the client's first request."""

    async def play(scu: Scu, link: Link, asked: Asked) -> str:
        fields = asked.fields
        facts = command_facts(_raw_command(link)) | {
            "message-id": len(fields.get(0x0110, b"")) == 2,
            "flag": len(fields.get(0x0800, b"")) == 2,
            "class": bool(fields.get(0x0002)),
        }
        return "right" if facts[wrong] else f"{wrong}-wrong"

    scu_case(
        f"ps3.7/{slug}",
        SHALL,
        f"PS3.7 {clause}",
        requirement,
        busy(play),
        {"right": PASS},
        foil,
        group=MESSAGES,
    )


def _raw_command(link: Link) -> bytes:
    """The first command set that came: a client with a window may have sent another behind it."""
    gathering = Gathering()
    return next(found for raw in link.came if raw[0] == wire.DATA for found in gathering.whole(dissect(raw)))


request_has(
    "6.3.1/sent-group-length", "6.3.1", "The group length counts the bytes behind it.", "group-length",
    "rq-group-length",
)  # fmt: skip
request_has("6.3.1/sent-even", "6.3.1; PS3.5 7.1", "Every value has an even length.", "even", "rq-odd")
request_has("6.3.1/sent-in-order", "6.3.1", "Elements of a command set ascend.", "order", "rq-order")
request_has("9.3/sent-message-id", "9.3, E.1", "A request has a message id.", "message-id", "rq-no-id")
request_has("E.1/sent-flag", "E.1", "A request says whether a data set follows.", "flag", "rq-no-flag")
request_has("9.3/sent-class", "9.3", "A request names its SOP class.", "class", "rq-no-class")
