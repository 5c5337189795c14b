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
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

from ..archive.logbook import Logbook
from ..association.association import Association
from ..association.budget import Budgets
from ..association.decompressing import Decompressor
from ..association.dialing import check_port
from ..association.errors import AssociationAborted
from ..association.observing import Observer
from ..association.tasks import Tasks
from ..pdu.types import AsyncOperationsWindow
from .accepted import AcceptedConnection, Reception
from .access import Access
from .admission import Admission
from .binding import bind
from .connections import Connections
from .destinations import Destinations
from .limits import ServerLimits
from .origin import origin_of
from .resources import CONVERTED_PER_ADDRESS, DECODED_PER_ADDRESS, DECODERS, Resources
from .service import Service
from .shares import Shares
from .stats import ServerStats, Tally

log: logging.Logger = logging.getLogger("aiodicom.server")

CLOSING = 5.0
"""Seconds that a server which is stopped waits for what it has given up already."""
ACCEPT_PAUSE = 0.5
"""Seconds without accepting when the process is out of descriptors: the condition does not end by asking."""

DEFAULT_HOST = "127.0.0.1"
"""Where a server listens unless it is told: this machine alone."""
DEFAULT_PORT = 11112
"""The registered port of DICOM that needs no privilege (acr-nema is 104)."""


class Server:
    """Serves one `Service` on one or more sockets; made by `serve`.

    ``async with serve(...) as server`` and ``server = await serve(...)`` both start it; leaving closes it,
    draining first.
    """

    def __init__(
        self,
        service: Service,
        *,
        host: str | None = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        tls: ssl.SSLContext | None = None,
        limits: ServerLimits | None = None,
        access: Access | None = None,
        async_operations: AsyncOperationsWindow | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.service = service
        self.limits: ServerLimits = limits if limits is not None else ServerLimits()
        self.access: Access = access if access is not None else Access()
        self.connections: Connections = Connections()
        self._where = (host, check_port(port, 0))
        self._loop = asyncio.get_running_loop()
        self._logbook = Logbook(log, self._loop.time, partial(origin_of, prefix=self.limits.ipv6_prefix))
        self._tally = Tally()
        self._made = self._loop.time()
        self._admission = Admission(
            service, self.limits, self.access, async_operations, self._logbook, self._tally
        )
        self._decompressor = self._decodes()
        self._decoders = ThreadPoolExecutor(DECODERS, "aiodicom-decode")
        there_are = descriptors()
        self._beginning = Tasks()
        self._accepting = Tasks()
        self._reception = Reception(
            service,
            self.limits,
            tls,
            self._admission,
            self.connections,
            self._logbook,
            self._beginning,
            observer,
            Resources(
                Budgets(self.limits.read_ahead, self.limits.read_ahead_per_address),
                Shares(DECODED_PER_ADDRESS),
                self._decoders,
                Shares(CONVERTED_PER_ADDRESS),
                self._decompressor,
                Destinations(self.limits, there_are),
            ),
            self._tally,
        )
        self._sockets: list[socket.socket] = []
        self._capacity = there_are - self.limits.descriptor_reserve

    def _decodes(self) -> Decompressor | None:
        limits = self.limits
        if not limits.max_decompressions:
            return None
        return Decompressor(
            limits.max_decompressions, limits.max_decompressed_size, limits.decompression_timeout
        )

    def __repr__(self) -> str:
        state = f"port {self.port}" if self._sockets else "not started"
        return (
            f"<Server of {type(self.service).__name__}, {state}, {len(self.connections.open)} associations>"
        )

    @property
    def associations(self) -> list[Association]:
        """Every association, those included that are beginning or ending."""
        return self.connections.associations

    def stats(self) -> ServerStats:
        """What it has done so far: one value of this moment, also after it was closed."""
        seconds = self._loop.time() - self._made
        return self._tally.moment(seconds, self.connections, self.service.queue_depth())

    # --- life

    async def start(self) -> None:
        """Listen, unless it does; port 0 takes a free one. Raises OSError when the address cannot be had."""
        if self._admission.closing:
            raise RuntimeError("a server that was closed is not started again")
        if self._sockets:
            return
        try:
            self._sockets = await bind(*self._where)
        except OSError:
            await self.close(drain=0)
            raise
        for sock in self._sockets:
            self._accepting.start(self._accept(sock))

    @property
    def port(self) -> int:
        """The port listened on."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(drain=None if kind is None else 0)

    async def close(self, *, drain: float | None = None) -> None:
        """Stop accepting, let running requests go on for `drain` seconds (or the limit's), abort the rest."""
        self._admission.closing = True
        try:
            await self._stop_accepting()
            await self._drain(self.limits.drain_timeout if drain is None else drain)
        finally:  # cancelled, too, nothing stays open
            ending = self.associations
            for association in ending:
                association.abort_now(AssociationAborted("the server is stopping", by_peer=False))
                association.connection.close()
            await self._gone(ending)
            self._decoders.shutdown(wait=False)
            if self._decompressor is not None:
                await self._decompressor.close()

    async def _gone(self, ending: Sequence[Association]) -> None:
        """Wait until these are gone, `CLOSING` seconds longer than a peer may keep a connection open."""
        try:
            async with asyncio.timeout((self.limits.artim_timeout or 0.0) + CLOSING):
                for association in ending:
                    await association.wait_closed()
        except TimeoutError:  # a defect of ours: whoever stops a server does not wait for it
            for association in ending:
                association.connection.drop()
            log.exception("connections that were aborted are not gone")

    async def _stop_accepting(self) -> None:
        self._accepting.end()
        self._beginning.end()
        try:
            async with asyncio.timeout(CLOSING):
                await self._accepting.wait()
                await self._beginning.wait()
        except TimeoutError:  # as in `_gone`
            log.exception("connections that were being taken have not been given up")
        finally:
            for sock in self._sockets:
                sock.close()

    async def _drain(self, limit: float) -> None:
        if limit <= 0:
            return
        try:
            async with asyncio.timeout(limit):
                for association in self.associations:
                    await association.wait_idle()
        except TimeoutError:
            log.debug("requests were still running after %s s", limit)

    async def serve_forever(self, *, signals: bool = True) -> None:
        """Serve until cancelled, or until SIGTERM or SIGINT; then drain and close."""
        stop = asyncio.Event()
        handled = add_signal_handlers(
            self._loop, stop.set, (signal.SIGTERM, signal.SIGINT) if signals else ()
        )
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
            # the lowest free descriptor tells how many are in use, by whomever: files and queries count too
            full = sock.fileno() >= self._capacity
            lost = self.connections.make_room(self.limits.max_pending_connections, full=full)
            if lost != "":
                self._tally.limits["descriptor_reserve" if full else "max_pending_connections"] += 1
            if lost:
                self._logbook.note("flood", lost, "closed a connection: too many without an association")
            if lost is None:
                text = "closed a connection: as many are open as there are descriptors for, or limits"
                self._logbook.note("resources", str(address[0]), text)
                sock.close()
                continue
            AcceptedConnection(self._reception, sock, str(address[0]))
            await asyncio.sleep(0)  # `sock_accept` gives way to nobody while connections wait for it


def add_signal_handlers(
    loop: asyncio.AbstractEventLoop, told: Callable[[], object], numbers: Sequence[int]
) -> Sequence[int]:
    """Have these signals tell; which do: none where a loop has no such thing (Windows)."""
    try:
        for number in numbers:
            loop.add_signal_handler(number, told)
    except NotImplementedError:
        return ()
    return numbers


def descriptors(*, raise_to: int = 0) -> int:
    """How many descriptors this process may have; first raises the soft limit to `raise_to`, if it may."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows, where sockets are no files
        return 1 << 30
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = raise_to if hard == unlimited else min(raise_to, hard)
    if soft != unlimited and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 1 << 30 if soft == unlimited else soft


def serve(
    service: Service,
    *,
    host: str | None = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    tls: ssl.SSLContext | None = None,
    limits: ServerLimits | None = None,
    access: Access | None = None,
    async_operations: AsyncOperationsWindow | None = None,
    observer: Observer | None = None,
) -> Server:
    """A server, to be entered or awaited; that raises OSError when it cannot listen.

    `host` None and ``"::"`` listen on every address of both families; port 0 takes a free one, and ValueError
    is raised for what is none. `observer` is told what happens on each association.

    >>> class Echo(aiodicom.Service):
    ...     async def echo(self, request):
    ...         return 0
    >>> async with aiodicom.serve(Echo(), host=HOST, port=0) as server:
    ...     await aiodicom.test_connection(HOST, server.port)
    True
    """
    return Server(
        service,
        host=host,
        port=port,
        tls=tls,
        limits=limits,
        access=access,
        async_operations=async_operations,
        observer=observer,
    )
