"""The receiving end of one C-STORE into the archive, and what is answered to it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import Future

from ..dataset.part10 import Part10Writer
from ..dataset.sinks import StoreOutcome
from ..dimse.status import OUT_OF_RESOURCES

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def outcome_of(error: OSError) -> StoreOutcome:
    """The answer to a disk that would not take the object."""
    if error.errno in _FULL:
        return StoreOutcome(OUT_OF_RESOURCES, "no space left to store the object")
    return StoreOutcome(OUT_OF_RESOURCES, "the object could not be written")


class ArchiveSink:
    """Takes the fragments of one data set; `commit` makes it part of the archive, `discard` leaves no trace.

    Nothing is raised for what a peer or a disk does: a sink that cannot go on ignores further fragments,
    frees what it wrote, and `commit` gives the refusal.
    """

    __slots__ = ("_future", "_limit", "_outcome", "_submit", "sop_class_uid", "sop_instance_uid",
                 "transfer_syntax_uid", "writer")  # fmt: skip

    def __init__(
        self,
        submit: Callable[[ArchiveSink], Future[StoreOutcome]],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        writer: Part10Writer | None,
        outcome: StoreOutcome | None = None,
        max_object_size: int | None = None,
    ) -> None:
        self.sop_class_uid: str = sop_class_uid
        self.sop_instance_uid: str = sop_instance_uid
        self.transfer_syntax_uid: str = transfer_syntax_uid
        self.writer = writer
        self._submit = submit
        self._outcome = outcome
        self._limit = max_object_size
        self._future: Future[StoreOutcome] | None = None

    def write(self, data: memoryview, /) -> None:
        """Append a fragment; the view may be reused afterwards.

        Called in the event loop, so it must not wait.
        """
        writer = self.writer
        if writer is None or self._future is not None:
            return
        if self._limit is not None and writer.bytes_written + len(data) > self._limit:
            self._refuse(StoreOutcome(OUT_OF_RESOURCES, f"object larger than {self._limit} bytes"))
            return
        try:
            writer.write(data)
        except OSError as error:
            self._refuse(outcome_of(error))

    def _refuse(self, outcome: StoreOutcome) -> None:
        self._outcome = outcome
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.discard()

    async def commit(self) -> StoreOutcome:
        """Check, store and index the object; returns when it is durable and visible, or refused.

        Cancelled while it waits in the queue, nothing stays; cancelled later, the object is stored all the
        same.

        Raises RuntimeError (the sink was discarded, or the archive closed).
        """
        future = self.committed()
        return future if isinstance(future, StoreOutcome) else await asyncio.wrap_future(future)

    def commit_now(self) -> StoreOutcome:
        """As `commit`, for code without an event loop: blocks until done."""
        future = self.committed()
        return future if isinstance(future, StoreOutcome) else future.result()

    def committed(self) -> StoreOutcome | Future[StoreOutcome]:
        """Begin the commit; its outcome, where that is known already."""
        if self._outcome is not None:
            return self._outcome
        if self._future is None:
            self._future = self._submit(self)
        return self._future

    def discard(self) -> None:
        """Forget the object, unless its commit is under way or done. Idempotent, never raises."""
        if self._future is not None and not self._future.cancel():
            return
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.discard()
