"""What real writers encode against PS3.5, and how it can be read all the same.

Each function looks at the bytes only, and decides by what comes next: a reading is right when it leads to a
header that can be one.
"""

from __future__ import annotations

import struct

from ..pdu.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, UNCOMPRESSED
from .encoding import (
    ITEM,
    ITEM_END,
    KNOWN_VRS,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED,
    Syntax,
    View,
    other_vr,
)

_ENCAPSULATED = (
    "1.2.840.10008.1.2.4.",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.8.",
    "1.2.840.10008.1.2.1.98",
)
_NATIVE = {*UNCOMPRESSED, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN}
_REFERENCED = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
"""JPIP: the pixels are elsewhere."""
_DELIMITERS = (ITEM_END, SEQUENCE_END)
EMPTY_ITEMS = 64
"""Empty items of a sequence that are looked past for one that tells how it is encoded."""


def contradiction(transfer_syntax_uid: str, tag: int, length: int | None) -> str | None:
    """How pixel data contradict their transfer syntax (PS3.5 A.4); None where they do not.

    length: None when they are encapsulated. Of a private syntax nothing is known.
    """
    if length is None:
        if transfer_syntax_uid in _NATIVE:
            return "the pixel data are encapsulated, which its transfer syntax does not allow (PS3.5 A.4)"
        return None
    if tag != 0x7FE00010 or not length or transfer_syntax_uid in _REFERENCED:
        return None
    if transfer_syntax_uid.startswith(_ENCAPSULATED):
        return "the pixel data are not encapsulated, which its transfer syntax demands (PS3.5 A.4)"
    return None


def length_of_unknown_vr(
    view: View, pos: int, vr: bytes, short: int, syntax: Syntax, end: int
) -> tuple[int, int] | None:
    """Length and start of the value of an element whose VR is none of PS3.5 6.2; None where nothing fits.

    PS3.5 7.1.2 gives new VRs the 32-bit form; writers that invent one use the 16-bit form, and some write
    an element of implicit VR in between. The first form whose end is that of the container, or a header
    of a known VR, is it; where none is, the first that ends at any higher tag.
    """
    tag = _tag(view, pos, syntax)
    forms = [(short, pos + 8)]
    for at, start in ((pos + 8, pos + 12), (pos + 4, pos + 8)):
        try:
            forms.append((syntax.length(view, at)[0], start))
        except struct.error:
            continue
    if not (vr.isalpha() and vr.isupper()):
        forms.reverse()  # not even spelled as one: an implicit length is the likeliest
    for sure in (True, False):
        for length, start in forms:
            if length == UNDEFINED:
                if _starts(view, start, syntax, (ITEM, SEQUENCE_END)):
                    return length, start
            elif _leads_on(view, start + length, tag, syntax, end, sure=sure):
                return length, start
    return None


def inner_syntax(view: View, start: int, end: int, vr: bytes, syntax: Syntax) -> tuple[Syntax, bool]:
    """What the items of a sequence are encoded in, and whether that is against the standard.

    Inside UN it is implicit VR (PS3.5 6.2.2 note 2), else that of the data set. Where the first element of
    the first item can only be read the other way, it is the other.
    """
    right = other_vr(syntax, implicit=True) if vr == b"UN" else syntax
    if syntax.implicit or (not right.implicit and bytes(view[start + 12 : start + 14]) in KNOWN_VRS):
        return right, False  # nearly all: a known VR where one must stand
    other = other_vr(syntax, implicit=not right.implicit)
    start = _first_filled(view, start, right)
    if not _starts(view, start, right, (ITEM,)):
        return right, False
    at = start + 8
    length = syntax.length(view, start + 4)[0]
    inside = end if length == UNDEFINED else min(start + 8 + length, end)
    if _reads(view, at, right, inside) or not _reads(view, at, other, inside):
        return right, False
    return other, True


def _first_filled(view: View, start: int, syntax: Syntax) -> int:
    """Where the first item begins that has an element, or the last looked at: empty ones tell nothing."""
    for _ in range(EMPTY_ITEMS):
        if not _starts(view, start, syntax, (ITEM,)):
            break
        length = syntax.length(view, start + 4)[0] if start + 8 <= len(view) else UNDEFINED
        if length == 0:
            start += 8
        elif length == UNDEFINED and _starts(view, start + 8, syntax, (ITEM_END,)):
            start += 16
        else:
            break
    return start


def _reads(view: View, pos: int, syntax: Syntax, end: int) -> bool:
    """Whether an element at `pos` can be of that encoding: its value ends within, before another header."""
    try:
        group, element, length = syntax.wide(view, pos)
        tag, start = group << 16 | element, pos + 8
        if pos == end or tag in _DELIMITERS:
            return True
        if not syntax.implicit:
            _, _, vr, length = syntax.header(view, pos)
            if vr not in KNOWN_VRS:
                return False
            if vr in LONG_VRS:
                length, start = syntax.length(view, pos + 8)[0], pos + 12
    except struct.error:
        return pos == end
    if length == UNDEFINED:
        return _starts(view, start, syntax, (ITEM, SEQUENCE_END))
    return _leads_on(view, start + length, tag, syntax, end, sure=not syntax.implicit)


def _tag(view: View, pos: int, syntax: Syntax) -> int:
    group, element, _ = syntax.wide(view, pos)
    return int(group << 16 | element)


def _starts(view: View, pos: int, syntax: Syntax, tags: tuple[int, ...]) -> bool:
    try:
        return _tag(view, pos, syntax) in tags
    except struct.error:
        return False


def _leads_on(view: View, pos: int, tag: int, syntax: Syntax, end: int, *, sure: bool) -> bool:
    """Whether the container ends at `pos`, or an element that may follow `tag` begins there."""
    if pos >= end or pos > len(view):
        return pos == end
    try:
        following = _tag(view, pos, syntax)
    except struct.error:
        return False
    if following in _DELIMITERS:
        return True
    if following <= tag or following >> 16 == 0xFFFE:
        return False
    return not sure or syntax.implicit or bytes(view[pos + 4 : pos + 6]) in KNOWN_VRS


def lacks_end_of_image(view: View, start: int, stop: int, syntax: Syntax) -> bool:
    """Whether encapsulated pixel data begin as a JPEG or JPEG 2000 stream and do not end as one."""
    try:
        first = start + 16 + syntax.length(view, start + 4)[0]  # behind the offset table
    except struct.error:
        return False
    if bytes(view[first : first + 2]) not in (b"\xff\xd8", b"\xff\x4f"):
        return False
    return not bytes(view[max(first, stop - 8) : stop]).rstrip(b"\0").endswith(b"\xff\xd9")
