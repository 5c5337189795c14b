"""A PACS in a thread of its own, for tests: real services over a temporary archive, and faults as told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.archive import Archive
from ..association.performing import Refused, Request
from ..client.connect import connect
from ..conformance.watch import Watched
from ..conformance.wire import AC, RELEASE_RP, RELEASE_RQ
from ..dataset.instance import Instance
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse.levels import Level, Root
from ..pdu.types import AAssociateRJ
from ..server.access import Access, Caller
from ..server.archive_service import ArchiveService
from ..server.listener import Server
from ..server.service import Destination, EncodedMatches
from .faults import Fault
from .proxy import FaultProxy

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HOST = "127.0.0.1"
STARTING = 30.0
"""Seconds the thread may take to listen."""
ENDING = 30.0
"""Seconds it may take to end."""


def ct(number: int, *, rows: int = 8) -> Dataset:
    """A small CT slice of one patient, study and series, always the same for a number."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID = f"2.25.20001.{number}"
    made.PatientName, made.PatientID = "Test^Fake", "FAKE-1"
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.20002", "2.25.20003"
    made.StudyDate, made.Modality, made.InstanceNumber = "20240102", "CT", number
    made.Rows, made.Columns, made.SamplesPerPixel = rows, rows, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelData = bytes((number & 0xFF, 0)) * (rows * rows)
    return made


@dataclass(slots=True)
class _Script:
    """Which faults come when, and what was asked for so far."""

    faults: tuple[Fault, ...]
    counts: Counter[str] = field(default_factory=Counter)
    active: bool = False

    def asked(self, what: str) -> Fault | None:
        if not self.active:
            return None
        self.counts[what] += 1
        return next((one for one in self.faults if one.fits(what, self.counts[what])), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doorman(Access):
    """Rejects the associations that a fault says."""

    script: _Script

    def check(self, caller: Caller) -> AAssociateRJ | None:
        """The rejection of a fault."""
        fault = self.script.asked("associate")
        return AAssociateRJ(*fault.rejection) if fault is not None else None


class _Faulty(ArchiveService):
    """An archive's services with faults in front."""

    def __init__(self, archive: Archive, script: _Script, proxy: FaultProxy) -> None:
        super().__init__(archive, ae_title="FAKE")
        self._script = script
        self._proxy = proxy

    async def echo(self, request: Request) -> int:
        """C-ECHO."""
        await self._before("C-ECHO", request)
        return await super().echo(request)

    def store(self, request: Request) -> StoreSink:
        """C-STORE; one that hangs takes the object and never says so."""
        fault = self._script.asked("C-STORE")
        sink = super().store(request)
        if fault is None:
            return sink
        if fault.action == "hang":
            return _NeverSafe(sink)
        sink.discard()
        self._at_once(fault, request)
        raise Refused(fault.code or 0x0110, "a fault of the test")

    async def find(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[EncodedMatches]:
        """C-FIND."""
        fault = self._script.asked("C-FIND")
        if fault is not None and not fault.pending:
            await self._commit(fault, request)
        sent = 0
        async for matches in super().find(request, root, level, identifier):
            if fault is None or not fault.pending:
                yield matches
                continue
            for one in matches.datasets:  # the fault comes between two answers
                yield EncodedMatches((one,), matches.status)
                sent += 1
                if fault.pending == sent:
                    await self._commit(fault, request)

    async def retrieve(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> Sequence[Instance]:
        """C-GET and C-MOVE."""
        await self._before("C-GET" if request.message.command_field == 0x0010 else "C-MOVE", request)
        return await super().retrieve(request, root, level, identifier)

    async def destination(self, request: Request, ae_title: str) -> Destination | None:
        """C-MOVE: destinations that the test registered."""
        return self.destinations.get(ae_title)

    async def _before(self, what: str, request: Request) -> None:
        fault = self._script.asked(what)
        if fault is not None:
            await self._commit(fault, request)

    async def _commit(self, fault: Fault, request: Request) -> None:
        self._at_once(fault, request)
        if fault.action in ("hang", "abort"):
            await asyncio.Event().wait()
        if fault.action == "status":
            raise Refused(fault.code, "a fault of the test")

    def _at_once(self, fault: Fault, request: Request) -> None:
        if fault.action == "abort":
            request.association.abort_now()
        elif fault.action == "cut":
            port = request.association.connection.transport.get_extra_info("peername")[1]
            asking = next(one for one in reversed(self._proxy.connections) if one.port == port)
            self._proxy.cut(asking, fault.after_bytes, fault.how)


def _released(said: Sequence[tuple[str, int]]) -> bool:
    """Whether the application's A-RELEASE-RQ was answered: one of the other side's is not of its doing."""
    asked = said.index((">", RELEASE_RQ)) if (">", RELEASE_RQ) in said else len(said)
    return ("<", RELEASE_RP) in said[asked:]


class _NeverSafe:
    """A sink whose object is never safe."""

    def __init__(self, sink: StoreSink) -> None:
        self._sink = sink

    def write(self, data: memoryview, /) -> None:
        """Take a part."""
        self._sink.write(data)

    async def commit(self) -> StoreOutcome:
        """Wait for ever."""
        await asyncio.Event().wait()
        return StoreOutcome(0)

    def discard(self) -> None:
        """Leave no trace."""
        self._sink.discard()


class FakePacs:
    """A PACS on a free loopback port, from `__enter__` to `__exit__`; used from any thread.

    `objects` are in it beforehand; `faults` happen as `on` says them; with `tls` (a server's SSL context) it
    speaks TLS. What the application under test said is judged by the rules of the conformance kit.
    """

    def __init__(
        self,
        objects: Iterable[Dataset] = (),
        faults: Iterable[Fault] = (),
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host: str = HOST
        self.port: int = 0
        self._objects = list(objects)
        self._script = _Script(tuple(faults))
        self._tls = tls
        self._watched: list[Watched] = []
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="aiodicom-fake-pacs", daemon=True)

    def __enter__(self) -> FakePacs:
        self._thread.start()
        if not self._ready.wait(STARTING):
            raise TimeoutError("the fake PACS did not start")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already: `_failure` says why
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(ENDING)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise TimeoutError(f"the fake PACS did not end in {ENDING:g} s")

    def requests(self, what: str) -> int:
        """How many requests of a kind ("associate", "C-STORE" ...) came."""
        return self._script.counts[what]

    @property
    def released(self) -> bool:
        """Whether each association that stood was released by the application: it asked and was answered."""
        spoken = [[(said.way, said.pdu.kind) for said in one.said] for one in self._watched]
        stood = [said for said in spoken if ("<", AC) in said]
        return bool(stood) and all(_released(said) for said in stood)

    @property
    def deviations(self) -> list[str]:
        """What the application said against a rule of the standard: clause and requirement."""
        return [
            f"{found.rule.clause}: {found.rule.requirement}"
            for one in self._watched
            for found in one.deviations()
            if found.way == ">"
        ]

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with tempfile.TemporaryDirectory() as folder:
            archive = Archive(Path(folder) / "archive", durability="rename")
            proxy = FaultProxy(HOST, 0, ssl=self._tls, tap=self._tap)
            service = _Faulty(archive, self._script, proxy)
            access = _Doorman(script=self._script)
            try:
                async with Server(service, host=HOST, port=0, access=access) as server:
                    await self._seed(server.port)
                    proxy.aim(HOST, server.port)
                    async with proxy:
                        self.port, self._script.active = proxy.port, True
                        self._ready.set()
                        await self._stop.wait()
            finally:
                archive.close()

    async def _seed(self, port: int) -> None:
        if not self._objects:
            return
        async with connect(HOST, port) as pacs:
            report = await pacs.store(self._objects)
        failed = [item for item in report.items if item.status is None or int(item.status) != 0]
        if failed or report.error is not None:
            raise ValueError(f"an object that the fake PACS cannot hold: {failed or report.error}")

    def _tap(self, number: int, way: str, data: bytes, at: float) -> None:
        while len(self._watched) <= number:
            self._watched.append(Watched(f"connection {len(self._watched)}", at))
        self._watched[number].feed(way, data, at)
