"""C-STORE as a user: a stream of objects, each with its own outcome."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

from ..association.association import Association
from ..association.converting import with_defaults
from ..association.outgoing import Item, groups
from ..association.stores import Outcome, StoreRun
from ..dataset.instance import Instance
from ..dimse.contexts import Proposal, outcomes
from ..dimse.sop_classes import NON_PATIENT
from .parallel import Sharing, share
from .progress import Meter, Phase, ProgressCallback
from .results import StoredItem, StoreReport

CHUNK = 64
"""Objects that one of several associations takes at a time."""


class Opener(Protocol):
    """Gives associations that have what is asked for."""

    def __call__(
        self, proposals: list[Proposal], *, own: bool = False
    ) -> AbstractAsyncContextManager[Association]:
        """An association on which these contexts have been proposed; `own`: nobody else uses it."""


class Store(Coroutine[Any, Any, StoreReport]):
    """One call of `Pacs.store`, to be awaited, or made a task of; `report` is alive at any moment, also
    after it was cancelled.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     store = pacs.store(FOLDER)
    ...     report = await store
    >>> report.ok, [item.ok for item in report.items]
    (True, [True, True, True, True])
    """

    def __init__(self, report: StoreReport, work: Coroutine[Any, Any, StoreReport]) -> None:
        self.report: StoreReport = report
        self._work = work

    def __repr__(self) -> str:
        return f"<Store: {self.report!r}>"

    def __await__(self) -> Generator[Any, None, StoreReport]:
        return self._work.__await__()

    def send(self, value: Any, /) -> Any:
        """As of a coroutine."""
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._work.throw(*error)

    def close(self) -> None:
        """As of a coroutine."""
        self._work.close()


class Storing:
    """Sends items in order and writes the report; `run` may be called again, for more of them."""

    def __init__(
        self,
        report: StoreReport,
        progress: ProgressCallback | None,
        convert: bool,
        count: int = 1,
    ) -> None:
        """count: associations at once; several send in no order."""
        self._count = count
        self._convert = convert
        self._report = report
        self._meter = Meter(progress)
        self._items: list[Item] = []
        self._unreported: dict[object, Item] = {}  # by their marks
        self._objects = 0
        self._total = 0  # bytes
        self._bytes = 0
        self._in_parts: dict[int, int] = {}  # bytes of a large object that have gone out, by id
        self._failed = 0

    async def run(self, items: list[Item], opener: Opener) -> None:
        """Send these; whatever ends it, every object is in the report."""
        started = time.perf_counter()
        self._items = items
        self._unreported = {item.mark: item for item in items}
        self._objects += len(items)
        self._total += sum(item.data_size for item in items)
        try:
            await self._run(opener)
        except BaseException as error:
            why = str(error) or "storing was stopped"
            for item in list(self._unreported.values()):
                self._add(Outcome(item), item.error or f"not sent: {why}")
            raise
        finally:
            self._report.seconds += time.perf_counter() - started

    def done(self) -> None:
        """Nothing more comes."""
        self._tell("done")

    async def _run(self, opener: Opener) -> None:
        self._tell("planning")
        for proposals, items in groups(self._items):
            if proposals:
                offered = with_defaults(proposals) if self._convert else proposals
                chunks = self._chunks(items)
                work = partial(self._work, opener, offered, chunks)
                await share(min(self._count, len(chunks)), chunks, work)
            else:
                for item in items:
                    self._done({}, Outcome(item, error=item.error if isinstance(item, Item) else None))

    def _chunks(self, items: list[Instance]) -> deque[list[Instance]]:
        """What an association sends before it looks for more: all of it, where there is one."""
        size = len(items) if self._count == 1 else max(1, min(CHUNK, len(items) // (4 * self._count)))
        return deque(items[start : start + size] for start in range(0, len(items), size))

    async def _work(
        self,
        opener: Opener,
        proposals: list[Proposal],
        chunks: deque[list[Instance]],
        sharing: Sharing,
    ) -> None:
        async with sharing.use(opener(proposals, own=self._count > 1)) as association:
            done = partial(self._done, _refusals(association))
            run = StoreRun(association=association, done=done, progress=self._part, convert=self._convert)
            while chunks:
                await run.run(chunks.popleft())

    def _part(self, item: Instance, size: int) -> None:
        self._bytes += size
        self._in_parts[id(item)] = self._in_parts.get(id(item), 0) + size
        self._tell()

    def _done(self, refused: Mapping[tuple[str, str], str], outcome: Outcome) -> None:
        item, error = outcome.item, outcome.error
        if outcome.refused:
            why = refused.get((item.sop_class_uid, item.transfer_syntax_uid), "no reason")
            error = f"presentation context refused: {why}"
            if item.sop_class_uid in NON_PATIENT:
                error += "; objects that belong to no patient are kept by few archives (PS3.4 GG)"
        self._add(outcome, error)

    def _add(self, outcome: Outcome, error: str | None) -> None:
        item = outcome.item
        self._bytes -= self._in_parts.pop(id(item), 0)  # counted again with the answer
        stored = StoredItem(
            item.file if isinstance(item, Item) else item.path,
            item.sop_class_uid,
            item.sop_instance_uid,
            outcome.status,
            outcome.comment,
            error,
            outcome.size or item.data_size,
            outcome.converted,
        )
        self._report.add(stored)
        if isinstance(item, Item):
            self._unreported.pop(item.mark, None)
        if stored.stored:
            self._bytes += stored.bytes
        else:
            self._failed += 1
        self._tell()

    def _tell(self, phase: Phase = "transferring") -> None:
        self._meter.tell(
            phase,
            objects=self._report.stored_count,
            total=self._objects,
            size=self._bytes,
            size_total=self._total,
            failed=self._failed,
            arrived=self._report.counted,
        )


def _refusals(association: Association) -> dict[tuple[str, str], str]:
    """Why each refused context was, by abstract and transfer syntax."""
    request, answer = association.session.request, association.session.answer
    assert request is not None
    assert answer is not None
    return {
        (one.proposed.abstract_syntax, syntax): one.words
        for one in outcomes(request, answer)
        for syntax in one.proposed.transfer_syntaxes
    }
