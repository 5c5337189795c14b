"""Plain answers are the same data sets as by the way of all others, whenever they are decoded."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import pytest
from aiodicom.dataset import coding
from aiodicom.dataset.coding import PLAIN_TEXT_VRS, decode_answer, encode_dataset
from aiodicom.dataset.flat import _VALID, read_flat
from aiodicom.pdu.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

IMPLICIT, EXPLICIT = IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
TAGS = {
    "AE": 0x00080054,
    "AS": 0x00101010,
    "CS": 0x00080060,
    "DA": 0x00080020,
    "DS": 0x00101030,
    "DT": 0x0008002A,
    "IS": 0x00200013,
    "LO": 0x00100020,
    "LT": 0x00104000,
    "PN": 0x00100010,
    "SH": 0x00200010,
    "ST": 0x00080081,
    "TM": 0x00080030,
    "UI": 0x0020000D,
}
"""An element of the standard for each VR that may be plain."""


def element(tag: int, vr: str, value: bytes, syntax: str) -> bytes:
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return start + struct.pack("<L", len(value)) + value
    return start + vr.encode() + struct.pack("<H", len(value)) + value


def encoded(values: dict[str, bytes], syntax: str, charset: bytes = b"") -> bytes:
    found = {TAGS[vr]: (vr, value) for vr, value in values.items()}
    if charset:
        found[0x00080005] = ("CS", charset)
    return b"".join(element(tag, vr, value, syntax) for tag, (vr, value) in sorted(found.items()))


def by_the_long_way(raw: bytes, syntax: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Any]:
    with monkeypatch.context() as patch:
        patch.setattr(coding, "read_flat", lambda *_: None)
        return decode_answer(raw, syntax)


def check(raw: bytes, syntax: str) -> bool:
    """Whether it is plain; if so, that it is what it would be otherwise, and decodes without a word."""
    flat = read_flat(raw, syntax)
    if flat is None:
        return False
    with pytest.MonkeyPatch.context() as patch:
        slow, undecoded = by_the_long_way(raw, syntax, patch)
    assert undecoded == ()
    assert flat.original_encoding == slow.original_encoding
    assert flat.original_character_set == slow.original_character_set
    assert list(flat.keys()) == list(slow.keys())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in slow:
            other = flat[one.tag]
            assert (other.VR, type(other.value)) == (one.VR, type(one.value))
            assert (other.value, str(other.value), other.VM) == (one.value, str(one.value), one.VM)
    assert flat == slow
    assert encode_dataset(flat, syntax) == encode_dataset(slow, syntax)
    return True


VALUES = st.lists(
    st.one_of(
        [
            st.tuples(
                st.just(vr),
                st.from_regex(pattern.replace(b"1024", b"9").replace(b",64", b",9"), fullmatch=True),
            )
            for vr, pattern in _VALID.items()
        ]
    ),
    max_size=3,
).map(dict)
ANYTHING = st.dictionaries(
    st.sampled_from(sorted(TAGS)), st.binary(max_size=20) | st.text(max_size=20).map(str.encode), max_size=3
)


def padded(values: dict[str, bytes]) -> dict[str, bytes]:
    return {vr: value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2) for vr, value in values.items()}


@given(VALUES, st.sampled_from([IMPLICIT, EXPLICIT]))
@example(dict.fromkeys(TAGS, b""), IMPLICIT)
@example(dict.fromkeys(TAGS, b""), EXPLICIT)
def test_valid_text_is_what_it_would_be_otherwise(values: dict[str, bytes], syntax: str) -> None:
    check(encoded(padded(values), syntax), syntax)


@given(
    VALUES | ANYTHING,
    ANYTHING,
    st.sampled_from([IMPLICIT, EXPLICIT]),
    st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13 ", b"\\ISO 2022 IR 87 "]),
)
def test_so_is_whatever_is_taken_for_it(
    values: dict[str, bytes], more: dict[str, bytes], syntax: str, charset: bytes
) -> None:
    check(encoded(padded(values | more), syntax, charset), syntax)


@given(st.binary(max_size=60), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_bytes_of_any_kind(raw: bytes, syntax: str) -> None:
    check(raw, syntax)
    check(encoded({"CS": b"CT"}, syntax) + raw, syntax)


USUAL = {
    "CS": b"CT",
    "DA": b"20240131",
    "TM": b"101500.5",
    "LO": b"P1",
    "PN": b"Doe^Jane",
    "UI": b"1.2.840.10008.1\0",
    "IS": b"12",
    "SH": b"A1",
    "AE": b"ARCHIVE ",
    "DS": b"81.5",
}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"", b"Doe^Jane"),
        (b"ISO_IR 100", "Müller^Jörg ".encode("latin-1")),
        (b"ISO_IR 192", "Müller^Jörg=山田^太郎 ".encode()),
    ],
)
def test_what_archives_answer_is_plain(syntax: str, charset: bytes, name: bytes) -> None:
    raw = encoded({**USUAL, "PN": name + b" " * (len(name) % 2)}, syntax, charset)
    assert check(raw, syntax)
    answer, undecoded = decode_answer(raw, syntax)
    assert undecoded == ()
    assert isinstance(answer.get_item(TAGS["PN"]), RawDataElement)  # nothing is decoded before it is asked
    assert str(answer.PatientName) == name.decode({b"ISO_IR 100": "latin-1"}.get(charset, "utf-8")).rstrip()


def test_every_vr_of_text_can_be_plain() -> None:
    assert set(_VALID) == PLAIN_TEXT_VRS


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize(
    "raw",
    [
        lambda s: encoded(USUAL, s)[:-1],
        lambda s: encoded(USUAL, s) + b"\0\0\0\0",
        lambda s: encoded(USUAL, s) + encoded({"CS": b"CT"}, s),
        lambda s: element(0x00080020, "DA", b"2024013\0", s),
        lambda s: element(0x00080020, "DA", b"20241301", s),
        lambda s: element(0x00080000, "UL", b"\0\0\0\0", s),
        lambda s: element(0x00090010, "LO", b"US", s),
        lambda s: element(0x00280010, "US", b"\0\0", s),
        lambda s: element(0x00080060, "CS", b"C", s),
        lambda s: element(0x00080060, "CS", b"ct", s),
        lambda s: element(0x00200013, "IS", b"1.5 ", s),
        lambda s: element(0x0020000D, "UI", b"1.02", s),
        lambda s: element(0x00100010, "PN", b"M\xfcller", s),
        lambda s: encoded({"PN": b"M\xfcller"}, s, b"ISO_IR 192"),
        lambda s: encoded({"PN": b"Yamada"}, s, b"\\ISO 2022 IR 87 "),
        lambda s: encoded({"PN": b"\x1b$B;3"}, s, b"ISO_IR 100"),
        lambda s: encoded({"LO": "\ufffd ".encode()}, s, b"ISO_IR 192"),
        lambda s: element(0x00104000, "LT", b"x" * 0x4142, s),
    ],
)
def test_what_is_not(raw: Any, syntax: str) -> None:
    assert read_flat(raw(syntax), syntax) is None


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN])
def test_other_syntaxes_are_not(syntax: str) -> None:
    assert read_flat(b"", syntax) is None


def test_nor_what_the_users_own_code_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encoded(USUAL, EXPLICIT)
    monkeypatch.setattr(config, "datetime_conversion", True)
    assert read_flat(raw, EXPLICIT) is None
    monkeypatch.undo()
    monkeypatch.setattr(config, "data_element_callback", lambda raw: raw)
    assert read_flat(raw, EXPLICIT) is None


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("charset", [b"", b"ISO_IR 192"])
def test_each_is_a_data_set_of_its_own_and_made_as_pydicom_makes_one(syntax: str, charset: bytes) -> None:
    source = Dataset()
    source.StudyInstanceUID = "1.2.3"
    if charset:
        source.SpecificCharacterSet = charset.decode()
    raw = encode_dataset(source, syntax)
    first, second = read_flat(raw, syntax), read_flat(raw, syntax)
    assert first is not None
    assert second is not None
    made = Dataset()
    made.set_original_encoding(syntax == IMPLICIT, True, first.original_character_set)
    assert first.__dict__.keys() == made.__dict__.keys()
    assert {name: value for name, value in first.__dict__.items() if name != "_dict"} == {
        name: value for name, value in made.__dict__.items() if name != "_dict"
    }
    first.PatientID = "A"
    first.private_block(0x0099, "AIODICOM", create=True).add_new(1, "LO", "x")
    assert "PatientID" not in second
    assert not second._private_blocks
    shared = [one for one in first.__dict__ if isinstance(first.__dict__[one], dict | list)]
    assert all(first.__dict__[one] is not second.__dict__[one] for one in shared)
