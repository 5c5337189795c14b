"""What is to be stored: found, judged, and read ahead of the network on a thread, in bounded memory."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from ..dataset.coding import encode_dataset
from ..dataset.errors import ImagingError, NotDicom
from ..dataset.instance import Instance
from ..dataset.part10 import FileHeader, read_header
from ..dataset.positioned import READ_ONLY, pread_into
from ..dataset.scan import scan_dataset
from ..dataset.window import FileWindow
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.sop_classes import MEDIA_STORAGE_DIRECTORY
from ..pdu.errors import LocalProtocolError
from ..pdu.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_near_uid,
    is_uid,
)
from ..pdu.upper_layer import Buffer
from .budget import Budget
from .tasks import Job

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    Source = str | os.PathLike[str] | Dataset | bytes | bytearray | memoryview

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018

WHOLE_READ = 4 * 1024 * 1024
"""Bytes up to which a file is read whole; a larger one goes out in parts of this size."""
BATCH_BYTES = 4 * 1024 * 1024
"""Bytes read ahead in one go on the thread, while the objects before are on the wire."""
BATCH_OBJECTS = 32
_ANY_SIZE = 1 << 62
"""Bytes that a user's own deflated object may have."""


@dataclass(frozen=True, slots=True)
class Item(Instance):
    """An object of a user's, not looked through yet: a file, a data set, or the `content` of a file. `error`:
    why it cannot be sent. `copied`: its file is a copy of what a user gave.

    An `Instance` that is no `Item` was stored by us: it is known to be whole. `mark` is one object's own: the
    item is replaced as more becomes known of it.
    """

    dataset: Dataset | None = None
    content: memoryview | None = None
    copied: bool = False
    error: str | None = None
    mark: object = field(default_factory=object, compare=False, repr=False)

    @property
    def file(self) -> Path | None:
        """The path of a user's file; None for what was given otherwise."""
        given = self.dataset is None and self.content is None and not self.copied
        return self.path if given else None


@dataclass(frozen=True, slots=True)
class Copied:
    """What a user gave that cannot be read twice, copied to a file; `name` says what it was, `problem` why it
    is no copy.
    """

    path: str
    name: str
    problem: str = ""


@dataclass(slots=True)
class Found:
    """What a search for objects came to."""

    items: list[Item] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def find_items(sources: Iterable[Source | Copied]) -> Found:
    """Every object in files, folders (searched whole, links not followed), data sets and content. Blocks."""
    found = Found()
    for number, source in enumerate(sources, 1):
        if is_dataset(source):
            found.items.append(_dataset_item(source))
            continue
        if isinstance(source, bytes | bytearray | memoryview):
            found.items.append(_content_item(source, f"source {number}"))
            continue
        if isinstance(source, Copied):
            found.items.append(_copied_item(source))
            continue
        for path in _files(Path(source), found):
            _file_item(path, found)
    return found


def is_dataset(source: object) -> TypeGuard[Dataset]:
    """Whether it is a pydicom data set; where pydicom is not loaded there is none."""
    module = sys.modules.get("pydicom.dataset")
    return module is not None and isinstance(source, module.Dataset)


def _files(path: Path, found: Found) -> Iterator[Path]:
    if not os.path.isdir(path):
        yield path
        return

    def unreadable(error: OSError) -> None:
        found.items.append(Item(Path(error.filename), "", "", "", error=_words(error)))

    for folder, folders, names in os.walk(path, onerror=unreadable):
        folders.sort()
        for linked in [Path(folder, name) for name in folders]:
            if linked.is_symlink():
                found.skipped.append((linked, "a link to a folder"))
        for name in sorted(names):
            yield Path(folder, name)


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _file_item(path: Path, found: Found) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may do more than that
            found.skipped.append((path, "no file"))
            return
        header = read_header(path)
    except NotDicom:
        found.skipped.append((path, "not DICOM"))
        return
    except (ImagingError, OSError, ValueError) as error:  # ValueError: a path with a NUL
        found.items.append(Item(path, "", "", "", error=_words(error)))
        return
    if header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        found.skipped.append((path, "a DICOMDIR"))
        return
    found.items.append(_header_item(path, header))


def _content_item(source: bytes | bytearray | memoryview, name: str) -> Item:
    """One of content: what can be changed meanwhile, also behind a view that is read only, is copied."""
    view = memoryview(source)
    content = view.cast("B") if type(view.obj) is bytes and view.contiguous else memoryview(view.tobytes())
    try:
        header = read_header(content)
    except (ImagingError, ValueError) as error:
        return Item(Path(), "", "", "", content=content, error=f"{name}: {error}")
    return replace(_header_item(Path(), header), content=content)


def _copied_item(source: Copied) -> Item:
    path = Path(source.path)
    if source.problem:
        return Item(path, "", "", "", copied=True, error=f"{source.name}: {source.problem}")
    try:
        return replace(_header_item(path, read_header(path)), copied=True)
    except (ImagingError, OSError, ValueError) as error:
        text = _words(error).replace(repr(source.path), "it")
        return Item(path, "", "", "", copied=True, error=f"{source.name}: {text}")


def _header_item(path: Path, header: FileHeader) -> Item:
    return Item(
        path,
        header.sop_class_uid,
        header.sop_instance_uid,
        header.transfer_syntax_uid,
        header.data_offset,
        header.file_size - header.data_offset,
        error=_fault(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid),
    )


def _fault(sop_class: str, instance: str, syntax: str) -> str | None:
    """Why an object of these UIDs cannot be sent: a request with one that is none could fail all the rest."""
    if not sop_class or not instance:
        return "no SOP Class UID or SOP Instance UID"
    names = ("SOP Class UID", "SOP Instance UID", "Transfer Syntax UID")
    for name, uid in zip(names, (sop_class, instance, syntax), strict=True):
        # the peer may take what is none as the name of an object (PS3.5 9.1 binds who made it)
        if not (is_near_uid(uid) if uid is instance else is_uid(uid)):
            return f"{uid[:80]!r} is no UID, so no {name}"
    return None


def _dataset_item(dataset: Dataset) -> Item:
    meta = getattr(dataset, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", "") or "")
    if not syntax:
        implicit = dataset.original_encoding[0]
        syntax = IMPLICIT_VR_LITTLE_ENDIAN if implicit else EXPLICIT_VR_LITTLE_ENDIAN
    sop_class = str(dataset.get("SOPClassUID", ""))
    instance = str(dataset.get("SOPInstanceUID", ""))
    error = _fault(sop_class, instance, syntax)
    return Item(Path(), sop_class, instance, syntax, dataset=dataset, error=error)


@dataclass(frozen=True, slots=True)
class Loaded:
    """An item ready to send: `data` whole, or a large file to be read in parts, or `error`."""

    item: Instance
    data: bytes | memoryview | None = None
    error: str | None = None


Take = Callable[[int], memoryview]
"""Gives a buffer to read into."""


def _load(item: Instance, take: Take, whole: int = WHOLE_READ) -> Loaded:
    """Read an object, or look a large one through, and see that its data set is whole. Blocks."""
    if isinstance(item, Item) and item.error is not None:
        return Loaded(item, error=item.error)
    if isinstance(item, Item) and is_dataset(item.dataset):
        try:
            data = encode_dataset(item.dataset, item.transfer_syntax_uid)
        except LocalProtocolError as error:
            return Loaded(item, error=str(error))
        return _check(data, replace(item, data_size=len(data)), data, "data set")
    content = content_of(item)
    if content is not None:
        return _check(content, item, content, "content")
    try:
        with open(item.path, "rb", buffering=0) as file:
            if item.data_size > whole:
                return _check_large(file.fileno(), item)
            read = read_into(file.fileno(), take(item.data_size), item.data_offset)
        return _check(read, item, read)
    except (OSError, ImagingError) as error:
        return Loaded(item, error=_words(error))


def content_of(item: Instance) -> memoryview | None:
    """The data set of one whose content a user gave."""
    content = item.content if isinstance(item, Item) else None
    return None if content is None else content[item.data_offset :]


def _check_large(descriptor: int, item: Instance) -> Loaded:
    size = max(os.fstat(descriptor).st_size - item.data_offset, 0)
    if not isinstance(item, Item):
        size = min(size, item.data_size)
    return _check(FileWindow(descriptor, item.data_offset, size), item, None)


def read_into(descriptor: int, buffer: memoryview, offset: int) -> memoryview:
    """What there is of a file at an offset, as far as the buffer has room."""
    filled = 0
    while filled < len(buffer):
        count = pread_into(descriptor, buffer[filled:], offset + filled)
        if not count:
            break
        filled += count
    return buffer[:filled]


def _check(
    view: bytes | memoryview | FileWindow,
    item: Instance,
    data: bytes | memoryview | None,
    what: str = "file",
) -> Loaded:
    """Whether the data set is whole, and what SOP instance it says it is.

    A file's group 2 is what names the object until here; where the data set says another SOP Instance UID
    that one counts, for a C-STORE names the object in the data set (PS3.4 B.2.1). A deflated one is inflated
    to look at it, of which no more is held than a window, and sent as it is.
    """
    if len(view) != item.data_size:
        text = f"the file changed: {len(view)} bytes of data set where {item.data_size} were"
        return Loaded(item, error=text)
    if not isinstance(item, Item):
        return Loaded(item, data=data)
    tags = (_SOP_CLASS_UID, _SOP_INSTANCE_UID)
    found = scan_dataset(view, item.transfer_syntax_uid, tags, max_inflated=_ANY_SIZE)
    if not found.complete and not found.unseen:
        kind = "is truncated" if found.truncated else "contradicts its own encoding"
        return Loaded(item, error=f"the {what} {kind}: {found.problem}")
    sop_class = found.values.get(_SOP_CLASS_UID, b"").decode("latin-1").strip(" \0")
    if sop_class and sop_class != item.sop_class_uid:
        return Loaded(item, error=f"its header says SOP class {item.sop_class_uid}, its data set {sop_class}")
    instance = found.values.get(_SOP_INSTANCE_UID, b"").decode("latin-1").strip(" \0")
    if instance and instance != item.sop_instance_uid:
        fault = _fault(item.sop_class_uid, instance, item.transfer_syntax_uid)
        if fault is not None:
            return Loaded(item, error=fault)
        item = replace(item, sop_instance_uid=instance)
    return Loaded(item, data=data)


def _batch(items: Sequence[Instance], take: Take, start: int) -> list[Loaded]:
    """The next items, of `BATCH_BYTES` in all; the first whatever its size."""
    loaded: list[Loaded] = []
    held = 0
    for item in items[start : start + BATCH_OBJECTS]:
        size = item.data_size if item.data_size <= WHOLE_READ else 0
        if loaded and held + size > BATCH_BYTES:
            break
        held += size
        loaded.append(_load(item, take))
    return loaded


def _single(items: Sequence[Instance], take: Take, start: int) -> list[Loaded]:
    """The next item, for which there is no room: a file is read in parts, when it goes out."""
    return [_load(item, take, whole=0) for item in items[start : start + 1]]


def fresh(size: int) -> memoryview:
    """A buffer that was not used before."""
    return memoryview(bytearray(size))


async def load_ahead(
    items: Sequence[Instance], budget: Budget | None = None, take: Take = fresh
) -> AsyncGenerator[Loaded, None]:
    """The items in order, the next batch being read on a thread while this one is used.

    `take` gives the buffers, on that thread. Without room in the `budget` they are looked at one by one, and
    none is read.
    """
    budget = budget or Budget(2 * BATCH_BYTES)
    position = held = 0
    coming: Job[list[Loaded]] | None = None

    def begin() -> Job[list[Loaded]] | None:
        nonlocal held
        if position >= len(items) or not budget.take(BATCH_BYTES):
            return None
        held += BATCH_BYTES
        return Job(partial(_batch, items, take, position))

    try:
        coming = begin()
        while position < len(items):
            taken = BATCH_BYTES if coming is not None else 0
            coming = coming or Job(partial(_single, items, take, position))
            ready = await coming.result()
            coming = None
            position += len(ready)
            size = sum(len(one.data) for one in ready if one.data is not None) if taken else 0
            budget.give(taken - size)
            held -= taken - size
            coming = begin()
            for loaded in ready:
                yield loaded
            budget.give(size)
            held -= size
            coming = coming or begin()
    finally:
        budget.give(held)
        if coming is not None:
            coming.drop()


async def read_parts(
    item: Instance, part: int, take: Take = fresh, *, ahead: bool = True
) -> AsyncGenerator[tuple[Buffer, bool], None]:
    """A large file's data set in parts of `part` bytes (even), read on a thread, one ahead.

    ahead: False reads one when it is asked for, and keeps no descriptor open from one to the next.
    """
    descriptor = -1
    end = item.data_offset + item.data_size
    position = item.data_offset

    def read(buffer: memoryview, offset: int) -> memoryview:
        nonlocal descriptor
        if descriptor < 0:  # opened here, for a disk may take its time for that as well
            descriptor = os.open(item.path, READ_ONLY)
        try:
            return read_into(descriptor, buffer, offset)
        finally:
            if not ahead:
                close()

    def close() -> None:
        nonlocal descriptor
        if descriptor >= 0:
            os.close(descriptor)
        descriptor = -1

    def begin() -> Job[memoryview]:
        return Job(partial(read, take(min(part, end - position)), position))

    coming = begin()
    try:
        while True:
            data = await coming.result()
            if len(data) < min(part, end - position):  # it was read as far as there is anything
                raise OSError(f"{item.path} became shorter while it was sent")
            position += len(data)
            if position >= end:
                yield data, True
                return
            if ahead:
                coming = begin()
            yield data, False
            if not ahead:
                coming = begin()
    finally:  # a thread may be reading from it; to await that here could be cancelled
        coming.drop(close)


def groups(items: Iterable[Instance]) -> list[tuple[list[Proposal], list[Instance]]]:
    """What an association each can hold: proposals, one for each SOP class and transfer syntax, and items.

    Items that cannot be sent are in the first group.
    """
    unusable: list[Instance] = []
    by_pair: dict[tuple[str, str], list[Instance]] = {}
    order = {}
    for position, item in enumerate(items):
        order[id(item)] = position
        if isinstance(item, Item) and item.error is not None:
            unusable.append(item)
        else:
            by_pair.setdefault((item.sop_class_uid, item.transfer_syntax_uid), []).append(item)
    pairs = list(by_pair)
    found = []
    for start in range(0, max(len(pairs), 1), MAX_CONTEXTS):
        part = pairs[start : start + MAX_CONTEXTS]
        inside = [item for pair in part for item in by_pair[pair]] + (unusable if start == 0 else [])
        inside.sort(key=lambda item: order[id(item)])
        found.append(([Proposal(sop_class, (syntax,)) for sop_class, syntax in part], inside))
    return found
