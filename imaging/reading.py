"""Files and data sets read frame by frame: headers only, pixels later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from ..dataset.errors import ImagingError, NotDicom
from ..dataset.part10 import FileHeader, read_header
from ..dataset.scan import scan_dataset
from ..dataset.window import FileWindow
from .frames import SERIES, Frame
from .headers import frames_of_dataset, frames_of_file
from .piles import LeftOut
from .stack import OnBroken

_BEGINNING = 16384
"""Bytes of a file in which its series is looked for first; those with more before it are walked through."""


class Found(NamedTuple):
    """Frames, and what held none."""

    frames: list[Frame]
    left_out: list[LeftOut]


def read_files(source: Path | str | Iterable[Path | str], on_broken: OnBroken = "raise") -> Found:
    """The frames of a file, the files of a folder and its subfolders, or of a list of files.

    Errors as `Volume.from_files` names them.
    """
    frames: list[Frame] = []
    left_out: list[LeftOut] = []
    for path in paths_of(source):
        try:
            found = frames_of_file(path)
        except (ImagingError, OSError) as error:
            if not isinstance(error, NotDicom) and on_broken == "raise":
                raise
            left_out.append(LeftOut.because(str(path), error))
            continue
        frames += found
        if not found:
            left_out.append(LeftOut(str(path), "holds no image"))
    return Found(frames, left_out)


def read_datasets(datasets: Iterable[Dataset], on_broken: OnBroken = "raise") -> Found:
    """The frames of data sets, which messages call by their place, counted from 1."""
    frames: list[Frame] = []
    left_out: list[LeftOut] = []
    for number, dataset in enumerate(datasets, 1):
        name = f"data set {number}"
        try:
            found = frames_of_dataset(dataset, name)
        except ImagingError as error:
            if on_broken == "raise":
                raise
            left_out.append(LeftOut.because(name, error))
            continue
        frames += found
        if not found:
            left_out.append(LeftOut(name, "holds no image"))
    return Found(frames, left_out)


def paths_of(source: Path | str | Iterable[Path | str]) -> list[Path]:
    """The files meant; hidden ones in a folder, such as those half received, are not."""
    if not isinstance(source, (str, Path)):
        return [Path(one) for one in source]
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (os.path.join(folder, name) for name in sorted(names) if not name.startswith("."))
        found += [Path(name) for name in visible if os.path.isfile(name)]  # a pipe would block for ever
    return found


def files_of_series(path: Path, series_uid: str) -> list[Path]:
    """The files of a series that lie in the folder of one of them, that one among them."""
    folder = sorted(one for one in path.parent.iterdir() if one.is_file() and not one.name.startswith("."))
    return [one for one in folder if one == path or series_of(one) == series_uid]


def series_of(path: Path) -> str:
    """The Series Instance UID of a file, "" where it has none, is no DICOM or cannot be opened."""
    try:
        with path.open("rb", buffering=0) as file:
            beginning = file.read(_BEGINNING)
            header = read_header(memoryview(beginning))
            found = _series_in(memoryview(beginning)[header.data_offset :], header)
            if found or len(beginning) < _BEGINNING:
                return found
            length = os.fstat(file.fileno()).st_size - header.data_offset
            return _series_in(FileWindow(file.fileno(), header.data_offset, length), header)
    except (ImagingError, OSError):
        return ""


def _series_in(data: memoryview | FileWindow, header: FileHeader) -> str:
    found = scan_dataset(data, header.transfer_syntax_uid, (SERIES,))
    return found.values.get(SERIES, b"").decode("ascii", "replace").strip(" \0")


def tried(frames: Sequence[Frame]) -> tuple[list[Frame], list[LeftOut]]:
    """Frames that can be decoded, and the others."""
    whole, broken = [], []
    for frame in frames:
        try:
            frame.pixels.stored(frame.index)
        except ImagingError as error:
            broken.append(LeftOut.because(frame.name, error))
        else:
            whole.append(frame)
    return whole, broken
