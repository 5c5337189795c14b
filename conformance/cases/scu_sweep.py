"""Group 8 for clients: what a PDU out of place does in each state a server can bring about (PS3.8 9.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .. import wire
from ..calling import Asked, Scu, answer
from ..case import NONSTRICT, PASS, Accept, NotApplicableError, Steps
from ..link import Link
from ..table910 import INJECTIONS, action
from ..target import UnexpectedError
from .build import SHALL
from .scu_build import scu_case
from .sweep import AMID_DATA, REQUIREMENT, glued_accept, injected_into

GROUP = "sweep"
SEEN: dict[str, Accept] = {
    "AE-3": {"data": PASS},
    "AE-4": {"closed": PASS, "reset": NONSTRICT},
    "AA-2": {"closed": PASS, "reset": NONSTRICT},
    "AA-3": {"closed": PASS, "reset": NONSTRICT},
    "AA-4": {"closed": PASS, "reset": NONSTRICT},
    "AA-6": {"closed": PASS, "reset": NONSTRICT},
    "AA-7": {"aborted-*+closed": PASS, "aborted-*+reset closed reset": NONSTRICT},
    "AA-8": {"aborted-2-*": PASS, "aborted-*": NONSTRICT},
    "AR-2": {"released aborted-0-*": PASS},
    "AR-3": {"closed": PASS, "reset": NONSTRICT},
    "AR-5": {"closed": PASS, "reset": NONSTRICT},
    "AR-6": {"closed": PASS, "reset aborted-*": NONSTRICT},
    "AR-8": {"released": PASS, "aborted-0-*": NONSTRICT},
}
"""What an action shows. A service user with requests that nobody answered may abort where it is asked for a
release (AR-2), and may abort at a collision (PS3.8 7.2.2.7 lets either user)."""

Place = tuple[Link, Asked | None]
Route = Callable[[Scu], Awaitable[Place]]


async def waiting(scu: Scu) -> Place:
    """Sta5: the client has asked for an association."""
    link, _ = await scu.asked()
    return link, None


async def busy(scu: Scu) -> Place:
    """Sta6: the client waits for a response."""
    return await scu.busy()


async def amid(scu: Scu) -> Place:
    """Sta6 in the middle of a response."""
    link, asked = await scu.busy()
    raw = wire.response(asked.fields)
    await link.send(wire.p_data(wire.pdv(asked.context, wire.COMMAND, raw[:20])))
    return link, asked


async def releasing(scu: Scu) -> Place:
    """Sta7: the client has asked for the release."""
    return await scu.releasing(), None


async def collided(scu: Scu) -> Place:
    """Sta11: both asked for the release, and the client has answered ours."""
    link = await scu.releasing()
    await link.send(wire.release_rq())
    if (seen := await link.seen()) != "released":
        raise NotApplicableError(f"Sta11 is not reached: {seen}; sta7-releasing-release-rq says it")
    return link, None


async def aborted(scu: Scu) -> Place:
    """Sta13: the client aborted and waits for our close."""
    link, _ = await scu.busy()
    await link.send(wire.release_rp())
    if not (seen := await link.seen()).startswith("aborted"):
        raise UnexpectedError(f"not-aborted-{seen}")
    return link, None


def injection(name: str, asked: Asked | None) -> bytes:
    """The bytes of an injection; data are the response that is due."""
    if name == "p-data" and asked is not None:
        return answer(asked)
    return injected_into(
        name, wire.Associate(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),))
    )


def injecting(route: Route, name: str) -> Steps:
    """Inject in a state and look at what comes next."""

    async def steps(scu: Scu) -> str:
        link, asked = await route(scu)
        if name == "fin":
            link.finish()
            return await link.seen()
        if route is waiting and name == "associate-ac":
            return "data" if (seen := await _accepted(scu, link)) == "used" else seen
        await link.send(injection(name, asked))
        if route is releasing and name == "p-data":
            await link.send(wire.release_rp())  # the fence: in Sta7 it ends the association
        return await link.seen()

    return steps


async def _accepted(scu: Scu, link: Link) -> str:
    from ..dissect import dissect

    await link.send(scu.acceptance(dissect(link.came[0])).encode())
    return await scu.used(link)


def after_close(name: str) -> Steps:
    """Inject where the client waits for our close: then our FIN, and all that comes until the end."""

    async def steps(scu: Scu) -> str:
        link, _ = await aborted(scu)
        if data := injection(name, None):
            await link.send(data)
        link.finish()
        return await (link.until_over() if data else link.until_end())

    return steps


def glued(name: str) -> Steps:
    """Ask for the release and inject behind it in one segment."""

    async def steps(scu: Scu) -> str:
        link, _ = await scu.busy()
        await link.send(wire.release_rq(), injection(name, None))
        if name == "fin":
            link.finish()
        seen = await link.seen()
        if seen == "released":
            if name != "fin":
                link.finish()
            return f"released+{await link.until_over()}"
        return seen

    return steps


ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("Sta5", "waiting", waiting),
    ("Sta6", "busy", busy),
    ("Sta6", "amid", amid),
    ("Sta7", "releasing", releasing),
    ("Sta11", "collided", collided),
)
for state, where, route in ROUTES:
    for name, event in INJECTIONS.items():
        cell = action(event, state)
        accept: Accept = {"release-asked data": PASS} if cell == "DT-2" else SEEN[cell]
        if where == "amid" and name == "p-data":
            accept = AMID_DATA
        scu_case(
            f"ps3.8/9.2.3/{state.lower()}-{where}-{name}",
            SHALL,
            f"PS3.8 9.2.3, Table 9-10, {state} {event}",
            REQUIREMENT.format(state=state, where=where, event=event, name=name, action=cell),
            injecting(route, name),
            accept,
            f"cell:{state}:{event}",
            group=GROUP,
        )
for name, event in INJECTIONS.items():
    cell = action(event, "Sta13")
    scu_case(
        f"ps3.8/9.2.3/sta13-aborted-{name}",
        SHALL,
        f"PS3.8 9.2.3, Table 9-10, Sta13 {event}",
        REQUIREMENT.format(state="Sta13", where="aborted", event=event, name=name, action=cell),
        after_close(name),
        SEEN[cell],
        f"cell:Sta13:{event}",
        group=GROUP,
    )
    scu_case(
        f"ps3.8/9.2.3/sta8-glued-{name}",
        SHALL,
        f"PS3.8 9.2.3, Table 9-10, Sta8 {event}",
        REQUIREMENT.format(state="Sta8", where="glued", event=event, name=name, action=action(event, "Sta8"))
        + " Where the release was answered first, what is right in Sta13 is right.",
        glued(name),
        glued_accept("Sta8", name),
        f"cell:Sta13:{event}",
        group=GROUP,
    )
