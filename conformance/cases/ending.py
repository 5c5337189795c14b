"""Groups 1, 2 and 9 for servers: sanity and canaries, the transport, release and abort."""

from __future__ import annotations

import asyncio

from .. import wire
from ..case import INFORM, NONSTRICT, PASS
from ..dissect import us
from ..link import Link
from ..target import Sut, UnexpectedError
from .build import ANSWERED, INFO, ROBUST, SHALL, SHOULD, SURVIVES, asking, case, message, talk
from .request import result

# --- group 1


async def _sanity(sut: Sut) -> str:
    link = await sut.associate()
    if (seen := await sut.echo(link)) != "answered":
        return f"echo-{seen}"
    return await sut.release(link)


case(
    "kit/sanity/echo-and-release",
    SHALL,
    "PS3.2 7.1; PS3.4 A.4",
    "An acceptor takes an association for Verification, answers a C-ECHO with success and a release.",
    _sanity,
    {"released": PASS},
    "never-answers",
    group="sanity",
)
case(
    "kit/sanity/verification-accepted",
    SHALL,
    "PS3.2 7.1; PS3.4 A.5",
    "An acceptor accepts the Verification SOP class in Implicit VR Little Endian.",
    asking(lambda sut: sut.request(), result(1, 0)),
    {"accepted": PASS},
    "refuses-verification",
    group="sanity",
)
case(
    "ps3.8/9.3.3.2/canary-abstract",
    SHALL,
    "PS3.8 9.3.3.2, Table 9-18",
    "An abstract syntax that is no SOP class is not accepted.",
    asking(
        lambda sut: sut.request(contexts=(wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),)),
        result(1, 3),
    ),
    {"accepted": PASS, "result-1 result-2 result-4 rejected-*": NONSTRICT},
    "yes-man",
    group="sanity",
)
case(
    "ps3.8/9.3.3.2/canary-syntax",
    SHALL,
    "PS3.8 9.3.3.2, Table 9-18",
    "A transfer syntax that does not exist is not accepted.",
    asking(
        lambda sut: sut.request(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.NO_SYNTAX),)),
        result(1, 4),
    ),
    {"accepted": PASS, "result-1 result-2 result-3 rejected-*": NONSTRICT},
    "yes-man",
    group="sanity",
)


async def _identifier(sut: Sut) -> str:
    link = await sut.associate()
    return await sut.echo(link, 0x4242)


case(
    "ps3.7/9.3.5.2/canary-message-id",
    SHALL,
    "PS3.7 9.3.5.2",
    "A response names the message it responds to.",
    _identifier,
    ANSWERED,
    "echo-id-fixed",
    group="sanity",
)
UNKNOWN = {0x0002: wire.VERIFICATION, 0x0100: 0x0F30, 0x0110: 3, 0x0800: wire.NO_DATA}


async def _unknown(sut: Sut, link: Link) -> str:
    await link.send(message(UNKNOWN))
    return await sut.answer(link, 3)


case(
    "ps3.7/C.5/canary-command",
    SHALL,
    "PS3.7 C.5 (0211H), E.1",
    "A command that does not exist does not succeed.",
    talk(_unknown),
    {"status-0211": PASS, "status-* aborted-* closed reset": NONSTRICT},
    "yes-man",
    group="sanity",
)

# --- group 2

TRANSPORT = "transport"
STREAM = "TCP is a stream: where a PDU is cut into segments, or joined with another, means nothing."


def pieces(*sizes: int) -> object:
    """Ask for an association, the request cut into pieces."""

    async def steps(sut: Sut) -> str:
        link = await sut.connect()
        await link.send(sut.request().encode(), sizes=sizes)
        seen = await link.seen()
        return await sut.echo(link) if seen == "accepted" else seen

    return steps


for slug, sizes in {
    "header": (6,),
    "one-byte": (1,),
    "bytes": (1,) * 100,
    "fives": (5,) * 40,
    "last-byte": (184,),
}.items():
    case(
        f"ps3.8/9.1.1/cut-{slug}",
        SHALL,
        "PS3.8 9.1.1, 9.3.1",
        STREAM,
        pieces(*sizes),
        ANSWERED,  # type: ignore[arg-type]
        "one-read-one-pdu",
        group=TRANSPORT,
    )


async def _joined(sut: Sut, link: Link) -> str:
    await link.send(wire.echo_rq(1) + wire.echo_rq(3) + wire.echo_rq(5))
    for number in (1, 3, 5):
        if (seen := await sut.answer(link, number)) != "answered":
            return seen
    return "answered"


case(
    "ps3.8/9.1.1/joined-requests",
    SHALL,
    "PS3.8 9.1.1, 9.3.1; PS3.7 9.1.5",
    STREAM + " Each request is answered.",
    talk(_joined, user=(wire.maximum_length(16384), wire.IMPLEMENTATION, wire.window(0, 0))),
    ANSWERED,
    "one-read-one-pdu",
    group=TRANSPORT,
)


async def _all_at_once(sut: Sut) -> str:
    link = await sut.connect()
    await link.send(sut.request().encode(), wire.echo_rq(1), wire.release_rq())
    names = [await link.seen()]
    while names[-1] in ("accepted", "data"):
        names.append(await link.seen())
    return "+".join(names)


case(
    "ps3.8/9.1.1/all-at-once",
    INFO,
    "PS3.8 9.1.1",
    "A whole association in one segment is told of.",
    _all_at_once,
    {"accepted+data+released": PASS, "*": INFORM},
    group=TRANSPORT,
)


def closing(data: bytes, associated: bool) -> object:
    """Send bytes, then our FIN, and see all until the end."""

    async def steps(sut: Sut) -> str:
        link = await (sut.associate() if associated else sut.connect())
        await link.send(data)
        link.finish()
        return await link.until_end()

    return steps


REQUEST_HEAD = wire.Associate().encode()[:40]
for slug, data, associated in (
    ("in-request-header", REQUEST_HEAD[:3], False),
    ("in-request", REQUEST_HEAD, False),
    ("in-pdu-header", wire.echo_rq()[:4], True),
    ("in-pdu", wire.echo_rq()[:20], True),
    ("in-message", wire.p_data(wire.pdv(1, wire.COMMAND, wire.command(wire.echo_fields())[:20])), True),
):
    case(
        f"ps3.8/9.2.3/fin-{slug}",
        SHALL,
        "PS3.8 9.2.3, Table 9-10, Evt17",
        "The end of the connection ends the association; the connection is closed.",
        closing(data, associated),  # type: ignore[arg-type]
        {"closed": PASS, "aborted-*+* reset": NONSTRICT},
        "keeps-open",
        group=TRANSPORT,
    )


async def _reset(sut: Sut) -> str:
    link = await sut.associate()
    await link.send(wire.echo_rq()[:10])
    link.reset()
    return await _sanity(sut)


case(
    "ps3.8/9.2.3/reset-in-pdu",
    SHALL,
    "PS3.8 9.2.3, Table 9-10, Evt17",
    "A reset ends one association and no other.",
    _reset,
    {"released": PASS},
    "one-association-ever",
    group=TRANSPORT,
)


async def _ten(sut: Sut) -> str:
    for _ in range(10):
        if (seen := await _sanity(sut)) != "released":
            return seen
        await sut.links[-1].close()  # a peer may take one connection at a time
    return "released"


case(
    "ps3.8/9.1.1/ten-in-a-row",
    SHALL,
    "PS3.8 9.1.1",
    "One association follows another.",
    _ten,
    {"released": PASS},
    "one-association-ever",
    group=TRANSPORT,
)


async def _two(sut: Sut) -> str:
    first, (_, name, _) = await sut.associate(), await sut.ask(sut.request())
    if name != "accepted":
        return name
    return await sut.echo(first, 9)


case(
    "ps3.8/9.1.1/two-at-once",
    INFO,
    "PS3.8 9.1.1, 7.1.1.9",
    "Whether a second association is taken beside one is told.",
    _two,
    {"answered": PASS, "*": INFORM},
    group=TRANSPORT,
)


def silent(rejected: bool) -> object:
    """Wait for ARTIM in Sta2, or in Sta13 behind a rejection: where a time is declared."""

    async def steps(sut: Sut) -> str:
        artim = sut.profile.artim
        sut.need(artim is not None, "no [timers] artim is declared")
        assert artim is not None
        link = await sut.connect()
        if rejected:
            await link.send(sut.request(version=2).encode())
            await link.seen()
        link.patience = artim + 10
        return await link.until_end()

    return steps


for slug, rejected in (("sta2", False), ("sta13", True)):
    case(
        f"ps3.8/9.1.5/artim-{slug}",
        SHALL,
        "PS3.8 9.1.5, 9.2.3 (AA-2)",
        "Where nothing comes the connection is closed when ARTIM expires.",
        silent(rejected),  # type: ignore[arg-type]
        {"closed": PASS, "aborted-*+* reset": NONSTRICT},
        "keeps-open",
        group=TRANSPORT,
    )

# --- group 9

RELEASE = "release"
for slug, data in {"reserved": wire.release_rq(reserved=0xFF), "body-empty": wire.pdu(5, b"")}.items():
    level = SHALL if slug == "reserved" else ROBUST
    case(
        f"ps3.8/9.3.6/{slug}",
        level,
        "PS3.8 9.3.6, Table 9-24",
        "Reserved bytes of a release are not tested."
        if level is SHALL
        else "A release without its four reserved bytes is survived.",
        talk(lambda sut, link, d=data: _say(link, d)),
        {"released": PASS} if level is SHALL else SURVIVES,
        "picky-reserved" if level is SHALL else "crash-on-release",
        group=RELEASE,
    )


async def _say(link: Link, data: bytes) -> str:
    await link.send(data)
    return await link.seen()


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


def aborting(data: bytes) -> object:
    """Abort, and see what comes."""

    async def steps(sut: Sut) -> str:
        link = await sut.associate()
        await link.send(data)
        return await link.until_end()

    return steps


for slug, source, reason, reserved in (
    ("user", 0, 0, 0),
    ("provider", 2, 0, 0),
    ("provider-unexpected", 2, 2, 0),
    ("provider-invalid", 2, 6, 0),
    ("source-1", 1, 0, 0),
    ("source-255", 255, 255, 0),
    ("reserved", 0, 0, 255),
):
    case(
        f"ps3.8/9.3.8/taken-{slug}",
        SHALL,
        "PS3.8 9.3.8, 9.2.3 (AA-3)",
        "An A-ABORT ends the association whoever sent it and why: the connection is closed, nothing is answered.",
        aborting(wire.abort(source, reason, reserved=reserved)),
        {"closed": PASS, "reset": NONSTRICT},  # type: ignore[arg-type]
        "abort-answered",
        group=RELEASE,
    )


async def _abort_form(sut: Sut, link: Link) -> str:
    await link.send(wire.release_rp())
    raw = await link.pdu()
    if raw is None or raw[0] != wire.ABORT:
        return "no-abort"
    facts = {
        "length": len(raw) == 10,
        "reserved": raw[1] == 0 and raw[6:8] == b"\0\0",
        "source": raw[8] in (0, 2),
        "reason": raw[9] in ({0, 1, 2, 4, 5, 6} if raw[8] == 2 else range(256)),
    }
    return next((f"{name}-wrong" for name, right in facts.items() if not right), "right")


case(
    "ps3.8/9.3.8/as-sent",
    SHALL,
    "PS3.8 9.3.8, Table 9-26",
    "An A-ABORT has four bytes, zeros where reserved, a source of 0 or 2 and a reason that is defined.",
    talk(_abort_form),
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


async def _status(sut: Sut, link: Link) -> str:
    await link.send(wire.echo_rq(1))
    reply = await sut.message(link)
    return "answered" if not isinstance(reply, str) and us(reply, 0x0900) == 0 else "no-success"


case(
    "ps3.4/A.4/status",
    SHALL,
    "PS3.4 A.4; PS3.7 9.1.5.1.4",
    "A C-ECHO ends with success.",
    talk(_status),
    ANSWERED,
    "echo-fails",
    group="sanity",
)
