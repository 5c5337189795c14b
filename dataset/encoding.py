"""How an element's header is encoded in each syntax (PS3.5 7.1), and the tags that stand for structure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .window import FileWindow

View: TypeAlias = memoryview | FileWindow
"""A data set to be looked at: in memory, or in a file."""

BIG_ENDIAN_SYNTAXES = frozenset({EXPLICIT_VR_BIG_ENDIAN})

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5 Table 7.1-2
)
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 Table 7.1-1
KNOWN_VRS = SHORT_VRS | LONG_VRS


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """Readers of a header at an offset; each raises struct.error where the bytes end."""

    implicit: bool
    header: Callable[[Any, int], tuple[Any, ...]]  # explicit: group, element, VR, length as 16 bits
    wide: Callable[[Any, int], tuple[Any, ...]]  # group, element, length as 32 bits
    length: Callable[[Any, int], tuple[Any, ...]]  # 32 bits
    in_file: bool = False  # they read from a FileWindow, else from memory


def _syntax(order: Literal["<", ">"], implicit: bool) -> Syntax:
    return Syntax(
        implicit,
        struct.Struct(order + "HH2sH").unpack_from,
        struct.Struct(order + "HHL").unpack_from,
        struct.Struct(order + "L").unpack_from,
    )


def _through(form: struct.Struct) -> Callable[[FileWindow, int], tuple[Any, ...]]:
    unpack, size = form.unpack_from, form.size

    def read(window: FileWindow, pos: int) -> tuple[Any, ...]:
        at = pos - window.base
        if at < 0 or at + size > window.held:
            at = window.place(pos, size)
        return unpack(window.whole, at)

    return read


def _syntax_in_file(order: Literal["<", ">"], implicit: bool) -> Syntax:
    header, wide, length = (_through(struct.Struct(order + form)) for form in ("HH2sH", "HHL", "L"))
    return Syntax(implicit, header, wide, length, in_file=True)


IMPLICIT = _syntax("<", True)
EXPLICIT = _syntax("<", False)
BIG = _syntax(">", False)
_IN_FILE = {
    IMPLICIT: _syntax_in_file("<", True),
    EXPLICIT: _syntax_in_file("<", False),
    BIG: _syntax_in_file(">", False),
}


def reader_of(syntax: Syntax, view: View) -> Syntax:
    """The same syntax, to read that view with."""
    return _IN_FILE[syntax] if isinstance(view, FileWindow) else syntax


def other_vr(syntax: Syntax, *, implicit: bool) -> Syntax:
    """Implicit or explicit VR little endian, to read with from where that syntax reads."""
    plain = IMPLICIT if implicit else EXPLICIT
    return _IN_FILE[plain] if syntax.in_file else plain


def syntax_of(transfer_syntax_uid: str) -> Syntax:
    """An unknown one is read as explicit VR little endian, as all encapsulated ones are (PS3.5 A.4)."""
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return IMPLICIT
    return BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else EXPLICIT


def encode_uids(tag: int, uids: Iterable[str], transfer_syntax_uid: str) -> bytes:
    """A data set of one element, a list of UIDs of any length.

    One that the 16-bit length of UI has no room for goes out as UN (PS3.5 6.2.2).
    """
    value = "\\".join(uids).encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    group, element = tag >> 16, tag & 0xFFFF
    order = ">" if transfer_syntax_uid in BIG_ENDIAN_SYNTAXES else "<"
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        header = struct.pack(order + "HHL", group, element, len(value))
    elif len(value) <= 0xFFFF:
        header = struct.pack(order + "HH2sH", group, element, b"UI", len(value))
    else:
        header = struct.pack(order + "HH2sHL", group, element, b"UN", 0, len(value))
    return header + value


def name(tag: int) -> str:
    """A tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=4096)
def dictionary_vr(tag: int) -> str:
    """The VR in PS3.6, `US or SS` where it names two; "" for what it does not list."""
    from pydicom.datadict import dictionary_VR  # here: moving files needs no pydicom

    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""
