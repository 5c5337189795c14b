"""What of files is another thing on Windows: reading at an offset, the position left alone, and forcing."""

from __future__ import annotations

import os
import threading

READ_ONLY: int = os.O_RDONLY | getattr(os, "O_BINARY", 0)
"""Flags to open a file with: elsewhere it would be read as text."""

if hasattr(os, "preadv"):

    def pread(descriptor: int, size: int, offset: int, /) -> bytes:
        """At most so many bytes of a descriptor from an offset on, none at its end."""
        return os.pread(descriptor, size, offset)

    def pread_into(descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill a buffer, or a part of it; how many bytes that were, 0 at the end of the file."""
        return os.preadv(descriptor, [buffer], offset)

else:
    _guard = threading.Lock()  # a position is a descriptor's one, and a thread's for a moment alone

    def pread(descriptor: int, size: int, offset: int, /) -> bytes:
        """At most so many bytes of a descriptor from an offset on, none at its end."""
        with _guard:
            before = os.lseek(descriptor, 0, os.SEEK_CUR)
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
                return os.read(descriptor, size)
            finally:
                os.lseek(descriptor, before, os.SEEK_SET)

    def pread_into(descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill a buffer, or a part of it; how many bytes that were, 0 at the end of the file."""
        data = pread(descriptor, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)


def sync_file(path: str | os.PathLike[str]) -> None:
    """Force a file to the disk. Raises OSError."""
    writing = 0 if hasattr(os, "O_DIRECTORY") else os.O_RDWR  # Windows forces what may be written alone
    fd = os.open(path, READ_ONLY | writing)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
