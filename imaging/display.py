"""What a notebook shows of pixels: a small PNG, without matplotlib."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 512
"""Pixels of the longer side of what is shown; larger images are thinned out."""


def ends(
    window: tuple[float, float] | None, pixels: NDArray[Any], percent: tuple[float, float] = (0, 100)
) -> tuple[float, float]:
    """The values shown black and white: those of a window (center, width), else `percent` of the pixels."""
    if window is not None and window[1] > 0:
        return window[0] - window[1] / 2, window[0] + window[1] / 2
    known = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known.view(np.uint8) if known.dtype == np.bool_ else known, percent)
    return float(low), float(max(high, low + 1e-6))


def colours_of(indices: NDArray[Any], colormap: NDArray[np.float64]) -> NDArray[np.uint8]:
    """RGB of 8 bits, (..., 3), of indices into a palette (entries, 3) from 0 to 1; beyond it its ends."""
    colours = np.rint(colormap * 255).astype(np.uint8)
    shown: NDArray[np.uint8] = colours[np.clip(indices, 0, len(colours) - 1)]
    return shown


def grey(pixels: NDArray[Any], window: tuple[float, float] | None, *, inverted: bool) -> NDArray[np.uint8]:
    """Pixels (rows, columns) as eight bits, through a window (center, width) or from darkest to brightest."""
    step = max(1, -(-max(pixels.shape[:2]) // LARGEST))
    shown = np.asarray(pixels[::step, ::step], dtype=np.float64)
    low, high = ends(window, shown)
    scaled = np.clip((shown - low) / (high - low), 0.0, 1.0)
    eight: NDArray[np.uint8] = (np.nan_to_num(1.0 - scaled if inverted else scaled) * 255).astype(np.uint8)
    return eight


def png_of_colours(pixels: NDArray[Any]) -> bytes:
    """A PNG of RGB pixels (rows, columns, 3); brighter than 255 is scaled down."""
    step = max(1, -(-max(pixels.shape[:2]) // LARGEST))
    top = float(pixels.max()) or 1.0
    return png((pixels[::step, ::step] * (255 / max(top, 255.0))).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of pixels (rows, columns) or (rows, columns, 3) (ISO/IEC 15948)."""
    rows, columns = pixels.shape[:2]
    lines = np.zeros((rows, pixels[0].size + 1), dtype=np.uint8)  # each begins with its filter: none
    lines[:, 1:] = pixels.reshape(rows, -1)
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
