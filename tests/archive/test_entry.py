"""What of an object goes into the index, and that nothing of it can surprise the index."""

from __future__ import annotations

import json

import pytest
from aiodicom.archive.entry import entry_of
from aiodicom.archive.record import Record, read_record
from archive_objects import EXPLICIT, encode, image


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
