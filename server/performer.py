"""Between an association and a `Service`: decodes what is asked, runs the service, sends what it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from ..association.budget import Budget
from ..association.performing import Refused, Request
from ..association.tasks import on_thread
from ..dataset.coding import DatasetDecodeError, decode_identifier, encode_dataset
from ..dataset.deflated import DEFLATED_SYNTAXES
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.levels import Level, QueryError, QueryService, Root, levels, model_of
from ..dimse.status import IDENTIFIER_MISMATCH, SOP_CLASS_NOT_SUPPORTED, SUCCESS, UNABLE_TO_PROCESS
from .limits import ServerLimits
from .resources import Resources
from .service import EncodedMatches, Match, Service, closing_after
from .suboperations import SubOperationsSender

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

T = TypeVar("T")

DECODED_IN_LOOP = 512
"""Bytes of an identifier that are decoded in the loop: 64 elements at most, for each of which pydicom takes
its time."""


class Performer:
    """The provider of one accepted association."""

    def __init__(self, service: Service, limits: ServerLimits, shared: Resources, origin: str) -> None:
        self._service = service
        self._limits = limits
        self._shared = shared
        self._read_ahead = Budget(limits.read_ahead_per_association, shared.read_ahead.of(origin))

    def store(self, request: Request) -> StoreSink:
        """The service's sink."""
        return self._service.store(request)

    async def perform(self, request: Request, data: bytes | None) -> None:
        """One request other than C-STORE."""
        message = request.message
        if isinstance(message, m.CEchoRQ):
            status = await self._service.echo(request)
            await request.respond(m.make_response(message, status))
        elif isinstance(message, m.CFindRQ):
            await self._find(request, await self._decode(request, data))
        elif isinstance(message, m.CGetRQ | m.CMoveRQ):
            await self._retrieve(request, message, await self._decode(request, data))
        else:
            dataset = await self._decode(request, data) if data is not None else None
            await self._normalized(request, dataset)

    async def _decode(self, request: Request, data: bytes | None) -> Dataset:
        """An identifier; one that takes long is decoded on a thread. Raises Refused."""
        context, raw = request.context, data or b""
        if len(raw) <= DECODED_IN_LOOP and context.transfer_syntax not in DEFLATED_SYNTAXES:
            return self._decoded(context, raw)
        return await self._on_thread(request, lambda: self._decoded(context, raw))

    async def _encode(self, request: Request, dataset: Dataset) -> bytes:
        """What a service answers, however large. Raises LocalProtocolError."""
        return await self._on_thread(
            request, lambda: encode_dataset(dataset, request.context.transfer_syntax)
        )

    async def _on_thread(self, request: Request, work: Callable[[], T]) -> T:
        async with self._shared.decoding.turn(request.origin):
            return await on_thread(work, executor=self._shared.decoders)

    def _decoded(self, context: Context, raw: bytes) -> Dataset:
        limits = self._limits
        try:
            return decode_identifier(
                raw,
                context.transfer_syntax,
                max_depth=limits.max_sequence_depth,
                max_elements=limits.max_identifier_elements,
            )
        except DatasetDecodeError as error:
            why = f"identifier refused: {error.problem}" if error.problem else "identifier cannot be decoded"
            raise Refused(UNABLE_TO_PROCESS, why, _tags(error.undecoded)) from None

    # --- C-FIND

    async def _find(self, request: Request, identifier: Dataset) -> None:
        async with aclosing(self._matches(request, identifier)) as matches:
            async for match in matches:
                await self._pending(request, match)
        await request.respond(m.make_response(request.message, SUCCESS))

    async def _matches(
        self, request: Request, identifier: Dataset
    ) -> AsyncGenerator[Match | EncodedMatches, None]:
        try:
            root, service = model_of(request.context.abstract_syntax)
        except QueryError:
            found = self._service.find_in_model(request, identifier)
        else:
            if service is not QueryService.FIND:
                raise Refused(SOP_CLASS_NOT_SUPPORTED, "not a FIND information model")
            found = self._service.find(request, root, _level(identifier, root), identifier)
        async with closing_after(found) as matches:
            async for match in matches:
                yield match

    async def _pending(self, request: Request, match: Match | EncodedMatches) -> None:
        response = m.make_response(request.message, match.status, has_dataset=True)
        if isinstance(match, EncodedMatches):
            await request.respond_each(response, match.datasets)
        else:
            await request.respond(response, await self._encode(request, match.dataset))

    # --- C-GET, C-MOVE

    async def _retrieve(self, request: Request, message: m.CGetRQ | m.CMoveRQ, identifier: Dataset) -> None:
        wanted = QueryService.GET if isinstance(message, m.CGetRQ) else QueryService.MOVE
        try:
            root, service = model_of(request.context.abstract_syntax)
        except QueryError:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "not a query/retrieve information model") from None
        if service is not wanted:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, f"not a {wanted.value} information model")
        instances = await self._service.retrieve(request, root, _level(identifier, root), identifier)
        title, budget = self._service.ae_title, self._read_ahead
        work = SubOperationsSender(request, message, instances, self._limits, self._shared, budget, title)
        if isinstance(message, m.CMoveRQ):
            destination = await self._service.destination(request, message.move_destination)
            await work.move(destination, message.move_destination)
        else:
            await work.get()

    # --- DIMSE-N

    async def _normalized(self, request: Request, dataset: Dataset | None) -> None:
        reply = await self._service.perform(request, dataset)
        data = None
        if reply.dataset is not None:
            data = await self._encode(request, reply.dataset)
        fields = {"error_comment": reply.comment, **reply.fields, "has_dataset": data is not None}
        await request.respond(m.make_response(request.message, reply.status, **fields), data)


def _level(identifier: Dataset, root: Root) -> Level:
    """The level of an identifier. Raises Refused (PS3.4 C.4.1.1.3.1)."""
    try:
        level = Level.parse(str(identifier.get("QueryRetrieveLevel", "") or ""))
    except QueryError:
        level = None
    if level is None or level not in levels(root):
        raise Refused(IDENTIFIER_MISMATCH, "no valid Query/Retrieve Level for this model", (0x00080052,))
    return level


def _tags(names: Iterable[str]) -> tuple[int, ...]:
    """Tags for Offending Element, of those that are keywords."""
    from pydicom.datadict import tag_for_keyword

    return tuple(tag for name in names if (tag := tag_for_keyword(name)) is not None)
