"""The user's door to one peer: echo, store, find, get and move over associations opened as needed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from ..association.answers import words_of
from ..association.association import Association
from ..association.connect import Peer
from ..association.errors import AssociationAborted, OperationFailed
from ..association.performing import Provider
from ..association.sinking import SinkFactory
from ..association.tasks import on_thread, to_its_end
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Proposal
from ..dimse.levels import Level, QueryError, Root, find_model, get_model, move_model
from ..dimse.status import SUCCESS, Status
from ..pdu.errors import AiodicomError
from ..server.limits import ServerLimits
from .associations import Associations
from .choices import check_keep
from .dicomweb import Fetching
from .finding import Finding
from .getting import Getting
from .holder import Attempt
from .identifier import build_query, parse_model
from .incoming import Objects
from .intake import Intake, Where
from .ladder import Via, Way, parse_via
from .listening import LISTEN_PORT, QUIET_PERIOD, Listening
from .moving import Move
from .negotiated import need_context
from .parallel import check_associations
from .plan import Method, Plan
from .planning import MAX_QUERIES, check_max_queries
from .progress import ProgressCallback
from .quirks import Quirks
from .receiving import MAXIMUM_OBJECT, Durability
from .results import ConnectionInfo, Keep, StoredItem, StoreReport
from .retrieved import ReceivedItem, RetrieveResult
from .retrieving import GetOptions, Retrieve, Wanted
from .sources import Copies, batches, check_sources
from .splitting import MAX_SPLIT_QUERIES
from .storing import Store, Storing
from .wanting import check_destination, check_parents, check_uids
from .web import DicomWeb
from .webplan import find_plan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .sources import Sources

_QR_MODELS = tuple(
    model(root) for root in (Root.PATIENT, Root.STUDY) for model in (find_model, get_model, move_model)
)
log: logging.Logger = logging.getLogger("aiodicom.client")

_MODELS = {"get": get_model, "move": move_model, "web": find_model}
"""The SOP class by which the root of a retrieve is chosen."""
BASIC_PROPOSALS = tuple(Proposal(uid) for uid in (VERIFICATION, *_QR_MODELS))
"""What every association proposes: verification and the query/retrieve models of both roots."""


class Pacs:
    """One peer: ``async with aiodicom.connect(...) as pacs``, or ``pacs = await aiodicom.connect(...)``.

    Entering opens an association, leaving releases it. Operations on one client may run at once in several
    tasks; each association carries one at a time unless an asynchronous operations window was negotiated.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        lazy: bool = False,
        quirks: Quirks | None = None,
        dicomweb: DicomWeb | None = None,
        max_associations: int | None = None,
    ) -> None:
        """lazy: the first association is opened by the first operation, with what that needs.

        max_associations: how many there are at once; who finds none free waits. Raises ValueError below one.
        """
        if max_associations is not None and max_associations < 1:
            raise ValueError(f"a client or pool has at least one association, not {max_associations}")
        self.peer = peer
        self.dicomweb = dicomweb
        self._associations = Associations(peer, BASIC_PROPOSALS, quirks, limit=max_associations)
        self.lazy: bool = lazy

    def __repr__(self) -> str:
        state = "open" if self._associations.opened else "closed"
        return f"<Pacs {self.peer.name} as {self.peer.calling_ae}, {state}>"

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if not self._associations.opened:
            await self._associations.enter(lazy=self.lazy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            await self._associations.close_after_error()
            return
        try:
            await self.close()
        except AssociationAborted as aborted:  # nothing ran on it any more: `ended` tells
            if not aborted.by_peer:
                raise
            log.info("the peer aborted an association instead of releasing it: %s", aborted)

    async def close(self) -> None:
        """Release every association, cancelling what still runs on it: that ends by AssociationEnded.

        Nothing can be asked afterwards, unless the client is entered again. Raises what the first release
        failed with; leaving ``async with`` is content with an abort in its place. An association that the
        peer ended before stands in `ended`.
        """
        await self._associations.close()

    @property
    def quirks(self) -> Quirks:
        """What is known of the peer beside what it tells."""
        return self._associations.quirks

    @property
    def max_associations(self) -> int | None:
        """How many associations there are at once; None where nothing limits them."""
        return self._associations.limit

    @property
    def info(self) -> ConnectionInfo:
        """What the last association opened negotiated. Raises AiodicomError before there was one."""
        return self._associations.info

    @property
    def ended(self) -> tuple[AiodicomError, ...]:
        """The errors by which associations ended, unless by release; oldest first."""
        return tuple(self._associations.ended)

    def association(
        self, proposals: Iterable[Proposal], *, provider: Provider | None = None
    ) -> AbstractAsyncContextManager[Association]:
        """An association on which these contexts have been proposed, open or opened now.

        For services this class has no method for. One with a `provider` is used by nobody else.
        """
        return self._associations.use(proposals, provider, exactly=True)

    # --- services

    async def echo(self) -> Status:
        """C-ECHO. Raises OperationFailed unless the peer answers success.

        Where the peer had closed the association since it was used last, it is asked on another.
        """
        async with self._associations.limited():
            for attempt in self._associations.attempts():
                with attempt:
                    response, comment = await self._echo(attempt)
        if response.status != SUCCESS:
            raise OperationFailed("C-ECHO", response.status, comment).at(self.peer.name)
        return Status(response.status)

    async def _echo(self, attempt: Attempt) -> tuple[m.Response, str | None]:
        """The answer, and what it says."""
        async with self._associations.use([Proposal(VERIFICATION)]) as association:
            attempt.on(association)
            context = need_context(association, VERIFICATION)
            operation = await association.invoke(context, lambda n: m.CEchoRQ(message_id=n))
            response, data = await operation.next()
            attempt.answered()
            return response, words_of(response, data, context.transfer_syntax)

    def store(
        self,
        source: Sources,
        *,
        convert: bool = True,
        associations: int = 1,
        progress: ProgressCallback | None = None,
        items: Keep[StoredItem] = "all",
    ) -> Store:
        """C-STORE files, folders, data sets, content (bytes) and file objects: awaited for a report on each.

        An iterable of them is taken whole; of an asynchronous one (what is made, or fetched from elsewhere)
        a few objects at a time, the next while some are sent. Objects go out byte for byte as they lie in
        their files, each in a context of its own transfer syntax. Where the peer takes an object without
        compression in another such syntax only, it goes out in that (`StoredItem.converted_to`), unless
        `convert` is false. Files that are no DICOM are skipped and listed; truncated ones are reported. When
        the association ends before all is sent, `report.error` says why. Several `associations` share the
        objects, which then go out in no order. `items` says which the report lists. `Store.report` is there
        also after a cancel. Raises TypeError for what is no source.
        """
        given = check_sources(source)
        report = StoreReport(keep=check_keep(items))
        storing = Storing(report, progress, convert, check_associations(associations))
        return Store(report, self._store(given, report, storing))

    async def _store(
        self, sources: list[Any] | AsyncIterable[Any], report: StoreReport, storing: Storing
    ) -> StoreReport:
        copies = Copies()
        try:
            async with self._associations.limited(), aclosing(batches(sources)) as coming:
                async for batch in coming:
                    found = await on_thread(partial(copies.find, batch))
                    report.skipped += found.skipped
                    await storing.run(found.items, self._associations.use)
                    await on_thread(copies.drop)
        except AiodicomError as error:
            if not report.answered:
                raise
            report.error = error
        finally:
            storing.done()
            await to_its_end(on_thread(copies.drop))
        return report

    def find(
        self,
        level: Level | str,
        match: Mapping[str, object] | Dataset | None = None,
        return_keys: Iterable[str] = (),
        *,
        root: Root | str | None = None,
        limit: int | None = None,
        split: bool = False,
        max_queries: int = MAX_SPLIT_QUERIES,
        judged: bool = True,
    ) -> Finding:
        """C-FIND: a data set for each match, iterated over, or awaited as a list (`Matches`).

        `match` maps keys to values, or is a pydicom data set. A key is a keyword, a tag (``"0008,0050"``,
        ``'(0029,"ACME",01)'`` by a private creator) or a path into a sequence (``"A.B"``); a value is text
        (`literal` where `*` and `?` stand for themselves), a list of UIDs, a date or time of `datetime`, a
        range (a pair, `Between`, ``"2024-01-01..2024-03-31"``; None or nothing is an open end), for a
        sequence a mapping: each is checked by its VR. `return_keys` names what else to return.

        Without a `root` it is the patient root for patients, else the study root where the peer accepted it;
        where that is the only one, patients are found by their studies. Leaving the loop early, or after
        `limit` matches, sends a C-CANCEL. Answers that show another value of a key than was asked for are
        left out, unless `judged` is false (`Finding.ignored`). Whether there may be more is told by
        `Finding.complete` and `capped`; with `split` a query whose answers are cut off is asked in parts by
        date, time and modality, in `max_queries` queries at most. Raises QueryError before anything is sent,
        OperationFailed for a final status that is no success.
        """
        wanted, model, checked = parse_model(level, root)
        query = build_query(wanted, checked, match if match is not None else {}, return_keys)
        if self._associations.quirks.character_set is not None:
            from .answers import check_character_set

            check_character_set(self._associations.quirks.character_set)
        return Finding(
            self._associations,
            query,
            limit,
            root_chosen=model is not None,
            split=split,
            max_queries=max_queries,
            judged=judged,
        )

    async def plan(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        via: Via = "get",
        max_queries: int = MAX_QUERIES,
    ) -> Plan:
        """What a retrieve would ask for, found out by C-FIND: nothing is retrieved.

        The plan says what is known of what is to come, and is a value: `to_json` and `from_json` keep it,
        ``get(plan=plan)`` and ``move(plan=plan)`` go by it. The arguments are those of `get`. Raises
        QueryError and ValueError.
        """
        most = check_max_queries(max_queries)
        methods, ladder = self._methods(via)
        wanted, model, checked = parse_model(level, root)
        uids, above = check_uids(wanted, checked, uid), check_parents(wanted, model, parents)
        async with self._associations.limited():
            chosen = model, _MODELS[methods[0]]
            web = self.dicomweb if "web" in methods else None
            found = await find_plan(self._associations, wanted, chosen, uids, above, most, web)
        return replace(found, via=methods, ladder=ladder)

    @overload
    def get(
        self,
        level: Level | str | None = ...,
        uid: str | Iterable[str] | None = ...,
        *,
        directory: str | Path,
        **how: Unpack[GetOptions],
    ) -> Retrieve[ReceivedItem]: ...

    @overload
    def get(
        self,
        level: Level | str | None = ...,
        uid: str | Iterable[str] | None = ...,
        *,
        sink: SinkFactory,
        **how: Unpack[GetOptions],
    ) -> Retrieve[ReceivedItem]: ...

    @overload
    def get(
        self,
        level: Level | str | None = ...,
        uid: str | Iterable[str] | None = ...,
        *,
        directory: None = ...,
        **how: Unpack[GetOptions],
    ) -> Retrieve[Dataset]: ...

    def get(
        self,
        level: Level | str | None = None,
        uid: str | Iterable[str] | None = None,
        *,
        directory: str | Path | None = None,
        sink: SinkFactory | None = None,
        plan: Plan | None = None,
        via: Via | None = None,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        skip_present: bool = True,
        associations: int = 1,
        durability: Durability = "fsync",
        layout: str = "patient",
        digest: bool = False,
        progress: ProgressCallback | None = None,
        max_object_size: int = MAXIMUM_OBJECT,
        items: Keep[ReceivedItem] = "all",
        listening: Listening | None = None,
        max_queries: int = MAX_QUERIES,
    ) -> Retrieve[Any]:
        """Retrieve by the unique key of a level, one or several: C-GET, and what else `via` names.

        Awaited for a RetrieveResult, or iterated. Into a `directory`, where what lies there whole already is
        not asked for (`skip_present`); into what `sink` gives for each object by its `Head`; or as data sets,
        one by one or in `result.datasets`. What will come is found out by C-FIND, or told by a `plan`. `via`:
        "get", one C-GET a key; "auto", a ladder of C-GET, then C-MOVE to this process (`listening`), then
        DICOMweb where the peer has an address ("web"), each for less at a time until all is here;
        ("move", "get"): another order. `GetOptions` has the rest.
        """
        methods, ladder = self._methods(via if via is not None else plan.via if plan is not None else "get")
        where = Where.below(directory, durability, max_object_size, layout, sink=sink, digest=digest)
        how = {"where": where, "progress": progress, "skip_present": skip_present, "max_queries": max_queries}
        wanted = self._wanted(level, uid, plan, root, parents, **how)
        count = check_associations(associations)
        return Retrieve(
            self._associations,
            wanted,
            RetrieveResult(keep=check_keep(items)),
            lambda intake: [self._way(one, intake, count, listening) for one in methods],
            ladder=ladder if via is not None or plan is None else plan.ladder or len(methods) > 1,
        )

    def stream(
        self,
        level: Level | str | None = None,
        uid: str | Iterable[str] | None = None,
        **how: Unpack[GetOptions],
    ) -> Objects:
        """`get`, object by object while they arrive: ``async for one in pacs.stream(...)``.

        `one.head` is its header, ``async for part in one`` its data set in parts, in bounded memory.
        """
        return Objects(lambda sink: self.get(level, uid, sink=sink, **how))

    def move(
        self,
        level: Level | str | None = None,
        uid: str | Iterable[str] | None = None,
        *,
        destination: str | None = None,
        directory: str | Path | None = None,
        plan: Plan | None = None,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        listen_host: str | None = None,
        listen_port: int = LISTEN_PORT,
        listen_tls: ssl.SSLContext | None = None,
        limits: ServerLimits | None = None,
        quiet: float = QUIET_PERIOD,
        accept_from: Iterable[str] = (),
        skip_present: bool = True,
        associations: int = 1,
        durability: Durability = "fsync",
        layout: str = "patient",
        progress: ProgressCallback | None = None,
        items: Keep[ReceivedItem] = "all",
        max_queries: int = MAX_QUERIES,
    ) -> Retrieve[ReceivedItem]:
        """C-MOVE by the unique key of a level, one or several: awaited, or iterated, as `get`.

        With a `destination` alone the peer sends to that application entity, and the result holds what it
        reported. With a `directory` it sends to us: a listener is started on `listen_port`, which the peer
        must have registered under our calling AE title (or under `destination`), and the objects lie there
        as after a `get`. Arrivals later than the final response are awaited for `quiet` seconds without one.
        Only the peer's own address (this machine, where it is on it) and the networks of `accept_from` may
        connect. What a plan does not name must say that it was moved for us (else `turned_away`). No object
        is over 64 GiB or `limits.max_object_size`. Raises OSError when the port cannot be had, ValueError.
        """
        here: Listening | None = Listening(
            host=listen_host, port=listen_port, tls=listen_tls, limits=limits, quiet=quiet,
            accept_from=tuple(accept_from),
        )  # fmt: skip
        if directory is None:
            ours = (here == Listening(), skip_present, durability == "fsync", layout == "patient")
            check_destination(destination, ours)
            here = None
        where = Where.below(directory, durability, limits.max_object_size if limits else None, layout)
        how = {"where": where, "progress": progress, "skip_present": skip_present, "max_queries": max_queries}
        wanted = self._wanted(level, uid, plan, root, parents, **how)
        to, count = destination or self.peer.calling_ae, check_associations(associations)
        result = RetrieveResult(service="C-MOVE", keep=check_keep(items), received_here=here is not None)
        return Retrieve(
            self._associations, wanted, result, lambda one: [Move(self._associations, one, to, here, count)]
        )

    def _wanted(
        self,
        level: Level | str | None,
        uid: str | Iterable[str] | None,
        plan: Plan | None,
        root: Root | str | None,
        parents: Mapping[str, str] | None,
        **how: Any,
    ) -> Wanted:
        """What is asked for, checked: by level and unique keys, or by a plan."""
        check_max_queries(how["max_queries"])
        if plan is not None:
            if level is not None or uid is not None or root is not None or parents:
                raise QueryError("a plan says itself what to retrieve: no level, keys, root or parents")
            uids = [target.uid for target in plan.targets]
            return Wanted(level=plan.level, root=plan.root, uids=uids, plan=plan, **how)
        if level is None or uid is None:
            raise QueryError("nothing to retrieve: no level and unique key given, and no plan")
        wanted, model, checked = parse_model(level, root)
        uids, above = check_uids(wanted, checked, uid), check_parents(wanted, model, parents)
        return Wanted(level=wanted, root=model, uids=uids, parents=above, **how)

    def _methods(self, via: Via) -> tuple[tuple[Method, ...], bool]:
        """The services to try in order, and whether it is a ladder. Raises QueryError."""
        methods, ladder = parse_via(via)
        if via == "auto":
            return self.quirks.ladder(web=self.dicomweb is not None), True
        if self.dicomweb is None and "web" in methods:
            raise QueryError("no DICOMweb address of this peer is known: give one, or name it in its node")
        return methods, ladder

    def _way(self, method: Method, intake: Intake[Any], count: int, listening: Listening | None) -> Way:
        """The service of a ladder."""
        if method == "get":
            return Getting(self._associations, intake, count)
        if method == "web":
            assert self.dicomweb is not None  # _methods
            return Fetching(self.dicomweb, self.peer, intake, count)
        here = listening or Listening()
        return Move(self._associations, intake, self.peer.calling_ae, here, count)
