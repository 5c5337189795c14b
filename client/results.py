"""What the user services hand back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..association.tls import TLSInfo
from ..dimse.contexts import Context
from ..dimse.status import SUCCESS, Category, Status
from ..pdu.errors import AiodicomError, Deviation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True, repr=False)
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
    maximum_length: int
    peer_maximum_length: int
    contexts: tuple[Context, ...]
    deviations: tuple[Deviation, ...]
    tls: TLSInfo | None

    def __repr__(self) -> str:
        name = self.implementation_version_name or self.implementation_class_uid or "unnamed"
        secure = f", {self.tls.version}" if self.tls is not None else ""
        noted = f", {len(self.deviations)} deviations" if self.deviations else ""
        return (
            f"<ConnectionInfo {self.called_ae}@{self.host}:{self.port} ({name}) as {self.calling_ae},"
            f" {len(self.contexts)} contexts{secure}{noted}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = self.to_dict() | {"contexts": len(self.contexts), "deviations": len(self.deviations)}
        cells = "".join(
            f"<tr><th>{_escaped(key)}</th><td>{_escaped(str(value))}</td></tr>" for key, value in rows.items()
        )
        return f"<table>{cells}</table>"

    def to_dict(self) -> dict[str, Any]:
        """The connection as plain values."""
        return {
            "host": self.host,
            "port": self.port,
            "calling_ae": self.calling_ae,
            "called_ae": self.called_ae,
            "implementation_class_uid": self.implementation_class_uid,
            "implementation_version_name": self.implementation_version_name,
            "maximum_length": self.maximum_length,
            "peer_maximum_length": self.peer_maximum_length,
            "contexts": [asdict(context) for context in self.contexts],
            "deviations": [asdict(one) for one in self.deviations],
            "tls": None if self.tls is None else asdict(self.tls),
        }


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
    `converted_to` is the transfer syntax it was sent in where the peer took none of its own.
    """

    path: Path | None
    sop_class_uid: str
    sop_instance_uid: str
    status: Status | None
    comment: str | None = None
    error: str | None = None
    bytes: int = 0
    converted_to: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the peer answered success."""
        return self.status == SUCCESS

    @property
    def warning(self) -> bool:
        """Whether the peer stored it and warned."""
        return self.status is not None and self.status.category is Category.WARNING

    @property
    def stored(self) -> bool:
        """Whether the peer has it: success or a warning."""
        return self.ok or self.warning

    def to_dict(self) -> dict[str, Any]:
        """The item as plain values."""
        return _item(self) | {"error": self.error, "converted_to": self.converted_to}

    def __str__(self) -> str:
        name = str(self.path) if self.path is not None else self.sop_instance_uid
        if self.status is None:
            return f"{name}: {self.error}"
        text = f"{name}: {self.status}"
        return f"{text} ({self.comment})" if self.comment else text


@dataclass(slots=True, repr=False)
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

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as the command line prints it as JSON."""
        return {
            "ok": self.ok,
            "stored": len(self.stored),
            "failed": len(self.failed),
            "warnings": len(self.warnings),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "error": _error(self.error),
            "skipped": [{"path": str(path), "reason": reason} for path, reason in self.skipped],
            "items": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row an object, for a table."""
        return [item.to_dict() for item in self.items]

    def __repr__(self) -> str:
        parts = [
            f"{len(self.stored)} of {len(self.items)} stored, {self.bytes} bytes in {self.seconds:.1f} s"
        ]
        if self.warnings:
            parts.append(f"{len(self.warnings)} with a warning")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        if self.error is not None:
            parts.append(f"{type(self.error).__name__}: {self.error}")
        return f"<StoreReport {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{_escaped(repr(self)[1:-1])}</p>{_html(self.rows())}"


_SHOWN_ROWS = 20


def _escaped(text: str) -> str:
    from html import escape  # a table of entities that only a notebook needs

    return escape(text)


def _html(rows: list[dict[str, Any]]) -> str:
    """The rows of a table, the first of many."""
    if not rows:
        return ""
    head = "".join(f"<th>{_escaped(name)}</th>" for name in rows[0])
    lines = [
        "".join(f"<td>{_escaped('' if value is None else str(value))}</td>" for value in row.values())
        for row in rows[:_SHOWN_ROWS]
    ]
    if len(rows) > _SHOWN_ROWS:
        lines.append(f'<td colspan="{len(rows[0])}">... and {len(rows) - _SHOWN_ROWS} more</td>')
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _item(item: StoredItem | ReceivedItem) -> dict[str, Any]:
    found: dict[str, Any] = {
        "path": None if item.path is None else str(item.path),
        "sop_class_uid": item.sop_class_uid,
        "sop_instance_uid": item.sop_instance_uid,
        "ok": item.ok,
        "status": None if item.status is None else int(item.status),
        "meaning": None if item.status is None else item.status.meaning,
        "comment": item.comment,
        "bytes": item.bytes,
    }
    if isinstance(item, ReceivedItem):
        found["transfer_syntax_uid"] = item.transfer_syntax_uid
    return found


@dataclass(frozen=True, slots=True)
class ReceivedItem:
    """One object that arrived, or failed to: `path` is where it lies now, None when it is not kept."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    status: Status
    comment: str | None = None
    path: Path | None = None
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether it is safe here."""
        return self.status == SUCCESS

    def to_dict(self) -> dict[str, Any]:
        """The item as plain values."""
        return _item(self)


@dataclass(slots=True, repr=False)
class RetrieveResult:
    """What a C-GET or C-MOVE came to: what the peer reported beside what arrived here.

    `status` is the final one, None where the peer gave none. `expected` are SOP Instance UIDs a C-FIND
    promised, None where it was not asked. The counters are those of the final responses; None where the peer
    sent none. `parents_unknown` are unique keys above that were neither given nor found out: a peer that
    refuses may want them. `not_found` are unique keys that the peer has nothing of.
    `turned_away` are SOP Instance UIDs that came and were not asked for; nothing was kept of them, and they
    say nothing about `ok`; `turned_away_unnamed` more came when a thousand were named. `datasets` are what
    came where neither a directory nor a loop took it.
    """

    status: Status | None = None
    comment: str | None = None
    service: str = "C-GET"
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_uids: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    parents_unknown: list[str] = field(default_factory=list)
    expected: list[str] | None = None
    items: list[ReceivedItem] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)
    turned_away_unnamed: int = 0
    datasets: list[Dataset] = field(default_factory=list, repr=False)
    received_here: bool = True  # False when a C-MOVE went to another application entity
    seconds: float = 0.0
    error: AiodicomError | None = None  # what ended the association before the final response

    def ended_by(self, error: AiodicomError) -> None:
        """The retrieve ended by an error: whatever was reported before is not how it ended."""
        self.error = error
        self.status = None

    @property
    def files(self) -> list[Path]:
        """The files that are safe here, in order of arrival."""
        return [item.path for item in self.items if item.ok and item.path is not None]

    @property
    def found(self) -> int:
        """Objects the peer is known to have of what was asked for: by query, by counters, or by coming."""
        counted = (self.completed or 0) + (self.warning or 0) + (self.failed or 0)
        came = {item.sop_instance_uid for item in self.items}
        return max(len(self.expected or ()), counted, len(came))

    @property
    def missing(self) -> list[str] | None:
        """SOP Instance UIDs expected and not here; None where it is not known what was to come."""
        if self.expected is None or not self.received_here:
            return None
        here = self._here()
        return [uid for uid in self.expected if uid not in here]

    @property
    def unaccounted(self) -> int:
        """Objects the peer counted as sent that are not here, where no query told which to expect."""
        if self.expected is not None or not self.received_here:
            return 0
        return max(0, (self.completed or 0) + (self.warning or 0) - len(self._here()))

    def _here(self) -> set[str]:
        return {item.sop_instance_uid for item in self.items if item.ok}

    @property
    def bytes(self) -> int:
        """Data set bytes that are safe here."""
        return sum(item.bytes for item in self.items if item.ok)

    @property
    def ok(self) -> bool:
        """Whether all that was asked for was found and is safe: nothing promised or counted is missing."""
        return (
            self.status == SUCCESS
            and self.found > 0
            and not self.not_found
            and not self.failed
            and not self.warning
            and not self.missing
            and not self.unaccounted
            and all(item.ok for item in self.items)
        )

    @property
    def outcome(self) -> Literal["complete", "partial", "nothing", "failed"]:
        """In one word: all is safe, some is, there was nothing of that key, or none is."""
        if self.ok:
            return "complete"
        if self.status == SUCCESS and not self.found:
            return "nothing"
        some = any(item.ok for item in self.items) if self.received_here else self.completed
        return "partial" if some else "failed"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, as the command line prints it as JSON."""
        missing = self.missing
        return {
            "ok": self.ok,
            "outcome": self.outcome,
            "service": self.service,
            "status": None if self.status is None else int(self.status),
            "category": None if self.status is None else self.status.category.value,
            "meaning": None if self.status is None else self.status.meaning,
            "comment": self.comment,
            "error": _error(self.error),
            "found": self.found,
            "completed": self.completed,
            "failed": self.failed,
            "warning": self.warning,
            "failed_uids": list(self.failed_uids),
            "not_found": list(self.not_found),
            "turned_away": list(self.turned_away),
            "turned_away_unnamed": self.turned_away_unnamed,
            "parents_unknown": list(self.parents_unknown),
            "expected": None if self.expected is None else len(self.expected),
            "missing": missing,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "items": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row an object, for a table."""
        return [item.to_dict() for item in self.items]

    def __repr__(self) -> str:
        good = sum(item.ok for item in self.items)
        arrived = f", {good} of {self.found} here" if self.received_here else f", {self.completed or 0} moved"
        said = f", {self.status}" if self.status is not None else ""
        error = f", {type(self.error).__name__}: {self.error}" if self.error is not None else ""
        return f"<RetrieveResult {self.service} {self.outcome}{arrived}{said}{error}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{_escaped(repr(self)[1:-1])}</p>{_html(self.rows())}"


class Arrived:
    """Adds what arrives to a result, counts it as it comes, and tells how far the retrieve is."""

    def __init__(self, result: RetrieveResult, progress: ProgressCallback | None) -> None:
        self.result = result
        self.good: int = 0
        self.event: asyncio.Event = asyncio.Event()
        """Set by each arrival."""
        self._bytes = 0
        self._progress = progress

    def add(self, item: ReceivedItem) -> None:
        """An object has come, or failed to."""
        self.result.items.append(item)
        if item.ok:
            self.good += 1
            self._bytes += item.bytes
        self.event.set()
        self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        if self._progress is not None:
            expected = self.result.expected
            total = None if expected is None else len(expected)
            failed = len(self.result.items) - self.good
            self._progress(Progress(self.good, total, self._bytes, None, failed))


def _error(error: BaseException | None) -> dict[str, str] | None:
    return None if error is None else {"type": type(error).__name__, "message": str(error)}
