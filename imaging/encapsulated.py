"""Encapsulated pixel data: which fragments make which frame (PS3.5 A.4), checked before any is decoded."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from ..dataset.errors import MalformedDataSet
from ..dataset.window import FileWindow
from .errors import UnsupportedPixels

Span: TypeAlias = tuple[int, int]
"""Offset and length of a fragment's value in the buffer."""

_ITEM = struct.Struct("<HHL")
_ITEM_TAG, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
JP2_SIGNATURE = b"\0\0\0\x0cjP  "
"""The box a JP2 file begins with (ISO 15444-1 I.5.1)."""
_BEGINNINGS = (b"\xff\xd8", b"\xff\x4f\xff\x51", JP2_SIGNATURE)
"""How a frame begins: JPEG and JPEG-LS, a JPEG 2000 code stream, the same in a JP2 file."""


class Offsets(NamedTuple):
    """An extended offset table: where each frame's item begins behind the basic table's, and its length."""

    offsets: Sequence[int]
    lengths: Sequence[int]


def frame_spans(
    buffer: memoryview | FileWindow, at: int, frames: int, extended: Offsets | None, name: str
) -> list[tuple[Span, ...]]:
    """The fragments of each frame of the pixel data whose first item begins at `at`.

    Taken from the extended offset table, the basic one, or the number of fragments; where there are more
    fragments than frames and no table, from how code streams begin. Raises UnsupportedPixels for a table that
    points beside the fragments or leaves some out, and for frames that cannot be told apart; MalformedDataSet
    for torn items.
    """
    table, fragments = _items(buffer, at, name)
    starts = {offset - _ITEM.size: place for place, (offset, _) in enumerate(fragments)}
    first = min(starts, default=0)
    if extended is not None:
        return _by_extended(fragments, starts, first, frames, extended, name)
    offsets = struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
    if offsets and (frames > 1 or len(offsets) > 1):
        if len(offsets) != frames:
            raise UnsupportedPixels(
                f"{name}: {frames} frames, but its offset table has {len(offsets)} entries"
            )
        places = _places([first + offset for offset in offsets], starts, name)
        return [tuple(fragments[a:b]) for a, b in zip(places, [*places[1:], len(fragments)], strict=True)]
    if frames == 1:
        if not fragments:
            raise UnsupportedPixels(f"{name}: its pixel data hold no fragment")
        return [tuple(fragments)]
    if len(fragments) == frames:
        return [(fragment,) for fragment in fragments]
    begins = [
        place
        for place, (offset, length) in enumerate(fragments)
        if bytes(buffer[offset : offset + min(length, 8)]).startswith(_BEGINNINGS)
    ]
    if len(begins) != frames or begins[0] != 0:
        raise UnsupportedPixels(
            f"{name}: {frames} frames in {len(fragments)} fragments and no table says which is whose"
        )
    return [tuple(fragments[a:b]) for a, b in zip(begins, [*begins[1:], len(fragments)], strict=True)]


def _items(buffer: memoryview | FileWindow, at: int, name: str) -> tuple[bytes, list[Span]]:
    """The basic offset table and the fragments behind it."""
    spans: list[Span] = []
    while at != len(buffer):  # pydicom keeps values without their delimiter; files were scanned to it
        if at + _ITEM.size > len(buffer):
            raise MalformedDataSet(f"{name}: its fragments end without a delimiter")
        group, element, length = _ITEM.unpack(buffer[at : at + _ITEM.size])
        at += _ITEM.size
        if (group, element) == _DELIMITER:
            break
        if (group, element) != _ITEM_TAG or length > len(buffer) - at:
            raise MalformedDataSet(f"{name}: its fragments are in disorder at byte {at - _ITEM.size}")
        spans.append((at, length))
        at += length
    if not spans:
        raise MalformedDataSet(f"{name}: its pixel data have no offset table")
    offset, length = spans[0]
    return bytes(buffer[offset : offset + length]), spans[1:]


def _places(begins: Sequence[int], starts: dict[int, int], name: str) -> list[int]:
    places = [starts.get(begin, -1) for begin in begins]
    if -1 in places or any(a >= b for a, b in pairwise(places)):
        raise UnsupportedPixels(f"{name}: its offset table points beside the fragments")
    if places[0] != 0:
        raise UnsupportedPixels(f"{name}: its offset table leaves out the first fragment")
    return places


def _by_extended(
    fragments: Sequence[Span],
    starts: dict[int, int],
    first: int,
    frames: int,
    extended: Offsets,
    name: str,
) -> list[tuple[Span, ...]]:
    """One fragment a frame (PS3.3 C.7.6.3.1.8), of which the table may leave out the padding."""
    if len(extended.offsets) != frames or len(extended.lengths) != frames:
        raise UnsupportedPixels(f"{name}: {frames} frames, but its extended offset table has another number")
    places = [starts.get(first + offset, -1) for offset in extended.offsets]
    if -1 in places:
        raise UnsupportedPixels(f"{name}: its extended offset table points beside the fragments")
    if sorted(places) != list(range(len(fragments))):
        raise UnsupportedPixels(f"{name}: its extended offset table does not name each fragment once")
    spans: list[tuple[Span, ...]] = []
    for place, length in zip(places, extended.lengths, strict=True):
        offset, whole = fragments[place]
        if length > whole:
            raise UnsupportedPixels(f"{name}: its extended offset table names more bytes than a fragment has")
        spans.append(((offset, length),))
    return spans
