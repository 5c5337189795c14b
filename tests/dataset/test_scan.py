"""The data set scanner: values, wholeness, limits."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from aiodicom.dataset.deflated import INFLATED_WINDOW
from aiodicom.dataset.errors import ImagingError, NestingTooDeep
from aiodicom.dataset.found import ScanResult
from aiodicom.dataset.part10 import read_header
from aiodicom.dataset.scan import scan_beginning, scan_dataset, scanning
from aiodicom.dataset.walk import STEP, Steps
from aiodicom.dataset.window import FileWindow
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
SYNTAXES = [IMPLICIT, EXPLICIT, BIG, DEFLATED]
UID, ROWS, PIXELS, SEQUENCE = 0x00080018, 0x00280010, 0x7FE00010, 0x00081140


def encode(dataset: Dataset, syntax: str) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR = syntax == IMPLICIT
    stream.is_little_endian = syntax != BIG
    write_dataset(stream, dataset)
    encoded = stream.getvalue()
    if syntax != DEFLATED:
        return encoded
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(encoded) + deflate.flush()


def sample(undefined: bool = False) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    deeper = Dataset()
    deeper.CodeValue = "A"
    inner.PurposeOfReferenceCodeSequence = [deeper, deeper]
    dataset.ReferencedImageSequence = [inner, Dataset(), inner]
    dataset.Rows = 2
    dataset.Columns = 3
    dataset.add_new(0x7FE00010, "OW", bytes(range(12)))
    if undefined:
        dataset["ReferencedImageSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        inner["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_and_wholeness_in_every_encoding(syntax: str, undefined: bool, nested: bool) -> None:
    encoded = encode(sample(undefined), syntax)
    result = scan_dataset(encoded, syntax, {UID, ROWS, SEQUENCE, 0x00100010}, check_nested=nested)
    assert result.complete
    assert result.problem is None
    assert result.ordered
    assert result.elements == 5
    assert set(result.values) == {UID, ROWS, SEQUENCE}
    assert result.values[UID] == b"1.2.3\0"
    assert result.values[ROWS] == (b"\0\2" if syntax == BIG else b"\2\0")
    assert result.pixel_data is not None
    assert (result.pixel_data.tag, result.pixel_data.length) == (PIXELS, 12)
    if syntax != DEFLATED:
        assert result.end == len(encoded)
        assert encoded[result.pixel_data.offset :] == bytes(range(12)) if syntax != BIG else True


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_every_prefix_but_those_between_elements_is_reported(syntax: str, undefined: bool) -> None:
    encoded = encode(sample(undefined), syntax)
    whole = [at for at in range(1, len(encoded)) if scan_dataset(encoded[:at], syntax).complete]
    # A cut between two elements cannot be seen, nor one after the leading zero of a big endian tag.
    assert len(whole) == (7 if syntax == BIG else 4)
    for at in set(range(len(encoded))) - set(whole):
        result = scan_dataset(encoded[:at], syntax, {UID})
        assert not result.complete
        assert result.problem
        assert result.end <= at


def test_buffers_of_all_kinds_and_no_view_is_kept(tmp_path: Path) -> None:
    encoded = encode(sample(), EXPLICIT)
    expected = scan_dataset(encoded, EXPLICIT, {UID})
    growable = bytearray(encoded)
    assert scan_dataset(growable, EXPLICIT, {UID}) == expected
    assert scan_dataset(memoryview(growable), EXPLICIT, {UID}) == expected
    growable.append(0)  # a kept view would forbid this
    (tmp_path / "set").write_bytes(b"before" + encoded + b"behind")
    with (tmp_path / "set").open("rb") as file:
        window = FileWindow(file.fileno(), 6, len(encoded))
        assert scan_dataset(window, EXPLICIT, {UID}) == expected


def test_encapsulated_pixels_are_walked_to_their_end() -> None:
    dataset = Dataset()
    dataset.Rows = 1
    dataset.add_new(PIXELS, "OB", encapsulate([b"ab" * 50, b"cd" * 7]))
    dataset["PixelData"].is_undefined_length = True
    encoded = encode(dataset, EXPLICIT)
    result = scan_dataset(encoded, JPEG, {ROWS})
    assert result.complete
    assert result.pixel_data is not None
    assert result.pixel_data.length is None
    for cut in (1, 7, 9, 31):
        assert not scan_dataset(encoded[:-cut], JPEG).complete


@pytest.mark.parametrize(
    "tail", [b"", bytes(3), bytes(2000), struct.pack("<HH2s2xL", 0xFFFC, 0xFFFC, b"OB", 4) + bytes(4)]
)
def test_trailing_padding_is_no_problem(tail: bytes) -> None:
    assert scan_dataset(encode(sample(), EXPLICIT) + tail, EXPLICIT).complete


@pytest.mark.parametrize("tail", [b"garbage after the end", bytes(40) + b"x", b"\xff" * 9])
def test_trailing_garbage_is_a_problem(tail: bytes) -> None:
    encoded = encode(sample(), EXPLICIT)
    result = scan_dataset(encoded + tail, EXPLICIT, {UID})
    assert not result.complete
    assert result.end == len(encoded)
    assert result.values == {UID: b"1.2.3\0"}


def test_tags_out_of_order_or_twice_are_seen_and_the_first_counts() -> None:
    first = struct.pack("<HH2sH", 8, 0x18, b"UI", 2) + b"1\0"
    second = struct.pack("<HH2sH", 8, 0x18, b"UI", 2) + b"2\0"
    result = scan_dataset(first + second, EXPLICIT, {UID})
    assert result.complete
    assert not result.ordered
    assert result.values == {UID: b"1\0"}


def test_values_over_the_limit_are_left_out() -> None:
    encoded = encode(sample(), EXPLICIT)
    assert UID not in scan_dataset(encoded, EXPLICIT, {UID}, max_value=5).values
    assert UID in scan_dataset(encoded, EXPLICIT, {UID}, max_value=6).values


def test_a_length_of_four_gigabytes_is_judged_not_believed() -> None:
    lying = struct.pack("<HH2s2xL", 0x7FE0, 0x10, b"OW", 0xFFFFFFFE) + bytes(10)
    result = scan_dataset(lying, EXPLICIT, {PIXELS})
    assert not result.complete
    assert "(7FE0,0010)" in str(result.problem)


def nest(depth: int, defined: bool, syntax: str) -> bytes:
    """A sequence in a sequence in a sequence."""
    head = struct.pack("<HH", 8, 0x1140) + (b"SQ\0\0" if syntax == EXPLICIT else b"")
    item = b"\xfe\xff\x00\xe0"
    if not defined:
        open_, close = (
            head + b"\xff" * 4 + item + b"\xff" * 4,
            b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
        )
        return open_ * depth + close * depth
    heads = []
    size = 0
    for _ in range(depth):
        heads.append(head + struct.pack("<L", size + 8) + item + struct.pack("<L", size))
        size += len(heads[-1])
    return b"".join(reversed(heads))


@pytest.mark.parametrize("defined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_depth_is_limited_and_never_exhausts_the_stack(syntax: str, defined: bool) -> None:
    assert scan_dataset(nest(64, defined, syntax), syntax, check_nested=True).complete
    with pytest.raises(NestingTooDeep, match="64 deep"):
        scan_dataset(nest(65, defined, syntax), syntax, check_nested=True)
    with pytest.raises(NestingTooDeep):
        scan_dataset(nest(20_000, defined, syntax), syntax, check_nested=True)
    deep = nest(20_000, defined, syntax)
    assert scan_dataset(deep, syntax, check_nested=True, max_depth=20_000).complete


def test_a_sequence_hidden_in_unknown_is_checked_too() -> None:
    deep = nest(70, True, IMPLICIT)[8:]  # the value of the outermost sequence
    hidden = struct.pack("<HH2s2xL", 9, 0x1001, b"UN", len(deep)) + deep
    assert scan_dataset(hidden, EXPLICIT).complete
    with pytest.raises(NestingTooDeep):
        scan_dataset(hidden, EXPLICIT, check_nested=True)
    open_ = struct.pack("<HH2s2xL", 9, 0x1001, b"UN", 0xFFFFFFFF) + nest(70, False, IMPLICIT)[8:]
    with pytest.raises(NestingTooDeep):
        scan_dataset(open_, EXPLICIT)


def test_a_value_that_only_looks_like_a_sequence_stays_a_value() -> None:
    looks = b"\xfe\xff\x00\xe0\x04\0\0\0garbage!"
    encoded = (
        struct.pack("<HHL", 9, 0x1001, len(looks)) + looks + struct.pack("<HHL", 0x28, 0x10, 2) + b"\2\0"
    )
    result = scan_dataset(encoded, IMPLICIT, {ROWS}, check_nested=True)
    assert result.complete
    assert result.values == {ROWS: b"\2\0"}


def test_deflate_bomb_is_bounded() -> None:
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(struct.pack("<HH2s2xL", 0x7FE0, 0x10, b"OW", 50_000_000))
    bomb += b"".join(deflate.compress(bytes(1_000_000)) for _ in range(50)) + deflate.flush()
    result = scan_dataset(bomb, DEFLATED, max_inflated=8_000_000)
    assert not result.complete
    assert "8000000" in str(result.problem)
    assert scan_dataset(bomb, DEFLATED).complete


def test_deflated_elements_behind_the_window_are_not_called_whole() -> None:
    dataset = Dataset()
    dataset.Rows = 1
    dataset.add_new(PIXELS, "OW", bytes(INFLATED_WINDOW))
    dataset.add_new(0xFFFCFFFC, "OB", bytes(4))
    result = scan_dataset(encode(dataset, DEFLATED), DEFLATED, {ROWS})
    assert result.values == {ROWS: b"\1\0"}
    assert "not examined" in str(result.problem)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_cut_deflate_stream_is_reported(cut: int) -> None:
    encoded = encode(sample(), DEFLATED)
    assert "cut off" in str(scan_dataset(encoded[:-cut], DEFLATED).problem)
    assert not scan_dataset(b"\xff" + encoded, DEFLATED).complete


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.booleans())
def test_any_bytes_end_in_a_result_or_our_own_error(content: bytes, syntax: str, nested: bool) -> None:
    try:
        result = scan_dataset(content, syntax, {UID, 0x00080005}, check_nested=nested, max_depth=3)
    except ImagingError:
        return
    assert result.complete == (result.problem is None)
    assert 0 <= result.end <= len(content) or syntax == DEFLATED


@given(st.data())
def test_one_changed_byte_never_escapes_as_another_error(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
    encoded = bytearray(encode(sample(data.draw(st.booleans())), syntax))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    nested = data.draw(st.booleans())
    # a beginning that is all of it is judged as all of it, or not at all
    told = scan_beginning(encoded, syntax, {UID}, check_nested=nested)
    try:
        found = scan_dataset(encoded, syntax, {UID}, check_nested=nested)
    except ImagingError:
        assert told is None
        return
    assert told is None or told.end != len(encoded) or told == found


def test_every_real_file_is_whole_but_the_truncated_one(data: Path) -> None:
    broken = {}
    for path in sorted(data.glob("*/*.dcm")):
        content = path.read_bytes()
        header = read_header(content)
        result = scan_dataset(
            memoryview(content)[header.data_offset :], header.transfer_syntax_uid, {UID}, check_nested=True
        )
        uid = result.values.get(UID, b"").rstrip(b"\0").decode()
        if header.has_meta:
            assert uid == dcmread(path, force=True, specific_tags=[UID]).get("SOPInstanceUID", "")
        if not result.complete:
            broken[path.name] = result.problem
    assert list(broken) == ["MR_truncated.dcm"]
    assert "(7FE0,0010) claims 8192 bytes where 8130 are left" in str(broken["MR_truncated.dcm"])


def test_an_invented_vr_is_read_in_the_short_or_the_long_form() -> None:
    short = struct.pack("<HH2sH", 9, 1, b"ZZ", 4) + b"abcd"
    long = struct.pack("<HH2s2xL", 9, 1, b"ZZ", 4) + b"abcd"
    for encoded in (short, long):
        result = scan_dataset(encoded, EXPLICIT, {0x00090001})
        assert result.complete
        assert result.values == {0x00090001: b"abcd"}


def test_pydicom_reads_what_the_tests_encode() -> None:
    assert dcmread(BytesIO(encode(sample(True), IMPLICIT)), force=True).Rows == 2


def _items(count: int) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, 0) * count


def test_elements_of_all_levels_are_counted_and_the_walk_ends_at_once() -> None:
    """The sequence that has too many is not walked to its end, nor told as whole."""
    items = _items(1000)
    first = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
    sequence = struct.pack("<HH2sHL", 0x0041, 0x1010, b"SQ", 0, len(items)) + items
    for allowed, whole in ((2002, True), (1500, False)):
        found = scan_dataset(first + sequence, EXPLICIT, check_nested=True, max_elements=allowed + 2)
        assert found.complete is whole
        assert found.elements == (2 if whole else 1)
        assert found.end == (len(first + sequence) if whole else len(first))
    found = scan_dataset(first * 10, EXPLICIT, max_elements=5)
    assert (found.complete, found.problem) == (False, "over 5 elements and items")
    assert scan_dataset(first * 10, EXPLICIT, max_elements=10).problem is None


@pytest.mark.parametrize("nested", [False, True])
def test_an_item_longer_than_its_place_is_told_by_its_length(nested: bool) -> None:
    """In words that say what is wrong, not that something is missing."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 200) + bytes(20)
    sequence = struct.pack("<HH2sHL", 0x0041, 0x1010, b"SQ", 0, 0xFFFFFFFF) + item
    problem = scan_dataset(sequence, EXPLICIT, check_nested=nested).problem
    assert problem == "offset 12: (FFFE,E000) claims 200 bytes where 20 are left"


@pytest.mark.parametrize("undefined", [True, False])
def test_a_walk_through_millions_can_be_left_and_gone_on_with(undefined: bool) -> None:
    """Between two pauses there are so many elements at most, wherever they stand."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    many = 10 * STEP
    length = 0xFFFFFFFF if undefined else 8 * many
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, length) + item * many
    sequence += end if undefined else b""
    flat = b"".join(struct.pack("<HH2sHL", 9 + 2 * (n >> 15), n & 0x7FFF, b"UN", 0, 0) for n in range(many))
    for data in (sequence, flat, encode(sample(), EXPLICIT) + end * many):
        told: list[ScanResult] = []

        def walk(data: bytes, told: list[ScanResult]) -> Steps[None]:
            told.append((yield from scanning(data, EXPLICIT, (), check_nested=True)))

        assert sum(1 for _ in walk(data, told)) >= many // STEP - 1
        assert told == [scan_dataset(data, EXPLICIT, check_nested=True)]


def test_so_can_an_inflation() -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = stream.compress(encode(sample(), EXPLICIT) + bytes(20 << 20)) + stream.flush()
    assert sum(1 for _ in scanning(data, DEFLATED)) >= 20
