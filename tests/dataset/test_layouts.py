"""What is cut out of a data set by a known layout is what a walk finds, whatever was changed in it."""

from __future__ import annotations

import random
import struct

import pytest
from aiodicom.dataset import layouts, scan
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.encoding import EXPLICIT, reader_of
from aiodicom.dataset.found import ScanResult
from aiodicom.dataset.layouts import KEPT, KEPT_OF_ONE, Layouts
from aiodicom.dataset.scan import scan_beginning
from aiodicom.dataset.window import FileWindow
from aiodicom.pdu.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pydicom.dataset import Dataset

EXPLICIT_READER = reader_of(EXPLICIT, FileWindow(-1, 0, 0))
JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
TAGS = frozenset(
    {0x00080016, 0x00080018, 0x00081032, 0x0020000D, 0x00100010, 0x00280008, 0x00990010, 0x00400275}
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_LAYOUTS", Layouts())


def image(number: int = 1, *, undefined: bool = False, pixels: bytes = bytes(40)) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D1100", "SRT", "Head"
    inner = Dataset()
    inner.ScheduledProcedureStepDescription = "inside"
    inner.ScheduledProtocolCodeSequence = [code]
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = f"1.2.3.{1000 + number}"
    dataset.StudyInstanceUID, dataset.PatientName = "1.2.3", "Doe^Jane"
    dataset.NumberOfFrames, dataset.InstanceNumber = 1, number
    dataset.ProcedureCodeSequence = [code, code]
    dataset.RequestAttributesSequence = [inner]
    for keyword in ("ProcedureCodeSequence", "RequestAttributesSequence"):
        dataset[keyword].is_undefined_length = undefined
    block = dataset.private_block(0x0099, "AIODICOM TEST", create=True)
    block.add_new(1, "UN", struct.pack("<HHL", 0xFFFE, 0xE000, 0))
    block.add_new(2, "UN", b"no sequence at all")
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = 8
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB"
    return dataset


def plain(raw: bytes, syntax: str) -> ScanResult | None:
    """As it is found by a walk alone."""
    known, scan._LAYOUTS = scan._LAYOUTS, Layouts()
    try:
        scan._LAYOUTS._patience = scan._LAYOUTS._walks = 0
        return scan_beginning(raw, syntax, TAGS, check_nested=True)
    finally:
        scan._LAYOUTS = known


def scanned(raw: bytes, syntax: str) -> ScanResult | None:
    return scan_beginning(raw, syntax, TAGS, check_nested=True)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_any_byte_may_be_another(syntax: str, undefined: bool, whole: bool) -> None:
    """Every byte of it in turn, and several at once: structure, lengths, VRs, values, padding."""
    raw = encode_dataset(image(undefined=undefined), syntax)
    raw = raw if whole else raw[:-20]
    chosen = random.Random(7)
    seed = scanned(raw, syntax)
    assert seed is not None
    assert seed == scanned(raw, syntax) == plain(raw, syntax)
    for at in range(len(raw)):
        for _ in range(3):
            other = bytearray(raw)
            other[at] = chosen.choice(
                (0, 1, 0xFF, other[at] ^ 1, other[at] + 1 & 0xFF, chosen.randrange(256))
            )
            if chosen.random() < 0.3:
                other[chosen.randrange(len(raw))] = chosen.randrange(256)
            assert scanned(bytes(other), syntax) == plain(bytes(other), syntax), at
            assert scanned(raw, syntax) == seed


def test_encapsulated_pixels_too() -> None:
    fragments = b"".join(
        struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in (b"", b"\xff\xd8abcd\xff\xd9")
    )
    header = encode_dataset(image(), EXPLICIT_VR_LITTLE_ENDIAN)
    header = header[: header.index(b"\xe0\x7f\x10\x00")]
    raw = header + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + fragments
    raw += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    seed = scanned(raw, JPEG)
    assert seed is not None
    for at in range(len(header), len(raw)):
        other = bytearray(raw)
        other[at] ^= 1
        assert scanned(bytes(other), JPEG) == plain(bytes(other), JPEG)
    assert scanned(raw, JPEG) == seed


def walks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each walk from now on is noted."""
    found: list[bool] = []
    begin = scan._beginning

    def count(view: object, *rest: object) -> ScanResult | None:
        found.append(isinstance(view, layouts.Noting))
        return begin(view, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "_beginning", count)
    return found


def test_objects_of_one_series_are_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = walks(monkeypatch)
    for number in range(1, 10):
        raw = encode_dataset(image(number, pixels=bytes([number]) * 40), EXPLICIT_VR_LITTLE_ENDIAN)
        found = scanned(raw, EXPLICIT_VR_LITTLE_ENDIAN)
        assert found is not None
        assert found.values[0x00080018].rstrip(b"\0") == f"1.2.3.{1000 + number}".encode()
    assert done == [True]


def test_what_is_looked_for_and_how_is_part_of_it() -> None:
    raw = encode_dataset(image(), EXPLICIT_VR_LITTLE_ENDIAN)
    for tags in (TAGS, frozenset({0x00080018})):
        for nested in (True, False):
            for most in (None, 1000, 3):
                for depth in (0, 64):
                    for _ in range(2):
                        found = scan_beginning(
                            raw,
                            EXPLICIT_VR_LITTLE_ENDIAN,
                            tags,
                            check_nested=nested,
                            max_elements=most,
                            max_depth=depth,
                        )
                        told = most != 3 and (depth or not nested)
                        assert (found is not None) == bool(told)
                        assert found is None or found.values.keys() <= tags


def test_layouts_that_never_come_again_are_not_noted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    done = walks(monkeypatch)
    for size in range(200):
        scanned(
            encode_dataset(image(pixels=bytes(2 * size + 40)), EXPLICIT_VR_LITTLE_ENDIAN),
            EXPLICIT_VR_LITTLE_ENDIAN,
        )
    assert done[: layouts._PATIENCE] == [True] * layouts._PATIENCE
    assert sum(done) <= layouts._PATIENCE + 200 // layouts._RARELY
    assert len(scan._LAYOUTS._kept) <= KEPT
    again = encode_dataset(image(pixels=bytes(2)), EXPLICIT_VR_LITTLE_ENDIAN)
    for _ in range(layouts._RARELY + 2):
        scanned(again, EXPLICIT_VR_LITTLE_ENDIAN)
    done.clear()
    scanned(again, EXPLICIT_VR_LITTLE_ENDIAN)
    assert not done, "what comes again is noted in the end"


def unlike(number: int) -> bytes:
    """A data set of one length, and of another layout for each number."""
    one = image()
    one.add_new(0x00990020 + number * 2, "LO", "xx")
    return encode_dataset(one, EXPLICIT_VR_LITTLE_ENDIAN)


def test_few_are_kept_and_the_last_ones_longest() -> None:
    """Of one length, and of how many lengths."""
    raws = [unlike(number) for number in range(KEPT_OF_ONE + 3)]
    assert len({len(raw) for raw in raws}) == 1
    for raw in raws:
        scanned(raw, EXPLICIT_VR_LITTLE_ENDIAN)
    (kept,) = scan._LAYOUTS._kept.values()
    assert len(kept) == KEPT_OF_ONE
    for raw in raws:
        assert scanned(raw, EXPLICIT_VR_LITTLE_ENDIAN) == plain(raw, EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize("one_length", [True, False])
def test_what_is_used_stays_whatever_was_noted_since(
    one_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series that goes on beside others, of its length and of other lengths."""
    done = walks(monkeypatch)
    used = unlike(0)
    scanned(used, EXPLICIT_VR_LITTLE_ENDIAN)
    for number in range(1, 2 * KEPT):
        other = unlike(number)
        if not one_length:
            other = encode_dataset(image(pixels=bytes(100 + 2 * number)), EXPLICIT_VR_LITTLE_ENDIAN)
        scanned(other, EXPLICIT_VR_LITTLE_ENDIAN)
        assert done.pop(), "what has not been seen is walked, and noted"
        done.clear()
        scanned(used, EXPLICIT_VR_LITTLE_ENDIAN)
        assert not done
        assert len(scan._LAYOUTS._kept) <= KEPT
        assert all(len(kept) <= KEPT_OF_ONE for kept in scan._LAYOUTS._kept.values())


def test_whatever_is_taken_out_of_the_bytes_is_noted() -> None:
    noting = layouts.Noting(bytes(range(20)))
    assert (noting[2:4], noting[18:30], len(noting)) == (b"\2\3", b"\x12\x13", 20)
    assert EXPLICIT_READER.wide(noting, 4) == (0x0504, 0x0706, 0x0B0A0908)
    with pytest.raises(struct.error):
        EXPLICIT_READER.wide(noting, 13)
    assert noting.read == [(2, 4), (18, 20), (4, 12)]
    with pytest.raises(TypeError):
        memoryview(noting)  # type: ignore[arg-type]


def test_pixels_that_are_asked_for_and_too_large_to_be_kept() -> None:
    raw = encode_dataset(image(pixels=bytes(5000)), EXPLICIT_VR_LITTLE_ENDIAN)
    for _ in range(2):
        for limit in (4999, 5000):
            found = scan_beginning(raw[:-100], EXPLICIT_VR_LITTLE_ENDIAN, {0x7FE00010}, max_value=limit)
            assert (found is not None) == (limit < 5000)
            assert found is None or found.oversized == (0x7FE00010,)
