"""What a retrieve will ask for, and what is to come of it: found out by C-FIND first."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..association.errors import ContextNotAccepted, OperationFailed
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.levels import Level, QueryError, Root, get_model, levels, unique_key
from ..dimse.sop_classes import TRANSFER_SYNTAXES, storage_sop_classes
from ..pdu.uids import is_uid
from .associations import Associations
from .finding import Finding, answers
from .identifier import PLAN_KEYS, build_plan, build_query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = logging.getLogger("aiodicom.retrieving")


@dataclass(frozen=True, slots=True)
class Target:
    """One unique key to retrieve: its parents' unique keys, and what lies below it as far as is known."""

    uid: str
    parents: Mapping[str, str]
    instances: tuple[str, ...] | None = None
    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()


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

    def proposals(self) -> list[Proposal]:
        """The C-GET context and the storage contexts for what will come, as many as an association holds.

        A SOP class that the query told gets one context a transfer syntax, the told syntaxes first, so that
        the peer can send every object as it is stored. Where some target's classes are not known, half of
        the room is for the standard's classes, the everyday ones first, one context each.
        """
        room = MAX_CONTEXTS - 1
        classes = sorted(set[str]().union(*(target.sop_classes for target in self.targets)))
        told = set[str]().union(*(target.transfer_syntaxes for target in self.targets))
        syntaxes = (*sorted(told), *(uid for uid in TRANSFER_SYNTAXES if uid not in told))
        unknown = any(not target.sop_classes for target in self.targets)
        proposals: list[Proposal] = []
        if classes:
            each = max(1, (room // 2 if unknown else room) // len(classes))
            for uid in classes:
                proposals += _storage_proposals(uid, syntaxes, each)
        if unknown:
            others = (uid for uid in storage_sop_classes() if uid not in classes)
            proposals += (Proposal(uid, syntaxes, scp_role=True) for uid in others)
        return [Proposal(get_model(self.root)), *proposals[:room]]


def _storage_proposals(sop_class: str, syntaxes: tuple[str, ...], contexts: int) -> Iterator[Proposal]:
    """One context a transfer syntax, the last one of so many taking all that are left."""
    single = syntaxes if len(syntaxes) <= contexts else syntaxes[: contexts - 1]
    for syntax in single:
        yield Proposal(sop_class, (syntax,), scp_role=True)
    if len(single) < len(syntaxes):
        yield Proposal(sop_class, syntaxes[len(single) :], scp_role=True)


def check_uids(level: Level, root: Root, uids: str | Iterable[str]) -> list[str]:
    """The unique keys to retrieve, as a list. Raises QueryError for one that cannot be one."""
    if level not in levels(root):
        names = ", ".join(one.value for one in levels(root))
        raise QueryError(f"level {level.value} is not in the {root.value} root; its levels are {names}")
    wanted = [uids] if isinstance(uids, str) else list(uids)
    if not wanted:
        raise QueryError("nothing to retrieve: no unique key given")
    for uid in wanted:
        if level is not Level.PATIENT and not is_uid(uid):
            raise QueryError(f"{uid[:80]!r} is no UID, so no {unique_key(level)}")
        if level is Level.PATIENT and (not uid or any(c in uid for c in "*?\\")):
            raise QueryError(f"{uid[:64]!r} is no single Patient ID")
    return wanted


async def make_plan(
    associations: Associations, level: Level, root: Root, uids: list[str], parents: Mapping[str, str]
) -> Plan:
    """Ask the peer by C-FIND what lies below each unique key, and under which parents."""
    plan = Plan(level, root)
    for uid in uids:
        plan.targets.append(await _locate(associations, level, root, uid, parents))
    return plan


async def _locate(
    associations: Associations, level: Level, root: Root, uid: str, parents: Mapping[str, str]
) -> Target:
    """One target: by one query at the image level where the peer allows it, else level by level."""
    above = [unique_key(one) for one in levels(root) if one < level]
    below = [unique_key(one) for one in levels(root) if level < one < Level.IMAGE]
    match = {**parents, unique_key(level): uid}
    keys = [*above, *below, "SOPClassUID", "AvailableTransferSyntaxUID"]
    query = build_plan(root, match, keys)
    try:
        found_values = [
            _values(data, syntax, [*keys, *match, "SOPInstanceUID"])
            async for _, data, syntax in answers(associations, query)
        ]
    except OperationFailed as error:
        log.info("no plan by one query: %s", error)
        return await _walk(associations, level, root, uid, parents)
    except ContextNotAccepted as error:
        log.info("no plan, the peer answers no queries: %s", error)
        return Target(uid, dict(parents))
    # some archives ignore a key they do not know
    found = [a for a in found_values if all(a.get(key, value) == value for key, value in match.items())]
    if not found:
        return Target(uid, dict(parents))
    return Target(
        uid,
        {**{key: found[0][key] for key in above if found[0].get(key)}, **parents},
        tuple(answer["SOPInstanceUID"] for answer in found if "SOPInstanceUID" in answer),
        frozenset(uid for answer in found if is_uid(uid := answer.get("SOPClassUID", ""))),
        frozenset(
            syntax
            for answer in found
            for syntax in answer.get("AvailableTransferSyntaxUID", "").split("\\")
            if is_uid(syntax)
        ),
    )


def _values(data: bytes, transfer_syntax: str, keywords: Iterable[str]) -> dict[str, str]:
    """The non-empty values of an answer's keys, without the cost of a data set: a study has thousands."""
    tags = {PLAN_KEYS[keyword][0]: keyword for keyword in keywords}
    try:
        values = scan_dataset(data, transfer_syntax, tags).values
    except ImagingError as error:
        log.warning("an answer to a query cannot be read: %s", error)
        return {}
    texts = {tags[tag]: raw.decode("latin-1").strip(" \0") for tag, raw in values.items()}
    return {keyword: text for keyword, text in texts.items() if text}


async def _walk(
    associations: Associations, level: Level, root: Root, uid: str, parents: Mapping[str, str]
) -> Target:
    """Find a target on a peer that wants every upper unique key: down from the top, one level at a time.

    When it cannot be found the retrieve is asked for all the same, with the parents that were given: the
    peer's answer is the one the user should see.
    """
    path = [one for one in levels(root) if one <= level]
    try:
        found = await _descend(associations, path, root, uid, dict(parents))
    except OperationFailed as error:
        log.info("no plan level by level: %s", error)
        found = None
    if found is None:
        return Target(uid, dict(parents))
    instances, classes = [], set()
    try:
        async for dataset in _leaves(associations, level, root, {**found, unique_key(level): uid}):
            instances.append(str(dataset.get("SOPInstanceUID", "")))
            classes.add(str(dataset.get("SOPClassUID", "") or ""))
    except OperationFailed as error:
        log.info("the instances could not be listed: %s", error)
        return Target(uid, found)
    return Target(uid, found, tuple(instances) or None, frozenset(filter(is_uid, classes)))


async def _descend(
    associations: Associations, path: Sequence[Level], root: Root, uid: str, parents: dict[str, str]
) -> dict[str, str] | None:
    """The unique keys above `uid`, searching below every candidate that `parents` leaves open."""
    for depth, level in enumerate(path):
        key = unique_key(level)
        if level is path[-1]:
            match = {**parents, key: uid}
            async for dataset in _find(associations, root, level, match):
                if str(dataset.get(key, "")) == uid:
                    return {k: v for k, v in parents.items() if k != key}
            return None
        if key in parents:
            continue
        upper = {k: v for k, v in parents.items() if k in {unique_key(one) for one in path[:depth]}}
        candidates = [str(d.get(key, "")) async for d in _find(associations, root, level, upper, [key])]
        for candidate in filter(None, candidates):
            found = await _descend(associations, path, root, uid, {**parents, key: candidate})
            if found is not None:
                return found
        return None
    return None


async def _leaves(
    associations: Associations, level: Level, root: Root, keys: dict[str, str]
) -> AsyncIterator[Dataset]:
    """Every instance below the unique keys, each level asked with all keys above it."""
    below = [one for one in levels(root) if one > level]
    if not below:
        async for dataset in _find(associations, root, Level.IMAGE, keys, ["SOPClassUID"]):
            yield dataset
        return
    if below[0] is Level.IMAGE:
        async for dataset in _find(associations, root, Level.IMAGE, keys, ["SOPClassUID"]):
            yield dataset
        return
    key = unique_key(below[0])
    children = [str(d.get(key, "")) async for d in _find(associations, root, below[0], keys, [key])]
    for child in filter(None, children):
        async for dataset in _leaves(associations, below[0], root, {**keys, key: child}):
            yield dataset


def _find(
    associations: Associations,
    root: Root,
    level: Level,
    match: Mapping[str, object],
    keys: Iterable[str] = (),
) -> Finding:
    return Finding(associations, build_query(level, root, match, keys))
