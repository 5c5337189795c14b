"""How the tables of cases are written: one call is one case. Steps of the common kinds, for servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from .. import wire
from ..case import NONSTRICT, PASS, Accept, Case, Effect, Level, Steps, Verdict, register
from ..dissect import Pdu
from ..link import Link
from ..target import Sut

SHALL, SHOULD, ROBUST, INFO = Level.SHALL, Level.SHOULD, Level.ROBUST, Level.INFO

Build = Callable[[Sut], "wire.Associate | bytes"]
Check = Callable[[Pdu], str]
Scene = Callable[[Sut, Link], Awaitable[str]]

OK: Accept = {"accepted": PASS}
REFUSED: Accept = {"rejected-* aborted-*": PASS, "closed reset": NONSTRICT}
"""An answer to a request that must not be taken, where the standard names no code."""
ABORTED: Accept = {"aborted-2-*": PASS, "aborted-*": NONSTRICT}
"""The service provider's abort; another source is a detail that nobody suffers from."""
SURVIVES: Accept = {"*": PASS}
"""Whatever is answered, the health check behind the case decides; for ROBUST and INFO alone."""
ANSWERED: Accept = {"answered": PASS}


def case(
    id: str,
    level: Level,
    clause: str,
    requirement: str,
    steps: Steps,
    accept: Mapping[str, Verdict],
    *foils: str,
    group: str,
    effect: Effect = Effect.NONE,
) -> Case:
    """Register a case; its role is read off its id."""
    role = "scu" if id.startswith("scu:") else "any" if id.startswith("any:") else "scp"
    return register(
        Case(
            id=id,
            role=role,
            group=group,
            level=level,
            clause=clause,
            requirement=requirement,
            steps=steps,
            accept=accept,
            foils=foils,
            effect=effect,
        )
    )


def asking(build: Build, check: Check | None = None) -> Steps:
    """Ask for an association: the answer's name; an accepted one is checked, and must answer an echo."""

    async def steps(sut: Sut) -> str:
        link, name, answer = await sut.ask(build(sut))
        if name != "accepted" or answer is None:
            return name
        if check is not None:
            return check(answer)
        if not any(found.result == 0 for found in answer.contexts):
            return "accepted-nothing"
        number = next(found.number for found in answer.contexts if found.result == 0)
        echo = await sut.echo(link, context=number)
        return "accepted" if echo == "answered" else f"accepted-then-{echo}"

    return steps


def requesting(**changes: object) -> Build:
    """The plainest request but for some parts."""
    return lambda sut: sut.request(**changes)


def talk(play: Scene, **changes: object) -> Steps:
    """In an association made with some changes, play a scene of its own."""

    async def steps(sut: Sut) -> str:
        link = await sut.associate(**changes)
        return await play(sut, link)

    return steps


def message(fields: Mapping[int, int | str | bytes], *, context: int = 1, extra: bytes = b"") -> bytes:
    """A command set as one fragment in one PDU."""
    return wire.p_data(wire.pdv(context, wire.COMMAND | wire.LAST, wire.command(fields, extra=extra)))
