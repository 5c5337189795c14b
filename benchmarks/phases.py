"""Where the time of a retrieve goes, object by object: our client from DCMTK tuned, or from our archive.

    python benchmarks/phases.py [--server dcmtk|aiodicom] [--objects 1000] [--durability fsync|rename]

Runs one C-GET in this process on uvloop with a stamp at each border, and prints the median and mean of each
phase in microseconds an object. The stamps cost a little themselves: compare phases, not totals.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
import uvloop
from aiodicom.association.association import Association
from aiodicom.association.performing import StoreTarget
from aiodicom.client.receiving import FileSink
from aiodicom.dataset import part10
from aiodicom.dimse.session import Session
from interop import peers
from objects import write_slices

BORDERS = {
    "first": "receiving: from the C-STORE-RQ to the last byte of its data set",
    "last": "the way to the commit: a task, and for fsync a thread",
    "commit": "the commit: fsync, name, rename",
    "committed": "the way back to the loop",
    "answer": "the C-STORE-RSP, to the end of its system call",
    "answered": "the peer: from our answer to its next C-STORE-RQ",
}


class Stamps:
    """Moments in the life of each object, and seconds spent in single functions."""

    def __init__(self) -> None:
        self.moments: list[tuple[str, float]] = []
        self.spent: dict[str, float] = {}

    def before(self, owner: Any, name: str, border: str, after: str | None = None) -> None:
        """Stamp a border whenever a function is called, and another when it has returned."""
        function = getattr(owner, name)

        def stamped(*arguments: Any, **options: Any) -> Any:
            self.moments.append((border, time.perf_counter()))
            result = function(*arguments, **options)
            if after is not None:
                self.moments.append((after, time.perf_counter()))
            return result

        setattr(owner, name, stamped)

    def around(self, owner: Any, name: str, what: str) -> None:
        """Add up the seconds spent in a function."""
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - began

        setattr(owner, name, timed)

    def phases(self) -> dict[str, list[float]]:
        """Microseconds of every phase, named by the border it begins at."""
        found: dict[str, list[float]] = {name: [] for name in BORDERS}
        for (begin, since), (_, until) in zip(self.moments, self.moments[1:], strict=False):
            found[begin].append((until - since) * 1e6)
        return found


def stamp() -> Stamps:
    """Put the stamps where they belong."""
    stamps = Stamps()
    stamps.before(StoreTarget, "__init__", "first")
    stamps.before(StoreTarget, "finish", "last")
    stamps.before(FileSink, "_commit", "commit", "committed")
    respond: Callable[..., Any] = Association.respond

    async def responding(*arguments: Any, **options: Any) -> None:
        stamps.moments.append(("answer", time.perf_counter()))
        await respond(*arguments, **options)
        stamps.moments.append(("answered", time.perf_counter()))

    setattr(Association, "respond", responding)  # noqa: B010 - a method of a class is not assigned to
    stamps.around(part10, "_write_all", "writing to the file")
    stamps.around(part10.Part10Writer, "_scan_beginning", "looking through the first fragment")
    stamps.around(FileSink, "__init__", "opening the file")
    stamps.around(Session, "receive", "PDUs and messages (the plan's C-FIND included)")
    return stamps


async def retrieve(peer: peers.Peer, study: str, out: Path, durability: Any) -> float:
    """One C-GET of a study; gives its seconds."""
    async with aiodicom.connect("127.0.0.1", peer.port, called_ae=peer.ae_title) as pacs:
        result = await pacs.get("STUDY", study, root="STUDY", directory=out, durability=durability)
    if not result.ok:
        raise SystemExit(f"the retrieve failed: {result!r}")
    return result.seconds


def main() -> int:
    """Retrieve once and print the phases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=["dcmtk", "aiodicom"], default="dcmtk")
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--durability", choices=["fsync", "rename"], default="fsync")
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.place)))
        study = write_slices(place / "objects", options.objects)

        def serving(port: int) -> list[str]:
            return [sys.executable, "-m", "aiodicom", "serve", str(place / "archive"), "--port", str(port)]

        if options.server == "dcmtk":
            peer = stack.enter_context(peers.dcmqrscp(place / "archive", nodelay=True))
        else:
            peer = stack.enter_context(peers.launch("aiodicom", "ARCHIVE", place / "archive", serving))

        async def fill() -> None:
            async with aiodicom.connect("127.0.0.1", peer.port, called_ae=peer.ae_title) as pacs:
                report = await pacs.store(place / "objects")
                assert report.ok

        uvloop.run(fill())
        stamps = stamp()
        seconds = uvloop.run(retrieve(peer, study, place / "out", options.durability))
    print(f"{options.objects} objects of 0.5 MB from {options.server}, {options.durability}: {seconds:.2f} s")
    for name, values in stamps.phases().items():
        if values:
            median, mean = statistics.median(values), statistics.fmean(values)
            print(f"{median:6.0f} us median {mean:6.0f} mean  {BORDERS[name]}")
    print("of which, in the loop, an object:")
    for what, spent in stamps.spent.items():
        print(f"{spent / options.objects * 1e6:6.0f} us  {what}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
