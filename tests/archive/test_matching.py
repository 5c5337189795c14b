"""Attribute matching of PS3.4 C.2.2.2, as tables, and against plain oracles."""

from __future__ import annotations

import fnmatch

import pytest
from aiodicom.archive import matching
from aiodicom.archive.errors import IdentifierError
from aiodicom.archive.matching import MAX_TEXT, MAX_VALUES, compile_key, compile_sequence, glob
from aiodicom.pdu.uids import is_uid
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

TAG = 0x00100010


def matches(vr: str, key: str, value: str) -> bool:
    matcher = compile_key(TAG, vr, key)
    return matcher is None or matcher.matches(value)


@pytest.mark.parametrize("vr", ["PN", "UI", "DA", "TM", "DT", "IS", "LO", "AS"])
@pytest.mark.parametrize("key", ["", "  ", "*", "\0"])
def test_universal(vr, key):
    assert compile_key(TAG, vr, key) is None


@pytest.mark.parametrize(
    ("vr", "key", "value", "expected"),
    [
        # single values, case-sensitive but for names
        ("LO", "abc", "abc", True),
        ("LO", "abc", "ABC", False),
        ("LO", "abc", " abc ", True),
        ("LO", "abc", "", False),
        ("LO", "abc", "abcd", False),
        ("CS", "CT", "PT\\CT", True),
        ("CS", "CT\\MR", "MR", True),
        ("CS", "CT\\MR", "US", False),
        ("LT", "a\\b", "a\\b", True),
        ("LT", "a", "a\\b", False),
        ("LT", " a", "a", False),
        ("AS", "045Y", "045Y", True),
        # wild cards
        ("LO", "ab*", "abcd", True),
        ("LO", "ab*", "ab", True),
        ("LO", "ab?", "ab", False),
        ("LO", "a?c", "abc", True),
        ("LO", "*c", "abc", True),
        ("LO", "a*b*c", "a1b2c", True),
        ("LO", "a*b*c", "acb", False),
        ("LO", "a[bc]*", "ab", False),
        ("LO", "a[bc]*", "a[bc]d", True),
        ("LO", "%", "x", False),
        ("LO", "x*", "y\\xz", True),
        ("AS", "0*", "045Y", False),
        # UIDs
        ("UI", "1.2.3", "1.2.3", True),
        ("UI", "1.2.3\\1.2.4", "1.2.4", True),
        ("UI", "1.2.3\\1.2.4", "1.2.5", False),
        ("UI", "1.2", "1.2.3", False),
        ("UI", "1.2.4", "1.2.3\\1.2.4", True),
        ("UI", "1.2.4\\" + "1" * 200, "1.2.4", True),
        ("UI", "1" * 200, "1.2.4", False),
        # numbers by value
        ("IS", "4", "+4", True),
        ("IS", "004", "4", True),
        ("IS", "4", "40", False),
        ("DS", "1.50", "1.5", True),
        ("DS", "1e2", "100", True),
        ("DS", "1.5", "garbage", False),
        ("DS", "2", "1\\2\\3", True),
        ("US", "512", "512", True),
        # empty value matching
        ("LO", '""', "", True),
        ("LO", '""', "x", False),
        ("DA", '""', "", True),
    ],
)
def test_values(vr, key, value, expected):
    assert matches(vr, key, value) is expected


@pytest.mark.parametrize(
    ("keyword", "key", "value", "expected"),
    [
        ("ModalitiesInStudy", "CT\\PT", "CT\\MR\\PT", True),
        ("ModalitiesInStudy", "PT\\CT", "CT\\PT", True),
        ("ModalitiesInStudy", "CT\\PT", "CT", False),
        ("ModalitiesInStudy", "CT\\PT", "", False),
        ("ModalitiesInStudy", "CT\\*", "CT", True),
        ("ModalitiesInStudy", "CT", "CT\\PT", True),
        ("OtherPatientIDs", "A\\B", "B\\A", True),
        ("OtherPatientIDs", "A\\B", "B", False),
        ("OtherPatientNames", "doe\\ROE", "Roe\\Doe\\Poe", True),
        ("OtherPatientNames", "doe\\ROE", "Roe", False),
        # one value (PS3.6), another VR, a list of UIDs: any of them
        ("Modality", "CT\\PT", "CT", True),
        ("PixelSpacing", "1\\2", "2", True),
        ("SOPClassesInStudy", "1.2\\1.3", "1.3", True),
    ],
)
def test_every_value_where_that_was_negotiated(keyword, key, value, expected):
    """PS3.4 C.2.2.2.8: all of them are among the attribute's, at the top and in an item; else any is."""
    tag, vr = int(Tag(keyword)), dictionary_VR(keyword)
    every, either = compile_key(tag, vr, key, every=True), compile_key(tag, vr, key)
    assert every is not None
    assert every.matches(value) is expected
    assert either is None or either.matches(value) is bool(value)
    inside = compile_sequence(TAG, [{tag: (vr, key)}], every=True)
    assert inside is not None
    assert inside([{tag: (vr, value)}]) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("Smith^John", "SMITH^JOHN", True),
        ("smith^john", "Smith^John^^^", True),
        ("Smith^John^^^", "smith^john", True),
        ("Smith", "Smith^John", False),
        ("Smith*", "Smith^John", True),
        ("Smith^*", "Smith", True),
        ("Smith^*", "Smith^J", True),
        ("*^John", "Smith^John", True),
        ("*John*", "Smith^John^Q", True),
        ("Smith ^ John", "Smith^John", True),
        ("Müller", "MÜLLER", True),
        ("Mu\u0308ller", "Müller", True),
        ("Weiß", "WEISS", True),
        # component groups
        ("Yamada*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=山田*", "Yamada^Tarou=山田^太郎", True),
        ("Yamada*=山田*", "Yamada^Tarou=山田^太郎", True),
        ("Yamada*=田中*", "Yamada^Tarou=山田^太郎", False),
        ("=山田*", "Yamada^Tarou", False),
        ("Suzuki*", "Yamada^Tarou=山田^太郎", False),
        # several names
        ("Doe^Jane", "Roe^Jane\\Doe^Jane", True),
        ("Doe^Jane\\Roe^Jane", "roe^jane", True),
        ("Doe", "", False),
    ],
)
def test_names(key, value, expected):
    assert matches("PN", key, value) is expected


@pytest.mark.parametrize(
    ("vr", "key", "value", "expected"),
    [
        ("DA", "20240131", "20240131", True),
        ("DA", "20240131", "2024.01.31", True),
        ("DA", "2024.01.31", "20240131", True),
        ("DA", "20240101-20240131", "20240115", True),
        ("DA", "20240101-20240131", "20240101", True),
        ("DA", "20240101-20240131", "20240131", True),
        ("DA", "20240101-20240131", "20240201", False),
        ("DA", "-20240131", "19000101", True),
        ("DA", "-20240131", "20240201", False),
        ("DA", "20240131-", "99991231", True),
        ("DA", "20240131-", "20240130", False),
        ("DA", "20240131-", "", False),
        ("DA", "20240131-", "unknown", False),
        ("DA", "20240131-20240101", "20240115", False),
        ("DA", "20240101\\20240301", "20240301", True),
        ("TM", "10", "105959.999999", True),
        ("TM", "10", "110000", False),
        ("TM", "1030", "103015", True),
        ("TM", "103000", "1030", True),
        ("TM", "103001", "1030", False),
        ("TM", "10:30:00", "103000", True),
        ("TM", "08-10", "1045", True),
        ("TM", "08-10", "1100", False),
        ("TM", "-0800", "075959.5", True),
        ("TM", "2200-", "235960", True),
        ("TM", "101010.12-101010.13", "101010.125", True),
        ("TM", "101010.12-101010.13", "101010.14", False),
        ("DT", "2024", "20240615103000", True),
        ("DT", "202402", "20240229235959.999999", True),
        ("DT", "202402", "20240301", False),
        ("DT", "2023-2024", "20240615", True),
        ("DT", "2023-2024", "2025", False),
        ("DT", "20240615-", "20240615000000", True),
        ("DT", "-20240615", "20240615235959", True),
        ("DT", "20240615120000+0100", "20240615110000+0000", True),
        ("DT", "20240615120000-0500-20240615130000-0500", "20240615173000+0000", True),
        ("DT", "20240615120000-0500-20240615130000-0500", "20240615123000+0000", False),
        ("DT", "20240615120000-0500", "20240615120000", True),
        ("DT", "20240615120000-0500-", "20240615170000+0000", True),
        ("DT", "199912", "19991231235959", True),
    ],
)
def test_dates_and_times(vr, key, value, expected):
    assert matches(vr, key, value) is expected


@pytest.mark.parametrize(
    ("vr", "key"),
    [
        ("DA", "2024"),
        ("DA", "20241301"),
        ("DA", "20240230"),
        ("DA", "2024-01-31"),
        ("DA", "-"),
        ("DA", "202401*"),
        ("DA", "x" * 300_000),
        ("TM", "24"),
        ("TM", "1060"),
        ("TM", "10.5"),
        ("TM", "101010.1234567"),
        ("DT", "20"),
        ("DT", "2024061512+9900"),
        ("DT", "20240615-x"),
        ("UI", "1.2.*"),
        ("UI", "1.2\n3"),
        ("UI", "1" * (MAX_TEXT + 1)),
        ("IS", "four"),
        ("IS", "9" * 5000),
        ("DS", "nan"),
        ("LO", "x" * (MAX_TEXT + 1)),
        ("PN", "*" * 300_000),
        ("LT", "x" * (10 * MAX_TEXT + 1)),
        ("CS", "\\".join(["CT"] * (MAX_VALUES + 1))),
    ],
)
def test_bad_keys(vr, key):
    with pytest.raises(IdentifierError) as caught:
        compile_key(0x00080020, vr, key)
    assert caught.value.offending_elements == (0x00080020,)
    assert caught.value.status & 0xF000 == 0xC000
    assert 0 < len(caught.value.comment) <= 64
    assert key[:20] not in caught.value.comment or len(key) < 3


def test_a_list_of_uids_may_be_long():
    """No bound but that of the identifier in bytes, by which a list has its end."""
    uids = [f"1.2.{number}" for number in range(100_000)]
    matcher = compile_key(TAG, "UI", "\\".join(uids))
    assert matcher is not None
    assert matcher.exact == frozenset(uids)
    assert matcher.matches("1.2.99999")


@pytest.mark.parametrize(
    ("vr", "key", "exact", "prefix", "low", "high"),
    [
        ("LO", "abc", {"abc"}, None, "", ""),
        ("CS", "CT\\MR", {"CT", "MR"}, None, "", ""),
        ("LO", "ab*", None, "ab", "", ""),
        ("LO", "a?b*", None, "a", "", ""),
        ("LO", "*b", None, None, "", ""),
        ("LO", "a*\\b*", None, None, "", ""),
        ("DA", "20240101-20240131", None, None, "20240101", "20240131"),
        ("DA", "20240101-\\20230101", None, None, "20230101", ""),
        ("DA", "20240101", None, None, "20240101", "20240101"),
        ("PN", "Smith ^JOHN^^", {"smith^john"}, None, "", ""),
        ("PN", "Smith\\Roe", {"smith", "roe"}, None, "", ""),
        ("PN", "SMITH^*", None, "smith", "", ""),
        ("PN", "SMITH^J*", None, "smith^j", "", ""),
        ("PN", "*smith", None, None, "", ""),
        ("PN", "a*\\b*", None, None, "", ""),
        ("PN", "*=Yama*=x", None, "yama", "", ""),
        ("PN", "=Yama", {"yama"}, None, "", ""),
        ("PN", "^^", None, None, "", ""),
        ("PN", "Stra?e", None, "stra", "", ""),
        ("PN", "Straß?", None, None, "", ""),
    ],
)
def test_hints_for_the_index(vr, key, exact, prefix, low, high):
    matcher = compile_key(TAG, vr, key)
    assert matcher is not None
    assert (matcher.exact, matcher.prefix, matcher.low, matcher.high) == (
        None if exact is None else frozenset(exact),
        prefix,
        low,
        high,
    )


@given(st.text("ab*?", max_size=12), st.text("abc", max_size=12))
def test_glob_agrees_with_fnmatch(pattern, text):
    assert glob(pattern)(text) == fnmatch.fnmatchcase(text, pattern)


@given(st.text(max_size=30), st.text(max_size=30))
def test_glob_of_any_text(left, right):
    assert glob(left.replace("*", "").replace("?", "") + "*")(left.replace("*", "").replace("?", "") + right)
    assert glob("*" + right)(left + right)


def test_forty_stars_take_one_pass_over_the_text():
    seen = []

    class Counted(str):
        def __iter__(self):
            for char in str.__iter__(self):
                seen.append(char)
                yield char

    assert not glob("*a" * 40 + "*b")(Counted("a" * 5000))
    assert len(seen) == 5000


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_date_ranges_agree_with_plain_order(first, last, day):
    from datetime import date, timedelta

    def text(number: int) -> str:
        return (date(2020, 1, 1) + timedelta(days=number)).strftime("%Y%m%d")

    assert matches("DA", f"{text(first)}-{text(last)}", text(day)) is (first <= day <= last)
    assert matches("DA", f"-{text(last)}", text(day)) is (day <= last)


CODE, SCHEME, STEP = 0x00080100, 0x00080102, 0x00400009


def test_sequence_keys_match_within_one_item():
    items = [
        {CODE: ("SH", "A"), SCHEME: ("SH", "X")},
        {CODE: ("SH", "B"), SCHEME: ("SH", "Y"), STEP: ("SQ", [{CODE: ("SH", "deep")}])},
    ]

    def found(item):
        test = compile_sequence(TAG, [item])
        return test is None or test(items)

    assert found({CODE: ("SH", "A"), SCHEME: ("SH", "X")})
    assert not found({CODE: ("SH", "A"), SCHEME: ("SH", "Y")})
    assert found({CODE: ("SH", "B"), SCHEME: ("SH", "")})
    assert found({STEP: ("SQ", [{CODE: ("SH", "de*")}])})
    assert not found({STEP: ("SQ", [{CODE: ("SH", "flat")}])})
    assert compile_sequence(TAG, []) is None
    assert compile_sequence(TAG, [{CODE: ("SH", "")}]) is None


def test_a_sequence_key_has_one_item():
    with pytest.raises(IdentifierError):
        compile_sequence(TAG, [{CODE: ("SH", "A")}, {CODE: ("SH", "B")}])


@pytest.mark.parametrize("text", ["1", "1.2.840", "0.0", "1.02", "9" * 64])
def test_uids(text):
    assert is_uid(text)


@pytest.mark.parametrize("text", ["", ".", "..", "1.", ".1", "1..2", "1.2/3", "1.2\n", "１.2", "1" * 65, "a"])
def test_no_uids(text):
    assert not is_uid(text)


@pytest.mark.parametrize("vr", ["LO", "PN", "DA", "UI", "US", "IS", "LT", "CS"])
@pytest.mark.parametrize("key", ["*", "**", "****", " ** "])
def test_stars_alone_are_universal(vr, key):
    """PS3.4 C.2.2.2.4: they match a value of no length too."""
    assert compile_key(TAG, vr, key) is None


@pytest.mark.parametrize(
    ("vr", "key", "universal"),
    [
        ("LO", "Doe\\**", True),
        ("LT", "Doe\\**", False),  # a backslash is text there
        ("LO", "* *", False),  # a blank is wanted
        ("LO", "*?", False),
        ("PN", "*^*", True),
        ("PN", "**=*^*=*", True),
        ("PN", "*=Doe", False),
        ("PN", "*^Jane", False),
        ("PN", "*?*", False),
        ("UI", "1.2\\*", True),
    ],
)
def test_which_keys_are_universal(vr, key, universal):
    assert (compile_key(TAG, vr, key) is None) is universal


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("Wei?^*", "Weiß^Jörg", True),
        ("WEI?^*", "Weiß^Jörg", True),
        ("Wei??^*", "Weiss^Jörg", True),
        ("Wei?^*", "Weiss^Jörg", False),
        ("Weiß^J?rg", "WEISS^JÖRG", True),
        ("?", "ß", True),
        ("??", "a", False),
    ],
)
def test_a_question_mark_is_one_character_whatever_folding_makes_of_it(key, name, expected):
    assert compile_key(TAG, "PN", key).matches(name) is expected


@pytest.mark.parametrize("vr", ["PN", "LO", "UC"])
@pytest.mark.parametrize("over", [0, 1])
def test_patterns_of_one_key_are_bounded(vr: str, over: int) -> None:
    key = "\\".join(["A*"] * (matching.MAX_PATTERNS + over) + ["B"] * 100)
    if over:
        with pytest.raises(IdentifierError, match="wild cards"):
            matching.compile_key(0x00100010, vr, key)
    else:
        assert matching.compile_key(0x00100010, vr, key)


@pytest.mark.parametrize(("vr", "most"), [("PN", matching.MAX_NAMES_COMPARED), ("LO", matching.MAX_COMPARED)])
@pytest.mark.parametrize("over", [0, 1])
def test_only_the_beginning_of_a_long_value_is_compared_with_patterns(vr: str, most: int, over: int) -> None:
    """So that one comparison is of bounded work, whatever a peer stored."""
    key = matching.compile_key(0x00100010, vr, "*y")
    assert key is not None
    assert key.matches("x" * (most - 1 + over) + "y") is not bool(over)
