"""Voxels with their geometry, whatever they came from: views, parts, other orders, other grids.

The voxels are held once, C-contiguous, in the order (slice, row, column) in which scanners send them. Every
other order is a view of them, and carries its own affine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .display import colours_of, grey, png, png_of_colours
from .errors import IrregularGeometry, UnsupportedPixels
from .filling import scaled
from .geometry import VolumeGeometry
from .pixel_format import PALETTE
from .records import Axis, PlaneSlice, SliceSource, VolumeReport, VoxelView
from .resample import Method, Part, resample_into, right_angled
from .space import LAYOUTS, PARALLEL_DEGREES, Floats, Layout, System

_T = TypeVar("_T")
_ALL = slice(None)
_PLANE_CODES = {"transverse": "LPS", "coronal": "LIP", "sagittal": "PIR"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VoxelGrid:
    """Voxels after rescale, and where they lie.

    voxels: (*axes, slice, row, column), of RGB (..., 3), C-contiguous. Integers stay integers when all slopes
    and intercepts are whole. geometry: maps zero-based (slice, row, column) to mm, LPS.
    windows: (center, width) of every slice, in slice order, `None` where the header has none.
    rescale: (slope, intercept) of every slice: stored value * slope + intercept = voxel; (1, 0) also where a
    modality look-up table made the voxels, which it does not tell.
    sources: which file or data set each slice came from.
    photometric: "MONOCHROME1" voxels are bright where low; they are not inverted.
    padding: (lowest, highest) stored value that stands for no measurement, of every slice, or `None`.
    colormap: (entries, 3) from 0 to 1, of "PALETTE COLOR", whose voxels are indices into it.
    axes: what the voxels' first axes are, before (slice, row, column), if there are more than those three.
    What belongs to a slice is held once for each of (*axes, slice), in the order of memory. After slices have
    been cut across (`reorient`, `resample`), what is not the same in all is empty, or `None` a window.
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
    padding: tuple[tuple[int, int] | None, ...] = ()
    axes: tuple[Axis, ...] = ()
    colormap: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        slices, rows, columns = self.geometry.shape
        spacing = " x ".join(f"{mm:.4g}" for mm in self.voxel_spacing)
        further = "".join(f"{len(axis.values)} {axis.name} x " for axis in self.axes)
        left_out = f", {len(self.report.left_out)} left out" if self.report.left_out else ""
        return (
            f"<{type(self).__name__} {self.modality}, {further}{slices} slices of {rows} x {columns}"
            f" {self.voxels.dtype},"
            f" {self.orientation}, {spacing} mm{left_out}>"
        )

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the middle slice through its window, in its colours or its palette's."""
        middle = self.geometry.shape[0] // 2
        inverted = self.photometric == "MONOCHROME1"
        pixels = self.voxels[(0,) * len(self.axes)][middle]
        if self.colormap is not None:
            pixels = colours_of(pixels, self.colormap)
        if pixels.ndim == 3:
            return png_of_colours(pixels)
        return png(grey(pixels, self.windows[middle], inverted=inverted))

    def to_dict(self) -> dict[str, Any]:
        """What the volume is, as plain values; lengths in mm."""
        return {
            "shape": list(self.voxels.shape),
            "axes": [axis._asdict() for axis in self.axes],
            "dtype": str(self.voxels.dtype),
            "modality": self.modality,
            "orientation": self.orientation,
            "voxel_spacing": [float(mm) for mm in self.voxel_spacing],
            "affine": self.geometry.affine.tolist(),
            "series_uid": self.series_uid,
            "photometric": self.photometric,
            "left_out": [one.to_dict() for one in self.report.left_out],
            "deviation_mm": float(self.report.deviation_mm),
            "assumptions": list(self.report.assumptions),
        }

    # --- MATLAB's words -----------------------------------------------------------------------------------

    @property
    def matlab_voxels(self) -> NDArray[Any]:
        """View in MATLAB's order (column, row, slice); its affine is `geometry.affine_crs`."""
        return self.view("crs").voxels

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

    # --- parts and other orders ---------------------------------------------------------------------------

    def view(self, layout: Layout, system: System = "LPS") -> VoxelView:
        """The voxels in the order of `layout`, without a copy, with the affine of that order.

        "crs" is MATLAB's, SimpleITK's and NIfTI's, "rcs" that of a stack of pictures; `system` is what the
        affine maps to. Further axes and colours come behind the three, in "src" where they are held.
        """
        affine = self.geometry.affine_in(layout, system)
        if layout == "src":
            return VoxelView(self.voxels, affine)
        lead = len(self.axes)
        order = [lead + axis for axis in LAYOUTS[layout]]
        rest = [axis for axis in range(self.voxels.ndim) if axis not in order]
        return VoxelView(self.voxels.transpose(*order, *rest), affine)

    def at(self, *places: int) -> Self:
        """One volume of several: the zero-based place along each of `axes`. A view; raises IndexError."""
        sizes = [len(axis.values) for axis in self.axes]
        fit = len(places) == len(sizes) and all(
            0 <= one < size for one, size in zip(places, sizes, strict=True)
        )
        if not fit:
            raise IndexError(f"{places} along axes of {tuple(sizes)}")
        run = int(np.ravel_multi_index(places, sizes)) if sizes else 0
        count = self.geometry.shape[0]

        def of_run(values: tuple[_T, ...]) -> tuple[_T, ...]:
            return values[run * count : (run + 1) * count]

        return replace(
            self,
            voxels=self.voxels[places],
            axes=(),
            windows=of_run(self.windows),
            rescale=of_run(self.rescale),
            sources=of_run(self.sources),
            padding=of_run(self.padding),
        )

    def mip(self, plane: str | None = None) -> NDArray[Any]:
        """The brightest value across a plane's slices, as acquired without one: (*axes, down, across).

        Of "MONOCHROME1" the lowest value is the brightest. Raises as `extract_slice`, `UnsupportedPixels` for
        colour.
        """
        if self.photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise UnsupportedPixels(f"{self.photometric} has no brightest value")
        axis = len(self.axes) + (0 if plane is None else self.geometry.axis_of(plane))
        found: NDArray[Any] = (
            self.voxels.min(axis=axis) if self.photometric == "MONOCHROME1" else self.voxels.max(axis=axis)
        )
        return found

    def padding_mask(self) -> NDArray[np.bool_] | None:
        """Where the voxels stand for no measurement (PS3.3 C.7.5.1.1.2); `None` where no header says so.

        Shape as `voxels`.
        """
        if not any(self.padding):
            return None
        mask = np.zeros(self.voxels.shape, np.bool_)
        frames = self.voxels.reshape(len(self.padding), *self.geometry.shape[1:])
        places = mask.reshape(frames.shape)
        for place, voxels, ends, scale in zip(places, frames, self.padding, self.rescale, strict=True):
            if ends is not None:
                low, high = sorted(scaled(end, scale, voxels.dtype) for end in ends)
                np.logical_and(voxels >= low, voxels <= high, out=place)
        return mask

    def extract_slice(self, index: int, plane: str | None = None) -> PlaneSlice:
        """Return a zero-based slice along "transverse", "coronal" or "sagittal"; without a plane, as
        acquired.

        Raises IndexError, and `IrregularGeometry` when the volume is oblique or mixed.
        """
        axis = 0 if plane is None else self.geometry.axis_of(plane)
        corners = self.geometry.slice_corners(index, plane)
        spacing = self.voxel_spacing[::-1]
        kept = [spacing[other] for other in range(3) if other != axis]
        pixels = self.voxels[(slice(None),) * (len(self.axes) + axis) + (index,)]
        return PlaneSlice(pixels, corners, (kept[0], kept[1]))

    def replace_slice(self, index: int, pixels: ArrayLike, plane: str | None = None) -> Self:
        """A copy with another slice, as `extract_slice` gives it; write into that to change this volume.

        Raises as `extract_slice`, and `ValueError` for pixels of another shape, or that the voxels' type
        cannot hold.
        """
        given, old = np.asarray(pixels), self.extract_slice(index, plane).pixels
        if given.shape != old.shape:
            raise ValueError(f"the slice has {old.shape} pixels, not {given.shape}")
        if not np.can_cast(given.dtype, old.dtype) and not np.array_equal(_held(given, old.dtype), given):
            raise ValueError(f"voxels of type {old.dtype} cannot hold these values")
        changed = replace(self, voxels=self.voxels.copy())
        changed.extract_slice(index, plane).pixels[...] = given
        return changed

    def crop(self, slices: slice = _ALL, rows: slice = _ALL, columns: slice = _ALL) -> Self:
        """A part, each voxel where it was; steps thin out, negative ones turn round.

        A view where the part lies in one piece, else a copy. Raises IndexError for an empty one.
        """
        kept = slices, rows, columns
        taken = [range(*one.indices(size)) for one, size in zip(kept, self.geometry.shape, strict=True)]
        geometry = self.geometry.sliced(*taken)
        voxels = self.voxels[(*(_ALL for _ in self.axes), *kept)]
        count = self.geometry.shape[0]

        def of_kept(values: tuple[_T, ...]) -> tuple[_T, ...]:
            runs = range(0, len(values), count)  # one for each place along the further axes
            return tuple(values[run + number] for run in runs for number in taken[0])

        return replace(
            self,
            voxels=np.ascontiguousarray(voxels),
            geometry=geometry,
            windows=of_kept(self.windows),
            rescale=of_kept(self.rescale),
            sources=of_kept(self.sources),
            padding=of_kept(self.padding),
        )

    def reorient(self, to: str) -> Self:
        """The same voxels in another order of axes, each where it was: MATLAB's updateOrientation.

        to: where (column, row, slice) shall grow to, such as "LPS" or "RAS"; or "transverse" for LPS,
        "coronal" for LIP, "sagittal" for PIR, as they are looked at. Raises `ValueError` for a code that is
        none, `IrregularGeometry` where a mixed or uneven stack would have to be cut across.
        """
        axes, senses = self.geometry.reorientation(_PLANE_CODES.get(to, to))
        lead, geometry = len(self.axes), self.geometry.permuted(axes)
        order = (*range(lead), *(lead + axis for axis in axes), *range(lead + 3, self.voxels.ndim))
        turned = replace(self, voxels=self.voxels.transpose(order), geometry=geometry)
        if axes[0] != 0:
            turned = turned._other_slices("slices are others than those of the files")
        return turned.crop(*(slice(None, None, sense) for sense in senses))

    def to_rgb(self) -> Self:
        """Palette colours as RGB of 8 bits, (..., 3), in which no value stands for padding.

        Itself where there is no palette.
        """
        if self.colormap is None:
            return self
        colours, padding = colours_of(self.voxels, self.colormap), (None,) * len(self.padding)
        return replace(self, voxels=colours, photometric="RGB", colormap=None, padding=padding)

    def reposition(self, matrix: ArrayLike, system: System = "LPS") -> Self:
        """The same voxels moved by a (4, 4) matrix from mm to mm, such as a registration finds."""
        return replace(self, geometry=self.geometry.transformed(matrix, system))

    def resample(
        self, target: VolumeGeometry, *, method: Method = "linear", fill: float | None = None
    ) -> Self:
        """The volume at the voxels of another geometry, in the type it has.

        method: "nearest", "linear" or "cubic". fill: the value outside; unless given that of the padding,
        else the lowest there is. Padding stays padding, and no other voxel takes part of it. Raises
        ImagingError without scipy, `IrregularGeometry` for a mixed volume, `UnsupportedPixels` for colour.
        """
        if self.photometric == PALETTE and method != "nearest":
            raise UnsupportedPixels(
                'indices into a palette cannot be mixed: method="nearest", or to_rgb first'
            )
        mask = self.padding_mask()
        if fill is None:
            fill = float(self.voxels.min() if mask is None or not mask.any() else self.voxels[mask][0])
        shape = self.geometry.shape
        colours = self.voxels.shape[len(self.axes) + 3 :]
        parts = self.voxels.reshape(-1, *shape, *(colours or (1,)))
        masks = None if mask is None else mask.reshape(-1, *shape)
        voxels = np.empty((len(parts), *target.shape, parts.shape[-1]), self.voxels.dtype)
        places = [
            Part(part[..., colour], None if masks is None else masks[number], voxels[number, ..., colour])
            for number, part in enumerate(parts)
            for colour in range(parts.shape[-1])
        ]
        resample_into(places, self.geometry, target, method, fill)
        made = replace(
            self,
            voxels=voxels.reshape(*self.voxels.shape[: len(self.axes)], *target.shape, *colours),
            geometry=target,
        )
        return made._other_slices(f"resampled ({method}), {fill:g} where nothing was measured")

    def regular(
        self,
        spacing: tuple[float, float, float] | None = None,
        *,
        method: Method = "linear",
        fill: float | None = None,
    ) -> Self:
        """The volume resampled onto a regular grid at right angles: uneven distances even, shear out.

        spacing: mm along (column, row, slice), unless given that of the volume. Errors as for `resample`.
        """
        return self.resample(right_angled(self.geometry, spacing), method=method, fill=fill)

    def deskew(self, *, method: Method = "linear", fill: float | None = None) -> Self:
        """A sheared volume, such as a CT with tilted gantry, at right angles; itself where it is not sheared.

        Raises IrregularGeometry for a volume whose slices lie unevenly: `regular` is for those.
        """
        if not self.geometry.is_affine:
            raise IrregularGeometry("the slices lie on no regular grid: use regular() to make one")
        if self.geometry.shear_angle <= PARALLEL_DEGREES:
            return self
        return self.regular(method=method, fill=fill)

    def noting(self, *notes: str) -> Self:
        """The same volume with more assumptions in its report."""
        report = replace(self.report, assumptions=(*self.report.assumptions, *notes))
        return replace(self, report=report)

    def _other_slices(self, note: str) -> Self:
        """What belongs to a slice of the files, where slices are others now: kept if the same in all."""
        frames = math.prod(self.voxels.shape[: len(self.axes) + 1])

        def common(values: tuple[_T, ...]) -> tuple[_T, ...]:
            return values[:1] * frames if len(set(values)) == 1 else ()

        rescale, padding, notes = common(self.rescale), common(self.padding), [note]
        if any(self.padding) and not (rescale and padding):
            padding = ()
            notes.append("which voxels are padding differs from slice to slice and is no longer known")
        return replace(
            self,
            windows=common(self.windows) or (None,) * frames,
            rescale=rescale,
            sources=(),
            padding=padding,
        ).noting(*notes)


def _held(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Values in another type, whatever that makes of them."""
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(kind)
