"""A walk over an encoded data set that reads element headers only (PS3.5 7).

It answers two questions without building a data set: what do a few top-level elements hold, and is the data
set whole. Every length is checked against the container it lies in; nothing is allocated from a length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from mmap import mmap
from typing import Any, Literal, NamedTuple, TypeAlias

from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .errors import NestingTooDeep

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

BIG_ENDIAN_SYNTAXES = frozenset({EXPLICIT_VR_BIG_ENDIAN})
DEFLATED_SYNTAXES = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

MAX_INFLATED = 256 * 1024 * 1024
"""Bytes a deflated data set may grow to before the scan gives up on it."""
INFLATED_WINDOW = 4 * 1024 * 1024
"""Bytes of an inflated data set kept for the walk; what lies behind is counted and dropped."""
_INFLATE_STEP = 64 * 1024

_UNSEEN = "elements are not examined"
_UNDEFINED = 0xFFFFFFFF
_NO_END = 1 << 62
"""Where a data set ends of which only the beginning is here."""
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_FIRST_PIXELS = 0x7FE00008
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5 Table 7.1-2
)
_MAY_NEST = (b"SQ", b"UN", b"")  # "" is the VR of implicit syntaxes
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 Table 7.1-1


@dataclass(frozen=True, slots=True)
class PixelLocation:
    """Where the pixel data lie.

    `offset` counts from the start of the scanned buffer (of the inflated data set for a deflated one) to the
    first byte of the value; `length` is that of the value, `None` when it is encapsulated (PS3.5 A.4).
    """

    tag: int
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    values: raw values of the tags asked for, padding included; tags absent or over `max_value` are missing.
    complete: every element up to the last byte lies within its container.
    end: offset behind the last whole top-level element.
    problem: why the data set is not complete, else `None`.
    elements: number of whole top-level elements.
    ordered: the tags ascend strictly, as PS3.5 7.1 demands (so none comes twice).
    oversized: tags asked for that are there, with values over `max_value`.
    """

    values: dict[int, bytes]
    complete: bool
    end: int
    problem: str | None
    pixel_data: PixelLocation | None
    elements: int
    ordered: bool
    oversized: tuple[int, ...] = ()

    @property
    def unseen(self) -> bool:
        """Not complete for one reason only: a deflated data set goes on behind what is kept of it."""
        return self.problem is not None and self.problem.endswith(_UNSEEN)


class _Cut(Exception):
    """The walk cannot go on; the words become `ScanResult.problem`."""


@dataclass(frozen=True, slots=True)
class _Syntax:
    implicit: bool
    header: Callable[[memoryview, int], tuple[Any, ...]]  # explicit: group, element, VR, length as 16 bits
    wide: Callable[[memoryview, int], tuple[Any, ...]]  # group, element, length as 32 bits
    length: Callable[[memoryview, int], tuple[Any, ...]]  # 32 bits


def _syntax(order: Literal["<", ">"], implicit: bool) -> _Syntax:
    return _Syntax(
        implicit,
        struct.Struct(order + "HH2sH").unpack_from,
        struct.Struct(order + "HHL").unpack_from,
        struct.Struct(order + "L").unpack_from,
    )


_IMPLICIT = _syntax("<", True)
_EXPLICIT = _syntax("<", False)
_BIG = _syntax(">", False)


def scan_dataset(
    buffer: Buffer,
    transfer_syntax_uid: str,
    tags: Collection[int] = (),
    *,
    max_depth: int = 64,
    max_value: int = 65536,
    check_nested: bool = False,
    max_inflated: int = MAX_INFLATED,
    max_elements: int | None = None,
) -> ScanResult:
    """Walk the top level of an encoded data set and return the raw values of `tags`.

    Sequences of defined length are stepped over unless `check_nested`; those of undefined length are walked.
    An unknown transfer syntax is read as explicit VR little endian, as all encapsulated ones are (PS3.5 A.4).
    `max_elements`: elements, items and delimiters of all levels that are looked at; None for any number.
    `buffer` may be an mmap; no view of it is kept. Raises NestingTooDeep when sequences nest deeper than
    `max_depth`, and nothing else for what the bytes say: that is in `ScanResult.problem`.
    """
    with memoryview(buffer) as whole, whole.cast("B") as view:
        walk = _Walk(frozenset(tags), max_depth, max_value, check_nested, max_elements)
        if transfer_syntax_uid in DEFLATED_SYNTAXES:
            window, total, problem = _inflate(view, max_inflated)
            with memoryview(window) as inflated:
                return walk.run(inflated, total, _EXPLICIT, problem)
        return walk.run(view, len(view), _walked_as(transfer_syntax_uid), None)


def scan_beginning(
    buffer: Buffer,
    transfer_syntax_uid: str,
    tags: Collection[int] = (),
    *,
    max_depth: int = 64,
    max_value: int = 65536,
    check_nested: bool = False,
) -> ScanResult | None:
    """Scan the first bytes of a data set as `scan_dataset` would all of it, if they tell enough.

    They do where pixel data of defined length begin in them and reach beyond: the data set is whole if it is
    `ScanResult.end` bytes long, which is for the caller to compare. None where they do not, nor ever for a
    deflated syntax; the whole is then to be scanned.
    """
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        return None
    with memoryview(buffer) as whole, whole.cast("B") as view:
        walk = _Walk(frozenset(tags), max_depth, max_value, check_nested)
        try:
            found = walk.run(view, _NO_END, _walked_as(transfer_syntax_uid), None)
        except NestingTooDeep:
            return None
        pixels, here = found.pixel_data, len(view)
    if pixels is None or pixels.length is None or pixels.vr in ("SQ", "UN") or found.oversized:
        return None
    reaches_out = pixels.offset + pixels.length == found.end > here
    return found if found.complete and reaches_out else None


def _walked_as(transfer_syntax_uid: str) -> _Syntax:
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return _IMPLICIT
    return _BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else _EXPLICIT


def _inflate(view: memoryview, limit: int) -> tuple[bytearray, int, str | None]:
    """Inflate (RFC 1951, PS3.5 A.5): the first `INFLATED_WINDOW` bytes, the size of all, what went wrong."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    window = bytearray()
    total = 0
    try:
        for start in range(0, len(view), _INFLATE_STEP):
            todo: bytes | memoryview = view[start : start + _INFLATE_STEP]
            while todo and not stream.eof:
                grown = stream.decompress(todo, _INFLATE_STEP)
                todo = stream.unconsumed_tail
                total += len(grown)
                if len(window) < INFLATED_WINDOW:
                    window += grown
                if total > limit:
                    return window, total, f"the deflated data set inflates to more than {limit} bytes"
            if stream.eof:
                break
    except zlib.error as error:
        return window, total, f"the deflated data set is damaged after {total} inflated bytes ({error})"
    if not stream.eof:
        return window, total, f"the deflated data set is cut off after {total} inflated bytes"
    return window, total, None


class _Walk:
    """One scan: its limits, and what it found so far."""

    __slots__ = ("allowed", "check_nested", "left", "max_depth", "max_value", "tags")

    def __init__(
        self,
        tags: frozenset[int],
        max_depth: int,
        max_value: int,
        check_nested: bool,
        max_elements: int | None = None,
    ) -> None:
        self.allowed = max_elements if max_elements is not None else _NO_END
        self.left = self.allowed
        self.tags = tags
        self.max_depth = max_depth
        self.max_value = max_value
        self.check_nested = check_nested

    def run(self, view: memoryview, end: int, syntax: _Syntax, problem: str | None) -> ScanResult:
        """Walk the top level; where `end` lies behind `view`, to the element that reaches out of `view`."""
        values: dict[int, bytes] = {}
        oversized: list[int] = []
        pixels = None
        tags, check = self.tags, self.check_nested
        implicit, header, wide, short_vrs = syntax.implicit, syntax.header, syntax.wide, _SHORT_VRS
        elements, last, ordered, pos, held, vr = 0, 0, True, 0, len(view), b""
        try:
            while pos < end and elements <= self.left:
                start = pos + 8
                try:
                    if implicit:
                        group, element, length = wide(view, pos)
                    else:
                        group, element, vr, length = header(view, pos)
                        if vr not in short_vrs:
                            length, start = _long_length(view, pos, vr, length, syntax, end)
                except (struct.error, _Cut) as error:
                    if _zeros(view, pos, end):
                        break
                    cut = isinstance(error, _Cut)
                    raise (error if cut else _Cut(_cut_header(held, pos, end))) from None
                tag = group << 16 | element
                if tag <= last:
                    if tag == 0 and _only_zeros(view, pos, end):
                        break
                    ordered = False
                last = tag
                if length == _UNDEFINED:
                    stop, after = self.skip(view, start, _opened(tag, vr, syntax, end))
                else:
                    stop = after = start + length
                    if stop > end:
                        raise _Cut(_overrun(tag, pos, length, end - start))
                    if check and length >= 8 and vr in _MAY_NEST:
                        self._look_inside(view, start, stop, vr, syntax)
                if tag in tags and tag not in values and not self._keep(values, tag, view, start, stop):
                    oversized.append(tag)
                if tag >= _FIRST_PIXELS and tag in _PIXEL_TAGS and pixels is None:
                    pixels = _location(tag, vr, start, length)
                pos = after
                elements += 1
                if pos >= held and end == _NO_END:
                    break
        except _Cut as cut:
            problem = problem or str(cut)
        problem = problem or self._remark(elements)
        return ScanResult(values, problem is None, pos, problem, pixels, elements, ordered, tuple(oversized))

    def _remark(self, elements: int) -> str | None:
        """What is wrong with the number of elements that were walked over."""
        if elements > self.left:
            return f"over {self.allowed} elements and items"
        return None if elements else "the data set is empty"

    def _keep(self, values: dict[int, bytes], tag: int, view: memoryview, start: int, stop: int) -> bool:
        """Keep a value that was asked for, if it is not too large and all there."""
        if stop - start > self.max_value or stop > len(view):
            return False
        values[tag] = bytes(view[start:stop])
        return True

    def _look_inside(self, view: memoryview, start: int, stop: int, vr: bytes, syntax: _Syntax) -> None:
        """Check the nesting of a value of defined length, if it is a sequence."""
        inside = _sequence(view, start, stop, vr, syntax)
        if inside is not None:
            self.skip(view, start, inside)

    def skip(self, view: memoryview, pos: int, container: _Open) -> tuple[int, int]:
        """Step over the value of a sequence or of encapsulated pixel data that begins at `pos`.

        Returns where the value stops and where the next element begins. The open containers are a list, so
        that no data set can exhaust Python's own stack.
        """
        stack: list[_Open] = []
        self._open(stack, container, pos)
        stop = pos
        while stack:
            self.left -= 1
            if self.left < 0:
                raise _Cut(f"over {self.allowed} elements and items")
            try:
                stop, pos = self._step(view, pos, stack)
            except _Cut:
                # Without a VR it was only a guess that the value is a sequence: it stays a plain value.
                guesses = [index for index, opened in enumerate(stack) if opened.guess]
                if not guesses:
                    raise
                stop = pos = stack[guesses[-1]].end
                del stack[guesses[-1] :]
        return stop, pos

    def _open(self, stack: list[_Open], container: _Open, pos: int) -> None:
        stack.append(container)
        if (len(stack) + 1) // 2 > self.max_depth:  # sequences and items alternate
            raise NestingTooDeep(
                f"offset {pos}: sequences are nested more than {self.max_depth} deep; "
                "raise the limit only for a source you trust"
            )

    def _step(self, view: memoryview, pos: int, stack: list[_Open]) -> tuple[int, int]:
        """Read one item, delimiter or element in the innermost container."""
        kind, end, syntax, _ = stack[-1]
        if pos == end and kind in _DEFINED:
            stack.pop()
            return pos, pos
        if pos + 8 > min(end, len(view)):
            raise _Cut(_cut_header(len(view), pos, end))
        group, element, length = syntax.wide(view, pos)
        tag = group << 16 | element
        start = pos + 8
        if kind >= _ITEM_DEFINED:
            if tag == _ITEM_END and kind == _ITEM_UNDEFINED:
                stack.pop()
                return pos, start
            after = self._element(view, pos, tag, length, stack)
            return after, after
        if tag == _SEQUENCE_END and kind != _SEQUENCE_DEFINED:
            stack.pop()
            return pos, start
        if tag != _ITEM:
            raise _Cut(f"offset {pos}: {_name(tag)} stands where an item or the end of a sequence must")
        if length == _UNDEFINED and kind != _FRAGMENTS:
            self._open(stack, _Open(_ITEM_UNDEFINED, end, syntax), pos)
            return pos, start
        if length > end - start:
            raise _Cut(_overrun(tag, pos, length, end - start))
        if kind == _FRAGMENTS or not self.check_nested:
            return pos, start + length
        self._open(stack, _Open(_ITEM_DEFINED, start + length, syntax), pos)
        return pos, start

    def _element(self, view: memoryview, pos: int, tag: int, length: int, stack: list[_Open]) -> int:
        """Step over one element of an item, or into it when it is a container; returns where to go on."""
        _, end, syntax, _ = stack[-1]
        start = pos + 8
        vr = b""
        if not syntax.implicit:
            _, _, vr, length = syntax.header(view, pos)
            if vr not in _SHORT_VRS:
                try:
                    length, start = _long_length(view, pos, vr, length, syntax, end)
                except struct.error:
                    raise _Cut(_cut_header(len(view), pos, end)) from None
        if length == _UNDEFINED:
            self._open(stack, _opened(tag, vr, syntax, end), pos)
            return start
        stop = start + length
        if stop > end:
            raise _Cut(_overrun(tag, pos, length, end - start))
        if self.check_nested and length >= 8 and vr in _MAY_NEST:
            inside = _sequence(view, start, stop, vr, syntax)
            if inside is not None:
                self._open(stack, inside, pos)
                return start
        return stop


class _Open(NamedTuple):
    """A container the walk is in: `end` is its own end, or that of the container around it when undefined."""

    kind: int
    end: int
    syntax: _Syntax
    guess: bool = False


_FRAGMENTS = 0
_SEQUENCE = 1
_SEQUENCE_DEFINED = 2
_ITEM_DEFINED = 3
_ITEM_UNDEFINED = 4
_DEFINED = (_SEQUENCE_DEFINED, _ITEM_DEFINED)


def _opened(tag: int, vr: bytes, syntax: _Syntax, end: int) -> _Open:
    """What an element of undefined length opens; inside UN that is implicit VR (PS3.5 6.2.2 note 2)."""
    if tag in _PIXEL_TAGS or vr not in _MAY_NEST:
        return _Open(_FRAGMENTS, end, syntax)
    return _Open(_SEQUENCE, end, _IMPLICIT if vr == b"UN" else syntax)


def _sequence(view: memoryview, start: int, stop: int, vr: bytes, syntax: _Syntax) -> _Open | None:
    """The sequence in a value of defined length: certain by its VR, else guessed from a leading item tag."""
    if stop > len(view):
        return None
    inner = _IMPLICIT if vr == b"UN" else syntax
    group, element, _ = inner.wide(view, start)
    if vr != b"SQ" and (group << 16 | element) != _ITEM:
        return None
    return _Open(_SEQUENCE_DEFINED, stop, inner, vr != b"SQ")


def _long_length(
    view: memoryview, pos: int, vr: bytes, short: int, syntax: _Syntax, end: int
) -> tuple[int, int]:
    """Length and start of a value whose VR is not one of the old short ones."""
    if vr in _LONG_VRS:
        return syntax.length(view, pos + 8)[0], pos + 12
    if not (vr.isalpha() and vr.isupper()):
        raise _Cut(f"offset {pos}: {vr!r} is no value representation")
    # PS3.5 7.1.2 gives new VRs the 32-bit form; some writers invent VRs and use the 16-bit form.
    if short == 0 and pos + 12 <= len(view):
        length = syntax.length(view, pos + 8)[0]
        if length == _UNDEFINED or pos + 12 + length <= end:
            return length, pos + 12
    return short, pos + 8


def _only_zeros(view: memoryview, pos: int, end: int) -> bool:
    """Whether nothing but zeros follows; raises _Cut when something does."""
    if _zeros(view, pos, end):
        return True
    raise _Cut(f"offset {pos}: zeros and other bytes follow the last element")


def _location(tag: int, vr: bytes, start: int, length: int) -> PixelLocation:
    return PixelLocation(tag, vr.decode() or "OW", start, None if length == _UNDEFINED else length)


def _zeros(view: memoryview, pos: int, end: int) -> bool:
    """True when nothing but zero bytes follows: padding some writers leave."""
    if end > len(view):
        return False
    return all(not bytes(view[at : at + 65536]).strip(b"\0") for at in range(pos, end, 65536))


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _overrun(tag: int, pos: int, length: int, left: int) -> str:
    return f"offset {pos}: {_name(tag)} claims {length} bytes where {max(left, 0)} are left"


def _cut_header(held: int, pos: int, end: int) -> str:
    if held < end:
        return f"offset {pos}: behind the first {held} inflated bytes, {_UNSEEN}"
    return f"offset {pos}: the data set ends inside an element's header"
