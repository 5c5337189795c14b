"""The peer's requests without their final response: how many there may be (PS3.7 D.3.3.3)."""

from __future__ import annotations

from ..pdu.errors import AbortReason, Deviation, DeviationLog, RemoteProtocolError
from . import messages as m
from .checks import MULTIPLE_RESPONSES
from .limits import OVER_LIMIT
from .status import DUPLICATE_INVOCATION, RESOURCE_LIMITATION


class Outstanding:
    """The requests of one peer that are being performed.

    The negotiated window is enforced for what a peer can make dear, queries and retrieves: one more is
    refused with 0213H. A C-STORE or C-ECHO over it costs no more than its answer, and is noted; `limit` holds
    for all.
    """

    def __init__(self, limit: int) -> None:
        self.requests: dict[int, tuple[int, int]] = {}
        """Context id and command field by message id."""
        self._limit = limit
        self._refused = 0  # in a row, for their number

    def refusal(self, request: m.Request, window: int, deviations: DeviationLog) -> tuple[int, str] | None:
        """Status and comment for a request that is one too many, or None.

        window: how many the peer may have outstanding, 0 for any number.

        Raises RemoteProtocolError (it goes on and on).
        """
        if request.message_id in self.requests:
            return DUPLICATE_INVOCATION, "message id in use"
        if len(self.requests) >= self._limit:
            return self._one_too_many("too many outstanding requests")
        if window and len(self.requests) >= window:
            if request.command_field in MULTIPLE_RESPONSES:
                return self._one_too_many("more requests outstanding than negotiated")
            deviations.append(Deviation("PS3.7 D.3.3.3", "more requests outstanding than negotiated"))
        self._refused = 0
        return None

    def _one_too_many(self, comment: str) -> tuple[int, str]:
        self._refused += 1
        if self._refused > OVER_LIMIT * self._limit:
            raise RemoteProtocolError(
                f"{self._refused} requests in a row over the limit of outstanding ones",
                reason=AbortReason.INVALID_PARAMETER,
            )
        return RESOURCE_LIMITATION, comment
