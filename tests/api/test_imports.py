"""What a command loads: nothing heavy that it does not need, for a user waits for it each time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "pydicom", "sqlite3", "PIL", "matplotlib")
OURS = tuple(f"aiodicom.{name}" for name in ("archive.archive", "imaging.volume", "conformance"))
RUN = """
import json, sys
from aiodicom.cli.app import run
code = run(json.loads(sys.argv[1]))
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def loaded(*arguments: object) -> set[str]:
    """The modules that a command has loaded by its end."""
    job = json.dumps([str(one) for one in arguments])
    done = subprocess.run([sys.executable, "-c", RUN, job], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


def below(modules: set[str], *names: str) -> set[str]:
    return {one for one in modules if one.startswith(tuple(f"{name}." for name in names)) or one in names}


@pytest.mark.parametrize(
    "command", ["echo", "store", "find", "get", "nodes", "completion", "diagnose", "move", "serve"]
)
def test_what_a_command_loads_to_be_explained(command: str) -> None:
    modules = loaded(command, "--help")
    assert not below(modules, "matplotlib", "aiodicom.imaging.volume", "aiodicom.conformance")
    if command != "serve":
        assert not below(modules, *HEAVY, *OURS)


def test_what_an_echo_loads(archive: object) -> None:
    modules = loaded("echo", "127.0.0.1", archive.port)  # type: ignore[attr-defined]
    assert not below(modules, *HEAVY, *OURS, "rich")


def test_what_a_store_and_a_get_load(archive: object, series: Path, tmp_path: Path) -> None:
    """Objects are moved as bytes. The plan of a get is asked for in data sets, so that pydicom is needed."""
    modules = loaded("store", "127.0.0.1", archive.port, series)  # type: ignore[attr-defined]
    assert not below(modules, *HEAVY, *OURS)


def test_what_the_library_loads() -> None:
    code = "import json, sys, aiodicom; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not below(set(json.loads(done.stdout)), *HEAVY, *OURS, "click", "rich")
