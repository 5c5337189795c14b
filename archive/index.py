"""The archive's index: what is stored, in SQLite, so that a query never opens an image.

Three tables mirror study, series and instance. The patient's attributes are held with each study, as that
study brought them: when studies of one Patient ID carry different names, each is found by its own, and the
PATIENT level has one answer per Patient ID, made from the first stored study that matches. Studies without a
Patient ID are never taken for one patient. A series UID that comes in two studies is two series. A row's
attributes are those of the earliest stored object below it, so that an index rebuilt from the files equals
the one it replaces.

One thread writes (the archive's); any number read, each with a connection and a snapshot of its own.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..dataset.instance import Instance
from .entry import Entry
from .errors import IndexVersionError
from .files import FILE_MODE
from .selection import Selection

SCHEMA_VERSION = 3
"""Raised also where what is in an index was read wrongly: 2 knows ISO 2022 IR 58 and ISO_IR 203,
3 items with a character set of their own."""
_REFILLED = frozenset({1, 2})
"""Versions of the same tables, to be filled anew from the files."""
_APPLICATION_ID = 0x41444358
_UNFINISHED = 0
"""The version of an index that was made and not yet filled: what is in it says nothing of the files."""

_SCHEMA = """
CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    study_uid TEXT NOT NULL UNIQUE,
    patient_id TEXT NOT NULL,
    study_date TEXT NOT NULL,
    accession TEXT NOT NULL,
    patient_attributes TEXT NOT NULL,
    attributes TEXT NOT NULL,
    charset TEXT NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX studies_by_patient ON studies (patient_id, source);
CREATE INDEX studies_by_date ON studies (study_date);
CREATE INDEX studies_by_accession ON studies (accession);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    series_uid TEXT NOT NULL,
    modality TEXT NOT NULL,
    attributes TEXT NOT NULL,
    charset TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (study_id, series_uid)
);
CREATE INDEX series_by_uid ON series (series_uid);
CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    series_id INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    sop_uid TEXT NOT NULL UNIQUE,
    sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    attributes TEXT NOT NULL,
    charset TEXT NOT NULL,
    path TEXT NOT NULL,
    data_offset INTEGER NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX instances_by_series ON instances (series_id, sop_class);
"""

_INSTANCE_COLUMNS = (
    "instances.path, instances.sop_class, instances.sop_uid, instances.transfer_syntax,"
    " instances.data_offset, instances.size"
)


_Row: TypeAlias = "tuple[int, str]"
"""Id and source of a study or series."""
_ROWS_KEPT = 1024
READERS_KEPT = 8
"""Reading connections kept open: each has two descriptors."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is stored; studies without a Patient ID count as a patient each."""

    patients: int
    studies: int
    series: int
    instances: int


_GONE = Instance(Path("removed"), "", "", "")
"""Stands for an object that was taken out of the index after it was selected: it cannot be sent."""


class Index:
    """The index in one SQLite file; paths in it are relative to `base`.

    whole: false of one that is new, or whose first filling did not come to its end: it must be filled by
        `add(replace_all=True)` before it is believed.

    Raises IndexVersionError (the file is of another schema version or not an index. sqlite3.Error: the file
    cannot be opened).
    """

    def __init__(self, path: Path, *, base: Path | None = None) -> None:
        self._path = path
        self._base = base if base is not None else path.parent
        if not path.exists():
            # the log of an index that was removed must not be played into the new one
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))  # SQLite's own would be for everyone
        # rows just written, by their UIDs: what arrives together belongs to few of them
        self._studies: dict[str, _Row] = {}
        self._series: dict[tuple[int, str], _Row] = {}
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = self._connect()
        try:
            empty = self._check()
            self.whole: bool = self._version() == SCHEMA_VERSION
            self._writer.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing. After a power failure the last transactions may be missing,
            # never half there; the archive then compares index and files. This saves a sync per object.
            self._writer.execute("PRAGMA synchronous = NORMAL")
            if empty:
                self._create()
        except BaseException:
            self._writer.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        # a generator of answers may be driven by another thread at each step, never by two at once
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _check(self) -> bool:
        """True when the file is new; `IndexVersionError` when it is not ours."""
        try:
            version = self._version()
            application = self._writer.execute("PRAGMA application_id").fetchone()[0]
            empty = self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise IndexVersionError(
                f"{self._path.name} is no index ({error}); remove it to have it rebuilt from the files"
            ) from error
        if not empty and (
            application != _APPLICATION_ID or version not in {_UNFINISHED, SCHEMA_VERSION} | _REFILLED
        ):
            raise IndexVersionError(
                f"{self._path.name} has version {version}, this program reads {SCHEMA_VERSION};"
                " remove it to have it rebuilt from the files"
            )
        return bool(empty)

    def _create(self) -> None:
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _version(self) -> int:
        return int(self._writer.execute("PRAGMA user_version").fetchone()[0])

    def _mark_whole(self) -> None:
        self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            self._forget_rows()
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _forget_rows(self) -> None:
        self._studies.clear()
        self._series.clear()

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection that only reads; what one statement returns is one snapshot.

        They are as many as threads read at once, whatever waits for its reader: `READERS_KEPT` of them are
        kept open, the others closed at the end, as is one that was in the middle of something.
        """
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed or connection.in_transaction or len(self._readers) >= READERS_KEPT:
            connection.close()
        else:
            self._readers.append(connection)

    def add(
        self,
        entries: Iterable[Entry],
        *,
        forget: Collection[str] = (),
        replace_all: bool = False,
        new: bool = False,
    ) -> None:
        """Index objects in one transaction, all or none; those already indexed stay as they are.

        new: `locate` has said of every one that it is not indexed.
        forget: SOP Instance UIDs to take out first, their files having vanished.
        replace_all: empty the index first, in the same transaction; it counts as whole from then on.

        Raises sqlite3.Error; nothing was changed then.
        """
        with self._transaction():
            if replace_all or forget or len(self._studies) + len(self._series) > _ROWS_KEPT:
                self._forget_rows()
            if replace_all:
                self._writer.execute("DELETE FROM instances")
                self._writer.execute("DELETE FROM series")
                self._writer.execute("DELETE FROM studies")
            for uid in forget:
                self._writer.execute("DELETE FROM instances WHERE sop_uid = ?", (uid,))
            for entry in entries:
                if new or self.locate(entry.sop_instance_uid) is None:
                    self._add_instance(entry, self._series_of(entry, self._study_of(entry)))
            if forget:
                self._drop_empty()
            if replace_all:
                self._mark_whole()
        self.whole = self.whole or replace_all

    def _study_of(self, entry: Entry) -> int:
        uid = entry.study_uid
        row = self._studies.get(uid)
        if row is None:
            found = self._writer.execute("SELECT id, source FROM studies WHERE study_uid = ?", (uid,))
            row = found.fetchone()
        if row is None or row[1] > entry.source:
            row = self._write_study(entry, row)
        self._studies[uid] = row
        return row[0]

    def _write_study(self, entry: Entry, row: _Row | None) -> _Row:
        """A new study, or one whose earliest object is now this."""
        values = (
            entry.patient_id,
            entry.study_date,
            entry.accession,
            entry.patient,
            entry.study,
            entry.charset,
            entry.source,
            entry.study_uid,
        )
        if row is not None:
            self._writer.execute(
                "UPDATE studies SET patient_id = ?, study_date = ?, accession = ?, patient_attributes = ?,"
                " attributes = ?, charset = ?, source = ? WHERE study_uid = ?",
                values,
            )
            return row[0], entry.source
        cursor = self._writer.execute(
            "INSERT INTO studies (patient_id, study_date, accession, patient_attributes, attributes, charset,"
            " source, study_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return int(cursor.lastrowid or 0), entry.source

    def _series_of(self, entry: Entry, study_id: int) -> int:
        key = study_id, entry.series_uid
        row = self._series.get(key)
        if row is None:
            found = self._writer.execute(
                "SELECT id, source FROM series WHERE study_id = ? AND series_uid = ?", key
            )
            row = found.fetchone()
        if row is None or row[1] > entry.source:
            row = self._write_series(entry, study_id, row)
        self._series[key] = row
        return row[0]

    def _write_series(self, entry: Entry, study_id: int, row: _Row | None) -> _Row:
        """A new series, or one whose earliest object is now this."""
        values = (entry.modality, entry.series, entry.charset, entry.source)
        if row is not None:
            self._writer.execute(
                "UPDATE series SET modality = ?, attributes = ?, charset = ?, source = ? WHERE id = ?",
                (*values, row[0]),
            )
            return row[0], entry.source
        cursor = self._writer.execute(
            "INSERT INTO series (modality, attributes, charset, source, study_id, series_uid)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*values, study_id, entry.series_uid),
        )
        return int(cursor.lastrowid or 0), entry.source

    def _add_instance(self, entry: Entry, series_id: int) -> None:
        self._writer.execute(
            "INSERT INTO instances (series_id, sop_uid, sop_class, transfer_syntax, attributes, charset,"
            " path, data_offset, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                series_id,
                entry.sop_instance_uid,
                entry.sop_class_uid,
                entry.transfer_syntax_uid,
                entry.image,
                entry.charset,
                entry.path,
                entry.data_offset,
                entry.size,
            ),
        )

    def remove(self, sop_instance_uids: Iterable[str]) -> int:
        """Take objects out of the index, and all series and studies that are empty; gives how many objects.

        The attributes of a series or study that stays are left as they are until the next rebuild.
        """
        removed = 0
        with self._transaction():
            self._forget_rows()
            for uid in sop_instance_uids:
                removed += self._writer.execute("DELETE FROM instances WHERE sop_uid = ?", (uid,)).rowcount
            self._drop_empty()
        return removed

    def _drop_empty(self) -> None:
        self._writer.execute("DELETE FROM series WHERE id NOT IN (SELECT series_id FROM instances)")
        self._writer.execute("DELETE FROM studies WHERE id NOT IN (SELECT study_id FROM series)")

    def locate(self, sop_instance_uid: str) -> Instance | None:
        """The object of that UID, for the writing thread; `None` when it is not indexed."""
        row = self._writer.execute(
            f"SELECT {_INSTANCE_COLUMNS} FROM instances WHERE sop_uid = ?",  # noqa: S608 - constant columns
            (sop_instance_uid,),
        ).fetchone()
        return None if row is None else self._stored(row)

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether the object of that UID is indexed, for any thread."""
        with self.reader() as connection:
            found = connection.execute("SELECT 1 FROM instances WHERE sop_uid = ?", (sop_instance_uid,))
            return found.fetchone() is not None

    def stored(self) -> Iterator[Instance]:
        """Every indexed object."""
        with self.reader() as connection:
            for row in connection.execute(f"SELECT {_INSTANCE_COLUMNS} FROM instances"):  # noqa: S608
                yield self._stored(row)

    def _stored(self, row: tuple[str, str, str, str, int, int]) -> Instance:
        path, sop_class, instance, syntax, offset, size = row
        return Instance(self._base / path, sop_class, instance, syntax, offset, size - offset)

    def select(
        self, condition: str, parameters: tuple[str, ...], connection: sqlite3.Connection
    ) -> Selection:
        """The objects a condition on the three tables holds for, series by series in the order of storing.

        `condition` is SQL text of this package, never of a peer; what a peer sent is in `parameters`.
        """
        tables = (
            "FROM studies JOIN series ON series.study_id = studies.id"
            f" JOIN instances ON instances.series_id = series.id WHERE {condition}"
        )
        with connection:  # which ends the transaction, however it goes
            connection.execute("BEGIN")  # both are of one snapshot
            pairs = connection.execute(
                f"SELECT DISTINCT instances.sop_class, instances.transfer_syntax {tables} ORDER BY 1, 2",
                parameters,
            ).fetchall()
            order = "ORDER BY series.study_id, series.id, instances.id"
            rows = connection.execute(f"SELECT instances.id {tables} {order}", parameters)
            found = array("q", (row[0] for row in rows))
        return Selection(found, pairs, self._rows)

    def _rows(self, ids: Sequence[int]) -> list[Instance]:
        """The objects of these rows, in their order; one that is gone is named and has no file."""
        marks = ",".join("?" * len(ids))
        with self.reader() as connection:
            found = connection.execute(
                f"SELECT instances.id, {_INSTANCE_COLUMNS} FROM instances WHERE id IN ({marks})",  # noqa: S608
                tuple(ids),
            )
            rows = {row[0]: self._stored(row[1:]) for row in found}
        return [rows.get(one, _GONE) for one in ids]

    def counts(self) -> Counts:
        """How many patients, studies, series and instances are indexed."""
        with self.reader() as connection:
            row = connection.execute(
                "SELECT (SELECT count(DISTINCT patient_id) FROM studies WHERE patient_id <> '')"
                " + (SELECT count(*) FROM studies WHERE patient_id = ''),"
                " (SELECT count(*) FROM studies), (SELECT count(*) FROM series),"
                " (SELECT count(*) FROM instances)"
            ).fetchone()
        return Counts(*row)

    def close(self) -> None:
        """Close what nobody reads on, and the writing connection, folding the log into the file."""
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        self._writer.close()
