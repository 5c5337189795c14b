"""All cases: the registry filled, and parts of it for whoever wants to run them from a test."""

from __future__ import annotations

from . import cases as _cases  # noqa: F401 - importing them registers what they hold
from . import conversation as _conversation  # noqa: F401
from . import rules as _rules  # noqa: F401
from .case import REGISTRY, Case, select
from .rulebook import RULES


def all_cases() -> list[Case]:
    """Every case of either role, in the order they are written in; rules are listed by `RULES`."""
    return list(REGISTRY.values())


def cases(expression: str = "", *, role: str = "scp") -> list[Case]:
    """The cases of a role that a SELECT names."""
    return select([case for case in all_cases() if case.role == role], expression)


def count() -> int:
    """How many cases and rules there are."""
    return len(all_cases()) + len(RULES)
