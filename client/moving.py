"""C-MOVE as a user: to another application entity, or to this process by a listener of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..association.association import Association
from ..association.dialing import bare_host, is_here
from ..association.operations import Operation
from ..dimse import messages as m
from ..dimse.contexts import Context, Proposal
from ..dimse.levels import Root, move_model
from ..dimse.status import Category, categorize
from ..pdu.codec import encode_ae_title
from .associations import Associations
from .getting import add_final, nothing_found, patience
from .holder import Attempt
from .identifier import build_retrieve
from .intake import Intake
from .listening import Arrivals, Listening, listened
from .negotiated import need_context
from .parallel import Sharing, share, taken
from .plan import Plan, Target

log: logging.Logger = logging.getLogger("aiodicom.moving")

_THIS_MACHINE = ("127.0.0.0/8", "::1")


@dataclass(slots=True)
class Move:
    """The way of C-MOVE: to the application entity of `title`, which is this process where it listens.

    count: associations at once.
    """

    associations: Associations
    intake: Intake[Any]
    title: str
    listening: Listening | None = None
    count: int = 1
    service: str = "C-MOVE"

    def __post_init__(self) -> None:
        """Refuse a title that is none before anything is sent. Raises LocalProtocolError."""
        encode_ae_title(self.title)

    def model(self, root: Root) -> str:
        """The SOP class of a root."""
        return move_model(root)

    async def fetch(self, plan: Plan) -> None:
        """Ask for all of it. Raises what ended an association, and OSError when the port cannot be had."""
        if self.listening is None:
            await self._ask_all(plan, None)
            return
        peer = self.associations.peer
        arrivals = Arrivals(self.intake, frozenset((peer.calling_ae, peer.called_ae)))
        senders = [*await self._senders(), *self.listening.accept_from]
        where = replace(self.listening, observer=peer.observer)
        async with listened(arrivals, where, senders) as server:
            before = server.connections.total
            if self.intake.result.expected is not None:
                arrivals.planned = self.intake.planned
            await self._ask_all(plan, arrivals)
            await arrivals.late(server, self.listening.quiet)
            if server.connections.total == before and not self.intake.result.ok:
                self.intake.result.unreached = server.port

    async def _senders(self) -> list[str]:
        """Addresses a peer may send from unless more are allowed: its own, and where they are this machine's,
        any of this machine: which of them it takes is the system's choice.
        """
        peer = self.associations.peer
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                bare_host(peer.host), peer.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):  # connecting to it will say so
            found = []
        here = any(is_here((family, kind, protocol, where)) for family, kind, protocol, _, where in found)
        own = dict.fromkeys(str(one[4][0]).split("%")[0] for one in found)
        return [*(_THIS_MACHINE if here else ()), *own]

    async def _ask_all(self, plan: Plan, arrivals: Arrivals | None) -> None:
        todo = deque(plan.divided(self.count).targets)
        await share(min(self.count, len(todo)), todo, partial(self._work, plan, todo, arrivals))

    async def _work(
        self, plan: Plan, todo: deque[Target], arrivals: Arrivals | None, sharing: Sharing
    ) -> None:
        while todo and not self.intake.over:
            # what a destination has of it by the time that its request is lost nobody knows
            for attempt in self.associations.attempts(once=arrivals is None):
                with attempt:
                    await self._one(plan, todo, arrivals, attempt, sharing)

    async def _one(
        self,
        plan: Plan,
        todo: deque[Target],
        arrivals: Arrivals | None,
        attempt: Attempt,
        sharing: Sharing,
    ) -> None:
        using = self.associations.use([Proposal(move_model(plan.root))], own=self.count > 1)
        async with sharing.use(using) as association:
            if not todo:  # another has taken the last meanwhile
                return
            attempt.on(association, lambda: self.intake.begun)
            with taken(todo, attempt) as target, patience(association, target):
                await self._ask(association, plan, target, arrivals, attempt)

    async def _ask(
        self,
        association: Association,
        plan: Plan,
        target: Target,
        arrivals: Arrivals | None,
        attempt: Attempt,
    ) -> None:
        """One C-MOVE, from its request to its final response."""
        level = target.level or plan.level
        query = build_retrieve("C-MOVE", level, plan.root, [target.uid], target.parents)
        context = need_context(association, query.model)
        operation = await association.invoke(
            context,
            lambda n: m.CMoveRQ(
                message_id=n, affected_sop_class_uid=query.model, move_destination=self.title
            ),
            query.encode(context.transfer_syntax),
        )
        operation.consumer = self.intake
        if arrivals is not None:
            arrivals.message_ids.add(operation.message_id)
            self.intake.reads(association.connection.reading)
            self.intake.asking.add(association)
        try:
            await self._answers(operation, target, context, attempt)
        finally:
            self.intake.asking.discard(association)
            self.intake.ends(association.connection.reading)
            await association.cancel(operation)

    async def _answers(
        self, operation: Operation, target: Target, context: Context, attempt: Attempt
    ) -> None:
        while True:
            response, data = await operation.next()
            attempt.answered()
            assert isinstance(response, m.CMoveRSP)
            if categorize(response.status) is not Category.PENDING:
                add_final(self.intake.result, response, data, context.transfer_syntax)
                if response.completed is not None and nothing_found(target, response):
                    self.intake.result.not_found.append(target.uid)  # uncounted ones may still come
                return
            self.intake.arrived.told(response)
