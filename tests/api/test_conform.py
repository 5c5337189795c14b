"""``aiodicom conformance``: exit codes, files, and that a mistake of the user shows no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiodicom.cli import conform
from aiodicom.conformance import wire
from aiodicom.conformance.foils import FoilServer, request
from aiodicom.conformance.watch import Watched
from peers.judged import serving


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiodicom", "conformance", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_server_with_every_report(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("run.json", "junit.xml", "page.html")}
    with serving(tmp_path / "archive") as port:
        done = run(
            "scp", "127.0.0.1", str(port), "--suite", "group:sanity", "--json", files["run.json"],
            "--junit", files["junit.xml"], "--html", files["page.html"], "--trace", str(tmp_path / "traces"),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("sanity")
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["exit_code"] == 0
    assert all(Path(path).stat().st_size for path in files.values())
    assert list((tmp_path / "traces").iterdir())
    matrix = run("matrix", files["run.json"], "--html", str(tmp_path / "matrix.html"))
    assert matrix.returncode == 0
    assert run("diff", files["run.json"], files["run.json"]).returncode == 0


def test_a_node_stands_for_host_and_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = tmp_path / "nodes.toml"
    monkeypatch.setenv("AIODICOM_CONFIG", str(nodes))
    with serving(tmp_path / "archive") as port:
        nodes.write_text(f'[nodes.ours]\nhost = "127.0.0.1"\nport = {port}\ncalled_ae = "US"\n')
        done = run("scp", "@ours", "--suite", "group:sanity", "--trace", str(tmp_path / "traces"))
    assert done.returncode == 0, done.stdout + done.stderr
    traces = [path.read_text("utf-8") for path in (tmp_path / "traces").rglob("*") if path.is_file()]
    assert any("US" + 14 * " " in text or b"US".ljust(16).hex() in text.replace(" ", "") for text in traces)
    unknown = run("scp", "@their")
    assert unknown.returncode == 2
    assert "there are @ours" in unknown.stderr


def test_a_client() -> None:
    ours = f"{sys.executable} -m aiodicom echo {{host}} {{port}}"
    done = run("scu", "--command", ours, "--suite", "ps3.8/9.3.4/rejected-1-1-1")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("scp", "127.0.0.1", "1", "--suite", "group:sanity"), 3, "not reachable"),
        (("scp", "127.0.0.1", "0"), 2, "PORT"),
        (("scp", "127.0.0.1", "104", "--allow", "everything"), 2, "everything"),
        (("scp", "127.0.0.1", "104", "--trusted", __file__), 2, "--trusted"),
        (("scu",), 2, "--command"),
        (("scu", "--command", "no-such-program-anywhere"), 2, "no program"),
        (("sniff", __file__), 1, "neither pcap nor pcapng"),
        (("matrix", __file__, "--html", "/nowhere/x.html"), 2, "no result"),
        (("proxy", "x", "y"), 2, "port to listen on"),
    ],
)
def test_mistakes_are_told_without_a_traceback(words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def proxying(port: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The proxy as a child, and where it listens."""
    words = [sys.executable, "-m", "aiodicom", "conformance", "proxy", "0", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout is not None
        found = re.search(r"listening on \S+ port (\d+)", child.stdout.readline())
        assert found is not None
        yield int(found[1]), child
    finally:
        child.kill()
        child.communicate()


async def test_a_proxy_tells_what_ended_and_when_interrupted_what_is_open() -> None:
    async with FoilServer("rp-reserved") as server:
        with proxying(server.port) as (port, child):
            assert child.stdout is not None
            await request("127.0.0.1", port)
            first = [await asyncio.to_thread(child.stdout.readline) for _ in range(2)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            contexts = (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),)
            writer.write(wire.Associate(contexts=contexts).encode(reserved=1))
            assert (await reader.readexactly(6))[0] == 2
            child.send_signal(signal.SIGINT)
            rest, _ = await asyncio.to_thread(child.communicate, timeout=30)
            writer.close()
    assert "1 of 1 contexts" in first[0]
    assert "PS3.8 9.3.7" in first[1]
    assert "accepted, not ended" in rest
    assert "PS3.8 9.3.2: Byte 2" in rest
    assert child.returncode == 130


def test_the_proxy_judges_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while a conversation is judged: it is what ends the judging."""
    judging, go = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def held(watched: Watched) -> list[str]:
        threads.append(threading.current_thread())
        judging.set()
        assert go.wait(30)
        return []

    class Played:
        """In place of the sockets: one conversation that has ended, and a loop that is free meanwhile."""

        host, port = "127.0.0.1", 0

        def __init__(self, *rest: object, **more: object) -> None:
            self.told = rest[2]

        async def __aenter__(self) -> Played:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def forever(self) -> None:
            assert callable(self.told)
            telling = asyncio.ensure_future(self.told(Watched("one")))
            assert await asyncio.to_thread(judging.wait, 30)
            go.set()
            await telling

    monkeypatch.setattr(conform, "lines", held)
    monkeypatch.setattr(conform, "WatchingProxy", Played)
    assert conform.proxy.callback is not None
    assert conform.proxy.callback("0", "127.0.0.1:1") == 0
    assert threads
    assert threading.main_thread() not in threads


def test_the_list() -> None:
    found = json.loads(run("list", "level:shall", "--json").stdout)
    assert len(found) > 300
    assert all(case["foils"] and case["clause"] and case["expected"] for case in found)
