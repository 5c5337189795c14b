"""What of a retrieve lies in its folder already: found by name, and looked through before it is believed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ..dataset.errors import ImagingError
from ..dataset.names import file_stem
from ..dataset.part10 import read_header
from ..dataset.scan import scan_dataset
from ..dataset.window import FileWindow
from ..dimse.status import SUCCESS
from .layout import Layout
from .receiving import ASIDE, MAXIMUM_OBJECT
from .retrieved import ReceivedItem

_BESIDE = re.compile(r"~[1-9][0-9]{0,2}$")  # as `FileSink` names what lies beside another of its UID
_SOP_INSTANCE_UID = 0x00080018


def find_present(directory: Path, uids: Collection[str], layout: Layout | None = None) -> list[ReceivedItem]:
    """Those of some SOP instances of which a whole file lies below a directory. Blocks.

    A file counts by its name only where its header names the same instance and its data set goes from its
    first element to its last: a torn one is asked for again. Pixels are not read. Links are not followed, and
    what was set aside is nobody's.
    """
    stems = {file_stem(uid): uid for uid in uids}
    found: dict[str, ReceivedItem] = {}
    for path in _files(os.fspath(directory), {ASIDE}):
        name = _BESIDE.sub("", os.path.basename(path).removesuffix(".dcm"))
        may_be = [name] if layout is None else layout.stems(name)
        if may_be is None:
            may_be = [file_stem(_uid_of(path))]
        for stem in may_be:
            uid = stems.get(stem)
            if uid is not None and uid not in found:
                item = whole_file(path, uid)
                if item is not None:
                    found[uid] = item
    return list(found.values())


def _uid_of(path: str) -> str:
    """The SOP Instance UID that a file's header names; "" where it names none."""
    try:
        return read_header(path).sop_instance_uid or ""
    except (ImagingError, OSError):
        return ""


def _files(directory: str, without: Collection[str] = ()) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in without:
                        yield from _files(entry.path)
                elif entry.name.endswith(".dcm") and entry.is_file(follow_symlinks=False):
                    yield entry.path
    except OSError:  # what cannot be listed holds nothing that could be counted on
        return


def whole_file(path: str, uid: str) -> ReceivedItem | None:
    """The object of a file that is whole and is of this SOP instance, else None. Blocks."""
    try:
        header = read_header(path)
        size = header.file_size - header.data_offset
        if not header.has_meta or header.sop_instance_uid != uid or size <= 0:
            return None
        with open(path, "rb", buffering=0) as file:
            data = FileWindow(file.fileno(), header.data_offset, size)
            found = scan_dataset(
                data, header.transfer_syntax_uid, {_SOP_INSTANCE_UID}, max_inflated=MAXIMUM_OBJECT
            )
    except (ImagingError, OSError):
        return None
    named = found.values.get(_SOP_INSTANCE_UID, b"").decode("latin-1").strip(" \0")
    if not found.complete or named not in ("", uid):
        return None
    return ReceivedItem(
        header.sop_class_uid,
        uid,
        header.transfer_syntax_uid,
        SUCCESS,
        path=Path(path),
        bytes=size,
        present=True,
    )
