"""Passive rules: what holds of every PDU and conversation, whoever plays. They run over each active case too.

A rule says of one PDU, or of a conversation, whether it keeps it, breaks it, or gives it no opportunity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .dissect import Pdu, dissect, split
from .link import Entry

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7
Answer = bool | None


@dataclass(frozen=True, slots=True)
class Said:
    """A PDU with who said it: "<" is the peer that is judged, in a capture the acceptor."""

    way: str
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `judge` looks at the PDU at an index of a conversation, said by one side."""

    id: str
    clause: str
    requirement: str
    judge: Callable[[Sequence[Said], int], Answer]


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


def rule(id: str, clause: str, requirement: str, judge: Callable[[Sequence[Said], int], Answer]) -> None:
    """Register a rule."""
    assert id not in RULES, id
    RULES[id] = Rule(f"any:{id}", clause, requirement, judge)


def each(
    id: str, clause: str, requirement: str, kinds: Iterable[int], keeps: Callable[[Pdu], Answer]
) -> None:
    """A rule about single PDUs of some types."""
    wanted = frozenset(kinds)
    rule(
        id, clause, requirement, lambda said, at: keeps(said[at].pdu) if said[at].pdu.kind in wanted else None
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
        broken = []
        for name, count in self._counts.items():
            for index, one in enumerate(said):
                if self.role != "both" and one.way != "<":
                    continue
                kept = RULES[name].judge(said, index)
                if kept:
                    count.kept += 1
                elif kept is not None:
                    count.broken += 1
                    count.example = count.example or one.pdu.raw
                    broken.append((index, count.rule))
        return broken

    def verdicts(self) -> list[Ambient]:
        """Every rule with what was seen of it."""
        return list(self._counts.values())
