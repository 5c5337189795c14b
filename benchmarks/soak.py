"""A thousand idle associations and a hundred active ones at once on one server, and pynetdicom beside it.

    python benchmarks/soak.py [--idle 1000] [--active 100] [--seconds 5] [--pynetdicom-idle 100]

Each server is a process of its own; the idle associations are held by another, on one event loop, and the
active ones by a third: our clients in both cases, so that the servers alone differ. Memory is resident memory
of the server; latency is that of `await pacs.echo()` as a user sees it, so that time in the client's own loop
counts, which is most of it when all echo as fast as they can. pynetdicom has a thread for each association
and takes minutes to open a thousand: it gets fewer, and the table says so. What is stored our archive keeps
and indexes (durability "rename"), and pynetdicom's AE drops. At last come `lag.py` and `neighbours.py`: how
long peers that do what costs most keep the server's loop from others, and what another client waits
meanwhile. A load that takes half a minute longer than it should is given up. Exit code 0 only when none of
our associations was refused or lost, nothing failed and no peer was over the bars of those two.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
import lag
import neighbours
import psutil
from interop import peers
from objects import write_slices
from pydicom import dcmread
from pydicom.uid import UID

OPENING_AT_ONCE = 20
PATIENCE = 30.0
SETTLING = 1.0
"""Seconds between a change and a measurement of memory."""
TIMEOUTS = aiodicom.Timeouts(connect=60, association=60, inactivity=60)
BATCH = 10
"""Objects of one C-STORE run of a storing client."""
OBJECT_UID = b"2.25.999999999999999"  # replaced by ones of the same length


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed, or NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one, as the command line does."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def connect(port: int) -> aiodicom.Pacs:
    """A client of the server under test."""
    return aiodicom.connect("127.0.0.1", port, called_ae="SOAK", timeouts=TIMEOUTS)


# --- the processes of the clients


class Holder:
    """Keeps as many idle associations as it is told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held: list[aiodicom.Pacs] = []
        self._refused = 0
        self._gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def _open(self) -> None:
        async with self._gate:
            pacs = connect(self._port)
            try:
                await pacs.__aenter__()
                await pacs.echo()
            except aiodicom.AiodicomError as error:
                print(f"refused: {error}", file=sys.stderr)
                self._refused += 1
            else:
                self._held.append(pacs)

    async def keep(self, count: int) -> dict[str, float]:
        """Open or release until `count` are held."""
        began, self._refused = time.perf_counter(), 0
        await asyncio.gather(*(self._open() for _ in range(count - len(self._held))))
        while len(self._held) > count:
            await self._held.pop().close()
        return {"held": len(self._held), "refused": self._refused, "seconds": time.perf_counter() - began}

    async def count_alive(self) -> dict[str, float]:
        """Echo on each: none may have been lost meanwhile."""
        alive = 0
        for pacs in self._held:
            before = pacs.info
            alive += await answers(pacs) and pacs.info == before  # one that was lost stands in `ended`
        return {"alive": alive}


async def answers(pacs: aiodicom.Pacs) -> bool:
    """Whether an echo comes back."""
    try:
        return (await pacs.echo()).ok
    except aiodicom.AiodicomError as error:
        print(f"lost: {error}", file=sys.stderr)
        return False


def storable() -> bytes:
    """A slice of 131 kB under `OBJECT_UID`."""
    with tempfile.TemporaryDirectory() as place:
        write_slices(Path(place), 1, size=256)
        path = next(Path(place).iterdir())
        dataset = dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(OBJECT_UID.decode())
        dataset.save_as(path)
        return path.read_bytes()


async def drive(port: int, count: int, seconds: float, interval: float, storing: int) -> dict[str, float]:
    """`count` associations at once: `storing` of them store, the others echo, every `interval` or at once."""
    times: list[float] = []
    failed = stored = 0
    given_up = False
    template, prefix = storable() if storing else b"", Random().randrange(100_000, 1_000_000)

    async def echo(number: int, pacs: aiodicom.Pacs, begin: float) -> None:
        due = begin + interval * number / count  # spread evenly
        while (now := time.perf_counter()) < begin + seconds:
            if interval and due > now:
                await asyncio.sleep(due - now)
                now = time.perf_counter()
            await pacs.echo()
            times.append(time.perf_counter() - now)
            due = max(due + interval, now)  # what was missed is not caught up with

    def renew(place: Path, number: int, run: int) -> None:
        for one in range(BATCH):
            uid = f"2.25.{prefix}{number:03}{BATCH * run + one:06}".encode()
            Path(place, f"{one}.dcm").write_bytes(template.replace(OBJECT_UID, uid))

    async def store(number: int, pacs: aiodicom.Pacs, begin: float) -> None:
        nonlocal stored, failed
        with tempfile.TemporaryDirectory() as place:
            for run in itertools.count():
                if time.perf_counter() > begin + seconds:
                    return
                await asyncio.to_thread(renew, Path(place), number, run)
                report = await pacs.store(place)
                stored += report.bytes
                failed += len(report.failed)

    clients: list[aiodicom.Pacs] = []

    async def work() -> list[BaseException | None]:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(count):
                clients.append(await stack.enter_async_context(connect(port)))
                await clients[-1].echo()
            begin = time.perf_counter()
            jobs = [
                store(number, pacs, begin) if number < storing else echo(number, pacs, begin)
                for number, pacs in enumerate(clients)
            ]
            return await asyncio.gather(*jobs, return_exceptions=True)

    try:
        errors = await asyncio.wait_for(work(), seconds + PATIENCE)
    except (TimeoutError, aiodicom.AiodicomError) as error:
        given_up, errors = True, [error]
    errors = [error for error in errors if error is not None]
    for error in errors:  # type: ignore[misc]
        print(f"failed: {error!r}", file=sys.stderr)  # type: ignore[misc]
    return {
        "rate": len(times) / seconds,
        "p50": percentile(times, 0.5) * 1e3,
        "p99": percentile(times, 0.99) * 1e3,
        "failed": failed + len(errors),
        "given up": given_up,
        "stored": stored / seconds / 1e6,
    }


async def obey(port: int) -> None:
    """A client process: an order a line, and a line when it is done."""
    loop, holder = asyncio.get_running_loop(), Holder(port)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match json.loads(line):
            case ["keep", count]:
                answer = await holder.keep(count)
            case ["alive"]:
                answer = await holder.count_alive()
            case ["drive", *numbers]:
                answer = await drive(port, *numbers)
            case order:
                raise ValueError(f"unknown order {order}")
        print(json.dumps(answer), flush=True)
    await holder.keep(0)


class Clients:
    """A client process, seen from the one that measures."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "clients", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *order: str | float) -> dict[str, float]:
        """Tell it something, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which closes its input and waits for it
            pass


# --- pynetdicom's server


def serve_pynetdicom(port: int) -> None:
    """An AE that answers echoes and takes objects for nothing; it allows 10 associations unless told to."""
    from pynetdicom import AE, evt

    ae = AE(ae_title="SOAK")
    ae.maximum_associations = 10_000
    ae.network_timeout = None
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)])


# --- measuring


@dataclass(frozen=True, slots=True)
class Load:
    """What the active associations do: each one echo every `interval` seconds, or as fast as it can."""

    name: str
    active: int
    interval: float
    storing: int = 0


@dataclass(slots=True)
class Result:
    """What was found about one server; latencies by (idle associations, load)."""

    idle: int
    opened: dict[str, float] = field(default_factory=dict)
    alive: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    cpu_idle: float = 0.0
    echoes: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether none was refused, none lost and nothing failed."""
        failed = any(one["failed"] for one in self.echoes.values())
        return self.opened["held"] == self.alive == self.idle and not self.opened["refused"] and not failed


def measure(server: peers.Peer, idle: Sequence[int], loads: Sequence[Load], seconds: float) -> Result:
    """Memory and CPU with the most idle associations, then every load beside each number of them."""
    result = Result(idle[-1])
    process = psutil.Process(server.process.pid)

    def look(name: str) -> None:
        time.sleep(min(SETTLING, seconds))
        result.memory[name] = process.memory_info().rss

    with Clients(server.port) as holder, Clients(server.port) as driver:
        holder.ask("keep", 5)  # what the server makes once is not counted for the associations
        holder.ask("keep", 0)
        look("before")
        result.opened = holder.ask("keep", idle[-1])
        look("idle")
        begun = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        result.cpu_idle = (sum(process.cpu_times()[:2]) - begun) / seconds
        result.alive = int(holder.ask("alive")["alive"])
        holder.ask("keep", 0)
        look("after")
        for count in idle:
            holder.ask("keep", count)
            for load in loads:
                numbers = (load.active, seconds, load.interval, load.storing)
                result.echoes[count, load.name] = driver.ask("drive", *numbers)
                print(f"{server.name}, {count} idle, {load.name}: done", file=sys.stderr, flush=True)
    look("end")
    return result


def server_of(name: str, place: Path) -> contextlib.AbstractContextManager[peers.Peer]:
    """One of the two servers, in a process of its own."""

    def ours(port: int) -> list[str]:
        limits = ["--max-associations", "10000", "--idle-timeout", "3600", "--durability", "rename"]
        command = [sys.executable, "-m", "aiodicom", "serve", str(place / "archive"), *limits]
        many = ["--max-associations-per-address", "off"]  # all of them come from this machine
        return [*command, "--host", "127.0.0.1", "--port", str(port), *many]

    def theirs(port: int) -> list[str]:
        return [sys.executable, __file__, "pynetdicom", str(port)]

    arguments: Callable[[int], Sequence[str]] = ours if name == "aiodicom" else theirs
    return peers.launch(name, "SOAK", place / name, arguments)


# --- what is printed


def overview(results: dict[str, Result]) -> Iterator[str]:
    """Memory, CPU and refusals, side by side."""
    yield "| idle associations | " + " | ".join(results) + " |"
    yield "|---|" + "---|" * len(results)

    def row(name: str, cell: Callable[[Result], str]) -> str:
        return f"| {name} | " + " | ".join(cell(one) for one in results.values()) + " |"

    def megabytes(when: str) -> Callable[[Result], str]:
        return lambda one: f"{one.memory[when] / 1e6:.1f}"

    yield row("asked for", lambda one: str(one.idle))
    yield row("refused or failed", lambda one: f"{one.opened['refused']:.0f}")
    yield row("alive at the end", lambda one: str(one.alive))
    yield row("opened (with an echo) a second", lambda one: f"{one.idle / one.opened['seconds']:.0f}")
    yield row("server MB before", megabytes("before"))
    yield row("server MB with them", megabytes("idle"))
    yield row(
        "**kB for each**",
        lambda one: f"{(one.memory['idle'] - one.memory['before']) / one.idle / 1e3:.1f}",
    )
    yield row("server MB once they are released", megabytes("after"))
    yield row("server MB at the end of all below", megabytes("end"))
    yield row("CPU while they are idle", lambda one: f"{one.cpu_idle:.1%}")


def latencies(results: dict[str, Result], loads: Sequence[Load]) -> Iterator[str]:
    """Echo latency beside each number of idle associations."""
    idle = sorted({count for result in results.values() for count, _ in result.echoes})
    yield "| load | idle | " + " | ".join(f"{n}: echoes/s | p50 ms | p99 ms | failed" for n in results) + " |"
    yield "|---|---|" + "---|" * 4 * len(results)
    for load in loads:
        for count in idle:
            cells: list[str] = []
            for result in results.values():
                found = result.echoes.get((count, load.name))
                if found is None:
                    cells += ["-"] * 4
                else:
                    cells += [f"{found['rate']:.0f}", f"{found['p50']:.2f}", f"{found['p99']:.2f}"]
                    cells.append("given up" if found["given up"] else f"{found['failed']:.0f}")
                    if load.storing:
                        cells[-4] += f", {found['stored']:.0f} MB/s stored"
            yield f"| {load.name} | {count} | " + " | ".join(cells) + " |"


def soak(options: argparse.Namespace) -> int:
    """Measure both servers and print the tables."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a thousand associations do not fit the 1024 descriptors of many a shell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    active = options.active
    loads = [
        Load("1 alone, back to back", 1, 0.0),
        Load(f"{active}, one a {options.interval * 1e3:.0f} ms each", active, options.interval),
        Load(f"{active}, as fast as they can", active, 0.0),
    ]
    if options.storing:
        name = f"{active}, {options.storing} of them storing"
        loads.append(Load(name, active, options.interval, min(options.storing, active)))
    packages = ", ".join(f"{p} {version(p)}" for p in ("aiodicom", "pynetdicom", "uvloop"))
    print(f"Python {platform.python_version()}, {packages}; {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start\n")
    results: dict[str, Result] = {}
    most = {"aiodicom": options.idle, "pynetdicom": min(options.idle, options.pynetdicom_idle)}
    for name, limit in most.items():
        if limit:
            counts = [*(n for n in (10, 100, 1000) if n < limit), limit]
            with tempfile.TemporaryDirectory() as place, server_of(name, Path(place)) as server:
                results[name] = measure(server, counts, loads, options.seconds)
                print("\n".join(overview({name: results[name]})), file=sys.stderr)
                print("\n".join(latencies({name: results[name]}, loads)), file=sys.stderr, flush=True)
    print("\n".join(overview(results)), end="\n\n")
    print("\n".join(latencies(results, loads)), end="\n\n")
    over: list[str] = []
    if options.peers:
        for line in lag.table(list(lag.SCENARIOS), options.peers, options.seconds, over):
            print(line, flush=True)
        print()
        beside = list(neighbours.SCENARIOS), options.peers, options.seconds, neighbours.OBJECTS
        for line in neighbours.table(*beside, over):
            print(line, flush=True)
    if 0 < most["pynetdicom"] < options.idle:
        print(f"\npynetdicom was given {most['pynetdicom']} idle associations at most (--pynetdicom-idle).")
    return 0 if results["aiodicom"].sound and not over else 1


def main() -> int:
    """The script, or one of the processes it starts."""
    match sys.argv[1:]:
        case ["clients", port]:
            run_loop(obey(int(port)))
        case ["pynetdicom", port]:
            serve_pynetdicom(int(port))
        case arguments:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
            parser = argparse.ArgumentParser(
                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            parser.add_argument("--idle", type=int, default=1000, help="idle associations at most")
            parser.add_argument("--active", type=int, default=100)
            parser.add_argument("--storing", type=int, default=10, help="active ones that store, in one load")
            parser.add_argument("--seconds", type=float, default=5, help="for each measurement")
            parser.add_argument("--interval", type=float, default=0.2, help="between two paced echoes")
            parser.add_argument("--peers", type=int, default=8, help="that cost the most; 0 leaves them out")
            parser.add_argument("--pynetdicom-idle", type=int, default=100, help="0 leaves it out")
            return soak(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
