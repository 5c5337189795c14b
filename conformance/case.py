"""A case: a clause, a requirement in own words, steps, and what may be seen. The registry has all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Level(StrEnum):
    """How much a requirement weighs."""

    SHALL = "shall"
    SHOULD = "should"
    ROBUST = "robust"
    INFO = "info"


class Effect(StrEnum):
    """What a case may do to a peer."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    HARSH = "harsh"
    STRESS = "stress"


class Verdict(StrEnum):
    """What became of a case."""

    PASS = "pass"  # noqa: S105
    NONSTRICT = "nonstrict"
    INFO = "info"
    NA = "n/a"
    FAIL = "fail"
    CRASH = "crash"
    HANG = "hang"
    UNSTABLE = "unstable"
    ERROR = "error"
    NOT_RUN = "not-run"


BAD = frozenset({Verdict.FAIL, Verdict.CRASH, Verdict.HANG, Verdict.UNSTABLE, Verdict.ERROR})
"""Verdicts that are findings whatever the options."""

PASS, NONSTRICT, INFORM = Verdict.PASS, Verdict.NONSTRICT, Verdict.INFO
EDITION = "2026b"
"""The edition of the standard whose clause numbers are cited."""

Steps = Callable[[Any], Awaitable[str]]
Accept = Mapping[str, Verdict]


class NotApplicableError(Exception):
    """Raised by steps when what a case needs is neither claimed nor negotiated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One requirement that one run can show broken.

    `accept` maps patterns of outcomes (fnmatch) to a verdict, the first that fits counts; what is not
    listed is a failure. `foils` name responders that fail it.
    """

    id: str
    role: str
    group: str
    level: Level
    clause: str
    requirement: str
    steps: Steps = field(repr=False)
    accept: Accept
    foils: tuple[str, ...] = ()
    effect: Effect = Effect.NONE
    version: int = 1

    def judge(self, outcome: str) -> Verdict:
        """The verdict on an outcome."""
        for pattern, verdict in self.accept.items():
            if any(fnmatchcase(outcome, one) for one in pattern.split(" ")):
                return verdict
        return Verdict.FAIL

    @property
    def expected(self) -> str:
        """The outcomes that pass, in words."""
        return " or ".join(
            pattern.replace(" ", " or ") + ("" if verdict is PASS else f" ({verdict})")
            for pattern, verdict in self.accept.items()
        )


REGISTRY: dict[str, Case] = {}
_ID = re.compile(r"^(scu:|any:)?(ps3\.\d+|kit)/[A-Za-z0-9.]+/[a-z0-9-]+$")


def register(case: Case) -> Case:
    """Add a case. Raises ValueError for an id that is taken or not formed as ids are."""
    if case.id in REGISTRY:
        raise ValueError(f"{case.id} is taken")
    if not _ID.match(case.id):
        raise ValueError(f"{case.id} is no id")
    REGISTRY[case.id] = case
    return case


def select(cases: Iterable[Case], expression: str) -> list[Case]:
    """The cases a SELECT names: `ps3.8/9.3.2`, `group:release`, `level:shall`, `effect:none`; "," and "!".

    Words without "!" add to each other, words with it take away; with only such, all others stay.
    """
    words = [word.strip() for word in expression.split(",") if word.strip()]
    wanted = [word for word in words if not word.startswith("!")]
    refused = [word[1:] for word in words if word.startswith("!")]
    return [
        case
        for case in cases
        if (not wanted or any(_fits(case, word) for word in wanted))
        and not any(_fits(case, word) for word in refused)
    ]


def _fits(case: Case, word: str) -> bool:
    key, colon, value = word.partition(":")
    if colon and key in ("group", "level", "effect", "role"):
        return fnmatchcase(str(getattr(case, key)), value)
    bare = case.id.partition(":")[2] if ":" in case.id and ":" not in word else case.id
    return bare == word or bare.startswith(word.rstrip("/") + "/") or fnmatchcase(bare, word)
