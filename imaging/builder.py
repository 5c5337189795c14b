"""A volume made while its objects arrive, in any order (as a retrieve yields them)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import ImagingError
from .elements import parse
from .errors import UnsupportedPixels
from .filling import fill, finish
from .frames import Frame
from .headers import frames_of_dataset
from .piles import LeftOut
from .pixels import SlotPixels
from .space import Floats
from .stack import ReadOptions, Stack, StackOptions, build_stack
from .volume import Volume, volume_of

FIRST_SLOTS = 64
"""Frames room is made for at first where nobody said how many will come; it doubles when they are full."""
AHEAD = 4 << 30
"""Bytes of the array made at first, whatever number of frames is promised."""


class _Slots:
    """Which slots of the array are taken, and where the next slice is likely to belong.

    Instance numbers mostly run along the normal, up or down, as the first two tell: a slice that lies where
    it belongs need not be moved when the last has come. A wrong guess costs that move and nothing else.
    """

    __slots__ = ("_first", "_free", "_taken", "_turned", "places")

    def __init__(self) -> None:
        self.places: list[int] = []  # of each frame that was taken
        self._taken: set[int] = set()
        self._free = 0
        self._first: tuple[int, Floats] | None = None
        self._turned: bool | None = None

    def take(self, frame: Frame, count: int) -> int:
        """A free one of `count`."""
        place = self._likely(frame, count)
        if place is None or not 0 <= place < count or place in self._taken:
            while self._free in self._taken:
                self._free += 1
            place = self._free
        self._taken.add(place)
        self.places.append(place)
        return place

    def give_back(self, kept: int) -> None:
        """Free all but those of the first `kept` frames."""
        self._taken.difference_update(self.places[kept:])
        del self.places[kept:]
        self._free = 0

    def _likely(self, frame: Frame, count: int) -> int | None:
        numbers = parse([frame.variants.get("instance number", "")])
        if numbers is None or frame.position is None or frame.orientation is None:
            return None
        number, position = int(numbers[0]), np.asarray(frame.position, np.float64)
        if self._first is None:
            self._first = number, position
        elif self._turned is None and number != self._first[0]:
            normal = np.cross(frame.orientation[:3], frame.orientation[3:])
            along = float((position - self._first[1]) @ normal)
            self._turned = (along > 0) != (number > self._first[0]) if along else None
        return count - number if self._turned else number - 1


class VolumeBuilder:
    """Takes the objects of a series one by one, and gives the volume `Volume.from_datasets` would give.

    Pixels are decoded as they come, into one array, where they are likely to belong; nothing else of an
    object is kept. Which slice lies where is known when the last has come: then those that lie elsewhere
    change places within the array. Memory is that of the volume; of values that become floats or outgrow
    their type it is the stored ones and the volume for a while, and where nobody said how many come, up to
    three times the slots while their array doubles. One caller at a time.

    expected: frames that will come, where that is known: the array is made once. memory_map: a file for the
    array, which appears when it is whole, and stays; of a volume larger than memory, whatever its values
    become. ``with VolumeBuilder(...)`` or `close` removes what an abandoned builder mapped beside it.

    >>> import pydicom
    >>> with aiodicom.VolumeBuilder(expected=4) as builder:
    ...     for path in sorted(FOLDER.glob("*.dcm"), reverse=True):
    ...         builder.add(pydicom.dcmread(path))
    ...     volume = builder.volume()
    >>> volume.voxels.shape
    (4, 16, 16)
    """

    def __init__(
        self,
        expected: int | None = None,
        *,
        memory_map: Path | str | None = None,
        **options: Unpack[ReadOptions],
    ) -> None:
        self._options = StackOptions(**options)
        self._expected = expected
        self._map = None if memory_map is None else Path(memory_map)
        self._slots: NDArray[Any] | None = None
        self._frames: list[Frame] = []
        self._taken = _Slots()
        self._left_out: list[LeftOut] = []
        self._done = False

    def __len__(self) -> int:
        return len(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Be done: what came without becoming a volume is let go of, and its hidden file removed.

        A volume that was made stays. May be called again.
        """
        self._done = True
        self._frames, mapped = [], self._slots is not None and self._map is not None
        self._slots = None
        if mapped:
            self._unlink()

    def add(self, dataset: Dataset) -> None:
        """Take an object: its frames are decoded here and now.

        Raises `MalformedDataSet` and `UnsupportedPixels` for one that is broken, unless on_broken="leave out"
        was chosen; ValueError when the builder is done.
        """
        self._check_open()
        name = str(dataset.get("SOPInstanceUID", "")) or f"object {len(self._frames) + 1}"
        taken = len(self._frames)
        try:
            found = frames_of_dataset(dataset, name)
            if self._options.series_uid is not None:
                found = [frame for frame in found if frame.series_uid == self._options.series_uid]
            for frame in found:
                self._take(frame)
        except ImagingError as error:
            del self._frames[taken:]
            self._taken.give_back(taken)
            if self._options.on_broken == "raise":
                raise
            self._left_out.append(LeftOut.because(name, error))
            return
        if not found:
            self._left_out.append(LeftOut(name, "holds no image of the series"))

    def _check_open(self) -> None:
        if self._done:
            raise ValueError("the builder is done: use another builder")

    def _take(self, frame: Frame) -> None:
        values = frame.pixels.stored(frame.index)
        slot = self._room(frame, values)
        slot[...] = values
        self._frames.append(replace(frame, pixels=SlotPixels(slot, frame.pixels.format)))

    def _room(self, frame: Frame, values: NDArray[Any]) -> NDArray[Any]:
        """A free slot, of a type that holds all; UnsupportedPixels for pixels of another shape."""
        number = len(self._frames)
        if self._slots is None:
            count = min(self._expected or FIRST_SLOTS, AHEAD // max(values.nbytes, 1))
            self._slots = self._array(max(count, 1), values.shape, values.dtype)
        if values.shape != self._slots.shape[1:]:
            raise UnsupportedPixels(
                f"pixels of {values.shape} came behind such of {self._slots.shape[1:]}: a builder makes one "
                "volume, choose it with series_uid="
            )
        kind, full = np.result_type(self._slots, values), number == len(self._slots)
        if full or kind != self._slots.dtype:
            larger = self._array(2 * number if full else len(self._slots), values.shape, kind, self._slots)
            self._slots = larger
            self._frames = [
                replace(one, pixels=replace(one.pixels, values=place))  # type: ignore[type-var]
                for one, place in zip(self._frames, map(larger.__getitem__, self._taken.places), strict=True)
            ]
        count = len(self._slots) if self._expected else 0  # else nobody knows which is the last
        slot: NDArray[Any] = self._slots[self._taken.take(frame, count)]
        return slot

    def _array(
        self, count: int, matrix: tuple[int, ...], kind: np.dtype[Any], old: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """So many slots, the first of them what `old` holds; a file grows where its type stays."""
        shape, grows = (count, *matrix), old is not None and old.dtype == kind
        if self._map is not None and (old is None or grows):
            mode: Literal["r+", "w+"] = "r+" if grows else "w+"
            mapped: NDArray[Any] = np.memmap(self._hidden("stored"), kind, mode, shape=shape)
            return mapped
        made = self._empty(shape, kind)
        if old is not None:
            made[: len(old)] = old
        if isinstance(made, np.memmap):
            made.flush()
            os.replace(self._hidden("voxels"), self._hidden("stored"))
            return np.memmap(self._hidden("stored"), kind, "r+", shape=shape)
        return made

    def _hidden(self, what: str) -> Path:
        """A file beside the one that was named, which appears when the volume is whole."""
        assert self._map is not None
        return self._map.with_name(f".{self._map.name}.{what}")

    def _empty(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        """An array for voxels that need another place than the stored values."""
        if self._map is None:
            return np.empty(shape, kind)
        mapped: NDArray[Any] = np.memmap(self._hidden("voxels"), kind, "w+", shape=shape)
        return mapped

    def _unlink(self) -> None:
        for what in ("stored", "voxels"):
            self._hidden(what).unlink(missing_ok=True)

    def partial(self) -> Volume:
        """A copy of what came so far, whatever slices are absent.

        Errors as for `Volume.from_files`, and ValueError when the builder is done.
        """
        self._check_open()
        options = replace(self._options, on_gap="keep")
        stack = build_stack(self._frames, self._left_out, options)
        stored = options.values == "stored"
        made = volume_of(stack, fill(stack.frames, stored=stored, double=options.double), options)
        return made.noting(f"partial: made of the {len(self._frames)} frames that had come")

    def volume(self) -> Volume:
        """The volume of all that came; the builder is done then.

        Errors as for `Volume.from_files`, and ValueError when it was done before.
        """
        self._check_open()
        stack = build_stack(self._frames, self._left_out, self._options)
        options, self._done = self._options, True
        stored = options.values == "stored"
        values = self._ordered(stack)
        if values is None:  # a segmentation, to which empty frames were added
            voxels = fill(stack.frames, stored=stored, double=options.double)
        else:
            voxels = finish(stack.frames, values, stored=stored, double=options.double, empty=self._empty)
        return volume_of(stack, voxels if self._map is None else self._kept(voxels), options)

    def _ordered(self, stack: Stack) -> NDArray[Any] | None:
        """The slots of the stack's frames in their order, moved within the array; its frames follow them."""
        slots = self._slots
        if slots is None or not all(isinstance(frame.pixels, SlotPixels) for frame in stack.frames):
            return None
        begin, size = slots.ctypes.data, slots[0].nbytes
        order = [(frame.pixels.values.ctypes.data - begin) // size for frame in stack.frames]  # type: ignore[attr-defined]
        _permute(slots, order)
        values = slots[: len(order)]
        for frame, place in zip(stack.frames, values, strict=True):
            object.__setattr__(frame.pixels, "values", place)
        return values

    def _kept(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The voxels in the file that was named."""
        assert self._map is not None
        if not isinstance(voxels, np.memmap):
            made = self._empty(voxels.shape, voxels.dtype)
            made[...] = voxels
            voxels = made
        assert isinstance(voxels, np.memmap)
        file = voxels.filename
        assert file is not None
        voxels.flush()
        os.truncate(file, voxels.nbytes)
        os.replace(file, self._map)
        self._unlink()
        kept: NDArray[Any] = np.memmap(self._map, voxels.dtype, "r+", shape=voxels.shape)
        return kept


def _permute(slots: NDArray[Any], order: list[int]) -> None:
    """Bring the slots `order` names to the front, in that order, with room for one beside the array."""
    holds = list(range(len(slots)))  # which slot's values lie where
    where = list(range(len(slots)))
    for place, wanted in enumerate(order):
        at = where[wanted]
        if at == place:
            continue
        kept = slots[place].copy()
        slots[place] = slots[at]
        slots[at] = kept
        other = holds[place]
        holds[place], holds[at] = wanted, other
        where[wanted], where[other] = place, at
