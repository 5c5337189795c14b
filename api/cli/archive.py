"""``aiodicom archive``: look after an archive's folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click

from ..archive.archive import Archive
from ..archive.copying import copy_archive
from ..archive.errors import IndexVersionError, NoArchive, ObjectRefused
from ..archive.files import aside, reason_of, set_index_aside
from ..archive.upkeep import read_object
from ..dataset.errors import ImagingError
from . import output
from .commands import Command
from .exits import Code
from .options import Common, local_command
from .terminal import clean, complain, say, show_table

_DIRECTORY = click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)


@click.group()
def archive() -> None:
    """Look after the archive in DIR: verify it, copy it, rebuild its index, list what was set aside."""


@archive.command(cls=Command)
@_DIRECTORY
@local_command()
def verify(common: Common, directory: Path) -> int:
    """Read every object in DIR and compare it with the index.

    The archive must not be open elsewhere; it is opened as a start would, and then only read.
    """
    with Archive(directory, create=False) as opened:
        opened.wait_until_compared()
        found = opened.verify()
    code = Code.OK if found.ok else Code.FAILED
    if common.json:
        output.emit({"ok": found.ok, **output.plain(found)})
        return code
    faults = [(str(one.path), one.reason) for one in found.damaged]
    faults += [
        (str(path), "it is not in the index: `aiodicom archive reindex`") for path in found.not_indexed
    ]
    faults += [(uid, "it is in the index, its file is not there") for uid in found.missing]
    faults += [(uid, "its file has another size than the index says") for uid in found.differing]
    _faults(faults)
    _faults([(str(one.path), f"kept, its encoding is in doubt: {one.reason}") for one in found.doubtful])
    doubt = f", {len(found.doubtful)} in doubt" if found.doubtful else ""
    say(f"{found.objects} objects, {len(faults)} with a fault{doubt}")
    return code


@archive.command(cls=Command)
@_DIRECTORY
@local_command()
def reindex(common: Common, directory: Path) -> int:
    """Rebuild the index in DIR from the objects alone.

    The archive must not be open elsewhere. What cannot be read is listed and left where it is. An index that
    is damaged, or of another version, is kept beside the new one.
    """
    try:
        with Archive(directory, create=False) as opened:
            found = opened.reindex()
    except sqlite3.OperationalError:  # the disk, or a lock: nothing is wrong with the index
        raise
    except (IndexVersionError, sqlite3.DatabaseError) as error:
        (complain if common.json else say)(f"the index is set aside: {error}")
        set_index_aside(directory)
        with Archive(directory, create=False) as opened:
            found = opened.reindex()
    code = Code.OK if not found.skipped else Code.FAILED
    if common.json:
        skipped = [{"path": path, "reason": reason} for path, reason in found.skipped]
        output.emit({"ok": not found.skipped, "indexed": found.indexed, "skipped": skipped})
        return code
    _faults([(str(path), reason) for path, reason in found.skipped])
    say(f"{found.indexed} objects indexed, {len(found.skipped)} left out")
    return code


@archive.command(cls=Command)
@_DIRECTORY
@click.argument("target", type=click.Path(path_type=Path), metavar="DEST")
@click.option("--link", is_flag=True, help="hard links instead of copies; on the same file system")
@local_command(progress=True)
def copy(common: Common, directory: Path, target: Path, link: bool) -> int:
    """Copy the archive in DIR to DEST, whole and of one moment, while it serves.

    DEST is not there yet; it appears when all of it is written. What is stored meanwhile is not in it.
    """

    def told(done: int, of: int) -> None:
        complain(f"{done} of {of} objects copied")

    found = copy_archive(directory, target, link=link, progress=told if common.progress else None)
    code = Code.OK if not (found.missing or found.left_out) else Code.FAILED
    if common.json:
        output.emit({"ok": code is Code.OK, **output.plain(found)})
        return code
    _faults([(uid, "it is in the index, its whole file is not there") for uid in found.missing])
    _faults([(name, "not copied: no plain file, or taken away meanwhile") for name in found.left_out])
    say(f"{found.objects} objects, {found.bytes} bytes copied to {target}")
    return code


@archive.command(cls=Command)
@_DIRECTORY
@local_command()
def conflicts(common: Common, directory: Path) -> int:
    """List objects that came with the UID of a stored one and other content; the archive may be open."""
    return _list(common, directory, "conflicts")


@archive.command(cls=Command)
@_DIRECTORY
@local_command()
def quarantine(common: Common, directory: Path) -> int:
    """List objects that were refused or found torn, each with the reason; the archive may be open."""
    return _list(common, directory, "quarantine")


def _list(common: Common, directory: Path, folder: Literal["conflicts", "quarantine"]) -> int:
    if not (directory / "objects").is_dir():
        raise NoArchive(f"{directory} holds no archive")
    rows = list(_set_aside(directory, folder))
    if common.json:
        output.emit({"ok": True, folder: rows})
    elif rows:
        table = [
            (row["sop_instance_uid"], str(row["size"]), row["file"], row["reason"] or "") for row in rows
        ]
        show_table(("SOP Instance UID", "bytes", "file", "what is wrong"), table)
    else:
        say(f"nothing in {folder}")
    return Code.OK


def _set_aside(directory: Path, folder: Literal["conflicts", "quarantine"]) -> Iterator[dict[str, object]]:
    for name in aside(directory, folder):
        path = directory / folder / f"{name}.dcm"
        reason = None
        try:
            size = os.path.getsize(path)
            reason = reason_of(directory, name) if folder == "quarantine" else None
            if reason is None:
                read_object(path, own=True)
        except FileNotFoundError:
            continue  # somebody took it away
        except (ObjectRefused, ImagingError, OSError) as error:
            reason = str(error)
        yield {
            "sop_instance_uid": name.rpartition(".")[0],
            "file": str(path),
            "size": size,
            "reason": reason,
        }


def _faults(faults: list[tuple[str, str]]) -> None:
    for what, why in faults:
        complain(f"{clean(what)}: {clean(why)}")
