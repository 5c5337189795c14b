"""An index made from the files alone is the one it replaces, row by row, whatever was stored.

The policies that make it so: the first of two objects of one UID stays; a row's attributes are those of the
earliest stored object below it; a patient is an ID, and each study has the names it came with.
"""

from __future__ import annotations

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.index import Index
from aiodicom.dimse.levels import Root
from archive_objects import BIG, EXPLICIT, IMPLICIT, MR, encode, find, image, query, store, values

pytestmark = pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")

TABLES = {
    "studies": "SELECT study_uid, patient_id, study_date, accession, patient_attributes, attributes, charset,"
    " source FROM studies",
    "series": "SELECT study_uid, series_uid, modality, series.attributes, series.charset, series.source"
    " FROM series JOIN studies ON studies.id = study_id",
    "instances": "SELECT study_uid, series_uid, sop_uid, sop_class, transfer_syntax, instances.attributes,"
    " instances.charset, path, data_offset, size FROM instances JOIN series ON series.id = series_id"
    " JOIN studies ON studies.id = study_id",
    "study_words": "SELECT study_uid, tag, word FROM study_words JOIN studies ON studies.id = study_id",
    "series_words": "SELECT study_uid, series_uid, tag, word FROM series_words"
    " JOIN series ON series.id = series_id JOIN studies ON studies.id = study_id",
}


def rows(index: Index) -> dict[str, list[tuple[object, ...]]]:
    """All there is in it, without the numbers of rows."""
    with index.reader() as connection:
        return {name: sorted(connection.execute(sql).fetchall()) for name, sql in TABLES.items()}


def fill(archive: Archive) -> None:
    """Everything that could make two indices differ."""
    utf8 = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Yamada^Tarou=山田^太郎"}
    store(archive, image(1, StudyDescription="first", SeriesDescription="axial"))
    store(archive, image(2, StudyDescription="second", PatientName="Married^Jane", Modality="MR"), IMPLICIT)
    store(archive, image(3, SOPClassUID=MR), BIG)
    store(archive, image(4, study="1.2.4", PatientID="P2", **utf8))
    store(archive, image(5, study="1.2.5", series="1.2.3.1", PatientName="Other^Name"))  # a series UID again
    store(archive, image(6, PatientID=None, PatientName=None, study="1.2.6"))
    store(archive, image(7, SOPInstanceUID="LOCALIZER1", study="1.2.7", PatientID="P7"))
    store(archive, image(8, PatientComments="\\".join(f"value {number}" for number in range(100))))
    doubtful = encode(image(9)) + b"\x28\0\x12\0--\2\0ab"
    assert store(archive, image(9), data=doubtful).status == 0xB007
    meta = b"\2\0\x10\0UI\x08\x001.2.3.4\0"  # some send elements of the file's head with the data set
    assert store(archive, image(11), data=meta + encode(image(11))).status == 0
    # the same once more, another of its UID, and the same instance said to be in another series
    assert store(archive, image(1, StudyDescription="first", SeriesDescription="axial")).status == 0
    assert store(archive, image(1, StudyDescription="corrected")).status == 0x0111
    moved = image(1, series="1.2.3.77", StudyDescription="first", SeriesDescription="axial")
    moved.SOPInstanceUID = "1.2.3.1.1"
    assert store(archive, moved).status == 0x0111
    assert store(archive, image(10), data=encode(image(10))[:-1]).status & 0xF000 == 0xC000


def test_a_rebuilt_index_is_the_same_row_by_row(tmp_path):
    with Archive(tmp_path, durability="rename") as archive:
        fill(archive)
        before = rows(archive._index)
        assert {name: len(found) for name, found in before.items()}["instances"] == 10
        assert all(before.values())
        assert archive.reindex().skipped == ()
        assert rows(archive._index) == before
    (tmp_path / "index.sqlite").unlink()
    with Archive(tmp_path) as archive:
        assert rows(archive._index) == before
        assert EXPLICIT in {row[4] for row in before["instances"]}


def test_the_policies_of_what_contradicts_itself(tmp_path):
    with Archive(tmp_path, durability="rename") as archive:
        fill(archive)
        series = find(archive, Root.STUDY, "SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="")
        assert values(series, "SeriesInstanceUID") == ["1.2.3.1"]
        both = find(archive, Root.STUDY, "SERIES", StudyInstanceUID="", SeriesInstanceUID="1.2.3.1")
        assert sorted(values(both, "StudyInstanceUID")) == ["1.2.3", "1.2.5"]
        for name, study in (("Doe^Jane", "1.2.3"), ("Other^Name", "1.2.5")):
            found = find(
                archive, Root.PATIENT, "STUDY", PatientID="P1", PatientName=name, StudyInstanceUID=""
            )
            assert values(found, "StudyInstanceUID") == [study]
        married = find(archive, Root.STUDY, "STUDY", PatientName="Married^Jane", StudyInstanceUID="")
        assert married == []  # a name that only a later object of the study brought
        [patient] = find(archive, Root.PATIENT, "PATIENT", PatientID="P1", PatientName="")
        assert str(patient.PatientName) == "Doe^Jane"
        kept = archive.select(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="1.2.3.1.1"))
        assert len(kept) == 1
