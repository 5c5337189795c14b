"""C-FIND as a user: the answers one by one, and what the peer said of the query."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..association.answers import words_of
from ..association.errors import OperationCancelled, OperationFailed
from ..dataset.coding import decode_answer
from ..dimse import messages as m
from ..dimse.contexts import Proposal
from ..dimse.levels import find_model
from ..dimse.status import CANCEL, PENDING_WARNING, SUCCESS, Category, Status
from .associations import Associations, Attempt, need_context
from .identifier import Query
from .streams import Stream

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NOT_KEYS = {"QueryRetrieveLevel", "SpecificCharacterSet"}


@dataclass(slots=True)
class _Told:
    """What the peer said of a query beside the matches."""

    asked: tuple[str, ...]
    missed: set[str] = field(default_factory=set)
    undecoded: set[str] = field(default_factory=set)
    status: Status | None = None


class Finding(Stream["Dataset"]):
    """One C-FIND: ``async for match in pacs.find(...)``, or ``matches = await pacs.find(...)``.

    Leaving the loop early sends a C-CANCEL; leaving an ``async with`` around it, or `aclose`, waits until the
    query has ended. A final status that is no success is raised after the last match, as OperationFailed.
    """

    def __init__(
        self, associations: Associations, query: Query, limit: int | None = None, *, root_chosen: bool = True
    ) -> None:
        """root_chosen: false where the root may become what the peer accepted."""
        super().__init__()
        self._root_chosen = root_chosen
        self._associations = associations
        self._query = query
        self._limit = limit
        self._told = _Told(_keywords(query))
        self._all: list[Dataset] | None = None

    @property
    def status(self) -> Status | None:
        """The final status; None until the peer has given one, and after leaving early."""
        return self._told.status

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Keys that were asked for and are missing in answers with the status FF01H (PS3.4 C.4.1.1.4)."""
        return tuple(key for key in self._told.asked if key in self._told.missed)

    @property
    def undecoded(self) -> tuple[str, ...]:
        """Elements of answers that cannot be decoded, by keyword or tag.

        They are left out, or hold U+FFFD for what is not of their character set.
        """
        return tuple(sorted(self._told.undecoded))

    def __repr__(self) -> str:
        said = "no final status" if self.status is None else str(self.status)
        return f"<Finding {self._query.level.value} at {self._associations.peer.name}: {said}>"

    def _start(self) -> AsyncGenerator[Dataset, None]:
        return self._matches()

    async def _matches(self) -> AsyncGenerator[Dataset, None]:
        count, told, query = 0, self._told, self._query
        if not self._root_chosen:
            root = await self._associations.choose_root(query.level, None, find_model)
            query = replace(query, root=root, model=find_model(root))
        try:
            async with aclosing(answers(self._associations, query)) as found:
                async for status, data, transfer_syntax in found:
                    match, undecoded = decode_answer(data, transfer_syntax)
                    told.undecoded.update(undecoded)
                    if status == PENDING_WARNING:
                        told.missed.update(key for key in told.asked if key not in match)
                    yield match
                    count += 1
                    if count == self._limit:
                        return
        except OperationFailed as error:
            told.status = error.status
            raise
        told.status = Status(SUCCESS, "C-FIND")

    def __await__(self) -> Generator[Any, None, list[Dataset]]:
        return self._collect().__await__()

    async def _collect(self) -> list[Dataset]:
        if self._all is None:
            async with self:
                self._all = [match async for match in self]
        return self._all


def _keywords(query: Query) -> tuple[str, ...]:
    identifier = query.identifier
    found = identifier if isinstance(identifier, Mapping) else (e.keyword for e in identifier)
    return tuple(key for key in found if key and key not in _NOT_KEYS)


async def answers(
    associations: Associations, query: Query
) -> AsyncGenerator[tuple[Status, bytes, str], None]:
    """The matches of a query as they came: pending status, bytes and their transfer syntax.

    Raises OperationFailed at the end for a final status that is no success.
    """
    deadline = associations.deadline()
    for attempt in associations.attempts():
        with attempt:
            async with aclosing(_answers(associations, query, deadline, attempt)) as found:
                async for answer in found:
                    yield answer


async def _answers(
    associations: Associations, query: Query, deadline: float | None, attempt: Attempt
) -> AsyncGenerator[tuple[Status, bytes, str], None]:
    async with AsyncExitStack() as stack:
        async with associations.until(deadline):
            association = await stack.enter_async_context(associations.use([Proposal(query.model)]))
            attempt.on(association)
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
                attempt.answered()
                status = Status(response.status, "C-FIND")
                if status.category is not Category.PENDING:
                    break
                yield status, data or b"", context.transfer_syntax
        finally:
            await association.cancel(operation)
    if response.status != SUCCESS:
        kind = OperationCancelled if response.status == CANCEL else OperationFailed
        comment = words_of(response, data, context.transfer_syntax)
        raise kind("C-FIND", response.status, comment).at(association.peer)
