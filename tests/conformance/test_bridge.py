"""A verdict as pytest has it, each in a real run of pytest, as its user writes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiodicom.conformance import Profile, all_cases, baseline
from aiodicom.conformance.bridge import check
from aiodicom.conformance.case import Case
from aiodicom.conformance.foils import FoilServer
from aiodicom.conformance.runner import Options, run_scp

STATUS = next(case for case in all_cases() if case.id == "ps3.4/A.4/status")
ROLE = next(case for case in all_cases() if case.id == "ps3.8/9.3.3.3/nothing-not-asked-for")
ARTIM = next(case for case in all_cases() if "artim" in case.id and case.role == "scp")
QUICK = Options(repeats=0, recovery=5)


@contextmanager
def foil(knob: str = "") -> Iterator[int]:
    """A foil in a thread with a loop of its own; its port."""
    ready, over, ports = threading.Event(), asyncio.Event(), list[int]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with FoilServer(knob) as server:
            ports.append(server.port)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


def expecting(knob: str, case: Case, path: Path) -> Path:
    """The baseline of a foil."""
    with foil(knob) as port:
        run = asyncio.run(run_scp(Profile(port=port), [case], QUICK))
    baseline.update(run, path, "a foil")
    return path


def test_what_passes_is_handed_back_and_a_failure_is_told_in_full() -> None:
    with foil() as port:
        assert check(STATUS, port=port, options=QUICK).outcome == "answered"
    with foil("echo-fails") as port, pytest.raises(pytest.fail.Exception) as told:
        check(STATUS, port=port, options=QUICK)
    for needed in ("ps3.4/A.4/status", "required", "expected  answered", "(0000,0900)"):
        assert needed in str(told.value)


def test_what_does_not_apply_is_skipped() -> None:
    with foil() as port, pytest.raises(pytest.skip.Exception, match="artim"):
        check(ARTIM, port=port, options=QUICK)


def test_a_baseline_expects_a_failure_and_notices_one_that_is_gone(tmp_path: Path) -> None:
    known = expecting("ac-unasked-role", ROLE, tmp_path / "known.json")
    with foil("ac-unasked-role") as port, pytest.raises(pytest.xfail.Exception, match="as the baseline has"):
        check(ROLE, port=port, baseline=known, options=QUICK)
    with foil() as port, pytest.raises(pytest.fail.Exception, match="did not come"):
        check(ROLE, port=port, baseline=known, options=QUICK)


def test_nobody_there(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionError, match=str(unused_tcp_port)):
        check(STATUS, port=unused_tcp_port, options=QUICK)


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/conformance/index.md").read_text("utf-8")
    code = page.split("The cases are pytest parameters")[1].split("\n\n", 1)[1].split("\n\nIn a coroutine")[0]
    with foil() as port:
        head = (
            "import pytest\nfrom types import SimpleNamespace\n\n@pytest.fixture\n"
            f"def my_server():\n    return SimpleNamespace(port={port})\n"
        )
        text = "\n".join(line[4:] for line in code.splitlines())
        assert "ps3.8,!effect:harsh" in text
        (tmp_path / "test_it.py").write_text(
            head + text.replace("ps3.8,!effect:harsh", "ps3.8/9.3.4/*"), "utf-8"
        )
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
