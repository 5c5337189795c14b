"""What a matching key may hold, VR by VR (PS3.4 C.2.2.2, PS3.5 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time

import numpy as np
import pytest
from aiodicom.client.values import Between, literal, match_value, over_midnight
from aiodicom.dimse.levels import QueryError
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

TAKEN: list[tuple[str, object, object]] = [
    ("DA", None, ""),
    ("DA", "", ""),
    ("DA", "*", ""),
    ("DA", "20190101", "20190101"),
    ("DA", "2019-01-01", "20190101"),
    ("DA", " 2019-01-01 ", "20190101"),
    ("DA", 20190101, "20190101"),
    ("DA", date(2019, 1, 1), "20190101"),
    ("DA", datetime(2019, 1, 1, 10, 30), "20190101"),
    ("DA", "20190101-20190201", "20190101-20190201"),
    ("DA", "2019-01-01-2019-02-01", "20190101-20190201"),
    ("DA", "20190101-", "20190101-"),
    ("DA", "-20190101", "-20190101"),
    ("DA", "-2019-01-01", "-20190101"),
    ("DA", "2019-01-01-", "20190101-"),
    ("DA", "2024-01-01..2024-03-31", "20240101-20240331"),
    ("DA", "2024-01-01..", "20240101-"),
    ("DA", "..20240331", "-20240331"),
    ("DA", (date(2019, 1, 1), "2019-02-01"), "20190101-20190201"),
    ("DA", (None, date(2019, 1, 1)), "-20190101"),
    ("DA", Between("2019-01-01", None), "20190101-"),
    ("TM", "10", "10"),
    ("TM", "1030", "1030"),
    ("TM", "10:30", "1030"),
    ("TM", "10:30:15.25", "103015.25"),
    ("TM", "10:30-11:00", "1030-1100"),
    ("TM", "1030..", "1030-"),
    ("TM", time(10, 30), "103000"),
    ("TM", time(10, 30, 0, 5), "103000.000005"),
    ("TM", (time(10), None), "100000-"),
    ("TM", "22:00..06:00", "2200-0600"),
    ("TM", (time(22), time(6)), "220000-060000"),
    ("DT", "2019", "2019"),
    ("DT", "20190101103000.5-0500", "20190101103000.5-0500"),
    ("DT", "2019-01-01T10:30:00+02:00", "20190101103000+0200"),
    ("DT", "2019-01-01T10:30Z", "201901011030+0000"),
    ("DT", "201901-201902", "201901-201902"),
    ("DT", "20190101-0500-20190102-0500", "20190101-0500-20190102-0500"),
    ("DT", "20190101-", "20190101-"),
    ("DT", datetime(2019, 1, 1, tzinfo=UTC), "20190101000000+0000"),
    ("UI", "1.2.3", "1.2.3"),
    ("UI", ["1.2", "LOCALIZER2.16.124.1"], ["1.2", "LOCALIZER2.16.124.1"]),
    ("UI", "1.2\\1.3", ["1.2", "1.3"]),
    ("UI", "*", ""),
    ("IS", 5, "5"),
    ("IS", "-12", "-12"),
    ("DS", "1.5e3", "1.5e3"),
    ("DS", 2.5, "2.5"),
    ("DS", 0.1 + 0.2, "0.3"),
    ("DS", -1 / 3, "-0.3333333333333"),
    ("DS", 1e-200 / 3, "3.333333333e-201"),
    ("AS", "045Y", "045Y"),
    ("CS", literal("Chest"), "Chest"),
    ("CS", literal("C*_?"), "C?_?"),
    ("LO", literal("50% *"), "50% ?"),
    ("UI", literal("1.2"), "1.2"),
    ("UI", "1.2\0", "1.2"),
    ("UI", " 1.2 ", "1.2"),
    ("UI", " * ", ""),
    ("UI", ["1.2\0", "1.3 "], ["1.2", "1.3"]),
    ("UI", "1.2\0\\1.3", ["1.2", "1.3"]),
    ("LO", " a ", " a "),
    ("US", "512", 512),
    ("FD", "0.5", 0.5),
    ("CS", "CT", "CT"),
    ("CS", "C*", "C*"),
    ("PN", "Müller*", "Müller*"),
    ("LO", "*" * 70 + "a", "*" * 70 + "a"),
    ("LT", "one\ntwo", "one\ntwo"),
]

REFUSED: list[tuple[str, object, str]] = [
    ("DA", "last week", "YYYY-MM-DD is wanted"),
    ("DA", "1960", "YYYY-MM-DD is wanted"),
    ("DA", "20190231", "wanted"),
    ("DA", "2019-0101", "wanted"),
    ("DA", "20190101*", "wanted"),
    ("DA", "20190201-20190101", "ends before it begins"),
    ("DA", "2019-02-01..2019-01-01", "ends before it begins"),
    ("DA", "-", "wanted"),
    ("DA", "..", "one end at least"),
    ("DA", (None, None), "one end at least"),
    ("DA", ["20190101", "20190102"], "a list matches UIDs alone"),
    ("DA", time(10), "wanted"),
    ("DA", b"20190101", "wanted"),
    ("TM", "25", "wanted"),
    ("TM", "10:3", "wanted"),
    ("TM", date(2019, 1, 1), "wanted"),
    ("DT", "2019-1", "wanted"),
    ("DT", "2019.5", "wanted"),
    ("UI", "1.2.*", "wildcards match text alone"),
    ("UI", "1.2 .3", "no blank"),
    ("UI", "1.2\n", "control character"),
    ("UI", " ", "blanks alone match everything"),
    ("UI", "\0", "blanks alone match everything"),
    ("UI", literal("  "), "blanks alone match everything"),
    ("UI", ["1.2", " "], "a list that holds no value, or an empty one"),
    ("UI", "1.2\\ ", "a list that holds no value, or an empty one"),
    ("UI", [" "], "a list that holds no value, or an empty one"),
    ("UI", ["1.2", "*"], "matches all"),
    ("LO", " ", "blanks alone match everything"),
    ("LO", literal(" "), "blanks alone match everything"),
    ("LO", [" "], "blanks alone match everything"),
    ("PN", PersonName(" "), "blanks alone match everything"),
    ("CS", "  ", "blanks alone match everything"),
    ("DA", " ", "wanted"),
    ("IS", " ", "blanks alone match everything"),
    ("US", " ", "whole number"),
    ("IS", "x", "whole number"),
    ("IS", "4294967296", "whole number"),
    ("DS", "1,5", "number"),
    ("AS", "45", "age"),
    ("US", 70000, "0 to 65535"),
    ("US", "x", "a whole number is wanted"),
    ("CS", "C" * 17, "more than 16"),
    ("CS", "ct", "capital letters.* as CT"),
    ("CS", "C-T", "capital letters"),
    ("CS", literal("a\\b"), "backslash"),
    ("LO", literal("a\0"), "control character"),
    ("FD", "inf", "number"),
    ("DS", float("nan"), "number"),
    ("LO", "a" * 65, "more than 64"),
    ("PN", "a" * 65, "more than 64"),
    ("LO", "a\nb", "control character"),
    ("LO", "a\0", "control character"),
    ("LO", b"x", "text is wanted"),
    ("LO", True, "text is wanted"),
    ("LO", Between("a", "b"), "text is wanted"),
    ("LO", date(2019, 1, 1), "text is wanted"),
]


@pytest.mark.parametrize(("vr", "value", "held"), TAKEN)
def test_a_value_is_spelled_as_its_vr_wants(vr: str, value: object, held: object) -> None:
    assert match_value("Key", vr, value) == held


@pytest.mark.parametrize(("vr", "value", "why"), REFUSED)
def test_a_value_that_is_none_is_refused_by_name(vr: str, value: object, why: str) -> None:
    with pytest.raises(QueryError, match=rf"Key \({vr}\) cannot be matched .*{why}"):
        match_value("Key", vr, value)


@pytest.mark.parametrize(
    ("vr", "value"), [(vr, held) for vr, _, held in TAKEN if vr in ("DA", "TM", "DT") and held]
)
def test_what_is_spelled_is_spelled_the_same_again(vr: str, value: object) -> None:
    assert match_value("Key", vr, value) == value


@pytest.mark.parametrize(
    ("vr", "text", "halves"),
    [
        ("TM", "2200-0600", ("2200-235959.999999", "000000-0600")),
        ("TM", "220000.5-22", None),
        ("TM", "0600-2200", None),
        ("TM", "2200-", None),
        ("TM", "-0600", None),
        ("TM", "2200", None),
        ("DA", "20240102-20240101", None),
    ],
)
def test_a_range_of_times_that_ends_before_it_begins_leads_over_midnight(
    vr: str, text: str, halves: tuple[str, str] | None
) -> None:
    assert over_midnight(vr, text) == halves


@pytest.mark.parametrize("several", [[], (), set(), {}.keys(), np.array([]), [None], [""], ["1.2", None]])
@pytest.mark.parametrize("vr", ["UI", "CS"])
def test_a_list_without_a_value_is_never_universal(vr: str, several: object) -> None:
    with pytest.raises(QueryError):
        match_value("StudyInstanceUID" if vr == "UI" else "ModalitiesInStudy", vr, several)


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, iter, lambda v: dict.fromkeys(v).keys(), lambda v: MultiValue(str, v)]
)
def test_whatever_holds_several_is_a_list(kind: Callable[[list[str]], object]) -> None:
    assert match_value("StudyInstanceUID", "UI", kind(["1.2", "1.3"])) == ["1.2", "1.3"]


@pytest.mark.parametrize(("key", "vr"), [("AccessionNumber", "SH"), ("PatientID", "LO"), ("Modality", "CS")])
@pytest.mark.parametrize("value", [["A", "B"], "A\\B"])
def test_a_key_of_one_value_takes_no_list(key: str, vr: str, value: object) -> None:
    with pytest.raises(QueryError, match="it has one value"):
        match_value(key, vr, value)


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        *(("US", one) for one in ("1_0", "٣")),
        *(("FD", one) for one in ("1_0", "٣")),
        *((vr, "٢٠٢٤٠١٠١") for vr in ("DA", "TM", "DT", "IS", "DS")),
        *(("DT", one) for one in ("2024-2023", "20240102103000+9999", "20240102103000-20240102093000")),
    ],
)
def test_digits_offsets_and_ranges_are_those_of_the_standard(vr: str, value: str) -> None:
    with pytest.raises(QueryError):
        match_value("A", vr, value)


def test_a_year_has_four_digits() -> None:
    assert match_value("A", "DA", date(5, 1, 2)) == "00050102"
    assert match_value("A", "DT", datetime(5, 1, 2, 3)) == "00050102030000"
