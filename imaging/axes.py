"""Images at one position told apart: by which of their attributes they form more than one volume.

Attributes that say what differs (echo time, b-value, trigger time, ...) are enough by themselves. Numbers
that only count (acquisitions, instances) are asked last, after equal images have been left out, and told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from .elements import parse
from .frames import COUNTED, Frame
from .records import Axis

UNITS = {
    "echo time": "ms",
    "inversion time": "ms",
    "flip angle": "degrees",
    "b-value": "s/mm2",
    "trigger time": "ms",
    "cardiac phase": "%",
    "frame reference time": "ms",
}
DIFFUSION = ("b-value", "direction")
_NO_VALUE = -math.inf  # where an attribute is absent: before all numbers

_Value: TypeAlias = tuple[Any, ...]


class Table(NamedTuple):
    """Frames by place along axes: for each combination, in C order, one frame a position.

    note: what was supposed to make it, or "".
    """

    axes: tuple[Axis, ...]
    volumes: tuple[tuple[Frame, ...], ...]
    note: str


def table_of(groups: Sequence[Sequence[Frame]], *, counted: bool) -> Table | None:
    """Axes that tell apart the frames of every position alike; `None` where there are none.

    groups: the frames of each position. counted: numbers that only count may tell apart too. Takes time in
    proportion to the number of frames.
    """
    size = len(groups[0])
    if size < 2 or any(len(group) != size for group in groups):
        return None
    names = [name for name in groups[0][0].variants if counted or name not in COUNTED]
    chosen = _telling(groups, names)
    if _count(groups[0], chosen) == size:
        return _laid_out(groups, chosen, "")
    if not counted:
        return None
    return _ranked(groups, chosen)


def _telling(groups: Sequence[Sequence[Frame]], names: Sequence[str]) -> list[str]:
    """Attributes, each of which tells more frames of a position apart than those before it.

    Only such as have the same values at every position, each equally often with those chosen before.
    """
    chosen: list[str] = []
    told = 1
    for name in names:
        more = [*chosen, name]
        counts = [_counts(group, more) for group in groups]
        if len(counts[0]) > told and all(one == counts[0] for one in counts):
            chosen, told = more, len(counts[0])
    return chosen


def _counts(group: Sequence[Frame], names: Sequence[str]) -> dict[_Value, int]:
    found: dict[_Value, int] = {}
    for frame in group:
        value = _values(frame, names)
        found[value] = found.get(value, 0) + 1
    return found


def _count(group: Sequence[Frame], names: Sequence[str]) -> int:
    return len({_values(frame, names) for frame in group})


def _values(frame: Frame, names: Sequence[str]) -> _Value:
    return tuple(coordinate_of(frame.variants.get(name, "")) for name in names)


def coordinate_of(text: str) -> Any:
    """An attribute's value: a number, a tuple of them, text, or `None` where it is absent."""
    if not text:
        return None
    numbers = parse(text.split("\\"))
    if numbers is None:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def _laid_out(groups: Sequence[Sequence[Frame]], names: Sequence[str], note: str) -> Table:
    """One axis for each attribute where every combination is there, else one for several together."""
    first = groups[0]
    parts: list[tuple[str, ...]] = [(name,) for name in names]
    if not _complete(first, parts) and set(DIFFUSION) <= set(names):
        pair = tuple(name for name in names if name in DIFFUSION)
        parts = [pair if name == DIFFUSION[0] else (name,) for name in names if name != DIFFUSION[1]]
    if not _complete(first, parts):
        parts = [tuple(names)]
    places = [_places(groups, part) for part in parts]
    axes = tuple(_axis(part, found) for part, found in zip(parts, places, strict=True))
    sizes = [len(found) for found in places]
    volumes: list[list[Frame]] = [[] for _ in range(math.prod(sizes))]
    for group in groups:
        for frame in group:
            number = 0
            for part, found, size in zip(parts, places, sizes, strict=True):
                number = number * size + found[_values(frame, part)]
            volumes[number].append(frame)
    return Table(axes, tuple(map(tuple, volumes)), note)


def _complete(group: Sequence[Frame], parts: Sequence[tuple[str, ...]]) -> bool:
    return math.prod(_count(group, part) for part in parts) == len(group)


def _places(groups: Sequence[Sequence[Frame]], names: tuple[str, ...]) -> dict[_Value, int]:
    """The values along an axis in their order: numbers rise, all else comes as the images were numbered."""
    first: dict[_Value, tuple[float, int]] = {}
    for frame in groups[0]:
        value, at = _values(frame, names), (instance_number(frame), frame.index)
        first[value] = min(first.get(value, at), at)

    def order(value: _Value) -> tuple[Any, ...]:
        numbers = [_NO_VALUE if one is None else one for one in value]
        return (*(one if isinstance(one, float) else 0.0 for one in numbers), first[value])

    return {value: place for place, value in enumerate(sorted(first, key=order))}


def _axis(names: tuple[str, ...], places: dict[_Value, int]) -> Axis:
    values = tuple(value[0] if len(names) == 1 else value for value in places)
    return Axis(", ".join(names), ", ".join(UNITS[name] for name in names if name in UNITS), values)


def _ranked(groups: Sequence[Sequence[Frame]], chosen: Sequence[str]) -> Table | None:
    """Frames told apart by their order alone, where instance numbers run on from volume to volume, or from
    one time to the next at each position.
    """
    if chosen or any(instance_number(frame) == _NO_VALUE for group in groups for frame in group):
        return None
    ordered = [sorted(group, key=lambda frame: (instance_number(frame), frame.index)) for group in groups]
    numbers = [[(instance_number(frame), frame.index) for frame in group] for group in ordered]
    columns = list(zip(*numbers, strict=True))
    by_volume = all(max(one) < min(next_) for one, next_ in pairwise(columns))
    spans = sorted((group[0], group[-1]) for group in numbers)
    by_position = all(one[1] < next_[0] for one, next_ in pairwise(spans))
    if not (by_volume or by_position) or any(len(set(group)) < len(group) for group in numbers):
        return None
    values = tuple(number for number, _ in numbers[0])
    note = "only instance numbers tell images at one position apart: taken for one volume after the other"
    return Table((Axis("instance number", "", values),), tuple(zip(*ordered, strict=True)), note)


def instance_number(frame: Frame) -> float:
    """Of a frame; one that has none comes first."""
    value = coordinate_of(frame.variants.get("instance number", ""))
    return value if isinstance(value, float) else _NO_VALUE
