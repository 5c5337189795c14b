"""C-FIND and the choice of objects to retrieve, put to a small archive."""

from __future__ import annotations

import struct
import threading
import tracemalloc
from io import BytesIO

import pytest
from aiodicom.archive import find as find_module
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import GivenUp, IdentifierError
from aiodicom.archive.matching import compile_key
from aiodicom.dimse.levels import Level, Root
from archive_objects import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    encode,
    find,
    image,
    query,
    store,
    through_the_wire,
    values,
)
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

LEVEL_TAG = 0x00080052
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients, three studies, four series, seven images."""
    with Archive(tmp_path_factory.mktemp("archive"), durability="rename") as opened:
        first = {"StudyDescription": "Head", "AccessionNumber": "A1", "PatientSex": "F"}
        for number in (1, 2, 3):
            store(opened, image(number, study="1.1", SeriesDescription="axial", **first))
        store(
            opened,
            image(1, study="1.1", series="1.1.2", SOPClassUID=MR, Modality="MR", SeriesNumber=7, **first),
        )
        married = {"PatientName": "Married^Jane", "StudyDate": "20240302", "AccessionNumber": "A2"}
        store(opened, image(1, study="1.2", **married))
        other = {"PatientID": "P2", "PatientName": "Roe^Richard", "StudyDate": "20240401", "Modality": "US"}
        store(opened, image(1, study="1.3", **other))
        store(opened, image(2, study="1.3", Rows=512, **other), IMPLICIT)
        yield opened


@pytest.mark.parametrize(
    ("level", "key", "expected"),
    [
        ("PATIENT", "PatientID", ["P1", "P2"]),
        ("STUDY", "StudyInstanceUID", ["1.1", "1.2", "1.3"]),
        ("SERIES", "SeriesInstanceUID", ["1.1.1", "1.1.2", "1.2.1", "1.3.1"]),
        (
            "IMAGE",
            "SOPInstanceUID",
            ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.2.1", "1.2.1.1", "1.3.1.1", "1.3.1.2"],
        ),
    ],
)
def test_universal_matching_at_every_level(archive, level, key, expected):
    found = find(archive, Root.PATIENT, level, **{key: ""})
    assert values(found, key) == expected
    assert {str(one.QueryRetrieveLevel) for one in found} == {level}
    assert all(len(one) == 2 for one in found)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "P1"}, ["1.1", "1.2"]),
        ({"PatientID": "P?"}, ["1.1", "1.2", "1.3"]),
        ({"PatientID": "p1"}, []),
        ({"PatientName": "doe*"}, ["1.1"]),
        ({"PatientName": "*jane"}, ["1.1", "1.2"]),
        ({"StudyDate": "20240131"}, ["1.1"]),
        ({"StudyDate": "20240301-"}, ["1.2", "1.3"]),
        ({"StudyDate": "-20240302"}, ["1.1", "1.2"]),
        ({"StudyDate": "20240201-20240331"}, ["1.2"]),
        ({"StudyTime": "10"}, ["1.1", "1.2", "1.3"]),
        ({"StudyTime": "1016-"}, []),
        ({"AccessionNumber": "A*"}, ["1.1", "1.2"]),
        ({"AccessionNumber": '""'}, ["1.3"]),
        ({"StudyDescription": "Head"}, ["1.1"]),
        ({"PatientSex": "F"}, ["1.1"]),
        ({"ModalitiesInStudy": "MR"}, ["1.1"]),
        ({"ModalitiesInStudy": ["MR", "US"]}, ["1.1", "1.3"]),
        ({"ModalitiesInStudy": "?R"}, ["1.1"]),
        ({"SOPClassesInStudy": MR}, ["1.1"]),
        ({"NumberOfStudyRelatedInstances": 4}, ["1.1"]),
        ({"PatientID": "P1", "StudyDate": "20240401"}, []),
        ({"PatientID": "' OR 1=1 --"}, []),
    ],
)
def test_study_keys(archive, keys, expected):
    found = find(archive, Root.STUDY, "STUDY", **({"StudyInstanceUID": ""} | keys))
    assert values(found, "StudyInstanceUID") == expected


def test_list_of_uids(archive):
    found = find(archive, Root.STUDY, "STUDY", StudyInstanceUID=["1.1", "1.3", "9.9"])
    assert values(found, "StudyInstanceUID") == ["1.1", "1.3"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"StudyInstanceUID": "1.1"}, ["1.1.1", "1.1.2"]),
        ({"Modality": "MR"}, ["1.1.2"]),
        ({"Modality": ["MR", "US"]}, ["1.1.2", "1.3.1"]),
        ({"SeriesNumber": "+7"}, ["1.1.2"]),
        ({"PatientID": "P2"}, ["1.3.1"]),
    ],
)
def test_series_keys(archive, keys, expected):
    found = find(archive, Root.STUDY, "SERIES", **({"SeriesInstanceUID": ""} | keys))
    assert values(found, "SeriesInstanceUID") == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"SeriesInstanceUID": "1.1.1", "InstanceNumber": "2"}, ["1.1.1.2"]),
        ({"SOPClassUID": MR}, ["1.1.2.1"]),
        ({"Rows": 512}, ["1.3.1.2"]),
        ({"AvailableTransferSyntaxUID": IMPLICIT}, ["1.3.1.2"]),
        ({"PatientName": "Roe*", "InstanceNumber": "1"}, ["1.3.1.1"]),
    ],
)
def test_image_keys(archive, keys, expected):
    found = find(archive, Root.STUDY, "IMAGE", **({"SOPInstanceUID": ""} | keys))
    assert values(found, "SOPInstanceUID") == expected


def test_computed_values(archive):
    [study] = find(
        archive,
        Root.STUDY,
        "STUDY",
        StudyInstanceUID="1.1",
        ModalitiesInStudy="",
        SOPClassesInStudy="",
        NumberOfStudyRelatedSeries=None,
        NumberOfStudyRelatedInstances=None,
        NumberOfPatientRelatedStudies=None,
        NumberOfPatientRelatedSeries=None,
        NumberOfPatientRelatedInstances=None,
    )
    assert list(study.ModalitiesInStudy) == ["CT", "MR"]
    assert list(study.SOPClassesInStudy) == [CT, MR]
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (2, 4)
    assert (
        study.NumberOfPatientRelatedStudies,
        study.NumberOfPatientRelatedSeries,
        study.NumberOfPatientRelatedInstances,
    ) == (2, 3, 5)
    [series] = find(
        archive, Root.STUDY, "SERIES", SeriesInstanceUID="1.1.1", NumberOfSeriesRelatedInstances=None
    )
    assert series.NumberOfSeriesRelatedInstances == 3


def test_an_answer_has_what_was_asked_for(archive):
    [answer] = archive.find(
        Root.STUDY,
        Level.IMAGE,
        query(None, SOPInstanceUID="1.3.1.2", Rows=None, ImageComments="", InstanceAvailability="", KVP=None),
        retrieve_ae="ARCHIVE",
    )
    assert answer.Rows == 512
    assert answer.ImageComments == ""
    assert answer.InstanceAvailability == "ONLINE"
    assert answer.RetrieveAETitle == "ARCHIVE"
    assert {element.keyword for element in answer} == {
        "InstanceAvailability", "QueryRetrieveLevel", "RetrieveAETitle", "SOPInstanceUID", "Rows",
        "ImageComments",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"StudyDate": ""}, 0xFF00),
        ({"SpecificCharacterSet": "ISO_IR 192", "RetrieveAETitle": ""}, 0xFF00),
        ({"Modality": "CT"}, 0xFF01),
        ({"KVP": None}, 0xFF01),
        ({"AnatomicRegionsInStudyCodeSequence": []}, 0xFF01),
    ],
)
def test_unsupported_keys_are_said_and_match_everything(archive, keys, status):
    matches = archive.find(Root.STUDY, "STUDY", query("STUDY", StudyInstanceUID="", **keys))
    assert matches.pending_status == status
    assert len(matches.unsupported) == (status == 0xFF01)
    found = list(matches)
    assert len(found) == 3
    assert all("Modality" not in one and "KVP" not in one for one in found)


def test_both_names_of_a_patient_are_found_and_the_patient_is_one(archive):
    for name, expected in (("Doe^Jane", "1.1"), ("Married^Jane", "1.2")):
        [study] = find(archive, Root.STUDY, "STUDY", StudyInstanceUID="", PatientName=name)
        assert study.StudyInstanceUID == expected
        [patient] = find(archive, Root.PATIENT, "PATIENT", PatientID="", PatientName=name)
        assert (patient.PatientID, patient.PatientName) == ("P1", name)
    patients = find(archive, Root.PATIENT, "PATIENT", PatientID="P1", PatientName="")
    assert [str(one.PatientName) for one in patients] == ["Doe^Jane"]


# Bad identifiers


@pytest.mark.parametrize(
    ("root", "level", "status", "tag"),
    [
        (Root.STUDY, None, 0xA900, LEVEL_TAG),
        (Root.STUDY, "", 0xA900, LEVEL_TAG),
        (Root.STUDY, "FRAME", 0xA900, LEVEL_TAG),
        (Root.STUDY, "PATIENT", 0xA900, LEVEL_TAG),
        (Root.PATIENT_STUDY_ONLY, "SERIES", 0xA900, LEVEL_TAG),
    ],
)
def test_bad_levels(archive, root, level, status, tag):
    for ask in (archive.find, archive.select):
        with pytest.raises(IdentifierError) as caught:
            ask(root, None, query(level, StudyInstanceUID="1.1", PatientID="P1"))
        assert (caught.value.status, caught.value.offending_elements) == (status, (tag,))
        assert len(caught.value.comment) <= 64


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyDate", b"tomorrow"), ("StudyInstanceUID", b"1.2.*"), ("PatientName", b"x" * 2000)],
)
def test_bad_values_are_refused_before_the_first_answer(archive, keyword, value):
    identifier = query("STUDY")
    tag = Tag(keyword)
    identifier[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, None, identifier)
    assert caught.value.status & 0xF000 == 0xC000
    assert caught.value.offending_elements == (int(tag),)


def element(tag, vr, value):
    """An element in explicit VR."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"OB", b"OW", b"OF", b"UN", b"SQ")
    return head + (struct.pack("<HL", 0, len(value)) if long else struct.pack("<H", len(value))) + value


def item(*content):
    inside = b"".join(content)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(inside)) + inside


NAME, CODES, CODE, ROWS = 0x00100010, 0x00081032, 0x00080100, 0x00280010
DEEP = element(CODE, b"SH", b"zz")
for _ in range(10):
    DEEP = element(CODES, b"SQ", item(DEEP))
UNREADABLE = {
    "bytes for a name": (element(NAME, b"OB", b"Nobody"), NAME),
    "floats for a name": (element(NAME, b"FD", b"12345678"), NAME),
    "tags for a name": (element(NAME, b"AT", b"1234"), NAME),
    "a name that is not of its character set": (element(NAME, b"PN", b"\xff\xfe*"), NAME),
    "a name with an escape sequence that is none": (element(NAME, b"PN", b"DOE\x1b$Z33*"), NAME),
    "a name in a set that was not named": (element(NAME, b"PN", b"\x1b$B33\x1b(B"), NAME),
    "letters in a code": (element(0x00080060, b"CS", b"C\xff"), 0x00080060),
    "letters in a title in an item": (
        element(CODES, b"SQ", item(element(0x00400001, b"AE", b"CT\xfc "))),
        0x00400001,
    ),
    "a text that is no key here": (element(0x00401002, b"LO", b"\xff\xfe"), 0x00401002),
    "a date that is no key here": (element(0x00380020, b"DA", b"last week "), 0x00380020),
    "half a number that is no key here": (element(0x00280103, b"US", b"a"), 0x00280103),
    "half a number": (element(ROWS, b"US", b"a"), ROWS),
    "bytes in an item": (element(CODES, b"SQ", item(element(CODE, b"OB", b"ab"))), CODE),
    "tags in an item": (element(CODES, b"SQ", item(element(0x00209165, b"AT", b"abcd"))), 0x00209165),
    "text in an item": (element(CODES, b"SQ", item(element(0x00080104, b"LO", b"\xff\xfe"))), 0x00080104),
    "half a number in an item": (element(CODES, b"SQ", item(element(ROWS, b"US", b"a"))), ROWS),
    "something private in an item": (
        element(CODES, b"SQ", item(element(0x00191010, b"UN", b"zz"))),
        0x00191010,
    ),
    "items too deep": (DEEP, CODES),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_key_that_cannot_be_read_is_refused_and_named(archive, name):
    """Never universal matching: who asked for one patient must not get all."""
    key, tag = UNREADABLE[name]
    charset = element(0x00080005, b"CS", b"ISO_IR 192")
    raw = charset + element(LEVEL_TAG, b"CS", b"IMAGE ") + key
    identifier = read_dataset(BytesIO(raw), False, True)
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, None, identifier)
    assert (caught.value.status, caught.value.offending_elements) == (0xC000, (tag,))


def long_element(tag, vr, value):
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


@pytest.mark.parametrize("vr", [b"UN", b"UC"])
@pytest.mark.parametrize("count", [5_000, 10_000, 30_000])
def test_a_list_of_uids_of_any_length(archive, vr, count):
    """One of 64 kB or more comes as UN (PS3.5 6.2.2), which pydicom leaves as bytes."""
    uids = b"\\".join([b"9.9.%06d" % number for number in range(count)] + [b"1.2"])
    raw = element(LEVEL_TAG, b"CS", b"STUDY ") + long_element(0x0020000D, vr, uids + b"\0" * (len(uids) % 2))
    found = archive.find(Root.STUDY, None, read_dataset(BytesIO(raw), False, True))
    assert [one.StudyInstanceUID for one in found] == ["1.2"]
    chosen = archive.select(Root.STUDY, None, read_dataset(BytesIO(raw), False, True))
    assert [one.sop_instance_uid for one in chosen] == ["1.2.1.1"]


@pytest.mark.parametrize(
    "key",
    [
        element(0x00209165, b"AT", b"1234"),
        element(0x00191010, b"UN", b"\xff\xfe"),
        element(0x00191010, b"DA", b"last week "),
        element(0x00380020, b"DA", b"20240101"),
        element(0x00280103, b"US", b"\1\0"),
        element(0x00401002, b"LO", b"*A"),
    ],
)
def test_what_is_no_key_here_is_said_and_matches_everything(archive, key):
    """What can be read of it could be a key elsewhere; bytes and what is private nobody can judge."""
    raw = element(LEVEL_TAG, b"CS", b"IMAGE ") + key
    found = archive.find(Root.STUDY, None, read_dataset(BytesIO(raw), False, True))
    assert (found.pending_status, len(list(found))) == (0xFF01, 7)


@pytest.mark.parametrize("sequence", [0x00081032, 0x00081110, 0x00081115, 0x00081140, 0x00400275])
def test_a_key_in_any_sequence_is_judged(archive, sequence):
    """A sequence that is not supported matches everything; a date that is none in it is a mistake."""
    key = element(sequence, b"SQ", item(element(0x00080020, b"DA", b"last week ")))
    raw = element(LEVEL_TAG, b"CS", b"IMAGE ") + key
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, None, read_dataset(BytesIO(raw), False, True))
    assert (caught.value.status, caught.value.offending_elements) == (0xC000, (0x00080020,))


def test_a_search_by_a_long_list_is_given_up():
    def given_up():
        raise GivenUp

    with pytest.raises(GivenUp):
        compile_key(0x0020000D, "UI", "1.2\\1.3", given_up)


@pytest.mark.parametrize("tag", [NAME, 0x00080020, 0x00080100])
def test_a_value_of_many_bytes_is_no_universal_key(archive, tag):
    key = long_element(tag, b"UN", b"last week " * 7000)
    if tag == CODE:
        key = long_element(CODES, b"SQ", item(key))
    raw = element(LEVEL_TAG, b"CS", b"STUDY ") + key
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, None, read_dataset(BytesIO(raw), False, True))
    assert (caught.value.status, caught.value.offending_elements) == (0xC000, (tag,))


@pytest.mark.parametrize("vr", [b"OB", b"FD", b"AT", b"UN", b"PN"])
def test_a_key_without_a_value_asks_for_it_in_any_vr(archive, vr):
    raw = element(LEVEL_TAG, b"CS", b"IMAGE ") + element(NAME, vr, b"")
    assert len(list(archive.find(Root.STUDY, None, read_dataset(BytesIO(raw), False, True)))) == 7


def test_text_in_a_character_set_that_nobody_knows(archive):
    identifier = query("STUDY", PatientName="Ro*")
    identifier.SpecificCharacterSet = "LATIN1"
    assert len(list(archive.find(Root.STUDY, None, identifier))) == 1
    identifier.PatientName = "Ré*"
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, None, identifier)
    assert caught.value.offending_elements == (0x00080005,)


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_retrieve_is_not_widened_by_a_key_that_cannot_be_read(archive, keyword):
    tag = int(Tag(keyword))
    level, series = element(LEVEL_TAG, b"CS", b"SERIES"), element(0x0020000E, b"UI", b"1.1.1\0")
    raw = level + element(tag, b"OB", b"1.77") + series
    with pytest.raises(IdentifierError) as caught:
        archive.select(Root.PATIENT, None, read_dataset(BytesIO(raw), False, True))
    assert caught.value.offending_elements == (tag,)


MOMENTS = [
    ("20240131-20240302", "1000-1100", True, {"1.1", "1.2"}),
    ("20240131-20240302", "1100-1200", True, {"1.2"}),  # the first is of 10:15
    ("20240131-20240302", "1100-1200", False, set()),
    ("20240130-20240131", "1200-1015", True, {"1.1"}),
    ("20240130-20240131", "1200-1014", True, set()),
    ("-20240131", "-1015", True, {"1.1"}),
    ("20240302-", "1015-", True, {"1.2", "1.3"}),
    ("20240302-", "1016-", True, {"1.3"}),
    ("20240302-", "-1000", True, {"1.2", "1.3"}),
    ("20240302", "1016-", True, set()),
    ("20240131-", "101500", True, {"1.1", "1.2", "1.3"}),
]


@pytest.mark.parametrize(("date", "time", "combined", "expected"), MOMENTS)
def test_ranges_of_a_date_and_its_time_as_one(archive, date, time, combined, expected):
    """PS3.4 C.2.2.2.5 and C.5.1.1: from a moment to a moment, where that was negotiated."""
    identifier = query("STUDY", StudyInstanceUID="", StudyDate=date, StudyTime=time)
    found = archive.find(Root.STUDY, None, through_the_wire(identifier), combined=combined)
    assert {one.StudyInstanceUID for one in found} == expected


def test_of_what_has_no_time_the_whole_day_counts(empty):
    store(empty, image(StudyTime=None))
    for time, expected in (("0000-2359", 1), ("0001-", 0), ("-1200", 0)):
        identifier = query("STUDY", StudyDate="20240131-20240131", StudyTime=time)
        assert len(list(empty.find(Root.STUDY, None, identifier, combined=True))) == expected


def test_a_sequence_key_with_two_items_is_refused(archive):
    identifier = query(
        "STUDY", ProcedureCodeSequence=[query(None, CodeValue="1"), query(None, CodeValue="2")]
    )
    with pytest.raises(IdentifierError):
        archive.find(Root.STUDY, None, identifier)


def test_too_many_keys_are_refused(archive):
    identifier = query("STUDY")
    for element in range(0x1001, 0x1300):
        identifier.add_new(0x00090000 + element, "LO", "x")
    with pytest.raises(IdentifierError):
        archive.find(Root.STUDY, None, identifier)


def test_hierarchical_queries_need_the_keys_above(archive):
    with pytest.raises(IdentifierError) as caught:
        archive.find(Root.STUDY, "SERIES", query("SERIES", SeriesInstanceUID=""), relational=False)
    assert caught.value.offending_elements == (0x0020000D,)
    with pytest.raises(IdentifierError):
        several = query("SERIES", StudyInstanceUID=["1.1", "1.2"], SeriesInstanceUID="")
        archive.find(Root.STUDY, "SERIES", several, relational=False)
    proper = query("SERIES", StudyInstanceUID="1.1", SeriesInstanceUID="")
    assert len(list(archive.find(Root.STUDY, "SERIES", proper, relational=False))) == 2


# Retrieval


@pytest.mark.parametrize(
    ("root", "level", "keys", "expected"),
    [
        (Root.PATIENT, "PATIENT", {"PatientID": "P2"}, ["1.3.1.1", "1.3.1.2"]),
        (Root.PATIENT, "PATIENT", {"PatientID": "*"}, []),
        (Root.STUDY, "STUDY", {"StudyInstanceUID": "1.2"}, ["1.2.1.1"]),
        (Root.STUDY, "STUDY", {"StudyInstanceUID": ["1.2", "1.3"]}, ["1.2.1.1", "1.3.1.1", "1.3.1.2"]),
        (Root.STUDY, "STUDY", {"StudyInstanceUID": "7.7"}, []),
        (Root.STUDY, "SERIES", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.2"}, ["1.1.2.1"]),
        (Root.STUDY, "SERIES", {"SeriesInstanceUID": "1.1.2"}, ["1.1.2.1"]),
        (Root.STUDY, "SERIES", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.1.2"}, []),
        (Root.STUDY, "IMAGE", {"SOPInstanceUID": ["1.1.1.1", "1.3.1.2"]}, ["1.1.1.1", "1.3.1.2"]),
        (Root.STUDY, "INSTANCE", {"SOPInstanceUID": "1.1.1.1", "PatientName": "ignored"}, ["1.1.1.1"]),
    ],
)
def test_select(archive, root, level, keys, expected):
    chosen = archive.select(root, None, through_the_wire(query(level, **keys)))
    assert [one.sop_instance_uid for one in chosen] == expected
    for one in chosen:
        assert one.path.stat().st_size == one.data_offset + one.data_size > one.data_offset
        assert one.transfer_syntax_uid == (IMPLICIT if one.sop_instance_uid == "1.3.1.2" else EXPLICIT)


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("STUDY", {}),
        ("STUDY", {"StudyInstanceUID": ""}),
        ("STUDY", {"PatientID": "P1"}),
        ("PATIENT", {"PatientID": " "}),
        ("STUDY", {"StudyInstanceUID": '""'}),
        ("SERIES", {"StudyInstanceUID": "1.1"}),
        ("IMAGE", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}),
    ],
)
def test_a_retrieve_needs_the_unique_key_of_its_level(archive, level, keys):
    with pytest.raises(IdentifierError) as caught:
        archive.select(Root.PATIENT, level, query(level, **keys))
    assert caught.value.status == 0xA900
    assert len(caught.value.offending_elements) == 1


# Streams


@pytest.fixture
def empty(tmp_path):
    with Archive(tmp_path, durability="rename") as opened:
        yield opened


@pytest.mark.slow
def test_many_answers_take_no_memory(empty):
    from aiodicom.archive.entry import entry_of
    from aiodicom.archive.record import read_record

    def entries():
        for number in range(5000):
            record = read_record(encode(image(number)), EXPLICIT)
            yield entry_of(record, f"objects/00/00/{number}.dcm", 300, 1000, number)

    empty._index.add(entries())
    identifier = query("IMAGE", SOPInstanceUID="", PatientName="", InstanceNumber=None)
    list(empty.find(Root.STUDY, None, identifier))
    tracemalloc.start()
    try:
        count = sum(1 for _ in empty.find(Root.STUDY, None, identifier))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5000
    assert peak < 1_500_000


def test_answers_are_those_of_the_beginning_and_storing_goes_on(empty):
    for number in range(5):
        store(empty, image(number))
    matches = empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID=""))
    next(matches)
    assert store(empty, image(9)).status == 0
    assert len(list(matches)) == 4


def test_closing_stops_a_search_on_another_thread(empty, monkeypatch):
    for number in range(3):
        store(empty, image(number))
    matches = empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID="", ContentLabel="NONE"))
    looking, go_on = threading.Event(), threading.Event()
    seen = []

    def slow(entity, kept):
        seen.append(kept.keyword)
        looking.set()
        assert go_on.wait(10)
        return ""

    monkeypatch.setattr("aiodicom.archive.find._Entity.value", slow)
    found = []
    search = threading.Thread(target=lambda: found.extend(matches))
    search.start()
    assert looking.wait(10)
    closer = threading.Thread(target=matches.close)
    closer.start()
    assert matches._search._given_up.wait(10)
    go_on.set()
    search.join(10)
    closer.join(10)
    assert (found, seen) == ([], ["ContentLabel"])


def test_giving_up_ends_a_statement_that_is_running_and_waits_for_nothing(empty, monkeypatch):
    store(empty, image(1))
    begun = threading.Event()

    def endless(search, query, counts):
        connection = search.connection
        connection.create_function("begin", 0, begun.set)
        numbers = "WITH RECURSIVE c(x) AS (SELECT begin() UNION ALL SELECT 1 FROM c) SELECT count(*) FROM c"
        connection.execute(numbers).fetchone()
        yield from ()

    monkeypatch.setattr("aiodicom.archive.find._entities", endless)
    matches = empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID=""))
    found = []
    search = threading.Thread(target=lambda: found.extend(matches), daemon=True)
    search.start()
    assert begun.wait(10)
    matches.give_up()
    search.join(10)
    assert not search.is_alive()
    assert found == []
    matches.close()


def test_a_search_given_up_before_it_began_finds_nothing(empty):
    store(empty, image(1))
    matches = empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID=""))
    matches.give_up()
    assert list(matches) == []


@pytest.mark.parametrize(
    "keyword", ["NumberOfPatientRelatedInstances", "NumberOfStudyRelatedSeries", "SOPClassesInStudy"]
)
@pytest.mark.parametrize("value", ["", "77"])
def test_a_computed_key_is_computed_once_for_an_entity_not_for_a_row(empty, monkeypatch, keyword, value):
    for number in range(20):
        store(empty, image(number))
    computed = []

    class Counted(dict[str, str]):
        def __getitem__(self, key):
            computed.append(key)
            return super().__getitem__(key)

    monkeypatch.setattr("aiodicom.archive.find._COMPUTED_SQL", Counted(find_module._COMPUTED_SQL))
    found = list(empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID="", **{keyword: value})))
    assert len(found) == (0 if value else 20)
    assert computed == [keyword]


def test_an_abandoned_query_lets_go_of_the_database(empty):
    store(empty, image(1))
    store(empty, image(2))
    matches = empty.find(Root.STUDY, None, query("IMAGE", SOPInstanceUID=""))
    next(matches)
    matches.close()
    matches.close()
    with pytest.raises(StopIteration):
        next(matches)


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_a_query_that_is_not_taken_holds_no_snapshot(empty, level):
    """A peer that reads slowly keeps nothing of the index from being folded into its file."""
    for number in range(600):
        store(empty, image(number, study=f"1.2.{number}"))
    matches = empty.find(Root.STUDY, level, query(level, StudyInstanceUID=""))
    taken = [str(next(matches).StudyInstanceUID) for _ in range(300)]
    store(empty, image(1, study="1.9", SpecificCharacterSet=None))
    checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    [busy, *_] = empty._committer.run(lambda: empty._index._writer.execute(checkpoint).fetchone())
    assert busy == 0
    assert (empty.directory / "index.sqlite-wal").stat().st_size == 0
    taken += [str(one.StudyInstanceUID) for one in matches]
    assert sorted(taken) == sorted(f"1.2.{number}" for number in range(600))
