"""Attribute matching of C-FIND identifiers (PS3.4 C.2.2.2).

A key's text is compiled once to a `Matcher`, which then judges the text of each entity's attribute. Matching
kinds follow the VR: list of UIDs, wild cards, ranges of dates and times, numbers, person names, sequences.
Choices the standard leaves open: person names match without regard to case; numbers by value (`4` is `+4.0`);
a key of several values matches if any of them does, unless it was negotiated that all do (PS3.4 C.2.2.2.8);
an attribute without a value matches only universal and empty-value keys; a value of `*` alone, however many,
is universal for every VR.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TypeAlias

from pydicom.datadict import dictionary_VM

from ..dimse.status import IDENTIFIER_MISMATCH
from ..pdu.uids import is_near_uid
from .errors import IdentifierError
from .matching_time import Interval, parse_range, parse_value

MAX_VALUES = 256
"""Values a key other than a list of UIDs may hold; such a list ends with the identifier, which is bounded."""
MAX_TEXT = 1024
"""Characters one value of a key may have; texts (LT, ST, UC, UR, UT) may have ten times that."""
MAX_PATTERNS = 16
"""Values with wild cards that one key may hold: each is compared with each value there is."""
MAX_NAMES_COMPARED = 1024
"""Characters of an attribute of names that are compared: three groups of five components of 64 are 960."""
MAX_COMPARED = 10_240
"""Characters of another attribute that are compared with patterns: as many as an LT may have."""
WORD = 64
"""Characters of a text that an index holds to find it by."""

NOT_OF_MODEL = IDENTIFIER_MISMATCH
"""Identifier does not match SOP Class (PS3.4 tables C.4-1 to C.4-3)."""

_TEXTS = frozenset({"LT", "ST", "UC", "UR", "UT"})
_UNSPLIT = frozenset({"LT", "ST", "UT", "UR"})
"""In which a backslash is a character like any other."""
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TIMES = frozenset({"DA", "TM", "DT"})
_NUMBERS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
_SEVERAL = frozenset({"AE", "AS", "CS", "LO", "PN", "SH", "UC"})
"""Of which a key's values may all be asked for at once (PS3.4 C.2.2.2.8); AT is no key here."""
_WILD_CARDS = re.compile("[*?]")
_EMPTY_KEY = '""'

Check: TypeAlias = Callable[[], None]
"""Called before each value of a key is compiled, and before each comparison of one with a value, which
takes longest for a text of 64 kB with a pattern of `MAX_TEXT`. It raises where nobody wants the answer."""


def nobody_minds() -> None:
    """The `Check` of who waits for the answer whatever happens."""


ItemValues: TypeAlias = Mapping[int, "tuple[str, str | list[ItemValues]]"]
"""An item of a sequence: VR and text, or VR and items, by tag."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A compiled key: `matches` takes the attribute's text, values joined by backslashes, "" when absent.

    The other fields let an index narrow the candidates first; each is a necessary condition, or `None`:
    `exact` - one value is among these; `prefix` - one value starts so; `low`, `high` - a date (YYYYMMDD)
    lies between, both ends included and either possibly ""; `inside` - one value has this in it. Of a name
    they mean one group, folded.
    """

    tag: int
    matches: Callable[[str], bool]
    exact: frozenset[str] | None = None
    prefix: str | None = None
    low: str = ""
    high: str = ""
    inside: str | None = None


def glob(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern in which `*` is any run of characters and `?` any single one (PS3.4 C.2.2.2.4).

    One pass over the text per match, whatever the pattern: the automaton's states are bits of one integer.
    """
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    literals = [char for char in pattern if char != "*"]
    masks: dict[str, int] = {}
    stars = wild = position = 0
    for char in pattern:
        if char == "*":
            stars |= 1 << position
            continue
        if char == "?":
            wild |= 1 << position
        else:
            masks[char] = masks.get(char, 0) | 1 << position
        position += 1
    accept = 1 << len(literals)

    def matches(text: str) -> bool:
        state = 1
        for char in text:
            state = ((state & (masks.get(char, 0) | wild)) << 1) | (state & stars)
            if not state:
                return False
        return bool(state & accept)

    return matches


def compile_key(
    tag: int, vr: str, text: str, check: Check = nobody_minds, *, every: bool = False
) -> Matcher | None:
    """Compile a key's text; `None` when it is universal (zero length, or `*` and nothing else).

    every: whether each of several values is to match, as was negotiated (PS3.4 C.2.2.2.8).

    Raises IdentifierError (the text is not a key of that VR, or larger than the bounds of this module).
    """
    text = text.rstrip(" \0") if vr in _TEXTS else text.strip(" \0")
    if not text:
        return None
    if text == _EMPTY_KEY:
        return Matcher(tag, lambda value: not value.strip(" "))
    values = text.split("\\")
    _check_bounds(tag, vr, values)
    if every and len(values) > 1 and vr in _SEVERAL and _holds_several(tag):
        return _each(tag, vr, values, check)
    if any(_all(vr, value) for value in ([text] if vr in _UNSPLIT else values)):
        return None
    if vr == "UI":
        return _uids(tag, values, check)
    values = [value for value in values if value.strip()]
    if not values:
        return None
    if vr in _TIMES:
        return _times(tag, vr, values, check)
    if vr in _NUMBERS:
        return _numbers(tag, values, check)
    if vr == "PN":
        return _names(tag, values, check)
    return _texts(tag, vr, values, check)


def _holds_several(tag: int) -> bool:
    try:
        return dictionary_VM(tag) != "1"
    except KeyError:
        return False


def _each(tag: int, vr: str, values: list[str], check: Check) -> Matcher | None:
    """Each value of a key is one of the attribute's, which may have more, in any order."""
    found = [one for value in values if (one := compile_key(tag, vr, value, check)) is not None]
    if not found:
        return None
    tests = [one.matches for one in found]
    return replace(found[0], matches=lambda text: all(test(text) for test in tests))


def _all(vr: str, value: str) -> bool:
    """Whether a value is of stars alone: that is any value, none included (PS3.4 C.2.2.2.4).

    The delimiters of a name change nothing in that, for a component or a group that is absent is empty.
    """
    return "*" in value and not value.strip(" ").strip("*^= " if vr == "PN" else "*")


def _check_bounds(tag: int, vr: str, values: list[str]) -> None:
    if vr != "UI" and len(values) > MAX_VALUES:
        raise IdentifierError(f"more than {MAX_VALUES} values in one key", (tag,))
    if vr in _WILD - _UNSPLIT and sum("*" in value or "?" in value for value in values) > MAX_PATTERNS:
        raise IdentifierError(f"more than {MAX_PATTERNS} values with wild cards in one key", (tag,))
    longest = MAX_TEXT * (10 if vr in _TEXTS else 1)
    if any(len(value) > longest for value in values):
        raise IdentifierError(f"a key value of more than {longest} characters", (tag,))


def _minded(values: Iterable[str], check: Check) -> Iterator[str]:
    """Values to compile, each of which may take some milliseconds."""
    for value in values:
        check()
        yield value


def _uids(tag: int, values: list[str], check: Check) -> Matcher:
    wanted = frozenset(value.strip(" \0") for value in values) - {""}
    for value in wanted:
        check()
        if not is_near_uid(value, MAX_TEXT):  # one too long to be stored spoils no list, and is not here
            raise IdentifierError("not a UID or list of UIDs", (tag,))

    def matches(text: str) -> bool:
        return text in wanted or ("\\" in text and not wanted.isdisjoint(text.split("\\")))

    return Matcher(tag, matches, exact=wanted)


def _any_value(
    tests: Sequence[Callable[[str], bool]], vr: str, check: Check, most: int | None = None
) -> Callable[[str], bool]:
    """True when any value of the attribute passes any of the tests. `most`: its characters looked at."""

    def matches(text: str) -> bool:
        text = text[:most]
        if not text:
            return False
        for value in _values(vr, text):
            for test in tests:
                check()
                if test(value):
                    return True
        return False

    return matches


def _values(vr: str, text: str) -> Iterator[str]:
    """The values of an attribute, without the blanks that mean nothing in its VR."""
    for value in text.split("\\") if vr not in _UNSPLIT else (text,):
        yield value.rstrip(" ") if vr in _TEXTS else value.strip(" ")


def words_of_value(vr: str, text: str) -> Iterator[str]:
    """What an index finds an attribute by: the texts that `Matcher.exact`, `prefix`, `low` and `high` mean.

    Those of a name are its groups, without regard to case; those of a date its days.
    """
    for value in _values(vr, text):
        if vr == "PN":
            yield from (as_word(word) for group in value.split("=") if (word := _fold_group(group)))
        elif vr == "DA":
            day = parse_value(vr, value)
            yield from (day.text,) if day is not None else ()
        elif value:
            yield as_word(value)


def as_word(text: str) -> str:
    """A text, cut to what an index holds of it."""
    return text[:WORD]


def _texts(tag: int, vr: str, values: list[str], check: Check) -> Matcher:
    """Single values and wild cards, case-sensitive (PS3.4 C.2.2.2.1, C.2.2.2.4)."""
    if vr in _UNSPLIT:
        values = ["\\".join(values)]
    trimmed = [value.rstrip(" ") if vr in _TEXTS else value.strip(" ") for value in values]
    wild = vr in _WILD
    tests = [glob(value) if wild else value.__eq__ for value in _minded(trimmed, check)]
    literal = not any(wild and ("*" in value or "?" in value) for value in trimmed)
    if literal:
        wanted = frozenset(trimmed)
        matches = _any_value([wanted.__contains__], vr, check)
        return Matcher(tag, matches, exact=wanted)
    matches = _any_value(tests, vr, check, MAX_COMPARED)
    runs = _WILD_CARDS.split(trimmed[0]) if len(trimmed) == 1 else [""]
    return Matcher(tag, matches, prefix=runs[0] or None, inside=max(runs, key=len) or None)


def _numbers(tag: int, values: list[str], check: Check) -> Matcher:
    wanted = frozenset(_number(value) for value in _minded(values, check))
    if None in wanted:
        raise IdentifierError("not a number", (tag,))

    def matches(text: str) -> bool:
        for value in text.split("\\"):
            check()
            if value and _number(value) in wanted:
                return True
        return False

    return Matcher(tag, matches)


def _number(text: str) -> Decimal | None:
    if len(text) > 64:
        return None
    try:
        number = Decimal(text.strip(" \0"))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _times(tag: int, vr: str, values: list[str], check: Check) -> Matcher:
    """Single dates and times, and ranges of them (PS3.4 C.2.2.2.5).

    A time of less than full precision stands for all it covers: `10` is 10:00:00 to 10:59:59.999999.
    """
    try:
        spans = [parse_range(vr, value) for value in _minded(values, check)]
    except ValueError as error:
        raise IdentifierError(str(error), (tag,)) from None

    def matches(text: str) -> bool:
        for value in text.split("\\"):
            check()
            moment = parse_value(vr, value)
            if moment is not None and any(span.holds(moment) for span in spans):
                return True
        return False

    low, high = _day_bounds(spans) if vr == "DA" else ("", "")
    return Matcher(tag, matches, low=low, high=high)


def _day_bounds(spans: Sequence[Interval]) -> tuple[str, str]:
    starts = [span.text_start for span in spans]
    ends = [span.text_end for span in spans]
    return (min(starts) if all(starts) else ""), (max(ends) if all(ends) else "")


def _names(tag: int, values: list[str], check: Check) -> Matcher:
    """Person names: without regard to case, by component group (PS3.4 C.2.2.2.1, PS3.5 6.2.1).

    A key of one group matches any group of a name; a key of several matches group by group, its empty groups
    being universal. Trailing empty components count for nothing on either side.
    """
    tests = [_name_test(value) for value in _minded(values, check)]
    hints = [_name_hint(value) for value in _minded(values, check)]
    exact = frozenset(word for word, whole, _ in hints if whole)
    matches = _any_value(tests, "PN", check, MAX_NAMES_COMPARED)
    if len(exact) == len(values):
        return Matcher(tag, matches, exact=exact)
    start, _, inside = hints[0] if len(hints) == 1 else ("", False, "")
    return Matcher(tag, matches, prefix=start or None, inside=inside or None)


def _name_hint(key: str) -> tuple[str, bool, str]:
    """What a group of every match begins with, folded, whether it is that, and what else is in it.

    "" where nothing is known.
    """
    for group in key.split("=")[:3]:
        folded = _fold_group(group)
        if not folded or _all("PN", group):
            continue
        runs, plain = (_WILD_CARDS.split(one) for one in (folded, _fold_plainly(group)))
        if "?" in folded and runs != plain:
            return "", False, ""
        known = [run.rstrip("^") for run in runs]  # an absent component is an empty one
        return known[0], runs == [folded], max(known, key=len)
    return "", False, ""


def _name_test(key: str) -> Callable[[str], bool]:
    folded = _name_test_by(key, _fold_group)
    if "?" not in key:
        return folded
    plain = _name_test_by(key, _fold_plainly)  # folded, some letters become two, and `?` stands for one
    return lambda name: folded(name) or plain(name)


def _name_test_by(key: str, fold: Callable[[str], str]) -> Callable[[str], bool]:
    groups = [fold(group) for group in key.split("=")]
    tests = [
        (glob(group), group.count("^")) if group and not _all("PN", group) else None for group in groups[:3]
    ]

    def group_matches(test: tuple[Callable[[str], bool], int], group: str) -> bool:
        pattern, carets = test
        folded = fold(group)
        # an absent component is an empty one: SMITH^* must find SMITH
        return pattern(folded + "^" * max(0, carets - folded.count("^")))

    def matches(name: str) -> bool:
        parts = name.split("=")
        if len(tests) == 1:
            only = tests[0]
            return only is None or any(group_matches(only, part) for part in parts if part)
        parts += [""] * (3 - len(parts))
        return all(
            test is None or group_matches(test, part) for test, part in zip(tests, parts, strict=False)
        )

    return matches


@lru_cache(maxsize=64)  # each key of a list asks for the same groups
def _fold_plainly(group: str) -> str:
    """Without regard to case, sign for sign."""
    whole = unicodedata.normalize("NFC", group)
    return _trimmed("".join(low if len(low := sign.casefold()) == 1 else sign for sign in whole))


@lru_cache(maxsize=64)
def _fold_group(group: str) -> str:
    return _trimmed(unicodedata.normalize("NFC", group).casefold())


def _trimmed(folded: str) -> str:
    """Without blanks around components, nor empty components at the end."""
    if " " in folded:
        folded = "^".join(part.strip(" ") for part in folded.split("^"))
    return folded.rstrip("^")


def compile_sequence(
    tag: int, items: Sequence[ItemValues], check: Check = nobody_minds, *, every: bool = False
) -> Callable[[Sequence[ItemValues]], bool] | None:
    """Compile a sequence key: every key of its one item is to match within one item (PS3.4 C.2.2.2.6).

    `None` when it is universal: no item, or an item without values. `every` as in `compile_key`.

    Raises IdentifierError (more than one item, or an item with a bad key).
    """
    if len(items) > 1:
        raise IdentifierError("a sequence key may hold one item only", (tag,))
    tests: list[tuple[int, Callable[[str | list[ItemValues]], bool]]] = []
    for nested, (vr, value) in items[0].items() if items else ():
        test = _nested_test(nested, vr, value, check, every)
        if test is not None:
            tests.append((nested, test))
    if not tests:
        return None

    def matches(candidates: Sequence[ItemValues]) -> bool:
        for item in candidates:
            check()
            if all(test(item.get(nested, ("", ""))[1]) for nested, test in tests):
                return True
        return False

    return matches


def _nested_test(
    tag: int, vr: str, value: str | list[ItemValues], check: Check, every: bool
) -> Callable[[str | list[ItemValues]], bool] | None:
    if isinstance(value, str):
        matcher = compile_key(tag, vr, value, check, every=every)
        if matcher is None:
            return None
        matches = matcher.matches
        return lambda candidate: isinstance(candidate, str) and matches(candidate)
    inner = compile_sequence(tag, value, check, every=every)
    if inner is None:
        return None
    return lambda candidate: isinstance(candidate, list) and inner(candidate)
