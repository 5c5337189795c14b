"""What can be wrong with an archive, an object it is given, or a question it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from ..dimse.status import UNABLE_TO_PROCESS
from ..pdu.errors import AiodicomError

MAX_COMMENT = 64
"""Characters of an Error Comment (0000,0902)."""


class ArchiveError(AiodicomError):
    """An archive that cannot be opened, or cannot do what it was asked."""


class ArchiveInUse(ArchiveError, OSError):
    """Another process, or another archive object of this one, has the folder open."""


class NoArchive(ArchiveError, OSError):
    """The folder holds no archive, and none was to be made."""


class UnusableArchive(ArchiveError, OSError):
    """Something that is no part of an archive stands where one of its files or folders belongs."""


class IndexVersionError(ArchiveError, OSError):
    """The index file is of another version, or no index: it must be removed to be rebuilt from the files."""


class IdentifierError(ArchiveError, ValueError):
    """An identifier the archive cannot answer.

    `status` is the DIMSE status to answer with, A900H or of the Cxxx range; `offending_elements` are tags for
    Offending Element (0000,0901), `comment` is text for Error Comment, free of values.
    """

    def __init__(
        self, comment: str, offending_elements: Sequence[int] = (), status: int = UNABLE_TO_PROCESS
    ) -> None:
        super().__init__(comment)
        self.comment: str = comment[:MAX_COMMENT]
        self.offending_elements: tuple[int, ...] = tuple(offending_elements)
        self.status = status


class GivenUp(ArchiveError):
    """A search that nobody wants the answer of any more."""


class ObjectRefused(ArchiveError):
    """An object that is not kept: `status` and `comment` are those of the C-STORE's response."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment: str = comment[:MAX_COMMENT]


class TornObject(ObjectRefused):
    """An object whose data set is not whole."""
