"""Using associations: connecting, the user services, TLS, and what can go wrong."""

from .association import Association
from .client import Client
from .connect import Peer, associate
from .errors import (
    AssociationAborted,
    AssociationEnded,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    ContextNotAccepted,
    HostUnknown,
    InactivityTimeout,
    NotDicom,
    OperationCancelled,
    OperationFailed,
    TimeoutExpired,
    TLSFailed,
    TotalTimeout,
)
from .provider import Provider, Refused
from .results import (
    ConnectionInfo,
    Progress,
    ReceivedItem,
    RetrieveResult,
    StoredItem,
    StoreReport,
)
from .sinks import StoreOutcome, StoreSink
from .timeouts import Timeouts
from .tls import TLSConfigurationError, TLSInfo, client_context, server_context

__all__ = [
    "Association",
    "AssociationAborted",
    "AssociationEnded",
    "AssociationRejected",
    "AssociationTimeout",
    "Client",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionInfo",
    "ConnectionRefused",
    "ContextNotAccepted",
    "HostUnknown",
    "InactivityTimeout",
    "NotDicom",
    "OperationCancelled",
    "OperationFailed",
    "Peer",
    "Progress",
    "Provider",
    "ReceivedItem",
    "Refused",
    "RetrieveResult",
    "StoreOutcome",
    "StoreReport",
    "StoreSink",
    "StoredItem",
    "TLSConfigurationError",
    "TLSFailed",
    "TLSInfo",
    "TimeoutExpired",
    "Timeouts",
    "TotalTimeout",
    "associate",
    "client_context",
    "server_context",
]
