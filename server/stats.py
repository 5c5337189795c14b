"""What a server has done since it was made, counted where it happens; a `ServerStats` is a moment of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..association.errors import AssociationAborted, AssociationRejected, TimeoutExpired
from ..association.observing import service_name
from ..association.transport import Connection
from ..dimse import messages as m
from ..pdu.errors import AiodicomError, ConnectionClosed
from .connections import Connections

OUTCOMES = ("released", "rejected", "aborted", "timeout", "failed")
"""How associations end: "aborted" by either side or with the connection, "timeout" by a limit in seconds,
"failed" by whatever else broke the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """What a server has done; made by `Server.stats`.

    `seconds` is how long it has been there. `pending` connections have no association yet, `associations` are
    open now; all else has been counted since the beginning: `connections` that came, associations `accepted`,
    and `ended` by how (`OUTCOMES`); `requests` of peers by service and final status (``("C-STORE", 0)``);
    `limits` by which a connection or an association was refused or ended, as `ServerLimits` names them;
    bytes of the wire, without TLS.
    `queue_depth` counts objects that came whole and are not safe yet.
    """

    seconds: float
    pending: int
    associations: int
    queue_depth: int
    connections: int
    accepted: int
    ended: Mapping[str, int]
    requests: Mapping[tuple[str, int], int]
    limits: Mapping[str, int]
    bytes_received: int
    bytes_sent: int


@dataclass(slots=True)
class Tally:
    """The counters of one server, of its event loop alone."""

    accepted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    _live: set[Connection] = field(default_factory=set)
    _received: int = 0  # by connections that are gone
    _sent: int = 0

    def begin(self, connection: Connection) -> None:
        """Count the bytes of a connection, until `end`."""
        self._live.add(connection)

    def end(self, connection: Connection) -> None:
        """It is gone, or never came to be. May be called again."""
        if connection in self._live:
            self._live.remove(connection)
            self._received += connection.bytes_received
            self._sent += connection.handed

    def answered(self, command_field: int, status: int) -> None:
        """A request has its final response. All that a peer makes up is one kind."""
        kind = m.REQUESTS.get(command_field)
        self.requests["unknown" if kind is None else service_name(kind), status] += 1

    def over(self, error: AiodicomError | None) -> None:
        """An association, or the attempt at one, has ended."""
        self.ended[outcome_of(error)] += 1
        if isinstance(error, TimeoutExpired) and error.limit:
            self.limits[f"{error.limit}_timeout"] += 1

    def moment(self, seconds: float, connections: Connections, queue_depth: int) -> ServerStats:
        """What stands here and there, as one value."""
        return ServerStats(
            seconds=seconds,
            pending=len(connections.pending),
            associations=len(connections.open),
            queue_depth=queue_depth,
            connections=connections.total,
            accepted=self.accepted,
            ended={name: self.ended[name] for name in OUTCOMES},
            requests=dict(self.requests),
            limits=dict(self.limits),
            bytes_received=self._received + sum(one.bytes_received for one in self._live),
            bytes_sent=self._sent + sum(one.handed for one in self._live),
        )


def outcome_of(error: AiodicomError | None) -> str:
    """One of `OUTCOMES`."""
    if error is None:
        return "released"
    if isinstance(error, AssociationRejected):
        return "rejected"
    if isinstance(error, TimeoutExpired):
        return "timeout"
    return "aborted" if isinstance(error, AssociationAborted | ConnectionClosed) else "failed"
