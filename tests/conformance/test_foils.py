"""Every case can fail: a peer that is right passes it, one that breaks its clause does not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest
from aiodicom.conformance import Case, Effect, Level, Profile, Verdict, all_cases, cases
from aiodicom.conformance.caller import FunctionCaller
from aiodicom.conformance.calling import ScuRunner
from aiodicom.conformance.foils import FoilServer, request
from aiodicom.conformance.runner import Options, Runner, play

AT_ONCE = 48
ARTIM = 0.6
OPTIONS = Options(repeats=0, recovery=5)
CLAIMS = {"verification": True, "find": ["study"], "relational": True, "max_pdu": 16384, "async": [1, 1]}
HASTE = 0.4
"""Patience with a foil: what comes later than that is no better than what does not come."""


def patience(knob: str) -> float:
    """Only foils that say nothing are not waited for: the others answer, or die."""
    return HASTE if knob not in ("", "ac-nothing") and not knob.startswith("crash-") else 20


async def scp(case: Case, knob: str) -> tuple[Verdict, str]:
    artim = ARTIM if "artim" in case.id else None
    async with FoilServer(knob, artim=artim) as server:
        options = Options(repeats=0, recovery=0) if knob else OPTIONS
        claims = CLAIMS if "claims" in case.id else {}
        profile = Profile(port=server.port, artim=artim, allow=frozenset(Effect), claims=claims)
        runner = Runner(profile, options)
        runner.patience = patience(knob)
        return await verdict_of(runner, case, knob)


async def scu(case: Case, knob: str) -> tuple[Verdict, str]:
    caller = FunctionCaller(lambda host, port: request(host, port, knob))
    runner = ScuRunner(Profile(allow=frozenset(Effect)), OPTIONS, caller)
    runner.patience = patience(knob)
    assert await runner.calibrate()
    try:
        return await verdict_of(runner, case, knob)
    finally:
        await runner.listener.close()


async def verdict_of(runner: Runner, case: Case, knob: str) -> tuple[Verdict, str]:
    if not knob or knob.startswith("crash-"):
        result = await runner.one(case)
        return result.verdict, result.outcome
    verdict, outcome, _ = await play(case, runner.sut(case))
    return verdict, outcome


async def together(work: list[Coroutine[object, object, str]]) -> list[str]:
    """What is wrong, of some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(coroutine: Coroutine[object, object, str]) -> str:
        async with gate:
            return await coroutine

    return [text for text in await asyncio.gather(*map(one, work)) if text]


async def good(case: Case) -> str:
    verdict, outcome = await (scp if case.role == "scp" else scu)(case, "")
    return "" if verdict in (Verdict.PASS, Verdict.INFO) else f"{case.id}: {verdict}, {outcome}"


async def bad(case: Case, knob: str) -> str:
    """A foil is noticed: it dies, or fails; what suffers nobody is told of as nonstrict."""
    verdict, outcome = await (scp if case.role == "scp" else scu)(case, knob)
    wanted = {Verdict.CRASH} if knob.startswith("crash-") else {Verdict.FAIL}
    if knob == "ac-nothing":
        wanted = {Verdict.NONSTRICT}
    return "" if verdict in wanted else f"{case.id} by {knob}: {verdict}, {outcome}"


@pytest.mark.parametrize("role", ["scp", "scu"])
async def test_a_peer_that_is_right_passes_every_case(role: str) -> None:
    assert await together([good(case) for case in cases(role=role)]) == []


@pytest.mark.parametrize("role", ["scp", "scu"])
async def test_each_case_fails_its_foil(role: str) -> None:
    assert await together([bad(case, knob) for case in cases(role=role) for knob in case.foils]) == []


def test_every_case_has_a_foil() -> None:
    assert [case.id for case in all_cases() if not case.foils] == []
    assert {Level.SHALL, Level.SHOULD} <= {case.level for case in all_cases()}
