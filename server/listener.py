"""The listener: accepts, shakes hands, negotiates, and keeps count.

`accept` never waits for a peer's bytes: each connection has a task of its own until its association begins,
and one deadline runs from the TCP accept to the complete A-ASSOCIATE-RQ.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ..association.association import Association
from ..association.connect import TLS_SHUTDOWN_TIMEOUT
from ..association.errors import AssociationAborted, AssociationRejected, InactivityTimeout
from ..association.timeouts import Timeouts
from ..association.tls import TLSInfo, connection_info, describe_tls_error
from ..association.tls_alert import HANDSHAKING
from ..association.watchdog import Watch
from ..dimse.contexts import Supported, least_window
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.session import Session
from ..pdu.errors import LocalProtocolError, describe_rejection
from ..pdu.events import AssociateIndication
from ..pdu.fsm import State
from ..pdu.types import (
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AsyncOperationsWindow,
    Rejection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserInformation,
)
from .access import Access, Caller, blank_title
from .limits import ServerLimits
from .logbook import Logbook
from .performer import Performer
from .service import Service

log = logging.getLogger("aiodicom.server")

BACKLOG = 1024
ACCEPT_PAUSE = 0.5
"""Seconds without accepting when the process is out of descriptors: the condition does not end by asking."""
# What OpenSSL's server says to bytes that are no TLS: a fatal alert, "unexpected message" (RFC 8446 6.2).
_TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x0a"
_REJECTED_UNASKED = {
    (one.source, one.reason)
    for one in (Rejection.PROTOCOL_VERSION_NOT_SUPPORTED, Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED)
}
"""Rejections of the protocol itself: `_judge` is not asked."""


@dataclass(slots=True)
class _Pending:
    """A connection without an association, as far as it has come."""

    sock: socket.socket
    peer: str
    accepted: float
    task: asyncio.Task[None] | None = None
    begun: bool = False
    association: Association | None = None

    def close_unless_begun(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step does not close its socket."""
        if not self.begun:
            self.sock.close()

    def drop(self) -> None:
        """Close it now."""
        assert self.task is not None
        if not self.task.done():
            self.task.cancel()
        elif self.association is not None:
            self.association.connection.drop()


class Server:
    """Serves one `Service` on one or more sockets. `async with` closes it, draining first."""

    def __init__(
        self,
        service: Service,
        *,
        tls: ssl.SSLContext | None = None,
        limits: ServerLimits | None = None,
        access: Access | None = None,
        async_operations: AsyncOperationsWindow | None = None,
    ) -> None:
        self.service = service
        self.limits = limits if limits is not None else ServerLimits()
        self.access = access if access is not None else Access()
        self.associations: set[Association] = set()
        self._tls = tls
        self._async_operations = async_operations
        self._supported: Supported = service.supported()
        self._loop = asyncio.get_running_loop()
        self._logbook = Logbook(log, self._loop.time)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._pending: dict[socket.socket, _Pending] = {}  # without an association; oldest first
        self._open: Counter[str] = Counter()  # open associations by address and by AE title
        self._established: set[Association] = set()
        self._lingering: dict[Association, None] = {}  # ended, their connections still open; oldest first
        self._closing = False

    # --- life

    async def start(self, host: str | None = "127.0.0.1", port: int = 104) -> None:
        """Listen; port 0 takes a free one. Raises OSError when the address cannot be had."""
        found = await self._loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if port == 0 and self._sockets:  # the same free port on every address
                    address = (address[0], self.port, *address[2:])
                sock.bind(address)
                sock.listen(BACKLOG)
            except OSError as error:
                sock.close()
                await self.close(drain=0)
                why = (
                    f"cannot listen on {host or 'any address,'} port {port}: {os.strerror(error.errno or 0)}"
                )
                raise OSError(error.errno, why) from error
            self._sockets.append(sock)
        self._accepting = [self._loop.create_task(self._accept(sock)) for sock in self._sockets]

    @property
    def port(self) -> int:
        """The port listened on."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(drain=None if kind is None else 0)

    async def close(self, *, drain: float | None = None) -> None:
        """Stop accepting, let running requests go on for `drain` seconds (or the limit's), abort the rest."""
        self._closing = True
        try:
            await self._stop_accepting()
            await self._drain(self.limits.drain_timeout if drain is None else drain)
        finally:  # cancelled, too, nothing stays open
            ending = list(self.associations)
            for association in ending:
                association.abort_now(AssociationAborted("the server is stopping", by_peer=False))
                association.connection.close()
            for association in ending:
                await association.wait_closed()

    async def _stop_accepting(self) -> None:
        ending = [*self._accepting, *self._connecting]
        for task in ending:
            task.cancel()
        try:
            if ending:
                await asyncio.wait(ending)
        finally:
            for sock in self._sockets:
                sock.close()
            self._accepting = []

    async def _drain(self, limit: float) -> None:
        waits = [self._loop.create_task(a.wait_idle()) for a in self.associations if a.busy]
        try:
            if waits and limit > 0:
                await asyncio.wait(waits, timeout=limit)
        finally:
            for wait in waits:
                wait.cancel()

    async def serve_forever(self, *, signals: bool = True) -> None:
        """Serve until cancelled, or until SIGTERM or SIGINT; then drain and close."""
        stop = asyncio.Event()
        handled = (signal.SIGTERM, signal.SIGINT) if signals else ()
        for number in handled:
            self._loop.add_signal_handler(number, stop.set)
        try:
            await stop.wait()
        finally:
            for number in handled:
                self._loop.remove_signal_handler(number)
            await self.close()

    # --- accepting

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, address = await self._loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._logbook.note("accept", "listener", f"a connection was gone: {error}")
                    continue
                self._logbook.note("resources", "listener", f"no connection can be accepted: {error}")
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            peer = str(address[0])
            if not self._make_room():
                sock.close()
                continue
            waiting = self._pending[sock] = _Pending(sock, peer, self._loop.time())
            waiting.task = self._loop.create_task(self._begin(waiting))
            self._connecting.add(waiting.task)
            waiting.task.add_done_callback(self._connecting.discard)
            waiting.task.add_done_callback(waiting.close_unless_begun)
            await asyncio.sleep(0)  # `sock_accept` gives way to nobody while connections wait for it

    def _make_room(self) -> bool:
        """See that one more connection without an association fits.

        What has ended and lingers goes first, then the oldest of the address that has most of them: who opens
        connections and says nothing must not keep others out. False when the limit lets none in at all.
        """
        if len(self._pending) + len(self._lingering) < self.limits.max_pending_connections:
            return True
        if self._lingering:
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.connection.drop()
            return True
        if not self._pending:
            return False
        [(crowd, _)] = Counter(one.peer for one in self._pending.values()).most_common(1)
        sock = next(sock for sock, one in self._pending.items() if one.peer == crowd)
        self._pending.pop(sock).drop()
        self._logbook.note("flood", crowd, "closed a connection: too many without an association")
        return True

    async def _begin(self, waiting: _Pending) -> None:
        """From the TCP accept to the association's first byte: TLS, in a task of its own and in time."""
        waiting.begun = True
        sock, peer = waiting.sock, waiting.peer
        deadline = waiting.accepted + self.limits.artim_timeout
        association: Association | None = None
        begun = False
        try:
            sock.setblocking(False)
            if self._tls is not None and not await self._speaks_tls(sock, peer, deadline):
                return
            association = made = self._association(sock, peer, deadline)
            self.associations.add(association)
            waiting.association = association
            HANDSHAKING.set(sock)  # of this task, which ends with the handshake
            async with asyncio.timeout_at(deadline):
                await self._loop.connect_accepted_socket(
                    lambda: made.connection,
                    sock,
                    ssl=self._tls,
                    ssl_handshake_timeout=max(0.001, deadline - self._loop.time()) if self._tls else None,
                    ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT if self._tls else None,
                )
            begun = True
        except TimeoutError:
            self._logbook.note("handshake", peer, "closed a connection: no TLS handshake in time")
        except (ssl.SSLError, ConnectionError) as error:
            self._logbook.note("handshake", peer, f"TLS handshake failed: {describe_tls_error(error)}")
        except OSError as error:
            self._logbook.note("connection", peer, f"a connection failed: {error}")
        finally:
            if not begun:
                self._pending.pop(sock, None)
                if association is None:
                    sock.close()  # else it is the transport's, which closes it
                else:
                    self._gone(association)

    async def _speaks_tls(self, sock: socket.socket, peer: str, deadline: float) -> bool:
        """Look at the first byte without taking it; a plain peer is told in TLS's own words."""
        try:
            async with asyncio.timeout_at(deadline):
                first = await self._peek(sock)
        except TimeoutError:
            self._logbook.note("silent", peer, "closed a connection: nothing was sent in time")
            return False
        if first == b"\x16":
            return True
        if first:
            text = "TLS on one side only: the peer does not speak TLS, and this port does"
            self._logbook.note("plain", peer, text)
            try:
                sock.send(_TLS_ALERT)
            except OSError as error:
                log.debug("the alert could not be sent: %s", error)
        return False

    async def _peek(self, sock: socket.socket) -> bytes:
        while True:
            try:
                return sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                pass
            readable = asyncio.Event()
            self._loop.add_reader(sock.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                self._loop.remove_reader(sock.fileno())

    # --- associations

    def _association(self, sock: socket.socket, peer: str, deadline: float) -> Association:
        limits = self.limits
        holder: list[Association] = []
        session = Session(
            requestor=False,
            limits=limits.session(),
            check_request=lambda request: self._judge(holder[0], peer, request),
        )
        association = Association(
            session,
            timeouts=Timeouts(artim=limits.artim_timeout, inactivity=limits.inactivity_timeout),
            watch=Watch(
                inactivity=limits.inactivity_timeout, idle=limits.idle_timeout, pdu=limits.pdu_timeout
            ),
            provider=Performer(self.service, limits, peer),
            identifier_length=limits.max_identifier_length,
            opening=deadline,
            on_indication=lambda event: self._asked(association, sock, peer, event),
            on_ended=lambda: self._ended(association, sock, peer),
            on_gone=lambda: self._gone(association),
            on_note=lambda kind, text: self._logbook.note(kind, peer, f"{kind}: {text}"),
        )
        holder.append(association)
        return association

    def _tls_info(self, association: Association) -> TLSInfo | None:
        ssl_object: Any = association.connection.transport.get_extra_info("ssl_object")
        return connection_info(ssl_object) if ssl_object is not None else None

    def _judge(self, association: Association, peer: str, request: AAssociateRQ) -> AAssociateRJ | None:
        """The provider's refusal of a request: limits first, then access."""
        limits = self.limits
        info = request.user_information
        items = len(info.roles) + len(info.extended) + len(info.common_extended) + len(info.unknown)
        refusal: AAssociateRJ | None
        if self._closing:
            refusal, why = Rejection.TEMPORARY_CONGESTION, "the server is stopping"
        elif len(self._established) >= limits.max_associations:
            refusal, why = Rejection.LOCAL_LIMIT_EXCEEDED, "max_associations"
        elif _over(self._open[f"address {peer}"], limits.max_associations_per_address):
            refusal, why = Rejection.LOCAL_LIMIT_EXCEEDED, "max_associations_per_address"
        elif _over(self._open[f"ae {request.calling_ae}"], limits.max_associations_per_ae):
            refusal, why = Rejection.LOCAL_LIMIT_EXCEEDED, "max_associations_per_ae"
        elif len(request.presentation_contexts) > limits.max_contexts:
            refusal, why = Rejection.LOCAL_LIMIT_EXCEEDED, "max_contexts"
        elif items > limits.max_negotiation_items:
            refusal, why = Rejection.LOCAL_LIMIT_EXCEEDED, "max_negotiation_items"
        else:
            refusal, why = blank_title(request), "an AE title that is none"
        if refusal is None:
            try:
                caller = Caller(peer, request, self._tls_info(association))
                refusal = self.access.check(caller)
                why = "" if refusal is None else self.access.why(caller) or "access"
            except Exception:
                log.exception("judging who may associate failed")
                refusal, why = Rejection.NO_REASON, "judging it failed"
        if refusal is not None:
            who = f"{request.calling_ae!r}, who called {request.called_ae!r}"
            words = describe_rejection(refusal.result, refusal.source, refusal.reason)
            self._logbook.note("rejected", peer, f"rejected an association: {who}, was {words} ({why})")
        return refusal

    def _asked(
        self, association: Association, sock: socket.socket, peer: str, event: AssociateIndication
    ) -> None:
        request = event.request
        self._pending.pop(sock, None)
        self._established.add(association)
        self._open[f"address {peer}"] += 1
        self._open[f"ae {request.calling_ae}"] += 1
        identity = request.user_information.user_identity
        if identity is not None and self.access.identity is not None:
            association.spawn(self._identify(association, peer, request))
        else:
            self._answer(association, peer, request, None)

    async def _identify(self, association: Association, peer: str, request: AAssociateRQ) -> None:
        """Have the access hook judge the user identity, in bounded time."""
        identity = request.user_information.user_identity
        assert identity is not None
        assert self.access.identity is not None
        verdict: UserIdentityAC | AAssociateRJ | None
        try:
            async with asyncio.timeout(self.limits.artim_timeout):
                verdict = await self.access.identity(
                    identity, Caller(peer, request, self._tls_info(association))
                )
        except TimeoutError:
            verdict = Rejection.TEMPORARY_CONGESTION
        except Exception:
            log.exception("judging a user identity failed")
            verdict = Rejection.NO_REASON
        if isinstance(verdict, AAssociateRJ):
            self._logbook.note("rejected", peer, "rejected an association: user identity")
            association.reject(verdict)
        else:
            self._answer(association, peer, request, verdict)

    def _answer(
        self, association: Association, peer: str, request: AAssociateRQ, identity: UserIdentityAC | None
    ) -> None:
        if association.session.state is not State.STA3:  # it has ended meanwhile
            return
        supported = self._supported
        asked = request.user_information
        response = None
        if asked.user_identity is not None and asked.user_identity.positive_response_requested:
            response = identity
        answer = AAssociateAC(
            called_ae=request.called_ae,
            calling_ae=request.calling_ae,
            presentation_contexts=tuple(supported.answer(c) for c in request.presentation_contexts),
            user_information=UserInformation(
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version_name=IMPLEMENTATION_VERSION_NAME,
                roles=supported.roles(request),
                async_operations=self._window(asked.async_operations),
                extended=self._extended(request),
                user_identity_response=response,
            ),
        )
        try:
            association.accept(answer)
        except LocalProtocolError as error:  # the peer's maximum length leaves no room for a message
            self._logbook.note("rejected", peer, f"rejected an association: {error}")
            association.reject(Rejection.NO_REASON)

    def _extended(self, request: AAssociateRQ) -> tuple[SOPClassExtendedNegotiation, ...]:
        """The service's answers to an extended negotiation, of SOP classes that were asked about."""
        asked = {one.sop_class_uid for one in request.user_information.extended}
        if not asked:
            return ()
        try:
            found = {one.sop_class_uid: one for one in self.service.extended(request)}
        except Exception:
            log.exception("answering an extended negotiation failed")
            return ()
        return tuple(one for uid, one in found.items() if uid in asked)

    def _window(self, asked: AsyncOperationsWindow | None) -> AsyncOperationsWindow | None:
        """What is granted of an asynchronous operations window; nothing unless the server was told to."""
        if asked is None or self._async_operations is None:
            return None
        return AsyncOperationsWindow(
            least_window(asked.invoked, self._async_operations.performed),
            least_window(asked.performed, self._async_operations.invoked),
        )

    def _ended(self, association: Association, sock: socket.socket, peer: str) -> None:
        """An association is over; its connection may still be closing."""
        self._pending.pop(sock, None)
        self._lingering[association] = None
        if association in self._established:
            self._established.discard(association)
            request = association.session.request
            assert request is not None
            for key in (f"address {peer}", f"ae {request.calling_ae}"):
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]
        error = association.error
        if isinstance(error, AssociationRejected):
            if (error.source, error.reason) in _REJECTED_UNASKED:  # the others are logged with the reason why
                self._logbook.note("rejected", peer, f"rejected an association: {error}")
        elif error is not None:
            kind = type(error).__name__
            level = logging.INFO if isinstance(error, InactivityTimeout) else logging.WARNING
            self._logbook.note(kind, peer, str(error), level=level)

    def _gone(self, association: Association) -> None:
        self.associations.discard(association)
        self._lingering.pop(association, None)


def _over(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit


async def serve(
    service: Service,
    *,
    host: str | None = "127.0.0.1",
    port: int = 104,
    tls: ssl.SSLContext | None = None,
    limits: ServerLimits | None = None,
    access: Access | None = None,
    async_operations: AsyncOperationsWindow | None = None,
) -> Server:
    """Start serving; the server is an async context manager. Raises OSError when it cannot listen."""
    server = Server(service, tls=tls, limits=limits, access=access, async_operations=async_operations)
    await server.start(host, port)
    return server
