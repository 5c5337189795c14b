"""Into what a window divides: dates, within a day times, then kinds; and which counts are suspicious."""

from __future__ import annotations

import datetime

import pytest
from aiodicom.client.windows import (
    EARLIEST,
    LAST_SECOND,
    MODALITIES,
    PATIENTS,
    STUDIES,
    Keys,
    Shown,
    Window,
    at_midnight,
    is_round,
    keys_of,
    with_elements,
)
from aiodicom.dimse.levels import Level
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from wire import identifier

TODAY = datetime.date(2026, 11, 30)
NOTHING = Shown()
DAY = datetime.timedelta(days=1)


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def shown(*days: str, kinds: tuple[str, ...] = ()) -> Shown:
    """What answers with these dates show."""
    found = Shown()
    for number, one in enumerate(days):
        answer = identifier(StudyDate=one)
        if number < len(kinds):
            answer.ModalitiesInStudy = kinds[number]
        found.take(STUDIES, answer)
    return found


def window(**values: object) -> Window:
    return Window.of(STUDIES, identifier(**values))


def parts(one: Window, seen: Shown = NOTHING, dead: tuple[str, ...] = ()) -> tuple[str, list[dict[str, str]]]:
    by, found = one.parts(seen, dead, TODAY)
    return by, [dict(part.elements()) for part in found]


@pytest.mark.parametrize(
    ("dates", "halves"),
    [
        ("20240101-20240331", ["20240101-20240215", "20240216-20240331"]),
        ("20240101-20240102", ["20240101", "20240102"]),
        ("20240101-", ["20240101-20250616", "20250617-"]),
        ("-20240101", ["-19590703", "19590704-20240101"]),
        ("", ["-19601216", "19601217-"]),
        ("20270101-", ["20270101", "20270102-"]),
    ],
)
def test_dates_are_halved_and_an_open_end_stays_open(dates: str, halves: list[str]) -> None:
    seen = shown("") if dates == "20270101-" else NOTHING
    assert parts(window(StudyDate=dates), seen) == ("StudyDate", [{"StudyDate": one} for one in halves])


def test_what_was_answered_says_where_an_open_end_is_about() -> None:
    seen = shown("20200101", "20200111", "")
    assert parts(window(), seen)[1] == [{"StudyDate": "-20200106"}, {"StudyDate": "20200107-"}]
    one_day = shown("20200101")
    assert parts(window(), one_day)[1] == [
        {"StudyDate": "-20191231"},
        {"StudyDate": "20200101"},
        {"StudyDate": "20200102-"},
    ]


def test_open_ends_beyond_any_image_are_a_floor() -> None:
    before = EARLIEST - DAY
    assert window(StudyDate=f"-{before:%Y%m%d}").parts(NOTHING, {"ModalitiesInStudy"}, TODAY) == ("", ())
    assert window(StudyDate="20270101-").parts(NOTHING, {"ModalitiesInStudy"}, TODAY) == ("", ())


def test_within_a_day_it_is_times_and_then_kinds() -> None:
    by, halves = parts(window(StudyDate="20240101"))
    assert by == "StudyTime"
    assert halves == [
        {"StudyDate": "20240101", "StudyTime": "000000-115959.999999"},
        {"StudyDate": "20240101", "StudyTime": "120000-235959.999999"},
    ]
    second = window(StudyDate="20240101", StudyTime="101112")
    by, kinds = parts(second, shown("20240101", kinds=("ZZ",)))
    assert by == "ModalitiesInStudy"
    assert [one["ModalitiesInStudy"] for one in kinds] == ["ZZ", *MODALITIES]
    assert all(len(one) == 1 for one in kinds)
    assert second.parts(NOTHING, ("ModalitiesInStudy",), TODAY) == ("", ())


def test_a_kind_of_the_query_is_the_floor() -> None:
    assert parts(window(StudyDate="20240101", StudyTime="101112", ModalitiesInStudy="CT")) == ("", [])


@pytest.mark.parametrize(
    ("times", "begin", "end"),
    [
        ("", 0, LAST_SECOND),
        ("10", 36000, 39599),
        ("1030-", 37800, LAST_SECOND),
        ("-1030", 0, 37859),
        ("103000.5-103001", 37800, 37801),
        ("235960", LAST_SECOND, LAST_SECOND),
    ],
)
def test_the_times_of_a_query_bound_its_windows(times: str, begin: int, end: int) -> None:
    one = window(StudyDate="20240101", StudyTime=times)
    assert (one.begin, one.end) == (begin, end)


def test_a_key_the_peer_does_not_go_by_divides_nothing() -> None:
    assert parts(window(StudyDate="20240101-20240331"), dead=("StudyDate",))[0] == "ModalitiesInStudy"
    assert parts(window(StudyDate="20240101"), dead=("StudyTime",))[0] == "ModalitiesInStudy"
    answer, seen = identifier(), Shown()
    seen.take(STUDIES, answer)  # which does not hold the key at all
    assert parts(window(StudyDate="20240101-20240331"), seen)[0] == "ModalitiesInStudy"


@given(st.dates(day("2000-01-01"), day("2030-12-31")), st.dates(day("2000-01-01"), day("2030-12-31")))
def test_halves_are_the_whole_and_do_not_meet(one: datetime.date, other: datetime.date) -> None:
    first, last = sorted((one, other))
    whole = Window(STUDIES, first, last)
    by, halves = whole.parts(NOTHING, (), TODAY)
    if by == "StudyDate":
        assert [halves[0].first, halves[1].last] == [first, last]
        assert halves[0].last is not None
        assert halves[0].last + DAY == halves[1].first
    else:
        assert first == last
        assert [(part.begin, part.end) for part in halves] == [(0, 43199), (43200, LAST_SECOND)]


def depth(one: Window) -> int:
    """Halvings until times are at their floor, always by the later half."""
    found = 0
    while True:
        by, halves = one.parts(NOTHING, ("ModalitiesInStudy",), TODAY)
        if not by:
            return found
        one, found = halves[-1], found + 1


def test_the_floor_is_reached_in_few_steps() -> None:
    assert depth(window(StudyDate="20000101-20251231")) <= 14 + 17


@pytest.mark.parametrize(
    ("level", "given", "keys"),
    [
        (Level.PATIENT, {}, PATIENTS),
        (Level.STUDY, {}, STUDIES),
        (Level.SERIES, {}, Keys("StudyDate", "StudyTime", "Modality")),
        (Level.SERIES, {"StudyInstanceUID": "1.2"}, Keys("SeriesDate", "SeriesTime", "Modality")),
        (Level.IMAGE, {}, Keys("StudyDate", "StudyTime", "Modality")),
        (Level.IMAGE, {"StudyInstanceUID": "1.2"}, Keys("SeriesDate", "SeriesTime", "Modality")),
        (Level.IMAGE, {"SeriesInstanceUID": "1.2"}, Keys("ContentDate", "ContentTime", "", ())),
    ],
)
def test_the_keys_are_those_of_the_level_below_what_is_given(
    level: Level, given: dict[str, str], keys: Keys
) -> None:
    assert keys_of(level, identifier(**given)) == keys


def test_patients_divide_by_birth_date_and_sex() -> None:
    one = Window.of(PATIENTS, identifier(PatientBirthDate="19600101"))
    assert [dict(part.elements()) for part in one.parts(NOTHING, (), TODAY)[1]] == [
        {"PatientSex": sex} for sex in "MFO"
    ]


def test_an_identifier_is_cut_at_midnight_key_by_key() -> None:
    query = identifier(StudyTime="2200-0600", SeriesTime="2300-01", StudyDate="20240101")
    cut = [(one.StudyTime, one.SeriesTime, one.StudyDate) for one in at_midnight(query)]
    late, early = "2200-235959.999999", "000000-0600"
    assert cut == [
        (a, b, "20240101")
        for a in (late, early)
        for b in ("2300-235959.999999", "000000-01")
    ]  # fmt: skip
    assert query.StudyTime == "2200-0600"
    assert at_midnight(cut_free := identifier(StudyTime="06-22")) == [cut_free]


def test_a_changed_identifier_is_another() -> None:
    query: Dataset = identifier(StudyDate="20240202")
    assert with_elements(query, {"StudyDate": "20240101", "StudyTime": ""}).StudyDate == "20240101"
    assert "StudyTime" not in query
    assert query.StudyDate == "20240202"


ROUND = [100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000, 256, 512, 1024, 4096, 100_000]


def test_round_counts_are_suspicious() -> None:
    assert [count for count in ROUND if not is_round(count)] == []
    others = [0, 1, 2, 10, 16, 20, 50, 64, 99, 101, 128, 150, 199, 201, 300, 400, 499, 501, 700, 999, 1001]
    assert [count for count in others if is_round(count)] == []
    assert is_round(200) is True


def test_a_window_says_what_it_is() -> None:
    assert str(window()) == "the whole query"
    assert str(window(StudyDate="20240101").parts(NOTHING, (), TODAY)[1][0]) == (
        "StudyDate=20240101 StudyTime=000000-115959.999999"
    )


def test_where_nothing_is_divided_answers_are_counted_alone() -> None:
    answer = Dataset()
    answer.StudyDate = "20240101"
    shown = Shown()
    shown.take(None, answer)
    assert shown == Shown(answers=1)
