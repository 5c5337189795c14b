"""Temporary files: a name for what is not whole yet, and by it those of processes that were killed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

log: logging.Logger = logging.getLogger("aiodicom.dataset")

_PART = re.compile(r"\.([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{16}\.part")


@cache
def _machine() -> str:
    """The name of this machine in eight digits: a process id means something on its own machine only."""
    return hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def part_name() -> str:
    """A hidden name for a file that is not whole yet: of this machine, this process, and no other file's."""
    return f".{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.part"


def is_part_name(name: str) -> bool:
    """Whether a name is that of a file which some process, on some machine, was writing."""
    return _PART.fullmatch(name) is not None


def is_left_over(name: str) -> bool:
    """Whether a name is that of a file which a process of this machine was writing that is gone."""
    found = _PART.fullmatch(name)
    if found is None or found.group(1) != _machine():
        return False
    try:
        os.kill(int(found.group(2)), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is somebody else's, and alive
        return False
    return False


def remove_leftovers(directory: Path) -> int:
    """Remove such files from a directory; how many there were. Blocks; what cannot be removed stays."""
    removed = 0
    try:
        names = [entry.name for entry in os.scandir(directory) if entry.name.endswith(".part")]
    except OSError as error:
        log.debug("a folder cannot be searched for leftovers: %s", error)
        return 0
    for name in filter(is_left_over, names):
        try:
            os.unlink(directory / name)
        except OSError as error:
            log.info("a leftover cannot be removed: %s", error.strerror)
        else:
            removed += 1
    if removed:
        log.info("removed %d unfinished files of a process that is gone", removed)
    return removed


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path`, with its ending, for what is being written: it gets its own name when that ends
    well, and is gone otherwise.
    """
    ending = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    temporary = path.with_name(part_name() + ending)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise
