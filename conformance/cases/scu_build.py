"""How cases for clients are written: the kit answers, the client is judged by what it says next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..calling import Asked, Scu
from ..case import NONSTRICT, PASS, Accept, Effect, Level, Steps, Verdict
from ..dissect import Pdu
from ..link import Link
from .build import case

USED: Accept = {"used": PASS}
"""The client asks on the association, takes the answer and releases."""
UNUSED: Accept = {"release-asked aborted-*": PASS, "closed reset": NONSTRICT}
"""Nothing is asked on a context that does not stand."""
ENDED: Accept = {"closed": PASS, "reset": NONSTRICT}
"""The client closes the connection."""
Answer = Callable[[Pdu, Scu], bytes]
Scene = Callable[[Scu, Link, Asked], Awaitable[str]]


def scu_case(
    slug: str,
    level: Level,
    clause: str,
    requirement: str,
    steps: Steps,
    accept: Mapping[str, Verdict],
    *foils: str,
    group: str,
    effect: Effect = Effect.NONE,
) -> None:
    """A case of the client's role."""
    case(f"scu:{slug}", level, clause, requirement, steps, accept, *foils, group=group, effect=effect)


def answering(build: Answer, sizes: tuple[int, ...] = ()) -> Steps:
    """Answer the client's request with these bytes and see whether it uses the association."""

    async def steps(scu: Scu) -> str:
        link, request = await scu.asked()
        await link.send(build(request, scu), sizes=sizes)
        return await scu.used(link)

    return steps


def accepting(**changes: object) -> Steps:
    """Accept with some parts changed."""
    return answering(lambda request, scu: scu.acceptance(request, **changes).encode())


def busy(play: Scene, **changes: object) -> Steps:
    """Play a scene where the client has asked something and waits."""

    async def steps(scu: Scu) -> str:
        link, asked = await scu.busy(**changes)
        return await play(scu, link, asked)

    return steps


def responding(build: Callable[[Asked], bytes], sizes: tuple[int, ...] = ()) -> Steps:
    """Answer the client's first request with these bytes, whatever follows plainly: "used" at a release."""

    async def play(scu: Scu, link: Link, asked: Asked) -> str:
        await link.send(build(asked), sizes=sizes)
        seen = await scu.serve(link, asked, b"")
        return "used" if seen == "release-asked" else seen

    return busy(play)
