"""A series of slices as one array with its geometry: what MATLAB calls medicalVolume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from ..dataset.errors import ImagingError
from ..dataset.leftovers import whole
from .errors import UnsupportedPixels, VolumeError
from .export import (
    check_affine,
    check_ending,
    nifti,
    read_numpy,
    read_zarr,
    simpleitk,
    torch_tensor,
    write_nrrd,
    write_numpy,
    write_zarr,
)
from .filling import fill
from .frames import Frame
from .geometry import VolumeGeometry
from .grid import VoxelGrid
from .palette import common_colormap
from .reading import Found, files_of_series, read_datasets, read_files, series_of, tried
from .records import Axis, SliceSource, VolumeReport
from .render import draw_volume
from .series import images_of
from .stack import ReadOptions, Stack, StackOptions, build_stack, build_stacks


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Volume(VoxelGrid):
    """Voxels after rescale and where they lie, as `VoxelGrid` holds them, read from DICOM and written.

    >>> volume = aiodicom.Volume.from_files(FOLDER)
    >>> volume.voxels.shape
    (4, 16, 16)
    >>> volume.geometry.voxel_to_patient([0, 0, 0]).shape
    (3,)
    """

    @classmethod
    def from_files(cls, source: Path | str | Iterable[Path | str], **options: Unpack[ReadOptions]) -> Volume:
        """Read the one volume in a folder (with its subfolders), a file, or a list of files; names do not
        matter.

        Files that are no DICOM or hold no image are left out and reported, and so is what only shows an image
        and is no number, such as a window. Options, each a keyword:

        series_uid: take this series only.
        on_gap: "keep" accepts absent slices and uneven distances, and maps slice by slice.
        on_duplicate: which of several different images at one position to keep ("first", "last"), in the
        order of their instance numbers.
        on_broken: "leave out" goes on without files that cannot be read, and tells them in the report.
        tolerance_mm: how far a slice may lie from the regular grid; unless given, 0.1 mm or a quarter of the
        voxel's shortest side, whichever is less.
        values: "stored" leaves out the modality rescale. double: values that are no whole numbers as 64-bit
        floats, not 32.

        Of one file that holds one slice of a larger series the report says how many lie beside it:
        `from_series` takes them all. Raises OSError; `TruncatedFile`, `MalformedDataSet`; `MixedSeries`,
        `SlicesMissing`, `DuplicateSlices`, `IrregularGeometry`, `UnsupportedPixels`, or `VolumeError` when
        there is no image at all.
        """
        chosen = StackOptions(**options)
        made = _assemble(read_files(source, chosen.on_broken), chosen)
        alone = len(made.sources) == 1 and made.series_uid
        if not alone or not isinstance(source, (str, Path)) or Path(source).is_dir():
            return made
        try:
            here = len(files_of_series(Path(source), made.series_uid))
        except OSError as error:
            return made.noting(f"what else of its series lies beside it is not known: {error.strerror}")
        if here == 1:
            return made
        return made.noting(f"1 of {here} slices of this series here: Volume.from_series() takes them all")

    @classmethod
    def from_series(cls, file: Path | str, **options: Unpack[ReadOptions]) -> Volume:
        """Read the volume of the series that a file belongs to, from all its files in the same folder.

        Options and errors as for `from_files`; `VolumeError` where the file names no series.
        """
        series_uid = options.setdefault("series_uid", None) or series_of(Path(file))
        if not series_uid:
            raise VolumeError(f"{file} names no series")
        options["series_uid"] = series_uid
        return cls.from_files(files_of_series(Path(file), series_uid), **options)

    @classmethod
    def from_datasets(cls, datasets: Iterable[Dataset], **options: Unpack[ReadOptions]) -> Volume:
        """Build the one volume in pydicom data sets, such as a retrieval yields; options as for `from_files`.

        Messages call the data sets by their place, counted from 1.
        """
        chosen = StackOptions(**options)
        return _assemble(read_datasets(datasets, chosen.on_broken), chosen)

    @classmethod
    def from_array(
        cls,
        voxels: ArrayLike,
        geometry: VolumeGeometry,
        *,
        modality: str = "OT",
        axes: Sequence[Axis] = (),
        photometric: str = "MONOCHROME2",
    ) -> Volume:
        """A volume of an array, (*axes, slice, row, column), of RGB (..., 3), and where its voxels lie.

        The array is taken as it is where it is C-contiguous. Raises ValueError for another shape than the
        geometry and the axes have.
        """
        held = np.ascontiguousarray(voxels)
        wanted = (*(len(axis.values) for axis in axes), *geometry.shape)
        if held.shape not in (wanted, (*wanted, 3)):
            raise ValueError(f"an array of {held.shape} for a volume of {wanted}")
        frames = math.prod(wanted[:-2])
        return cls(
            voxels=held,
            geometry=geometry,
            modality=modality,
            windows=(None,) * frames,
            rescale=((1.0, 0.0),) * frames,
            sources=(),
            series_uid="",
            photometric="RGB" if held.ndim > len(wanted) else photometric,
            report=VolumeReport((), geometry.deviation_mm, ("made of an array",)),
            padding=(None,) * frames,
            axes=tuple(axes),
        )

    @classmethod
    def volumes(
        cls, source: Path | str | Iterable[Path | str], **options: Unpack[ReadOptions]
    ) -> Iterator[Volume]:
        """Every volume in a folder or list of files, one after the other; options as for `from_files`.

        All headers are read before the first. Images that form no volume raise when it is their turn; with
        on_broken="leave out" they are left out, and told in the report of each volume.
        """
        chosen = StackOptions(**options)
        found = read_files(source, chosen.on_broken)
        yield from (_read(stack, chosen) for stack in build_stacks(found.frames, found.left_out, chosen))

    # --- to the world ---------------------------------------------------------------------------------------

    def write(self, path: Path | str) -> Path:
        """Write what the ending names: .nii, .nii.gz, .nrrd, .npy with its geometry in a .json, or .zarr.

        The last is a folder in chunks, which a program opens without reading it whole, with OME-Zarr's
        metadata where they can say what the axes are. Of a palette .nii and .nrrd hold the indices alone:
        `to_rgb` first for its colours.

        Returns the path. Raises OSError, `IrregularGeometry` for a stack on no regular grid, ImagingError
        where the package for the format is not installed or cannot write it, ValueError for another ending.
        """
        target = Path(path)
        check_ending(target)
        try:
            self._write(target)
        except (ImagingError, OSError):
            raise
        except Exception as error:  # each library has errors of its own
            told = f"{type(error).__name__}: {error}"
            raise ImagingError(f"{target.name} cannot be written ({told})") from error
        return target

    def _write(self, target: Path) -> None:
        if target.name.endswith((".nii", ".nii.gz")):
            image = self.to_nifti()
            with whole(target) as temporary:
                image.to_filename(str(temporary))
        elif target.suffix == ".nrrd":
            write_nrrd(target, *self.view("crs"), self.geometry)
        else:
            check_affine(self.geometry)
            facts = {
                **self.to_dict(),
                "layout": [*(axis.name for axis in self.axes), "slice", "row", "column"],
            }
            facts["system"] = "LPS"
            if self.colormap is not None:
                facts["colormap"] = self.colormap.tolist()
            if target.suffix == ".zarr":
                write_zarr(target, self.voxels, facts, self.geometry)
            else:
                write_numpy(target, self.voxels, facts)

    @classmethod
    def from_npy(cls, path: Path | str) -> Volume:
        """Read what `write` made of an .npy path. Raises OSError, ImagingError."""
        return cls._from_facts(path, *read_numpy(Path(path)))

    @classmethod
    def from_zarr(cls, path: Path | str) -> Volume:
        """Read what `write` made of a .zarr path, into memory. Raises OSError, ImagingError."""
        return cls._from_facts(path, *read_zarr(Path(path)))

    @classmethod
    def _from_facts(cls, path: Path | str, voxels: NDArray[Any], facts: dict[str, Any]) -> Volume:
        try:
            axes = [Axis(one["name"], one["unit"], _frozen(one["values"])) for one in facts["axes"]]
            shape = facts["shape"][len(axes) : len(axes) + 3]
            geometry = VolumeGeometry.from_affine(shape, facts["affine"])
            kinds = {"modality": str(facts["modality"]), "photometric": str(facts["photometric"])}
            made = cls.from_array(voxels, geometry, axes=axes, **kinds)
            return replace(made, colormap=np.array(facts["colormap"])) if "colormap" in facts else made
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ImagingError(f"{path} has no geometry of a volume with it ({error!r})") from error

    def plot(self, title: str = "") -> Any:
        """A matplotlib figure of three planes, all slices and what is seen through them.

        Raises ImagingError without matplotlib.
        """
        return draw_volume(self, title=title)

    def to_nifti(self) -> Any:
        """A nibabel image: RAS affine, (column, row, slice, *axes), which shares the voxels' memory."""
        view = self.view("crs", "RAS")
        return nifti(view.voxels, view.affine, self.geometry, self.axes)

    def to_sitk(self) -> Any:
        """A SimpleITK image. Raises IrregularGeometry for a sheared volume, which ITK cannot say."""
        return simpleitk(self.voxels, self.geometry, self.axes)

    def to_torch(self) -> Any:
        """A torch tensor that shares the voxels' memory; `geometry.affine` is its affine."""
        return torch_tensor(self.voxels)

    def to_datasets(self, template: Dataset | None = None) -> Iterator[Dataset]:
        """The volume as a new series of single images, in memory: new UIDs, every voxel where it is.

        template: a data set whose patient, study and frame of reference they get. Raises `UnsupportedPixels`
        for colour, and for values that are no integers of 16 bits; IrregularGeometry.
        """
        if self.photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise UnsupportedPixels(f"{self.photometric} is not written as a series: grey values are")
        return images_of(
            self.voxels, self.geometry, self.axes, self.modality, self.windows, self.photometric, template
        )


def _frozen(values: Iterable[Any]) -> tuple[Any, ...]:
    """Coordinates out of JSON, which has no tuples."""
    return tuple(_frozen(one) if isinstance(one, list) else one for one in values)


def _assemble(found: Found, options: StackOptions) -> Volume:
    return _read(build_stack(found.frames, found.left_out, options), options)


def _read(stack: Stack, options: StackOptions) -> Volume:
    """The pixels of a stack; frames that cannot be decoded are an error or, if so chosen, left out."""
    try:
        voxels = fill(stack.frames, stored=options.values == "stored", double=options.double)
    except ImagingError:
        if options.on_broken == "raise":
            raise
        whole, broken = tried(stack.frames)
        if not broken:
            raise
        return _read(build_stack(whole, (*stack.left_out, *broken), options), options)
    return volume_of(stack, voxels, options)


def _padding(frame: Frame, options: StackOptions) -> tuple[int, int] | None:
    """Stored values without a measurement; unknown behind a table, which may give others the same entry."""
    return frame.padding if frame.table is None or options.values == "stored" else None


def volume_of(stack: Stack, voxels: NDArray[Any], options: StackOptions) -> Volume:
    """A volume of a stack and its frames' voxels, (frames, rows, columns), of colours (..., 3)."""
    return Volume(
        voxels=voxels.reshape(
            *(len(axis.values) for axis in stack.axes), *stack.geometry.shape, *voxels.shape[3:]
        ),
        colormap=common_colormap(stack.frames),
        axes=stack.axes,
        geometry=stack.geometry,
        modality=stack.frames[0].modality,
        padding=tuple(_padding(frame, options) for frame in stack.frames),
        windows=tuple(frame.window for frame in stack.frames),
        rescale=tuple(
            (frame.slope, frame.intercept) if options.values == "rescaled" else (1.0, 0.0)
            for frame in stack.frames
        ),
        sources=tuple(
            SliceSource(frame.source, frame.index, frame.sop_instance_uid) for frame in stack.frames
        ),
        series_uid=stack.frames[0].series_uid,
        photometric=stack.frames[0].pixels.format.shown_as,
        report=VolumeReport(stack.left_out, stack.geometry.deviation_mm, stack.assumptions),
    )
