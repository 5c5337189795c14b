"""``aiodicom demo``: the whole path over mutual TLS, each step checked."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import click

from ..imaging.phantom import write_series
from .commands import Command
from .demo_data import take_stock
from .demo_show import Show
from .demo_steps import Demo
from .exits import Code
from .options import Common, local_command

_OUT = Path("demo-output")


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="A folder of DICOM files to use; an MR series is made up without it.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_OUT,
    show_default=True,
    help="Where the pictures go.",
)
@click.option("--keep", is_flag=True, help="Keep the archive and the retrieved files too, in OUT.")
@local_command(json=False, progress=True, log_level=logging.ERROR)
def demo(common: Common, data: Path | None, out: Path, keep: bool) -> int:
    """Store, query and retrieve a series over mutual TLS, and make a volume and a picture of it.

    Starts an archive of its own on a free port of this machine. Checks every step; the exit code is 0 only
    when each was as it must be.
    """
    for name in ("trustme", "matplotlib"):
        if find_spec(name) is None:
            raise click.ClickException(f"the demo needs {name}: pip install 'aiodicom[demo]'")
    started = time.monotonic()
    show = Show(progress=common.progress)
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="run-", dir=out if keep else None))
    try:
        if data is None:
            show.note("making up an MR series of a head phantom: 22 slices of 512 x 512, tilted 5.6 degrees,")
            show.note("and a small one in another study")
            folder = work / "phantom"
            write_series(folder)
            write_series(folder, slices=4, rows=128, columns=128, pixel_spacing=1.1, study=2)
        else:
            folder = data
        stock = take_stock(folder)
        common.run(Demo(show, stock, folder, work, out, made_up=data is None).run())
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    if keep:
        show.note(f"kept in {work}")
    show.summary(time.monotonic() - started)
    sys.stdout.flush()
    return Code.OK if show.ok else Code.FAILED
