"""What observers of associations are told: events, in the order in which they happen on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..dimse import messages as m


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What every event says: the association's number in this process, when (seconds of the epoch), the peer.

    `peer` is `TITLE@host:port` as far as it is known; `requestor` whether it is we who asked for the
    association.
    """

    number: int
    at: float
    peer: str
    requestor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEvent(Observed):
    """An association was accepted, with so many of the presentation contexts proposed."""

    accepted: int
    proposed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedEvent(Observed):
    """The connection is gone. Bytes are those of the wire, without TLS; messages are counted by name.

    `opened` tells whether there was an association; `outcome` how it ended: released, rejected, aborted
    (by either side) or lost. `reason` is the error of ours that users are told, None for a release.
    """

    seconds: float
    opened: bool
    outcome: str
    reason: str | None
    bytes_received: int
    bytes_sent: int
    received: Mapping[str, int]
    sent: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PduEvent(Observed):
    """A PDU, `length` as its header says it. `body` is None for a P-DATA-TF; it may hold a passcode."""

    sent: bool
    name: str
    length: int
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent(Observed):
    """A DIMSE command set; `message` is None, and `problem` says why, where it cannot be read.

    `abstract_syntax` is that of its context, where that is known.
    """

    sent: bool
    context_id: int
    abstract_syntax: str | None
    message: m.Message | None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent(Observed):
    """A request and its final response: how long it took, and the bytes of data sets it moved either way.

    `sent` tells that the request is ours. The C-STOREs of a C-GET are requests of their own.
    """

    sent: bool
    name: str
    message_id: int
    abstract_syntax: str | None
    status: int
    seconds: float
    data_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesEvent(Observed):
    """Bytes as they went over the wire, for observers with a true `wants_bytes`. The view is lent."""

    sent: bool
    data: memoryview = field(repr=False)


Event = OpenedEvent | EndedEvent | PduEvent | MessageEvent | RequestEvent | BytesEvent
Observer = Callable[[Event], object]
"""Called in the event loop for each event, in order; it must not block. What it raises is logged once."""


def name_of(message: m.Message) -> str:
    """A message as PS3.7 calls it: ``C-FIND-RQ``."""
    return _NAMES[type(message)]


def service_name(kind: type[m.Message]) -> str:
    """The service of a kind of message: ``C-FIND``."""
    return _NAMES[kind].rpartition("-")[0]


def _standard_name(kind: type[m.Message]) -> str:
    name = kind.__name__
    service = name.removesuffix("RQ").removesuffix("RSP")
    words = "EVENT-REPORT" if service == "NEventReport" else service[1:].upper()
    return f"{service[0]}-{words}-{'RQ' if name.endswith('RQ') else 'RSP'}"


_NAMES: dict[type[m.Message], str] = {kind: _standard_name(kind) for kind in m.MESSAGES.values()}
