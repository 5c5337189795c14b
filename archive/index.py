"""The archive's index: what is stored, in SQLite, so that a query never opens an image.

Three tables mirror study, series and instance, two hold the words that `words` finds rows by. The patient's
attributes are held with each study, as that study brought them: when studies of one Patient ID carry
different names, each is found by its own, and the PATIENT level has one answer per Patient ID, made from the
first stored study that matches. Studies without a Patient ID are never taken for one patient. A series UID
that comes in two studies is two series. A row's attributes are those of the earliest stored object below it,
so that an index rebuilt from the files equals the one it replaces.

One thread writes (the archive's); any number read, each with a connection and a snapshot of its own.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..dataset.instance import Instance
from . import words
from .entry import Entry
from .errors import IndexVersionError, UnusableArchive
from .files import FILE_MODE
from .selection import Selection

log: logging.Logger = logging.getLogger("aiodicom.archive")

SCHEMA_VERSION = 4
"""Raised also where what is in an index was read wrongly: 2 knows ISO 2022 IR 58 and ISO_IR 203,
3 items with a character set of their own; 4 has words."""
_REFILLED = frozenset({1, 2})
"""Versions to be filled anew from the files."""
_WITHOUT_WORDS = 3
"""The version whose rows are right and have no words yet."""
_APPLICATION_ID = 0x41444358
_UNFINISHED = 0
"""The version of an index that was made and not yet filled: what is in it says nothing of the files."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
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
CREATE INDEX IF NOT EXISTS studies_by_patient ON studies (patient_id, source);
CREATE INDEX IF NOT EXISTS studies_by_date ON studies (study_date);
CREATE INDEX IF NOT EXISTS studies_by_accession ON studies (accession);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    series_uid TEXT NOT NULL,
    modality TEXT NOT NULL,
    attributes TEXT NOT NULL,
    charset TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (study_id, series_uid)
);
CREATE INDEX IF NOT EXISTS series_by_uid ON series (series_uid);
CREATE TABLE IF NOT EXISTS instances (
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
CREATE INDEX IF NOT EXISTS instances_by_series ON instances (series_id, sop_class);
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
        beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
        for one in (path, *beside):
            if os.path.lexists(one) and (not one.is_file() or (one is not path and one.is_symlink())):
                raise UnusableArchive(f"{one} is no file: move it away; the index is made from the objects")
        if not path.exists():
            # the log of an index that was removed must not be played into the new one
            for one in beside:
                one.unlink(missing_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))  # SQLite's own would be for everyone
        # rows just written, by their UIDs: what arrives together belongs to few of them
        self._studies: dict[str, _Row] = {}
        self._series: dict[tuple[int, str], _Row] = {}
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = self._connect()
        try:
            self._check()
            self._writer.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing. After a power failure the last transactions may be missing,
            # never half there; the archive then compares index and files. This saves a sync per object.
            self._writer.execute("PRAGMA synchronous = NORMAL")
            if self._version() != SCHEMA_VERSION:
                self._create()
            self.whole: bool = self._version() == SCHEMA_VERSION
        except BaseException:
            self._writer.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        # a generator of answers may be driven by another thread at each step, never by two at once
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _check(self) -> None:
        """Raise `IndexVersionError` when the file is not ours."""
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
            application != _APPLICATION_ID
            or version not in {_UNFINISHED, _WITHOUT_WORDS, SCHEMA_VERSION} | _REFILLED
        ):
            raise IndexVersionError(
                f"{self._path.name} has version {version}, this program reads {SCHEMA_VERSION};"
                " remove it to have it rebuilt from the files"
            )

    def _create(self) -> None:
        """Make the tables that are not there; those of an older version get their words."""
        version = self._version()
        if version in _REFILLED:
            log.warning("%s has version %d: it is filled anew from the objects", self._path.name, version)
        with self._transaction():
            for statement in (_SCHEMA + words.SCHEMA).split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            if version == _WITHOUT_WORDS:
                log.warning("%s has version %d: names and descriptions are indexed", self._path.name, version)
                words.write_all(self._writer)
                self._mark_whole()

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
        doubled: Callable[[Entry], None] | None = None,
    ) -> int:
        """Index objects in one transaction, all or none; gives how many. Those indexed stay as they are.

        new: `locate` has said of every one that it is not indexed.
        forget: SOP Instance UIDs to take out first, their files having vanished.
        replace_all: empty the index first, in the same transaction; it counts as whole from then on.
        doubled: told of those whose UID is indexed already.

        Raises sqlite3.Error; nothing was changed then.
        """
        with self._transaction():
            if replace_all or forget or len(self._studies) + len(self._series) > _ROWS_KEPT:
                self._forget_rows()
            if replace_all:
                for table in ("study_words", "series_words", "instances", "series", "studies"):
                    self._writer.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names
            emptied = self._take_out(forget)
            added = 0
            for entry in entries:
                if new or self.locate(entry.sop_instance_uid) is None:
                    self._add_instance(entry, self._series_of(entry, self._study_of(entry)))
                    added += 1
                elif doubled is not None:
                    doubled(entry)
            self._drop_empty(emptied)
            if replace_all:
                self._mark_whole()
        self.whole = self.whole or replace_all
        return added

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
            words.write_study(self._writer, row[0], entry.patient, entry.study, new=False)
            return row[0], entry.source
        cursor = self._writer.execute(
            "INSERT INTO studies (patient_id, study_date, accession, patient_attributes, attributes, charset,"
            " source, study_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        study_id = int(cursor.lastrowid or 0)
        words.write_study(self._writer, study_id, entry.patient, entry.study, new=True)
        return study_id, entry.source

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
            words.write_series(self._writer, row[0], entry.series, new=False)
            return row[0], entry.source
        cursor = self._writer.execute(
            "INSERT INTO series (modality, attributes, charset, source, study_id, series_uid)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*values, study_id, entry.series_uid),
        )
        series_id = int(cursor.lastrowid or 0)
        words.write_series(self._writer, series_id, entry.series, new=True)
        return series_id, entry.source

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
        uids = list(sop_instance_uids)
        with self._transaction():
            self._forget_rows()
            emptied = self._take_out(uids)
            self._drop_empty(emptied)
        return len(emptied)

    def _take_out(self, uids: Iterable[str]) -> list[int]:
        """Remove instances; gives the series of each."""
        touched = []
        for uid in uids:
            row = self._writer.execute(
                "SELECT id, series_id FROM instances WHERE sop_uid = ?", (uid,)
            ).fetchone()
            if row is not None:
                self._writer.execute("DELETE FROM instances WHERE id = ?", row[:1])
                touched.append(row[1])
        return touched

    def _drop_empty(self, series: Iterable[int]) -> None:
        """Remove those of these series, and of their studies, in which nothing is left."""
        for one in set(series):
            study = self._writer.execute("SELECT study_id FROM series WHERE id = ?", (one,)).fetchone()
            self._writer.execute(
                "DELETE FROM series WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM instances WHERE series_id = series.id)",
                (one,),
            )
            self._writer.execute(
                "DELETE FROM studies WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM series WHERE study_id = studies.id)",
                study,
            )

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
