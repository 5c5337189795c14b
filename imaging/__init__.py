"""Volumes, images and pictures as numpy arrays: pixels and space, no network.

Names are loaded when they are first used: the errors alone need neither numpy nor pydicom.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..dataset.errors import ImagingError
from .errors import (
    DuplicateSlices,
    IrregularGeometry,
    MixedSeries,
    SlicesMissing,
    UnsupportedPixels,
    VolumeError,
)

if TYPE_CHECKING:
    from .builder import VolumeBuilder
    from .derived import Overlay, RealWorldMapping
    from .folder import Collection, CollectionRow, collection
    from .geometry import VolumeGeometry
    from .image import Image
    from .phantom import synthesise_series, write_series
    from .records import Axis, PlaneSlice, SliceSource, VolumeReport, VoxelView
    from .render import render_cine, render_image, render_slice, render_volume
    from .volume import Volume

__all__ = [
    "Axis",
    "Collection",
    "CollectionRow",
    "DuplicateSlices",
    "Image",
    "ImagingError",
    "IrregularGeometry",
    "MixedSeries",
    "Overlay",
    "PlaneSlice",
    "RealWorldMapping",
    "SliceSource",
    "SlicesMissing",
    "UnsupportedPixels",
    "Volume",
    "VolumeBuilder",
    "VolumeError",
    "VolumeGeometry",
    "VolumeReport",
    "VoxelView",
    "collection",
    "render_cine",
    "render_image",
    "render_slice",
    "render_volume",
    "synthesise_series",
    "write_series",
]

_HOMES = {
    "derived": ("Overlay", "RealWorldMapping"),
    "geometry": ("VolumeGeometry",),
    "image": ("Image",),
    "phantom": ("synthesise_series", "write_series"),
    "render": ("render_cine", "render_image", "render_slice", "render_volume"),
    "builder": ("VolumeBuilder",),
    "folder": ("Collection", "CollectionRow", "collection"),
    "records": ("Axis", "PlaneSlice", "SliceSource", "VolumeReport", "VoxelView"),
    "volume": ("Volume",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a misspelt name stays an error for type checkers

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
