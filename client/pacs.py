"""The client with a listener of its own: C-MOVE to itself in one call."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..association.connect import DEFAULT_CALLED_AE, DEFAULT_CALLING_AE, Peer
from ..association.performing import Refused, Request
from ..association.tasks import on_thread
from ..association.timeouts import Timeouts
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.levels import Level, QueryError, Root
from ..dimse.limits import SessionLimits
from ..dimse.sop_classes import maybe_storage, storage_sop_classes
from ..dimse.status import NOT_AUTHORIZED, Category, categorize
from ..pdu.codec import encode_ae_title
from ..pdu.errors import AiodicomError
from ..pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
)
from ..server.limits import ServerLimits
from ..server.listener import Server
from ..server.service import Service
from .client import Client
from .identifier import build_retrieve, parse_root
from .receiving import Durability, open_file_sink
from .results import Progress, ProgressCallback, ReceivedItem, RetrieveResult
from .retrieving import check_uids, follow_move, make_plan, moving

QUIET_PERIOD = 5.0
"""Seconds without an arrival, after the C-MOVE's final response, at which what is missing is given up."""


@dataclass(slots=True)
class _Arrivals(Service):
    """Takes the objects of the C-MOVEs of one call, told by move originator and message id.

    Every message id of the call counts until its end: an archive may answer a C-MOVE before it sends."""

    directory: Path
    originators: frozenset[str]
    durability: Durability
    result: RetrieveResult
    progress: ProgressCallback | None
    message_ids: set[int] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def supported(self) -> Supported:
        """Verification and storage of every class."""
        classes: dict[str, tuple[str, ...]] = dict.fromkeys((VERIFICATION, *storage_sop_classes()), ())
        return Supported(classes, accept_unknown=maybe_storage)

    def store(self, request: Request) -> StoreSink:
        """A file, if the object belongs to the move under way."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        # Many archives leave the originator out, and pynetdicom names itself in its place (PS3.7 9.1.1.1.7
        # wants us); one that names another move is not ours to take.
        foreign = (
            message.move_originator_ae is not None and message.move_originator_ae not in self.originators
        ) or message.move_originator_message_id not in (None, *self.message_ids)
        if foreign or not self.message_ids:
            raise Refused(NOT_AUTHORIZED, "not part of the move under way")
        return open_file_sink(
            self.directory,
            message,
            request.context,
            source_ae=request.calling_ae,
            durability=self.durability,
            done=self._received,
        )

    def _received(self, item: ReceivedItem) -> None:
        self.result.items.append(item)
        self.arrived.set()
        if self.progress is not None:
            items, expected = self.result.items, self.result.expected
            good = sum(one.ok for one in items)
            total = len(expected) if expected is not None else None
            self.progress(Progress(good, total, self.result.bytes, None, len(items) - good))

    def awaited(self) -> bool:
        """Whether something is still to come, by what the query promised or the final response counted."""
        failed = categorize(self.result.status) is Category.FAILURE
        if failed and not self.result.completed and not self.result.warning:
            return False  # the peer could not send, or does not know us
        if self.result.expected is not None:
            return bool(self.result.missing)
        told = (self.result.completed or 0) + (self.result.warning or 0)
        return sum(item.ok for item in self.result.items) < told


class Pacs(Client):
    """A `Client` whose `move` can also retrieve to this process, by a listener started for the call."""

    async def move(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        destination: str | None = None,
        directory: str | Path | None = None,
        root: Root | str = Root.PATIENT,
        parents: Mapping[str, str] | None = None,
        listen_host: str | None = None,
        listen_port: int = 11112,
        listen_tls: ssl.SSLContext | None = None,
        limits: ServerLimits | None = None,
        quiet: float = QUIET_PERIOD,
        durability: Durability = "fsync",
        progress: ProgressCallback | None = None,
    ) -> RetrieveResult:
        """C-MOVE by the unique key of a level, one or several.

        With a `destination` alone the peer sends to that application entity, and the result holds what it
        reported. With a `directory` it sends to us: a listener is started on `listen_port`, which the peer
        must have registered under our calling AE title (or under `destination`), and the objects lie in
        the directory as after a `get`. Arrivals later than the final response are awaited for `quiet`
        seconds without one. Raises OSError when the port cannot be had.
        """
        if directory is None:
            if destination is None:
                raise QueryError("a move needs a destination, or a directory to move to this process")
            return await super().move(
                level, uid, destination=destination, root=root, parents=parents, progress=progress
            )
        started = time.perf_counter()
        wanted_level, wanted_root = Level.parse(level), parse_root(root)
        uids = check_uids(wanted_level, wanted_root, uid)
        folder = Path(directory)
        result = RetrieveResult(service="C-MOVE")
        originators = frozenset((self.peer.calling_ae, self.peer.called_ae))
        arrivals = _Arrivals(folder, originators, durability, result, progress)
        title = destination or self.peer.calling_ae
        encode_ae_title(title)
        async with self.limited():
            await on_thread(lambda: folder.mkdir(parents=True, exist_ok=True))
            server = Server(arrivals, tls=listen_tls, limits=limits)
            try:
                await server.start(listen_host, listen_port)
            except OSError as error:
                why = f"cannot listen on port {listen_port} for the move: {error.strerror or error}"
                raise OSError(error.errno, why) from error
            async with server:
                plan = await make_plan(self, wanted_level, wanted_root, uids, parents or {})
                result.expected = plan.expected
                try:
                    for target in plan.targets:
                        query = build_retrieve(
                            "C-MOVE", wanted_level, wanted_root, [target.uid], target.parents
                        )
                        async with moving(self, query, title) as (message_id, following):
                            arrivals.message_ids.add(message_id)
                            await follow_move(result, following, None)
                except AiodicomError as error:
                    if not result.items:
                        raise
                    result.error = error
                else:
                    await self._late(arrivals, server, quiet)
        result.seconds = time.perf_counter() - started
        return result

    @staticmethod
    async def _late(arrivals: _Arrivals, server: Server, quiet: float) -> None:
        """Some archives answer the C-MOVE before they have sent: wait while objects come."""
        while arrivals.awaited():
            arrivals.arrived.clear()
            try:
                async with asyncio.timeout(quiet):
                    await arrivals.arrived.wait()
            except TimeoutError:
                if not any(association.busy for association in server.associations):
                    return  # quiet: `missing` says what did not come


async def test_connection(host: str, port: int, **options: Any) -> bool:
    """Whether a peer can be connected to and answers a C-ECHO: a plain yes or no, whatever goes wrong.

    `options` are those of `connect`.
    """
    try:
        async with connect(host, port, **options) as pacs:
            await pacs.echo()
    except AiodicomError:
        return False
    return True


def connect(
    host: str,
    port: int,
    *,
    calling_ae: str = DEFAULT_CALLING_AE,
    called_ae: str = DEFAULT_CALLED_AE,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeouts: Timeouts | None = None,
    limits: SessionLimits | None = None,
    user_identity: UserIdentityRQ | None = None,
    async_operations: AsyncOperationsWindow | None = None,
    extended: tuple[SOPClassExtendedNegotiation, ...] = (),
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = (),
    lenient_roles: bool = True,
) -> Pacs:
    """A connection to a peer, to be entered: ``async with aiodicom.connect(...) as pacs``.

    Entering connects and opens an association; it raises ConnectFailed (HostUnknown, ConnectionRefused,
    TLSFailed), AssociationRejected, AssociationAborted, NotDicomPeer, ConnectTimeout or AssociationTimeout.
    `tls` is an SSL context, best one of `client_context`; None connects in plain.
    """
    return Pacs(
        Peer(
            host=host,
            port=port,
            calling_ae=calling_ae,
            called_ae=called_ae,
            tls=tls,
            server_hostname=server_hostname,
            timeouts=timeouts if timeouts is not None else Timeouts(),
            limits=limits if limits is not None else SessionLimits(),
            user_identity=user_identity,
            async_operations=async_operations,
            extended=extended,
            common_extended=common_extended,
            lenient_roles=lenient_roles,
        )
    )
