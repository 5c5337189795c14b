"""A conversation that is only listened to: bytes of either side to PDUs, rules over them, a summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field

from .dissect import Pdu, dissect, outcome
from .rulebook import Rule, RuleBook, Said
from .wire import ABORT, AC, DATA, RELEASE_RP, RJ, RQ

MAX_WATCHED = 64 * 1024 * 1024
"""Bytes of one conversation that are kept and judged; what follows is relayed, or passed over, unseen."""
HEADER = 6


@dataclass(slots=True)
class Deviation:
    """A rule that a PDU broke, who said it, and where it begins in what that side said."""

    rule: Rule
    way: str
    seconds: float
    offset: int


@dataclass(slots=True)
class Watched:
    """One connection; ">" is who called, "<" who was called."""

    name: str
    started: float = 0.0
    said: list[Said] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended: float = 0.0
    _tails: dict[str, bytearray] = field(default_factory=lambda: {">": bytearray(), "<": bytearray()})
    _taken: dict[str, int] = field(default_factory=lambda: {">": 0, "<": 0})
    _kept: int = 0
    _sound: int = sys.maxsize

    def feed(self, way: str, data: bytes, at: float) -> None:
        """Bytes of one side, in order."""
        self.ended = at
        self._kept += len(data)
        if self._kept > MAX_WATCHED:
            note = f"more than {MAX_WATCHED} bytes: the rest was not looked at"
            self.notes += [note] if note not in self.notes else []
            for tail in self._tails.values():
                tail.clear()  # we left off, not they
            return
        tail = self._tails[way]
        tail += data
        start = 0
        while len(tail) - start >= HEADER:
            size = HEADER + int.from_bytes(tail[start + 2 : start + HEADER], "big")
            if len(tail) - start < size:
                break
            self.said.append(Said(way, dissect(bytes(tail[start : start + size]))))
            self.times.append(at)
            self.offsets.append(self._taken[way])
            self._taken[way] += size
            start += size
        del tail[:start]

    def lose(self, way: str, missing: int, sound: int) -> None:
        """Bytes of a side are missing: nothing behind them is fed, the first `sound` PDUs are judged."""
        who = "caller" if way == ">" else "called"
        self.notes.append(f"{missing} bytes of the {who} are not in the capture: what is behind was not read")
        self._tails[way].clear()
        self._sound = min(self._sound, sound)

    def finish(self, at: float, unseen: Container[str] = ()) -> None:
        """Nothing more comes; `unseen` are the sides whose end was not seen, who may have said more."""
        self.ended = max(at, self.ended)
        for way, tail in self._tails.items():
            if tail:
                who, there = "the caller" if way == ">" else "the called", f"{len(tail)} bytes of it there"
                if way in unseen:
                    self.notes.append(f"the rest of a PDU of {who} is not in the capture, {there}")
                else:
                    self.notes.append(f"{who} stopped in the middle of a PDU, {there}")

    @property
    def dicom(self) -> bool:
        """Whether it looks like an association at all."""
        return any(one.pdu.kind == RQ and one.way == ">" for one in self.said[:4])  # captures mix the sides

    def deviations(self) -> list[Deviation]:
        """What either side said against a rule, in order."""
        found = [
            Deviation(rule, self.said[at].way, self.times[at] - self.started, self.offsets[at])
            for at, rule in RuleBook("both").judge(self.said[: self._sound])
        ]
        return sorted(found, key=lambda one: (one.seconds, one.offset))

    @property
    def ending(self) -> str:
        """How it ended, in a word."""
        for one in reversed(self.said):
            if one.pdu.kind in (RELEASE_RP, ABORT, RJ):
                return outcome(one.pdu.raw)
        return "accepted, not ended" if self._of(AC) else "not answered"

    def _of(self, kind: int) -> Pdu | None:
        return next((one.pdu for one in self.said if one.pdu.kind == kind), None)

    def summary(self) -> str:
        """One line: who, how long, how many PDUs, how it ended. No titles, no values."""
        kinds = Counter(one.pdu.name for one in self.said)
        answer = self._of(AC)
        accepted = sum(part.result == 0 for part in answer.contexts) if answer else 0
        proposed = self._of(RQ)
        contexts = f"{accepted} of {len(proposed.contexts) if proposed else 0} contexts"
        size = sum(len(one.pdu.raw) for one in self.said if one.pdu.kind == DATA)
        return (
            f"{self.name}: {self.ended - self.started:.3f} s, {contexts}, {kinds['P-DATA-TF']} P-DATA-TF"
            f" of {size} bytes, {self.ending}"
        )


def lines(watched: Watched) -> list[str]:
    """A conversation for a terminal: the summary, notes, and each deviation with its clause."""
    made = [watched.summary(), *(f"  note: {note}" for note in watched.notes)]
    for one in watched.deviations():
        who = "caller" if one.way == ">" else "called"
        made.append(
            f"  {one.seconds:8.3f} s {who} at byte {one.offset}: {one.rule.clause}: {one.rule.requirement}"
            f" [{one.rule.id}]"
        )
    return made
