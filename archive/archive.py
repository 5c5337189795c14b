"""The embedded archive: objects in a folder, an index beside them, and what C-STORE, C-FIND and C-GET need
of it.

No networking here. Methods may block on the disk and belong on a worker thread, except `Archive.sink`,
`ArchiveSink.write` and `ArchiveSink.commit`, which are for the event loop.

An object is answered with success after it is on the disk and in the index. Received a second time it is
success again if its data set is the same, byte for byte; otherwise the first stays, the other is set aside
in `conflicts/`, out of every query, and answered 0111H. That holds for the same object in another transfer
syntax, in another series or with corrected demographics. The patient policies are those of `index`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from pydicom.dataset import Dataset

from ..dataset.part10 import Part10Writer
from ..dataset.sinks import StoreOutcome
from ..dimse import status
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.levels import Level, Root
from ..pdu.uids import is_near_uid, is_uid
from .commit import Committer
from .comparing import Comparison
from .errors import ObjectRefused
from .files import FILE_MODE, INDEX, MAX_REFUSED_SIZE, Durability, ObjectFiles
from .find import Matches
from .index import Counts, Index
from .logbook import Logbook
from .query import compile_query, select
from .queued import QueuedSink, Writers
from .record import MAX_DEPTH, MAX_ELEMENTS, stored_options
from .search import Search
from .selection import Selection
from .sink import ArchiveSink, outcome_of
from .upkeep import Progress, Upkeep, VerifyReport, read_object

log: logging.Logger = logging.getLogger("aiodicom.archive")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """indexed: how many objects. skipped: files that are no whole objects, with the reason."""

    indexed: int
    skipped: tuple[tuple[Path, str], ...]


class Archive:
    """An archive in a folder, open for this process alone until `close`.

    Opening finishes what a killed process left half-done: objects still arriving are removed, a group that
    was being committed is indexed. Then index and files are compared by name, after a power failure also by
    length, on a thread while the archive serves: until that ends (`wait_until_compared`) an object that
    only the files have is not found, and one that only the index has cannot be sent. Without an index, or
    with one whose making was cut off, it is made from the files first, which takes longest. An object that
    cannot be read is left out and said, never removed.

    durability: "fsync": success is answered once a power failure cannot undo it. "rename": a killed
        process loses nothing, a power failure may take the objects of the last half minute.
    max_object_size: bytes a data set may have; larger ones are refused with A700H.
    max_sequence_depth: nested sequences an object may have; deeper ones are refused with C000H.
    max_elements: elements, items and delimiters of all levels an object may have; more are refused with
        C000H.
    max_quarantine_size: bytes of objects that came whole and were refused, kept in `quarantine/` with the
        reason; 0 keeps none.
    progress: told, on a thread, how many of how many objects were read where opening reads them.
    create: make an archive where there is none.

    Raises NoArchive (there is none, and `create` is false), ArchiveInUse (the folder is open already),
    UnusableArchive (something else stands where one of its files or folders belongs), IndexVersionError (the
    index was made by another version. OSError, sqlite3.Error: the folder or index cannot be used).

    >>> with aiodicom.Archive(OUT) as archive:
    ...     outcomes = [archive.store_file(path) for path in FOLDER.glob("*.dcm")]
    ...     archive.counts().instances
    4
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        durability: Durability = "fsync",
        max_object_size: int | None = None,
        max_sequence_depth: int = MAX_DEPTH,
        max_elements: int | None = MAX_ELEMENTS,
        max_quarantine_size: int = MAX_REFUSED_SIZE,
        progress: Progress | None = None,
        create: bool = True,
    ) -> None:
        self.directory: Path = Path(directory)
        self.max_object_size = max_object_size
        self._logbook = Logbook(log, time.monotonic)
        self._look = stored_options(max_sequence_depth, max_elements)
        self._durable = durability == "fsync"
        self._files = ObjectFiles(self.directory, durability, create=create, max_refused=max_quarantine_size)
        try:
            self._index = Index(self.directory / INDEX)
        except BaseException:
            self._files.close(clean=False)
            raise
        self._upkeep = Upkeep(self._files, self._index, progress=progress)
        self._committer = Committer(self._files, self._index, self._upkeep, self._logbook)
        self._writers = Writers(self._committer.soon)
        self._ready = False
        self._comparison: Comparison | None = None
        try:
            unsure = self._committer.run(self._upkeep.settle)
            self._files.clean_incoming()
            power = unsure and self._files.last_end == "power"
            if not power:  # else the next start must do as this one, if this one does not come to its end
                self._files.begin()
            self._ready = not unsure
            if unsure:
                self._compare(power)  # which makes it ready
        except BaseException:
            self.close()
            raise

    def _compare(self, power: bool) -> None:
        def compared() -> None:
            if power:
                self._files.begin()
            self._ready = True

        comparison = Comparison(
            self._files, self._index, self._upkeep, self._committer, sizes=power, then=compared
        )
        comparison.start()
        self._comparison = comparison

    def wait_until_compared(self, timeout: float | None = None) -> bool:
        """Wait, `timeout` seconds at most, until index and files agree; False where they do not by then.

        That they could not be compared is False too: the log says why, and the next opening tries again.
        """
        return self._comparison is None or self._comparison.wait(timeout)

    def close(self) -> None:
        """Finish the commits that wait, then close index and folder. Idempotent."""
        if self._comparison is not None:
            self._comparison.stop()
        self._writers.close()
        if not self._committer.closed:
            self._committer.run(lambda: None)  # behind the small objects that are to be written there
        self._committer.close()
        self._index.close()
        # what was not forced to the disk may still be lost, however orderly the end
        self._files.close(clean=self._ready and self._durable)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Storing

    def sink(
        self,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae: str | None = None,
    ) -> ArchiveSink:
        """Begin to receive an object. Never raises for what a peer sent or a disk refused: the sink's
        commit says.

        calling_ae: goes to the file's Source AE Title (0002,0016) when it is a valid title.

        Raises RuntimeError (the archive is closed).
        """
        if self._committer.closed:
            raise RuntimeError("the archive is closed")
        writer = None
        outcome = _refusal(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        if outcome is None:
            try:
                writer = Part10Writer(
                    self._files.incoming,
                    sop_class_uid=sop_class_uid,
                    sop_instance_uid=sop_instance_uid,
                    transfer_syntax_uid=transfer_syntax_uid,
                    implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                    implementation_version_name=IMPLEMENTATION_VERSION_NAME,
                    source_ae=_title(calling_ae),
                    named=False,
                    mode=FILE_MODE,
                    options=self._look,
                )
            except OSError as error:
                self._logbook.note("receive", "archive", f"an object cannot be received: {error}")
                outcome = outcome_of(error)
        return ArchiveSink(
            self._committer.submit,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            writer=writer,
            outcome=outcome,
            max_object_size=self.max_object_size,
        )

    def queued(
        self,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae: str | None = None,
    ) -> QueuedSink:
        """As `sink`, for who may wait for no disk: all that is done with files is done on threads.

        Never raises; what `sink` raises its commit does.
        """
        make = partial(
            self.sink,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae=calling_ae,
        )
        return QueuedSink(self._writers, make)

    def store_file(self, path: Path | str) -> StoreOutcome:
        """Store a copy of a file; its own preamble and group 2 are not kept.

        The UIDs are those of the data set: files made anonymous often keep older ones in group 2.

        Raises OSError, ImagingError (the file cannot be read).
        """
        try:
            header, record, _ = read_object(Path(path))
        except ObjectRefused as refusal:
            return StoreOutcome(refusal.status, refusal.comment)
        sink = self.sink(
            sop_class_uid=record.sop_class_uid,
            sop_instance_uid=record.sop_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
        )
        try:
            with Path(path).open("rb") as file:
                file.seek(header.data_offset)
                while chunk := file.read(_CHUNK):
                    sink.write(memoryview(chunk))
            return sink.commit_now()
        finally:
            sink.discard()

    # Asking

    def find(
        self,
        root: Root,
        level: Level | str | None,
        identifier: Dataset,
        *,
        relational: bool = True,
        combined: bool = False,
        every: bool = False,
        retrieve_ae: str | None = None,
        search: Search | None = None,
    ) -> Matches:
        """Answer a C-FIND identifier, one data set after the other (PS3.4 C.4.1).

        The identifier is checked before the first answer is asked for. `Matches.pending_status` is the status
        to send answers with. Close the iterator when it is given up early.

        level: `None` to take it from the identifier.
        relational: whether keys of upper levels may be missing.
        combined: whether ranges of a date and of its time are one range of moments.
        every: whether each of several values of a key is to match, not one of them (PS3.4 C.2.2.2.8).
        retrieve_ae: value of Retrieve AE Title (0008,0054) in the answers.
        search: what can give it up from another thread, while the identifier is compiled and later.

        Raises IdentifierError (the identifier cannot be answered), GivenUp.
        """
        search = search or Search()
        query = compile_query(
            identifier,
            root,
            level,
            relational=relational,
            combined=combined,
            every=every,
            check=search.check,
        )
        return Matches(self._index, query, retrieve_ae, search)

    def select(
        self, root: Root, level: Level | str | None, identifier: Dataset, *, search: Search | None = None
    ) -> Selection:
        """The stored objects a C-GET or C-MOVE identifier names (PS3.4 C.4.2, C.4.3), read as they are taken.

        search: what can give it up from another thread, while it runs.

        Raises IdentifierError (the identifier has no usable level or unique key), GivenUp.
        """
        return select(self._index, root, level, identifier, search or Search())

    def counts(self) -> Counts:
        """How much is stored."""
        return self._index.counts()

    # The index and the files

    def verify(self) -> VerifyReport:
        """Read every object and compare it with the index; changes nothing. Commits go on meanwhile.

        Raises OSError or sqlite3.Error (the archive cannot be read).
        """
        return self._upkeep.verify()

    def reindex(self) -> ReindexReport:
        """Rebuild the index from the objects alone; queries see the old one until the new one is whole.

        Commits wait meanwhile. Conflicts stay aside. Takes time in proportion to the number of objects.

        Raises OSError or sqlite3.Error; the old index stays then.
        """
        left = self._committer.run(self._upkeep.rebuild)
        return ReindexReport(self._index.counts().instances, tuple((one.path, one.reason) for one in left))


def _refusal(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> StoreOutcome | None:
    if not is_near_uid(sop_instance_uid):
        return StoreOutcome(status.INVALID_SOP_INSTANCE, "the SOP Instance UID is no UID")
    if not is_uid(sop_class_uid):
        return StoreOutcome(status.SOP_CLASS_NOT_SUPPORTED, "the SOP Class UID is no UID")
    if not is_uid(transfer_syntax_uid):
        return StoreOutcome(status.UNABLE_TO_PROCESS, "the transfer syntax is no UID")
    return None


def _title(text: str | None) -> str | None:
    """An AE title fit for a file's group 2 (PS3.5 6.2), or `None`."""
    title = (text or "").strip(" ")
    usable = 0 < len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title
    return title if usable else None
