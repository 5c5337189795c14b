"""How the tables of cases are written: one call is one case. Steps of the common kinds, for servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from .. import wire
from ..case import NONSTRICT, PASS, Accept, Case, Effect, Level, Steps, Verdict, register
from ..dissect import Pdu, command_elements
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
BRIEF = 0.5
"""Seconds to wait for an answer where every answer is right, and none at all: no verdict hangs on it."""
ANSWERED: Accept = {"answered": PASS}
ABORTS: tuple[tuple[str, int, int, int], ...] = (
    ("user", 0, 0, 0),
    ("provider", 2, 0, 0),
    ("provider-unexpected", 2, 2, 0),
    ("provider-invalid", 2, 6, 0),
    ("source-1", 1, 0, 0),
    ("source-255", 255, 255, 0),
    ("reserved", 0, 0, 255),
)
"""A-ABORTs to be taken: a slug, source, reason, and the byte where it is reserved."""


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


def asking(build: Build, check: Check | None = None, accept: Accept = OK) -> Steps:
    """Ask for an association: the answer's name; an accepted one is checked, and must answer an echo."""

    async def steps(sut: Sut) -> str:
        if accept == SURVIVES:
            sut.patience = min(sut.patience, BRIEF)
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


def answered(data: bytes, level: Level) -> Scene:
    """Send bytes and see the answer to message 21; behind what need not be answered a FIN is the fence."""

    async def play(sut: Sut, link: Link) -> str:
        await link.send(data)
        if level is ROBUST:
            link.finish()
            return await link.until_end()
        return await sut.answer(link, 21)

    return play


def message(fields: Mapping[int, int | str | bytes], *, context: int = 1, extra: bytes = b"") -> bytes:
    """A command set as one fragment in one PDU."""
    return wire.p_data(wire.pdv(context, wire.COMMAND | wire.LAST, wire.command(fields, extra=extra)))


async def abort_as_sent(link: Link) -> str:
    """The A-ABORT that an A-RELEASE-RP out of place leads to: "right", or what of it is wrong."""
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


def command_facts(raw: bytes) -> dict[str, bool]:
    """What holds of the form of a command set (PS3.7 6.3.1), by its elements as they stand, twins too."""
    elements = list(command_elements(raw))
    numbers = [number for _, _, number, _, _ in elements]
    return {
        "group-length": raw[:8] == wire.element(0, b"", length=4)
        and int.from_bytes(raw[8:12], "little") == len(raw) - 12,
        "order": numbers == sorted(set(numbers)),
        "even": all(length % 2 == 0 for _, _, _, length, _ in elements),
        "group": all(group == 0 for _, group, _, _, _ in elements),
    }
