"""Which frames belong together: equal in what a stack has in common, near in how they lie."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..dataset.names import safe_name
from .errors import MixedSeries, VolumeError
from .frames import Frame
from .space import PLANES

SAME_COSINES = 0.002
"""Difference of orientation cosines (about 0.1 degrees) up to which slices form one stack."""
SAME_SPACING = 0.001
"""Relative difference of pixel spacings up to which slices form one stack."""
_NAMED = 4  # files a message names
_WEIGHTS = (1.0, 0.83, 0.71, 0.61, 0.53, 0.47)  # unlike each other, so that few orientations share a sum
_MANY = 1 << 62


class LeftOut(NamedTuple):
    """Something given that is not in the volume, and why."""

    name: str
    why: str

    @classmethod
    def because(cls, name: str, error: Exception) -> LeftOut:
        """For an error, whose words need not begin with the name again."""
        return cls(name, str(error).removeprefix(f"{name}: "))

    def to_dict(self) -> dict[str, str]:
        """As plain values."""
        return {"name": self.name, "reason": self.why}


def piles_of(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Frames by the stacks they belong to, in the order in which those begin."""
    piles = _Piles()
    for frame in frames:
        piles.add(frame)
    return piles.stacks


def choose(frames: Sequence[Frame], left_out: list[LeftOut], series_uid: str | None) -> list[Frame]:
    """The frames of the one stack there is; `MixedSeries` names the choices when there are several."""
    if not frames:
        why = f"; left out: {left_out[0].name} ({left_out[0].why})" if left_out else ""
        raise VolumeError(f"there is no image to make a volume of{why}")
    wanted = [frame for frame in frames if series_uid in (None, frame.series_uid)]
    left_out += [
        LeftOut(frame.name, f"of series {frame.series_uid}")
        for frame in frames
        if series_uid not in (None, frame.series_uid)
    ]
    stacks = piles_of(wanted)
    if not stacks:
        choices = ", ".join(sorted({frame.series_uid for frame in frames})[:_NAMED])
        raise VolumeError(f"no image is of series {series_uid}; there is {choices}")
    if len(stacks) > 1:
        if len({stack[0].series_uid for stack in stacks}) == len(stacks):
            advice = "choose one with series_uid=, or take them all with Volume.volumes()"
        else:
            advice = "give the files of one of them, or take them all with Volume.volumes()"
        choices = "; ".join(describe(stack) for stack in stacks[: 2 * _NAMED])
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
    said = frame.series_uid, frame.reference, frame.modality, frame.stack
    return (*said, *form.matrix, form.shown_as, frame.orientation is None, frame.spacing is None)


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
        "stack": [frame.stack for frame in firsts],
        "matrix": [form.matrix for form in forms],
        "photometric interpretation": [form.shown_as for form in forms],
    }
    differing = [words for words, values in said.items() if len(set(values)) > 1]
    first = firsts[0]
    if not all(_near(frame.orientation, first.orientation, SAME_COSINES) for frame in firsts):
        differing.append("orientation")
    if not all(_same_spacing(frame, first) for frame in firsts):
        differing.append("pixel spacing")
    return differing


def describe(stack: Sequence[Frame]) -> str:
    """A stack in a line: how many images, of what, and where the first is."""
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
