"""Why images do not form a volume, or a file holds no image.

Messages name files and positions, never what an element says about the patient.
"""

from __future__ import annotations

import re
from types import TracebackType

from ..dataset.errors import ImagingError


class naming:
    """Errors of our own that name no file are raised again with its name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, ImagingError):
            return
        # as a word of its own: "data set 1" is not named by "data set 10", nor "im1" by "im1.dcm"
        if not re.search(rf"(?<![^\s'\"(]){re.escape(self._name)}(?![^\s'\"):,;])", str(error)):
            raise type(error)(f"{self._name}: {error}") from error


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
