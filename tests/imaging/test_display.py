"""What a notebook and a prompt show of volumes and images."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiodicom.imaging import Image, Volume, write_series
from aiodicom.imaging.display import ends, grey, png
from aiodicom.imaging.render import render_cine
from imaging_series import image, palette


def decoded(data: bytes) -> np.ndarray:
    """The pixels of a PNG without filters."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, packed, shape, channels = 8, b"", (0, 0), 1
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(name + body)
        if name == b"IHDR":
            columns, rows, depth, colour = struct.unpack_from(">IIBB", body)
            assert depth == 8
            shape, channels = (rows, columns), 3 if colour == 2 else 1
        elif name == b"IDAT":
            packed += body
        position += 12 + length
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape[0], -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(*shape, channels)


def test_a_png_holds_the_pixels() -> None:
    one = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(decoded(png(one))[:, :, 0], one)
    colour = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert np.array_equal(decoded(png(colour)), colour)


@pytest.mark.parametrize(
    ("window", "inverted", "expected"),
    [
        ((50.0, 100.0), False, [0, 127, 255]),
        ((50.0, 100.0), True, [255, 127, 0]),
        (None, False, [0, 127, 255]),
        ((50.0, 0.0), False, [0, 127, 255]),
    ],
)
def test_a_window_decides_what_is_bright(
    window: tuple[float, float] | None, inverted: bool, expected: list[int]
) -> None:
    assert grey(np.array([[0, 50, 100]]), window, inverted=inverted).tolist() == [expected]


def test_a_large_image_is_thinned_and_a_flat_one_is_shown() -> None:
    assert max(grey(np.zeros((5000, 3000)), None, inverted=False).shape) <= 512


def test_a_volume_fits_a_screen(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    volume, image = Volume.from_files(files), Image.from_file(files[0])
    for one in (volume, image):
        for text in (repr(one), str(one)):
            assert len(text) < 300
            assert "\n" not in text
        json.dumps(one.to_dict())
        assert decoded(one._repr_png_()).any()
    assert volume.modality in repr(volume)
    assert volume.to_dict()["shape"] == list(volume.voxels.shape)


def test_a_palette_is_shown_in_its_colours() -> None:
    given = palette(1)
    for one in (Volume.from_datasets([given]), Image.from_dataset(given)):
        assert decoded(one._repr_png_())[0].tolist() == [[0, 1, 9], [255, 2, 9], [7, 3, 9], [8, 4, 9]]


@pytest.mark.parametrize(
    ("window", "pixels", "expected"),
    [
        ((10.0, 0.5), [0, 1], (9.75, 10.25)),
        ((10.0, 1.0), [0, 1], (9.5, 10.5)),
        ((10.0, 0.0), [3, 5], (3.0, 5.0)),
        (None, [np.nan, -2.0, 7.0, np.inf], (-2.0, 7.0)),
        (None, [np.nan], (0.0, 1.0)),
        (None, [4, 4], (4.0, 4.0 + 1e-6)),
    ],
)
def test_black_and_white_follow_one_rule(window: Any, pixels: list[float], expected: Any) -> None:
    assert ends(window, np.array(pixels)) == expected


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 0.25, "WindowWidth": 0.5}])
def test_frames_of_a_cine_are_shown_alike(tmp_path: Path, window: dict[str, float]) -> None:
    pictures = pytest.importorskip("PIL.Image")
    made = image(1, NumberOfFrames=3, RescaleSlope=0.005, RescaleIntercept=0, **window)
    made.PixelData = np.repeat(np.array([0, 50, 100], "<i2"), 12).tobytes()
    with pictures.open(render_cine(Image.from_dataset(made), tmp_path / "c.gif")) as cine:
        assert cine.n_frames == 3
        shown = []
        for number in range(3):
            cine.seek(number)
            shown.append(int(np.asarray(cine.convert("L")).mean()))
    assert shown[0] == 0
    assert 120 < shown[1] < 135
    assert shown[2] == 255
