"""The associations to one peer: one holder each, opened as needed, and the time an operation may take."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from ..association.association import Association
from ..association.connect import WINDOW, Peer, associate
from ..association.errors import (
    AssociationAborted,
    AssociationEnded,
    AssociationRejected,
    AssociationTimeout,
    ConnectTimeout,
    TotalTimeout,
)
from ..association.performing import Provider
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..dimse.levels import Level, Root
from ..pdu.errors import AiodicomError, ConnectionClosed
from .holder import Attempt, Holder, Switch, release_quietly
from .negotiated import describe
from .opening import may_pass, opened
from .quirks import Quirks
from .relational import asking, granted
from .results import ConnectionInfo

log: logging.Logger = logging.getLogger("aiodicom.client")

FIRST_WAIT = 0.1
"""Seconds before an association is asked for again after a rejection that may pass; each wait is twice that
before it."""
REMEMBERED = 100
"""Errors by which associations ended that are kept: a client may live for weeks."""


class Associations:
    """Opens, shares and releases the associations of one client.

    An idle one that does not carry what an operation needs is released before another is opened: many
    archives take one at a time. `always` is proposed on each, where there is room. `ended` are the last
    errors by which associations ended, oldest first. `quirks` is what is known of the peer.

    With a `limit` there are never more, each is one operation's at a time, what is idle stays for the next
    one, and who finds none waits, first come first served.
    """

    def __init__(
        self,
        peer: Peer,
        always: Sequence[Proposal] = (),
        quirks: Quirks | None = None,
        *,
        limit: int | None = None,
    ) -> None:
        self.quirks: Quirks = quirks or Quirks()
        self.peer: Peer = self.quirks.borne(peer)
        self.limit = limit
        self.lent: int = 0  # to members of a pool: as if they were open here
        self.changed: Callable[[], object] = lambda: None  # called when an association becomes idle
        self.lately: tuple[str, ...] = ()  # SOP classes that retrieves had contexts for, last first
        self.asks_relational: bool = self.quirks.relational is not False  # or a peer does not bear it
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._always = tuple(always)
        self.ended: deque[AiodicomError] = deque(maxlen=REMEMBERED)
        self._holders: list[Holder] = []
        self._opening = asyncio.Lock()
        self._returned = asyncio.Event()  # when an operation has ended on one
        self._info: ConnectionInfo | None = None
        self._closed = True

    @property
    def info(self) -> ConnectionInfo:
        """What the last one opened negotiated, and how others ended. Raises AiodicomError before any."""
        if self._info is None:
            raise AiodicomError("no association has been opened yet").at(self.peer.name)
        return replace(self._info, ended=tuple(self.ended))

    @property
    def opened(self) -> bool:
        """Whether it has been entered and not been closed since."""
        return not self._closed

    @property
    def all(self) -> list[Association]:
        """Those that are held now."""
        return [holder.association for holder in self._holders]

    # --- beginning and end

    async def enter(self, *, lazy: bool = False) -> None:
        """Open the first one, unless it is left to who needs it."""
        self._closed = False
        if lazy:
            return
        try:
            await self._found([], exactly=False, alone=False)
        except BaseException:
            self._closed = True
            raise

    async def close(self) -> None:
        """Release every one, cancelling what still runs on it. Raises what the first release failed with.

        One that had ended before is none of that: who ran on it was told, and where nothing ran (a peer may
        drop what is idle) nothing was lost. `ended` has it.
        """
        leaving = self._leave()
        for holder in leaving:
            if holder.association.error is not None:
                log.info("an association had ended before it was left: %s", holder.association.error)
        releases = (one.association.release() for one in leaving if one.association.error is None)
        done = await asyncio.gather(*releases, return_exceptions=True)
        self._remember(leaving)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def close_after_error(self) -> None:
        """Leave without hiding the error that is on its way: release what is idle, abort the rest."""
        leaving = self._leave()
        for holder in leaving:
            if not holder.association.usable or holder.association.busy:
                holder.association.abort_now()
        await asyncio.gather(*(release_quietly(holder.association) for holder in leaving))
        self._remember(leaving)

    def _leave(self) -> list[Holder]:
        """Nothing can be asked any more; the associations there were."""
        self._closed = True
        leaving, self._holders = self._holders, []
        self.wake()
        return leaving

    def _remember(self, holders: Iterable[Holder]) -> None:
        self.ended += [one.association.error for one in holders if one.association.error is not None]

    async def _open(self, wanted: list[Proposal], exactly: bool = False) -> Holder:
        self._check_open()
        carried = {one.abstract_syntax for one in wanted}
        more = [one for one in self._always if one.abstract_syntax not in carried]
        proposals = wanted if exactly else wanted + more[: MAX_CONTEXTS - len(wanted)]
        switch = Switch()
        association = await self._associate(proposals, switch)
        if self._closed:  # meanwhile
            await release_quietly(association)
        self._check_open()
        holder = Holder(association, switch)
        self._holders.append(holder)
        self._info = describe(self.peer, association)
        return holder

    async def _associate(self, proposals: list[Proposal], provider: Provider) -> Association:
        """Open one; where the peer does not bear what is offered unasked, once more for less."""
        while True:
            peer = asking(self.peer, proposals) if self.asks_relational else self.peer
            try:
                return await associate(peer, proposals, provider=provider)
            except (AssociationAborted, ConnectionClosed, AssociationRejected) as error:
                if not self._asks_less(error, relational=peer is not self.peer):
                    raise
                log.info("%s; asked once more, for less", error)

    def _asks_less(
        self, error: AssociationAborted | ConnectionClosed | AssociationRejected, *, relational: bool
    ) -> bool:
        """Give up what a request may have failed for; False where that was nothing of ours.

        Some archives drop a connection with a request that holds what they do not know: a default window,
        `relational` queries. A window of the user's own is not given up. It is remembered.
        """
        default = self.peer.async_operations is WINDOW
        if isinstance(error, AssociationRejected):
            default = False
            less = relational and not error.transient and error.reason == 1  # none is given
        else:
            by_peer = isinstance(error, ConnectionClosed) or error.by_peer
            less = by_peer and (default or (relational and self.peer.async_operations is None))
        if less and relational:
            self.asks_relational = False
        if less and default:
            self.peer = replace(self.peer, async_operations=None)
        return less

    def _check_open(self) -> None:
        if self._closed:
            raise AssociationEnded("the client was closed").at(self.peer.name)

    async def choose_root(self, level: Level, root: Root | None, model: Callable[[Root], str]) -> Root:
        """The root of an operation where the user named none.

        Patients are in the patient root alone, unless the peer has none: they are asked for by their studies
        then. Below them the study root asks for fewer keys (PS3.4 C.6.2), so it is taken where the peer
        accepted it.
        """
        if root is not None:
            return root
        if self.quirks.roots is not None and len(self.quirks.roots) == 1:
            return self.quirks.roots[0]
        study, patient = model(Root.STUDY), model(Root.PATIENT)
        accepted = await self.accepted(study, patient)
        if level is Level.PATIENT:
            return Root.STUDY if accepted == {study} else Root.PATIENT
        return Root.PATIENT if accepted == {patient} else Root.STUDY

    async def other_root(self, root: Root, model: Callable[[Root], str]) -> Root:
        """A root, or the other one where the peer accepts the model of that alone."""
        other = Root.PATIENT if root is Root.STUDY else Root.STUDY
        return other if await self.accepted(model(root), model(other)) == {model(other)} else root

    async def accepted(self, *models: str) -> set[str]:
        """Which of these SOP classes the peer accepts."""
        async with self._with([Proposal(model) for model in models]) as association:
            return {model for model in models if association.find_contexts(model)}

    async def relational(self, model: str) -> bool:
        """Whether the peer granted relational queries of this model."""
        async with self._with([Proposal(model)]) as association:
            return self.asks_relational and granted(association, model)

    @asynccontextmanager
    async def _with(self, wanted: list[Proposal]) -> AsyncGenerator[Association, None]:
        """An association that tells what of this is accepted: one in use does that as well."""
        for holder in self._holders:
            if holder.association.usable and holder.covers(wanted):
                yield holder.association
                return
        async with self.use(wanted) as association:
            yield association

    # --- using one

    @asynccontextmanager
    async def use(
        self,
        proposals: Iterable[Proposal],
        provider: Provider | None = None,
        *,
        exactly: bool = False,
        own: bool = False,
    ) -> AsyncGenerator[Association, None]:
        """An association on which these contexts have been proposed, open or opened now.

        exactly: on one that is opened now nothing else is proposed. own: nobody else uses it meanwhile.

        One with a `provider` is used by nobody else meanwhile. On an error what runs on it is cancelled, and
        where there was a provider it is released: dcmqrscp, for one, keeps its database locked on it after a
        C-GET was cancelled.
        """
        holder = await self._acquire(list(proposals), provider, exactly, own)
        association = holder.association
        told = False
        try:
            yield association
        except BaseException:
            told = True
            if association.usable and holder.users == 1:
                await association.settle()
                if holder.switch.current is not None:
                    await release_quietly(association)
            raise
        finally:
            holder.private = False
            holder.switch.current = None
            holder.users -= 1
            self._returned.set()
            self.wake()
            if not association.usable:
                # one that failed while nobody was told stays: it is `close` that tells how it ended
                if holder in self._holders and (told or association.error is None):
                    self._drop(holder)
                await association.wait_closed()
            elif not holder.users:
                holder.idle_since = asyncio.get_running_loop().time()
                self.changed()

    def reused(self, association: Association) -> bool:
        """Whether somebody had used it before who uses it now: the peer may have closed it since."""
        return any(one.association is association and one.uses > 1 for one in self._holders)

    def attempts(self, *, once: bool = False) -> Iterator[Attempt]:
        """One attempt, and another where the first fails for what the peer did before: ``with attempt:``.

        once: for what changes something, and may not be asked twice.
        """
        first = Attempt(self, last=once)
        yield first
        if first.failed:
            yield Attempt(self, last=True)

    def _drop(self, holder: Holder) -> None:
        self._holders.remove(holder)
        self._remember([holder])

    async def _acquire(
        self, wanted: list[Proposal], provider: Provider | None, exactly: bool, own: bool
    ) -> Holder:
        alone = own or provider is not None or self.limit is not None
        async with self.turn():
            holder = self._free(wanted, alone=alone)  # without waiting for what others open
            if holder is not None:
                return holder.taken(provider, alone)
            async with self._opening:
                holder = await self._found(wanted, exactly=exactly, alone=alone)
                return holder.taken(provider, alone)

    async def _found(self, wanted: list[Proposal], *, exactly: bool, alone: bool) -> Holder:
        """One that is free, else one that is opened now.

        After a rejection that may pass it is asked for again, within `Timeouts.busy`. Where others of ours
        are in use the peer may take no more, or leave us without an answer: as long as something moves on
        them they are waited for, and what is idle by then is used, or released.
        """
        waited, wait = 0.0, FIRST_WAIT
        while True:
            self._check_open()
            holder = self._free(wanted, alone=alone)
            if holder is not None:
                return holder
            await self.make_room()
            busy = self.peer.timeouts.busy
            try:
                opening, instead = self._open(wanted, exactly), partial(self._instead, wanted, alone)
                holder = await opened(opening, self._returned, instead, self.let_go)
                if holder in self._holders and not (holder.private or (alone and holder.users)):
                    return holder  # unless another was quicker
                continue
            except (AssociationRejected, AssociationTimeout, ConnectTimeout) as error:
                if not may_pass(error, soon=waited + wait <= busy, moving=self._moving(busy)):
                    raise
                log.info("%s; asked for again in %.1f s", error, wait)
            if await self._let_idle_go():
                continue
            if not self._moving(busy):
                waited += wait
            await self._given_back(wait)
            wait = min(2 * wait, max(wait, busy))

    async def _instead(self, wanted: list[Proposal], alone: bool) -> bool:
        """Whether one is free by now, where another is not answered for; what is idle else is released."""
        if self._free(wanted, alone=alone) is not None:
            return True
        await self._let_idle_go()
        return False

    def _moving(self, busy: float) -> bool:
        """Whether something came or went on one in use in so many seconds."""
        now = asyncio.get_running_loop().time()
        return any(
            one.users and now - one.association.connection.last_activity < busy for one in self._holders
        )

    async def _given_back(self, wait: float) -> None:
        """Wait so long, or until one in use is given back."""
        if not any(one.users for one in self._holders):
            await asyncio.sleep(wait)
            return
        self._returned.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._returned.wait()

    async def _let_idle_go(self) -> bool:
        """Release what nobody uses, for a peer that takes no more; whether there was any."""
        idle = [one for one in self._holders if not one.users]
        for holder in idle:
            await self.let_go(holder)
        return bool(idle)

    def _free(self, wanted: list[Proposal], *, alone: bool) -> Holder | None:
        """One that is open and carries this; `alone`: which nobody uses."""
        for holder in [one for one in self._holders if not one.users and not one.association.usable]:
            self._drop(holder)
        fitting = (one for one in self._holders if one.free and not (alone and one.users))
        return next((one for one in fitting if one.covers(wanted)), None)

    async def make_room(self) -> None:
        """Release what is idle, as far as one more would be one too many."""
        while self.limit is None or len(self._holders) + self.lent > self.limit:
            idle = next((one for one in self._holders if not one.users), None)
            if idle is None:
                return
            await self.let_go(idle)

    async def let_go(self, holder: Holder) -> None:
        """Release one, unless somebody uses it, or has let go of it, by now."""
        if holder in self._holders and not holder.users:
            self._holders.remove(holder)
            await release_quietly(holder.association)
            self._remember([holder])

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Wait until one more may be used, and count it as lent meanwhile."""
        if self._waiting or self._full():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                elif not waiter.cancelled():  # it was this one's turn
                    self.lent -= 1
                    self.wake()
                raise
        else:
            self.lent += 1
        try:
            self._check_open()
            yield
        finally:
            self.lent -= 1
            self.wake()

    def member(self) -> Associations:
        """Others with a limit of one, which have one that is idle here, if there is any."""
        member = Associations(self.peer, self._always, self.quirks, limit=1)
        member._closed = False
        member.asks_relational, member.lately = self.asks_relational, self.lately
        idle = next((one for one in self._holders if not one.users and one.association.usable), None)
        if idle is not None:
            self._holders.remove(idle)
            member._holders.append(idle)
            member._info = self._info
        return member

    async def take_back(self, member: Associations) -> None:
        """What a member has left is idle here; nothing can be asked of the member any more."""
        left = member._leave()
        self.ended += member.ended
        self.asks_relational = self.asks_relational and member.asks_relational
        self.lately = member.lately or self.lately
        for holder in left:
            if self._closed or holder.users or not holder.association.usable:
                await release_quietly(holder.association)
                self._remember([holder])
            else:
                self._holders.append(holder)
                holder.idle_since = asyncio.get_running_loop().time()
        if member._info is not None:
            self._info = member._info
        if member.peer.async_operations is not WINDOW:  # what the member learned is known here
            self.peer = member.peer
        self.changed()

    async def release_idle(self, seconds: float) -> bool:
        """Release those that nobody has used for so long; whether others are idle."""
        async with self._opening:
            now = asyncio.get_running_loop().time()
            for holder in [*self._holders]:
                if now - holder.idle_since >= seconds or not holder.association.usable:
                    await self.let_go(holder)
            return any(not one.users for one in self._holders)

    def _full(self) -> bool:
        if self.limit is None:
            return False
        return sum(1 for one in self._holders if one.users) + self.lent >= self.limit

    def wake(self) -> None:
        """Let the first who waits have what is free."""
        while self._waiting and (self._closed or not self._full()):
            waiter = self._waiting.popleft()
            if not waiter.done():  # one is cancelled before its task knows
                self.lent += 1
                waiter.set_result(None)

    # --- time

    def deadline(self) -> float | None:
        """The loop's time by which an operation that begins now must have ended."""
        total = self.peer.timeouts.total
        return None if total is None else asyncio.get_running_loop().time() + total

    @asynccontextmanager
    async def until(self, deadline: float | None) -> AsyncGenerator[None, None]:
        """Raise TotalTimeout when the time runs out inside."""
        try:
            async with asyncio.timeout_at(deadline) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired() or isinstance(error, AiodicomError):
                raise
            total = self.peer.timeouts.total
            text = f"the operation took longer than {total} s"
            raise TotalTimeout(text, limit="total", seconds=total).at(self.peer.name) from None

    @asynccontextmanager
    async def limited(self) -> AsyncGenerator[None, None]:
        """Raise TotalTimeout when what is inside takes longer than `Timeouts.total`."""
        async with self.until(self.deadline()):
            yield
