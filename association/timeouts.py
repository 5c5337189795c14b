"""The time limits of a client, in seconds. None switches one off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Each limit has a name, a default, and an error of its own.

    connect: name resolution, TCP connection and TLS handshake together (ConnectTimeout).
    association: from the A-ASSOCIATE-RQ to its answer, and from the A-RELEASE-RQ to its (AssociationTimeout).
    inactivity: while an operation runs, how long nothing may move in either direction (InactivityTimeout).
    nearline: the same, while objects are retrieved that the peer says are not ONLINE: it fetches them first.
    total: one whole operation (TotalTimeout); off by default, for a big study takes as long as it takes.
    artim: how long a peer may keep the connection open after the association has ended (PS3.8 9.1.5).
    busy: how long a rejection that may pass (PS3.8 9.3.4, result 2) is answered by asking again.
    cancel: how long a peer may take to end an operation after C-CANCEL before it is aborted.

    >>> patient = aiodicom.Timeouts(inactivity=300, nearline=3600)
    >>> pacs = aiodicom.connect(HOST, PORT, timeouts=patient)
    """

    connect: float | None = 10.0
    association: float | None = 30.0
    inactivity: float | None = 60.0
    nearline: float | None = 900.0
    total: float | None = None
    artim: float = 2.0
    busy: float = 3.0
    cancel: float = 5.0

    def silence(self, *, away: bool) -> float | None:
        """How long nothing may move while objects are retrieved; `away`: some of which are not ONLINE."""
        if not away or self.inactivity is None:
            return self.inactivity
        return None if self.nearline is None else max(self.inactivity, self.nearline)
