"""Values as text: of encoded objects on their way into the index, of identifiers, and back into data sets.

Text is decoded by Specific Character Set (PS3.5 6.1.2); several values stay joined by backslashes. Bytes that
do not fit the character set an object names become U+FFFD rather than a reason to refuse it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, TypeAlias

from pydicom import config
from pydicom.charset import decode_bytes, python_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag

from ..dataset.charset import first_unheld, mend_tables, unknown_term
from ..dataset.encoding import dictionary_vr

mend_tables()

Items: TypeAlias = "list[dict[str, list[Any]]]"
"""A sequence in the index: an item maps a tag (eight hex digits) to VR and value."""
Value: TypeAlias = "str | Items"

_DEFAULT = "iso8859"
_CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
BINARY_NUMBERS = frozenset(_NUMBERS)
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_DELIMITERS = {ord(char) for char in "\\\r\n\t\f"}
_NAME_DELIMITERS = _DELIMITERS | {ord("^"), ord("=")}
_PLAIN = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UR", "UT"})
_ESCAPE = b"\x1b"
_CHARSET = Tag(0x00080005)
_MAX_NESTING = 8


def encodings_of(charset: str) -> list[str]:
    """Python codecs for a value of (0008,0005); unknown terms count as the default repertoire."""
    return [_CODECS.get(_spelling(term), _DEFAULT) for term in charset.split("\\")]


def _spelling(term: str) -> str:
    return term.strip(" \0").upper().replace("-", " ").replace("_", " ")


_CODECS = {_spelling(term): codec for term, codec in python_encoding.items()}


def decode_text(raw: bytes, encodings: Sequence[str], vr: str = "LO") -> str:
    """Decode an element's bytes; padding is removed, backslashes stay. Never raises."""
    if raw.isascii() and _ESCAPE not in raw:
        text = raw.decode("ascii")
    elif vr not in _CHARSET_VRS:
        text = raw.decode("ascii", "replace")
    elif _ESCAPE not in raw:
        text = raw.decode(encodings[0], "replace")
    else:
        text = _decode_extended(raw, encodings, vr)
    return text.replace("\0", "").rstrip(" ")


def _decode_extended(raw: bytes, encodings: Sequence[str], vr: str) -> str:
    try:
        return decode_bytes(raw, encodings, _NAME_DELIMITERS if vr == "PN" else _DELIMITERS)
    except (LookupError, ValueError):
        return raw.decode(_DEFAULT)


def decode_value(raw: bytes, vr: str, encodings: Sequence[str], big_endian: bool) -> str:
    """The text of an element that is no sequence: numbers of binary VRs written out, "" for other bytes."""
    form = _NUMBERS.get(vr)
    if form is not None:
        count = len(raw) // struct.calcsize("=" + form)
        numbers = struct.unpack_from(f"{'>' if big_endian else '<'}{count}{form}", raw)
        return "\\".join(map(str, numbers))
    return "" if vr in BINARY else decode_text(raw, encodings, vr)


def decode_items(raw: bytes, encodings: Sequence[str], implicit: bool, big_endian: bool) -> Items:
    """The items of an encoded sequence, binary elements and what lies deeper than eight levels left out.

    A sequence that cannot be read has no items: it may still be stored, it just cannot be searched.
    """
    try:
        sequence = read_sequence(BytesIO(raw), implicit, not big_endian, len(raw), list(encodings))
        return items_of(sequence, encodings)
    except Exception:  # noqa: BLE001 - pydicom raises whatever a value leads it to: TypeError, OverflowError, ...
        return []


def items_of(sequence: Iterable[Dataset], encodings: Sequence[str], depth: int = 0) -> Items:
    """The items of a decoded sequence in the index's form: text, so that no item has a character set.

    One that comes with a set of its own is read by that (PS3.3 C.12.1.1.2).
    """
    items: Items = []
    for dataset in sequence:
        item: dict[str, list[Any]] = {}
        inner = _encodings_within(dataset, encodings)
        for tag in dataset.keys() if depth < _MAX_NESTING else ():
            vr, value = key_value(dataset, tag, inner, depth + 1)
            if vr not in BINARY and tag.element != 0 and tag != _CHARSET:
                item[f"{tag:08X}"] = [vr, value]
        items.append(item)
    return items


def key_value(dataset: Dataset, tag: BaseTag, encodings: Sequence[str], depth: int = 0) -> tuple[str, Value]:
    """VR and value of an element as the index holds it, whether pydicom has converted the element or not.

    Raises ValueError, and what else pydicom raises, when a sequence in it cannot be read.
    """
    element = dataset.get_item(tag)
    vr = str(element.VR or "") if element is not None else ""
    if not vr or vr == "UN":
        vr = dictionary_vr(tag) or vr or "UN"
    vr = vr.partition(" ")[0]
    if vr == "SQ":
        return vr, items_of(dataset[tag].value or (), encodings, depth)
    if isinstance(element, RawDataElement):
        return vr, decode_value(element.value or b"", vr, encodings, not element.is_little_endian)
    held = element.value if element is not None else None
    if isinstance(held, bytes):  # of an UN of 64 kB or more, which pydicom leaves as it came
        return vr, decode_value(held, vr, encodings, dataset.original_encoding[1] is False)
    return vr, _text_of(held)


def unreadable(dataset: Dataset, tag: BaseTag, encodings: Sequence[str], depth: int = 0) -> int | None:
    """The element, of this one and those in its items, that has a value which `key_value` cannot give.

    That is one of bytes, a number cut off, text that is not of its character set (an escape sequence that is
    none, letters where only the default repertoire reaches), what lies too deep.

    Raises what pydicom raises when a sequence in it cannot be read.
    """
    element = dataset.get_item(tag)
    vr, value = key_value(dataset, tag, encodings) if depth <= _MAX_NESTING else ("UN", "")
    if vr == "SQ":
        return _unreadable_item(dataset[tag].value or (), encodings, depth)
    raw = element.value if element is not None else None
    if raw is None or (isinstance(raw, str | bytes | Sequence) and not raw):
        return None
    form = _NUMBERS.get(vr)
    if form is not None and isinstance(raw, bytes):
        return int(tag) if len(raw) % struct.calcsize("=" + form) else None
    lost = isinstance(raw, bytes) and not value and bool(raw.strip(b" \0"))
    strange = "\ufffd" in value or "\x1b" in value or not (vr in _CHARSET_VRS or str(value).isascii())
    return int(tag) if vr in BINARY or lost or strange else None


def _unreadable_item(items: Iterable[Dataset], encodings: Sequence[str], depth: int) -> int | None:
    for item in items:
        inner = _encodings_within(item, encodings)
        for tag in item.keys():  # noqa: SIM118 - a data set iterates over its elements
            if not tag.element or tag.is_private_creator:  # of which implicit VR does not say that it is text
                continue
            found = unreadable(item, tag, inner, depth + 1)
            if found is not None:
                return found
    return None


def _encodings_within(item: Dataset, encodings: Sequence[str]) -> Sequence[str]:
    """Those of an item: its own character set's, or what holds around it."""
    charset = key_value(item, _CHARSET, encodings)[1] if _CHARSET in item else ""
    return encodings_of(charset) if isinstance(charset, str) and charset else encodings


def _text_of(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value).rstrip(" \0")
    return "\\".join("" if one is None else str(one) for one in value)


def make_element(tag: int, vr: str, value: Value) -> DataElement:
    """Build an element of an answer; text that cannot be a value of its VR leaves the element empty."""
    if isinstance(value, list):
        return DataElement(Tag(tag), "SQ", DicomSequence([_item_dataset(item) for item in value]))
    if vr not in _CHARSET_VRS and not value.isascii():  # no character set reaches these (PS3.5 6.2)
        return _empty_element(tag, vr)  # with a `?` in it, it would be a wild card
    if vr in _PLAIN and "\\" not in value:
        # a single text is what pydicom would make of it, at a fraction of the time
        return DataElement(Tag(tag), vr, value, already_converted=True)
    values: list[Any] = value.split("\\") if vr not in ("LT", "ST", "UT", "UR") else [value]
    form = _NUMBERS.get(vr)
    try:
        if form is not None:
            values = [float(one) if form in "fd" else int(one) for one in values if one]
            struct.pack(f"<{len(values)}{form}", *values)  # what does not fit could not be sent
        if not value or not values:
            return _empty_element(tag, vr)
        content = values[0] if len(values) == 1 else values
        return DataElement(Tag(tag), vr, content, validation_mode=config.IGNORE)
    except (ValueError, TypeError, ArithmeticError, struct.error):
        return _empty_element(tag, vr)


def _empty_element(tag: int, vr: str) -> DataElement:
    return DataElement(Tag(tag), vr, empty_value_for_VR(vr))


def _item_dataset(item: Mapping[str, list[Any]]) -> Dataset:
    dataset = Dataset()
    for name, (vr, value) in item.items():
        tag = int(name, 16)
        vr = _answered_vr(Tag(tag), vr)
        if vr not in BINARY and isinstance(value, list) == (vr == "SQ"):
            dataset[Tag(tag)] = make_element(tag, vr, value)
    return dataset


def _answered_vr(tag: BaseTag, stored: str) -> str:
    """The VR of an element in an answer: the standard's, whatever the object had.

    In implicit VR nobody could read what is encoded under another.
    """
    known = dictionary_vr(tag).split(" or ")
    if stored in known or not known[0]:
        return stored
    return known[0] if len(known) == 1 else "UN"  # which of several it would be, the object does not say


def charset_for(texts: Iterable[str], preferred: Iterable[str]) -> str:
    """The (0008,0005) of an answer: "" for ASCII, else the first preferred set that can write it all.

    Unicode (ISO_IR 192) when none can, as when an answer joins attributes of objects in different sets.
    """
    others = [text for text in texts if not text.isascii()]
    if not others:
        return ""
    for charset in dict.fromkeys(preferred):
        if charset and unknown_term(charset.split("\\")) is not None:
            continue  # a set that nobody knows could not be named to who asks
        encodings = encodings_of(charset)
        if charset and all(first_unheld(text, encodings, named=True) is None for text in others):
            return charset
        if not charset and all(first_unheld(text, [_DEFAULT], named=False) is None for text in others):
            return "ISO_IR 100"  # the repertoire its undeclared bytes were read with
    return "ISO_IR 192"
