"""What a matching key may hold, by its VR, checked before anything is sent (PS3.4 C.2.2.2, PS3.5 6.2).

A value that is wrong in form is answered by archives with nothing or with everything, so it is refused here.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..dimse.levels import QueryError

TEMPORAL = frozenset({"DA", "TM", "DT"})
WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""VRs in whose keys `*` and `?` match any text and any character (PS3.4 C.2.2.2.4)."""
_BINARY = {
    "US": (0, 0xFFFF),
    "SS": (-0x8000, 0x7FFF),
    "UL": (0, 0xFFFFFFFF),
    "SL": (-(1 << 31), (1 << 31) - 1),
}
_BLANK = "blanks alone match everything: leave it empty to ask for that"
_LENGTHS = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "UI": 64, "DS": 16, "IS": 12, "AS": 4}
_FORMS = {
    "DA": "YYYYMMDD or YYYY-MM-DD",
    "TM": "HHMMSS or HH:MM:SS",
    "DT": "YYYYMMDDHHMMSS or YYYY-MM-DDTHH:MM:SS",
}
_DATE = re.compile(r"(\d{4})(-?)(\d\d)\2(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d)(?:(:?)(\d\d)(?:\2(\d\d)(\.\d{1,6})?)?)?", re.ASCII)
_MOMENT = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\.\d{1,6})?([+-]\d{4})?", re.ASCII)
_ISO_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_AGE = re.compile(r"\d{3}[DWMY]", re.ASCII)
_CODE = re.compile(r"[A-Z0-9 _*?]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARAGRAPHS = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f]"
)  # ST, LT, UT: tab, line feed, form feed, return pass


@dataclass(frozen=True, slots=True)
class Between:
    """A range of dates, times or moments, both ends included; None leaves an end open (PS3.4 C.2.2.2.5).

    >>> days = aiodicom.Between("2024-01-01", "2024-03-31")
    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     len(await pacs.find("STUDY", {"StudyDate": days}))
    1
    """

    first: datetime.date | datetime.time | str | None
    last: datetime.date | datetime.time | str | None


class LiteralText(str):
    """Text of which `*` and `?` are characters like any other; see `literal`."""

    __slots__ = ()


def literal(text: str) -> LiteralText:
    """A value of a query in which `*` and `?` are characters like any other.

    DICOM has no escape for them (PS3.4 C.2.2.2.4): each goes out as `?`, which matches any one character, and
    answers that hold another one there are left out on our side. Its form is not judged either, so that what
    an archive holds against its VR can be asked for (a code string in small letters).

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     len(await pacs.find("STUDY", {"PatientName": aiodicom.literal("Phan*")}))
    0
    """
    return LiteralText(text)


def over_midnight(vr: str, text: str) -> tuple[str, str] | None:
    """The two ranges of which a range of times consists that ends before it begins; None for any other.

    Archives that read such a range at all differ in what they make of it.
    """
    first, hyphen, last = text.partition("-")
    known = min(len(first), len(last))
    if vr != "TM" or not hyphen or not known or first[:known] <= last[:known]:
        return None
    return f"{first}-235959.999999", f"000000-{last}"


def match_value(keyword: str, vr: str, value: object) -> Any:
    """A Python value as what the key holds, spelled as PS3.5 6.2 wants it. Raises QueryError.

    None and "" ask for the attribute without matching. Dates, times and moments may be ISO text, ranges
    (`"2024-01-01..2024-03-31"`, `"20240101-"`, a pair, a `Between`) or the types of `datetime`. A list is a
    list of UIDs, or several values of a key that has several. A range of times may lead over midnight.
    """
    if value is None or (value == "") is True:  # an array gives an array
        return ""
    if vr in TEMPORAL:
        return _temporal(keyword, vr, value)
    several = _several(value)
    if several is not None:
        return _list(keyword, vr, several)
    if vr in _BINARY or vr in ("FD", "FL"):
        return _number(keyword, vr, value)
    if isinstance(value, LiteralText):
        return _literal(keyword, vr, value)
    if isinstance(value, str) and "\\" in value and vr not in ("ST", "LT", "UT", "UR"):
        return _list(keyword, vr, value.split("\\"))
    return _checked_text(keyword, vr, value)


def _several(value: object) -> list[object] | None:
    """The values of what holds several: anything that can be iterated over and is no value itself."""
    from pydicom.valuerep import PersonName

    if isinstance(value, str | bytes | bytearray | Mapping | PersonName) or not isinstance(value, Iterable):
        return None
    return list(value) if getattr(value, "ndim", 1) else None


def _list(keyword: str, vr: str, several: Sequence[object]) -> list[Any]:
    """The values of a list. One that is empty, or holds nothing, would match everything (PS3.4 C.2.2.2.3)."""
    from pydicom.datadict import dictionary_VM, tag_for_keyword

    empty = [one for one in several if one is None or (vr == "UI" and not str(one).strip(" \0"))]
    if empty or not any(str(one) for one in several):
        raise _refused(keyword, vr, several, "a list that holds no value, or an empty one, matches all")
    tag = tag_for_keyword(keyword)
    if len(several) > 1 and vr != "UI" and tag is not None and dictionary_VM(tag) == "1":
        why = "it has one value: a list matches UIDs alone, without multiple value matching (PS3.4 C.2.2.2.2)"
        raise _refused(keyword, vr, several, why)
    values = [match_value(keyword, vr, one) for one in several]
    if vr == "UI" and len(values) > 1 and "" in values:
        raise _refused(keyword, vr, several, "a list with a * matches all")
    return values


def _refused(keyword: str, vr: str, value: object, why: str) -> QueryError:
    return QueryError(f"{keyword} ({vr}) cannot be matched with {value!r:.80}: {why}")


def _number(keyword: str, vr: str, value: object) -> int | float:
    try:
        if vr in ("FD", "FL"):
            real = float(str(value)) if _DECIMAL.fullmatch(str(value).strip()) else math.nan
            if not math.isfinite(real):
                raise _refused(keyword, vr, value, "a number is wanted")
            return real
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", str(value).strip()):
            raise ValueError("a whole number is wanted")
        number = int(str(value))
    except ValueError as error:
        raise _refused(keyword, vr, value, str(error)) from None
    low, high = _BINARY[vr]
    if not low <= number <= high:
        raise _refused(keyword, vr, value, f"{low} to {high}")
    return number


def _checked_text(keyword: str, vr: str, value: object) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        text = str(value)  # a UID, a person's name, a decimal of pydicom
        if isinstance(value, bool | bytes | dict | datetime.date | datetime.time | Between):
            raise _refused(keyword, vr, value, "text is wanted")
    else:
        text = _short_number(value) if vr == "DS" and isinstance(value, float) else str(value)
    if not text.strip(" \0"):  # padding is no value (PS3.5 6.2)
        raise _refused(keyword, vr, value, _BLANK)
    if vr == "UI":
        text = text.strip(" \0")  # as it stands in a file
    control = _PARAGRAPHS if vr in ("ST", "LT", "UT") else _CONTROL
    if control.search(text):
        raise _refused(keyword, vr, value, "it holds a control character")
    if set(text) == {"*"}:
        return "" if vr in ("UI", "IS", "DS", "AS") else text  # universal, where no wildcard is allowed
    why = _form_of_text(vr, text.strip(" "))
    if why:
        raise _refused(keyword, vr, value, why)
    return text


def _short_number(value: float) -> str:
    """A number in the sixteen characters of a DS, as exactly as they allow (PS3.5 6.2)."""
    return next((text for n in range(17, 8, -1) if len(text := f"{value:.{n}g}") <= 16), str(value))


def _literal(keyword: str, vr: str, value: str) -> str:
    if not value.strip(" \0"):
        raise _refused(keyword, vr, value, _BLANK)
    control = _PARAGRAPHS if vr in ("ST", "LT", "UT") else _CONTROL
    if control.search(value) or ("\\" in value and vr not in ("ST", "LT", "UT", "UR")):
        raise _refused(keyword, vr, value, "it holds a control character or a backslash")
    return re.sub(r"[*?]", "?", value) if vr in WILD else str(value)


def _form_of_text(vr: str, text: str) -> str | None:
    """What is wrong with a single value as text; None where nothing is."""
    if vr in ("UI", "IS", "DS", "AS") and re.search(r"[*?]", text):
        return "wildcards match text alone (PS3.4 C.2.2.2.4)"
    if vr == "UI" and re.search(r"\s", text):
        return "a UID holds no blank"
    if vr == "IS" and not (_INTEGER.fullmatch(text) and -(1 << 31) <= int(text) < 1 << 31):
        return "a whole number of 32 bits is wanted"
    if vr == "DS" and not _DECIMAL.fullmatch(text):
        return "a number is wanted"
    if vr == "CS" and not _CODE.fullmatch(text):
        better = f", as {text.upper()}" if _CODE.fullmatch(text.upper()) else ""
        return f"a code is of capital letters, digits, blanks and underscores{better}"
    if vr == "AS" and not _AGE.fullmatch(text):
        return "an age is three digits and D, W, M or Y, as 045Y"
    # what a UID of an archive is, that archive knows: one beyond 64 characters is asked for as it is
    longest = None if vr == "UI" else _LENGTHS.get(vr)
    if longest is not None and len(re.sub(r"\*", "", text)) > longest:
        return f"more than {longest} characters"
    if vr == "PN" and any(len(re.sub(r"\*", "", group)) > 64 for group in text.split("=")):
        return "more than 64 characters in a component group"
    return None


# --- dates, times, moments


def _temporal(keyword: str, vr: str, value: object) -> str:
    if isinstance(value, tuple) and len(value) == 2:
        value = Between(*value)
    if isinstance(value, Between):
        return _range(keyword, vr, value, value.first, value.last)
    if _several(value) is not None:
        raise _refused(keyword, vr, value, "a list matches UIDs alone; a range is a pair, (first, last)")
    if isinstance(value, str):
        text = value.strip()
        if set(text) == {"*"}:
            return ""
        first, dots, last = text.partition("..")
        if dots:
            return _range(keyword, vr, value, first.strip() or None, last.strip() or None)
        pair = _hyphened(vr, text)
        if pair is not None:
            return _range(keyword, vr, value, *pair)
    return _single(keyword, vr, value)


def _hyphened(vr: str, text: str) -> tuple[str | None, str | None] | None:
    """The ends of a range with a hyphen, if it is one: in an ISO date and in an offset it is none."""
    for place, sign in enumerate(text):
        if sign != "-":
            continue
        ends = text[:place].strip(), text[place + 1 :].strip()
        if any(ends) and all(not end or _spelled(vr, end) for end in ends):
            whole = _spelled(vr, text)
            if whole is None or (vr == "DT" and not all(ends)):
                return ends[0] or None, ends[1] or None
    return None


def _range(keyword: str, vr: str, value: object, first: object, last: object) -> str:
    ends = [_single(keyword, vr, end) if end not in (None, "") else "" for end in (first, last)]
    if not any(ends):
        raise _refused(keyword, vr, value, "a range has one end at least")
    offsets = vr == "DT" and any(re.search(r"[+-]", end) for end in ends)  # then the day alone is compared
    known = min(len(ends[0]), len(ends[1]), 8 if offsets else 99)
    if vr != "TM" and all(ends) and ends[0][:known] > ends[1][:known]:
        raise _refused(keyword, vr, value, "the range ends before it begins")
    return "-".join(ends)


def _single(keyword: str, vr: str, value: object) -> str:
    if isinstance(value, datetime.datetime):
        text = value.strftime("%H%M%S") if vr != "DA" else ""
        text = text if vr == "TM" else _written(value) + text
        if value.microsecond and vr != "DA":
            text += f".{value.microsecond:06}"
        return text + (value.strftime("%z")[:5] if vr == "DT" and value.tzinfo else "")
    if isinstance(value, datetime.date) and vr != "TM":
        return _written(value)
    if isinstance(value, datetime.time) and vr == "TM":
        return value.strftime("%H%M%S") + (f".{value.microsecond:06}" if value.microsecond else "")
    spelled = _spelled(vr, str(value).strip()) if isinstance(value, str | int) else None
    if spelled is None:
        raise _refused(keyword, vr, value, f"{_FORMS[vr]} is wanted, or a range, first..last")
    return spelled


def _written(day: datetime.date) -> str:
    """Eight digits, which strftime does not make of a year before 1000."""
    return f"{day.year:04}{day.month:02}{day.day:02}"


def _spelled(vr: str, text: str) -> str | None:
    """One date, time or moment as PS3.5 6.2 spells it; None where it is none."""
    if vr == "DA":
        return _date(text)
    if vr == "TM":
        return _time(text)
    return _moment(text)


def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, _, month, day = found.groups()
    try:
        datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return f"{year}{month}{day}"


def _time(text: str) -> str | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, _, minute, second, fraction = found.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:  # 60: a leap second
        return None
    return "".join(part or "" for part in (hour, minute, second, fraction))


def _moment(text: str) -> str | None:
    if _ISO_MOMENT.fullmatch(text):
        text = re.sub(r"Z$", "+0000", text)
        day, rest = text[:10].replace("-", ""), text[11:].replace(":", "")
        text = day + rest
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    if offset and not (-1200 <= int(offset) <= 1400 and int(offset[3:]) < 60):  # PS3.5 6.2
        return None
    if fraction and not second:
        return None
    if _date(f"{year}{month or '01'}{day or '01'}") is None:
        return None
    if hour and _time("".join(part or "" for part in (hour, minute, second))) is None:
        return None
    return text
