"""aiodicom: a native asyncio DICOM networking stack.

async with aiodicom.connect("localhost", 4242, called_ae="ORTHANC") as pacs:
    await pacs.echo()
    report = await pacs.store("folder/")
    async for match in pacs.find("STUDY", {"PatientName": "GORBERG*"}, ["StudyDate"]):
        print(match.StudyInstanceUID, match.StudyDate)
    result = await pacs.get("SERIES", uid, directory="series", root="STUDY")
volume = aiodicom.Volume.from_files(result.files)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .association.connect import Peer
from .association.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    ContextNotAccepted,
    HostUnknown,
    InactivityTimeout,
    NotDicomPeer,
    OperationCancelled,
    OperationFailed,
    TimeoutExpired,
    TLSFailed,
    TotalTimeout,
)
from .association.performing import Refused, Request
from .association.timeouts import Timeouts
from .association.tls import TLSConfigurationError, client_context, server_context
from .client.pacs import Pacs, connect, test_connection
from .client.results import ConnectionInfo, Progress, RetrieveResult, StoreReport
from .dataset.instance import Instance
from .dimse.contexts import Proposal, Supported
from .dimse.levels import Level, QueryError, Root
from .dimse.limits import SessionLimits
from .pdu import AiodicomError, ConnectionClosed, LocalProtocolError, RemoteProtocolError
from .pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from .server.access import Access
from .server.limits import ServerLimits
from .server.listener import Server, serve
from .server.service import Destination, Match, Reply, Service

if TYPE_CHECKING:
    from .archive.archive import Archive
    from .imaging import Image, Volume
    from .server.archive_service import serve_archive

__version__ = "0.1.0"

__all__ = [
    "Access",
    "AiodicomError",
    "Archive",
    "AssociationAborted",
    "AssociationRejected",
    "AssociationTimeout",
    "AsyncOperationsWindow",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionInfo",
    "ConnectionRefused",
    "ContextNotAccepted",
    "Destination",
    "HostUnknown",
    "Image",
    "InactivityTimeout",
    "Instance",
    "Level",
    "LocalProtocolError",
    "Match",
    "NotDicomPeer",
    "OperationCancelled",
    "OperationFailed",
    "Pacs",
    "Peer",
    "Progress",
    "Proposal",
    "QueryError",
    "Refused",
    "RemoteProtocolError",
    "Reply",
    "Request",
    "RetrieveResult",
    "Root",
    "SOPClassCommonExtendedNegotiation",
    "SOPClassExtendedNegotiation",
    "Server",
    "ServerLimits",
    "Service",
    "SessionLimits",
    "StoreReport",
    "Supported",
    "TLSConfigurationError",
    "TLSFailed",
    "TimeoutExpired",
    "Timeouts",
    "TotalTimeout",
    "UserIdentityAC",
    "UserIdentityRQ",
    "Volume",
    "__version__",
    "client_context",
    "connect",
    "serve",
    "serve_archive",
    "server_context",
    "test_connection",
]

# Loaded when first used: a program that moves files needs neither numpy nor pydicom.
_HOME_OF = {
    "Archive": "archive.archive",
    "Image": "imaging",
    "Volume": "imaging",
    "serve_archive": "server.archive_service",
}

if not TYPE_CHECKING:  # a misspelt name stays an error for type checkers

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
