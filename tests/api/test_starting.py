"""A ^C while Python is still importing, wherever it is by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiodicom import starting

_WAITING = """
import sys, time

class Waiting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            print("reached", flush=True)
            time.sleep(30)

sys.meta_path.insert(0, Waiting())
"""
SCRIPT = Path(sys.executable).with_name("aiodicom")


def interrupted(tmp_path: Path, module: str, command: list[str]) -> tuple[int, str]:
    """The code and the words of a program that is interrupted where it imports a module."""
    (tmp_path / "sitecustomize.py").write_text(_WAITING.format(module=module))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "reached\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize(
    "module",
    ["aiodicom.archive.errors", "aiodicom.__main__", "click", "aiodicom.cli.app", "aiodicom.cli.echo"],
)
def test_it_ends_in_one_line(tmp_path: Path, module: str) -> None:
    for command in ([sys.executable, "-m", "aiodicom"], [str(SCRIPT)]):
        code, err = interrupted(tmp_path, module, [*command, "echo", "127.0.0.1", "1"])
        assert (code, err) == (130, "aiodicom: interrupted\n")


def test_a_program_of_a_users_gets_its_keyboard_interrupt(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "try:\n    import aiodicom\nexcept KeyboardInterrupt:\n    raise SystemExit(7) from None\n"
    )
    assert interrupted(tmp_path, "aiodicom.archive.errors", [sys.executable, str(script)]) == (7, "")


def test_what_a_user_made_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "aiodicom", "echo"])
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        starting.begin()
        starting.over()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        starting.begin()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        starting.over()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "another"])
        starting.begin()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        monkeypatch.setattr(sys, "argv", ["/usr/bin/another"])
        starting.begin()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
