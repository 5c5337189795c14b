"""Identifiers of queries and retrieves: from keywords and Python values to data sets (PS3.4 C.4)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dataset.coding import encode_dataset, encode_text_elements
from ..dimse.levels import Level, QueryError, Root, check_query, find_model, get_model, move_model, unique_key
from ..pdu.uids import IMPLICIT_VR_LITTLE_ENDIAN, UNCOMPRESSED

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a retrieve asks and is told: tag and VR of each, so that it needs no dictionary.
PLAN_KEYS = {
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "QueryRetrieveLevel": (0x00080052, "CS"),
    "AvailableTransferSyntaxUID": (0x00083002, "UI"),
    "PatientID": (0x00100020, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
}


_NUMBERS = frozenset({"US", "SS", "UL", "SL", "FD", "FL"})


@dataclass(frozen=True, slots=True)
class Query:
    """A SOP class and the identifier to send to it."""

    model: str
    level: Level
    root: Root
    identifier: Dataset | Mapping[str, str]

    def encode(self, transfer_syntax: str) -> bytes:
        """The identifier in the syntax of its context."""
        identifier = self.identifier
        if isinstance(identifier, Mapping):
            elements = sorted((*PLAN_KEYS[keyword], value) for keyword, value in identifier.items())
            if transfer_syntax in UNCOMPRESSED:
                implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
                encoded = encode_text_elements(elements, implicit=implicit)
                if encoded is not None:
                    return encoded
            from pydicom.dataset import Dataset

            dataset = Dataset()
            for keyword, value in identifier.items():
                _set(dataset, keyword, value)
            _character_set(dataset)
            return encode_dataset(dataset, transfer_syntax)
        return encode_dataset(identifier, transfer_syntax)


def parse_root(root: Root | str) -> Root:
    """The root of that name in any case: PATIENT or STUDY. Raises QueryError for another word."""
    if isinstance(root, Root):
        return root
    try:
        return Root(root.strip().upper())
    except ValueError:
        raise QueryError(f"no such root: {root[:32]!r}; one of PATIENT, STUDY") from None


def _text(vr: str, value: object) -> object:
    """A Python value as the text a matching key holds: dates, times, pairs of them as ranges, lists."""
    if isinstance(value, datetime.datetime):
        return value.strftime({"DA": "%Y%m%d", "TM": "%H%M%S"}.get(vr, "%Y%m%d%H%M%S"))
    if isinstance(value, datetime.date):
        return value.strftime("%Y%m%d")
    if isinstance(value, datetime.time):
        return value.strftime("%H%M%S")
    if value is None:
        return ""
    if vr in ("DA", "TM", "DT") and isinstance(value, tuple) and len(value) == 2:
        return "-".join(str(_text(vr, part)) for part in value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_text(vr, part) for part in value]
    if vr in _NUMBERS and value != "":
        return float(str(value)) if vr in ("FD", "FL") else int(str(value))
    return str(value)


def _set(identifier: Dataset, keyword: str, value: object) -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    vr = dictionary_VR(keyword)
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if vr == "SQ":
        if value not in ("", None) and not isinstance(value, Dataset | Sequence):
            raise QueryError(f"{keyword} is a sequence: match it with a pydicom Dataset")
        items = [value] if isinstance(value, Dataset) else (value or [Dataset()])
        identifier.add_new(tag, "SQ", Sequence(items))  # type: ignore[arg-type]
        return
    try:
        identifier.add_new(tag, vr, _text(vr, value))
    except (ValueError, TypeError, OverflowError) as error:
        raise QueryError(f"{keyword} ({vr}) cannot be matched with {value!r}: {error}") from None


def _character_set(identifier: Dataset) -> None:
    """Say UTF-8 when a key is not ASCII (PS3.4 C.2.2.2)."""
    if not all(str(element.value).isascii() for element in identifier if element.VR != "SQ"):
        identifier.SpecificCharacterSet = "ISO_IR 192"


def build_query(
    level: Level | str, root: Root | str, match: Mapping[str, object], return_keys: Iterable[str]
) -> Query:
    """A C-FIND's identifier; the unique key of the level is always asked for.

    Raises QueryError for an unknown keyword (naming near ones) and for a level that does not fit.
    """
    wanted_level, wanted_root = Level.parse(level), parse_root(root)
    keys = [return_keys] if isinstance(return_keys, str) else list(return_keys)
    check_query(wanted_level, wanted_root, match, keys)
    from pydicom.dataset import Dataset

    identifier = Dataset()
    identifier.QueryRetrieveLevel = wanted_level.value
    for keyword in [unique_key(wanted_level), *keys]:
        _set(identifier, keyword, "")
    for keyword, value in match.items():
        _set(identifier, keyword, value)
    _character_set(identifier)
    return Query(find_model(wanted_root), wanted_level, wanted_root, identifier)


def build_plan(root: Root, match: Mapping[str, str], keys: Iterable[str]) -> Query:
    """A C-FIND at the image level for what a retrieve will bring: keys of `PLAN_KEYS` only."""
    identifier = {"SOPInstanceUID": "", **dict.fromkeys(keys, ""), **match}
    identifier["QueryRetrieveLevel"] = Level.IMAGE.value
    return Query(find_model(root), Level.IMAGE, root, identifier)


def build_retrieve(
    service: str, level: Level, root: Root, uids: Iterable[str], parents: Mapping[str, str]
) -> Query:
    """A C-GET's or C-MOVE's identifier: unique keys only (PS3.4 C.4.2.1.4)."""
    identifier = {**parents, unique_key(level): "\\".join(uids), "QueryRetrieveLevel": level.value}
    model = get_model(root) if service == "C-GET" else move_model(root)
    return Query(model, level, root, identifier)
