"""What was found out about why a peer cannot be used, step by step; made by `diagnose`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..association.errors import Cause
from ..pdu.errors import AiodicomError
from .results import ConnectionInfo


class Outcome(Enum):
    """How a step went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what was found, and, where it is not as it should be, the likely cause and what to do.

    `cause` is what of ours the advice points at.
    """

    name: str
    outcome: Outcome
    text: str
    advice: str = ""
    seconds: float = 0.0
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """The peer's answer to one presentation context: `text` is the transfer syntax, or why it was refused."""

    abstract_syntax: str
    name: str
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every step, in order. `error` is what an ordinary connection would have ended in."""

    host: str
    port: int
    steps: tuple[Step, ...]
    contexts: tuple[ContextAnswer, ...] = ()
    info: ConnectionInfo | None = None
    error: AiodicomError | None = None

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(step.outcome is not Outcome.FAILED for step in self.steps)
