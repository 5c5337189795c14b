"""The rows of the comparison: which server, which client, how much work; servers start when one is needed."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import commands as c
from interop import peers
from measure import Sample, run
from objects import write_large, write_slices

RENAME = ("--durability", "rename")
"""Nothing forced to the disk by whoever receives, as with every peer here."""
SHIPPED_PART = 10
"""Rows marked * move a tenth: their rate an object is constant, and they would take minutes."""


@dataclass(slots=True)
class Row:
    """One combination of server and client, measured once a round.

    amount: bytes, answers, echoes or associations; unit: what is printed of them a second.
    objects: how many the bytes make, known when their files are made.
    base: the row of its group that others are compared with.
    """

    group: str
    name: str
    amount: float
    unit: str
    measure: Callable[[], Sample]
    base: bool = False
    data: str = ""
    objects: int = 0
    samples: list[Sample | None] = field(default_factory=list)  # None: the client failed in that round

    @property
    def good(self) -> list[Sample]:
        """The runs that went well."""
        return [sample for sample in self.samples if sample is not None]

    def rate(self, sample: Sample) -> float:
        """What was done in a second of the whole command."""
        return self.amount / sample.wall

    def steady(self, sample: Sample) -> float | None:
        """What was done in a second of the work alone."""
        return None if sample.steady is None else self.amount / sample.steady

    def microseconds(self, sizes: Sizes) -> tuple[float, float] | None:
        """CPU time of client and server an object, answer, echo or association: the least of the runs.

        Of a client that tells what its work alone took, that; else of the whole command.
        """
        if not self.good:
            return None
        client = min(s.client_cpu if s.steady_cpu is None else s.steady_cpu for s in self.good)
        scale = 1e6 / (sizes.count(self.data) if self.data else self.amount)
        return client * scale, min(s.server_cpu for s in self.good) * scale


@dataclass(frozen=True, slots=True)
class How:
    """nodelay: TCP_NODELAY=1 in the client's environment. needs: programs without which the row is left out.
    base: the row of its group that others are compared with."""

    nodelay: bool = False
    needs: tuple[str, ...] = ()
    base: bool = False


PLAIN = How()


class Failed(Exception):
    """A client failed, or brought too little: that run is no measurement, and is counted."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work there is."""

    objects: int = 1000
    small: int = 5000
    large_mib: int = 512
    echoes: int = 2000
    associations: int = 200

    def count(self, data: str) -> int:
        """The objects of a data set by name: ct, tenth, small, large."""
        tenth = max(self.objects // SHIPPED_PART, 1)
        return {"ct": self.objects, "tenth": tenth, "small": self.small, "large": 1}[data]


class Bench:
    """The data, the servers and the rows; nothing of it is made before `measure` of a row needs it."""

    def __init__(self, place: Path, sizes: Sizes, stack: contextlib.ExitStack) -> None:
        self.place = place
        self.sizes = sizes
        self.stack = stack
        self.rows: list[Row] = []
        self.missing: set[str] = set()
        self._servers: dict[str, peers.Peer] = {}
        self._filled: set[tuple[str, str]] = set()
        self._folders: dict[str, Path] = {}

    # --- data

    def folder(self, data: str) -> Path:
        """The files of a data set by name: ct, tenth, small, large."""
        if data not in self._folders:
            folder, sizes = self.place / data, self.sizes
            if data == "large":
                write_large(folder / "large.dcm", sizes.large_mib)
            else:
                size = 60 if data == "small" else 512
                write_slices(folder, sizes.count(data), size=size, study=STUDIES[data])
            self._folders[data] = folder
        return self._folders[data]

    def weigh(self) -> None:
        """Put the bytes and the number of the files into the rows that move them, now that they are made."""
        for row in self.rows:
            if row.data in self._folders:
                sizes = [file.stat().st_size for file in self._folders[row.data].iterdir()]
                row.amount, row.objects = float(sum(sizes)), len(sizes)

    # --- servers

    def archive(self, folder: Path, *options: str) -> contextlib.AbstractContextManager[peers.Peer]:
        """Our archive, as `aiodicom serve` runs it."""

        def arguments(port: int) -> list[str]:
            return [c.PYTHON, "-m", "aiodicom", "serve", str(folder), "--port", str(port), *options]

        return peers.launch("aiodicom", "ARCHIVE", folder, arguments)

    def server(self, kind: str, data: str = "") -> peers.Peer:
        """A running server by name, holding a data set."""
        if kind not in self._servers:
            starts: dict[str, Callable[[], contextlib.AbstractContextManager[peers.Peer]]] = {
                "ours": lambda: self.archive(self.place / "archive"),
                "qr-tuned": lambda: peers.dcmqrscp(self.place / "qr-tuned", nodelay=True),
                "qr-shipped": lambda: peers.dcmqrscp(self.place / "qr-shipped", nodelay=False),
                "scp-tuned": lambda: peers.storescp(self.place / "scp-tuned", nodelay=True),
                "scp-shipped": lambda: peers.storescp(self.place / "scp-shipped", nodelay=False),
                "scp-tls": lambda: peers.storescp(self.place / "scp-tls", tls=self.pki.server),
                "orthanc": lambda: peers.orthanc(self.place / "orthanc"),
                "pynetdicom": lambda: peers.pynetdicom_scp(self.place / "scp-pynetdicom"),
            }
            self._servers[kind] = self.stack.enter_context(starts[kind]())
        server = self._servers[kind]
        if data and (kind, data) not in self._filled:
            checked("filling", c.aiodicom_store()(server, self.folder(data)), server, nodelay=False)
            self._filled.add((kind, data))
        return server

    @functools.cached_property
    def pki(self) -> peers.PKI:
        """Certificates for both ends."""
        return peers.make_pki(self.place / "pki")

    # --- rows

    def add(
        self,
        group: str,
        name: str,
        amount: float,
        unit: str,
        measure: Callable[[], Sample],
        how: How,
        data: str = "",
    ) -> None:
        """A row, unless a program it needs is not there."""
        gone = {one for one in how.needs if not peers.has_peer(one)}
        self.missing |= gone
        if not gone:
            self.rows.append(Row(group, name, amount, unit, measure, how.base, data))

    def store(self, group: str, name: str, kind: str, data: str, client: c.Client, how: How = PLAIN) -> None:
        """A C-STORE of a data set into a server that keeps files until it is emptied."""

        def measure() -> Sample:
            server = self.server(kind)
            sample = checked(name, client(server, self.folder(data)), server, how.nodelay)
            if kind != "orthanc":
                for path in server.directory.iterdir():
                    path.unlink()
            return sample

        self.add(group, name, 0.0, "MB/s", measure, how, data)

    def store_ours(
        self,
        group: str,
        name: str,
        data: str,
        client: c.Client,
        options: Callable[[], Sequence[str]] = tuple,
        how: How = PLAIN,
    ) -> None:
        """A C-STORE into our archive, a new one each time: it does not write again what it has.

        options: of the archive, asked for when it starts.
        """

        def measure() -> Sample:
            folder = self.place / "fresh"
            with self.archive(folder, *options()) as server:
                sample = checked(name, client(server, self.folder(data)), server, how.nodelay)
            shutil.rmtree(folder)
            return sample

        self.add(group, name, 0.0, "MB/s", measure, how, data)

    def get(self, group: str, name: str, kind: str, data: str, client: c.Client, how: How = PLAIN) -> None:
        """A C-GET of the study of a data set."""

        def measure() -> Sample:
            server, source = self.server(kind, data), self.folder(data)
            out = Path(tempfile.mkdtemp(dir=self.place))
            try:
                sample = checked(name, client(server, out), server, how.nodelay, cwd=out)
                got = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
                stored = sum(f.stat().st_size for f in source.iterdir())
                if not 0.99 < got / stored < 1.01:
                    raise Failed(f"{name}: {got} bytes arrived where {stored} were stored")
                return sample
            finally:
                shutil.rmtree(out)

        self.add(group, name, 0.0, "MB/s", measure, how, data)

    def ask(
        self, group: str, name: str, kind: str, data: str, amount: float, client: c.Client, how: How = PLAIN
    ) -> None:
        """What moves no objects: queries, echoes, associations."""

        def measure() -> Sample:
            server = self.server(kind, data)
            return checked(name, client(server, self.place), server, how.nodelay)

        self.add(group, name, amount, "1/s", measure, how)


STUDIES = {"ct": 1, "tenth": 2, "large": 3, "small": 4}


def study(data: str) -> str:
    """The Study Instance UID of a data set."""
    return f"2.25.9871234.{STUDIES[data]}"


def checked(name: str, argv: list[str], server: peers.Peer, nodelay: bool, cwd: Path | None = None) -> Sample:
    """Run a client; one that fails is no measurement."""
    sample = run(argv, server.process.pid, env={"TCP_NODELAY": "1"} if nodelay else {}, cwd=cwd)
    if sample.code != 0:
        raise Failed(f"{name}: exit code {sample.code}")
    return sample


DCMTK_STORE, DCMTK_GET = ("storescu", "storescp"), ("getscu", "dcmqrscp")
BOTH_STORE, BOTH_GET = How(needs=DCMTK_STORE), How(needs=DCMTK_GET)
SCP, QR, SCU, GETSCU = (How(needs=(one,)) for one in ("storescp", "dcmqrscp", "storescu", "getscu"))
ORTHANC, PYNETDICOM = How(needs=("Orthanc",)), How(needs=("pynetdicom",))


SIZES_OF = (("0.5 MB", "ct"), ("10 kB", "small"), ("one object", "large"))


def build_store(bench: Bench) -> None:
    """C-STORE of 0.5 MB, 10 kB and large objects."""
    for size, data in SIZES_OF:
        group = f"C-STORE, {size}"
        dcmtk, ours, library = c.dcmtk_store(), c.aiodicom_store(), c.steady("store", "{}")
        base = How(True, DCMTK_STORE, True)
        bench.store(group, "DCMTK tuned -> DCMTK tuned", "scp-tuned", data, dcmtk, base)
        bench.store_ours(group, "aiodicom -> aiodicom archive", data, ours)
        bench.store_ours(group, "aiodicom library -> aiodicom archive", data, library)
        bench.store_ours(group, "aiodicom -> aiodicom archive, rename", data, ours, lambda: RENAME)
        bench.store(group, "aiodicom -> DCMTK tuned", "scp-tuned", data, ours, SCP)
        bench.store(group, "aiodicom library -> DCMTK tuned", "scp-tuned", data, library, SCP)
        tuned = How(True, ("storescu",))
        bench.store_ours(group, "DCMTK tuned -> aiodicom archive", data, dcmtk, how=tuned)
        name = "DCMTK tuned -> aiodicom archive, rename"
        bench.store_ours(group, name, data, dcmtk, lambda: RENAME, how=tuned)
    group, dcmtk, ours = "C-STORE, 0.5 MB", c.dcmtk_store(), c.aiodicom_store()
    bench.store(group, "DCMTK shipped -> DCMTK shipped *", "scp-shipped", "tenth", dcmtk, BOTH_STORE)
    bench.store(group, "aiodicom -> DCMTK shipped *", "scp-shipped", "tenth", ours, SCP)
    bench.store_ours(group, "DCMTK shipped -> aiodicom archive *", "tenth", dcmtk, how=SCU)
    bench.store(group, "aiodicom -> Orthanc tuned *", "orthanc", "tenth", ours, ORTHANC)
    bench.store(
        group,
        "pynetdicom -> pynetdicom *",
        "pynetdicom",
        "tenth",
        c.pynetdicom_store,
        PYNETDICOM,
    )


def build_get(bench: Bench) -> None:
    """C-GET likewise."""
    for size, data in SIZES_OF:
        group = f"C-GET, {size}"
        uid = study(data)
        dcmtk, ours, library = c.dcmtk_get(uid), c.aiodicom_get(uid), c.steady("get", uid, "{}")
        base = How(True, DCMTK_GET, True)
        bench.get(group, "DCMTK tuned <- DCMTK tuned", "qr-tuned", data, dcmtk, base)
        bench.get(group, "aiodicom <- aiodicom archive", "ours", data, ours)
        bench.get(group, "aiodicom library <- aiodicom archive", "ours", data, library)
        rename = c.aiodicom_get(uid, *RENAME)
        bench.get(group, "aiodicom <- aiodicom archive, rename", "ours", data, rename)
        bench.get(group, "aiodicom <- DCMTK tuned", "qr-tuned", data, ours, QR)
        bench.get(group, "aiodicom library <- DCMTK tuned", "qr-tuned", data, library, QR)
        bench.get(
            group,
            "aiodicom <- DCMTK tuned, rename",
            "qr-tuned",
            data,
            c.aiodicom_get(uid, *RENAME),
            QR,
        )
        bench.get(group, "DCMTK tuned <- aiodicom archive", "ours", data, dcmtk, How(True, ("getscu",)))
    group, uid = "C-GET, 0.5 MB", study("tenth")
    dcmtk, ours = c.dcmtk_get(uid), c.aiodicom_get(uid)
    bench.get(group, "DCMTK shipped <- DCMTK shipped *", "qr-shipped", "tenth", dcmtk, BOTH_GET)
    bench.get(group, "aiodicom <- DCMTK shipped *", "qr-shipped", "tenth", ours, QR)
    bench.get(group, "DCMTK shipped <- aiodicom archive *", "ours", "tenth", dcmtk, GETSCU)
    bench.get(group, "aiodicom <- Orthanc tuned *", "orthanc", "tenth", ours, ORTHANC)
    bench.get(
        group,
        "pynetdicom <- aiodicom archive *",
        "ours",
        "tenth",
        c.pynetdicom_get(uid),
        PYNETDICOM,
    )


def build_ask(bench: Bench) -> None:
    """Answers, echoes and associations a second."""
    count, uid = bench.sizes.small, study("small")
    group = f"C-FIND, {count} answers"
    dcmtk, library = c.dcmtk_find(uid), c.steady("find", uid)
    needs = ("findscu", "dcmqrscp")
    bench.ask(group, "DCMTK tuned <- DCMTK tuned", "qr-tuned", "small", count, dcmtk, How(True, needs, True))
    bench.ask(group, "aiodicom library <- aiodicom archive", "ours", "small", count, library)
    bench.ask(
        group,
        "aiodicom library <- DCMTK tuned",
        "qr-tuned",
        "small",
        count,
        library,
        QR,
    )
    bench.ask(
        group, "DCMTK tuned <- aiodicom archive", "ours", "small", count, dcmtk, How(True, ("findscu",))
    )
    group, echoes = "C-ECHO on one association", bench.sizes.echoes
    dcmtk, library = c.dcmtk_echo(echoes), c.steady("echo", str(echoes))
    needs = ("echoscu", "storescp")
    bench.ask(group, "DCMTK tuned -> DCMTK tuned", "scp-tuned", "", echoes, dcmtk, How(True, needs, True))
    bench.ask(group, "aiodicom library -> aiodicom archive", "ours", "", echoes, library)
    bench.ask(group, "aiodicom library -> DCMTK tuned", "scp-tuned", "", echoes, library, SCP)
    bench.ask(group, "DCMTK tuned -> aiodicom archive", "ours", "", echoes, dcmtk, How(True, ("echoscu",)))
    group, count = "Associations, one after the other", bench.sizes.associations
    library = c.steady("associate", str(count))
    bench.ask(group, "aiodicom library -> aiodicom archive", "ours", "", count, library)
    bench.ask(group, "aiodicom library -> DCMTK tuned", "scp-tuned", "", count, library, SCP)
    group, one = "Start-up: a command that echoes once", c.dcmtk_echo(1)
    bench.ask(group, "DCMTK -> aiodicom archive", "ours", "", 1, one, How(True, ("echoscu",), True))
    bench.ask(group, "aiodicom -> aiodicom archive", "ours", "", 1, c.aiodicom_echo)


def build_tls(bench: Bench) -> None:
    """C-STORE over TLS, both ends with certificates."""
    group = "C-STORE over TLS, 0.5 MB"

    def options(files: peers.TLSFiles) -> tuple[str, ...]:
        return ("--key", str(files.key), "--cert", str(files.cert), "--trusted", str(files.trusted))

    def dcmtk(server: peers.Peer, source: Path) -> list[str]:
        return c.dcmtk_store(bench.pki.client)(server, source)

    def ours(server: peers.Peer, source: Path) -> list[str]:
        return c.aiodicom_store(*options(bench.pki.client))(server, source)

    def secured() -> tuple[str, ...]:
        return options(bench.pki.server)

    bench.store(group, "DCMTK tuned -> DCMTK tuned", "scp-tls", "ct", dcmtk, How(True, DCMTK_STORE, True))
    bench.store(group, "aiodicom -> DCMTK tuned", "scp-tls", "ct", ours, SCP)
    bench.store_ours(group, "aiodicom -> aiodicom archive", "ct", ours, secured, How(True))
    tuned = How(True, ("storescu",))
    bench.store_ours(group, "DCMTK tuned -> aiodicom archive", "ct", dcmtk, secured, tuned)


BUILDERS = (build_store, build_get, build_ask, build_tls)
