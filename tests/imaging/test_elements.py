"""Values of elements: strict where they place or scale pixels, left out and noted where they only show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.elements import DatasetElements, Elements, Header, ScannedElements, parse
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

Made = Callable[[dict[int, bytes]], Header]
CENTER, SLOPE, ROWS, POSITION = 0x00281050, 0x00281053, 0x00280010, 0x00200032


def raw(dataset: Dataset, tag: int, value: bytes, vr: str | None = "DS") -> Dataset:
    """Put bytes into a data set as a file would, to be converted when they are asked for."""
    dataset[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, vr is None, True)
    return dataset


@pytest.fixture(params=["scanned", "data set", "data set without VRs"])
def header(request: pytest.FixtureRequest) -> Made:
    def made(values: dict[int, bytes]) -> Header:
        elements: Elements = ScannedElements(values)
        if request.param != "scanned":
            dataset = Dataset()
            for tag, value in values.items():
                raw(dataset, tag, value, "DS" if request.param == "data set" else None)
            elements = DatasetElements(dataset, "a.dcm")
        return Header(elements, "a.dcm")

    return made


@pytest.mark.parametrize(
    "text", ["NaN", "AUTO", "40,0", " ", "1_0", "inf", "1e999", "\u0663", "4 0", "--1", "4\x1c", "4\n"]
)
def test_no_decimal_string_is_no_number(text: str) -> None:
    assert parse([text]) is None


@pytest.mark.parametrize(
    ("text", "number"), [("40", 40), (" -1.5 ", -1.5), ("+.5", 0.5), ("2.", 2), ("1E-3", 0.001)]
)
def test_decimal_strings(text: str, number: float) -> None:
    assert parse([text]) == (number,)


@pytest.mark.parametrize("value", [b"NaN ", b"AUTO", b"40,0", b"  "])
def test_what_only_shows_is_left_out_and_noted(header: Made, value: bytes) -> None:
    made = header({CENTER: value})
    assert made.shown(CENTER) is None
    assert made.notes == ["Window Center (0028,1050) is no number and left out"]


def test_one_value_that_is_none_does_not_cost_those_before_it(header: Made) -> None:
    made = header({CENTER: b"40\\AUTO "})
    assert made.shown(CENTER) == 40
    assert made.notes == []


@pytest.mark.parametrize("values", [{}, {CENTER: b""}])
def test_what_is_absent_is_no_matter_to_note(header: Made, values: dict[int, bytes]) -> None:
    made = header(values)
    assert made.shown(CENTER) is None
    assert made.number(CENTER) is None
    assert not made.elements.has(CENTER)
    assert made.notes == []


def test_what_places_and_scales_is_strict_and_named(header: Made) -> None:
    made = header({SLOPE: b"1,5 ", POSITION: b"1\\2"})
    with pytest.raises(MalformedDataSet, match=r"a\.dcm: Rescale Slope \(0028,1053\) does not hold a number"):
        made.number(SLOPE)
    with pytest.raises(
        MalformedDataSet, match=r"a\.dcm: Image Position \(Patient\) \(0020,0032\) .* 3 numbers"
    ):
        made.numbers(POSITION, 3)


def test_numbers_behind_those_that_are_meant_are_noted(header: Made) -> None:
    made = header({SLOPE: b"2\\3 ", POSITION: b"1\\2\\3\\4 "})
    assert made.number(SLOPE) == 2
    assert made.numbers(POSITION, 3) == (1, 2, 3)
    assert [note.split(" has ")[1] for note in made.notes] == [
        "2 values: the first 1 count",
        "4 values: the first 3 count",
    ]


def test_text_that_was_set_in_memory_is_padded_no_less() -> None:
    dataset = Dataset()
    dataset.PhotometricInterpretation, dataset.ImageType = "MONOCHROME1 ", ["A ", "MOSAIC "]
    elements = DatasetElements(dataset, "a.dcm")
    assert elements.texts(0x00280004) == ("MONOCHROME1",)
    assert elements.texts(0x00080008) == ("A", "MOSAIC")


def test_fractions_are_not_cut_off(header: Made) -> None:
    with pytest.raises(MalformedDataSet, match=r"\(0028,0008\) does not hold a whole number"):
        header({0x00280008: b"2.5 "}).whole(0x00280008)


@pytest.mark.parametrize("big_endian", [False, True])
def test_binary_numbers(big_endian: bool) -> None:
    elements = ScannedElements({ROWS: b"\1\2"}, big_endian)
    assert elements.texts(ROWS) == ("258" if big_endian else "513",)


def test_what_cannot_be_converted_names_file_and_attribute_but_no_value() -> None:
    dataset = raw(Dataset(), ROWS, b"abc", "US")
    with pytest.raises(MalformedDataSet, match=r"a\.dcm: Rows \(0028,0010\) cannot be read") as caught:
        DatasetElements(dataset, "a.dcm").texts(ROWS)
    assert "abc" not in str(caught.value)
