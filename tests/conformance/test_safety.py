"""The kit and somebody else's machine: what it never sends or writes, and what it does when one dies."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import aiodicom
import pytest
from aiodicom.conformance import Effect, Profile, Verdict, cases, run_scp, wire
from aiodicom.conformance.foils import FoilServer
from aiodicom.conformance.guard import Guard, GuardError
from aiodicom.conformance.proxy import WatchingProxy
from aiodicom.conformance.runner import Options
from aiodicom.conformance.watch import Watched
from peers.judged import an_object, serving

ROOT = Path(__file__).parents[2]


def query(
    command: int, *elements: tuple[int, int, bytes], destination: str = "", cut: int = 0
) -> list[bytes]:
    fields: dict[int, int | str | bytes] = {
        0x0002: wire.STUDY_ROOT_FIND,
        0x0100: command,
        0x0110: 1,
        0x0800: 1,
    }
    if destination:
        fields[0x0600] = destination
    data = b"".join(wire.element(number, value, group=group) for group, number, value in elements)
    first = wire.p_data(wire.pdv(3, 3, wire.command(fields)))
    return [first, wire.p_data(wire.pdv(3, 0, data[:cut])), wire.p_data(wire.pdv(3, 2, data[cut:]))]


OWN = (0x0010, 0x0020, b"AIODICOM-KIT-NIL")


@pytest.mark.parametrize("cut", [0, 9])
@pytest.mark.parametrize(
    "pieces",
    [
        ((0x0010, 0x0020, b""),),
        ((0x0010, 0x0020, b"*"),),
        ((0x0010, 0x0020, b"AIODICOM-KIT*"),),
        ((0x0010, 0x0020, b"12345678"),),
        ((0x0010, 0x0010, b"AIODICOM-KIT"),),
        ((0x0020, 0x000D, b"1.2.3.4 "),),
        (),
    ],
)
@pytest.mark.parametrize("command", [0x0010, 0x0020, 0x0021])
def test_no_identifier_without_a_key_of_the_kits_own_is_sent(
    command: int, pieces: tuple[tuple[int, int, bytes], ...], cut: int
) -> None:
    guard = Guard()
    *front, last = query(command, *pieces, cut=cut)
    for data in front:
        guard.check(data)
    with pytest.raises(GuardError):
        guard.check(last)


def test_what_is_the_kits_own_goes_out_whole_or_byte_by_byte() -> None:
    whole, single = Guard(), Guard()
    for data in query(0x0020, OWN):
        whole.check(data)
        for byte in data:
            single.check(bytes((byte,)))


def test_a_move_goes_to_the_kit_alone() -> None:
    Guard().check(query(0x0021, OWN, destination="AIODICOM-KIT")[0])
    with pytest.raises(GuardError):
        Guard().check(query(0x0021, OWN, destination="WORKSTATION1")[0])


def tree(folder: Path) -> dict[str, str]:
    """Every object with its digest; an index in use is no object."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and "objects" in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


async def test_an_archive_is_the_same_after_a_run_and_only_own_keys_went_out(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    heard: asyncio.Queue[Watched] = asyncio.Queue()
    with serving(archive) as port:
        async with aiodicom.connect("127.0.0.1", port) as pacs:
            assert (await pacs.store(an_object())).items[0].status == 0
        before = tree(archive)
        async with WatchingProxy("127.0.0.1", port, heard.put) as proxy:
            profile = Profile(port=proxy.port, allow=frozenset(Effect) - {Effect.WRITE})
            run = await run_scp(profile, cases())
    assert run.exit_code == 0
    assert tree(archive) == before
    assert len(before) == 1
    identifiers = [
        value.data
        for watched in [heard.get_nowait() for _ in range(heard.qsize())]
        for one in watched.said
        if one.way == ">" and one.pdu.kind == 4
        for value in one.pdu.values
        if not value.control & 1 and value.data.startswith(b"\x08\0\x52\0") and len(value.data) > 40
    ]
    assert identifiers
    assert all(b"AIODICOM-KIT-NIL" in data for data in identifiers)


async def test_a_peer_that_died_is_a_crash_at_its_case_and_the_run_goes_on_when_it_is_started_again() -> None:
    foil = FoilServer("crash-on-title")
    async with foil:
        port = foil.port

        async def started_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await foil.listen(port)
            writer.close()

        control = await asyncio.start_server(started_again, "127.0.0.1", 0)
        door = control.sockets[0].getsockname()[1]
        ask = f"import socket; socket.create_connection(('127.0.0.1', {door})).recv(1)"
        options = Options(repeats=0, recovery=2, restart=(sys.executable, "-c", ask))
        wanted = cases("ps3.8/9.3.2/calling-zeros,ps3.8/9.3.4/length")
        run = await run_scp(Profile(port=port, allow=frozenset(Effect)), wanted, options)
        control.close()
    assert {result.case.id: str(result.verdict) for result in run.results} == {
        "ps3.8/9.3.2/calling-zeros": "crash",
        "ps3.8/9.3.4/length": "pass",
    }


async def test_a_peer_that_died_and_stays_dead_leaves_the_rest_unrun() -> None:
    async with FoilServer("crash-on-title") as foil:
        wanted = cases("ps3.8/9.3.2/calling-zeros,ps3.8/9.3.2/calling-control")
        profile = Profile(port=foil.port, allow=frozenset(Effect))
        run = await run_scp(profile, wanted, Options(repeats=0, recovery=0.2))
    assert [result.verdict for result in run.results] == [Verdict.CRASH, Verdict.NOT_RUN]


WITHOUT = """
import builtins, signal, socket, sys
taken = builtins.__import__
GONE = {"uvloop", "fcntl", "resource", "pwd", "grp", "termios", "syslog", "readline", "posix"}
def refuse(name, *rest, **more):
    if name.partition(".")[0] in GONE and not name.startswith("aiodicom"):
        caller = (rest[0] or {}).get("__name__", "") if rest else ""
        if caller.startswith("aiodicom"):
            raise ModuleNotFoundError(name)
    return taken(name, *rest, **more)
builtins.__import__ = refuse
for name in ("SIGHUP", "SIGUSR1", "SIGKILL", "SIGQUIT", "SIGALRM"):
    delattr(signal, name)
for name in ("TCP_QUICKACK", "SO_REUSEPORT"):
    delattr(socket, name)
import aiodicom.conformance.calling, aiodicom.conformance.page, aiodicom.conformance.proxy
import aiodicom.conformance.sniff, aiodicom.conformance.baseline, aiodicom.conformance.bridge
from aiodicom.conformance import all_cases
assert len(all_cases()) > 520
import aiodicom.cli.app
sys.exit(aiodicom.cli.app.run(sys.argv[1:]))
"""


async def test_it_needs_neither_uvloop_nor_what_only_posix_has(tmp_path: Path) -> None:
    """Imported, and as a command that judges: both roles, with reports."""

    async def judged(*words: str) -> tuple[int | None, str]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WITHOUT, "conformance", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await child.communicate()
        return child.returncode, out.decode()

    page = tmp_path / "page.html"
    async with FoilServer() as server:
        words = ("127.0.0.1", str(server.port), "--suite", "group:sanity,group:reject", "--html", str(page))
        code, text = await judged("scp", *words)
        assert code == 0, text
    ours = f"{sys.executable} -m aiodicom echo {{host}} {{port}}"
    code, text = await judged("scu", "--command", ours, "--suite", "group:sanity", "--trace", str(tmp_path))
    assert code == 0, text
    assert text.split() == ["sanity", "3", "pass"]
    assert page.stat().st_size
