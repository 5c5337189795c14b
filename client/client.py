"""The user's door to one peer: echo, store, find, get and move over associations opened as needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from ..association.association import Association
from ..association.connect import Peer, associate
from ..association.errors import (
    AssociationEnded,
    ContextNotAccepted,
    OperationCancelled,
    OperationFailed,
    TotalTimeout,
)
from ..association.outgoing import find_items, is_dataset
from ..association.performing import Provider
from ..association.tasks import on_thread
from ..association.tls import connection_info
from ..dataset.coding import decode_dataset
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Context, Proposal, outcomes
from ..dimse.levels import Level, Root, find_model, get_model, move_model
from ..dimse.status import Category, Status, categorize
from ..pdu.codec import encode_ae_title
from ..pdu.errors import AiodicomError
from .identifier import Query, build_query, build_retrieve, parse_root
from .receiving import Durability
from .results import ConnectionInfo, ProgressCallback, RetrieveResult, StoreReport
from .retrieving import Retrieve, check_uids, follow_move, make_plan, moving
from .storing import Storing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..association.outgoing import Source

log = logging.getLogger("aiodicom.client")

_QR_MODELS = tuple(
    model(root) for root in (Root.PATIENT, Root.STUDY) for model in (find_model, get_model, move_model)
)
BASIC_PROPOSALS = tuple(Proposal(uid) for uid in (VERIFICATION, *_QR_MODELS))
"""What the first association proposes: verification and the query/retrieve models of both roots."""


class Client:
    """One peer. Use it as an async context manager: entering opens an association, leaving releases it.

    Operations on one client may run at once in several tasks; each association carries one at a time
    unless an asynchronous operations window was negotiated. An idle association that does not carry what
    an operation needs is released before another is opened: many archives take one at a time.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._associations: list[Association] = []
        self._used: dict[Association, int] = {}
        self._private: set[Association] = set()  # those with a provider
        self._opening = asyncio.Lock()
        self._info: ConnectionInfo | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._closed = False
        await self._open(list(BASIC_PROPOSALS), None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self._close_after_error()

    async def close(self) -> None:
        """Release every association, cancelling what still runs on it: that ends by AssociationEnded.

        Nothing can be asked afterwards, unless the client is entered again. Raises what the first
        failed with.
        """
        self._closed = True
        ending, self._associations = self._associations, []
        done = await asyncio.gather(*(one.release() for one in ending), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _close_after_error(self) -> None:
        """Leave without hiding the error that is on its way: release what is idle, abort the rest."""
        self._closed = True
        leaving, self._associations = self._associations, []
        for association in leaving:
            if not association.usable or association.busy:
                association.abort_now()
        await asyncio.gather(*(self._release_quietly(association) for association in leaving))

    # --- associations

    async def _open(self, proposals: list[Proposal], provider: Provider | None) -> Association:
        self._check_open()
        association = await associate(self.peer, proposals, provider=provider)
        if self._closed:  # meanwhile
            await self._release_quietly(association)
        self._check_open()
        self._associations.append(association)
        self._info = describe(self.peer, association)
        return association

    def _check_open(self) -> None:
        if self._closed:
            raise AssociationEnded(f"the connection to {self.peer.host}:{self.peer.port} was closed")

    @asynccontextmanager
    async def association(
        self, proposals: Iterable[Proposal], *, provider: Provider | None = None
    ) -> AsyncGenerator[Association, None]:
        """An association on which these contexts have been proposed, open or opened now.

        One with a `provider` is used by nobody else, and released at the end: dcmqrscp, for one, keeps
        its database locked on it after a C-GET was cancelled. On an error what runs on it is cancelled.
        """
        wanted = list(proposals)
        association = await self._acquire(wanted, provider)
        self._used[association] = self._used.get(association, 0) + 1
        if provider is not None:
            self._private.add(association)
        told = False
        try:
            yield association
            if provider is not None:
                await association.release()
        except BaseException:
            told = True
            if association.usable and self._used[association] == 1:
                await association.settle()
                if provider is not None:
                    await self._release_quietly(association)
            raise
        finally:
            self._private.discard(association)
            self._used[association] -= 1
            if not self._used[association]:
                del self._used[association]
            if not association.usable:
                # one that failed while nobody was told stays: it is `close` that tells how it ended
                if association in self._associations and (told or association.error is None):
                    self._associations.remove(association)
                await association.wait_closed()

    async def _acquire(self, wanted: list[Proposal], provider: Provider | None) -> Association:
        async with self._opening:
            if self._closed:
                raise AssociationEnded("the client was closed")
            self._associations = [a for a in self._associations if a.usable or a in self._used]
            if provider is None:
                for association in self._associations:
                    if (
                        association.usable
                        and association not in self._private
                        and _covers(association, wanted)
                    ):
                        return association
            for association in [a for a in self._associations if a not in self._used]:
                self._associations.remove(association)
                await self._release_quietly(association)
            return await self._open(wanted, provider)

    @staticmethod
    async def _release_quietly(association: Association) -> None:
        """Release where a failure is less than what the caller wants or is being told."""
        try:
            await association.release()
        except AiodicomError as error:
            log.info("an association did not end in order: %s", error)

    @property
    def info(self) -> ConnectionInfo:
        """What the last association opened negotiated. Raises AiodicomError before there was one."""
        if self._info is None:
            raise AiodicomError("no association has been opened yet")
        return self._info

    # --- services

    async def echo(self) -> Status:
        """C-ECHO. Raises OperationFailed unless the peer answers success."""
        async with self.limited(), self.association([Proposal(VERIFICATION)]) as association:
            context = need_context(association, VERIFICATION)
            operation = await association.invoke(context, lambda n: m.CEchoRQ(message_id=n))
            response, _ = await operation.next()
        if response.status != 0:
            raise OperationFailed("C-ECHO", response.status, response.error_comment)
        return Status(response.status)

    async def test(self) -> bool:
        """Whether the peer answers a C-ECHO: a plain yes or no, whatever goes wrong."""
        try:
            await self.echo()
        except AiodicomError:
            return False
        return True

    async def store(
        self, source: Source | Iterable[Source], *, progress: ProgressCallback | None = None
    ) -> StoreReport:
        """C-STORE files, folders and data sets, and report on each object.

        Objects go out byte for byte as they lie in their files, each in a context of its own transfer
        syntax. Files that are no DICOM are skipped and listed; truncated ones are reported. When the
        association ends before all is sent, `report.error` says why.
        """
        single = isinstance(source, str | Path) or is_dataset(source)
        sources: list[Source] = [source] if single else list(source)  # type: ignore[list-item, arg-type]
        found = await on_thread(lambda: find_items(sources))
        report = StoreReport(skipped=found.skipped)
        storing = Storing(found.items, report, progress)
        try:
            async with self.limited():
                await storing.run(self.association)
        except AiodicomError as error:
            if not any(item.status is not None for item in report.items):
                raise
            report.error = error
        return report

    async def find(
        self,
        level: Level | str,
        match: Mapping[str, object] | None = None,
        return_keys: Iterable[str] = (),
        *,
        root: Root | str = Root.PATIENT,
        limit: int | None = None,
    ) -> AsyncIterator[Dataset]:
        """C-FIND: yields one data set a match.

        `match` maps keywords to values (text, lists, `datetime.date`, ...), `return_keys` names what else
        to return. Leaving the loop early, or after `limit` matches, sends a C-CANCEL. Raises QueryError
        before anything is sent, OperationFailed for a final status that is no success.
        """
        query = build_query(level, root, match or {}, return_keys)
        async with aclosing(self.find_encoded(query)) as answers:
            async for data, transfer_syntax in answers:
                yield decode_dataset(data, transfer_syntax)
                if limit is not None:
                    limit -= 1
                    if limit <= 0:
                        return

    async def find_encoded(self, query: Query) -> AsyncGenerator[tuple[bytes, str], None]:
        """C-FIND with the matches as they came: bytes and their transfer syntax."""
        deadline = self._deadline()
        async with AsyncExitStack() as stack:
            async with self._until(deadline):
                association = await stack.enter_async_context(self.association([Proposal(query.model)]))
                context = need_context(association, query.model)
                data = query.encode(context.transfer_syntax)
                operation = await association.invoke(
                    context, lambda n: m.CFindRQ(message_id=n, affected_sop_class_uid=query.model), data
                )
            try:
                while True:
                    async with self._until(deadline):
                        response, answer = await operation.next()
                    if categorize(response.status) is not Category.PENDING:
                        break
                    yield answer or b"", context.transfer_syntax
            finally:
                await association.cancel(operation)
        _raise_for_status("C-FIND", response)

    @overload
    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: str | Path,
        root: Root | str = ...,
        parents: Mapping[str, str] | None = ...,
        durability: Durability = ...,
        progress: ProgressCallback | None = ...,
    ) -> Coroutine[Any, Any, RetrieveResult]: ...

    @overload
    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: None = ...,
        root: Root | str = ...,
        parents: Mapping[str, str] | None = ...,
        durability: Durability = ...,
        progress: ProgressCallback | None = ...,
    ) -> Retrieve: ...

    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: str | Path | None = None,
        root: Root | str = Root.PATIENT,
        parents: Mapping[str, str] | None = None,
        durability: Durability = "fsync",
        progress: ProgressCallback | None = None,
    ) -> Retrieve | Coroutine[Any, Any, RetrieveResult]:
        """C-GET by the unique key of a level, one or several.

        Awaited with a `directory` it gives a RetrieveResult, the objects lying there as files under
        patient, study and series, their bytes as the peer sent them. Without one it is iterated:
        ``async for dataset in pacs.get(...)``. What will come is found out by C-FIND first. `parents` are
        the unique keys of the levels above, for peers that want them and cannot be asked.
        """
        retrieve = Retrieve(
            self,
            level,
            uid,
            directory=directory,
            root=root,
            parents=parents,
            durability=durability,
            progress=progress,
        )
        return retrieve if directory is None else retrieve.into_directory()

    async def move(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        destination: str,
        root: Root | str = Root.PATIENT,
        parents: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> RetrieveResult:
        """C-MOVE by the unique key of a level, one or several, to an application entity the peer knows.

        The result holds what the peer reported: nothing arrives here.
        """
        started = time.perf_counter()
        wanted_level, wanted_root = Level.parse(level), parse_root(root)
        uids = check_uids(wanted_level, wanted_root, uid)
        encode_ae_title(destination)  # refuses one that is none before anything is sent
        result = RetrieveResult(service="C-MOVE", received_here=False)
        async with self.limited():
            plan = await make_plan(self, wanted_level, wanted_root, uids, parents or {})
            result.expected = plan.expected
            for target in plan.targets:
                query = build_retrieve("C-MOVE", wanted_level, wanted_root, [target.uid], target.parents)
                async with moving(self, query, destination) as (_, following):
                    await follow_move(result, following, progress)
        result.seconds = time.perf_counter() - started
        return result

    @staticmethod
    def need_context(association: Association, abstract_syntax: str) -> Context:
        """The context to use as SCU of an abstract syntax. Raises ContextNotAccepted."""
        return need_context(association, abstract_syntax)

    # --- time

    def _deadline(self) -> float | None:
        total = self.peer.timeouts.total
        return None if total is None else asyncio.get_running_loop().time() + total

    @asynccontextmanager
    async def _until(self, deadline: float | None) -> AsyncGenerator[None, None]:
        """Raise TotalTimeout when the time runs out inside."""
        try:
            async with asyncio.timeout_at(deadline) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired() or isinstance(error, AiodicomError):
                raise
            raise TotalTimeout(f"the operation took longer than {self.peer.timeouts.total} s") from None

    @asynccontextmanager
    async def limited(self) -> AsyncGenerator[None, None]:
        """Raise TotalTimeout when what is inside takes longer than `Timeouts.total`."""
        async with self._until(self._deadline()):
            yield


def _covers(association: Association, wanted: list[Proposal]) -> bool:
    """Whether these were proposed already: asking again for what was refused changes nothing."""
    request = association.session.request
    assert request is not None
    proposed = {
        (context.abstract_syntax, syntax)
        for context in request.presentation_contexts
        for syntax in context.transfer_syntaxes
    }
    return all((p.abstract_syntax, s) in proposed for p in wanted for s in p.transfer_syntaxes)


def need_context(association: Association, abstract_syntax: str) -> Context:
    """The context to use as SCU of an abstract syntax. Raises ContextNotAccepted."""
    contexts = association.find_contexts(abstract_syntax)
    if contexts:
        return contexts[0]
    raise ContextNotAccepted(sop_class_name(abstract_syntax), refusals(association, abstract_syntax))


def refusals(association: Association, abstract_syntax: str) -> list[str]:
    """Why the contexts proposed for an abstract syntax were refused, in words."""
    request, answer = association.session.request, association.session.answer
    assert request is not None
    assert answer is not None
    return [one.words for one in outcomes(request, answer) if one.proposed.abstract_syntax == abstract_syntax]


def sop_class_name(uid: str) -> str:
    """The name of a UID as the standard has it, with the UID itself."""
    from pydicom.uid import UID

    name = UID(uid).name
    return f"{name} ({uid})" if name != uid else uid


def _raise_for_status(service: str, response: m.Response) -> None:
    category = categorize(response.status)
    if category is Category.SUCCESS:
        return
    if category is Category.CANCEL:
        raise OperationCancelled(service, response.status, response.error_comment)
    raise OperationFailed(service, response.status, response.error_comment)


def describe(peer: Peer, association: Association) -> ConnectionInfo:
    """What an association's connection is."""
    session = association.session
    assert session.answer is not None
    answer = session.answer.user_information
    ssl_object: Any = association.connection.transport.get_extra_info("ssl_object")
    return ConnectionInfo(
        host=peer.host,
        port=peer.port,
        calling_ae=peer.calling_ae,
        called_ae=peer.called_ae,
        implementation_class_uid=answer.implementation_class_uid,
        implementation_version_name=answer.implementation_version_name,
        maximum_length_sent=session.limits.pdu.maximum_length,
        maximum_length_received=session.peer_maximum_length,
        contexts=tuple(association.contexts.values()),
        deviations=tuple(session.deviations),
        tls=connection_info(ssl_object) if ssl_object is not None else None,
    )
