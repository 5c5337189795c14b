"""What the user services hand back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..association.tls import TLSInfo
from ..dimse.contexts import Context
from ..dimse.status import Category, Status
from ..pdu.errors import AiodicomError, Deviation


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a connection is: both ends, what was negotiated, and how it is protected.

    Maximum lengths are in bytes, 0 for no limit.
    """

    host: str
    port: int
    calling_ae: str
    called_ae: str
    implementation_class_uid: str | None
    implementation_version_name: str | None
    maximum_length_sent: int
    maximum_length_received: int
    contexts: tuple[Context, ...]
    deviations: tuple[Deviation, ...]
    tls: TLSInfo | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a store or a retrieve has come. Totals are None where they are not known."""

    objects: int = 0
    objects_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    failed: int = 0


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """The outcome of one object that was to be stored.

    `status` is the peer's answer, or None when there is none; `error` then says why, and whether it was sent.
    """

    path: Path | None
    sop_class_uid: str
    sop_instance_uid: str
    status: Status | None
    comment: str | None = None
    error: str | None = None
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the peer answered success."""
        return self.status == 0

    @property
    def warning(self) -> bool:
        """Whether the peer stored it and warned."""
        return self.status is not None and self.status.category is Category.WARNING

    @property
    def stored(self) -> bool:
        """Whether the peer has it: success or a warning."""
        return self.ok or self.warning

    def __str__(self) -> str:
        name = str(self.path) if self.path is not None else self.sop_instance_uid
        if self.status is None:
            return f"{name}: {self.error}"
        text = f"{name}: {self.status}"
        return f"{text} ({self.comment})" if self.comment else text


@dataclass(slots=True)
class StoreReport:
    """What became of everything that was to be stored.

    `skipped` are files that are no DICOM; `error` is what ended the association before all was sent.
    """

    items: list[StoredItem] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    seconds: float = 0.0
    error: AiodicomError | None = None

    @property
    def stored(self) -> list[StoredItem]:
        """Objects the peer has, warnings included."""
        return [item for item in self.items if item.stored]

    @property
    def failed(self) -> list[StoredItem]:
        """Objects the peer does not have."""
        return [item for item in self.items if not item.stored]

    @property
    def warnings(self) -> list[StoredItem]:
        """Objects stored with a warning."""
        return [item for item in self.items if item.warning]

    @property
    def bytes(self) -> int:
        """Data set bytes that were stored."""
        return sum(item.bytes for item in self.items if item.stored)

    @property
    def ok(self) -> bool:
        """Whether there was something to store and every object was answered with success."""
        return bool(self.items) and self.error is None and all(item.ok for item in self.items)


@dataclass(frozen=True, slots=True)
class ReceivedItem:
    """One object that arrived, or failed to: `path` is where it lies now, None when it is not kept."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    status: int
    comment: str | None = None
    path: Path | None = None
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether it is safe here."""
        return self.status == 0


@dataclass(slots=True)
class RetrieveResult:
    """What a C-GET or C-MOVE came to: what the peer reported beside what arrived here.

    `expected` are SOP Instance UIDs a C-FIND promised, None where it was not asked. The counters are those
    of the final response; None where the peer sent none.
    """

    status: int = 0
    comment: str | None = None
    service: str = "C-GET"
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_uids: list[str] = field(default_factory=list)
    expected: list[str] | None = None
    items: list[ReceivedItem] = field(default_factory=list)
    received_here: bool = True  # False when a C-MOVE went to another application entity
    seconds: float = 0.0
    error: AiodicomError | None = None  # what ended the association before the final response

    @property
    def info(self) -> Status:
        """The final status in words."""
        return Status(self.status, self.service)

    @property
    def files(self) -> list[Path]:
        """The files that are safe here, in order of arrival."""
        return [item.path for item in self.items if item.ok and item.path is not None]

    @property
    def missing(self) -> list[str]:
        """SOP Instance UIDs that were expected and are not here."""
        if self.expected is None or not self.received_here:
            return []
        here = {item.sop_instance_uid for item in self.items if item.ok}
        return [uid for uid in self.expected if uid not in here]

    @property
    def unaccounted(self) -> int:
        """Objects the peer counted as sent that are not here, where no query told which to expect."""
        if self.expected is not None or not self.received_here:
            return 0
        here = {item.sop_instance_uid for item in self.items if item.ok}
        return max(0, (self.completed or 0) + (self.warning or 0) - len(here))

    @property
    def bytes(self) -> int:
        """Data set bytes that are safe here."""
        return sum(item.bytes for item in self.items if item.ok)

    @property
    def ok(self) -> bool:
        """Whether the peer reported success, nothing failed, and nothing promised or counted is missing."""
        return (
            self.status == 0
            and self.error is None
            and not self.failed
            and not self.warning
            and not self.missing
            and not self.unaccounted
            and all(item.ok for item in self.items)
        )
