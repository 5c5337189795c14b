"""A data set in a file, read through a window that moves with its reader.

A memory map would turn an error of the disk, or a file that somebody cuts short, into SIGBUS, which ends the
process and which no Python code can catch; here both are an OSError of the one who reads.
"""

from __future__ import annotations

import errno
import struct

from .positioned import pread

SMALLEST = 4 * 1024
"""Bytes read where the reader has jumped: behind pixel data, from one frame to the next."""
LARGEST = 256 * 1024
"""Bytes held at most, where it reads on."""


class FileWindow:
    """`size` bytes of an open file from `offset` on, taken by slices, and by headers through `place`.

    The descriptor stays its owner's, who closes it when nobody reads any more. One thread at a time.
    Whatever reads raises OSError, also where the file has become shorter than `size` says.
    """

    __slots__ = ("_descriptor", "_offset", "_size", "base", "held", "whole")

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        self.base: int = 0
        self.held: int = 0
        self.whole: bytes = b""
        """What is held: `held` bytes from `base` on."""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> bytes:
        start, stop, base = where.start, where.stop, self.base
        if start is not None and stop is not None and base <= start <= stop <= base + self.held:
            return self.whole[start - base : stop - base]
        start, stop, _ = where.indices(self._size)
        if stop <= start:
            return b""
        return read_at(self._descriptor, stop - start, self._offset + start)

    def place(self, pos: int, size: int) -> int:
        """Where in `whole` the `size` bytes at `pos` are, which must be few.

        Raises struct.error where the data set ends before, as reading a header from memory does.
        """
        if pos + size > self._size:
            raise struct.error("the data set ends there")
        reads_on = self.base <= pos <= self.base + self.held
        wanted = min(max(2 * self.held, SMALLEST) if reads_on else SMALLEST, LARGEST, self._size - pos)
        self.whole = read_at(self._descriptor, wanted, self._offset + pos)
        self.base, self.held = pos, wanted
        return 0


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """So many bytes of a file. Raises OSError, also where it ends before them."""
    data = pread(descriptor, size, offset)
    while len(data) < size:
        more = pread(descriptor, size - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, f"the file ends at byte {offset + len(data)}: it became shorter")
        data += more
    return data
