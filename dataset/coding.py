"""Identifiers and other small data sets between pydicom and bytes, in the negotiated transfer syntax."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNCOMPRESSED,
)
from .charset import encodings_of, mend_tables, texts, unheld
from .deflated import MAX_INFLATED, inflate
from .encoding import dictionary_vr
from .errors import NestingTooDeep
from .flat import read_flat
from .found import ScanResult
from .scan import scan_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# pydicom is imported where it is used: it takes longer to load than a small transfer takes, and moving
# files needs none of it.

# An identifier is inflated at most to this; a deflate stream can grow a thousandfold.
MAXIMUM_INFLATED_IDENTIFIER = 16 * 1024 * 1024


_SILENCE = ("ignore", None, Warning, None, 0)


class DatasetDecodeError(AiodicomError):
    """Bytes that are no data set in the transfer syntax they came in.

    undecoded: keywords or tags of the elements that could not be decoded, where that is all that is wrong.
    problem: what of the encoding is wrong, where our own reader found it.
    """

    undecoded: tuple[str, ...] = ()
    problem: str | None = None


def _encoding(transfer_syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian) of a transfer syntax (PS3.5 Annex A)."""
    return transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax != EXPLICIT_VR_BIG_ENDIAN


def encode_dataset(dataset: Dataset, transfer_syntax: str) -> bytes:
    """A data set as bytes.

    Raises LocalProtocolError when a value does not fit its element, or text its character set.
    """
    implicit, little = _encoding(transfer_syntax)
    flat = _encode_flat(dataset, implicit) if little and transfer_syntax in UNCOMPRESSED else None
    if flat is not None:
        return flat
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    wrong = unheld(dataset)
    if wrong is not None:
        raise LocalProtocolError(f"the data set cannot be encoded: {wrong}")
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = implicit
    buffer.is_little_endian = little
    try:
        write_dataset(buffer, dataset)
    except Exception as error:
        # pydicom's text goes on with the element's value and a traceback
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LocalProtocolError(f"the data set cannot be encoded: {why}") from error
    data = buffer.getvalue()
    if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
        data += b"\0" * (len(data) % 2)
    return data


PLAIN_TEXT_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"]
)
"""VRs of text with a length of two bytes where the VR is explicit."""


def _encode_flat(dataset: Dataset, implicit: bool) -> bytes | None:
    """A data set of nothing but plain ASCII text elements, as identifiers are; None for any other.

    pydicom's writer takes many times as long.
    """
    from pydicom.dataelem import DataElement
    from pydicom.multival import MultiValue

    elements: list[tuple[int, str, str]] = []
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if not isinstance(element, DataElement) or element.VR not in PLAIN_TEXT_VRS:
            return None
        value = element.value
        if value is None:
            text = ""
        elif isinstance(value, str):
            text = value
        else:
            text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
        elements.append((int(tag), element.VR, text))
    return encode_text_elements(elements, implicit=implicit)


def encode_text_elements(elements: Iterable[tuple[int, str, str]], *, implicit: bool) -> bytes | None:
    """(tag, VR, text) in ascending order as a little endian data set; None when a text is not ASCII."""
    parts: list[bytes] = []
    for tag, vr, text in elements:
        if not text.isascii() or len(text) > 0xFFFE:
            return None
        raw = text.encode("ascii")
        if len(raw) % 2:
            raw += b"\0" if vr == "UI" else b" "
        if implicit:
            parts.append(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(raw)))
        else:
            parts.append(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(raw)))
        parts.append(raw)
    return b"".join(parts)


def decode_dataset(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Dataset:
    """The data set in bytes, every element decoded now, so that a bad one is found here.

    Raises DatasetDecodeError, also where the bytes end inside an element (PS3.5 7.1): pydicom would give what
    is there as if it were all. Deflated data is inflated to `MAXIMUM_INFLATED_IDENTIFIER` at most.
    """
    return _all_of(_decoded(data, transfer_syntax), transfer_syntax)


def decode_identifier(data: bytes, transfer_syntax: str, *, max_depth: int, max_elements: int) -> Dataset:
    """`decode_dataset` of what a peer asks by, within limits; what is in doubt is refused.

    Half a query could ask for more than the whole one, one in doubt for something else. Raises
    DatasetDecodeError for all of that before pydicom, which reads recursively and slowly, sees any of it.
    """
    mend_tables()
    raw = _plain(data, transfer_syntax, MAXIMUM_INFLATED_IDENTIFIER)
    found = _whole(raw, transfer_syntax, max_depth=max_depth, max_elements=max_elements)
    if found.doubt is not None:
        raise _refused(f"in doubt in {transfer_syntax}", found.doubt)
    return _all_of(_read(raw[: found.end], transfer_syntax), transfer_syntax)


def _all_of(decoded: tuple[Dataset, tuple[str, ...]], transfer_syntax: str) -> Dataset:
    dataset, undecoded = decoded
    if undecoded:
        error = DatasetDecodeError(f"not a data set in {transfer_syntax}: {', '.join(undecoded)}")
        error.undecoded = undecoded
        raise error
    return dataset


def decode_answer(
    data: bytes | bytearray | memoryview, transfer_syntax: str, character_set: str | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    """A data set without its elements that cannot be decoded, and what those are: a keyword or tag each.

    Of a sequence with one inside, that one is left out. Text with bytes that are none of its character set is
    named too, and holds U+FFFD for them. A `character_set` is taken, and named, instead of the one the data
    set names. Of bytes that are no whole data set, the elements before where it breaks off are kept. What is
    known to be good is decoded when it is looked at.
    """
    mend_tables()
    flat = read_flat(bytes(data), transfer_syntax) if character_set is None else None
    if flat is not None:
        return flat, ()
    try:
        dataset, undecoded = _decoded(data, transfer_syntax, character_set)
    except DatasetDecodeError:
        dataset, undecoded = _beginning(data, transfer_syntax, character_set)
    if bytes(data).isascii():
        return dataset, undecoded
    lossy = [keyword for keyword, text in texts(dataset) if "\ufffd" in text]
    return dataset, (*undecoded, *dict.fromkeys(lossy))


def _beginning(
    data: bytes | bytearray | memoryview, transfer_syntax: str, character_set: str | None
) -> tuple[Dataset, tuple[str, ...]]:
    """The elements before the one at which a data set breaks off, and the name of that one."""
    from pydicom.datadict import keyword_for_tag
    from pydicom.dataset import Dataset

    rest = "what follows cannot be read"
    try:
        raw = _plain(data, transfer_syntax, MAXIMUM_INFLATED_IDENTIFIER)
        deflated = transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
        plain = EXPLICIT_VR_LITTLE_ENDIAN if deflated else transfer_syntax
        end = scan_dataset(raw, plain, check_nested=True).end
        dataset, undecoded = _decoded(raw[:end], plain, character_set)
    except (DatasetDecodeError, NestingTooDeep):
        return Dataset(), (rest,)
    _, little = _encoding(plain)
    broken = raw[end : end + 4]
    if len(broken) < 4:
        return dataset, (*undecoded, rest)
    order: Literal["little", "big"] = "little" if little else "big"
    group, element = int.from_bytes(broken[:2], order), int.from_bytes(broken[2:], order)
    name = keyword_for_tag((group << 16) + element) or f"({group:04X},{element:04X})"
    return dataset, (*undecoded, name)


@dataclass(frozen=True, slots=True)
class DecodedObject:
    """A stored object in memory; `doubt`: what of its encoding is against PS3.5 and was read all the same."""

    dataset: Dataset
    doubt: str | None


def decode_object(data: bytes | bytearray | memoryview, transfer_syntax: str) -> DecodedObject:
    """An object as pydicom holds what it read from a file: values are decoded when they are looked at.

    Raises DatasetDecodeError for one that is not whole or contradicts its transfer syntax, and where pydicom
    does not find the elements there are.
    """
    from pydicom.filereader import read_dataset

    mend_tables()
    raw = _plain(data, transfer_syntax, MAX_INFLATED)
    found = _whole(raw, transfer_syntax)
    implicit, little = _encoding(transfer_syntax)
    try:
        with _quiet():
            dataset = read_dataset(BytesIO(raw[: found.end]), implicit, little)
    except Exception as error:
        why = f"{found.doubt}: " if found.doubt else ""
        raise DatasetDecodeError(f"pydicom cannot read it: {why}{type(error).__name__}") from error
    if found.doubt is not None and len(dataset) != found.elements:
        raise DatasetDecodeError(f"pydicom reads something else in it: {found.doubt}")
    return DecodedObject(dataset, found.doubt)


def _decoded(
    data: bytes | bytearray | memoryview, transfer_syntax: str, character_set: str | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    from pydicom.dataset import Dataset

    mend_tables()
    raw = _plain(data, transfer_syntax, MAXIMUM_INFLATED_IDENTIFIER)
    if not raw:
        return Dataset(), ()
    found = _whole(raw, transfer_syntax)
    if found.doubt is not None:
        return _salvaged(raw, transfer_syntax, character_set)
    return _read(raw[: found.end], transfer_syntax, character_set)


def _read(
    raw: bytes, transfer_syntax: str, character_set: str | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    """What pydicom reads in a plain data set that is whole, and what of it cannot be decoded.

    Warnings about values are silenced: they hold the value, and Python keeps each for ever.
    """
    from pydicom.filereader import read_dataset

    implicit, little = _encoding(transfer_syntax)
    undecoded: list[str] = []
    try:
        with _quiet():
            dataset = read_dataset(BytesIO(raw), implicit, little)
            _take_as(dataset, character_set)
            _decode_elements(dataset, undecoded)
    except RecursionError:
        raise DatasetDecodeError("sequences are nested too deeply") from None
    except Exception as error:
        raise DatasetDecodeError(f"not a data set in {transfer_syntax}: {type(error).__name__}") from error
    return dataset, tuple(undecoded)


def _plain(data: bytes | bytearray | memoryview, transfer_syntax: str, limit: int) -> bytes:
    """The data set itself: what is deflated is inflated to that many bytes at most."""
    if transfer_syntax != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return bytes(data)
    inflated = inflate(memoryview(data), limit, limit)
    if inflated.problem is not None:
        raise DatasetDecodeError(f"not a whole data set: {inflated.problem}")
    return bytes(inflated.window)


def _whole(
    raw: bytes,
    transfer_syntax: str,
    tags: Collection[int] = (),
    *,
    max_depth: int = 64,
    max_elements: int | None = None,
) -> ScanResult:
    """What our own reader finds in a plain data set. Raises DatasetDecodeError where it is not whole."""
    inflated = transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    plain = EXPLICIT_VR_LITTLE_ENDIAN if inflated else transfer_syntax
    try:
        # pydicom takes a sequence that is cut, of which only its dictionary knows that it is one, for empty
        found = scan_dataset(
            raw,
            plain,
            tags,
            max_depth=max_depth,
            check_nested=True,
            max_elements=max_elements,
            vr_of=dictionary_vr,
        )
    except NestingTooDeep as error:
        raise DatasetDecodeError("sequences are nested too deeply") from error
    if found.problem is not None:
        raise _refused(f"not a whole data set in {transfer_syntax}", found.problem)
    return found


def _refused(what: str, problem: str) -> DatasetDecodeError:
    error = DatasetDecodeError(f"{what}: {problem}")
    error.problem = problem
    return error


def _take_as(dataset: Dataset, character_set: str | None) -> None:
    """Have what is not decoded yet be decoded by this set, as if the data set had named it."""
    if character_set is None:
        return
    terms = character_set.split("\\")
    dataset.SpecificCharacterSet = terms if len(terms) > 1 else character_set
    dataset.set_original_encoding(
        dataset.original_encoding[0], dataset.original_encoding[1], encodings_of(terms)
    )


def _salvaged(raw: bytes, transfer_syntax: str, character_set: str | None) -> tuple[Dataset, tuple[str, ...]]:
    """What our own reader finds in a data set whose encoding is in doubt: pydicom would find other values.

    Elements of the standard that are no sequences; the rest is told as not decoded.
    """
    from pydicom.datadict import DicomDictionary, keyword_for_tag  # type: ignore[attr-defined]
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

    implicit, little = _encoding(transfer_syntax)
    found = _whole(raw, transfer_syntax, DicomDictionary)
    dataset, undecoded = Dataset(), []
    for tag, value in sorted(found.values.items()):
        vr = dictionary_vr(tag).split(" or ")[0]
        if vr == "SQ":
            undecoded.append(keyword_for_tag(tag))
        else:
            dataset[BaseTag(tag)] = RawDataElement(BaseTag(tag), vr, len(value), value, 0, implicit, little)
    with _quiet():
        _take_as(dataset, character_set)
        _decode_elements(dataset, undecoded)
    if len(found.values) < found.elements:
        undecoded.append("what is in doubt, or not of the standard")
    return dataset, tuple(undecoded)


def _decode_elements(dataset: Dataset, undecoded: list[str]) -> None:
    """Decode each element now; one that cannot be is taken out and named."""
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        try:
            _check_size(dataset.get_item(tag))
            element = dataset[tag]
            value = element.value
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - whatever pydicom makes of a value of the wrong size or form
            del dataset[tag]
            undecoded.append(keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
            continue
        if element.VR == "SQ":
            for item in value:
                _decode_elements(item, undecoded)


_SIZES = {"AT": 4, "US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "UV": 8, "SV": 8}


def _check_size(element: object) -> None:
    """Raise ValueError for a number of the wrong size: of some pydicom makes an empty value."""
    from pydicom.dataelem import RawDataElement

    if isinstance(element, RawDataElement) and element.value is not None:
        vr = element.VR or dictionary_vr(element.tag)
        if len(element.value) % _SIZES.get(vr, 1):
            raise ValueError(f"{len(element.value)} bytes of {vr}")


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings meanwhile. `warnings.catch_warnings` is not for threads, where a server decodes too: of
    two that overlap the one may leave its filter behind. A filter put in and taken out is.
    """
    warnings.filters.insert(0, _SILENCE)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if _SILENCE in warnings.filters:  # someone may have put another list there
            warnings.filters.remove(_SILENCE)  # type: ignore[attr-defined]
