"""aiodicom: a native asyncio DICOM networking stack.

async with aiodicom.connect("localhost", 4242, called_ae="ORTHANC") as pacs:
    await pacs.echo()
    report = await pacs.store("folder/")
    async for match in pacs.find("STUDY", {"PatientName": "GORBERG*"}, ["StudyDate"]):
        print(match.StudyInstanceUID, match.StudyDate)
    result = await pacs.get("SERIES", uid, directory="series", root="STUDY")
volume = aiodicom.Volume.from_files(result.files)

Every error is picklable, and names its peer as `ORTHANC@host:port` where there is one:

AiodicomError                      the root of all
├── ConnectFailed                  no transport connection
│   ├── HostUnknown                the name does not resolve
│   ├── ConnectionRefused          nobody listens there
│   └── TLSFailed                  the handshake failed; the text names the cause
├── AssociationRejected            A-ASSOCIATE-RJ: result, source, reason
├── AssociationAborted             A-ABORT by the peer, or by us for what the peer did
│   └── NotDicomPeer               the peer speaks something else (TLS, HTTP, ...)
├── AssociationEnded               it was released, so nothing more can be sent
├── ConnectionClosed               the peer vanished
├── TimeoutExpired                 a time limit ran out; also a TimeoutError
│   ├── ConnectTimeout
│   ├── AssociationTimeout
│   ├── InactivityTimeout
│   └── TotalTimeout
├── ContextNotAccepted             no presentation context for what was asked
├── OperationFailed                a final status that is no success
│   └── OperationCancelled         the peer ended it as cancelled
├── QueryError                     a query refused before anything was sent; also a ValueError
├── LocalProtocolError             we asked for what the standard forbids; nothing was sent
├── RemoteProtocolError            the peer broke the protocol
├── WebFailed                      a DICOMweb request that failed; `status` is that of HTTP
├── NodeError                      a node that is not known, or a file of them that is none; also a ValueError
├── CommandRefused                 a command set that lacks what it must have
├── Refused                        raised by a service, to answer with a failure
├── TLSConfigurationError          keys, certificates or profiles that cannot be used; also a ValueError
├── DatasetDecodeError             bytes that are no data set in their transfer syntax
├── ImagingError                   an object, or several, that cannot be used for what was asked
│   ├── NotDicom                   neither a Part 10 file nor a data set
│   ├── TruncatedFile              a file that ends too early
│   ├── MalformedDataSet           DICOM that breaks its encoding rules
│   │   └── NestingTooDeep         sequences nested deeper than the limit
│   ├── UnsafeName                 a name that cannot be used for a file; also a ValueError
│   └── VolumeError                the images form no volume, or there is no such image
│       ├── MixedSeries            several series, orientations or matrices
│       ├── SlicesMissing          images are absent between neighbours
│       ├── DuplicateSlices        different images at one position
│       ├── IrregularGeometry      positions unknown, or on no grid
│       └── UnsupportedPixels      absent, too short, or not decodable
└── ArchiveError                   an archive that cannot do what it was asked
    ├── ArchiveInUse               the folder is open elsewhere; also an OSError
    ├── NoArchive                  the folder holds none; also an OSError
    ├── UnusableArchive            something else stands where a part of it belongs; also an OSError
    ├── IndexVersionError          the index is of another version; also an OSError
    ├── IdentifierError            a query it cannot answer; also a ValueError
    ├── GivenUp                    a search that nobody wants the answer of any more
    └── ObjectRefused              an object it does not keep
        └── TornObject             whose data set is not whole
"""

from __future__ import annotations

from . import starting as _starting  # noqa: F401 - it acts when it is imported

# isort: split

from importlib import import_module
from typing import TYPE_CHECKING

from .archive.errors import (
    ArchiveError,
    ArchiveInUse,
    GivenUp,
    IdentifierError,
    IndexVersionError,
    NoArchive,
    ObjectRefused,
    TornObject,
    UnusableArchive,
)
from .association.association import Association
from .association.connect import Peer
from .association.errors import (
    AssociationAborted,
    AssociationEnded,
    AssociationRejected,
    AssociationTimeout,
    Cause,
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
from .association.incoming import Incoming
from .association.observing import (
    BytesEvent,
    EndedEvent,
    Event,
    MessageEvent,
    Observer,
    OpenedEvent,
    PduEvent,
    RequestEvent,
)
from .association.performing import Provider, Refused, Request
from .association.sinking import Head
from .association.timeouts import Timeouts
from .association.tls import TLSConfigurationError, TLSInfo, client_context, server_context
from .client.connect import test_connection
from .client.finding import Finding
from .client.listening import Listening
from .client.nodes import Node, NodeError, find_node, read_nodes
from .client.plan import Plan
from .client.progress import Progress
from .client.quirks import Quirks
from .client.results import ConnectionInfo, StoredItem, StoreReport
from .client.retrieved import ReceivedItem, RetrieveResult
from .client.retrieving import Retrieve
from .client.rungs import Rung
from .client.storing import Store
from .client.values import Between, literal
from .client.web import DicomWeb, WebFailed
from .dataset.coding import DatasetDecodeError
from .dataset.errors import (
    ImagingError,
    MalformedDataSet,
    NestingTooDeep,
    NotDicom,
    TruncatedFile,
    UnsafeName,
)
from .dataset.instance import Instance
from .dataset.part10 import encode_file_meta
from .dataset.sinks import StoreOutcome, StoreSink
from .dimse.contexts import Context, Proposal, Supported
from .dimse.levels import Level, QueryError, Root
from .dimse.limits import SessionLimits
from .dimse.messages import (
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CommandRefused,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
)
from .dimse.sop_classes import SUPPORTED_STORAGE, SUPPORTED_VERIFICATION, storage_sop_classes
from .dimse.status import Category, Status
from .imaging.errors import (
    DuplicateSlices,
    IrregularGeometry,
    MixedSeries,
    SlicesMissing,
    UnsupportedPixels,
    VolumeError,
)
from .pacs import Pacs, Pool, connect, create_pool
from .pdu.errors import AiodicomError, ConnectionClosed, Deviation, LocalProtocolError, RemoteProtocolError
from .pdu.limits import PduLimits
from .pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)

if TYPE_CHECKING:
    from .archive.archive import Archive
    from .client.answers import Answer
    from .client.diagnose import diagnose
    from .client.diagnosis import Diagnosis
    from .client.matches import Matches
    from .imaging import Image, Volume, VolumeBuilder, VolumeGeometry, collection
    from .server.access import Access, Caller
    from .server.archive_service import ArchiveServer, ArchiveService, serve_archive
    from .server.handling import StorageService, WorklistService
    from .server.limits import ServerLimits
    from .server.listener import Server, serve
    from .server.metrics import MetricsEndpoint, prometheus_text
    from .server.service import Destination, EncodedMatches, Match, Reply, Service
    from .server.stats import ServerStats

__version__ = "0.1.0"

__all__ = [
    "SUPPORTED_STORAGE",
    "SUPPORTED_VERIFICATION",
    "Access",
    "AiodicomError",
    "Answer",
    "Archive",
    "ArchiveError",
    "ArchiveInUse",
    "ArchiveServer",
    "ArchiveService",
    "Association",
    "AssociationAborted",
    "AssociationEnded",
    "AssociationRejected",
    "AssociationTimeout",
    "AsyncOperationsWindow",
    "Between",
    "BytesEvent",
    "CEchoRQ",
    "CFindRQ",
    "CGetRQ",
    "CMoveRQ",
    "CStoreRQ",
    "Caller",
    "Category",
    "Cause",
    "CommandRefused",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionInfo",
    "ConnectionRefused",
    "Context",
    "ContextNotAccepted",
    "DatasetDecodeError",
    "Destination",
    "Deviation",
    "Diagnosis",
    "DicomWeb",
    "DuplicateSlices",
    "EncodedMatches",
    "EndedEvent",
    "Event",
    "Finding",
    "GivenUp",
    "Head",
    "HostUnknown",
    "IdentifierError",
    "Image",
    "ImagingError",
    "InactivityTimeout",
    "Incoming",
    "IndexVersionError",
    "Instance",
    "IrregularGeometry",
    "Level",
    "Listening",
    "LocalProtocolError",
    "MalformedDataSet",
    "Match",
    "Matches",
    "MessageEvent",
    "MetricsEndpoint",
    "MixedSeries",
    "NActionRQ",
    "NCreateRQ",
    "NDeleteRQ",
    "NEventReportRQ",
    "NGetRQ",
    "NSetRQ",
    "NestingTooDeep",
    "NoArchive",
    "Node",
    "NodeError",
    "NotDicom",
    "NotDicomPeer",
    "ObjectRefused",
    "Observer",
    "OpenedEvent",
    "OperationCancelled",
    "OperationFailed",
    "Pacs",
    "PduEvent",
    "PduLimits",
    "Peer",
    "Plan",
    "Pool",
    "Progress",
    "Proposal",
    "Provider",
    "QueryError",
    "Quirks",
    "ReceivedItem",
    "Refused",
    "RemoteProtocolError",
    "Reply",
    "Request",
    "RequestEvent",
    "Retrieve",
    "RetrieveResult",
    "Root",
    "Rung",
    "SOPClassCommonExtendedNegotiation",
    "SOPClassExtendedNegotiation",
    "Server",
    "ServerLimits",
    "ServerStats",
    "Service",
    "SessionLimits",
    "SlicesMissing",
    "Status",
    "StorageService",
    "Store",
    "StoreOutcome",
    "StoreReport",
    "StoreSink",
    "StoredItem",
    "Supported",
    "TLSConfigurationError",
    "TLSFailed",
    "TLSInfo",
    "TimeoutExpired",
    "Timeouts",
    "TornObject",
    "TotalTimeout",
    "TruncatedFile",
    "UnsafeName",
    "UnsupportedPixels",
    "UnusableArchive",
    "UserIdentityAC",
    "UserIdentityRQ",
    "Volume",
    "VolumeBuilder",
    "VolumeError",
    "VolumeGeometry",
    "WebFailed",
    "WorklistService",
    "__version__",
    "client_context",
    "collection",
    "connect",
    "create_pool",
    "diagnose",
    "encode_file_meta",
    "find_node",
    "literal",
    "prometheus_text",
    "read_nodes",
    "serve",
    "serve_archive",
    "server_context",
    "storage_sop_classes",
    "test_connection",
]

# Loaded when first used: a program that moves files needs neither numpy nor pydicom.
_HOME_OF = {
    "Answer": "client.answers",
    "Archive": "archive.archive",
    "Image": "imaging",
    "Matches": "client.matches",
    "Volume": "imaging",
    "VolumeBuilder": "imaging",
    "VolumeGeometry": "imaging",
    "collection": "imaging",
    "ArchiveServer": "server.archive_service",
    "ArchiveService": "server.archive_service",
    "serve_archive": "server.archive_service",
    "Access": "server.access",
    "Caller": "server.access",
    "ServerLimits": "server.limits",
    "Server": "server.listener",
    "StorageService": "server.handling",
    "WorklistService": "server.handling",
    "serve": "server.listener",
    "MetricsEndpoint": "server.metrics",
    "prometheus_text": "server.metrics",
    "ServerStats": "server.stats",
    "Destination": "server.service",
    "EncodedMatches": "server.service",
    "Match": "server.service",
    "Reply": "server.service",
    "Service": "server.service",
    "Diagnosis": "client.diagnosis",
    "diagnose": "client.diagnose",
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
