"""The limits of a DIMSE session: each has a name, a default and a test."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..pdu.limits import PduLimits

OVER_LIMIT = 8


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a peer may make a session hold.

    `command_length`: bytes of one command set. `outstanding_requests`: requests of the peer that have not
    had their final response; one more is refused with 0213H, and `OVER_LIMIT` times as many refused in a
    row end the association. As many refusals wait for the end of a data set of ours; one more ends it too.

    >>> aiodicom.SessionLimits(outstanding_requests=16).outstanding_requests
    16
    """

    pdu: PduLimits = field(default_factory=PduLimits)
    command_length: int = 65536
    outstanding_requests: int = 64
