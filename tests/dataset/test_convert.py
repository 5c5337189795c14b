"""The same data set in another uncompressed transfer syntax: pydicom and our scanner read both alike."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from aiodicom.dataset import convert as module
from aiodicom.dataset.convert import CONVERTIBLE, Converted, Slice, convert
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.dataset.scan import scan_dataset
from archive_objects import BIG, EXPLICIT, IMPLICIT, encode, image
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence

PAIRS = [(old, new) for old in CONVERTIBLE for new in CONVERTIBLE if old != new]


def joined(converted: Converted, source: bytes, size: int = 1 << 20) -> bytes:
    parts = list(converted.parts(memoryview(source), size))
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part) == size for part, _ in parts[:-1])
    assert parts[-1][0]  # a fragment of nothing would be one more
    whole = b"".join(part for part, _ in parts)
    assert len(whole) == converted.size
    return whole


def converted(source: bytes, old: str, new: str) -> bytes:
    return joined(convert(source, old, new), source)


def read(data: bytes, syntax: str) -> Dataset:
    return read_dataset(io.BytesIO(data), syntax == IMPLICIT, syntax != BIG)


def flat(dataset: Dataset) -> list[tuple[int, str, Any]]:
    """Every element with its value."""
    rows: list[tuple[int, str, Any]] = []
    for element in dataset:
        if element.VR == "SQ":
            rows.append((int(element.tag), "SQ", [flat(item) for item in element.value]))
        else:
            rows.append((int(element.tag), element.VR, element.value))
    return rows


def every_vr() -> Dataset:
    """One of each VR that a standard element has, ambiguous ones included, nested twice, and private ones."""
    dataset = image(
        PixelRepresentation=1,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PatientWeight="70.5",
        PatientAge="040Y",
        AcquisitionDateTime="20240131101500.25",
        FrameIncrementPointer=0x00181063,
        SmallestImagePixelValue=-5,
        LargestImagePixelValue=700,
        RetrieveURL="http://host/a",
        LongCodeValue="A" * 70,
        TextValue="text",
        ImagePositionPatient=[1.5, -2.5, 3],
        RecommendedDisplayFrameRateInFloat=12.5,
        TableTopLateralPosition=1.0,
        ReferencePixelX0=-4,
        RegionFlags=7,
        PhysicalDeltaX=0.25,
        TagAngleFirstAxis=3,
        DisplayedAreaTopLeftHandCorner=[1, -2],
        SelectorSSValue=[-3, 4],
        SelectorSVValue=-(1 << 40),
        SelectorUVValue=1 << 60,
        VectorGridData=struct.pack("<3f", 1, 2, 3),
        TrackPointIndexList=struct.pack("<2I", 9, 10),
        DoubleFloatRealWorldValueFirstValueMapped=1.25,
        ExtendedOffsetTable=struct.pack("<2Q", 0, 77),
    )
    inner = Dataset()
    inner.CodeValue = "X"
    inner.PixelPaddingValue = -7
    inner.RealWorldValueFirstValueMapped = -9
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence([inner, Dataset()])
    outer.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ContentSequence = Sequence([outer])
    dataset.ProcedureCodeSequence = Sequence([])
    lut = Dataset()
    lut.LUTDescriptor = [4, 0, 16]
    lut.LUTData = struct.pack("<4H", 1, 2, 300, 400)
    dataset.ModalityLUTSequence = Sequence([lut])
    dataset.add_new(0x00290010, "LO", "SOMEBODY")
    dataset.add_new(0x00291001, "UN", b"\1\2\3\4")
    dataset.add_new(0x60000010, "US", 2)
    dataset.add_new(0x60003000, "OW", b"\1\0\2\0")
    dataset.PixelData = struct.pack("<24h", *range(-12, 12))
    return correct_ambiguous_vr(dataset, is_little_endian=True)


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """By pydicom, which does not swap what it holds as bytes."""
    if syntax == BIG:
        return converted(encode(dataset, EXPLICIT), EXPLICIT, BIG)
    return encode(dataset, syntax)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_every_vr_in_every_direction(old: str, new: str) -> None:
    dataset = every_vr()
    source = encoded(dataset, old)
    there = converted(source, old, new)
    found = scan_dataset(there, new, check_nested=True)
    assert found.complete
    assert not found.doubt
    if new == IMPLICIT:  # pydicom does not always tell US from SS in its sequences
        again = converted(there, IMPLICIT, EXPLICIT)
        assert flat(read(again, EXPLICIT)) == flat(read(encode(dataset, EXPLICIT), EXPLICIT))
    else:
        assert flat(read(there, new)) == flat(read(encoded(dataset, new), new))
    if IMPLICIT not in (old, new):  # what implicit VR does not say is lost for good: a private VR
        assert converted(there, new, old) == converted(converted(source, old, new), new, old)


def test_big_endian_is_what_pydicom_reads_there() -> None:
    dataset = image(Rows=258, PixelRepresentation=0, BitsAllocated=16, PixelData=b"\1\2\3\4")
    dataset["PixelData"].VR = "OW"
    there = converted(encode(dataset, EXPLICIT), EXPLICIT, BIG)
    back = read(there, BIG)
    assert back.Rows == 258
    assert back.PixelData == b"\2\1\4\3"
    assert back.PatientName == "Doe^Jane"
    assert b"\x00\x28\x00\x10US\x00\x02\x01\x02" in there


@pytest.mark.parametrize("old", [EXPLICIT, IMPLICIT])
def test_large_values_stay_where_they_are(old: str) -> None:
    pixels = bytes(range(256)) * 2048
    dataset = image(BitsAllocated=8, PixelData=pixels)
    dataset["PixelData"].VR = "OB"
    source = encode(dataset, old)
    new = IMPLICIT if old == EXPLICIT else EXPLICIT
    done = convert(source, old, new)
    slices = [piece for piece in done.pieces if isinstance(piece, Slice)]
    assert [source[one.start : one.stop] for one in slices] == [pixels]
    for size in (8, 4096, 1 << 16, 1 << 20):
        assert read(joined(done, source, size), new).PixelData == pixels


@pytest.mark.parametrize("size", [8, 1024, 1 << 16])
def test_large_values_are_swapped_in_parts(size: int) -> None:
    words = struct.pack("<50000H", *range(50000))
    dataset = image(BitsAllocated=16, PixelData=words)
    dataset["PixelData"].VR = "OW"
    source = encode(dataset, EXPLICIT)
    there = joined(convert(source, EXPLICIT, BIG), source, size)
    assert there.endswith(struct.pack(">50000H", *range(50000)))


def test_what_divides_into_whole_parts_ends_with_one() -> None:
    sizes = set()
    for length in range(0, 8, 2):
        source = encode(image(ImageComments="x" * length), EXPLICIT)
        sizes.add(len(joined(convert(source, EXPLICIT, IMPLICIT), source, 8)) % 8)
    assert sizes == {0, 2, 4, 6}


def test_what_the_dictionary_does_not_know_is_un() -> None:
    """PS3.5 6.2.2: unknown standard elements, private ones, and lengths for which a VR has no room."""
    source = b"".join(
        struct.pack("<HHL", group, element, len(value)) + value
        for group, element, value in (
            (0x0008, 0x0018, b"1.2.3\0"),
            (0x0009, 0x0010, b"SOMEBODY"),
            (0x0009, 0x1001, b"\1\2"),
            (0x0010, 0x4000, b"A" * 70000),
            (0x0012, 0xFFFE, b"what"),
        )
    )
    back = read(converted(source, IMPLICIT, EXPLICIT), EXPLICIT)
    raw = {int(tag): back.get_item(tag) for tag in back.keys()}  # noqa: SIM118 - a data set
    assert raw[0x00090010].VR == "LO"
    assert {tag: raw[tag].VR for tag in (0x00091001, 0x00104000, 0x0012FFFE)} == {
        0x00091001: "UN",
        0x00104000: "UN",
        0x0012FFFE: "UN",
    }


def test_an_unknown_sequence_stays_in_implicit_vr() -> None:
    """PS3.5 6.2.2 note 2: inside UN of undefined length it is implicit VR little endian, in every syntax."""
    item = struct.pack("<HHL", 0x0029, 0x1010, 2) + b"ab"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    inside = item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    source = struct.pack("<HHL", 0x0008, 0x0018, 6) + b"1.2.3\0"
    source += struct.pack("<HHL", 0x0029, 0x1002, 0xFFFFFFFF) + inside
    explicit = converted(source, IMPLICIT, EXPLICIT)
    assert struct.pack("<HH2sHL", 0x0029, 0x1002, b"UN", 0, 0xFFFFFFFF) in explicit
    assert b"\x29\0\x10\x10\x02\0\0\0ab" in explicit
    for syntax in (EXPLICIT, BIG):
        there = explicit if syntax == EXPLICIT else converted(explicit, EXPLICIT, BIG)
        assert scan_dataset(there, syntax, check_nested=True).complete
        assert b"\x29\0\x10\x10\x02\0\0\0ab" in there
        assert b"\x29\0\x10\x10\x02\0\0\0ab" in converted(there, syntax, IMPLICIT)


def test_what_the_dictionary_has_for_a_sequence_and_is_none_stays_a_value() -> None:
    source = struct.pack("<HHL", 0x0008, 0x0018, 6) + b"1.2.3\0"
    source += struct.pack("<HHL", 0x0008, 0x1032, 4) + b"none"
    there = converted(source, IMPLICIT, EXPLICIT)
    assert there.endswith(struct.pack("<HH2sHL", 0x0008, 0x1032, b"UN", 0, 4) + b"none")


def test_group_lengths_are_left_out() -> None:
    source = struct.pack("<HH2sHL", 0x0008, 0, b"UL", 4, 99)
    source += struct.pack("<HH2sHL", 0x0008, 1, b"UL", 4, 99)
    source += encode(image(), EXPLICIT)
    assert converted(source, EXPLICIT, IMPLICIT) == encode(image(), IMPLICIT)


@pytest.mark.parametrize(
    "source",
    [
        encode(image())[:-3],
        encode(image()) + b"\x28\0\x12\0--\2\0ab",  # in doubt
        b"",
    ],
)
def test_what_is_not_sound_is_not_converted(source: bytes) -> None:
    with pytest.raises(MalformedDataSet, match="cannot be converted"):
        convert(source, EXPLICIT, IMPLICIT)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COPIED", 100_000)
    monkeypatch.setattr(module, "LARGE", 1024)
    dataset = image(ImageComments="A" * 1000)
    assert convert(encode(dataset), EXPLICIT, IMPLICIT).size
    dataset.ContentSequence = Sequence([image(ImageComments="A" * 1000) for _ in range(100)])
    with pytest.raises(MalformedDataSet, match="over 100000 bytes"):
        convert(encode(dataset), EXPLICIT, IMPLICIT)


@given(st.binary(max_size=200), st.sampled_from(PAIRS))
def test_any_bytes_convert_or_are_refused(data: bytes, pair: tuple[str, str]) -> None:
    old, new = pair
    head = encode(image(), old) if old != BIG else converted(encode(image()), EXPLICIT, BIG)
    for source in (data, head + data):
        try:
            there = converted(source, old, new)
        except MalformedDataSet:
            continue
        assert scan_dataset(there, new).complete
