"""What values become on their way through the archive: character sets, sequences, odd ones."""

from __future__ import annotations

import struct

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.text import charset_for, decode_items, make_element
from aiodicom.dataset.coding import decode_answer, decode_dataset, encode_dataset
from aiodicom.dataset.encoding import KNOWN_VRS, LONG_VRS
from aiodicom.dimse.levels import Root
from archive_objects import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    encode,
    find,
    image,
    query,
    sink_for,
    store,
    through_the_wire,
    values,
)
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")


@pytest.fixture
def empty(tmp_path):
    with Archive(tmp_path, durability="rename") as opened:
        yield opened


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize(
    ("charset", "name", "key"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "MÜLLER*"),
        ("ISO_IR 144", "Люкceмбypг", "люк*"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东", "王*"),
        ("GB18030", "Wang^XiaoDong=王^小东", "王^小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田*"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "홍*"),
    ],
)
def test_character_sets(empty, syntax, charset, name, key):
    dataset = image(SpecificCharacterSet=charset, PatientName=name)
    assert store(empty, dataset, syntax).status == 0
    for asked_in in ("ISO_IR 192", charset):
        identifier = query("STUDY", SpecificCharacterSet=asked_in, PatientName=key, StudyInstanceUID="")
        [answer] = empty.find(Root.STUDY, None, through_the_wire(identifier))
        assert str(answer.PatientName) == name
        assert answer.SpecificCharacterSet == charset
        assert str(through_the_wire(answer).PatientName) == name
    [answer] = find(empty, Root.STUDY, "STUDY", StudyInstanceUID="")
    assert "SpecificCharacterSet" not in answer


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_bytes_that_no_character_set_allows_do_not_keep_an_object_from_being_found(empty, syntax):
    """A character beyond ASCII where none may be (CS, UI, DA), at the top or in an item."""
    step = image(ReferencedSOPClassUID="1.2.3.99")
    dataset = image(Modality="XT", StudyDate="20240199", ReferencedStudySequence=Sequence([step]))
    raw = encode(dataset, syntax)
    for good, bad in ((b"XT", b"X\xd6"), (b"20240199", b"202401\xd6\xd6"), (b"1.2.3.99", b"1.2.3.\xd6\xd6")):
        assert raw.count(good) == 1
        raw = raw.replace(good, bad)
    sink = sink_for(empty, dataset, syntax)
    sink.write(memoryview(raw))
    assert sink.commit_now().status == 0
    identifier = query(
        "SERIES", PatientID="P1", Modality="", StudyDate="", ReferencedStudySequence="", SeriesInstanceUID=""
    )
    [answer] = empty.find(Root.STUDY, None, through_the_wire(identifier))
    for syntax in (EXPLICIT, IMPLICIT):
        assert decode_dataset(encode_dataset(answer, syntax), syntax).Modality == ""


def test_an_answer_joining_two_character_sets_is_unicode(empty):
    store(empty, image(1, SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel"))
    store(empty, image(2, series="1.2.3.2", SpecificCharacterSet="ISO_IR 144", SeriesDescription="голова"))
    [answer] = find(
        empty, Root.STUDY, "SERIES", SeriesInstanceUID="1.2.3.2", StudyDescription="", SeriesDescription=""
    )
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert (answer.StudyDescription, answer.SeriesDescription) == ("Schädel", "голова")


def test_bytes_of_an_undeclared_character_set(empty):
    data = encode(image(StudyDescription="Sch@del")).replace(b"Sch@del", b"Sch\xe4del")
    assert store(empty, image(), data=data).status == 0
    [answer] = find(empty, Root.STUDY, "STUDY", StudyDescription="")
    assert answer.StudyDescription == "Schädel"
    assert answer.SpecificCharacterSet == "ISO_IR 100"


def test_bytes_that_do_not_fit_their_character_set(empty):
    data = encode(image(SpecificCharacterSet="ISO_IR 192", StudyDescription="Sch@del"))
    assert store(empty, image(), data=data.replace(b"Sch@del", b"Sch\xe4del")).status == 0
    [answer] = find(empty, Root.STUDY, "STUDY", StudyDescription="Sch?del")
    assert answer.StudyDescription == "Sch\ufffddel"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_sequences(empty, syntax):
    def request(step, code):
        inner = query(None, CodeValue=code, CodingSchemeDesignator="99X", CodeMeaning="Schädel")
        return query(None, ScheduledProcedureStepID=step, ScheduledProtocolCodeSequence=[inner])

    for number, (step, code) in enumerate((("S1", "C1"), ("S2", "C2"))):
        store(
            empty,
            image(
                number,
                series=f"1.2.3.{number}",
                SpecificCharacterSet="ISO_IR 100",
                RequestAttributesSequence=Sequence([request(step, code)]),
            ),
            syntax,
        )
    second = [query(None, CodeValue="C2")]
    for keys, expected in (
        ({"ScheduledProcedureStepID": "S1"}, ["1.2.3.0"]),
        ({"ScheduledProcedureStepID": "S*"}, ["1.2.3.0", "1.2.3.1"]),
        ({"ScheduledProtocolCodeSequence": second}, ["1.2.3.1"]),
        (
            {
                "ScheduledProcedureStepID": "S1",
                "ScheduledProtocolCodeSequence": second,
            },
            [],
        ),
        ({"ScheduledProcedureStepID": ""}, ["1.2.3.0", "1.2.3.1"]),
    ):
        item = query(None, **keys)
        found = find(empty, Root.STUDY, "SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item])
        assert values(found, "SeriesInstanceUID") == expected
    [item] = found[0].RequestAttributesSequence
    assert item.ScheduledProtocolCodeSequence[0].CodeMeaning == "Schädel"
    assert found[0].SpecificCharacterSet == "ISO_IR 100"


def test_values_that_break_their_vr_do_not_break_the_answer(empty):
    data = encode(image(1, SliceLocation="12345", StudyDate="20240131")).replace(b"12345", b"1,2,3")
    assert store(empty, image(1), data=data.replace(b"20240131", b"31.01.24")).status == 0
    [answer] = find(empty, Root.STUDY, "IMAGE", SOPInstanceUID="", SliceLocation=None, StudyDate="")
    assert answer.SliceLocation is None
    assert answer.StudyDate == "31.01.24"
    assert find(empty, Root.STUDY, "STUDY", StudyDate="20240101-") == []


def test_patients_without_an_id_are_not_one(empty):
    store(empty, image(1, study="1.1", PatientID="", PatientName="A"))
    store(empty, image(1, study="1.2", PatientID=None, PatientName="B"))
    found = find(
        empty, Root.PATIENT, "PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedStudies=None
    )
    assert values(found, "PatientName") == ["A", "B"]
    assert [one.NumberOfPatientRelatedStudies for one in found] == [1, 1]


def test_an_answer_is_not_labelled_with_a_set_that_only_pythons_codec_can_write():
    """Python's shift_jis writes kanji, which ISO_IR 13 has not; Latin-1 is no part of a set with escapes."""
    assert charset_for(["ﾔﾏﾀﾞ"], ["ISO_IR 13"]) == "ISO_IR 13"
    assert charset_for(["山田"], ["ISO_IR 13"]) == "ISO_IR 192"
    assert charset_for(["山田"], ["\\ISO 2022 IR 87"]) == "\\ISO 2022 IR 87"
    assert charset_for(["é"], ["\\ISO 2022 IR 87"]) == "ISO_IR 192"


def test_stars_alone_find_an_attribute_without_a_value(empty):
    store(empty, image(StudyDescription="", AccessionNumber=None))
    for key in ("*", "**", "***"):
        found = find(empty, Root.STUDY, "STUDY", StudyDescription=key, AccessionNumber=key, PatientName=key)
        assert len(found) == 1


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_says_how_to_read_an_item_is_no_key(empty, syntax):
    """(0008,0005) and private creators stand in many clients' items; stored ones have others or none."""
    stored = query(None, ScheduledProcedureStepID="S1", ScheduledProcedureStepDescription="Schädel")
    store(
        empty,
        image(SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=Sequence([stored])),
        syntax,
    )
    item = query(None, SpecificCharacterSet="ISO_IR 192", ScheduledProcedureStepDescription="Sch?del")
    item.add_new(0x00090010, "LO", "SOMEBODY")
    found = find(empty, Root.STUDY, "SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item])
    assert len(found) == 1
    item.ScheduledProcedureStepID = "S2"
    assert not find(empty, Root.STUDY, "SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_an_item_with_a_character_set_of_its_own(empty, syntax):
    """PS3.3 C.12.1.1.2: it is read by that, in objects and in keys, and answered in one set."""
    stored = query(None, SpecificCharacterSet="ISO_IR 144", ScheduledProcedureStepDescription="голова")
    store(
        empty,
        image(
            SpecificCharacterSet="ISO_IR 100",
            StudyDescription="Schädel",
            RequestAttributesSequence=Sequence([stored]),
        ),
        syntax,
    )
    for key in ("голова", "гол*"):
        item = query(None, SpecificCharacterSet="ISO_IR 192", ScheduledProcedureStepDescription=key)
        identifier = query("SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item])
        identifier.StudyDescription = ""
        [answer] = empty.find(Root.STUDY, None, through_the_wire(identifier))
        heard = through_the_wire(answer)
        assert heard.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "голова"
        assert heard.StudyDescription == "Schädel"


_VRS = sorted(vr.decode() for vr in KNOWN_VRS)
_NESTED = [
    tag for tag in DicomDictionary if 0x00080000 < tag < 0x7FE00000 and tag & 0xFFFF and tag >> 16 != 8
]


_VALUES = st.text(st.characters(max_codepoint=127), max_size=6).map(lambda text: text.encode() * 2)


@given(st.dictionaries(st.sampled_from(_NESTED), st.tuples(st.sampled_from(_VRS), _VALUES), max_size=4))
def test_nested_elements_of_any_vr_come_back_in_a_form_that_can_be_read(elements):
    """Whatever VR a writer gave them: in an answer it is the dictionary's; what does not fit is left out."""
    body = b""
    for tag, (vr, value) in sorted(elements.items()):
        raw = b"" if vr == "SQ" else value
        size = struct.pack("<HL", 0, len(raw)) if vr.encode() in LONG_VRS else struct.pack("<H", len(raw))
        body += struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + size + raw
    items = decode_items(struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body, ["latin_1"], False, False)
    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 192"
    answer[0x00081032] = make_element(0x00081032, "SQ", items)
    for syntax in (IMPLICIT, EXPLICIT):
        heard, undecoded = decode_answer(encode_dataset(answer, syntax), syntax)
        assert undecoded == ()
        assert len(heard[0x00081032].value) == len(items)


@pytest.mark.parametrize(
    "charset", ["LATIN1", "ISO-8859-1", "UTF-8", "ISO_IR 1", "ISO_IR 100\\ISO 2022 IR 999", "\\X"]
)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_character_set_that_is_none_costs_no_query(empty, charset, syntax):
    """Devices send such: the object is kept and found, its text answered in a set that can be named."""
    raw = charset.encode() + b" " * (len(charset) % 2)
    head = struct.pack("<HH", 8, 5)
    head += struct.pack("<L", len(raw)) if syntax == IMPLICIT else b"CS" + struct.pack("<H", len(raw))
    data = head + raw + encode(image(StudyDescription="Sch%del"), syntax).replace(b"%", b"\xe4")
    assert store(empty, image(), syntax, data=data).status == 0
    store(empty, image(2, study="1.9", StudyDescription="Thorax"))
    found = find(empty, Root.STUDY, "STUDY", StudyDescription="")
    assert len(found) == 2
    for answer in found:
        for wire in (EXPLICIT, IMPLICIT):
            assert (
                decode_dataset(encode_dataset(answer, wire), wire).StudyDescription == answer.StudyDescription
            )
