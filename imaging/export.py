"""Volumes for other programs: NIfTI, NRRD, Zarr, numpy with its geometry beside it, SimpleITK, torch.

Each format gets the affine it means: NIfTI RAS, all others LPS. What a format cannot hold is an error: a
stack on no regular grid everywhere, a sheared one in SimpleITK.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dataset.errors import ImagingError
from ..dataset.leftovers import whole
from .errors import IrregularGeometry
from .geometry import VolumeGeometry
from .records import Axis
from .space import PARALLEL_DEGREES, Floats

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".zarr", ".npy")
"""Of the files `Volume.write` makes."""
SIDECAR = "aiodicom volume geometry 1"
CHUNK = 256, 256, 32
"""Columns, rows and slices of a chunk of Zarr; one of each further axis."""
_OME = "0.5"
_TIMES = frozenset({"time", "trigger time", "frame reference time"})
_UNITS = {"ms": "millisecond", "s": "second"}


def check_ending(path: Path) -> None:
    """ValueError for a file whose ending names no format."""
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"{path.name} names no format: {', '.join(ENDINGS)}")


def _library(name: str, package: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImagingError(f"this needs {name}: pip install {package}") from error


def _common_type(voxels: NDArray[Any]) -> NDArray[Any]:
    """The same in a type that all formats have: masks as bytes, floats of 16 bits as such of 32."""
    wider = {"?": "u1", "e": "f4"}.get(voxels.dtype.char)
    return voxels if wider is None else voxels.astype(wider)


def check_affine(geometry: VolumeGeometry) -> None:
    """IrregularGeometry where no one matrix maps the voxels."""
    if not geometry.is_affine:
        raise IrregularGeometry(
            "the slices lie on no regular grid, which this format cannot say: use regular()"
        )


def nifti(voxels: NDArray[Any], affine: Floats, geometry: VolumeGeometry, axes: Sequence[Axis]) -> Any:
    """A nibabel image of voxels in the order (column, row, slice, *axes[, colour]) and their RAS affine."""
    check_affine(geometry)
    nibabel = _library("nibabel", "'aiodicom[export]'")
    if voxels.shape[-1] == 3 and voxels.ndim == 4 + len(axes):
        kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        if voxels.dtype != np.uint8:
            raise ImagingError("NIfTI holds colours of 8 bits only")
        voxels = np.ascontiguousarray(voxels).view(kind)[..., 0]
    voxels = _common_type(voxels)
    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, code=1)
    if geometry.shear_angle <= PARALLEL_DEGREES:
        image.set_qform(affine, code=1)
    else:
        image.set_qform(None, code=0)  # a quaternion has no shear
    clock = even_times(axes[0]) if axes else None
    if clock is None:
        image.header.set_xyzt_units("mm", "unknown")
        return image
    image.header.set_xyzt_units("mm", {"ms": "msec", "s": "sec"}[axes[0].unit])
    image.header["toffset"] = clock[0]
    image.header.set_zooms((*image.header.get_zooms()[:3], clock[1], *image.header.get_zooms()[4:]))
    return image


def even_times(axis: Axis) -> tuple[float, float] | None:
    """First value and step of an axis of times; `None` of any other, and where a step is none or another."""
    if axis.name not in _TIMES or axis.unit not in _UNITS:
        return None
    if len(axis.values) < 2 or not all(isinstance(one, (int, float)) for one in axis.values):
        return None
    steps = np.diff(axis.values)
    return (float(axis.values[0]), float(steps[0])) if steps[0] > 0 and np.allclose(steps, steps[0]) else None


def write_nrrd(path: Path, voxels: NDArray[Any], affine: Floats, geometry: VolumeGeometry) -> None:
    """Write voxels (column, row, slice, ...) and their LPS affine with pynrrd."""
    check_affine(geometry)
    nrrd = _library("nrrd", "'aiodicom[export]'")
    more = voxels.ndim - 3
    directions = [affine[:3, axis].tolist() for axis in range(3)] + [[np.nan] * 3] * more
    header = {
        "space": "left-posterior-superior",
        "space directions": np.array(directions),
        "space origin": affine[:3, 3],
        "kinds": ["domain"] * 3 + ["list"] * more,
    }
    with whole(path) as temporary:
        nrrd.write(str(temporary), np.asfortranarray(_common_type(voxels)), header)


def write_numpy(path: Path, voxels: NDArray[Any], facts: dict[str, Any]) -> None:
    """Write the array as .npy, and beside it a .json with its geometry."""
    told = json.dumps({"format": SIDECAR, **facts}, indent=1)
    with whole(path) as array, whole(path.with_suffix(".json")) as sidecar:
        np.save(array, voxels, allow_pickle=False)
        sidecar.write_text(told, encoding="utf-8")


def read_numpy(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """What `write_numpy` wrote. Raises OSError, ImagingError for files that are something else."""
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        voxels: NDArray[Any] = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ImagingError(f"{path} is no volume with a geometry beside it ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != SIDECAR:
        raise ImagingError(f"{path.with_suffix('.json')} is no geometry of a volume")
    return voxels, facts


def write_zarr(path: Path, voxels: NDArray[Any], facts: dict[str, Any], geometry: VolumeGeometry) -> None:
    """Write a folder, a group of Zarr 3 that holds the array "0" in chunks; it appears when it is whole.

    The attribute "aiodicom" says what `write_numpy` says beside its file. "ome" is there too where OME-Zarr
    0.5 can say what the axes are. FileExistsError where something is there.
    """
    library = _library("zarr", "'aiodicom[zarr]'")
    if path.exists():
        raise FileExistsError(errno.EEXIST, "the folder exists already", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    layout = facts["layout"]
    attributes = {"aiodicom": {"format": SIDECAR, **facts}}
    ome = _ome(voxels, layout, [Axis(**axis) for axis in facts["axes"]], geometry)
    if ome is not None:
        attributes["ome"] = {"version": _OME, "multiscales": [{"name": path.stem, **ome}]}
    space = [min(a, b) for a, b in zip(reversed(CHUNK), geometry.shape, strict=True)]
    chunks = (*[1] * (len(layout) - 3), *space, *voxels.shape[len(layout) :])
    names = [*layout, "colour"][: voxels.ndim]
    with whole(path) as temporary:
        group = library.open_group(str(temporary), mode="w", zarr_format=3, attributes=attributes)
        made = group.create_array(
            "0", shape=voxels.shape, dtype=voxels.dtype, chunks=chunks, dimension_names=names
        )
        made[...] = voxels


def _ome(
    voxels: NDArray[Any], layout: Sequence[str], axes: Sequence[Axis], geometry: VolumeGeometry
) -> dict[str, Any] | None:
    """Axes and scale as OME-Zarr has them; None where it has no such: colours last, an axis too many.

    One of time at even steps comes first, then one of another kind, then those of space. It knows no
    directions, so only a volume whose axes run along those of the patient is put in its place.
    """
    timed = [axis.name in _TIMES and axis.unit in _UNITS for axis in axes]
    if voxels.ndim > len(layout) or len(axes) > 2 or timed not in ([], [True], [False], [True, False]):
        return None
    told, scale, origin = [], [], []
    for axis, is_time in zip(axes, timed, strict=True):
        clock = even_times(axis) if is_time else (0.0, 1.0)
        if clock is None:
            return None
        told.append({"name": axis.name, **({"type": "time", "unit": _UNITS[axis.unit]} if is_time else {})})
        origin.append(clock[0])
        scale.append(clock[1])
    told += [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale += [float(mm) for mm in reversed(geometry.spacing)]
    steps_of_place: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    matrix = geometry.affine_crs
    if np.allclose(matrix[:3, :3], np.diag(geometry.spacing)):
        place = [*origin, *map(float, reversed(matrix[:3, 3]))]
        steps_of_place.append({"type": "translation", "translation": place})
    return {"axes": told, "datasets": [{"path": "0", "coordinateTransformations": steps_of_place}]}


def read_zarr(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """What `write_zarr` wrote, in memory. Raises OSError, ImagingError for another folder."""
    library = _library("zarr", "'aiodicom[zarr]'")
    try:
        group = library.open_group(str(path), mode="r")
        voxels, facts = np.asarray(group["0"][...]), group.attrs.get("aiodicom")
    except Exception as error:  # it has errors of its own, without one above them
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImagingError(f"{path} is no volume in Zarr ({type(error).__name__}: {error})") from error
    if not isinstance(facts, dict) or facts.get("format") != SIDECAR:
        raise ImagingError(f"{path} says no geometry of a volume")
    return voxels, facts


def simpleitk(voxels: NDArray[Any], geometry: VolumeGeometry, axes: Sequence[Axis]) -> Any:
    """A SimpleITK image of voxels (slice, row, column[, colour]), in LPS as ITK has it."""
    check_affine(geometry)
    if axes:
        raise ImagingError("SimpleITK images are made of three dimensions: take one volume of the axes")
    if geometry.shear_angle > PARALLEL_DEGREES:
        raise IrregularGeometry("the volume is sheared, which SimpleITK cannot say: use deskew()")
    library = _library("SimpleITK", "SimpleITK")
    image = library.GetImageFromArray(_common_type(np.ascontiguousarray(voxels)), isVector=voxels.ndim == 4)
    matrix = geometry.affine_crs
    sides = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(sides.tolist())
    image.SetDirection((matrix[:3, :3] / sides).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def torch_tensor(voxels: NDArray[Any]) -> Any:
    """A torch tensor that shares the voxels' memory."""
    return _library("torch", "torch").from_numpy(voxels)
