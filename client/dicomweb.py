"""WADO-RS as a user (PS3.18 10.4): asks for what a plan names, and takes the objects of the answers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..association.connect import Peer
from ..association.performing import Refused
from ..association.reading import Reading
from ..dataset.errors import ImagingError, MalformedDataSet, NotDicom, TruncatedFile
from ..dataset.part10 import MAX_FILE_META, FileHeader, read_header
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.levels import Level, Root, find_model
from ..dimse.status import CANCEL, SUBOPERATIONS_WARNING, SUCCESS, UNABLE_TO_PROCESS, Status
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_near_uid
from .intake import Intake
from .multipart import Multipart, PartBegins, PartEnds, content_type
from .parallel import Sharing, share
from .plan import Plan, Target
from .web import NOT_THERE, DicomWeb, WebAnswer, WebFailed, WebPeer
from .webplan import path_of, paths_of, paths_of_instance

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Objects as they are stored (PS3.18 8.7.3.5.2): nothing is converted."""
HEAD = 4096
"""Bytes of a part that are gathered before its file meta information is looked at, unless it ends before."""


class Fetching:
    """The way of WADO-RS. Objects, counts and what is missing are the intake's, as by C-GET."""

    service = "WADO-RS"

    def __init__(self, address: DicomWeb, peer: Peer, intake: Intake[Any], count: int = 1) -> None:
        """count: requests at once."""
        self.address = address
        self._peer = peer
        self._intake = intake
        self._count = count
        self._reads = asyncio.Event()
        self._reads.set()

    def model(self, root: Root) -> str:
        """The SOP class that plans a retrieve by it."""
        return find_model(root)

    async def fetch(self, plan: Plan) -> None:
        """Ask for all of it. Raises what ended an answer, the first of several."""
        todo = deque(plan.divided(self._count).targets)
        failures: list[WebFailed] = []
        reading = Reading(self._reads.clear, self._reads.set)
        count = min(self._count, len(todo)) or 1
        async with WebPeer(self.address, self._peer.timeouts, connections=count) as peer:
            self._intake.reads(reading)
            try:
                await share(count, todo, partial(self._work, peer, plan, todo, failures))
            finally:
                self._intake.ends(reading)
        if failures:
            raise failures[0]

    async def _work(
        self, peer: WebPeer, plan: Plan, todo: deque[Target], failures: list[WebFailed], _: Sharing
    ) -> None:
        while todo and not self._intake.over:
            try:
                await self._fetch(peer, plan, todo.popleft(), failures)
            except AiodicomError:
                todo.clear()
                raise

    async def _fetch(self, peer: WebPeer, plan: Plan, target: Target, failures: list[WebFailed]) -> None:
        """One target; a request that fails keeps back no other that might fare better."""
        silence = self._peer.timeouts.silence(away=bool(target.unavailable))
        try:
            paths = await self._paths(peer, plan, target)
        except WebFailed as error:
            return self._failed(error, target, failures)
        if not paths:
            self._nothing(target)
        for path in paths:
            if self._intake.over:
                return self._say(CANCEL, "no room is left here")
            try:
                async with peer.get(path, ACCEPT, silence=silence) as answer:
                    await self._take(answer)
            except WebFailed as error:
                self._failed(error, target, failures)
        return None

    def _failed(self, error: WebFailed, target: Target, failures: list[WebFailed]) -> None:
        """A request failed. Raises what ends them all."""
        if error.final:
            raise error
        if error.status in NOT_THERE and not target.instances:
            self._nothing(target)
        else:
            failures.append(error)

    def _nothing(self, target: Target) -> None:
        """The peer has nothing of that key."""
        self._say(SUCCESS, "")
        if target.uid not in self._intake.result.not_found:
            self._intake.result.not_found.append(target.uid)

    def _say(self, status: int, comment: str) -> None:
        """One answer, with a status of DIMSE."""
        self._intake.result.answered(Status(status, "C-GET"), comment or None)

    # --- where it lies

    async def _paths(self, peer: WebPeer, plan: Plan, target: Target) -> list[str]:
        """The resources of a target: what lies above it is asked for (QIDO-RS) where it is not known."""
        level = target.level or plan.level
        if level is Level.PATIENT and target.studies and all(target.studies):
            return [path_of(study) for study in dict.fromkeys(target.studies)]
        if level < Level.IMAGE:
            study = _only(target.studies)
            known = {"StudyInstanceUID": study} if level is Level.SERIES and study else {}
            return await paths_of(peer, level, target.uid, {**known, **target.parents})
        paths = []
        for number, uid in enumerate(target.uid.split("\\")):
            study = target.parents.get("StudyInstanceUID") or _at(target.studies, number)
            series = target.parents.get("SeriesInstanceUID") or _at(target.series, number)
            if study and series:
                paths.append(path_of(study, series, uid))
            else:
                paths += await paths_of_instance(peer, uid, target.parents)
        return paths

    # --- what comes

    async def _take(self, answer: WebAnswer) -> None:
        """The objects of one answer."""
        kind, parameters = content_type(answer.content_type)
        if answer.status == 204:
            return self._say(SUCCESS, "")
        if kind == "multipart/related":
            broken = await self._parts(answer, Multipart(parameters.get("boundary", "")))
        elif kind in ("application/dicom", "application/octet-stream"):
            broken = await self._single(answer)
        else:
            raise WebFailed(f"the answer is {kind[:60]!r}, where DICOM objects were asked for")
        if broken:
            return self._say(UNABLE_TO_PROCESS, f"{broken} of its parts are no DICOM objects")
        if answer.status != 200:
            return self._say(SUBOPERATIONS_WARNING, answer.words)
        return self._say(SUCCESS, "")

    async def _parts(self, answer: WebAnswer, reader: Multipart) -> int:
        """The parts of an answer; how many of them are no objects."""
        broken, part = 0, _Part(self._intake, self._peer.called_ae)
        try:
            async for chunk in answer:
                for event in reader.feed(chunk):
                    if isinstance(event, PartBegins):
                        part = _Part(self._intake, self._peer.called_ae)
                    elif isinstance(event, PartEnds):
                        await part.end()
                        broken += part.broken
                    else:
                        await part.take(event)
                await self._reads.wait()
        finally:
            part.drop()
        if not reader.ended:
            raise WebFailed("the answer broke off: its end is missing")
        return broken

    async def _single(self, answer: WebAnswer) -> int:
        """An answer that is one object."""
        part = _Part(self._intake, self._peer.called_ae)
        try:
            async for chunk in answer:
                await part.take(memoryview(chunk))
                await self._reads.wait()
            await part.end()
        finally:
            part.drop()
        return part.broken


class _Part:
    """One Part 10 file that arrives: its data set goes to a sink, as if it had come by C-STORE."""

    def __init__(self, intake: Intake[Any], source_ae: str) -> None:
        self.broken: bool = False  # it is no DICOM object
        self._intake = intake
        self._source_ae = source_ae
        self._head = bytearray()
        self._wanted = HEAD
        self._sink: StoreSink | None = None
        self._left = False  # what still comes of it is dropped

    async def take(self, data: memoryview) -> None:
        """More of it."""
        if self._left:
            return
        if self._sink is None:
            self._head += data
            if len(self._head) >= self._wanted:
                await self._begin(last=False)
        else:
            await self._write(data)

    async def _begin(self, *, last: bool) -> None:
        """Choose its sink, if the file meta information is here."""
        try:
            header = _header(bytes(self._head), last=last)
        except ImagingError as error:
            log.warning("a part of an answer is no DICOM object: %s", error)
            self.broken = self._left = True
            return
        if header is None:
            self._wanted *= 2
            return
        request = m.CStoreRQ(
            message_id=1,
            affected_sop_class_uid=header.sop_class_uid,
            affected_sop_instance_uid=header.sop_instance_uid,
        )
        context = Context(1, header.sop_class_uid, header.transfer_syntax_uid)
        try:
            self._sink = self._intake.sink(request, context, source_ae=self._source_ae)
        except (Refused, OSError) as error:
            log.info("an object is not taken: %s", error)
            self._left = True
            return
        with memoryview(bytes(self._head)) as view:
            self._head = bytearray()
            await self._write(view[header.data_offset :])

    async def _write(self, data: memoryview) -> None:
        assert self._sink is not None
        try:
            full = self._sink.write(data)
            if full is not None:
                await full
        except (Refused, OSError) as error:  # the sink has told of it
            log.info("an object is not kept: %s", error)
            self.drop()

    async def end(self) -> None:
        """It is whole."""
        if self._sink is None and not self._left:
            await self._begin(last=True)
        sink, self._sink, self._left = self._sink, None, True
        if sink is not None:
            try:
                await sink.commit()
            except (Refused, OSError) as error:
                log.info("an object is not kept: %s", error)
                sink.discard()
            except BaseException:
                sink.discard()
                raise

    def drop(self) -> None:
        """Take no more of it, and leave no trace of what is not whole."""
        sink, self._sink, self._left = self._sink, None, True
        if sink is not None:
            sink.discard()


def _header(head: bytes, *, last: bool) -> FileHeader | None:
    """The head of a file, None where more of it must come. Raises ImagingError for what is none."""
    enough = last or len(head) > 2 * MAX_FILE_META
    try:
        header = read_header(head)
    except (TruncatedFile, NotDicom):
        if enough:
            raise
        return None
    whole = header.sop_class_uid and header.sop_instance_uid and header.data_offset < len(head)
    if not whole and not enough:
        return None
    if not (is_near_uid(header.sop_class_uid) and is_near_uid(header.sop_instance_uid)):
        raise MalformedDataSet("it names no SOP class and instance")
    return header


def _only(values: Sequence[str]) -> str:
    """The one value there is of several that may be the same."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _at(values: Sequence[str], number: int) -> str:
    return values[number] if number < len(values) else ""
