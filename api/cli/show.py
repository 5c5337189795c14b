"""``aiodicom show``: the image of one file."""

from __future__ import annotations

from pathlib import Path

import click

from ..imaging.image import Image
from ..imaging.render import render_cine, render_image
from . import output
from .commands import Command
from .options import Common, local_command
from .terminal import say, show_pairs


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frame", type=click.IntRange(1), help="This frame only, counted from 1.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the image into a file.")
@click.option("--cine", type=click.Path(dir_okay=False, path_type=Path), help="Write the frames as a GIF.")
@local_command()
def show(common: Common, file: Path, frame: int | None, png: Path | None, cine: Path | None) -> None:
    """Show what the image in FILE is: size, type, spacing, window, and what was left out of its header."""
    try:
        image = Image.from_file(file, frame=None if frame is None else frame - 1)
    except IndexError as error:
        raise click.BadParameter(str(error), param_hint="--frame") from error
    if png is not None:
        render_image(image, png)
    if cine is not None:
        render_cine(image, cine)
    if common.json:
        output.emit({**image.to_dict(), "png": png, "cine": cine})
        return
    rows, columns, frames, channels = image.pixels.shape
    pairs: list[tuple[str, object]] = [
        ("modality", image.modality),
        ("pixels", f"{columns} x {rows}, {frames} frames, {channels} channels, {image.pixels.dtype}"),
        ("values", f"{image.pixels.min():g} to {image.pixels.max():g}"),
        ("photometric", image.photometric),
    ]
    if image.pixel_spacing:
        spacing = " x ".join(f"{mm:.4g}" for mm in image.pixel_spacing)
        pairs.append(("spacing", f"{spacing} mm (between rows, between columns)"))
    if image.frame_time:
        pairs.append(("frame time", f"{image.frame_time:g} ms"))
    if image.window_center is not None:
        pairs.append(("window", f"centre {image.window_center:g}, width {image.window_width:g}"))
    pairs += [("overlay", f"{one.group:04X}, {one.pixels.shape}") for one in image.overlays]
    pairs += [("assumed", told) for told in image.assumptions]
    show_pairs(pairs)
    for path in filter(None, (png, cine)):
        say(f"drawn into {path}")
