"""A server's TLS context whose refusals reach the peer.

asyncio and uvloop close a connection whose handshake failed without sending what OpenSSL has written for
the peer: a client without a certificate, or with one that has expired, never learns why. Here the alert is
sent (RFC 8446 6.2), straight to the socket, for there is no transport yet that would.
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextvars import ContextVar

log: logging.Logger = logging.getLogger("aiodicom.tls")

HANDSHAKING: ContextVar[socket.socket | None] = ContextVar("HANDSHAKING", default=None)
"""The socket whose handshake is about to begin; set by the listener, read when the handshake begins."""


class _Alerting(ssl.SSLObject):
    outgoing: ssl.MemoryBIO | None = None
    socket: socket.socket | None = None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._send_alert()
            raise

    def _send_alert(self) -> None:
        if self.socket is None or self.outgoing is None:
            return
        try:
            self.socket.send(self.outgoing.read())
        except OSError as error:
            log.debug("the alert could not be sent: %s", error)


class AlertingContext(ssl.SSLContext):
    """An `ssl.SSLContext` that sends the alert of a handshake that failed, where `HANDSHAKING` is set."""

    sslobject_class: type[ssl.SSLObject] = _Alerting

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the base class does, remembering where an alert must go."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Alerting)
        made.outgoing, made.socket = outgoing, HANDSHAKING.get()
        return made
