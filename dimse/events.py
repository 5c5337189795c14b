"""What a session tells its user, besides the upper layer's own indications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..pdu.events import AbortIndication, AssociateIndication, ProviderAbort, RejectConfirmation
from ..pdu.types import AAssociateAC
from .contexts import Context
from .messages import Message


@dataclass(frozen=True, slots=True)
class Established:
    """The association is open; `contexts` are the accepted ones by id."""

    answer: AAssociateAC
    contexts: Mapping[int, Context]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A command set is whole. When `message.has_dataset`, its `DataReceived` events follow."""

    context: Context
    message: Message


class DataReceived:
    """A piece of the data set of the message last received.

    `data` is a view of what was given to `receive`, good until its next call. Not frozen, for one is made
    a fragment.
    """

    __slots__ = ("data", "last")

    def __init__(self, data: memoryview, last: bool) -> None:
        self.data: memoryview[int] = data
        self.last: bool = last

    def __repr__(self) -> str:
        return f"DataReceived({len(self.data)} bytes, last={self.last})"


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The session answered a request with a failure by itself; its data set, if any, is dropped."""

    context: Context
    command_field: int
    status: int
    comment: str


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer asked for release; the session has answered."""


@dataclass(frozen=True, slots=True)
class Released:
    """The release we asked for is confirmed."""


SessionEvent = (
    AssociateIndication
    | RejectConfirmation
    | Established
    | MessageReceived
    | DataReceived
    | RequestRefused
    | ReleaseRequested
    | Released
    | AbortIndication
    | ProviderAbort
)
