"""Part 10 files (PS3.10 7): written as the fragments of a data set arrive, and their headers read."""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from ..pdu.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MAX_NEAR_UID,
    is_near_uid,
)
from .encoding import KNOWN_VRS, LONG_VRS
from .errors import MalformedDataSet, NotDicom, TruncatedFile, UnsafeName
from .found import ScanResult
from .leftovers import part_name
from .positioned import pread
from .scan import scan_beginning, scan_dataset, scanning
from .walk import Steps, to_end
from .window import FileWindow, read_at

MAX_FILE_META = 64 * 1024
"""Bytes the file meta information may take; private information (0002,0102) is what makes it grow."""
SCANNED_HEAD = 32 * 1024
"""Bytes of a data set that a `Part10Writer` looks at as they come."""
_HEAD_ELEMENTS = 1024  # that it walks over in them: with more, they do not tell enough

_PREAMBLE = 128
_FIRST_READ = 4096
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_META_SOP_CLASS = 0x00020002
_META_SOP_INSTANCE = 0x00020003
_META_SYNTAX = 0x00020010


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What the head of a file says; UIDs without padding.

    data_offset: where the data set begins. file_size: of the whole file, in bytes.
    has_meta: False for a bare data set, whose transfer syntax is then a guess.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int
    file_size: int
    has_meta: bool


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What `Part10Writer.scan` is to look for: arguments of `scan_dataset`."""

    tags: frozenset[int] = frozenset()
    max_depth: int = 64
    check_nested: bool = False
    max_elements: int | None = None


_NO_OPTIONS = ScanOptions()


def encode_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    implementation_class_uid: str,
    implementation_version_name: str,
    source_ae: str | None = None,
) -> bytes:
    """Encode the 128-byte preamble of zeros, the prefix and group 2 (PS3.10 7.1).

    Raises UnsafeName for a value that does not fit its VR.
    """
    body = b"".join(
        (
            struct.pack("<HH2s2xL2s", 2, 1, b"OB", 2, b"\0\1"),
            _text(0x0002, b"UI", sop_class_uid, 64, b"\0"),
            _text(0x0003, b"UI", sop_instance_uid, MAX_NEAR_UID, b"\0"),
            _text(0x0010, b"UI", transfer_syntax_uid, 64, b"\0"),
            _text(0x0012, b"UI", implementation_class_uid, 64, b"\0"),
            _text(0x0013, b"SH", implementation_version_name, 16, b" "),
            _text(0x0016, b"AE", source_ae, 16, b" ") if source_ae else b"",
        )
    )
    return bytes(_PREAMBLE) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(body)) + body


def _text(element: int, vr: bytes, value: str, limit: int, pad: bytes) -> bytes:
    if not (value and len(value) <= limit and value.isascii() and value.isprintable() and "\\" not in value):
        raise UnsafeName(f"(0002,{element:04X}) cannot hold {value[:80]!r}: 1 to {limit} plain characters")
    encoded = value.encode("ascii")
    if len(encoded) % 2:
        encoded += pad
    return struct.pack("<HH2sH", 2, element, vr, len(encoded)) + encoded


class Part10Writer:
    """Writes one file under a hidden temporary name in its own directory; `commit` gives it its name.

    `path` is taken relative to `dir_fd` when given; it is only the directory when `named` is false, and
    `commit` is then told the name. `options` are those of `scan`. Whoever opens a writer calls `commit`
    or `discard`, or uses it as a context, whose end discards what was not committed. `write` is for one
    thread at a time; `discard` may be called while another thread is inside `commit`, which ends in
    `FileNotFoundError` unless it was through.

    temporary: where the bytes are until `commit` (relative to `dir_fd` when given).

    Raises OSError when the temporary file cannot be made, `UnsafeName` for values group 2 cannot hold, and
    `FileExistsError` at once, before a byte is received, when `path` exists and `overwrite` is false.
    """

    __slots__ = (
        "_fd",
        "_first_scan",
        "_lock",
        "_options",
        "_state",
        "bytes_written",
        "data_offset",
        "dir_fd",
        "overwrite",
        "path",
        "temporary",
        "transfer_syntax_uid",
    )

    def __init__(
        self,
        path: Path | str,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        implementation_class_uid: str,
        implementation_version_name: str,
        source_ae: str | None = None,
        overwrite: bool = False,
        dir_fd: int | None = None,
        named: bool = True,
        mode: int = 0o644,
        options: ScanOptions = _NO_OPTIONS,
    ) -> None:
        head = encode_file_meta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            implementation_class_uid=implementation_class_uid,
            implementation_version_name=implementation_version_name,
            source_ae=source_ae,
        )
        self.path: Path = Path(path)
        self.transfer_syntax_uid: str = transfer_syntax_uid
        self.dir_fd: int | None = dir_fd
        self.overwrite: bool = overwrite
        self.bytes_written: int = 0
        self.data_offset: int = len(head)
        self._options = options
        self._first_scan: ScanResult | None = None
        directory = os.fspath(path)
        if named:
            directory, name = os.path.split(directory)
            if name in ("", ".", ".."):
                raise UnsafeName(f"{str(path)[:200]!r} names no file")
            if not overwrite and _exists(self.path, dir_fd):
                raise FileExistsError(errno.EEXIST, "the file exists already", str(self.path))
        self.temporary: str = os.path.join(directory, part_name())
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self.temporary, flags, mode, dir_fd=dir_fd)
        self._state = "open"  # then "committing", perhaps "unwanted", and "done"
        self._lock = threading.Lock()
        try:
            _write_all(self._fd, head)
        except OSError:
            self.discard()
            raise

    def fileno(self) -> int:
        """The open descriptor, for reading back what was written; raises `ValueError` once closed."""
        if self._fd < 0:
            raise ValueError("the writer is closed")
        return self._fd

    def write(self, view: memoryview | bytes, /) -> None:
        """Append a fragment of the encoded data set.

        The bytes are in the file when this returns, so a lent view may be reused. Raises OSError (a full
        disk, a quota); the caller then calls `discard`.
        """
        _write_all(self.fileno(), view)
        if not self.bytes_written:
            self._first_scan = self._scan_beginning(view)
        self.bytes_written += len(view)

    def window(self) -> FileWindow:
        """The data set written so far, to be scanned before `commit`."""
        return FileWindow(self.fileno(), self.data_offset, self.bytes_written)

    def _scan_beginning(self, view: memoryview | bytes) -> ScanResult | None:
        options, most = self._options, self._options.max_elements
        return scan_beginning(
            view[:SCANNED_HEAD],
            self.transfer_syntax_uid,
            options.tags,
            max_depth=options.max_depth,
            check_nested=options.check_nested,
            max_elements=_HEAD_ELEMENTS if most is None else min(most, _HEAD_ELEMENTS),
        )

    @property
    def scanned(self) -> ScanResult | None:
        """What the first fragment told, where that is all there is to know and `scan` reads nothing."""
        found = self._first_scan
        return found if found is not None and found.end == self.bytes_written else None

    def scan(self) -> ScanResult:
        """Scan the data set written so far for what the writer was told to look for, as `scan_dataset` does.

        The first fragment, looked at when it came, tells all there is to know of most images, whose rest is
        pixels: that is known when the last byte comes, and not begun then. Only where it does not is the
        file read. Raises OSError.
        """
        return to_end(self.scanning())

    def scanning(self) -> Steps[ScanResult]:
        """`scan` in steps, as `scan.scanning` does."""
        if self.scanned is not None:
            return self.scanned
        data: bytes | FileWindow = self.window()
        if self.bytes_written <= SCANNED_HEAD:
            data = read_at(self.fileno(), self.bytes_written, self.data_offset)
        options = self._options
        return (
            yield from scanning(
                data,
                self.transfer_syntax_uid,
                options.tags,
                max_depth=options.max_depth,
                check_nested=options.check_nested,
                max_elements=options.max_elements,
            )
        )

    def commit(
        self, durability: Literal["fsync", "rename"] = "fsync", *, path: Path | str | None = None
    ) -> Path:
        """Give the file its name, after forcing it to the disk when `durability` is "fsync"; returns `path`.

        A `path` given here replaces the one the writer was made with; it lies on the same file system.

        May take long: call it on a thread. Raises FileExistsError when the name was taken meanwhile and
        `overwrite` is false: it can be committed by another. No file stays after any other `OSError`.
        """
        with self._lock:
            if self._state != "open":
                raise FileNotFoundError(errno.ENOENT, "committed or discarded already", str(self.path))
            self._state = "committing"
        if path is not None:
            self.path = Path(path)
        try:
            if durability == "fsync" and self._fd >= 0:  # it is, where its first name was taken
                os.fsync(self._fd)
            self._close()  # Windows gives no other name to a file that is open
            with self._lock:
                if self._state == "unwanted":
                    raise FileNotFoundError(errno.ENOENT, "the file was discarded", str(self.path))
                self._state = "open"
                self._publish()
                self._state = "done"
        except FileExistsError:
            raise
        except OSError:
            self._state = "open"
            self.discard()
            raise
        if durability == "fsync":
            sync_directory(os.path.dirname(os.fspath(self.path)) or ".", self.dir_fd)
        return self.path

    def _publish(self) -> None:
        source, target, at = self.temporary, os.fspath(self.path), self.dir_fd
        if self.overwrite:
            os.replace(source, target, src_dir_fd=at, dst_dir_fd=at)
            return
        try:
            os.link(source, target, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            # No hard links here: an empty file made exclusively holds the name until it is replaced.
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at))
            try:
                os.replace(source, target, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                os.unlink(target, dir_fd=at)
                raise
            return
        os.unlink(source, dir_fd=at)

    def discard(self) -> None:
        """Close and remove the temporary file, at any time and any number of times; never raises."""
        with self._lock:
            if self._state == "committing":
                self._state = "unwanted"
            if self._state != "open":
                return
            self._state = "done"
        self._close()
        try:
            os.unlink(self.temporary, dir_fd=self.dir_fd)
        except OSError:
            return  # gone already, with its directory: nothing stays, which is what was asked

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                return  # the descriptor is released whatever close says; fsync has reported what matters

    def __enter__(self) -> Part10Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _exists(path: Path, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _write_all(fd: int, data: memoryview | bytes) -> None:
    written = os.write(fd, data)
    if written == len(data):
        return
    with memoryview(data) as view:
        while written < len(view):
            written += os.write(fd, view[written:])


def sync_directory(directory: str, dir_fd: int | None = None) -> None:
    """Force a directory's entries to the disk; nothing where a system has no such thing. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # no such thing as a directory's descriptor on this system
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_header(
    source: Path | str | bytes | bytearray | memoryview | int, *, own: bool = False
) -> FileHeader:
    """Read the head of a file given by path, open descriptor (its position is left alone) or content.

    Only a few kilobytes are read. A file without meta information is recognised by its first elements; SOP
    UIDs that group 2 lacks are the data set's. own: a `Part10Writer` wrote it: group 2 ends where it says.
    Raises OSError; `NotDicom`; `TruncatedFile` when the file ends inside group 2; `MalformedDataSet` when
    group 2 is broken or larger than `MAX_FILE_META`.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        with memoryview(source) as view:
            return _read(lambda size: view[:size].tobytes(), len(view), "the data", own)
    if isinstance(source, int):
        return _read_descriptor(source, f"descriptor {source}", own)
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    fd = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotDicom(f"{os.fspath(source)!r} is no regular file")
        return _read_descriptor(fd, f"{os.fspath(source)!r}", own)
    finally:
        os.close(fd)


def _read_descriptor(fd: int, name: str, own: bool) -> FileHeader:
    return _read(lambda size: pread(fd, size, 0), os.fstat(fd).st_size, name, own)


def _read(begin: Callable[[int], bytes], size: int, name: str, own: bool) -> FileHeader:
    """Parse a head in two attempts; `begin` returns that many first bytes of it."""
    head = begin(_FIRST_READ)
    try:
        header = _parse(head, size, name, own)
    except (TruncatedFile, NotDicom):  # perhaps only because of the short read
        if size <= len(head):
            raise
        header = None
    if header is None or not (header.sop_class_uid and header.sop_instance_uid):
        header = _parse(begin(2 * MAX_FILE_META), size, name, own)
    return header


def _parse(head: bytes, size: int, name: str, own: bool) -> FileHeader:
    """Parse the head of a file; `head` may be shorter than the file."""
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        start = _PREAMBLE + 4
    elif head[:2] == b"\2\0" and head[4:6].isalpha():
        start = 0  # group 2 without preamble and prefix: some archives hand this out
    else:
        return _parse_bare(head, size, name)
    meta, offset = _parse_meta(head, start, size, name, own)
    syntax = meta.get(_META_SYNTAX) or _guess_syntax(head[offset:])
    if not syntax:
        raise MalformedDataSet(f"{name} names no transfer syntax and its data set fits none")
    sop_class, sop_instance = meta.get(_META_SOP_CLASS, ""), meta.get(_META_SOP_INSTANCE, "")
    if not (sop_class and sop_instance):
        found = _sop_uids(head[offset:], syntax)
        sop_class, sop_instance = sop_class or found[0], sop_instance or found[1]
    return FileHeader(sop_class, sop_instance, syntax, offset, size, True)


def _parse_meta(head: bytes, at: int, size: int, name: str, own: bool) -> tuple[dict[int, str], int]:
    """Text values of group 2, and the offset behind it.

    The group ends where (0002,0000) says (PS3.10 7.1), unless an element of it follows or comes short of
    that: writers get the length wrong. What follows may look like group 2: a deflated data set does.
    """
    found: dict[int, str] = {}
    pos, declared = at, -1
    while pos < size:
        if pos + 8 > len(head):
            raise TruncatedFile(f"{name} ends inside its file meta information, at byte {pos} of {size}")
        group, element, vr, length = struct.unpack_from("<HH2sH", head, pos)
        if group != 2 or (pos == declared and (own or vr not in KNOWN_VRS)):
            break
        if not (vr.isalpha() and vr.isupper()):
            raise MalformedDataSet(f"{name}: (0002,{element:04X}) at byte {pos} has no value representation")
        value = pos + 8
        if vr in LONG_VRS:
            if pos + 12 > len(head):
                raise TruncatedFile(f"{name} ends inside its file meta information, at byte {pos} of {size}")
            (length,) = struct.unpack_from("<L", head, pos + 8)
            value = pos + 12
        pos = value + length
        if pos > at + MAX_FILE_META:
            raise MalformedDataSet(f"{name}: file meta information of more than {MAX_FILE_META} bytes")
        if pos > len(head):
            raise TruncatedFile(f"{name} ends inside (0002,{element:04X}), at byte {size}")
        if not element and length == 4:
            declared = pos + struct.unpack_from("<L", head, value)[0]
        if vr == b"UI":
            found[2 << 16 | element] = _uid(head[value:pos])
    return found, pos


def _parse_bare(head: bytes, size: int, name: str) -> FileHeader:
    """A data set without meta information; a writer that cut the meta off may leave its last padding byte."""
    for offset in (0, 1):
        syntax = _guess_syntax(head[offset:])
        sop_class, sop_instance = _sop_uids(head[offset:], syntax) if syntax else ("", "")
        if sop_class and sop_instance:
            return FileHeader(sop_class, sop_instance, syntax, offset, size, False)
    raise NotDicom(f"{name} is no DICOM file: no prefix DICM, and it does not begin as a data set does")


def _guess_syntax(data: bytes) -> str:
    """The uncompressed transfer syntax the first element (of a low, even group) is encoded in, or ""."""
    if len(data) < 8:
        return ""
    group, _, vr, _ = struct.unpack_from("<HH2sH", data)
    explicit = vr.isalpha() and vr.isupper()
    if group in (4, 8):
        return EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
    if group in (0x0400, 0x0800) and explicit:
        return EXPLICIT_VR_BIG_ENDIAN
    return ""


def _sop_uids(data: bytes, syntax: str) -> tuple[str, str]:
    values = scan_dataset(data, syntax, (_SOP_CLASS, _SOP_INSTANCE), max_value=MAX_NEAR_UID).values
    return _uid(values.get(_SOP_CLASS, b"")), _uid(values.get(_SOP_INSTANCE, b""))


def _uid(value: bytes) -> str:
    """Decode a UID without padding; "" for what could not even stand in its place."""
    text = value.rstrip(b"\0 ").decode("ascii", "replace")
    return text if is_near_uid(text) else ""
