"""A volume back as a DICOM series: an image for each slice, new UIDs, every voxel where it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import format_number_as_ds

from .errors import IrregularGeometry, UnsupportedPixels
from .frames import UNKNOWN
from .geometry import VolumeGeometry
from .records import Axis
from .space import Floats

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_STORAGE = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEYWORDS = {
    "echo time": "EchoTime",
    "inversion time": "InversionTime",
    "flip angle": "FlipAngle",
    "b-value": "DiffusionBValue",
    "trigger time": "TriggerTime",
    "temporal position": "TemporalPositionIdentifier",
    "acquisition number": "AcquisitionNumber",
}
"""Axes that an attribute of single images holds; any other is numbered by Temporal Position Identifier."""
_MAX_DS = 16
_RIGHT_ANGLE = 1e-4  # of a cosine


def decimal_string(value: float) -> str:
    """A number in the 16 characters of VR DS (PS3.5 6.2)."""
    text = format_number_as_ds(value)
    # pydicom's has 17 where rounding carries over into another digit: 9.999999999999998
    return text if len(text) <= _MAX_DS else f"{value:.9g}"


def images_of(
    voxels: NDArray[Any],
    geometry: VolumeGeometry,
    axes: Sequence[Axis],
    modality: str,
    windows: Sequence[tuple[float, float] | None],
    photometric: str,
    template: Dataset | None,
) -> Iterator[Dataset]:
    """An image for each slice of grey integers that 16 bits hold, (*axes, slice, row, column).

    template: whose patient and study they belong to; else a patient without name and a new study. Raises
    UnsupportedPixels for other values, IrregularGeometry where rows and columns are at no right angle.
    """
    stored = _stored(voxels)
    unknown = [axis for axis in axes if axis.name not in _KEYWORDS]
    if len(unknown) > 1:
        raise UnsupportedPixels(
            f"no attribute of single images holds {', '.join(one.name for one in unknown)}"
        )
    common = _common(stored, geometry, modality, photometric, template)
    places = _places(geometry)
    count, sizes = geometry.shape[0], [len(axis.values) for axis in axes]
    for number, pixels in enumerate(stored.reshape(-1, *geometry.shape[1:])):
        dataset = Dataset(dict(common.items()))  # of a data set it would be the same one
        run, place = divmod(number, count)
        dataset.InstanceNumber = number + 1
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        _place(dataset, *(vectors[place] for vectors in places))
        for axis, at in zip(axes, np.unravel_index(run, sizes) if sizes else (), strict=True):
            _coordinate(dataset, axis, int(at))
        window = windows[number] if windows else None
        if window is not None:
            dataset.WindowCenter, dataset.WindowWidth = (decimal_string(float(one)) for one in window)
        dataset.add_new(0x7FE00010, "OW", pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
        meta = dataset.file_meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        yield dataset


def _stored(voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels in 16 bits, exactly."""
    if voxels.dtype == np.bool_:
        voxels = voxels.view(np.uint8)
    if voxels.dtype.kind not in "iu":
        raise UnsupportedPixels(f"voxels of type {voxels.dtype} lose digits as images: round them first")
    low, high = int(voxels.min()), int(voxels.max())
    for kind in (np.int16, np.uint16):
        ends = np.iinfo(kind)
        if ends.min <= low and high <= ends.max:
            return voxels.astype(kind, copy=False)
    raise UnsupportedPixels(f"voxels from {low} to {high} do not fit into the 16 bits of an image")


def _common(
    stored: NDArray[Any],
    geometry: VolumeGeometry,
    modality: str,
    photometric: str,
    template: Dataset | None,
) -> Dataset:
    """What all images of the series share."""
    dataset = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        setattr(dataset, keyword, template.get(keyword, "") if template else "")
    for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, keyword, template.get(keyword, "") if template else "")
    if template is not None and "SpecificCharacterSet" in template:
        dataset.SpecificCharacterSet = template.SpecificCharacterSet
    dataset.StudyInstanceUID = template.StudyInstanceUID if template else generate_uid(prefix=None)
    reference = template.get("FrameOfReferenceUID") if template else None
    dataset.FrameOfReferenceUID = reference or generate_uid(prefix=None)
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.SeriesNumber, dataset.Modality = None, "OT" if modality == UNKNOWN else modality
    dataset.SOPClassUID = UID(_STORAGE.get(modality, _SECONDARY_CAPTURE))
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    if dataset.SOPClassUID == _SECONDARY_CAPTURE:
        dataset.ConversionType = "WSD"
    dataset.Rows, dataset.Columns = geometry.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(stored.dtype.kind == "i")
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.SliceThickness = decimal_string(geometry.spacing[2])
    return dataset


def _places(geometry: VolumeGeometry) -> tuple[Floats, Floats, Floats]:
    """Positions, steps across and steps down of all slices, each (slices, 3)."""
    if not geometry.is_affine:
        return geometry.positions, geometry.column_steps, geometry.row_steps
    indices = np.arange(geometry.shape[0])[:, None] * (1.0, 0.0, 0.0)
    affine, count = geometry.affine, (geometry.shape[0], 1)
    return geometry.voxel_to_patient(indices), np.tile(affine[:3, 2], count), np.tile(affine[:3, 1], count)


def _place(dataset: Dataset, position: Floats, across: Floats, down: Floats) -> None:
    """Position, orientation and spacing of a slice."""
    column, row = math.sqrt(across @ across), math.sqrt(down @ down)
    if abs(across @ down) > _RIGHT_ANGLE * column * row:
        raise IrregularGeometry(
            "rows and columns are at no right angle, which an image cannot say: use regular()"
        )
    cosines = (*(across / column), *(down / row))
    dataset.ImagePositionPatient = [decimal_string(float(one)) for one in position]
    dataset.ImageOrientationPatient = [decimal_string(float(one)) for one in cosines]
    dataset.PixelSpacing = [decimal_string(row), decimal_string(column)]


def _coordinate(dataset: Dataset, axis: Axis, at: int) -> None:
    """Say where along an axis an image is."""
    keyword = _KEYWORDS.get(axis.name)
    value = axis.values[at]
    if keyword is None or not isinstance(value, (int, float)):
        dataset.TemporalPositionIdentifier = at + 1
    elif keyword in ("TemporalPositionIdentifier", "AcquisitionNumber"):
        setattr(dataset, keyword, int(value))
    else:
        setattr(
            dataset,
            keyword,
            float(value) if keyword == "DiffusionBValue" else decimal_string(float(value)),
        )
