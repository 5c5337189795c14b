"""The objects that are moved: CT slices with a header as scanners write it, and one large multi-frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.2")
MULTI_FRAME_WORD_SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7.3")
_ROOT = "2.25.9871234"


def _header(number: int, study: int) -> Dataset:
    """About 130 elements, a few sequences among them, as a CT slice has."""
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.StudyInstanceUID = UID(f"{_ROOT}.{study}")
    dataset.SeriesInstanceUID = UID(f"{_ROOT}.{study}.1")
    dataset.SOPInstanceUID = UID(f"{_ROOT}.{study}.1.{number + 1}")
    dataset.FrameOfReferenceUID = UID(f"{_ROOT}.99")
    dataset.PatientName, dataset.PatientID = "Bench^Mark", "BENCH"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20240101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, number + 1
    dataset.AccessionNumber, dataset.StudyID = "A1", "1"
    dataset.ImagePositionPatient = [-250.0, -250.0, float(number)]
    dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.9765625, 0.9765625], 1.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D1100", "SRT", "Head"
    for keyword in ("ProcedureCodeSequence", "AnatomicRegionSequence", "RequestAttributesSequence"):
        setattr(dataset, keyword, Sequence([code]))
    block = dataset.private_block(0x0099, "AIODICOM BENCH", create=True)
    for element in range(90):
        block.add_new(element, "LO", f"private value {element}")
    return dataset


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def _pixels(dataset: Dataset, rows: int, columns: int, frames: int, seed: int) -> None:
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    values = np.random.default_rng(seed).integers(0, 4096, (frames, rows, columns), dtype=np.uint16)
    dataset.PixelData = values.tobytes()


def write_slices(folder: Path, count: int, *, size: int = 512, study: int = 1) -> str:
    """`count` CT slices of size x size (0.5 MB at 512); gives their Study Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        dataset = _header(number, study)
        _pixels(dataset, size, size, 1, number % 16)
        _save(dataset, folder / f"{number:05}.dcm")
    return f"{_ROOT}.{study}"


def write_large(path: Path, megabytes: int) -> str:
    """One multi-frame object of so many MiB; gives its Study Instance UID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = _header(0, 3)
    dataset.SOPClassUID = MULTI_FRAME_WORD_SECONDARY_CAPTURE
    _pixels(dataset, 512, 512, 2 * megabytes, 0)
    _save(dataset, path)
    return f"{_ROOT}.3"
