"""Which connections a server has, and how far each has come."""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from typing import Protocol

from ..association.association import Association


class Phase(Enum):
    """How far a connection has come."""

    ACCEPTED = auto()
    """TCP accepted: TLS, where there is TLS, is under way."""
    CONNECTED = auto()
    """The A-ASSOCIATE-RQ is awaited."""
    OPEN = auto()
    """The association is being judged, or established."""
    LINGERING = auto()
    """The association is over, its connection still open."""
    GONE = auto()


class Connected(Protocol):
    """One connection, as it is counted."""

    origin: str
    phase: Phase
    association: Association | None

    def keys(self) -> tuple[str, ...]:
        """What an open association is counted under."""

    def drop(self) -> None:
        """Close it now."""


class Connections:
    """The connections of one server, oldest first in each group; `enter` alone moves one on."""

    def __init__(self) -> None:
        self.pending: dict[Connected, None] = {}
        """Without an association."""
        self.open: dict[Connected, None] = {}
        self.lingering: dict[Connected, None] = {}
        self.counts: Counter[str] = Counter()
        """Open associations by address and by AE title."""
        self.total: int = 0
        """Connections that ever came."""
        self._groups = {
            Phase.ACCEPTED: self.pending,
            Phase.CONNECTED: self.pending,
            Phase.OPEN: self.open,
            Phase.LINGERING: self.lingering,
        }

    def enter(self, connection: Connected, phase: Phase) -> None:
        """The connection has come to this phase."""
        before, after = self._groups.get(connection.phase), self._groups.get(phase)
        if before is not after and before is not None and connection in before:
            del before[connection]
            if before is self.open:
                self.counts.subtract(connection.keys())
                self.counts += Counter()  # what is zero goes
        connection.phase = phase
        if after is not None and connection not in after:
            after[connection] = None
            self.total += after is self.pending
            if after is self.open:
                self.counts.update(connection.keys())

    @property
    def associations(self) -> list[Association]:
        """The associations of all of them, those included that are beginning or ending."""
        everyone = (*self.pending, *self.open, *self.lingering)
        return [one.association for one in everyone if one.association is not None]

    def __len__(self) -> int:
        return len(self.pending) + len(self.open) + len(self.lingering)

    def make_room(self, limit: int, *, full: bool = False) -> str | None:
        """See that one more connection without an association fits.

        What has ended and lingers goes first, then the oldest of the address that has most of them: who opens
        connections and says nothing must not keep others out. The address that lost one in that way, "" when
        there was room, None when the limit lets none in at all. full: there is none for any connection.
        """
        if not full and len(self.pending) + len(self.lingering) < limit:
            return ""
        if self.lingering:
            next(iter(self.lingering)).drop()
            return ""
        if not self.pending:
            return None
        [(crowd, _)] = Counter(one.origin for one in self.pending).most_common(1)
        next(one for one in self.pending if one.origin == crowd).drop()
        return crowd
