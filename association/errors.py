"""What a user of an association can meet; the docstring of `aiodicom` draws the whole tree."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from enum import StrEnum

from ..dimse.status import Status
from ..pdu.errors import AiodicomError, describe_abort, describe_rejection


class Cause(StrEnum):
    """What of ours is to be changed, where an error or a diagnosis points at it."""

    CALLING_AE = "the calling AE title"
    CALLED_AE = "the called AE title"
    TLS = "TLS"
    TRUST = "what is trusted"
    CERTIFICATE = "our certificate"
    HOST_NAME = "the host name"
    TLS_PROFILE = "the TLS profile"


class ConnectFailed(AiodicomError):
    """No transport connection came about."""


class HostUnknown(ConnectFailed):
    """The host's name does not resolve."""


class ConnectionRefused(ConnectFailed):
    """Nobody listens at the address, or it cannot be reached."""


class TLSFailed(ConnectFailed):
    """The TLS handshake failed."""


class AssociationRejected(AiodicomError):
    """The peer rejected the association (PS3.8 9.3.4)."""

    def __init__(
        self, result: int, source: int, reason: int, advice: str = "", cause: Cause | None = None
    ) -> None:
        text = f"association {describe_rejection(result, source, reason)}"
        super().__init__(f"{text}; {advice}" if advice else text)
        self.result = result
        self.source = source
        self.reason = reason
        self.cause = cause

    @property
    def transient(self) -> bool:
        """Whether trying again later may help."""
        return self.result == 2


class AssociationAborted(AiodicomError):
    """The association ended by A-ABORT. `by_peer` says who sent it."""

    def __init__(self, message: str, *, by_peer: bool, source: int = 0, reason: int = 0) -> None:
        super().__init__(message)
        self.by_peer = by_peer
        self.source = source
        self.reason = reason

    @classmethod
    def received(cls, source: int, reason: int) -> AssociationAborted:
        """The error of an A-ABORT that came in."""
        return cls(
            f"the peer aborted the association ({describe_abort(source, reason)})",
            by_peer=True,
            source=source,
            reason=reason,
        )


class NotDicomPeer(AssociationAborted):
    """The peer answers in another protocol: `spoken` names it."""

    def __init__(self, message: str, spoken: str) -> None:
        super().__init__(message, by_peer=False)
        self.spoken = spoken


class AssociationEnded(AiodicomError):
    """The association was released, so nothing more can be sent on it."""


class TimeoutExpired(AiodicomError, TimeoutError):
    """A time limit ran out: `limit` names it as `Timeouts` does ("idle", "pdu" and "message" are a server's
    own, `ServerLimits`), `seconds` is how long it is.
    """

    def __init__(self, message: str, *, limit: str = "", seconds: float | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.seconds = seconds


class ConnectTimeout(TimeoutExpired):
    """Connecting, TLS handshake included, took longer than `Timeouts.connect`."""


class AssociationTimeout(TimeoutExpired):
    """The answer to the A-ASSOCIATE-RQ or the A-RELEASE-RQ took longer than `Timeouts.association`."""


class InactivityTimeout(TimeoutExpired):
    """Nothing moved for `Timeouts.inactivity` while an operation ran."""


class TotalTimeout(TimeoutExpired):
    """An operation took longer than `Timeouts.total`."""


class ContextNotAccepted(AiodicomError):
    """No accepted presentation context carries what was asked: `abstract_syntax` is its UID, `refused` says
    what became of each context proposed for it.
    """

    def __init__(self, what: str, refused: Iterable[str] = (), *, abstract_syntax: str = "") -> None:
        self.abstract_syntax = abstract_syntax
        self.refused: tuple[str, ...] = tuple(refused)
        details = "; ".join(self.refused)
        super().__init__(f"no presentation context for {what}" + (f": {details}" if details else ""))


class OperationFailed(AiodicomError):
    """The peer's final status is no success. `comment` is what it says of it, `advice` what we do."""

    def __init__(
        self, service: str, status: int, comment: str | None = None, *, advice: str | None = None
    ) -> None:
        self.service = service
        self.status: Status = Status(status, service)
        self.comment = comment
        self.advice = advice
        text = f"{service} answered {self.status}" + (f" ({comment})" if comment else "")
        super().__init__(f"{text}; {advice}" if advice else text)


class OperationCancelled(OperationFailed):
    """The peer ended the operation with the status "cancelled"."""


def traced(error: BaseException) -> str:
    """What was raised and where, for a log line; not the error's own words, which may quote a data set."""
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"{type(error).__name__}\n{frames}" if frames else type(error).__name__
