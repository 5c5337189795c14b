"""Fuzz targets with atheris, each for a time in a process of its own.

    python tests/fuzz/run.py --seconds 60                    # every target
    python tests/fuzz/run.py --seconds 600 pdu_codec reader  # some
    python tests/fuzz/run.py --seconds 60 path/fuzz_new.py   # a file

A target is a file `fuzz_<name>.py` in this folder with a function `one_input(data: bytes) -> None` that
returns, or raises for a defect; its docstring says what may be raised inside. Its corpus is
`corpus/<name>/`: small named files, replayed by `test_corpus.py` without atheris. What the fuzzer finds
goes to `--work` (a temporary folder unless given), never into the corpus: a find worth keeping is copied
there by hand under a name that says what it is.

Exits with 1 if a target failed; the failing input is printed and kept in the work folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent


def targets() -> dict[str, Path]:
    """The targets of this folder by name."""
    return {path.stem.removeprefix("fuzz_"): path for path in sorted(HERE.glob("fuzz_*.py"))}


def corpus(name: str) -> list[Path]:
    """The committed inputs of a target."""
    folder = HERE / "corpus" / name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def load(path: Path) -> ModuleType:
    """A target's module."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))  # the helper modules
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_input_of(path: Path) -> Callable[[bytes], None]:
    """A target's function."""
    function: Callable[[bytes], None] = load(path).one_input
    return function


def fuzz(path: Path, work: Path, seconds: int) -> None:
    """Run one target in this process; libFuzzer ends the process."""
    import atheris

    name = path.stem.removeprefix("fuzz_")
    with atheris.instrument_imports(include=["aiodicom"], enable_loader_override=False):
        one_input = one_input_of(path)
    found = work / name
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        str(path),
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={work}/{name}-",
        str(found),  # new inputs are written to the first folder alone
    ]
    if corpus(name):
        arguments.append(str(HERE / "corpus" / name))
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


def report(name: str, code: int, output: str) -> str:
    """One line on a finished target."""
    counts = re.findall(r"#(\d+)\s+\w+\s+cov: (\d+)", output)
    runs, covered = counts[-1] if counts else ("0", "0")
    verdict = "ok" if code == 0 else f"FAILED (exit {code})"
    return f"{name}: {verdict}, {runs} inputs, {covered} edges"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run fuzz targets with atheris.")
    parser.add_argument("targets", nargs="*", help="names or files; all of the folder unless given")
    parser.add_argument("--seconds", type=int, default=60, help="time for each target (default 60)")
    parser.add_argument("--work", type=Path, help="where finds and failing inputs go, and stay")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    known = targets()
    unknown = [name for name in options.targets if name not in known and not Path(name).is_file()]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}; there are: {', '.join(known)}")
    paths = [known.get(name) or Path(name).resolve() for name in options.targets] or list(known.values())
    work = options.work or Path(tempfile.mkdtemp(prefix="fuzz-"))
    if options.in_process:
        fuzz(paths[0], work, options.seconds)
        return 0
    failed = False
    for path in paths:
        command = [
            sys.executable,
            __file__,
            "--in-process",
            "--work",
            work,
            "--seconds",
            options.seconds,
            path,
        ]
        done = subprocess.run(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        output = done.stdout.decode("utf-8", "replace")
        print(report(path.stem.removeprefix("fuzz_"), done.returncode, output), flush=True)
        if done.returncode:
            failed = True
            print("\n".join(output.splitlines()[-60:]), flush=True)
    if failed:
        print(f"failing inputs are in {work}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
