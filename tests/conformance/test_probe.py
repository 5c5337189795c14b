"""A profile out of what a server accepts: read back, judged by, and nothing of the peer's in it unquoted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiodicom.conformance import Effect, Profile, cases, load_profile, run_scp, wire
from aiodicom.conformance.foils import FoilServer
from aiodicom.conformance.probe import probe, to_toml
from aiodicom.conformance.runner import Options
from aiodicom.conformance.target import UnexpectedError
from peers.judged import serving

QUICK = Options(repeats=0, recovery=5)
HOSTILE = 'a"b\\c\x1b[31m\n\x7f<é>\U0001f600'


async def profile_of(profile: Profile, path: Path) -> Profile:
    path.write_text(to_toml(profile, await probe(profile)), "utf-8")
    return load_profile(path)


async def test_what_our_server_accepts_is_claimed_and_kept(tmp_path: Path) -> None:
    with serving(tmp_path / "archive") as port:
        asked = Profile(name=HOSTILE, port=port)
        found = await profile_of(asked, tmp_path / "sut.toml")
        run = await run_scp(replace(found, allow=frozenset(Effect)), cases("group:claims"), QUICK)
    assert (found.port, found.called_ae, found.test_system) == (port, asked.called_ae, False)
    assert found.claims["verification"] is True
    assert {"CT", "MR", "SEG", "RTPLAN", "BASIC-SR"} <= set(found.claims["storage"])  # type: ignore[call-overload]
    assert found.claims["find"] == found.claims["get"] == ["patient", "study"]
    assert found.claims["worklist"] is False
    assert found.claims["async"] == [16, 16]
    verdicts = {result.case.id.removeprefix("kit/claims/"): str(result.verdict) for result in run.results}
    assert verdicts == {"accepted": "pass", "max-pdu": "pass", "window": "pass", "relational": "n/a"}


async def test_a_server_of_verification_alone(tmp_path: Path) -> None:
    async with FoilServer() as server:
        found = await profile_of(Profile(port=server.port), tmp_path / "sut.toml")
    assert found.claims["verification"] is True
    assert found.claims["storage"] == found.claims["move"] == []


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ({"verification": True, "storage": ["CT", "MR"]}, "refused-storage-ct"),
        ({"find": ["patient"]}, "refused-find-patient"),
        ({"mpps": True}, "refused-mpps"),
        ({"max_pdu": 4096}, "max-pdu-16384"),
        ({"async": [8, 8]}, "window-1-1"),
        ({"find": ["patient"], "relational": True}, "not-relational-find-patient"),
    ],
)
async def test_what_is_claimed_and_refused_is_a_failure(claims: dict[str, object], outcome: str) -> None:
    async with FoilServer() as server:
        run = await run_scp(Profile(port=server.port, claims=claims), cases("group:claims"), QUICK)
    assert ("fail", outcome) in {(str(result.verdict), result.outcome) for result in run.results}


@pytest.mark.parametrize(
    "text",
    [
        "storage = 3", 'storage = ["XX"]', "verification = 1", "async = [1]", "max_pdu = true", "finds = []",
        'find = ["series"]', "charsets = [1]", 'storage = [["CT"]]', "storage = [{}]",
        "async = [true, false]",
    ],
)  # fmt: skip
def test_a_claim_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "sut.toml").write_text(f"[claims]\n{text}\n", "utf-8")
    with pytest.raises(ValueError, match=r"sut.toml.*\[claims\]"):
        load_profile(tmp_path / "sut.toml")


@pytest.mark.parametrize(
    "text",
    [
        "sut = 5", "allow = true", "timers = 1", "claims = []", "[sut]\nport = 'a'", "[sut]\nport = true",
        "[sut]\nhost = 1", "[sut]\ntest_system = 1", "[sut]\nhosts = 'a'", "[allow]\nread = 1",
        "[allow]\nfly = true", "[timers]\nartim = '3'", "[timers]\nartim = true", "[sut",
    ],
)  # fmt: skip
def test_a_profile_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    """As a ValueError, which the command line says in one line."""
    (tmp_path / "sut.toml").write_text(f"{text}\n", "utf-8")
    with pytest.raises(ValueError, match=r"sut.toml"):
        load_profile(tmp_path / "sut.toml")


async def test_a_server_that_rejects() -> None:
    async def reject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(6)
        writer.write(wire.reject(1, 1, 7))
        writer.write_eof()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(reject, "127.0.0.1", 0)
    async with server:
        with pytest.raises(UnexpectedError, match="rejected-1-1-7"):
            await probe(Profile(port=server.sockets[0].getsockname()[1]))


async def test_the_command(tmp_path: Path, unused_tcp_port: int) -> None:
    async def run(port: int) -> tuple[int, str]:
        words = [
            sys.executable,
            "-m",
            "aiodicom",
            "conformance",
            "probe",
            "127.0.0.1",
            str(port),
            "-o",
            str(out),
        ]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    out = tmp_path / "sut.toml"
    assert (await run(unused_tcp_port))[0] == 3
    assert not out.exists()
    async with FoilServer() as server:
        assert await run(server.port) == (0, "")
        before = out.read_text("utf-8")
        code, said = await run(server.port)
    assert code == 2
    assert "there already" in said
    assert out.read_text("utf-8") == before
