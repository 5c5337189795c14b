"""Names, descriptions and days as the index is searched by them: a row each, folded as matching folds.

A word is a necessary condition only: whoever finds a row by it still puts the whole attribute to the key.
Images have none, for ten million would have thirty million; they are found below the series they are in.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..dimse.levels import Level
from .attributes import STORED_TEXT, Attribute
from .matching import WORD, Matcher, as_word, words_of_value

_SEARCHED_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT", "DA"})
_COLUMNS_OF_THEIR_OWN = frozenset({"PatientID", "StudyDate", "AccessionNumber"})
_AND_ALSO = frozenset({"BodyPartExamined"})
_MOST = 64
"""Words of one attribute: a name has three groups, and few values."""


def _searched(level: Level) -> tuple[Attribute, ...]:
    return tuple(
        one
        for one in STORED_TEXT[level]
        if (one.vr in _SEARCHED_VRS or one.keyword in _AND_ALSO) and one.keyword not in _COLUMNS_OF_THEIR_OWN
    )


_AT_MOST = 4
"""Keys of one query that are looked up among words."""

SEARCHED: dict[Level, tuple[Attribute, ...]] = {
    level: _searched(level) if level is not Level.IMAGE else () for level in Level
}
"""The attributes that have words, by the level they belong to."""
_HAS_WORDS = frozenset(one.tag for kept in SEARCHED.values() for one in kept)

SCHEMA = """
CREATE TABLE IF NOT EXISTS study_words (
    tag INTEGER NOT NULL,
    word TEXT NOT NULL,
    study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, word, study_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS study_words_by_study ON study_words (study_id);
CREATE TABLE IF NOT EXISTS series_words (
    tag INTEGER NOT NULL,
    word TEXT NOT NULL,
    series_id INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, word, series_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS series_words_by_series ON series_words (series_id);
"""


def write_study(
    connection: sqlite3.Connection, study_id: int, patient: str, study: str, *, new: bool
) -> None:
    """The words of a study's row, from its attributes as JSON; those of before go unless it is new."""
    if not new:
        connection.execute("DELETE FROM study_words WHERE study_id = ?", (study_id,))
    found = {*_words(Level.PATIENT, patient), *_words(Level.STUDY, study)}
    connection.executemany(
        "INSERT INTO study_words (tag, word, study_id) VALUES (?, ?, ?)",
        [(tag, word, study_id) for tag, word in found],
    )


def write_series(connection: sqlite3.Connection, series_id: int, series: str, *, new: bool) -> None:
    """The words of a series' row, as `write_study`."""
    if not new:
        connection.execute("DELETE FROM series_words WHERE series_id = ?", (series_id,))
    connection.executemany(
        "INSERT INTO series_words (tag, word, series_id) VALUES (?, ?, ?)",
        [(tag, word, series_id) for tag, word in set(_words(Level.SERIES, series))],
    )


def write_all(connection: sqlite3.Connection) -> None:
    """The words of every study and series there is; there were none."""
    for row in connection.execute("SELECT id, patient_attributes, attributes FROM studies"):
        write_study(connection, *row, new=True)
    for row in connection.execute("SELECT id, attributes FROM series"):
        write_series(connection, *row, new=True)


def _words(level: Level, attributes: str) -> Iterator[tuple[int, str]]:
    values: Mapping[str, Any] = json.loads(attributes)
    for kept in SEARCHED[level]:
        value = values.get(kept.keyword)
        if isinstance(value, str) and value:
            for word in _bounded(words_of_value(kept.vr, value)):
                yield kept.tag, word


def _bounded(words: Iterable[str]) -> list[str]:
    """One attribute's words; of more than `_MOST` none but "", which is searched with every key."""
    found = list(dict.fromkeys(words))
    return found if len(found) <= _MOST else [""]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """SQL that every match of a key meets; so many `chars` of a word are given, `WORD` being all of it."""

    condition: str
    parameters: list[str]
    chars: int = WORD


def condition_of(kept: Attribute, matcher: Matcher) -> Narrowed | None:
    """What a key asks of words; None where they do not narrow it."""
    if kept.tag not in _HAS_WORDS:
        return None
    chars = WORD
    if matcher.exact:
        test = "word IN (SELECT value FROM json_each(?))"
        parameters = [json.dumps(sorted({as_word(one) for one in matcher.exact}))]
    elif matcher.prefix:
        # no text that begins with it sorts behind it followed by the last code point
        test, parameters = "word BETWEEN ? AND ? || char(1114111)", [as_word(matcher.prefix)] * 2
        chars = len(parameters[0])
    elif matcher.low or matcher.high:
        test, parameters = "word BETWEEN ? AND ?", [matcher.low or "0", matcher.high or "99999999"]
        chars = WORD if matcher.low == matcher.high else 0
    elif matcher.inside:
        # all words of the key are looked at: they are far fewer than the rows they are of
        test, parameters, chars = f"(instr(word, ?) OR length(word) = {WORD})", [matcher.inside], 0
    else:
        return None
    owner, table = ("series", "series") if kept.level is Level.SERIES else ("study", "studies")
    # names and tag are constants of this package; what a peer sent is bound
    found = f"SELECT {owner}_id FROM {owner}_words WHERE tag = {kept.tag} AND"  # noqa: S608
    return Narrowed(f"{table}.id IN ({found} {test} UNION ALL {found} word = '')", parameters, chars)


def best_of(narrowed: Sequence[Narrowed]) -> list[Narrowed]:
    """The one that says most, and what else is exact: the list of all that begin with a letter costs more
    than it saves.
    """
    ordered = sorted(narrowed, key=lambda one: -one.chars)
    return ordered[:1] + [one for one in ordered[1:_AT_MOST] if one.chars == WORD]
