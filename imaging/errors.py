"""What can go wrong between a file, a data set and a volume.

Messages name files, offsets and positions, never what an element says about the patient.
"""

from __future__ import annotations

__all__ = [
    "DuplicateSlices",
    "ImagingError",
    "IrregularGeometry",
    "MalformedDataSet",
    "MixedSeries",
    "NestingTooDeep",
    "NotDicom",
    "SlicesMissing",
    "TruncatedFile",
    "UnsafeName",
    "UnsupportedPixels",
    "VolumeError",
]


class ImagingError(Exception):
    """Base of every error of `aiodicom.imaging`."""


class NotDicom(ImagingError):
    """The bytes are neither a Part 10 file nor a bare data set."""


class TruncatedFile(ImagingError):
    """The file ends before its own lengths say it should."""


class MalformedDataSet(ImagingError):
    """The bytes are DICOM but break its encoding rules."""


class NestingTooDeep(MalformedDataSet):
    """Sequences are nested deeper than the limit: no scanner writes this, so it is taken for an attack."""


class UnsafeName(ImagingError, ValueError):
    """A name that came with the data cannot be used for a file."""


class VolumeError(ImagingError):
    """The images do not form one volume, or the file does not hold the image asked for."""


class MixedSeries(VolumeError):
    """The images belong to several series, orientations or matrices: choose one."""


class SlicesMissing(VolumeError):
    """The distances between neighbouring slices show that images are absent."""


class DuplicateSlices(VolumeError):
    """Several different images lie at one position."""


class IrregularGeometry(VolumeError):
    """The position of the images is unknown or does not follow a grid."""


class UnsupportedPixels(VolumeError):
    """The pixel data are absent, shorter than their header says, or cannot be decoded."""
