"""Looking on at an association: its bytes become events for observers, and lines of the log.

An association that nobody watches has no `Tap`, and pays one comparison a read for it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..dimse import messages as m
from ..dimse.status import Category, categorize
from ..dimse.tracing import Command, Dataset, Lost, Pdu, Stream
from ..pdu.codec import decode
from ..pdu.errors import AiodicomError
from ..pdu.types import AAssociateAC, AAssociateRQ, PduType
from .errors import traced
from .lines import log_event
from .observing import (
    BytesEvent,
    EndedEvent,
    Event,
    MessageEvent,
    Observer,
    OpenedEvent,
    PduEvent,
    RequestEvent,
    name_of,
)

log: logging.Logger = logging.getLogger("aiodicom.association")

MAXIMUM_REQUESTS = 4096
"""Requests of one direction that are waited for to be answered; more are not timed."""


@dataclass(slots=True)
class _Running:
    name: str
    abstract_syntax: str | None
    began: float
    data_bytes: int = 0


_numbers = itertools.count(1)


class Tap:
    """Looks on at one association; made by `make_tap`. `peer` names the peer as far as it is known."""

    def __init__(
        self,
        observers: Iterable[Observer],
        *,
        peer: Callable[[], str],
        requestor: bool,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        number: int | None = None,
    ) -> None:
        self.number: int = next(_numbers) if number is None else number
        self._observers = list(observers)
        self._raw = [one for one in self._observers if getattr(one, "wants_bytes", False)]
        self._peer = peer
        self._requestor = requestor
        self._wall = wall
        self._clock = clock
        self._streams = {True: Stream(), False: Stream()}
        self._bytes = {True: 0, False: 0}
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._running: dict[bool, dict[int, _Running]] = {True: {}, False: {}}
        self._last: dict[bool, _Running | None] = {True: None, False: None}
        self._syntaxes: dict[int, str] = {}
        self._proposed: dict[int, str] = {}
        self._began = clock()
        self._outcome: str | None = None
        self._opened = False

    def data(self, *, sent: bool, data: memoryview) -> None:
        """Bytes that went over the connection."""
        self._bytes[sent] += len(data)
        if self._raw:
            self._tell(BytesEvent(**self._base(), sent=sent, data=data), self._raw)
        for seen in self._streams[sent].feed(data):
            match seen:
                case Pdu():
                    self._pdu(sent, seen)
                case Command():
                    self._command(sent, seen)
                case Dataset(length=length):
                    last = self._last[sent]
                    if last is not None:
                        last.data_bytes += length
                case Lost(problem=problem):
                    self._tell(PduEvent(**self._base(), sent=sent, name=f"no PDU: {problem}", length=0))

    def closed(self, error: BaseException | None) -> None:
        """The connection is gone; `error` is what users are told of its end. Nothing follows."""
        if not (self._bytes[True] or self._bytes[False]):
            return
        self._tell(
            EndedEvent(
                **self._base(),
                seconds=self._clock() - self._began,
                opened=self._opened,
                outcome=self._outcome or "lost",
                reason=None if error is None else str(error),
                bytes_received=self._bytes[False],
                bytes_sent=self._bytes[True],
                received=dict(self._counts[False]),
                sent=dict(self._counts[True]),
            )
        )

    def _base(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self._wall(),
            "peer": self._peer(),
            "requestor": self._requestor,
        }

    def _tell(self, event: Event, observers: list[Observer] | None = None) -> None:
        for observer in list(self._observers if observers is None else observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises
                log.error("an observer failed, it is told no more of this association: %s", traced(error))
                self._observers.remove(observer)
                if observer in self._raw:
                    self._raw.remove(observer)

    def _pdu(self, sent: bool, pdu: Pdu) -> None:
        self._tell(PduEvent(**self._base(), sent=sent, name=pdu.name, length=pdu.length, body=pdu.body))
        match pdu.kind:
            case PduType.A_ASSOCIATE_RQ | PduType.A_ASSOCIATE_AC if pdu.body is not None:
                self._associate(pdu.kind, pdu.body)
            case PduType.A_ASSOCIATE_RJ:
                self._outcome = "rejected"
            case PduType.A_RELEASE_RP:
                self._outcome = "released"
            case PduType.A_ABORT:
                self._outcome = "aborted"

    def _associate(self, kind: int, body: bytes) -> None:
        try:
            pdu = decode(kind, body, [])
        except AiodicomError:  # the session says so, and ends it
            return
        if isinstance(pdu, AAssociateRQ):
            self._proposed = {one.context_id: one.abstract_syntax for one in pdu.presentation_contexts}
        elif isinstance(pdu, AAssociateAC):
            self._syntaxes = {
                one.context_id: self._proposed[one.context_id]
                for one in pdu.presentation_contexts
                if one.result == 0 and one.context_id in self._proposed
            }
            self._opened = True
            self._tell(
                OpenedEvent(**self._base(), accepted=len(self._syntaxes), proposed=len(self._proposed))
            )

    def _command(self, sent: bool, command: Command) -> None:
        message, syntax = command.message, self._syntaxes.get(command.context_id)
        if message is not None:
            self._counts[sent][name_of(message)] += 1
        self._tell(
            MessageEvent(
                **self._base(),
                sent=sent,
                context_id=command.context_id,
                abstract_syntax=syntax,
                message=message,
                problem=command.problem,
            )
        )
        self._last[sent] = None
        if isinstance(message, m.Request):
            self._request(sent, message, syntax)
        elif isinstance(message, m.Response):
            self._response(sent, message)

    def _request(self, sent: bool, request: m.Request, syntax: str | None) -> None:
        running = self._running[sent]
        if len(running) < MAXIMUM_REQUESTS or request.message_id in running:
            one = _Running(name_of(request), syntax, self._clock())
            running[request.message_id] = self._last[sent] = one

    def _response(self, sent: bool, response: m.Response) -> None:
        running, number = self._running[not sent], response.message_id_being_responded_to
        one = running.get(number)
        if one is None:
            return
        if categorize(response.status) is Category.PENDING:
            self._last[sent] = one
            return
        del running[number]
        self._tell(
            RequestEvent(
                **self._base(),
                sent=not sent,
                name=one.name,
                message_id=number,
                abstract_syntax=one.abstract_syntax,
                status=response.status,
                seconds=self._clock() - one.began,
                data_bytes=one.data_bytes,
            )
        )


def make_tap(observer: Observer | None, *, peer: Callable[[], str], requestor: bool) -> Tap | None:
    """A tap for whoever looks on: the observer, and the log where it wants to know; None for nobody."""
    observers: list[Observer] = [] if observer is None else [observer]
    if log.isEnabledFor(logging.INFO):
        observers.append(log_event)
    return Tap(observers, peer=peer, requestor=requestor) if observers else None
