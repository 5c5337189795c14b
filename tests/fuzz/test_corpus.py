"""The corpora of all fuzz targets, replayed; the fuzzer itself is not needed for it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.run import corpus, main, one_input_of, report, targets

TARGETS = targets()
INPUTS = [pytest.param(name, path, id=f"{name}/{path.name}") for name in TARGETS for path in corpus(name)]
needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed"
)


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_inputs_of_the_corpus(name: str, path: Path) -> None:
    one_input_of(TARGETS[name])(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_short_inputs(name: str) -> None:
    one_input = one_input_of(TARGETS[name])
    one_input(b"")
    for byte in range(256):
        one_input(bytes((byte,)))
        one_input(bytes((byte, 0)))


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_is_small_and_named(name: str) -> None:
    files = corpus(name)
    assert len(files) >= 3
    for path in files:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.name)
        assert not re.fullmatch(r"[0-9a-f]{32,}", path.name), "a hash says nothing"
        assert path.stat().st_size < 1024


def test_every_corpus_has_its_target() -> None:
    assert {path.name for path in (Path(__file__).parent / "corpus").iterdir()} <= set(targets())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_may_be_raised(name: str) -> None:
    text = TARGETS[name].read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert "May be raised:" in docstring
    assert "Input:" in docstring


# --- the runner


def test_a_report_tells_a_failure_from_a_pass() -> None:
    output = "INFO: x\n#2\tINITED cov: 5 ft: 6\n#4096\tDONE   cov: 99 ft: 100 exec/s: 20\n"
    assert report("some", 0, output) == "some: ok, 4096 inputs, 99 edges"
    assert report("some", 77, output) == "some: FAILED (exit 77), 4096 inputs, 99 edges"


def test_an_unknown_target_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["no-such-target"])
    assert caught.value.code == 2
    assert "no such target: no-such-target" in capsys.readouterr().err


def run(target: Path, work: Path) -> subprocess.CompletedProcess[str]:
    runner = Path(__file__).with_name("run.py")
    command = [sys.executable, runner, "--seconds", "1", "--work", work, target]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@needs_atheris
def test_the_runner_fails_on_a_defect_and_keeps_the_input(tmp_path: Path) -> None:
    target = tmp_path / "fuzz_broken.py"
    target.write_text("def one_input(data):\n    if len(data) > 2:\n        raise ValueError('a defect')\n")
    done = run(target, tmp_path / "work")
    assert done.returncode == 1
    assert "broken: FAILED" in done.stdout
    assert "ValueError: a defect" in done.stdout
    (kept,) = (tmp_path / "work").glob("broken-crash-*")
    assert len(kept.read_bytes()) > 2


@needs_atheris
def test_the_runner_passes_what_has_no_defect(tmp_path: Path) -> None:
    target = tmp_path / "fuzz_fine.py"
    target.write_text("def one_input(data):\n    assert data == bytes(data)\n")
    done = run(target, tmp_path / "work")
    assert (done.returncode, done.stderr) == (0, "")
    assert "fine: ok" in done.stdout
