"""One attempt of a retrieve, as its report tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..association.errors import AssociationAborted, ContextNotAccepted
from ..dimse.levels import Level
from ..dimse.status import (
    MOVE_DESTINATION_UNKNOWN,
    NOT_AUTHORIZED,
    SOP_CLASS_NOT_SUPPORTED,
    UNRECOGNIZED_OPERATION,
    Status,
)
from .results import error_dict
from .web import WebFailed

NOT_HERE = frozenset(
    {SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION, NOT_AUTHORIZED, MOVE_DESTINATION_UNKNOWN}
)
"""Statuses that say that a service is not to be had here, whatever is asked for by it."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One attempt of a retrieve: by which service, at which level, and what came of it.

    `asked` is how many objects were missing before it (None where that is not known), `received` how many
    different ones it brought. `reason` says why the retrieve went on from it, "" when it was the last.
    """

    service: str
    level: Level
    asked: int | None
    received: int
    status: Status | None
    error: Exception | None
    reason: str
    seconds: float

    @property
    def refused(self) -> bool:
        """Whether the peer does not offer the service, or not to us; some (Orthanc) abort to say so."""
        denied = self.status is not None and int(self.status) in NOT_HERE
        aborted = isinstance(self.error, AssociationAborted) and self.error.by_peer
        refused = isinstance(self.error, WebFailed) and self.error.denied
        return not self.received and (
            denied or aborted or refused or isinstance(self.error, ContextNotAccepted)
        )

    @property
    def denied(self) -> bool:
        """Whether it was refused in a way that says that it always will be."""
        return self.refused and not isinstance(self.error, AssociationAborted)

    def to_dict(self) -> dict[str, Any]:
        """The attempt as plain values."""
        return {
            "service": self.service,
            "level": self.level.value,
            "asked": self.asked,
            "received": self.received,
            "status": None if self.status is None else int(self.status),
            "error": error_dict(self.error),
            "reason": self.reason,
            "seconds": self.seconds,
        }
