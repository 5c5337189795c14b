"""The conformance kit over DCMTK, Orthanc, pynetdicom and ourselves, held against the baselines.

    python tests/interop/judge.py [--only TEXT] [--suite SELECT] [--times N] [--busy] [--json DIR] [--update]

Prints each peer's seconds and verdicts; exit code 1 when a run with its baseline is not clean, or when one of
several (`--times`) has another verdict than the first. `--busy` runs a busy loop on every core beside it.
"""

# ruff: noqa: E402 - a script in a folder of modules

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # this folder has a module `peers` of its own

from aiodicom.conformance import Effect, Profile, Run, baseline, cases, report
from aiodicom.conformance.caller import CommandCaller
from aiodicom.conformance.calling import run_scu
from aiodicom.conformance.case import Case
from aiodicom.conformance.runner import Options, Runner
from aiodicom.conformance.wire import CT_STORAGE
from interop import peers
from peers.judged import an_object, serving

BASELINES = Path(__file__).parents[2] / "conformance" / "baselines"
OPTIONS = Options(recovery=15)
EVERYTHING = frozenset(Effect)


class Restarting(Runner):
    """Starts a peer that has died again, on its port."""

    start: Callable[[int], int]

    async def restart(self) -> bool:
        """Start it again."""
        await asyncio.to_thread(self.start, self.profile.port)
        return (await self.healthy())[0]


def servers() -> dict[str, tuple[str, str, Callable[[Path, int | None], Any]]]:
    """Name of the baseline: name, version, and how it is started in a folder on a port."""
    return {
        "dcmtk-3.6.7-storescp": ("DCMTK storescp", "3.6.7", lambda at, port: peers.storescp(at, port=port)),
        "dcmtk-3.6.7-dcmqrscp": ("DCMTK dcmqrscp", "3.6.7", lambda at, port: peers.dcmqrscp(at, port=port)),
        "orthanc-1.10.1": ("Orthanc", "1.10.1", lambda at, port: peers.orthanc(at, port=port)),
        "pynetdicom-3.0.4-storescp": (
            "pynetdicom",
            "3.0.4",
            lambda at, port: peers.pynetdicom_scp(at, port=port),
        ),
    }


AIODICOM = f"{sys.executable} -m aiodicom"
OURS = {
    "echo": "echo {host} {port}",
    "find": "find {host} {port} --level STUDY PatientID=AIODICOM-KIT-NIL",
    "get": "get {host} {port} --level STUDY 2.25.1 --out {folder}",
    "move": "move {host} {port} --level STUDY 2.25.1 --destination AIODICOM-KIT",
    "store": "store {host} {port} {folder}/object.dcm",
}
"""Commands of our client, each with what it needs."""
CLIENTS = {
    "dcmtk-3.6.7-echoscu": ("DCMTK echoscu", "3.6.7", "echoscu {host} {port}"),
    "pynetdicom-3.0.4-echoscu": (
        "pynetdicom echoscu",
        "3.0.4",
        f"{sys.executable} -m pynetdicom echoscu {{host}} {{port}}",
    ),
}


def judge_server(name: str, version: str, start: Any, folder: Path, wanted: Iterable[Case]) -> Run:
    """A run over a server that is started again when it dies."""
    with ExitStack() as stack:
        count = 0

        def begin(port: int | None) -> peers.Peer:
            nonlocal count
            count += 1
            stack.pop_all().close()
            place = folder / str(count)
            place.mkdir(parents=True)
            peer: peers.Peer = stack.enter_context(start(place, port))
            return peer

        peer = begin(None)
        profile = Profile(
            name=name, version=version, port=peer.port, called_ae=peer.ae_title, allow=EVERYTHING
        )
        runner = Restarting(profile, OPTIONS)
        runner.start = lambda port: begin(port).port
        return asyncio.run(runner.all(wanted))


def judge_client(name: str, version: str, command: str, abstract: str, wanted: Iterable[Case]) -> Run:
    """A run over a client."""
    profile = Profile(name=name, version=version, abstract=abstract, allow=EVERYTHING)
    return asyncio.run(run_scu(profile, CommandCaller(command), wanted, OPTIONS))


def told(key: str, run: Run, seconds: float, update: bool) -> bool:
    """Hold a run against its baseline, or write it; whether it is clean."""
    path = BASELINES / f"{key}.json"
    if update:
        baseline.update(run, path, f"{run.sut['name']} {run.sut['version']}")
    entries = baseline.load(path) if path.exists() else {}
    baseline.apply(run, entries)
    counts = Counter(str(result.verdict) for result in run.results)
    print(f"{key}: {seconds:.1f} s, {dict(counts)}, exit code {run.exit_code}", flush=True)
    for result in run.findings():
        print(f"   new: {result.case.id} {result.verdict} {result.outcome} {result.repeats}")
    for gone in run.gone:
        print(f"   gone: {gone}")
    return run.exit_code == 0


def commands(folder: Path) -> dict[str, tuple[str, str, str, str]]:
    """Clients by the name of the baseline: name, version, command, abstract syntax that is judged."""
    folder.mkdir(parents=True)
    an_object().save_as(folder / "object.dcm", enforce_file_format=True)
    ours = {
        f"aiodicom-{verb}": (
            f"aiodicom {verb}", "0.1.0",
            f"{AIODICOM} {words.replace('{folder}', str(folder))}",
            CT_STORAGE if verb == "store" else "",
        )
        for verb, words in OURS.items()
    }  # fmt: skip
    return {key: (*words, "") for key, words in CLIENTS.items()} | ours


def everybody(place: Path, suite: str) -> dict[str, Callable[[int], Run]]:
    """Who is judged, by the name of the baseline, and how; the number is that of the run."""

    def server(name: str, version: str, start: Any, folder: Path) -> Callable[[int], Run]:
        return lambda count: judge_server(name, version, start, folder / str(count), cases(suite))

    def client(name: str, version: str, command: str, abstract: str) -> Callable[[int], Run]:
        return lambda _: judge_client(name, version, command, abstract, cases(suite, role="scu"))

    def ours(count: int) -> Run:
        with serving(place / f"ours{count}") as port:
            profile = Profile(name="aiodicom serve", version="0.1.0", port=port, allow=EVERYTHING)
            return asyncio.run(Runner(profile, OPTIONS).all(cases(suite)))

    work: dict[str, Callable[[int], Run]] = {"aiodicom-serve": ours}
    work |= {key: server(*words, place / key) for key, words in servers().items()}
    return work | {key: client(*words) for key, words in commands(place / "client").items()}


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A busy loop on every core meanwhile."""
    count = (os.cpu_count() or 1) if wanted else 0
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def alike(key: str, first: Run, run: Run) -> bool:
    """Whether two runs have the same verdicts; what differs is printed."""
    then = {result.case.id: result.verdict for result in first.results}
    differ = [one for one in run.results if one.verdict is not then.get(one.case.id)]
    for one in differ:
        print(f"   {key}: not alike: {one.case.id} {then.get(one.case.id)} -> {one.verdict} {one.outcome}")
    return not differ


def main() -> int:
    """Judge them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--suite", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clean = True
    with tempfile.TemporaryDirectory() as place, busy(options.busy):
        for key, judge in everybody(Path(place), options.suite).items():
            if options.only not in key:
                continue
            runs: list[Run] = []
            for count in range(options.times):
                began = time.monotonic()
                runs.append(judge(count))
                update = options.update and not key.startswith("aiodicom") and not count
                clean = told(key, runs[-1], time.monotonic() - began, update) and clean
                clean = alike(key, runs[0], runs[-1]) and clean
            if options.json:
                options.json.mkdir(parents=True, exist_ok=True)
                (options.json / f"{key}.json").write_text(report.to_json(runs[0]), "utf-8")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
