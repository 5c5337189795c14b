"""The listener of moves to this process: one for all that use its port, each object told to whose it is."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ..association.connect import WINDOW
from ..association.observing import Observer
from ..association.performing import Refused, Request
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.sop_classes import maybe_storage, patient_sop_classes
from ..dimse.status import NOT_AUTHORIZED, Category
from ..server.access import Access
from ..server.limits import ServerLimits
from ..server.listener import Server
from ..server.service import Service
from .intake import Intake
from .retrieved import Arrived

log: logging.Logger = logging.getLogger("aiodicom.moving")

LISTEN_PORT = 11112
"""Where a move to this process is listened for, unless told otherwise."""
QUIET_PERIOD = 5.0
"""Seconds without an arrival, after the C-MOVE's final response, at which what is missing is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The listener of a move to this process: where it listens, and what it lets the peer take.

    >>> listening = aiodicom.Listening(port=11113, accept_from=["10.0.0.7"])
    """

    host: str | None = None
    port: int = LISTEN_PORT
    tls: ssl.SSLContext | None = None
    limits: ServerLimits | None = None
    quiet: float = QUIET_PERIOD
    accept_from: Sequence[str] = ()
    observer: Observer | None = None


@dataclass(slots=True)
class Arrivals(Service):
    """Takes the objects of the C-MOVEs of one call: those of its plan, whoever they say they were moved for.

    Others are told by move originator and message id, and by their own keys, as those of a C-GET are: a list
    may be cut short, or be older than what came to the archive since. Every message id of the call counts
    until its end: an archive may answer a C-MOVE before it sends. access: from where they may come; others
    listen on the same port, for other peers.
    """

    intake: Intake[Any]
    originators: frozenset[str]
    message_ids: set[int] = field(default_factory=set)
    planned: frozenset[str] | None = None
    begun: set[str] = field(default_factory=set)  # what has come, or begun to: it may come for another
    access: Access = field(default_factory=Access)

    @property
    def arrived(self) -> Arrived:
        """What came so far."""
        return self.intake.arrived

    def supported(self) -> Supported:
        """Verification and storage of every class."""
        classes: dict[str, tuple[str, ...]] = dict.fromkeys((VERIFICATION, *patient_sop_classes()), ())
        return Supported(classes, accept_unknown=maybe_storage)

    def store(self, request: Request) -> StoreSink:
        """A file, if the object belongs to the move under way."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        if not self.takes(message, request.address):
            if self.arrived.turn_away(message.affected_sop_instance_uid):
                log.warning("%s (%s) sent what was not asked for", request.address, request.calling_ae)
            raise Refused(NOT_AUTHORIZED, "not part of the move under way")
        self.begun.add(message.affected_sop_instance_uid)
        return self.intake.store(request, source_ae=request.calling_ae)

    def takes(self, message: m.CStoreRQ, address: str) -> bool:
        """Whether it is of this move."""
        return bool(self.message_ids) and not self._foreign(message) and self.access.allows(address)

    def distance(self, message: m.CStoreRQ) -> tuple[bool, bool, bool, bool]:
        """How far an object is from this move, among those that would take it: the least is nearest."""
        uid = message.affected_sop_instance_uid
        numbered = message.move_originator_message_id in self.message_ids
        named = message.move_originator_ae in (None, *self.originators)
        unnamed = self.planned is not None and uid not in self.planned
        return (unnamed, not (numbered and named), self.planned is None, uid in self.begun)

    def _foreign(self, message: m.CStoreRQ) -> bool:
        if self.planned is not None:
            if message.affected_sop_instance_uid in self.planned:
                return False
            if message.move_originator_message_id is None:  # nobody's
                return True
        # Many archives leave the originator out, and pynetdicom names itself in its place (PS3.7 9.1.1.1.7
        # wants us); one that names another move is not ours to take.
        return (
            message.move_originator_ae is not None and message.move_originator_ae not in self.originators
        ) or message.move_originator_message_id not in (None, *self.message_ids)

    def awaited(self) -> bool:
        """Whether something is still to come, by what the query promised or the final response counted."""
        result = self.arrived.result
        failed = result.status is not None and result.status.category is Category.FAILURE
        if failed and not result.completed and not result.warning:
            return False  # the peer could not send, or does not know us
        return bool(result.waiting) or bool(result.unaccounted)

    async def late(self, server: Server, quiet: float) -> None:
        """Some archives answer the C-MOVE before they have sent: wait while objects come."""
        while self.awaited():
            self.arrived.event.clear()
            try:
                async with asyncio.timeout(quiet):
                    await self.arrived.event.wait()
            except TimeoutError:
                if not any(association.busy for association in server.associations):
                    return  # quiet: `missing` says what did not come


class _Hub(Service):
    """What one port receives, for every move that waits on it.

    An object is taken by a move whose plan names it, else by the one that it says it was moved for. Of
    several that have asked for it one takes it that it was moved for, by its message id, else one that
    misses it.
    """

    def __init__(self, where: Listening) -> None:
        self.where = where
        self.moves: list[Arrivals] = []
        self.senders: list[str] = []  # looked at with each association
        self.users = 0  # those that wait for `lock` included
        self.lock = asyncio.Lock()
        self.server: Server | None = None

    def supported(self) -> Supported:
        """As each move."""
        return self.moves[0].supported() if self.moves else Supported({})  # while it is being stopped

    def store(self, request: Request) -> StoreSink:
        """The sink of whose the object is; what is nobody's is refused by the first."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        takers = [one for one in self.moves if one.takes(message, request.address)]
        if not self.moves:  # it is being stopped
            raise Refused(NOT_AUTHORIZED, "no move is under way")
        taker = min(takers, key=lambda one: one.distance(message), default=self.moves[0])
        return taker.store(request)

    async def start(self) -> Server:
        """Listen, unless it does. Raises OSError when the port cannot be had."""
        if self.server is None:
            where = self.where
            server = Server(
                self,
                host=where.host,
                port=where.port,
                tls=where.tls,
                limits=where.limits,
                access=Access(addresses=self.senders),
                async_operations=WINDOW,
                observer=where.observer,
            )
            await server.start()
            self.server = server
        return self.server

    async def leave(self, arrivals: Arrivals, senders: Sequence[str]) -> None:
        """One move less; the last stops the listener."""
        self.moves.remove(arrivals)
        for one in senders:
            self.senders.remove(one)
        if not self.moves and self.server is not None:
            server, self.server = self.server, None
            await server.close()


_HUBS: dict[tuple[asyncio.AbstractEventLoop, str | None, int], _Hub] = {}


@asynccontextmanager
async def listened(
    arrivals: Arrivals, where: Listening, senders: Sequence[str]
) -> AsyncGenerator[Server, None]:
    """The server that takes the objects of a move, shared with the other moves on its port.

    Raises OSError when the port cannot be had: where other moves have it with another TLS context or other
    limits as well; ValueError for what is no network.
    """
    arrivals.access = Access(addresses=tuple(senders))
    key = (asyncio.get_running_loop(), where.host, where.port)
    hub = _HUBS.setdefault(key, _Hub(where)) if where.port else _Hub(where)
    if (hub.where.tls, hub.where.limits) != (where.tls, where.limits):
        raise _no_port(where, "another move has it with other TLS or limits")
    hub.users += 1
    try:
        async with hub.lock:
            hub.moves.append(arrivals)
            hub.senders += senders
            try:
                server = await hub.start()
            except BaseException as error:
                await hub.leave(arrivals, senders)
                if isinstance(error, OSError):
                    raise _no_port(where, error.strerror or str(error), error.errno) from error
                raise
        try:
            yield server
        finally:
            async with hub.lock:
                await hub.leave(arrivals, senders)
    finally:
        hub.users -= 1
        if not hub.users and _HUBS.get(key) is hub:
            del _HUBS[key]


def _no_port(where: Listening, why: str, number: int | None = None) -> OSError:
    text = f"cannot listen on port {where.port} for the move: {why}"
    return OSError(number if number is not None else errno.EADDRINUSE, text)
