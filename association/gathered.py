"""Small fragments of one read, handed on in one piece: what they cost goes by bytes, not by their number."""

from __future__ import annotations

from collections.abc import Callable

SMALL = 4096
"""Bytes of a fragment from which on it is handed on as it is: to copy less is cheaper than a write."""


class Gathered:
    """Fragments of one data set, in order; the views it is given are held until `flush`, no longer."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[memoryview] = []

    def add(self, data: memoryview, write: Callable[[memoryview], None]) -> None:
        """Take a fragment: a large one is written, behind what was gathered."""
        if len(data) < SMALL:
            self._parts.append(data)
        else:
            self.flush(write)
            write(data)

    def flush(self, write: Callable[[memoryview], None]) -> None:
        """Write what was gathered, if anything was."""
        parts = self._parts
        if parts:
            self._parts = []
            write(parts[0] if len(parts) == 1 else memoryview(b"".join(parts)))

    def clear(self) -> None:
        """Nobody wants it any more."""
        self._parts = []
