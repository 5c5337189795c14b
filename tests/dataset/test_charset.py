"""No character is ever replaced (PS3.5 6.1.2): what a character set cannot hold is refused by name."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from aiodicom.archive.text import charset_for, decode_text, encodings_of
from aiodicom.dataset.charset import terms_of, texts, unheld, unknown_term
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from aiodicom.pdu.errors import LocalProtocolError
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian


def named(name: str, *terms: str) -> Dataset:
    dataset = Dataset()
    if terms:
        dataset.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    dataset.PatientName = name
    return dataset


def encoded(raw: bytes, *terms: str) -> bytes:
    """A data set of a character set and a name, made by hand: nobody's encoder decides what it holds."""
    parts = []
    for tag, value in ((0x00080005, "\\".join(terms).encode()), (0x00100010, raw)):
        value += b" " * (len(value) % 2)
        parts.append(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value)
    return b"".join(parts)


# Every defined term of PS3.3 C.12.1.1.2, with the bytes of PS3.5 Annexes H to K where those have an example.
TERMS = [
    (("ISO_IR 6",), b"Doe^John", "Doe^John"),
    (("ISO_IR 13",), b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (("ISO_IR 100",), b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (("ISO_IR 101",), b"Wa\xb3\xeasa", "Wałęsa"),
    (("ISO_IR 109",), b"\xc6u\xf8o", "Ĉuĝo"),
    (("ISO_IR 110",), b"\xa9\xb9", "Šš"),
    (("ISO_IR 126",), b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (("ISO_IR 127",), b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    (("ISO_IR 138",), b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    (("ISO_IR 144",), b"\xbb\xee\xda", "Люк"),
    (("ISO_IR 148",), b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
    (("ISO_IR 166",), b"\xb9\xd2\xc1", "นาม"),
    (("ISO_IR 192",), "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
    (("ISO_IR 203",), b"\xbcuvre^\xa4", "Œuvre^€"),
    (("GB18030",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    (("GBK",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    (("ISO 2022 IR 6", "ISO 2022 IR 100"), b"Buc^\x1b-AJ\xe9r\xf4me", "Buc^Jérôme"),
    (
        ("ISO 2022 IR 13", "ISO 2022 IR 87"),
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
        b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        ("", "ISO 2022 IR 87"),
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (("", "ISO 2022 IR 159"), b"A=\x1b$(D0!\x1b(B", "A=丂"),
    (("", "ISO 2022 IR 100"), b"Buc^\x1b-AJ\xe9r\xf4me", "Buc^Jérôme"),
    (("", "ISO 2022 IR 101"), b"Wa\x1b-B\xb3\xeasa", "Wałęsa"),
    (("", "ISO 2022 IR 109"), b"\x1b-C\xc6u\xf8o", "Ĉuĝo"),
    (("", "ISO 2022 IR 110"), b"\x1b-D\xa9\xb9", "Šš"),
    (("", "ISO 2022 IR 126"), b"\x1b-F\xc4\xe9\xef", "Διο"),
    (("", "ISO 2022 IR 127"), b"\x1b-G\xe2\xc8\xc7", "قبا"),
    (("", "ISO 2022 IR 138"), b"\x1b-H\xf9\xf8\xe5", "שרו"),
    (("", "ISO 2022 IR 144"), b"\x1b-L\xbb\xee\xda", "Люк"),
    (("", "ISO 2022 IR 148"), b"\x1b-M\xfeo\xf0lu", "şoğlu"),
    (("", "ISO 2022 IR 166"), b"\x1b-T\xb9\xd2\xc1", "นาม"),
    (("", "ISO 2022 IR 203"), b"\x1b-b\xbcuvre^\x1b-b\xa4", "Œuvre^€"),
    (
        ("", "ISO 2022 IR 149"),
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        ("", "ISO 2022 IR 58"),
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
]


@pytest.mark.parametrize(("terms", "raw", "name"), TERMS)
def test_every_defined_term_is_read_in_an_answer_a_key_and_a_stored_object(
    terms: tuple[str, ...], raw: bytes, name: str
) -> None:
    answer = decode_dataset(encoded(raw, *terms), ImplicitVRLittleEndian)
    assert str(answer.PatientName).rstrip("=") == name
    assert (
        str(
            decode_dataset(encode_dataset(answer, ImplicitVRLittleEndian), ImplicitVRLittleEndian).PatientName
        ).rstrip("=")
        == name
    )
    key = named(name, *terms)  # what a user asks for
    again = decode_dataset(encode_dataset(key, ExplicitVRLittleEndian), ExplicitVRLittleEndian)
    assert again.PatientName == name
    indexed = decode_text(raw, encodings_of("\\".join(terms)), "PN")  # what a stored object is found by
    assert indexed.rstrip("=") == name


@pytest.mark.parametrize(
    ("terms", "sign"),
    [
        (("ISO_IR 13",), "山"),
        (("", "ISO 2022 IR 87"), "é"),
        (("", "ISO 2022 IR 58"), "ñ"),
        (("ISO_IR 203",), "¤"),
        (("", "ISO 2022 IR 58"), "홍"),
    ],
)
def test_a_codec_that_holds_more_than_the_set_is_not_asked(terms: tuple[str, ...], sign: str) -> None:
    assert sign in (unheld(named(sign, *terms)) or "")


@pytest.mark.parametrize(("terms", "name"), [(terms, name) for terms, _, name in TERMS])
def test_text_in_its_set_goes_out_and_comes_back(terms: tuple[str, ...], name: str) -> None:
    dataset = named(name, *terms)
    assert unheld(dataset) is None
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        assert decode_dataset(encode_dataset(dataset, syntax), syntax).PatientName == name


@pytest.mark.parametrize("terms", [("ISO_IR 100",), ("ISO_IR 144",), ("", "ISO 2022 IR 149"), ()])
def test_text_outside_its_set_is_refused_by_element(terms: tuple[str, ...]) -> None:
    with pytest.raises(LocalProtocolError, match=r"PatientName: '[^']' is not in"):
        encode_dataset(named("Œuvre^€ก", *terms), ExplicitVRLittleEndian)


def test_an_item_has_the_set_around_it_or_its_own() -> None:
    outer = named("Doe", "ISO_IR 100")
    outer.ProcedureCodeSequence = [Dataset()]
    [item] = outer.ProcedureCodeSequence
    item.CodeMeaning = "山"
    assert unheld(outer) == "CodeMeaning: '山' is not in the character set ISO_IR 100"
    item.SpecificCharacterSet = "ISO_IR 192"
    assert unheld(outer) is None


@pytest.mark.parametrize("terms", [("ISO_IR 6",), ("ISO 2022 IR 6",)])
def test_the_default_repertoire_has_no_upper_half_where_it_is_named(terms: tuple[str, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="PatientName: 'Ä' is not in the character set ISO"):
        encode_dataset(named("Äneas", *terms), ExplicitVRLittleEndian)
    assert charset_for(["Äneas"], terms) == "ISO_IR 192"
    assert charset_for(["Äneas"], [*terms, "ISO_IR 100"]) == "ISO_IR 100"
    assert charset_for(["Äneas"], [""]) == "ISO_IR 100"


def test_one_of_several_values_is_found() -> None:
    dataset = named("Doe", "ISO_IR 100")
    dataset.OtherPatientNames = ["Roe", "山"]
    assert unheld(dataset) == "OtherPatientNames: '山' is not in the character set ISO_IR 100"


def test_what_was_read_without_a_set_goes_out_as_it_was() -> None:
    raw = encode_dataset(named("Muller"), ExplicitVRLittleEndian).replace(b"Mull", b"M\xfcll")
    dataset = decode_dataset(raw, ExplicitVRLittleEndian)
    assert encode_dataset(dataset, ExplicitVRLittleEndian) == raw


def test_terms() -> None:
    assert terms_of(named("Doe")) is None
    assert terms_of(named("Doe", "ISO_IR 100")) == ["ISO_IR 100"]
    assert unknown_term(["ISO_IR 100", "KLINGON"]) == "KLINGON"
    assert unknown_term(["", "ISO 2022 IR 87"]) is None
    assert list(texts(named("Doe"))) == [("PatientName", "Doe")]


EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


def written(charset: str | list[str] | None, **values: str) -> dict[str, str]:
    """The texts as they are read again."""
    dataset = Dataset()
    if charset is not None:
        dataset.SpecificCharacterSet = charset
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    read = decode_dataset(encode_dataset(dataset, EXPLICIT), EXPLICIT)
    return {keyword: str(read[keyword].value) for keyword in values}


@pytest.mark.parametrize("name", ["ﾔﾏﾀﾞ^ABC", "ﾔﾏﾀﾞ ABC*", "A*ﾔ?ﾏ", "ABC", "ﾔﾏﾀﾞ"])
def test_katakana_and_latin_letters_stand_beside_each_other_in_iso_ir_13(name: str) -> None:
    """PS3.3 Table C.12-2: both halves of JIS X 0201 are there without an escape."""
    assert written("ISO_IR 13", PatientName=name) == {"PatientName": name}


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.parametrize(
    ("charset", "values", "named"),
    [
        ("ISO_IR 13", {"PatientName": "A¥B"}, "PatientName"),  # 5CH there, which separates values
        ("ISO_IR 13", {"PatientName": "A\u203eB"}, "PatientName"),
        (["", "ISO 2022 IR 149"], {"PatientComments": "홍\n길"}, "PatientComments"),
        (["", "ISO 2022 IR 58"], {"PatientComments": "张\r\n王"}, "PatientComments"),
        ("ISO_IR 192", {"Modality": "CÜ"}, "Modality"),
        (None, {"URNCodeValue": "http://山"}, "URNCodeValue"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    charset: str | list[str] | None, values: dict[str, str], named: str
) -> None:
    with pytest.raises(LocalProtocolError, match=named):
        written(charset, **values)


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
def test_a_set_that_is_none_holds_nothing() -> None:
    with pytest.raises(LocalProtocolError, match=r"PatientName.*KLINGON"):
        written("KLINGON", PatientName="Müller")


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Жук^é"),
        (["", "ISO 2022 IR 100", "ISO 2022 IR 144"], "Ж=é"),
        (["ISO 2022 IR 100", "ISO 2022 IR 126", "ISO 2022 IR 144"], "Жук^αβγ=é^Ж"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ],
)
def test_a_delimiter_of_a_name_ends_the_reach_of_an_escape(charset: list[str], name: str) -> None:
    """PS3.5 6.1.2.5.3: behind it the first set holds again, by pydicom's reading too."""
    assert written(charset, PatientName=name) == {"PatientName": name}


def test_a_name_as_others_write_it() -> None:
    raw = encoded(b"\x1b-L\xb6\xe3\xda^\xe9", "ISO_IR 100", "ISO 2022 IR 144")
    assert str(decode_dataset(raw, IMPLICIT).PatientName) == "Жук^é"


@pytest.mark.parametrize("new", ["ISO_IR 100", None])
@pytest.mark.parametrize("where", ["top", "item"])
def test_a_set_that_is_changed_after_reading_is_judged_anew(new: str | None, where: str) -> None:
    """What was read is not decoded yet: it must neither become `?` nor go out in the old set."""
    source, item = Dataset(), Dataset()
    source.SpecificCharacterSet = "ISO_IR 192"
    (source if where == "top" else item).PatientComments = "山"
    source.ProcedureCodeSequence = [item]
    read = read_dataset(BytesIO(encode_dataset(source, EXPLICIT)), False, True)
    if new is None:
        del read.SpecificCharacterSet
    else:
        read.SpecificCharacterSet = new
    with pytest.raises(LocalProtocolError, match="PatientComments"):
        encode_dataset(read, EXPLICIT)
    read.SpecificCharacterSet = "GB18030"
    again = decode_dataset(encode_dataset(read, EXPLICIT), EXPLICIT)
    assert (again if where == "top" else again.ProcedureCodeSequence[0]).PatientComments == "山"


def test_what_is_as_it_was_read_goes_out_byte_for_byte() -> None:
    source = Dataset()
    source.PatientComments = "Sch@del"
    data = encode_dataset(source, EXPLICIT).replace(b"@", b"\xe4")
    assert encode_dataset(read_dataset(BytesIO(data), False, True), EXPLICIT) == data
