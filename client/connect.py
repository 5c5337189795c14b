"""How a client begins: a peer by its address, or by its name in the file of nodes."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

from ..association.connect import WINDOW, Peer
from ..association.observing import Observer
from ..association.timeouts import Timeouts
from ..dimse.limits import SessionLimits
from ..pdu.errors import AiodicomError
from ..pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
)
from .nodes import find_node
from .pacs import Pacs
from .quirks import Quirks
from .web import DicomWeb


async def test_connection(host: str, port: int | None = None, **options: Any) -> bool:  # noqa: PT028
    """Whether a peer can be connected to and answers a C-ECHO: a plain yes or no, whatever goes wrong.

    `options` are those of `connect`.

    >>> await aiodicom.test_connection(HOST, PORT)
    True
    """
    try:
        async with connect(host, port, **options) as pacs:
            await pacs.echo()
    except AiodicomError:
        return False
    return True


test_connection.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test of a user's


_SAID = ("calling_ae", "called_ae", "tls", "timeouts", "limits", "user_identity")
"""What of a node a caller may say otherwise."""


def _described(
    host: str, port: int | None, dicomweb: DicomWeb | str | None
) -> tuple[Peer, Quirks, DicomWeb | None]:
    """What is known of a host, or of a node, before anything else is said but its DICOMweb address."""
    if isinstance(dicomweb, str):
        dicomweb = DicomWeb(url=dicomweb)
    if host.startswith("@"):
        node = find_node(host)
        peer = node.peer()
        return peer if port is None else replace(peer, port=port), node.quirks, dicomweb or node.web()
    if port is None:
        raise TypeError(f"connect to {host!r} needs a port; a node of read_nodes is written '@name'")
    return Peer(host=host, port=port), Quirks(), dicomweb


def connect(
    host: str,
    port: int | None = None,
    *,
    calling_ae: str | None = None,
    called_ae: str | None = None,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeouts: Timeouts | None = None,
    limits: SessionLimits | None = None,
    user_identity: UserIdentityRQ | None = None,
    async_operations: AsyncOperationsWindow | None = WINDOW,
    extended: tuple[SOPClassExtendedNegotiation, ...] = (),
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = (),
    lenient_roles: bool = True,
    lazy: bool = False,
    observer: Observer | None = None,
    quirks: Quirks | None = None,
    dicomweb: DicomWeb | str | None = None,
    max_associations: int | None = None,
) -> Pacs:
    """A peer, to be entered, ``async with aiodicom.connect(...) as pacs``, or awaited and closed later.

    Entering connects and opens an association; it raises ConnectFailed (HostUnknown, ConnectionRefused,
    TLSFailed), AssociationRejected, AssociationAborted, NotDicomPeer, ConnectTimeout or AssociationTimeout.
    `host` is a name, an address, or ``"@name"`` for a node of `read_nodes`: what is not given here is then
    as that says; raises NodeError. `calling_ae` is ours (AIODICOM), `called_ae` the peer's (ANY-SCP). `tls`
    is an SSL context, best one of `client_context`; without one the connection is plain. `async_operations`
    is the asynchronous operations window offered (PS3.7 D.3.3.3), 16 each way; None offers none, and a peer
    that drops a connection for the default one is asked without it. `lazy` leaves all of that to the first
    operation. `observer` is told what happens on each association, `quirks` what is known of the peer,
    `dicomweb` where it offers DICOMweb too (`Pacs.get`, via="auto"). With `max_associations` there are never
    more at once: each is one operation's at a time (one inside another's loop is one more), and who finds
    none free waits, first come first served.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     await pacs.echo()
    <Status 0000H success: success>
    """
    base, known, web = _described(host, port, dicomweb)
    given = (calling_ae, called_ae, tls, timeouts, limits, user_identity)
    said: dict[str, Any] = {name: one for name, one in zip(_SAID, given, strict=True) if one is not None}
    peer = replace(
        base, **said, server_hostname=server_hostname, async_operations=async_operations, extended=extended,
        common_extended=common_extended, lenient_roles=lenient_roles, observer=observer,
    )  # fmt: skip
    return Pacs(peer, lazy=lazy, quirks=quirks or known, dicomweb=web, max_associations=max_associations)
