"""What real writers encode against PS3.5: walked to its end, told as a doubt; what is cut is never whole."""

from __future__ import annotations

import struct

import pytest
from aiodicom.dataset.oddities import contradiction
from aiodicom.dataset.scan import scan_dataset

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
NAME = 0x00100010
ROWS = 0x00280010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF


def wide(tag: int, length: int, value: bytes = b"") -> bytes:
    """An element of implicit VR, an item or a delimiter."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


FIRST = short(0x00080018, b"UI", b"1.2.3\0")
LAST = short(NAME, b"PN", b"Doe^John")
PRIVATE = 0x00091001


@pytest.mark.parametrize("vr", [b"--", b"  ", b"??", b"lo", b"\0\0", b"ZZ", b"\x80W"])
@pytest.mark.parametrize("value", [b"", b"ab", b"some text here"])
@pytest.mark.parametrize("form", [short, long])
def test_an_unknown_vr_is_read_in_the_form_that_leads_on(vr: bytes, value: bytes, form: object) -> None:
    odd = form(PRIVATE, vr, value)  # type: ignore[operator]
    for data in (FIRST + odd + LAST, FIRST + odd):
        found = scan_dataset(data, EXPLICIT, {NAME})
        assert found.complete, found.problem
        assert found.elements == (3 if data.endswith(LAST) else 2)
        assert found.doubt is not None
        assert "value representation" in found.doubt
        assert found.values.get(NAME, b"Doe^John") == b"Doe^John"
    nested = long(0x00081140, b"SQ", wide(ITEM, len(odd), odd))
    assert scan_dataset(FIRST + nested + LAST, EXPLICIT, check_nested=True).complete


def test_an_element_of_implicit_vr_between_explicit_ones() -> None:
    data = FIRST + wide(PRIVATE, 12, b"twelve bytes") + LAST
    found = scan_dataset(data, EXPLICIT, {NAME})
    assert found.complete
    assert found.doubt
    assert found.values == {NAME: b"Doe^John"}


@pytest.mark.parametrize("vr", [b"--", b"\0\0", b"ZZ"])
def test_an_unknown_vr_that_leads_nowhere_is_wrong_and_not_cut(vr: bytes) -> None:
    data = FIRST + struct.pack("<HH2sH", 9, 0x1001, vr, 5) + b"abc" + LAST
    found = scan_dataset(data, EXPLICIT)
    assert not found.complete
    assert not found.truncated
    assert "value representation" in str(found.problem)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("stray", [ITEM_END, SEQUENCE_END])
@pytest.mark.parametrize("nested", [False, True])
def test_delimiters_that_end_nothing_are_stepped_over(syntax: str, stray: int, nested: bool) -> None:
    def of(tag: int, vr: bytes, value: bytes) -> bytes:
        if syntax == IMPLICIT:
            return wide(tag, len(value), value)
        return long(tag, vr, value) if vr == b"SQ" else short(tag, vr, value)

    inside = of(0x00081150, b"UI", b"1.2\0")
    first, last = of(0x00080018, b"UI", b"1.2.3\0"), of(NAME, b"PN", b"Doe^John")
    delimiter = wide(stray, 0)
    for sequence in (
        of(0x00081140, b"SQ", wide(ITEM, len(inside) + 8, inside + delimiter)),
        of(0x00081140, b"SQ", wide(ITEM, len(inside), inside) + delimiter),
        delimiter,
    ):
        found = scan_dataset(first + sequence + last, syntax, {NAME}, check_nested=nested)
        assert found.complete, found.problem
        assert found.values == {NAME: b"Doe^John"}
        assert found.ordered
        assert (found.doubt is not None) == (nested or sequence == delimiter)


def test_a_sequence_that_ends_within_its_item() -> None:
    inside = short(0x00081150, b"UI", b"1.2\0")
    sequence = long(0x00081140, b"SQ", wide(ITEM, UNDEFINED) + inside + wide(SEQUENCE_END, 0), UNDEFINED)
    found = scan_dataset(FIRST + sequence + LAST, EXPLICIT)
    assert found.complete
    assert found.doubt
    assert found.elements == 3


@pytest.mark.parametrize("vr", [b"UN", b"SQ", b"??"])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("defined", [False, True])
def test_items_in_the_other_of_explicit_and_implicit_vr(vr: bytes, explicit: bool, defined: bool) -> None:
    content = short(0x00081150, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0") + short(0x00081155, b"UI", b"1.2\0")
    if not explicit:
        content = wide(0x00081150, 4, b"1.2\0") + wide(0x00081155, 4, b"1.2\0")
    items = wide(ITEM, UNDEFINED) + content + wide(ITEM_END, 0)
    sequence = (
        long(PRIVATE, vr, items) if defined else long(PRIVATE, vr, items + wide(SEQUENCE_END, 0), UNDEFINED)
    )
    found = scan_dataset(FIRST + sequence + LAST, EXPLICIT, {NAME}, check_nested=True)
    assert found.complete, found.problem
    assert found.values == {NAME: b"Doe^John"}
    right = explicit if vr == b"SQ" else not explicit
    assert (found.doubt is None) == (right and vr != b"??")


def test_what_lies_in_a_sequence_of_defined_length_need_not_be_understood() -> None:
    lying = wide(ITEM, 400, b"too short")
    found = scan_dataset(FIRST + long(0x00081140, b"SQ", lying) + LAST, EXPLICIT, {NAME}, check_nested=True)
    assert found.complete
    assert found.values == {NAME: b"Doe^John"}
    assert found.doubt is not None
    assert "400" in found.doubt


def pixels(tail: bytes, frames: int = 1, fragments: int = 1) -> bytes:
    number = short(0x00280008, b"IS", b"%d " % frames if frames < 10 else b"%d" % frames)
    parts = wide(ITEM, 0) + b"".join(wide(ITEM, 4, b"abcd") for _ in range(fragments))
    return FIRST + number + long(0x7FE00010, b"OB", parts + tail, UNDEFINED)


@pytest.mark.parametrize("tail", [b"", bytes(8), bytes(4), bytes(300), long(0xFFFCFFFC, b"OB", bytes(2))])
def test_encapsulated_pixels_without_their_delimiter(tail: bytes) -> None:
    found = scan_dataset(pixels(tail), JPEG)
    assert found.complete, found.problem
    assert found.doubt is not None
    assert "delimiter" in found.doubt
    few = scan_dataset(pixels(tail, frames=3, fragments=2), JPEG)
    assert not few.complete
    assert few.truncated
    assert "2 fragments of 3 frames" in str(few.problem)
    assert scan_dataset(pixels(tail, frames=3, fragments=3), JPEG).complete


@pytest.mark.parametrize("tail", [b"x", b"abcdefgh", wide(ITEM, 5, b"abcd")])
def test_encapsulated_pixels_that_end_in_something_else_are_not_whole(tail: bytes) -> None:
    assert not scan_dataset(pixels(tail), JPEG).complete


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, IMPLICIT, BIG])
def test_encapsulated_pixels_contradict_a_native_syntax(syntax: str) -> None:
    assert "A.4" in str(contradiction(syntax, 0x7FE00010, None))
    if syntax == EXPLICIT:
        found = scan_dataset(pixels(wide(SEQUENCE_END, 0)), syntax)
        assert not found.complete
        assert not found.truncated


@pytest.mark.parametrize("syntax", [JPEG, RLE, "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.8.1"])
def test_native_pixels_contradict_an_encapsulated_syntax(syntax: str) -> None:
    data = FIRST + long(0x7FE00010, b"OW", bytes(8))
    assert "A.4" in str(scan_dataset(data, syntax).problem)
    assert scan_dataset(FIRST + long(0x7FE00010, b"OW", b""), syntax).complete
    assert contradiction(syntax, 0x7FE00008, 8) is None  # floating point pixels have no other form


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.94"])
def test_nothing_is_said_of_syntaxes_that_are_private_or_refer_elsewhere(syntax: str) -> None:
    assert contradiction(syntax, 0x7FE00010, 8) is None
    assert contradiction(syntax, 0x7FE00010, None) is None


def test_truncated_is_what_ends_before_its_time() -> None:
    whole = FIRST + long(0x00081140, b"SQ", wide(ITEM, len(LAST), LAST), None) + LAST
    for cut in range(1, len(LAST)):
        found = scan_dataset(whole[:-cut], EXPLICIT)
        assert found.truncated
        assert not found.complete
        assert found.doubt is None


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(("begins", "ends"), [(b"\xff\xd8", b"\xff\xd9"), (b"\xff\x4f\xff\x51", b"\xff\xd9")])
@pytest.mark.parametrize("cut", [False, True])
def test_pixel_data_without_their_end_are_cut_off_where_the_stream_is(
    frames: int, begins: bytes, ends: bytes, cut: bool
) -> None:
    """A frame may have several fragments: without the end of its stream the last ones are missing."""

    def item(value: bytes) -> bytes:
        return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value

    data = b"\x08\0\x18\0UI\x04\x001.2\0" + b"\x28\0\x08\0IS\x02\0" + str(frames).encode() + b" "
    data += struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + item(b"")
    for _ in range(frames):
        data += item(begins + b"abcd") + item(b"efgh" + ends)
    if cut:
        data = data[: -len(item(b"efgh" + ends))]
    found = scan_dataset(data, "1.2.840.10008.1.2.4.70")
    assert found.complete is not cut
    assert found.truncated is cut
    assert bool(found.doubt) or cut


@pytest.mark.parametrize("empty", [b"", struct.pack("<HHL", 0xFFFE, 0xE00D, 0)])
def test_empty_items_do_not_hide_what_the_others_are_encoded_in(empty: bytes) -> None:
    """Explicit VR inside UN, behind items that have no element."""
    inner = struct.pack("<HH2sH", 8, 0x100, b"SH", 2) + b"AB"
    data = b"\x08\0\x18\0UI\x04\x001.2\0"
    data += struct.pack("<HH2sHL", 9, 0x1010, b"UN", 0, 0xFFFFFFFF)
    for _ in range(2):
        data += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF if empty else 0) + empty
    data += struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    data += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    found = scan_dataset(data, "1.2.840.10008.1.2.1", check_nested=True)
    assert found.complete
    assert found.doubt


def test_encapsulated_uncompressed_pixel_data_are_encapsulated() -> None:
    """PS3.5 A.4.11."""
    data = b"\x08\0\x18\0UI\x04\x001.2\0" + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 4) + b"abcd"
    assert not scan_dataset(data, "1.2.840.10008.1.2.1.98").complete
