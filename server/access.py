"""Who may associate, and as whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ..association.tls import TLSInfo
from ..pdu.types import AAssociateRJ, AAssociateRQ, Rejection, UserIdentityAC, UserIdentityRQ


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a peer that asks for an association."""

    address: str
    request: AAssociateRQ
    tls: TLSInfo | None

    @property
    def calling_ae(self) -> str:
        """The calling AE title."""
        return self.request.calling_ae


IdentityHook = Callable[[UserIdentityRQ, Caller], Awaitable[UserIdentityAC | AAssociateRJ | None]]
"""Judges a user identity (PS3.7 D.3.3.7): an answer or None accepts, a rejection rejects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """None lets everyone pass.

    called_ae: titles we go by. calling_ae: titles that may call. addresses: networks ("10.0.0.0/8") or
    addresses they may call from. tls_subjects: subjects of client certificates, as `TLSInfo.peer_subject`
    says them; needs a TLS context that asks for a certificate. identity: judges the user identity;
    require_identity rejects a peer that offers none.

    >>> access = aiodicom.Access(called_ae=["ARCHIVE"], addresses=["127.0.0.0/8"])
    >>> async with aiodicom.serve_archive(OUT, port=0, access=access) as server:
    ...     for title in ("ARCHIVE", "OTHER"):
    ...         print(await aiodicom.test_connection(HOST, server.port, called_ae=title))
    True
    False
    """

    called_ae: Collection[str] | None = None
    calling_ae: Collection[str] | None = None
    addresses: Collection[str] | None = None
    tls_subjects: Collection[str] | None = None
    identity: IdentityHook | None = None
    require_identity: bool = False

    def __post_init__(self) -> None:
        """See that the addresses are some. Raises ValueError."""
        _networks(tuple(self.addresses or ()))

    def check(self, caller: Caller) -> AAssociateRJ | None:
        """The rejection for a caller, or None. The standard has no reason for an address or a certificate."""
        found = self._judged(caller)
        return None if found is None else found[0]

    def why(self, caller: Caller) -> str:
        """Why `check` rejects a caller, for the log of the server; "" when it does not."""
        found = self._judged(caller)
        return "" if found is None else found[1]

    def _judged(self, caller: Caller) -> tuple[AAssociateRJ, str] | None:
        called, calling = caller.request.called_ae, caller.calling_ae
        if not self.allows(caller.address):
            return Rejection.NO_REASON, "its address may not connect"
        if self.tls_subjects is not None:
            subject = None if caller.tls is None else caller.tls.peer_subject
            if subject not in self.tls_subjects:
                return Rejection.NO_REASON, f"its certificate's subject may not connect: {subject!r}"
        if self.called_ae is not None and called not in self.called_ae:
            return Rejection.CALLED_AE_NOT_RECOGNIZED, f"we do not go by the called AE title {called!r}"
        if self.calling_ae is not None and calling not in self.calling_ae:
            return Rejection.CALLING_AE_NOT_RECOGNIZED, f"the calling AE title {calling!r} may not associate"
        if self.require_identity and caller.request.user_information.user_identity is None:
            return Rejection.NO_REASON, "it offers no user identity"
        return None

    def allows(self, address: str) -> bool:
        """Whether a peer may call from an address, as far as that is looked at."""
        return self.addresses is None or _is_in(address, tuple(self.addresses))


@lru_cache(maxsize=1024)  # asked for each object of a move
def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        found = ip_address(address.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in _networks(networks))


def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text, strict=False) for text in texts]


def blank_title(request: AAssociateRQ) -> AAssociateRJ | None:
    """AE titles that cannot be anybody's are rejected whoever may call (PS3.8 9.3.2)."""
    for title, rejection in (
        (request.called_ae, Rejection.CALLED_AE_NOT_RECOGNIZED),
        (request.calling_ae, Rejection.CALLING_AE_NOT_RECOGNIZED),
    ):
        if not title or any(not " " <= c <= "~" or c == "\\" for c in title):
            return rejection
    return None
