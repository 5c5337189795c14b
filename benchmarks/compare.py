"""C-STORE and C-GET side by side: aiodicom, DCMTK as shipped, DCMTK with TCP_NODELAY=1, pynetdicom.

    python benchmarks/compare.py [--rounds 5] [--objects 1000] [--place /dev/shm] [--only store|get|large]

Whole client commands, from exec to exit, against servers that run; a round goes once through every row, so
that the machine's moods fall on all alike. Prints medians, ratios taken round by round against DCMTK tuned,
CPU seconds a GB and peak memory of both sides. Rows marked * move a tenth of the objects: their rate an
object is constant, and they would take minutes. MB are 10^6 bytes of Part 10 files.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from interop import peers
from measure import Sample, median, run
from objects import write_large, write_slices

PYTHON = sys.executable


@dataclass(slots=True)
class Row:
    """One combination of server and client, measured once a round."""

    group: str
    name: str
    bytes: int
    measure: Callable[[], Sample]
    samples: list[Sample | None] = field(default_factory=list)  # None: the client failed in that round

    @property
    def good(self) -> list[Sample]:
        """The runs that went well."""
        return [sample for sample in self.samples if sample is not None]

    def rate(self, sample: Sample) -> float:
        """MB/s of one run."""
        return self.bytes / 1e6 / sample.wall


class Failed(Exception):
    """A client failed, or brought too little: that run is no measurement, and is counted."""


class Bench:
    """The data, the servers and the rows."""

    def __init__(self, place: Path, objects: int, stack: contextlib.ExitStack) -> None:
        self.place = place
        self.stack = stack
        self.rows: list[Row] = []
        self.full = place / "full"
        self.tenth = place / "tenth"
        self.study = write_slices(self.full, objects, study=1)
        self.small_study = write_slices(self.tenth, max(1, objects // 10), study=2)
        self.sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for p in (self.full, self.tenth)}

    # --- servers

    def archive(self, name: str, *options: str) -> contextlib.AbstractContextManager[peers.Peer]:
        """Our archive, as `aiodicom serve` runs it."""
        folder = self.place / name

        def arguments(port: int) -> list[str]:
            return [PYTHON, "-m", "aiodicom", "serve", str(folder), "--port", str(port), *options]

        return peers.launch("aiodicom", "ARCHIVE", folder, arguments)

    def storescp(self, name: str, *, nodelay: bool) -> peers.Peer:
        return self.stack.enter_context(peers.storescp(self.place / name, nodelay=nodelay))

    def dcmqrscp(self, name: str, *, nodelay: bool) -> peers.Peer:
        return self.stack.enter_context(peers.dcmqrscp(self.place / name, nodelay=nodelay))

    # --- rows

    def store(self, name: str, server: peers.Peer, source: Path, client: Pacs, nodelay: bool = False) -> None:
        """A C-STORE of a folder into a server that keeps files until it is emptied."""

        def measure() -> Sample:
            sample = checked(name, client(server, source), server, nodelay)
            for path in server.directory.iterdir():
                path.unlink()
            return sample

        self.rows.append(Row("C-STORE", name, self.sizes[source], measure))

    def store_ours(self, name: str, source: Path, client: Pacs, *options: str, nodelay: bool = False) -> None:
        """A C-STORE into our archive, a new one each time: it does not write again what it has."""

        def measure() -> Sample:
            with self.archive("fresh", *options) as server:
                sample = checked(name, client(server, source), server, nodelay)
            shutil.rmtree(self.place / "fresh")
            return sample

        self.rows.append(Row("C-STORE", name, self.sizes[source], measure))

    def get(self, name: str, server: peers.Peer, source: Path, client: Pacs, nodelay: bool = False) -> None:
        """A C-GET of the study that was stored from a folder."""

        def measure() -> Sample:
            out = Path(tempfile.mkdtemp(dir=self.place))
            try:
                sample = checked(name, client(server, out), server, nodelay, cwd=out)
                got = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
                if not 0.99 < got / self.sizes[source] < 1.01:
                    raise Failed(f"{name}: {got} bytes arrived where {self.sizes[source]} were stored")
                return sample
            finally:
                shutil.rmtree(out)

        self.rows.append(Row("C-GET", name, self.sizes[source], measure))


Pacs = Callable[[peers.Peer, Path], list[str]]


def checked(name: str, argv: list[str], server: peers.Peer, nodelay: bool, cwd: Path | None = None) -> Sample:
    """Run a client; one that fails is no measurement."""
    sample = run(argv, server.process.pid, env={"TCP_NODELAY": "1"} if nodelay else {}, cwd=cwd)
    if sample.code != 0:
        raise Failed(f"{name}: exit code {sample.code}")
    return sample


def aiodicom_store(server: peers.Peer, source: Path) -> list[str]:
    title = ["--called", server.ae_title]
    return [PYTHON, "-m", "aiodicom", "store", "127.0.0.1", str(server.port), str(source), *title]


def aiodicom_get(study: str, *more: str) -> Pacs:
    def command(server: peers.Peer, out: Path) -> list[str]:
        options = [
            "--level",
            "STUDY",
            "--root",
            "STUDY",
            "--called",
            server.ae_title,
            "--out",
            str(out),
            *more,
        ]
        return [PYTHON, "-m", "aiodicom", "get", "127.0.0.1", str(server.port), study, *options]

    return command


def dcmtk_store(server: peers.Peer, source: Path) -> list[str]:
    return list(peers.storescu(server.port, [source], called=server.ae_title, extra=["-pdu", "131072"]).argv)


def dcmtk_get(study: str) -> Pacs:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}

    def command(server: peers.Peer, out: Path) -> list[str]:
        made = peers.getscu(server.port, keys, out, called=server.ae_title, extra=["-pdu", "131072"])
        return list(made.argv)

    return command


def pynetdicom_store(server: peers.Peer, source: Path) -> list[str]:
    paths = sorted(source.iterdir())
    return list(peers.pynetdicom_scu("store", server.port, called=server.ae_title, paths=paths).argv)


def pynetdicom_get(study: str) -> Pacs:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}

    def command(server: peers.Peer, out: Path) -> list[str]:
        made = peers.pynetdicom_scu("get", server.port, called=server.ae_title, keys=keys, directory=out)
        return list(made.argv)

    return command


RENAME = ("--durability", "rename")
"""Nothing forced to the disk by whoever receives, as with every peer here."""
TUNED_STORE = "DCMTK tuned -> DCMTK tuned"
TUNED_GET = "DCMTK tuned <- DCMTK tuned"


def build_store(bench: Bench) -> None:
    """Every C-STORE row."""
    tuned = bench.storescp("scp-tuned", nodelay=True)
    shipped = bench.storescp("scp-shipped", nodelay=False)
    pynetdicom = bench.stack.enter_context(peers.pynetdicom_scp(bench.place / "scp-pynetdicom"))
    full, tenth = bench.full, bench.tenth
    bench.store(TUNED_STORE, tuned, full, dcmtk_store, nodelay=True)
    bench.store_ours("aiodicom -> aiodicom archive", full, aiodicom_store)
    bench.store("aiodicom -> DCMTK tuned", tuned, full, aiodicom_store)
    bench.store_ours("DCMTK tuned -> aiodicom archive", full, dcmtk_store, nodelay=True)
    bench.store_ours("DCMTK tuned -> aiodicom archive, rename", full, dcmtk_store, *RENAME, nodelay=True)
    bench.store("DCMTK shipped -> DCMTK shipped *", shipped, tenth, dcmtk_store)
    bench.store("aiodicom -> DCMTK shipped *", shipped, tenth, aiodicom_store)
    bench.store_ours("DCMTK shipped -> aiodicom archive *", tenth, dcmtk_store)
    bench.store("pynetdicom -> pynetdicom *", pynetdicom, tenth, pynetdicom_store)


def fill(server: peers.Peer, *sources: Path) -> None:
    """Store folders into an archive before its rows are measured."""
    for source in sources:
        checked("filling", aiodicom_store(server, source), server, nodelay=False)


def build_get(bench: Bench) -> None:
    """Every C-GET row."""
    ours = bench.stack.enter_context(bench.archive("archive"))
    tuned = bench.dcmqrscp("qr-tuned", nodelay=True)
    shipped = bench.dcmqrscp("qr-shipped", nodelay=False)
    for server in (ours, tuned):
        fill(server, bench.full, bench.tenth)
    fill(shipped, bench.tenth)
    full, tenth = bench.full, bench.tenth
    study, small = bench.study, bench.small_study
    bench.get(TUNED_GET, tuned, full, dcmtk_get(study), nodelay=True)
    bench.get("aiodicom <- aiodicom archive", ours, full, aiodicom_get(study))
    bench.get("aiodicom <- DCMTK tuned", tuned, full, aiodicom_get(study))
    bench.get("aiodicom <- aiodicom archive, rename", ours, full, aiodicom_get(study, *RENAME))
    bench.get("aiodicom <- DCMTK tuned, rename", tuned, full, aiodicom_get(study, *RENAME))
    bench.get("DCMTK tuned <- aiodicom archive", ours, full, dcmtk_get(study), nodelay=True)
    bench.get("DCMTK shipped <- DCMTK shipped *", shipped, tenth, dcmtk_get(small))
    bench.get("aiodicom <- DCMTK shipped *", shipped, tenth, aiodicom_get(small))
    bench.get("DCMTK shipped <- aiodicom archive *", ours, tenth, dcmtk_get(small))
    bench.get("pynetdicom <- DCMTK tuned *", tuned, tenth, pynetdicom_get(small))
    bench.get("pynetdicom <- aiodicom archive *", ours, tenth, pynetdicom_get(small))


def build_large(bench: Bench) -> None:
    """One object of 512 MiB each way: memory."""
    folder = bench.place / "large"
    study = write_large(folder / "large.dcm", 512)
    bench.sizes[folder] = (folder / "large.dcm").stat().st_size
    bench.store_ours("aiodicom -> aiodicom archive, 512 MiB", folder, aiodicom_store)
    ours = bench.stack.enter_context(bench.archive("large-archive"))
    fill(ours, folder)
    bench.get("aiodicom <- aiodicom archive, 512 MiB", ours, folder, aiodicom_get(study))
    bench.get("DCMTK tuned <- aiodicom archive, 512 MiB", ours, folder, dcmtk_get(study), nodelay=True)


BUILDERS = {"store": build_store, "get": build_get, "large": build_large}


# --- what is printed


def table(rows: list[Row]) -> Iterator[str]:
    """A Markdown table of the rows of one group."""
    base = next((r for r in rows if r.name in (TUNED_STORE, TUNED_GET)), None)
    yield (
        "| what | MB/s median (min-max) | x DCMTK tuned"
        " | CPU s/GB client | CPU s/GB server | peak MB client | peak MB server |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        if not row.good:
            yield f"| {row.name} | every run failed | | | | | |"
            continue
        rates = [row.rate(s) for s in row.good]
        gigabytes = row.bytes / 1e9
        ratio = "-"
        if base is not None:
            pairs = [(a, b) for a, b in zip(row.samples, base.samples, strict=True) if a and b]
            ratio = f"{median([row.rate(a) / base.rate(b) for a, b in pairs]):.2f}"
        cells = (
            row.name + (f" ({failed} failed)" if (failed := len(row.samples) - len(row.good)) else ""),
            f"{median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})",
            ratio,
            f"{median([s.client_cpu for s in row.good]) / gigabytes:.2f}",
            f"{median([s.server_cpu for s in row.good]) / gigabytes:.2f}",
            f"{max(s.client_rss for s in row.good) / 1e6:.0f}",
            f"{max(s.server_rss for s in row.good) / 1e6:.0f}",
        )
        yield "| " + " | ".join(cells) + " |"


def compile_ours() -> None:
    """Byte-compile our packages, as pip does with every package it installs but an editable one: else each
    of our commands would compile its sources first, where PYTHONDONTWRITEBYTECODE is set."""
    import aiodicom

    roots = {Path(module.__file__ or "").resolve().parent for module in _packages(aiodicom)}
    for root in roots:
        compileall.compile_dir(root, quiet=1)


def _packages(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for name in ("pdu", "dimse", "client", "server", "imaging"):
        yield importlib.import_module(f"{package.__name__}.{name}")


def versions() -> str:
    """What was run, and on what."""
    from importlib.metadata import version

    packages = ", ".join(f"{p} {version(p)}" for p in ("aiodicom", "pynetdicom", "pydicom", "uvloop"))
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    return f"Python {platform.python_version()}, {packages}; {machine}"


def main() -> int:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--only", choices=sorted(BUILDERS), action="append")
    parser.add_argument("--json", type=Path, help="write every sample here")
    options = parser.parse_args()
    print(versions())
    compile_ours()
    groups = options.only or list(BUILDERS)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.place)))
        bench = Bench(place, options.objects, stack)
        for group in groups:
            BUILDERS[group](bench)
        for number in range(options.rounds + 1):  # the first round warms up and is not counted
            for row in bench.rows:
                try:
                    sample = row.measure()
                except Failed as failure:
                    print(f"round {number}: {failure}", file=sys.stderr, flush=True)
                    sample = None
                if number:
                    row.samples.append(sample)
            print(f"round {number} of {options.rounds} done", file=sys.stderr, flush=True)
    print(
        f"{options.objects} objects of 0.5 MB (* a tenth of them), {options.rounds} rounds, {options.place}\n"
    )
    for group in dict.fromkeys(row.group for row in bench.rows):
        print(f"### {group}\n")
        for text in ("512 MiB", ""):
            rows = [r for r in bench.rows if r.group == group and ("512 MiB" in r.name) == bool(text)]
            if rows:
                print("\n".join(table(rows)) + "\n")
    if options.json:
        found = [
            {"group": r.group, "name": r.name, "bytes": r.bytes, "samples": [vars_of(s) for s in r.good]}
            for r in bench.rows
        ]
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def vars_of(sample: Sample) -> dict[str, float]:
    """A sample as JSON can have it."""
    return {name: getattr(sample, name) for name in Sample.__slots__}


if __name__ == "__main__":
    raise SystemExit(main())
