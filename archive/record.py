"""What the archive reads out of an object before it keeps it: identity, and attributes of the four levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..dataset.encoding import syntax_of
from ..dataset.errors import NestingTooDeep
from ..dataset.found import ScanResult
from ..dataset.part10 import Part10Writer, ScanOptions
from ..dataset.scan import Buffer, scanning
from ..dataset.walk import Steps, Walk, to_end
from ..dimse import status
from ..dimse.levels import Level
from ..pdu.uids import is_near_uid
from .attributes import SPECIFIC_CHARACTER_SET, STORED_TAGS, STORED_TEXT
from .errors import ObjectRefused, TornObject
from .text import decode_text, encodings_of

MAX_DEPTH = 64
"""Levels of sequences an object may have; no scanner comes near, a bomb has thousands."""

MAX_ELEMENTS = 2_000_000
"""Elements, items and delimiters an object may have."""

MAX_INDEXED = 500
"""Elements, items and their ends of one stored sequence that go into the index, for decoding takes long."""

_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_STUDY = 0x0020000D
_SERIES = 0x0020000E
_PATIENT_ID = 0x00100020
_SEQUENCES = tuple(one for level in Level for one in STORED_TEXT[level] if one.vr == "SQ")
_MISMATCH = status.IDENTIFIER_MISMATCH  # of a C-STORE: data set does not match SOP class
_CANNOT_UNDERSTAND = status.UNABLE_TO_PROCESS


@dataclass(frozen=True, slots=True)
class Record:
    """Identity of a whole, checked object, and the raw values its attributes are decoded from when needed.

    doubt: what of its encoding is against PS3.5, though it could be walked to its end.
    shortened: sequences of which the first items alone are in `values`, and so in the index.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    patient_id: str
    charset: str
    values: Mapping[int, bytes]
    doubt: str | None = None
    shortened: tuple[str, ...] = ()


def read_record(data: Buffer, transfer_syntax_uid: str, *, max_depth: int = MAX_DEPTH) -> Record:
    """Scan an encoded data set and check that it is whole.

    Tolerates missing attributes of type 2, unknown and private elements, elements out of order and trailing
    zeros; needs SOP class, SOP instance, study and series UIDs, for without them it could not be found again.

    Raises ObjectRefused (C000H-range when the data set is broken, TornObject when it is not whole; A900H when
    a UID that it needs is none), and OSError where a file cannot be read.
    """
    scan = scanning(data, transfer_syntax_uid, STORED_TAGS, max_depth=max_depth, check_nested=True)
    return to_end(_record(scan, transfer_syntax_uid))


def stored_options(max_depth: int = MAX_DEPTH, max_elements: int | None = MAX_ELEMENTS) -> ScanOptions:
    """What a writer must look for whose object is to be kept."""
    return ScanOptions(frozenset(STORED_TAGS), max_depth, check_nested=True, max_elements=max_elements)


def reading(writer: Part10Writer, *, sop_class_uid: str, sop_instance_uid: str) -> Steps[Record]:
    """`read_record` of what a writer made with `stored_options` has written, in steps."""
    return _record(writer.scanning(), writer.transfer_syntax_uid, sop_class_uid, sop_instance_uid)


def _record(
    scanned: Steps[ScanResult],
    transfer_syntax_uid: str,
    sop_class_uid: str | None = None,
    sop_instance_uid: str | None = None,
) -> Steps[Record]:
    try:
        scan = yield from scanned
    except NestingTooDeep:
        raise ObjectRefused(_CANNOT_UNDERSTAND, "sequences nested too deeply") from None
    if not scan.complete:
        kind = "not whole" if scan.truncated else "malformed"
        raise TornObject(_CANNOT_UNDERSTAND, f"data set is {kind}: {scan.problem}")
    values = scan.values
    sop_class, sop_instance = _uid(values, _SOP_CLASS), _uid(values, _SOP_INSTANCE)
    for name, found, wanted in (
        ("SOP Class UID", sop_class, sop_class_uid),
        ("SOP Instance UID", sop_instance, sop_instance_uid),
    ):
        if not found:
            raise ObjectRefused(_MISMATCH, f"data set has no valid {name}")
        if wanted is not None and found != wanted:
            raise ObjectRefused(_MISMATCH, f"{name} differs between command and data set")
    study, series = _uid(values, _STUDY), _uid(values, _SERIES)
    if not study or not series:
        raise ObjectRefused(_MISMATCH, f"data set has no valid {'Series' if study else 'Study'} Instance UID")
    charset = decode_text(values.get(SPECIFIC_CHARACTER_SET, b""), ["ascii"], "CS")
    patient = decode_text(values.get(_PATIENT_ID, b""), encodings_of(charset)).strip(" ")
    kept, shortened = _shortened(values, transfer_syntax_uid)
    return Record(
        sop_class,
        sop_instance,
        transfer_syntax_uid,
        study,
        series,
        patient,
        charset,
        kept,
        scan.doubt,
        shortened,
    )


def sequence_bytes(values: Mapping[int, bytes]) -> int:
    """Bytes of stored sequences among these values: to decode them is what is dear about an entry."""
    return sum(len(values.get(one.tag, b"")) for one in _SEQUENCES)


def _shortened(
    values: Mapping[int, bytes], transfer_syntax_uid: str
) -> tuple[Mapping[int, bytes], tuple[str, ...]]:
    """The values with no more of a sequence than is indexed, and the keywords of those that had more."""
    kept: dict[int, bytes] = {}
    names = []
    syntax = syntax_of(transfer_syntax_uid)
    for one in _SEQUENCES:
        raw = values.get(one.tag, b"")
        if len(raw) <= 4 * MAX_INDEXED:  # an empty item is the shortest: eight bytes, and an end without any
            continue
        with memoryview(raw) as view:
            end = Walk(frozenset(), MAX_DEPTH, 0, True, MAX_INDEXED).first_items(view, syntax)
        if end < len(raw):
            kept[one.tag] = raw[:end]
            names.append(one.keyword)
    return {**values, **kept}, tuple(names)


def _uid(values: Mapping[int, bytes], tag: int) -> str:
    text = decode_text(values.get(tag, b""), ["ascii"], "UI").strip(" ")
    return text if is_near_uid(text) else ""
