"""Whether an answer shows what was asked for: many peers ignore keys that are optional (PS3.4 C.2.2.1.3).

Judged mildly, for an answer that is left out is lost: without regard to case, accents and blanks, and what
cannot be judged (an element that is absent, a date that is none) counts as shown. A key that a peer need not
support comes back empty from some that do not: that shows nothing; of the others it shows no value.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TypeAlias

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..dimse.levels import GENERAL_KEYWORDS, UNIQUE_KEYS
from .keys import name_of
from .values import TEMPORAL, over_midnight

Path: TypeAlias = tuple[int, ...]
Test: TypeAlias = Callable[[str], bool | None]
"""Whether a value shows what was asked for; None where that cannot be told."""

_NUMBERS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"})
_UNJUDGED = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"})
_REQUIRED = frozenset(UNIQUE_KEYS.values()) | {
    *("StudyDate", "StudyTime", "AccessionNumber", "PatientName", "StudyID"),
    *("Modality", "SeriesNumber", "InstanceNumber"),
}
"""Keys of type U and R, which every peer matches by (PS3.4 C.6.1.1, C.6.2.1)."""
_OFFSET = re.compile(r"[+-]\d{4}$")


class Checks:
    """The keys of an identifier that have a value, as tests of answers."""

    def __init__(self, identifier: Dataset, exact: Mapping[Path, str] | None = None) -> None:
        """exact: the values that are `literal`, by the tags that lead to them."""
        self._exact = exact or {}
        self._tests = list(self._compile(identifier, ()))

    def contradicted(self, answer: Dataset) -> list[str]:
        """The keys of which the answer shows another value, or none; as `name_of` calls them."""
        return [name for name, test in self._tests if test(answer) is False]

    @property
    def names(self) -> list[str]:
        """The keys that are tested."""
        return [name for name, _ in self._tests]

    def _compile(self, item: Dataset, above: Path) -> Iterator[tuple[str, Callable[[Dataset], bool | None]]]:
        for element in item:
            if element.keyword in GENERAL_KEYWORDS or element.tag.is_private_creator:
                continue
            name = name_of(item, element)
            where = (*above, int(element.tag))
            if element.VR == "SQ":
                nested = [test for one in element.value for _, test in self._compile(one, where)]
                if nested:
                    yield name, _sequence_test(int(element.tag), nested)
            elif element.VR not in _UNJUDGED and (values := values_of(element)):
                tests = [_test(element.VR, value, self._exact.get(where)) for value in values]
                if all(tests):
                    yield name, _element_test(element, _owner(item, element), [one for one in tests if one])


def values_of(element: DataElement) -> list[str]:
    """The values of an element as text; none where it is empty."""
    value = element.value
    several = isinstance(value, MultiValue | list | tuple)
    found = [str(one).strip(" \0") for one in (value if several else [value]) if one is not None]
    return found if any(found) else []


def _owner(item: Dataset, element: DataElement) -> str | None:
    """The creator of a private element."""
    place = (element.tag.group << 16) + (element.tag.element >> 8)
    return str(item[place].value) if element.tag.is_private and place in item else None


def _element_test(
    asked: DataElement, owner: str | None, tests: Sequence[Test]
) -> Callable[[Dataset], bool | None]:
    tag = asked.tag
    plain = frozenset(one.encode() for one in values_of(asked)) if asked.VR == "UI" and owner is None else ()

    def judge(answer: Dataset) -> bool | None:
        if tag not in answer:
            return None
        if plain:  # nearly every answer shows the very UID, and to convert one costs 20 us
            raw = answer.get_item(tag)
            came = raw.value or b"" if isinstance(raw, RawDataElement) and raw.VR == "UI" else b""
            if came.rstrip(b"\0") in plain:
                return True
        element = answer[tag]
        if owner is not None and _owner(answer, element) != owner:
            return None  # it lies in another block there
        if element.VR in _UNJUDGED or element.VR == "SQ":
            return None
        values = values_of(element)
        if not values:
            return True if _is_empty in tests else False if asked.keyword in _REQUIRED else None
        found = [test(value) for value in values for test in tests]
        return True if True in found else None if None in found else False

    return judge


def _sequence_test(
    tag: int, tests: Sequence[Callable[[Dataset], bool | None]]
) -> Callable[[Dataset], bool | None]:
    """One item is to show everything (PS3.4 C.2.2.2.6)."""

    def judge(answer: Dataset) -> bool | None:
        if tag not in answer or answer[tag].VR != "SQ":
            return None
        return any(all(test(item) is not False for test in tests) for item in answer[tag].value)

    return judge


def _test(vr: str, key: str, exact: str | None) -> Test | None:
    """The test for one value of a key; None where that is universal."""
    if key == '""':
        return _is_empty
    if exact is None and "*" in key and not key.strip("*^= " if vr == "PN" else "* "):
        return None
    if vr == "UI":
        return key.__eq__
    if vr in TEMPORAL:
        return _range_test(vr, key)
    if vr in _NUMBERS:
        wanted = _number(key)
        return None if wanted is None else lambda value: _number_shown(value, wanted)
    if exact is not None:
        folded = _folded(exact)
        return lambda value: _unreadable(value) or (_folded(value).rstrip("^") == folded.rstrip("^"))
    return _name_test(key) if vr == "PN" else _text_test(key)


def _is_empty(value: str) -> bool:
    return not value


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _number_shown(value: str, wanted: Decimal) -> bool | None:
    found = _number(value)
    return None if found is None else found == wanted


# --- dates and times


def _range_test(vr: str, key: str) -> Test | None:
    halves = over_midnight(vr, key)
    if halves is not None:
        first, second = (_range_test(vr, half) for half in halves)
        assert first is not None
        assert second is not None
        return lambda value: first(value) or second(value)
    if vr == "DT" and re.search(r"[+]|-\d{4}(-|$)", key):
        return lambda value: None  # offsets from UTC: the clocks are not ours to compare
    low, hyphen, high = key.partition("-")
    if not hyphen:
        high = low
    return lambda value: _within(_clock(vr, value), low, high)


def _clock(vr: str, value: str) -> str | None:
    """A date or time as digits from the year or hour on; None where it is none."""
    if vr == "DT" and _OFFSET.search(value):
        return None
    text = re.sub(r"[.\-/]" if vr == "DA" else r":", "", value)
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or (vr == "DA" and len(text) != 8):
        return None
    return text


def _within(value: str | None, low: str, high: str) -> bool | None:
    """By as many digits as both have: 10 is all of ten o'clock."""
    if value is None:
        return None
    begins, ends = min(len(value), len(low)), min(len(value), len(high))
    return value[:begins] >= low[:begins] and value[:ends] <= high[:ends]


# --- text


def _unreadable(value: str) -> bool | None:
    """None, and so neither, where characters were lost on the way; False where none was."""
    return None if "?" in value or "\ufffd" in value else False


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """Without case, accents and repeated blanks."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(sign for sign in parts if unicodedata.category(sign) != "Mn")
    return " ".join(unicodedata.normalize("NFC", plain).split())


def _glob(pattern: str) -> Callable[[str], bool]:
    matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
    return lambda text: matches(text) is not None


def _text_test(key: str) -> Test:
    tests = [_glob(_folded(key)), _glob(" ".join(key.split()))]

    def judge(value: str) -> bool | None:
        if tests[0](_folded(value)) or tests[1](" ".join(value.split())):
            return True
        return _unreadable(value)

    return judge


def _name_test(key: str) -> Test:
    """By component group: a key of one group is shown by any (PS3.4 C.2.2.2.1, PS3.5 6.2.1)."""
    groups = [_group_test(group) if group.strip("*^ ") else None for group in key.split("=")[:3]]

    def judge(value: str) -> bool | None:
        shown = value.split("=")
        if len(groups) == 1:
            matched = any(groups[0] is None or groups[0](group) for group in (*shown, value))
        else:
            shown += [""] * (3 - len(shown))
            pairs = zip(groups, shown, strict=False)
            matched = all(test is None or test(group) for test, group in pairs)
        return True if matched else _unreadable(value)

    return judge


def _group_test(key: str) -> Callable[[str], bool]:
    def tidy(text: str) -> str:
        return "^".join(part.strip() for part in text.split("^")).rstrip("^")

    pattern = _folded(tidy(key))
    tests = [_glob(pattern), _glob(tidy(key).casefold())]

    def judge(group: str) -> bool:
        for test, text in zip(tests, (_folded(tidy(group)), tidy(group).casefold()), strict=True):
            # an absent component is an empty one: DOE^* is shown by DOE
            if test(text) or test(text + "^" * max(0, pattern.count("^") - text.count("^"))):
                return True
        return False

    return judge
