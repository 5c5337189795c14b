"""Identifiers of queries and retrieves: from keywords and Python values to data sets (PS3.4 C.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..dataset.coding import encode_dataset, encode_text_elements
from ..dimse.levels import Level, QueryError, Root, check_query, find_model, get_model, move_model, unique_key
from ..pdu.uids import IMPLICIT_VR_LITTLE_ENDIAN, UNCOMPRESSED
from .keys import Putting, check_keys, given, key_of, named, settle_character_set

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a retrieve asks and is told: tag and VR of each, so that it needs no dictionary.
PLAN_KEYS = {
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "QueryRetrieveLevel": (0x00080052, "CS"),
    "RetrieveAETitle": (0x00080054, "AE"),
    "InstanceAvailability": (0x00080056, "CS"),
    "AvailableTransferSyntaxUID": (0x00083002, "UI"),
    "PatientID": (0x00100020, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A SOP class and the identifier to send to it.

    exact: the values that are `literal`, by the tags that lead to them.
    """

    model: str
    level: Level
    root: Root
    identifier: Dataset | Mapping[str, str]
    exact: Mapping[tuple[int, ...], str] = field(default_factory=dict)

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
            putting = Putting(dataset)
            for keyword, value in identifier.items():
                putting.put(keyword, value)
            settle_character_set(dataset)
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


def parse_model(level: Level | str, root: Root | str | None) -> tuple[Level, Root | None, Root]:
    """Level, the root that was named, and the one a request is checked against before anything is sent.

    Where none was named it is chosen later, by what the peer accepted. Raises QueryError for other words.
    """
    wanted = Level.parse(level)
    if root is None:
        return wanted, None, Root.PATIENT if wanted is Level.PATIENT else Root.STUDY
    named = parse_root(root)
    return wanted, named, named


def build_query(
    level: Level | str, root: Root | str, match: Mapping[str, object] | Dataset, return_keys: Iterable[str]
) -> Query:
    """A C-FIND's identifier; the unique key of the level is always asked for.

    Raises QueryError for an unknown keyword (naming near ones), for a level that does not fit and for a value
    that its VR does not allow.
    """
    from pydicom.dataset import Dataset

    wanted_level, wanted_root = Level.parse(level), parse_root(root)
    keys = [key_of(key) for key in ([return_keys] if isinstance(return_keys, str | int) else return_keys)]
    check_query(wanted_level, wanted_root, [])
    said = str(match.get("QueryRetrieveLevel") or wanted_level.value)
    wanted = given(match) if isinstance(match, Dataset) else {key_of(key): one for key, one in match.items()}
    for key in list(wanted):
        if named(key) == "QueryRetrieveLevel":
            said = str(wanted.pop(key) or said)
    if said.strip() != wanted_level.value:
        raise QueryError(f"QueryRetrieveLevel {said!r:.40} in a query at the level {wanted_level.value}")
    check_keys(wanted_level, wanted_root, [*wanted, *keys])
    identifier = Dataset()
    identifier.SpecificCharacterSet = ""  # some peers tell it to those alone who ask
    putting = Putting(identifier)
    for key in [unique_key(wanted_level), *keys]:
        putting.put(key, "")
    for key, value in wanted.items():
        putting.put(key, value)
    identifier.QueryRetrieveLevel = wanted_level.value
    settle_character_set(identifier)
    return Query(find_model(wanted_root), wanted_level, wanted_root, identifier, putting.exact)


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
