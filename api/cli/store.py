"""``aiodicom store``: files and folders to a peer."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import click

from ..client.results import StoreReport
from . import output
from .commands import PeerCommand
from .exits import Code, exit_code, sentence
from .lists import from_option, with_listed
from .options import PeerOptions, associations_option, peer_command
from .terminal import complain, objects, progress_bar, say, show_list, size, speed


@click.command(cls=PeerCommand)
@peer_command(progress=True)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@from_option("paths")
@click.option(
    "--no-convert",
    is_flag=True,
    help="Send every object in its own transfer syntax or not at all; otherwise one without compression goes"
    " out in another such syntax where the peer takes no other.",
)
@associations_option
def store(
    target: PeerOptions,
    paths: tuple[Path, ...],
    listed: IO[bytes] | None,
    no_convert: bool,
    associations: int,
) -> int:
    """Store files and whole folders: C-STORE to HOST PORT.

    Objects go out byte for byte as they lie in their files, where the peer takes that. Files that are no
    DICOM are skipped and listed.
    """
    sources = with_listed(tuple(map(str, paths)), listed, "PATH")

    async def work(so_far: list[StoreReport]) -> StoreReport:
        with progress_bar("store", wanted=target.progress) as progress:
            async with target.connect() as peer:
                how: dict[str, Any] = {"convert": not no_convert, "associations": associations}
                storing = peer.store(sources, progress=progress, **how)
                so_far.append(storing.report)
                return await storing

    report = target.run_told(work, _show)
    code = store_code(report)
    if target.json:
        output.emit(report.to_dict())
    else:
        _show(report)
    if report.error is not None:
        complain(sentence(report.error))
    elif code is not Code.OK:
        complain(_complaint(report))
    return code


def store_code(report: StoreReport) -> Code:
    """The exit code a report asks for."""
    if report.ok and report.error is None:
        return Code.OK
    if report.error is not None:
        return exit_code(report.error) or Code.FAILED
    if report.items and all(
        item.error and item.error.startswith("presentation context") for item in report.items
    ):
        return Code.NO_CONTEXT
    return Code.FAILED


def _show(report: StoreReport) -> None:
    rate = speed(report.bytes, report.seconds)
    say(f"stored {objects(report.stored_count)}, {size(report.bytes)} in {report.seconds:.1f} s ({rate})")
    if report.converted:
        say(f"converted to another uncompressed transfer syntax: {objects(report.converted)}")
    troubles = [str(item) for item in report.items if not item.ok]
    skipped = [f"{path}: {reason}" for path, reason in report.skipped]
    for title, lines in (("not stored, or with a warning", troubles), ("skipped", skipped)):
        show_list(title, lines)


def _complaint(report: StoreReport) -> str:
    if not report.counted:
        return "there was nothing to store: no DICOM file was found"
    parts = []
    if report.failed_count:
        parts.append(f"{report.failed_count} of {objects(report.counted)} not stored")
    if report.warning_count:
        parts.append(f"{report.warning_count} stored with a warning")
    return ", ".join(parts)
