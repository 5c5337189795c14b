"""An archive on the scripted peer that holds some objects, misbehaves as it is told, and counts what it saw.

    async with Misbehaving(objects, drop_after=3) as peer:
        async with connect("127.0.0.1", peer.port) as pacs: ...

It answers C-FIND as PS3.4 has it where nothing else is said, level by level, and relational queries too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, Self

from aiodicom.dimse import messages as m
from aiodicom.pdu import AAbort, AAssociateRJ, AAssociateRQ, PresentationContextAC
from aiodicom.pdu.types import PduType, PresentationContextRQ
from aiodicom.testing import ScriptedListener, ScriptedPeer, ScriptError
from aiodicom.testing.values import associate_accept
from pydicom.dataset import Dataset
from wire import IMPLICIT, Said, accept_as, hear, identifier, implicit, reply, say, store_request

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
Query = Literal["answer", "nothing", "refuse", "abort", "silence"]


@dataclass(kw_only=True)
class Ways:
    """How it misbehaves.

    cap: matches of a query at most, with success. grants: whether it says that it takes relational queries.
    relational: what becomes of a query without the unique keys above its level; hierarchical: of every other.
    get: "refuse" answers 0122H, "reject" takes no context for it, "nothing" answers success with counters of
    zero. keep_back: objects it does not send; it then answers status_kept, with their UIDs where that is no
    success, and count_kept counts them as completed. drop_after: objects of one retrieve after which it
    resets the connection, stall_after after which it is silent; both `drops` times in all. twice: sends each
    object twice. strangers: sent as well. move_first: the C-MOVE is answered before anything is sent.
    originator: whether a C-MOVE's objects name it. reject: every n-th association. deny: levels at which a
    retrieve is refused with A900H. counters: whether the final response of a retrieve has them. availability:
    what InstanceAvailability is answered with. study_only: it has no patient root. single: below patients it
    takes no Patient ID with a wildcard, in the patient root. leaves: what it has closed the connection after,
    though the client could not know it yet: the next request on it meets a reset. released: whether a release
    is answered by one, not by an abort. without: SOP classes that it takes no context for.
    """

    cap: int | None = None
    grants: bool = True
    relational: Query = "answer"
    hierarchical: Query = "answer"
    get: Literal["offer", "refuse", "reject", "nothing"] = "offer"
    keep_back: frozenset[str] = frozenset()
    status_kept: int = 0x0000
    count_kept: bool = False
    drop_after: int | None = None
    stall_after: int | None = None
    drops: int = 1
    twice: bool = False
    strangers: tuple[Dataset, ...] = ()
    move_first: bool = False
    originator: bool = True
    reject: int | None = None
    deny: frozenset[str] = frozenset()
    counters: bool = True
    availability: str = ""
    study_only: bool = False
    single: bool = False
    leaves: frozenset[type[Any]] = frozenset()
    released: bool = True
    without: frozenset[str] = frozenset()


@dataclass
class Misbehaving:
    """See the module. `queries` are the level and keys of each C-FIND, `asked` of each C-GET and C-MOVE."""

    objects: list[Dataset]
    ways: Ways = field(default_factory=Ways)
    move_port: int | None = None
    queries: list[tuple[str, Dataset]] = field(default_factory=list)
    asked: list[tuple[str, str, Dataset]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    statuses: list[tuple[str, int]] = field(default_factory=list)
    associations: int = 0
    at_once: int = 0
    most_at_once: int = 0
    rejected: int = 0

    async def __aenter__(self) -> Self:
        self._listener = ScriptedListener(deadline=120)
        await self._listener.__aenter__()
        self._drops = self.ways.drops
        self._tasks: set[asyncio.Task[None]] = set()
        self._main = asyncio.ensure_future(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._main.cancel()
        await self._listener.__aexit__(kind, error, trace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._main, *self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def uids(self) -> list[str]:
        """What it holds."""
        return [str(one.SOPInstanceUID) for one in self.objects]

    async def _serve(self) -> None:
        async for peer in self._listener.connections():
            task = asyncio.ensure_future(self._connection(peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connection(self, peer: ScriptedPeer) -> None:
        self.associations += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.ways.reject and self.associations % self.ways.reject == 0:
                await peer.expect(AAssociateRQ)
                self.rejected += 1
                await peer.send(AAssociateRJ(2, 3, 2))  # transient, local limit exceeded
                await peer.expect_close()
                return
            await self._association(peer)
        except (ScriptError, ConnectionError, _Dropped):
            return  # the client went away, or we did
        finally:
            self.at_once -= 1
            with contextlib.suppress(Exception):
                await peer.close()

    async def _association(self, peer: ScriptedPeer) -> None:
        take = accept_as(IMPLICIT)

        def answer(context: PresentationContextRQ) -> PresentationContextAC:
            if self.ways.get == "reject" and context.abstract_syntax.endswith(".1.2.3"):
                return PresentationContextAC(context.context_id, 3, context.transfer_syntaxes[0])
            if self.ways.get == "reject" and context.abstract_syntax.endswith(".2.2.3"):
                return PresentationContextAC(context.context_id, 3, context.transfer_syntaxes[0])
            if context.abstract_syntax in self.ways.without:
                return PresentationContextAC(context.context_id, 3, context.transfer_syntaxes[0])
            if self.ways.study_only and ".5.1.4.1.2.1." in context.abstract_syntax:
                return PresentationContextAC(context.context_id, 3, context.transfer_syntaxes[0])
            return take(context)

        request = await peer.expect(AAssociateRQ)
        peer.peer_maximum_length = request.user_information.maximum_length or 0
        given = associate_accept(request, answer)
        extended = request.user_information.extended if self.ways.grants else ()
        info = replace(given.user_information, extended=extended)
        await peer.send(replace(given, user_information=info))
        storage: dict[str, int] = {}
        for context in request.presentation_contexts:
            if IMPLICIT in context.transfer_syntaxes:
                storage.setdefault(context.abstract_syntax, context.context_id)
        while True:
            if await _releasing(peer):
                await (peer.answer_release() if self.ways.released else peer.send(AAbort(0, 0)))
                return
            heard = await hear(peer)
            if isinstance(heard.message, m.CFindRQ):
                await self._find(peer, heard)
            elif isinstance(heard.message, m.CGetRQ):
                await self._get(peer, heard, storage)
            elif isinstance(heard.message, m.CMoveRQ):
                await self._move(peer, heard, request.calling_ae)
            elif isinstance(heard.message, m.CEchoRQ):
                await reply(peer, heard, 0)
            if type(heard.message) in self.ways.leaves and not await _releasing(peer):
                await hear(peer)
                await peer.reset()
                raise _Dropped

    # --- queries

    async def _find(self, peer: ScriptedPeer, heard: Said) -> None:
        keys = heard.dataset
        level = str(keys.QueryRetrieveLevel)
        self.queries.append((level, keys))
        above = [KEYS[one] for one in LEVELS[1 : LEVELS.index(level)]]
        hierarchical = all(keys.get(key) for key in above)
        how = self.ways.hierarchical if hierarchical else self.ways.relational
        patient = str(keys.get("PatientID") or "")
        if self.ways.single and ".2.1.1" in heard.message.affected_sop_class_uid and level != "PATIENT":
            how = "refuse" if "*" in patient else how
        if how == "abort":
            await peer.send(AAbort(0, 0))
            raise _Dropped
        if how == "silence":
            await peer.drain_until_close()
            raise _Dropped
        if how == "refuse":
            await reply(peer, heard, 0xA900)
            return
        found = [] if how == "nothing" else list(self._matches(level, keys))
        for match in found[: self.ways.cap]:
            await reply(peer, heard, 0xFF00, match)
        await reply(peer, heard, 0)

    def _matches(self, level: str, keys: Dataset) -> Iterator[Dataset]:
        seen = set()
        for one in self._below(keys):
            name = str(one.get(KEYS[level], ""))
            if name in seen:
                continue
            seen.add(name)
            match = identifier(level)
            for element in keys:
                if element.keyword in ("QueryRetrieveLevel", ""):
                    continue
                value = one.get(element.keyword, "")
                if element.keyword == "NumberOfSeriesRelatedInstances":
                    value = sum(o.SeriesInstanceUID == one.SeriesInstanceUID for o in self.objects)
                if element.keyword == "InstanceAvailability":
                    value = self.ways.availability
                setattr(match, element.keyword, value)
            yield match

    def _below(self, keys: Dataset) -> Iterator[Dataset]:
        for one in self.objects:
            wanted = {key: keys.get(key) for key in KEYS.values()}
            first, _, last = str(keys.get("StudyDate") or "-").partition("-")
            keyed = (not value or str(one.get(key, "")) in _values(value) for key, value in wanted.items())
            if all(keyed) and first <= str(one.get("StudyDate", "")) <= (last or "9"):
                yield one

    # --- retrieves

    async def _get(self, peer: ScriptedPeer, heard: Said, storage: dict[str, int]) -> None:
        self.asked.append(("get", str(heard.dataset.QueryRetrieveLevel), heard.dataset))
        if self.ways.get == "refuse":
            await reply(peer, heard, 0x0122)
        elif self.ways.get == "nothing":
            await reply(peer, heard, 0, completed=0, failed=0, warning=0)
        elif str(heard.dataset.QueryRetrieveLevel) in self.ways.deny:
            await reply(peer, heard, 0xA900)
        else:
            await self._send(peer, heard, peer, storage, None)

    async def _move(self, peer: ScriptedPeer, heard: Said, title: str) -> None:
        self.asked.append(("move", str(heard.dataset.QueryRetrieveLevel), heard.dataset))
        if self.move_port is None:
            await reply(peer, heard, 0xA801)
            return
        if str(heard.dataset.QueryRetrieveLevel) in self.ways.deny:
            await reply(peer, heard, 0xA900)
            return
        if self.ways.move_first:
            await self._final(peer, heard, len(list(self._below(heard.dataset))), [])
        classes = sorted({str(one.SOPClassUID) for one in [*self.objects, *self.ways.strangers]})
        async with await ScriptedPeer.connect("127.0.0.1", self.move_port) as sender:
            await sender.associate(classes, called_ae=title, calling_ae="THEM")
            storage = {name: 2 * number + 1 for number, name in enumerate(classes)}
            originator = (title, heard.message.message_id) if self.ways.originator else None
            await self._send(peer, heard, sender, storage, originator)
            await sender.release()

    async def _send(
        self,
        peer: ScriptedPeer,
        heard: Said,
        sender: ScriptedPeer,
        storage: dict[str, int],
        originator: tuple[str, int] | None,
    ) -> None:
        wanted = list(self._below(heard.dataset))
        kept = [str(one.SOPInstanceUID) for one in wanted if str(one.SOPInstanceUID) in self.ways.keep_back]
        going = [one for one in wanted if str(one.SOPInstanceUID) not in kept]
        good = 0
        for number, one in enumerate([*going, *self.ways.strangers]):
            if self._drops and number in (self.ways.drop_after, self.ways.stall_after):
                self._drops -= 1
                if number == self.ways.stall_after:
                    await peer.drain_until_close()
                else:
                    await peer.reset()
                raise _Dropped
            for _ in range(2 if self.ways.twice else 1):
                status = await self._store(sender, one, storage, originator)
                good += status == 0
        if not self.ways.move_first or sender is peer:
            await self._final(peer, heard, good, kept)

    async def _store(
        self, sender: ScriptedPeer, one: Dataset, storage: dict[str, int], originator: Any
    ) -> int:
        uid, sop_class = str(one.SOPInstanceUID), str(one.SOPClassUID)
        self.sent[uid] += 1
        title, message_id = originator or (None, None)
        request = store_request(
            sum(self.sent.values()) % 60000 + 1,
            uid,
            sop_class,
            move_originator_ae=title,
            move_originator_message_id=message_id,
        )
        await say(sender, storage[sop_class], request, implicit(one))
        answer = await hear(sender)
        if isinstance(answer.message, m.CCancelRQ):
            raise _Dropped
        status = int(answer.message.status)
        self.statuses.append((uid, status))
        return status

    async def _final(self, peer: ScriptedPeer, heard: Said, good: int, kept: list[str]) -> None:
        status = self.ways.status_kept if kept else 0
        data = None
        if kept and status:
            data = Dataset()
            data.FailedSOPInstanceUIDList = kept
        counters: dict[str, Any] = {}
        if self.ways.counters:
            hidden = len(kept) if self.ways.count_kept else 0
            counters = {"completed": good + hidden, "failed": len(kept) if status else 0, "warning": 0}
        await reply(peer, heard, status, data, **counters)


class _Dropped(Exception):
    """The connection has ended as it was told to."""


def _values(value: Any) -> Iterable[str]:
    return [value] if isinstance(value, str) else list(map(str, value))


async def _releasing(peer: ScriptedPeer) -> bool:
    await peer._within(peer._fill(1), "the next PDU")
    return bool(peer._inbox) and peer._inbox[0] == PduType.A_RELEASE_RQ
