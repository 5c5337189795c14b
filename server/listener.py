"""The listener: accepts, shakes hands, negotiates, and keeps count.

`accept` never waits for a peer's bytes: each connection has a task of its own until its association begins,
and one deadline runs from the TCP accept to the complete A-ASSOCIATE-RQ.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import ssl
from collections import Counter
from types import TracebackType
from typing import Any, Self

from ..client.association import Association
from ..client.connect import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TLS_SHUTDOWN_TIMEOUT,
)
from ..client.errors import AssociationAborted, AssociationRejected, InactivityTimeout
from ..client.timeouts import Timeouts
from ..client.tls import TLSInfo, connection_info, describe_tls_error
from ..client.watchdog import Watch
from ..dimse.contexts import Supported, least_window
from ..dimse.session import Session
from ..pdu.errors import LocalProtocolError
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
        self._pending: set[socket.socket] = set()  # connections without an association
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
            except OSError:
                sock.close()
                await self.close(drain=0)
                raise
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
            if not self._has_room():
                self._logbook.note("flood", peer, "closed a connection: too many without an association")
                sock.close()
                continue
            self._pending.add(sock)
            task = self._loop.create_task(self._begin(sock, peer, self._loop.time()))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _has_room(self) -> bool:
        """Whether one more connection without an association fits: what has ended and lingers makes room."""
        if len(self._pending) + len(self._lingering) < self.limits.max_pending_connections:
            return True
        if not self._lingering:
            return False
        oldest = next(iter(self._lingering))
        del self._lingering[oldest]
        oldest.connection.drop()
        return True

    async def _begin(self, sock: socket.socket, peer: str, accepted: float) -> None:
        """From the TCP accept to the association's first byte: TLS, in a task of its own and in time."""
        deadline = accepted + self.limits.artim_timeout
        association: Association | None = None
        begun = False
        try:
            sock.setblocking(False)
            if self._tls is not None and not await self._speaks_tls(sock, peer, deadline):
                return
            association = made = self._association(sock, peer, deadline - self._loop.time())
            self.associations.add(association)
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
                self._pending.discard(sock)
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
            self._logbook.note("plain", peer, "the peer does not speak TLS, and this port does")
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

    def _association(self, sock: socket.socket, peer: str, opening: float) -> Association:
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
            opening=max(0.0, opening),
            on_indication=lambda event: self._asked(association, sock, peer, event),
            on_ended=lambda: self._ended(association, sock, peer),
            on_gone=lambda: self._gone(association),
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
            why = "access"
            try:
                refusal = self.access.check(Caller(peer, request, self._tls_info(association)))
            except Exception:
                log.exception("judging who may associate failed")
                refusal = Rejection.NO_REASON
        if refusal is not None:
            self._logbook.note("rejected", peer, f"rejected an association: {why}")
        return refusal

    def _asked(
        self, association: Association, sock: socket.socket, peer: str, event: AssociateIndication
    ) -> None:
        request = event.request
        self._pending.discard(sock)
        self._established.add(association)
        self._open[f"address {peer}"] += 1
        self._open[f"ae {request.calling_ae}"] += 1
        identity = request.user_information.user_identity
        if identity is not None and self.access.identity is not None:
            association.spawn(self._identify(association, peer, request))
        else:
            self._answer(association, request, None)

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
            self._answer(association, request, verdict)

    def _answer(
        self, association: Association, request: AAssociateRQ, identity: UserIdentityAC | None
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
        except LocalProtocolError:  # the peer's maximum length leaves no room for a message
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
        self._pending.discard(sock)
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
        if error is not None and not isinstance(error, AssociationRejected):  # a rejection is logged already
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
