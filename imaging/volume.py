"""A series of slices as one array with its geometry: what MATLAB calls medicalVolume.

The voxels are held once, C-contiguous, in the order (slice, row, column) in which scanners send them. Every
other order is a view of them, and carries its own affine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import NotDicom
from .display import grey, png
from .errors import naming
from .geometry import Floats, VolumeGeometry
from .headers import Frame, frames_of_dataset, frames_of_file
from .pixels import fill
from .stack import LeftOut, OnDuplicate, OnGap, StackOptions, build_stack


class SliceSource(NamedTuple):
    """Where a slice came from: path (or place among the data sets), zero-based frame, SOP Instance UID."""

    name: str
    frame: int
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """What was done to make the volume.

    left_out: files and frames not used. deviation_mm: largest distance of a voxel from the regular grid.
    assumptions: what had to be supposed because no header says it, or says it in no number.
    """

    left_out: tuple[LeftOut, ...]
    deviation_mm: float
    assumptions: tuple[str, ...]


class PlaneSlice(NamedTuple):
    """One slice of a volume along an anatomical plane.

    pixels: a view, the two remaining axes of (slice, row, column) in this order.
    corners: (4, 3) mm, centres of the corner pixels: (first, first), (first, last), (last, last), (last,
    first). spacing: mm along the two axes of `pixels`.
    """

    pixels: NDArray[Any]
    corners: Floats
    spacing: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Volume:
    """Voxels after rescale, and where they lie.

    voxels: (slice, row, column), C-contiguous. Integers stay integers when all slopes and intercepts are
    whole. geometry: maps zero-based (slice, row, column) to mm, LPS.
    windows: (center, width) of every slice, in slice order, `None` where the header has none.
    rescale: (slope, intercept) of every slice: stored value * slope + intercept = voxel.
    sources: which file or data set each slice came from.
    photometric: "MONOCHROME1" voxels are bright where low; they are not inverted.
    """

    voxels: NDArray[Any]
    geometry: VolumeGeometry
    modality: str
    windows: tuple[tuple[float, float] | None, ...]
    rescale: tuple[tuple[float, float], ...]
    sources: tuple[SliceSource, ...]
    series_uid: str
    photometric: str
    report: VolumeReport

    def __repr__(self) -> str:
        slices, rows, columns = self.voxels.shape
        spacing = " x ".join(f"{mm:.4g}" for mm in self.voxel_spacing)
        left_out = f", {len(self.report.left_out)} left out" if self.report.left_out else ""
        return (
            f"<Volume {self.modality}, {slices} slices of {rows} x {columns} {self.voxels.dtype},"
            f" {self.orientation}, {spacing} mm{left_out}>"
        )

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the middle slice through its window."""
        middle = self.voxels.shape[0] // 2
        inverted = self.photometric == "MONOCHROME1"
        return png(grey(self.voxels[middle], self.windows[middle], inverted=inverted))

    def to_dict(self) -> dict[str, Any]:
        """What the volume is, as plain values; lengths in mm."""
        return {
            "shape": list(self.voxels.shape),
            "dtype": str(self.voxels.dtype),
            "modality": self.modality,
            "orientation": self.orientation,
            "voxel_spacing": [float(mm) for mm in self.voxel_spacing],
            "affine": self.geometry.affine.tolist(),
            "series_uid": self.series_uid,
            "photometric": self.photometric,
            "left_out": [[one.name, one.why] for one in self.report.left_out],
            "deviation_mm": float(self.report.deviation_mm),
            "assumptions": list(self.report.assumptions),
        }

    @classmethod
    def from_files(
        cls,
        source: Path | str | Iterable[Path | str],
        *,
        series_uid: str | None = None,
        on_gap: OnGap = "raise",
        on_duplicate: OnDuplicate = "raise",
        tolerance_mm: float | None = None,
    ) -> Volume:
        """Read the one volume in a folder (with its subfolders), a file, or a list of files; names do not
        matter.

        Files that are no DICOM or hold no image are left out and reported, and so is what only shows an image
        and is no number, such as a window. series_uid: take this series only.
        on_gap: "keep" accepts absent slices and uneven distances, and maps slice by slice.
        on_duplicate: which of several different images at one position to keep, in the order of their
        instance numbers. tolerance_mm: how far a slice may lie from the regular grid; unless given, 0.1 mm or
        a quarter of the voxel's shortest side, whichever is less.

        Raises OSError; `TruncatedFile`, `MalformedDataSet`; `MixedSeries`, `SlicesMissing`,
        `DuplicateSlices`, `IrregularGeometry`, `UnsupportedPixels`, or `VolumeError` when there is no
        image at all.
        """
        frames: list[Frame] = []
        left_out: list[LeftOut] = []
        for path in _paths(source):
            try:
                found = frames_of_file(path)
            except NotDicom as error:
                left_out.append(LeftOut(str(path), str(error).removeprefix(f"{path}: ")))
                continue
            frames += found
            if not found:
                left_out.append(LeftOut(str(path), "holds no image"))
        return _assemble(frames, left_out, StackOptions(series_uid, on_gap, on_duplicate, tolerance_mm))

    @classmethod
    def from_datasets(
        cls,
        datasets: Iterable[Dataset],
        *,
        series_uid: str | None = None,
        on_gap: OnGap = "raise",
        on_duplicate: OnDuplicate = "raise",
        tolerance_mm: float | None = None,
    ) -> Volume:
        """Build the one volume in pydicom data sets, such as a retrieval yields; options as for `from_files`.

        Messages call the data sets by their place, counted from 1.
        """
        frames: list[Frame] = []
        left_out: list[LeftOut] = []
        for number, dataset in enumerate(datasets, 1):
            found = frames_of_dataset(dataset, f"data set {number}")
            frames += found
            if not found:
                left_out.append(LeftOut(f"data set {number}", "holds no image"))
        return _assemble(frames, left_out, StackOptions(series_uid, on_gap, on_duplicate, tolerance_mm))

    # --- MATLAB's words -----------------------------------------------------------------------------------

    @property
    def matlab_voxels(self) -> NDArray[Any]:
        """View in MATLAB's order (column, row, slice); its affine is `geometry.affine_crs`."""
        return self.voxels.transpose(2, 1, 0)

    @property
    def spatial_units(self) -> str:
        """Always "mm": no volume is made without positions."""
        return "mm"

    @property
    def orientation(self) -> str:
        """Plane of the slices: "transverse", "coronal", "sagittal", "oblique", or "mixed"."""
        return self.geometry.orientation

    @property
    def voxel_spacing(self) -> tuple[float, float, float]:
        """Distances in mm along (column, row, slice), MATLAB's order."""
        return self.geometry.spacing

    @property
    def normal_vector(self) -> Floats:
        """Unit normal of the first slice, (3,), LPS."""
        return self.geometry.normal

    @property
    def plane_mapping(self) -> tuple[str, str, str]:
        """The plane seen when an index of (column, row, slice), so ordered, is held."""
        return self.geometry.plane_mapping

    @property
    def num_transverse_slices(self) -> int | None:
        """Number of transverse slices; `None` for an oblique or mixed volume."""
        return self.geometry.num_transverse_slices

    @property
    def num_coronal_slices(self) -> int | None:
        """Number of coronal slices; `None` for an oblique or mixed volume."""
        return self.geometry.num_coronal_slices

    @property
    def num_sagittal_slices(self) -> int | None:
        """Number of sagittal slices; `None` for an oblique or mixed volume."""
        return self.geometry.num_sagittal_slices

    @property
    def window_centers(self) -> tuple[float, ...]:
        """One for every slice, in slice order; empty when a header lacks it."""
        return tuple(window[0] for window in self.windows if window) if all(self.windows) else ()

    @property
    def window_widths(self) -> tuple[float, ...]:
        """One for every slice, in slice order; empty when a header lacks it."""
        return tuple(window[1] for window in self.windows if window) if all(self.windows) else ()

    def extract_slice(self, index: int, plane: str | None = None) -> PlaneSlice:
        """Return a zero-based slice along "transverse", "coronal" or "sagittal"; without a plane, as
        acquired.

        Raises IndexError, and `IrregularGeometry` when the volume is oblique or mixed.
        """
        axis = 0 if plane is None else self.geometry.axis_of(plane)
        size = self.voxels.shape[axis]
        if not 0 <= index < size:
            raise IndexError(f"slice {index} of {size}")
        pixels = np.moveaxis(self.voxels, axis, 0)[index]
        last = [count - 1 for count in pixels.shape]
        corners = [(0, 0), (0, last[1]), (last[0], last[1]), (last[0], 0)]
        indices = [[*corner[:axis], index, *corner[axis:]] for corner in corners]
        spacing = self.voxel_spacing[::-1]
        kept = [spacing[other] for other in range(3) if other != axis]
        return PlaneSlice(pixels, self.geometry.voxel_to_patient(indices), (kept[0], kept[1]))


def _paths(source: Path | str | Iterable[Path | str]) -> list[Path]:
    """The files meant; hidden ones in a folder, such as those half received, are not."""
    if not isinstance(source, (str, Path)):
        return [Path(one) for one in source]
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in visible if path.is_file()]  # a pipe would block for ever
    return found


def _assemble(frames: Sequence[Frame], left_out: Sequence[LeftOut], options: StackOptions) -> Volume:
    stack = build_stack(frames, left_out, options)
    with naming(stack.frames[0].name):
        voxels = fill(stack.frames)
    return Volume(
        voxels=voxels,
        geometry=stack.geometry,
        modality=stack.frames[0].modality,
        windows=tuple(frame.window for frame in stack.frames),
        rescale=tuple((frame.slope, frame.intercept) for frame in stack.frames),
        sources=tuple(
            SliceSource(frame.source, frame.index, frame.sop_instance_uid) for frame in stack.frames
        ),
        series_uid=stack.frames[0].series_uid,
        photometric=stack.frames[0].pixels.format.photometric,
        report=VolumeReport(stack.left_out, stack.geometry.deviation_mm, stack.assumptions),
    )
