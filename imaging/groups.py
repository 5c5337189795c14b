"""Functional groups: what multi-frame objects say of one frame (PS3.3 C.7.6.16).

An attribute counts in the macro it belongs to and nowhere else: what private sequences, references or other
macros hold under its tag says something else. A macro is looked for in the frame's own item, then in the
shared one (C.7.6.16.1.1: in one of the two, never both), and only an object without it is taken by its top
level.
"""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ..dataset.errors import MalformedDataSet
from .elements import DatasetElements, attribute, texts_of, value_of

SHARED_GROUPS = 0x52009229
FRAME_GROUPS = 0x52009230

_PLANE_POSITION = 0x00209113
_MEASURES = 0x00289110
_TRANSFORMATION = 0x00289145
_VOI = 0x00289132
_CONTENT = 0x00209111
_DIFFUSION, _DIRECTION, _GRADIENT = 0x00189117, 0x00189076, 0x00189089
_INDEXES, _POINTER, _INDEX_VALUES = 0x00209222, 0x00209165, 0x00209157
_WHERE = frozenset({0x00200032, 0x00200037, 0x00209056, 0x00209057, 0x00209113, 0x0048021E, 0x0048021F})
"""Dimensions that only say where a frame lies: position, orientation, stack, place in the stack or matrix."""
_UNASSIGNED = (0x00209171, 0x00209170)
"""What conversion found no macro for, of a frame and of all (PS3.3 C.7.6.16.2)."""

_MACROS: dict[int, tuple[tuple[int, int], ...]] = {
    0x00200032: ((_PLANE_POSITION, 0x00200032),),
    0x00200037: ((0x00209116, 0x00200037),),
    0x00280030: ((_MEASURES, 0x00280030),),
    0x00180050: ((_MEASURES, 0x00180050),),
    0x00180088: ((_MEASURES, 0x00180088),),
    0x00281052: ((_TRANSFORMATION, 0x00281052),),
    0x00281053: ((_TRANSFORMATION, 0x00281053),),
    0x00281050: ((_VOI, 0x00281050),),
    0x00281051: ((_VOI, 0x00281051),),
    0x00180081: ((0x00189114, 0x00189082), *((one, 0x00180081) for one in _UNASSIGNED)),
    0x00180082: ((0x00189115, 0x00189079), *((one, 0x00180082) for one in _UNASSIGNED)),
    0x00181314: ((0x00189112, 0x00181314), *((one, 0x00181314) for one in _UNASSIGNED)),
    0x00089208: ((0x00189226, 0x00089208),),
    0x00209241: ((0x00189118, 0x00209241),),
    0x0062000B: ((0x0062000A, 0x0062000B),),
    0x00209056: ((_CONTENT, 0x00209056),),
    0x00080032: ((_CONTENT, 0x00189074), *((one, 0x00080032) for one in _UNASSIGNED)),
    0x00181060: ((0x00189118, 0x00209153), *((one, 0x00181060) for one in _UNASSIGNED)),
    0x00189087: ((0x00189117, 0x00189087), *((one, 0x00189087) for one in _UNASSIGNED)),
    0x00200012: ((_CONTENT, 0x00209156), *((one, 0x00200012) for one in _UNASSIGNED)),
    0x00200013: tuple((one, 0x00200013) for one in _UNASSIGNED),
    0x00200100: ((_CONTENT, 0x00209128), *((one, 0x00200100) for one in _UNASSIGNED)),
    0x00080008: ((0x00189226, 0x00089007), (0x00189329, 0x00089007), (0x00189751, 0x00089007)),
}
"""Where an attribute of the top level is in functional groups: macro and the attribute's tag there.

Effective Echo Time, Inversion Times, Frame Acquisition DateTime, Nominal Cardiac Trigger Delay Time, Frame
Acquisition Number, Temporal Position Index and Frame Type take the places of Echo Time, Inversion Time,
Acquisition Time, Trigger Time, Acquisition Number, Temporal Position Identifier and Image Type (C.8.13.5,
C.7.6.16.2).
"""


class FunctionalGroups:
    """The groups of one object, its shared macros looked up once."""

    __slots__ = ("_shared_items", "dimensions", "frames", "name", "shared", "top")

    def __init__(self, dataset: Dataset, count: int, name: str) -> None:
        """`MalformedDataSet` when the groups do not describe `count` frames."""
        self.name: str = name
        self.top: DatasetElements = DatasetElements(dataset, name)
        self.frames: Sequence | tuple[Dataset, ...] = items_of(dataset, FRAME_GROUPS, name)
        if self.frames and len(self.frames) != count:
            raise MalformedDataSet(
                f"{name}: {count} frames, but {attribute(FRAME_GROUPS)} describes {len(self.frames)}"
            )
        self.shared: Dataset | None = one_item(dataset, SHARED_GROUPS, name)
        self._shared_items: dict[int, Dataset | None] = {}
        self.dimensions: list[tuple[str, int]] = _dimensions(dataset, name)

    def __bool__(self) -> bool:
        return bool(self.frames) or self.shared is not None

    def shared_macro(self, sequence: int) -> Dataset | None:
        """The item of a macro that holds for all frames."""
        if sequence not in self._shared_items:
            found = None if self.shared is None else one_item(self.shared, sequence, self.name)
            self._shared_items[sequence] = found
        return self._shared_items[sequence]


class FrameElements:
    """The elements of one frame of an object: its own macros, the shared ones, the top level."""

    __slots__ = ("_groups", "_own")

    def __init__(self, groups: FunctionalGroups, index: int) -> None:
        self._groups = groups
        self._own: Dataset | None = groups.frames[index] if groups.frames else None

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of an element as text; `MalformedDataSet` where they cannot be converted."""
        if tag == _GRADIENT:
            return self._gradient()
        for sequence, inner in _MACROS.get(tag, ()):
            item = self._macro(sequence)
            if item is not None and (sequence not in _UNASSIGNED or inner in item):
                return texts_of(item, inner, self._groups.name)
        return self._groups.top.texts(tag)

    def has(self, tag: int) -> bool:
        """The element is there and not empty; only asked for elements no macro has."""
        return self._groups.top.has(tag)

    def _gradient(self) -> tuple[str, ...]:
        """Diffusion Gradient Orientation, an item further in (PS3.3 C.8.13.5.9)."""
        diffusion, name = self._macro(_DIFFUSION), self._groups.name
        if diffusion is None:
            return self._groups.top.texts(_GRADIENT)
        item = one_item(diffusion, _DIRECTION, name)
        return () if item is None else texts_of(item, _GRADIENT, name)

    def dimensions(self) -> dict[str, str]:
        """Dimension Index Values by name, but for those that say where the frame is (PS3.3 C.7.6.17)."""
        named = self._groups.dimensions
        content = self._macro(_CONTENT) if named else None
        values = () if content is None else texts_of(content, _INDEX_VALUES, self._groups.name)
        return {name: values[place] for name, place in named if place < len(values)}

    @property
    def is_placed(self) -> bool:
        """The frame has a position of its own."""
        return self._own is not None and _PLANE_POSITION in self._own

    def _macro(self, sequence: int) -> Dataset | None:
        own = None if self._own is None else one_item(self._own, sequence, self._groups.name)
        return own if own is not None else self._groups.shared_macro(sequence)


def items_of(dataset: Dataset, tag: int, name: str) -> Sequence | tuple[Dataset, ...]:
    """The items of a sequence, none when it is absent or empty; `MalformedDataSet` when it is no sequence."""
    found: Any = value_of(dataset, tag, name)
    if not found:
        return ()
    if not isinstance(found, Sequence):
        raise MalformedDataSet(f"{name}: {attribute(tag)} is no sequence")
    return found


def one_item(dataset: Dataset, tag: int, name: str) -> Dataset | None:
    """The only item of a sequence that may have no more; `MalformedDataSet` when it has."""
    found = items_of(dataset, tag, name)
    if len(found) > 1:
        raise MalformedDataSet(f"{name}: {attribute(tag)} has {len(found)} items, where one is allowed")
    return found[0] if found else None


def _dimensions(dataset: Dataset, name: str) -> list[tuple[str, int]]:
    """Name and place of each dimension that does not say where a frame lies."""
    found = []
    for place, item in enumerate(items_of(dataset, _INDEXES, name)):
        pointer = value_of(item, _POINTER, name)
        if isinstance(pointer, int) and int(pointer) not in _WHERE:
            found.append((f"dimension {attribute(int(pointer))}", place))
    return found
