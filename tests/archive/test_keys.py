"""Keys of any model put to data sets in memory: every kind of matching, and what is returned."""

from __future__ import annotations

from typing import Any

import pytest
from aiodicom.archive.errors import IdentifierError
from aiodicom.archive.keys import MAX_KEYS, Keys
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from pydicom.dataset import Dataset

IMPLICIT = "1.2.840.10008.1.2"


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        if isinstance(value, dict):
            value = [dataset(**value)]
        setattr(made, keyword, value)
    return made


def item() -> Dataset:
    return dataset(
        PatientName="Müller^Anna",
        PatientID="P1",
        SpecificCharacterSet="ISO_IR 100",
        AccessionNumber="A7",
        ScheduledProcedureStepSequence={
            "Modality": "CT",
            "ScheduledStationAETitle": ["CT1", "CT2"],
            "ScheduledProcedureStepStartDate": "20240131",
            "ScheduledProcedureStepStartTime": "101500",
        },
    )


def over_the_wire(one: Dataset) -> Dataset:
    """As it comes from a peer: elements not converted yet."""
    return decode_dataset(encode_dataset(one, IMPLICIT), IMPLICIT)


STEP = "ScheduledProcedureStepSequence"


@pytest.mark.parametrize(
    ("keys", "holds"),
    [
        ({}, True),
        ({"PatientID": ""}, True),
        ({"PatientID": "P1"}, True),
        ({"PatientID": "P2"}, False),
        ({"PatientID": "P*"}, True),
        ({"PatientID": "?"}, False),
        ({"PatientName": "müller*", "SpecificCharacterSet": "ISO_IR 192"}, True),
        ({"PatientName": "MEIER*"}, False),
        ({"RequestedProcedureID": "*"}, True),
        ({"RequestedProcedureID": "X"}, False),
        ({STEP: {}}, True),
        ({STEP: {"Modality": ""}}, True),
        ({STEP: {"Modality": "CT"}}, True),
        ({STEP: {"Modality": "MR"}}, False),
        ({STEP: {"ScheduledStationAETitle": "CT2"}}, True),
        ({STEP: {"ScheduledStationAETitle": "CT3"}}, False),
        ({STEP: {"ScheduledProcedureStepStartDate": "20240101-20240131"}}, True),
        ({STEP: {"ScheduledProcedureStepStartDate": "20240201-"}}, False),
        ({STEP: {"ScheduledProcedureStepStartDate": "-20240131", "Modality": "CT"}}, True),
        ({STEP: {"ScheduledProcedureStepStartDate": "-20240131", "Modality": "MR"}}, False),
        ({STEP: {"ScheduledProcedureStepStartTime": "1000-1100"}}, True),
        ({STEP: {"ScheduledProcedureStepStartTime": "11-"}}, False),
        ({"StudyInstanceUID": ["1.2", "1.3"]}, False),
    ],
)
@pytest.mark.parametrize("wire", [False, True])
def test_every_kind_of_key(keys: dict[str, Any], holds: bool, wire: bool) -> None:
    identifier, one = dataset(**keys), item()
    if wire:
        identifier, one = over_the_wire(identifier), over_the_wire(one)
    assert Keys.of(identifier).hold(one) is holds


def test_what_is_asked_for_is_returned() -> None:
    step = {"Modality": "", "ScheduledStationName": ""}
    identifier = dataset(PatientName="", StudyInstanceUID="", **{STEP: step})
    answer = Keys.of(identifier).answer(item())
    assert sorted(one.keyword for one in answer) == [
        "PatientName", STEP, "SpecificCharacterSet", "StudyInstanceUID",
    ]  # fmt: skip
    assert str(answer.PatientName) == "Müller^Anna"
    assert answer.StudyInstanceUID in (None, "")
    (step,) = answer.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationName) == ("CT", None)
    assert len(step) == 2
    assert decode_dataset(encode_dataset(answer, IMPLICIT), IMPLICIT).PatientName == "Müller^Anna"


def test_a_sequence_without_keys_is_returned_whole() -> None:
    answer = Keys.of(dataset(**{STEP: []})).answer(item())
    assert len(answer.ScheduledProcedureStepSequence[0]) == 4
    assert Keys.of(dataset(ReferencedStudySequence=[])).answer(item()).ReferencedStudySequence == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_key_that_cannot_be_used_is_named(inside: bool) -> None:
    key = Dataset()
    key.add_new(0x00400002, "LO", "soon")  # a date, as implicit VR has it
    identifier = Dataset()
    identifier.ScheduledProcedureStepSequence = [key]
    with pytest.raises(IdentifierError) as caught:
        Keys.of(over_the_wire(identifier if inside else key))
    assert caught.value.offending_elements[-1] == 0x00400002


def test_keys_are_bounded() -> None:
    identifier = Dataset()
    for number in range(MAX_KEYS + 1):
        identifier.add_new(0x00290000 + 0x1000 + number, "LO", "")
    with pytest.raises(IdentifierError, match="more than"):
        Keys.of(identifier)
