"""The index: what is kept, by which policy, and that a rebuilt one is the same."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing

import pytest
from aiodicom.archive.entry import entry_of
from aiodicom.archive.errors import IndexVersionError
from aiodicom.archive.index import READERS_KEPT, SCHEMA_VERSION, Counts, Index
from aiodicom.archive.record import read_record
from archive_objects import CT, EXPLICIT, MR, encode, image
from hypothesis import given
from hypothesis import strategies as st
from syscalls import descriptors


def entry(dataset, at=1_000, path=None):
    record = read_record(encode(dataset), EXPLICIT)
    return entry_of(record, path or f"objects/00/00/{record.sop_instance_uid}.dcm", 300, 1000, at)


def selected(index, condition, *parameters):
    """What a retrieve by that condition is to send."""
    with index.reader() as connection:
        return index.select(condition, parameters, connection)


def dump(index):
    """All rows without their numbers, as far as they do not point at each other by number."""
    with index.reader() as connection:
        studies = connection.execute(
            "SELECT study_uid, patient_id, study_date, accession, patient_attributes, attributes, charset,"
            " source FROM studies ORDER BY 1"
        ).fetchall()
        series = connection.execute(
            "SELECT study_uid, series_uid, modality, series.attributes, series.charset, series.source"
            " FROM series JOIN studies ON studies.id = study_id ORDER BY 1, 2"
        ).fetchall()
        instances = connection.execute(
            "SELECT series_uid, sop_uid, sop_class, transfer_syntax, instances.attributes, path, size"
            " FROM instances JOIN series ON series.id = series_id ORDER BY 1, 2"
        ).fetchall()
    return studies, series, instances


@pytest.fixture
def index(tmp_path):
    opened = Index(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def test_add_is_idempotent(index):
    index.add([entry(image(1)), entry(image(2))])
    before = dump(index)
    index.add([entry(image(1)), entry(image(2), at=1)])
    assert dump(index) == before
    assert index.counts() == Counts(patients=1, studies=1, series=1, instances=2)


def test_locate(index, tmp_path):
    assert index.locate("1.2.3.1.1") is None
    index.add([entry(image(1), path="objects/aa/bb/x.dcm")])
    found = index.locate("1.2.3.1.1")
    assert found.path == tmp_path / "objects/aa/bb/x.dcm"
    assert (found.sop_class_uid, found.transfer_syntax_uid) == (CT, EXPLICIT)
    assert (found.data_offset, found.data_size) == (300, 700)


def test_remove_takes_empty_parents_along(index):
    index.add([entry(image(1)), entry(image(2, series="1.2.3.9")), entry(image(1, study="1.2.4"))])
    assert index.remove(["1.2.3.9.2", "1.2.3.9.3"]) == 1
    assert index.counts() == Counts(1, 2, 2, 2)
    assert index.remove(["1.2.4.1.1"]) == 1
    assert index.counts() == Counts(1, 1, 1, 1)
    assert index.remove(["1.2.3.1.1"]) == 1
    assert index.counts() == Counts(0, 0, 0, 0)


def test_an_error_half_way_changes_nothing(index):
    index.add([entry(image(1))])
    before = dump(index)

    def failing():
        yield entry(image(2))
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        index.add(failing())
    with pytest.raises(OSError, match="disk"):
        index.add(failing(), replace_all=True)
    assert dump(index) == before


def test_replace_all(index):
    index.add([entry(image(1))])
    index.add([entry(image(5, study="1.9"))], replace_all=True)
    assert index.counts().instances == 1
    assert index.locate("1.2.3.1.1") is None


def test_patients_are_counted_by_id_and_never_merged_without_one(index):
    index.add(
        [
            entry(image(1, study="1.1", PatientID="A")),
            entry(image(1, study="1.2", PatientID="A", PatientName="Married^Jane")),
            entry(image(1, study="1.3", PatientID=None)),
            entry(image(1, study="1.4", PatientID="")),
        ]
    )
    assert index.counts().patients == 3


def test_a_series_uid_in_two_studies_is_two_series(index):
    index.add(
        [
            entry(image(1, study="1.1", series="1.5")),
            entry(image(2, study="1.2", series="1.5")),
        ]
    )
    assert index.counts() == Counts(1, 2, 2, 2)
    assert {one.sop_instance_uid for one in selected(index, "series.series_uid = ?", "1.5")} == {
        "1.5.1",
        "1.5.2",
    }


ENTRIES = [
    entry(image(1, StudyDescription="first", SeriesDescription="a"), at=10),
    entry(image(2, StudyDescription="second", SeriesDescription="b", Modality="MR"), at=20),
    entry(image(3, StudyDescription="third", PatientName="Other^Name"), at=20),
    entry(image(4, series="1.2.3.2", SOPClassUID=MR, PatientID="P2"), at=5),
    entry(image(1, study="1.2.4", AccessionNumber="77"), at=10),
]


@given(st.permutations(ENTRIES), st.integers(0, 5))
def test_the_order_of_indexing_does_not_matter(tmp_path_factory, order, cut):
    folder = tmp_path_factory.mktemp("index")
    first, second = Index(folder / "a.sqlite"), Index(folder / "b.sqlite")
    try:
        first.add(ENTRIES)
        second.add(order[:cut])
        second.add(order[cut:])
        assert dump(first) == dump(second)
        studies, series, _ = dump(first)
        assert '"third"' not in studies[0][5]
        assert "P2" in studies[0][1]  # stored first, at 5
        assert '"SeriesDescription":"a"' in series[0][3]
    finally:
        first.close()
        second.close()


def test_readers_see_a_snapshot_and_cannot_write(index):
    index.add([entry(image(number)) for number in range(1, 4)])
    with index.reader() as connection:
        cursor = connection.execute("SELECT sop_uid FROM instances")
        assert cursor.fetchone()
        index.add([entry(image(number)) for number in range(4, 10)])
        assert len(cursor.fetchall()) == 2
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("DELETE FROM instances")


def test_survives_reopening(index, tmp_path):
    index.add([entry(image(1))])
    before = dump(index)
    index.close()
    again = Index(tmp_path / "index.sqlite")
    assert dump(again) == before
    again.close()


def test_another_version_is_refused_in_words(index, tmp_path):
    index.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(IndexVersionError, match=rf"version {SCHEMA_VERSION + 1}.*remove it"):
        Index(tmp_path / "index.sqlite")


def test_an_index_that_was_read_by_older_rules_is_filled_again(index, tmp_path):
    index.add([], replace_all=True)
    index.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    older = Index(tmp_path / "index.sqlite")
    assert not older.whole
    older.add([], replace_all=True)
    older.close()
    again = Index(tmp_path / "index.sqlite")
    assert again.whole
    again.close()


def test_a_file_that_is_no_index_is_refused(tmp_path):
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"something else entirely, and rather long" * 100)
    with pytest.raises(IndexVersionError, match="no index"):
        Index(path)
    assert path.read_bytes().startswith(b"something else")


def test_values_with_sql_in_them_are_only_values(index):
    name = "Robert'); DROP TABLE studies;--"
    index.add([entry(image(1, PatientID=name, AccessionNumber="' OR 1=1"))])
    assert list(selected(index, "studies.patient_id = ?", "x' OR '1'='1")) == []
    assert len(selected(index, "studies.patient_id = ?", name)) == 1


def test_rows_remembered_are_forgotten_with_what_made_them(index):
    """Ids of studies and series are kept between transactions; one taken back or emptied must not live on."""

    def failing():
        yield entry(image(1))
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError):
        index.add(failing())
    index.add([entry(image(1))], new=True)
    before = dump(index)
    assert index.remove(["1.2.3.1.1"]) == 1
    index.add([entry(image(1))], new=True)
    assert dump(index) == before
    index.add([entry(image(1))], replace_all=True)
    assert dump(index) == before
    index.add([entry(image(2))], forget=["1.2.3.1.1"], new=True)
    assert index.counts() == Counts(patients=1, studies=1, series=1, instances=1)
    assert index.locate("1.2.3.1.2") is not None


def test_what_a_retrieve_sends_and_what_it_proposes_are_of_one_moment(index):
    """Something is stored between the two questions: it is in neither answer, or in both."""

    class Slow(sqlite3.Connection):
        def execute(self, statement, parameters=()):
            found = super().execute(statement, parameters)
            if "DISTINCT" in statement:
                index.add([entry(image(2, SOPClassUID=MR))])
            return found

    index.add([entry(image(1))])
    connection = sqlite3.connect(index._path, factory=Slow, isolation_level=None)
    with closing(connection):
        found = index.select("studies.study_uid = ?", ("1.2.3",), connection)
    assert {one.sop_class_uid for one in found} == {sop_class for sop_class, _ in found.pairs} == {CT}
    assert len(selected(index, "studies.study_uid = ?", "1.2.3")) == 2


def test_readers_are_used_again_and_few_are_kept(tmp_path):
    before = descriptors()
    index = Index(tmp_path / "index.sqlite")
    index.add([entry(image(number)) for number in range(3)])
    for _ in range(100):
        with index.reader() as first, index.reader() as second:
            assert first is not second
            assert first.execute("SELECT count(*) FROM instances").fetchone() == (3,)
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                second.execute("DELETE FROM instances")
    assert len(descriptors() - before) <= 2 * 3 + 1  # of three connections, and what they share
    with ExitStack() as stack:
        for _ in range(3 * READERS_KEPT):
            stack.enter_context(index.reader()).execute("SELECT 1 FROM instances").fetchone()
    assert len(index._readers) == READERS_KEPT
    for statement in ("BEGIN", "SELECT 1 FROM instances"):  # what is not finished is not handed on
        with pytest.raises(ZeroDivisionError), index.reader() as left:
            left.execute(statement)
            raise ZeroDivisionError
        with index.reader() as fresh:
            assert fresh is not left
            assert not fresh.in_transaction
    with index.reader() as left:
        left.execute("BEGIN")
    with index.reader() as fresh:
        assert fresh is not left
        index.close()  # while somebody reads: it ends with the last of them
    assert descriptors() == before


def test_of_the_rows_written_few_are_remembered(index, monkeypatch):
    monkeypatch.setattr("aiodicom.archive.index._ROWS_KEPT", 6)
    for number in range(20):
        index.add([entry(image(1, study=f"1.2.{number}"))])
        assert len(index._studies) + len(index._series) <= 8
    assert index.counts().studies == 20
