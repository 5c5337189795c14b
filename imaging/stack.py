"""Frames sorted into the one stack they form, or an error that says why they form none."""

from __future__ import annotations

import bisect
import hashlib
import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ..dataset.names import safe_name
from .elements import attribute
from .errors import (
    DuplicateSlices,
    IrregularGeometry,
    MixedSeries,
    SlicesMissing,
    UnsupportedPixels,
    VolumeError,
    naming,
)
from .geometry import VolumeGeometry
from .headers import Frame
from .space import PLANES, Floats, rounding_of, slice_normal, slice_order, tolerance_of

OnGap: TypeAlias = Literal["raise", "keep"]
OnDuplicate: TypeAlias = Literal["raise", "first", "last"]

GAP_FACTOR = 1.5
"""A step longer than this times the usual one means that slices are absent."""
SAME_COSINES = 0.002
"""Difference of orientation cosines (about 0.1 degrees) up to which slices form one stack."""
SAME_SPACING = 0.001
"""Relative difference of pixel spacings up to which slices form one stack."""
LARGEST_MM = 1e6
SMALLEST_MM = 1e-6
"""A kilometre and a nanometre: no place and no spacing beyond is meant, nor could be computed with."""
_POSITION = 0x00200032
_SPACING = 0x00280030
_NAMED = 4  # files a message names
_WEIGHTS = (1.0, 0.83, 0.71, 0.61, 0.53, 0.47)  # unlike each other, so that few orientations share a sum
_MANY = 1 << 62


class LeftOut(NamedTuple):
    """Something given that is not in the volume, and why."""

    name: str
    why: str


class StackOptions(NamedTuple):
    """What the caller of `Volume.from_files` chose; explained there."""

    series_uid: str | None
    on_gap: OnGap
    on_duplicate: OnDuplicate
    tolerance_mm: float | None


class Stack(NamedTuple):
    """Frames in slice order, one for each position, and what they make."""

    frames: tuple[Frame, ...]
    geometry: VolumeGeometry
    left_out: tuple[LeftOut, ...]
    assumptions: tuple[str, ...]


def build_stack(given: Sequence[Frame], refused: Sequence[LeftOut], options: StackOptions) -> Stack:
    """Choose, sort and check frames. refused: what was left out before, for the report.

    Raises the errors `Volume.from_files` names.
    """
    left_out = list(refused)
    frames = _choose(_once(given, left_out), left_out, options.series_uid)
    for frame in frames:
        _check_usable(frame, options)
    orientation = frames[0].orientation or ()
    with naming(frames[0].name):
        normal = slice_normal(orientation)
    order = slice_order([frame.position or () for frame in frames], normal)
    frames = _resolve_duplicates([frames[place] for place in order.tolist()], normal, left_out, options)
    positions = np.array([frame.position for frame in frames], np.float64)
    if options.on_gap == "raise":
        _check_gaps(frames, positions @ normal)
    thickness = frames[0].thickness or 1.0
    form = frames[0].pixels.format
    geometry = VolumeGeometry.from_slices(
        (len(frames), form.rows, form.columns),
        positions,
        [frame.orientation or () for frame in frames],
        [frame.spacing or () for frame in frames],
        single_slice_step=thickness,
        tolerance_mm=options.tolerance_mm,
    )
    if options.on_gap == "raise":
        _check_regular(frames, geometry)
    assumed = (
        (f"one slice only: {thickness:g} mm is taken for the distance of slices",) if len(frames) == 1 else ()
    )
    return Stack(tuple(frames), geometry, tuple(left_out), (*assumed, *tell_notes(frames)))


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
    return np.array_equal(*same) and (one.slope, one.intercept) == (other.slope, other.intercept)


def _choose(frames: Sequence[Frame], left_out: list[LeftOut], series_uid: str | None) -> list[Frame]:
    """The frames of the one stack there is; `MixedSeries` names the choices when there are several."""
    if not frames:
        why = f"; left out: {left_out[0].name} ({left_out[0].why})" if left_out else ""
        raise VolumeError(f"there is no image to make a volume of{why}")
    piles = _Piles()
    for frame in frames:
        if series_uid is not None and frame.series_uid != series_uid:
            left_out.append(LeftOut(frame.name, f"of series {frame.series_uid}"))
        else:
            piles.add(frame)
    stacks = piles.stacks
    if not stacks:
        choices = ", ".join(sorted({frame.series_uid for frame in frames})[:_NAMED])
        raise VolumeError(f"no image is of series {series_uid}; there is {choices}")
    if len(stacks) > 1:
        if len({stack[0].series_uid for stack in stacks}) == len(stacks):
            advice = "choose one with series_uid="
        else:
            advice = "give the files of one of them"
        choices = "; ".join(_describe(stack) for stack in stacks[: 2 * _NAMED])
        differing = ", ".join(_differing([stack[0] for stack in stacks]))
        raise MixedSeries(
            f"the images form {len(stacks)} stacks, which differ in {differing}; {advice}: {choices}"
        )
    return stacks[0]


class _Piles:
    """Frames on the stacks they belong to, each found without comparing it with all of them.

    A frame belongs to the first stack whose first frame agrees with it. Only those are compared whose exact
    attributes are equal and whose cosines, summed with weights, are as near as agreeing ones can be.
    """

    def __init__(self) -> None:
        self.stacks: list[list[Frame]] = []
        self._homes: dict[tuple[object, ...], list[tuple[float, int]]] = {}

    def add(self, frame: Frame) -> None:
        """Lay a frame on its stack, a new one if need be."""
        homes = self._homes.setdefault(_exact(frame), [])
        cosines = frame.orientation or ()
        at = sum(weight * cosine for weight, cosine in zip(_WEIGHTS, cosines, strict=False))
        near = sum(_WEIGHTS) * SAME_COSINES * (1 + 1e-9)
        begin, end = bisect.bisect_left(homes, (at - near, 0)), bisect.bisect_right(homes, (at + near, _MANY))
        fitting = sorted(number for _, number in homes[begin:end] if _agree(frame, self.stacks[number][0]))
        if fitting:
            self.stacks[fitting[0]].append(frame)
        else:
            bisect.insort(homes, (at, len(self.stacks)))
            self.stacks.append([frame])


def _exact(frame: Frame) -> tuple[object, ...]:
    """What must be equal for two frames to form one stack."""
    form = frame.pixels.format
    said = frame.series_uid, frame.reference, frame.modality
    return (*said, form.rows, form.columns, form.samples, frame.orientation is None, frame.spacing is None)


def _agree(frame: Frame, other: Frame) -> bool:
    return _near(frame.orientation, other.orientation, SAME_COSINES) and _same_spacing(frame, other)


def _same_spacing(frame: Frame, other: Frame) -> bool:
    return _near(frame.spacing, other.spacing, SAME_SPACING * max(other.spacing or (1.0,)))


def _near(one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _differing(firsts: Sequence[Frame]) -> list[str]:
    """In what stacks differ, by one frame of each."""
    forms = [frame.pixels.format for frame in firsts]
    said: dict[str, Sequence[object]] = {
        "series": [frame.series_uid for frame in firsts],
        "modality": [frame.modality for frame in firsts],
        "frame of reference": [frame.reference for frame in firsts],
        "matrix": [(form.rows, form.columns) for form in forms],
        "colour": [form.samples for form in forms],
    }
    differing = [words for words, values in said.items() if len(set(values)) > 1]
    first = firsts[0]
    if not all(_near(frame.orientation, first.orientation, SAME_COSINES) for frame in firsts):
        differing.append("orientation")
    if not all(_same_spacing(frame, first) for frame in firsts):
        differing.append("pixel spacing")
    return differing


def _describe(stack: Sequence[Frame]) -> str:
    first = stack[0]
    form = first.pixels.format
    plane = ""
    if first.orientation is not None:
        normal = np.cross(first.orientation[:3], first.orientation[3:])  # which may be none yet
        plane = PLANES[int(np.abs(normal).argmax())] + " "
    place = f", frame of reference {safe_name(first.reference)}" if first.reference else ""
    label = f" {safe_name(first.description)}" if first.description else ""
    return (
        f"{len(stack)} {plane}{first.modality} images {form.rows} x {form.columns} of series "
        f"{first.series_number or '?'}{label} ({first.series_uid or 'no UID'}){place}, such as {first.name}"
    )


def _check_usable(frame: Frame, options: StackOptions) -> None:
    if frame.is_mosaic:
        raise IrregularGeometry(
            f"{frame.name} is a mosaic of many slices in one image: convert it to an enhanced object first"
        )
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
    for tag, lengths in ((_SPACING, frame.spacing or ()), (_POSITION, frame.position or ())):
        if max(map(abs, lengths)) > LARGEST_MM or (tag == _SPACING and min(lengths) < SMALLEST_MM):
            raise IrregularGeometry(f"{frame.name}: {attribute(tag)} cannot be meant in millimetres")
    if not frame.has_place and options.on_duplicate == "raise":
        raise IrregularGeometry(
            f"{frame.source}: its {frame.pixels.format.frames} frames have no places of their own, but one "
            'for all: read it as an Image, or take one frame with on_duplicate="first" or "last"'
        )
    form = frame.pixels.format
    if form.samples != 1 or form.photometric == "PALETTE COLOR" or frame.has_lut:
        what = "a modality look-up table" if frame.has_lut else "colour"
        raise UnsupportedPixels(f"{frame.name} has {what}, which no volume is made of: read it as an Image")


def _resolve_duplicates(
    stack: Sequence[Frame], normal: Floats, left_out: list[LeftOut], options: StackOptions
) -> list[Frame]:
    """Keep one frame for each position. `stack` is sorted along the normal."""
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
    conflicts = [different for group in groups if len(different := _different(group, left_out)) > 1]
    if conflicts and options.on_duplicate == "raise":
        raise DuplicateSlices(_tell_duplicates(conflicts, len(groups)))
    keep = -1 if options.on_duplicate == "last" else 0
    for different in conflicts:
        kept = different[keep]
        left_out += [
            LeftOut(one.name, f"at the position of {kept.name}") for one in different if one is not kept
        ]
    return [group[keep] for group in groups]


def _different(group: list[Frame], left_out: list[LeftOut]) -> list[Frame]:
    """Reduce the frames of one position to those with different pixels, in the order of their numbers."""
    group.sort(key=_instance_number)
    if len(group) > 1:
        seen: dict[tuple[object, ...], Frame] = {}
        for frame in group:
            twin = seen.setdefault(_content(frame), frame)
            if twin is not frame:
                left_out.append(LeftOut(frame.name, f"the same position and pixels as {twin.name}"))
        group[:] = seen.values()
    return group


def _content(frame: Frame) -> tuple[object, ...]:
    """What frames of equal values share; each is read once, however many there are."""
    stored = frame.pixels.stored(frame.index)
    digest = hashlib.blake2b(np.ascontiguousarray(stored).data, digest_size=32).digest()
    return digest, frame.pixels.format, frame.slope, frame.intercept


def _instance_number(frame: Frame) -> float:
    try:
        return float(frame.variants["instance number"])
    except ValueError:
        return 0.0


def _tell_duplicates(conflicts: Sequence[Sequence[Frame]], positions: int) -> str:
    first = conflicts[0]
    differing = [label for label in first[0].variants if len({frame.variants[label] for frame in first}) > 1]
    names = ", ".join(frame.name for frame in first[:_NAMED])
    return (
        f"{len(conflicts)} of {positions} positions hold several different images, such as {names}"
        f"{' that differ in ' + ', '.join(differing) if differing else ''}; "
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
