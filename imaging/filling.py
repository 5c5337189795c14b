"""Frames read into one new array, each into its place, rescaled on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedPixels, naming
from .modality import ModalityTable
from .pixels import EncapsulatedPixels, FilePixels, PixelSource

Empty: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]
"""What makes a new array of a shape and a type."""


class Rescaled(Protocol):
    """A frame of a source, and its rescale."""

    @property
    def source(self) -> str:
        """What errors call where it comes from."""
        ...

    @property
    def pixels(self) -> PixelSource:
        """Where the frame is read from."""
        ...

    @property
    def index(self) -> int:
        """The frame's zero-based number there."""
        ...

    @property
    def slope(self) -> float:
        """Of the modality rescale."""
        ...

    @property
    def intercept(self) -> float:
        """Of the modality rescale."""
        ...

    @property
    def table(self) -> ModalityTable | None:
        """The modality look-up table that counts in the rescale's place."""
        ...


def scaled(stored: int, rescale: tuple[float, float], kind: np.dtype[Any]) -> Any:
    """The voxel of type `kind` that a stored value became in `fill`."""
    slope, intercept = rescale
    if kind.kind in "iu":
        return stored * int(slope) + int(intercept)
    return kind.type(np.float64(stored) * slope + intercept)


def fill(frames: Sequence[Rescaled], *, stored: bool = False, double: bool = False) -> NDArray[Any]:
    """Read frames of one size into a new array (frames, rows, columns), rescaled one by one.

    Values are exact: they keep the stored type when nothing is rescaled, become the smallest signed integers
    that hold them (at least as wide as stored) when all slopes and intercepts are whole, else 32-bit floats
    (64-bit if `double`) computed in 64 bits. stored: no rescale at all. The array is allocated once; only
    integers that outgrow their type are copied. Encapsulated frames are decoded on all cores.
    """
    first = frames[0].pixels.format
    if first.samples > 1:
        return _fill_colours(frames)
    if not stored and any(frame.table is not None for frame in frames):
        return _fill_tabled(frames, np.empty((len(frames), first.rows, first.columns), _table_type(frames)))
    kind = np.result_type(*{frame.pixels.format.dtype for frame in frames})
    shape = (len(frames), first.rows, first.columns)
    plain = stored or all(frame.slope == 1 and frame.intercept == 0 for frame in frames)
    whole = kind.kind != "f" and all(_is_whole(frame) for frame in frames)
    if not whole and not plain:
        return _fill_floats(
            frames, np.empty(shape, np.float64 if double or kind == np.float64 else np.float32)
        )
    values = np.empty(shape, kind)
    known = None if plain else _known_type(frames, kind)
    if known is not None:
        return _fill_integers(frames, values, known)
    ends: list[tuple[int, int]] = [(0, 0)] * len(frames)

    def read(number: int) -> None:
        frame, place = frames[number], values[number]
        read_into(place, frame)
        if not plain:
            ends[number] = _ends(place, frame)

    for_each(frames, read)
    if plain:
        return values
    return _widened(frames, values, ends, np.empty)


def finish(
    frames: Sequence[Rescaled],
    values: NDArray[Any],
    *,
    stored: bool,
    double: bool,
    empty: Empty = np.empty,
) -> NDArray[Any]:
    """What `fill` makes, of frames that lie in `values` already; in place where their type allows it.

    empty: makes the array where it does not.
    """
    if frames[0].pixels.format.samples > 1 or stored:
        return values
    if any(frame.table is not None for frame in frames):
        kind = _table_type(frames)
        same = kind.itemsize == values.dtype.itemsize
        return _fill_tabled(frames, values.view(kind) if same else empty(values.shape, kind))
    if all(frame.slope == 1 and frame.intercept == 0 for frame in frames):
        return values
    if values.dtype.kind == "f" or not all(_is_whole(frame) for frame in frames):
        wide = np.dtype(np.float64 if double or values.dtype == np.float64 else np.float32)
        same = wide.itemsize == values.dtype.itemsize
        floats = values.view(wide) if same else empty(values.shape, wide)
        for place, plane, frame in zip(floats, values, frames, strict=True):
            place[...] = _float(plane, frame)
        return floats
    known = _known_type(frames, values.dtype)
    if known is None:
        ends = [_ends(place, frame) for place, frame in zip(values, frames, strict=True)]
        return _widened(frames, values, ends, empty)
    result = values.view(known)
    for place, plane, frame in zip(result, values, frames, strict=True):
        _rescale(place, plane, frame)
    return result


def _is_whole(frame: Rescaled) -> bool:
    return frame.slope == int(frame.slope) and frame.intercept == int(frame.intercept)


def _ends(plane: NDArray[Any], frame: Rescaled) -> tuple[int, int]:
    """What the lowest and the highest stored value become."""
    slope, intercept = int(frame.slope), int(frame.intercept)
    return int(plane.min()) * slope + intercept, int(plane.max()) * slope + intercept


def _widened(
    frames: Sequence[Rescaled],
    values: NDArray[Any],
    ends: Sequence[tuple[int, int]],
    empty: Empty,
) -> NDArray[Any]:
    """Stored integers rescaled, in the smallest type that holds them and is no narrower."""
    kind, shape = values.dtype, values.shape
    farthest = max(range(len(ends)), key=lambda number: max(map(abs, ends[number])))
    with naming(frames[farthest].source):
        target = _signed_type(kind, min(map(min, ends)), max(map(max, ends)))
    result = values.view(target) if target.itemsize == kind.itemsize else empty(shape, target)
    for place, plane, frame in zip(result, values, frames, strict=True):
        _rescale(place, plane, frame)
    return result


def _known_type(frames: Sequence[Rescaled], kind: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type of the result where the stored bits alone tell it, and it is as wide as they are stored."""
    ends = []
    for form, slope, intercept in {(one.pixels.format, one.slope, one.intercept) for one in frames}:
        low = -(1 << (form.bits_stored - 1)) if form.signed else 0
        ends += [end * int(slope) + int(intercept) for end in (low, low + (1 << form.bits_stored) - 1)]
    limit = 1 << (8 * kind.itemsize - 1)
    fits = -limit <= min(ends) and max(ends) < limit
    return np.dtype(f"i{kind.itemsize}") if fits else None


def _fill_integers(frames: Sequence[Rescaled], values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Read and rescale in one pass, each part of a frame while it is at hand."""
    result = values.view(kind)

    def read(number: int) -> None:
        frame = frames[number]
        read_into(values[number], frame, lambda part: _rescale(part.view(kind), part, frame))

    for_each(frames, read)
    return result


def _rescale(place: NDArray[Any], plane: NDArray[Any], frame: Rescaled) -> None:
    """Stored integers as whole values, which `place` can hold; it may be the same memory."""
    if frame.slope == 1:
        # In the width of the target sums may wrap on the way, never in the end.
        same = plane.dtype.itemsize == place.dtype.itemsize
        stored = plane.view(place.dtype) if same else plane.astype(place.dtype)
        np.add(stored, np.array(int(frame.intercept)).astype(place.dtype), out=place)
    else:
        place[...] = plane.astype(np.int64) * int(frame.slope) + int(frame.intercept)


def read_into(
    place: NDArray[Any], frame: Rescaled, then: Callable[[NDArray[Any]], object] | None = None
) -> None:
    """The stored values of a frame, straight into their place where bytes need no change of type.

    then: called with each part of the place that has its values.
    """
    source = frame.pixels
    if isinstance(source, FilePixels) and place.dtype == source.format.dtype and place.flags.c_contiguous:
        source.read_into(place, frame.index, then)
    else:
        place[...] = source.stored(frame.index)
        if then is not None:
            then(place)


def for_each(frames: Sequence[Rescaled], work: Callable[[int], None]) -> None:
    """Call `work` with each frame's number, on all cores where frames are decoded without Python's lock.

    Errors name the frame's source.
    """

    def named(number: int) -> None:
        with naming(frames[number].source):
            work(number)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or len(frames) == 1 or not isinstance(frames[0].pixels, EncapsulatedPixels):
        for number in range(len(frames)):
            named(number)
        return
    with ThreadPoolExecutor(cores) as pool:
        jobs = [pool.submit(named, number) for number in range(len(frames))]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _fill_colours(frames: Sequence[Rescaled]) -> NDArray[Any]:
    with naming(frames[0].source):
        first = frames[0].pixels.stored(frames[0].index)
    values = np.empty((len(frames), *first.shape), first.dtype)

    def read(number: int) -> None:
        colours = frames[number].pixels.stored(frames[number].index) if number else first
        if colours.shape != first.shape or colours.dtype != first.dtype:
            raise UnsupportedPixels(f"colours of {colours.dtype} lie beside such of {first.dtype}")
        values[number] = colours

    for_each(frames, read)
    return values


def _table_type(frames: Sequence[Rescaled]) -> np.dtype[Any]:
    """The type that holds the entries of all tables. UnsupportedPixels where only some frames have one."""
    kinds = {frame.table.entries.dtype for frame in frames if frame.table is not None}
    without = next((frame for frame in frames if frame.table is None), None)
    if without is not None:
        raise UnsupportedPixels(f"{without.source} has no modality look-up table, and others here have one")
    return np.result_type(*kinds)


def _fill_tabled(frames: Sequence[Rescaled], values: NDArray[Any]) -> NDArray[Any]:
    def read(number: int) -> None:
        frame = frames[number]
        if frame.table is not None:
            values[number] = frame.table.apply(frame.pixels.stored(frame.index))

    for_each(frames, read)
    return values


def _fill_floats(frames: Sequence[Rescaled], values: NDArray[Any]) -> NDArray[Any]:
    def read(number: int) -> None:
        frame = frames[number]
        values[number] = _float(frame.pixels.stored(frame.index), frame)

    for_each(frames, read)
    return values


def _float(plane: NDArray[Any], frame: Rescaled) -> NDArray[Any]:
    """Stored values rescaled in 64 bits."""
    floats: NDArray[Any] = plane * np.float64(frame.slope) + frame.intercept
    return floats


def _signed_type(stored: np.dtype[Any], low: int, high: int) -> np.dtype[Any]:
    for size in (1, 2, 4, 8):
        limit = 1 << (8 * size - 1)
        if size >= stored.itemsize and -limit <= low and high < limit:
            return np.dtype(f"i{size}")
    raise UnsupportedPixels("the rescaled values do not fit into 64 bits")
