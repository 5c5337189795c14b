"""Groups 1 and 2 for servers: sanity and canaries, and the transport."""

from __future__ import annotations

from .. import wire
from ..case import INFORM, NONSTRICT, PASS, Steps
from ..dissect import us
from ..link import Link
from ..target import Sut
from .build import ANSWERED, INFO, SHALL, asking, case, message, talk
from .contexts import result

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
UNKNOWN: dict[int, int | str | bytes] = {
    0x0002: wire.VERIFICATION,
    0x0100: 0x0F30,
    0x0110: 3,
    0x0800: wire.NO_DATA,
}


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


def pieces(*sizes: int) -> Steps:
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
        ANSWERED,
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
    "crash-on-joined",
    group=TRANSPORT,
)


def closing(data: bytes, associated: bool) -> Steps:
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
        closing(data, associated),
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
    "crash-on-two",
    group=TRANSPORT,
)


def silent(rejected: bool) -> Steps:
    """Wait for ARTIM in Sta2, or in Sta13 behind a rejection: where a time is declared."""

    async def steps(sut: Sut) -> str:
        artim = sut.profile.artim
        sut.need(artim is not None, "no [timers] artim is declared")
        assert artim is not None
        link = await sut.connect()
        if rejected:
            await link.send(sut.request(version=2).encode())
            await link.seen()
        link.patience = artim + sut.patience
        return await link.until_end()

    return steps


for slug, rejected in (("sta2", False), ("sta13", True)):
    case(
        f"ps3.8/9.1.5/artim-{slug}",
        SHALL,
        "PS3.8 9.1.5, 9.2.3 (AA-2)",
        "Where nothing comes the connection is closed when ARTIM expires.",
        silent(rejected),
        {"closed": PASS, "aborted-*+* reset": NONSTRICT},
        "keeps-open",
        group=TRANSPORT,
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
