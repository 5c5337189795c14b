"""C-GET as a user: asks for what a plan names, and takes the objects on the same association."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from ..association.answers import words_of
from ..association.association import Association
from ..association.performing import Refused, Request
from ..association.tasks import Tasks
from ..dataset.coding import DatasetDecodeError, decode_dataset
from ..dataset.sinks import StoreSink
from ..dimse import messages as m
from ..dimse.levels import Root, get_model
from ..dimse.status import SUCCESS, UNRECOGNIZED_OPERATION, Category, Status, categorize
from .associations import Associations
from .holder import Attempt
from .identifier import build_retrieve
from .intake import Intake
from .negotiated import need_context
from .parallel import Sharing, share, taken
from .plan import LATELY, Plan, Target
from .retrieved import RetrieveResult

log: logging.Logger = logging.getLogger("aiodicom.retrieving")


class Getting:
    """The way of C-GET. It is the provider of the associations it runs on."""

    service = "C-GET"

    def __init__(self, associations: Associations, intake: Intake[Any], count: int = 1) -> None:
        """count: associations at once."""
        self._associations = associations
        self._intake = intake
        self._count = count

    def model(self, root: Root) -> str:
        """The SOP class of a root."""
        return get_model(root)

    def store(self, request: Request) -> StoreSink:
        """Where an object goes."""
        return self._intake.store(request, source_ae=self._associations.peer.called_ae)

    async def perform(self, request: Request, data: bytes | None) -> None:
        """No other request is offered by a client."""
        raise Refused(UNRECOGNIZED_OPERATION, "not offered here")

    async def fetch(self, plan: Plan) -> None:
        """Ask for all of it; the result is the intake's. Raises what ended an association."""
        for part in plan.divided(self._count).parts(self._associations.lately):
            carried = sorted(set[str]().union(*(target.sop_classes for target in part.targets)))
            self._associations.lately = tuple(dict.fromkeys((*carried, *self._associations.lately)))[:LATELY]
            todo = deque(part.targets)
            work = partial(self._work, plan, part.proposals, todo)
            await share(min(self._count, len(todo)), todo, work)

    async def _work(
        self, plan: Plan, proposals: Sequence[Any], todo: deque[Target], sharing: Sharing
    ) -> None:
        """As long as there is something to ask for: what is left on an association is taken for the next."""
        while todo and not self._intake.over:
            for attempt in self._associations.attempts():
                with attempt:
                    await self._ask(plan, proposals, todo, attempt, sharing)

    async def _ask(
        self,
        plan: Plan,
        proposals: Sequence[Any],
        todo: deque[Target],
        attempt: Attempt,
        sharing: Sharing,
    ) -> None:
        async with sharing.use(self._associations.use(proposals, self)) as association:
            if not todo:  # another has taken the last meanwhile
                return
            attempt.on(association, lambda: self._intake.begun)
            reading = association.connection.reading
            self._intake.reads(reading)
            try:
                with taken(todo, attempt) as target, patience(association, target):
                    await self._get(association, plan, target, attempt)
            finally:
                self._intake.ends(reading)

    async def _get(self, association: Association, plan: Plan, target: Target, attempt: Attempt) -> None:
        level = target.level or plan.level  # its own: instances of what was asked for, one by one
        query = build_retrieve("C-GET", level, plan.root, [target.uid], target.parents)
        context = need_context(association, query.model)
        result = self._intake.result
        before = self._intake.begun
        operation = await association.invoke(
            context,
            lambda n: m.CGetRQ(message_id=n, affected_sop_class_uid=query.model),
            query.encode(context.transfer_syntax),
        )
        operation.consumer = self._intake
        tasks = Tasks()

        def stop() -> None:
            tasks.start(association.ask_to_end(operation))

        self._intake.stops.add(stop)
        try:
            while True:
                response, data = await operation.next()
                attempt.answered()
                assert isinstance(response, m.CGetRSP)
                if categorize(response.status) is not Category.PENDING:
                    add_final(result, response, data, context.transfer_syntax)
                    if nothing_found(target, response) and self._intake.begun == before:
                        result.not_found.append(target.uid)
                    return
                self._intake.arrived.told(response)
        finally:
            self._intake.stops.discard(stop)
            await tasks.wait()
            await association.cancel(operation)


def patience(association: Association, target: Target) -> AbstractContextManager[None]:
    """The longer inactivity limit, where the peer says that some of it is not ONLINE."""
    limit = association.timeouts.silence(away=bool(target.unavailable))
    return nullcontext() if limit == association.timeouts.inactivity else association.patient(limit)


def add_final(
    result: RetrieveResult, response: m.CGetRSP | m.CMoveRSP, data: bytes | None, transfer_syntax: str
) -> None:
    """Add a final response to a result."""
    result.answered(Status(response.status, result.service), words_of(response, data, transfer_syntax))
    for name in ("completed", "failed", "warning"):
        value = getattr(response, name)
        if value is not None:
            setattr(result, name, (getattr(result, name) or 0) + value)
    if data:
        try:
            found = decode_dataset(data, transfer_syntax).get("FailedSOPInstanceUIDList", None)
        except DatasetDecodeError as error:
            log.warning("the list of failed instances cannot be read: %s", error)
            return
        if isinstance(found, bytes):  # UN, where UI had no room for so long a list (PS3.5 6.2.2)
            found = [uid for uid in found.decode("ascii", "replace").strip(" \0").split("\\") if uid]
        if found:
            result.failed_uids += [found] if isinstance(found, str) else map(str, found)


def nothing_found(target: Target, response: m.CGetRSP | m.CMoveRSP) -> bool:
    """Whether a final response is a success with nothing of what was asked for."""
    counted = (response.completed or 0) + (response.failed or 0) + (response.warning or 0)
    return response.status == SUCCESS and not target.instances and not counted
