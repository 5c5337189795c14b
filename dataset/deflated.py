"""Deflated data sets (PS3.5 A.5), inflated in a bounded stream."""

from __future__ import annotations

import zlib

DEFLATED_SYNTAXES = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

MAX_INFLATED = 256 * 1024 * 1024
"""Bytes a deflated data set may grow to before the scan gives up on it."""
INFLATED_WINDOW = 4 * 1024 * 1024
"""Bytes of an inflated data set kept for the walk; what lies behind is counted and dropped."""
_INFLATE_STEP = 64 * 1024


def inflate(view: memoryview, limit: int, keep: int = INFLATED_WINDOW) -> tuple[bytearray, int, str | None]:
    """Inflate (RFC 1951, PS3.5 A.5): the first `keep` bytes or a little more, the size, what went wrong."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    window = bytearray()
    total = 0
    try:
        for start in range(0, len(view), _INFLATE_STEP):
            todo: bytes | memoryview = view[start : start + _INFLATE_STEP]
            while todo and not stream.eof:
                grown = stream.decompress(todo, _INFLATE_STEP)
                todo = stream.unconsumed_tail
                total += len(grown)
                if len(window) < keep:
                    window += grown
                if total > limit:
                    return window, total, f"the deflated data set inflates to more than {limit} bytes"
            if stream.eof:
                break
    except zlib.error as error:
        return window, total, f"the deflated data set is damaged after {total} inflated bytes ({error})"
    if not stream.eof:
        return window, total, f"the deflated data set is cut off after {total} inflated bytes"
    return window, total, None
