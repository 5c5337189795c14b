"""One C-FIND on the wire, and what its answers show: decoded, compared with the keys, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..association.answers import words_of
from ..association.association import Association
from ..association.errors import OperationCancelled, OperationFailed
from ..dimse import messages as m
from ..dimse.contexts import Proposal
from ..dimse.levels import UNIQUE_KEYS, levels, unique_key
from ..dimse.status import (
    CANCEL,
    IDENTIFIER_MISMATCH,
    OUT_OF_RESOURCES,
    PENDING_WARNING,
    SUCCESS,
    UNABLE_TO_PROCESS,
    Category,
    Status,
)
from .associations import Associations
from .holder import Attempt
from .identifier import Query
from .keys import name_of, place_of
from .negotiated import need_context
from .relational import granted
from .windows import Keys, Shown

if TYPE_CHECKING:
    from .answers import Answer
    from .matching import Checks

_NOT_KEYS = {"QueryRetrieveLevel", "SpecificCharacterSet"}


@dataclass(slots=True)
class Told:
    """What came of a query beside its matches; see `Finding`."""

    asked: tuple[str, ...]
    missed: set[str] = field(default_factory=set)
    undecoded: set[str] = field(default_factory=set)
    guessed: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    capped: list[str] = field(default_factory=list)
    warned: int = 0
    filtered: int = 0
    empty: int = 0
    queries: int = 0
    ended: bool = False
    emulated: bool = False
    status: Status | None = None

    @property
    def complete(self) -> bool:
        """See `Finding.complete`."""
        return self.ended and not self.capped

    @property
    def unsupported(self) -> tuple[str, ...]:
        """See `Finding.unsupported`."""
        return tuple(key for key in self.asked if key in self.missed)


@dataclass(slots=True)
class Outcome:
    """What one of its queries came to."""

    shown: Shown = field(default_factory=Shown)
    failure: OperationFailed | None = None
    outside: Counter[str] = field(default_factory=Counter)  # keys of the window that answers contradict

    @property
    def count(self) -> int:
        """Answers of the peer."""
        return self.shown.answers


def keywords(query: Query) -> tuple[str, ...]:
    """The keys of a query, as `name_of` calls them."""
    identifier = query.identifier
    if isinstance(identifier, Mapping):
        return tuple(key for key in identifier if key not in _NOT_KEYS)
    found = (name_of(identifier, one) for one in identifier if not one.tag.is_private_creator)
    return tuple(key for key in found if key not in _NOT_KEYS)


@dataclass(slots=True)
class Asking:
    """Asks the queries of one `Finding`.

    checks: what answers are to show of the keys given; None where all are taken as they come.
    """

    associations: Associations
    told: Told
    checks: Checks | None
    deadline: float | None

    async def ask(
        self, query: Query, keys: Keys | None, outcome: Outcome, window: Checks | None
    ) -> AsyncGenerator[Answer, None]:
        """The matches of one query. That it was refused for its size is told in the outcome, not raised.

        keys: by which it may be divided; None where it will not be.
        """
        from .answers import read_answer

        told, fallback = self.told, self.associations.quirks.character_set
        told.queries += 1
        try:
            async with aclosing(answers(self.associations, query, self.deadline)) as found:
                async for status, data, transfer_syntax in found:
                    if not data:
                        told.empty += 1
                        continue
                    answer, undecoded, guessed = read_answer(data, transfer_syntax, fallback)
                    told.undecoded.update(undecoded)
                    told.guessed.update(guessed)
                    if status == PENDING_WARNING:
                        told.warned += 1
                        told.missed.update(key for key in told.asked if _place(answer, key) is None)
                    outcome.shown.take(keys, answer)
                    if window is not None:
                        # to some peers an empty date lies in any range: that is no other one
                        astray = (key for key in window.contradicted(answer) if answer.get(key))
                        outcome.outside.update(astray)
                    if self._shows(answer):
                        yield answer
        except OperationFailed as error:
            if error.status not in (OUT_OF_RESOURCES, CANCEL):
                raise
            outcome.failure = error

    def _shows(self, answer: Answer) -> bool:
        """Whether it is one of those that were asked for."""
        if self.checks is None:
            return True
        told, contradicted = self.told, self.checks.contradicted(answer)
        told.ignored.update(contradicted)
        told.filtered += bool(contradicted)
        above = UNIQUE_KEYS.values()  # which an answer need not repeat
        told.missed.update(key for key in self.checks.names if key not in above and _is_empty(answer, key))
        return not contradicted


def _is_empty(answer: Answer, key: str) -> bool:
    """Whether a key is absent from an answer or has no value, as where a peer does not support it."""
    place = _place(answer, key)
    return place is None or answer[place].VM == 0


def _place(answer: Answer, key: str) -> int | None:
    """The tag of a key in an answer; None where it is not there."""
    place = place_of(answer, key)
    return place if place is not None and place in answer else None


async def answers(
    associations: Associations, query: Query, deadline: float | None = None
) -> AsyncGenerator[tuple[Status, bytes, str], None]:
    """The matches of a query as they came: pending status, bytes and their transfer syntax.

    deadline: the loop's time by which it must have ended; that of an operation that begins now by default.
    Raises OperationFailed at the end for a final status that is no success.
    """
    deadline = associations.deadline() if deadline is None else deadline
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
            if not operation.finished and not associations.quirks.cancel:
                association.abort_now()
            await association.cancel(operation)
    if response.status != SUCCESS:
        kind = OperationCancelled if response.status == CANCEL else OperationFailed
        comment = words_of(response, data, context.transfer_syntax)
        misunderstood = status == IDENTIFIER_MISMATCH or status & 0xF000 == UNABLE_TO_PROCESS
        advice = _keys_wanted(association, query) if misunderstood else None
        raise kind("C-FIND", response.status, comment, advice=advice).at(association.peer)


def _keys_wanted(association: Association, query: Query) -> str | None:
    """What a query that was refused may lack: unique keys above its level (PS3.4 C.4.1.2.1)."""
    above = (unique_key(one) for one in levels(query.root) if one < query.level)
    empty = [key for key in above if not query.identifier.get(key)]
    if not empty or granted(association, query.model):
        return None
    return f"it takes no relational queries: it may want {' and '.join(empty)}"
