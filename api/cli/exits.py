"""Exit codes, and errors as one sentence."""

from __future__ import annotations

import sys
from enum import IntEnum

from ..archive.errors import ArchiveError
from ..association.errors import (
    AssociationRejected,
    Cause,
    ConnectFailed,
    ContextNotAccepted,
    NotDicomPeer,
    OperationFailed,
    TimeoutExpired,
)
from ..association.tls import TLSConfigurationError
from ..client.nodes import NodeError
from ..client.web import WebFailed
from ..dataset.errors import ImagingError
from ..dimse.levels import QueryError
from ..pdu.errors import AiodicomError


class Terminated(BaseException):
    """The process was told to end by SIGTERM, and what ran has been cancelled in order."""


class Code(IntEnum):
    """What the process ends with; docs/cli.md says the same."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    REJECTED = 4
    ABORTED = 5
    TIMEOUT = 6
    NO_CONTEXT = 7
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: dict[Code, str] = {
    Code.OK: "every response was a success and the association ended in order",
    Code.FAILED: "the operation failed, or failed in part: a failure or warning status, objects missing",
    Code.USAGE: "wrong usage: nothing was sent",
    Code.NO_CONNECTION: "no connection: refused, unknown host, TLS, or the port speaks another protocol",
    Code.REJECTED: "the association was rejected",
    Code.ABORTED: "the association was aborted or lost, or the protocol broken",
    Code.TIMEOUT: "a time limit ran out",
    Code.NO_CONTEXT: "the peer accepted no presentation context for it",
    Code.INTERRUPTED: "interrupted from the keyboard",
    Code.TERMINATED: "told to end by SIGTERM",
}

# The first class an error is an instance of decides; what is left of AiodicomError is the association's.
_CODES: tuple[tuple[type[BaseException], Code], ...] = (
    (QueryError, Code.USAGE),
    (NodeError, Code.USAGE),
    (TLSConfigurationError, Code.USAGE),
    (TimeoutExpired, Code.TIMEOUT),
    (NotDicomPeer, Code.NO_CONNECTION),
    (ConnectFailed, Code.NO_CONNECTION),
    (AssociationRejected, Code.REJECTED),
    (ContextNotAccepted, Code.NO_CONTEXT),
    (OperationFailed, Code.FAILED),
    (WebFailed, Code.FAILED),
    (ImagingError, Code.FAILED),
    (ArchiveError, Code.FAILED),
    (AiodicomError, Code.ABORTED),
    (OSError, Code.FAILED),
)


def exit_code(error: BaseException) -> Code | None:
    """The code an error ends the process with; None for a defect of ours, which deserves its traceback."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    sqlite = sys.modules.get("sqlite3")  # loaded by who opens an archive, and by nobody else
    return Code.FAILED if sqlite is not None and isinstance(error, sqlite.Error) else None


FLAGS: dict[Cause, str] = {
    Cause.CALLING_AE: "--calling",
    Cause.CALLED_AE: "--called",
    Cause.TLS: "--trusted or --tls",
    Cause.TRUST: "--trusted",
    Cause.CERTIFICATE: "--cert, --key",
    Cause.HOST_NAME: "--no-verify-host",
    Cause.TLS_PROFILE: "--tls-profile",
}
"""The options by which a user changes what an error points at."""


def flagged(text: str, cause: Cause | None) -> str:
    """A text of the library's with the option that it points at."""
    return text if cause is None else f"{text} ({FLAGS[cause]})"


_PARAMETERS = {
    "series_uid=": "--series",
    'on_gap="keep"': "--keep-gaps",
    'on_duplicate="first" or "last"': "--duplicates first or last",
    "tolerance_mm=": "--tolerance",
    "take them all with Volume.volumes()": "list them with --table",
}
"""Parameters of the library that its words name, and the options that set them."""


def sentence(error: BaseException) -> str:
    """An error in one line, before `terminal.clean`."""
    if isinstance(error, ImagingError):
        text = str(error)
        for parameter, option in _PARAMETERS.items():
            text = text.replace(parameter, option)
        return text
    if isinstance(error, OSError) and error.strerror and not isinstance(error, AiodicomError):
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return flagged(str(error) or type(error).__name__, getattr(error, "cause", None))


def first_cause(error: BaseException) -> BaseException:
    """The first error of a group of them; any other error is itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
