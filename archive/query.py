"""Identifiers compiled: the checks and keys of a C-FIND, the choice of objects of a C-GET or C-MOVE.

A compiled key is a test on an attribute and, where SQL can decide without missing a match (UIDs, Patient ID,
days, modality, words of names and descriptions), a condition that narrows the rows first. What a peer sent
reaches SQL only as a parameter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from ..dataset.charset import texts, unknown_term
from ..dimse.levels import GENERAL_KEYWORDS, Level, QueryError, Root, levels, unique_key
from .attributes import ATTRIBUTES, Attribute, attribute
from .errors import IdentifierError
from .index import Index
from .matching import (
    NOT_OF_MODEL,
    Check,
    ItemValues,
    Matcher,
    compile_key,
    compile_sequence,
    nobody_minds,
)
from .matching_time import combined_range
from .search import Search
from .selection import Selection
from .text import BINARY, BINARY_NUMBERS, Items, Value, encodings_of, key_value, unreadable
from .words import Narrowed, best_of, condition_of

_LEVEL = 0x00080052
_CHARSET = 0x00080005
_TIMEZONE = 0x00080201
_AVAILABILITY = 0x00080056
_PATIENT_ID = 0x00100020
_GENERAL = frozenset(int(Tag(keyword)) for keyword in GENERAL_KEYWORDS)
_MAX_KEYS = 512
_NUMERIC = BINARY_NUMBERS | {"IS", "DS"}

_COLUMNS = {
    "PatientID": "studies.patient_id",
    "StudyInstanceUID": "studies.study_uid",
    "StudyDate": "studies.study_date",
    "AccessionNumber": "studies.accession",
    "SeriesInstanceUID": "series.series_uid",
    "Modality": "series.modality",
    "SOPInstanceUID": "instances.sop_uid",
    "SOPClassUID": "instances.sop_class",
}
_NAMING = frozenset(
    {"PatientID", "StudyInstanceUID", "AccessionNumber", "SeriesInstanceUID", "SOPInstanceUID"}
)
"""Keys of which a value has few answers."""
_TIMES = {one.keyword for one in ATTRIBUTES.values() if one.vr == "TM"}
_MOMENTS = tuple(
    (one.keyword, one.keyword.replace("Date", "Time"))
    for one in ATTRIBUTES.values()
    if one.vr == "DA" and one.keyword.replace("Date", "Time") in _TIMES
)
"""Dates and the times that belong to them."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """A key that decides: on text, or on items when it is a sequence."""

    attribute: Attribute
    passes: Callable[[Value], bool]

    def holds(self, value_of: Callable[[Attribute], Value]) -> bool:
        """Whether an entity passes, which gives its values when asked."""
        return self.passes(value_of(self.attribute))


@dataclass(frozen=True, slots=True)
class Moments:
    """A date and a time of which both keys are ranges, matched as one (PS3.4 C.2.2.2.5, where negotiated)."""

    date: Attribute
    time: Attribute
    passes: Callable[[str, str], bool]

    def holds(self, value_of: Callable[[Attribute], Value]) -> bool:
        """Whether an entity passes, which gives its values when asked."""
        date, time = value_of(self.date), value_of(self.time)
        return isinstance(date, str) and isinstance(time, str) and self.passes(date, time)


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """A compiled identifier.

    tests: the keys that decide.
    wanted: the keys answers carry.
    unsupported: tags asked for that answers leave out and that match everything.
    availability: Instance Availability (0008,0056) is asked for.
    condition: SQL every match meets, with `parameters` bound to it.
    """

    level: Level
    tests: tuple[Criterion | Moments, ...]
    wanted: tuple[Attribute, ...]
    unsupported: tuple[int, ...]
    availability: bool
    condition: str
    parameters: tuple[str, ...]


def level_of(identifier: Dataset, root: Root, level: Level | str | None) -> Level:
    """The level asked for, from `level` or else from (0008,0052).

    Raises IdentifierError (there is none, it is no level, or not one of the root).
    """
    try:
        word = level
        if word is None:
            word = cast(str, key_value(identifier, Tag(_LEVEL), encodings_of(""))[1])
            if not word:
                raise IdentifierError("no Query/Retrieve Level", (_LEVEL,), NOT_OF_MODEL)
        parsed = Level.parse(word)
    except QueryError:
        raise IdentifierError("no such Query/Retrieve Level", (_LEVEL,), NOT_OF_MODEL) from None
    if parsed not in levels(root):
        raise IdentifierError(f"no {parsed.value} level in this model", (_LEVEL,), NOT_OF_MODEL)
    return parsed


def compile_query(
    identifier: Dataset,
    root: Root,
    level: Level | str | None = None,
    *,
    relational: bool = True,
    check: Check = nobody_minds,
    combined: bool = False,
    every: bool = False,
) -> CompiledQuery:
    """Check an identifier and compile its keys.

    Keys that are unknown, private or belong below the level are not supported: they match everything and are
    left out of the answers (PS3.4 C.2.2.1.3).

    relational: when false, the unique keys of the levels above must have single values (PS3.4 C.4.1.2.1).
    check: called before keys are compiled, and between comparisons of one key with one value; it may raise.
    combined: whether ranges of a date and of its time are one range of moments (PS3.4 C.5.1.1, byte 2).
    every: whether each of several values of a key is to match (byte 7).

    Raises IdentifierError (the level or a key cannot be used).
    """
    asked = level_of(identifier, root, level)
    tags = [tag for tag in sorted(identifier.keys()) if tag.element != 0]
    if len(tags) > _MAX_KEYS:
        raise IdentifierError(f"more than {_MAX_KEYS} keys", (), NOT_OF_MODEL)
    encodings = _encodings(identifier)
    tests, wanted, unsupported, where = list[Criterion](), list[Attribute](), list[int](), _Where()
    for tag in tags:
        check()
        kept = attribute(int(tag), root, asked)
        if kept is None:
            unsupported += _judged(identifier, tag, encodings, check) if int(tag) not in _GENERAL else []
            continue
        wanted.append(kept)
        test = _compile(identifier, kept, encodings, where, check, every=every)
        if test is not None:
            tests.append(test)
    if not relational:
        _require_upper_keys(identifier, root, asked, encodings)
    return CompiledQuery(
        asked,
        tuple(_combined(tests, identifier, encodings) if combined else tests),
        tuple(wanted),
        tuple(unsupported),
        Tag(_AVAILABILITY) in identifier,
        *where.joined(),
    )


def _combined(
    tests: Sequence[Criterion], identifier: Dataset, encodings: Sequence[str]
) -> list[Criterion | Moments]:
    """With one test for each date and time that are both asked for."""
    by_keyword = {test.attribute.keyword: test.attribute for test in tests}
    pairs = [(by_keyword[one], by_keyword[two]) for one, two in _MOMENTS if {one, two} <= by_keyword.keys()]
    found: list[Criterion | Moments] = []
    taken: set[int] = set()
    for date, time in pairs:
        keys = [_plain_value(identifier, one.tag, encodings) for one in (date, time)]
        passes = combined_range(*keys)
        if passes is not None:
            found.append(Moments(date, time, passes))
            taken |= {date.tag, time.tag}
    return found + [test for test in tests if test.attribute.tag not in taken]


def _encodings(identifier: Dataset) -> list[str]:
    """Codecs of an identifier's text.

    Raises IdentifierError (its character set is none that is known, and it has text that needs one).
    """
    charset = _plain_value(identifier, _CHARSET, encodings_of(""))
    if unknown_term(charset.split("\\")) is not None and not all(
        text.isascii() for _, text in texts(identifier)
    ):
        raise IdentifierError("an unknown character set", (_CHARSET,))
    return encodings_of(charset)


def _tag(keyword: str) -> int:
    return int(Tag(keyword))


def _plain_value(identifier: Dataset, tag: int, encodings: Sequence[str]) -> str:
    if Tag(tag) not in identifier:
        return ""
    value = key_value(identifier, Tag(tag), encodings)[1]
    return value if isinstance(value, str) else ""


def _require_upper_keys(identifier: Dataset, root: Root, asked: Level, encodings: Sequence[str]) -> None:
    for above in levels(root):
        if above < asked:
            tag = _tag(unique_key(above))
            value = _plain_value(identifier, tag, encodings)
            if not value or any(sign in value for sign in "*?\\"):
                raise IdentifierError(f"no single {unique_key(above)}", (tag,), NOT_OF_MODEL)


class _Where:
    """Conditions every answer meets, gathered while the keys are compiled.

    Words of names and descriptions count only where nothing names what is wanted: else the list of all that
    have one would be made to look at one study.
    """

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self._parameters: list[str] = []
        self._words: list[Narrowed] = []
        self._named = False

    def joined(self) -> tuple[str, tuple[str, ...]]:
        """All of them as SQL, and what is bound to it."""
        words = [] if self._named else best_of(self._words)
        conditions = self._conditions + [one.condition for one in words]
        bound = [*self._parameters, *(value for one in words for value in one.parameters)]
        return " AND ".join(conditions) or "1", tuple(bound)

    def narrow(self, kept: Attribute, matcher: Matcher) -> None:
        """Put into SQL what it can decide of a key without missing a match."""
        keyword = kept.keyword
        column = _COLUMNS.get(keyword)
        self._named |= keyword in _NAMING and matcher.exact is not None
        if keyword == "ModalitiesInStudy" and matcher.exact is not None:
            self._one_of(
                matcher.exact,
                "EXISTS (SELECT 1 FROM series AS any_series"
                " WHERE any_series.study_id = studies.id AND any_series.modality {})",
            )
        if column is None:
            words = condition_of(kept, matcher)
            self._words += [words] if words is not None else []
            return
        if matcher.exact is not None:
            self._one_of(matcher.exact, column + " {}")
        elif matcher.prefix is not None:
            self._add(f"{column} >= ?", matcher.prefix)
            # no text that begins with the prefix sorts behind it followed by the last code point
            self._add(f"{column} <= ? || char(1114111)", matcher.prefix)
        if matcher.low:
            self._add(f"{column} >= ?", matcher.low)
        if matcher.high:
            self._add(f"{column} <= ? AND {column} <> ''", matcher.high)

    def _one_of(self, values: frozenset[str], form: str) -> None:
        if len(values) == 1:
            self._add(form.format("= ?"), next(iter(values)))
        else:
            # one parameter however long the list: SQLite bounds their number
            self._add(form.format("IN (SELECT value FROM json_each(?))"), json.dumps(sorted(values)))

    def _add(self, condition: str, parameter: str) -> None:
        self._conditions.append(condition)
        self._parameters.append(parameter)


def _compile(
    identifier: Dataset,
    kept: Attribute,
    encodings: Sequence[str],
    where: _Where,
    check: Check,
    *,
    every: bool,
) -> Criterion | None:
    try:
        bad = unreadable(identifier, Tag(kept.tag), encodings)
        vr, value = key_value(identifier, Tag(kept.tag), encodings)
    except Exception as error:  # whatever pydicom makes of a sequence that cannot be read
        raise IdentifierError("a key that cannot be read", (kept.tag,)) from error
    if bad is not None or (value and vr in BINARY_NUMBERS and kept.vr not in _NUMERIC):
        raise IdentifierError("a key that cannot be read", (kept.tag if bad is None else bad,))
    if kept.vr == "SQ":
        items = _item_values(value) if isinstance(value, list) else []
        one_matches = compile_sequence(kept.tag, items, check, every=every)
        if one_matches is None:
            return None
        return Criterion(kept, lambda found: isinstance(found, list) and one_matches(_item_values(found)))
    if not isinstance(value, str):
        raise IdentifierError("a sequence where a value belongs", (kept.tag,))
    matcher = compile_key(kept.tag, kept.vr, value, check, every=every)
    if matcher is None:
        return None
    where.narrow(kept, matcher)
    matches = matcher.matches
    return Criterion(kept, lambda found: isinstance(found, str) and matches(found))


def _judged(identifier: Dataset, tag: BaseTag, encodings: Sequence[str], check: Check) -> list[int]:
    """A key that is not supported; refused is what could be one nowhere, as of those that are.

    Private ones are left alone, and bytes that are no text.
    """
    if tag.is_private:
        return [int(tag)]
    try:
        bad = unreadable(identifier, tag, encodings)
        vr, value = key_value(identifier, tag, encodings)
    except Exception as error:  # whatever pydicom makes of a sequence that cannot be read
        raise IdentifierError("a key that cannot be read", (int(tag),)) from error
    if vr in BINARY:
        return [int(tag)]
    if bad is not None:
        raise IdentifierError("a key that cannot be read", (bad,))
    if isinstance(value, str):
        compile_key(int(tag), vr, value, check)
    else:
        for item in _item_values(value):
            compile_sequence(int(tag), [item], check)
    return [int(tag)]


def _item_values(items: Items) -> list[ItemValues]:
    return [
        {
            int(name, 16): (vr, _item_values(value) if isinstance(value, list) else value)
            for name, (vr, value) in item.items()
            if not _says_how_to_read(int(name, 16))
        }
        for item in items
    ]


def _says_how_to_read(tag: int) -> bool:
    """Whether an element is no key but says what others mean: a set, a time zone, a private creator."""
    return tag in (_CHARSET, _TIMEZONE) or (tag >> 16 & 1 == 1 and 0x10 <= tag & 0xFFFF <= 0xFF)


def select(
    index: Index, root: Root, level: Level | str | None, identifier: Dataset, search: Search
) -> Selection:
    """The objects a C-GET or C-MOVE identifier stands for (PS3.4 C.4.2.2.1, C.4.3.2.1).

    The level's unique key must have a value or, being a UID, a list of them; unique keys of levels above
    narrow the choice when present. Wild cards mean nothing here, other keys are not looked at.

    Raises IdentifierError (no level, or no usable unique key).
    """
    asked = level_of(identifier, root, level)
    encodings = _encodings(identifier)
    where = _Where()
    for one in Level:
        if one > asked:
            break
        kept = ATTRIBUTES[_tag(unique_key(one))]
        if kept.tag in identifier and unreadable(identifier, Tag(kept.tag), encodings) is not None:
            raise IdentifierError("a key that cannot be read", (kept.tag,))
        value = _plain_value(identifier, kept.tag, encodings)
        if not value.strip(" "):
            if one is asked:
                raise IdentifierError(f"no {kept.keyword} to retrieve", (kept.tag,), NOT_OF_MODEL)
            continue
        where.narrow(kept, _literal(kept, value, search.check))
    with search.step(index) as connection:
        return index.select(*where.joined(), connection)


def _literal(kept: Attribute, value: str, check: Check) -> Matcher:
    if kept.tag == _PATIENT_ID:
        # `*` is no wild card in a retrieve: it must not become every patient
        return Matcher(kept.tag, value.strip(" ").__eq__, exact=frozenset({value.strip(" ")}))
    if value.strip(" ") in ("*", '""'):
        raise IdentifierError(f"no {kept.keyword} to retrieve", (kept.tag,), NOT_OF_MODEL)
    matcher = compile_key(kept.tag, kept.vr, value, check)
    if matcher is None or not matcher.exact:
        raise IdentifierError(f"no {kept.keyword} to retrieve", (kept.tag,), NOT_OF_MODEL)
    return matcher
