"""What takes the objects of a retrieve, whichever way they come: kept, counted, handed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..association.association import Association
from ..association.errors import AssociationAborted
from ..association.performing import Refused, Request
from ..association.reading import Reading
from ..association.sinking import Head, HeadSink, SinkFactory
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.levels import Level, QueryError
from ..dimse.status import NOT_AUTHORIZED, OUT_OF_RESOURCES, SOP_CLASS_NOT_SUPPORTED
from .choices import check_durability
from .layout import Layout, parse_layout
from .plan import Plan
from .progress import ProgressCallback
from .receiving import (
    MAXIMUM_OBJECT,
    NO_ROOM,
    DatasetSink,
    Durability,
    FileSink,
    keys_of,
    open_file_sink,
    received,
)
from .retrieved import Arrived, ReceivedItem, RetrieveResult
from .settling import Later, LateSink, Settler

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

T = TypeVar("T")

DATASETS_AHEAD = 8
"""Objects received but not yet taken by who iterates, at which the peer is held."""
BYTES_AHEAD = 64 * 1024 * 1024
"""Bytes of such objects at which the peer is held too: one of any size may wait."""
MAX_ASIDE = 1000
"""Objects that were not asked for which are set aside; more are refused."""
MAX_UNPLANNED = 1_000_000
"""Objects beyond the planned ones that a retrieve takes: a peer that sends others of the same study for ever,
or one again and again, must not fill the disk."""
MAXIMUM_DATASET = 2 * 1024 * 1024 * 1024
"""Bytes of one object that a retrieve into memory takes."""

_ENDLESS = "the peer sends objects without end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where objects go: files below a directory, or data sets where there is none."""

    directory: Path | None = None
    durability: Durability = "fsync"
    max_object_size: int = MAXIMUM_OBJECT
    layout: Layout | None = None
    sink: SinkFactory | None = None
    digest: bool = False

    @property
    def kept(self) -> bool:
        """Whether objects go somewhere as they come, and are not handed on as data sets."""
        return self.directory is not None or self.sink is not None

    @classmethod
    def below(
        cls,
        directory: str | Path | None,
        durability: Durability,
        size: int | None,
        layout: str,
        *,
        sink: SinkFactory | None = None,
        digest: bool = False,
    ) -> Where:
        """As a user says it; `size`: of the largest object. Raises QueryError, ValueError."""
        folder = None if directory is None else Path(directory)
        size = size or MAXIMUM_OBJECT
        if folder is not None and sink is not None:
            raise QueryError("objects go into a directory or to a sink, not both")
        return cls(
            directory=folder,
            durability=check_durability(durability),
            max_object_size=size,
            layout=parse_layout(layout),
            sink=sink,
            digest=digest,
        )


class Intake(Generic[T]):
    """Takes what comes while it is `open`, and adds it to a result.

    planned: SOP Instance UIDs that are to come. over: nothing more is asked for; whoever asks adds what stops
    it to `stops`. asking: associations on which a request waits whose objects come on others.
    """

    def __init__(
        self,
        result: RetrieveResult,
        where: Where,
        level: Level,
        wanted: frozenset[str],
        progress: ProgressCallback | None = None,
    ) -> None:
        self.result = result
        self.where = where
        self.arrived: Arrived = Arrived(result, progress)
        self.planned: frozenset[str] = frozenset()
        self.open: bool = False
        self.over: bool = False
        self.begun: int = 0  # objects that began to come
        self._aside = 0
        self.stops: set[Callable[[], object]] = set()
        self.asking: set[Association] = set()
        self._level = level
        self._wanted = wanted
        self._patients: set[str] = set()  # Patient IDs of what a list names and has come, or of its parents
        self._ahead = 0  # bytes of what waits for who iterates
        self._undecoded = 0  # bytes of what is whole and being decoded: as many objects as the window has
        self._ready: asyncio.Queue[tuple[T, int] | None] | None = None  # of who iterates
        self._deserted = False  # nobody takes data sets any more
        self._readings: set[Reading] = set()  # of the associations on which objects come
        self._full: set[str] = set()  # why the peer is held
        self._settler = None if where.directory is None else Settler(where.directory, self._unsettled)
        self._later = Later()

    # --- sinks

    def store(self, request: Request, *, source_ae: str) -> StoreSink:
        """Where an object goes."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        if self.open and self._endless:  # whoever sends so may not heed a C-CANCEL either
            request.association.abort_now(AssociationAborted(_ENDLESS, by_peer=False))
        sink = self.sink(message, request.context, source_ae=source_ae)
        if isinstance(request.association, Association):
            self.reads(request.association.connection.reading)
        return sink

    def sink(self, message: m.CStoreRQ, context: Context, *, source_ae: str) -> StoreSink:
        """As `store`, whatever the object comes by: `message` and `context` say what it is."""
        if not self.open:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "nothing is being retrieved")
        if self._deserted:
            raise Refused(OUT_OF_RESOURCES, "nobody takes it any more")
        if self._endless:
            self._stop_here(_ENDLESS)
            raise Refused(OUT_OF_RESOURCES, "more objects than a retrieve takes")
        self._moves()
        self.begun += 1
        uid = message.affected_sop_instance_uid
        if self._aside >= MAX_ASIDE and uid not in self.planned:
            self.arrived.turn_away(uid)
            raise Refused(NOT_AUTHORIZED, "not asked for")
        if self.where.sink is not None:
            return self._users_sink(self.where.sink, message, context)
        if self.where.directory is None:
            return self._dataset_sink(message, context)
        return self._file_sink(self.where.directory, message, context, source_ae)

    def _users_sink(self, factory: SinkFactory, message: m.CStoreRQ, context: Context) -> HeadSink:
        uid = message.affected_sop_instance_uid
        unasked = False

        def choose(head: Head) -> StoreSink:
            nonlocal unasked
            unasked = not self._asked_for(uid, keys_of(head.dataset))
            if unasked:
                self.arrived.turn_away(uid)
                raise Refused(NOT_AUTHORIZED, "not asked for")
            return factory(head)

        def done(outcome: StoreOutcome, size: int, digest: str | None) -> None:
            if not unasked:
                item = received(message, context, outcome, size)
                item = replace(item, location=outcome.location, sha256=digest)
                self._take(item, item)

        where = self.where
        return HeadSink(message, context, choose, done, limit=where.max_object_size, digest=where.digest)

    def _dataset_sink(self, message: m.CStoreRQ, context: Context) -> DatasetSink:
        def done(outcome: StoreOutcome, dataset: Dataset | None) -> None:
            if outcome.status == NOT_AUTHORIZED:
                self.arrived.turn_away(message.affected_sop_instance_uid)
            else:
                item = received(message, context, outcome, sink.size)
                self._take(dataset, replace(item, sha256=sink.sha256 if item.ok else None))

        size, digest = min(self.where.max_object_size, MAXIMUM_DATASET), self.where.digest
        sink = DatasetSink(message, context, size, done, self._asked_for, self._decoding, digest=digest)
        return sink

    def _file_sink(self, directory: Path, message: m.CStoreRQ, context: Context, source_ae: str) -> StoreSink:
        durability = self.where.durability

        def came(item: ReceivedItem) -> None:
            if sink is not None and sink.no_room:
                self._stop_here()
            self._aside += sink is not None and sink.unasked and item.ok
            if durability == "fsync" and self._settler is not None:
                self._settler.add(item, settled)
            else:
                settled(item, None)

        def settled(item: ReceivedItem, error: OSError | None) -> None:
            if error is not None and error.errno in NO_ROOM:
                self._stop_here()
            if sink is not None and sink.unasked and item.ok:
                self.arrived.set_aside(item)
            else:
                self._take(item, item)

        sink: FileSink | None = None
        try:
            sink = open_file_sink(
                directory,
                message,
                context,
                source_ae=source_ae,
                done=came,
                limit=self.where.max_object_size,
                asked=self._asked_for,
                layout=self.where.layout,
                digest=self.where.digest,
            )
        except OSError as error:
            if error.errno in NO_ROOM:
                self._stop_here()
            raise
        return LateSink(sink, self._later) if durability == "none" else sink

    @property
    def _endless(self) -> bool:
        """Whether more has come than any peer has."""
        return self.begun >= len(self.planned) + MAX_UNPLANNED

    def _stop_here(self, why: str = "no room is left") -> None:
        """What is still to come could not be kept either."""
        if not self.over:
            log.warning("%s: the rest is not asked for", why)
        self.over = True
        for stop in self.stops:
            stop()

    def _asked_for(self, uid: str, keys: Mapping[str, str]) -> bool:
        """Whether an object belongs to what was asked for: by the plan, or by its own keys.

        What has no such key, or a Patient ID that would have to be decoded, may well belong to it; what no
        list names and is another patient's than what it names does not.
        """
        patient = keys.get("patient_id", "")
        if uid in self.planned:
            self._patients.add(patient)
            return True
        if patient and self._patients and not self._patients & {patient, ""}:
            return False
        key = {Level.PATIENT: "patient_id", Level.STUDY: "study_uid", Level.SERIES: "series_uid"}
        own = uid if self._level is Level.IMAGE else keys.get(key[self._level], "")
        return own in self._wanted or not own or not own.isascii()

    # --- who iterates

    def _take(self, one: Any, item: ReceivedItem) -> None:
        """An object has come, or failed to: `one` is what is handed to who iterates, or None."""
        if self.result.repeats(item):
            one = None  # it has been handed on
        if self._ready is not None and one is not None:
            held = 0 if self.where.kept else item.bytes
            self._ready.put_nowait((one, held))
            self._ahead += held
            if self._ready.qsize() >= DATASETS_AHEAD or self._ahead >= BYTES_AHEAD:
                self._hold("ahead", True)
        elif not self.where.kept and one is not None:
            self.result.datasets.append(one)
        self._moves()
        self.arrived.add(item)

    def _moves(self) -> None:
        """Something comes: a request that waits for the end of it is not forgotten."""
        for association in self.asking:
            association.touch()

    def reads(self, reading: Reading) -> None:
        """Objects come on an association that is read from so: it is held where who iterates is slow."""
        self._readings.add(reading)
        if self._full:
            reading.full(self)

    def ends(self, reading: Reading) -> None:
        """No more objects come there."""
        self._readings.discard(reading)
        reading.room(self)

    def _hold(self, why: str, hold: bool) -> None:
        if hold:
            self._full.add(why)
        else:
            self._full.discard(why)
        for reading in self._readings:
            if self._full:
                reading.full(self)
            else:
                reading.room(self)

    def _decoding(self, size: int) -> None:
        """So many bytes more, or less, are being decoded."""
        self._undecoded += size
        self._hold("decoding", self._undecoded > 0 and self._undecoded + self._ahead >= BYTES_AHEAD)

    def _unsettled(self, hold: bool) -> None:
        """Whether too much waits for the disk."""
        self._hold("unsettled", hold)

    def taken(self) -> AsyncGenerator[T, None]:
        """What comes from now on, as it comes, until `end`."""
        self._ready = asyncio.Queue[tuple[T, int] | None]()
        return self._taken(self._ready)

    async def _taken(self, ready: asyncio.Queue[tuple[T, int] | None]) -> AsyncGenerator[T, None]:
        try:
            while (came := await ready.get()) is not None:
                one, held = came
                self._ahead -= held
                if ready.qsize() <= DATASETS_AHEAD // 2 and self._ahead <= BYTES_AHEAD // 2:
                    self._hold("ahead", False)
                yield one
        finally:
            self.left()

    def left(self) -> None:
        """Nobody takes any more: data sets that have come stay in the result, no others are taken."""
        ready, self._ready = self._ready, None
        self._ahead = 0
        self._hold("ahead", False)
        self._deserted = not self.where.kept
        while ready is not None and not self.where.kept and not ready.empty():
            came: Any = ready.get_nowait()
            if came is not None:
                self.result.datasets.append(came[0])

    # --- its beginning and end

    def begin(self) -> None:
        """Objects may come."""
        self.open, self.over, self._deserted = True, False, False
        self._aside = len(self.result.unasked)

    def expect(self, plan: Plan) -> None:
        """What is promised."""
        self.result.expect(plan.expected)
        self.planned = frozenset(uid for one in plan.targets for uid in one.instances or ())
        patients = {one.parents.get("PatientID", "") for one in plan.targets}
        self._patients = patients if self.planned and "" not in patients else set()
        result = self.result
        result.parents_unknown = plan.parents_unknown
        result.stands_on = plan.stands_on
        result.capped = plan.capped
        result.counted = plan.objects if plan.stands_on == "counts" else None
        result.availability = plan.unavailable

    async def settle(self) -> None:
        """Wait until all that came is safe, and has been told. Raises what who was told raised."""
        try:
            await self._later.flush()
        finally:
            if self._settler is not None:
                await self._settler.flush()

    def end(self) -> None:
        """Nothing comes any more."""
        self.open = False
        self._readings.clear()
        self.arrived.end()
        if self._ready is not None:
            self._ready.put_nowait(None)
        self.arrived.tell("done")  # a user's callback, which may raise
