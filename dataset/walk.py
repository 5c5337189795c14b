"""The walk over an encoded data set that `scan` begins, from header to header.

It pauses after each `STEP` elements: who walks through an enormous one can let others have their turn.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias, TypeVar

from .encoding import (
    ITEM,
    ITEM_END,
    KNOWN_VRS,
    LONG_VRS,
    PIXEL_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Syntax,
    View,
    name,
)
from .errors import NestingTooDeep
from .found import UNSEEN, PixelLocation, ScanResult
from .oddities import inner_syntax, lacks_end_of_image, length_of_unknown_vr

T = TypeVar("T")
Steps: TypeAlias = "Generator[None, None, T]"
"""Work that may be left between its steps and gone on with; it returns what came of it."""

STEP = 4096
"""Elements, items and delimiters between two pauses."""

NO_END = 1 << 62
"""Where a data set ends of which only the beginning is here."""
_DELIMITERS = frozenset({ITEM_END, SEQUENCE_END})
_NUMBER_OF_FRAMES = 0x00280008
_FIRST_PIXELS = 0x7FE00008
_LAST_PIXELS = 0x7FE00010
_MAY_NEST = (b"SQ", b"UN", b"")  # "" is the VR of implicit syntaxes


class _Cut(Exception):
    """The walk cannot go on; the words become `ScanResult.problem`."""

    def __init__(self, words: str, *, truncated: bool = False) -> None:
        super().__init__(words)
        self.truncated = truncated


def to_end(work: Steps[T]) -> T:
    """Do all of it."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


class Walk:
    """One scan: its limits, and what it found so far. `floor`: how far `left` falls until the next pause."""

    __slots__ = (
        "allowed",
        "check_nested",
        "doubt",
        "floor",
        "fragments",
        "left",
        "max_depth",
        "max_value",
        "open_ended",
        "oversized",
        "pixels",
        "tags",
        "truncated",
        "values",
        "vr_of",
    )

    def __init__(
        self,
        tags: frozenset[int],
        max_depth: int,
        max_value: int,
        check_nested: bool,
        max_elements: int | None = None,
        vr_of: Callable[[int], str] | None = None,
    ) -> None:
        self.vr_of: Callable[[int], str] | None = vr_of
        self.allowed: int = max_elements if max_elements is not None else NO_END
        self.left: int = self.allowed
        self.floor: int = max(0, self.left - STEP)
        self.tags: frozenset[int] = tags
        self.max_depth: int = max_depth
        self.max_value: int = max_value
        self.check_nested: bool = check_nested
        self.values: dict[int, bytes] = {}
        self.oversized: list[int] = []
        self.pixels: PixelLocation | None = None
        self.doubt: str | None = None
        self.truncated: bool = False
        self.fragments: int = 0  # items of the encapsulated pixel data last begun
        self.open_ended: bool = False  # those pixel data have no delimiter

    def note(self, pos: int, words: str) -> None:
        """Against PS3.5, and harmless: the first such thing is what is told."""
        if self.doubt is None:
            self.doubt = f"offset {pos}: {words}"

    def run(self, view: View, end: int, syntax: Syntax, problem: str | None) -> Steps[ScanResult]:
        """Walk the top level; where `end` lies behind `view`, to the element that reaches out of `view`."""
        tags, values, check = self.tags, self.values, self.check_nested
        implicit, header, wide, short_vrs = syntax.implicit, syntax.header, syntax.wide, SHORT_VRS
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
                            length, start = self._long_length(view, pos, vr, length, syntax, end)
                except (struct.error, _Cut) as error:
                    if _zeros(view, pos, end):
                        break
                    raise _told(error, held, pos, end) from None
                tag = group << 16 | element
                if tag >= _FIRST_PIXELS and tag in _DELIMITERS:
                    pos = yield from self._stray(pos, tag)
                    continue
                if tag <= last:
                    if tag == 0 and _only_zeros(view, pos, end):
                        break
                    ordered = False
                last = tag
                if length == UNDEFINED:
                    stop, after = yield from self._into(view, start, tag, vr, syntax, end)
                else:
                    stop = after = start + length
                    if stop > end:
                        raise _overrun(tag, pos, length, end - start, truncated=True)
                    if check and vr in _MAY_NEST and (length >= 8 or (length and self.vr_of)):
                        yield from self._look_inside(view, start, stop, tag, vr, syntax)
                if tag in tags and tag not in values:
                    self._keep(tag, view, start, stop)
                if tag >= _FIRST_PIXELS and tag in PIXEL_TAGS and self.pixels is None:
                    self.pixels = _location(tag, vr, start, length)
                    yield from self._count_frames(view, pos, start, stop, syntax)
                pos = after
                elements += 1
                if elements % STEP == 0:
                    yield
                if pos >= held and end == NO_END:
                    break
        except _Cut as cut:
            problem, self.truncated = problem or str(cut), cut.truncated
        return self._result(problem or self._remark(elements), pos, elements, ordered)

    def _result(self, problem: str | None, end: int, elements: int, ordered: bool) -> ScanResult:
        return ScanResult(
            self.values,
            problem is None,
            end,
            problem,
            self.pixels,
            elements,
            ordered,
            tuple(self.oversized),
            self.truncated,
            self.doubt,
        )

    def _remark(self, elements: int) -> str | None:
        """What is wrong with the number of elements that were walked over."""
        if elements > self.left:
            return f"over {self.allowed} elements and items"
        return None if elements else "the data set is empty"

    def _stray(self, pos: int, tag: int) -> Steps[int]:
        """Step over a delimiter that ends nothing."""
        self.left -= 1
        if self.left % STEP == 0:
            yield
        self.note(pos, f"the delimiter {name(tag)} ends nothing")
        return pos + 8

    def _long_length(
        self, view: View, pos: int, vr: bytes, short: int, syntax: Syntax, end: int
    ) -> tuple[int, int]:
        """Length and start of a value whose VR is not one of the old short ones."""
        if vr in LONG_VRS:
            return syntax.length(view, pos + 8)[0], pos + 12
        group, element, _ = syntax.wide(view, pos)
        if (group << 16 | element) in _DELIMITERS:
            return 0, pos + 8
        if not (group or element):
            raise _Cut(f"offset {pos}: zeros and other bytes follow the last element")
        found = length_of_unknown_vr(view, pos, vr, short, syntax, end)
        if found is None:
            raise _Cut(f"offset {pos}: {vr!r} is no value representation; no length of it leads anywhere")
        self.note(pos, f"{vr!r} is no value representation (PS3.5 6.2)")
        return found

    def _into(
        self, view: View, start: int, tag: int, vr: bytes, syntax: Syntax, end: int
    ) -> Steps[tuple[int, int]]:
        """Step over a value of undefined length: where it stops, and where the next element begins."""
        return (yield from self.skip(view, start, self._opened(view, start, tag, vr, syntax, end)))

    def _opened(self, view: View, start: int, tag: int, vr: bytes, syntax: Syntax, end: int) -> _Open:
        """What an element of undefined length opens."""
        if tag in PIXEL_TAGS or (vr in KNOWN_VRS and vr not in _MAY_NEST):
            self.fragments = 0
            return _Open(_FRAGMENTS, end, syntax)
        inner, odd = inner_syntax(view, start, end, vr, syntax)
        if odd:
            self.note(start, f"the items of {name(tag)} are in the other of explicit and implicit VR")
        return _Open(_SEQUENCE, end, inner)

    def _count_frames(self, view: View, pos: int, start: int, stop: int, syntax: Syntax) -> Steps[None]:
        """Pixel data without their end may be all there; with fewer fragments than frames they are not.

        Nor are they where the last fragment has not the marker that ends a JPEG or JPEG 2000 stream.
        """
        if not self.open_ended:
            return
        before = Walk(frozenset({_NUMBER_OF_FRAMES}), self.max_depth, 64, False)
        found = yield from before.run(view, pos, syntax, None)
        number = found.values.get(_NUMBER_OF_FRAMES, b"").strip(b" \0")
        frames = int(number) if number.isdigit() else 1
        there = max(self.fragments - 1, 0)  # the first item is the offset table
        if there < frames:
            words = f"the pixel data end without their delimiter after {there} fragments of {frames} frames"
            raise _Cut(words, truncated=True)
        if lacks_end_of_image(view, start, stop, syntax):
            raise _Cut("the pixel data end without their delimiter, inside a frame", truncated=True)

    def _keep(self, tag: int, view: View, start: int, stop: int) -> None:
        """Keep a value that was asked for, if it is not too large and all there."""
        if stop - start > self.max_value or stop > len(view):
            self.oversized.append(tag)
        else:
            self.values[tag] = bytes(view[start:stop])

    def _look_inside(
        self, view: View, start: int, stop: int, tag: int, vr: bytes, syntax: Syntax
    ) -> Steps[None]:
        """Check the nesting of a value of defined length, if it is a sequence."""
        inside = self._sequence(view, start, stop, tag, vr, syntax)
        if inside is not None:
            yield from self.skip(view, start, inside)

    def _sequence(
        self, view: View, start: int, stop: int, tag: int, vr: bytes, syntax: Syntax
    ) -> _Open | None:
        """The sequence in a value of defined length: certain by its VR, else guessed from a leading item."""
        if stop > len(view):
            return None
        sure = vr == b"SQ" or (self.vr_of is not None and self.vr_of(tag) == "SQ")
        if stop - start < 8:  # not even the header of an item
            return _Open(_SEQUENCE_DEFINED, stop, syntax) if sure else None
        inner, odd = inner_syntax(view, start, stop, vr, syntax)
        group, element, _ = inner.wide(view, start)
        if not sure and (group << 16 | element) != ITEM:
            return None
        if odd:
            self.note(start, "the items of a sequence are in the other of explicit and implicit VR")
        return _Open(_SEQUENCE_DEFINED, stop, inner, not sure)

    def skip(self, view: View, pos: int, container: _Open) -> Steps[tuple[int, int]]:
        """Step over the value of a sequence or of encapsulated pixel data that begins at `pos`.

        Returns where the value stops and where the next element begins. The open containers are a list, so
        that no data set can exhaust Python's own stack.
        """
        stack: list[_Open] = []
        self._open(stack, container, pos)
        stop = pos
        while stack:
            self.left -= 1
            if self.left < self.floor:
                if self.left < 0:
                    raise _Cut(f"over {self.allowed} elements and items")
                self.floor = max(0, self.left - STEP)
                yield
            try:
                stop, pos = self._step(view, pos, stack)
            except _Cut as cut:
                stop = pos = self._over(cut, stack)
        return stop, pos

    def _over(self, cut: _Cut, stack: list[_Open]) -> int:
        """Give up the innermost sequence of defined length; raises the cut where there is none.

        What lies in one need not be understood to step over it. Without a VR it was only a guess that the
        value is one: it stays a plain value.
        """
        known = [index for index, opened in enumerate(stack) if opened.kind == _SEQUENCE_DEFINED]
        if not known:
            raise cut
        outer = stack[known[-1]]
        if not outer.guess and self.doubt is None:
            self.doubt = str(cut)
        del stack[known[-1] :]
        return outer.end

    def first_items(self, value: View, syntax: Syntax) -> int:
        """The bytes that the first items of a sequence's value take, those that `max_elements` suffice for.

        Of a value that cannot be read it is all of it, or the items before what cannot be.
        """
        stack = [_Open(_SEQUENCE_DEFINED, len(value), syntax)]
        pos = whole = 0
        try:
            while stack and pos < len(value):
                if len(stack) == 1:
                    whole = pos
                if self.left <= 0:
                    return whole
                self.left -= 1
                try:
                    _, pos = self._step(value, pos, stack)
                except _Cut as cut:
                    pos = self._over(cut, stack)
        except NestingTooDeep:
            return whole
        return len(value)

    def _open(self, stack: list[_Open], container: _Open, pos: int) -> None:
        stack.append(container)
        if (len(stack) + 1) // 2 > self.max_depth:  # sequences and items alternate
            raise NestingTooDeep(
                f"offset {pos}: sequences are nested more than {self.max_depth} deep; "
                "raise the limit only for a source you trust"
            )

    def _step(self, view: View, pos: int, stack: list[_Open]) -> tuple[int, int]:
        """Read one item, delimiter or element in the innermost container."""
        kind, end, syntax, _ = stack[-1]
        if pos == end and kind in _DEFINED:
            stack.pop()
            return pos, pos
        held = len(view)
        if pos + 8 > min(end, held):
            if kind == _FRAGMENTS and _zeros(view, pos, end):
                return self._without_delimiter(pos, end, stack)
            raise _cut_header(held, pos, end, stack[0].end)
        group, element, length = syntax.wide(view, pos)
        tag = group << 16 | element
        start = pos + 8
        if tag in _DELIMITERS:
            return pos, self._delimited(pos, tag, stack)
        if kind >= _ITEM_DEFINED:
            after = self._element(view, pos, tag, length, stack)
            return after, after
        if tag != ITEM:
            if kind == _FRAGMENTS:
                return self._behind_fragments(view, pos, tag, stack)
            raise _misplaced(pos, tag)
        self.fragments += 1
        if length == UNDEFINED and kind != _FRAGMENTS:
            self._open(stack, _Open(_ITEM_UNDEFINED, end, syntax), pos)
            return pos, start
        if length > end - start:
            raise _overrun(tag, pos, length, end - start, truncated=end == stack[0].end)
        if kind == _FRAGMENTS or not self.check_nested:
            return pos, start + length
        self._open(stack, _Open(_ITEM_DEFINED, start + length, syntax), pos)
        return pos, start

    def _behind_fragments(self, view: View, pos: int, tag: int, stack: list[_Open]) -> tuple[int, int]:
        """Zeros, or the next element, where the delimiter of encapsulated pixel data must stand."""
        if tag == 0 and _zeros(view, pos, stack[-1].end):
            return self._without_delimiter(pos, stack[-1].end, stack)
        if len(stack) == 1 and _LAST_PIXELS < tag < ITEM:
            return self._without_delimiter(pos, pos, stack)
        raise _misplaced(pos, tag)

    def _without_delimiter(self, pos: int, after: int, stack: list[_Open]) -> tuple[int, int]:
        """The end of encapsulated pixel data that do not say it."""
        self.open_ended = self.open_ended or len(stack) == 1
        stack.pop()
        self.note(pos, "encapsulated pixel data end without their delimiter (PS3.5 A.4)")
        return pos, after

    def _delimited(self, pos: int, tag: int, stack: list[_Open]) -> int:
        """Close what a delimiter ends; one that ends nothing is stepped over."""
        kind = stack[-1].kind
        if (tag, kind) in _ENDS:
            stack.pop()
        elif tag == SEQUENCE_END and kind == _ITEM_UNDEFINED and stack[-2].kind == _SEQUENCE:
            self.note(pos, "a sequence ends within an item that has no delimiter")
            del stack[-2:]
        else:
            self.note(pos, f"the delimiter {name(tag)} ends nothing")
        return pos + 8

    def _element(self, view: View, pos: int, tag: int, length: int, stack: list[_Open]) -> int:
        """Step over one element of an item, or into it when it is a container; returns where to go on."""
        _, end, syntax, _ = stack[-1]
        start = pos + 8
        vr = b""
        if not syntax.implicit:
            _, _, vr, length = syntax.header(view, pos)
            if vr not in SHORT_VRS:
                try:
                    length, start = self._long_length(view, pos, vr, length, syntax, end)
                except struct.error:
                    raise _cut_header(len(view), pos, end, stack[0].end) from None
        if length == UNDEFINED:
            self._open(stack, self._opened(view, start, tag, vr, syntax, end), pos)
            return start
        stop = start + length
        if stop > end:
            raise _overrun(tag, pos, length, end - start, truncated=end == stack[0].end)
        if self.check_nested and vr in _MAY_NEST and (length >= 8 or (length and self.vr_of)):
            inside = self._sequence(view, start, stop, tag, vr, syntax)
            if inside is not None:
                self._open(stack, inside, pos)
                return start
        return stop


class _Open(NamedTuple):
    """A container the walk is in: `end` is its own end, or that of the container around it when undefined."""

    kind: int
    end: int
    syntax: Syntax
    guess: bool = False


_FRAGMENTS = 0
_SEQUENCE = 1
_SEQUENCE_DEFINED = 2
_ITEM_DEFINED = 3
_ITEM_UNDEFINED = 4
_DEFINED = (_SEQUENCE_DEFINED, _ITEM_DEFINED)
_ENDS = ((ITEM_END, _ITEM_UNDEFINED), (SEQUENCE_END, _SEQUENCE), (SEQUENCE_END, _FRAGMENTS))


def _misplaced(pos: int, tag: int) -> _Cut:
    return _Cut(f"offset {pos}: {name(tag)} stands where an item or the end of a sequence must")


def _only_zeros(view: View, pos: int, end: int) -> bool:
    """Whether nothing but zeros follows; raises _Cut when something does."""
    if _zeros(view, pos, end):
        return True
    raise _Cut(f"offset {pos}: zeros and other bytes follow the last element")


def _location(tag: int, vr: bytes, start: int, length: int) -> PixelLocation:
    return PixelLocation(tag, vr.decode("latin-1") or "OW", start, None if length == UNDEFINED else length)


def _zeros(view: View, pos: int, end: int) -> bool:
    """True when nothing but zero bytes follows: padding some writers leave."""
    if end > len(view):
        return False
    return all(not bytes(view[at : at + 65536]).strip(b"\0") for at in range(pos, end, 65536))


def _overrun(tag: int, pos: int, length: int, left: int, *, truncated: bool) -> _Cut:
    words = f"offset {pos}: {name(tag)} claims {length} bytes where {max(left, 0)} are left"
    return _Cut(words, truncated=truncated)


def _told(error: Exception, held: int, pos: int, end: int) -> _Cut:
    """What a header that cannot be read comes to, at the top level."""
    return error if isinstance(error, _Cut) else _cut_header(held, pos, end, end)


def _cut_header(held: int, pos: int, end: int, last: int) -> _Cut:
    """`end` is that of the container, `last` that of the data set."""
    if held < end:
        return _Cut(f"offset {pos}: behind the first {held} inflated bytes, {UNSEEN}")
    inside = "the data set" if end == last else "a sequence or item"
    return _Cut(f"offset {pos}: {inside} ends inside an element's header", truncated=end == last)
