"""Pictures of volumes and images as PNG files, drawn with matplotlib (`pip install aiodicom[draw]`).

Pictures carry no patient's name. Distances keep their proportions; the view is the radiological one: the
patient's left is on the right, the front on top of transverse and on the left of sagittal slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dataset.errors import ImagingError
from ..dataset.leftovers import whole
from .display import colours_of, ends
from .grid import VoxelGrid
from .image import Image
from .space import PLANES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TILES = 24
"""Slices a montage shows; of more, as many evenly spread."""
MAX_FRAMES = 12
_DPI = 100
_SPREAD = (1, 99.5)  # per cent of the values between black and white where no header has a window
# Inches: heads of the pages, a caption's height, between planes, the tallest plane, a caption's width.
_HEAD, _HEAD_SMALL, _CAPTION, _GAP, _TALLEST, _NARROWEST = 0.8, 0.5, 0.28, 0.2, 5.2, 1.7
_LEAST_THROUGH = 0.8  # inches below a plane in which what is seen through it is drawn
_BACK = "#101418"
_TEXT = "#e8edf2"
_FAINT = "#8fa1b3"
_CROSS = "#37b6ff"
_LETTERS_ROOM = 36.0  # points of a picture's side from which letters at both its ends fit
_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
"""What lies at the lower and the higher end of the patient axes x, y, z (PS3.3 C.7.6.1.1.1)."""
# For each plane: the patient axis that runs right, the one that runs down, and its sense.
_VIEWS = {"transverse": (0, 1, 1), "coronal": (0, 2, -1), "sagittal": (1, 2, -1)}


class _View(NamedTuple):
    """A slice turned as it is looked at: pixels and mm per pixel (down, right), letters around it."""

    pixels: NDArray[Any]
    spacing: tuple[float, float]
    letters: tuple[str, str, str, str]  # left, right, top, bottom
    cross: tuple[float, float]  # mm from the left, from the top

    @property
    def width(self) -> float:
        """In mm."""
        return float(self.pixels.shape[1] * self.spacing[1])

    @property
    def height(self) -> float:
        """In mm."""
        return float(self.pixels.shape[0] * self.spacing[0])


def render_volume(volume: VoxelGrid, path: Path | str, *, title: str = "") -> Path:
    """Draw three orthogonal planes through the middle and a montage of the slices; returns the path written.

    An oblique or mixed volume gets the montage alone. Below a low plane the brightest values along its
    normal are seen. Of further axes the first place is drawn, colours as grey. Raises ImagingError
    without matplotlib, `OSError`.
    """
    return _save(_volume_page(volume, title), path)


def draw_volume(volume: VoxelGrid, *, title: str = "") -> Figure:
    """The same as a matplotlib figure, which notebooks show."""
    return _volume_page(volume, title).figure


def _volume_page(volume: VoxelGrid, title: str) -> _Page:
    volume = _grey_volume(volume)
    middle = tuple(size // 2 for size in volume.voxels.shape)
    planes = [plane for plane in _VIEWS if plane in volume.plane_mapping]
    views = [_view(volume, plane, middle) for plane in planes]
    width = 15.0
    scale = _scale(views, width)
    top = max((view.height for view in views), default=0.0) * scale + (_CAPTION if views else 0.0)
    count = min(volume.voxels.shape[0], MAX_TILES)
    across = 12 if count > 8 else max(count, 4)
    lines = -(-count // across)
    column, row, _ = volume.voxel_spacing
    tile = (
        width / across * min(max(volume.voxels.shape[1] * row / (volume.voxels.shape[2] * column), 0.4), 2.0)
    )
    height = _HEAD + top + lines * tile + 0.1
    page = _page(width, height)
    _words(page, 0.15, 0.27, title or _title(volume), color=_TEXT, fontsize=13, weight="bold")
    _words(page, 0.15, 0.57, _subtitle(volume), color=_FAINT, fontsize=10)
    low, high = _window(volume)
    slots = [max(view.width * scale, _NARROWEST) + _GAP for view in views]
    left = (width - sum(slots) + _GAP) / 2
    for plane, view, slot in zip(planes, views, slots, strict=True):
        axis = volume.geometry.axis_of(plane)
        caption = f"{plane}  {middle[axis] + 1} / {volume.voxels.shape[axis]}"
        _words(page, left, _HEAD + 0.12, caption, color=_FAINT, fontsize=10)
        axes = _axes(page, left, _HEAD + _CAPTION, view.width * scale, view.height * scale)
        _draw_plane(axes, view, low, high, volume.photometric)
        below = _HEAD + _CAPTION + view.height * scale
        _draw_through(page, volume, plane, (left, below, view.width * scale, _HEAD + top - below))
        left += slot
    shown = np.linspace(0, volume.voxels.shape[0] - 1, count).round().astype(int).tolist()
    for place, index in enumerate(shown):
        line, column_at = divmod(place, across)
        box = (column_at * width / across, _HEAD + top + 0.1 + line * tile, width / across, tile)
        _draw_tile(_axes(page, box[0] + 0.01, box[1] + 0.01, box[2] - 0.02, box[3] - 0.02), volume, index)
    return page


def _grey_volume(volume: VoxelGrid) -> VoxelGrid:
    """What is drawn: the first volume of several, colours as their mean."""
    first = volume.at(*(0 for _ in volume.axes)).to_rgb()
    if first.voxels.ndim == 3:
        return first
    grey = first.voxels.mean(axis=-1, dtype=np.float32)
    return replace(first, voxels=grey, photometric="MONOCHROME2")


def _draw_through(
    page: _Page, volume: VoxelGrid, plane: str, room: tuple[float, float, float, float]
) -> None:
    """The brightest values along a plane's normal below it, where `room` (left, top, width, height) does."""
    left, top, width, height = room
    if height < _CAPTION + _LEAST_THROUGH:
        return
    view = _view(volume, plane, (0, 0, 0), volume.mip(plane))
    scale = min(width / view.width, (height - _CAPTION) / view.height)
    wide = view.width * scale
    _words(page, left, top + 0.16, f"{plane}, brightest values", color=_FAINT, fontsize=10)
    axes = _axes(page, left + (width - wide) / 2, top + _CAPTION, wide, view.height * scale)
    pixels = _grey(view.pixels, *ends(None, view.pixels, _SPREAD), volume.photometric)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, view.width, view.height, 0), aspect="equal")


def render_slice(volume: VoxelGrid, path: Path | str, index: int, plane: str | None = None) -> Path:
    """Draw one zero-based slice in its proportions, through its window; returns the path written.

    Errors as for `Volume.extract_slice` and `render_volume`.
    """
    volume = _grey_volume(volume)
    found = volume.extract_slice(index, plane)
    if plane is not None:
        view = _view(volume, plane, (index, index, index))
        pixels, spacing = view.pixels, view.spacing
    else:
        pixels, spacing = found.pixels, found.spacing
    ratio = min(max(pixels.shape[0] * spacing[0] / (pixels.shape[1] * spacing[1]), 0.2), 5.0)
    page = _page(7.0, 7.0 * ratio)
    low, high = _window(volume, index if plane is None else None)
    axes = _axes(page, 0, 0, 7.0, 7.0 * ratio)
    shown = _grey(pixels, low, high, volume.photometric)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect=spacing[0] / spacing[1])
    _note(axes, f"{plane or volume.orientation}  {index + 1}")
    return _save(page, path)


def render_cine(image: Image, path: Path | str) -> Path:
    """Write the frames of an image as an animated GIF, at its frame time or ten a second; returns the path.

    Raises ImagingError without Pillow, which matplotlib brings, `OSError`.
    """
    try:
        from PIL import Image as Pictures
    except ImportError as error:
        raise ImagingError("a cine needs Pillow: pip install 'aiodicom[draw]'") from error
    low, high = _image_ends(image)
    frames = (
        Pictures.fromarray(np.rint(_coloured(image, number, low, high) * 255).astype(np.uint8))
        for number in range(image.num_frames)
    )
    time = max(int(image.frame_time or 100), 20)  # viewers take less for none
    with whole(Path(path)) as temporary:
        next(frames).save(temporary, "GIF", save_all=True, append_images=frames, duration=time, loop=0)
    return Path(path)


def _scale(views: Sequence[_View], width: float) -> float:
    """Inches per millimetre: one for all planes, so that they can be compared."""
    if not views:
        return 1.0
    free = width - 2 * _GAP - _GAP * (len(views) - 1)
    return min(free / sum(view.width for view in views), _TALLEST / max(view.height for view in views))


def render_image(image: Image, path: Path | str, *, title: str = "") -> Path:
    """Draw an image, of a multi-frame one up to 12 frames evenly spread; returns the path written.

    Raises ImagingError without matplotlib, `OSError`.
    """
    count = min(image.num_frames, MAX_FRAMES)
    across = min(count, 4)
    lines = -(-count // across)
    rows, columns = image.pixels.shape[:2]
    spacing = image.pixel_spacing or (1.0, 1.0)
    ratio = min(max(rows * spacing[0] / (columns * spacing[1]), 0.2), 5.0)
    side = (7.0 if count == 1 else 12.0) / across
    width, height = side * across, side * ratio * lines + _HEAD_SMALL
    page = _page(width, height)
    channels = "RGB" if image.pixels.shape[3] == 3 else image.photometric
    words = f"{image.modality}  {columns} x {rows}  {channels}"
    words += f"  {image.num_frames} frames" if image.num_frames > 1 else ""
    _words(page, 0.1, _HEAD_SMALL / 2, title or words, color=_TEXT, fontsize=12, weight="bold")
    low, high = _image_ends(image)
    shown = np.linspace(0, image.num_frames - 1, count).round().astype(int).tolist()
    for place, frame in enumerate(shown):
        line, column = divmod(place, across)
        top = _HEAD_SMALL + line * side * ratio
        axes = _axes(page, column * side + 0.02, top + 0.02, side - 0.04, side * ratio - 0.04)
        pixels = _coloured(image, frame, low, high)
        axes.imshow(pixels, aspect=spacing[0] / spacing[1], interpolation="antialiased")
        if count > 1:
            _note(axes, f"{frame + 1}")
    return _save(page, path)


# --- the planes -------------------------------------------------------------------------------------------


def _view(
    volume: VoxelGrid, plane: str, middle: tuple[int, ...], through: NDArray[Any] | None = None
) -> _View:
    """Turn and mirror the middle slice of a plane, or what is seen through it, as radiologists look at it."""
    right, down, sense = _VIEWS[plane]
    geometry = volume.geometry
    steps = geometry.affine[:3, :3]  # columns: steps along (slice, row, column)
    spacing = geometry.spacing[::-1]
    held = geometry.axis_of(plane)
    vertical, horizontal = geometry.axis_of(PLANES[down]), geometry.axis_of(PLANES[right])
    if through is None:
        pixels = np.moveaxis(volume.voxels, (held, vertical, horizontal), (0, 1, 2))[middle[held]]
    else:
        pixels = through if vertical < horizontal else through.T
    at = [(middle[vertical] + 0.5) * spacing[vertical], (middle[horizontal] + 0.5) * spacing[horizontal]]
    sizes = [pixels.shape[0] * spacing[vertical], pixels.shape[1] * spacing[horizontal]]
    if steps[down, vertical] * sense < 0:
        pixels, at[0] = pixels[::-1], sizes[0] - at[0]
    if steps[right, horizontal] < 0:
        pixels, at[1] = pixels[:, ::-1], sizes[1] - at[1]
    top, bottom = _LETTERS[down][::sense]
    letters = (*_LETTERS[right], top, bottom)
    return _View(pixels, (spacing[vertical], spacing[horizontal]), letters, (at[1], at[0]))


def _draw_plane(axes: Any, view: _View, low: float, high: float, photometric: str) -> None:
    axes.imshow(
        _grey(view.pixels, low, high, photometric),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0, view.width, view.height, 0),
        aspect="equal",
        interpolation="bilinear",
    )
    axes.axhline(view.cross[1], color=_CROSS, linewidth=0.6, alpha=0.5)
    axes.axvline(view.cross[0], color=_CROSS, linewidth=0.6, alpha=0.5)
    axes.set_xlim(0, view.width)
    axes.set_ylim(view.height, 0)
    places = (
        ((0, 0.5), (6, 0), "left", "center"),
        ((1, 0.5), (-6, 0), "right", "center"),
        ((0.5, 1), (0, -5), "center", "top"),
        ((0.5, 0), (0, 5), "center", "bottom"),
    )
    box = axes.get_window_extent()
    for letter, (at, offset, across, along) in zip(view.letters, places, strict=True):
        if (box.width if along == "center" else box.height) < _LETTERS_ROOM * _DPI / 72:
            continue  # the two would change places
        _mark(axes, letter, at, offset, ha=across, va=along, color=_TEXT, fontsize=12, weight="bold")


def _draw_tile(axes: Any, volume: VoxelGrid, index: int) -> None:
    columns, rows, _ = volume.voxel_spacing
    low, high = _window(volume, index)
    pixels = _grey(volume.voxels[index], low, high, volume.photometric)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect=rows / columns, interpolation="antialiased")
    _note(axes, f"{index + 1}")


def _note(axes: Any, words: str) -> None:
    _mark(axes, words, (0, 1), (4, -4), ha="left", va="top", color=_TEXT, fontsize=9)


def _mark(axes: Any, words: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Write on a picture, outlined so that it can be read on black and on white."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=2.5, foreground="black", alpha=0.8)]
    axes.annotate(words, at, offset, "axes fraction", "offset points", path_effects=outline, **style)


# --- grey and colour --------------------------------------------------------------------------------------


def _window(volume: VoxelGrid, index: int | None = None) -> tuple[float, float]:
    """Values shown black and white: the header's window of a slice, or of the volume in the middle."""
    window = volume.windows[index if index is not None else len(volume.windows) // 2]
    return ends(window, volume.voxels[:: max(len(volume.voxels) // 16, 1), ::4, ::4], _SPREAD)


def _image_ends(image: Image) -> tuple[float, float]:
    """The same of an image's grey frames, of all of them, so that one can be compared with the next."""
    window = None
    if image.window_center is not None and image.window_width is not None:
        window = image.window_center, image.window_width
    return ends(window, image.pixels[::4, ::4, :: max(image.num_frames // 16, 1)], _SPREAD)


def _grey(pixels: NDArray[Any], low: float, high: float, photometric: str) -> NDArray[np.float32]:
    """Window to 0..1; MONOCHROME1 is inverted after the window."""
    grey: NDArray[np.float32] = (pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    np.clip(grey, 0, 1, out=grey)
    return 1 - grey if photometric == "MONOCHROME1" else grey


def _coloured(image: Image, frame: int, low: float, high: float) -> NDArray[Any]:
    """A frame as (rows, columns, 3), 0 to 1; of grey values `low` is black and `high` white."""
    pixels = image.pixels[:, :, frame]
    if pixels.shape[2] == 3:
        top = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
        return pixels.astype(np.float32) / np.float32(top)
    plane = pixels[..., 0]
    if image.colormap is not None:
        return colours_of(plane, image.colormap) / np.float32(255)
    return np.repeat(_grey(plane, low, high, image.photometric)[..., None], 3, axis=2)


# --- the page ---------------------------------------------------------------------------------------------


def _title(volume: VoxelGrid) -> str:
    slices, rows, columns = volume.voxels.shape
    return f"{volume.modality}  {columns} x {rows} x {slices}  {volume.orientation}"


def _subtitle(volume: VoxelGrid) -> str:
    column, row, between = volume.voxel_spacing
    normal = ", ".join(f"{value:.4f}" for value in volume.normal_vector)
    words = f"voxels {column:.4g} x {row:.4g} x {between:.4g} mm    normal ({normal})"
    shear = volume.geometry.shear_angle
    words += f"    sheared by {shear:.1f} degrees" if shear > 0.1 else ""
    return words + (
        "" if volume.geometry.is_affine else "    slices not evenly spaced: shown as if they were"
    )


class _Page(NamedTuple):
    """A figure and its size in inches; places on it are counted from the top left."""

    figure: Figure
    width: float
    height: float


def _page(width: float, height: float) -> _Page:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImagingError("pictures need matplotlib: pip install 'aiodicom[draw]'") from error
    return _Page(Figure(figsize=(width, height), dpi=_DPI, facecolor=_BACK), width, height)


def _axes(page: _Page, left: float, top: float, width: float, height: float) -> Any:
    bottom = page.height - top - height
    box = (left / page.width, bottom / page.height, width / page.width, height / page.height)
    axes = page.figure.add_axes(box)
    axes.set_axis_off()
    return axes


def _words(page: _Page, left: float, top: float, words: str, **style: Any) -> None:
    page.figure.text(left / page.width, 1 - top / page.height, words, va="center", **style)


def _save(page: _Page, path: Path | str) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = Path(path)
    canvas: Any = FigureCanvasAgg(page.figure)
    with whole(target) as temporary:
        canvas.print_png(str(temporary))
    return target
