"""How an association ended, as the error its users are told."""

from __future__ import annotations

import ssl

from ..pdu.errors import AiodicomError, ConnectionClosed, RemoteProtocolError
from ..pdu.types import AAssociateRJ
from .errors import AssociationAborted, AssociationRejected, NotDicomPeer, TLSFailed
from .tls import describe_tls_error
from .transport import Connection


def rejected(answer: AAssociateRJ) -> AssociationRejected:
    """The error of an A-ASSOCIATE-RJ, with what to do about it."""
    advice = {
        (1, 3): "the peer does not know our calling AE title: have it registered there, or use --calling",
        (1, 7): "the peer does not go by this called AE title (check its spelling and case, or use --called)"
        " or, as dcmqrscp, does not know our calling one",
        (3, 1): "the peer is busy: try again later",
        (3, 2): "the peer has as many associations as it takes: try again later",
    }.get((answer.source, answer.reason), "")
    return AssociationRejected(answer.result, answer.source, answer.reason, advice)


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
