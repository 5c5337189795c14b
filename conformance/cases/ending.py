"""Group 9 for servers: release and abort."""

from __future__ import annotations

import asyncio

from .. import wire
from ..case import NONSTRICT, PASS, Steps
from ..link import Link
from ..target import Sut, UnexpectedError
from .build import ABORTS, ANSWERED, ROBUST, SHALL, SHOULD, SURVIVES, Scene, abort_as_sent, case, talk

# --- group 9

RELEASE = "release"


def saying(data: bytes) -> Scene:
    """Send bytes and see what comes next."""

    async def play(sut: Sut, link: Link) -> str:
        await link.send(data)
        return await link.seen()

    return play


for slug, data in {"reserved": wire.release_rq(reserved=0xFF), "body-empty": wire.pdu(5, b"")}.items():
    level = SHALL if slug == "reserved" else ROBUST
    case(
        f"ps3.8/9.3.6/{slug}",
        level,
        "PS3.8 9.3.6, Table 9-24",
        "Reserved bytes of a release are not tested."
        if level is SHALL
        else "A release without its four reserved bytes is survived.",
        talk(saying(data)),
        {"released": PASS} if level is SHALL else SURVIVES,
        "picky-reserved" if level is SHALL else "crash-on-release",
        group=RELEASE,
    )


async def _release_form(sut: Sut, link: Link) -> str:
    await link.send(wire.release_rq())
    raw = await link.pdu()
    return "right" if raw == wire.release_rp() else "other-bytes"


case(
    "ps3.8/9.3.7/as-sent",
    SHALL,
    "PS3.8 9.3.7, Table 9-25",
    "An A-RELEASE-RP has four reserved bytes that are zero.",
    talk(_release_form),
    {"right": PASS},
    "rp-reserved",
    group=RELEASE,
)


async def _waits(sut: Sut, link: Link) -> str:
    if (seen := await sut.release(link)) != "released":
        return seen
    link.finish()
    return await link.until_end()


case(
    "ps3.8/7.2.2/closed-by-requestor",
    SHALL,
    "PS3.8 7.2.2, 9.2.3 (AR-4, AR-5)",
    "Behind a release nothing more comes, and the connection is closed when the requestor has closed it.",
    talk(_waits),
    {"closed": PASS, "reset": NONSTRICT},
    "keeps-open",
    group=RELEASE,
)


async def _behind_echo(sut: Sut, link: Link) -> str:
    await link.send(wire.echo_rq(1), wire.release_rq())
    seen = await sut.answer(link, 1)
    return await link.seen() if seen == "answered" else seen


case(
    "ps3.8/7.2.1/request-then-release",
    SHOULD,
    "PS3.8 7.2.1; PS3.7 9.1.5",
    "A request that came before a release is answered before it, or the release is answered.",
    talk(_behind_echo),
    {"released": PASS},
    "never-releases",
    group=RELEASE,
)


async def _released_with_nothing(sut: Sut, link: Link) -> str:
    return await sut.release(link)


for slug, contexts in {"all-refused": (wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),)}.items():
    case(
        f"ps3.8/7.2.1/{slug}",
        SHALL,
        "PS3.8 7.2.1",
        "An association none of whose contexts was accepted is released like another.",
        talk(_released_with_nothing, contexts=contexts),
        {"released": PASS, "rejected-*": NONSTRICT},
        "never-releases",
        group=RELEASE,
    )


def aborting(data: bytes) -> Steps:
    """Abort, and see what comes."""

    async def steps(sut: Sut) -> str:
        link = await sut.associate()
        await link.send(data)
        return await link.until_end()

    return steps


for slug, source, reason, reserved in ABORTS:
    case(
        f"ps3.8/9.3.8/taken-{slug}",
        SHALL,
        "PS3.8 9.3.8, 9.2.3 (AA-3)",
        "An A-ABORT ends the association whoever sent it: the connection is closed, nothing answered.",
        aborting(wire.abort(source, reason, reserved=reserved)),
        {"closed": PASS, "reset": NONSTRICT},
        "abort-answered",
        group=RELEASE,
    )


case(
    "ps3.8/9.3.8/as-sent",
    SHALL,
    "PS3.8 9.3.8, Table 9-26",
    "An A-ABORT has four bytes, zeros where reserved, a source of 0 or 2 and a reason that is defined.",
    talk(lambda sut, link: abort_as_sent(link)),
    {"right": PASS, "no-abort": NONSTRICT},
    "abort-form",
    group=RELEASE,
)


async def _abort_closes(sut: Sut, link: Link) -> str:
    await link.send(wire.release_rp())
    await link.seen()
    link.finish()
    return await link.until_end()


case(
    "ps3.8/9.2.3/aborted-then-closed",
    SHALL,
    "PS3.8 9.2.3 (AR-5)",
    "Behind an A-ABORT that it sent the peer closes when we do.",
    talk(_abort_closes),
    {"closed": PASS, "reset": NONSTRICT},
    "keeps-open",
    group=RELEASE,
)


async def _others(sut: Sut) -> str:
    stays = await sut.associate()
    _, name, _ = await sut.ask(sut.request())
    sut.need(name == "accepted", "one association at a time")
    await sut.links[-1].send(wire.abort())
    await sut.links[-1].ended()
    return await sut.echo(stays, 11)


case(
    "ps3.8/7.3/aborts-one",
    SHALL,
    "PS3.8 7.3",
    "An abort ends one association and leaves another alone.",
    _others,
    ANSWERED,
    "abort-ends-all",
    group=RELEASE,
)


async def _many_echoes(sut: Sut, link: Link) -> str:
    for number in range(1, 101):
        if (seen := await sut.echo(link, number)) != "answered":
            raise UnexpectedError(seen)
        await asyncio.sleep(0)
    return "answered"


case(
    "ps3.7/9.1.5/hundred-echoes",
    SHALL,
    "PS3.7 9.1.5",
    "Any number of operations may follow each other.",
    talk(_many_echoes),
    ANSWERED,
    "ten-echoes",
    group=RELEASE,
)
