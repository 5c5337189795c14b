"""What the tests over real sockets share: messages in and out of a scripted peer, services, both loops.

`play(script, user)` runs a scripted acceptor and a client against each other; `serving(service)` a
listener on a free port. `on_each_loop` runs a coroutine test on asyncio's loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import machines
import pytest
import uvloop
from aiodicom.association.connect import Peer
from aiodicom.association.performing import Request
from aiodicom.association.timeouts import Timeouts
from aiodicom.client.pacs import Pacs
from aiodicom.client.receiving import FileSink
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from aiodicom.dataset.instance import Instance
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Context, Supported
from aiodicom.dimse.levels import Level, Root, find_model, get_model, move_model
from aiodicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    Event,
    PresentationContextAC,
    PresentationContextRQ,
    State,
    UserInformation,
)
from aiodicom.pdu import encode as encode_pdu
from aiodicom.pdu.fsm import TRANSITIONS, Action
from aiodicom.pdu.uids import UNCOMPRESSED
from aiodicom.server.access import Access
from aiodicom.server.limits import ServerLimits
from aiodicom.server.listener import Server, serve
from aiodicom.server.service import Match, Service
from aiodicom.testing import IMPLICIT_VR_LITTLE_ENDIAN, ScriptedListener, ScriptedPeer
from aiodicom.testing.values import associate_accept
from pydicom.dataset import Dataset

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
FIND = find_model(Root.PATIENT)
STUDY_FIND = find_model(Root.STUDY)
GET = get_model(Root.PATIENT)
MOVE = move_model(Root.PATIENT)
IMPLICIT = IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT = "1.2.840.10008.1.2.1"

PATIENT = "Marker^Zebedee"
"""The patient of every data set here: a name that must never be in a log."""

PATIENCE = 30.0
"""Seconds after which something that should have happened is taken to hang."""

STEADY = Timeouts(connect=20, association=20, inactivity=20, total=None, artim=20, busy=0, cancel=20)
"""Timeouts that a test which is not about them does not meet."""


# --- loops and ports

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""What makes a loop, of each kind."""


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Clock:
    """Says the seconds that it is told to, `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def on_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test twice: on asyncio's own loop and on uvloop. No async fixtures."""

    @functools.wraps(test)
    def run(*args: Any, new_loop: Callable[[], asyncio.AbstractEventLoop], **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(*args, **kwargs))

    signature = inspect.signature(test)
    extra = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    del run.__wrapped__  # type: ignore[attr-defined]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), extra]
    )
    loops = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
    return loops(run)  # type: ignore[no-any-return]


# --- messages through a scripted peer


class Said(NamedTuple):
    """A message that came: its context id, its command, its data set's bytes."""

    context_id: int
    message: Any
    data: bytes | None

    @property
    def dataset(self) -> Dataset:
        """The data set, in Implicit VR Little Endian."""
        return decode_dataset(self.data or b"", IMPLICIT)


async def hear(peer: ScriptedPeer, kind: type[Any] | None = None) -> Said:
    """The next message, of that kind. A C-GET tells its progress four times a second."""
    while True:
        context_id, command, data = await peer.receive_message()
        message = m.decode_message(command, [])
        if not (kind is m.CStoreRQ and isinstance(message, m.CGetRSP) and message.status == 0xFF00):
            break
    assert kind is None or isinstance(message, kind), f"{kind} awaited, {message} came"
    return Said(context_id, message, data)


async def final_of(peer: ScriptedPeer) -> Said:
    """The final response to a C-GET or C-MOVE; each before it tells how far it has come."""
    while True:
        heard = await hear(peer)
        message = heard.message
        assert isinstance(message, m.CGetRSP | m.CMoveRSP), f"a final response awaited, {message} came"
        if message.status != 0xFF00:
            return heard
        assert message.remaining is not None
        assert message.remaining + message.completed + message.failed + message.warning > 0


async def say(
    peer: ScriptedPeer, context_id: int, message: m.Message, data: bytes | Dataset | None = None, **how: Any
) -> None:
    """Send a message; a data set goes in Implicit VR Little Endian."""
    raw = encode_dataset(data, IMPLICIT) if isinstance(data, Dataset) else data
    await peer.send_message(context_id, m.encode_message(message), raw, **how)


async def reply(
    peer: ScriptedPeer, heard: Said, status: int, data: bytes | Dataset | None = None, **fields: Any
) -> None:
    """Answer a request that was heard."""
    response = m.make_response(heard.message, status, **fields, **({"has_dataset": True} if data else {}))
    await say(peer, heard.context_id, response, data)


async def echo(peer: ScriptedPeer, message_id: int = 1, context_id: int = 1) -> int:
    """A C-ECHO as requestor: its status."""
    await say(peer, context_id, m.CEchoRQ(message_id=message_id))
    heard = await hear(peer, m.CEchoRSP)
    assert heard.message.message_id_being_responded_to == message_id
    return int(heard.message.status)


def store_request(
    message_id: int = 1, uid: str = "1.2.3.4", sop_class: str = CT, **fields: Any
) -> m.CStoreRQ:
    """A C-STORE-RQ."""
    return m.CStoreRQ(
        message_id=message_id, affected_sop_class_uid=sop_class, affected_sop_instance_uid=uid, **fields
    )


def file_sink(
    directory: Path,
    syntax: str = IMPLICIT,
    done: Callable[[Any], object] = id,
    *,
    uid: str = "1.2.3.1",
    **how: Any,
) -> FileSink:
    """What takes an object of that UID, sent in that transfer syntax."""
    return FileSink(
        directory,
        store_request(uid=uid),
        Context(1, CT, syntax, scu=False, scp=True),
        source_ae=None,
        done=done,
        **how,
    )


def ct(uid: str = "1.2.3.4", *, size: int = 0, **values: Any) -> Dataset:
    """A CT object of `PATIENT`; `size` bytes of pixel data."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = uid
    dataset.PatientName = PATIENT
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.StudyDate = "20240131"
    dataset.Modality = "CT"
    if size:
        dataset.add_new(0x7FE00010, "OW", b"\1\2" * (size // 2))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def study(count: int = 6, series: int = 2, *, size: int = 0) -> list[Dataset]:
    """CT objects of study 1.2.3, in turn of its series 1.2.3.0, 1.2.3.1 and so on."""
    return [
        ct(f"1.2.3.{n % series}.{n}", SeriesInstanceUID=f"1.2.3.{n % series}", size=size)
        for n in range(count)
    ]


def random_ct(number: int, size: int) -> Dataset:
    """A CT object with pixels that are no other's."""
    dataset = ct(f"1.2.3.1.{number}")
    dataset.add_new(0x7FE00010, "OW", os.urandom(size))
    return dataset


def implicit(dataset: Dataset) -> bytes:
    """A data set's bytes in Implicit VR Little Endian."""
    return encode_dataset(dataset, IMPLICIT)


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    """A query's or retrieve's identifier."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def accept_as(
    transfer_syntax: str, *, refuse: Sequence[str] = (), result: int = 3
) -> Callable[[PresentationContextRQ], PresentationContextAC]:
    """An answer to contexts: this transfer syntax where it is proposed; `refuse` are abstract syntaxes."""

    def answer(context: PresentationContextRQ) -> PresentationContextAC:
        if context.abstract_syntax in refuse:
            return PresentationContextAC(context.context_id, result, context.transfer_syntaxes[0])
        if transfer_syntax in context.transfer_syntaxes:
            return PresentationContextAC(context.context_id, 0, transfer_syntax)
        return PresentationContextAC(context.context_id, 4, context.transfer_syntaxes[0])

    return answer


async def accepted(
    listener: ScriptedListener,
    *,
    user_information: UserInformation | None = None,
    answer: Callable[[PresentationContextRQ], PresentationContextAC] | None = None,
    relational: bool = True,
) -> tuple[ScriptedPeer, AAssociateRQ]:
    """The next connection with its association accepted, everything in Implicit VR where that is proposed;
    relational queries are granted, unless told otherwise.
    """
    peer = await listener.next_connection()
    peer.we_called = False  # type: ignore[attr-defined]
    request = await peer.expect(AAssociateRQ)
    peer.peer_maximum_length = request.user_information.maximum_length or 0
    given = associate_accept(request, answer or accept_as(IMPLICIT), user_information=user_information)
    if relational and user_information is None:
        extended = request.user_information.extended
        given = replace(given, user_information=replace(given.user_information, extended=extended))
    await peer.send(given)
    return peer, request


# --- a scripted acceptor and a client


Script = Callable[[ScriptedListener], Awaitable[Any]]
User = Callable[[Pacs], Awaitable[Any]]


async def play(
    script: Script,
    user: User,
    *,
    timeouts: Timeouts = STEADY,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    **peer: Any,
) -> Any:
    """Run both sides to their ends; gives what `user` gave. The first that fails, fails the test."""
    async with ScriptedListener(ssl=server_tls) as listener:
        client = Pacs(Peer(host=host, port=listener.port, tls=client_tls, timeouts=timeouts, **peer))
        both = [asyncio.ensure_future(script(listener)), asyncio.ensure_future(user(client))]
        _, pending = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION, timeout=PATIENCE)
        failed = any(one.done() and not one.cancelled() and one.exception() for one in both)
        for one in pending:
            one.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for one in both:
            if not one.cancelled():
                one.result()
        assert not pending or failed, "neither side got to its end"
        return both[1].result()


async def using(client: Pacs) -> None:
    """Enter and leave a client."""
    async with client:
        pass


# --- a listener


class MemorySink:
    """Takes an object into its service's list."""

    def __init__(self, service: Plain, uid: str) -> None:
        self._service = service
        self._uid = uid
        self._data = bytearray()

    def write(self, data: memoryview, /) -> None:
        self._data += data

    async def commit(self) -> StoreOutcome:
        self._service.stored[self._uid] = bytes(self._data)
        return StoreOutcome(0)

    def discard(self) -> None:
        self._service.discarded.append(self._uid)


@dataclass
class Plain(Service):
    """Echo, C-STORE into memory, and a C-FIND that gives what it is told to."""

    stored: dict[str, bytes] = field(default_factory=dict)
    discarded: list[str] = field(default_factory=list)
    matches: Sequence[Dataset] = ()
    instances: Sequence[Instance] = ()
    before_match: Callable[[int], Awaitable[None]] | None = None
    on_echo: Callable[[Request], Awaitable[Any]] | None = None
    closed: list[str] = field(default_factory=list)

    def supported(self) -> Supported:
        return Supported(
            dict.fromkeys((VERIFICATION, FIND, STUDY_FIND, GET, MOVE), UNCOMPRESSED) | {CT: (), MR: ()},
            any_scp_role=True,
        )

    async def echo(self, info: Request) -> int:
        status = await self.on_echo(info) if self.on_echo is not None else 0
        return 0 if status is None else status

    def store(self, info: Request) -> MemorySink:
        request = info.message
        assert isinstance(request, m.CStoreRQ)
        return MemorySink(self, request.affected_sop_instance_uid)

    async def find(
        self, info: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[Match]:
        try:
            for number, dataset in enumerate(self.matches):
                if self.before_match is not None:
                    await self.before_match(number)
                yield Match(dataset)
        finally:
            self.closed.append("find")

    async def retrieve(
        self, info: Request, root: Root, level: Level, identifier: Dataset
    ) -> Sequence[Instance]:
        return self.instances


class OnlyOne(Plain):
    """A store of CT in one transfer syntax and no other."""

    def __init__(self, syntax: str = IMPLICIT) -> None:
        super().__init__()
        self.syntax = syntax

    def supported(self) -> Supported:
        return Supported({CT: (self.syntax,)})


class Held:
    """A place where a handler waits until it is let go: `await held.reached.wait()`, `held.go.set()`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, *ignored: Any) -> None:
        self.reached.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


LONG = ServerLimits(artim_timeout=20, drain_timeout=0.5)
"""Limits that a test which is not about them does not meet."""


@asynccontextmanager
async def serving(
    service: Service | None = None,
    *,
    limits: ServerLimits = LONG,
    access: Access | None = None,
    tls: ssl.SSLContext | None = None,
    **how: Any,
) -> AsyncIterator[Server]:
    """A listener on a free port of the loopback; closed without draining."""
    server = await serve(
        service if service is not None else Plain(), port=0, limits=limits, access=access, tls=tls, **how
    )
    try:
        yield server
    finally:
        await server.close(drain=0)


ALL = (VERIFICATION, CT, FIND, GET, MOVE)
"""Contexts 1, 3, 5, 7, 9 of `calling`."""


@asynccontextmanager
async def calling(
    server: Any,
    contexts: Sequence[Any] = ALL,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    **how: Any,
) -> AsyncIterator[ScriptedPeer]:
    """A scripted requestor with its association accepted."""
    async with await ScriptedPeer.connect(
        host, server.port, ssl=tls, server_hostname="localhost" if tls else None
    ) as peer:
        answer: AAssociateAC = await peer.associate(contexts, **how)
        peer.answer = answer  # type: ignore[attr-defined]
        peer.we_called = True  # type: ignore[attr-defined]
        yield peer


async def got(server: Any, taken: Sequence[str]) -> tuple[dict[str, bytes], m.CGetRSP]:
    """What a C-GET of patient P1 brings who takes these transfer syntaxes, by UID, and its final response."""
    came: dict[str, bytes] = {}
    async with calling(server, [GET, (CT, taken)], user_information=scp_roles(CT)) as peer:
        request = m.CGetRQ(message_id=1, affected_sop_class_uid=GET)
        await say(peer, 1, request, identifier("PATIENT", PatientID="P1"))
        while True:
            heard = await hear(peer)
            if isinstance(heard.message, m.CStoreRQ):
                came[heard.message.affected_sop_instance_uid] = heard.data or b""
                await reply(peer, heard, 0)
            elif heard.message.status != 0xFF00:
                return came, heard.message


@asynccontextmanager
async def bystander(server: Any, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedPeer]:
    """Another association on the same server: it echoes before and after what is inside."""
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(calling(server, tls=tls))
        assert await echo(peer, 9001) == 0
        yield peer
        assert await echo(peer, 9002) == 0
        await peer.release()


def scp_roles(*sop_classes: str, maximum_length: int = 16384) -> UserInformation:
    """User information that asks for the SCP role of these classes, as a C-GET requestor does."""
    from aiodicom.pdu import RoleSelection

    return UserInformation(
        maximum_length=maximum_length,
        implementation_class_uid="1.2.3.4",
        roles=tuple(RoleSelection(uid, True, True) for uid in sop_classes),
    )


async def gone(server: Server, left: int = 0) -> None:
    """Wait until only so many associations are left on a server: those of bystanders."""
    async with asyncio.timeout(PATIENCE):
        while len(server.associations) > left:
            await asyncio.sleep(0)
    assert len(server.associations) == left


# --- Table 9-10 over a socket

INJECTIONS: dict[str, tuple[Event, bytes]] = {
    "A-ASSOCIATE-AC": (Event.EVT3, encode_pdu(machines.ANSWER)),
    "A-ASSOCIATE-RJ": (Event.EVT4, encode_pdu(AAssociateRJ(1, 1, 1))),
    "A-ASSOCIATE-RQ": (Event.EVT6, encode_pdu(machines.REQUEST)),
    "P-DATA-TF": (Event.EVT10, encode_pdu(machines.DATA)),
    "A-RELEASE-RQ": (Event.EVT12, encode_pdu(AReleaseRQ())),
    "A-RELEASE-RP": (Event.EVT13, encode_pdu(AReleaseRP())),
    "A-ABORT": (Event.EVT16, encode_pdu(AAbort(0, 0))),
    "unrecognized": (Event.EVT19, machines.UNRECOGNIZED),
    "invalid": (Event.EVT19, machines.INVALID),
    "FIN": (Event.EVT17, b""),
    "RST": (Event.EVT17, b""),
}
"""What can happen to a side in any state: the event of Table 9-10 and the bytes that make it."""


async def inject(peer: ScriptedPeer, state: State, name: str) -> None:
    """Make it happen to the other side, known to be in `state`; check that it does what the table says.

    DATA is no command set, so where the table takes it the session above refuses it.
    """
    event, raw = INJECTIONS[name]
    if event is Event.EVT17:
        await (peer.reset() if name == "RST" else peer.close())
        return
    await peer.send(raw)
    reason = {"unrecognized": 1, "invalid": 6}.get(name, 2)
    match TRANSITIONS[event, state]:
        case Action.AA_8:
            assert await peer.expect(AAbort) == AAbort(2, reason)
        case Action.AA_1 | Action.AA_7:
            assert await peer.expect(AAbort) == AAbort(0, 0)
        case Action.AA_6:
            await peer.send(AAbort(0, 0))  # AA-2: it closes, having said nothing
            await peer.expect_close()
        case Action.AA_2 | Action.AA_3 | Action.AE_4 | Action.AR_3:
            await peer.expect_close()
        case Action.AR_2:
            await peer.expect(AReleaseRP)
        case Action.AR_8 if state is State.STA7 and peer.we_called:  # type: ignore[attr-defined]
            await peer.send(AReleaseRP())  # the acceptor answers last
            await peer.expect(AReleaseRP)
        case Action.AR_8:
            await peer.expect(AReleaseRP)
        case Action.AR_10:
            await peer.expect(AReleaseRP)
        case Action.DT_2 | Action.AR_6:
            assert await peer.expect(AAbort) == AAbort(2, 6)
        case Action.AE_3 | Action.AE_6:
            pass
        case other:
            raise AssertionError(other)


def cells(*states: State) -> list[tuple[State, str]]:
    """The cells of the table for these states, but empty ones."""
    return [(s, name) for s in states for name, (event, _) in INJECTIONS.items() if (event, s) in TRANSITIONS]
