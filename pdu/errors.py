"""What can go wrong in the protocol, and whose fault it is.

Every package adds its own below `AiodicomError`; the docstring of `aiodicom` draws the whole tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


class AiodicomError(Exception):
    """Root of every error this package raises on purpose.

    `peer` names whom it happened with, as `ORTHANC@host:port`, where there is one. Pickled and copied, an
    error keeps its attributes.
    """

    peer: str = ""

    def at(self, peer: str) -> Self:
        """The error, naming the peer unless it names one already."""
        self.peer = self.peer or peer
        return self

    @property
    def text(self) -> str:
        """What happened, without the peer's name."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.peer}: {self.text}" if self.peer and self.peer not in self.text else self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[AiodicomError], args: tuple[Any, ...], attributes: dict[str, Any]) -> AiodicomError:
    """An error as it was: without its `__init__`, whose arguments are not those of `Exception`."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class LocalProtocolError(AiodicomError):
    """Our own side asked for something the standard forbids here. Nothing was sent."""


class RemoteProtocolError(AiodicomError):
    """The peer broke the protocol.

    `reason` is what an A-ABORT of the service provider says of it (PS3.8 Table 9-26); `spoken` the
    protocol a peer speaks whose bytes are no PDU ("TLS", "HTTP"), where that can be told.
    """

    def __init__(self, message: str, *, reason: int = 0, spoken: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.spoken = spoken


class ConnectionClosed(AiodicomError):
    """The transport connection closed while an association was open."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """Something a peer sent that the standard does not allow but a receiver can live with.

    `clause` names the place in the standard, for example ``PS3.8 9.3.2``.
    """

    clause: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.clause})"


class AbortReason:
    """Reasons of an A-ABORT whose source is the service provider (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
_ABORT_SOURCES = {0: "service user", 2: "service provider"}


def describe_abort(source: int, reason: int) -> str:
    """An A-ABORT's source and reason in words (PS3.8 9.3.8)."""
    who = _ABORT_SOURCES.get(source, f"reserved source {source}")
    if source == 0:  # the reason field is not significant then
        return who
    return f"{who}: {_ABORT_REASONS.get(reason, f'reserved reason {reason}')}"


def is_abort(source: int, reason: int) -> bool:
    """Whether an A-ABORT's source and reason are of PS3.8 9.3.8; the reason counts for source 2 alone."""
    return source == 0 or (source == 2 and reason in _ABORT_REASONS)


_REJECT_RESULTS = {1: "rejected permanently", 2: "rejected transiently"}
_REJECT_SOURCES = {1: "service user", 2: "service provider (ACSE)", 3: "service provider (presentation)"}
_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def describe_rejection(result: int, source: int, reason: int) -> str:
    """An A-ASSOCIATE-RJ's result, source and reason in words (PS3.8 Table 9-21)."""
    return (
        f"{_REJECT_RESULTS.get(result, f'unknown result {result}')}"
        f" by the {_REJECT_SOURCES.get(source, f'unknown source {source}')}:"
        f" {_REJECT_REASONS.get((source, reason), f'reserved reason {reason}')}"
    )


def is_rejection(result: int, source: int, reason: int) -> bool:
    """Whether an A-ASSOCIATE-RJ's result, source and reason are of PS3.8 Table 9-21."""
    return result in _REJECT_RESULTS and (source, reason) in _REJECT_REASONS


class DeviationLog(list[Deviation]):
    """Deviations of one peer, each kept once and `LIMIT` of them at most: it chooses how many it sends."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self._kept: set[Deviation] = set()  # searching the list for each would be quadratic

    def append(self, deviation: Deviation) -> None:
        """Keep a deviation that is new, while there is room."""
        if len(self) < self.LIMIT and deviation not in self._kept:
            self._kept.add(deviation)
            super().append(deviation)
