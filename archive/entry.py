"""One object as the rows of the index hold it.

Everything that can go wrong with an object's values goes wrong here, object by object, before any of a group
is published: the index itself only writes texts and numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from ..dimse.levels import Level
from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .attributes import STORED_TEXT
from .record import Record
from .text import Value, decode_items, decode_value, encodings_of

_REMEMBERED = 4096
"""Bytes of a level's values up to which what they decode to is remembered: it is the same for a whole series,
and to decode one code sequence costs as much as all the rest of an object."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object to index; `path` is within the archive, `stored_ns` when it was stored (ns since the epoch).

    `patient`, `study`, `series` and `image` are the attributes of those levels as JSON.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    patient_id: str
    study_date: str
    accession: str
    modality: str
    charset: str
    patient: str
    study: str
    series: str
    image: str
    path: str
    data_offset: int
    size: int
    stored_ns: int
    doubt: str | None = None
    """What of its encoding is against PS3.5; not in the index, for a scan finds it again."""

    @property
    def source(self) -> str:
        """Sorts entries by the time of storing, then by UID."""
        return f"{self.stored_ns:020d} {self.sop_instance_uid}"


def entry_of(record: Record, path: str, data_offset: int, size: int, stored_ns: int) -> Entry:
    """Read the values of a checked object.

    Raises ValueError or what else a value that is no text leads to: the object cannot be indexed.
    """
    (_, patient), (study, of_study) = _level(record, Level.PATIENT), _level(record, Level.STUDY)
    (series, of_series), (_, image) = _level(record, Level.SERIES), _level(record, Level.IMAGE)
    entry = Entry(
        sop_class_uid=record.sop_class_uid,
        sop_instance_uid=record.sop_instance_uid,
        transfer_syntax_uid=record.transfer_syntax_uid,
        study_uid=record.study_uid,
        series_uid=record.series_uid,
        patient_id=record.patient_id,
        study_date=_day(study.get("StudyDate")),
        accession=_plain(study.get("AccessionNumber")),
        modality=_plain(series.get("Modality")),
        charset=record.charset,
        patient=patient,
        study=of_study,
        series=of_series,
        image=image,
        path=path,
        data_offset=data_offset,
        size=size,
        stored_ns=stored_ns,
        doubt=record.doubt,
    )
    # a lone surrogate would be found by SQLite only, in the middle of a group
    "".join((entry.patient, entry.study, entry.series, entry.image, entry.patient_id, entry.path)).encode()
    return entry


def _level(record: Record, level: Level) -> tuple[dict[str, Value], str]:
    """The indexed attributes of a level by keyword, those without a value left out; and as JSON."""
    raws = tuple(record.values.get(kept.tag) or b"" for kept in STORED_TEXT[level])
    same = level is not Level.IMAGE and sum(map(len, raws)) <= _REMEMBERED
    return (_known if same else _decoded)(level, record.transfer_syntax_uid, record.charset, raws)


def _decoded(
    level: Level, transfer_syntax_uid: str, charset: str, raws: tuple[bytes, ...]
) -> tuple[dict[str, Value], str]:
    encodings = encodings_of(charset)
    big = transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    found: dict[str, Value] = {}
    for kept, raw in zip(STORED_TEXT[level], raws, strict=True):
        if not raw:
            continue
        value: Value
        if kept.vr == "SQ":
            value = decode_items(raw, encodings, implicit, big)
        else:
            value = decode_value(raw, kept.vr, encodings, big)
        if value:
            found[kept.keyword] = value
    return found, json.dumps(found, ensure_ascii=False, separators=(",", ":"))


_known = lru_cache(maxsize=256)(_decoded)


def _plain(value: Value | None) -> str:
    return value.strip(" ") if isinstance(value, str) else ""


def _day(value: Value | None) -> str:
    """A study date as YYYYMMDD, so that ranges of days are ranges of text; as it came when it is no date."""
    text = _plain(value)
    return text.replace(".", "") if len(text) == 10 else text
