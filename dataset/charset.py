"""Whether text fits the character set a data set names: what does not is never sent as `?` (PS3.5 6.1.2)."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TEXT = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})
"""The VRs that Specific Character Set is about (PS3.5 6.1.2.2)."""

_STRINGS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
"""VRs of the default repertoire alone (PS3.5 6.2)."""
_ANY_TEXT = _TEXT | _STRINGS

_DEFAULT = "iso8859"  # as pydicom names it
_LATIN_9 = "iso8859_15"
_JIS_X_0201 = "aiodicom_jis_x_0201"
_DELIMITERS = {ord(sign) for sign in "\\^=\r\n\t\f"}
"""What in a name ends the reach of an escape (PS3.5 6.1.2.5.3)."""


@cache
def mend_tables() -> None:
    """Teach pydicom's tables what they lack, once; they are asked wherever a data set is decoded lazily.

    ISO_IR 203 (Latin alphabet 9) is missing there; the escape of ISO 2022 IR 58 is handed to a codec that
    does not know it and leaves it in the text; that of ISO_IR 13 writes katakana or Latin letters, and `?`
    for the other beside them; the delimiters of a name do not end what an escape begins (PS3.3 C.12.1.1.2,
    PS3.5 6.1.2.5.3, H.3, K.2). Nothing else changes.
    """
    from pydicom import charset as tables
    from pydicom import values
    from pydicom.valuerep import VR

    values.converters[VR.PN] = _read_names
    codecs.register(_find_codec)
    tables.python_encoding["ISO_IR 13"] = _JIS_X_0201

    for term in ("ISO_IR 203", "ISO 2022 IR 203"):
        tables.python_encoding.setdefault(term, _LATIN_9)
    tables.CODES_TO_ENCODINGS.setdefault(b"\x1b-b", _LATIN_9)
    tables.ENCODINGS_TO_CODES.setdefault(_LATIN_9, b"\x1b-b")
    tables.handled_encodings = tuple(one for one in tables.handled_encodings if one != "iso_ir_58")  # type: ignore[assignment]


def _jis_x_0201() -> dict[int, str]:
    """Byte to character: ASCII, as which its Roman set is met, and half-width katakana."""
    return {**{n: chr(n) for n in range(128)}, **{n: chr(0xFEC0 + n) for n in range(0xA1, 0xE0)}}


def _read_names(raw: bytes, encodings: list[str] | None = None) -> Any:
    """The names in an element's bytes, as pydicom holds them."""
    from pydicom.charset import decode_bytes
    from pydicom.multival import MultiValue
    from pydicom.valuerep import PersonName
    from pydicom.values import convert_PN

    if not encodings or len(encodings) == 1 or b"\x1b" not in raw:
        return convert_PN(raw, encodings)
    names = decode_bytes(raw.rstrip(b"\0 "), encodings, _DELIMITERS).split("\\")
    made = [PersonName(name, encodings) for name in names]
    for name in made:
        name.encode()  # keeps the bytes
    return made[0] if len(made) == 1 else MultiValue(lambda one: one, made)


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _JIS_X_0201:
        return None
    table = _jis_x_0201()
    back = {ord(sign): byte for byte, sign in table.items()}

    def encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
        return codecs.charmap_encode(text, errors, back)

    def decode(raw: Any, errors: str = "strict") -> tuple[str, int]:
        return codecs.charmap_decode(bytes(raw), errors, table)

    return codecs.CodecInfo(encode, decode, name=_JIS_X_0201)


def character_sets() -> tuple[str, ...]:
    """The defined terms of Specific Character Set that are read and written, in order."""
    from pydicom.charset import python_encoding

    mend_tables()
    return tuple(sorted(term for term in python_encoding if term))


def terms_of(dataset: Dataset) -> list[str] | None:
    """The values of Specific Character Set; None where it is absent or empty."""
    chosen = dataset.get("SpecificCharacterSet")
    if not chosen:
        return None
    return [chosen] if isinstance(chosen, str) else [str(term) for term in chosen]


def unknown_term(terms: Iterable[str]) -> str | None:
    """The first term that is none of PS3.3 C.12.1.1.2; None where all are."""
    from pydicom.charset import python_encoding

    mend_tables()
    return next((term for term in terms if term not in python_encoding), None)


def texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Keyword and text of every text element, in sequences too. What is not decoded yet is left so."""
    for _, keyword, text, _ in _decoded(dataset, None):
        yield keyword, text


def unheld(dataset: Dataset) -> str | None:
    """What is wrong with the first text that its character set cannot hold; None where all fit.

    An item without a set of its own has that of the data set around it (PS3.5 7.5.3). Without any, text is
    taken as Latin-1, as files hold it that forgot to say so: it goes out as it was read.
    """
    for terms, keyword, text, vr in _decoded(dataset, None):
        if text.isascii():
            continue
        if vr in _STRINGS:
            beyond = next(sign for sign in text if not sign.isascii())
            return f"{keyword}: {beyond!r} is not in the default repertoire, which is all that {vr} has"
        unknown = unknown_term(terms or [])
        if unknown is not None:
            return f"{keyword}: {unknown!r:.40} is no defined term of SpecificCharacterSet"
        encodings = encodings_of(terms)
        named = "\\".join(terms) if terms else "the default repertoire"
        wrong = first_unheld(text, encodings, named=any(terms or []))
        if wrong is not None:
            return f"{keyword}: {wrong!r} is not in the character set {named}"
        if len(encodings) > 1 and not _comes_back(text, vr, encodings):
            return f"{keyword}: it cannot be written so that it is read again in the character set {named}"
    return None


def _comes_back(text: str, vr: str, encodings: list[str]) -> bool:
    """Whether a text is read as it was once it has been written with code extensions (PS3.5 6.1.2.5)."""
    from pydicom.charset import decode_bytes, encode_string
    from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

    if vr == "PN":
        return str(_read_names(PersonName(text, encodings).encode(encodings), encodings)) == text.rstrip("=")
    return decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text


def encodings_of(terms: list[str] | None) -> list[str]:
    """The codecs of pydicom's for terms of Specific Character Set; what is none counts for nothing."""
    from pydicom.charset import convert_encodings, python_encoding

    mend_tables()
    known = [term for term in terms or [] if term in python_encoding]
    return list(convert_encodings(known)) if known else [_DEFAULT]


def text_of(raw: bytes, charset: str) -> str:
    """The text of an element's bytes, by a value of Specific Character Set; unknown terms count for nothing.

    Bytes that are none of the set are read as Latin-1.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    from pydicom.charset import decode_bytes

    encodings = encodings_of([term.strip(" \0") for term in charset.split("\\")])
    if len(encodings) == 1 and b"\x1b" not in raw:
        try:
            return raw.decode(encodings[0])
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    try:
        return decode_bytes(raw, encodings, _DELIMITERS)
    except (LookupError, ValueError):
        return raw.decode("latin-1")


def first_unheld(text: str, encodings: Sequence[str], *, named: bool) -> str | None:
    """The first character that none of these codecs of pydicom's can write; None where all can.

    The default repertoire has no upper half where it is named (ISO_IR 6), nor beside others: there an escape
    says what that is (PS3.5 6.1.2.5.1). Where no set is named it is Latin-1, as files have it.
    """
    if named or len(encodings) > 1:
        encodings = ["ascii" if one == _DEFAULT else one for one in encodings]
    return next((sign for sign in text if not any(_holds(one, sign) for one in encodings)), None)


def _decoded(
    dataset: Dataset, outer: list[str] | None, changed: bool = False
) -> Iterator[tuple[list[str] | None, str, str, str]]:
    """Character set, keyword, text and VR of every text.

    What is as it was read goes out byte for byte, and is left so; where the set has been changed since, it is
    decoded by the old one now, so that it is written in the new one.
    """
    from pydicom.dataelem import DataElement

    terms = terms_of(dataset) or outer
    changed = changed or _set_changed(dataset)
    for tag in list(dataset.keys()):
        element = dataset[tag] if changed else dataset.get_item(tag)
        if not isinstance(element, DataElement):
            continue  # bytes as they were read
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _decoded(item, terms, changed)
        elif element.VR in _ANY_TEXT and element.value is not None:
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                yield terms, element.keyword or str(element.tag), str(value), element.VR


def _set_changed(dataset: Dataset) -> bool:
    """Whether Specific Character Set is no longer what the data set was read with."""
    from pydicom.dataelem import RawDataElement

    read = dataset.original_character_set
    if not read or isinstance(dataset.get_item("SpecificCharacterSet"), RawDataElement):
        return False
    was = [read] if isinstance(read, str) else list(read)
    return was != encodings_of(terms_of(dataset)) and was != [_DEFAULT, *encodings_of(terms_of(dataset))]


def _holds(encoding: str, sign: str) -> bool:
    from pydicom.charset import custom_encoders

    try:
        if encoding in custom_encoders:  # Python's codecs of these names hold more than the set has
            custom_encoders[encoding](sign)
        else:
            sign.encode(encoding)
    except UnicodeError:
        return False
    return True
