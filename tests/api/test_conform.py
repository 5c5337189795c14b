"""``aiodicom conformance``: exit codes, files, and that a mistake of the user shows no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiodicom.cli import conform
from aiodicom.conformance import Profile, Run, Verdict, cases, report, run_scp, wire
from aiodicom.conformance.foils import FoilServer, request
from aiodicom.conformance.runner import Options, Result
from aiodicom.conformance.watch import Watched
from click.testing import CliRunner
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
        made = run("probe", "@ours", "--out", str(tmp_path / "sut.toml"))
    assert done.returncode == 0, done.stdout + done.stderr
    traces = [path.read_text("utf-8") for path in (tmp_path / "traces").rglob("*") if path.is_file()]
    assert any("US" + 14 * " " in text or b"US".ljust(16).hex() in text.replace(" ", "") for text in traces)
    assert made.returncode == 0, made.stdout + made.stderr
    assert 'called_ae = "US"' in (tmp_path / "sut.toml").read_text("utf-8")
    unknown = run("scp", "@their")
    assert unknown.returncode == 2
    assert "there are @ours" in unknown.stderr
    assert "there are @ours" in run("proxy", "0", "@their").stderr


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
        (("scp", "127.0.0.1", "104", "--suite", "group:nothing"), 2, "no case is left"),
        (("scp", "127.0.0.1", "104", "--exclude", __file__), 2, "names no case"),
        (("scu", "--serve", "--suite", "ps3.8/1.2.3/none"), 2, "no case is left"),
        (("proxy", "0", "127.0.0.1:104", "--cert", __file__), 2, "--cert"),
        (("proxy", "0", "127.0.0.1:104", "--trusted", __file__), 2, "--trusted"),
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


def test_what_a_file_excludes_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "out").write_text(
        "# known\nps3.8/9.3.3.2/*  # canaries\n\nkit/sanity/verification-accepted\n"
    )
    found = conform.chosen("group:sanity", tmp_path / "out", "scp")
    every = conform.chosen("group:sanity", None, "scp")
    assert {case.id for case in every} - {case.id for case in found} == {
        "ps3.8/9.3.3.2/canary-abstract",
        "ps3.8/9.3.3.2/canary-syntax",
        "kit/sanity/verification-accepted",
    }


@pytest.mark.parametrize("command", ["statement", "matrix", "diff", "scu"])
@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.pop("sut"),
        lambda run: run.update(format=2),
        lambda run: run.update(results=3),
        lambda run: run["results"][0].pop("clause"),
        lambda run: run["results"][0].update(verdict="superb"),
        lambda run: run["sut"].update(claims={"storage": ["XX"]}),
        lambda run: run.update(ambient=[1]),
        lambda run: run.update(observed=[]),
    ],
)
def test_what_is_no_run_is_told(
    command: str, change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    made = Result(case=cases()[0], verdict=Verdict.PASS)
    whole = report.to_json(Run(role="scp", sut={"claims": {}}, options=Options(), results=[made]))
    (tmp_path / "run.json").write_text(whole, "utf-8")
    conform.read_run(tmp_path / "run.json")
    broken = json.loads(whole)
    change(broken)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken), "utf-8")
    words = {
        "statement": [str(path)],
        "matrix": [str(path), "--html", str(tmp_path / "page.html")],
        "diff": [str(path), str(path)],
        "scu": ["--serve", "--resume", str(path)],
    }
    done = CliRunner().invoke(conform.conformance, [command, *words[command]])
    assert done.exit_code == 2
    assert "is no result of the kit" in done.output


@contextmanager
def proxying(port: int, *more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The proxy as a child, and where it listens."""
    words = [sys.executable, "-m", "aiodicom", "conformance", "proxy", "0", f"127.0.0.1:{port}", *more]
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


async def test_a_proxy_ends_tls_on_either_side(tmp_path: Path) -> None:
    """TLS from the caller, TLS to the server, judged in between: as captured TLS cannot be."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    made.configure_cert(served)
    authority.configure_trust(trusting)
    responder = FoilServer("rp-reserved")
    server = await asyncio.start_server(lambda r, w: relay(r, w, responder.port), "127.0.0.1", 0, ssl=served)
    words = ("--cert", str(tmp_path / "both.pem"), "--trusted", str(tmp_path / "authority.pem"))
    async with responder, server:
        with proxying(server.sockets[0].getsockname()[1], *words) as (port, child):
            assert child.stdout is not None
            profile = Profile(port=port, tls=trusting)
            run = await run_scp(profile, cases("kit/sanity/echo-and-release"), Options(recovery=5))
            seen = ""
            while "PS3.8 9.3.7" not in seen:
                line = await asyncio.to_thread(child.stdout.readline)
                assert line, seen
                seen += line
    assert [str(result.verdict) for result in run.results] == ["pass"]
    assert "1 of 1 contexts" in seen


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """A server that speaks TLS, out of one that does not."""
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pump(reader, ours), pump(theirs, writer))


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
    assert conform.proxy.main(["0", "127.0.0.1:1"], standalone_mode=False) == 0
    assert threads
    assert threading.main_thread() not in threads


async def test_an_interrupted_run_is_written_as_far_as_it_came_and_resumed(tmp_path: Path) -> None:
    """A person's run: one case is played, then somebody presses control and C; the rest is run later."""
    chosen, kept = "ps3.8/9.3.4/rejected-1-1-*", tmp_path / "run.json"
    words = ["-m", "aiodicom", "conformance", "scu", "--serve", "--suite", chosen, "--json", str(kept)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    found = re.search(r"listening on \S+ port (\d+)", (await child.stdout.readline()).decode())
    assert found is not None
    verdicts: list[str] = []
    while "pass" not in verdicts:
        await request("127.0.0.1", int(found[1]))
        if kept.exists() and (text := kept.read_text("utf-8")).endswith("}\n"):  # it is being written
            verdicts = [one["verdict"] for one in json.loads(text)["results"]]
    child.send_signal(signal.SIGINT)
    await child.communicate()
    assert child.returncode == 130
    before = json.loads(kept.read_text("utf-8"))
    written = before["results"]
    done = [one["id"] for one in written if one["verdict"] != "not-run"]
    assert 1 <= len(done) < len(written)
    assert {one["blame"] for one in written if one["verdict"] == "not-run"} == {"interrupted"}
    ours = f"{sys.executable} -m aiodicom echo {{host}} {{port}}"
    again = await asyncio.to_thread(
        run, "scu", "--command", ours, "--suite", chosen, "--resume", str(kept), "--json", str(kept)
    )
    assert again.returncode == 0, again.stdout
    after = json.loads(kept.read_text("utf-8"))
    kept_rules = [{one["id"]: one["kept"] for one in run["ambient"]} for run in (before, after)]
    assert any(kept_rules[0].values())
    assert all(kept_rules[1][name] >= count for name, count in kept_rules[0].items())
    assert set(before["observed"]["classes"]) <= set(after["observed"]["classes"])
    finished = after["results"]
    assert [one["id"] for one in finished][: len(done)] == done
    assert sorted(one["id"] for one in finished) == sorted(one["id"] for one in written)
    assert {one["verdict"] for one in finished} == {"pass"}


def test_the_list() -> None:
    found = json.loads(run("list", "level:shall", "--json").stdout)
    assert len(found) > 300
    assert all(case["foils"] and case["clause"] and case["expected"] for case in found)
