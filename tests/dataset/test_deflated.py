"""Deflated data sets: whether one ends is known, whatever its size is to the steps it is inflated in."""

from __future__ import annotations

import zlib

import pytest
from aiodicom.dataset.deflated import inflate

STEP = 64 * 1024


def deflate(raw: bytes) -> bytes:
    squeezed = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return squeezed.compress(raw) + squeezed.flush()


@pytest.mark.parametrize("steps", [1, 2, 256])
@pytest.mark.parametrize("beside", [*range(-3, 4), 258])
def test_a_stream_is_inflated_to_its_end(steps: int, beside: int) -> None:
    size = steps * STEP + beside
    data = deflate(bytes(size))
    found = inflate(memoryview(data), size, size)
    assert (found.total, bytes(found.window), found.problem) == (size, bytes(size), None)
    over = inflate(memoryview(data), size - 1, size)
    assert over.problem is not None
    assert f"inflates over {size - 1} bytes" in over.problem
    cut = inflate(memoryview(data[:-1]), size, size)
    assert cut.truncated
    assert cut.problem is not None
