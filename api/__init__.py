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
from typing import TYPE_CHECKING, Final

from .client import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    Client,
    ConnectFailed,
    ConnectionInfo,
    ConnectionRefused,
    ConnectTimeout,
    ContextNotAccepted,
    HostUnknown,
    InactivityTimeout,
    NotDicom,
    OperationCancelled,
    OperationFailed,
    Peer,
    Progress,
    Refused,
    RetrieveResult,
    StoreReport,
    TimeoutExpired,
    Timeouts,
    TLSConfigurationError,
    TLSFailed,
    TotalTimeout,
    client_context,
    server_context,
)
from .dimse.contexts import Proposal, Supported
from .dimse.limits import SessionLimits
from .dimse.qr import Level, QueryError, Root
from .pdu import AiodicomError, ConnectionClosed, LocalProtocolError, RemoteProtocolError
from .pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from .server import (
    Access,
    Destination,
    Instance,
    Match,
    Pacs,
    Reply,
    RequestInfo,
    Server,
    ServerLimits,
    Service,
    connect,
    serve,
    test_connection,
)

if TYPE_CHECKING:
    from .imaging import Image, Volume
    from .server import Archive, serve_archive

__version__ = "0.1.0"

__all__ = [
    "Access",
    "AiodicomError",
    "Archive",
    "AssociationAborted",
    "AssociationRejected",
    "AssociationTimeout",
    "AsyncOperationsWindow",
    "Client",
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
    "NotDicom",
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
    "RequestInfo",
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
_HOME_OF: Final = {"Archive": "server", "Image": "imaging", "Volume": "imaging", "serve_archive": "server"}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
