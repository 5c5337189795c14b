"""Whether text fits the character set a data set names: what does not is never sent as `?` (PS3.5 6.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TEXT = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})
"""The VRs that Specific Character Set is about (PS3.5 6.1.2.2)."""


_DEFAULT = "iso8859"  # as pydicom names it
_LATIN_9 = "iso8859_15"


@cache
def mend_tables() -> None:
    """Teach pydicom's tables what they lack, once; they are asked wherever a data set is decoded lazily.

    ISO_IR 203 (Latin alphabet 9) is missing there, and the escape of ISO 2022 IR 58 is handed to a codec that
    does not know it and leaves it in the text (PS3.3 C.12.1.1.2, PS3.5 K.2). Nothing pydicom knows changes.
    """
    from pydicom import charset as tables

    for term in ("ISO_IR 203", "ISO 2022 IR 203"):
        tables.python_encoding.setdefault(term, _LATIN_9)
    tables.CODES_TO_ENCODINGS.setdefault(b"\x1b-b", _LATIN_9)
    tables.ENCODINGS_TO_CODES.setdefault(_LATIN_9, b"\x1b-b")
    tables.handled_encodings = tuple(one for one in tables.handled_encodings if one != "iso_ir_58")  # type: ignore[assignment]


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
    for _, keyword, text in _decoded(dataset, None):
        yield keyword, text


def unheld(dataset: Dataset) -> str | None:
    """What is wrong with the first text that its character set cannot hold; None where all fit.

    An item without a set of its own has that of the data set around it (PS3.5 7.5.3). Without any, text is
    taken as Latin-1, as files hold it that forgot to say so: it goes out as it was read.
    """
    for terms, keyword, text in _decoded(dataset, None):
        if text.isascii():
            continue
        encodings = _encodings(terms)
        wrong = first_unheld(text, encodings)
        if wrong is not None:
            named = "\\".join(terms) if terms else "the default repertoire"
            return f"{keyword}: {wrong!r} is not in the character set {named}"
    return None


def _encodings(terms: list[str] | None) -> list[str]:
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

    encodings = _encodings([term.strip(" \0") for term in charset.split("\\")])
    if len(encodings) == 1 and b"\x1b" not in raw:
        try:
            return raw.decode(encodings[0])
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    try:
        return decode_bytes(raw, encodings, {ord(sign) for sign in "\\^=\r\n\t\f"})
    except (LookupError, ValueError):
        return raw.decode("latin-1")


def first_unheld(text: str, encodings: Sequence[str]) -> str | None:
    """The first character that none of these codecs of pydicom's can write; None where all can.

    Beside others the default repertoire has no upper half: an escape says what that is (PS3.5 6.1.2.5.1).
    """
    if len(encodings) > 1:
        encodings = ["ascii" if one == _DEFAULT else one for one in encodings]
    return next((sign for sign in text if not any(_holds(one, sign) for one in encodings)), None)


def _decoded(dataset: Dataset, outer: list[str] | None) -> Iterator[tuple[list[str] | None, str, str]]:
    from pydicom.dataelem import DataElement

    terms = terms_of(dataset) or outer
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if not isinstance(element, DataElement):
            continue  # bytes as they were read
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _decoded(item, terms)
        elif element.VR in _TEXT and element.value is not None:
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                yield terms, element.keyword or str(element.tag), str(value)


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
