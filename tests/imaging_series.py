"""Small series that are right, to be made wrong in one way."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def image(number: int, syntax: str = EXPLICIT, kind: str = "<i2", **changes: Any) -> Dataset:
    """A 3 x 4 MR slice at z = 2 * number whose voxels are 100 * number + 0..11."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.Modality = "MR"
    dataset.SeriesNumber = 7
    dataset.InstanceNumber = number
    dataset.PatientName = "Secret^Person"
    dataset.Rows, dataset.Columns = 3, 4
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    width = np.dtype(kind).itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = width
    dataset.HighBit = width - 1
    dataset.PixelRepresentation = int(kind[1] == "i")
    dataset.ImagePositionPatient = [-1, -2, 2 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.5, 0.25]
    order = ">" if syntax == BIG else "<"
    values = np.arange(12) + 100 * number
    dataset.add_new(0x7FE00010, "OB" if width == 8 else "OW", values.astype(order + kind[1:]).tobytes())
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def palette(number: int, red: tuple[int, ...] = (0, 255, 7, 8)) -> Dataset:
    """A slice of four indices a row into as many colours."""
    dataset = image(number, kind="<u1", PhotometricInterpretation="PALETTE COLOR")
    dataset.PixelData = bytes([0, 1, 2, 3] * 3)
    for name, table in (("Red", red), ("Green", (1, 2, 3, 4)), ("Blue", (9, 9, 9, 9))):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 8])
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"{name}PaletteColorLookupTableData", bytes(table))
        dataset[f"{name}PaletteColorLookupTableData"].VR = "OW"
    return dataset


def raw(dataset: Dataset, name: str, value: bytes) -> None:
    """Put bytes into a data set as a file would, to be converted when they are asked for."""
    tag = Tag(name)
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def save(folder: Path, datasets: list[Dataset]) -> Path:
    for place, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{chr(122 - place)}.dcm", enforce_file_format=True)
    return folder


def series(count: int = 4, **changes: Any) -> list[Dataset]:
    made = [image(number, **changes) for number in range(1, count + 1)]
    random.Random(5).shuffle(made)
    return made
