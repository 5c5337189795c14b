"""Minutes of chaos, and a ledger: what was answered is on disk, and nothing else is.

    python benchmarks/chaos.py [--seconds 600] [--seed 1] [--clients 16] [--kill [SECONDS]] [--place FOLDER]

Clients store, store again (the same objects, and others of the same UID) and retrieve, all through a proxy
that cuts, resets, stalls and splits, into `aiodicom serve` in a process of its own, which `--kill` ends with
SIGKILL and restarts every so often. At the end the archive is opened again and compared with the ledger.
Exit code 0 only when there is no difference:

- an object answered with success is on disk and in the index, bit for bit, in that version and no other;
- one answered 0111H (another object of the same UID) is set aside, whole, and the other is kept;
- nothing on disk is half an object, or one that was never sent; nothing is indexed that is not on disk;
- what a client reports as retrieved is whole on its disk and the version the archive keeps; a retrieve that
  reports success holds all that had been answered before; no temporary file outlives a client;
- clients raise nothing but AiodicomError; no log of the server has a traceback; it answers at the end, and
  keeps no connection.

What is sent, and how each connection is broken, is drawn from the seed. Which client's connection comes
next is not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
import psutil
from aiodicom.dataset.part10 import read_header
from aiodicom.testing import Direction, FaultProxy, Faults, Plan, chaos
from interop import peers
from ledger import Disk, Entry, Ledger, digest_of, read_disk
from objects import write_slices
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from whole import run_in_folder, told

PATIENT = "CHAOS"
STUDY_SIZE = 25
"""Objects of a study."""
TIMEOUTS = aiodicom.Timeouts(connect=2, association=2, inactivity=2, artim=2, cancel=2)
GRACE = 15.0
"""Seconds a client's thread may take to clear up, and the server to let go of its connections."""


# --- what is sent


class Mint:
    """Makes objects by the thousand: templates written once, their UIDs and a comment replaced."""

    _SOP, _STUDY, _SERIES = (f"2.25.{str(digit) * 24}0" for digit in (1, 2, 3))
    _COMMENT = "*" * 16
    # (pixels a side, how often): from a few kB to 2 MiB, which is sent in several parts
    _SIZES = ((16, 60), (64, 30), (256, 9), (1024, 1))

    def __init__(self, folder: Path) -> None:
        self._templates: list[bytes] = []
        self._weights: list[int] = []
        for size, weight in self._SIZES:
            write_slices(folder, 1, size=size)
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                dataset = dcmread(next(folder.iterdir()))
                dataset.PatientID = PATIENT
                dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(self._SOP)
                dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self._STUDY, self._SERIES
                dataset.ImageComments = self._COMMENT
                dataset.file_meta.TransferSyntaxUID = syntax
                path = folder / "template.dcm"
                dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
                self._templates.append(path.read_bytes())
                self._weights.append(weight)
                path.unlink()

    @staticmethod
    def _uid(digit: int, number: int) -> str:
        return f"2.25.{digit}{number:024}"

    def sop_uid(self, number: int) -> str:
        """The SOP Instance UID of an object."""
        return self._uid(1, number)

    def study_uid(self, study: int) -> str:
        """The UID of a study."""
        return self._uid(2, study)

    def make(self, number: int, version: int) -> bytes:
        """An object; versions differ in a comment, in size and syntax, and some in their series."""
        random = Random(f"{number}/{version}")
        data = random.choices(self._templates, self._weights)[0]
        series = number // STUDY_SIZE if version < 2 else 10**12 + version
        for old, new in (  # of the same length
            (self._SOP, self.sop_uid(number)),
            (self._STUDY, self.study_uid(number // STUDY_SIZE)),
            (self._SERIES, self._uid(3, series)),
            (self._COMMENT, f"{version:016}"),
        ):
            data = data.replace(old.encode(), new.encode())
        return data


def plans(seed: int) -> Callable[[int], Plan]:
    """How each connection is broken: `chaos`, over short and long ways, and with stalls."""

    def plan(number: int) -> Plan:
        random = Random(f"{seed}/plan/{number}")
        drawn = chaos(seed, within=random.choice((500, 4_000, 40_000, 400_000)))(number)

        def stalled(faults: Faults) -> Faults:
            stall = random.randrange(random.choice((500, 50_000))) if random.random() < 0.2 else None
            return replace(
                faults,
                stall_after=stall,
                # a piece takes a turn of the loop: two megabytes of single bytes would take a minute
                split=(*faults.split, 8192) if faults.split else (),
                # what is held back at the end of a message ends in a timeout: that is tried often enough
                merge=faults.merge if random.random() < 0.2 else 0,
            )

        return Plan(to_server=stalled(drawn.to_server), to_client=stalled(drawn.to_client))

    return plan


# --- who takes part


@dataclass(slots=True)
class Run:
    """What all parts of one run share."""

    seed: int
    place: Path
    ledger: Ledger
    mint: Mint
    megabytes: int
    objects: int = 0
    bytes: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """One client after the other: stores, stores again, retrieves."""

    def __init__(self, run: Run, number: int, port: int) -> None:
        self._run = run
        self._random = Random(f"{run.seed}/worker/{number}")
        self._folder = run.place / f"client{number}"
        self._port = port

    async def work(self) -> None:
        """Until the run is over."""
        counts, trouble = self._run.ledger.counts, self._run.ledger.trouble
        while not self._run.over.is_set():
            retrieves = self._run.objects and self._random.random() < 0.3
            pacs = aiodicom.connect("127.0.0.1", self._port, called_ae="ARCHIVE", timeouts=TIMEOUTS)
            self._folder.mkdir()
            try:
                if self._random.random() < 0.5:  # as most users do; then storing opens a second association
                    await pacs.__aenter__()
                await (self._retrieve(pacs) if retrieves else self._store(pacs))
            except aiodicom.AiodicomError as error:
                counts[f"ended by {type(error).__name__}"] += 1
                await asyncio.sleep(0.1)  # the server may be down
            except Exception as error:  # the very thing looked for
                trouble.append(f"a client raised {error!r}")
            finally:
                with contextlib.suppress(aiodicom.AiodicomError):
                    await pacs.close()
                shutil.rmtree(self._folder)

    def _draw(self) -> list[tuple[int, int]]:
        """What to store: new objects, and with luck old ones, the same or other versions of them."""
        run, random = self._run, self._random
        chosen = []
        if run.bytes < run.megabytes * 1_000_000:
            count = random.choice((1, 2, 5, 10, 25))
            chosen = [(number, 0) for number in range(run.objects, run.objects + count)]
            run.objects += count
        if not chosen or random.random() < 0.3:
            some = [random.randrange(run.objects) for _ in range(random.randrange(1, 5))]
            chosen += [(number, random.choice((0, 0, 1, 2))) for number in dict.fromkeys(some)]
        return chosen

    async def _store(self, pacs: aiodicom.Pacs) -> None:
        ledger, versions = self._run.ledger, dict[Path, tuple[str, str]]()
        for number, version in dict.fromkeys(self._draw()):
            path = self._folder / f"{number}-{version}.dcm"
            self._run.bytes += path.write_bytes(self._run.mint.make(number, version))
            versions[path] = self._run.mint.sop_uid(number), digest_of(path)
            ledger.sent(*versions[path])
        left = dict(versions)
        try:
            report = await pacs.store(list(versions))
            for item in report.items:
                assert item.path is not None
                ledger.answered(*left.pop(item.path), item.status)
            if report.error is not None:
                ledger.counts[f"ended by {type(report.error).__name__}"] += 1
            elif left or report.skipped:
                ledger.trouble.append(f"{len(left)} objects are not in the report")
        finally:
            for uid, version in left.values():  # type: ignore[assignment]
                ledger.answered(uid, version, None)

    async def _retrieve(self, pacs: aiodicom.Pacs) -> None:
        """Fetch a study; when it fails, once more into the same folder, as a user does."""
        ledger, mint = self._run.ledger, self._run.mint
        study = self._random.randrange(self._run.objects) // STUDY_SIZE
        uids = [mint.sop_uid(n) for n in range(study * STUDY_SIZE, (study + 1) * STUDY_SIZE)]
        for _ in range(2):
            ledger.counts["retrieves"] += 1
            before = {u for u in uids if u in ledger.entries and ledger.entries[u].stored}
            named: set[Path] = set()
            try:
                get = pacs.get("STUDY", mint.study_uid(study), directory=self._folder, root="STUDY")
                result = await get
            except aiodicom.AiodicomError:
                ledger.counts["retrieves that failed"] += 1
                await self._look(named)
                continue
            named = set(result.files)
            await self._look(named)
            if not result.ok:
                continue
            ledger.counts["retrieves that succeeded"] += 1
            missing = before - {item.sop_instance_uid for item in result.items}
            ledger.trouble += [f"{uid}: missing in a retrieve that reports success" for uid in missing]
            return

    async def _look(self, named: set[Path]) -> None:
        """Every file in the folder is whole and was sent; what was reported is there."""
        ledger, deadline = self._run.ledger, time.monotonic() + GRACE
        while list(self._folder.rglob("*.part")):  # a thread may be within a commit
            if time.monotonic() > deadline:
                ledger.trouble.append(f"a client left {next(self._folder.rglob('*.part')).name}")
                break
            await asyncio.sleep(0.01)
        here = {path for path in self._folder.rglob("*") if path.is_file() and path.suffix != ".part"}
        ledger.trouble += [f"reported as retrieved, and not there: {path.name}" for path in named - here]
        for path in here:
            ledger.retrieved(read_header(path).sop_instance_uid, digest_of(path))


class Archivist:
    """`aiodicom serve` in a process of its own, killed and restarted on the same port."""

    def __init__(self, run: Run, kill: float | None) -> None:
        self._run = run
        self._kill = kill
        self._random = Random(f"{run.seed}/kill")
        self.directory = run.place / "archive"
        self.port = _port_for_good(self._random)
        self.logs: list[Path] = []
        self.rss = 0
        self.ready = asyncio.Event()

    def _launch(self) -> contextlib.AbstractContextManager[peers.Peer]:
        self.logs.append(self.run_log())

        def arguments(port: int) -> list[str]:
            limits = ["--idle-timeout", "10", "--pdu-timeout", "10", "--artim-timeout", "3"]
            command = [sys.executable, "-m", "aiodicom", "serve", str(self.directory), *limits]
            return [*command, "--host", "127.0.0.1", "--port", str(port)]

        return peers.launch(
            "aiodicom", "ARCHIVE", self.directory, arguments, port=self.port, log_path=self.logs[-1]
        )

    def run_log(self) -> Path:
        """Where the next process writes its log."""
        return self._run.place / f"serve{len(self.logs)}.log"

    async def work(self) -> None:
        """Until the run is over; the last process is looked at, then killed as well."""
        while True:
            launched = self._launch()
            peer = await asyncio.to_thread(launched.__enter__)
            self.ready.set()
            try:
                limit = None if self._kill is None else self._random.uniform(0, 2 * self._kill)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._run.over.wait(), limit)
                self.rss = max(self.rss, psutil.Process(peer.process.pid).memory_info().rss)
                if not peer.alive:
                    self._run.ledger.trouble.append("the server ended by itself")
                if self._run.over.is_set():
                    await self._last_look(peer)
                    return
                self._run.ledger.counts["kills"] += 1
            finally:
                await asyncio.to_thread(launched.__exit__, None, None, None)  # SIGKILL

    async def _last_look(self, peer: peers.Peer) -> None:
        """It still answers, and has let go of every connection."""
        try:
            async with aiodicom.connect("127.0.0.1", peer.port, called_ae="ARCHIVE") as pacs:
                await pacs.echo()
        except aiodicom.AiodicomError as error:
            self._run.ledger.trouble.append(f"the server does not answer at the end: {error}")
        process, deadline = psutil.Process(peer.process.pid), time.monotonic() + GRACE
        while open_ := [c for c in process.net_connections() if c.status != psutil.CONN_LISTEN]:
            if time.monotonic() > deadline:
                self._run.ledger.trouble.append(f"the server keeps {len(open_)} connections")
                return
            await asyncio.sleep(0.1)


def _port_for_good(random: Random) -> int:
    """A port below those the kernel gives to clients, so that it stays free while the server is down."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


async def release_stalls(proxy: FaultProxy, random: Random) -> None:
    """End stalls a moment after they are reached; a few outlast the clients' patience."""
    begun, waiting = 0, list[tuple[float, Direction]]()
    directions: list[Direction] = []
    while True:
        for connection in proxy.connections[begun:]:
            directions += [connection.to_server, connection.to_client]
        begun = len(proxy.connections)
        now = time.monotonic()
        for way in [way for way in directions if way.stalled.is_set()]:
            directions.remove(way)
            waiting.append((now + (10 if random.random() < 0.05 else random.uniform(0, 0.3)), way))
        for _, way in [one for one in waiting if one[0] < now]:
            way.released.set()
        waiting = [one for one in waiting if one[0] >= now]
        directions = [way for way in directions if way.ended is None]
        await asyncio.sleep(0.02)


# --- the run


@dataclass(slots=True)
class Verdict:
    """What is printed."""

    lines: list[tuple[str, Any]]
    differences: list[str]


async def run_chaos(
    place: Path,
    *,
    seconds: float,
    seed: int,
    clients: int,
    kill: float | None = None,
    megabytes: int = 2000,
) -> Verdict:
    """The whole of it, in an empty folder."""
    ledger = Ledger()
    scratch = place / "templates"
    run = Run(seed, place, ledger, Mint(scratch), megabytes)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, c: ledger.trouble.append(f"left to the event loop: {c}"))
    archivist = Archivist(run, kill)
    serving = asyncio.create_task(archivist.work())
    started = asyncio.create_task(archivist.ready.wait())
    await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
    began = time.monotonic()
    async with FaultProxy("127.0.0.1", archivist.port, plans(seed)) as proxy:
        releasing = asyncio.create_task(release_stalls(proxy, Random(f"{seed}/stalls")))
        workers = [asyncio.create_task(Worker(run, n, proxy.port).work()) for n in range(clients)]
        await asyncio.wait((serving, *workers), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        run.over.set()
        await asyncio.gather(*workers)
        releasing.cancel()
    took = time.monotonic() - began
    await serving
    disk = await asyncio.to_thread(read_disk, archivist.directory, PATIENT)
    for log in archivist.logs:
        if "Traceback" in (text := log.read_text(errors="replace")):
            ledger.trouble.append(f"the server's log: {text[text.index('Traceback') :].splitlines()[-1]}")
    return Verdict([*summary(run, proxy, archivist, disk, took)], ledger.compare(disk))


def summary(
    run: Run, proxy: FaultProxy, archivist: Archivist, disk: Disk, took: float
) -> Iterator[tuple[str, Any]]:
    """The counts of the run, line by line."""
    counts = run.ledger.counts
    ways = [way for c in proxy.connections for way in (c.to_server, c.to_client)]
    cuts = Counter(way.faults.cut for way in ways if way.ended == "cut" and way.faults.cut_after is not None)
    yield "seconds", f"{took:.0f}"
    yield "connections through the proxy", len(proxy.connections)
    yield "  refused, the server being down", proxy.refused
    yield "  cut: fin, rst, half", ", ".join(str(cuts[how]) for how in ("fin", "rst", "half"))
    yield "  stalls reached", sum(way.stalled.is_set() for way in ways)
    yield "kills of the server", counts["kills"]
    yield "different objects sent", len(run.ledger.entries)
    yield "C-STOREs begun or to be begun", f"{counts['sent']} ({run.bytes / 1e6:.0f} MB)"
    for name in sorted(name for name in counts if name.startswith("answered")):
        yield f"  {name}", counts[name]
    yield "  not answered", counts["not answered"]
    yield "retrieves", counts["retrieves"]
    yield "  that succeeded", counts["retrieves that succeeded"]
    yield "  objects found whole on clients' disks", counts["retrieved"]
    for name in sorted(name for name in counts if name.startswith("ended by")):
        yield f"operations {name}", counts[name]
    yield "on disk: objects", len(disk.objects)
    yield "  never answered, and whole", sum(not run.ledger.entries[u].stored for u in _known(disk, run))
    yield "  set aside", len(disk.conflicts)
    yield "largest server seen, MB", f"{archivist.rss / 1e6:.0f}"


def _known(disk: Disk, run: Run) -> Mapping[str, Entry]:
    return {uid: run.ledger.entries[uid] for uid in disk.objects if uid in run.ledger.entries}


def main() -> int:
    """Run, print the ledger, and say whether there is a difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument(
        "--kill", type=float, nargs="?", const=10.0, metavar="SECONDS", help="kill it about so often (10)"
    )
    parser.add_argument("--megabytes", type=int, default=2000, help="at which no new objects are made")
    parser.add_argument("--place", type=Path, help="where the archive is kept meanwhile")
    options = parser.parse_args()
    work = partial(
        run_chaos,
        seconds=options.seconds,
        seed=options.seed,
        clients=options.clients,
        kill=options.kill,
        megabytes=options.megabytes,
    )
    verdict = run_in_folder(options.place, work)
    return told(verdict.lines, verdict.differences)


if __name__ == "__main__":
    raise SystemExit(main())
