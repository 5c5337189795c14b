"""C-FIND as a user: the answers one by one, and what the peer said of the query."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..association.errors import OperationCancelled, OperationFailed
from ..dataset.coding import decode_dataset
from ..dimse import messages as m
from ..dimse.contexts import Proposal
from ..dimse.status import CANCEL, PENDING_WARNING, SUCCESS, Category, Status
from .associations import Associations, need_context
from .identifier import Query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NOT_KEYS = {"QueryRetrieveLevel", "SpecificCharacterSet"}


@dataclass(slots=True)
class _Told:
    """What the peer said of a query beside the matches."""

    asked: tuple[str, ...]
    missed: set[str] = field(default_factory=set)
    status: Status | None = None


class Finding:
    """One C-FIND: ``async for match in pacs.find(...)``, or ``matches = await pacs.find(...)``.

    Leaving the loop early sends a C-CANCEL; so does leaving an ``async with`` around it, or `aclose`, at
    once. A final status that is no success is raised after the last match, as OperationFailed.
    """

    def __init__(self, associations: Associations, query: Query, limit: int | None = None) -> None:
        self._told = _Told(_keywords(query))
        # It refers to nothing that refers to it: a loop that is left early must be seen to be left at once.
        self._matches = _matches(associations, query, limit, self._told)

    @property
    def status(self) -> Status | None:
        """The final status; None until the peer has given one, and after leaving early."""
        return self._told.status

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Keys that were asked for and are missing in answers with the status FF01H (PS3.4 C.4.1.1.4)."""
        return tuple(key for key in self._told.asked if key in self._told.missed)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Dataset:
        return await anext(self._matches)

    def __await__(self) -> Generator[Any, None, list[Dataset]]:
        return self._all().__await__()

    async def _all(self) -> list[Dataset]:
        async with self:
            return [match async for match in self]

    async def aclose(self) -> None:
        """End the query, if it has not ended."""
        await self._matches.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _matches(
    associations: Associations, query: Query, limit: int | None, told: _Told
) -> AsyncGenerator[Dataset, None]:
    count = 0
    async with aclosing(answers(associations, query)) as found:
        async for status, data, transfer_syntax in found:
            if status.category is not Category.PENDING:
                told.status = status
                return
            match = decode_dataset(data, transfer_syntax)
            if status == PENDING_WARNING:
                told.missed.update(key for key in told.asked if key not in match)
            yield match
            count += 1
            if count == limit:
                return


def _keywords(query: Query) -> tuple[str, ...]:
    identifier = query.identifier
    found = identifier if isinstance(identifier, Mapping) else (e.keyword for e in identifier)
    return tuple(key for key in found if key and key not in _NOT_KEYS)


async def answers(
    associations: Associations, query: Query
) -> AsyncGenerator[tuple[Status, bytes, str], None]:
    """The responses to a query as they came: status, bytes and their transfer syntax; the last one is final.

    Raises OperationFailed for a final status that is no success.
    """
    deadline = associations.deadline()
    async with AsyncExitStack() as stack:
        async with associations.until(deadline):
            association = await stack.enter_async_context(associations.use([Proposal(query.model)]))
            context = need_context(association, query.model)
            operation = await association.invoke(
                context,
                lambda n: m.CFindRQ(message_id=n, affected_sop_class_uid=query.model),
                query.encode(context.transfer_syntax),
            )
        try:
            while True:
                async with associations.until(deadline):
                    response, data = await operation.next()
                status = Status(response.status, "C-FIND")
                if status.category is not Category.PENDING:
                    break
                yield status, data or b"", context.transfer_syntax
        finally:
            await association.cancel(operation)
    raise_for_status("C-FIND", response, association.peer)
    yield status, b"", context.transfer_syntax


def raise_for_status(service: str, response: m.Response, peer: str) -> None:
    """Raise OperationFailed, or OperationCancelled, for a status that is no success."""
    if response.status == SUCCESS:
        return
    kind = OperationCancelled if response.status == CANCEL else OperationFailed
    raise kind(service, response.status, response.error_comment).at(peer)
