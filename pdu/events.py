"""What the upper layer tells its user: the indications and confirmations of PS3.8 clause 7."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import AiodicomError, describe_abort
from .reader import Fragment
from .types import AAssociateAC, AAssociateRJ, AAssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateIndication:
    """A peer asks for an association: answer with `accept` or `reject`."""

    request: AAssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateConfirmation:
    """The peer accepted our request."""

    answer: AAssociateAC


@dataclass(frozen=True, slots=True)
class RejectConfirmation:
    """The peer, or our own provider, rejected the association."""

    answer: AAssociateRJ


@dataclass(frozen=True, slots=True)
class ReleaseIndication:
    """The peer asks for release: answer with `release_response`.

    On a `collision` (both asked) the requestor answers at once, the acceptor after the confirmation.
    """

    collision: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseConfirmation:
    """The peer answered our release."""


@dataclass(frozen=True, slots=True)
class AbortIndication:
    """The peer aborted (A-ABORT, or A-P-ABORT when `source` is 2)."""

    source: int
    reason: int

    def __str__(self) -> str:
        return f"aborted by the peer, {describe_abort(self.source, self.reason)}"


@dataclass(frozen=True, slots=True)
class ProviderAbort:
    """Our own provider ended the association: the peer broke the protocol, or the connection went.

    `error` says what happened; `sent` whether an A-ABORT was sent for it.
    """

    error: AiodicomError
    reason: int
    sent: bool

    def __str__(self) -> str:
        return str(self.error)


Indication = (
    AssociateIndication
    | AssociateConfirmation
    | RejectConfirmation
    | ReleaseIndication
    | ReleaseConfirmation
    | AbortIndication
    | ProviderAbort
    | Fragment
)
