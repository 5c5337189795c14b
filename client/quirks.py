"""What is known of a peer that it does not tell by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a peer differs from what the standard has it do.

    character_set: what its text is written in where an answer names no character set, none that exists, or
    one that its bytes are not of; several values with backslashes between (PS3.3 C.12.1.1.2).
    cancel: whether it bears a C-CANCEL; a query that is left early is aborted where it does not.
    cap: the number of answers beyond which it tells no more, where that is known.
    """

    character_set: str | None = None
    cancel: bool = True
    cap: int | None = None
