"""``aiodicom volume``: what volume a folder holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click

from ..imaging.export import check_ending
from ..imaging.folder import collection
from ..imaging.render import render_volume
from ..imaging.volume import Volume
from . import output
from .commands import Command
from .options import Common, local_command
from .terminal import say, show_pairs

_COORDINATES = 12  # along an axis that are shown


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--table", is_flag=True, help="Show what volumes the folder holds, from headers.")
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the volume: .nii, .nii.gz, .nrrd, .zarr, or .npy with its geometry in a .json.",
)
@click.option("--leave-out-broken", is_flag=True, help="Go on without files that cannot be read.")
@click.option("--series", metavar="UID", help="Take this series only.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the three planes and all slices into a file.",
)
@click.option(
    "--keep-gaps", is_flag=True, help="Take a stack with absent slices or uneven distances as it is."
)
@click.option(
    "--duplicates",
    type=click.Choice(["first", "last"]),
    help="Of different images at one position take the one with this instance number.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    metavar="MM",
    help="How far slices may lie off a regular grid.",
)
@local_command()
def volume(
    common: Common,
    folder: Path,
    table: bool,
    export: tuple[Path, ...],
    leave_out_broken: bool,
    series: str | None,
    png: Path | None,
    keep_gaps: bool,
    duplicates: Literal["first", "last"] | None,
    tolerance: float | None,
) -> None:
    """Show the volume that the images in FOLDER make: size, geometry, windows, and what was left out."""
    _check_exports(export)
    if table:
        _check_table(
            {
                "--export": export,
                "--png": png,
                "--series": series,
                "--keep-gaps": keep_gaps,
                "--duplicates": duplicates,
                "--tolerance": tolerance is not None,
            }
        )
        _show_table(folder, common.json)
        return
    found = Volume.from_files(
        folder,
        series_uid=series,
        on_gap="keep" if keep_gaps else "raise",
        on_broken="leave out" if leave_out_broken else "raise",
        on_duplicate=duplicates or "raise",
        tolerance_mm=tolerance,
    )
    for path in export:
        found.write(path)
    if png is not None:
        render_volume(found, png)
    if common.json:
        output.emit({**volume_json(found), "png": png, "exported": list(export)})
        return
    show_pairs(describe_volume(found))
    if png is not None:
        say(f"drawn into {png}")
    for path in export:
        say(f"written to {path}")
    for left in found.report.left_out:
        say(f"left out {left.name}: {left.why}")


def _check_exports(paths: tuple[Path, ...]) -> None:
    for path in paths:
        try:
            check_ending(path)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--export") from error


def _check_table(of_one: dict[str, object]) -> None:
    given = [option for option, value in of_one.items() if value]
    if given:
        raise click.UsageError(f"--table shows all volumes; for one of them: {', '.join(given)}")


def _show_table(folder: Path, as_json: bool) -> None:
    """What volumes a folder holds."""
    rows = collection(folder)
    if as_json:
        output.emit(rows.to_dict())
        return
    for line in str(rows).splitlines():
        say(line)


def describe_volume(found: Volume) -> Iterator[tuple[str, object]]:
    """A volume's properties, name by name."""
    geometry = found.geometry
    slices, rows, columns = found.geometry.shape
    further = "".join(f"{len(axis.values)} x " for axis in found.axes)
    yield "modality", found.modality
    names = "".join(f"{axis.name} x " for axis in found.axes) + "columns x rows x slices"
    yield "voxels", f"{further}{columns} x {rows} x {slices} ({names}), {found.voxels.dtype}"
    for axis in found.axes:
        yield axis.name, ", ".join(map(str, axis.values[:_COORDINATES])) + f" {axis.unit}".rstrip()
    yield "values", f"{found.voxels.min():g} to {found.voxels.max():g}"
    yield "spacing", " x ".join(f"{value:.4g}" for value in found.voxel_spacing) + f" {found.spatial_units}"
    yield "orientation", found.orientation
    yield "normal", _vector(found.normal_vector)
    yield "planes", ", ".join(found.plane_mapping) + " (column, row, slice held)"
    yield "regular grid", "yes" if geometry.is_affine else "no"
    yield "deviation", f"{found.report.deviation_mm:.3f} mm"
    yield "shear angle", f"{geometry.shear_angle:.2f} degrees"
    for number, line in enumerate(geometry.affine_crs[:3]):
        words = ("(column, row, slice)", "to mm, LPS", "")[number]
        yield "affine" if number == 0 else "", " ".join(f"{value:>9.4f}" for value in line) + f"   {words}"
    yield "windows", _windows(found)
    yield "series", found.series_uid
    for assumption in found.report.assumptions:
        yield "assumed", assumption


def _vector(values: object) -> str:
    return "(" + ", ".join(f"{float(value):.4f}" for value in values) + ")"  # type: ignore[attr-defined]


def _windows(found: Volume) -> str:
    centers, widths = found.window_centers, found.window_widths
    if not centers:
        return "none in the headers"
    if len(set(zip(centers, widths, strict=True))) == 1:
        return f"centre {centers[0]:g}, width {widths[0]:g}, all slices"
    return (
        f"one a slice: centre {min(centers):g} to {max(centers):g}, width {min(widths):g} to {max(widths):g}"
    )


def volume_json(found: Volume) -> dict[str, object]:
    """A volume's properties as JSON; the voxels' order is (*axes, slice, row, column)."""
    geometry = found.geometry
    return {
        **found.to_dict(),
        "minimum": found.voxels.min(),
        "maximum": found.voxels.max(),
        "spatial_units": found.spatial_units,
        "normal_vector": found.normal_vector,
        "plane_mapping": found.plane_mapping,
        "is_affine": geometry.is_affine,
        "is_axes_aligned": geometry.is_axes_aligned,
        "affine_crs": geometry.affine_crs,
        "shear_angle": geometry.shear_angle,
        "window_centers": found.window_centers,
        "window_widths": found.window_widths,
        "sources": [source._asdict() for source in found.sources],
    }
