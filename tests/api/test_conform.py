"""``aiodicom conformance``: exit codes, files, and that a mistake of the user shows no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
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


def test_the_list() -> None:
    found = json.loads(run("list", "level:shall", "--json").stdout)
    assert len(found) > 300
    assert all(case["foils"] and case["clause"] and case["expected"] for case in found)
