"""Whether an answer shows what was asked for, kind by kind: what cannot be told counts as shown."""

from __future__ import annotations

import pytest
from aiodicom.client.identifier import build_query
from aiodicom.client.matching import Checks
from aiodicom.client.values import literal
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from wire import identifier

KEYS = {
    "DA": "StudyDate",
    "TM": "StudyTime",
    "DT": "AcquisitionDateTime",
    "UI": "StudyInstanceUID",
    "IS": "InstanceNumber",
    "DS": "SliceThickness",
    "US": "Rows",
    "CS": "ModalitiesInStudy",
    "LO": "StudyDescription",
    "SH": "AccessionNumber",
    "PN": "PatientName",
}

SHOWN: list[tuple[str, object, object]] = [
    ("DA", "20240101", "20240101"),
    ("DA", "20240101", "2024.01.01"),
    ("DA", "2024-01-01..2024-03-31", "20240331"),
    ("DA", "2024-01-01..", "20991231"),
    ("DA", "..2024-01-01", "19000101"),
    ("DA", "20240101", "unknown"),  # cannot be told
    ("TM", "10", "105959"),
    ("TM", "1030", "103000.5"),
    ("TM", "1030-1100", "1100"),
    ("TM", "1030-1100", "110030"),
    ("TM", "1030-1100", "10"),
    ("TM", "22:00..06:00", "235959"),
    ("TM", "22:00..06:00", "0530"),
    ("TM", "10", "10:30:00"),
    ("DT", "2024", "20240101103000"),
    ("DT", "20240101+0100", "19990101"),  # clocks of other zones cannot be told
    ("DT", "2024", "20230101+0100"),
    ("UI", "1.2", "1.2"),
    ("UI", ["1.2", "1.3"], "1.3"),
    ("IS", "4", "+4"),
    ("DS", "1.50", "1.5"),
    ("US", 512, 512),
    ("CS", "CT", ["PT", "CT"]),
    ("CS", "CT", " CT"),
    ("CS", ["CT", "MR"], "MR"),
    ("LO", "chest*", "CHEST pa"),
    ("LO", "*thorax*", "CT Thorax  native"),
    ("LO", "Schädel*", "SCHADEL nativ"),
    ("LO", "a[b]*", "A[B]c"),
    ("LO", "Stra?e", "Straße"),
    ("LO", "Schädel", "Sch?del"),  # its characters were lost on the way
    ("LO", literal("50% *"), "50% *"),
    ("LO", '""', ""),
    ("PN", "doe*", "Doe^Jane"),
    ("PN", "Doe^*", "Doe"),
    ("PN", "Doe^Jane", "DOE^JANE^^"),
    ("PN", "Doe^Jane", "Doe ^ Jane"),
    ("PN", "M?ller", "Müller"),
    ("PN", "Yamada*", "Yamada^Tarou=山田^太郎"),
    ("PN", "山田*", "Yamada^Tarou=山田^太郎"),
    ("PN", "=山田*", "Yamada^Tarou=山田^太郎"),
    ("PN", "*=山田*", "Yamada^Tarou=山田^太郎"),
]

OTHER: list[tuple[str, object, object]] = [
    ("DA", "20240101", "20240102"),
    ("DA", "20240101", ""),
    ("DA", "2024-01-01..2024-03-31", "20240401"),
    ("DA", "2024-01-01..", "20231231"),
    ("TM", "10", "11"),
    ("TM", "1030-1100", "110100"),
    ("TM", "22:00..06:00", "12"),
    ("DT", "2024", "20230101"),
    ("UI", ["1.2", "1.3"], "1.4"),
    ("UI", "1.2", ""),
    ("IS", "4", "40"),
    ("US", 512, 256),
    ("CS", "CT", ["PT", "MR"]),
    ("LO", "CHEST*", "ABDOMEN"),
    ("LO", "CHEST", "CHEST PA"),
    ("LO", literal("50% *"), "50% a"),
    ("LO", "*a*a*a*a*a*a*a*a*b", "a" * 64),
    ("LO", '""', "x"),
    ("PN", "Doe", "Doe^Jane"),
    ("PN", "=山田*", "山田^太郎"),
    ("PN", "Müller*", "Meier"),
]


def answer_with(keyword: str, value: object) -> Dataset:
    """An answer with an element that pydicom would warn of."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    found = identifier()
    found.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return found


def contradicted(vr: str, key: object, value: object) -> list[str]:
    query = build_query("IMAGE", "PATIENT", {KEYS[vr]: key}, ())
    assert isinstance(query.identifier, Dataset)
    return Checks(query.identifier, query.exact).contradicted(answer_with(KEYS[vr], value))


@pytest.mark.parametrize(("vr", "key", "value"), SHOWN)
def test_an_answer_shows_what_was_asked_for(vr: str, key: object, value: object) -> None:
    assert contradicted(vr, key, value) == []


@pytest.mark.parametrize(("vr", "key", "value"), OTHER)
def test_an_answer_shows_something_else(vr: str, key: object, value: object) -> None:
    assert contradicted(vr, key, value) == [KEYS[vr]]


@pytest.mark.parametrize("key", ["", "*", "**"])
def test_universal_keys_are_shown_by_anything(key: str) -> None:
    for vr in ("DA", "UI", "LO", "PN", "CS"):
        assert contradicted(vr, key, "") == []


def test_what_is_absent_or_of_another_kind_cannot_be_told() -> None:
    query = build_query("STUDY", "STUDY", {"StudyDescription": "x", "0009,1001": "y"}, ())
    assert isinstance(query.identifier, Dataset)
    answer = identifier()
    answer.add_new(0x00091001, "UN", b"z")
    assert Checks(query.identifier).contradicted(answer) == []
    assert Checks(query.identifier).names == ["StudyDescription", "0009,1001"]


def test_what_steers_the_answer_is_no_key() -> None:
    query = identifier(SpecificCharacterSet="ISO_IR 100", RetrieveAETitle="A", TimezoneOffsetFromUTC="+0100")
    assert Checks(query).names == []


def test_a_private_element_is_compared_where_its_creator_is_the_same() -> None:
    query = build_query("STUDY", "STUDY", {'(0009,"ACME",01)': "x"}, ())
    assert isinstance(query.identifier, Dataset)
    checks = Checks(query.identifier)
    for creator, found in (("ACME", ['(0009,"ACME",01)']), ("OTHER", [])):
        answer = identifier()
        answer.add_new(0x00090010, "LO", creator)
        answer.add_new(0x00091001, "LO", "y")
        assert checks.contradicted(answer) == found


def item(**values: str) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


A1 = item(CodeValue="1", CodingSchemeDesignator="A")
A2 = item(CodeValue="2", CodingSchemeDesignator="A")
B1 = item(CodeValue="1", CodingSchemeDesignator="B")


@pytest.mark.parametrize(
    ("items", "other"), [([A1], 0), ([A2, A1], 0), ([item(CodeValue="1")], 0), ([A2, B1], 1), ([], 1)]
)
def test_one_item_shows_all_of_a_sequence(items: list[Dataset], other: int) -> None:
    match = {"ProcedureCodeSequence": {"CodeValue": "1", "CodingSchemeDesignator": "A"}}
    query = build_query("STUDY", "STUDY", match, ())
    assert isinstance(query.identifier, Dataset)
    found = Checks(query.identifier).contradicted(identifier(ProcedureCodeSequence=Sequence(items)))
    assert found == ["ProcedureCodeSequence"] * other


def test_a_literal_inside_a_sequence() -> None:
    query = build_query("STUDY", "STUDY", {"ProcedureCodeSequence.CodeValue": literal("B?")}, ())
    assert isinstance(query.identifier, Dataset)
    checks = Checks(query.identifier, query.exact)
    for value, found in (("B?", []), ("BX", ["ProcedureCodeSequence"])):
        answer = identifier(ProcedureCodeSequence=Sequence([item(CodeValue=value)]))
        assert checks.contradicted(answer) == found


@pytest.mark.parametrize("came", [b"1.2.3\0", b"1.2.34", b"1.2", b"1.2.3 ", b"", None])
@pytest.mark.parametrize("asked", [["1.2.3"], ["1.2.3", "1.2"]])
def test_a_uid_as_it_came_is_judged_as_its_value_is(came: bytes | None, asked: list[str]) -> None:
    wanted = Dataset()
    wanted.StudyInstanceUID = asked
    checks, tag = Checks(wanted), BaseTag(0x0020000D)
    as_it_came, converted = (
        Dataset({tag: RawDataElement(tag, "UI", len(came or b""), came, 0, False, True)}) for _ in range(2)
    )
    assert isinstance(converted[tag], DataElement)
    assert checks.contradicted(as_it_came) == checks.contradicted(converted)
    if came == b"1.2.3\0":
        assert isinstance(as_it_came.get_item(tag), RawDataElement), "it need not be converted"
