"""What a retrieve will ask for, as a value: to be looked at, kept, narrowed to what is missing, divided."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.levels import Level, QueryError, Root, get_model, keys_above, levels, unique_key
from ..dimse.sop_classes import TRANSFER_SYNTAXES, patient_sop_classes
from ..pdu.uids import is_near_uid
from .wanting import check_parents

ROOM = MAX_CONTEXTS - 7
"""Storage contexts of an association beside those that each has: verification, and the query/retrieve models,
by which the next plan is found out on it.
"""
LATELY = 3
"""SOP classes of a plan and of those before it that have their contexts on one association: with more, those
of one transfer syntax alone become few.
"""
SYNTAXES = 48
"""Transfer syntaxes of one context: DCMTK drops a connection that proposes over fifty."""
CLASSES = (MAX_CONTEXTS - 1) // 2
"""SOP classes that are asked for on one association: each has two contexts at least, for every syntax."""
EVERYDAY = 16
"""SOP classes with more than one context where nothing is known of what will come."""
LISTED = 200
"""Instances that one request names, where they are asked for one by one."""
FORMAT = 1
"""Of a plan as JSON."""

Method = Literal["get", "move", "web"]
SERVICES: dict[Method, str] = {"get": "C-GET", "move": "C-MOVE", "web": "WADO-RS"}
"""The services of a ladder: C-GET, C-MOVE to this process, and DICOMweb where the peer has an address."""
METHODS: tuple[Method, ...] = tuple(SERVICES)
StandsOn = Literal["list", "counts", "counters"]
"""What is known of what is to come: a list by C-FIND, the related-instances counts of a C-FIND, or no more
than what the peer counts while it sends."""


@dataclass(frozen=True, slots=True)
class Target:
    """One unique key to retrieve: its parents' unique keys, and what lies below it as far as is known.

    level: where that is not the plan's. classes, series, studies: of each instance, where they are known, ""
    for one that is not. counted: how many instances the peer says there are, where they could not be listed.
    unavailable: the Instance Availability of those that are not ONLINE. capped: the list may be cut short, so
    that it is always asked for whole.
    """

    uid: str
    parents: Mapping[str, str]
    instances: tuple[str, ...] | None = None
    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()
    level: Level | None = None
    classes: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    counted: int | None = None
    unavailable: Mapping[str, str] = field(default_factory=dict)
    capped: bool = False

    @property
    def listed(self) -> bool:
        """Whether it is known what lies below it."""
        return self.instances is not None and not self.capped

    def some(self, level: Level, uid: str, parents: Mapping[str, str], which: Sequence[int]) -> Target:
        """A target below this one: of its instances these."""
        assert self.instances is not None
        classes = _at(self.classes, which)
        return replace(
            self,
            uid=uid,
            parents=parents,
            instances=tuple(self.instances[n] for n in which),
            sop_classes=frozenset(classes) & self.sop_classes if classes else self.sop_classes,
            level=level,
            classes=classes,
            series=_at(self.series, which),
            studies=_at(self.studies, which),
        )


def _at(values: tuple[str, ...], which: Sequence[int]) -> tuple[str, ...]:
    return tuple(values[n] for n in which) if values else ()


@dataclass(frozen=True, slots=True)
class Part:
    """What one association carries of a plan."""

    proposals: list[Proposal]
    targets: list[Target]


@dataclass(slots=True, repr=False)
class Plan:
    """What a retrieve will ask for. `via` are the services it will be asked by, in order; `ladder`: each for
    less at a time, until all is here, as several always are.

    retrieve_titles: the application entities that the peer says it can be retrieved from. not_found: unique
    keys that the peer has nothing of, where it can be asked only for what it says it has.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     [study] = await pacs.find("STUDY", {})
    ...     plan = await pacs.plan("STUDY", study.StudyInstanceUID)
    >>> plan.objects, plan.via
    (4, ('get',))
    """

    level: Level
    root: Root
    targets: list[Target] = field(default_factory=list)
    via: tuple[Method, ...] = ("get",)
    retrieve_titles: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()
    ladder: bool = False

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
    def stands_on(self) -> StandsOn:
        """What is known of what is to come; the weakest of its targets counts."""
        if all(target.listed for target in self.targets):
            return "list"
        told = all(target.listed or target.counted is not None for target in self.targets)
        return "counts" if told else "counters"

    @property
    def objects(self) -> int | None:
        """How many objects are to come; None where the peer does not say."""
        if self.stands_on == "list":
            return len(self.expected or ())
        if self.stands_on == "counters":
            return None
        return sum(
            target.counted or 0 if not target.listed else len(target.instances or ())
            for target in self.targets
        )

    @property
    def sop_classes(self) -> dict[str, int]:
        """How many objects of which SOP class are to come, as far as is known."""
        return dict(Counter(uid for target in self.targets for uid in target.classes if uid))

    @property
    def unavailable(self) -> dict[str, str]:
        """The Instance Availability of what is not ONLINE, by SOP Instance UID."""
        return {uid: word for target in self.targets for uid, word in target.unavailable.items()}

    @property
    def capped(self) -> bool:
        """Whether a list of what is to come may be cut short by the peer."""
        return any(target.capped for target in self.targets)

    @property
    def parents_unknown(self) -> list[str]:
        """The unique keys of levels above that some target lacks: a peer may want them."""
        above = keys_above(self.level, self.root)
        return [key for key in above if any(not target.parents.get(key) for target in self.targets)]

    @property
    def contexts(self) -> list[list[Proposal]]:
        """What each association of a C-GET proposes; none where it is not asked by that."""
        return [part.proposals for part in self.parts()] if "get" in self.via else []

    def __repr__(self) -> str:
        count = "an unknown number of" if self.objects is None else str(self.objects)
        keys = f"{len(self.targets)} x {self.level.value}"
        parts = len(self.parts())
        over = f"{parts} association{'s' * (parts != 1)}"
        via = ", then ".join(SERVICES[one] for one in self.via)
        away = f", {len(self.unavailable)} not online" if self.unavailable else ""
        return f"<Plan {keys}: {count} objects (by {self.stands_on}), {via} over {over}{away}>"

    # --- in another root, narrowed and divided

    def rooted(self, root: Root) -> Plan:
        """The plan in this root, patients as their studies where it has none: where those are known."""
        if root is self.root:
            return self
        plan = self
        if self.level not in levels(root):
            if not all(target.listed and all(target.studies) for target in self.targets):
                return self
            by_studies = self.only(self.expected or (), Level.STUDY)
            targets = [
                one for one in by_studies.targets if one.level is not None and one.level >= Level.STUDY
            ]
            plan = replace(by_studies, level=Level.STUDY, targets=targets)
        keys = {unique_key(one) for one in levels(root)}
        targets = [
            replace(one, parents={key: value for key, value in one.parents.items() if key in keys})
            for one in plan.targets
        ]
        return replace(plan, root=root, targets=targets)

    def only(self, wanted: Collection[str], level: Level | None = None) -> Plan:
        """The plan for these instances alone, asked for by no more and no larger requests than that takes.

        A key all of whose instances are wanted is asked for whole, unless `level` says that nothing above it
        may be asked for. Targets of which nothing is known, or perhaps not all, stay as they are.
        """
        finest = level or self.level
        chosen = wanted if isinstance(wanted, set | frozenset | dict) else frozenset(wanted)
        targets = [
            part
            for target in self.targets
            for part in (self._narrowed(target, chosen, finest) if target.listed else [target])
        ]
        return replace(self, targets=targets)

    def _narrowed(self, target: Target, wanted: Collection[str], finest: Level) -> Iterator[Target]:
        assert target.instances is not None
        level = target.level or self.level
        which = [n for n, uid in enumerate(target.instances) if uid in wanted]
        if not which:
            return
        if len(which) == len(target.instances) and level >= finest:
            yield target
            return
        if level is Level.IMAGE:
            yield from _listed(target, target.parents, which)
            return
        keys = {Level.PATIENT: target.studies, Level.STUDY: target.series}.get(level, ())
        parents = {**target.parents, unique_key(level): target.uid}
        if not keys:  # what they lie in is not known, unless they are a series' own
            yield from _listed(target, parents, which)
            return
        below = Level.STUDY if level is Level.PATIENT else Level.SERIES
        whole: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            whole.setdefault(key, []).append(number)
        chosen = set(which)
        for key, numbers in whole.items():
            if not chosen.isdisjoint(numbers):
                child = target.some(below, key, parents, numbers)
                if key:
                    yield from self._narrowed(child, wanted, finest)
                else:
                    some = [n for n, uid in enumerate(child.instances or ()) if uid in wanted]
                    yield from _listed(child, parents, some)

    def divided(self, count: int) -> Plan:
        """The plan in at least so many requests where that can be, for as many associations: by series, else
        by batches of instances. What is not known is not divided.
        """
        if count < 2 or len(self.targets) >= count or self.stands_on != "list":
            return self
        everything = frozenset(self.expected or ())
        by_series = self.only(everything, Level.SERIES) if self.level < Level.SERIES else self
        if len(by_series.targets) >= count:
            return by_series
        size = max(1, min(LISTED, -(-len(everything) // (4 * count))))
        listed = by_series.only(everything, Level.IMAGE)
        pieces = [piece for target in listed.targets for piece in _pieces(target, size)]
        return replace(self, targets=pieces)

    def parts(self, lately: Sequence[str] = ()) -> list[Part]:
        """What an association each can carry: the contexts to propose, and what to ask for on it.

        One part, unless there are more SOP classes than an association has contexts. lately: those of other
        plans, last first, that are proposed too where there are few, for an association that carries all.
        """
        groups: list[list[Target]] = [[]]
        classes: set[str] = set()
        for target in (part for whole in self.targets for part in self._fitting(whole)):
            if groups[-1] and len(classes | target.sop_classes) > CLASSES:
                groups.append([])
                classes = set()
            classes |= target.sop_classes
            groups[-1].append(target)
        return [Part(self._proposals(group, lately), group) for group in groups]

    def _fitting(self, target: Target) -> Iterator[Target]:
        """A target with more SOP classes than an association has contexts, as instances class by class."""
        if len(target.sop_classes) <= CLASSES:
            yield target
            return
        by_class: dict[str, list[str]] = {}
        for uid, sop_class in zip(target.instances or (), target.classes, strict=True):
            by_class.setdefault(sop_class, []).append(uid)
        for uids in by_class.values():
            yield from self._narrowed(target, frozenset(uids), Level.IMAGE)

    def _proposals(self, targets: Sequence[Target], lately: Sequence[str]) -> list[Proposal]:
        """The C-GET context and the storage contexts for what will come.

        A SOP class that the query told gets one context a transfer syntax, the told syntaxes first, so that
        the peer can send every object as it is stored. Where some target's classes are not known, half of
        the room is for the standard's classes: the everyday ones with a context each for explicit and
        implicit VR, as which nearly all lie in archives, then the others with one.
        """
        own = set[str]().union(*(target.sop_classes for target in targets))
        unknown = any(not target.sop_classes for target in targets)
        others = [uid for uid in lately if uid not in own][: max(0, LATELY - len(own))]
        classes = sorted(own if unknown else own.union(others))
        told = set[str]().union(*(target.transfer_syntaxes for target in targets))
        syntaxes = (*sorted(told), *(uid for uid in TRANSFER_SYNTAXES if uid not in told))
        proposals: list[Proposal] = []
        if classes:
            each = max(1, ROOM // 2 // len(classes)) if unknown else max(2, ROOM // len(classes))
            for uid in classes:
                proposals += _storage_proposals(uid, syntaxes, each)
        if unknown:
            rest = (uid for uid in patient_sop_classes() if uid not in classes)
            for number, uid in enumerate(islice(rest, ROOM)):
                proposals += _some_proposals(uid, syntaxes, 3 if number < EVERYDAY else 1)
        room = max(ROOM, 2 * len(classes))  # of very many classes each has its two contexts all the same
        return [Proposal(get_model(self.root)), *proposals[: min(room, MAX_CONTEXTS - 1)]]

    # --- kept

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values; `from_dict` takes them back."""
        return {
            "format": FORMAT,
            "level": self.level.value,
            "root": self.root.value,
            "via": list(self.via),
            "ladder": self.ladder,
            "retrieve_titles": list(self.retrieve_titles),
            "not_found": list(self.not_found),
            "objects": self.objects,
            "stands_on": self.stands_on,
            "sop_classes": self.sop_classes,
            "associations": len(self.parts()),
            "contexts": [[_context_dict(one) for one in proposals] for proposals in self.contexts],
            "targets": [_target_dict(target) for target in self.targets],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """A plan that was kept. Raises QueryError for what is none."""
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}")
            return cls(
                Level(values["level"]),
                Root(values["root"]),
                [_target_from(one) for one in values["targets"]],
                tuple(_method(one) for one in values["via"]),
                tuple(map(str, values["retrieve_titles"])),
                tuple(map(str, values.get("not_found", ()))),
                bool(values.get("ladder", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise QueryError(f"this is no plan of a retrieve: {error}") from None

    def to_json(self) -> str:
        """`to_dict` as a text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """A plan that was kept as a text. Raises QueryError for what is none."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise QueryError(f"this is no plan of a retrieve: {error}") from None
        return cls.from_dict(values)


def _listed(target: Target, parents: Mapping[str, str], which: Sequence[int]) -> Iterator[Target]:
    """Instances of a target, named in requests of `LISTED` each."""
    assert target.instances is not None
    for start in range(0, len(which), LISTED):
        some = which[start : start + LISTED]
        yield target.some(Level.IMAGE, "\\".join(target.instances[n] for n in some), parents, some)


def _pieces(target: Target, size: int) -> Iterator[Target]:
    count = len(target.instances or ())
    for start in range(0, count, size):
        some = range(start, min(start + size, count))
        uid = "\\".join((target.instances or ())[n] for n in some)
        yield target.some(Level.IMAGE, uid, target.parents, some)


def _context_dict(proposal: Proposal) -> dict[str, Any]:
    return {
        "abstract_syntax": proposal.abstract_syntax,
        "transfer_syntaxes": list(proposal.transfer_syntaxes),
        "scp_role": proposal.scp_role,
    }


def _target_dict(target: Target) -> dict[str, Any]:
    return {
        "uid": target.uid,
        "level": None if target.level is None else target.level.value,
        "parents": dict(target.parents),
        "instances": None if target.instances is None else list(target.instances),
        "counted": target.counted,
        "capped": target.capped,
        "sop_classes": sorted(target.sop_classes),
        "transfer_syntaxes": sorted(target.transfer_syntaxes),
        "classes": list(target.classes),
        "series": list(target.series),
        "studies": list(target.studies),
        "unavailable": dict(target.unavailable),
    }


def _target_from(values: Mapping[str, Any]) -> Target:
    instances = values["instances"]
    count = 0 if instances is None else len(instances)
    lists = {name: _uids(values[name]) for name in ("classes", "series", "studies")}
    if any(len(one) not in (0, count) for one in lists.values()):
        raise ValueError("lists of different lengths")
    return Target(
        str(values["uid"]),
        _parents(values["parents"]),
        None if instances is None else _uids(instances),
        frozenset(_uids(values["sop_classes"])),
        frozenset(_uids(values["transfer_syntaxes"])),
        None if values["level"] is None else Level(values["level"]),
        counted=None if values["counted"] is None else int(values["counted"]),
        capped=bool(values["capped"]),
        unavailable={str(key): str(value) for key, value in values["unavailable"].items()},
        **lists,
    )


def _parents(values: Mapping[Any, Any]) -> dict[str, str]:
    return check_parents(Level.IMAGE, None, {str(key): str(value) for key, value in values.items()})


def _method(name: Any) -> Method:
    for method in METHODS:
        if name == method:
            return method
    raise ValueError(f"no such service: {name!r}")


def _uids(values: Iterable[Any]) -> tuple[str, ...]:
    found = tuple(map(str, values))
    for uid in found:
        if uid and not is_near_uid(uid):
            raise ValueError(f"{uid[:80]!r} is no UID")
    return found


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
