"""A retrieve that is never left alone: nothing missing at its end, nothing doubled, every byte as stored.

    python benchmarks/endure.py [--objects 20000] [--seed 1] [--kill 3] [--cancel 1] [--associations 2]

Objects are stored into `aiodicom serve` in a process of its own, which is then killed (SIGKILL) and restarted
at random, while a retrieve of all of them is cancelled at random, asked `again`, and now and then begun anew,
as a program is that was killed itself. It goes on until the result says that all is here. Then every file is
read: exit code 0 only when each object that was stored lies there once, bit for bit, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
from aiodicom.dataset.part10 import read_header
from interop import peers
from ledger import digest_of
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID
from whole import run_in_folder, told
from wire import ct

TIMEOUTS = aiodicom.Timeouts(connect=2, association=2, inactivity=3, artim=0.5, cancel=0.5)
PATIENT = "ENDURE"
SERIES = 250
"""Objects of a series."""
BATCH = 2000
"""Objects stored at once."""


def make(number: int) -> Dataset:
    """An object of a few kB that differs from every other."""
    content = hashlib.sha256(str(number).encode()).digest() * (16 + number % 64)
    uid = uid_of(number)
    dataset = ct(uid, SeriesInstanceUID=uid.rpartition(".")[0], PatientID=PATIENT)
    dataset.add_new(0x7FE00010, "OW", content)
    return dataset


def uid_of(number: int) -> str:
    """Its SOP Instance UID."""
    return f"1.2.3.{number // SERIES}.{number}"


def made(number: int, syntax: str) -> str:
    """`digest_of` the object, as pydicom writes it in a transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, UID(syntax).is_implicit_VR
    write_dataset(buffer, make(number))
    return f"{syntax} {hashlib.sha256(buffer.getvalue()).hexdigest()}"


@dataclass(slots=True)
class Run:
    """What goes on, and what came of it."""

    place: Path
    objects: int
    random: Random
    port: int
    counts: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, over: asyncio.Event, kill: float | None) -> None:
        """An archive on the same port, killed about every `kill` seconds, until the run is over."""

        def arguments(port: int) -> list[str]:
            command = [sys.executable, "-m", "aiodicom", "serve", str(self.place / "archive")]
            return [*command, "--host", "127.0.0.1", "--port", str(port), "--artim-timeout", "1"]

        while not over.is_set():
            log = self.place / f"serve{self.counts['starts']}.log"
            self.counts["starts"] += 1
            launched = peers.launch(
                "aiodicom", "ARCHIVE", self.place / "archive", arguments, port=self.port, log_path=log
            )
            await asyncio.to_thread(launched.__enter__)
            self.up.set()
            try:
                limit = None if kill is None else self.random.uniform(kill / 2, 2 * kill)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), limit)
            finally:
                self.up.clear()
                self.counts["kills"] += not over.is_set()
                await asyncio.to_thread(launched.__exit__, None, None, None)
            if "Traceback" in log.read_text(errors="replace"):
                self.trouble.append(f"a traceback in {log.name}")

    def connect(self) -> aiodicom.Pacs:
        """A client of it."""
        return aiodicom.connect("127.0.0.1", self.port, called_ae="ARCHIVE", timeouts=TIMEOUTS, lazy=True)

    async def store(self) -> None:
        """Everything, once, at a server that is left alone."""
        async with self.connect() as pacs:
            for start in range(0, self.objects, BATCH):
                some = [make(number) for number in range(start, min(start + BATCH, self.objects))]
                report = await pacs.store(some, associations=2, items="failed")
                if not report.ok:
                    raise SystemExit(f"storing failed: {report}")

    async def retrieve(self, cancel: float, associations: int) -> None:
        """Cancelled at random and asked again, or begun anew, until all is here."""
        while True:
            async with contextlib.AsyncExitStack() as stack:
                pacs = await stack.enter_async_context(_forgiving(self.connect()))
                get = pacs.get(
                    "STUDY",
                    "1.2.3",
                    root="STUDY",
                    directory=self.place / "out",
                    associations=associations,
                    items="failed",
                )
                self.counts["begun"] += 1
                for _ in range(self.random.randrange(1, 6)):
                    await self.up.wait()
                    if await self._attempt(get, cancel):
                        return

    async def _attempt(self, get: aiodicom.Retrieve[aiodicom.ReceivedItem], cancel: float) -> bool:
        """Ask once more; whether that ended it."""
        self.counts["asked"] += 1
        before = get.result.received
        task = asyncio.ensure_future(get.again())
        try:
            async with asyncio.timeout(self.random.uniform(0, 2 * cancel)):
                await task
        except TimeoutError:
            self.counts["cancelled"] += 1
        except aiodicom.AiodicomError as error:
            self.counts[f"ended by {type(error).__name__}"] += 1
            await asyncio.sleep(0.1)  # the server may be down
        if get.result.error is not None:
            self.counts[f"ended by {type(get.result.error).__name__}"] += 1
        self.counts["objects that came"] += get.result.received - before
        return get.result.ok

    def judge(self) -> None:
        """Every object that was stored lies there once, bit for bit, and nothing else."""
        for name, folder in (("here", "out"), ("in the archive", "archive/objects")):
            self.trouble += [f"{one} {name}" for one in judged(self.place / folder, self.objects)]


def judged(folder: Path, objects: int) -> Iterator[str]:
    """What a folder holds otherwise than every object that was stored, once, as it was made."""
    missing = {uid_of(number): number for number in range(objects)}
    found: set[str] = set()
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        if path.suffix != ".dcm" or "~" in path.name:
            yield f"{path.name} lies"
            continue
        header = read_header(path)
        uid = header.sop_instance_uid
        number = missing.pop(uid, None)
        if uid in found:
            yield f"{uid}: twice"
        elif number is None:
            yield f"{uid}: never stored, but"
        elif digest_of(path) != made(number, header.transfer_syntax_uid):
            yield f"{uid}: differs"
        found.add(uid)
    yield from (f"{uid}: missing" for uid in missing)


@contextlib.asynccontextmanager
async def _forgiving(pacs: aiodicom.Pacs):  # type: ignore[no-untyped-def]
    """A client whose release may fail: its server may be dead by then."""
    await pacs.__aenter__()
    try:
        yield pacs
    finally:
        with contextlib.suppress(aiodicom.AiodicomError):
            await pacs.close()


async def run_endurance(
    place: Path, *, objects: int, seed: int, kill: float, cancel: float, associations: int
) -> Run:
    """The whole of it, in an empty folder."""
    run = Run(place, objects, Random(seed), peers.free_port())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, c: run.trouble.append(f"left to the event loop: {c}"))
    for work, limit in ((run.store(), None), (run.retrieve(cancel, associations), kill)):
        over = asyncio.Event()
        serving = asyncio.ensure_future(run.serve(over, limit))
        try:
            await asyncio.wait_for(run.up.wait(), 30)
            began = time.monotonic()
            await work
            run.counts["seconds"] = round(time.monotonic() - began)
        finally:
            over.set()
            await serving
    await asyncio.to_thread(run.judge)
    return run


def main() -> int:
    """Run, print what happened, and say whether anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", type=float, default=3.0, help="seconds between two kills of the server")
    parser.add_argument("--cancel", type=float, default=1.0, help="seconds between two cancels of ours")
    parser.add_argument("--associations", type=int, default=2)
    parser.add_argument("--place", type=Path, help="where everything lies meanwhile")
    options = parser.parse_args()
    work = partial(
        run_endurance,
        objects=options.objects,
        seed=options.seed,
        kill=options.kill,
        cancel=options.cancel,
        associations=options.associations,
    )
    run = run_in_folder(options.place, work)
    return told(sorted(run.counts.items()), run.trouble)


if __name__ == "__main__":
    raise SystemExit(main())
