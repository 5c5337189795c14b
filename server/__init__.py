"""Accepting associations: the listener, services to subclass, access and limits, the embedded archive.

The archive's names are loaded when they are first used: it needs pydicom, which a client may not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .access import Access, Caller
from .limits import ServerLimits
from .listener import Server, serve
from .pacs import Pacs, connect, test_connection
from .service import Destination, Instance, Match, Reply, RequestInfo, Service

if TYPE_CHECKING:
    from .archive import Archive
    from .archive_service import ArchiveServer, ArchiveService, serve_archive

__all__ = [
    "Access",
    "Archive",
    "ArchiveServer",
    "ArchiveService",
    "Caller",
    "Destination",
    "Instance",
    "Match",
    "Pacs",
    "Reply",
    "RequestInfo",
    "Server",
    "ServerLimits",
    "Service",
    "connect",
    "serve",
    "serve_archive",
    "test_connection",
]

_HOME_OF: Final = {
    "Archive": "archive",
    "ArchiveServer": "archive_service",
    "ArchiveService": "archive_service",
    "serve_archive": "archive_service",
}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
