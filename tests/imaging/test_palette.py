"""Colour volumes: RGB of whatever it was stored as, palettes as indices with their colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from aiodicom.imaging.errors import MixedSeries, UnsupportedPixels
from aiodicom.imaging.volume import Volume
from imaging_series import image, palette
from pydicom.dataset import Dataset


def colour(number: int, planar: int = 0, photometric: str = "RGB") -> Dataset:
    """A slice whose red is 10 * number + column, its green 100, its blue 200."""
    dataset = image(number, kind="<u1", SamplesPerPixel=3, PhotometricInterpretation=photometric)
    dataset.PlanarConfiguration = planar
    pixels = np.empty((3, 4, 3), np.uint8)
    pixels[..., 0] = 10 * number + np.arange(4)
    pixels[..., 1], pixels[..., 2] = 100, 200
    dataset.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    return dataset


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_have_their_three_values_last(read: Callable[..., Volume], planar: int) -> None:
    volume = read([colour(2, planar), colour(1, planar), colour(3, 1 - planar)])
    assert volume.voxels.shape == (3, 3, 4, 3)
    assert volume.voxels.flags.c_contiguous
    assert volume.voxels[:, 1, 2].tolist() == [[12, 100, 200], [22, 100, 200], [32, 100, 200]]
    assert volume.photometric == "RGB"
    assert volume.view("crs").voxels.shape == (4, 3, 3, 3)
    assert volume.reorient("coronal").voxels.shape == (3, 3, 4, 3)
    assert volume._repr_png_().startswith(b"\x89PNG")


def test_luminance_and_chrominance_become_rgb(read: Callable[..., Volume]) -> None:
    grey = colour(1, photometric="YBR_FULL")
    grey.PixelData = bytes([77, 128, 128] * 12)
    assert (read([grey]).voxels == 77).all()


def test_palettes_stay_indices_with_their_colours(read: Callable[..., Volume]) -> None:
    volume = read([palette(1), palette(2)])
    assert volume.photometric == "PALETTE COLOR"
    assert volume.voxels[0, 0].tolist() == [0, 1, 2, 3]
    assert volume.colormap is not None
    assert (volume.colormap * 255).round().tolist()[1] == [255, 2, 9]
    colours = volume.to_rgb()
    assert colours.voxels[1, 2].tolist() == [[0, 1, 9], [255, 2, 9], [7, 3, 9], [8, 4, 9]]
    assert colours.to_rgb() is colours
    with pytest.raises(UnsupportedPixels, match="nearest"):
        volume.regular()


def test_palettes_with_padding_become_colours_that_have_none(read: Callable[..., Volume]) -> None:
    given = [palette(1), palette(2)]
    for one in given:
        one.PixelPaddingValue = 3
    volume = read(given)
    mask = volume.padding_mask()
    assert mask is not None
    assert mask.any()
    colours = volume.to_rgb()
    assert colours.padding_mask() is None
    assert colours.resample(colours.geometry).voxels.tolist() == colours.voxels.tolist()


def test_one_volume_has_one_palette_and_one_kind_of_pixels(read: Callable[..., Volume]) -> None:
    with pytest.raises(MixedSeries, match="palettes"):
        read([palette(1), palette(2, (5, 6, 7, 8))])


def test_grey_and_inverted_grey_do_not_mix(read: Callable[..., Volume]) -> None:
    with pytest.raises(MixedSeries, match="photometric"):
        read([image(1), image(2, PhotometricInterpretation="MONOCHROME1")])
