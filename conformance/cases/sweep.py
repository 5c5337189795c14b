"""Group 8 for servers: what a PDU out of place does in each state that a peer can bring about (PS3.8 9.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .. import wire
from ..case import NONSTRICT, PASS, Accept, Steps
from ..link import Link
from ..table910 import INJECTIONS, action
from ..target import Sut, UnexpectedError
from .build import SHALL, case

GROUP = "sweep"

SEEN: dict[str, Accept] = {
    "AA-1": {"aborted-*": PASS, "closed": NONSTRICT},
    "AA-2": {"closed": PASS, "reset": NONSTRICT},
    "AA-3": {"closed": PASS, "reset": NONSTRICT},
    "AA-4": {"closed": PASS, "reset": NONSTRICT},
    "AA-5": {"closed": PASS, "reset": NONSTRICT},
    "AR-5": {"closed": PASS, "reset": NONSTRICT},
    "AA-6": {"closed": PASS, "reset": NONSTRICT},
    "AA-7": {"aborted-*+closed": PASS, "aborted-*+reset closed reset": NONSTRICT},
    "AA-8": {"aborted-2-*": PASS, "aborted-*": NONSTRICT},
    "AE-6": {"accepted": PASS, "rejected-*": NONSTRICT},
    "DT-2": {"answered": PASS},
    "AR-2": {"released": PASS},
}
"""What an action shows: the next thing that comes, or for Sta13 all of it until the connection ends.

AA-1 as the service user's abort and AA-8 as the provider's differ in the source alone; Table 9-10 takes AA-1
in Sta2, where both are in use and no one suffers from either. In Sta13 an implementation may have closed
before the PDU arrives.
"""


def injected(name: str, sut: Sut) -> bytes:
    """The bytes of an injection; the closing of the connection has none."""
    return injected_into(name, sut.request())


def injected_into(name: str, request: wire.Associate) -> bytes:
    """The same with the A-ASSOCIATE-RQ that is injected given."""
    made = {
        "associate-rq": request.encode(),
        "associate-ac": wire.Associate(kind=wire.AC, contexts=(wire.context_ac(1),)).encode(),
        "associate-rj": wire.reject(),
        "p-data": wire.echo_rq(4711),
        "release-rq": wire.release_rq(),
        "release-rp": wire.release_rp(),
        "abort": wire.abort(),
        "unknown-00": wire.pdu(0x00, b"\0\0\0\0"),
        "unknown-08": wire.pdu(0x08, b"\0\0\0\0"),
        "unknown-ff": wire.pdu(0xFF, b"\0\0\0\0"),
    }
    return made.get(name, b"")


Route = Callable[[Sut], Awaitable[Link]]


async def fresh(sut: Sut) -> Link:
    """Sta2: the connection is open, nothing was said."""
    return await sut.connect()


async def idle(sut: Sut) -> Link:
    """Sta6 with nothing under way."""
    return await sut.associate()


async def used(sut: Sut) -> Link:
    """Sta6 after a C-ECHO was answered."""
    link = await sut.associate()
    if (seen := await sut.echo(link, 5)) != "answered":
        raise UnexpectedError(f"echo-{seen}")
    return link


async def amid(sut: Sut) -> Link:
    """Sta6 in the middle of a command set."""
    link = await sut.associate()
    data = wire.command(wire.echo_fields(6))
    await link.send(wire.p_data(wire.pdv(1, wire.COMMAND, data[:20])))
    return link


async def rejected(sut: Sut) -> Link:
    """Sta13 after an A-ASSOCIATE-RJ."""
    link, name, _ = await sut.ask(sut.request(version=2))
    if not name.startswith("rejected"):
        raise UnexpectedError(f"not-rejected-{name}")
    return link


async def released(sut: Sut) -> Link:
    """Sta13 after an A-RELEASE-RP."""
    link = await sut.associate()
    if (seen := await sut.release(link)) != "released":
        raise UnexpectedError(f"release-{seen}")
    return link


async def aborted(sut: Sut) -> Link:
    """Sta13 after an A-ABORT of the peer's own."""
    link = await sut.associate()
    await link.send(wire.release_rp())
    if not (seen := await link.seen()).startswith("aborted"):
        raise UnexpectedError(f"not-aborted-{seen}")
    return link


def after_close(route: Route, name: str) -> Steps:
    """Inject where the peer waits for our close: then our FIN, and all that comes until the end."""

    async def steps(sut: Sut) -> str:
        link = await route(sut)
        if data := injected(name, sut):
            await link.send(data)
        link.finish()
        return await (link.until_over() if data else link.until_end())

    return steps


def injecting(route: Route, name: str) -> Steps:
    """Inject in a state and look at what comes next."""

    async def steps(sut: Sut) -> str:
        link = await route(sut)
        if name == "fin":
            link.finish()
            return await link.seen()
        await link.send(injected(name, sut))
        if name == "p-data" and route in (idle, used):
            return await sut.answer(link, 4711)
        return await link.seen()

    return steps


def glued(front: Callable[[Sut], bytes], route: Route, name: str) -> Steps:
    """Send a PDU and the injection behind it in one segment; what comes last but the ending counts."""

    async def steps(sut: Sut) -> str:
        link = await route(sut)
        await link.send(front(sut), injected(name, sut))
        if name == "fin":
            link.finish()
        seen = await link.seen()
        if seen == "accepted":
            return f"accepted+{await _behind(sut, link, name)}"
        if seen == "released":
            if name != "fin":
                link.finish()
            return f"released+{await link.until_over()}"
        return seen

    return steps


async def _behind(sut: Sut, link: Link, name: str) -> str:
    if name == "p-data":
        return await sut.answer(link, 4711)
    return await link.seen()


AMID_DATA: Accept = {"aborted-2-*": PASS, "aborted-*": NONSTRICT, "closed reset": NONSTRICT}
"""A whole command set where the middle of another was due: what it makes together is no message."""


def glued_accept(state: str, name: str) -> Accept:
    """What may be seen where the injection came with the PDU before: either order of the two is right."""
    early, late = SEEN[action(INJECTIONS[name], state)], SEEN[action(INJECTIONS[name], "Sta6")]
    if state == "Sta3":
        return {
            **early,
            **{
                f"accepted+{p}" if " " not in p else " ".join(f"accepted+{w}" for w in p.split()): v
                for p, v in late.items()
            },
        }
    tail = SEEN[action(INJECTIONS[name], "Sta13")]
    return {
        **early,
        **{" ".join(f"released+{w}" for w in p.split()): v for p, v in tail.items()},
        "aborted-*": PASS,
    }


REQUIREMENT = "In {state} ({where}) {event} ({name}) leads to action {action}."
for state, where, route in (
    ("Sta2", "fresh", fresh),
    ("Sta6", "idle", idle),
    ("Sta6", "used", used),
    ("Sta6", "amid", amid),
):
    for name, event in INJECTIONS.items():
        accept = SEEN[action(event, state)]
        if where == "amid" and name == "p-data":
            accept = AMID_DATA
        if where == "amid" and name == "release-rq":
            accept = {"released": PASS, "aborted-*": PASS}
        case(
            f"ps3.8/9.2.3/{state.lower()}-{where}-{name}",
            SHALL,
            f"PS3.8 9.2.3, Table 9-10, {state} {event}",
            REQUIREMENT.format(state=state, where=where, event=event, name=name, action=action(event, state)),
            injecting(route, name),
            accept,
            f"cell:{state}:{event}",
            group=GROUP,
        )
for where, route in (("rejected", rejected), ("released", released), ("aborted", aborted)):
    for name, event in INJECTIONS.items():
        cell = action(event, "Sta13")
        case(
            f"ps3.8/9.2.3/sta13-{where}-{name}",
            SHALL,
            f"PS3.8 9.2.3, Table 9-10, Sta13 {event}",
            REQUIREMENT.format(state="Sta13", where=where, event=event, name=name, action=cell),
            after_close(route, name),
            SEEN[cell],
            f"cell:Sta13:{event}",
            group=GROUP,
        )
for name, event in INJECTIONS.items():
    case(
        f"ps3.8/9.2.3/sta3-glued-{name}",
        SHALL,
        f"PS3.8 9.2.3, Table 9-10, Sta3 {event}",
        REQUIREMENT.format(state="Sta3", where="glued", event=event, name=name, action=action(event, "Sta3"))
        + " Where the request was answered first, what is right in Sta6 is right.",
        glued(lambda sut: sut.request().encode(), fresh, name),
        glued_accept("Sta3", name),
        f"cell:Sta6:{event}",
        group=GROUP,
    )
    case(
        f"ps3.8/9.2.3/sta8-glued-{name}",
        SHALL,
        f"PS3.8 9.2.3, Table 9-10, Sta8 {event}",
        REQUIREMENT.format(state="Sta8", where="glued", event=event, name=name, action=action(event, "Sta8"))
        + " Where the release was answered first, what is right in Sta13 is right.",
        glued(lambda sut: wire.release_rq(), idle, name),
        glued_accept("Sta8", name),
        f"cell:Sta13:{event}",
        group=GROUP,
    )
