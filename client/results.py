"""What the user services hand back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ..association.dialing import place
from ..association.tls import TLSInfo
from ..dimse.contexts import Context
from ..dimse.status import SUCCESS, Category, Status
from ..pdu.errors import AiodicomError, Deviation


@dataclass(frozen=True, slots=True, repr=False)
class ConnectionInfo:
    """What a connection is: both ends, what was negotiated, and how it is protected.

    Maximum lengths are in bytes, 0 for no limit. `ended` are the last errors by which associations of the
    client ended, oldest first: a peer may drop one on which nothing runs.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     pacs.info.called_ae, pacs.info.peer_maximum_length
    ('ANY-SCP', 131072)
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
    ended: tuple[AiodicomError, ...] = ()

    def __repr__(self) -> str:
        name = self.implementation_version_name or self.implementation_class_uid or "unnamed"
        secure = f", {self.tls.version}" if self.tls is not None else ""
        noted = f", {len(self.deviations)} deviations" if self.deviations else ""
        return (
            f"<ConnectionInfo {self.called_ae}@{place(self.host, self.port)} ({name}) as {self.calling_ae},"
            f" {len(self.contexts)} contexts{secure}{noted}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = self.to_dict() | {"contexts": len(self.contexts), "deviations": len(self.deviations)}
        cells = "".join(
            f"<tr><th>{escaped(key)}</th><td>{escaped(str(value))}</td></tr>" for key, value in rows.items()
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
            "ended": [error_dict(one) for one in self.ended],
        }


T = TypeVar("T")
Keep = Literal["all", "failed"] | Callable[[T], object]
"""Which objects a report lists: every one, those that failed, or what a callable says true of.

The callable is told of each as it comes, so one that says nothing takes them all and lists none.
"""


def kept(keep: Keep[T], item: T, good: bool) -> bool:
    """Whether a report lists it; `good`: there is nothing to tell of it."""
    if callable(keep):
        return bool(keep(item))
    return keep == "all" or not good


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
        return item_dict(self) | {"error": self.error, "converted_to": self.converted_to}

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
    `keep` says which `items` are listed: "failed" lists what failed or was stored with a warning alone.
    `counted`, `stored_count`, `failed_count`, `warning_count` and `bytes` count everything as it ends.
    """

    items: list[StoredItem] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    seconds: float = 0.0
    error: AiodicomError | None = None
    keep: Keep[StoredItem] = "all"
    counted: int = field(default=0, init=False)
    stored_count: int = field(default=0, init=False)  # warnings included
    warning_count: int = field(default=0, init=False)
    answered: int = field(default=0, init=False)  # objects that have a status of the peer's
    converted: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)  # of the data sets that were stored

    def __post_init__(self) -> None:
        items, self.items = self.items, []
        for item in items:
            self.add(item)

    def add(self, item: StoredItem) -> None:
        """What became of one object."""
        if kept(self.keep, item, item.ok):
            self.items.append(item)
        self.counted += 1
        self.stored_count += item.stored
        self.warning_count += item.warning
        self.answered += item.status is not None
        self.converted += item.converted_to is not None
        self.bytes += item.bytes if item.stored else 0

    @property
    def failed_count(self) -> int:
        """How many objects the peer does not have."""
        return self.counted - self.stored_count

    @property
    def stored(self) -> list[StoredItem]:
        """Objects the peer has, warnings included, as far as they are listed."""
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
    def ok(self) -> bool:
        """Whether there was something to store and every object was answered with success."""
        good = self.stored_count - self.warning_count
        return self.counted > 0 and self.error is None and good == self.counted

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as the command line prints it as JSON."""
        return {
            "ok": self.ok,
            "stored": self.stored_count,
            "failed": self.failed_count,
            "warnings": self.warning_count,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "error": error_dict(self.error),
            "skipped": [{"path": str(path), "reason": reason} for path, reason in self.skipped],
            "items": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row an object, for a table."""
        return [item.to_dict() for item in self.items]

    def __repr__(self) -> str:
        parts = [f"{self.stored_count} of {self.counted} stored, {self.bytes} bytes in {self.seconds:.1f} s"]
        if self.warning_count:
            parts.append(f"{self.warning_count} with a warning")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        if self.error is not None:
            parts.append(f"{type(self.error).__name__}: {self.error}")
        return f"<StoreReport {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{escaped(repr(self)[1:-1])}</p>{html_table(self.rows())}"


_SHOWN_ROWS = 20


def escaped(text: str) -> str:
    """As HTML shows it."""
    from html import escape  # a table of entities that only a notebook needs

    return escape(text)


def html_table(rows: list[dict[str, Any]]) -> str:
    """The rows of a table, the first of many."""
    if not rows:
        return ""
    head = "".join(f"<th>{escaped(name)}</th>" for name in rows[0])
    lines = [
        "".join(f"<td>{escaped('' if value is None else str(value))}</td>" for value in row.values())
        for row in rows[:_SHOWN_ROWS]
    ]
    if len(rows) > _SHOWN_ROWS:
        lines.append(f'<td colspan="{len(rows[0])}">... and {len(rows) - _SHOWN_ROWS} more</td>')
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


class Item(Protocol):
    """An object that was stored, or retrieved."""

    @property
    def path(self) -> Path | None:
        """Where it lies."""

    @property
    def sop_class_uid(self) -> str:
        """Its SOP class."""

    @property
    def sop_instance_uid(self) -> str:
        """Its name."""

    @property
    def ok(self) -> bool:
        """Whether it was stored, or is safe."""

    @property
    def status(self) -> Status | None:
        """What it was answered with."""

    @property
    def comment(self) -> str | None:
        """What was said of it."""

    @property
    def bytes(self) -> int:
        """The size of its data set."""


def item_dict(item: Item) -> dict[str, Any]:
    """What an object that was stored and one that was retrieved have in common, as plain values."""
    return {
        "path": None if item.path is None else str(item.path),
        "sop_class_uid": item.sop_class_uid,
        "sop_instance_uid": item.sop_instance_uid,
        "ok": item.ok,
        "status": None if item.status is None else int(item.status),
        "meaning": None if item.status is None else item.status.meaning,
        "comment": item.comment,
        "bytes": item.bytes,
    }


def error_dict(error: BaseException | None) -> dict[str, str] | None:
    """An error as plain values."""
    return None if error is None else {"type": type(error).__name__, "message": str(error)}
