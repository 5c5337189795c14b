"""Part 10 files: written piece by piece, read back, and never half there."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import pydicom
import pytest
from aiodicom.dataset import part10
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.errors import ImagingError, MalformedDataSet, NotDicom, TruncatedFile, UnsafeName
from aiodicom.dataset.part10 import MAX_FILE_META, Part10Writer, ScanOptions, encode_file_meta, read_header
from aiodicom.dataset.scan import scan_beginning, scan_dataset, scanning
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

EXPLICIT = "1.2.840.10008.1.2.1"
META: dict[str, Any] = {
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.7",
    "sop_instance_uid": "1.2.3.45",
    "transfer_syntax_uid": EXPLICIT,
    "source_ae": "SENDER",
    "implementation_class_uid": "2.25.1",
    "implementation_version_name": "TEST_1",
}


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


DATA = (
    element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    + element(8, 0x18, b"UI", b"1.2.3.45")
    + element(0x28, 0x10, b"US", b"\2\0")
)


def writer(path: Path | str, **changes: Any) -> Part10Writer:
    return Part10Writer(path, **(META | changes))


@pytest.mark.parametrize("piece", [1, 7, len(DATA)])
@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_pieces_become_a_file_that_pydicom_reads(tmp_path: Path, piece: int, durability: Any) -> None:
    target = tmp_path / "a.dcm"
    with writer(target) as out:
        lent = bytearray(piece)
        for at in range(0, len(DATA), piece):
            part = DATA[at : at + piece]
            lent[: len(part)] = part
            out.write(memoryview(lent)[: len(part)])
        assert out.bytes_written == len(DATA)
        assert not target.exists()
        assert Path(out.temporary).name.startswith(".")
        assert out.commit(durability) == target
    assert os.listdir(tmp_path) == ["a.dcm"]
    assert target.read_bytes()[:128] == bytes(128)
    read = pydicom.dcmread(target)
    assert read.file_meta.FileMetaInformationGroupLength + 144 == read_header(target).data_offset
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.45"
    assert read.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert read.Rows == 2


def test_header_of_what_was_written_from_every_kind_of_source(tmp_path: Path) -> None:
    target = tmp_path / "a.dcm"
    with writer(target) as out:
        out.write(DATA)
        out.commit("rename")
    header = read_header(target)
    content = target.read_bytes()
    assert header.sop_class_uid == META["sop_class_uid"]
    assert header.sop_instance_uid == "1.2.3.45"
    assert header.transfer_syntax_uid == EXPLICIT
    assert content[header.data_offset :] == DATA
    assert header.file_size == len(content)
    assert header.has_meta
    fd = os.open(target, os.O_RDONLY)
    try:
        os.lseek(fd, 5, os.SEEK_SET)
        sources: list[Any] = [str(target), content, bytearray(content), memoryview(content), fd]
        assert all(read_header(source) == header for source in sources)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 5
    finally:
        os.close(fd)


def test_what_was_written_can_be_scanned_before_commit(tmp_path: Path) -> None:
    with writer(tmp_path / "a.dcm") as out:
        out.write(DATA)
        view = out.window()
        assert view[0 : len(view)] == DATA
        assert scan_dataset(view, EXPLICIT, {0x00280010}).values == {0x00280010: b"\2\0"}
        out.write(b"")
        out.commit("rename")


@pytest.mark.parametrize("action", ["discard", "context", "error"])
def test_no_trace_without_commit(tmp_path: Path, action: str) -> None:
    out = writer(tmp_path / "a.dcm")
    out.write(DATA)
    if action == "discard":
        out.discard()
        out.discard()
    elif action == "context":
        with out:
            pass
    else:
        with pytest.raises(RuntimeError), out:
            raise RuntimeError
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError):
        out.write(DATA)
    with pytest.raises(FileNotFoundError):
        out.commit()


def test_discard_is_silent_when_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    out = writer(folder / "a.dcm")
    Path(out.temporary).unlink()
    folder.rmdir()
    out.discard()
    assert not folder.exists()
    with pytest.raises(ValueError):  # let go of all the same
        out.write(DATA)


def test_an_existing_file_is_never_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "a.dcm"
    late = writer(target)
    late.write(DATA)
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        writer(target)
    with pytest.raises(FileExistsError):
        late.commit("rename")
    assert target.read_bytes() == b"mine"
    late.discard()
    assert os.listdir(tmp_path) == ["a.dcm"]
    with writer(target, overwrite=True) as out:
        out.write(DATA)
        out.commit("rename")
    assert read_header(target).sop_instance_uid == "1.2.3.45"


@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_a_file_whose_name_was_taken_can_have_another(
    tmp_path: Path, durability: Literal["fsync", "rename"]
) -> None:
    late = writer(tmp_path / "a.dcm")
    late.write(DATA)
    (tmp_path / "a.dcm").write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(FileExistsError):
            late.commit(durability)
    assert late.commit(durability, path=tmp_path / "b.dcm") == tmp_path / "b.dcm"
    assert sorted(os.listdir(tmp_path)) == ["a.dcm", "b.dcm"]
    assert (tmp_path / "b.dcm").read_bytes().endswith(DATA)
    with pytest.raises(FileNotFoundError):
        late.commit(durability)


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "a.dcm").symlink_to(victim)
    with pytest.raises(FileExistsError):
        writer(tmp_path / "a.dcm")
    with writer(tmp_path / "a.dcm", overwrite=True) as out:
        out.write(DATA)
        out.commit("rename")
    assert not victim.exists()
    assert not (tmp_path / "a.dcm").is_symlink()


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with writer(tmp_path / "a.dcm") as out:
        out.write(DATA)
        out.commit("rename")
    assert os.listdir(tmp_path) == ["a.dcm"]
    late = writer(tmp_path / "b.dcm")
    (tmp_path / "b.dcm").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        late.commit("rename")
    assert (tmp_path / "b.dcm").read_bytes() == b"mine"


def test_short_writes_are_continued_and_a_full_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    out = writer(tmp_path / "a.dcm")
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    out.write(DATA)
    assert out.window()[0 : len(DATA)] == DATA

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        out.write(DATA)
    out.discard()
    with pytest.raises(OSError, match="No space"):
        writer(tmp_path / "b.dcm")
    assert os.listdir(tmp_path) == []


def test_below_a_directory_descriptor(tmp_path: Path) -> None:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    try:
        (tmp_path / "root").rename(tmp_path / "moved")
        with writer("sub/a.dcm", dir_fd=fd) as out:
            out.write(DATA)
            assert out.commit() == Path("sub/a.dcm")
        with writer("b.dcm", dir_fd=fd) as out:
            pass
    finally:
        os.close(fd)
    assert [path.name for path in (tmp_path / "moved").rglob("*") if path.is_file()] == ["a.dcm"]


def test_discard_during_commit_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        inside.set()
        go_on.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    out = writer(tmp_path / "a.dcm")
    failures: list[BaseException] = []

    def commit() -> None:
        try:
            out.commit()
        except FileNotFoundError as error:
            failures.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    assert inside.wait(10)
    out.discard()
    go_on.set()
    thread.join(10)
    assert len(failures) == 1
    assert os.listdir(tmp_path) == []


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with writer(tmp_path / "a.dcm") as out:
            out.commit("rename")
    finally:
        os.umask(old)
    assert (tmp_path / "a.dcm").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "changes",
    [
        {"sop_instance_uid": "1" * 129},
        {"sop_class_uid": "1" * 65},
        {"sop_class_uid": ""},
        {"transfer_syntax_uid": "1.2\n"},
        {"source_ae": "Ä"},
        {"source_ae": "A\\B"},
        {"implementation_version_name": "x" * 17},
    ],
)
def test_values_group_2_cannot_hold_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(UnsafeName, match="0002"):
        writer(tmp_path / "a.dcm", **changes)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", "sub/"])
def test_a_path_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeName):
        writer(f"{tmp_path}/{name}")


PREFIX = bytes(128) + b"DICM"
SYNTAX = element(2, 0x10, b"UI", EXPLICIT.encode() + b"\0")


@pytest.mark.parametrize(
    ("content", "offset", "has_meta"),
    [
        (PREFIX + SYNTAX + DATA, 132 + len(SYNTAX), True),  # SOP UIDs only in the data set
        (SYNTAX + DATA, len(SYNTAX), True),  # no preamble
        (PREFIX + element(2, 0, b"UL", b"\xff\xff\xff\xff") + SYNTAX + DATA, 144 + len(SYNTAX), True),
        (
            PREFIX + element(2, 2, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0") + DATA,
            166,
            True,
        ),  # no transfer syntax
        (DATA, 0, False),
        (b" " + DATA, 1, False),
    ],
)
def test_incomplete_heads_are_understood(content: bytes, offset: int, has_meta: bool) -> None:
    for tail in (b"", b"\xff" * 5000):
        header = read_header(content + tail)
        assert (header.data_offset, header.has_meta) == (offset, has_meta)
        assert header.sop_instance_uid == "1.2.3.45"
        assert header.sop_class_uid == META["sop_class_uid"]
        assert header.transfer_syntax_uid == EXPLICIT


def test_bare_data_sets_in_the_other_two_encodings() -> None:
    implicit = struct.pack("<HHL", 8, 0x16, 4) + b"1.2\0" + struct.pack("<HHL", 8, 0x18, 4) + b"1.3\0"
    big = (
        struct.pack(">HH2sH", 8, 0x16, b"UI", 4)
        + b"1.2\0"
        + struct.pack(">HH2sH", 8, 0x18, b"UI", 4)
        + b"1.3\0"
    )
    assert read_header(implicit).transfer_syntax_uid == "1.2.840.10008.1.2"
    assert read_header(big).transfer_syntax_uid == "1.2.840.10008.1.2.2"
    assert read_header(big).sop_instance_uid == "1.3"


@pytest.mark.parametrize(
    "content", [b"", b"DICM", b"\x89PNG\r\n\x1a\n" + bytes(200), b"x" * 5000, bytes(5000)]
)
def test_other_files_are_named_as_such(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotDicom):
        read_header(content)
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(NotDicom, match="other"):
        read_header(tmp_path / "other")


def test_what_is_no_regular_file_neither_blocks_nor_counts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(NotDicom, match="no regular file"):
            read_header(path)


def test_cut_and_broken_meta(tmp_path: Path) -> None:
    head = encode_file_meta(**META)
    for cut in range(133, len(head), 5):
        with pytest.raises((TruncatedFile, MalformedDataSet)):
            read_header(head[:cut])
    with pytest.raises(MalformedDataSet, match="no value representation"):
        read_header(PREFIX + struct.pack("<HHL", 2, 2, 4) + b"1.2\0")


def test_large_meta_is_read_up_to_the_limit(tmp_path: Path) -> None:
    def private(size: int) -> bytes:
        return struct.pack("<HH2s2xL", 2, 0x102, b"OB", size) + bytes(size)

    path = tmp_path / "a.dcm"
    path.write_bytes(PREFIX + SYNTAX + private(60_000) + DATA)
    assert read_header(path).sop_instance_uid == "1.2.3.45"
    path.write_bytes(PREFIX + SYNTAX + private(MAX_FILE_META) + DATA)
    with pytest.raises(MalformedDataSet, match="more than"):
        read_header(path)


def test_only_the_head_of_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encode_file_meta(**META) + DATA + bytes(1_000_000))
    asked: list[int] = []
    real = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        asked.append(size)
        return real(fd, size, offset)

    monkeypatch.setattr(part10.os, "pread", count)
    read_header(path)
    assert sum(asked) <= 8192


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_end_in_a_header_or_our_own_error(content: bytes, prefixed: bool) -> None:
    try:
        header = read_header(PREFIX + content if prefixed else content)
    except ImagingError:
        return
    assert header.transfer_syntax_uid


def test_real_files_agree_with_pydicom(data: Path) -> None:
    for path in sorted(data.glob("*/*.dcm")):
        if path.name in ("no_meta.dcm",):
            continue
        header = read_header(path)
        read = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        assert header.sop_class_uid == read.SOPClassUID
        wanted = read.file_meta.get("MediaStorageSOPInstanceUID") or read.get("SOPInstanceUID", "")
        assert header.sop_instance_uid == wanted
        assert header.transfer_syntax_uid == read.file_meta.TransferSyntaxUID
    bare = read_header(data / "broken_inputs" / "no_meta.dcm")
    assert not bare.has_meta
    assert bare.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("pixels", [0, 100, 40_000, 200_000])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_a_writer_scans_as_the_scanner_does(tmp_path: Path, pixels: int, syntax: str) -> None:
    """Whether the head tells enough or the file must be mapped, and whether the data set is whole or cut."""
    dataset = Dataset()
    dataset.SOPInstanceUID = "2.25.1"
    dataset.PatientComments = "x" * 1000
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.add_new(0x00990010, "LO", "TEST")
    dataset.add_new(0x00991001, "OB", bytes(pixels // 2))
    if pixels:
        dataset.add_new(0x7FE00010, "OW", bytes(pixels))
    encoded = encode_dataset(dataset, syntax)
    tags = frozenset((0x00080018, 0x00104000))
    for data, first, nested in itertools.product(
        (encoded, encoded[:-2], encoded[: len(encoded) // 2], encoded + encoded[-2:]),
        (1, 600, 3000, len(encoded)),
        (False, True),
    ):
        with Part10Writer(
            tmp_path,
            sop_class_uid="1.2.3",
            sop_instance_uid="2.25.1",
            transfer_syntax_uid=syntax,
            implementation_class_uid="2.25.2",
            implementation_version_name="TEST",
            named=False,
            options=ScanOptions(tags, check_nested=nested),
        ) as writer:
            writer.write(data[:first])
            writer.write(data[first:])
            found = writer.scan()
            wanted = scan_dataset(data, syntax, tags, check_nested=nested)
            assert found.complete == wanted.complete
            assert found.values == wanted.values
            assert found.elements == wanted.elements


def test_a_beginning_tells_all_where_pixels_reach_out_of_it_or_nothing_does() -> None:
    dataset = Dataset()
    dataset.SOPInstanceUID = "2.25.1"
    dataset.add_new(0x7FE00010, "OW", bytes(5000))
    encoded = encode_dataset(dataset, "1.2.840.10008.1.2.1")
    found = scan_beginning(encoded[:200], "1.2.840.10008.1.2.1", {0x00080018})
    assert found is not None
    assert found.end == len(encoded)
    assert found.values == {0x00080018: b"2.25.1"}
    for cut in (3, 12, 17):  # in a header, in a value, before the pixels
        assert scan_beginning(encoded[:cut], "1.2.840.10008.1.2.1", {0x00080018}) is None
    assert scan_beginning(encoded, "1.2.840.10008.1.2.1", ()) == scan_dataset(encoded, "1.2.840.10008.1.2.1")
    assert scan_beginning(encoded[:14], "1.2.840.10008.1.2.1") == scan_dataset(
        encoded[:14], "1.2.840.10008.1.2.1"
    )  # to be compared with the length that comes
    # pixels that are asked for and that the whole would keep are not all here
    for limit, told in ((4999, True), (5000, False)):
        found = scan_beginning(encoded[:200], "1.2.840.10008.1.2.1", {0x7FE00010}, max_value=limit)
        assert (found is not None) == told
        if found is not None:
            assert found == scan_dataset(encoded, "1.2.840.10008.1.2.1", {0x7FE00010}, max_value=limit)
    # what nests may lie behind, and an element asked for may be cut
    trailing = struct.pack("<HH2sHL", 0xFFFA, 0xFFFA, b"SQ", 0, 8000) + bytes(8000)
    assert scan_beginning((encoded + trailing)[:6000], "1.2.840.10008.1.2.1", (), check_nested=True) is None
    dataset.add_new(0x7FE10010, "OB", bytes(5000))
    both = encode_dataset(dataset, "1.2.840.10008.1.2.1")
    assert scan_beginning(both[:5100], "1.2.840.10008.1.2.1", {0x7FE10010}) is None
    assert scan_beginning(encoded[:200], "1.2.840.10008.1.2.1.99", ()) is None


@pytest.mark.parametrize("pixels", [0, 100, 20_000])
def test_a_small_object_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    """In one piece, it is known to be whole when it has come; in two, it is looked at again."""
    dataset = Dataset()
    dataset.SOPInstanceUID = "2.25.1"
    dataset.OtherPatientIDsSequence = [Dataset()]
    if pixels:
        dataset.add_new(0x7FE00010, "OW", bytes(pixels))
    encoded = encode_dataset(dataset, "1.2.840.10008.1.2.1")
    scans = []

    def counted(*args: Any, **how: Any) -> object:
        scans.append(args)
        return scanning(*args, **how)

    monkeypatch.setattr(part10, "scanning", counted)
    names = {
        "sop_class_uid": "1.2.3",
        "sop_instance_uid": "2.25.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "implementation_class_uid": "2.25.2",
        "implementation_version_name": "TEST",
    }
    for pieces in (1, 2):
        with Part10Writer(tmp_path, named=False, options=ScanOptions(check_nested=True), **names) as writer:
            for piece in (encoded,) if pieces == 1 else (encoded[:-2], encoded[-2:]):
                writer.write(piece)
            assert (writer.scanned is not None) == (pieces == 1 or pixels > 0)
            assert writer.scan() == scan_dataset(encoded, "1.2.840.10008.1.2.1", check_nested=True)
    assert len(scans) == (0 if pixels else 1)


def test_files_need_neither_numpy_nor_pydicom() -> None:
    root = Path(sys.modules["aiodicom.dataset.part10"].__file__ or "").resolve().parents[1]
    code = f"""
import sys, types
package = types.ModuleType("alone")
package.__path__ = [{str(root)!r}]
sys.modules["alone"] = package
import alone.dataset.part10, alone.dataset.scan, alone.dataset.names, alone.dataset.errors
assert not {{"numpy", "pydicom", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("length", [-200, -30, -8, 0, 8, 5000])
def test_a_wrong_length_of_group_2_is_no_end_of_it(length: int) -> None:
    """Writers get (0002,0000) wrong: elements of the group that follow, or come short of it, count."""
    meta = bytearray(encode_file_meta(**META))
    (declared,) = struct.unpack_from("<L", meta, 140)
    struct.pack_into("<L", meta, 140, max(declared + length, 0))
    header = read_header(bytes(meta) + DATA)
    assert header.data_offset == len(meta)
    assert header.sop_instance_uid == "1.2.3.45"
    assert header.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize("vr", [b"\0\0", b"ab", b"XX", b"\xff\xff", b"12"])
def test_a_data_set_that_looks_like_group_2_is_none_of_it(vr: bytes) -> None:
    """PS3.10 7.1: the group ends where its length says. A deflated stream may begin with 02 00."""
    meta = encode_file_meta(**(META | {"transfer_syntax_uid": "1.2.840.10008.1.2.1.99"}))
    header = read_header(meta + b"\2\0\x10\0" + vr + b"\x40\1" + bytes(500))
    assert header.data_offset == len(meta)
    assert header.transfer_syntax_uid == "1.2.840.10008.1.2.1.99"


def test_a_data_set_of_our_own_file_may_begin_with_group_2() -> None:
    """No data set should; one that came is what it is, and the length that we wrote is right."""
    meta = encode_file_meta(**META)
    data = element(2, 0x10, b"UI", b"1.2.3.4\0") + DATA
    header = read_header(meta + data, own=True)
    assert header.data_offset == len(meta)
    assert header.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize("uid", ["1.2." + "3" * 65, "LOCALIZER2.16.124.1", "1.2..3", "1.2.3-4"])
@pytest.mark.parametrize("prefixed", [True, False])
def test_what_stands_in_a_uids_place_names_the_object(uid: str, prefixed: bool) -> None:
    meta = encode_file_meta(**(META | {"sop_instance_uid": uid})) if prefixed else b""
    data = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    data += element(8, 0x18, b"UI", uid.encode() + b"\0" * (len(uid) % 2))
    assert read_header(meta + data).sop_instance_uid == uid
