"""What a retrieve came to: what the peer reported beside what arrived here."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..dimse import messages as m
from ..dimse.status import IDENTIFIER_MISMATCH, SOP_CLASS_NOT_SUPPORTED, SUCCESS, Category, Status
from ..pdu.errors import AiodicomError
from ..pdu.uids import is_uid
from .plan import StandsOn
from .progress import Meter, Phase, ProgressCallback
from .results import Keep, error_dict, escaped, html_table, item_dict, kept
from .rungs import Rung

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


MAX_TURNED_AWAY = 1000
"""Objects turned away that a result names; more are counted."""


@dataclass(frozen=True, slots=True)
class ReceivedItem:
    """One object that arrived, or failed to: `path` is where it lies now, None when it is not kept.

    `beside` is a file that was there before with another object of the same SOP Instance UID: both are kept.
    `present`: it lay here before, whole, and was not asked for. `location`: where a user's sink put it;
    `sha256` of its data set, where that was asked for.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    status: Status
    comment: str | None = None
    path: Path | None = None
    bytes: int = 0
    beside: Path | None = None
    present: bool = False
    location: str | None = None
    sha256: str | None = None
    patient_id: str = field(default="", repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is safe here."""
        return self.status == SUCCESS

    @property
    def hashed(self) -> bool:
        """Whether its file has a hash for a name, for what stands for its UID is none (PS3.5 9.1)."""
        return self.path is not None and not is_uid(self.sop_instance_uid)

    def to_dict(self) -> dict[str, Any]:
        """The item as plain values."""
        more: dict[str, Any] = {
            "transfer_syntax_uid": self.transfer_syntax_uid,
            "beside": None if self.beside is None else str(self.beside),
            "present": self.present,
            "hashed": self.hashed,
        }
        if self.location is not None or self.sha256 is not None:
            more |= {"location": self.location, "sha256": self.sha256}
        return item_dict(self) | more


@dataclass(slots=True, repr=False)
class RetrieveResult:
    """What a C-GET or C-MOVE came to: what the peer reported beside what arrived here.

    `status` is the final one, None where the peer gave none. `expected` are SOP Instance UIDs a C-FIND
    promised, None where it was not asked; `stands_on` says what is known of what is to come: that list, the
    peer's counts of related instances (`counted`), or what it counts while it sends. The counters are those
    of the final responses; None where the peer sent none. `parents_unknown` are unique keys above that were
    neither given nor found out: a peer that refuses may want them. `not_found` are unique keys that the peer
    has nothing of.
    `unasked` are objects that came though nothing of what was asked for has them: they lie in a folder of
    their own (`receiving.ASIDE`), another patient's first, and say nothing about `ok`.
    `turned_away` are SOP Instance UIDs that came and were not asked for; nothing was kept of them, and they
    say nothing about `ok`; `turned_away_unnamed` more came when a thousand were named. `datasets` are what
    came where neither a directory nor a loop took it. `rungs` are the attempts of a ladder. `keep` says
    which `items` are listed: "failed" lists what failed and what lies beside another object alone.
    Everything is counted as it comes (`add`), so that what the result says does not depend on what it lists.
    """

    status: Status | None = None
    comment: str | None = None
    service: str = "C-GET"
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_uids: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    parents_unknown: list[str] = field(default_factory=list)
    expected: list[str] | None = None
    counted: int | None = None  # by the related-instances counts of a C-FIND, where there is no list
    stands_on: StandsOn | None = None
    capped: bool = False  # the list may be cut short: the peer has objects that it did not name
    availability: dict[str, str] = field(default_factory=dict, repr=False)
    items: list[ReceivedItem] = field(default_factory=list)
    unasked: list[ReceivedItem] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)
    turned_away_unnamed: int = 0
    datasets: list[Dataset] = field(default_factory=list, repr=False)
    received_here: bool = True  # False when a C-MOVE went to another application entity
    seconds: float = 0.0
    error: AiodicomError | None = None  # what ended the association before the final response
    keep: Keep[ReceivedItem] = "all"
    unreached: int | None = None  # the port of ours that nobody connected to during a move
    settled: bool = False  # nothing was left to ask the peer for
    rungs: list[Rung] = field(default_factory=list)
    present: int = field(default=0, init=False)  # objects that lay here before, and were not asked for
    came: int = field(default=0, init=False)  # objects that came, each time, safe or not
    received: int = field(default=0, init=False)  # different objects that are safe here
    bytes: int = field(default=0, init=False)  # of the data sets that are safe here
    _arrivals: int = field(default=0, init=False, repr=False)  # safe ones, each time one came since `begin`
    _refused: int = field(default=0, init=False, repr=False)  # those turned away, each time since `begin`
    _promised: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    _missing: set[str] = field(default_factory=set, init=False, repr=False)
    _extra: set[str] = field(default_factory=set, init=False, repr=False)  # here, and not promised
    _failed: set[str] = field(default_factory=set, init=False, repr=False)  # failed to, and not here
    _before: frozenset[str] = field(default=frozenset(), init=False, repr=False)  # here before `begin`

    def __post_init__(self) -> None:
        items, self.items = self.items, []
        self.expect(self.expected)
        for item in items:
            self.add(item)

    def expect(self, uids: list[str] | None) -> None:
        """What the peer promises; what is here already is not missing."""
        here = self._here
        self.expected = uids
        self._promised = frozenset(uids or ())
        self._missing = set(self._promised - here)
        self._extra = set(here - self._promised)

    @property
    def _here(self) -> frozenset[str]:
        """What is safe here."""
        return (self._promised - self._missing) | self._extra

    def repeats(self, item: ReceivedItem) -> bool:
        """Whether an object was safe here before the peer was asked anew, and nothing new of it is kept."""
        return item.ok and item.beside is None and item.sop_instance_uid in self._before

    def add(self, item: ReceivedItem) -> bool:
        """An object has come, or failed to; whether it is the first of its UID that is safe."""
        if kept(self.keep, item, item.ok and item.beside is None) and not self.repeats(item):
            self.items.append(item)
        uid = item.sop_instance_uid
        if item.present:
            self.present += 1
            self._missing.discard(uid)
            return False
        self.came += 1
        if not item.ok:
            if uid in self._missing or not (uid in self._promised or uid in self._extra):
                self._failed.add(uid)
            return False
        self._arrivals += 1
        self._failed.discard(uid)
        if uid in self._missing:
            self._missing.remove(uid)
            first = True
        else:
            first = uid not in self._promised and uid not in self._extra
            if first:
                self._extra.add(uid)
        self.received += first
        if first or item.beside is not None:
            self.bytes += item.bytes
        return first

    def begin(self, *, forget: bool = False) -> None:
        """The peer is asked anew: what it says now counts. forget: what failed is asked for again."""
        self.status = self.comment = self.error = None
        self.completed = self.failed = self.warning = None
        self.failed_uids, self.not_found = [], []
        self._arrivals = self._refused = 0
        self.unreached, self.settled = None, False
        self._before = self._here
        if forget:
            self.items = [item for item in self.items if item.ok]
            self._failed.clear()

    def answered(self, status: Status, comment: str | None) -> None:
        """One request has its answer: the first that is no success stays the status of the whole."""
        if not self.status:
            self.status, self.comment = status, comment

    @property
    def waiting(self) -> int | None:
        """How many of the promised ones are not here; None where none were promised."""
        return None if self.expected is None else len(self._missing)

    def ended_by(self, error: AiodicomError) -> None:
        """The retrieve ended by an error: whatever was reported before is not how it ended."""
        self.error = error
        self.status = None

    @property
    def files(self) -> list[Path]:
        """The files that are safe here, in order of arrival."""
        return [item.path for item in self.items if item.ok and item.path is not None]

    @property
    def found(self) -> int:
        """Objects the peer is known to have of what was asked for: by query, by counters, or by coming."""
        came = self.received + self.present + len(self._failed)
        failed = max(0, self._failures - len(self._failed))
        sent = max(0, self._sent_in_vain - max(0, len(self._failed) - self._failures))
        return max(self.expected_count or 0, came + failed + sent)

    @property
    def expected_count(self) -> int | None:
        """How many objects are to come: by the list, else by the peer's counts; None where none tells."""
        return self.counted if self.expected is None or self.counted else len(self.expected)

    @property
    def unavailable(self) -> dict[str, str]:
        """What is missing and was not ONLINE (NEARLINE, OFFLINE, UNAVAILABLE), by SOP Instance UID."""
        return {uid: self.availability[uid] for uid in self.missing or () if uid in self.availability}

    @property
    def advice(self) -> str | None:
        """What the attempts say about the peer, or about us, in words."""
        asked_wrong = self.status in (
            IDENTIFIER_MISMATCH,
            SOP_CLASS_NOT_SUPPORTED,
        )  # and nobody had to connect
        if self.unreached is not None and not self.ok and not asked_wrong:
            return f"nobody connected to port {self.unreached}: is our title registered there?"
        brought = [rung.service for rung in self.rungs if rung.received]
        services = dict.fromkeys(rung.service for rung in self.rungs)
        refused = [one for one in services if all(r.refused for r in self.rungs if r.service == one)]
        if refused and brought:
            return f"{refused[0]} is refused here, {brought[0]} was accepted"
        away = Counter(self.unavailable.values())
        if away:
            words = " and ".join(f"{count} {word}" for word, count in sorted(away.items()))
            return f"of what is missing, {words} at the peer: ask again when it has fetched them"
        return None

    @property
    def missing(self) -> list[str] | None:
        """SOP Instance UIDs expected and not here; None where it is not known what was to come."""
        if self.expected is None or not self.received_here:
            return None
        return [uid for uid in self.expected if uid in self._missing]

    @property
    def unaccounted(self) -> int:
        """Objects the peer counted as sent that did not come: a query may have told of fewer than it has."""
        if not self.received_here:
            return 0
        listed = self.expected is not None and not self.capped
        counted = 0 if listed else (self.counted or 0) - self.received - self.present
        return max(0, self._sent_in_vain, counted)

    @property
    def _sent_in_vain(self) -> int:
        """How many more the peer counted as sent than came, each time; negative where it counts less."""
        # one that came twice was sent twice; one that was not asked for was sent all the same, and counts as
        # sent where the peer does not count as failed what we turned away
        away = max(0, self._refused - (self.failed or 0))
        return (self.completed or 0) + (self.warning or 0) - self._arrivals - away

    @property
    def _failures(self) -> int:
        """Objects the peer counted as failed, but for those it names that we turned away: nobody asked."""
        away = set(self.turned_away)
        return max(0, (self.failed or 0) - sum(uid in away for uid in set(self.failed_uids)))

    @property
    def success(self) -> bool:
        """Whether the peer's final status is success: a warning for what we turned away alone is that too."""
        if self.status is None or self.status == SUCCESS:
            return self.status is not None
        only_away = bool(self.failed) and not self._failures
        return only_away and self.status.category is Category.WARNING

    @property
    def beside(self) -> list[ReceivedItem]:
        """Objects that are kept beside another one of their UID, which was there before."""
        return [item for item in self.items if item.beside is not None]

    @property
    def ok(self) -> bool:
        """Whether all that was asked for was found and is safe: nothing promised or counted is missing."""
        return (
            (self.success or self.settled)
            and self.error is None
            and self.found > 0
            and not self.not_found
            and not self._failures
            and not self.warning
            and not (self.received_here and self._missing)
            and not self.unaccounted
            and not self._failed
        )

    @property
    def outcome(self) -> Literal["complete", "partial", "nothing", "failed"]:
        """In one word: all is safe, some is, there was nothing of that key, or none is."""
        if self.ok:
            return "complete"
        if self.success and not self.found:
            return "nothing"
        some = self.received + self.present if self.received_here else self.completed
        return "partial" if some else "failed"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, as the command line prints it as JSON."""
        missing = self.missing
        return {
            "ok": self.ok,
            "outcome": self.outcome,
            "service": self.service,
            "status": None if self.status is None else int(self.status),
            "category": None if self.status is None else self.status.category.value,
            "meaning": None if self.status is None else self.status.meaning,
            "comment": self.comment,
            "error": error_dict(self.error),
            "found": self.found,
            "completed": self.completed,
            "failed": self.failed,
            "warning": self.warning,
            "failed_uids": list(self.failed_uids),
            "not_found": list(self.not_found),
            "unasked": [item.to_dict() for item in self.unasked],
            "beside": [str(item.path) for item in self.beside],
            "turned_away": list(self.turned_away),
            "turned_away_unnamed": self.turned_away_unnamed,
            "parents_unknown": list(self.parents_unknown),
            "expected": self.expected_count,
            "stands_on": self.stands_on,
            "capped": self.capped,
            "unavailable": self.unavailable,
            "advice": self.advice,
            "missing": missing,
            "received": self.received,
            "present": self.present,
            "unreached": self.unreached,
            "rungs": [rung.to_dict() for rung in self.rungs],
            "bytes": self.bytes,
            "seconds": self.seconds,
            "items": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row an object, for a table."""
        return [item.to_dict() for item in self.items]

    def __repr__(self) -> str:
        arrived = (
            f", {self.received} of {self.found} here"
            if self.received_here
            else f", {self.completed or 0} moved"
        )
        said = f", {self.status}" if self.status is not None else ""
        error = f", {type(self.error).__name__}: {self.error}" if self.error is not None else ""
        return f"<RetrieveResult {self.service} {self.outcome}{arrived}{said}{error}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{escaped(repr(self)[1:-1])}</p>{html_table(self.rows())}"


class Arrived:
    """Adds what arrives to a result, and tells how far the retrieve is."""

    def __init__(self, result: RetrieveResult, progress: ProgressCallback | None) -> None:
        self.result = result
        self.event: asyncio.Event = asyncio.Event()
        """Set by each arrival."""
        self._named: set[str] = set()  # of what was turned away
        self._patients: set[str] = set()
        self._meter = Meter(progress)
        self._counted: int | None = None  # what the peer's counters come to

    def add(self, item: ReceivedItem) -> None:
        """An object has come, or failed to. One that comes again counts once."""
        self.result.add(item)
        self._patients.add(item.patient_id)
        self.event.set()
        self.tell()

    def set_aside(self, item: ReceivedItem) -> None:
        """An object has come that nobody asked for. One that comes again is named once."""
        named = ((one.sop_instance_uid, one.path) for one in self.result.unasked)
        if item.beside is not None or (item.sop_instance_uid, item.path) not in named:
            self.result.unasked.append(item)
        self.result._arrivals += 1
        self.event.set()

    def end(self) -> None:
        """The retrieve is over: what came of another patient's stands first."""
        self.result.unasked.sort(key=lambda one: one.patient_id in self._patients)

    def turn_away(self, uid: str) -> bool:
        """An object was refused that nobody asked for; whether it is the first."""
        self.result._refused += 1
        if uid in self._named:
            return False
        if len(self._named) >= MAX_TURNED_AWAY:
            self.result.turned_away_unnamed += 1
            return False
        self._named.add(uid)
        self.result.turned_away.append(uid)
        return len(self._named) == 1

    def told(self, response: m.CGetRSP | m.CMoveRSP) -> None:
        """The peer says how far it is."""
        done = (response.completed or 0) + (response.warning or 0)
        failed = response.failed or 0
        self._counted = done + failed + (response.remaining or 0)
        if not self.result.received_here:
            self._meter.tell(
                "transferring",
                objects=done,
                total=self._counted,
                size=0,
                failed=failed,
                arrived=done + failed,
            )

    def tell(self, phase: Phase = "transferring") -> None:
        """Say how far it is."""
        result = self.result
        if result.received_here:
            expected = result.expected_count
            self._meter.tell(
                phase,
                objects=result.received + result.present,
                total=expected if expected is not None else self._counted,
                size=result.bytes,
                failed=len(result._failed),
                arrived=result.came,
                present=result.present,
            )
