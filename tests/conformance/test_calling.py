"""Our own clients under test: every case of the client's role, three times alike."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import aiodicom
import pytest
from aiodicom.conformance import Effect, Profile, Run, cases
from aiodicom.conformance.caller import CommandCaller, FunctionCaller
from aiodicom.conformance.calling import ScuRunner, run_scu
from aiodicom.conformance.runner import Options
from aiodicom.conformance.wire import CT_STORAGE
from peers.judged import an_object

PROFILE = Profile(allow=frozenset(Effect))
KIT = "AIODICOM-KIT-NIL"


async def echo(host: str, port: int) -> None:
    async with aiodicom.connect(host, port) as pacs:
        await pacs.echo()


async def find(host: str, port: int) -> None:
    async with aiodicom.connect(host, port) as pacs:
        await pacs.find("STUDY", {"PatientID": KIT})


async def get(host: str, port: int) -> None:
    async with aiodicom.connect(host, port) as pacs:
        await pacs.get("STUDY", "2.25.1")


async def move(host: str, port: int) -> None:
    async with aiodicom.connect(host, port) as pacs:
        await pacs.move("STUDY", "2.25.1", destination="AIODICOM-KIT")


async def store(host: str, port: int) -> None:
    async with aiodicom.connect(host, port) as pacs:
        await pacs.store(an_object())


async def judged(call: Callable[[str, int], Awaitable[None]]) -> Run:
    profile = replace(PROFILE, abstract=CT_STORAGE if call is store else "")
    return await run_scu(profile, FunctionCaller(call, (aiodicom.AiodicomError,)), cases(role="scu"))


def findings(run: Run) -> list[tuple[str, str, str]]:
    return [(r.case.id, str(r.verdict), r.outcome) for r in run.results if r.finding(strict=True)]


@pytest.mark.parametrize("call", [find, get, move, store])
async def test_our_clients_have_no_finding(call: Callable[[str, int], Awaitable[None]]) -> None:
    run = await judged(call)
    assert findings(run) == []
    assert [a.rule.id for a in run.ambient if a.broken] == []


async def test_our_echo_has_no_finding_three_times_alike() -> None:
    runs = [await judged(echo) for _ in range(3)]
    assert findings(runs[0]) == []
    assert [a.rule.id for a in runs[0].ambient if a.broken] == []
    assert runs[0].exit_code == 0
    verdicts = [[(r.case.id, r.verdict) for r in run.results] for run in runs]
    assert verdicts[0] == verdicts[1] == verdicts[2]


async def test_a_command_of_ours() -> None:
    caller = CommandCaller(f"{sys.executable} -m aiodicom echo {{host}} {{port}}")
    run = await run_scu(PROFILE, caller, cases("group:sanity", role="scu"))
    assert findings(run) == []
    assert {str(result.verdict) for result in run.results} == {"pass"}


async def test_a_client_that_hangs_ends_its_case_and_not_the_run() -> None:
    async def hangs(host: str, port: int) -> None:
        await asyncio.Event().wait()

    chosen = cases("ps3.8/9.3.4/rejected-1-1-1,ps3.8/9.3.4/rejected-1-1-2", role="scu")
    runner = ScuRunner(PROFILE, Options(repeats=0, recovery=0.05), FunctionCaller(hangs))
    runner.calling_time = 0.05
    run = await runner.all(chosen)
    assert [str(result.verdict) for result in run.results] == ["hang", "hang"]
