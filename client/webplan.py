"""What lies below a unique key by DICOMweb: asked for by QIDO-RS (PS3.18 10.6), page by page."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from ..association.errors import TotalTimeout
from ..dimse.levels import Level, QueryError, Root, unique_key
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_near_uid, is_uid
from .associations import Associations
from .plan import Plan, Target
from .planning import MAX_PLANNED, make_plan
from .web import DicomWeb, WebFailed, WebPeer

log: logging.Logger = logging.getLogger("aiodicom.retrieving")

PAGE = 1000
"""Answers that are asked for at a time."""
_TAGS = {
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "InstanceAvailability": "00080056",
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
    root = chosen[0] or (Root.PATIENT if level is Level.PATIENT else Root.STUDY)
    try:
        root = await associations.choose_root(level, *chosen)
        plan = await make_plan(associations, level, root, uids, parents, max_queries)
    except (QueryError, TotalTimeout):
        raise
    except AiodicomError as error:
        if web is None:
            raise
        log.info("no plan by C-FIND: %s", error)
    if web is not None and (plan is None or plan.stands_on == "counters"):
        try:
            async with WebPeer(web, associations.peer.timeouts) as peer:
                return await web_plan(peer, level, root, uids, parents)
        except AiodicomError as error:
            log.info("no plan by DICOMweb: %s", error)
    return plan or Plan(level, root, [Target(uid, dict(parents)) for uid in uids])


async def web_plan(
    peer: WebPeer, level: Level, root: Root, uids: Sequence[str], parents: Mapping[str, str]
) -> Plan:
    """The instances below each unique key. Raises WebFailed, and what no connection came about for."""
    return Plan(level, root, [await _target(peer, level, uid, parents) for uid in uids])


async def _target(peer: WebPeer, level: Level, uid: str, parents: Mapping[str, str]) -> Target:
    leaves: dict[str, dict[str, str]] = {}
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
        return Target(uid, dict(parents))
    told = list(leaves.values())
    above = {key: told[0][key] for key in _parents_of(level) if told[0].get(key)}
    return Target(
        uid,
        {**above, **parents},
        tuple(leaves),
        frozenset(name for one in told if is_uid(name := one.get("SOPClassUID", ""))),
        classes=_each(told, "SOPClassUID"),
        series=_each(told, "SeriesInstanceUID"),
        studies=_each(told, "StudyInstanceUID"),
        unavailable={
            one["SOPInstanceUID"]: word[:16]
            for one in told
            if (word := one.get("InstanceAvailability") or "ONLINE") != "ONLINE"
        },
    )


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


def _parents_of(level: Level) -> tuple[str, ...]:
    above = ("StudyInstanceUID",) if level > Level.STUDY else ()
    return (*above, "SeriesInstanceUID") if level is Level.IMAGE else above


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


def _each(told: Iterable[Mapping[str, str]], key: str) -> tuple[str, ...]:
    """A value of every instance, nothing where none has it."""
    found = tuple(one.get(key, "") for one in told)
    return found if any(found) else ()
