"""Answers as bytes are what the data set would be encoded to, element for element."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiodicom.archive import find
from aiodicom.archive.answers import Answers
from aiodicom.archive.archive import Archive
from aiodicom.archive.attributes import ATTRIBUTES, Attribute
from aiodicom.archive.query import CompiledQuery
from aiodicom.archive.text import Value
from aiodicom.dataset.coding import PLAIN_TEXT_VRS, decode_dataset, encode_dataset
from aiodicom.dimse.levels import Level, Root
from aiodicom.pdu.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from archive_objects import image, query, store
from hypothesis import given
from hypothesis import strategies as st

PATIENT_NAME = 0x00100010
SYNTAXES = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "FD", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "US", "UT")
KEPT = tuple(Attribute(f"Key{vr}", 0x00100100 + at, vr, Level.IMAGE) for at, vr in enumerate(VRS))
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")


class Found:
    """An entity with these values."""

    def __init__(self, values: dict[str, Value], charsets: Sequence[str] = ()) -> None:
        self.values = values
        self.charsets = charsets

    def value(self, kept: Attribute, /) -> Value:
        return self.values.get(kept.keyword, "")


def answers(wanted: Sequence[Attribute], *, availability: bool = False, title: str | None = "AE") -> Answers:
    query = CompiledQuery(Level.IMAGE, (), tuple(wanted), (), availability, "1", ())
    return Answers(query, title)


def encoded(found: Found, syntax: str, wanted: Sequence[Attribute] = KEPT) -> tuple[bytes, list[str]]:
    told: list[str] = []
    return answers(wanted).encoded(found, syntax, told.append), told


def test_the_elements_that_are_fixed_are_no_keys_of_the_index() -> None:
    """Else an answer would hold them twice."""
    assert not ATTRIBUTES.keys() & {0x00080005, 0x00080052, 0x00080054, 0x00080056}


TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.from_regex(r"[0-9.+\\ -]{0,18}", fullmatch=True),
    st.sampled_from(["1.2.840.10008.1.2", "20240101", "Doe^Jane", "A\\B", "7", "007", "1e5", "ab\ncd", "=^"]),
)


@given(st.dictionaries(st.sampled_from([kept.keyword for kept in KEPT]), TEXTS), st.sampled_from(SYNTAXES))
def test_they_are_what_the_data_set_is_encoded_to(values: dict[str, Value], syntax: str) -> None:
    """In little endian the writer has two ways, by what else there is; they differ in an IS of `.1`."""
    flat = [kept for kept in KEPT if kept.vr in PLAIN_TEXT_VRS or syntax == EXPLICIT_VR_BIG_ENDIAN]
    found = Found(values)
    assert encoded(found, syntax, flat) == (encode_dataset(answers(flat).dataset(found), syntax), [])


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("text", "charsets", "charset"),
    [
        ("M\u00fcller^J\u00f6rg", ["ISO_IR 100"], "ISO_IR 100"),
        ("M\u00fcller^J\u00f6rg", [""], "ISO_IR 100"),
        ("\u5c71\u7530^\u592a\u90ce", ["ISO_IR 100"], "ISO_IR 192"),
        ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", ["\\ISO 2022 IR 87"], "\\ISO 2022 IR 87"),
    ],
)
def test_text_that_is_not_ascii(syntax: str, text: str, charsets: list[str], charset: str) -> None:
    more = "\u00e4" if len(charsets[0]) < 11 else "a"
    codes: Value = [{"00080104": ["LO", f"Sch{more}del"]}]
    wanted = (*KEPT, ATTRIBUTES[PATIENT_NAME], Attribute("Codes", 0x00400260, "SQ", Level.IMAGE))
    found = Found({"PatientName": text, "KeyLO": "plain", "KeyAE": more, "Codes": codes}, charsets)
    data, told = encoded(found, syntax, wanted)
    dataset = answers(wanted).dataset(found)
    assert dataset.SpecificCharacterSet == (charset.split("\\") if "\\" in charset else charset)
    assert data == encode_dataset(dataset, syntax)
    assert told == []
    assert str(decode_dataset(data, syntax).PatientName) == text


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sequence_and_a_long_text(syntax: str) -> None:
    wanted = (*KEPT, Attribute("Codes", 0x00400260, "SQ", Level.IMAGE))
    for codes in ([], [{"00080100": ["SH", "T-D1100"]}], [{}, {"00081150": ["UI", "1.2"]}]):
        found = Found({"KeyUT": "x" * 70_000, "KeyLO": "y" * 300, "Codes": codes})
        data, told = encoded(found, syntax, wanted)
        assert data == encode_dataset(answers(wanted).dataset(found), syntax)
        assert told == []


def test_an_element_that_cannot_be_encoded_costs_itself_only() -> None:
    """70,000 characters are no LO: their length has two bytes in explicit VR."""
    found = Found({"KeyLO": "x" * 70_000, "KeyCS": "CT", "KeySH": "1"})
    data, told = encoded(found, EXPLICIT_VR_LITTLE_ENDIAN)
    heard = decode_dataset(data, EXPLICIT_VR_LITTLE_ENDIAN)
    assert KEPT[VRS.index("LO")].tag not in heard
    assert heard[KEPT[VRS.index("CS")].tag].value == "CT"
    assert heard[KEPT[VRS.index("SH")].tag].value == "1"
    assert len(told) == 1
    assert told[0].startswith("an answer is given in part: ")


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn of a search ends for the time that it took."""
    monkeypatch.setattr(find, "monotonic", lambda: 0.0)


@pytest.mark.usefixtures("no_time_passes")
def test_answers_are_taken_by_number_and_by_size(tmp_path: Path) -> None:
    """What a peer does not read is held, so that it is bounded in bytes too."""
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(5):
            store(archive, image(number, study="1.1", PatientComments="x" * 400))
        keys = query("IMAGE", SOPInstanceUID="", PatientComments="", StudyInstanceUID="1.1")

        def sizes(count: int, size: int) -> list[int]:
            found = archive.find(Root.PATIENT, Level.IMAGE, keys)
            ended = False
            taken: list[int] = []
            while not ended:
                batch, ended = found.take(IMPLICIT_VR_LITTLE_ENDIAN, count, size, pytest.fail)
                taken.append(len(batch))
            return taken

        assert sizes(2, 1 << 20) == [2, 2, 1]
        assert sizes(100, 1000) == [3, 2]
        assert sizes(100, 1 << 20) == [5]


@pytest.mark.usefixtures("no_time_passes")
def test_the_bytes_and_the_data_sets_of_a_query_are_the_same(tmp_path: Path) -> None:
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(3):
            store(
                archive,
                image(
                    number,
                    study="1.1",
                    PatientName="M\u00fcller^J\u00f6rg",
                    SpecificCharacterSet="ISO_IR 100",
                ),
            )
            store(archive, image(number, study="1.2", PatientID="P2", PatientName="Doe^Jane"))
        keys = query(
            "IMAGE", **{kept.keyword: "" for kept in ATTRIBUTES.values() if kept.vr in PLAIN_TEXT_VRS}
        )
        for syntax in SYNTAXES:
            datasets = list(archive.find(Root.PATIENT, Level.IMAGE, keys, retrieve_ae="ARCHIVE"))
            data, ended = archive.find(Root.PATIENT, Level.IMAGE, keys, retrieve_ae="ARCHIVE").take(
                syntax, 100, 1 << 20, pytest.fail
            )
            assert ended
            assert data == [encode_dataset(dataset, syntax) for dataset in datasets]
            assert len(data) == 6
