"""Words of the index: they find what matching finds, go with their rows, are the same however they came."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from aiodicom.archive import words
from aiodicom.archive.archive import Archive
from aiodicom.archive.attributes import ATTRIBUTES, Attribute
from aiodicom.archive.entry import Entry
from aiodicom.archive.index import SCHEMA_VERSION, Index
from aiodicom.archive.matching import WORD, compile_key
from aiodicom.dimse.levels import Level, Root
from archive_objects import find, image, query, store, values
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text("aAbBßıİéÅ\u0301^= ?*\\.'%_", max_size=8)
LONG = st.sampled_from(["", "x" * (WORD - 1), "x" * WORD, "x" * (WORD + 1)])
KEYS = {
    "PN": "PatientName",
    "LO": "SeriesDescription",
    "LT": "PatientComments",
    "SH": "StationName",
    "DA": "PatientBirthDate",
}


def kept(keyword: str) -> Attribute:
    return next(one for one in ATTRIBUTES.values() if one.keyword == keyword)


def entry(number: int = 1, *, at: int = 1, **attributes: str) -> Entry:
    parts: dict[str, dict[str, str]] = {"patient": {}, "study": {}, "series": {}, "image": {}}
    for keyword, value in attributes.items():
        parts[kept(keyword).level.name.lower()][keyword] = value
    encoded = {name: json.dumps(part) for name, part in parts.items()}
    return Entry(
        "1.2", f"1.3.{number}", "1.2.840.10008.1.2", "1.4", "1.5", "P", "", "", "CT", "",
        path=f"objects/00/00/1.3.{number}.dcm", data_offset=0, size=1, stored_ns=at, **encoded,
    )  # fmt: skip


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE studies (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE series (id INTEGER PRIMARY KEY)")
    for statement in words.SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO studies VALUES (1)")
    connection.execute("INSERT INTO series VALUES (1)")
    yield connection
    connection.close()


def found_by_words(connection: sqlite3.Connection, keyword: str, key: str, value: str) -> bool | None:
    """Whether the words of a value meet what a key asks of them; None where it asks nothing."""
    attribute = kept(keyword)
    attributes = json.dumps({keyword: value} if value else {})
    if attribute.level is Level.SERIES:
        words.write_series(connection, 1, attributes, new=False)
    else:
        words.write_study(connection, 1, attributes, attributes, new=False)
    matcher = compile_key(attribute.tag, attribute.vr, key)
    found = words.condition_of(attribute, matcher) if matcher is not None else None
    if found is None:
        return None
    table = "series" if attribute.level is Level.SERIES else "studies"
    return bool(
        connection.execute(f"SELECT 1 FROM {table} WHERE {found.condition}", found.parameters).fetchone()
    )


def matches(keyword: str, key: str, value: str) -> bool:
    matcher = compile_key(kept(keyword).tag, kept(keyword).vr, key)
    return matcher is None or matcher.matches(value)


@given(st.sampled_from(["PN", "LO", "LT", "SH"]), LONG, TEXT, LONG, TEXT)
def test_words_miss_no_match(database, vr, padding, key, more, value):
    for asked, stored in ((key, value), (key, key), (padding + key, more + value), (padding + key, padding)):
        if matches(KEYS[vr], asked, stored):
            assert found_by_words(database, KEYS[vr], asked, stored) in (None, True)


DAYS = st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8))


@given(st.one_of(st.just(""), DAYS), st.one_of(st.just(""), DAYS), st.lists(DAYS, max_size=3), st.booleans())
def test_days_miss_no_match(database, first, last, days, dotted):
    if not first and not last:
        return
    stored = "\\".join(f"{day[:4]}.{day[4:6]}.{day[6:]}" if dotted else day for day in days)
    for key in (f"{first}-{last}", first or last):
        if matches(KEYS["DA"], key, stored):
            assert found_by_words(database, KEYS["DA"], key, stored)


@pytest.mark.parametrize(
    ("keyword", "key", "value"),
    [
        ("PatientName", "SMI*", "Jones^Anna"),
        ("PatientName", "smith^john", "Smith^Joan"),
        ("PatientName", "山*", "Yamada=海"),
        ("StudyDescription", "Head", "head"),
        ("SeriesDescription", "ax*", "sagittal"),
        ("PatientName", "*jane", "Doe^John"),
        ("PatientName", "*^j?nes", "Doe=Roe^Jan"),
        ("SeriesDescription", "*mm", "axial"),
        ("PatientBirthDate", "1960-", "1970"),
        ("PatientBirthDate", "19600101-19601231", "19700101"),
    ],
)
def test_words_leave_out_what_cannot_match(database, keyword, key, value):
    if keyword == "PatientBirthDate" and key == "1960-":
        key = "19600101-"
    assert found_by_words(database, keyword, key, value) is False


def test_a_value_of_very_many_is_found_by_every_key(database):
    many = "\\".join(f"name{number}" for number in range(500))
    assert found_by_words(database, "PatientName", "name499", many)
    assert database.execute("SELECT count(*) FROM study_words").fetchone() == (1,)


def all_words(index: Index) -> list[tuple[int, str]]:
    with index.reader() as connection:
        return [
            row
            for table in ("study_words", "series_words")
            for row in connection.execute(f"SELECT tag, word FROM {table} ORDER BY 1, 2")
        ]


@pytest.fixture
def index(tmp_path):
    opened = Index(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def test_words_go_and_change_with_their_rows(index):
    name, description = kept("PatientName").tag, kept("SeriesDescription").tag
    index.add([entry(1, at=5, PatientName="Roe^R", SeriesDescription="axial")])
    assert all_words(index) == [(name, "roe^r"), (description, "axial")]
    index.add([entry(2, at=4, PatientName="Doe^J", SeriesDescription="coronal")])
    assert all_words(index) == [(name, "doe^j"), (description, "coronal")]
    index.remove(["1.3.1", "1.3.2"])
    assert all_words(index) == []
    index.add([entry(1, PatientName="Roe^R")])
    index.add([entry(2, PatientName="Doe^J")], replace_all=True)
    assert all_words(index) == [(name, "doe^j")]


def test_an_index_without_words_gets_them_and_says_so(tmp_path, caplog):
    """What a version 3 holds is right: its objects are not read again."""
    path = tmp_path / "index.sqlite"
    index = Index(path)
    index.add([entry(PatientName="Roe^R", SeriesDescription="axial")], replace_all=True)
    before = all_words(index)
    assert len(before) == 2
    index.close()
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE study_words; DROP TABLE series_words; PRAGMA user_version = 3;")
    connection.close()
    again = Index(path)
    assert again.whole
    assert all_words(again) == before
    assert again.locate("1.3.1") is not None
    assert "version 3" in caplog.text
    again.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()


QUERIES = [
    ("STUDY", {"PatientName": "DOE*"}, "studies.id IN"),
    ("STUDY", {"PatientName": "doe^jane"}, "studies.id IN"),
    ("SERIES", {"SeriesDescription": "ax*"}, "series.id IN"),
    ("SERIES", {"PatientName": "doe*", "SeriesDescription": "ax*"}, "studies.id IN"),
    ("STUDY", {"PatientName": "d*", "StudyDate": "19000101-20301231"}, "studies.id IN"),
    ("IMAGE", {"PatientName": "d*", "Modality": "CT"}, "studies.id IN"),
    ("IMAGE", {"StudyDescription": "Head"}, "studies.id IN"),
    ("STUDY", {"PatientBirthDate": "19600101-"}, "studies.id IN"),
    ("STUDY", {"PatientName": "*JANE"}, "studies.id IN"),
    ("SERIES", {"SeriesDescription": "?xia*"}, "series.id IN"),
]


@pytest.mark.parametrize(("level", "keys", "condition"), QUERIES)
def test_no_query_by_a_name_or_description_reads_a_whole_table(tmp_path, level, keys, condition):
    from aiodicom.archive.find import _TABLES
    from aiodicom.archive.query import compile_query

    with Archive(tmp_path, durability="rename") as archive:
        store(archive, image(StudyDescription="Head", SeriesDescription="axial", PatientBirthDate="19600203"))
        store(archive, image(study="1.2.9", PatientName="Roe", PatientID="P2"))
        identifier = query(level, StudyInstanceUID="", **keys)
        compiled = compile_query(identifier, Root.STUDY)
        assert condition in compiled.condition
        columns, _, _ = _TABLES[compiled.level]
        with archive._index.reader() as connection:
            steps = [
                row[3]
                for row in connection.execute(
                    f"EXPLAIN QUERY PLAN SELECT {columns} WHERE {compiled.condition}", compiled.parameters
                )
            ]
        assert [step for step in steps if step.startswith("SCAN") and "json_each" not in step] == []
        assert values(find(archive, Root.STUDY, level, StudyInstanceUID="", **keys), "StudyInstanceUID") == [
            "1.2.3"
        ]


def test_the_key_that_says_most_is_looked_up_and_what_is_exact():
    from aiodicom.archive.query import compile_query

    def tags(**keys: str) -> set[str]:
        condition = compile_query(query("SERIES", **keys), Root.STUDY).condition
        return {keyword for keyword in keys if f"tag = {kept(keyword).tag} " in condition}

    assert tags(PatientName="Smith*", SeriesDescription="a*") == {"PatientName"}
    assert tags(PatientName="S*", SeriesDescription="axial 5*") == {"SeriesDescription"}
    assert tags(PatientName="S*", SeriesDescription="axial", StudyDescription="Head") == {
        "SeriesDescription",
        "StudyDescription",
    }
    assert tags(PatientName="S*", PatientBirthDate="19600101-") == {"PatientName"}
    assert tags(PatientName="S*", PatientBirthDate="19600101") == {"PatientBirthDate"}


def test_what_is_named_is_not_looked_for_among_words():
    from aiodicom.archive.query import compile_query

    identifier = query("SERIES", StudyInstanceUID="1.2.3", SeriesDescription="axial")
    assert "words" not in compile_query(identifier, Root.STUDY).condition


def test_a_rebuilt_index_has_the_same_words(tmp_path: Path):
    with Archive(tmp_path, durability="rename") as archive:
        name = "Doe^Jane=山田^花子"
        utf8 = "ISO_IR 192"
        store(archive, image(1, SeriesDescription="axial", PatientName=name, SpecificCharacterSet=utf8))
        store(archive, image(2, SeriesDescription="other", ReferringPhysicianName="Who"))
        before = all_words(archive._index)
        assert len(before) == 3
        archive.reindex()
        assert all_words(archive._index) == before
