"""C-FIND as a user: the answers one by one, and what the peer said of the query."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..association.errors import OperationFailed
from ..dimse.levels import Level, Root, find_model
from ..dimse.status import Status
from .asking import Asking, Told, keywords
from .associations import Associations
from .identifier import Query
from .splitting import MAX_SPLIT_QUERIES, Splitting
from .streams import Stream

if TYPE_CHECKING:
    from .answers import Answer
    from .matches import Matches


class Finding(Stream["Answer"]):
    """A query: ``async for match in pacs.find(...)``, or ``matches = await pacs.find(...)``.

    Leaving the loop early sends a C-CANCEL; leaving an ``async with`` around it, or `aclose`, waits until the
    query has ended. A final status that is no success is raised after the last match, as OperationFailed.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     [study] = await pacs.find("STUDY", {"StudyDate": "2024-01-01..2024-12-31"})
    ...     wanted = {"StudyInstanceUID": study.StudyInstanceUID}
    ...     async for series in pacs.find("SERIES", wanted, ["Modality"]):
    ...         print(series.Modality)
    MR
    """

    def __init__(
        self,
        associations: Associations,
        query: Query,
        limit: int | None = None,
        *,
        root_chosen: bool = True,
        split: bool = False,
        max_queries: int = MAX_SPLIT_QUERIES,
        judged: bool = True,
    ) -> None:
        """root_chosen: false where the root may become what the peer accepted; the rest as in `Pacs.find`."""
        super().__init__()
        self._root_chosen = root_chosen
        self._associations = associations
        self._query = query
        self._limit = limit
        self._split = split
        self._max_queries = max_queries
        self._judged = judged
        self._told = Told(keywords(query))
        self._all: Matches | None = None

    @property
    def status(self) -> Status | None:
        """The final status; None until the peer has given one, and after leaving early."""
        return self._told.status

    @property
    def complete(self) -> bool:
        """Whether the query has ended and nothing says that there might be more."""
        return self._told.complete

    @property
    def capped(self) -> tuple[str, ...]:
        """Why there may be more matches than were given; empty where nothing says so.

        The limit was reached and there is another match; or, of the query or of a part of it: the peer
        refused for want of resources, cancelled on its own, or gave a number of answers at which archives
        stop.
        """
        return tuple(self._told.capped)

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Keys that answers lack: any where their status was FF01H (PS3.4 C.4.1.1.4), else such with a value.

        Whether those were matched cannot be told.
        """
        return self._told.unsupported

    @property
    def warned(self) -> int:
        """How many answers came with FF01H: the peer does not support some key, in matching or in answers.

        Where `unsupported` is empty, it does not show which (PS3.4 C.4.1.1.4).
        """
        return self._told.warned

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that the peer did not go by: answers had other values of them, and were left out here."""
        return tuple(sorted(self._told.ignored))

    @property
    def filtered(self) -> int:
        """How many answers were left out for that."""
        return self._told.filtered

    @property
    def empty(self) -> int:
        """How many answers came without an identifier (PS3.4 C.4.1.3): they say nothing, and are left out."""
        return self._told.empty

    @property
    def undecoded(self) -> tuple[str, ...]:
        """Elements of answers that cannot be decoded, by keyword or tag.

        They are left out, or hold U+FFFD for what is not of their character set; `Answer.raw_value` has them.
        """
        return tuple(sorted(self._told.undecoded))

    @property
    def guessed(self) -> tuple[str, ...]:
        """Elements whose text was read in another character set than the answer names, by keyword or tag."""
        return tuple(sorted(self._told.guessed))

    @property
    def queries(self) -> int:
        """How many C-FINDs were sent."""
        return self._told.queries

    @property
    def emulated(self) -> bool:
        """Whether patients were found by a query for studies: the peer has the study root alone."""
        return self._told.emulated

    def __repr__(self) -> str:
        said = "no final status" if self.status is None else str(self.status)
        more = f", {len(self.capped)} signs of more" if self.capped else ""
        return f"<Finding {self._query.level.value} at {self._associations.peer.name}: {said}{more}>"

    def _start(self) -> AsyncGenerator[Answer, None]:
        return self._matches()

    async def _matches(self) -> AsyncGenerator[Answer, None]:
        count, told = 0, self._told
        deadline = self._associations.deadline()
        query = await self._settled()
        checks = None
        if self._judged:
            from .matching import Checks

            checks = Checks(query.identifier, query.exact)  # type: ignore[arg-type]
        asking = Asking(self._associations, told, checks, deadline)
        level = Level.PATIENT if told.emulated else query.level
        splitting = Splitting(asking, query, level, split=self._split, max_queries=self._max_queries)
        try:
            async with aclosing(splitting.answers()) as found:
                async for answer in found:
                    if count == self._limit:
                        told.capped.append(f"the limit of {count} was reached, and there is more")
                        return
                    yield _of_a_patient(answer) if told.emulated else answer
                    count += 1
        except OperationFailed as error:
            told.status = error.status
            if count == self._limit and told.capped:
                return  # refused is what would be beyond the limit
            raise
        told.ended = True

    async def _settled(self) -> Query:
        """The query in the root that the peer accepted, where none was named."""
        query = self._query
        if self._root_chosen:
            return query
        if query.level is not Level.PATIENT:
            root = await self._associations.choose_root(query.level, None, find_model)
            return replace(query, root=root, model=find_model(root))
        study, patient = find_model(Root.STUDY), find_model(Root.PATIENT)
        known = self._associations.quirks.roots
        accepted = set(map(find_model, known)) if known else await self._associations.accepted(study, patient)
        if accepted != {study}:
            return query
        self._told.emulated = True
        return by_studies(query)

    def __await__(self) -> Generator[Any, None, Matches]:
        return self._collect().__await__()

    async def _collect(self) -> Matches:
        if self._all is None:
            from .matches import Matches

            async with self:
                found = [match async for match in self]
            self._all = Matches(found, self._told)
        return self._all


def by_studies(query: Query) -> Query:
    """A query for patients as one for studies, of which the patient's keys are keys too (PS3.4 C.6.2.1)."""
    from .windows import with_elements

    changed = {"QueryRetrieveLevel": Level.STUDY.value, "StudyInstanceUID": ""}
    identifier = with_elements(query.identifier, changed)  # type: ignore[arg-type]
    return Query(find_model(Root.STUDY), Level.STUDY, Root.STUDY, identifier, query.exact)


def _of_a_patient(answer: Answer) -> Answer:
    """An answer for a study without what is the study's."""
    for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime", "ModalitiesInStudy"):
        if keyword in answer:
            del answer[keyword]
    answer.QueryRetrieveLevel = Level.PATIENT.value
    return answer
