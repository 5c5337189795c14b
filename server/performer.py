"""Between an association and a `Service`: decodes identifiers, runs the service, sends the responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from ..archive.matching import IdentifierError
from ..association.association import Association
from ..association.performing import Refused, RunningRequest
from ..dataset.coding import DatasetDecodeError, decode_dataset, encode_dataset
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.levels import Level, QueryError, Root, levels, model_of
from ..dimse.levels import Service as QRService
from ..dimse.status import IDENTIFIER_MISMATCH, SOP_CLASS_NOT_SUPPORTED, SUCCESS, UNABLE_TO_PROCESS
from .limits import ServerLimits
from .service import Match, RequestInfo, Service
from .suboperations import Retrieving

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


DECODED_IN_LOOP = 4096
"""Bytes of an identifier that are decoded in the loop: 1 MB of empty elements was measured to take 6 s."""


class Performer:
    """The provider of one accepted association."""

    def __init__(self, service: Service, limits: ServerLimits, address: str) -> None:
        self._service = service
        self._limits = limits
        self._address = address

    def _info(self, association: Association, context: Context, message: m.Request) -> RequestInfo:
        request = association.session.request
        assert request is not None
        return RequestInfo(
            association, context, message, request.calling_ae, request.called_ae, self._address
        )

    def store(self, association: Association, context: Context, request: m.CStoreRQ) -> StoreSink:
        """The service's sink."""
        return self._service.store(self._info(association, context, request))

    async def perform(self, running: RunningRequest, data: bytes | None) -> None:
        """One request other than C-STORE."""
        info = self._info(running.association, running.context, running.request)
        request = running.request
        if isinstance(request, m.CEchoRQ):
            status = await self._service.echo(info)
            await running.respond(m.make_response(request, status))
        elif isinstance(request, m.CFindRQ):
            await self._find(running, info, await self._decode(running.context, data))
        elif isinstance(request, m.CGetRQ | m.CMoveRQ):
            await self._retrieve(running, info, await self._decode(running.context, data))
        else:
            dataset = await self._decode(running.context, data) if data is not None else None
            await self._normalized(running, info, dataset)

    async def _decode(self, context: Context, data: bytes | None) -> Dataset:
        """An identifier; one that takes long is decoded on a thread. Raises Refused."""
        raw = data or b""
        if len(raw) <= DECODED_IN_LOOP:
            return self._decoded(context, raw)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._decoded, context, raw)

    def _decoded(self, context: Context, raw: bytes) -> Dataset:
        """Decode after a look at size and nesting: pydicom reads recursively and slowly. Raises Refused."""
        limits, syntax = self._limits, context.transfer_syntax
        try:
            found = scan_dataset(raw, syntax, (), max_depth=limits.max_sequence_depth, check_nested=True)
            if not found.complete:  # half a query could ask for more than the whole one
                raise Refused(UNABLE_TO_PROCESS, "identifier is not whole")
            if found.elements > limits.max_identifier_elements:
                raise Refused(UNABLE_TO_PROCESS, f"over {limits.max_identifier_elements} elements")
            return decode_dataset(raw, syntax)
        except (ImagingError, DatasetDecodeError):
            raise Refused(UNABLE_TO_PROCESS, "identifier cannot be decoded") from None

    # --- C-FIND

    async def _find(self, running: RunningRequest, info: RequestInfo, identifier: Dataset) -> None:
        try:
            async with aclosing(self._matches(info, identifier)) as matches:
                async for match in matches:
                    await self._pending(running, match)
        except IdentifierError as error:
            raise Refused(error.status, error.comment, error.offending_elements) from None
        await running.respond(m.make_response(running.request, SUCCESS))

    async def _matches(self, info: RequestInfo, identifier: Dataset) -> AsyncGenerator[Match, None]:
        try:
            root, service = model_of(info.context.abstract_syntax)
        except QueryError:
            found = self._service.find_other(info, identifier)
        else:
            if service is not QRService.FIND:
                raise Refused(SOP_CLASS_NOT_SUPPORTED, "not a FIND information model")
            found = self._service.find(info, root, _level(identifier, root), identifier)
        async with _closing(found) as matches:
            async for match in matches:
                yield match

    async def _pending(self, running: RunningRequest, match: Match) -> None:
        data = encode_dataset(match.dataset, running.context.transfer_syntax)
        await running.respond(m.make_response(running.request, match.status, has_dataset=True), data)

    # --- C-GET, C-MOVE

    async def _retrieve(self, running: RunningRequest, info: RequestInfo, identifier: Dataset) -> None:
        request = running.request
        wanted = QRService.GET if isinstance(request, m.CGetRQ) else QRService.MOVE
        try:
            root, service = model_of(info.context.abstract_syntax)
            if service is not wanted:
                raise Refused(SOP_CLASS_NOT_SUPPORTED, f"not a {wanted.value} information model")
            level = _level(identifier, root)
            instances = await self._service.retrieve(info, root, level, identifier)
        except IdentifierError as error:
            raise Refused(error.status, error.comment, error.offending_elements) from None
        except QueryError:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "not a query/retrieve information model") from None
        if isinstance(request, m.CMoveRQ):
            destination = await self._service.destination(info, request.move_destination)
            work = Retrieving(running, instances, self._limits, self._service.ae_title)
            await work.move(destination, request.move_destination)
        else:
            await Retrieving(running, instances, self._limits, self._service.ae_title).get()

    # --- DIMSE-N

    async def _normalized(self, running: RunningRequest, info: RequestInfo, dataset: Dataset | None) -> None:
        reply = await self._service.perform(info, dataset)
        data = None
        if reply.dataset is not None:
            data = encode_dataset(reply.dataset, running.context.transfer_syntax)
        fields = {"error_comment": reply.comment, **reply.fields, "has_dataset": data is not None}
        await running.respond(m.make_response(running.request, reply.status, **fields), data)


def _level(identifier: Dataset, root: Root) -> Level:
    """The level of an identifier. Raises Refused (PS3.4 C.4.1.1.3.1)."""
    try:
        level = Level.parse(str(identifier.get("QueryRetrieveLevel", "") or ""))
    except QueryError:
        level = None
    if level is None or level not in levels(root):
        raise Refused(IDENTIFIER_MISMATCH, "no valid Query/Retrieve Level for this model", (0x00080052,))
    return level


@asynccontextmanager
async def _closing(found: AsyncIterator[Match]) -> AsyncIterator[AsyncIterator[Match]]:
    """Close what can be closed: a service may give any async iterator."""
    try:
        yield found
    finally:
        close = getattr(found, "aclose", None)
        if close is not None:
            await close()
