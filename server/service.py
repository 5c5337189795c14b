"""What a server offers: subclass `Service`, override what you perform."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..association.performing import Refused, Request
from ..dataset.instance import Instance
from ..dataset.sinks import StoreSink
from ..dimse.contexts import VERIFICATION, Supported
from ..dimse.levels import Level, Root
from ..dimse.status import PENDING, SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION
from ..pdu.types import AAssociateRQ, SOPClassExtendedNegotiation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Match:
    """One answer to a query; FF01H says that some optional key is not supported."""

    dataset: Dataset
    status: int = PENDING

    def __repr__(self) -> str:
        keys = ", ".join(element.keyword or str(element.tag) for element in self.dataset)
        return f"<Match {self.status:04X}H: {keys if len(keys) < 200 else f'{len(self.dataset)} elements'}>"


@dataclass(frozen=True, slots=True, repr=False)
class EncodedMatches:
    """Several answers in their context's transfer syntax, encoded by a thread; they go out in one write."""

    datasets: Sequence[bytes]
    status: int = PENDING

    def __repr__(self) -> str:
        return f"<EncodedMatches {self.status:04X}H: {len(self.datasets)}>"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a C-MOVE sends: `tls` is an SSL context for a secure connection.

    >>> there = {"WORKSTATION": aiodicom.Destination("ws.example", 11112)}
    >>> server = aiodicom.serve_archive(OUT, port=0, destinations=there)
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a DIMSE-N request, or to one of another service.

    `fields`: what else the response holds, by the message's names: `affected_sop_instance_uid` of an N-CREATE
    that left it to us, `attribute_identifier_list` of an N-SET, `offending_elements`, `error_id`.

    >>> class Steps(aiodicom.Service):
    ...     async def perform(self, request, dataset):
    ...         return aiodicom.Reply(fields={"affected_sop_instance_uid": "2.25.1"})
    """

    status: int = 0
    dataset: Dataset | None = None
    comment: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class Service:
    """Everything a peer may ask; what is not overridden is refused.

    Raise `Refused(status, comment)` to answer with a failure. Any other exception is logged and answered
    with a processing failure; the server lives on. A C-CANCEL cancels the coroutine that performs.
    `ae_title` is what a C-MOVE's sub-operations call as; empty, the title the requestor called us by.

    >>> class Refusing(aiodicom.Service):
    ...     async def echo(self, request):
    ...         raise aiodicom.Refused(0x0110, "not today")
    >>> async with aiodicom.serve(Refusing(), host=HOST, port=0) as server:
    ...     async with aiodicom.connect(HOST, server.port) as pacs:
    ...         try:
    ...             await pacs.echo()
    ...         except aiodicom.OperationFailed as error:
    ...             print(error.status)
    0110H failure: processing failure
    """

    ae_title: str = ""

    def supported(self) -> Supported:
        """The presentation contexts to accept."""
        return Supported({VERIFICATION: ()})

    def extended(self, request: AAssociateRQ) -> Sequence[SOPClassExtendedNegotiation]:
        """The answers to an extended negotiation (PS3.7 D.3.3.5): one at most for each SOP class it names.

        Asked when `request.user_information.extended` holds something, and not to wait. A SOP class that is
        left out is served without extensions. Common extended negotiation has no answer; a later request
        finds it as `request.association.session.request.user_information.common_extended`.
        """
        return ()

    def queue_depth(self) -> int:
        """Objects that came whole and are not safe yet, for `Server.stats`."""
        return 0

    async def echo(self, request: Request) -> int:
        """C-ECHO: the status to answer."""
        return 0

    def store(self, request: Request) -> StoreSink:
        """C-STORE: a sink, chosen without blocking before the data set arrives; the message is a CStoreRQ."""
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "storing is not offered here")

    def find(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[Match | EncodedMatches]:
        """C-FIND: the matches, best an async generator."""
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "queries are not offered here")

    async def find_in_model(
        self, request: Request, identifier: Dataset
    ) -> AsyncIterator[Match | EncodedMatches]:
        """C-FIND of another information model (a worklist): the matches."""
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "this information model is not offered here")
        yield

    async def retrieve(
        self, request: Request, root: Root, level: Level, identifier: Dataset
    ) -> Sequence[Instance]:
        """C-GET and C-MOVE: the objects to send."""
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "retrieving is not offered here")

    async def destination(self, request: Request, ae_title: str) -> Destination | None:
        """C-MOVE: where an application entity is, None for one that is not known (A801H)."""
        return None

    async def perform(self, request: Request, dataset: Dataset | None) -> Reply:
        """DIMSE-N requests: `request.message` says which."""
        raise Refused(UNRECOGNIZED_OPERATION, "not offered here")


@asynccontextmanager
async def closing_after(given: T) -> AsyncGenerator[T, None]:
    """Close what can be closed when nobody takes from it any more: a service may give any async iterator."""
    try:
        yield given
    finally:
        close = getattr(given, "aclose", None)
        if close is not None:
            await close()
