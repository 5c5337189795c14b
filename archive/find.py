"""Answers to compiled C-FIND identifiers out of the index (PS3.4 C.4.1.3).

Answers are built one by one from pages of rows, so that their number costs eight bytes each, and no snapshot
is held between pages: a peer that reads slowly must not keep the index's log from being folded into its file.
"""
# ruff: noqa: S608 - every fragment of SQL here is a constant of this package; values are bound

from __future__ import annotations

import functools
import json
import threading
from array import array
from collections.abc import Generator, Iterator, Sequence
from time import monotonic
from typing import cast

from pydicom.dataset import Dataset

from ..dimse.levels import Level
from ..dimse.status import PENDING, PENDING_WARNING, Status
from .answers import Answers, Tell
from .attributes import Attribute
from .errors import GivenUp
from .index import Index
from .query import CompiledQuery
from .search import Search
from .text import Value

_FETCH = 256
TAKEN_WITHIN = 0.1
"""Seconds after which a search comes back with what it has, if with nothing: others have their turn then."""
_COUNTS_KEPT = 10_000
"""Computed values kept during a query: one for each patient, study or series, not one for each row."""


class Matches(Iterator[Dataset]):
    """The answers to a query, found as they are asked for, on any thread; `close` it when given up early.

    Between two of them it holds neither a connection nor a descriptor, however long it waits for its reader.

    pending_status: FF00H, or FF01H when some key is not supported.
    unsupported: tags of such keys; they match everything and answers leave them out.
    """

    def __init__(self, index: Index, query: CompiledQuery, retrieve_ae: str | None, search: Search) -> None:
        self.unsupported: tuple[int, ...] = query.unsupported
        self.pending_status: Status = PENDING_WARNING if query.unsupported else PENDING
        self._lock = threading.Lock()
        self._index = index
        self._search = search
        self._answers = Answers(query, retrieve_ae)
        self._found = _matching(search, query)

    def __next__(self) -> Dataset:
        with self._lock:
            try:
                with self._search.step(self._index):
                    for entity in self._found:
                        if entity is not None:
                            return self._answers.dataset(entity)
            except GivenUp:
                self._found.close()
            raise StopIteration

    def take(self, transfer_syntax: str, count: int, size: int, tell: Tell) -> tuple[list[bytes], bool]:
        """The next answers as bytes: `count` of them, or as many as make `size` bytes or are found within
        `TAKEN_WITHIN`; and whether there are no more. `tell` is told of what cannot be encoded.
        """
        taken: list[bytes] = []
        until = monotonic() + TAKEN_WITHIN
        with self._lock:
            try:
                with self._search.step(self._index):
                    for entity in self._found:
                        if entity is not None:
                            taken.append(self._answers.encoded(entity, transfer_syntax, tell))
                            size -= len(taken[-1])
                        if len(taken) == count or size <= 0 or monotonic() > until:
                            return taken, False
            except GivenUp:
                self._found.close()
        return taken, True

    def give_up(self) -> None:
        """Stop a search that is running on another thread, even inside one statement. Waits for nothing."""
        self._search.give_up()

    def close(self) -> None:
        """No further answers. Stops a search that is running on another thread."""
        self.give_up()
        with self._lock:
            self._found.close()


def _matching(search: Search, query: CompiledQuery) -> Generator[_Entity | None, None, None]:
    """Yield what matches, and None for what was looked at and does not.

    What is answered is what matched when the first was taken, as it is when it is looked at; what was taken
    out since is left out. Each answer is sought on the connection of its step.
    """
    answered = ""
    counts: dict[tuple[str, object], str] = {}
    for entity in _entities(search, query, counts):
        search.check()
        if query.level is Level.PATIENT and entity.patient_id and entity.patient_id == answered:
            continue  # another study of the patient just answered
        for number, test in enumerate(query.tests):
            if number:
                yield None  # each key may take some milliseconds
            if not test.holds(entity.value):
                yield None
                break
        else:
            answered = entity.patient_id
            yield entity


@functools.lru_cache(maxsize=64)  # neighbouring answers share their study and series
def _parsed(attributes: str) -> dict[str, Value]:
    return cast(dict[str, Value], json.loads(attributes))


class _Entity:
    """One patient, study, series or instance; its attributes are parsed and counted when asked for."""

    __slots__ = ("_counts", "_raw", "_search", "charsets", "patient_id", "row")

    def __init__(self, search: Search, row: Sequence[object], counts: dict[tuple[str, object], str]) -> None:
        self._search = search
        self._counts = counts
        self.row = row
        self.patient_id = str(row[_PATIENT_AT])
        self._raw = {
            Level.PATIENT: row[3],
            Level.STUDY: row[4],
            Level.SERIES: row[8] if len(row) > 8 else None,
            Level.IMAGE: row[13] if len(row) > 13 else None,
        }
        self.charsets = [str(row[at]) for at in (14, 9, 5) if at < len(row)]

    def value(self, kept: Attribute) -> Value:
        """The value of a key, "" when there is none."""
        if kept.computed:
            return self._compute(kept.keyword)
        if kept.keyword in _ROW_VALUES:
            return str(self.row[_ROW_VALUES[kept.keyword]])
        raw = self._raw[kept.level]
        return _parsed(raw).get(kept.keyword, "") if isinstance(raw, str) else ""

    def _compute(self, keyword: str) -> str:
        if keyword == "AvailableTransferSyntaxUID":
            return str(self.row[_SYNTAX_AT])
        if keyword.startswith("NumberOfPatientRelated") and not self.patient_id:
            scope, parameter = "studies.id = ?", self.row[_STUDY_AT]
        elif keyword.startswith("NumberOfPatientRelated"):
            scope, parameter = "studies.patient_id = ?", self.patient_id
        elif keyword == "NumberOfSeriesRelatedInstances":
            scope, parameter = "series.id = ?", self.row[_SERIES_AT]
        else:
            scope, parameter = "studies.id = ?", self.row[_STUDY_AT]
        known = self._counts.get((keyword, parameter))
        if known is None:
            rows = self._search.connection.execute(_COMPUTED_SQL[keyword].format(scope), (parameter,))
            known = "\\".join(str(row[0]) for row in rows)
            if len(self._counts) >= _COUNTS_KEPT:
                self._counts.clear()
            self._counts[keyword, parameter] = known
        return known


_STUDY_AT = 0
_PATIENT_AT = 1
_SERIES_AT = 6
_SYNTAX_AT = 12
_ROW_VALUES = {
    "PatientID": 1,
    "StudyInstanceUID": 2,
    "SeriesInstanceUID": 7,
    "SOPInstanceUID": 10,
    "SOPClassUID": 11,
}
_STUDY_COLUMNS = (
    "studies.id, studies.patient_id, studies.study_uid, studies.patient_attributes, studies.attributes,"
    " studies.charset"
)
_SERIES_COLUMNS = ", series.id, series.series_uid, series.attributes, series.charset"
_IMAGE_COLUMNS = (
    ", instances.sop_uid, instances.sop_class, instances.transfer_syntax, instances.attributes,"
    " instances.charset, instances.id"
)
_JOIN_SERIES = " JOIN series ON series.study_id = studies.id"
_JOIN_IMAGES = " JOIN instances ON instances.series_id = series.id"
_ALL = f" FROM studies{_JOIN_SERIES}{_JOIN_IMAGES} WHERE {{}}"

_COMPUTED_SQL = {
    "NumberOfPatientRelatedStudies": "SELECT count(*) FROM studies WHERE {}",
    "NumberOfPatientRelatedSeries": f"SELECT count(*) FROM studies{_JOIN_SERIES} WHERE {{}}",
    "NumberOfPatientRelatedInstances": "SELECT count(*)" + _ALL,
    "NumberOfStudyRelatedSeries": f"SELECT count(*) FROM studies{_JOIN_SERIES} WHERE {{}}",
    "NumberOfStudyRelatedInstances": "SELECT count(*)" + _ALL,
    "NumberOfSeriesRelatedInstances": "SELECT count(*)" + _ALL,
    "ModalitiesInStudy": (
        f"SELECT DISTINCT series.modality FROM studies{_JOIN_SERIES}"
        " WHERE {} AND series.modality <> '' ORDER BY 1"
    ),
    "SOPClassesInStudy": f"SELECT DISTINCT instances.sop_class{_ALL} ORDER BY 1",
}

_TABLES = {
    Level.PATIENT: (f"{_STUDY_COLUMNS} FROM studies", "studies.id", 0),
    Level.STUDY: (f"{_STUDY_COLUMNS} FROM studies", "studies.id", 0),
    Level.SERIES: (f"{_STUDY_COLUMNS}{_SERIES_COLUMNS} FROM studies{_JOIN_SERIES}", "series.id", 6),
    Level.IMAGE: (
        f"{_STUDY_COLUMNS}{_SERIES_COLUMNS}{_IMAGE_COLUMNS} FROM studies{_JOIN_SERIES}{_JOIN_IMAGES}",
        "instances.id",
        15,
    ),
}
"""By level: columns and tables, the key of a row, and where that stands among the columns."""


def _entities(
    search: Search, query: CompiledQuery, counts: dict[tuple[str, object], str]
) -> Iterator[_Entity]:
    columns, key, at = _TABLES[query.level]
    tables = columns[columns.index(" FROM ") :]
    order = " ORDER BY studies.patient_id, studies.source" if query.level is Level.PATIENT else ""
    found = search.connection.execute(
        f"SELECT {key}{tables} WHERE {query.condition}{order}", query.parameters
    )
    keys = array("q", (row[0] for row in found))
    for start in range(0, len(keys), _FETCH):
        page = keys[start : start + _FETCH]
        marks = ",".join("?" * len(page))
        found = search.connection.execute(f"SELECT {columns} WHERE {key} IN ({marks})", tuple(page))
        by_key = {row[at]: row for row in found}
        for one in page:
            if one in by_key:
                yield _Entity(search, by_key[one], counts)
