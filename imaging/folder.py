"""What is in a folder, read from headers: MATLAB's dicomCollection.

Pixels are read only of images that lie at one position and that no header tells apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dataset.errors import ImagingError
from ..dataset.names import safe_name
from .frames import Frame
from .piles import LeftOut, piles_of
from .reading import read_files
from .stack import StackOptions, build_stack

_HEADS = ("modality", "series", "description", "size", "orientation", "spacing, mm", "volume")


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """Images that belong together by series, orientation, matrix, spacing and frame of reference.

    shape: (slices, rows, columns) of the volume they form, further axes first; else `None`, and `problem`
    says why they form none. spacing: mm along (column, row, slice), or `None`.
    images: frames, which of a multi-frame object are many. files: paths, for `Volume.from_files`.
    """

    modality: str
    series_number: str
    description: str
    series_uid: str
    images: int
    rows: int
    columns: int
    shape: tuple[int, ...] | None
    orientation: str
    spacing: tuple[float, float, float] | None
    problem: str
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Collection(Sequence[CollectionRow]):
    """A row for each volume, or pile of images that forms none; prints as a table.

    left_out: files that are no DICOM, hold no image or cannot be read.
    """

    rows: tuple[CollectionRow, ...]
    left_out: tuple[LeftOut, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        lines = [_HEADS, *map(_cells, self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(_HEADS))]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*table, *(f"left out {one.name}: {one.why}" for one in self.left_out)])

    def to_dict(self) -> dict[str, Any]:
        """The table as plain values."""
        left_out = [one.to_dict() for one in self.left_out]
        return {"rows": [row.to_dict() for row in self.rows], "left_out": left_out}


def collection(source: Path | str | Iterable[Path | str]) -> Collection:
    """Look over a folder with its subfolders, or a list of files.

    Pixels are read only where several images lie at one position and headers do not tell them apart. Files
    that are broken are in `left_out`. Raises OSError for a folder that cannot be read.

    >>> found = aiodicom.collection(FOLDER)
    >>> [(row.modality, row.shape) for row in found]
    [('MR', (4, 16, 16))]
    """
    found = read_files(source, "leave out")
    rows = tuple(_row(pile) for pile in piles_of(found.frames))
    return Collection(tuple(sorted(rows, key=_order)), tuple(found.left_out))


def _row(pile: Sequence[Frame]) -> CollectionRow:
    first, form = pile[0], pile[0].pixels.format
    problem, geometry, shape = "", None, None
    try:
        stack = build_stack(pile, (), StackOptions())
        geometry = stack.geometry
        shape = (*(len(axis.values) for axis in stack.axes), *geometry.shape)
    except ImagingError as error:
        problem = str(error)
    return CollectionRow(
        modality=first.modality,
        series_number=first.series_number,
        description=first.description,
        series_uid=first.series_uid,
        images=len(pile),
        rows=form.rows,
        columns=form.columns,
        shape=shape,
        orientation=geometry.orientation if geometry else "unknown",
        spacing=geometry.spacing if geometry else None,
        problem=problem,
        files=tuple(dict.fromkeys(frame.source for frame in pile)),
    )


def _order(row: CollectionRow) -> tuple[Any, ...]:
    number = row.series_number
    return (not number.isdecimal(), int(number) if number.isdecimal() else 0, row.series_uid)


def _cells(row: CollectionRow) -> tuple[str, ...]:
    size = f"{row.columns} x {row.rows}, {row.images} image{'s' if row.images > 1 else ''}"
    spacing = " x ".join(f"{mm:.4g}" for mm in row.spacing) if row.spacing else ""
    label = safe_name(row.description) if row.description else ""
    volume = f"no: {row.problem}" if row.shape is None else " x ".join(map(str, row.shape[::-1]))
    return row.modality, row.series_number, label, size, row.orientation, spacing, volume
