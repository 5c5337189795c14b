"""Volumes for other programs: NIfTI, NRRD, numpy with its geometry beside it, SimpleITK, torch.

Each format gets the affine it means: NIfTI RAS, all others LPS. What a format cannot hold is an error: a
stack on no regular grid everywhere, a sheared one in SimpleITK.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dataset.errors import ImagingError
from .errors import IrregularGeometry
from .geometry import VolumeGeometry
from .records import Axis
from .space import PARALLEL_DEGREES, Floats

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".npy")
"""Of the files `Volume.write` makes."""
SIDECAR = "aiodicom volume geometry 1"


def check_ending(path: Path) -> None:
    """ValueError for a file whose ending names no format."""
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"{path.name} names no format: {', '.join(ENDINGS)}")


def _library(name: str, package: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImagingError(f"this needs {name}: pip install {package}") from error


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
    if voxels.dtype == np.bool_ or voxels.dtype == np.float16:
        voxels = voxels.astype(np.uint8 if voxels.dtype == np.bool_ else np.float32)
    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, code=1)
    if geometry.shear_angle <= PARALLEL_DEGREES:
        image.set_qform(affine, code=1)
    else:
        image.set_qform(None, code=0)  # a quaternion has no shear
    image.header.set_xyzt_units("mm", "msec" if axes and axes[0].unit == "ms" else "unknown")
    return image


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
    nrrd.write(str(path), np.asfortranarray(voxels), header)


def write_numpy(path: Path, voxels: NDArray[Any], facts: dict[str, Any]) -> None:
    """Write the array as .npy, and beside it a .json with its geometry."""
    np.save(path, voxels, allow_pickle=False)
    path.with_suffix(".json").write_text(json.dumps({"format": SIDECAR, **facts}, indent=1), encoding="utf-8")


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


def simpleitk(voxels: NDArray[Any], geometry: VolumeGeometry, axes: Sequence[Axis]) -> Any:
    """A SimpleITK image of voxels (slice, row, column[, colour]), in LPS as ITK has it."""
    check_affine(geometry)
    if axes:
        raise ImagingError("SimpleITK images are made of three dimensions: take one volume of the axes")
    if geometry.shear_angle > PARALLEL_DEGREES:
        raise IrregularGeometry("the volume is sheared, which SimpleITK cannot say: use deskew()")
    library = _library("SimpleITK", "SimpleITK")
    image = library.GetImageFromArray(np.ascontiguousarray(voxels), isVector=voxels.ndim == 4)
    matrix = geometry.affine_crs
    sides = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(sides.tolist())
    image.SetDirection((matrix[:3, :3] / sides).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def torch_tensor(voxels: NDArray[Any]) -> Any:
    """A torch tensor that shares the voxels' memory."""
    return _library("torch", "torch").from_numpy(voxels)
