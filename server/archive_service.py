"""The embedded archive as a service: what it stores, finds and sends, with its blocking work on threads."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset

from ..archive.archive import Archive
from ..archive.errors import IdentifierError
from ..archive.find import Matches
from ..archive.search import Search
from ..archive.upkeep import Progress
from ..association.connect import WINDOW
from ..association.observing import Observer
from ..association.performing import Performed, Refused, Request
from ..association.tasks import on_thread, to_its_end
from ..dataset.instance import Instance
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.levels import Level, QueryService, Root, find_model, get_model, model_of, move_model
from ..dimse.sop_classes import maybe_storage, patient_sop_classes
from ..pdu.types import AAssociateRQ, AsyncOperationsWindow, SOPClassExtendedNegotiation
from ..pdu.uids import UNCOMPRESSED
from .access import Access
from .arriving import Arriving, CountedSink
from .limits import ServerLimits
from .listener import DEFAULT_HOST, DEFAULT_PORT, Server
from .service import Destination, EncodedMatches, Service
from .shares import Shares
from .stats import ServerStats

log: logging.Logger = logging.getLogger("aiodicom.server")

T = TypeVar("T")

FIRST_FETCH = 16
"""Matches taken from the index at first: who looks at a few and cancels is heard between two fetches."""
FETCH = 256
"""Matches taken in one go on a thread in the end: each time it is twice as many."""
FETCH_BYTES = 256 * 1024
"""Bytes of matches at which they are enough: one that a peer stored large must not count 256 times."""
QUERY_THREADS = 6
"""Threads that search the index."""

_MODELS = frozenset(
    model(root) for root in (Root.PATIENT, Root.STUDY) for model in (find_model, get_model, move_model)
)


_FIND_EXTENSIONS = bytes((1, 1, 0, 0, 0, 1, 1))
"""PS3.4 Table C.5-2: relational queries, dates with times; no fuzzy names, time zones, conversion; empty and
multiple values."""
_RETRIEVE_EXTENSIONS = bytes((1,))


class ArchiveService(Service):
    """Stores into, queries and retrieves from one `Archive`.

    `destinations` are the application entities a C-MOVE may send to. `promiscuous` takes storage classes
    the standard does not know (private ones) too. `queries_per_address` of the `QUERY_THREADS` are one
    peer address's at a time; `open_queries_per_address` of its queries are open.

    >>> with aiodicom.Archive(OUT) as archive:
    ...     async with aiodicom.serve(aiodicom.ArchiveService(archive), host=HOST, port=0) as server:
    ...         await aiodicom.test_connection(HOST, server.port)
    True
    """

    def __init__(
        self,
        archive: Archive,
        *,
        ae_title: str = "ARCHIVE",
        destinations: Mapping[str, Destination] | None = None,
        promiscuous: bool = True,
        queries_per_address: int = ServerLimits().max_queries_per_address,
        open_queries_per_address: int = ServerLimits().max_open_queries_per_address,
    ) -> None:
        self.archive = archive
        self.ae_title = ae_title
        self.destinations: dict[str, Destination] = dict(destinations or {})
        self._promiscuous = promiscuous
        self._shares = Shares(queries_per_address)
        self._open = Shares(open_queries_per_address)
        self._arriving = Arriving()
        # one at a time, until what it found was taken: what the others found would only lie about
        self._answering: WeakKeyDictionary[Performed, asyncio.Lock] = WeakKeyDictionary()
        # apart from the threads that files are read and written on: a search may take long
        self._searching = ThreadPoolExecutor(QUERY_THREADS, "aiodicom-query")

    def supported(self) -> Supported:
        """Verification, query/retrieve of both roots, and storage in any transfer syntax.

        What is deflated is kept as it comes; it is inflated once, in a bounded stream beside the commits.
        """
        return archive_contexts(promiscuous=self._promiscuous)

    def extended(self, request: AAssociateRQ) -> Sequence[SOPClassExtendedNegotiation]:
        """Relational queries and retrievals; of queries also ranges of dates with their times, matching of
        several values at once, and of empty ones, which is done for who did not ask, too (PS3.4 C.5).
        """
        return [
            SOPClassExtendedNegotiation(asked.sop_class_uid, _granted(asked))
            for asked in request.user_information.extended
            if asked.sop_class_uid in _MODELS and asked.information
        ]

    def queue_depth(self) -> int:
        """Objects whose commit has not ended."""
        return self._arriving.committing

    def store(self, request: Request) -> StoreSink:
        """The archive's sink."""
        message = request.message
        assert isinstance(message, m.CStoreRQ)
        sink = self.archive.queued(
            sop_class_uid=message.affected_sop_class_uid,
            sop_instance_uid=message.affected_sop_instance_uid,
            transfer_syntax_uid=request.context.transfer_syntax,
            calling_ae=request.calling_ae,
        )
        return CountedSink(sink, request.association, self._arriving)

    async def find(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[EncodedMatches]:
        """The archive's matches, fetched in batches on a thread."""
        async with (
            self._open.turn(request.origin),
            aclosing(self._find(request, root, level, identifier)) as found,
        ):
            async for matches in found:
                yield matches

    async def _find(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncGenerator[EncodedMatches, None]:
        search, granted = Search(), _negotiated(request)
        combined, every = granted[1:2] == b"\1", granted[6:7] == b"\1"
        try:
            matches = await self._searched(
                request.origin,
                lambda: self.archive.find(
                    root,
                    level,
                    identifier,
                    combined=combined,
                    every=every,
                    retrieve_ae=self.ae_title,
                    search=search,
                ),
                hurry=search.give_up,
                unwanted=Matches.close,
            )
            count = FIRST_FETCH
            try:
                ended = False
                while not ended:
                    async with self._answering.setdefault(request.association, asyncio.Lock()):
                        batch, ended = await self._fetched(request, matches, count)
                        count = min(2 * count, FETCH)
                        if batch:
                            yield EncodedMatches(batch, matches.pending_status)
            finally:
                matches.give_up()
                await to_its_end(on_thread(matches.close))
        except IdentifierError as error:
            raise refused(error) from None

    async def _fetched(
        self, request: Request, matches: Matches, count: int = FETCH
    ) -> tuple[list[bytes], bool]:
        """The next matches, encoded; on threads of the queries' own, of which an address has a share."""
        syntax = request.context.transfer_syntax
        loop = asyncio.get_running_loop()

        def tell(words: str) -> None:  # a peer that stored such an object can ask for it at will
            loop.call_soon_threadsafe(request.association.note, "answers given in part", words)

        def fetch() -> tuple[list[bytes], bool]:
            return matches.take(syntax, count, FETCH_BYTES, tell)

        return await self._searched(request.origin, fetch, hurry=matches.give_up)

    async def _searched(
        self,
        address: str,
        work: Callable[[], T],
        *,
        hurry: Callable[[], object],
        unwanted: Callable[[T], object] | None = None,
    ) -> T:
        """Work whose size a peer chose, in a turn of its address, on the threads of searches."""
        async with self._shares.turn(address):
            return await on_thread(work, hurry=hurry, unwanted=unwanted, executor=self._searching)

    async def retrieve(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> Sequence[Instance]:
        """The stored objects that an identifier names."""
        search = Search()
        try:
            return await self._searched(
                request.origin,
                lambda: self.archive.select(root, level, identifier, search=search),
                hurry=search.give_up,
            )
        except IdentifierError as error:
            raise refused(error) from None

    async def destination(self, request: Request, ae_title: str) -> Destination | None:
        """One of the configured destinations."""
        return self.destinations.get(ae_title)


class ArchiveServer:
    """A listener over an archive of its own: entered or awaited, as `Server`.

    >>> async with aiodicom.serve_archive(OUT, port=0) as server:
    ...     async with aiodicom.connect("127.0.0.1", server.port) as pacs:
    ...         report = await pacs.store(FOLDER)
    >>> report.ok, len(report.items)
    (True, 4)
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        host: str | None = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        ae_title: str = "ARCHIVE",
        tls: ssl.SSLContext | None = None,
        destinations: Mapping[str, Destination | tuple[str, int]] | None = None,
        limits: ServerLimits | None = None,
        access: Access | None = None,
        durability: str = "fsync",
        promiscuous: bool = True,
        async_operations: AsyncOperationsWindow | None = WINDOW,
        progress: Progress | None = None,
        create: bool = True,
        observer: Observer | None = None,
    ) -> None:
        self.directory: Path = Path(directory)
        self.ae_title = ae_title
        self._host = host
        self._port = port
        self._tls = tls
        self._destinations = {
            name: one if isinstance(one, Destination) else Destination(*one)
            for name, one in (destinations or {}).items()
        }
        self._limits = limits if limits is not None else ServerLimits()
        self._access = access
        self._durability = durability
        self._promiscuous = promiscuous
        self._async_operations = async_operations
        self._progress = progress
        self._create = create
        self._observer = observer
        self._archive: Archive | None = None
        self._server: Server | None = None

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if self._server is not None:
            return self
        archive = await on_thread(self._open, unwanted=Archive.close)
        service = ArchiveService(
            archive,
            ae_title=self.ae_title,
            destinations=self._destinations,
            promiscuous=self._promiscuous,
            queries_per_address=self._limits.max_queries_per_address,
            open_queries_per_address=self._limits.max_open_queries_per_address,
        )
        server = Server(
            service,
            host=self._host,
            port=self._port,
            tls=self._tls,
            limits=self._limits,
            access=self._access,
            async_operations=self._async_operations,
            observer=self._observer,
        )
        try:
            await server.start()
        except BaseException:
            await to_its_end(on_thread(archive.close))
            raise
        self._archive, self._server = archive, server
        return self

    def _open(self) -> Archive:
        return Archive(
            self.directory,
            durability="rename" if self._durability == "rename" else "fsync",
            max_object_size=self._limits.max_object_size,
            max_sequence_depth=self._limits.max_sequence_depth,
            max_elements=self._limits.max_object_elements,
            max_quarantine_size=self._limits.max_quarantine_size,
            progress=self._progress,
            create=self._create,
        )

    @property
    def archive(self) -> Archive:
        """The archive, while open."""
        assert self._archive is not None
        return self._archive

    @property
    def server(self) -> Server:
        """The listener, while open."""
        assert self._server is not None
        return self._server

    @property
    def port(self) -> int:
        """The port listened on."""
        return self.server.port

    def stats(self) -> ServerStats:
        """What the server has done so far, while open: `Server.stats`."""
        return self.server.stats()

    async def serve_forever(self) -> None:
        """Serve until cancelled or told to stop by SIGTERM or SIGINT; then drain."""
        await self.server.serve_forever()

    async def close(self, *, drain: float | None = None) -> None:
        """Stop the listener, then close the archive. May be called again."""
        server, self._server = self._server, None
        archive, self._archive = self._archive, None
        if server is not None:
            await server.close(drain=drain)
        if archive is not None:
            await to_its_end(on_thread(archive.close))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(drain=None if kind is None else 0)


def archive_contexts(*, promiscuous: bool) -> Supported:
    """What an archive accepts; promiscuous: storage classes too that the standard does not know."""
    syntaxes: dict[str, tuple[str, ...]] = {VERIFICATION: UNCOMPRESSED}
    syntaxes.update(dict.fromkeys(sorted(_MODELS), UNCOMPRESSED))
    syntaxes.update((uid, ()) for uid in patient_sop_classes())
    return Supported(
        syntaxes,
        any_scp_role=True,
        accept_unknown=maybe_storage if promiscuous else None,
        excluded_transfer_syntaxes=frozenset(),
    )


def _granted(asked: SOPClassExtendedNegotiation) -> bytes:
    """What of an extended negotiation is done here, in as many bytes as were asked with."""
    service = model_of(asked.sop_class_uid)[1]
    done = _FIND_EXTENSIONS if service is QueryService.FIND else _RETRIEVE_EXTENSIONS
    here = done.ljust(len(asked.information), b"\0")
    return bytes(wanted & offered for wanted, offered in zip(asked.information, here, strict=False))


def _negotiated(request: Request) -> bytes:
    """What was granted of an extended negotiation of the request's SOP class; empty where none was asked."""
    asked = request.association.session.request
    offered = asked.user_information.extended if asked is not None else ()
    same = (one for one in offered if one.sop_class_uid == request.context.abstract_syntax)
    return next(map(_granted, same), b"")


def refused(error: IdentifierError) -> Refused:
    """The archive's judgement of an identifier, as the answer to a request."""
    return Refused(error.status, error.comment, error.offending_elements)


serve_archive = ArchiveServer
"""``async with serve_archive("folder", port=11112, ae_title="ARCHIVE") as server: ...``

To who offers an asynchronous operations window it grants one of 16 each way; `async_operations=None` grants
none.
"""
