"""Objects for the interoperability runs, and the bytes of their data sets as a foreign reader finds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LEVEL_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}

ROOTS_AND_LEVELS = [("PATIENT", level) for level in LEVEL_KEYS] + [
    ("STUDY", level) for level in ("STUDY", "SERIES", "IMAGE")
]
ROOT_AND_LEVEL = pytest.mark.parametrize(("root", "level"), ROOTS_AND_LEVELS, ids=lambda word: word.lower())


def body(path: Path) -> bytes:
    """The encoded data set of a Part 10 file, everything after group 2, as pydicom finds it."""
    with path.open("rb") as file:
        read_preamble(file, force=False)
        _read_file_meta_info(file)
        return file.read()


def bodies(paths: Iterable[Path]) -> dict[str, bytes]:
    """The encoded data sets by SOP Instance UID."""
    found = {}
    for path in paths:
        uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        assert uid not in found, f"twice: {path}"
        found[uid] = body(path)
    return found


def syntaxes(paths: Iterable[Path]) -> dict[str, str]:
    """The transfer syntaxes by SOP Instance UID."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    return {str(one.SOPInstanceUID): str(one.file_meta.TransferSyntaxUID) for one in headers}


@dataclass(frozen=True, slots=True)
class Sample:
    """One object in a file, and what a query may tell of it."""

    path: Path
    header: Dataset
    body: bytes
    syntax: str
    undefined_lengths: bool
    """Has sequences of undefined length: DCMTK's reader, and so Orthanc, writes them with explicit ones."""

    @property
    def uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    def key(self, level: str) -> str:
        """The unique key of a level."""
        return str(self.header[LEVEL_KEYS[level]].value)


def identifier(sample: Sample, root: str, level: str, **more: str) -> dict[str, str]:
    """The unique keys from the root's level to this one."""
    names = list(LEVEL_KEYS)[list(LEVEL_KEYS).index(root) : list(LEVEL_KEYS).index(level) + 1]
    return {"QueryRetrieveLevel": level} | {LEVEL_KEYS[name]: sample.key(name) for name in names} | more


@dataclass(frozen=True, slots=True)
class Samples:
    """Two patients, three studies, four series, eight objects."""

    folder: Path
    all: tuple[Sample, ...]

    def below(self, level: str, key: str) -> list[Sample]:
        """The objects below a unique key."""
        return [one for one in self.all if one.key(level) == key]

    def keys(self, level: str, above: dict[str, str] | None = None) -> set[str]:
        """The unique keys of a level, below those given by keyword."""
        return {
            one.key(level)
            for one in self.all
            if all(str(one.header[keyword].value) == value for keyword, value in (above or {}).items())
        }

    def bodies(self, level: str | None = None, key: str = "") -> dict[str, bytes]:
        """The encoded data sets by SOP Instance UID."""
        return {one.uid: one.body for one in (self.below(level, key) if level else self.all)}


def make_object(
    path: Path,
    *,
    sop_class: str = SECONDARY_CAPTURE,
    syntax: str = ExplicitVRLittleEndian,
    size: tuple[int, int] = (16, 24),
    undefined_lengths: bool = False,
    **values: object,
) -> Sample:
    """Write an image of noise: with private elements, nested sequences, and the values given."""
    dataset = Dataset()
    meta = dataset.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class  # type: ignore[assignment]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax  # type: ignore[assignment]
    content: dict[str, object] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": "20200102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "Modality": "OT",
        "InstanceNumber": 1,
        "Rows": size[0],
        "Columns": size[1],
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2",
    } | values
    for keyword, value in content.items():
        setattr(dataset, keyword, value)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    _add_nested(dataset, undefined_lengths)
    noise = np.random.default_rng(7).integers(0, 4096, size, dtype="<u2")
    dataset.PixelData = (noise.astype(">u2") if syntax == ExplicitVRBigEndian else noise).tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    header = dcmread(path, stop_before_pixels=True)
    return Sample(path, header, body(path), syntax, undefined_lengths)


def _add_nested(dataset: Dataset, undefined_lengths: bool) -> None:
    """A private block and sequences in sequences, an empty one among them."""
    block = dataset.private_block(0x0029, "AIODICOM TESTS", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "OB", bytes(range(32)))
    inner = Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "113076", "DCM", "Segmentation"
    outer = Dataset()
    outer.PurposeOfReferenceCodeSequence = Sequence([inner])
    outer.ReferencedSOPClassUID, outer.ReferencedSOPInstanceUID = CT, generate_uid()
    dataset.SourceImageSequence = Sequence([outer, Dataset()])
    dataset.ReferencedStudySequence = Sequence([])
    if undefined_lengths:
        dataset["SourceImageSequence"].is_undefined_length = True
        outer.is_undefined_length_sequence_item = True
        outer["PurposeOfReferenceCodeSequence"].is_undefined_length = True


def make_samples(folder: Path) -> Samples:
    """Write the objects every archive is filled with."""
    one, two, three = (generate_uid() for _ in range(3))
    series = [generate_uid() for _ in range(4)]
    mueller = {"PatientID": "P1", "PatientName": "Müller^Jürgen", "PatientSex": "M"}
    doe = {"PatientID": "P2", "PatientName": "Doe^Jane", "PatientSex": "F"}
    first = {"StudyInstanceUID": one, "StudyDate": "20200102", "AccessionNumber": "A1"}
    second = {"StudyInstanceUID": two, "StudyDate": "20210304", "AccessionNumber": "A2"}
    third = {"StudyInstanceUID": three, "StudyDate": "20220506", "AccessionNumber": "A3"}
    found: list[Sample] = []

    def add(**values: object) -> None:
        found.append(make_object(folder / f"{len(found):02}.dcm", **values))  # type: ignore[arg-type]

    for number in (1, 2):
        add(
            sop_class=CT,
            Modality="CT",
            InstanceNumber=number,
            SeriesInstanceUID=series[0],
            **mueller,
            **first,
        )
    add(  # larger than any PDU
        sop_class=CT,
        Modality="CT",
        InstanceNumber=3,
        SeriesInstanceUID=series[0],
        size=(700, 801),
        **mueller,
        **first,
    )
    for number in (1, 2):
        add(
            sop_class=MR,
            syntax=ImplicitVRLittleEndian,
            Modality="MR",
            InstanceNumber=number,
            SeriesInstanceUID=series[1],
            **mueller,
            **first,
        )
    add(
        sop_class=CT,
        Modality="CT",
        SeriesInstanceUID=series[2],
        undefined_lengths=True,
        **mueller,
        **second,
    )
    for number in (1, 2):
        add(InstanceNumber=number, SeriesInstanceUID=series[3], **doe, **third)
    return Samples(folder, tuple(found))
