"""Opening a connection and an association on it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from ..dimse.contexts import Proposal, build_contexts
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.limits import SessionLimits
from ..dimse.session import Session
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.types import (
    AAssociateRQ,
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
    UserInformation,
)
from .association import Association
from .dialing import bare_host, check_port, dial, os_words, place
from .errors import ConnectionRefused, ConnectTimeout, TLSFailed
from .observing import Observer
from .performing import Provider
from .tasks import to_its_end
from .timeouts import Timeouts
from .tls import describe_tls_error
from .watchdog import Watch

WINDOW = AsyncOperationsWindow(16, 16)
"""Operations outstanding on one association, each way, that a client offers and an archive grants: while one
is being worked on the next is on its way."""
DEFAULT_CALLING_AE = "AIODICOM"
DEFAULT_CALLED_AE = "ANY-SCP"

# OpenSSL's closing handshake is given this long; a peer that never answers it must not hold us.
TLS_SHUTDOWN_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom to connect to and as whom; `tls` is an SSL context or None for a plain connection.

    `async_operations` offers an asynchronous operations window (PS3.7 D.3.3.3); None offers none. `observer`
    is told what happens on associations.
    """

    host: str
    port: int
    calling_ae: str = DEFAULT_CALLING_AE
    called_ae: str = DEFAULT_CALLED_AE
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    timeouts: Timeouts = Timeouts()
    limits: SessionLimits = SessionLimits()
    user_identity: UserIdentityRQ | None = None
    async_operations: AsyncOperationsWindow | None = None
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    lenient_roles: bool = True
    identifier_length: int = 4 * 1024 * 1024
    observer: Observer | None = None

    @property
    def name(self) -> str:
        """`TITLE@host:port`, as errors and log lines say it."""
        return f"{self.called_ae}@{place(self.host, self.port)}"

    def __post_init__(self) -> None:
        """The host of ``[::1]`` is ``::1``."""
        object.__setattr__(self, "host", bare_host(self.host))

    def request(self, proposals: Iterable[Proposal]) -> AAssociateRQ:
        """The A-ASSOCIATE-RQ that proposes these contexts.

        Raises LocalProtocolError over 128 contexts.
        """
        contexts, roles = build_contexts(proposals)
        return AAssociateRQ(
            called_ae=self.called_ae,
            calling_ae=self.calling_ae,
            presentation_contexts=contexts,
            user_information=UserInformation(
                maximum_length=self.limits.pdu.maximum_length,
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version_name=IMPLEMENTATION_VERSION_NAME,
                async_operations=self.async_operations,
                roles=roles,
                extended=self.extended,
                common_extended=self.common_extended,
                user_identity=self.user_identity,
            ),
        )


async def associate(
    peer: Peer, proposals: Iterable[Proposal], *, provider: Provider | None = None
) -> Association:
    """Connect and open an association; the caller releases or aborts it.

    Raises LocalProtocolError for what cannot be asked for, HostUnknown, ConnectionRefused, TLSFailed,
    ConnectTimeout, and what `Association.opened` raises.
    """
    try:
        check_port(peer.port)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None
    request = peer.request(proposals)
    session = Session(requestor=True, limits=peer.limits, lenient_roles=peer.lenient_roles)
    session.associate(request)
    association = Association(
        session,
        address=place(peer.host, peer.port),
        timeouts=peer.timeouts,
        watch=Watch(inactivity=peer.timeouts.inactivity),
        provider=provider,
        identifier_length=peer.identifier_length,
        observer=peer.observer,
    )
    try:
        await _connect(peer, association)
        await association.opened()
    except BaseException as error:
        if isinstance(error, AiodicomError):
            error.at(peer.name)
        association.abort_now()
        association.connection.close()  # nobody who gives up wants to wait for the peer to close
        await association.wait_gone()
        raise
    return association


async def _connect(peer: Peer, association: Association) -> None:
    """Resolve, connect and shake hands within `Timeouts.connect`."""
    loop = asyncio.get_running_loop()
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(peer.timeouts.connect):
            sock = await dial(peer.host, peer.port)
            hostname = (peer.server_hostname or peer.host) if peer.tls is not None else None
            opening = loop.create_connection(
                lambda: association.connection,
                sock=sock,
                ssl=peer.tls,
                server_hostname=hostname,
                ssl_handshake_timeout=peer.timeouts.connect if peer.tls is not None else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT if peer.tls is not None else None,
            )
            # not cancelled: uvloop would close the socket and tell its protocol nothing
            await (opening if peer.tls is not None else to_its_end(opening))
    except TimeoutError:
        what = "no TLS handshake" if sock is not None and peer.tls is not None else "no connection"
        text = f"{what} with {peer.name} within {peer.timeouts.connect} s"
        raise ConnectTimeout(text, limit="connect", seconds=peer.timeouts.connect) from None
    except ssl.SSLError as error:
        raise TLSFailed(f"TLS with {peer.name} failed: {describe_tls_error(error)}") from error
    except ConnectionError as error:
        if peer.tls is not None and sock is not None:
            raise TLSFailed(f"TLS with {peer.name} failed: {describe_tls_error(error)}") from error
        raise ConnectionRefused(f"no connection to {peer.name}: {os_words(error)}") from error
    except OSError as error:
        raise ConnectionRefused(f"no connection to {peer.name}: {os_words(error)}") from error
