"""One connection to a server, from the TCP accept to its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from ..archive.logbook import Logbook
from ..association.association import Association
from ..association.connect import TLS_SHUTDOWN_TIMEOUT
from ..association.errors import AssociationRejected, InactivityTimeout
from ..association.observing import Observer
from ..association.tasks import Tasks
from ..association.timeouts import Timeouts
from ..association.tls import connection_info, describe_tls_error
from ..association.tls_alert import HANDSHAKING
from ..association.watchdog import Watch
from ..dimse.session import Session
from ..pdu.errors import LocalProtocolError
from ..pdu.events import AssociateIndication
from ..pdu.fsm import State
from ..pdu.types import AAssociateRJ, AAssociateRQ, Rejection, UserIdentityAC
from .access import Caller
from .admission import Admission, keys
from .connections import Connections, Phase
from .limits import ServerLimits
from .origin import origin_of
from .performer import Performer
from .resources import Resources
from .service import Service
from .stats import Tally

log: logging.Logger = logging.getLogger("aiodicom.server")

# What OpenSSL's server says to bytes that are no TLS: a fatal alert, "unexpected message" (RFC 8446 6.2).
_TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x0a"
_REJECTED_UNASKED = {
    (one.source, one.reason)
    for one in (Rejection.PROTOCOL_VERSION_NOT_SUPPORTED, Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED)
}
"""Rejections of the protocol itself: admission is not asked."""


@dataclass(frozen=True, slots=True)
class Reception:
    """What the connections of one server share."""

    service: Service
    limits: ServerLimits
    tls: ssl.SSLContext | None
    admission: Admission
    connections: Connections
    logbook: Logbook
    beginning: Tasks
    observer: Observer | None
    shared: Resources
    tally: Tally


class AcceptedConnection:
    """One connection, and the acceptor of its association."""

    def __init__(self, reception: Reception, sock: socket.socket, address: str) -> None:
        self.address = address
        self.origin: str = origin_of(address, reception.limits.ipv6_prefix)
        self.phase = Phase.GONE  # not counted yet
        self.association: Association | None = None
        self._reception = reception
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + reception.limits.artim_timeout
        self._caller: Caller | None = None
        reception.connections.enter(self, Phase.ACCEPTED)
        self._task = reception.beginning.start(self._begin(), self._begun)

    def keys(self) -> tuple[str, ...]:
        """What its association is counted under."""
        return () if self._caller is None else keys(self._caller, self._reception.limits)

    def drop(self) -> None:
        """Close it now."""
        self._enter(Phase.GONE)
        if self.association is not None and self._task.done():
            self.association.connection.drop()
        else:
            self._task.cancel()

    def _enter(self, phase: Phase) -> None:
        self._reception.connections.enter(self, phase)

    # --- its beginning

    async def _begin(self) -> None:
        """To the association's first byte: TLS, in time."""
        note = self._reception.logbook.note
        try:
            await self._handshake()
        except TimeoutError:
            if self.association is not None and self.association.connection.connected:
                return  # which tells that itself
            self._reception.tally.limits["artim_timeout"] += 1
            note("handshake", self.address, "closed a connection: no TLS handshake in time")
        except (ssl.SSLError, ConnectionError) as error:
            note("handshake", self.address, f"TLS handshake failed: {describe_tls_error(error)}")
        except OSError as error:
            note("connection", self.address, f"a connection failed: {error}")

    async def _handshake(self) -> None:
        tls = self._reception.tls
        self._sock.setblocking(False)
        if tls is not None and not await self._speaks_tls():
            return
        association = self._make_association()
        self.association = association
        self._reception.tally.begin(association.connection)
        HANDSHAKING.set(self._sock)  # of this task, which ends with the handshake
        async with asyncio.timeout_at(self._deadline):
            await self._loop.connect_accepted_socket(
                lambda: association.connection,
                self._sock,
                ssl=tls,
                ssl_handshake_timeout=max(0.001, self._deadline - self._loop.time()) if tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT if tls else None,
            )
        if self.phase is Phase.ACCEPTED:
            self._enter(Phase.CONNECTED)

    def _begun(self) -> None:
        """The task has ended, or never began: what did not come to an association is let go of."""
        if self.phase is Phase.ACCEPTED:
            self._enter(Phase.GONE)
        if self.association is None:
            self._sock.close()  # else it is the transport's, which closes it
        elif not self.association.connection.connected:  # of which `on_gone` tells
            self._reception.tally.end(self.association.connection)

    async def _speaks_tls(self) -> bool:
        """Look at the first byte without taking it; a plain peer is told in TLS's own words."""
        note = self._reception.logbook.note
        try:
            async with asyncio.timeout_at(self._deadline):
                first = await self._peek()
        except TimeoutError:
            self._reception.tally.limits["artim_timeout"] += 1
            note("silent", self.address, "closed a connection: nothing was sent in time")
            return False
        if first == b"\x16":
            return True
        if first:
            text = "TLS on one side only: the peer does not speak TLS, and this port does"
            note("plain", self.address, text)
            try:
                self._sock.send(_TLS_ALERT)
            except OSError as error:
                log.debug("the alert could not be sent: %s", error)
        return False

    async def _peek(self) -> bytes:
        while True:
            try:
                return self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                pass
            readable = asyncio.Event()
            self._loop.add_reader(self._sock.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                self._loop.remove_reader(self._sock.fileno())

    def _make_association(self) -> Association:
        limits = self._reception.limits
        session = Session(requestor=False, limits=limits.session(), check_request=self._judge)
        return Association(
            session,
            address=self.address,
            origin=self.origin,
            timeouts=Timeouts(artim=limits.artim_timeout, inactivity=limits.inactivity_timeout),
            watch=Watch(
                inactivity=limits.inactivity_timeout,
                idle=limits.idle_timeout,
                pdu=limits.pdu_timeout,
                message=limits.message_timeout,
            ),
            provider=Performer(self._reception.service, limits, self._reception.shared, self.origin),
            identifier_length=limits.max_identifier_length,
            opening=self._deadline,
            acceptor=self,
            observer=self._reception.observer,
        )

    # --- its association

    def _judge(self, request: AAssociateRQ) -> AAssociateRJ | None:
        """The refusal of a request, asked by the session before the table indicates it."""
        assert self.association is not None
        ssl_object: Any = self.association.connection.transport.get_extra_info("ssl_object")
        tls = connection_info(ssl_object) if ssl_object is not None else None
        self._caller = Caller(self.address, request, tls)
        connections = self._reception.connections
        return self._reception.admission.refusal(self._caller, len(connections.open), connections.counts)

    def on_indication(self, event: AssociateIndication) -> None:
        """The peer asks for an association, and admission has nothing against it so far."""
        assert self.association is not None
        assert self._caller is not None
        self._enter(Phase.OPEN)
        if self._reception.admission.asks_identity(event.request):
            self.association.spawn(self._identify(self._caller))
        else:
            self._answer(self._caller, None)

    async def _identify(self, caller: Caller) -> None:
        verdict = await self._reception.admission.identify(caller)
        if isinstance(verdict, AAssociateRJ):
            assert self.association is not None
            self.association.reject(verdict)
        else:
            self._answer(caller, verdict)

    def _answer(self, caller: Caller, identity: UserIdentityAC | None) -> None:
        association = self.association
        assert association is not None
        if association.session.state is not State.STA3:  # it has ended meanwhile
            return
        try:
            association.accept(self._reception.admission.answer(caller, identity))
            self._reception.tally.accepted += 1
        except LocalProtocolError as error:  # the peer's maximum length leaves no room for a message
            self._reception.logbook.note("rejected", self.address, f"rejected an association: {error}")
            association.reject(Rejection.NO_REASON)

    def on_ended(self) -> None:
        """Its association is over; the connection may still be closing."""
        assert self.association is not None
        self._enter(Phase.LINGERING)
        error, note = self.association.error, self._reception.logbook.note
        self._reception.tally.over(error)
        if isinstance(error, AssociationRejected):
            if (error.source, error.reason) in _REJECTED_UNASKED:  # the others are logged with the reason why
                note("rejected", self.address, f"rejected an association: {error.text}")
        elif error is not None:
            level = logging.INFO if isinstance(error, InactivityTimeout) else logging.WARNING
            note(type(error).__name__, self.address, error.text, level=level)

    def on_gone(self) -> None:
        """The connection is gone."""
        assert self.association is not None
        self._reception.tally.end(self.association.connection)
        self._enter(Phase.GONE)

    def on_answered(self, command_field: int, status: int) -> None:
        """Count it."""
        self._reception.tally.answered(command_field, status)

    def on_note(self, kind: str, message: str) -> None:
        """Log what the peer can repeat at will."""
        self._reception.logbook.note(kind, self.address, f"{kind}: {message}")
