"""How pixels are stored (PS3.3 C.7.6.3), and stored values out of the cells they lie in (PS3.5 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedPixels

PALETTE = "PALETTE COLOR"
"""Photometric interpretation of indices into a palette (PS3.3 C.7.6.3.1.2)."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_float: bool
    photometric: str

    def checked(self, name: str) -> PixelFormat:
        """Return itself, or raise `UnsupportedPixels` when the numbers cannot be meant."""
        if (
            min(self.rows, self.columns, self.frames, self.samples) < 1
            or max(self.rows, self.columns) > 65535
        ):
            raise UnsupportedPixels(
                f"{name}: {self.rows} rows, {self.columns} columns, {self.frames} frames are no image"
            )
        if self.bits_allocated not in (1, 8, 16, 32, 64):
            raise UnsupportedPixels(f"{name}: {self.bits_allocated} bits are allocated to a pixel")
        if not (0 < self.bits_stored <= self.bits_allocated and self.bits_stored <= self.high_bit + 1):
            raise UnsupportedPixels(
                f"{name}: bits stored {self.bits_stored} and high bit {self.high_bit} contradict"
            )
        if self.high_bit >= self.bits_allocated or (self.is_float and self.bits_allocated not in (32, 64)):
            raise UnsupportedPixels(f"{name}: high bit {self.high_bit} of {self.bits_allocated} bits")
        return self

    @property
    def is_plain(self) -> bool:
        """One grey sample of whole bytes: rows of it can be read straight from a file."""
        return self.samples == 1 and self.bits_allocated >= 8

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def shown_as(self) -> str:
        """What values mean: all colours of several samples are read as RGB."""
        return "RGB" if self.samples > 1 else self.photometric

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values, in this machine's byte order."""
        if self.is_float:
            return np.dtype(f"f{self.bits_allocated // 8}")
        return np.dtype(f"{'i' if self.signed else 'u'}{max(self.bits_allocated // 8, 1)}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, decoded; of a plain one also in the file."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)

    @property
    def cell_bytes(self) -> int:
        """Bytes of one encoded frame of one sample by itself: single bits packed, beginning at a byte."""
        if self.bits_allocated == 1:
            return (self.rows * self.columns + 7) // 8
        return self.rows * self.columns * self.bits_allocated // 8

    @property
    def encoded_bytes(self) -> int:
        """Bytes all frames take when not compressed (PS3.5 8.1.1; PS3.3 C.7.6.3.1.2 for 4:2:2)."""
        if self.bits_allocated == 1:
            return (self.rows * self.columns * self.samples * self.frames + 7) // 8
        halved = self.photometric == "YBR_FULL_422" and self.samples == 3
        return self.frame_bytes * self.frames * 2 // 3 if halved else self.frame_bytes * self.frames


def unpack(values: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Bring stored values to this machine's byte order and clear, or extend the sign over, the bits beside
    them.

    Overlays and other leftovers may lie in those bits (PS3.5 8.1.1). `values` may be changed in place.
    """
    if not values.dtype.isnative:
        values = values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
    if form.is_float or form.bits_stored == form.bits_allocated:
        return values
    if form.high_bit == form.bits_stored - 1:
        beyond = 1 << (form.bits_stored - form.signed)
        if values.max() < beyond and (not form.signed or values.min() >= -beyond):
            return values  # looking is faster than writing
        if not form.signed:
            values &= values.dtype.type(beyond - 1)
            return values
    above = form.bits_allocated - 1 - form.high_bit
    if above:
        values <<= above
    values >>= form.bits_allocated - form.bits_stored
    return values
