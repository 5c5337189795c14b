"""Part 10 files, data set scans, volumes and images: everything about DICOM objects that needs no network.

Names are loaded when they are first used, so that writing and scanning files pulls in neither numpy nor
pydicom.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .errors import (
    DuplicateSlices,
    ImagingError,
    IrregularGeometry,
    MalformedDataSet,
    MixedSeries,
    NestingTooDeep,
    NotDicom,
    SlicesMissing,
    TruncatedFile,
    UnsafeName,
    UnsupportedPixels,
    VolumeError,
)

if TYPE_CHECKING:
    from .geometry import VolumeGeometry
    from .image import Image
    from .layout import instance_path, safe_name, safe_uid
    from .part10 import FileHeader, Part10Writer, read_header
    from .phantom import synthesise_series, write_series
    from .render import render_image, render_volume
    from .scan import PixelLocation, ScanResult, scan_dataset
    from .volume import PlaneSlice, SliceSource, Volume, VolumeReport

__all__ = [
    "DuplicateSlices",
    "FileHeader",
    "Image",
    "ImagingError",
    "IrregularGeometry",
    "MalformedDataSet",
    "MixedSeries",
    "NestingTooDeep",
    "NotDicom",
    "Part10Writer",
    "PixelLocation",
    "PlaneSlice",
    "ScanResult",
    "SliceSource",
    "SlicesMissing",
    "TruncatedFile",
    "UnsafeName",
    "UnsupportedPixels",
    "Volume",
    "VolumeError",
    "VolumeGeometry",
    "VolumeReport",
    "instance_path",
    "read_header",
    "render_image",
    "render_volume",
    "safe_name",
    "safe_uid",
    "scan_dataset",
    "synthesise_series",
    "write_series",
]

_HOMES: Final = {
    "geometry": ("VolumeGeometry",),
    "image": ("Image",),
    "layout": ("instance_path", "safe_name", "safe_uid"),
    "part10": ("FileHeader", "Part10Writer", "read_header"),
    "phantom": ("synthesise_series", "write_series"),
    "render": ("render_image", "render_volume"),
    "scan": ("PixelLocation", "ScanResult", "scan_dataset"),
    "volume": ("PlaneSlice", "SliceSource", "Volume", "VolumeReport"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
