"""C-STORE as a user: a stream of objects, each with its own outcome."""

from __future__ import annotations

import time
from collections import deque
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Protocol

from ..association.association import PART, Association, Parts
from ..association.operations import Operation
from ..association.outgoing import Item, Loaded, group_proposals, load_ahead, read_parts
from ..dimse import messages as m
from ..dimse.contexts import Context, Proposal, describe_context_result
from ..pdu.errors import AiodicomError
from .results import Progress, ProgressCallback, StoredItem, StoreReport

UNLIMITED_WINDOW = 16
"""C-STOREs kept outstanding where the negotiated window has no limit."""


class Opener(Protocol):
    """Gives associations that have what is asked for."""

    def __call__(self, proposals: list[Proposal]) -> AbstractAsyncContextManager[Association]:
        """An association on which these contexts have been proposed."""


@dataclass(slots=True)
class _Sent:
    operation: Operation
    item: Item
    size: int


class Storing:
    """One run of storing: sends the items in order and writes the report."""

    def __init__(self, items: list[Item], report: StoreReport, progress: ProgressCallback | None) -> None:
        self._report = report
        self._callback = progress
        self._items = items
        self._unreported = {id(item): item for item in items}
        self._total = sum(item.size for item in items)
        self._bytes = 0
        self._failed = 0

    async def run(self, opener: Opener) -> None:
        """Send everything; whatever ends it, every object is in the report."""
        started = time.perf_counter()
        try:
            await self._run(opener)
        except BaseException as error:
            why = str(error) or "storing was stopped"
            for item in list(self._unreported.values()):
                self._add(item, None, error=item.error or f"not sent: {why}")
            raise
        finally:
            self._report.seconds = time.perf_counter() - started

    async def _run(self, opener: Opener) -> None:
        groups = group_proposals(self._items) or [[]]
        self._tell()
        for group in groups:
            wanted = {(p.abstract_syntax, p.transfer_syntaxes[0]) for p in group}
            part = [
                item
                for item in self._items
                if (
                    (item.sop_class_uid, item.transfer_syntax_uid) in wanted
                    if item.error is None
                    else group is groups[0]
                )
            ]
            await self._run_group(opener, group, part)

    async def _run_group(self, opener: Opener, group: list[Proposal], items: list[Item]) -> None:
        if not group:
            for item in items:
                self._add(item, None, error=item.error)
            return
        async with opener(group) as association:
            await self._send_all(association, items)

    async def _send_all(self, association: Association, items: list[Item]) -> None:
        contexts = _by_syntax(association)
        refused = _refusals(association)
        pending: deque[_Sent] = deque()
        window = association.session.window.invoked or UNLIMITED_WINDOW
        ahead = load_ahead(items)
        try:
            async for loaded in ahead:
                item = loaded.item
                key = (item.sop_class_uid, item.transfer_syntax_uid)
                if loaded.error is not None:
                    self._add(item, None, error=loaded.error)
                elif key not in contexts:
                    self._add(
                        item, None, error=f"presentation context refused: {refused.get(key, 'no reason')}"
                    )
                else:
                    if len(pending) >= window:
                        await self._answer(pending.popleft())
                    pending.append(await self._send(association, contexts[key], loaded))
            while pending:
                await self._answer(pending.popleft())
        except BaseException as error:
            for sent in pending:
                self._add(sent.item, None, error=f"not answered: {str(error) or 'storing was stopped'}")
            raise
        finally:
            await ahead.aclose()

    async def _send(self, association: Association, context: Context, loaded: Loaded) -> _Sent:
        item = loaded.item

        def request(message_id: int) -> m.CStoreRQ:
            return m.CStoreRQ(
                message_id=message_id,
                affected_sop_class_uid=item.sop_class_uid,
                affected_sop_instance_uid=item.sop_instance_uid,
            )

        size = len(loaded.data) if loaded.data is not None else item.size
        data = loaded.data if loaded.data is not None else self._parts(item)
        try:
            operation = await association.invoke(context, request, data)
        except AiodicomError as error:
            self._add(item, None, error=f"not sent whole: {error}")
            raise
        except OSError as error:
            self._add(item, None, error=f"not sent whole: reading failed: {error}")
            raise association.error or AiodicomError(str(error)) from error
        except BaseException:
            self._add(item, None, error="not answered: storing was stopped")
            raise
        return _Sent(operation, item, size)

    async def _parts(self, item: Item) -> Parts:
        async with aclosing(read_parts(item, PART)) as parts:
            async for part, last in parts:
                yield part, last
                self._bytes += len(part)
                self._tell()
        self._bytes -= item.size  # counted again with the answer

    async def _answer(self, sent: _Sent) -> None:
        try:
            response, _ = await sent.operation.next()
        except BaseException as error:
            self._add(sent.item, None, error=f"not answered: {str(error) or 'storing was stopped'}")
            raise
        self._add(sent.item, response.status, comment=response.error_comment, size=sent.size)

    def _add(
        self,
        item: Item,
        status: int | None,
        *,
        comment: str | None = None,
        error: str | None = None,
        size: int = 0,
    ) -> None:
        outcome = StoredItem(
            item.path, item.sop_class_uid, item.sop_instance_uid, status, comment, error, size or item.size
        )
        self._report.items.append(outcome)
        self._unreported.pop(id(item), None)
        if outcome.stored:
            self._bytes += outcome.bytes
        else:
            self._failed += 1
        self._tell()

    def _tell(self) -> None:
        if self._callback is not None:
            self._callback(
                Progress(
                    len(self._report.items) - self._failed,
                    len(self._items),
                    self._bytes,
                    self._total,
                    self._failed,
                )
            )


def _by_syntax(association: Association) -> dict[tuple[str, str], Context]:
    return {(c.abstract_syntax, c.transfer_syntax): c for c in association.contexts.values() if c.scu}


def _refusals(association: Association) -> dict[tuple[str, str], str]:
    """Why each refused context was, by abstract and transfer syntax."""
    session = association.session
    assert session.request is not None
    assert session.answer is not None
    results = {a.context_id: a.result for a in session.answer.presentation_contexts}
    return {
        (context.abstract_syntax, syntax): describe_context_result(results.get(context.context_id, 2))
        for context in session.request.presentation_contexts
        for syntax in context.transfer_syntaxes
    }
