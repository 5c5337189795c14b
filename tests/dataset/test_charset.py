"""No character is ever replaced (PS3.5 6.1.2): what a character set cannot hold is refused by name."""

from __future__ import annotations

import pytest
from aiodicom.dataset.charset import terms_of, texts, unheld, unknown_term
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from aiodicom.pdu.errors import LocalProtocolError
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian


def named(name: str, *terms: str) -> Dataset:
    dataset = Dataset()
    if terms:
        dataset.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    dataset.PatientName = name
    return dataset


# PS3.5 Annexes H, I, J, K and the single-byte sets of PS3.3 C.12.1.1.2
HELD = [
    (("ISO_IR 100",), "Buc^Jérôme"),
    (("ISO_IR 101",), "Wałęsa"),
    (("ISO_IR 144",), "Люкceмбypг"),
    (("ISO_IR 126",), "Διονυσιος"),
    (("ISO_IR 127",), "قباني^لنزار"),
    (("ISO_IR 138",), "שרון^דבורה"),
    (("ISO_IR 148",), "Çavuşoğlu"),
    (("ISO_IR 166",), "นามสกุล"),
    (("ISO_IR 13",), "ﾔﾏﾀﾞ"),
    (("ISO_IR 192",), "王^小东"),
    (("GB18030",), "王^小东"),
    (("GBK",), "王^小东"),
    (("", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎"),
    (("", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동"),
]


@pytest.mark.parametrize(("terms", "name"), HELD)
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
