"""Whole runs: our own server passes, alike every time; a yes-man is called one; nobody there is said so."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiodicom.conformance import Effect, Profile, Run, Verdict, cases, report, run_scp, wire
from aiodicom.conformance import runner as kit_runner
from aiodicom.conformance.foils import FoilServer
from aiodicom.conformance.foils.responder import Responder
from aiodicom.conformance.link import Entry
from aiodicom.conformance.runner import Options, Result, Runner, play
from aiodicom.conformance.target import Sut
from peers.judged import YesMan, serving

MARKER = b"MARKER^PATIENT"


async def judged(port: int, expression: str = "") -> Run:
    return await run_scp(Profile(port=port, allow=frozenset(Effect)), cases(expression))


async def test_our_server_has_no_finding_three_times_alike(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        runs = [await judged(port) for _ in range(3)]
    assert [(r.case.id, r.outcome) for r in runs[0].findings()] == []
    assert [a.rule.id for a in runs[0].ambient if a.broken] == []
    assert runs[0].exit_code == 0
    assert not runs[0].yes_man
    verdicts = [[(r.case.id, r.verdict) for r in run.results] for run in runs]
    assert verdicts[0] == verdicts[1] == verdicts[2]


async def test_busy_loops_on_every_core_change_no_verdict(tmp_path: Path) -> None:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        with serving(tmp_path) as port:
            run = await judged(port, "ps3.8/9.2.3/sta6-*,group:sanity")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert [(r.case.id, r.verdict, r.outcome) for r in run.results if r.finding(strict=True)] == []


async def test_a_yes_man_is_called_one() -> None:
    async with YesMan() as peer:
        run = await judged(peer.port, "group:sanity")
    assert run.yes_man
    assert next(iter(report.to_text(run))).startswith("YES-MAN")
    assert run.exit_code == 1


async def test_nobody_there(unused_tcp_port: int) -> None:
    run = await judged(unused_tcp_port, "group:sanity")
    assert run.exit_code == 3
    assert run.results == []


async def test_a_case_that_takes_too_long_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(sut: Sut) -> str:
        await sut.associate()
        await asyncio.Event().wait()
        return "accepted"

    monkeypatch.setattr(kit_runner, "CASE_TIME", 0.2)
    async with FoilServer() as server:
        judge = Runner(Profile(port=server.port), Options(recovery=5))
        result = await judge.one(replace(cases("group:sanity")[0], steps=never))
    judge.run.results.append(result)
    assert (result.verdict, result.outcome) == (Verdict.ERROR, "case-too-long")
    assert result.repeats == []
    assert judge.run.exit_code == 70


async def test_a_connection_that_is_not_made_in_time_is_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unconnected(sut: Sut) -> str:
        raise TimeoutError

    case = replace(cases("group:sanity")[0], steps=unconnected)
    assert await play(case, Sut(Profile())) == (Verdict.FAIL, "no-connection", "")


async def test_a_reset_is_one() -> None:
    """Not a FIN: the other side's read fails."""
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(10)
            seen.set_result(f"ended with {await reader.read()!r}")
        except ConnectionResetError as error:
            seen.set_result(errno.errorcode[error.errno or 0])
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sut = Sut(Profile(port=server.sockets[0].getsockname()[1]))
        link = await sut.connect()
        await link.send(wire.echo_rq()[:10])
        link.reset()
        assert await seen == "ECONNRESET"
        await sut.done()
    assert [(one.way, one.note) for one in sut.trace.entries if one.note] == [(">", "reset")]


async def test_behind_our_last_word_a_reset_is_no_other_ending_than_a_fin() -> None:
    """Whether a peer that closes has read what we said is a race: one of bytes unread is a reset."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)  # the rest is unread
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sut = Sut(Profile(port=server.sockets[0].getsockname()[1]))
        seen = []
        for over in (False, True):
            link = await sut.connect()
            await link.send(wire.release_rq())
            seen.append(await (link.until_over() if over else link.until_end()))
        await sut.done()
    assert seen == ["reset", "closed"]


async def test_nothing_with_an_effect_is_run_on_a_machine_that_is_not_ours() -> None:
    remote = Profile(host="192.0.2.1", allow=frozenset(Effect))
    assert [effect for effect in Effect if remote.permits(effect)] == [Effect.NONE]
    ours = Profile(host="192.0.2.1", test_system=True, allow=frozenset({Effect.READ}))
    assert [effect for effect in Effect if ours.permits(effect)] == [Effect.NONE, Effect.READ]


def test_the_reports_hold_hostile_names_and_no_patient() -> None:
    case = cases("group:sanity")[0]
    came = Entry(0.0, 0, "<", b"\x04\0\0\0\0\x14" + b"\0\0\0\x10\1\2" + MARKER)
    answer = Entry(0.0, 0, "<", b"\x02\0\0\0\0\x14" + MARKER + b"......")
    result = Result(case=case, verdict=Verdict.FAIL, outcome="x\x1b[31m<&]]>\0", trace=[came, answer])
    run = Run(role="scp", sut={"name": "<b>\x1b&\0"}, options=Options(), results=[result])
    texts = [report.to_json(run), report.to_junit(run), "\n".join(report.to_text(run))]
    assert json.loads(texts[0])["results"][0]["verdict"] == "fail"
    assert ElementTree.fromstring(texts[1]).find(".//failure") is not None
    assert all("MARKER" not in text and MARKER.hex() not in text for text in texts)
    assert "\x1b" not in texts[1] + texts[2]


@pytest.mark.parametrize("expression", ["group:request"])
async def test_a_repro_script_is_python(expression: str) -> None:
    result = Result(
        case=cases(expression)[0],
        verdict=Verdict.FAIL,
        outcome="closed",
        trace=[Entry(0.0, 0, ">", b"\1\2"), Entry(0.0, 0, ">", b"", "fin")],
    )
    script = report.repro(result, "127.0.0.1", 1)
    compile(script, "repro.py", "exec")
    assert "('127.0.0.1', 1)" in script
    assert "bytes.fromhex('0102')" in script
    assert "shutdown" in script  # the trace's last word, as it was closed


@pytest.mark.parametrize("at", [2, 4, 30])
async def test_a_response_in_two_pdus_is_right(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """PS3.8 E.1 lets a message go in as many PDVs and PDUs as its sender likes."""

    def say(self: Responder, context: int, command: bytes) -> None:
        self.send(wire.p_data(wire.pdv(context, 1, command[:at])))
        self.send(wire.p_data(wire.pdv(context, 3, command[at:])))

    monkeypatch.setattr(Responder, "say", say)
    async with FoilServer() as server:
        profile = Profile(port=server.port, allow=frozenset(Effect))
        run = await run_scp(profile, cases("ps3.7/6.3.1,ps3.7/9.3.5.2"), Options(repeats=0, recovery=5))
    assert len(run.results) > 3
    assert run.findings() == []
