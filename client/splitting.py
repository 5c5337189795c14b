"""A query that is asked in parts where a peer tells no more than so many answers.

No status of the standard says that there would be more (PS3.4 C.4.1.1.4), so it is judged by signs: a refusal
for want of resources (A700H), a cancel that nobody sent (FE00H), a number of answers at which archives stop.
Such a window is divided (`Window.parts`) and its parts are asked, each judged in turn.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..dimse.levels import Level
from ..dimse.status import SUCCESS, Status
from .asking import Asking, Outcome
from .identifier import Query
from .windows import Window, at_midnight, is_round, keys_of, with_elements

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .answers import Answer

MAX_SPLIT_QUERIES = 1000
"""C-FINDs into which one query may be split."""
FEW = 20
"""Reasons that are told one by one."""

LEAST_CAP = 10
"""A peer that stopped at fewer answers is not taken to do so again."""
ASTRAY = 10
"""A peer does not go by a key where more than one in so many answers lies outside what was asked for."""

_ENTITY = {
    Level.PATIENT: ("PatientID", "IssuerOfPatientID"),
    Level.STUDY: ("StudyInstanceUID",),
    Level.SERIES: ("SeriesInstanceUID",),
    Level.IMAGE: ("SOPInstanceUID",),
}


def entity(level: Level, answer: Dataset) -> str | None:
    """What tells an answer from those of other entities of its level; None where it does not say."""
    first, *more = _ENTITY[level]
    found = str(answer.get(first) or "").strip()
    if not found and level is Level.PATIENT:
        first, found = "PatientName", str(answer.get("PatientName") or "").strip()
    return "\\".join([first, found, *(str(answer.get(one) or "") for one in more)]) if found else None


@dataclass(slots=True)
class _Node:
    """A window to be asked, and below which other by which key."""

    query: Query
    window: Window
    above: _Node | None = None
    by: str = ""
    outcome: Outcome = field(default_factory=Outcome)
    unmet: set[str] = field(default_factory=set)  # what it was answered and none of its parts was
    met: set[str] = field(default_factory=set)  # what both were
    more: bool = False  # its parts were answered what it was not
    reason: str | None = None  # why there may be more
    divided: str = ""  # the key by which
    within: int = 0  # answers of its parts


class Splitting:
    """Asks one query: as it is, or in parts where that is wanted and its answers are cut off."""

    def __init__(self, asking: Asking, query: Query, level: Level, *, split: bool, max_queries: int) -> None:
        """level: of what is found: patients may be found by a query for studies."""
        self._asking = asking
        self._told = asking.told
        self._query = query
        self._level = level
        self._split = split
        self._max_queries = max_queries
        self._dead: set[str] = set()  # keys that the peer does not go by
        self._seen: set[str] = set()
        self._caps = {cap} if (cap := asking.associations.quirks.cap) else set[int]()
        self._left_out = 0
        self._refused: Status | None = None
        self._answered = False  # some window was answered with success

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """The matches; each once, where several queries are sent."""
        identifier = self._query.identifier
        assert not isinstance(identifier, dict)
        keys = keys_of(self._query.level, identifier)  # type: ignore[arg-type]
        if self._split:  # where answers lie is to be known
            more = {key: "" for key in (keys.date, keys.time) if key and key not in identifier}
            identifier = with_elements(identifier, more)  # type: ignore[arg-type]
        roots = [replace(self._query, identifier=one) for one in at_midnight(identifier)]  # type: ignore[arg-type]
        once = self._split or self._told.emulated or len(roots) > 1
        stack = [_Node(one, Window.of(keys, one.identifier)) for one in reversed(roots)]  # type: ignore[arg-type]
        while stack:
            node = stack.pop()
            if node.reason is not None:
                stack += self._close(node)
                continue
            if node.by in self._dead:
                continue
            if self._split and self._told.queries >= self._max_queries:
                windows = 1 + sum(1 for one in stack if one.reason is None)
                self._tell(f"{self._max_queries} queries were sent: {windows} parts were not asked for")
                break
            async with aclosing(self._ask(node, once=once)) as found:
                async for answer in found:
                    yield answer
            stack += self._judge(node)
        self._end()

    async def _ask(self, node: _Node, *, once: bool) -> AsyncGenerator[Answer, None]:
        query, window = node.query, None
        elements = node.window.elements()
        if elements:
            from pydicom.dataset import Dataset

            from .matching import Checks

            query = replace(query, identifier=with_elements(query.identifier, elements))  # type: ignore[arg-type]
            window = Checks(with_elements(Dataset(), elements))
        keys = node.window.keys if self._split else None
        async with aclosing(self._asking.ask(query, keys, node.outcome, window)) as found:
            async for answer in found:
                name = entity(self._level, answer) if once else None
                self._compare(node, name)
                if name is None:
                    yield answer
                    continue
                node.unmet.add(name)
                if name not in self._seen:
                    self._seen.add(name)
                    yield answer

    @staticmethod
    def _compare(node: _Node, name: str | None) -> None:
        """An answer of a part with those of the windows above."""
        above = node.above
        while above is not None:
            if name in above.unmet:
                above.unmet.discard(name)
                above.met.add(name)
            elif name not in above.met:
                above.more = True
            above = above.above

    def _judge(self, node: _Node) -> list[_Node]:
        """What is to be asked instead, the last first, where it is not known to be all."""
        outcome = node.outcome
        astray = {key for key, count in outcome.outside.items() if count * ASTRAY > outcome.count}
        self._dead |= astray
        if node.by in astray:
            return []  # it is the window above that is divided, by another key
        if node.above is not None:
            node.above.within += outcome.count
        self._answered |= outcome.failure is None
        node.reason = self._sign(outcome)
        if node.reason is None:
            return []
        parts = self._parts(node) if self._split else []
        if parts:
            return [node, *parts]
        if outcome.failure is not None and not (self._split and self._answered):
            self._tell(node.reason)
            raise outcome.failure
        self._refused = self._refused or (outcome.failure.status if outcome.failure else None)
        self._tell(f"{node.window}: {node.reason}" if self._split else node.reason)
        return []

    def _sign(self, outcome: Outcome) -> str | None:
        """Why there may be more."""
        count = outcome.count
        if outcome.failure is not None:
            self._learn(count)
            return f"{outcome.failure.status} after {count} answers"
        if count in self._caps:
            return f"exactly {count} answers, at which this peer stops"
        return f"exactly {count} answers, at which many archives stop" if is_round(count) else None

    def _parts(self, node: _Node) -> list[_Node]:
        today = datetime.datetime.now().astimezone().date()
        node.divided, windows = node.window.parts(node.outcome.shown, self._dead, today)
        return [_Node(node.query, window, node, node.divided) for window in reversed(windows)]

    def _close(self, node: _Node) -> list[_Node]:
        """All parts of a window have been asked."""
        ignored = node.divided
        if ignored in self._dead:
            parts = self._parts(node)
            if not parts:
                self._tell(f"{node.window}: {node.reason}, and the peer does not go by {ignored}")
            node.within = 0
            return [node, *parts] if parts else []
        count = node.outcome.count
        node.more |= self._told.emulated and node.within > count  # studies that are of patients known before
        if node.more:
            self._learn(count)
            if node.above is not None:
                node.above.more = True
        if node.unmet:
            some = f"{len(node.unmet)} answers to {node.window} are in none of its parts"
            self._tell(f"{some}, for want of a {node.divided} of their own: there may be more such")
        elif not (self._covered(node) or self._proven(node)):
            other = " or with another one" if node.divided == node.window.keys.kind else ""
            some = f"answers without a {node.divided}{other} are in none of its parts"
            self._tell(f"{node.window}: {some}, and there may be such")
        return []

    @staticmethod
    def _covered(node: _Node) -> bool:
        """Whether its parts hold all that the window does: one of dates holds nothing without a date.

        A list of kinds is never known to be all, and no range holds what is empty (PS3.4 C.2.2.2.5).
        """
        key = node.divided
        asked = key in node.window.elements() or bool(node.query.identifier.get(key))
        return asked and key != node.window.keys.kind

    def _proven(self, node: _Node) -> bool:
        """Whether the window's own answers were all, by what its parts showed."""
        return not node.more and node.outcome.failure is None and node.outcome.count not in self._caps

    def _learn(self, cap: int) -> None:
        """The peer has stopped at so many answers."""
        if cap >= LEAST_CAP:
            self._caps.add(cap)

    def _tell(self, reason: str) -> None:
        if len(self._told.capped) < FEW:
            self._told.capped.append(reason)
        else:
            self._left_out += 1

    def _end(self) -> None:
        if self._left_out:
            self._told.capped.append(f"{self._left_out} more such windows")
        self._told.status = self._refused or Status(SUCCESS, "C-FIND")
