"""Passive rules: what holds of every PDU and conversation, whoever plays. They run over each active case too.

A rule says of one PDU, or of a conversation, whether it keeps it, breaks it, or gives it no opportunity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .dissect import Gathering, Pdu, command_set, dissect, split, us
from .link import Entry
from .wire import AC, DATA, RQ

Answer = bool | None


@dataclass(frozen=True, slots=True)
class Said:
    """A PDU with who said it: "<" is the peer that is judged, in a capture the acceptor."""

    way: str
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: its bytes, and its elements by their number."""

    raw: bytes
    fields: dict[int, bytes]


class Talk:
    """A conversation taken apart once: no question about a PDU takes longer for what came before it."""

    def __init__(self, said: Sequence[Said]) -> None:
        self.said = said
        self._places: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self._commands: dict[int, list[Command]] = {}
        self._asked: dict[tuple[str, int], int] = {}
        self._limits: dict[int, int] = {}
        self._accepted: frozenset[int] = frozenset()
        gathered = {">": Gathering(), "<": Gathering()}
        for at, one in enumerate(said):
            self._places[one.way, one.pdu.kind].append(at)
            if one.pdu.kind == DATA:
                self._gather(at, one, gathered[one.way])
        self._answer = min((at for way in "<>" for at in self._places[way, AC][:1]), default=len(said))
        if self._answer < len(said):
            contexts = said[self._answer].pdu.contexts
            self._accepted = frozenset(part.number for part in contexts if part.result == 0)

    def _gather(self, at: int, one: Said, gathering: Gathering) -> None:
        for raw in gathering.whole(one.pdu):
            found = Command(raw, command_set(raw))
            self._commands.setdefault(at, []).append(found)
            self._asked.setdefault((one.way, us(found.fields, 0x0110)), at)

    def commands(self, at: int) -> Sequence[Command]:
        """The command sets that end in the PDU at an index."""
        return self._commands.get(at, ())

    def asked(self, at: int, number: int, way: str) -> bool:
        """Whether a side sent a message of this id before the PDU at an index."""
        return self._asked.get((way, number), at) < at

    def before(self, at: int, kind: int, way: str) -> int | None:
        """The index of the last PDU of a kind that a side sent before the one at an index."""
        places = self._places[way, kind]
        found = bisect_left(places, at)
        return places[found - 1] if found else None

    def accepted(self, at: int) -> frozenset[int] | None:
        """The contexts of the answer that came before the PDU at an index; None where none did."""
        return self._accepted if self._answer < at else None

    def limit(self, at: int, way: str) -> int:
        """The maximum length that a side had told before the PDU at an index; 0 for none that counts."""
        place = self.before(at, RQ, way)
        place = self.before(at, AC, way) if place is None else place
        if place is None:
            return 0
        if place not in self._limits:
            self._limits[place] = self.said[place].pdu.max_pdu or 0
        return self._limits[place]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `judge` looks at the PDU at an index of a conversation, said by one side."""

    id: str
    clause: str
    requirement: str
    judge: Callable[[Talk, int], Answer]


@dataclass(slots=True)
class Ambient:
    """A rule's verdict over a run: how often it was kept and broken, and the first that broke it."""

    rule: Rule
    kept: int = 0
    broken: int = 0
    example: bytes = b""

    @property
    def verdict(self) -> str:
        """In a word: "violated", "seen" or "no opportunity"."""
        return "violated" if self.broken else "seen" if self.kept else "no opportunity"


RULES: dict[str, Rule] = {}


def rule(id: str, clause: str, requirement: str, judge: Callable[[Talk, int], Answer]) -> None:
    """Register a rule."""
    assert id not in RULES, id
    RULES[id] = Rule(f"any:{id}", clause, requirement, judge)


def each(
    id: str, clause: str, requirement: str, kinds: Iterable[int], keeps: Callable[[Pdu], Answer]
) -> None:
    """A rule about single PDUs of some types."""
    wanted = frozenset(kinds)
    rule(
        id,
        clause,
        requirement,
        lambda talk, at: keeps(talk.said[at].pdu) if talk.said[at].pdu.kind in wanted else None,
    )


def every(found: list[bool]) -> Answer:
    """Whether all hold; no answer where there was nothing to look at."""
    return all(found) if found else None


class RuleBook:
    """Counts the rules over many conversations; `role` says which side is judged, "both" in a capture."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._counts = {name: Ambient(found) for name, found in RULES.items()}

    def watch(self, entries: Iterable[Entry]) -> None:
        """Judge what a case heard, connection by connection."""
        talks: dict[int, list[Said]] = {}
        rest: dict[tuple[int, str], bytes] = {}
        for entry in entries:
            key = (entry.connection, entry.way)
            whole, rest[key] = split(rest.get(key, b"") + entry.raw)  # what was sent need not be one PDU
            talks.setdefault(entry.connection, []).extend(Said(entry.way, dissect(raw)) for raw in whole)
        for said in talks.values():
            self.judge(said)

    def judge(self, said: Sequence[Said]) -> list[tuple[int, Rule]]:
        """Judge a conversation; the indexes of PDUs that break a rule, with it."""
        broken, talk = [], Talk(said)
        for name, count in self._counts.items():
            for index, one in enumerate(said):
                if self.role != "both" and one.way != "<":
                    continue
                kept = RULES[name].judge(talk, index)
                if kept:
                    count.kept += 1
                elif kept is not None:
                    count.broken += 1
                    count.example = count.example or one.pdu.raw
                    broken.append((index, count.rule))
        return broken

    def add(self, counted: Iterable[Ambient]) -> None:
        """Count what was counted before."""
        for one in counted:
            mine = next(found for found in self._counts.values() if found.rule is one.rule)
            mine.kept, mine.broken = mine.kept + one.kept, mine.broken + one.broken

    def verdicts(self) -> list[Ambient]:
        """Every rule with what was seen of it."""
        return list(self._counts.values())
