"""Groups 1 to 7 for clients: sanity, transport, acceptances and rejections as they are taken."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..calling import Asked, Scu, answer, answers
from ..case import INFORM, NONSTRICT, PASS, Effect, Level, Steps, Verdict
from ..dissect import Pdu
from ..link import Link
from .build import INFO, ROBUST, SHALL, SHOULD, SURVIVES
from .scu_build import ENDED, UNUSED, USED, accepting, answering, busy, responding, scu_case

# --- group 1: sanity


async def _whole(scu: Scu) -> str:
    link = await scu.releasing()
    await link.send(wire.release_rp())
    return await link.until_end()


scu_case(
    "kit/sanity/request-and-release",
    SHALL,
    "PS3.8 7.1, 7.2; PS3.7 9.1",
    "A requestor asks for an association, uses it, releases it, and closes the connection.",
    _whole,
    ENDED,
    "leaves-without-release",
    group="sanity",
)
scu_case(
    "ps3.8/9.3.3.2/canary-all-refused",
    SHALL,
    "PS3.8 9.3.3.2, Table 9-18",
    "Where every presentation context was refused nothing is asked.",
    answering(lambda rq, scu: scu.acceptance(rq, contexts=answers(rq.contexts, 3)).encode()),
    UNUSED,
    "uses-refused",
    group="sanity",
)


async def _quiet(scu: Scu) -> str:
    link, _ = await scu.asked()
    await link.send(wire.reject(1, 1, 1))
    return await link.until_end()


scu_case(
    "ps3.8/9.3.4/canary-rejected",
    SHALL,
    "PS3.8 9.3.4, 9.2.3 (AE-4)",
    "Behind a rejection nothing is sent; the requestor closes.",
    _quiet,
    ENDED,
    "ignores-rejection",
    group="sanity",
)

# --- group 2: transport

STREAM = "TCP is a stream: where a PDU is cut into segments means nothing."
CUTS = {"header": (6,), "one-byte": (1,), "bytes": (1,) * 60, "fives": (5,) * 20, "middle": (80,)}
for slug, sizes in CUTS.items():
    scu_case(
        f"ps3.8/9.1.1/accept-cut-{slug}",
        SHALL,
        "PS3.8 9.1.1, 9.3.1",
        STREAM,
        answering(lambda request, scu: scu.acceptance(request).encode(), sizes),
        USED,
        "one-read-one-pdu",
        group="transport",
    )
for slug, sizes in {"header": (6,), "one-byte": (1,), "bytes": (1,) * 40}.items():
    scu_case(
        f"ps3.8/9.1.1/response-cut-{slug}",
        SHALL,
        "PS3.8 9.1.1, 9.3.1",
        STREAM,
        responding(answer, sizes),
        USED,
        "one-read-one-pdu",
        group="transport",
    )


def _half(part: int) -> Steps:
    async def steps(scu: Scu) -> str:
        link, request = await scu.asked()
        await link.send(scu.acceptance(request).encode()[:part])
        link.finish()
        return await link.until_end()

    return steps


for slug, part in {"header": 3, "accept": 40}.items():
    scu_case(
        f"ps3.8/9.2.3/fin-in-{slug}",
        SHALL,
        "PS3.8 9.2.3, Table 9-10, Sta5 Evt17",
        "The end of the connection ends the request; the connection is closed.",
        _half(part),
        {**ENDED, "aborted-*+*": NONSTRICT},
        "keeps-open",
        group="transport",
    )


async def _half_response(scu: Scu, link: Link, asked: Asked) -> str:
    await link.send(answer(asked)[:20])
    link.finish()
    return await link.until_end()


scu_case(
    "ps3.8/9.2.3/fin-in-response",
    SHALL,
    "PS3.8 9.2.3, Table 9-10, Sta6 Evt17",
    "The end of the connection ends the association; the connection is closed.",
    busy(_half_response),
    {**ENDED, "aborted-*+*": NONSTRICT},
    "keeps-open",
    group="transport",
)

# --- group 4: acceptances as taken


def taken(
    slug: str,
    level: Level,
    clause: str,
    requirement: str,
    steps: Steps,
    accept: Mapping[str, Verdict],
    *foils: str,
    group: str = "accept",
    effect: Effect = Effect.NONE,
) -> None:
    """A case about an acceptance."""
    scu_case(slug, level, clause, requirement, steps, accept, *foils, group=group, effect=effect)


for slug, version in (("more-bits", 3), ("all-bits", 0xFFFF), ("high-bit", 0x8001)):
    taken(
        f"ps3.8/9.3.3/version-{slug}",
        SHALL,
        "PS3.8 9.3.3, Table 9-17",
        "Only bit 0 of the protocol version is looked at by a receiver of version 1.",
        accepting(version=version),
        USED,
        "picky-version",
    )
APP = wire.text(wire.APPLICATION)
LENGTH, IMPLEMENTATION = wire.maximum_length(16384), wire.IMPLEMENTATION
CLASS = wire.item(0x52, wire.text(wire.KIT_CLASS))
VERSION = wire.item(0x55, wire.text(wire.KIT_VERSION))
RESERVED = "A reserved field is not tested when received."


def _contexts(request: Pdu, change: str) -> tuple[bytes, ...]:
    made = []
    for raw in answers(request.contexts):
        if change == "header":
            raw = wire.marked(raw)
        elif change == "6":
            raw = raw[:5] + b"\xff" + raw[6:]
        elif change == "8":
            raw = raw[:7] + b"\xff" + raw[8:]
        else:
            raw = raw[:8] + wire.marked(raw[8:])
        made.append(raw)
    return tuple(made)


for slug, steps, foil in (
    ("header", answering(lambda rq, scu: scu.acceptance(rq).encode(reserved=0xFF)), "picky-reserved"),
    ("9", accepting(reserved=b"\xff\xff"), "picky-reserved"),
    ("called", accepting(called=b"\xff" * 16), "picky-called"),
    ("called-other", accepting(called="SOMEBODY-ELSE"), "picky-called"),
    ("calling", accepting(calling=b"\xff" * 16), "picky-titles"),
    ("calling-other", accepting(calling="SOMEBODY-ELSE"), "picky-titles"),
    ("43", accepting(reserved32=b"\xff" * 32), "picky-43"),
    ("application", accepting(application=wire.item(0x10, APP, reserved=0xFF)), "picky-reserved"),
    (
        "user",
        accepting(order="ac", after=wire.marked(wire.item(0x50, LENGTH + IMPLEMENTATION))),
        "picky-reserved",
    ),
    ("maximum", accepting(user=(wire.marked(LENGTH), IMPLEMENTATION)), "picky-reserved"),
    ("implementation", accepting(user=(LENGTH, wire.marked(CLASS), VERSION)), "picky-reserved"),
):
    taken(f"ps3.8/9.3.3/reserved-{slug}", SHALL, "PS3.8 9.3.3, Table 9-17", RESERVED, steps, USED, foil)
for slug in ("header", "6", "8", "transfer"):
    taken(
        f"ps3.8/9.3.3.2/reserved-{slug}",
        SHALL,
        "PS3.8 9.3.3.2, Table 9-18",
        RESERVED,
        answering(lambda rq, scu, s=slug: scu.acceptance(rq, contexts=_contexts(rq, s)).encode()),  # type: ignore[misc]
        USED,
        "picky-reserved",
    )
STRANGE = wire.item(0x99, b"unknown to everybody")
for slug, changes in {
    "first": {"before": STRANGE},
    "last": {"after": STRANGE},
    "empty": {"after": wire.item(0x99, b"")},
    "type-00": {"after": wire.item(0, b"x")},
    "type-ff": {"after": wire.item(0xFF, b"x")},
    "long": {"after": wire.item(0x99, b"x" * 60000)},
}.items():
    taken(
        f"ps3.8/9.3.1/unknown-item-{slug}",
        SHALL,
        "PS3.8 9.3.1",
        "An item of a type that is not defined is skipped.",
        accepting(**changes),
        USED,
        "picky-items",
    )
for order in ("uca", "cau", "auc"):
    taken(
        f"ps3.8/9.3.3/order-{order}",
        INFO,
        "PS3.8 9.3.3, Table 9-17",
        "The table lists the items and lays down no order: what a client makes of another is told.",
        accepting(order=order),
        {"used": PASS, "*": INFORM},
        "crash-on-answer",
    )
for result in (1, 2, 3, 4):
    taken(
        f"ps3.8/9.3.3.2/refused-{result}",
        SHALL,
        "PS3.8 9.3.3.2, Table 9-18",
        "A context that was refused is not used.",
        answering(lambda rq, scu, r=result: scu.acceptance(rq, contexts=answers(rq.contexts, r)).encode()),  # type: ignore[misc]
        UNUSED,
        "uses-refused",
    )
for result in (5, 255):
    taken(
        f"ps3.8/9.3.3.2/result-{result}",
        SHOULD,
        "PS3.8 9.3.3.2, Table 9-18",
        "A context with a result that is not defined was not accepted.",
        answering(lambda rq, scu, r=result: scu.acceptance(rq, contexts=answers(rq.contexts, r)).encode()),  # type: ignore[misc]
        UNUSED,
        "uses-refused",
    )
taken(
    "ps3.8/9.3.3.2/unanswered",
    SHOULD,
    "PS3.8 9.3.3.2",
    "A context that was not answered was not accepted.",
    accepting(contexts=()),
    UNUSED,
    "uses-refused",
)


def _syntax(request: Pdu, syntax: bytes) -> tuple[bytes, ...]:
    return tuple(wire.context_ac(part.number, 0, syntax) for part in request.contexts)


taken(
    "ps3.8/9.3.3.2/syntax-not-proposed",
    SHOULD,
    "PS3.8 9.3.3.2, Table 9-18",
    "A context accepted in a transfer syntax that was not proposed for it is not used.",
    answering(lambda rq, scu: scu.acceptance(rq, contexts=_syntax(rq, wire.text(wire.NO_SYNTAX))).encode()),
    UNUSED,
    "uses-any-syntax",
)
ODD = {
    "context-not-proposed": lambda rq: {"contexts": (*answers(rq.contexts), wire.context_ac(254))},
    "context-twice": lambda rq: {"contexts": answers(rq.contexts) * 2},
    "syntax-absent": lambda rq: {"contexts": tuple(wire.context_ac(c.number, 0, None) for c in rq.contexts)},
    "syntax-empty": lambda rq: {"contexts": _syntax(rq, b"")},
    "syntax-200-characters": lambda rq: {"contexts": _syntax(rq, b"1." * 100)},
    "context-id-alone": lambda rq: {"contexts": (wire.item(0x21, b"\1"),)},
    "context-empty": lambda rq: {"contexts": (wire.item(0x21, b""),)},
    "context-type-20": lambda rq: {"contexts": tuple(b"\x20" + raw[1:] for raw in answers(rq.contexts))},
    "application-absent": lambda rq: {"application": b""},
    "application-empty": lambda rq: {"application": wire.item(0x10, b"")},
    "application-other": lambda rq: {"application": wire.item(0x10, b"1.2.3"), "user": (LENGTH,)},
    "user-absent": lambda rq: {"order": "ac"},
    "user-twice": lambda rq: {"order": "acuu"},
    "contexts-300": lambda rq: {"contexts": tuple(wire.context_ac(n % 256, 3) for n in range(300))},
}
for slug, change in ODD.items():
    taken(
        f"ps3.8/9.3.3/odd-{slug}",
        ROBUST,
        "PS3.8 9.3.3",
        "An acceptance that is malformed is survived.",
        answering(lambda rq, scu, c=change: scu.acceptance(rq, **c(rq)).encode()),  # type: ignore[misc]
        SURVIVES,
        "crash-on-answer",
    )

# --- group 5: rejections as taken


def rejecting(data: bytes) -> Steps:
    """Reject, and see all until the end."""

    async def steps(scu: Scu) -> str:
        link, _ = await scu.asked()
        await link.send(data)
        return await link.until_end()

    return steps


for result in (1, 2):
    for source, reason in ((1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)):
        scu_case(
            f"ps3.8/9.3.4/rejected-{result}-{source}-{reason}",
            SHALL,
            "PS3.8 9.3.4, Table 9-21; 9.2.3 (AE-4)",
            "A requestor that was rejected sends nothing more and closes the connection.",
            rejecting(wire.reject(result, source, reason)),
            ENDED,
            "ignores-rejection",
            group="reject",
        )
scu_case(
    "ps3.8/9.3.4/reserved",
    SHALL,
    "PS3.8 9.3.4, Table 9-21",
    "Reserved bytes of a rejection are not tested.",
    rejecting(wire.reject(1, 1, 1, reserved=0xFF)),
    ENDED,
    "ignores-rejection",
    group="reject",
)
for slug, triple in {
    "reason": (1, 1, 99),
    "source": (1, 9, 1),
    "result": (9, 1, 1),
    "zeros": (0, 0, 0),
}.items():
    scu_case(
        f"ps3.8/9.3.4/undefined-{slug}",
        ROBUST,
        "PS3.8 9.3.4, Table 9-21",
        "A rejection with values that are not defined is survived.",
        rejecting(wire.reject(*triple)),
        SURVIVES,
        "crash-on-rejection",
        group="reject",
    )
