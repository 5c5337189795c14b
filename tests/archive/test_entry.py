"""What of an object goes into the index, and that nothing of it can surprise the index."""

from __future__ import annotations

import json

import pytest
from aiodicom.archive import entry as entry_module
from aiodicom.archive.entry import entry_of
from aiodicom.archive.record import Record, read_record
from archive_objects import EXPLICIT, encode, image
from pydicom.dataset import Dataset


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_the_rows_of_an_object():
    dataset = image(AccessionNumber=" A1 ", StudyDate="2024.01.31", StudyDescription="Zürich")
    dataset.SpecificCharacterSet = "ISO_IR 100"
    entry = entry_of(read_record(encode(dataset), EXPLICIT), "objects/00/00/1.dcm", 300, 1000, 17)
    assert (entry.accession, entry.study_date, entry.modality) == ("A1", "20240131", "CT")
    assert json.loads(entry.study)["StudyDescription"] == "Zürich"
    assert json.loads(entry.patient)["PatientName"] == "Doe^Jane"
    assert json.loads(entry.series)["Modality"] == "CT"
    assert json.loads(entry.image)["InstanceNumber"] == "1"
    assert entry.source == "00000000000000000017 1.2.3.1.1"


def test_what_no_index_can_hold_is_found_here():
    record = read_record(encode(image()), EXPLICIT)
    values = {name: getattr(record, name) for name in Record.__slots__} | {"patient_id": "\ud800"}
    with pytest.raises(UnicodeEncodeError):
        entry_of(Record(**values), "objects/00/00/1.dcm", 300, 1000, 17)


def test_what_is_remembered_of_a_level_is_not_taken_for_another():
    """The same bytes in another character set or element are other values."""
    texts = [("ISO_IR 100", "Zürich"), ("ISO_IR 101", "Zürich"), ("ISO_IR 192", "Zürich"), ("", "Zurich")]
    for _ in range(2):
        for charset, text in texts:
            for keyword in ("StudyDescription", "SeriesDescription"):
                dataset = image(**{keyword: text * (1 if keyword == "StudyDescription" else 3)})
                dataset.SpecificCharacterSet = charset
                entry = entry_of(read_record(encode(dataset), EXPLICIT), "objects/00/00/1.dcm", 300, 1000, 17)
                row = json.loads(entry.study if keyword == "StudyDescription" else entry.series)
                assert row[keyword] == str(dataset[keyword].value)


def test_a_level_is_decoded_once_for_a_series_unless_it_is_long(monkeypatch):
    count = []
    decode = entry_module.decode_items

    def counted(*given):
        count.append(1)
        return decode(*given)

    monkeypatch.setattr(entry_module, "decode_items", counted)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-1", "SRT", "Head of a test"
    for meaning, decoded in (("Head", 1), ("x" * 64, 2)):
        count.clear()
        many = 1 if decoded == 1 else 60
        for number in (1, 2):
            items = []
            for _ in range(many):
                item = Dataset()
                item.update(code)
                item.CodeMeaning = meaning
                items.append(item)
            dataset = image(InstanceNumber=number, ProcedureCodeSequence=items)
            entry = entry_of(read_record(encode(dataset), EXPLICIT), "objects/00/00/1.dcm", 300, 1000, 17)
            assert len(json.loads(entry.study)["ProcedureCodeSequence"]) == many
            assert json.loads(entry.image)["InstanceNumber"] == str(number)
        assert len(count) == decoded
