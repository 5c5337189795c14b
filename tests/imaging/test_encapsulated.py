"""Which fragments make which frame, by every way the standard says it."""

from __future__ import annotations

import struct

import pytest
from aiodicom.dataset.errors import ImagingError, MalformedDataSet
from aiodicom.imaging.encapsulated import Offsets, frame_spans
from aiodicom.imaging.errors import UnsupportedPixels
from hypothesis import given
from hypothesis import strategies as st

SOI = b"\xff\xd8"


def value(fragments: list[bytes], table: bytes = b"", delimiter: bool = True) -> bytes:
    """Pixel data of these fragments, each of even length."""
    made = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in (table, *fragments))
    return made + (struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if delimiter else b"")


def offsets_of(fragments: list[bytes], firsts: list[int]) -> list[int]:
    return [sum(8 + len(one) for one in fragments[:first]) for first in firsts]


def read(data: bytes, frames: int, extended: Offsets | None = None) -> list[bytes]:
    spans = frame_spans(memoryview(data), 0, frames, extended, "it")
    return [b"".join(data[at : at + length] for at, length in frame) for frame in spans]


PARTS = [SOI + b"a1", b"a2", SOI + b"b1", SOI + b"c1", b"c2", b"c3"]
FRAMES = [PARTS[0] + PARTS[1], PARTS[2], b"".join(PARTS[3:])]


@pytest.mark.parametrize("delimiter", [True, False])
def test_a_basic_table_tells(delimiter: bool) -> None:
    table = struct.pack("<3L", *offsets_of(PARTS, [0, 2, 3]))
    assert read(value(PARTS, table, delimiter), 3) == FRAMES


def test_without_a_table_the_number_of_fragments_or_their_beginnings_tell() -> None:
    assert read(value(PARTS), 6) == PARTS
    assert read(value(PARTS), 1) == [b"".join(PARTS)]
    assert read(value(PARTS), 3) == FRAMES
    with pytest.raises(UnsupportedPixels, match="no table says which is whose"):
        read(value(PARTS), 4)
    with pytest.raises(UnsupportedPixels, match="no fragment"):
        read(value([]), 1)


def test_an_extended_table_tells_and_leaves_out_padding() -> None:
    parts = [b"aaaa", b"bb\0\0", b"cccc"]
    extended = Offsets(offsets_of(parts, [2, 0, 1]), [4, 4, 3])
    assert read(value(parts), 3, extended) == [b"cccc", b"aaaa", b"bb\0"]


@pytest.mark.parametrize(
    ("table", "extended"),
    [
        ([0, 4, 22], None),
        ([0, 2**32 - 1, 22], None),
        ([22, 12, 0], None),
        ([0, 12], None),
        ([12, 22, 34], None),
        ([], Offsets([0, 1, 2], [1, 1, 1])),
        ([], Offsets([0, 12], [1, 1])),
        ([], Offsets([0, 12, 22], [4, 99, 4])),
        ([], Offsets([0, 12, 2**63], [4, 2, 4])),
    ],
)
def test_tables_that_point_elsewhere_are_refused(table: list[int], extended: Offsets | None) -> None:
    with pytest.raises(UnsupportedPixels, match="table"):
        read(value(PARTS, struct.pack(f"<{len(table)}L", *table)), 3, extended)


@pytest.mark.parametrize("named", [[0, 0, 2], [0, 1, 3], [1, 2, 3]])
def test_an_extended_table_names_each_fragment_once(named: list[int]) -> None:
    """PS3.3 C.7.6.3.1.8: a frame is one fragment, so there are no others."""
    parts = [b"aaaa", b"bbbb", b"cccc", b"dddd"][: max(named) + 1]
    with pytest.raises(UnsupportedPixels, match="each fragment once"):
        read(value(parts), 3, Offsets(offsets_of(parts, named), [4, 4, 4]))


def test_torn_items_are_our_error_wherever_they_are_cut() -> None:
    whole = value(PARTS)
    ends = {0, *(len(value(PARTS[:count], delimiter=False)) for count in range(7))}
    for end in set(range(len(whole))) - ends:
        with pytest.raises(MalformedDataSet):
            read(whole[:end], 6)
    with pytest.raises(MalformedDataSet):
        read(b"", 1)


@given(st.binary(max_size=80), st.integers(1, 5))
def test_any_bytes_end_in_frames_or_our_error(data: bytes, frames: int) -> None:
    try:
        assert len(read(data, frames)) == frames
    except ImagingError:
        pass
