"""The one thread that makes objects part of the archive, all that wait at a time.

Order of a commit: the data set is checked and forced to the disk, noted in the journal, moved to its place,
the folder forced, the index written in one transaction; then success is answered. A process killed before the
index leaves a name in the journal, and the next start indexes that file: nothing answered is lost, nothing
stays half-visible. Many objects of one group share the folder's sync and the transaction, so that load
raises throughput.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

from ..dataset.deflated import DEFLATED_SYNTAXES
from ..dataset.instance import Instance
from ..dataset.part10 import Part10Writer
from ..dataset.sinks import StoreOutcome
from ..dataset.walk import Steps, to_end
from ..dimse import status
from .entry import Entry, entry_of
from .errors import ObjectRefused
from .files import ObjectFiles, digest_of, is_plain_file, same_data
from .index import Index
from .logbook import Logbook
from .record import MAX_INDEXED, Record, reading, sequence_bytes
from .scanning import Scanners
from .sink import ArchiveSink, outcome_of
from .upkeep import Upkeep

_MAX_GROUP = 256
_PARALLEL = 4
SCANNED_IN_TURN = 2 * 1024
"""Bytes of an object, or of its stored sequences where the first fragment told the rest, that the committing
thread reads itself; what is larger is prepared beside it, for 256 of a group wait for one another. The size
of a deflated one says nothing."""
COMPARED_IN_TURN = 1 << 20
"""Bytes of an object that comes again which that thread compares itself."""
_SCANNERS = 2

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Commit:
    """An object that waits to be committed."""

    future: Future[StoreOutcome]
    sink: ArchiveSink
    writer: Part10Writer


@dataclass(frozen=True, slots=True)
class _Compared:
    """How an object compares with the stored one of its UID: as the same (None), or the digest of another."""

    file: tuple[int, int, int] | None
    found: str | OSError | None


@dataclass(frozen=True, slots=True)
class _Ready:
    """An object checked and on the disk, under its temporary name still."""

    future: Future[StoreOutcome]
    writer: Part10Writer
    entry: Entry
    compared: _Compared | None = None


@dataclass(frozen=True, slots=True)
class _Soon:
    """What may be done at once, in front of commits that wait: it queues a commit of its own."""

    work: Callable[[], None]


_Job: TypeAlias = "_Commit | _Ready | _Soon | Callable[[], None] | None"


class Committer:
    """Runs commits and other writing work on a thread of its own, from construction to `close`."""

    def __init__(self, files: ObjectFiles, index: Index, upkeep: Upkeep, logbook: Logbook) -> None:
        self._files = files
        self._upkeep = upkeep
        self._logbook = logbook
        self._index = index
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._guard = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="archive-sync")
        self._scanners = Scanners(_SCANNERS)
        self._syncing = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="archive-sync-large")
        self._thread = threading.Thread(target=self._run, name="archive-commit", daemon=True)
        self._thread.start()

    def submit(self, sink: ArchiveSink) -> Future[StoreOutcome]:
        """Queue an object; raises `RuntimeError` when the sink has none or the archive is closed."""
        if sink.writer is None:
            raise RuntimeError("the object was discarded")
        future: Future[StoreOutcome] = Future()
        writer = sink.writer
        job = _Commit(future, sink, writer)
        if _is_quick(writer):
            self._put(job)
            return future
        self._scanners.submit(self._scan_beside(job))
        return future

    def _scan_beside(self, job: _Commit) -> Steps[None]:
        """Scan an object in steps, then have it prepared: no other waits for it."""
        if not job.future.set_running_or_notify_cancel():
            job.writer.discard()
            return
        record = yield from self._examined(job)
        if record is not None:  # it may take long to force a large one to the disk: no scan waits for that
            self._syncing.submit(self._prepare_beside, job, record)

    def _prepare_beside(self, job: _Commit, record: Record) -> None:
        ready = self._secured(job, record)
        if ready is not None:
            self._queue.put(ready)  # also while closing: the queue's end comes behind the last of these

    def run(self, work: Callable[[], _T]) -> _T:
        """Run something on the writing thread, after what is queued, and wait for it."""
        future: Future[_T] = Future()

        def job() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever waits for the work gets it
                future.set_exception(error)

        self._put(job)
        return future.result()

    def soon(self, work: Callable[[], None]) -> None:
        """Do something on the writing thread; what it raises is logged.

        It waits for no commit: what it queues is committed together with those that wait.

        Raises RuntimeError (the archive is closed).
        """
        self._put(_Soon(work))

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    def _put(self, job: _Job) -> None:
        with self._guard:
            if self._closed:
                raise RuntimeError("the archive is closed")
            self._queue.put(job)

    def close(self) -> None:
        """Finish what is queued and end the thread. Idempotent."""
        with self._guard:
            first, self._closed = not self._closed, True
        self._scanners.close()
        self._syncing.shutdown()
        if first:
            self._queue.put(None)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while True:
            jobs = self._waiting()
            group: list[_Commit] = []
            ready: list[_Ready] = []
            for job in jobs:
                if isinstance(job, _Commit):
                    group.append(job)
                elif isinstance(job, _Ready):
                    ready.append(job)
                elif not isinstance(job, _Soon):  # those have been done
                    self._commit(group, ready)
                    group, ready = [], []
                    if job is None:
                        return
                    self._do(job)
            self._commit(group, ready)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - a defect of it alone: this thread goes on for all others
            self._say("work behind the commits failed", error)

    def _waiting(self) -> list[_Job]:
        """Wait for a job; gives it and all that queue behind it by now. What is to be done soon is done."""
        jobs = [self._queue.get()]
        try:
            while True:
                if isinstance(last := jobs[-1], _Soon):
                    self._do(last.work)
                if len(jobs) >= _MAX_GROUP:
                    return jobs
                jobs.append(self._queue.get_nowait())
        except Empty:
            return jobs

    def _commit(self, group: Sequence[_Commit], prepared_beside: Sequence[_Ready]) -> None:
        started = []
        for job in group:
            if job.future.set_running_or_notify_cancel():
                started.append(job)
            else:
                job.writer.discard()
        if len(started) > 1 and self._files.syncs:
            # waiting for the disk is what the pool shares; checking alone would only fight for the GIL
            prepared = list(self._pool.map(self._prepare, started))
        else:
            prepared = [self._prepare(job) for job in started]
        ready = [*prepared_beside, *(one for one in prepared if one is not None)]
        while ready:
            ready = self._publish_first_of_each(ready)

    def _prepare(self, job: _Commit) -> _Ready | None:
        """Check a data set and force it to the disk; a refusal is answered here."""
        record = to_end(self._examined(job))
        return None if record is None else self._secured(job, record)

    def _examined(self, job: _Commit) -> Steps[Record | None]:
        sink, writer = job.sink, job.writer
        named = {"sop_class_uid": sink.sop_class_uid, "sop_instance_uid": sink.sop_instance_uid}
        try:
            return (yield from reading(writer, **named))
        except Exception as error:  # noqa: BLE001 - whatever an object leads its reader to is its own fault
            self._refuse(job, error)
            return None

    def _secured(self, job: _Commit, record: Record) -> _Ready | None:
        try:
            self._files.sync_file(job.writer.fileno())
            ready = _Ready(job.future, job.writer, self._entry(record, job.writer))
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(job, error)
            return None
        if record.shortened:
            names = ", ".join(record.shortened)
            what = f"an object is indexed in part, and kept whole: {names} has over {MAX_INDEXED} elements"
            self._logbook.note("indexed in part", "archive", what)
        return ready

    def _refuse(self, job: _Commit, error: Exception) -> None:
        if isinstance(error, ObjectRefused):
            self._keep_refused(job, error.comment)
            _answer(job, StoreOutcome(error.status, error.comment))
        elif isinstance(error, OSError):
            self._say("an object could not be read back or forced to the disk", error)
            _answer(job, outcome_of(error))
        else:
            self._say("an object could not be examined", error)
            self._keep_refused(job, f"it could not be examined ({type(error).__name__})")
            _answer(job, _UNREADABLE)

    def _keep_refused(self, job: _Commit, reason: str) -> None:
        """Into quarantine with it: it came whole, and may be all there is of it."""
        try:
            kept = self._files.keep_refused(job.writer.temporary, job.sink.sop_instance_uid, reason)
        except OSError as error:
            self._say("a refused object could not be kept", error)
            return
        where = "see quarantine" if kept else "quarantine holds enough: it is not kept"
        self._logbook.note("refused", "archive", f"an object was refused: {reason}; {where}")

    def _entry(self, record: Record, writer: Part10Writer) -> Entry:
        stat = os.fstat(writer.fileno())
        name = self._files.object_name(record.series_uid, record.sop_instance_uid)
        return entry_of(record, name, writer.data_offset, stat.st_size, stat.st_mtime_ns)

    def _publish_first_of_each(self, ready: Sequence[_Ready]) -> list[_Ready]:
        """Commit the objects of different UIDs; gives those that must be compared with one of them first."""
        first: dict[str, _Ready] = {}
        later: list[_Ready] = []
        for one in ready:
            uid = one.entry.sop_instance_uid
            if uid in first:
                later.append(one)
            else:
                first[uid] = one
        new: list[_Ready] = []
        vanished: list[str] = []
        for uid, one in first.items():
            try:
                stored, lost = self._stored(one.entry)
                if stored is not None:
                    self._meet(one, stored)
                    continue
            except Exception as error:  # noqa: BLE001 - the index or the disk fails: each asker hears of it
                self._say("it could not be told whether an object is stored", error)
                _answer(one, outcome_of(error) if isinstance(error, OSError) else _INDEX_FAILED)
                continue
            if lost:
                vanished.append(uid)
            new.append(one)
        if new:
            self._publish(new, vanished)
        return later

    def _stored(self, entry: Entry) -> tuple[Instance | None, bool]:
        """The stored object of a UID; and whether one that is indexed has lost its file.

        A file that lies where this one is to go was answered once, whatever keeps it out of the index: it is
        indexed first, for nothing is ever put in the place of another.
        """
        uid = entry.sop_instance_uid
        known = self._index.locate(uid)
        if known is not None and is_plain_file(known.path):
            return known, False
        if not os.path.lexists(self._files.root / entry.path):
            return None, known is not None
        if self._upkeep.adopt(entry.path, forget=() if known is None else (uid,)):
            return self._index.locate(uid), False
        return None, known is not None

    def _meet(self, one: _Ready, stored: Instance) -> None:
        """An object whose UID is stored already; a large one is compared beside, and then looked at again."""
        known = one.compared
        if known is not None and known.file != _identity(os.stat(stored.path)):
            known = None  # another came in the place of what it was compared with
        if known is None and one.writer.bytes_written > COMPARED_IN_TURN:
            try:
                self._syncing.submit(self._compare_beside, one, stored)
                return
            except RuntimeError:  # the archive is closing, and this thread has nobody left to hold up
                pass
        _answer(one, self._again(one, stored, known or self._compared(one, stored)))

    def _compare_beside(self, one: _Ready, stored: Instance) -> None:
        self._queue.put(replace(one, compared=self._compared(one, stored)))

    def _compared(self, one: _Ready, stored: Instance) -> _Compared:
        identity = None
        try:
            with stored.path.open("rb") as file:
                identity = _identity(os.fstat(file.fileno()))
                same = one.entry.transfer_syntax_uid == stored.transfer_syntax_uid and same_data(
                    file.fileno(), stored.data_offset, one.writer.fileno(), one.writer.data_offset
                )
            digest = None if same else digest_of(one.writer.temporary, one.writer.data_offset)
            return _Compared(identity, digest)
        except OSError as error:
            return _Compared(identity, error)

    def _again(self, one: _Ready, stored: Instance, compared: _Compared) -> StoreOutcome:
        """The same as is stored, or a contradiction that is set aside."""
        uid, found = stored.sop_instance_uid, compared.found
        if found is None:
            return self._kept(one.entry, stored.path)
        if isinstance(found, OSError):
            return outcome_of(found)
        try:
            kept = self._files.set_aside(one.writer.temporary, found, uid)
        except OSError as error:
            return outcome_of(error)
        where = "see conflicts" if kept else "conflicts holds enough of it: this one is not kept"
        what = f"SOP instance {uid} came with other content; the first stays, {where}"
        self._logbook.note("conflict", "archive", what)
        return StoreOutcome(
            status.DUPLICATE_SOP_INSTANCE, "another object with this SOP Instance UID is stored"
        )

    def _publish(self, new: Sequence[_Ready], vanished: Sequence[str]) -> None:
        """Move files to their places and index them: answered with success once all of it is durable."""
        published: list[_Ready] = []
        folders: set[str] = set()
        try:
            self._files.announce([one.entry.path for one in new])
            for one in new:
                folders |= self._files.publish(one.writer.temporary, one.entry.path)
                published.append(one)
            self._files.sync_folders(folders)
            self._index.add([one.entry for one in published], forget=vanished, new=True)
        except Exception as error:  # noqa: BLE001 - nothing may stay of a group that was not answered
            self._take_back(new, published, error)
            return
        self._clear_announced()
        for one in published:
            _answer(one, self._kept(one.entry, self._files.root / one.entry.path))

    def _kept(self, entry: Entry, path: Path) -> StoreOutcome:
        """A warning for an object whose encoding is in doubt: kept as it came, and listed by `verify`."""
        doubt = entry.doubt
        if doubt is None:
            return StoreOutcome(status.SUCCESS, path=path)
        self._logbook.note("in doubt", "archive", f"an object is kept whose encoding is in doubt: {doubt}")
        return StoreOutcome(status.ENCODING_IN_DOUBT, f"kept as it came: {doubt}"[:64], path)

    def _take_back(self, new: Sequence[_Ready], published: Sequence[_Ready], error: Exception) -> None:
        self._say(f"{len(new)} objects could not be stored", error)
        failure = outcome_of(error) if isinstance(error, OSError) else _INDEX_FAILED
        for one in published:
            try:
                self._files.withdraw(one.entry.path)
            except OSError as stuck:
                self._say("an object that was refused could not be removed", stuck)
        self._clear_announced()
        for one in new:
            _answer(one, failure)

    def _clear_announced(self) -> None:
        try:
            self._files.clear_announced()
        except OSError as error:  # a start that reads an old note finds its objects indexed
            self._say("the journal could not be cleared", error)

    def _say(self, what: str, error: Exception) -> None:
        """What went wrong, without the words of an exception that may quote a data set."""
        known = isinstance(error, OSError | sqlite3.Error)
        self._logbook.note(what, "archive", f"{what}: {error if known else type(error).__name__}")


def _identity(file: os.stat_result) -> tuple[int, int, int]:
    return file.st_dev, file.st_ino, file.st_mtime_ns


def _is_quick(writer: Part10Writer) -> bool:
    """Whether to prepare an object takes so little that others of its group may wait for it."""
    known = writer.scanned
    if known is not None:
        return sequence_bytes(known.values) <= SCANNED_IN_TURN
    return writer.bytes_written <= SCANNED_IN_TURN and writer.transfer_syntax_uid not in DEFLATED_SYNTAXES


def _answer(job: _Commit | _Ready, outcome: StoreOutcome) -> None:
    # first the file, then the word: whoever hears of a refusal finds nothing left of the object
    job.writer.discard()
    job.future.set_result(outcome)


_UNREADABLE = StoreOutcome(status.PROCESSING_FAILURE, "the object could not be examined")
_INDEX_FAILED = StoreOutcome(status.OUT_OF_RESOURCES, "the index could not be written")
