"""A native data set in another of the uncompressed transfer syntaxes (PS3.5 A.1 to A.3), value for value.

Explicit and implicit VR differ in the headers of elements; no value is decoded. What an implicit data set
does not say is said by the dictionary of PS3.6; what that does not know becomes UN (PS3.5 6.2.2). Group
lengths, which would be wrong, are left out (PS3.5 7.2), and sequences get undefined length.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .encoding import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED,
    Syntax,
    View,
    dictionary_vr,
    name,
    reader_of,
    syntax_of,
)
from .errors import MalformedDataSet
from .scan import Buffer, scan_dataset
from .window import FileWindow

CONVERTIBLE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
"""Transfer syntaxes between which there is a way, the first choice first."""
LARGE = 64 * 1024
"""Bytes of a value from which on it is not copied before it is sent."""
MAX_COPIED = 64 * 1024 * 1024
"""Bytes of headers and small values that a conversion holds."""

_BITS_ALLOCATED = 0x00280100
_PIXEL_REPRESENTATION = 0x00280103
_WAVEFORM_BITS = 0x54001004
_NOTED = frozenset({_BITS_ALLOCATED, _PIXEL_REPRESENTATION, _WAVEFORM_BITS})
_PIXEL_DATA = 0x7FE00010
_LENGTH_TO_END = 0x00080001
_WIDTHS = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OL", b"OF"), 4),
    **dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8),
}
"""Bytes of what is swapped between byte orders (PS3.5 7.3)."""
_SWAPPED = {2: "H", 4: "I", 8: "Q"}
_SHORT_LIMIT = 0xFFFF


class Slice(NamedTuple):
    """A value that stays where it is: from `start` to `stop`, `width` bytes of it swapped at a time."""

    start: int
    stop: int
    width: int = 1


@dataclass(slots=True)
class Converted:
    """A data set in its new syntax: bytes, and values of the old one between them."""

    pieces: list[bytes | Slice] = field(default_factory=list)
    size: int = 0

    def parts(self, source: View, size: int) -> Generator[tuple[bytes, bool]]:
        """In parts of `size` bytes (a multiple of 8), each with whether it is the last."""
        held = bytearray()
        sent = 0
        for piece in self.pieces:
            for block in _blocks(source, piece, size):
                held += block
                while len(held) >= size and sent + size < self.size:
                    yield bytes(held[:size]), False
                    del held[:size]
                    sent += size
        yield bytes(held), True


def _blocks(source: View, piece: bytes | Slice, size: int) -> Iterator[bytes | memoryview]:
    if isinstance(piece, bytes):
        yield piece
        return
    for start in range(piece.start, piece.stop, size):
        yield _swapped(source[start : min(start + size, piece.stop)], piece.width)


def _swapped(value: bytes | memoryview, width: int) -> bytes | memoryview:
    if width == 1:
        return value
    swapped = array(_SWAPPED[width], bytes(value))
    swapped.byteswap()
    return swapped.tobytes()


@dataclass(slots=True)
class _Container:
    """What is being walked through: where it ends (None for a delimiter), and how both sides are encoded.

    representation, bits, waveform_bits: of the pixels and waveforms here, by which some VRs are told.
    """

    item: bool
    end: int | None
    old: Syntax
    new: Syntax
    representation: int
    bits: int
    waveform_bits: int = 16


def convert(buffer: Buffer, old_uid: str, new_uid: str) -> Converted:
    """A data set of one of `CONVERTIBLE` in another of them.

    Raises MalformedDataSet for one that is not whole or in doubt, or would take more than `MAX_COPIED`.
    """
    if isinstance(buffer, FileWindow):
        return _convert(buffer, old_uid, new_uid)
    with memoryview(buffer) as whole, whole.cast("B") as view:
        return _convert(view, old_uid, new_uid)


def _convert(view: View, old_uid: str, new_uid: str) -> Converted:
    tags = (_BITS_ALLOCATED, _PIXEL_REPRESENTATION)
    found = scan_dataset(view, old_uid, tags, check_nested=True)
    if not found.complete or found.doubt:
        raise MalformedDataSet(f"it cannot be converted: {found.problem or found.doubt}")
    old, new = syntax_of(old_uid), syntax_of(new_uid)
    bits, representation = (_number(old, found.values.get(tag, b"")) for tag in tags)
    root = _Container(True, found.end, old, new, representation or 0, bits or 16)
    return _Conversion(view, root).run()


def _number(syntax: Syntax, raw: bytes) -> int | None:
    return int.from_bytes(raw, "big" if syntax is BIG else "little") if len(raw) == 2 else None


class _Conversion:
    """One walk: the containers it is in, and what it has written."""

    __slots__ = ("_copied", "_done", "_out", "_readers", "_stack", "_view")

    def __init__(self, view: View, root: _Container) -> None:
        self._view = view
        self._readers = {one: reader_of(one, view) for one in (EXPLICIT, IMPLICIT, BIG)}
        self._stack = [root]
        self._out = bytearray()
        self._copied = 0
        self._done = Converted()

    def run(self) -> Converted:
        """Walk all of it."""
        pos = 0
        try:
            while self._stack:
                pos = self._step(pos)
        except struct.error:  # of a value that is no sequence after all
            raise MalformedDataSet(
                f"offset {pos}: it cannot be converted: a sequence cannot be read"
            ) from None
        self._flush()
        return self._done

    def _flush(self) -> None:
        if self._out:
            self._done.pieces.append(bytes(self._out))
            self._done.size += len(self._out)
            self._copied += len(self._out)
            self._out.clear()
        if self._copied > MAX_COPIED:
            raise MalformedDataSet(f"it cannot be converted: over {MAX_COPIED} bytes beside large values")

    def _step(self, pos: int) -> int:
        """One element, item or delimiter; or the end of the container."""
        top = self._stack[-1]
        if pos == top.end:
            self._close(top)
            return pos
        group, element, length = self._readers[top.old].wide(self._view, pos)
        tag = group << 16 | element
        if tag in (ITEM_END, SEQUENCE_END):
            if top.end is not None or (tag == ITEM_END) != top.item:
                raise MalformedDataSet(f"offset {pos}: it cannot be converted: a stray {name(tag)}")
            self._close(top)
            return pos + 8
        if top.item:
            return self._element(pos, tag, length, top)
        if tag != ITEM:
            raise MalformedDataSet(f"offset {pos}: it cannot be converted: {name(tag)} between items")
        self._header(top.new, ITEM, b"", UNDEFINED)
        end = None if length == UNDEFINED else pos + 8 + length
        self._stack.append(
            _Container(True, end, top.old, top.new, top.representation, top.bits, top.waveform_bits)
        )
        return pos + 8

    def _close(self, top: _Container) -> None:
        self._stack.pop()
        if self._stack:
            self._header(top.new, ITEM_END if top.item else SEQUENCE_END, b"", 0)

    def _element(self, pos: int, tag: int, length: int, top: _Container) -> int:
        start = pos + 8
        if top.old.implicit:
            vr = b"UN" if top.new.implicit else _vr(tag, top)
        else:
            _, _, vr, length = self._readers[top.old].header(self._view, pos)
            if vr in LONG_VRS:
                length, start = self._readers[top.old].length(self._view, pos + 8)[0], pos + 12
        nested = vr == b"SQ" and top.old is not top.new
        if nested and top.old.implicit and length != UNDEFINED and not self._begins_item(start, length):
            vr, nested = b"UN", False  # the dictionary has it for a sequence, the writer had not
        if length == UNDEFINED or nested:
            return self._sequence(start, tag, vr, length, top)
        stop = start + length
        if tag in _NOTED and length == 2:
            self._note(tag, self._view[start:stop], top)
        if tag & 0xFFFF and tag != _LENGTH_TO_END:
            if length > _SHORT_LIMIT and not top.new.implicit and vr not in LONG_VRS:
                vr = b"UN"  # PS3.5 6.2.2: a length that its own VR has no room for
            self._header(top.new, tag, vr, length)
            self._value(start, stop, 1 if (top.old is BIG) == (top.new is BIG) else _WIDTHS.get(vr, 1), tag)
        return stop

    def _begins_item(self, start: int, length: int) -> bool:
        return not length or (
            length >= 8 and self._readers[IMPLICIT].wide(self._view, start)[:2] == (0xFFFE, 0xE000)
        )

    def _sequence(self, start: int, tag: int, vr: bytes, length: int, top: _Container) -> int:
        """Into a sequence. One of VR UN, or unknown, is in implicit VR and stays so (PS3.5 6.2.2)."""
        old, new = top.old, top.new
        if vr != b"SQ":
            vr, old, new = b"UN", IMPLICIT, IMPLICIT
        self._header(top.new, tag, vr, UNDEFINED)
        end = None if length == UNDEFINED else start + length
        inside = _Container(False, end, old, new, top.representation, top.bits, top.waveform_bits)
        self._stack.append(inside)
        return start

    def _note(self, tag: int, value: bytes | memoryview, top: _Container) -> None:
        number = int.from_bytes(value, "big" if top.old is BIG else "little")
        if tag == _BITS_ALLOCATED:
            top.bits = number
        elif tag == _PIXEL_REPRESENTATION:
            top.representation = number
        else:
            top.waveform_bits = number

    def _header(self, syntax: Syntax, tag: int, vr: bytes, length: int) -> None:
        order = ">" if syntax is BIG else "<"
        group, element = tag >> 16, tag & 0xFFFF
        if syntax.implicit or group == 0xFFFE:
            self._out += struct.pack(order + "HHL", group, element, length)
        elif vr in LONG_VRS:
            self._out += struct.pack(order + "HH2sHL", group, element, vr, 0, length)
        else:
            self._out += struct.pack(order + "HH2sH", group, element, vr, length)

    def _value(self, start: int, stop: int, width: int, tag: int) -> None:
        if (stop - start) % width:
            raise MalformedDataSet(f"it cannot be converted: {name(tag)} is no multiple of {width} bytes")
        if stop - start >= LARGE:
            self._flush()
            self._done.pieces.append(Slice(start, stop, width))
            self._done.size += stop - start
        else:
            self._out += _swapped(self._view[start:stop], width)
            if len(self._out) >= LARGE:
                self._flush()


def _vr(tag: int, top: _Container) -> bytes:
    """The VR of an element of an implicit data set (PS3.6, PS3.5 A.1)."""
    group, element = tag >> 16, tag & 0xFFFF
    if group % 2:
        return b"LO" if 0x10 <= element <= 0xFF else b"UN"
    known = dictionary_vr(tag)
    if " or " not in known:
        return known.encode("ascii") if known not in ("", "NONE") else b"UN"
    if known == "US or SS":
        return b"SS" if top.representation == 1 else b"US"
    if tag == _PIXEL_DATA:
        return b"OW" if top.bits > 8 else b"OB"
    return b"OB" if group == 0x5400 and top.waveform_bits <= 8 else b"OW"
