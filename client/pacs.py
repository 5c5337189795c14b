"""The user's door to one peer: echo, store, find, get and move over associations opened as needed."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from ..association.answers import words_of
from ..association.association import Association
from ..association.connect import DEFAULT_CALLED_AE, DEFAULT_CALLING_AE, Peer
from ..association.errors import OperationFailed
from ..association.outgoing import find_items, is_dataset
from ..association.performing import Provider
from ..association.tasks import on_thread
from ..association.timeouts import Timeouts
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Proposal
from ..dimse.levels import Level, QueryError, Root, find_model, get_model, move_model
from ..dimse.limits import SessionLimits
from ..dimse.status import SUCCESS, Status
from ..pdu.codec import encode_ae_title
from ..pdu.errors import AiodicomError
from ..pdu.types import (
    AsyncOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
)
from ..server.limits import ServerLimits
from .associations import Associations, Attempt, need_context
from .finding import Finding
from .identifier import build_query, parse_model
from .listening import LISTEN_PORT, QUIET_PERIOD, Listening
from .moving import Move, Moving
from .planning import check_uids
from .receiving import MAXIMUM_OBJECT, Durability
from .results import ConnectionInfo, ProgressCallback, StoreReport
from .retrieved import ReceivedItem
from .retrieving import Retrieve
from .storing import Storing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..association.outgoing import Source

_QR_MODELS = tuple(
    model(root) for root in (Root.PATIENT, Root.STUDY) for model in (find_model, get_model, move_model)
)
BASIC_PROPOSALS = tuple(Proposal(uid) for uid in (VERIFICATION, *_QR_MODELS))
"""What every association proposes: verification and the query/retrieve models of both roots."""


class Pacs:
    """One peer: ``async with aiodicom.connect(...) as pacs``, or ``pacs = await aiodicom.connect(...)``.

    Entering opens an association, leaving releases it. Operations on one client may run at once in several
    tasks; each association carries one at a time unless an asynchronous operations window was negotiated.
    """

    def __init__(self, peer: Peer, *, lazy: bool = False) -> None:
        """lazy: the first association is opened by the first operation, with what that needs."""
        self.peer = peer
        self._associations = Associations(peer, BASIC_PROPOSALS)
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
        if kind is None:
            await self.close()
        else:
            await self._associations.close_after_error()

    async def close(self) -> None:
        """Release every association, cancelling what still runs on it: that ends by AssociationEnded.

        Nothing can be asked afterwards, unless the client is entered again. Raises what the first release
        failed with. An association that the peer ended before stands in `ended`.
        """
        await self._associations.close()

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

    async def store(
        self,
        source: Source | Iterable[Source],
        *,
        convert: bool = True,
        progress: ProgressCallback | None = None,
    ) -> StoreReport:
        """C-STORE files, folders and data sets, and report on each object.

        Objects go out byte for byte as they lie in their files, each in a context of its own transfer
        syntax. Where the peer takes an object without compression in another such syntax only, it goes out
        in that (`StoredItem.converted_to`), unless `convert` is false. Files that are no DICOM are skipped
        and listed; truncated ones are reported. When the association ends before all is sent, `report.error`
        says why.
        """
        single = isinstance(source, str | Path) or is_dataset(source)
        sources: list[Source] = [source] if single else list(source)  # type: ignore[list-item, arg-type]
        found = await on_thread(lambda: find_items(sources))
        report = StoreReport(skipped=found.skipped)
        storing = Storing(found.items, report, progress, convert)
        try:
            async with self._associations.limited():
                await storing.run(self._associations.use)
        except AiodicomError as error:
            if not any(item.status is not None for item in report.items):
                raise
            report.error = error
        return report

    def find(
        self,
        level: Level | str,
        match: Mapping[str, object] | Dataset | None = None,
        return_keys: Iterable[str] = (),
        *,
        root: Root | str | None = None,
        limit: int | None = None,
    ) -> Finding:
        """C-FIND: a data set for each match, iterated over, or awaited as a list.

        `match` maps keys to values, or is a pydicom data set. A key is a keyword, a tag (``"0008,0050"``) or
        a path into a sequence (``"A.B"``); a value is text, a list of UIDs, a date or time of `datetime`, a
        range (a pair, `Between`, ``"2024-01-01..2024-03-31"``), for a sequence a mapping: each is checked by
        its VR. `return_keys` names what else to return. Without a `root` it is the patient root for
        patients, else the study root where the peer accepted it. Leaving the loop early, or after `limit`
        matches, sends a C-CANCEL. Raises QueryError before anything is sent, OperationFailed for a final
        status that is no success.
        """
        wanted, model, checked = parse_model(level, root)
        query = build_query(wanted, checked, match if match is not None else {}, return_keys)
        return Finding(self._associations, query, limit, root_chosen=model is not None)

    @overload
    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: str | Path,
        root: Root | str | None = ...,
        parents: Mapping[str, str] | None = ...,
        durability: Durability = ...,
        progress: ProgressCallback | None = ...,
        max_object_size: int = ...,
    ) -> Retrieve[ReceivedItem]: ...

    @overload
    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: None = ...,
        root: Root | str | None = ...,
        parents: Mapping[str, str] | None = ...,
        durability: Durability = ...,
        progress: ProgressCallback | None = ...,
        max_object_size: int = ...,
    ) -> Retrieve[Dataset]: ...

    def get(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        directory: str | Path | None = None,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        durability: Durability = "fsync",
        progress: ProgressCallback | None = None,
        max_object_size: int = MAXIMUM_OBJECT,
    ) -> Retrieve[ReceivedItem] | Retrieve[Dataset]:
        """C-GET by the unique key of a level, one or several: awaited for a RetrieveResult, or iterated.

        With a `directory` the objects lie there as files under patient, study and series, their bytes as
        the peer sent them. Without one they are data sets: ``async for dataset in pacs.get(...)``, or
        `result.datasets`. What will come is found out by C-FIND first. The `root` is chosen
        as for `find`. `parents` are the unique keys of the
        levels above, for peers that want them and cannot be asked. An object of more than `max_object_size`
        bytes (64 GiB; 2 GiB where data sets are held in memory) is refused.
        """
        wanted, model, checked = parse_model(level, root)
        return Retrieve(
            self._associations,
            wanted,
            model,
            check_uids(wanted, checked, uid),
            directory=Path(directory) if directory is not None else None,
            parents=dict(parents or {}),
            durability=durability,
            progress=progress,
            max_object_size=max_object_size,
        )

    def move(
        self,
        level: Level | str,
        uid: str | Iterable[str],
        *,
        destination: str | None = None,
        directory: str | Path | None = None,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        listen_host: str | None = None,
        listen_port: int = LISTEN_PORT,
        listen_tls: ssl.SSLContext | None = None,
        limits: ServerLimits | None = None,
        quiet: float = QUIET_PERIOD,
        accept_from: Iterable[str] = (),
        durability: Durability = "fsync",
        progress: ProgressCallback | None = None,
    ) -> Moving:
        """C-MOVE by the unique key of a level, one or several.

        With a `destination` alone the peer sends to that application entity, and the result holds what it
        reported. With a `directory` it sends to us: a listener is started on `listen_port`, which the peer
        must have registered under our calling AE title (or under `destination`), and the objects lie in
        the directory as after a `get`. Arrivals later than the final response are awaited for `quiet`
        seconds without one. Only the peer's own address and this machine may connect, and those of
        `accept_from` (networks, "10.0.0.0/8"), for a peer that sends from elsewhere. Where the plan knows
        what is to come nothing else is taken: `RetrieveResult.turned_away` names it. An object of
        more than 64 GiB, or `limits.max_object_size`, is refused. Raises OSError when the port cannot be had,
        ValueError for what is no network.
        """
        wanted, model, checked = parse_model(level, root)
        uids = check_uids(wanted, checked, uid)
        title = destination or self.peer.calling_ae
        if destination is None and directory is None:
            raise QueryError("a move needs a destination, or a directory to move to this process")
        encode_ae_title(title)  # refuses one that is none before anything is sent
        move = Move(self._associations, wanted, model, uids, title, dict(parents or {}), progress)
        if directory is None:
            return Moving(move, move.elsewhere)
        listening = Listening(
            host=listen_host,
            port=listen_port,
            tls=listen_tls,
            limits=limits,
            quiet=quiet,
            accept_from=tuple(accept_from),
        )
        return Moving(move, partial(move.here, Path(directory), durability, listening))


async def test_connection(host: str, port: int, **options: Any) -> bool:
    """Whether a peer can be connected to and answers a C-ECHO: a plain yes or no, whatever goes wrong.

    `options` are those of `connect`.
    """
    try:
        async with connect(host, port, **options) as pacs:
            await pacs.echo()
    except AiodicomError:
        return False
    return True


test_connection.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test of a user's


def connect(
    host: str,
    port: int,
    *,
    calling_ae: str = DEFAULT_CALLING_AE,
    called_ae: str = DEFAULT_CALLED_AE,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeouts: Timeouts | None = None,
    limits: SessionLimits | None = None,
    user_identity: UserIdentityRQ | None = None,
    async_operations: AsyncOperationsWindow | None = None,
    extended: tuple[SOPClassExtendedNegotiation, ...] = (),
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = (),
    lenient_roles: bool = True,
    lazy: bool = False,
) -> Pacs:
    """A peer, to be entered, ``async with aiodicom.connect(...) as pacs``, or awaited and closed later.

    Entering connects and opens an association; it raises ConnectFailed (HostUnknown, ConnectionRefused,
    TLSFailed), AssociationRejected, AssociationAborted, NotDicomPeer, ConnectTimeout or AssociationTimeout.
    `tls` is an SSL context, best one of `client_context`; None connects in plain. `lazy` leaves all of that
    to the first operation, which then opens an association with what it needs.
    """
    return Pacs(
        Peer(
            host=host,
            port=port,
            calling_ae=calling_ae,
            called_ae=called_ae,
            tls=tls,
            server_hostname=server_hostname,
            timeouts=timeouts if timeouts is not None else Timeouts(),
            limits=limits if limits is not None else SessionLimits(),
            user_identity=user_identity,
            async_operations=async_operations,
            extended=extended,
            common_extended=common_extended,
            lenient_roles=lenient_roles,
        ),
        lazy=lazy,
    )
