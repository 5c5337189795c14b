"""The peer's requests without their final response: how many there may be (PS3.7 D.3.3.3)."""

from __future__ import annotations

from ..pdu.errors import AbortReason, Deviation, DeviationLog, RemoteProtocolError
from . import messages as m
from .limits import OVER_LIMIT
from .status import DUPLICATE_INVOCATION, RESOURCE_LIMITATION


class Outstanding:
    """The requests of one peer that are being performed.

    One more than the negotiated window or our own `limit`, of whichever kind, is refused with 0213H.
    `lenient`: over the window it is noted only. So it is with the sub-operations of a C-GET, which refused
    would be objects lost that we asked for ourselves.
    """

    def __init__(self, limit: int, *, lenient: bool = False) -> None:
        self.requests: dict[int, tuple[int, int]] = {}
        """Context id and command field by message id."""
        self._limit = limit
        self._lenient = lenient
        self._refused = 0  # in a row, for their number

    def refusal(self, request: m.Request, window: int, deviations: DeviationLog) -> tuple[int, str] | None:
        """Status and comment for a request that is one too many, or None.

        window: how many the peer may have outstanding, 0 for any number. deviations: told of one over it.

        Raises RemoteProtocolError (it goes on and on).
        """
        if request.message_id in self.requests:
            return DUPLICATE_INVOCATION, "message id in use"
        if len(self.requests) >= self._limit:
            return self._one_too_many("too many outstanding requests")
        if window and len(self.requests) >= window:
            deviations.append(Deviation("PS3.7 D.3.3.3", "more requests outstanding than negotiated"))
            if not self._lenient:
                return self._one_too_many("more requests outstanding than negotiated")
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
