"""Make each mutant in a copy of the project, run its tests, and say which nobody noticed: `make mutants`.

    python tests/mutants/run.py [--part K/N] [--jobs J] [--sure] [TEXT]

--part: the K-th of N parts, for a check that takes a sample. --sure: the tests are known to pass as they are,
else that is seen first. TEXT: only mutants whose file contains it.
A mutant is noticed when a test fails, or runs for longer than TIMEOUT: some changes make things wait for
ever. Exit code 1 when more than two survive, or one that `SURVIVE` does not explain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutants.changes import MUTANTS, SURVIVE, Mutant

ROOT = Path(__file__).parents[2]
TIMEOUT = 240
MOST_SURVIVORS = 2
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", ".hypothesis", "dist")


def copied(place: Path) -> Path:
    """The project in a folder of its own."""
    target = place / "project"
    shutil.copytree(ROOT, target, ignore=_LEFT_OUT, symlinks=True)
    return target


def tested(project: Path, tests: str) -> bool:
    """Whether these tests pass on that copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"]
    command += [str(project / "tests" / one) for one in tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(project / ".link"), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            return process.wait(TIMEOUT) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return False


def survives(project: Path, mutant: Mutant) -> bool:
    """Whether no test notices it; the copy is as it was afterwards."""
    path = project / mutant.file
    text = path.read_text("utf-8")
    times = text.count(mutant.old)
    if times != 1:
        raise SystemExit(f"{mutant.file}: {mutant.old!r} stands there {times} times, not once")
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        return tested(project, mutant.tests)
    finally:
        path.write_text(text, "utf-8")


def main() -> int:
    """Run them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sure", action="store_true")
    parser.add_argument("text", nargs="?", default="")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    chosen = [one for one in MUTANTS if options.text in one.file][part - 1 :: parts]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        copies: Queue[Path] = Queue()
        for number in range(options.jobs):
            copies.put(copied(Path(place) / str(number)))

        def one(mutant: Mutant) -> bool:
            project = copies.get()
            try:
                alive = survives(project, mutant)
            finally:
                copies.put(project)
            line = mutant.old.strip().split("\n")[0][:70]
            print(f"{'SURVIVED' if alive else 'noticed '}  {mutant.file:28} {line}", flush=True)
            return alive

        def whole(tests: str) -> bool:
            project = copies.get()
            try:
                return tested(project, tests)
            finally:
                copies.put(project)

        with ThreadPoolExecutor(options.jobs) as pool:
            sets = [] if options.sure else sorted({mutant.tests for mutant in chosen})
            broken = [tests for tests, passes in zip(sets, pool.map(whole, sets), strict=True) if not passes]
            if broken:  # what fails without a change notices nothing
                print("these tests fail as they are: " + ", ".join(broken))
                return 1
            alive = [mutant for mutant, lives in zip(chosen, pool.map(one, chosen), strict=True) if lives]
    unexplained = [mutant for mutant in alive if (mutant.file, mutant.old) not in SURVIVE]
    print(f"{len(chosen)} mutants, {len(alive)} survived, in {time.monotonic() - began:.0f} s")
    return int(bool(unexplained) or len(alive) > MOST_SURVIVORS)


if __name__ == "__main__":
    sys.exit(main())
