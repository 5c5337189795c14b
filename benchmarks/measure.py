"""Whole-process measurement: wall time, CPU seconds, peak memory of a client and its server."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_INTERVAL = 0.02
STEADY = "STEADY"
ANSWER_KEYS = (
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Modality",
    "PatientName",
    "StudyDate",
)
"""What each answer of a query holds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds, CPU seconds, bytes of peak resident memory; client and server.

    steady, steady_cpu: seconds and the client's CPU seconds of the work alone, without its start, where it
    tells them.
    """

    wall: float
    client_cpu: float
    client_rss: int
    server_cpu: float
    server_rss: int
    code: int
    steady: float | None = None
    steady_cpu: float | None = None


class _ServerWatch:
    """CPU time of a server's process tree over a span, and the largest resident memory seen in it.

    The client's own high-water mark is read beside it: `ru_maxrss` would begin with ours, from the fork.
    """

    def __init__(self, pid: int) -> None:
        self.client: int | None = None
        self.client_peak = 0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _cpu(self) -> float:
        total = 0.0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL):
            self._peak = max(self._peak, *(resident(pid) for pid in tree(self._process.pid)))
            if self.client is not None:
                self.client_peak = max(self.client_peak, high_water(self.client))

    def __enter__(self) -> _ServerWatch:
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.cpu = self._cpu() - self._before
        self.peak = self._peak


def run(
    argv: Sequence[str], server_pid: int, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Sample:
    """Run a client to its end, from exec to exit, and account for both sides.

    One that prints `STEADY seconds CPU-seconds` in its last line has told what its work took.
    """
    with _ServerWatch(server_pid) as server, tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(argv),
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.DEVNULL,
        )
        server.client = process.pid
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        said.seek(max(said.tell() - 100, 0))
        words = said.read().split()[-3:]
    tells = len(words) == 3 and words[0] == STEADY.encode()
    told = (float(words[1]), float(words[2])) if tells else (None, None)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Sample(
        wall,
        usage.ru_utime + usage.ru_stime,
        server.client_peak,
        server.cpu,
        server.peak,
        process.returncode,
        *told,
    )


def tree(pid: int) -> list[int]:
    """A process and all below it. Not by psutil, which looks at every process of the machine, and that
    often takes from what is measured."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            found += [below for child in children for below in tree(int(child))]
    except OSError:  # gone meanwhile
        return found
    return found


def resident(pid: int) -> int:
    """The resident memory of a process now, in bytes; 0 once it is gone."""
    return _memory(pid, "VmRSS:")


def high_water(pid: int) -> int:
    """The peak resident memory of a process since its exec, in bytes; 0 once it is gone."""
    return _memory(pid, "VmHWM:")


def _memory(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def median(values: Sequence[float]) -> float:
    """The median, or NaN of nothing."""
    return statistics.median(values) if values else float("nan")
