"""Answers that are plain: a flat run of text elements, each of them valid, which is what nearly all are.

Their values are left to be decoded when they are looked at, which most never are. Whatever is not surely the
same when it is decoded later takes the way of all data sets: then only is it known what cannot be decoded,
and warnings are kept from the user.
"""

from __future__ import annotations

import re
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ..pdu.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .encoding import dictionary_vr

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHL").unpack_from
_LONGEST = 0x4000
"""Bytes of a value: in implicit VR a longer length could be two letters, a VR."""
_LAST_CONTROL = 0x9F
_CHARSET = 0x00080005
_DECODED = {b"ISO_IR 100": "latin-1", b"ISO_IR 192": "utf-8"}
"""Sets in which text beyond ASCII is read here, and without which none is."""
_WITH_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST"})

_TEXT = rb"[ -\[\]-~]"
_UID = rb"(?![\d.]{65})(?:0|[1-9]\d{0,20})(?:\.(?:0|[1-9]\d{0,20})){0,12}"
_VALID = {
    "AE": _TEXT + rb"{0,16}",
    "AS": rb"(?:\d{3}[DWMY])?",
    "CS": rb"(?:[A-Z0-9_ ]{1,16}(?:\\[A-Z0-9_ ]{1,16})*)?",
    "DA": rb"(?:\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))?",
    "DS": rb"(?:-?\d{1,6}(?:\.\d{1,6})? ?)?",
    "DT": rb"(?:\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d[0-5]\d)?",
    "IS": rb"(?:-?\d{1,9} ?)?",
    "LO": _TEXT + rb"{0,64}",
    "LT": rb"[ -~\r\n]{0,1024}",
    "PN": rb"[ -<>-\[\]-~]{0,64}(?:=[ -<>-\[\]-~]{0,64}){0,2}",
    "SH": _TEXT + rb"{0,16}",
    "ST": rb"[ -~\r\n]{0,1024}",
    "TM": rb"(?:(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d{1,6})? ?)?",
    "UI": rb"(?:" + _UID + rb"(?:\\" + _UID + rb")*\0?)?",
}
"""What of each VR pydicom decodes without an error and without a warning, and then some are left out."""
_MATCH = {vr: re.compile(pattern).fullmatch for vr, pattern in _VALID.items()}


def read_flat(raw: bytes, transfer_syntax: str) -> Dataset | None:
    """A plain data set with its values undecoded, pydicom's raw elements; None for any other."""
    from pydicom import config
    from pydicom.dataelem import RawDataElement

    if not raw or transfer_syntax not in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN):
        return None
    if config.data_element_callback is not None or config.datetime_conversion:
        return None  # user's code that could refuse a value, or dates that no calendar has
    implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    header = _implicit if implicit else _explicit
    elements: dict[BaseTag, Any] = {}
    charset, position, end, last = b"", 0, len(raw), 0
    while position < end:
        if end - position < 8:
            return None
        group, element, *vr, length = header(raw, position)
        number = group << 16 | element
        known = _element(number, vr[0] if vr else b"")
        position += 8
        if known is None or number <= last or length > end - position or length > _LONGEST or length & 1:
            return None
        tag, name, match = known
        value = raw[position : position + length]
        if number == _CHARSET:
            charset = value.rstrip(b" ")
            if charset not in _DECODED:
                return None
        if match(value) is None and not (name in _WITH_CHARSET and _decodes(value, charset, match)):
            return None
        elements[tag] = RawDataElement(tag, name, length, value, position, implicit, True)
        position += length
        last = number
    return _dataset(elements, implicit, charset)


def _dataset(elements: dict[BaseTag, Any], implicit: bool, charset: bytes) -> Dataset:
    """A data set of these elements; pydicom's own way to make one takes longer than to read them."""
    from pydicom.dataset import Dataset

    attributes, changing = _attributes(implicit, charset)
    dataset = Dataset.__new__(Dataset)
    own = dataset.__dict__
    own.update(attributes)
    for name in changing:
        own[name] = own[name].copy()
    own["_dict"] = elements
    return dataset


@cache
def _attributes(implicit: bool, charset: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What pydicom's data set holds beside its elements, and which of it each is to have for its own."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.set_original_encoding(implicit, True, _encodings(charset))
    found = dataset.__dict__
    return found, tuple(name for name, value in found.items() if isinstance(value, dict | list))


def _decodes(value: bytes, charset: bytes, match: Any) -> bool:
    """Whether text beyond ASCII is all of its character set and valid; not longer in bytes than it may be
    in characters, too, for that is what pydicom counts.
    """
    codec = _DECODED.get(charset)
    if codec is None or value.isascii():
        return False
    try:
        text = value.decode(codec)
    except UnicodeDecodeError:
        return False
    if any(0x7F <= ord(sign) <= _LAST_CONTROL or sign == "\ufffd" for sign in text):
        return False
    return match(re.sub(rb"[\x80-\xff]", b"x", value)) is not None


@lru_cache(maxsize=4096)
def _element(number: int, vr: bytes) -> tuple[BaseTag, str, Any] | None:
    """An element that may be in a plain data set: one of the standard, with a VR of text."""
    from pydicom.tag import BaseTag

    group = number >> 16
    if group < 8 or group & 1 or not number & 0xFFFF:
        return None
    name = vr.decode("latin-1") if vr else dictionary_vr(number)
    match = _MATCH.get(name)
    return None if match is None else (BaseTag(number), name, match)


@cache
def _encoding_names(charset: bytes) -> tuple[str, ...]:
    from pydicom.charset import convert_encodings

    return tuple(convert_encodings(charset.decode("ascii")))


def _encodings(charset: bytes) -> Any:
    """As pydicom keeps them: a list, or its default where none is named."""
    from pydicom.charset import default_encoding

    return list(_encoding_names(charset)) if charset else default_encoding
