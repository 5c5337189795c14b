"""Any bytes as a Part 10 file and as a data set, through the header reader and the scanner.

Input: the first byte chooses the transfer syntax of the bare scan, the rest is the file.

May be raised: ImagingError (NotDicom, TruncatedFile, MalformedDataSet) by `read_header`, NestingTooDeep by
`scan_dataset`. Nothing else. What is found lies inside the file, a scan gives the same result from bytes
and from a view of them, and what the beginning of a data set tells is what all of it says.
"""

from __future__ import annotations

from aiodicom.dataset.errors import ImagingError, NestingTooDeep
from aiodicom.dataset.found import ScanResult
from aiodicom.dataset.part10 import read_header
from aiodicom.dataset.scan import scan_beginning, scan_dataset

_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.70",
)
_TAGS = (0x00080016, 0x00080018, 0x00100010, 0x0020000D, 0x7FE00010)
_DEPTH = 8


def _scan(data: bytes | memoryview, syntax: str, nested: bool) -> ScanResult | None:
    try:
        return scan_dataset(data, syntax, _TAGS, max_depth=_DEPTH, check_nested=nested)
    except NestingTooDeep:
        return None


def _check_scan(data: bytes, syntax: str) -> None:
    for nested in (False, True):
        found = _scan(data, syntax, nested)
        assert found == _scan(memoryview(data), syntax, nested)
        for quarters in (1, 2, 3, 4):
            head = data[: len(data) * quarters // 4]
            told = scan_beginning(head, syntax, _TAGS, max_depth=_DEPTH, check_nested=nested)
            if told is not None and told.end == len(data):
                assert told == found
        if found is None:
            continue
        assert found.complete == (found.problem is None)
        assert found.end >= 0
        assert set(found.values) <= set(_TAGS)
        if not syntax.endswith(".99"):
            assert found.end <= len(data)
            assert sum(map(len, found.values.values())) <= len(data)


def one_input(data: bytes) -> None:
    """Read one file and scan its data set, and scan the whole of it as a bare data set."""
    if not data:
        return
    file = data[1:]
    _check_scan(file, _SYNTAXES[data[0] % len(_SYNTAXES)])
    try:
        header = read_header(file)
    except ImagingError:
        return
    assert 0 <= header.data_offset <= len(file) == header.file_size
    assert header.transfer_syntax_uid
    _check_scan(file[header.data_offset :], header.transfer_syntax_uid)
