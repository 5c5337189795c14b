"""A query in parts: windows of dates, within a day of times, and at last kinds, that can be asked one by one.

Nothing here asks anything: `Window.parts` says into what a window divides, by what its answers showed.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from ..dimse.levels import Level
from .keys import unjudged
from .values import over_midnight

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LAST_SECOND = 24 * 60 * 60 - 1
"""Times are halved down to one second of the day: peers differ in what they make of a fraction."""
EARLIEST = datetime.date(1895, 1, 1)
"""Where dates begin as far as an open window is halved by the calendar: no image is older."""
_DAY = datetime.timedelta(days=1)

MODALITIES = tuple(
    word
    for line in (
        "CT MR CR DX US XA PT NM MG RF OT SR PR KO SC SEG REG RTIMAGE RTDOSE RTSTRUCT RTPLAN RTRECORD PX IO",
        "GM SM XC ES ECG EPS HD DOC DS AR AU BDUS BI BMD CFM CTPROTOCOL DG DMS EC EEG EMG EOG FA FID HC IOL",
        "IVOCT IVUS KER LEN LP LS M3D MA MS OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS PLAN POS PUPIL",
        "RESP RG RTINTENT RTRAD RTSEGANN RWV SMR SRF ST STAIN TEXTUREMAP TG VA VF CS DD DF DM FS CP VIDD",
        "ASMT ANN CD HMD",
    )
    for word in line.split()
)
"""Modalities of PS3.3 C.7.3.1.1.1, retired ones too; the everyday ones first."""


@dataclass(frozen=True, slots=True)
class Keys:
    """By which keys the answers of a level divide: a date, a time of its day, and a kind with its values."""

    date: str
    time: str
    kind: str
    kinds: tuple[str, ...] = MODALITIES


PATIENTS = Keys("PatientBirthDate", "", "PatientSex", ("M", "F", "O"))
STUDIES = Keys("StudyDate", "StudyTime", "ModalitiesInStudy")
_STUDIES_OF_SERIES = Keys("StudyDate", "StudyTime", "Modality")
_SERIES = Keys("SeriesDate", "SeriesTime", "Modality")
_IMAGES = Keys("ContentDate", "ContentTime", "", ())


def keys_of(level: Level, identifier: Dataset) -> Keys:
    """The keys by which what is asked for divides, by what is given of the levels above."""
    if level is Level.PATIENT:
        return PATIENTS
    if level is Level.STUDY:
        return STUDIES
    if level is Level.IMAGE and identifier.get("SeriesInstanceUID"):
        return _IMAGES
    return _SERIES if identifier.get("StudyInstanceUID") else _STUDIES_OF_SERIES


@dataclass(slots=True)
class Shown:
    """What the answers of a window showed of the keys that divide it."""

    answers: int = 0
    dated: int = 0  # answers that hold the date's element, empty or not
    first: datetime.date | None = None
    last: datetime.date | None = None
    kinds: dict[str, None] = field(default_factory=dict)

    def take(self, keys: Keys | None, answer: Dataset) -> None:
        """Look at an answer; without keys it is counted alone."""
        self.answers += 1
        if keys is None:
            return
        if keys.date in answer:
            self.dated += 1
            day = _day(re.sub(r"\D", "", str(answer[keys.date].value or "")))
            if day is not None:
                self.first = min(day, self.first or day)
                self.last = max(day, self.last or day)
        if keys.kind and keys.kind in answer:
            value = answer[keys.kind].value
            several = [value] if isinstance(value, str) else value or []
            self.kinds.update((str(one), None) for one in several if one)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of what a query asks for. Dates and seconds are both included; None is an open end.

    dated, timed: whether the window says a date or a time. fixed: whether the query has a kind of its own.
    """

    keys: Keys
    first: datetime.date | None = None
    last: datetime.date | None = None
    begin: int = 0
    end: int = LAST_SECOND
    dated: bool = False
    timed: bool = False
    kind: str = ""
    fixed: bool = False

    @classmethod
    def of(cls, keys: Keys, identifier: Dataset) -> Self:
        """The whole window of an identifier; one of no single day cannot be divided by time."""
        dates, times = (str(identifier.get(name) or "") if name else "" for name in (keys.date, keys.time))
        first, last = _ends(dates)
        begin, end = _ends(times)
        return cls(
            keys,
            _day(first),
            _day(last),
            _second(begin, last=False),
            _second(end, last=True),
            fixed=bool(keys.kind and identifier.get(keys.kind)),
        )

    def elements(self) -> Mapping[str, str]:
        """What the window sets in the identifier of the query."""
        found: dict[str, str] = {}
        if self.dated:
            ends = [
                "" if day is None else f"{day.year:04}{day.month:02}{day.day:02}"
                for day in (self.first, self.last)
            ]
            found[self.keys.date] = ends[0] if ends[0] == ends[1] else "-".join(ends)
        if self.timed:
            found[self.keys.time] = f"{_clock(self.begin)}-{_clock(self.end)}.999999"
        if self.kind:
            found[self.keys.kind] = self.kind
        return found

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.elements().items()) or "the whole query"

    def parts(
        self, shown: Shown, dead: Collection[str], today: datetime.date
    ) -> tuple[str, tuple[Window, ...]]:
        """Into what it divides, and by which key; by dates first, then times, then kinds, at last by nothing.

        dead: keys that the peer does not go by.
        """
        keys = self.keys
        if keys.date not in dead and (shown.dated or not shown.answers):
            divided = self._by_date(shown, today)
            if divided:
                return keys.date, divided
        one_day = self.first is not None and self.first == self.last
        if keys.time and keys.time not in dead and one_day and self.begin < self.end:
            middle = (self.begin + self.end) // 2
            early = replace(self, end=middle, dated=True, timed=True)
            return keys.time, (early, replace(early, begin=middle + 1, end=self.end))
        if keys.kind and keys.kind not in dead and not self.fixed and not self.kind:
            kinds = dict.fromkeys((*shown.kinds, *keys.kinds))
            return keys.kind, tuple(replace(self, kind=kind) for kind in kinds)
        return "", ()

    def _by_date(self, shown: Shown, today: datetime.date) -> tuple[Window, ...]:
        """Halves by the calendar; an open end stays open, and what was shown says where it is about."""
        low = self.first or shown.first or min(EARLIEST, self.last or EARLIEST)
        high = self.last or shown.last or max(today, self.first or today)
        if self.first is not None and self.first == self.last:
            return ()
        if low < high:
            middle = low + (high - low) // 2
            return self._dated(self.first, middle), self._dated(middle + _DAY, self.last)
        beyond = not shown.answers and (low < EARLIEST or high > today)
        if beyond or low > high:
            return ()
        early = () if self.first is not None else (self._dated(None, low - _DAY),)
        late = () if self.last is not None else (self._dated(low + _DAY, None),)
        return *early, self._dated(low, low), *late

    def _dated(self, first: datetime.date | None, last: datetime.date | None) -> Window:
        return replace(self, first=first, last=last, dated=True)


def at_midnight(identifier: Dataset) -> list[Dataset]:
    """An identifier as several, each range of times that leads over midnight cut there."""
    cut = [(int(one.tag), halves) for one in identifier if (halves := _midnight(one.VR, one.value))]
    if not cut:
        return [identifier]
    found = []
    for chosen in itertools.product(*(halves for _, halves in cut)):
        found.append(with_elements(identifier, dict(zip((tag for tag, _ in cut), chosen, strict=True))))
    return found


def with_elements(identifier: Dataset, elements: Mapping[int, str] | Mapping[str, str]) -> Dataset:
    """A copy of an identifier with other values."""
    from pydicom.datadict import dictionary_VR
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    changed = Dataset()
    changed.update({element.tag: element for element in identifier})
    for key, value in elements.items():
        changed.add(unjudged(Tag(key), dictionary_VR(Tag(key)), value))
    return changed


def _midnight(vr: str, value: object) -> tuple[str, str] | None:
    return over_midnight(vr, value) if isinstance(value, str) else None


def _ends(text: str) -> tuple[str, str]:
    first, hyphen, last = text.partition("-")
    return (first, last) if hyphen else (first, first)


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def _second(text: str, *, last: bool) -> int:
    """The second of the day that a time begins in, or ends in."""
    digits = text.partition(".")[0]
    if not digits:
        return LAST_SECOND if last else 0
    padded = digits + ("235959" if last else "000000")[len(digits) :]
    return min(LAST_SECOND, int(padded[:2]) * 3600 + int(padded[2:4]) * 60 + int(padded[4:6]))


def _clock(second: int) -> str:
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


def is_round(count: int) -> bool:
    """Whether so many answers are suspicious: archives stop at 100, 200, 500, 1000, and at powers of two.

    One, two, two and a half and five times a power of ten, from 100 on; powers of two from 256 on.
    """
    if count >= 256 and count & (count - 1) == 0:
        return True
    power = 100
    while power <= count:
        if count * 2 in (2 * power, 4 * power, 5 * power, 10 * power):
            return True
        power *= 10
    return False
