"""What lies below a unique key by DICOMweb: asked for by QIDO-RS (PS3.18 10.6), page by page."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from ..association.errors import TotalTimeout
from ..dimse.levels import Level, QueryError, Root, keys_above, levels, unique_key
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_near_uid
from .associations import Associations
from .identifier import PLAN_KEYS
from .plan import Plan, Target
from .planning import MAX_PLANNED, listed_target, make_plan
from .web import DicomWeb, WebFailed, WebPeer

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

PAGE = 1000
"""Answers that are asked for at a time."""
_TAGS = {
    keyword: f"{PLAN_KEYS[keyword][0]:08X}"
    for keyword in (
        *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
        *("SOPClassUID", "InstanceAvailability"),
    )
}


async def find_plan(
    associations: Associations,
    level: Level,
    chosen: tuple[Root | None, Callable[[Root], str]],
    uids: Sequence[str],
    parents: Mapping[str, str],
    max_queries: int,
    web: DicomWeb | None,
) -> Plan:
    """A plan by C-FIND; by DICOMweb, where that is a way, if no list came of it, or no association at all.

    chosen: the root, and where there is none the SOP class by which it is chosen. Raises as `make_plan`.
    """
    plan: Plan | None = None
    root = chosen[0]
    try:
        root = await associations.choose_root(level, *chosen)
        plan = await make_plan(associations, level, root, uids, parents, max_queries)
    except (QueryError, TotalTimeout):
        raise
    except AiodicomError as error:
        if web is None:
            raise
        log.info("no plan by C-FIND: %s", error)
    if plan is None:
        if root is None or level not in levels(root):  # patients, which C-FIND alone makes studies of
            root = Root.PATIENT if level is Level.PATIENT else Root.STUDY
        plan = Plan(level, root, [Target(uid, dict(parents)) for uid in uids])
    if web is not None and plan.stands_on == "counters":
        try:
            async with WebPeer(web, associations.peer.timeouts) as peer:
                return await with_lists(peer, plan)
        except AiodicomError as error:
            log.info("no plan by DICOMweb: %s", error)
    return plan


async def with_lists(peer: WebPeer, plan: Plan) -> Plan:
    """A plan with the instances below each unique key of which they are not known, as far as that is told.

    Raises WebFailed where no more is worth asking for, and what no connection came about for.
    """
    targets = [one if one.listed else await _told(peer, plan.level, one) for one in plan.targets]
    return replace(plan, targets=targets)


async def _told(peer: WebPeer, level: Level, target: Target) -> Target:
    try:
        return await _listed(peer, level, target)
    except WebFailed as error:
        if error.final:
            raise
        log.info("no list by DICOMweb: %s", error)
        return target


async def _listed(peer: WebPeer, level: Level, target: Target) -> Target:
    leaves: dict[str, dict[str, str]] = {}
    uid, parents = target.uid, target.parents
    paths = [] if level is Level.IMAGE else await paths_of(peer, level, uid, parents)
    for path in paths:
        study = unquote(path.split("/")[2])
        async for leaf in _pages(peer, path + "/instances", {}):
            leaves.setdefault(leaf["SOPInstanceUID"], {"StudyInstanceUID": study, **leaf})
    if level is Level.IMAGE:
        async for leaf in _pages(peer, "/instances", {"SOPInstanceUID": uid, **_above(parents)}):
            if leaf["SOPInstanceUID"] == uid:
                leaves[uid] = leaf
    if not leaves:
        return target
    told = list(leaves.values())
    above = {key: told[0][key] for key in keys_above(level, Root.STUDY) if told[0].get(key)}
    return listed_target(uid, {**above, **parents}, told)


async def paths_of(peer: WebPeer, level: Level, uid: str, parents: Mapping[str, str]) -> list[str]:
    """The resources of a patient, a study or a series: what lies above it is asked for where unknown."""
    if level is Level.STUDY:
        return [path_of(uid)]
    study = parents.get("StudyInstanceUID")
    if level is Level.SERIES and study:
        return [path_of(study, uid)]
    where = "/studies" if level is Level.PATIENT else "/series"
    found = [one async for one in _pages(peer, where, {unique_key(level): uid}, "StudyInstanceUID")]
    below = (uid,) if level is Level.SERIES else ()
    return [path_of(one, *below) for one in dict.fromkeys(one["StudyInstanceUID"] for one in found)]


def path_of(study: str, series: str = "", instance: str = "") -> str:
    """The path of a resource below the address."""
    named = zip(("studies", "series", "instances"), (study, series, instance), strict=True)
    return "".join(f"/{name}/{quote(uid, safe='')}" for name, uid in named if uid)


async def paths_of_instance(peer: WebPeer, uid: str, parents: Mapping[str, str]) -> list[str]:
    """The resources of an instance, wherever it lies."""
    found = [one async for one in _pages(peer, "/instances", {"SOPInstanceUID": uid, **_above(parents)})]
    places = ((one.get("StudyInstanceUID", ""), one.get("SeriesInstanceUID", "")) for one in found)
    return [path_of(*place, uid) for place in dict.fromkeys(places) if all(place)]


def _above(parents: Mapping[str, str]) -> dict[str, str]:
    return {key: parents[key] for key in ("StudyInstanceUID", "SeriesInstanceUID") if parents.get(key)}


async def _pages(
    peer: WebPeer, path: str, match: Mapping[str, str], key: str = "SOPInstanceUID"
) -> AsyncGenerator[dict[str, str], None]:
    """Every answer that shows a key, each once, whatever a page of the peer's holds at most."""
    seen: set[str] = set()
    while True:
        page = {"limit": str(PAGE), "offset": str(len(seen)), "includefield": _TAGS["InstanceAvailability"]}
        answers = await peer.ask(path, {**match, **page})
        new = [one for one in map(_values, answers) if one.get(key) and one[key] not in seen]
        for one in new:
            if one[key] not in seen:
                seen.add(one[key])
                yield one
        if not new:  # the end, or a peer that begins anew whatever the offset
            return
        if len(seen) >= MAX_PLANNED:
            raise WebFailed(f"a query has more than {MAX_PLANNED} answers")


def _values(answer: Mapping[str, Any]) -> dict[str, str]:
    """The values of an answer in DICOM JSON (PS3.18 F.2) that can be used."""
    found: dict[str, str] = {}
    for keyword, tag in _TAGS.items():
        element = answer.get(tag)
        value = element.get("Value") if isinstance(element, dict) else None
        text = value[0] if isinstance(value, list) and value else None
        if isinstance(text, str) and (keyword == "InstanceAvailability" or is_near_uid(text.strip(" \0"))):
            found[keyword] = text.strip(" \0")
    return found
