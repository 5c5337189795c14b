"""What a scan of a data set found."""

from __future__ import annotations

from dataclasses import dataclass

UNSEEN = "elements are not examined"


@dataclass(frozen=True, slots=True)
class PixelLocation:
    """Where the pixel data lie.

    `offset` counts from the start of the scanned buffer (of the inflated data set for a deflated one) to the
    first byte of the value; `length` is that of the value, `None` when it is encapsulated (PS3.5 A.4).
    """

    tag: int
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    values: raw values of the tags asked for, padding included; tags absent or over `max_value` are missing.
    complete: every element up to the last byte lies within its container.
    end: offset behind the last whole top-level element.
    problem: why the data set is not complete, else `None`.
    elements: number of whole top-level elements.
    ordered: the tags ascend strictly, as PS3.5 7.1 demands (so none comes twice).
    oversized: tags asked for that are there, with values over `max_value`.
    truncated: not complete because the bytes end before an element does; otherwise they contradict PS3.5.
    doubt: what in a complete data set is against PS3.5 and was read all the same, the first of it.
    """

    values: dict[int, bytes]
    complete: bool
    end: int
    problem: str | None
    pixel_data: PixelLocation | None
    elements: int
    ordered: bool
    oversized: tuple[int, ...] = ()
    truncated: bool = False
    doubt: str | None = None

    @property
    def unseen(self) -> bool:
        """Not complete for one reason only: a deflated data set goes on behind what is kept of it."""
        return self.problem is not None and self.problem.endswith(UNSEEN)
