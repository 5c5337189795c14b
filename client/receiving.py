"""Where the objects of a retrieve go: files under a readable layout, or data sets one by one."""

from __future__ import annotations

import asyncio
import errno
import filecmp
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..association.performing import Refused, out_of_resources
from ..association.tasks import on_thread
from ..dataset.coding import DatasetDecodeError, DecodedObject, decode_object
from ..dataset.errors import ImagingError, UnsafeName
from ..dataset.leftovers import remove_leftovers
from ..dataset.names import instance_path
from ..dataset.part10 import Part10Writer, ScanOptions, sync_directory
from ..dataset.sinks import StoreOutcome
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.status import (
    CANNOT_UNDERSTAND,
    DATASET_MISMATCH,
    DUPLICATE_SOP_INSTANCE,
    INVALID_SOP_INSTANCE,
    NOT_AUTHORIZED,
    OUT_OF_RESOURCES,
    Status,
)
from ..pdu.uids import is_near_uid
from .layout import Layout
from .retrieved import ReceivedItem

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log: logging.Logger = logging.getLogger("aiodicom.receiving")

Durability = Literal["none", "rename", "fsync"]
"""When an object of a retrieve is reported as safe.

"fsync": when it has been forced to the disk, in groups, after its C-STORE was answered. "rename":
when its file has its name, which a killed process leaves it. "none" answers when the last byte is here, and
checks and names the file after that.
"""
Asked = Callable[[str, Mapping[str, str]], bool]
"""Whether an object was asked for: by SOP Instance UID, and `patient_id`, `study_uid`, `series_uid`."""
ASIDE = "not-asked-for"
"""The folder of what came and was not asked for."""

MAXIMUM_OBJECT = 64 * 1024**3
"""Bytes of one object that a retrieve into files takes: one without end must not fill the disk."""

_LAYOUT_TAGS = {
    0x00080020: "study_date",
    0x00080060: "modality",
    0x0008103E: "series_description",
    0x00100020: "patient_id",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00200011: "series_number",
}
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
OTHER_CLASS = "SOP Class UID differs from the command's"
OTHER_INSTANCE = "SOP Instance UID differs from the command's"
_OPTIONS = ScanOptions(frozenset((*_LAYOUT_TAGS, _SOP_CLASS_UID, _SOP_INSTANCE_UID)), check_nested=True)


def _options(layout: Layout) -> ScanOptions:
    return replace(_OPTIONS, tags=_OPTIONS.tags | frozenset(layout.tags.values()))


class FileSink:
    """One object into a file: written as it comes, checked and given its name when whole.

    The name comes from the object itself, by `dataset.names` alone; nothing is overwritten. An object
    that is there already is kept once when the bytes agree, and beside the other when they do not. Nothing is
    forced to the disk here: `settling` does that for many at once.
    """

    def __init__(
        self,
        directory: Path,
        request: m.CStoreRQ,
        context: Context,
        *,
        source_ae: str | None,
        done: Callable[[ReceivedItem], None],
        limit: int = MAXIMUM_OBJECT,
        asked: Asked | None = None,
        layout: Layout | None = None,
        digest: bool = False,
    ) -> None:
        """asked: which objects were; others go to the folder `ASIDE`, and `done` is told so."""
        self._asked = asked
        self._unasked: bool | None = None  # once it is known
        self._layout = layout
        self._hash = hashlib.sha256() if digest else None
        self._found: dict[int, bytes] = {}
        self._values: dict[str, str] = {}
        self._beside: Path | None = None
        self.no_room: bool = False
        self._limit = limit
        self._directory = directory
        self._request = request
        self._context = context
        self._done = done
        self._doubt: str | None = None
        if not is_near_uid(request.affected_sop_instance_uid):
            raise UnsafeName(f"{request.affected_sop_instance_uid[:80]!r} names no object")
        self._writer = Part10Writer(
            directory,
            sop_class_uid=request.affected_sop_class_uid,
            sop_instance_uid=request.affected_sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            source_ae=source_ae,
            named=False,
            options=_OPTIONS if layout is None else _options(layout),
        )

    def write(self, data: memoryview, /) -> None:
        """Append to the temporary file, up to `limit` bytes."""
        if self._writer.bytes_written + len(data) > self._limit:
            outcome = StoreOutcome(OUT_OF_RESOURCES, f"object over {self._limit} bytes")
            self._tell(outcome)
            raise Refused(outcome.status, outcome.comment)
        try:
            self._writer.write(data)
        except OSError as error:
            self.no_room = error.errno in NO_ROOM
            self._tell(out_of_resources(error))
            raise
        if self._hash is not None:
            self._hash.update(data)

    async def commit(self) -> StoreOutcome:
        """Check and rename, on a thread. Cancelled, it gives up, unless the file has its name.

        Where it is known to be whole and no other file is in the way, what is left takes no longer than a
        write, and is done here: `benchmarks/phases.py` shows what the way to a thread and back costs.
        """
        if (path := self._free_path()) is not None:
            outcome = self._commit(path)
            self._tell(outcome)
            return outcome
        try:
            outcome = await on_thread(self._commit, unwanted=self._came_all_the_same)
        except asyncio.CancelledError:
            self.discard()  # of a file that has its name nothing is lost
            raise
        self._tell(outcome)
        return outcome

    def _came_all_the_same(self, outcome: StoreOutcome) -> None:
        """What a commit came to that was given up while a thread was in it."""
        if outcome.status == 0:
            self._tell(outcome)

    def _free_path(self) -> str | None:
        """Its path, where the object is known to be whole and nothing else has that name."""
        if not self._writer.scanned:
            return None
        values = self._scan()
        path = None if isinstance(values, StoreOutcome) else self._path(values)
        return None if path is None or os.path.lexists(path) else path

    def _path(self, values: dict[str, str]) -> str:
        uid = self._request.affected_sop_instance_uid
        if self._layout is None:
            relative = instance_path(sop_instance_uid=uid, **values)
        else:
            relative = self._layout.path(self._found, uid)
        return os.path.join(self._directory, *([ASIDE] if self.unasked else []), relative)

    def discard(self) -> None:
        """Remove the temporary file, if it has not got its name. Not called while a thread commits."""
        self._writer.discard()

    @property
    def unasked(self) -> bool:
        """Whether it is an object that nobody asked for, as far as is known yet."""
        if self._unasked is None and self._values:
            uid = self._request.affected_sop_instance_uid
            self._unasked = self._asked is not None and not self._asked(uid, self._values)
        return bool(self._unasked)

    def _tell(self, outcome: StoreOutcome) -> None:
        item = received(self._request, self._context, outcome, self._writer.bytes_written)
        digest = None if self._hash is None or not item.ok else self._hash.hexdigest()
        patient = self._values.get("patient_id", "")
        self._done(replace(item, beside=self._beside, patient_id=patient, sha256=digest))

    def _commit(self, path: str | None = None) -> StoreOutcome:
        try:
            return self._check_and_publish() if path is None else _kept(self._publish(path), self._doubt)
        except OSError as error:
            self._writer.discard()
            log.info("storing failed: %s", error.strerror or error)
            self.no_room = error.errno in NO_ROOM
            return out_of_resources(error)
        except BaseException:
            self._writer.discard()
            raise

    def _check_and_publish(self) -> StoreOutcome:
        try:
            values = self._scan()
        except ImagingError as error:
            self._writer.discard()
            log.info("refused an object: %s", error)
            return StoreOutcome(CANNOT_UNDERSTAND, "cannot understand: data set is broken")
        if isinstance(values, StoreOutcome):
            self._writer.discard()
            return values
        return _kept(self._publish(self._path(values)), self._doubt)

    def _scan(self) -> dict[str, str] | StoreOutcome:
        """The values the layout wants, or why the object cannot be kept."""
        found = self._writer.scan()
        if not found.complete and not found.unseen:
            log.info("refused an object: %s", found.problem)
            fault = "not whole" if found.truncated else "not encoded as PS3.5 has it"
            return StoreOutcome(CANNOT_UNDERSTAND, f"cannot understand: data set is {fault}")
        self._doubt = found.doubt
        instance = _ascii(found.values.get(_SOP_INSTANCE_UID, b""))
        if instance and instance != self._request.affected_sop_instance_uid:
            return StoreOutcome(DATASET_MISMATCH, OTHER_INSTANCE)
        sop_class = _ascii(found.values.get(_SOP_CLASS_UID, b""))
        if sop_class and sop_class != self._request.affected_sop_class_uid:
            return StoreOutcome(DATASET_MISMATCH, OTHER_CLASS)
        self._found = found.values
        self._values = {name: _ascii(found.values.get(tag, b"")) for tag, name in _LAYOUT_TAGS.items()}
        return self._values

    def _publish(self, path: str) -> StoreOutcome:
        """Give the file its name, or one beside it when another object has it."""
        make_directories(os.path.dirname(path), durable=False)
        stem = path.removesuffix(".dcm")
        for number in range(1, 1000):
            target = path if number == 1 else f"{stem}~{number}.dcm"
            if not os.path.lexists(target):
                try:
                    committed = self._writer.commit("rename", path=target)
                except FileExistsError:  # taken since: another association brings the same object
                    pass
                else:
                    self._beside = Path(path) if number > 1 else None
                    return StoreOutcome(0, "", committed)
            if self._same(target):
                self._writer.discard()
                return StoreOutcome(0, "", Path(target))
        self._writer.discard()
        return StoreOutcome(DUPLICATE_SOP_INSTANCE, "too many different objects of this UID")

    def _same(self, other: str) -> bool:
        """Whether what was received is what a file holds."""
        if os.stat(other).st_size != self._writer.data_offset + self._writer.bytes_written:
            return False
        return filecmp.cmp(self._writer.temporary, other, shallow=False)


def open_file_sink(
    directory: Path,
    request: m.CStoreRQ,
    context: Context,
    *,
    source_ae: str | None,
    done: Callable[[ReceivedItem], None],
    limit: int = MAXIMUM_OBJECT,
    asked: Asked | None = None,
    layout: Layout | None = None,
    digest: bool = False,
) -> FileSink:
    """A sink for an object that arrives; one that cannot be made is told to `done` as well.

    Raises Refused for what is no UID, and OSError.
    """
    try:
        return FileSink(
            directory,
            request,
            context,
            source_ae=source_ae,
            done=done,
            limit=limit,
            asked=asked,
            layout=layout,
            digest=digest,
        )
    except UnsafeName:
        outcome = StoreOutcome(INVALID_SOP_INSTANCE, "not a valid SOP Instance UID")
        done(received(request, context, outcome))
        raise Refused(outcome.status, outcome.comment) from None
    except OSError as error:
        done(received(request, context, out_of_resources(error)))
        raise


def received(request: m.CStoreRQ, context: Context, outcome: StoreOutcome, size: int = 0) -> ReceivedItem:
    """What became of the object of a request; `size` is that of its data set in bytes."""
    return ReceivedItem(
        request.affected_sop_class_uid,
        request.affected_sop_instance_uid,
        context.transfer_syntax,
        Status(outcome.status, "C-STORE"),
        outcome.comment,
        outcome.path,
        size,
    )


def _kept(outcome: StoreOutcome, doubt: str | None) -> StoreOutcome:
    """The outcome of an object that is kept, with what of its encoding is in doubt."""
    if doubt is None or outcome.status != 0:
        return outcome
    log.info("an object is kept whose encoding is in doubt: %s", doubt)
    return replace(outcome, comment=f"encoding in doubt: {doubt}")


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk that will not take the next object either."""


def prepare(directory: Path, *, durable: bool) -> None:
    """Make the folder of a retrieve, without what a killed process left unfinished there. Blocks."""
    make_directories(os.fspath(directory), durable=durable)
    remove_leftovers(directory)


def make_directories(path: str, *, durable: bool) -> None:
    """Make a directory and those above it; `durable` forces each new one's entry to the disk. Blocks."""
    new: list[str] = []
    while path and not os.path.isdir(path):
        new.append(path)
        path = os.path.dirname(path)
    for directory in reversed(new):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise
        if durable:
            sync_directory(os.path.dirname(directory) or ".")


def _ascii(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def keys_of(dataset: Dataset) -> dict[str, str]:
    """What says whether an object was asked for."""
    keywords = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID", "series_uid": "SeriesInstanceUID"}
    return {name: str(dataset.get(keyword, "") or "") for name, keyword in keywords.items()}


class DatasetSink:
    """One object into memory, for those who iterate data sets; at most `limit` bytes."""

    def __init__(
        self,
        request: m.CStoreRQ,
        context: Context,
        limit: int,
        done: Callable[[StoreOutcome, Dataset | None], None],
        asked: Asked | None = None,
        decoding: Callable[[int], object] = abs,
        *,
        digest: bool = False,
    ) -> None:
        """decoding: told of the bytes that begin to be decoded, and of as many below zero at the end."""
        self._asked = asked
        self._decoding = decoding
        self._request = request
        self._context = context
        self._limit = limit
        self._done = done
        self._data = bytearray()
        self._hash = hashlib.sha256() if digest else None

    @property
    def size(self) -> int:
        """Bytes of its data set so far."""
        return len(self._data)

    def write(self, data: memoryview, /) -> None:
        """Keep it while there is room."""
        if len(self._data) + len(data) > self._limit:
            outcome = StoreOutcome(OUT_OF_RESOURCES, f"object over {self._limit} bytes")
            self._done(outcome, None)
            raise Refused(outcome.status, outcome.comment)
        self._data += data
        if self._hash is not None:
            self._hash.update(data)

    @property
    def sha256(self) -> str | None:
        """The digest of its data set so far, where one was asked for."""
        return None if self._hash is None else self._hash.hexdigest()

    async def commit(self) -> StoreOutcome:
        """Decode on a thread and hand on."""
        size = self.size
        self._decoding(size)
        try:
            return await self._decoded()
        finally:
            self._decoding(-size)

    async def _decoded(self) -> StoreOutcome:
        try:
            decoded = await on_thread(self._decode)
        except DatasetDecodeError as error:
            log.info("refused an object: %s", error)
            outcome = StoreOutcome(CANNOT_UNDERSTAND, f"cannot understand: {error}")
            self._done(outcome, None)
            return outcome
        for keyword, wanted, words in (
            ("SOPInstanceUID", self._request.affected_sop_instance_uid, OTHER_INSTANCE),
            ("SOPClassUID", self._request.affected_sop_class_uid, OTHER_CLASS),
        ):
            named = str(decoded.dataset.get(keyword, "") or "")
            if named and named != wanted:
                outcome = StoreOutcome(DATASET_MISMATCH, words)
                self._done(outcome, None)
                return outcome
        outcome = _kept(StoreOutcome(0), decoded.doubt)
        uid = self._request.affected_sop_instance_uid
        if self._asked is not None and not self._asked(uid, keys_of(decoded.dataset)):
            outcome = StoreOutcome(NOT_AUTHORIZED, "not asked for")
            self._done(outcome, None)
            return outcome
        self._done(outcome, decoded.dataset)
        return outcome

    def _decode(self) -> DecodedObject:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import UID

        decoded = decode_object(self._data, self._context.transfer_syntax)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self._request.affected_sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(self._request.affected_sop_instance_uid)
        meta.TransferSyntaxUID = UID(self._context.transfer_syntax)
        decoded.dataset.file_meta = meta
        return decoded

    def discard(self) -> None:
        """Forget it."""
        self._data = bytearray()
