"""Synthetic objects for the archive's tests: data sets, their encodings, storing and finding them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiodicom.archive.archive import Archive
from aiodicom.dataset.part10 import encode_file_meta, read_header
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse.levels import Root
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, RLELossless

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def image(number: int = 1, *, study: str = "1.2.3", series: str | None = None, **values: Any) -> Dataset:
    """A small CT image; `values` are further or other attributes by keyword, `None` removing one."""
    series = series or f"{study}.1"
    dataset = Dataset()
    content = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{series}.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyDate": "20240131",
        "StudyTime": "101500",
        "Modality": "CT",
        "InstanceNumber": number,
        "Rows": 4,
        "Columns": 6,
    } | values
    for keyword, value in content.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def labelled(dataset: Dataset, syntax: str, *, encapsulated: bool = True) -> Dataset:
    """That data set with its transfer syntax said beside it; its pixel data a single frame of JPEG."""
    if encapsulated:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def picture(frames: int = 1, samples: int = 1, bits: int = 16) -> Dataset:
    """An image without compression, with what a re-encoder might lose."""
    dataset = image(PatientName="Ågren^Åsa", SpecificCharacterSet="ISO_IR 100")
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 5, 7, samples
    dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    shape = (frames, 5, 7, samples)
    values = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint16 if bits == 16 else np.uint8)
    dataset.PixelData = values.tobytes() + bytes(values.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    dataset.private_block(0x0099, "TEST", create=True).add_new(1, "UN", b"\x01\x02\xff\x00")
    item = Dataset()
    item.CodeValue = "x"
    dataset.ProcedureCodeSequence = Sequence([item])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    return dataset


def compressed(dataset: Dataset) -> bytes:
    """Compress a `picture`, RLE lossless, and encode it."""
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return encode(dataset)


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """Encode a data set in an uncompressed transfer syntax."""
    file = DicomBytesIO()
    file.is_little_endian = syntax != BIG
    file.is_implicit_VR = syntax == IMPLICIT
    write_dataset(file, dataset)
    return file.getvalue()


def sink_for(archive: Archive, dataset: Dataset, syntax: str = EXPLICIT, **changes: Any):
    """A sink as a C-STORE request of that data set would open it."""
    command = {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "transfer_syntax_uid": syntax,
        "calling_ae": "SENDER",
    }
    return archive.sink(**(command | changes))


def store(
    archive: Archive, dataset: Dataset, syntax: str = EXPLICIT, data: bytes | None = None, **changes: Any
) -> StoreOutcome:
    """Store a data set in fragments of 100 bytes."""
    sink = sink_for(archive, dataset, syntax, **changes)
    with memoryview(encode(dataset, syntax) if data is None else data) as view:
        for start in range(0, len(view), 100):
            sink.write(view[start : start + 100])
    try:
        return sink.commit_now()
    finally:
        sink.discard()


def part10(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as a file."""
    meta = encode_file_meta(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid=syntax,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )
    return meta + encode(dataset, syntax)


def query(level: str | None, **keys: Any) -> Dataset:
    """An identifier."""
    identifier = Dataset()
    if level is not None:
        identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def uids(archive: Archive) -> set[str]:
    """The UIDs of the objects that it finds."""
    found = archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID=""))
    return {str(one.SOPInstanceUID) for one in found}


def files_below(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stored(folder: Path) -> dict[str, bytes]:
    """The data set of each object in the files below a folder, by SOP Instance UID."""
    found = {}
    for path in folder.rglob("*.dcm"):
        header = read_header(path)
        found[header.sop_instance_uid] = path.read_bytes()[header.data_offset :]
    return found


def through_the_wire(identifier: Dataset, implicit: bool = True) -> Dataset:
    """The identifier as it comes out of a P-DATA: with raw elements."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, implicit
    write_dataset(file, identifier)
    file.seek(0)
    return read_dataset(file, implicit, True)


def find(archive: Archive, root: Root, level: str, /, **keys: Any) -> list[Dataset]:
    """All answers to a query, which are the same whether its elements came raw or not."""
    identifier = query(level, **keys)
    plain = list(archive.find(root, None, identifier))
    for implicit in (True, False):
        wired = archive.find(root, None, through_the_wire(identifier, implicit))
        assert [one.to_json() for one in wired] == [one.to_json() for one in plain]
    return plain


def values(found: list[Dataset], keyword: str) -> list[str]:
    """The values of a key over all answers, sorted."""
    return sorted(str(one[keyword].value) for one in found)
