"""Options of a client that are one of a few words, checked when they are given."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from .receiving import Durability

K = TypeVar("K")


def check_durability(word: Durability) -> Durability:
    """The word itself. Raises ValueError for another."""
    if word not in get_args(Durability):
        raise ValueError(f"durability is one of {', '.join(get_args(Durability))}, not {word!r:.40}")
    return word


def check_keep(keep: K) -> K:
    """Which items are listed, as it was given. Raises ValueError for what is no choice."""
    chosen: Any = keep
    if not callable(chosen) and chosen not in ("all", "failed"):
        raise ValueError(f'items is "all", "failed" or a callable, not {keep!r:.40}')
    return keep
