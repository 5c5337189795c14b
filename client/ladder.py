"""The ladder of a retrieve: one way after the other, each for less at a time, until all is here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from ..association.errors import (
    AssociationRejected,
    ConnectFailed,
    ConnectTimeout,
)
from ..dimse.levels import Level, QueryError, Root
from ..dimse.status import Category
from ..pdu.errors import AiodicomError
from .intake import Intake
from .plan import METHODS, Method, Plan
from .retrieved import RetrieveResult
from .rungs import Rung
from .web import WebFailed

Via = Literal["auto", "get", "move", "web"] | Sequence[Method]


class Way(Protocol):
    """A service that brings objects."""

    @property
    def service(self) -> str:
        """Its name."""

    def model(self, root: Root) -> str:
        """Its SOP class of a root."""

    async def fetch(self, plan: Plan) -> None:
        """Ask for all of a plan. Raises what ended an association."""


def parse_via(via: Via) -> tuple[tuple[Method, ...], bool]:
    """The services to try in order, and whether it is a ladder: other services and lower levels after a
    failure. Raises QueryError for what is none.
    """
    if via == "auto":
        return METHODS, True
    if isinstance(via, str):
        names: Iterable[Any] = (via,)
    else:
        names = tuple(via)
    chosen = tuple(name for name in names if name in METHODS)
    if not chosen or len(chosen) != len(tuple(names)) or len(set(chosen)) != len(chosen):
        raise QueryError(
            f'via is "auto", "get", "move", "web" or some of the last three in order, not {via!r}'
        )
    return chosen, not isinstance(via, str)


async def climb(
    ways: Sequence[Way],
    plan: Plan,
    intake: Intake[Any],
    note: Callable[[Rung], None],
    rooted: Callable[[Way, Plan], Awaitable[Plan]],
) -> None:
    """Try each way, at the plan's level first, then at those below it for what is missing, then the next.

    rooted: the plan in a root of the way's service.

    Raises the last error where nothing came at all.
    """
    result = intake.result
    for number, way in enumerate(ways):
        plan = await rooted(way, plan)
        level, left = plan.level, plan
        while True:
            rung = await _attempt(way, left, level, intake)
            done = _whole(result) or intake.over
            last = number == len(ways) - 1
            below = None if done or rung.denied or _hopeless(rung) else _below(level, left, rung)
            reason = "" if done else _reason(rung, result)
            note(replace(rung, reason=reason))
            if done or (below is None and last):
                result.service = way.service
                if rung.error is not None and not result.came:
                    raise rung.error
                return
            if below is None:
                break
            level = below
            left = plan.only(result.missing or (), level)
        if result.missing:
            plan = plan.only(result.missing)


async def _attempt(way: Way, plan: Plan, level: Level, intake: Intake[Any]) -> Rung:
    result = intake.result
    result.begin()
    result.service = way.service
    before, waiting, started = result.received, result.waiting, time.perf_counter()
    error: Exception | None = None
    try:
        await way.fetch(plan)
    except AiodicomError as ended:
        error = ended
        result.ended_by(ended)
    except OSError as ours:  # no port to listen on
        error = ours
    await intake.settle()
    seconds = time.perf_counter() - started
    received = result.received - before
    return Rung(way.service, level, waiting, received, result.status, error, "", seconds)


def _whole(result: RetrieveResult) -> bool:
    """Whether nothing is left to ask for."""
    return result.ok or (result.waiting == 0 and result.error is None and not result.capped)


def _hopeless(rung: Rung) -> bool:
    """Whether the same service would fail again whatever is asked for by it: nobody is there to ask."""
    if isinstance(rung.error, WebFailed):
        return not rung.error.asked
    return isinstance(rung.error, ConnectFailed | ConnectTimeout | AssociationRejected | QueryError)


def _below(level: Level, plan: Plan, rung: Rung) -> Level | None:
    """The level at which the same service is tried for what is missing; None where there is none left."""
    if plan.expected is None:
        return None  # it is not known what to ask for
    if level is Level.IMAGE:
        return level if rung.received else None  # as long as it brings something
    lower = Level.SERIES if level < Level.SERIES else Level.IMAGE
    known = all(target.series for target in plan.targets) if lower is Level.SERIES else True
    return lower if known else Level.IMAGE


def _reason(rung: Rung, result: RetrieveResult) -> str:
    """Why it did not do."""
    if rung.error is not None:
        return f"{type(rung.error).__name__}: {rung.error}"
    status = rung.status
    left = "" if not result.waiting else f"{result.waiting} of {rung.asked} missing"
    away = Counter(result.unavailable.values())
    left += "".join(f", {count} {word} at the peer" for word, count in sorted(away.items()))
    if status is not None and status.category is not Category.SUCCESS:
        comment = f" ({result.comment})" if result.comment else ""
        return f"answered {status}{comment}" + (f", {left}" if left else "")
    if left:
        return f"answered success, {left}"
    return "answered success, and not all it counted is here" if result.unaccounted else "nothing came"
