"""Dates, times and date-times of keys and of data, as spans of microseconds (PS3.4 C.2.2.2.5, PS3.5 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEST_MOST = 1400  # no offset lies beyond +1400; a year before 1400 is no date of an image
_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True)
class Moment:
    """A value: first and last microsecond it may mean, and the offset from UTC in minutes if it names one."""

    start: int
    end: int
    offset: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A key: `None` at an open end. `text_start` and `text_end` are the days of a DA key, else ""."""

    first: Moment | None
    last: Moment | None

    def holds(self, value: Moment) -> bool:
        """True when the value begins within the interval.

        Offsets from UTC count only where both sides name one; otherwise the clocks are compared as written.
        """
        if self.first is not None:
            shift = _shift(self.first, value)
            if value.start - shift < self.first.start:
                return False
        if self.last is not None:
            shift = _shift(self.last, value)
            return value.start - shift <= self.last.end
        return True

    @property
    def text_start(self) -> str:
        """First day as YYYYMMDD, "" when open."""
        return self.first.text if self.first else ""

    @property
    def text_end(self) -> str:
        """Last day as YYYYMMDD, "" when open."""
        return self.last.text if self.last else ""


def _shift(key: Moment, value: Moment) -> int:
    if key.offset is None or value.offset is None:
        return 0
    return (value.offset - key.offset) * _MINUTE


def parse_value(vr: str, text: str) -> Moment | None:
    """What a value of the data means; `None` when it is empty or no date or time."""
    text = text.strip(" \0")
    if not text or len(text) > 26:
        return None
    try:
        return _PARSERS[vr](text)
    except ValueError:
        return None


def parse_range(vr: str, text: str) -> Interval:
    """Parse a key: one value, or two of which one may be missing around a hyphen.

    Raises ValueError (neither; the text names the kind of value, not the value).
    """
    text = text.strip(" \0")
    if len(text) > 54:
        raise ValueError(f"not a {_NAMES[vr]} or range")
    at = _hyphen(vr, text)
    if at is None:
        moment = _parse(vr, text)
        return Interval(moment, moment)
    first, last = text[:at].strip(" "), text[at + 1 :].strip(" ")
    if not first and not last:
        raise ValueError(f"a {_NAMES[vr]} range without ends")
    return Interval(_parse(vr, first) if first else None, _parse(vr, last) if last else None)


def combined_range(date: str, time: str) -> Callable[[str, str], bool] | None:
    """A test for date and time together; None where not both keys are a range.

    From the first date at the first time to the last date at the last time; an open end of the times is that
    of its day, one of the dates is open. Of an entity without a time the whole day must lie in it.

    Raises ValueError (a key is none of its kind).
    """
    if "-" not in date or "-" not in time or "\\" in date + time:
        return None
    days, times = parse_range("DA", date), parse_range("TM", time)
    first = None if days.first is None else days.first.start + (times.first.start if times.first else 0)
    last = None if days.last is None else days.last.start + (times.last.end if times.last else _DAY - 1)

    def passes(found_date: str, found_time: str) -> bool:
        day, clock = parse_value("DA", found_date), parse_value("TM", found_time)
        if day is None:
            return False
        start = day.start + (clock.start if clock is not None else 0)
        end = start if clock is not None else day.end
        return (first is None or start >= first) and (last is None or end <= last)

    return passes


def _parse(vr: str, text: str) -> Moment:
    try:
        return _PARSERS[vr](text)
    except ValueError:
        raise ValueError(f"not a {_NAMES[vr]} or range") from None


def _hyphen(vr: str, text: str) -> int | None:
    """Where the range's hyphen stands; a date-time's own offset may begin with one, too."""
    at = text.find("-")
    if vr == "DT" and at > 0 and _is_offset(text[at + 1 :]):
        at = text.find("-", at + 1)
    return None if at < 0 else at


def _is_offset(rest: str) -> bool:
    word, _, _ = rest.partition("-")
    word = word.strip(" ")
    return len(word) == 4 and _all_digits(word) and int(word) <= _WEST_MOST


def _date(text: str) -> Moment:
    if len(text) == 10 and text[4] == text[7] == ".":
        text = text[:4] + text[5:7] + text[8:]  # the form of ACR-NEMA (PS3.5 6.2, note on DA)
    if len(text) != 8 or not _all_digits(text):
        raise ValueError("not a date")
    start = date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal() * _DAY
    return Moment(start, start + _DAY - 1, text=text)


def _time(text: str) -> Moment:
    if len(text) >= 5 and text[2] == ":":
        text = text.replace(":", "")
    start, width = _clock(text)
    return Moment(start, start + width - 1)


def _clock(text: str) -> tuple[int, int]:
    """Microseconds after midnight, and how many of them the precision leaves open."""
    whole, point, fraction = text.partition(".")
    if not _all_digits(whole) or len(whole) not in (2, 4, 6):
        raise ValueError("not a time")
    hour, minute, second = int(whole[:2]), int(whole[2:4] or 0), int(whole[4:6] or 0)
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError("not a time")
    start = hour * _HOUR + minute * _MINUTE + second * _SECOND
    if point:
        if len(whole) != 6 or not 1 <= len(fraction) <= 6 or not _all_digits(fraction):
            raise ValueError("not a time")
        return start + int(fraction.ljust(6, "0")), int(10 ** (6 - len(fraction)))
    return start, {2: _HOUR, 4: _MINUTE, 6: _SECOND}[len(whole)]


def _date_time(text: str) -> Moment:
    text, offset = _split_offset(text)
    day, clock = text[:8], text[8:]
    if not _all_digits(day) or len(day) not in (4, 6, 8):
        raise ValueError("not a date and time")
    if clock:
        midnight = _date(day).start
        start, width = _clock(clock)
        return Moment(midnight + start, midnight + start + width - 1, offset)
    year, month = int(day[:4]), int(day[4:6] or 1)
    first = date(year, month, int(day[6:8] or 1)).toordinal()
    if len(day) == 8:
        after = first + 1
    elif len(day) == 6:
        after = (date(year + month // 12, month % 12 + 1, 1)).toordinal()
    else:
        after = date(year + 1, 1, 1).toordinal()
    return Moment(first * _DAY, after * _DAY - 1, offset)


def _split_offset(text: str) -> tuple[str, int | None]:
    if len(text) > 5 and text[-5] in "+-":
        word = text[-4:]
        if not _all_digits(word) or int(word[2:]) > 59 or int(word) > _WEST_MOST:
            raise ValueError("not an offset from UTC")
        minutes = int(word[:2]) * 60 + int(word[2:])
        return text[:-5], -minutes if text[-5] == "-" else minutes
    return text, None


def _all_digits(text: str) -> bool:
    return bool(text) and _DIGITS.issuperset(text)


_PARSERS = {"DA": _date, "TM": _time, "DT": _date_time}
_NAMES = {"DA": "date", "TM": "time", "DT": "date and time"}
