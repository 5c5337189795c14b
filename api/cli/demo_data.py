"""What a folder holds, found out without the client and the archive: the demo judges both by it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from ..dataset.deflated import DEFLATED_SYNTAXES, MAX_INFLATED, inflate
from ..dataset.errors import ImagingError, NotDicom
from ..dataset.part10 import FileHeader, read_header
from ..dataset.scan import scan_dataset
from ..dataset.window import FileWindow
from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_near_uid

_DIRECTORY = "1.2.840.10008.1.3.10"
_BULK = Tag(0x00210000)
_TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "PatientID",
        "PatientName",
        "StudyDate",
        "Modality",
    )
]


@dataclass(frozen=True, slots=True)
class Stored:
    """One object that must be stored and come back. `digest` is of its data set, file meta left out."""

    path: Path
    uid: str
    patient_id: str
    patient_name: str
    study: str
    series: str
    study_date: str
    modality: str
    transfer_syntax: str
    digest: bytes
    size: int


@dataclass(slots=True)
class Stock:
    """Everything in a folder: `objects` by SOP Instance UID, and what must not be stored, with the reason.

    `same` are files that hold an object once more, byte for byte: storing them again is a success.
    """

    objects: dict[str, Stored] = field(default_factory=dict)
    same: list[Path] = field(default_factory=list)
    unfit: dict[Path, str] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)

    def select(self, wanted: Callable[[Stored], bool]) -> set[str]:
        """SOP Instance UIDs of the objects for which `wanted` is true."""
        return {uid for uid, one in self.objects.items() if wanted(one)}

    def series(self) -> list[list[Stored]]:
        """The objects of each series of each study, the largest series first."""
        groups: dict[tuple[str, str], list[Stored]] = {}
        for one in self.objects.values():
            groups.setdefault((one.study, one.series), []).append(one)
        return sorted(groups.values(), key=lambda group: (-len(group), group[0].series))

    @property
    def bytes(self) -> int:
        """Data set bytes of all objects."""
        return sum(one.size for one in self.objects.values())


def take_stock(folder: Path) -> Stock:
    """Look at every file, in the order in which they are stored."""
    stock = Stock()
    for path in _files(folder):
        try:
            header = read_header(path)
        except NotDicom:
            stock.skipped.append(path)
            continue
        except (ImagingError, OSError) as error:
            stock.unfit[path] = str(error)
            continue
        if header.sop_class_uid == _DIRECTORY:
            stock.skipped.append(path)
        else:
            _take(stock, path, header)
    return stock


def _files(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        yield folder
        return
    for base, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(base, name) for name in sorted(names) if Path(base, name).is_file())


def _take(stock: Stock, path: Path, header: FileHeader) -> None:
    problem = _problem(path, header)
    if problem:
        stock.unfit[path] = problem
        return
    found = _attributes(path, header)
    one = Stored(
        path=path,
        uid=_text(found, "SOPInstanceUID"),
        patient_id=_text(found, "PatientID"),
        patient_name=_text(found, "PatientName"),
        study=_text(found, "StudyInstanceUID"),
        series=_text(found, "SeriesInstanceUID"),
        study_date=_text(found, "StudyDate"),
        modality=_text(found, "Modality"),
        transfer_syntax=header.transfer_syntax_uid,
        digest=digest(path, header.data_offset),
        size=header.file_size - header.data_offset,
    )
    for name, uid in (
        ("SOP Instance", one.uid),
        ("Study Instance", one.study),
        ("Series Instance", one.series),
    ):
        if not is_near_uid(uid):
            stock.unfit[path] = f"has no valid {name} UID"
            return
    first = stock.objects.setdefault(one.uid, one)
    if first is one:
        return
    if (first.digest, first.transfer_syntax) == (one.digest, one.transfer_syntax):
        stock.same.append(path)
    else:
        stock.unfit[path] = f"another object of the UID of {first.path.name}"


@contextmanager
def _opened(path: Path, header: FileHeader) -> Iterator[FileWindow]:
    """The data set in a file."""
    with path.open("rb", buffering=0) as file:
        yield FileWindow(file.fileno(), header.data_offset, header.file_size - header.data_offset)


def _problem(path: Path, header: FileHeader) -> str | None:
    """Why the data set is not whole."""
    if header.file_size <= header.data_offset:
        return "holds no data set"
    with _opened(path, header) as data:
        try:
            found = scan_dataset(data, header.transfer_syntax_uid, check_nested=True)
        except ImagingError as error:
            return str(error)
    return None if found.complete or found.unseen else found.problem


def _attributes(path: Path, header: FileHeader) -> Dataset:
    """What the demo wants to know of an object, read by pydicom."""
    if header.transfer_syntax_uid in DEFLATED_SYNTAXES:
        with _opened(path, header) as data:
            return _read(BytesIO(inflate(data, MAX_INFLATED).window), header)
    with path.open("rb") as file:
        file.seek(header.data_offset)
        return _read(file, header)


def _read(source: BinaryIO, header: FileHeader) -> Dataset:
    syntax = header.transfer_syntax_uid
    return read_dataset(
        source,
        syntax == IMPLICIT_VR_LITTLE_ENDIAN,
        syntax != EXPLICIT_VR_BIG_ENDIAN,
        stop_when=lambda tag, _, __: tag >= _BULK,
        specific_tags=_TAGS,
    )


def _text(found: Dataset, keyword: str) -> str:
    value = found.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def digest(path: Path, offset: int) -> bytes:
    """The SHA-256 of a file behind an offset, with the byte that an odd length is sent with (PS3.5 A.5)."""
    with path.open("rb") as file:
        file.seek(offset)
        found = hashlib.file_digest(file, "sha256")
        if (file.tell() - offset) % 2:
            found.update(b"\0")
        return found.digest()


def dataset_digest(path: Path) -> bytes:
    """The SHA-256 of a file's data set, its file meta left out."""
    return digest(path, read_header(path).data_offset)
