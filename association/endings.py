"""How an association ended, as the error its users are told."""

from __future__ import annotations

import ssl

from ..pdu.errors import AiodicomError, ConnectionClosed, RemoteProtocolError
from ..pdu.types import AAssociateRJ, AAssociateRQ
from .errors import AssociationAborted, AssociationRejected, Cause, NotDicomPeer, TLSFailed
from .tls import describe_tls_error
from .transport import Connection

_REJECTIONS: dict[tuple[int, int], tuple[str, Cause | None]] = {
    (1, 3): (
        "caller not registered: the peer does not know {calling!r}; have it registered there with our"
        " address, or call as a title it knows",
        Cause.CALLING_AE,
    ),
    (1, 7): (
        "wrong AE title: the peer is not {called!r}; check spelling and case. Where it is right, the peer may"
        " not know {calling!r}, as dcmqrscp then answers too",
        Cause.CALLED_AE,
    ),
    (3, 1): ("the peer is congested: try again later", None),
    (3, 2): ("the peer has as many associations as it takes: end others, or try again later", None),
}
"""By source and reason (PS3.8 Table 9-21), those whose cause leaves no doubt."""


def rejection_advice(source: int, reason: int, calling: str, called: str) -> tuple[str, Cause | None] | None:
    """What to do about a rejection, and what of ours it points at; None where the cause is not clear."""
    found = _REJECTIONS.get((source, reason))
    return None if found is None else (found[0].format(calling=calling, called=called), found[1])


def rejected(answer: AAssociateRJ, request: AAssociateRQ | None) -> AssociationRejected:
    """The error of an A-ASSOCIATE-RJ, with what to do about it."""
    calling, called = ("", "") if request is None else (request.calling_ae, request.called_ae)
    advice, cause = rejection_advice(answer.source, answer.reason, calling, called) or ("", None)
    return AssociationRejected(answer.result, answer.source, answer.reason, advice, cause)


def provider_error(error: AiodicomError, connection: Connection, *, unanswered: bool) -> AiodicomError:
    """The user's error for what our own provider ended the association for.

    `unanswered`: our A-ASSOCIATE-RQ has had no answer.
    """
    lost = connection.lost_error
    if isinstance(lost, ssl.SSLError):  # TLS 1.3 tells a client of its missing certificate only now
        return TLSFailed(describe_tls_error(lost))
    if isinstance(error, ConnectionClosed) and connection.silent_tls:
        return TLSFailed(  # asyncio's server, and others, hang up without an alert
            "the peer closed the connection right after the TLS handshake"
            " (it may require a client certificate, or refuse ours)"
        )
    if isinstance(error, ConnectionClosed) and unanswered:  # Orthanc and DCMTK on a TLS port say nothing
        return ConnectionClosed(f"{error} (TLS on one side only, or a peer that does not know us?)")
    if isinstance(error, RemoteProtocolError):
        if error.spoken is not None:
            return NotDicomPeer(str(error), error.spoken)
        return AssociationAborted(
            f"we aborted the association, the peer broke the protocol: {error}",
            by_peer=False,
            source=2,
            reason=error.reason,
        )
    return error
