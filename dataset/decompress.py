"""Encapsulated pixel data made native, by pydicom's decoders, in a process of its own (PS3.5 8.2, A.4).

Decoders are C libraries that read what a stranger made: the process may crash, loop or want all memory, and
costs then the one object it was at. It is told its limit when it is started, and objects one a line:

    python -m aiodicom.dataset.decompress MAX_DECODED < lines of JSON

    {"source": path, "offset": of its data set, "syntax": UID, "target": path}   ->   {"size": 1234}
                                                                             or  {"error": "words"}
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pdu.uids import EXPLICIT_VR_LITTLE_ENDIAN
from .errors import ImagingError, MalformedDataSet
from .scan import scan_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)  # of frames that lie in fragments no longer
_ENCAPSULATED = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
"""The header of encapsulated pixel data."""
_BESIDE = 1 << 30
"""Bytes of address space for the interpreter and its libraries."""


def decompress(source: Path, offset: int, syntax: str, target: Path, max_decoded: int) -> int:
    """Write a stored object in explicit VR little endian, its pixel data native; gives the bytes written.

    source: a file, its data set in `syntax` from `offset` to the end. target: overwritten.
    max_decoded: bytes of native pixel data that are too many.

    What it is of, its UID included, stays; pixels in a YBR colour space become RGB where decoders do that.

    Raises ImagingError (no decoder is installed, it is too large, it cannot be decoded), OSError.
    """
    from pydicom.filebase import DicomFileLike
    from pydicom.filereader import read_dataset
    from pydicom.filewriter import write_dataset

    _check(source, offset, syntax)
    with source.open("rb") as file:
        file.seek(offset)
        dataset = read_dataset(file, is_implicit_VR=False, is_little_endian=True)
    if "PixelData" in dataset:  # else all of it is in explicit VR little endian already
        _make_native(dataset, syntax, max_decoded)
    with target.open("wb") as file:
        out = DicomFileLike(file)
        out.is_implicit_VR, out.is_little_endian = False, True
        write_dataset(out, dataset)
    return _checked(target)


def _make_native(dataset: Dataset, syntax: str, max_decoded: int) -> None:
    expected = _decoded_size(dataset)
    if expected > max_decoded:
        raise ImagingError(f"it cannot be decompressed: {expected} bytes of pixels, over {max_decoded}")
    _decode(dataset, syntax)
    if len(dataset.PixelData) < expected:
        raise MalformedDataSet("it cannot be decompressed: it has fewer frames than it says")
    if syntax in _ALWAYS_LOSSY:
        dataset.LossyImageCompression = "01"  # once lossy, always (PS3.3 C.7.6.1.1.5)
    for tag in _OFFSET_TABLES:
        if tag in dataset:
            del dataset[tag]


def _decoded_size(dataset: Dataset) -> int:
    numbers = [
        int(dataset.get(word) or 0) for word in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    ]
    frames = int(dataset.get("NumberOfFrames") or 1)
    if min(*numbers, frames) < 1:
        raise MalformedDataSet("it cannot be decompressed: it does not say how large it is")
    rows, columns, samples, bits = numbers
    return (rows * columns * samples * bits + 7) // 8 * frames


def _decode(dataset: Dataset, syntax: str) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    try:
        available = get_decoder(UID(syntax)).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise ImagingError(f"it cannot be decompressed: no decoder for {UID(syntax).name} is installed")
    try:
        dataset.decompress(generate_instance_uid=False)
    except Exception as error:  # decoders raise whatever their libraries do
        raise MalformedDataSet(f"it cannot be decompressed: {type(error).__name__}") from error


def _checked(target: Path) -> int:
    """The size of what was written, which our own reader must find whole."""
    _check(target, 0, EXPLICIT_VR_LITTLE_ENDIAN)
    with target.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        if mapping.find(_ENCAPSULATED) >= 0:
            raise MalformedDataSet("it cannot be decompressed: an icon in it is compressed too")
        return len(mapping)


def _check(path: Path, offset: int, syntax: str) -> None:
    """What is in doubt is not decoded: pydicom may read something else in it."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping,
        memoryview(mapping) as whole,
        whole[offset:] as view,
    ):
        found = scan_dataset(view, syntax, (), check_nested=True)
    if not found.complete or found.doubt:
        raise MalformedDataSet(f"it cannot be decompressed: {found.problem or found.doubt}")


def _answer(line: str, max_decoded: int) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        source, target = Path(asked["source"]), Path(asked["target"])
        return {"size": decompress(source, asked["offset"], asked["syntax"], target, max_decoded)}
    except MemoryError:
        return {"error": "it cannot be decompressed: it takes too much memory"}
    except (ImagingError, OSError) as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - the next object may be a better one
        return {"error": f"it cannot be decompressed: {type(error).__name__}"}


def main(max_decoded: int) -> None:
    """Decompress what is asked for until there is no more; see the module."""
    import resource

    most = _BESIDE + 4 * max_decoded  # encoded, frame by frame, joined, and a decoder's own
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a patient's data
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # some decoders print what they think of an image
        for line in sys.stdin:
            print(json.dumps(_answer(line, max_decoded)), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
