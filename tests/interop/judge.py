"""The conformance kit over DCMTK, Orthanc, pynetdicom and ourselves, held against the baselines.

    python tests/interop/judge.py [--update] [--only TEXT] [--json FOLDER]

Prints each peer's seconds and verdicts; exit code 1 when a run with its baseline is not clean.
"""

# ruff: noqa: E402 - a script in a folder of modules

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # this folder has a module `peers` of its own

from aiodicom.conformance import Effect, Profile, Run, baseline, cases, report
from aiodicom.conformance.caller import CommandCaller
from aiodicom.conformance.calling import run_scu
from aiodicom.conformance.case import Case
from aiodicom.conformance.runner import Options, Runner
from interop import peers
from peers.judged import serving

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


def servers(folder: Path) -> dict[str, tuple[str, str, Callable[[Path, int | None], Any]]]:
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


def judge_client(name: str, version: str, command: str, wanted: Iterable[Case]) -> Run:
    """A run over a client."""
    profile = Profile(name=name, version=version, allow=EVERYTHING)
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


def main() -> int:
    """Judge them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--suite", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clean = True
    with tempfile.TemporaryDirectory() as place:
        work: dict[str, Callable[[], Run]] = {}
        for key, (name, version, start) in servers(Path(place)).items():
            work[key] = lambda n=name, v=version, s=start, k=key: judge_server(  # type: ignore[misc]
                n, v, s, Path(place) / k, cases(options.suite)
            )
        for key, (name, version, command) in CLIENTS.items():
            work[key] = lambda n=name, v=version, c=command: judge_client(  # type: ignore[misc]
                n, v, c, cases(options.suite, role="scu")
            )

        def ours() -> Run:
            with serving(Path(place) / "ours") as port:
                profile = Profile(name="aiodicom serve", version="0.1.0", port=port, allow=EVERYTHING)
                return asyncio.run(Runner(profile, OPTIONS).all(cases(options.suite)))

        work["aiodicom-serve"] = ours
        for key, judge in work.items():
            if options.only not in key:
                continue
            began = time.monotonic()
            run = judge()
            update = options.update and not key.startswith("aiodicom")
            clean = told(key, run, time.monotonic() - began, update) and clean
            if options.json:
                options.json.mkdir(parents=True, exist_ok=True)
                (options.json / f"{key}.json").write_text(report.to_json(run), "utf-8")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
