"""What a retrieve will ask for, and what is to come of it: found out by C-FIND first."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

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
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.levels import Level, QueryError, Root, get_model, levels, unique_key
from ..dimse.sop_classes import TRANSFER_SYNTAXES, patient_sop_classes
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_near_uid, is_uid
from .asking import answers
from .associations import Associations
from .finding import Finding
from .identifier import PLAN_KEYS, build_plan, build_query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ROOM = MAX_CONTEXTS - 1
"""Storage contexts of an association beside the one of the retrieve."""
SYNTAXES = 48
"""Transfer syntaxes of one context: DCMTK drops a connection that proposes over fifty."""
CLASSES = ROOM // 2
"""SOP classes that are asked for on one association: each has two contexts at least, for every syntax."""
EVERYDAY = 16
"""SOP classes with more than one context where nothing is known of what will come."""
LISTED = 200
"""Instances that one request names, where they are asked for one by one."""
_CHARSET = 0x00080005

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

MAX_QUERIES = 50
"""Queries level by level by which it may be found out what lies below one unique key."""
MAX_PLANNED = 1_000_000
"""Answers that one query of a plan may have: a peer that goes on and on gets no plan made of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One unique key to retrieve: its parents' unique keys, and what lies below it as far as is known.

    level: where that is not the plan's. classes: the SOP class of each instance, where there are many.
    """

    uid: str
    parents: Mapping[str, str]
    instances: tuple[str, ...] | None = None
    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()
    level: Level | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What one association carries of a plan."""

    proposals: list[Proposal]
    targets: list[Target]


@dataclass(slots=True)
class Plan:
    """What a retrieve will ask for."""

    level: Level
    root: Root
    targets: list[Target] = field(default_factory=list)

    @property
    def expected(self) -> list[str] | None:
        """Every instance promised, or None when some target's are not known."""
        found: list[str] = []
        for target in self.targets:
            if target.instances is None:
                return None
            found += target.instances
        return list(dict.fromkeys(found))

    @property
    def parents_unknown(self) -> list[str]:
        """The unique keys of levels above that some target lacks: a peer may want them."""
        above = [unique_key(one) for one in levels(self.root) if one < self.level]
        return [key for key in above if any(not target.parents.get(key) for target in self.targets)]

    def parts(self) -> list[Part]:
        """What an association each can carry: the contexts to propose, and what to ask for on it.

        One part, unless there are more SOP classes than an association has contexts.
        """
        groups: list[list[Target]] = [[]]
        classes: set[str] = set()
        for target in (part for whole in self.targets for part in _divided(whole, self.level)):
            if groups[-1] and len(classes | target.sop_classes) > CLASSES:
                groups.append([])
                classes = set()
            classes |= target.sop_classes
            groups[-1].append(target)
        return [Part(self._proposals(group), group) for group in groups]

    def _proposals(self, targets: Sequence[Target]) -> list[Proposal]:
        """The C-GET context and the storage contexts for what will come.

        A SOP class that the query told gets one context a transfer syntax, the told syntaxes first, so that
        the peer can send every object as it is stored. Where some target's classes are not known, half of
        the room is for the standard's classes: the everyday ones with a context each for explicit and
        implicit VR, as which nearly all lie in archives, then the others with one.
        """
        classes = sorted(set[str]().union(*(target.sop_classes for target in targets)))
        told = set[str]().union(*(target.transfer_syntaxes for target in targets))
        syntaxes = (*sorted(told), *(uid for uid in TRANSFER_SYNTAXES if uid not in told))
        unknown = any(not target.sop_classes for target in targets)
        proposals: list[Proposal] = []
        if classes:
            each = max(1, (ROOM // 2 if unknown else ROOM) // len(classes))
            for uid in classes:
                proposals += _storage_proposals(uid, syntaxes, each)
        if unknown:
            others = (uid for uid in patient_sop_classes() if uid not in classes)
            for number, uid in enumerate(islice(others, ROOM)):
                proposals += _some_proposals(uid, syntaxes, 3 if number < EVERYDAY else 1)
        return [Proposal(get_model(self.root)), *proposals[:ROOM]]


def _divided(target: Target, level: Level) -> Iterator[Target]:
    """A target with more SOP classes than an association has contexts, as its instances class by class."""
    if len(target.sop_classes) <= CLASSES:
        yield target
        return
    assert target.instances is not None
    parents = {**target.parents, unique_key(level): target.uid}
    by_class: dict[str, list[str]] = {}
    for uid, sop_class in zip(target.instances, target.classes, strict=True):
        by_class.setdefault(sop_class, []).append(uid)
    for sop_class, uids in by_class.items():
        for start in range(0, len(uids), LISTED):
            some = tuple(uids[start : start + LISTED])
            known = frozenset({sop_class}) & target.sop_classes
            uid = "\\".join(some)
            yield Target(uid, parents, some, known, target.transfer_syntaxes, level=Level.IMAGE)


def _storage_proposals(sop_class: str, syntaxes: tuple[str, ...], contexts: int) -> Iterator[Proposal]:
    """As many of so many contexts with one transfer syntax as leaves room for the rest in the others.

    With room for one context alone, what has no place in it are the retired syntaxes.
    """
    apart = min(len(syntaxes), contexts)
    while apart and apart + -(-(len(syntaxes) - apart) // SYNTAXES) > contexts:
        apart -= 1
    for syntax in syntaxes[:apart]:
        yield Proposal(sop_class, (syntax,), scp_role=True)
    for start in range(apart, len(syntaxes), SYNTAXES)[: contexts - apart]:
        yield Proposal(sop_class, syntaxes[start : start + SYNTAXES], scp_role=True)


def _some_proposals(sop_class: str, syntaxes: tuple[str, ...], contexts: int) -> Iterator[Proposal]:
    """A few contexts: one transfer syntax each, the last with the likeliest of the rest."""
    for syntax in syntaxes[: contexts - 1]:
        yield Proposal(sop_class, (syntax,), scp_role=True)
    yield Proposal(sop_class, syntaxes[contexts - 1 :][:SYNTAXES], scp_role=True)


def check_uids(level: Level, root: Root, uids: str | Iterable[str]) -> list[str]:
    """The unique keys to retrieve, as a list. Raises QueryError for one that cannot be one."""
    if level not in levels(root):
        names = ", ".join(one.value for one in levels(root))
        raise QueryError(f"level {level.value} is not in the {root.value} root; its levels are {names}")
    wanted = [uids] if isinstance(uids, str) else list(dict.fromkeys(uids))
    if not wanted:
        raise QueryError("nothing to retrieve: no unique key given")
    for uid in wanted:
        if level is not Level.PATIENT and not is_near_uid(uid):
            raise QueryError(f"{uid[:80]!r} is no UID, so no {unique_key(level)}")
        if level is Level.PATIENT and (not uid or any(c in uid for c in "*?\\")):
            raise QueryError(f"{uid[:64]!r} is no single Patient ID")
    return wanted


async def make_plan(
    associations: Associations, level: Level, root: Root, uids: Sequence[str], parents: Mapping[str, str]
) -> Plan:
    """Ask the peer by C-FIND what lies below each unique key, and under which parents.

    Where it cannot be told the retrieve is asked for all the same: the peer's answer to that is the one the
    user should see. Raises what no association could be opened for, and TotalTimeout.
    """
    planner = _Planner(associations, level, root, parents)
    return Plan(level, root, [await planner.locate(uid) for uid in uids])


class _NoMoreQueries(Exception):
    """Finding out would take more queries than a plan may send."""


@dataclass(slots=True)
class _Planner:
    """Finds out about one unique key after the other, by `MAX_QUERIES` queries at most for each.

    No query is for all patients or all studies: a hospital has a million.
    """

    associations: Associations
    level: Level
    root: Root
    parents: Mapping[str, str]
    queries: int = 0
    given_up: bool = False  # a query cost the association: the others are not asked

    async def locate(self, uid: str) -> Target:
        """One target, as far as the peer tells."""
        self.queries = MAX_QUERIES
        try:
            found = None if self.given_up else await self._locate(uid)
        except (ConnectFailed, AssociationRejected, ConnectTimeout, TotalTimeout):
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
        """By one query at the image level where the peer allows it, else level by level."""
        try:
            found = await self._at_image_level(uid)
            if found is not None:
                return found
        except OperationFailed as error:
            log.info("no plan by one query: %s", error)
        except _NoMoreQueries:
            log.warning("no plan: a query has more than %d answers", MAX_PLANNED)
            return None
        try:
            return await self._level_by_level(uid)
        except OperationFailed as error:
            log.info("no plan level by level: %s", error)
        except _NoMoreQueries:
            log.info("no plan: it would take more than %d queries or answers", MAX_QUERIES)
        return None

    async def _at_image_level(self, uid: str) -> Target | None:
        above = [unique_key(one) for one in levels(self.root) if one < self.level]
        below = [unique_key(one) for one in levels(self.root) if self.level < one < Level.IMAGE]
        match = {**self.parents, unique_key(self.level): uid}
        keys = [*above, *below, "SOPClassUID", "AvailableTransferSyntaxUID"]
        query = build_plan(self.root, match, keys)
        values: list[dict[str, str]] = []
        async with aclosing(answers(self.associations, query)) as found_here:
            async for _, data, syntax in found_here:
                if len(values) >= MAX_PLANNED:
                    raise _NoMoreQueries
                values.append(_values(data, syntax, [*keys, *match, "SOPInstanceUID"]))
        # some archives ignore a key they do not know
        found = [one for one in values if all(one.get(key, value) == value for key, value in match.items())]
        if not found:
            return None
        parents = {key: found[0][key] for key in above if found[0].get(key)}
        return _target(uid, {**parents, **self.parents}, found)

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
        leaves = [
            {key: str(leaf.get(key, "") or "") for key in ("SOPInstanceUID", "SOPClassUID")}
            async for leaf in self._leaves(self.level, {**parents, unique_key(self.level): uid})
        ]
        return _target(uid, parents, leaves) if leaves else None

    async def _leaves(self, level: Level, keys: Mapping[str, str]) -> AsyncIterator[Dataset]:
        """Every instance below the unique keys, each level asked with all keys above it."""
        below = [one for one in levels(self.root) if one > level]
        if below[0] is Level.IMAGE:
            for leaf in await self._find(Level.IMAGE, keys, ["SOPClassUID"]):
                yield leaf
            return
        key = unique_key(below[0])
        children = [str(one.get(key, "") or "") for one in await self._find(below[0], keys, [key])]
        for child in filter(None, children):
            async for leaf in self._leaves(below[0], {**keys, key: child}):
                yield leaf

    async def _find(
        self, level: Level, match: Mapping[str, str], keys: Iterable[str], *, root: Root | None = None
    ) -> list[Dataset]:
        if not self.queries:
            raise _NoMoreQueries
        self.queries -= 1
        query = build_query(level, root or self.root, match, keys)
        found = await Finding(self.associations, query, MAX_PLANNED)
        if len(found) >= MAX_PLANNED:
            raise _NoMoreQueries
        return [*found]


def _target(uid: str, parents: Mapping[str, str], leaves: Sequence[Mapping[str, str]]) -> Target:
    """A target with what answers at the image level say of it."""
    named = [leaf for leaf in leaves if leaf.get("SOPInstanceUID")]
    sop_classes = frozenset(name for leaf in leaves if is_uid(name := leaf.get("SOPClassUID", "")))
    many = len(sop_classes) > CLASSES
    return Target(
        uid,
        parents,
        tuple(leaf["SOPInstanceUID"] for leaf in named),
        sop_classes,
        frozenset(
            syntax
            for leaf in leaves
            for syntax in leaf.get("AvailableTransferSyntaxUID", "").split("\\")
            if is_uid(syntax)
        ),
        classes=tuple(leaf.get("SOPClassUID", "") for leaf in named) if many else (),
    )


def _values(data: bytes, transfer_syntax: str, keywords: Iterable[str]) -> dict[str, str]:
    """The non-empty values of an answer's keys, without the cost of a data set: a study has thousands."""
    tags = {PLAN_KEYS[keyword][0]: keyword for keyword in keywords}
    try:
        found = scan_dataset(data, transfer_syntax, {*tags, _CHARSET})
        problem = found.problem
    except ImagingError as error:
        problem = str(error)
    if problem is not None:  # its last value may be half a UID
        log.warning("an answer to a query cannot be read: %s", problem)
        return {}
    charset = found.values.pop(_CHARSET, b"").decode("latin-1")
    texts = {tags[tag]: text_of(raw, charset).strip(" \0") for tag, raw in found.values.items()}
    return {keyword: text for keyword, text in texts.items() if text}
