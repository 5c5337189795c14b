"""A head that never lived: a deterministic MR series for tests and demonstrations.

Ellipsoids with texture, tilted against the transverse plane as a scanner would plan it, with a window of its
own in every slice. The same arguments always give the same voxels and UIDs.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from ..dataset.names import short_hash

_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_SPACE = uuid.UUID("6f1c5f52-96a5-5d0c-8c0e-5c2f6a0b7a11")

TILT_DEGREES = 5.555
"""Makes the normal (0, 0.0968, 0.9953)."""

# Centre and half axes in units of half the field of view (x left, y back, z up), and signal.
_SCALP = ((0.0, 0.0, 0.05), (0.80, 0.92, 1.05), 880.0)
_SKULL = ((0.0, 0.0, 0.05), (0.74, 0.86, 0.99), 70.0)
_FLUID = ((0.0, 0.0, 0.05), (0.68, 0.80, 0.93), 150.0)
_BRAIN = ((0.0, 0.0, 0.05), (0.645, 0.765, 0.89), 470.0)
_WHITE = ((0.0, 0.0, 0.03), (0.54, 0.64, 0.76), 690.0)
_DETAILS = (
    ((0.0, -0.52, 0.25), (0.016, 0.22, 0.55), 190.0),  # the fissure between the halves, front and back
    ((0.0, 0.60, 0.25), (0.016, 0.18, 0.55), 190.0),
    ((-0.15, -0.06, 0.12), (0.065, 0.30, 0.13), 140.0),  # ventricles
    ((0.15, -0.06, 0.12), (0.065, 0.30, 0.13), 140.0),
    ((-0.23, -0.06, -0.02), (0.085, 0.17, 0.12), 520.0),  # deep nuclei
    ((0.23, -0.06, -0.02), (0.085, 0.17, 0.12), 520.0),
    ((0.0, 0.02, -0.08), (0.025, 0.12, 0.10), 150.0),  # third ventricle
    ((0.34, 0.30, 0.24), (0.07, 0.08, 0.11), 930.0),  # one thing to find, on the left
    ((-0.27, -0.53, -0.42), (0.17, 0.18, 0.19), 760.0),  # orbits with the eyes
    ((0.27, -0.53, -0.42), (0.17, 0.18, 0.19), 760.0),
    ((-0.27, -0.55, -0.42), (0.125, 0.135, 0.135), 200.0),
    ((0.27, -0.55, -0.42), (0.125, 0.135, 0.135), 200.0),
)


def phantom_uid(*parts: str | int) -> str:
    """Return a UID made of the parts alone, below 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_SPACE, '/'.join(map(str, parts))).int}"


def synthesise_series(
    *,
    slices: int = 22,
    rows: int = 512,
    columns: int = 512,
    pixel_spacing: float = 0.2734,
    slice_spacing: float = 3.3,
    tilt_degrees: float = TILT_DEGREES,
    patient_id: str = "PHANTOM-1",
    patient_name: str = "Phantom^Head",
    study: str | int = 1,
    series: int = 1,
) -> Iterator[Dataset]:
    """Yield the MR Image Storage data sets of a series, feet to head, each with `file_meta` for explicit VR
    LE.

    Spacings in mm. patient_id, study and series make the UIDs and the noise: other ones give another series,
    and equal ones the same, of the same study and frame of reference.
    """
    tilt = math.radians(tilt_degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, math.cos(tilt), -math.sin(tilt)])
    normal = np.cross(row, column)
    half = max(rows, columns) * pixel_spacing / 2
    first = -(slices - 1) / 2 * slice_spacing * normal
    first = first - (columns - 1) / 2 * pixel_spacing * row - (rows - 1) / 2 * pixel_spacing * column
    common = _common(patient_id, patient_name, study, series)
    seed = uuid.uuid5(_SPACE, f"{patient_id}/{study}/{series}").int
    folds = np.random.default_rng(seed).standard_normal((24, 24, 24)).astype(np.float32)
    for number in range(slices):
        corner = first + number * slice_spacing * normal
        down = (corner[1:, None] + np.arange(rows) * pixel_spacing * column[1:, None]) / half
        across = (corner[0] + np.arange(columns) * pixel_spacing) / half
        y, z = down.astype(np.float32)
        pixels = _slice(across.astype(np.float32), y, z, folds, np.random.default_rng([seed, number]))
        dataset = _instance(common, number, (patient_id, study, series), pixels)
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in corner]
        dataset.ImageOrientationPatient = [f"{value:.12f}" for value in (*row, *column)]
        dataset.PixelSpacing = [f"{pixel_spacing:g}", f"{pixel_spacing:g}"]
        dataset.SliceThickness = f"{slice_spacing - 0.3:g}"
        dataset.SpacingBetweenSlices = f"{slice_spacing:g}"
        yield dataset


def write_series(folder: Path | str, **options: Any) -> list[Path]:
    """Write `synthesise_series` into a folder, under names in no useful order; returns the paths."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in synthesise_series(**options):
        path = target / f"IM_{short_hash(dataset.SOPInstanceUID)}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    folds: NDArray[np.float32],
    noise: np.random.Generator,
) -> NDArray[np.int16]:
    """One slice, (rows, columns); x along columns, y and z along rows, in units of half the field of view."""
    texture = _sample(folds, x, y, z, 11.0) + 0.5 * _sample(folds, x, y, z, 23.0)
    brain = _depth(x, y, z, *_BRAIN[:2]) + 0.03 * texture
    # Sulci: where a smooth field changes sign, near the surface.
    ridge = np.abs(_sample(folds, x, y, z, 14.0))
    sulci = ridge < 0.3 * (brain - 0.55)
    signal = np.full((len(y), len(x)), 12, np.float32)
    for centre, axes, value in (_SCALP, _SKULL, _FLUID):
        signal[_depth(x, y, z, centre, axes) < 1] = value
    signal[(brain < 1) & ~sulci] = _BRAIN[2]
    cortex = ridge < 1.1 * (brain - 0.5)
    signal[(_depth(x, y, z, *_WHITE[:2]) + 0.1 * texture < 1) & ~cortex] = _WHITE[2]
    for centre, axes, value in _DETAILS:
        signal[_depth(x, y, z, centre, axes) + 0.04 * texture < 1] = value
    signal *= 1 + 0.025 * texture
    signal *= 1.08 - 0.16 * (x[None, :] * 0.4 + y[:, None] * 0.6)  # the coil is nearer to the forehead
    signal = _soften(signal)
    # The magnitude of a complex signal with noise in both parts: Rician, as in MR.
    real = signal + 11 * noise.standard_normal(signal.shape, np.float32)
    imaginary = 11 * noise.standard_normal(signal.shape, np.float32)
    magnitude: NDArray[np.float32] = np.hypot(real, imaginary)
    return magnitude.astype(np.int16)


def _depth(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Below 1 inside an ellipsoid; (rows, columns)."""
    rows = ((y - centre[1]) / axes[1]) ** 2 + ((z - centre[2]) / axes[2]) ** 2
    depth: NDArray[np.float32] = rows[:, None] + (((x - centre[0]) / axes[0]) ** 2)[None, :]
    return depth


def _sample(
    lattice: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    scale: float,
) -> NDArray[np.float32]:
    """Smooth noise: a lattice that repeats itself, interpolated linearly along each axis; (rows, columns)."""
    size = len(lattice)

    def around(at: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        place = at * np.float32(scale) + np.float32(100)
        below = np.floor(place).astype(np.intp)
        over = place - below
        return below % size, (below + 1) % size, (over * over * (3 - 2 * over)).astype(np.float32)

    (x0, x1, fx), (y0, y1, fy), (z0, z1, fz) = around(x), around(y), around(z)
    fy, fz = fy[:, None], fz[:, None]
    lines = (lattice[z0, y0] * (1 - fy) + lattice[z0, y1] * fy) * (1 - fz)
    lines += (lattice[z1, y0] * (1 - fy) + lattice[z1, y1] * fy) * fz
    sampled: NDArray[np.float32] = lines[:, x0] * (1 - fx) + lines[:, x1] * fx
    return sampled


def _soften(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur by a 1-2-1 kernel along both axes, as a scanner's point spread does."""
    for axis in (0, 1):
        signal = (np.roll(signal, 1, axis) + 2 * signal + np.roll(signal, -1, axis)) / np.float32(4)
    return signal


def _common(patient_id: str, patient_name: str, study: str | int, series: int) -> Dataset:
    """What all instances of the series share."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.SOPClassUID = _MR_IMAGE_STORAGE
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20240229"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber = f"A{study}"
    dataset.Modality = "MR"
    dataset.Manufacturer = "aiodicom phantom"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Head phantom"
    dataset.SeriesDescription = "tilted T1"
    dataset.PatientName = patient_name
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.BodyPartExamined = "HEAD"
    dataset.ScanningSequence = "GR"
    dataset.SequenceVariant = "SP"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = "450"
    dataset.EchoTime = "9"
    dataset.EchoTrainLength = "1"
    dataset.MagneticFieldStrength = "1.5"
    dataset.FlipAngle = "70"
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = phantom_uid(patient_id, study)
    dataset.SeriesInstanceUID = phantom_uid(patient_id, study, series)
    dataset.FrameOfReferenceUID = phantom_uid(patient_id, study, "frame of reference")
    dataset.StudyID = str(study)
    dataset.SeriesNumber = str(series)
    dataset.AcquisitionNumber = "1"
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    return dataset


def _instance(
    common: Dataset, number: int, identity: tuple[str, str | int, int], pixels: NDArray[np.int16]
) -> Dataset:
    """One instance of the series, its place still to be set."""
    dataset = Dataset()
    dataset.update(common)
    dataset.SOPInstanceUID = phantom_uid(*identity, number + 1)
    dataset.InstanceNumber = str(number + 1)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    bright = int(np.percentile(pixels[::4, ::4], 99.5))
    dataset.WindowCenter, dataset.WindowWidth = str(bright // 2), str(bright)
    dataset.PixelData = pixels.astype("<i2", copy=False).tobytes()
    dataset["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_MR_IMAGE_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(phantom_uid("implementation"))
    dataset.file_meta = meta
    return dataset
