"""TLS contexts of the Secure Transport Connection Profiles, and TLS failures in words.

PS3.15 Annex B says which protocol versions and cipher suites a secure DICOM connection may use:

    "bcp195"                    B.12  BCP 195 RFC 8996, 9325: TLS 1.2 with the four suites RFC 9325 4.2
                                      recommends, and TLS 1.3
    "bcp195-modified"           B.13  the same with the longer list of suites B.13 names, no other
    "bcp195-non-downgrading"    B.10  (retired) BCP 195 RFC 7525 without TLS 1.0 and 1.1: DHE too,
                                      for peers that know no elliptic curves

What OpenSSL and Python lack of B.13: Camellia-GCM (optional since CP-2311), and AES-CCM under TLS 1.3,
whose suites Python cannot choose before 3.15: there OpenSSL's three are on in every profile, AES-GCM
with 128 and 256 bits and ChaCha20-Poly1305. The suites with an 8-byte tag (CCM_8) are named, but
OpenSSL 3 rates them under its security level 2 and leaves them out. A server offers no DHE: Python
has no way to give its parameters but a file. None of this weakens what is used.

Peers are verified by default on both sides. A context made here can be shared by any number of
connections; changing its files needs a new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ..pdu.errors import AiodicomError
from .tls_alert import AlertingContext

TLSProfile = Literal["bcp195", "bcp195-modified", "bcp195-non-downgrading"]
PEMSource = str | os.PathLike[str] | bytes
"""A path, or PEM data: bytes, or text that holds a ``-----BEGIN`` line."""
Password = str | bytes | Callable[[], str | bytes]

_RFC9325 = (  # RFC 9325 4.2, the recommended suites of TLS 1.2
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
PROFILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bcp195": _RFC9325,
        "bcp195-modified": (
            *_RFC9325,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES256-CCM",
            "ECDHE-ECDSA-AES256-CCM8",
            "ECDHE-ECDSA-AES128-CCM",
            "ECDHE-ECDSA-AES128-CCM8",
        ),
        "bcp195-non-downgrading": (
            *_RFC9325,
            "DHE-RSA-AES256-GCM-SHA384",
            "DHE-RSA-AES128-GCM-SHA256",
        ),
    }
)
"""The cipher suites of TLS 1.2 each profile allows, by OpenSSL's names, strongest first."""


class TLSConfigurationError(AiodicomError, ValueError):
    """A key, certificate or trusted certificate is missing, unreadable or does not fit."""


# --- Contexts ----------------------------------------------------------------------------------


def client_context(
    key: PEMSource | None = None,
    cert: PEMSource | None = None,
    trusted: PEMSource | None = None,
    *,
    verify: bool = True,
    check_hostname: bool = True,
    profile: TLSProfile = "bcp195",
    password: Password | None = None,
) -> ssl.SSLContext:
    """A context for connections we open.

    `key` and `cert` (with its chain) are what we show a server that asks for a certificate; a `cert`
    that holds its key needs no `key`. `trusted` is a file, a folder or data of certificates to trust,
    those of authorities or of the very peers; without it the system's authorities are trusted.
    `check_hostname=False` still wants a trusted certificate, whatever name it bears, as
    archives are often reached by an address it does not name; `verify=False` takes any peer at all.

    >>> tls = aiodicom.client_context(trusted=CA)
    >>> pacs = aiodicom.connect("pacs.example", 2762, tls=tls)
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _apply_profile(context, profile)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = check_hostname
    if trusted is not None:
        _load_trusted(context, trusted)
    elif verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if cert is not None:
        _load_own(context, key, cert, password)
    elif key is not None:
        raise TLSConfigurationError("a key was given without its certificate")
    return context


def server_context(
    key: PEMSource | None,
    cert: PEMSource,
    trusted: PEMSource | None = None,
    *,
    require_client_certificate: bool | None = None,
    profile: TLSProfile = "bcp195",
    password: Password | None = None,
) -> ssl.SSLContext:
    """A context for connections we accept.

    With `trusted` clients must show a certificate it vouches for, unless `require_client_certificate`
    is False: then one that is shown is verified and none is good too. Each association authenticates
    anew: no session is resumed, so a certificate taken out of `trusted` ends with its context.

    >>> tls = aiodicom.server_context(KEY, CERT)
    >>> async with aiodicom.serve_archive(OUT, port=0, tls=tls) as server:
    ...     trusting = aiodicom.client_context(trusted=CA, check_hostname=False)
    ...     await aiodicom.test_connection(HOST, server.port, tls=trusting)
    True
    """
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    _apply_profile(context, profile)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
    context.num_tickets = 0
    if trusted is not None:
        _load_trusted(context, trusted)
        context.verify_mode = ssl.CERT_OPTIONAL if require_client_certificate is False else ssl.CERT_REQUIRED
    elif require_client_certificate:
        raise TLSConfigurationError("client certificates are required, but no trusted ones were given")
    _load_own(context, key, cert, password)
    return context


def _apply_profile(context: ssl.SSLContext, profile: str) -> None:
    if profile not in PROFILES:
        raise TLSConfigurationError(f"no TLS profile {profile!r}; there are {', '.join(PROFILES)}")
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996 2, RFC 9325 3.1.1
    # Level 2 wants RSA and DH of 2048 bits, curves of 224, no SHA-1 (B.13); distributions differ in theirs.
    context.set_ciphers(":".join(PROFILES[profile]) + ":@SECLEVEL=2")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # RFC 9325 3.3, 3.5


# --- Keys and certificates ---------------------------------------------------------------------


def _is_data(source: PEMSource) -> bool:
    return isinstance(source, bytes) or (isinstance(source, str) and "-----BEGIN" in source)


def _name(source: PEMSource | None, what: str) -> str:
    """How messages call a source: its path, never its content."""
    return f"the {what} given as data" if source is None or _is_data(source) else str(source)


def _read(source: PEMSource, what: str, label: str) -> str:
    """A source's text, refused when it is unreadable or holds no block of the kind `label`."""
    if isinstance(source, bytes):
        raw = source
    elif isinstance(source, str) and _is_data(source):
        raw = source.encode()
    else:
        try:
            raw = Path(source).read_bytes()
        except OSError as error:
            raise TLSConfigurationError(f"{what} {source}: {error.strerror or error}") from error
    text = raw.decode("latin-1")
    if "-----BEGIN" not in text:
        raise TLSConfigurationError(f"{what}: {_name(source, what)} is not in PEM format")
    if not re.search(rf"-----BEGIN [A-Z0-9 ]*{label}-----", text):
        raise TLSConfigurationError(f"{what}: {_name(source, what)} holds no {label.lower()}")
    return text


_CERTIFICATE = re.compile(r"-----BEGIN ([A-Z0-9 ]*CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


def _load_trusted(context: ssl.SSLContext, trusted: PEMSource) -> None:
    what = "trusted certificate"
    if isinstance(trusted, bytes) or _is_data(trusted) or not Path(trusted).is_dir():
        texts = [_read(trusted, what, "CERTIFICATE")]
    else:
        try:
            paths = [path for path in sorted(Path(trusted).iterdir()) if path.is_file()]
            texts = [path.read_text("latin-1") for path in paths]
        except OSError as error:
            raise TLSConfigurationError(f"{what} {trusted}: {error}") from error
    # The blocks alone: what stands around them may be in any encoding, and OpenSSL wants ASCII.
    blocks = [match[0] for text in texts for match in _CERTIFICATE.finditer(text)]
    if not blocks:
        raise TLSConfigurationError(f"{what}: {_name(trusted, what)} holds no certificate in PEM format")
    for block in blocks:
        try:
            context.load_verify_locations(cadata=block)
        except (ssl.SSLError, ValueError) as error:
            raise TLSConfigurationError(f"{what}: {_name(trusted, what)} is damaged: {error}") from error
    # What the user names is trusted as it is, a peer's own certificate or an intermediate one too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_own(
    context: ssl.SSLContext, key: PEMSource | None, cert: PEMSource, password: Password | None
) -> None:
    _read(cert, "certificate", "CERTIFICATE")
    _read(cert if key is None else key, "private key", "PRIVATE KEY")
    key_name, cert_name = _name(cert if key is None else key, "private key"), _name(cert, "certificate")

    asked = False

    def ask() -> str | bytes:
        nonlocal asked
        asked = True
        # Always given: OpenSSL would ask the terminal otherwise, and a server has none.
        if password is None:
            raise TLSConfigurationError(f"private key: {key_name} is encrypted and no password was given")
        return password() if callable(password) else password

    with _as_file(cert) as cert_path, _as_file(key) as key_path:
        assert cert_path is not None
        try:
            context.load_cert_chain(cert_path, key_path, ask)
        except ssl.SSLError as error:
            cause = _OWN_FAILURES.get(_reason(error))
            if cause is None and asked:  # what OpenSSL says of a wrong password is "PEM lib"
                cause = _OWN_FAILURES["BAD_DECRYPT"]
            if cause is None:
                raise TLSConfigurationError(f"{cert_name}, {key_name}: {error}") from error
            raise TLSConfigurationError(cause.format(key=key_name, cert=cert_name)) from error
        except OSError as error:
            raise TLSConfigurationError(f"{cert_name}, {key_name}: {error}") from error


_OWN_FAILURES = {
    "KEY_VALUES_MISMATCH": "the private key {key} does not belong to the certificate {cert}",
    "KEY_TYPE_MISMATCH": "the private key {key} does not belong to the certificate {cert}",
    "BAD_DECRYPT": "the password of the private key {key} is wrong",
    "BAD_PASSWORD_READ": "the password of the private key {key} is wrong",
    "EE_KEY_TOO_SMALL": "the key of the certificate {cert} is too short (RSA needs 2048 bits, PS3.15 B.13)",
    "CA_KEY_TOO_SMALL": "a key in the chain of {cert} is too short (RSA needs 2048 bits, PS3.15 B.13)",
    "CA_MD_TOO_WEAK": "the certificate {cert} is signed with too weak a hash",
}


@contextmanager
def _as_file(source: PEMSource | None) -> Iterator[str | None]:
    """A path to a source; data goes to a file only we can read, and only while the block runs."""
    if source is None:
        yield None
    elif not _is_data(source):
        assert not isinstance(source, bytes)
        yield os.fspath(source)
    else:
        assert isinstance(source, (str, bytes))
        import tempfile  # here alone: it brings all of shutil and its compressors

        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # mode 0600
            file.write(source.encode() if isinstance(source, str) else source)
            file.flush()
            yield file.name


# --- Failures in words -------------------------------------------------------------------------

_NOT_TLS = "TLS on one side only: the peer does not speak TLS on this port"
_NO_VERSION = "no TLS version in common with the peer (1.2 and 1.3 are allowed here)"
_NO_CIPHER = "no cipher suite in common with the peer"
_PEER_SAYS = "the peer refused our certificate: "
_WANTS_CERTIFICATE = "the peer requires a client certificate and none, or none it accepts, was given"
_UNTRUSTED = "the peer's certificate is not vouched for by a trusted one"

_REASONS = {
    # What came back is no TLS record.
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "BAD_RECORD_TYPE": _NOT_TLS,
    "NOT_SSL_RECORD": _NOT_TLS,
    "HTTP_REQUEST": "the peer speaks HTTP to this TLS port",
    "HTTPS_PROXY_REQUEST": "the peer speaks HTTP to this TLS port",
    # Versions and suites.
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "UNSUPPORTED_SSL_VERSION": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "TLSV1_ALERT_INAPPROPRIATE_FALLBACK": _NO_VERSION,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "NO_CIPHERS_AVAILABLE": _NO_CIPHER,
    "NO_SUITABLE_KEY_SHARE": _NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _NO_CIPHER + " and certificate",
    "NO_SHARED_SIGNATURE_ALGORITHMS": _NO_CIPHER + " and certificate",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NO_CIPHER + " that it finds strong enough",
    # The same alert says both things in TLS 1.2 (RFC 5246 7.2.2, 7.4.6).
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the peer refused the handshake: no cipher suite in common, or it requires a client certificate"
    ),
    # Our own certificate, in the peer's eyes.
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_NO_CERTIFICATE": _WANTS_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _PEER_SAYS + "it does not trust the authority that signed it",
    "SSLV3_ALERT_BAD_CERTIFICATE": _PEER_SAYS + "it is bad",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _PEER_SAYS + "it is of a kind or for a use it does not accept",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _PEER_SAYS + "it is revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _PEER_SAYS + "it has expired or is not yet valid",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _PEER_SAYS + "it does not know or accept it",
    "TLSV1_ALERT_ACCESS_DENIED": _PEER_SAYS + "access denied",
    "TLSV1_ALERT_DECRYPT_ERROR": _PEER_SAYS + "a signature in the handshake did not verify",
    "TLSV1_UNRECOGNIZED_NAME": "the peer does not know the host name it was called by",
    # The peer's certificate, in ours.
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer gave no client certificate, and one is required",
    "CERTIFICATE_VERIFY_FAILED": _UNTRUSTED,
    "DH_KEY_TOO_SMALL": "the peer's Diffie-Hellman key is too short",
    # The connection itself.
    "UNEXPECTED_EOF_WHILE_READING": "the peer closed the connection during TLS",
    "TLSV1_ALERT_USER_CANCELLED": "the peer cancelled the TLS handshake",
    "TLSV1_ALERT_INTERNAL_ERROR": "the peer's TLS failed (internal error)",
}

_VERIFY_CODES = {  # X509_V_ERR_*, as in OpenSSL's x509_vfy.h
    2: _UNTRUSTED,
    9: "the peer's certificate is not yet valid",
    10: "the peer's certificate has expired",
    18: _UNTRUSTED + " (it signed itself)",
    19: _UNTRUSTED + " (the authority it names is not among them)",
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    22: "the peer's chain of certificates is too long",
    23: "the peer's certificate is revoked",
    24: "an authority in the peer's chain of certificates is none",
    26: "the peer's certificate is not made for this use (server or client authentication)",
    28: "the peer's certificate is rejected for this use",
    62: "the peer's certificate is for another name",
    64: "the peer's certificate is for another address",
    66: "the key of the peer's certificate is too short",
    67: "a key in the peer's chain of certificates is too short",
    68: "the peer's certificate is signed with too weak a hash",
}


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason as a mnemonic; taken from the text when Python has no name for a newer one."""
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason)
    match = re.search(r"\[SSL(?:: (\w+))?\] (.*?) \(_ssl\.c", str(error))
    return (match[1] or match[2].upper().replace(" ", "_")) if match else ""


def describe_tls_error(exc: BaseException) -> str:
    """Why TLS failed, in words for a user or a log: a cause, no traceback, no patient data.

    Takes what a handshake or a later read raised (under TLS 1.3 a server's refusal of our
    certificate arrives only then), or an error such a one caused.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = exc
    while cause is not None and cause not in seen:  # the innermost TLS error names the reason best
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for found in seen:
        if isinstance(found, ssl.SSLError):
            return _describe_ssl(found)
    for found in seen:
        # asyncio and uvloop: ConnectionAbortedError("SSL handshake is taking longer than ...")
        if isinstance(found, TimeoutError) or "taking longer than" in str(found):
            return "the TLS handshake did not finish in time (does the peer speak TLS on this port?)"
        if isinstance(found, (ConnectionError, EOFError)):
            return (
                "the peer closed the connection during the TLS handshake"
                " (TLS on one side only, or a certificate that is missing or refused)"
            )
    return f"TLS failed: {str(exc) or type(exc).__name__}"


def _describe_ssl(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _VERIFY_CODES.get(error.verify_code)
        detail = error.verify_message.strip().rstrip(".")
        if words is None:
            return f"the peer's certificate was refused: {detail}"
        return f"{words}: {detail}" if detail else words
    if isinstance(error, ssl.SSLEOFError):
        return _REASONS["UNEXPECTED_EOF_WHILE_READING"]
    if isinstance(error, ssl.SSLZeroReturnError):
        return "the peer ended TLS"
    reason = _reason(error)
    known = _REASONS.get(reason)
    return known if known is not None else f"TLS failed: {reason.lower().replace('_', ' ') or error}"


# --- What a connection turned out to be ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """One connection's TLS: what was agreed, and who the peer proved to be.

    The peer's fields are None when it gave no certificate. When its certificate was not verified
    (`verify=False`) only the fingerprint is known: names nobody vouches for are worth nothing.
    """

    version: str
    """Such as ``TLSv1.3``."""
    cipher: str
    """OpenSSL's name of the suite."""
    cipher_bits: int
    verified: bool = False
    peer_subject: str | None = None
    """Such as ``CN=archive, O=Hospital``."""
    peer_issuer: str | None = None
    peer_names: tuple[str, ...] = ()
    """The DNS names and addresses the certificate is for (subjectAltName)."""
    peer_serial_number: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    peer_fingerprint: str | None = None
    """SHA-256 of the certificate, hexadecimal."""


def connection_info(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> TLSInfo:
    """What a finished handshake agreed on.

    `ssl_object` is ``transport.get_extra_info("ssl_object")``, of asyncio and of uvloop alike.
    """
    cipher, _, bits = ssl_object.cipher() or ("", "", 0)
    version = ssl_object.version() or ""
    encoded = ssl_object.getpeercert(binary_form=True)
    if encoded is None:
        return TLSInfo(version, cipher, bits)
    fingerprint = hashlib.sha256(encoded).hexdigest()
    decoded = ssl_object.getpeercert()
    if not decoded:  # CERT_NONE: Python gives {} for a certificate it was not to verify
        return TLSInfo(version, cipher, bits, peer_fingerprint=fingerprint)
    names = decoded.get("subjectAltName", ())
    serial = decoded.get("serialNumber")
    return TLSInfo(
        version,
        cipher,
        bits,
        verified=True,
        peer_subject=_distinguished_name(decoded.get("subject")),
        peer_issuer=_distinguished_name(decoded.get("issuer")),
        peer_names=tuple(str(name[1]) for name in names),
        peer_serial_number=None if serial is None else str(serial),
        not_before=_moment(decoded.get("notBefore")),
        not_after=_moment(decoded.get("notAfter")),
        peer_fingerprint=fingerprint,
    )


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
}


def _distinguished_name(rdns: object) -> str:
    """A decoded certificate's name as one line, the most specific part first (RFC 4514 2.1)."""
    assert isinstance(rdns, tuple)
    parts = [f"{_SHORT.get(name, name)}={_escaped(value)}" for rdn in reversed(rdns) for name, value in rdn]
    return ", ".join(parts)


def _escaped(value: str) -> str:
    """An attribute's value so that it cannot look like two (RFC 4514 2.4)."""
    text = re.sub(r'([,+"\\\\<>;=\x00])', r"\\\1", value)
    if text[:1] in ("#", " "):
        text = "\\" + text
    if text.endswith(" ") and len(text) > 1:
        text = text[:-1] + "\\ "
    return text


def _moment(text: object) -> datetime | None:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if isinstance(text, str) else None
