"""Which element a key names, and the character set of an identifier (PS3.4 C.2.2.2.6, C.4.1.1.3)."""

from __future__ import annotations

from typing import Any

import pytest
from aiodicom.client.identifier import build_query
from aiodicom.client.keys import named
from aiodicom.client.values import literal
from aiodicom.dimse.levels import QueryError
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian


def asked(match: dict[str, object] | Dataset, keys: tuple[str, ...] = (), level: str = "STUDY") -> Dataset:
    identifier = build_query(level, "STUDY", match, keys).identifier
    assert isinstance(identifier, Dataset)
    return identifier


@pytest.mark.parametrize("key", ["0008,0050", "(0008,0050)", "00080050", "(0008, 0050)", "AccessionNumber"])
def test_a_tag_is_as_good_as_its_keyword(key: str) -> None:
    assert named(key) == "AccessionNumber"
    assert asked({key: "A1"}).AccessionNumber == "A1"
    assert asked({}, (key,)).AccessionNumber == ""


REQUEST = "RequestAttributesSequence"


@pytest.mark.parametrize(
    "match",
    [
        {"PatientName": "A", "0010,0010": "B"},
        {"0010,0010": "A", "PatientName": ""},  # would ask for every name
        {'(0009,"ACME",01)': "A", '0009,"ACME",xx01': "B"},
        {REQUEST: {"RequestedProcedureID": "1"}, f"{REQUEST}.RequestedProcedureID": "2"},
        {f"{REQUEST}.RequestedProcedureID": "1", "0040,0275": None},
    ],
)
def test_a_key_with_two_values_is_refused(match: dict[str, object]) -> None:
    """The last would be taken, and what the other says forgotten."""
    with pytest.raises(QueryError, match="is given twice"):
        asked(match, level="SERIES")


@pytest.mark.parametrize(
    ("match", "keys", "values"),
    [
        (
            {REQUEST: {"RequestedProcedureID": "1"}, f"{REQUEST}.ScheduledProcedureStepID": "2"},
            (),
            ["2", "1"],
        ),
        ({f"{REQUEST}.RequestedProcedureID": "1"}, (REQUEST, f"{REQUEST}.RequestedProcedureID"), ["1"]),
        ({}, (f"{REQUEST}.RequestedProcedureID", REQUEST), []),
        ({REQUEST: None}, (f"{REQUEST}.RequestedProcedureID",), []),
    ],
)
def test_an_item_is_put_together(match: dict[str, object], keys: tuple[str, ...], values: list[str]) -> None:
    [item] = asked(match, keys, level="SERIES").RequestAttributesSequence
    assert [element.value for element in item] == values


def test_a_private_element_can_be_asked_for_and_matched() -> None:
    found = asked({"0009,1001": "x"}, ("0009,0010",))
    assert found[0x00091001].value == "x"
    assert found[0x00090010].value == ""


@pytest.mark.parametrize("key", ['(0009,"ACME 1.1",01)', '0009,"ACME 1.1",01', '(0009,"ACME 1.1",xx01)'])
def test_a_private_element_by_its_creator_has_its_block_reserved(key: str) -> None:
    assert named(key) == '(0009,"ACME 1.1",01)'
    found = asked({key: "x"})
    assert (found[0x00090010].value, found[0x00091001].value) == ("ACME 1.1", "x")
    nested = asked({f"ProcedureCodeSequence.{key}": "y"}).ProcedureCodeSequence[0]
    assert (nested[0x00090010].value, nested[0x00091001].value) == ("ACME 1.1", "y")


def test_two_creators_have_two_blocks_and_the_dictionary_knows_their_elements() -> None:
    found = asked(
        {'(0019,"GEMS_ACQU_01",9e)': "fse", '(0019,"ACME",01)': "x", '(0019,"GEMS_ACQU_01",0F)': 2.5}
    )
    assert [found[0x00190010].value, found[0x00190011].value] == ["GEMS_ACQU_01", "ACME"]
    assert found[0x0019109E].value == "fse"
    assert found[0x00191101].value == "x"
    assert found[0x0019100F].VR == "DS"


def test_a_private_element_of_a_data_set_keeps_its_vr() -> None:
    query = Dataset()
    query.private_block(0x0029, "ACME", create=True).add_new(1, "US", 5)
    found = asked(query)
    assert (found[0x00291001].VR, found[0x00291001].value) == ("US", 5)


def test_a_literal_is_kept_beside_what_is_sent_for_it() -> None:
    match = {"PatientID": literal("A*1"), "ProcedureCodeSequence.CodeValue": literal("B?"), "StudyID": "S*"}
    query = build_query("STUDY", "STUDY", match, ())
    assert isinstance(query.identifier, Dataset)
    assert (query.identifier.PatientID, query.identifier.StudyID) == ("A?1", "S*")
    assert query.exact == {(0x00100020,): "A*1", (0x00081032, 0x00080100): "B?"}


@pytest.mark.parametrize("key", ["0000,0002", "0002,0010", "0008,0000"])
def test_an_element_of_no_identifier_is_refused(key: str) -> None:
    with pytest.raises(QueryError, match="no element of an identifier"):
        asked({key: "1"})


def test_a_path_leads_into_a_sequence_and_two_meet_in_one_item() -> None:
    path = "RequestAttributesSequence"
    found = asked({f"{path}.RequestedProcedureID": "R1"}, (f"{path}.0040,0009",), level="SERIES")
    [item] = found.RequestAttributesSequence
    assert (item.RequestedProcedureID, item.ScheduledProcedureStepID) == ("R1", "")


@pytest.mark.parametrize("item", [{"CodeValue": "1"}, [{"CodeValue": "1"}]])
def test_a_mapping_is_the_item_of_a_sequence(item: object) -> None:
    assert asked({"ProcedureCodeSequence": item}).ProcedureCodeSequence[0].CodeValue == "1"


@pytest.mark.parametrize("value", ["x", 5, [{"CodeValue": "1"}, {"CodeValue": "2"}]])
def test_a_sequence_is_matched_by_one_item(value: object) -> None:
    with pytest.raises(QueryError, match="one item"):
        asked({"ProcedureCodeSequence": value})


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"PatientNmae": "x"}, "did you mean PatientName"),
        ({"ProcedureCodeSequence.CodeValeu": "x"}, "did you mean CodeValue"),
        ({"PatientName.CodeValue": "x"}, "PatientName is no sequence"),
        ({"Modality": "CT"}, "below the query's STUDY level"),
        ({"0008,0060": "CT"}, "below the query's STUDY level"),
        ({"ProcedureCodeSequence": {"CodeValeu": "x"}}, "unknown keyword"),
        ({"StudyDate": "last week"}, "StudyDate"),
        ({"": "x"}, "unknown keyword"),
        ({"ReferencedStudySequence.StudyTime": "22:00..06:00"}, "no range leads over"),
    ],
)
def test_a_key_that_is_none_is_refused(match: dict[str, object], why: str) -> None:
    with pytest.raises(QueryError, match=why):
        asked(match)


def test_a_data_set_is_a_query() -> None:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientName = "Doe*"
    query.StudyDate = "20240101-20240331"
    item = Dataset()
    item.CodeValue = "1"
    query.ProcedureCodeSequence = [item]
    found = asked(query)
    assert (found.QueryRetrieveLevel, found.PatientName, found.StudyDate) == (
        "STUDY",
        "Doe*",
        "20240101-20240331",
    )
    assert found.ProcedureCodeSequence[0].CodeValue == "1"
    assert found.StudyInstanceUID == ""


def test_what_is_not_ascii_is_utf_8_also_inside_a_sequence() -> None:
    assert asked({"PatientName": "Doe*"}).SpecificCharacterSet == ""  # asked for: some tell it to no other
    assert asked({"PatientName": "Müller"}).SpecificCharacterSet == "ISO_IR 192"
    nested = asked({"ProcedureCodeSequence": {"CodeMeaning": "Schädel"}})
    assert nested.SpecificCharacterSet == "ISO_IR 192"


def test_the_users_own_character_set_is_kept() -> None:
    query = build_query("STUDY", "STUDY", {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller"}, ())
    assert b"M\xfcller" in query.encode(ExplicitVRLittleEndian)


@pytest.mark.parametrize("key", ["PatientName", "ProcedureCodeSequence.CodeMeaning"])
def test_what_the_users_set_cannot_hold_is_never_sent_as_a_question_mark(key: str) -> None:
    with pytest.raises(QueryError, match="'山' is not in the character set ISO_IR 100"):
        asked({"SpecificCharacterSet": "ISO_IR 100", key: "山田"})


def test_a_character_set_that_is_none_is_refused() -> None:
    with pytest.raises(QueryError, match="SpecificCharacterSet"):
        asked({"SpecificCharacterSet": "KLINGON", "PatientName": "Müller"})


@pytest.mark.parametrize("key", [Tag(0x00080050), 0x00080050, (0x0008, 0x0050)])
def test_a_key_may_be_a_tag_a_number_or_a_pair(key: Any) -> None:
    assert asked({key: "A1"}).AccessionNumber == "A1"
    assert asked({}, (key,)).AccessionNumber == ""


@pytest.mark.parametrize("key", [None, True, -1, 1 << 32, (8,), 1.5])
def test_what_is_no_key_is_a_query_error(key: Any) -> None:
    with pytest.raises(QueryError):
        asked({key: "A1"})
    with pytest.raises(QueryError):
        asked({}, (key,))


def test_lists_of_a_data_set_are_lists() -> None:
    query = Dataset()
    query.StudyInstanceUID = ["1.2", "1.3"]
    query.ModalitiesInStudy = ["CT", "MR"]
    found = build_query("STUDY", "STUDY", query, ()).identifier
    assert list(found["StudyInstanceUID"].value) == ["1.2", "1.3"]
    assert list(found["ModalitiesInStudy"].value) == ["CT", "MR"]


def test_another_level_in_the_query_is_refused() -> None:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    for match in (query, {"QueryRetrieveLevel": "SERIES"}, {"0008,0052": "SERIES"}):
        with pytest.raises(QueryError, match="'SERIES' in a query at the level STUDY"):
            build_query("STUDY", "STUDY", match, ())
    query.QueryRetrieveLevel = "STUDY"
    assert build_query("STUDY", "STUDY", query, ()).identifier.QueryRetrieveLevel == "STUDY"


def test_text_beyond_the_default_repertoire_of_its_vr_is_a_query_error() -> None:
    with pytest.raises(QueryError, match="default repertoire"):
        asked({"StudyInstanceUID": "1.2.3é"})
