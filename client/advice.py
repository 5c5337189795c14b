"""The words of a diagnosis: what to do about what was found, and what of ours it points at."""

from __future__ import annotations

import ssl

from ..association.errors import Cause
from ..association.tls import describe_tls_error
from ..dimse.status import NOT_AUTHORIZED, SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION


def other_service(spoken: str) -> str:
    """The port speaks another protocol."""
    return f"the port belongs to another service ({spoken}): find the archive's DICOM port"


def rejected(calling: str, called: str) -> tuple[str, Cause | None]:
    """A rejection whose reason says nothing."""
    text = (
        f"it gives no usable reason; the usual ones: it does not know the calling AE title {calling!r} or our"
        f" address, or does not go by the called AE title {called!r}"
    )
    return text, None


def hung_up(calling: str) -> str:
    """The connection ended instead of an answer."""
    return (
        "a peer that ends the connection instead of answering often does not know the calling AE title"
        f" {calling!r} or our address: have us registered there"
    )


def echo(status: int) -> str:
    """An echo that failed on an open association."""
    if status == NOT_AUTHORIZED:
        return "the peer knows us but does not allow it: have our AE title given the right"
    if status in (SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION):
        return "the peer accepted the context and does not offer the service: it is misconfigured"
    return "the peer failed inside: its log tells why"


def is_tls_alert(error: ssl.SSLError) -> bool:
    """Whether a failed handshake shows a peer that speaks TLS: it sent an alert, or a certificate."""
    reason = str(error.reason or "")
    return isinstance(error, ssl.SSLCertVerificationError) or "ALERT" in reason or "TLSV1" in reason


def tls(error: BaseException) -> tuple[str, Cause | None]:
    """What to do about a failed handshake."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in (62, 64):
            text = "connect by a name in the certificate, or take it whatever host it names"
            return text, Cause.HOST_NAME
        if cause.verify_code in (9, 10):
            text = "check the clocks of both machines; otherwise the peer's certificate must be renewed"
            return text, None
        return "trust the authority of the peer's certificate, or the certificate itself", Cause.TRUST
    words = describe_tls_error(error)
    if "one side only" not in words and "certificate" in words:
        text = "give a certificate and key that the peer trusts, or have ours trusted there"
        return text, Cause.CERTIFICATE
    if "cipher" in words or "version" in words:
        text = "the peer's TLS is older or set up otherwise: try another profile, or have it updated"
        return text, Cause.TLS_PROFILE
    text = (
        "the port may not speak TLS at all: try without TLS; or it wants a certificate and key that it trusts"
    )
    return text, Cause.CERTIFICATE
