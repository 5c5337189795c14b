"""Identifiers between pydicom and bytes: there and back, bombs, nesting, noise."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from aiodicom.dataset import coding
from aiodicom.dataset.coding import (
    MAXIMUM_INFLATED_IDENTIFIER,
    DatasetDecodeError,
    decode_answer,
    decode_dataset,
    decode_identifier,
    decode_object,
    encode_dataset,
)
from aiodicom.dataset.encoding import encode_uids
from aiodicom.dataset.found import ScanResult
from aiodicom.dataset.scan import scan_dataset
from aiodicom.pdu import LocalProtocolError
from aiodicom.pdu.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from aiodicom.pdu.uids import EXPLICIT_VR_BIG_ENDIAN as BIG
from aiodicom.pdu.uids import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from aiodicom.pdu.uids import IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from strategies import bent, uids

SYNTAXES = [IMPLICIT, EXPLICIT, BIG, DEFLATED]

_WORDS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\^=*?"), max_size=20
)
_TEXT = _WORDS.map(str.strip)
_DATES = st.dates().map(lambda d: f"{d.year:04d}{d.month:02d}{d.day:02d}")


def _dataset(values: dict[str, object]) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def flat() -> st.SearchStrategy[Dataset]:
    """Data sets like a query or its answer, empty keys among them."""
    return st.fixed_dictionaries(
        {},
        optional={
            "QueryRetrieveLevel": st.sampled_from(["PATIENT", "STUDY", "SERIES", "IMAGE"]),
            "PatientName": _TEXT,
            "PatientID": _TEXT,
            "StudyDate": st.sampled_from([""]) | _DATES,
            "StudyInstanceUID": st.sampled_from([""]) | uids(),
            "ModalitiesInStudy": st.sampled_from(["", "CT"]) | st.just(["CT", "MR"]),
            "NumberOfStudyRelatedInstances": st.integers(0, 10**6),
            "SliceThickness": st.sampled_from(["1.25", "10"]),
            "Rows": st.integers(0, 0xFFFF),
        },
    ).map(_dataset)


def datasets() -> st.SearchStrategy[Dataset]:
    """The same with sequences in them."""

    def nest(inner: st.SearchStrategy[Dataset]) -> st.SearchStrategy[Dataset]:
        def put(outer: Dataset, items: list[Dataset]) -> Dataset:
            outer.RequestAttributesSequence = Sequence(items)
            return outer

        return st.builds(put, flat(), st.lists(inner, max_size=3))

    return st.recursive(flat(), nest, max_leaves=4)


def pydicom_bytes(dataset: Dataset, implicit: bool, little: bool = True) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR = implicit
    out.is_little_endian = little
    write_dataset(out, dataset)
    return out.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(max_examples=40)
@given(dataset=datasets())
def test_there_and_back(syntax: str, dataset: Dataset) -> None:
    raw = encode_dataset(dataset, syntax)
    assert len(raw) % 2 == 0
    for buffer in (raw, bytearray(raw), memoryview(raw)):
        assert decode_dataset(buffer, syntax) == dataset


@settings(max_examples=60)
@given(datasets(), st.booleans())
def test_what_we_write_is_what_pydicom_writes(dataset: Dataset, implicit: bool) -> None:
    """Text elements have a writer of ours, for speed."""
    assert encode_dataset(dataset, IMPLICIT if implicit else EXPLICIT) == pydicom_bytes(dataset, implicit)


def test_vectors() -> None:
    """PS3.5 7.1.2 and 7.1.3 by hand."""
    dataset = _dataset({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"})
    vectors = {
        IMPLICIT: "08005200 06000000 535455445920 20000D00 06000000 312E322E3300",
        EXPLICIT: "08005200 4353 0600 535455445920 20000D00 5549 0600 312E322E3300",
        BIG: "00080052 4353 0006 535455445920 0020000D 5549 0006 312E322E3300",
    }
    for syntax, raw in vectors.items():
        assert encode_dataset(dataset, syntax) == bytes.fromhex(raw)
        assert decode_dataset(bytes.fromhex(raw), syntax) == dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_empty_data_set(syntax: str) -> None:
    assert decode_dataset(encode_dataset(Dataset(), syntax), syntax) == Dataset()


def test_text_beyond_ascii_in_its_character_set() -> None:
    dataset = _dataset({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jörg", "PatientID": "Ä"})
    for syntax in SYNTAXES:
        assert decode_dataset(encode_dataset(dataset, syntax), syntax) == dataset


def test_a_value_that_does_not_fit() -> None:
    dataset = Dataset()
    dataset.Rows = 1
    dataset["Rows"]._value = 10**6
    with pytest.raises(LocalProtocolError, match="cannot be encoded") as caught:
        encode_dataset(dataset, EXPLICIT)
    assert "\n" not in str(caught.value)


# --- what may come


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(max_examples=150)
@given(raw=st.binary(max_size=200))
def test_noise_raises_one_error(syntax: str, raw: bytes) -> None:
    _decode_or_refuse(raw, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(max_examples=60)
@given(data=st.data(), dataset=datasets())
def test_a_bent_data_set_raises_one_error(syntax: str, data: st.DataObject, dataset: Dataset) -> None:
    _decode_or_refuse(data.draw(bent(encode_dataset(dataset, syntax))), syntax)


def _decode_or_refuse(raw: bytes, syntax: str) -> None:
    """Either a data set whose every value can be had, or the one error."""
    try:
        dataset = decode_dataset(raw, syntax)
    except DatasetDecodeError:
        return
    for element in dataset.iterall():
        repr(element.value)


@pytest.mark.parametrize("text", ["1.2.x", "1." + "2" * 70])
def test_values_that_break_their_vr_are_no_warnings(text: str, recwarn: pytest.WarningsRecorder) -> None:
    """A warning of pydicom's holds the value, and Python keeps every different one for ever."""
    raw = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", len(text)) + text.encode()
    assert decode_dataset(raw, EXPLICIT).StudyInstanceUID == text
    assert list(recwarn) == []


def test_warnings_are_as_before_after_decoding_in_threads() -> None:
    """However many decode at once, and whether they fail: the filters of the process stay what they were."""
    bad = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 6) + b"1.2.x "
    before = list(warnings.filters)

    def decode(number: int) -> None:
        for _ in range(30):
            _decode_or_refuse(bad if number % 2 else bad[:-1], EXPLICIT)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, range(8)))
    assert list(warnings.filters) == before


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_cut_value_is_found_now_and_not_when_it_is_used(syntax: str) -> None:
    raw = encode_dataset(_dataset({"Rows": 1, "Columns": 2}), syntax)
    with pytest.raises(DatasetDecodeError):
        decode_dataset(raw[:-1], syntax)


def test_a_length_beyond_the_end_allocates_nothing() -> None:
    raw = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0x7FFFFFFF) + b"1234"
    tracemalloc.start()
    try:
        _decode_or_refuse(raw, EXPLICIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


# --- deflate (threats: decompression bombs)


def deflate(raw: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(raw) + deflater.flush()


def comment(length: int) -> bytes:
    """An Image Comments element of this length."""
    return struct.pack("<HH2sHL", 0x0020, 0x4000, b"UT", 0, length) + bytes(length)


def test_deflate_up_to_the_limit() -> None:
    raw = comment(MAXIMUM_INFLATED_IDENTIFIER - 12)
    assert len(raw) == MAXIMUM_INFLATED_IDENTIFIER
    assert len(decode_dataset(deflate(raw), DEFLATED)) == 1


@pytest.mark.parametrize("over", [2, 1000, 300 * 1024 * 1024])
def test_a_deflate_bomb_is_refused_within_bounded_memory(over: int) -> None:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [deflater.compress(bytes(1024 * 1024)) for _ in range(16 + over // (1024 * 1024))]
    bomb = b"".join([*parts, deflater.compress(bytes(over % (1024 * 1024))), deflater.flush()])
    assert len(bomb) < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(DatasetDecodeError, match="inflates over"):
            decode_dataset(bomb, DEFLATED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAXIMUM_INFLATED_IDENTIFIER


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x78\x9c\x03\x00", b"not deflated"])
def test_what_is_not_deflated(raw: bytes) -> None:
    with pytest.raises(DatasetDecodeError):
        decode_dataset(raw, DEFLATED)


def test_a_deflated_data_set_without_its_end() -> None:
    whole = deflate(encode_dataset(_dataset({"PatientID": "1234567890" * 5}), EXPLICIT))
    with pytest.raises(DatasetDecodeError, match="without its end"):
        decode_dataset(whole[:-3], DEFLATED)
    with pytest.raises(DatasetDecodeError, match="without its end"):
        decode_dataset(b"", DEFLATED)


def test_padding_after_the_end_is_no_fault() -> None:
    raw = encode_dataset(_dataset({"PatientID": "1"}), EXPLICIT)
    assert decode_dataset(deflate(raw) + b"\0", DEFLATED).PatientID == "1"


# --- nesting (threats: recursion)

_SEQUENCE = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
    "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
)
_CLOSE = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def explicit_lengths(depth: int) -> bytes:
    raw = b""
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(raw)) + raw
        raw = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item
    return raw


@pytest.mark.parametrize("depth", [1, 10, 30])
def test_nesting_as_people_do_it(depth: int) -> None:
    for raw in (_SEQUENCE * depth + _CLOSE * depth, explicit_lengths(depth)):
        found, level = decode_dataset(raw, EXPLICIT), 0
        while "RequestAttributesSequence" in found:
            found, level = found.RequestAttributesSequence[0], level + 1
        assert level == depth


@pytest.mark.parametrize(
    "raw",
    [_SEQUENCE * 20_000, _SEQUENCE * 20_000 + _CLOSE * 20_000, explicit_lengths(3_000)],
    ids=["open", "closed", "explicit lengths"],
)
@pytest.mark.parametrize("deflated", [False, True])
def test_deep_nesting_is_refused(raw: bytes, deflated: bool) -> None:
    with pytest.raises(DatasetDecodeError):
        if deflated:
            decode_dataset(deflate(raw), DEFLATED)
        else:
            decode_dataset(raw, EXPLICIT)


def test_we_read_what_pydicom_writes() -> None:
    dataset = _dataset({"PatientName": "A^B", "Rows": 3, "ModalitiesInStudy": ["CT", "MR"]})
    for implicit, little, syntax in ((True, True, IMPLICIT), (False, True, EXPLICIT), (False, False, BIG)):
        raw = pydicom_bytes(dataset, implicit, little)
        assert decode_dataset(raw, syntax) == read_dataset(BytesIO(raw), implicit, little) == dataset


# --- identifiers: within limits, in one go, and nothing in doubt


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_identifier_is_read_as_any_data_set(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And looked through once."""
    asked = _dataset({"QueryRetrieveLevel": "STUDY", "PatientName": "Doe^J*", "StudyDate": ""})
    asked.ProcedureCodeSequence = [_dataset({"CodeValue": "1"})]
    raw, scans = encode_dataset(asked, syntax), []

    def counted(data: bytes, *rest: Any, **how: Any) -> ScanResult:
        scans.append(len(data))
        return scan_dataset(data, *rest, **how)

    monkeypatch.setattr(coding, "scan_dataset", counted)
    assert decode_identifier(raw, syntax, max_depth=4, max_elements=20) == asked
    assert len(scans) == 1


@pytest.mark.parametrize(
    ("raw", "how", "problem"),
    [
        (explicit_lengths(3), {"max_depth": 2}, None),
        (explicit_lengths(3), {"max_elements": 2}, "over 2 elements"),
        (b"", {}, "empty"),
        (struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 4) + b"12", {}, "claims 4 bytes"),
        (struct.pack("<HH2sH", 0x0010, 0x0020, b"zz", 4) + b"12  ", {}, "no value representation"),
    ],
)
def test_an_identifier_over_a_limit_or_in_doubt_or_not_whole(
    raw: bytes, how: dict[str, int], problem: str | None
) -> None:
    limits = {"max_depth": 8, "max_elements": 100, **how}
    for data, syntax in ((raw, EXPLICIT), (deflate(raw), DEFLATED)):
        with pytest.raises(DatasetDecodeError) as caught:
            decode_identifier(data, syntax, **limits)
        assert problem in (caught.value.problem or "") if problem else not caught.value.undecoded


# --- answers of peers: an element that cannot be decoded costs itself


BAD = {
    "Rows": struct.pack("<HHL", 0x0028, 0x0010, 3) + b"\1\2\3",
    "RecommendedDisplayFrameRateInFloat": struct.pack("<HHL", 0x0008, 0x9459, 3) + bytes(3),  # FL
    "DopplerSampleVolumeXPosition": struct.pack("<HHL", 0x0018, 0x6039, 5) + bytes(5),
}


@pytest.mark.parametrize("keyword", BAD)
def test_an_element_that_cannot_be_decoded_is_left_out_and_named(keyword: str) -> None:
    good = struct.pack("<HHL", 0x0008, 0x0050, 2) + b"A1"
    raw = good + BAD[keyword]
    found, undecoded = decode_answer(raw, IMPLICIT)
    assert found.AccessionNumber == "A1"
    assert undecoded == (keyword,)
    assert keyword not in found
    with pytest.raises(DatasetDecodeError, match=keyword):
        decode_dataset(raw, IMPLICIT)


def test_an_element_inside_a_sequence_costs_itself() -> None:
    inner = struct.pack("<HHL", 0x0008, 0x0100, 2) + b"C1" + BAD["Rows"]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    raw = struct.pack("<HHL", 0x0008, 0x1032, len(item)) + item
    found, undecoded = decode_answer(raw, IMPLICIT)
    assert found.ProcedureCodeSequence[0].CodeValue == "C1"
    assert undecoded == ("Rows",)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_data_set_that_ends_inside_an_element_is_none(syntax: str) -> None:
    dataset = Dataset()
    dataset.StudyInstanceUID = "1.2.840.113619.2.5"
    raw = encode_dataset(dataset, syntax)
    for cut in range(1, len(raw)):
        with pytest.raises(DatasetDecodeError):
            decode_dataset(raw[:-cut], syntax)


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.mark.parametrize("vr", [b"--", b"  ", b"??", b"lo", b"\0\0", b"ZZ"])
def test_an_answer_in_doubt_is_read_by_our_own_reader(vr: bytes) -> None:
    """pydicom would take the elements behind it for its value, without a word."""
    data = explicit(0x00080018, b"UI", b"1.2.3.4\0")
    data += explicit(0x00100010, vr, b"abcd")
    data += explicit(0x0020000D, b"UI", b"1.2.30")
    answer, undecoded = decode_answer(data, EXPLICIT)
    assert answer.SOPInstanceUID == "1.2.3.4"
    assert answer.StudyInstanceUID == "1.2.30"
    assert str(answer.PatientName) == "abcd"
    assert undecoded == ()


def test_a_delimiter_between_the_elements_of_an_answer_hides_none() -> None:
    data = implicit(0x00080018, b"1.2.3.4\0") + bytes.fromhex("feff0de000000000")
    answer, _ = decode_answer(data + implicit(0x0020000D, b"1.2.30"), IMPLICIT)
    assert answer.StudyInstanceUID == "1.2.30"


def test_an_element_that_overruns_its_item_costs_the_sequence() -> None:
    """It would be a UID cut short, and a success."""
    bad = struct.pack("<HH2sH", 8, 0x1155, b"UI", 30) + b"1.2.3.4.55"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(bad)) + bad
    data = explicit(0x00080018, b"UI", b"1.2.3.4\0")
    data += struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, len(item)) + item
    data += explicit(0x0020000D, b"UI", b"1.2.30")
    answer, undecoded = decode_answer(data, EXPLICIT)
    assert answer.StudyInstanceUID == "1.2.30"
    assert "ReferencedImageSequence" not in answer
    assert "ReferencedImageSequence" in undecoded


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x00209165, "DimensionIndexPointer"),
        (0x00280010, "Rows"),
        (0x00186020, "ReferencePixelX0"),
        (0x00189087, "DiffusionBValue"),
    ],
)
def test_a_number_of_the_wrong_size_is_told(tag: int, name: str) -> None:
    answer, undecoded = decode_answer(implicit(tag, b"abc"), IMPLICIT)
    assert undecoded == (name,)
    assert name not in answer


def test_zeros_behind_an_answer_are_no_element() -> None:
    answer, undecoded = decode_answer(implicit(0x0020000D, b"1.2.30") + bytes(16), IMPLICIT)
    assert [int(tag) for tag in answer.keys()] == [0x0020000D]  # noqa: SIM118 - a data set
    assert undecoded == ()


def test_text_that_is_not_of_its_character_set_is_told() -> None:
    data = implicit(0x00080005, b"ISO_IR 192") + implicit(0x00100010, b"M\xfcller") + b""
    answer, undecoded = decode_answer(data + implicit(0x00100020, b"P1"), IMPLICIT)
    assert undecoded == ("PatientName",)
    assert "\ufffd" in str(answer.PatientName)
    assert answer.PatientID == "P1"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("count", [1, 2, 3, 20_000])
def test_a_list_of_uids_is_what_pydicom_writes_and_reads(syntax: str, count: int) -> None:
    uids = [f"1.2.840.{number}" for number in range(count)]
    data = encode_uids(0x00080058, uids, syntax)
    value = decode_dataset(data, syntax).FailedSOPInstanceUIDList
    if isinstance(value, bytes):  # UN, which pydicom leaves alone where UI had no room for it
        value = value.decode("ascii").rstrip("\0").split("\\")
    assert (value if count > 1 else [value]) == uids
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = uids
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says that it makes UN of a long one
        assert data == encode_dataset(dataset, syntax)


def framed(value: bytes, length: int | None = None) -> bytes:
    """An item that says it has so many bytes."""
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


WHOLE = framed(implicit(0x00081155, b"1.2.3.4\0"))
NO_SEQUENCES = {
    "no item": b"ab",
    "text": b"ab" * 20,
    "an item of too many bytes": framed(b"ab", 100),
    "half an element": framed(b"ab"),
    "an element of too many bytes": framed(struct.pack("<HHL", 8, 0x1155, 30) + b"1.2"),
    "bytes behind an item": WHOLE + b"ab",
    "an element behind an item": WHOLE + implicit(0x00081155, b"1.2.3.4\0"),
    "inside another": framed(implicit(0x00081199, framed(b"ab", 100))),
    "short inside another": framed(implicit(0x00081199, b"abcd")),
}


@pytest.mark.parametrize("vr", ["implicit", "UN"])
@pytest.mark.parametrize("value", NO_SEQUENCES.values(), ids=NO_SEQUENCES)
def test_a_sequence_that_is_none_is_told_where_its_dictionary_alone_knows_it(vr: str, value: bytes) -> None:
    """pydicom takes most of these for an empty sequence, or reads on in it."""
    if vr == "UN":
        syntax = EXPLICIT
        data = explicit(0x00080018, b"UI", b"1.2.3.4\0")
        data += struct.pack("<HH2sHL", 8, 0x1140, b"UN", 0, len(value)) + value
        data += explicit(0x0020000D, b"UI", b"1.2.30")
    else:
        syntax = IMPLICIT
        data = implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00081140, value)
        data += implicit(0x0020000D, b"1.2.30")
    answer, undecoded = decode_answer(data, syntax)
    assert answer.StudyInstanceUID == "1.2.30"
    assert "ReferencedImageSequence" not in answer
    assert "ReferencedImageSequence" in undecoded
    with pytest.raises(DatasetDecodeError, match="ReferencedImageSequence"):
        decode_dataset(data, syntax)
    assert decode_object(data, syntax).doubt is not None


@pytest.mark.parametrize(
    ("value", "items"),
    [(b"", 0), (WHOLE, 1), (WHOLE * 3, 3), (framed(b""), 1), (framed(implicit(0x00081199, WHOLE)), 1)],
)
def test_a_sequence_that_is_one_is_decoded(value: bytes, items: int) -> None:
    data = implicit(0x00081140, value)
    assert len(decode_dataset(data, IMPLICIT).ReferencedImageSequence) == items
    assert decode_answer(data, IMPLICIT)[1] == ()
    assert decode_object(data, IMPLICIT).doubt is None
