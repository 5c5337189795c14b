"""What a retrieve will ask for, and what is to come of it: found out by C-FIND first."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..association.errors import (
    AssociationRejected,
    ConnectFailed,
    ConnectTimeout,
    ContextNotAccepted,
    OperationFailed,
    TotalTimeout,
)
from ..dataset.charset import text_of
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset
from ..dimse.levels import Level, Root, find_model, keys_above, levels, unique_key
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_near_uid, is_uid
from .asking import answers
from .associations import Associations
from .finding import Finding
from .identifier import PLAN_KEYS, build_plan, build_query
from .plan import Plan, Target

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

    from .answers import Answer
    from .matches import Matches

MAX_TITLES = 100
"""Application entities that a plan names as where its objects can be retrieved from."""
_CHARSET = 0x00080005
_WHERE = ("InstanceAvailability", "RetrieveAETitle")
_COUNT = "NumberOfSeriesRelatedInstances"
_IN_STUDY = "NumberOfStudyRelatedInstances"

_NO_ASSOCIATION = (ConnectFailed, AssociationRejected, ConnectTimeout, TotalTimeout)

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

MAX_PLANNED = 1_000_000
"""Answers that one query of a plan may have: a peer that goes on and on gets no plan made of it."""
MAX_QUERIES = 50
"""Queries by which it may be found out what lies below one unique key."""


def check_max_queries(count: int) -> int:
    """A number of queries that a plan may cost. Raises ValueError."""
    if count < 0:
        raise ValueError(f"max_queries is 0 or more, not {count}")
    return count


async def make_plan(
    associations: Associations,
    level: Level,
    root: Root,
    uids: Sequence[str],
    parents: Mapping[str, str],
    max_queries: int = MAX_QUERIES,
) -> Plan:
    """Ask the peer by C-FIND what lies below each unique key, and under which parents.

    Where it cannot be told the retrieve is asked for all the same: the peer's answer to that is the one the
    user should see. A peer that answers queries in the other root alone is asked there. Patients of a peer
    that has the study root alone become their studies: `root` is STUDY then, and only what a C-FIND tells of
    them can be asked for. Raises what no association could be opened for, TotalTimeout, and what the query
    for such studies failed with.
    """
    asked, lost = root, False
    try:
        asked = await associations.other_root(root, find_model)
    except _NO_ASSOCIATION:
        raise
    except AiodicomError as error:
        log.warning("no plan, the association ended: %s", error)
        lost = True
    planner = _Planner(associations, level, asked, parents, max_queries, given_up=lost)
    if level not in levels(root):
        planner.level = Level.STUDY
        found = [await planner.studies_of(patient) for patient in uids]
        targets = [target for some in found for target in some]
        nothing = tuple(patient for patient, some in zip(uids, found, strict=True) if not some)
    else:
        targets, nothing = [await planner.locate(uid) for uid in uids], ()
    titles = tuple(sorted(planner.titles))
    plan = Plan(planner.level, asked, targets, retrieve_titles=titles, not_found=nothing)
    return plan.rooted(root)


def _texts(answer: Dataset, keywords: Iterable[str]) -> dict[str, str]:
    """The values of an answer, several of one key behind each other.

    The UIDs of a plain one are not decoded by pydicom: that takes longer than all else a plan does with it.
    """
    found: dict[str, str] = {}
    for keyword in keywords:
        tag = _tag(keyword)
        if tag not in answer:
            continue
        raw = answer.get_item(tag)
        if raw.VR == "UI" and isinstance(raw.value, bytes):
            value: Any = raw.value.rstrip(b"\0 ").decode("latin-1")
        else:
            value = answer[tag].value
        if value is not None and value != "":
            several = not isinstance(value, str | int) and hasattr(value, "__iter__")
            found[keyword] = "\\".join(map(str, value)) if several else str(value)
    return found


@cache
def _tag(keyword: str) -> BaseTag:
    from pydicom.tag import Tag

    return Tag(keyword)


def _is(wanted: str, told: str | None) -> bool:
    """Whether an answer is one to a unique key, in which what a query takes for a wildcard is none.

    One that does not show the key may be of anything.
    """
    return told is not None and told.strip(" \0") == wanted


class _NoMoreQueries(Exception):
    """Finding out would take more queries than a plan may send."""


@dataclass(slots=True)
class _Planner:
    """Finds out about one unique key after the other, by `max_queries` queries at most for each.

    No query is for all patients or all studies: a hospital has a million.
    """

    associations: Associations
    level: Level
    root: Root
    parents: Mapping[str, str]
    max_queries: int
    queries: int = 0
    titles: set[str] = field(default_factory=set)  # where it can be retrieved from
    availability: dict[str, dict[str, str]] = field(default_factory=dict)  # of series, for instances of none
    given_up: bool = False  # a query cost the association: the others are not asked
    cut_off: bool = False  # there may be more series, or studies, than the peer told of

    async def locate(self, uid: str) -> Target:
        """One target, as far as the peer tells."""
        self.queries = self.max_queries
        return await self._located(uid)

    async def studies_of(self, patient: str) -> list[Target]:
        """The studies of a patient, for a peer that has no patient root: asked for one by one.

        A list that is cut off is asked for in parts, for what it does not name cannot be asked for; where
        there may still be more, their lists are said to be cut short.
        """
        self.queries = max(1, self.max_queries)  # without this one nothing can be asked for
        query = build_query(Level.STUDY, self.root, {"PatientID": patient}, ["StudyInstanceUID", _IN_STUDY])
        finding = Finding(self.associations, query, MAX_PLANNED, split=True, max_queries=self.queries)
        studies = await finding
        if finding.capped:
            log.warning("a patient may have more studies than are asked for: %s", finding.capped[0])
        self.queries -= finding.queries
        targets = []
        for one in studies:
            told = _texts(one, ["PatientID", "StudyInstanceUID", _IN_STUDY])
            uid = told.get("StudyInstanceUID", "").strip(" \0")
            if is_near_uid(uid) and _is(patient, told.get("PatientID")):
                if self.root is Root.PATIENT:
                    self.parents = {**self.parents, "PatientID": patient}
                target = await self._located(uid)
                if target.instances is None and target.counted is None:
                    target = replace(target, counted=_number(told.get(_IN_STUDY, "")))
                targets.append(replace(target, capped=True) if finding.capped else target)
        return targets

    async def _located(self, uid: str) -> Target:
        try:
            found = None if self.given_up else await self._locate(uid)
        except _NO_ASSOCIATION:
            raise
        except ContextNotAccepted as error:
            log.info("no plan, the peer answers no queries: %s", error)
            found = None
        except AiodicomError as error:
            log.warning("no plan, the query ended the association: %s", error)
            self.given_up = True
            found = None
        return found or Target(uid, dict(self.parents))

    async def _locate(self, uid: str) -> Target | None:
        """By one query at the image level where the peer grants that, or no other way leads there; else level
        by level. A list by an ungranted one is believed only as far as the peer's counts agree.
        """
        relational = await self.associations.relational(find_model(self.root))
        self.cut_off = False
        try:
            if relational or not self._has_levels():
                found, doubtful = await self._at_image_level(uid)
                if found is not None:
                    return await self._confirmed(found) if doubtful or not relational else found
        except OperationFailed as error:
            log.info("no plan by one query: %s", error)
        except _NoMoreQueries as error:
            log.warning("no plan: %s", error)
            return None
        try:
            return await self._level_by_level(uid)
        except OperationFailed as error:
            log.info("no plan level by level: %s", error)
        except _NoMoreQueries as error:
            log.info("no plan: %s", error)
        return None

    def _has_levels(self) -> bool:
        """Whether it can be asked for level by level: there is one below, and every key above is known.

        A series without its study is in no hierarchical query. Many archives answer for it all the same, and
        what a retrieve without a list proposes may be converted (Orthanc) or refused.
        """
        above = keys_above(self.level, self.root)
        return self.level < Level.SERIES and all(key in self.parents for key in above)

    async def _at_image_level(self, uid: str) -> tuple[Target | None, bool]:
        """What one query tells, and whether the peer may have stopped before its end."""
        root, match = await self._single({**self.parents, unique_key(self.level): uid})
        above = keys_above(self.level, root)
        below = [unique_key(one) for one in levels(root) if self.level < one < Level.IMAGE]
        keys = [*above, *below, "SOPClassUID", "AvailableTransferSyntaxUID", *_WHERE]
        self._spend()
        query = build_plan(root, match, keys)
        values: list[dict[str, str]] = []
        async with aclosing(answers(self.associations, query)) as found_here:
            async for _, data, syntax in found_here:
                if len(values) >= MAX_PLANNED:
                    raise _too_many()
                values.append(_values(data, syntax, [*keys, *match, "SOPInstanceUID"]))
        # some archives ignore keys, or answer without them: what they name is anybody's
        found = [one for one in values if all(_is(value, one.get(key)) for key, value in match.items())]
        if not found:
            return None, False
        parents = {key: found[0][key] for key in above if found[0].get(key)}
        self._note(found)
        target = listed_target(uid, {**parents, **self.parents}, found)
        return target, self.associations.quirks.stops(len(values))

    async def _confirmed(self, found: Target) -> Target:
        """A list of as many answers as archives cut off at: by what the peer counts, else series by series.

        Where neither tells that it is whole, it is said to be perhaps cut short.
        """
        keys = {**found.parents, unique_key(self.level): found.uid}
        listed = len(found.instances or ())
        if self.level is Level.IMAGE:
            return found
        try:
            series = await self._series(keys)
            counts = [count for _, count in series]
            total = None if None in counts or self.cut_off else sum(count or 0 for count in counts)
            if total == listed:
                return found
            other = (
                await self._listed(found.uid, found.parents, series) if self.level < Level.SERIES else None
            )
        except (OperationFailed, _NoMoreQueries) as error:
            log.info("a list of %d may be cut short, and cannot be confirmed: %s", listed, error)
            return replace(found, capped=True)
        if other is not None and len(other.instances or ()) > listed:
            found = other
        listed = len(found.instances or ())
        if total is None:
            each = Counter(found.series)
            short = any(map(self.associations.quirks.stops, each.values()))
            return replace(found, capped=self.cut_off or short or not each)
        return replace(found, capped=total > listed, counted=total if total > listed else None)

    async def _level_by_level(self, uid: str) -> Target | None:
        """Below a patient or a study, for a peer that wants every unique key above what it is asked for."""
        if self.level >= Level.SERIES or Level.IMAGE not in levels(self.root):
            return None  # the query at the image level said as much
        parents = dict(self.parents)
        if self.level is Level.STUDY and self.root is Root.PATIENT and "PatientID" not in parents:
            query = {"StudyInstanceUID": uid}
            studies = await self._find(Level.STUDY, query, ["PatientID"], root=Root.STUDY)
            patients = {str(one.get("PatientID", "") or "") for one in studies} - {""}
            if len(patients) != 1:
                return None
            parents["PatientID"] = patients.pop()
        series = await self._series({**parents, unique_key(self.level): uid})
        return await self._listed(uid, parents, series)

    async def _listed(
        self, uid: str, parents: Mapping[str, str], series: Iterable[tuple[Mapping[str, str], int | None]]
    ) -> Target | None:
        """A target by the instances of each of its series."""
        leaves: list[Mapping[str, str]] = []
        counted: int | None = 0
        short, failed = self.cut_off, False
        for keys, count in series:
            try:
                found = await self._find(Level.IMAGE, keys, ["SOPClassUID", *_WHERE])
            except OperationFailed as error:
                log.info("the instances of a series cannot be listed: %s", error)
                counted = None if counted is None or count is None else counted + count
                failed = True
                continue
            told = ("SOPInstanceUID", "SOPClassUID", *_WHERE)
            above = self.availability.get(keys["SeriesInstanceUID"], {})
            some = [{**above, **keys, **_texts(leaf, told)} for leaf in found if _below(leaf, keys)]
            self._note(some)
            leaves += some
            short |= len(some) < count if count is not None else bool(found.capped)
            counted = None if counted is None else counted + max(len(some), count or 0)
        if failed and len(leaves) < (counted or 0):  # some of the series were told by their counts alone
            return Target(uid, parents, counted=counted)
        if not leaves:
            return Target(uid, parents, counted=counted) if counted else None
        listed = listed_target(uid, parents, leaves)
        more = counted if counted is not None and counted > len(listed.instances or ()) else None
        return replace(listed, capped=short or failed, counted=more)

    async def _series(self, keys: Mapping[str, str]) -> list[tuple[dict[str, str], int | None]]:
        """The unique keys of every series below a patient or a study, and how many instances it is said to
        have.
        """
        found: list[tuple[dict[str, str], int | None]] = []
        for study in await self._studies(keys):
            wanted = [_COUNT, *_WHERE]
            for one in await self._find(Level.SERIES, study, ["SeriesInstanceUID", *wanted]):
                told = _texts(one, ("SeriesInstanceUID", _COUNT, *_WHERE))
                self._note([told])
                if told.get("SeriesInstanceUID") and _below(one, study):
                    word = {key: told[key] for key in ("InstanceAvailability",) if key in told}
                    self.availability[told["SeriesInstanceUID"]] = word
                    number = _number(told.get(_COUNT, ""))
                    found.append(({**study, "SeriesInstanceUID": told["SeriesInstanceUID"]}, number))
        return found

    async def _studies(self, keys: Mapping[str, str]) -> list[dict[str, str]]:
        if self.level >= Level.STUDY:
            return [dict(keys)]
        found: list[Answer] = await self._find(Level.STUDY, keys, ["StudyInstanceUID"])
        patient = keys.get("PatientID")
        if patient is not None:
            found = [one for one in found if _is(patient, _texts(one, ["PatientID"]).get("PatientID"))]
        uids = [str(one.get("StudyInstanceUID", "") or "") for one in found]
        return [{**keys, "StudyInstanceUID": uid} for uid in filter(None, uids)]

    def _note(self, told: Iterable[Mapping[str, str]]) -> None:
        """Where the peer says its objects can be retrieved from."""
        for one in told:
            if len(self.titles) < MAX_TITLES:
                titles = one.get("RetrieveAETitle", "").split("\\")
                self.titles.update(title for title in map(str.strip, titles) if title)

    async def _find(
        self, level: Level, match: Mapping[str, str], keys: Iterable[str], *, root: Root | None = None
    ) -> Matches:
        self._spend()
        if root is None:
            root, match = await self._single(match, level)
        found = await Finding(self.associations, build_query(level, root, match, keys), MAX_PLANNED)
        if len(found) >= MAX_PLANNED:
            raise _too_many()
        self.cut_off |= level < Level.IMAGE and bool(found.capped)
        return found

    def _spend(self) -> None:
        """One more query is sent."""
        if not self.queries:
            raise _NoMoreQueries(f"it would take more than {self.max_queries} queries")
        self.queries -= 1

    async def _single(
        self, match: Mapping[str, str], level: Level = Level.IMAGE
    ) -> tuple[Root, Mapping[str, str]]:
        """Root and keys of a query below a patient whose ID has what a query takes for a wildcard.

        A unique key above the level has a single value (PS3.4 C.4.1.2.1); in the study root a Patient ID is
        an attribute of studies, and the keys below tell all that it does.
        """
        wild = any(sign in match.get("PatientID", "") for sign in "*?")
        above = level is Level.STUDY or "StudyInstanceUID" in match
        if self.root is not Root.PATIENT or not wild or not above:
            return self.root, match
        study = find_model(Root.STUDY)
        if study not in await self.associations.accepted(study, find_model(Root.PATIENT)):
            return self.root, match
        return Root.STUDY, {key: one for key, one in match.items() if key != "PatientID"} or match


def _too_many() -> _NoMoreQueries:
    return _NoMoreQueries(f"a query has more than {MAX_PLANNED} answers")


def _number(text: str) -> int | None:
    """A count that a peer tells, if it is one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _below(answer: Dataset, keys: Mapping[str, str]) -> bool:
    """Whether an answer shows the unique key next above: one that shows none may be of anything."""
    key = "SeriesInstanceUID" if "SeriesInstanceUID" in keys else "StudyInstanceUID"
    return _is(keys[key], str(answer.get(key, "") or ""))


def listed_target(uid: str, parents: Mapping[str, str], leaves: Sequence[Mapping[str, str]]) -> Target:
    """A target with what answers at the image level say of it."""
    named = {leaf["SOPInstanceUID"]: leaf for leaf in leaves if leaf.get("SOPInstanceUID")}
    return Target(
        uid,
        parents,
        tuple(named),
        frozenset(name for leaf in leaves if is_uid(name := leaf.get("SOPClassUID", ""))),
        frozenset(
            syntax
            for leaf in leaves
            for syntax in leaf.get("AvailableTransferSyntaxUID", "").split("\\")
            if is_uid(syntax)
        ),
        classes=_of_each(named.values(), "SOPClassUID"),
        series=_of_each(named.values(), "SeriesInstanceUID"),
        studies=_of_each(named.values(), "StudyInstanceUID"),
        unavailable={
            uid: word[:16]
            for uid, leaf in named.items()
            if (word := leaf.get("InstanceAvailability", "ONLINE")) != "ONLINE"
        },
    )


def _of_each(leaves: Iterable[Mapping[str, str]], key: str) -> tuple[str, ...]:
    """A value of every instance, each kept once; nothing where none has it."""
    same: dict[str, str] = {}
    found = tuple(same.setdefault(value, value) for leaf in leaves for value in [leaf.get(key, "")])
    return found if any(found) else ()


def _values(data: bytes, transfer_syntax: str, keywords: Iterable[str]) -> dict[str, str]:
    """The non-empty values of an answer's keys, without the cost of a data set: a study has thousands."""
    tags = {PLAN_KEYS[keyword][0]: keyword for keyword in keywords}
    try:
        found = scan_dataset(data, transfer_syntax, {*tags, _CHARSET})
        problem = found.problem
    except ImagingError as error:
        problem = str(error)
    if problem is not None:  # its last value may be half a UID
        log.info("an answer to a query cannot be read: %s", problem)
        return {}
    charset = found.values.pop(_CHARSET, b"").decode("latin-1")
    texts = {tags[tag]: text_of(raw, charset).strip(" \0") for tag, raw in found.values.items()}
    return {keyword: text for keyword, text in texts.items() if text}
