"""A walk over an encoded data set that reads element headers only (PS3.5 7).

It answers two questions without building a data set: what do a few top-level elements hold, and is the data
set whole. Every length is checked against the container it lies in; nothing is allocated from a length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeAlias

from .deflated import DEFLATED_SYNTAXES, MAX_INFLATED, inflating
from .encoding import EXPLICIT, PIXEL_TAGS, View, reader_of, syntax_of
from .errors import NestingTooDeep
from .found import ScanResult
from .layouts import Layouts, Noting, NotingWalk
from .oddities import contradiction
from .walk import NO_END, Steps, Walk, to_end
from .window import FileWindow

Buffer: TypeAlias = bytes | bytearray | memoryview | FileWindow


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
    vr_of: Callable[[int], str] | None = None,
) -> ScanResult:
    """Walk the top level of an encoded data set and return the raw values of `tags`.

    Sequences of defined length are stepped over unless `check_nested`; those of undefined length are walked.
    An unknown transfer syntax is read as explicit VR little endian, as all encapsulated ones are (PS3.5 A.4).
    `max_elements`: elements, items and delimiters of all levels that are looked at; None for any number.
    `vr_of` tells the VR of a tag that comes without one: what is to be a sequence is in doubt if it is none,
    where it is otherwise a value that no more is known of.
    No view of `buffer` is kept. Raises NestingTooDeep when sequences nest deeper than `max_depth`, OSError
    where the file of a `FileWindow` cannot be read, and nothing for what the bytes say: that is in
    `ScanResult.problem`.
    """
    return to_end(
        scanning(
            buffer,
            transfer_syntax_uid,
            tags,
            max_depth=max_depth,
            max_value=max_value,
            check_nested=check_nested,
            max_inflated=max_inflated,
            max_elements=max_elements,
            vr_of=vr_of,
        )
    )


def scanning(
    buffer: Buffer,
    transfer_syntax_uid: str,
    tags: Collection[int] = (),
    *,
    max_depth: int = 64,
    max_value: int = 65536,
    check_nested: bool = False,
    max_inflated: int = MAX_INFLATED,
    max_elements: int | None = None,
    vr_of: Callable[[int], str] | None = None,
) -> Steps[ScanResult]:
    """`scan_dataset` in steps, between which its thread may do something else."""
    walk = Walk(frozenset(tags), max_depth, max_value, check_nested, max_elements, vr_of)
    with ExitStack() as stack:
        view: View
        if isinstance(buffer, FileWindow):
            view = buffer
        else:
            view = stack.enter_context(stack.enter_context(memoryview(buffer)).cast("B"))
        if transfer_syntax_uid in DEFLATED_SYNTAXES:
            inflated = yield from inflating(view, max_inflated)
            with memoryview(inflated.window) as window:
                found = yield from walk.run(window, inflated.total, EXPLICIT, inflated.problem)
            if inflated.problem is not None:
                found = replace(found, truncated=inflated.truncated)
        else:
            syntax = reader_of(syntax_of(transfer_syntax_uid), view)
            found = yield from walk.run(view, len(view), syntax, None)
        return _judged(found, transfer_syntax_uid)


def _judged(found: ScanResult, transfer_syntax_uid: str) -> ScanResult:
    """A data set whose pixel data contradict its transfer syntax is not complete: nobody can read them."""
    pixels = found.pixel_data
    if not found.complete or pixels is None:
        return found
    wrong = contradiction(transfer_syntax_uid, pixels.tag, pixels.length)
    return found if wrong is None else replace(found, complete=False, problem=wrong)


def scan_beginning(
    buffer: bytes | bytearray | memoryview,
    transfer_syntax_uid: str,
    tags: Collection[int] = (),
    *,
    max_depth: int = 64,
    max_value: int = 65536,
    check_nested: bool = False,
    max_elements: int | None = None,
) -> ScanResult | None:
    """Scan the first bytes of a data set as `scan_dataset` would all of it, if they tell enough.

    The data set is whole if it is `ScanResult.end` bytes long, which is for the caller to compare. The first
    bytes tell that where pixel data of defined length begin in them and reach beyond, or where they are all
    there is: what is against the standard is then left to a scan that knows it. None where they do not, nor
    ever for a deflated syntax; the whole is then to be scanned.
    """
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        return None
    limits = frozenset(tags), max_depth, max_value, check_nested, max_elements
    with memoryview(buffer) as whole, whole.cast("B") as view:
        key = transfer_syntax_uid, len(view), limits
        known = _LAYOUTS.find(key, view)
        if known is not None:
            return known
        if not _LAYOUTS.worth_noting():
            return _beginning(view, transfer_syntax_uid, Walk(*limits))
        noting, walk = Noting(bytes(view)), NotingWalk(*limits)
    found = _beginning(noting, transfer_syntax_uid, walk)
    if found is not None:
        _LAYOUTS.keep(key, noting, walk, found)
    return found


_LAYOUTS = Layouts()


def _beginning(view: View, transfer_syntax_uid: str, walk: Walk) -> ScanResult | None:
    syntax = reader_of(syntax_of(transfer_syntax_uid), view)
    try:
        found = to_end(walk.run(view, NO_END, syntax, None))
    except NestingTooDeep:
        return None
    pixels, here = found.pixel_data, len(view)
    if not found.complete or not PIXEL_TAGS.issuperset(found.oversized):
        return None
    if found.end == here:
        return _judged(found, transfer_syntax_uid) if found.doubt is None else None
    if pixels is None or pixels.length is None or pixels.vr in ("SQ", "UN"):
        return None
    if found.oversized and pixels.length <= walk.max_value:
        return None
    return _judged(found, transfer_syntax_uid) if pixels.offset + pixels.length == found.end > here else None
