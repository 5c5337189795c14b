"""Files and data sets read frame by frame: headers only, pixels later."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from ..dataset.errors import NotDicom
from .headers import Frame, frames_of_dataset, frames_of_file
from .stack import LeftOut


class Found(NamedTuple):
    """Frames, and what held none."""

    frames: list[Frame]
    left_out: list[LeftOut]


def read_files(source: Path | str | Iterable[Path | str]) -> Found:
    """The frames of a file, the files of a folder and its subfolders, or of a list of files.

    Errors as `Volume.from_files` names them.
    """
    frames: list[Frame] = []
    left_out: list[LeftOut] = []
    for path in paths_of(source):
        try:
            found = frames_of_file(path)
        except NotDicom as error:
            left_out.append(LeftOut(str(path), str(error).removeprefix(f"{path}: ")))
            continue
        frames += found
        if not found:
            left_out.append(LeftOut(str(path), "holds no image"))
    return Found(frames, left_out)


def read_datasets(datasets: Iterable[Dataset]) -> Found:
    """The frames of data sets, which messages call by their place, counted from 1."""
    frames: list[Frame] = []
    left_out: list[LeftOut] = []
    for number, dataset in enumerate(datasets, 1):
        found = frames_of_dataset(dataset, f"data set {number}")
        frames += found
        if not found:
            left_out.append(LeftOut(f"data set {number}", "holds no image"))
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
        visible = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in visible if path.is_file()]  # a pipe would block for ever
    return found
