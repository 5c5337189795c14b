"""Deflated data sets (PS3.5 A.5), inflated in a bounded stream."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from dataclasses import dataclass

from .encoding import View
from .walk import to_end

DEFLATED_SYNTAXES = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

MAX_INFLATED = 256 * 1024 * 1024
"""Bytes a deflated data set may grow to before the scan gives up on it."""
INFLATED_WINDOW = 4 * 1024 * 1024
"""Bytes of an inflated data set kept for the walk; what lies behind is counted and dropped."""
_INFLATE_STEP = 64 * 1024
INFLATED_STEPS = 16
"""Steps between two pauses."""


@dataclass(frozen=True, slots=True)
class Inflated:
    """The first bytes, the size of all there are, what went wrong, and whether that is a missing end."""

    window: bytearray
    total: int
    problem: str | None = None
    truncated: bool = False


def inflate(view: View, limit: int, keep: int = INFLATED_WINDOW) -> Inflated:
    """Inflate (RFC 1951, PS3.5 A.5) up to `limit` bytes, keeping the first `keep` or a little more."""
    return to_end(inflating(view, limit, keep))


def inflating(view: View, limit: int, keep: int = INFLATED_WINDOW) -> Generator[None, None, Inflated]:
    """`inflate`, with a pause after each `INFLATED_STEPS` steps."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    window = bytearray()
    total = steps = 0
    try:
        for start in range(0, len(view), _INFLATE_STEP):
            todo: bytes | memoryview = view[start : start + _INFLATE_STEP]
            more = True
            while more and not stream.eof:
                grown = stream.decompress(todo, _INFLATE_STEP)
                todo = stream.unconsumed_tail
                # zlib may hold what did not fit after all input has been taken
                more = bool(todo) or len(grown) == _INFLATE_STEP
                total += len(grown)
                if len(window) < keep:
                    window += grown
                if total > limit:
                    return Inflated(window, total, f"the deflated data set inflates over {limit} bytes")
                steps += 1
                if steps % INFLATED_STEPS == 0:
                    yield
            if stream.eof:
                break
    except zlib.error as error:
        words = f"the deflated data set is damaged after {total} inflated bytes ({error})"
        return Inflated(window, total, words)
    if not stream.eof:
        words = f"the deflated data set is cut off after {total} inflated bytes, without its end"
        return Inflated(window, total, words, truncated=True)
    return Inflated(window, total)
