"""Frames sorted into the one stack they form, or an error that says why they form none."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, TypedDict, get_args

import numpy as np

from ..dataset.errors import ImagingError
from .axes import Table, instance_number, table_of
from .elements import attribute
from .errors import (
    DuplicateSlices,
    IrregularGeometry,
    SlicesMissing,
    UnsupportedPixels,
    naming,
)
from .frames import POSITION, Frame
from .geometry import VolumeGeometry
from .piles import LeftOut, choose, describe, piles_of
from .records import Axis
from .segments import whole_grid
from .space import Floats, rounding_of, slice_normal, slice_order, tolerance_of

OnGap: TypeAlias = Literal["raise", "keep"]
OnDuplicate: TypeAlias = Literal["raise", "first", "last"]
OnBroken: TypeAlias = Literal["raise", "leave out"]
Values: TypeAlias = Literal["rescaled", "stored"]

GAP_FACTOR = 1.5
"""A step longer than this times the usual one means that slices are absent."""
LARGEST_MM = 1e6
SMALLEST_MM = 1e-6
"""A kilometre and a nanometre: no place and no spacing beyond is meant, nor could be computed with."""
_SPACING = 0x00280030
_NAMED = 4  # files a message names


class ReadOptions(TypedDict, total=False):
    """What the caller of `Volume.from_files` may choose; explained there."""

    series_uid: str | None
    on_gap: OnGap
    on_duplicate: OnDuplicate
    on_broken: OnBroken
    tolerance_mm: float | None
    values: Values
    double: bool


@dataclass(frozen=True, slots=True)
class StackOptions:
    """The same, checked."""

    series_uid: str | None = None
    on_gap: OnGap = "raise"
    on_duplicate: OnDuplicate = "raise"
    on_broken: OnBroken = "raise"
    tolerance_mm: float | None = None
    values: Values = "rescaled"
    double: bool = False

    def __post_init__(self) -> None:
        for name, kind in (
            ("on_gap", OnGap),
            ("on_duplicate", OnDuplicate),
            ("on_broken", OnBroken),
            ("values", Values),
        ):
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(map(repr, get_args(kind)))
                raise ValueError(f"{name}={getattr(self, name)!r}: there is {choices}")
        if self.tolerance_mm is not None and not 0 <= self.tolerance_mm < math.inf:
            raise ValueError(f"tolerance_mm={self.tolerance_mm!r} is no distance")


class Stack(NamedTuple):
    """Frames in the order of (*axes, slice), one for each position along them, and what they make."""

    frames: tuple[Frame, ...]
    axes: tuple[Axis, ...]
    geometry: VolumeGeometry
    left_out: tuple[LeftOut, ...]
    assumptions: tuple[str, ...]


def build_stack(given: Sequence[Frame], refused: Sequence[LeftOut], options: StackOptions) -> Stack:
    """Choose, sort and check frames. refused: what was left out before, for the report.

    Raises the errors `Volume.from_files` names.
    """
    left_out = list(refused)
    frames = choose(_once(given, left_out), left_out, options.series_uid)
    return _sorted(frames, left_out, options)


def build_stacks(
    given: Sequence[Frame], refused: Sequence[LeftOut], options: StackOptions
) -> Iterator[Stack]:
    """Every stack there is, one after the other; what forms none is told at its turn, or left out."""
    left_out = list(refused)
    wanted = [frame for frame in _once(given, left_out) if options.series_uid in (None, frame.series_uid)]
    piles = piles_of(wanted)
    if options.on_broken == "raise":
        for pile in piles:
            yield _sorted(pile, list(left_out), options)
        return
    stacks = []
    for pile in piles:
        told = len(left_out)
        try:
            stacks.append(_sorted(pile, left_out, options))
        except ImagingError as error:
            left_out[told:] = [LeftOut(describe(pile), str(error))]
    for stack in stacks:
        yield stack._replace(left_out=tuple(left_out))


def _sorted(frames: list[Frame], left_out: list[LeftOut], options: StackOptions) -> Stack:
    """A stack of frames that belong together, checked."""
    frames = whole_grid(frames) if any(frame.variants.get("segment") for frame in frames) else frames
    for frame in frames:
        _check_usable(frame, options)
    orientation = frames[0].orientation or ()
    with naming(frames[0].name):
        normal = slice_normal(orientation)
    order = slice_order([frame.position or () for frame in frames], normal)
    groups = _by_position([frames[place] for place in order.tolist()], normal, options)
    table = _laid_out(groups, left_out, options)
    slices = table.volumes[0]
    positions = np.array([frame.position for frame in slices], np.float64)
    if options.on_gap == "raise":
        _check_gaps(slices, positions @ normal)
    thickness = slices[0].thickness or 1.0
    form = slices[0].pixels.format
    geometry = VolumeGeometry.from_slices(
        (len(slices), form.rows, form.columns),
        positions,
        [frame.orientation or () for frame in slices],
        [frame.spacing or () for frame in slices],
        single_slice_step=thickness,
        tolerance_mm=options.tolerance_mm,
    )
    if options.on_gap == "raise":
        _check_regular(slices, geometry)
    assumed = [f"one slice only: {thickness:g} mm is taken for the distance of slices"] * (len(slices) == 1)
    assumed += [table.note] * bool(table.note)
    every = tuple(frame for volume in table.volumes for frame in volume)
    return Stack(every, table.axes, geometry, tuple(left_out), (*assumed, *tell_notes(every)))


def tell_notes(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What was left out of the headers, one sentence for all frames it is the same in."""
    noted: dict[str, list[Frame]] = {}
    for frame in frames:
        for note in frame.notes:
            noted.setdefault(note, []).append(frame)
    return tuple(
        f"{told[0].name}{f' and {len(told) - 1} more' if len(told) > 1 else ''}: {note}"
        for note, told in noted.items()
    )


def _once(frames: Sequence[Frame], left_out: list[LeftOut]) -> list[Frame]:
    """Drop copies of an instance; two that share a UID and differ are a `DuplicateSlices`."""
    seen: dict[tuple[str, int], Frame] = {}
    kept = []
    for frame in frames:
        key = (frame.sop_instance_uid, frame.index)
        twin = seen.setdefault(key, frame) if frame.sop_instance_uid else frame
        if twin is frame:
            kept.append(frame)
        elif frame.position == twin.position and _same_pixels(frame, twin):
            left_out.append(LeftOut(frame.name, f"the same instance as {twin.name}"))
        else:
            raise DuplicateSlices(
                f"{twin.name} and {frame.name} have one SOP Instance UID but differ; remove the wrong one"
            )
    return kept


def _same_pixels(one: Frame, other: Frame) -> bool:
    if one.pixels.format != other.pixels.format:
        return False
    same = one.pixels.stored(one.index), other.pixels.stored(other.index)
    tables = one.table is other.table or (one.table is not None and one.table.same(other.table))
    return tables and np.array_equal(*same) and (one.slope, one.intercept) == (other.slope, other.intercept)


def _check_usable(frame: Frame, options: StackOptions) -> None:
    wanted = {
        "Image Position (Patient)": frame.position,
        "Image Orientation (Patient)": frame.orientation,
        "Pixel Spacing": frame.spacing,
    }
    absent = [words for words, value in wanted.items() if value is None]
    if absent:
        raise IrregularGeometry(f"{frame.name} has no {' and no '.join(absent)}: its place is unknown")
    if min(frame.spacing or (1.0,)) <= 0:
        raise IrregularGeometry(f"{frame.name}: {attribute(_SPACING)} is not above zero")
    for tag, lengths in ((_SPACING, frame.spacing or ()), (POSITION, frame.position or ())):
        if max(map(abs, lengths)) > LARGEST_MM or (tag == _SPACING and min(lengths) < SMALLEST_MM):
            raise IrregularGeometry(f"{frame.name}: {attribute(tag)} cannot be meant in millimetres")
    if not frame.has_place and options.on_duplicate == "raise":
        raise IrregularGeometry(
            f"{frame.source}: its {frame.pixels.format.frames} frames have no places of their own, but one "
            'for all: read it as an Image, or take one frame with on_duplicate="first" or "last"'
        )
    form = frame.pixels.format
    if form.samples not in (1, 3):
        what = f"{form.samples} samples a pixel"
        raise UnsupportedPixels(f"{frame.name} has {what}, which no volume is made of: read it as an Image")


def _by_position(stack: Sequence[Frame], normal: Floats, options: StackOptions) -> list[list[Frame]]:
    """The frames of each position. `stack` is sorted along the normal."""
    side = min(*(stack[0].spacing or (1.0,)), stack[0].thickness or math.inf)
    same = rounding_of(side)  # headers repeat a position digit by digit
    apart = tolerance_of(side) if options.tolerance_mm is None else options.tolerance_mm
    groups: list[list[Frame]] = []
    for frame in stack:
        place = np.asarray(frame.position)
        if groups and abs((place - groups[-1][0].position) @ normal) <= same:
            if np.linalg.norm(place - groups[-1][0].position) > apart:
                raise IrregularGeometry(
                    f"{groups[-1][0].name} and {frame.name} lie side by side in one plane"
                )
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _laid_out(groups: list[list[Frame]], left_out: list[LeftOut], options: StackOptions) -> Table:
    """One frame a position, or as many along further axes.

    Pixels are compared only where headers do not tell.
    """
    told = table_of(groups, counted=False) if options.on_duplicate == "raise" else None
    if told is not None:
        return told
    pairs = [_different(group) for group in groups]
    kept = [different for different, _ in pairs]
    conflicts = [different for different in kept if len(different) > 1]
    if conflicts and options.on_duplicate == "raise":
        several = len(groups) > 1  # what only counts tells nothing of a single position
        told = table_of(kept, counted=False) or (table_of(kept, counted=True) if several else None)
        if told is None and several:
            told = table_of(groups, counted=True)  # some images over time are equal, such as empty ones
            pairs = []
        if told is None:
            raise DuplicateSlices(_tell_duplicates(conflicts, kept))
    left_out += [one for _, twins in pairs for one in twins]
    if told is not None:
        return told
    keep = -1 if options.on_duplicate == "last" else 0
    for different in conflicts:
        left_out += [
            LeftOut(one.name, f"at the position of {different[keep].name}")
            for one in different
            if one is not different[keep]
        ]
    return Table((), (tuple(different[keep] for different in kept),), "")


def _different(group: Sequence[Frame]) -> tuple[list[Frame], list[LeftOut]]:
    """The frames of one position with different pixels, in the order of their numbers, and their twins."""
    ordered = sorted(group, key=instance_number)
    if len(ordered) < 2:
        return ordered, []
    seen: dict[tuple[object, ...], Frame] = {}
    twins = []
    for frame in ordered:
        first = seen.setdefault(_content(frame), frame)
        if first is not frame:
            twins.append(LeftOut(frame.name, f"the same position and pixels as {first.name}"))
    return list(seen.values()), twins


def _content(frame: Frame) -> tuple[object, ...]:
    """What frames of equal values share; each is read once, however many there are."""
    stored = frame.pixels.stored(frame.index)
    digest = hashlib.blake2b(np.ascontiguousarray(stored).data, digest_size=32).digest()
    return digest, frame.pixels.format, frame.slope, frame.intercept


def _tell_duplicates(conflicts: Sequence[Sequence[Frame]], groups: Sequence[Sequence[Frame]]) -> str:
    first = conflicts[0]
    differing = [label for label in first[0].variants if len({one.variants.get(label) for one in first}) > 1]
    names = ", ".join(frame.name for frame in first[:_NAMED])
    sizes = sorted({len(group) for group in groups})
    return (
        f"{len(conflicts)} of {len(groups)} positions hold several different images, such as {names}"
        f"{' that differ in ' + ', '.join(differing) if differing else ''}"
        f"{f' ({sizes[0]} to {sizes[-1]} a position: not all are there)' if len(sizes) > 1 else ''}; "
        'give the files of one volume, or choose with on_duplicate="first" or "last"'
    )


def _check_gaps(stack: Sequence[Frame], depths: Floats) -> None:
    steps = np.diff(depths)
    if len(steps) < 2:
        return
    # The lower median: with few slices the long steps must not count as usual.
    usual = statistics.median_low(steps.tolist())
    gaps = np.flatnonzero(steps > GAP_FACTOR * usual)
    if not len(gaps):
        return
    told = "; ".join(
        f"{steps[gap]:.4g} mm from {stack[gap].name} to {stack[gap + 1].name}"
        for gap in gaps[:_NAMED].tolist()
    )
    absent = int(sum(round(steps[gap] / usual) - 1 for gap in gaps))
    raise SlicesMissing(
        f"about {absent} slices are missing: {told}, where {usual:.4g} mm is usual; retrieve the series "
        'again, or read it with on_gap="keep"'
    )


def _check_regular(stack: Sequence[Frame], geometry: VolumeGeometry) -> None:
    if geometry.is_affine:
        return
    regular = np.arange(len(stack))[:, None] * geometry.affine[:3, 0] + geometry.affine[:3, 3]
    worst = int(np.linalg.norm(geometry.positions - regular, axis=1).argmax())
    raise IrregularGeometry(
        f"{stack[worst].name} lies {geometry.deviation_mm:.3g} mm off the regular grid; "
        'allow it with tolerance_mm=, or read the series with on_gap="keep"'
    )
