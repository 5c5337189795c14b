"""Table 9-10 as requestor: everything a peer can do, in every state our client can be seen in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from aiodicom.association.connect import associate
from aiodicom.association.errors import AssociationAborted, AssociationRejected
from aiodicom.association.performing import Request
from aiodicom.client.pacs import Pacs
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Proposal
from aiodicom.pdu import (
    AAbort,
    AAssociateRQ,
    AiodicomError,
    AReleaseRP,
    AReleaseRQ,
    ConnectionClosed,
    Event,
    PDataTF,
    State,
)
from aiodicom.testing import ScriptedListener, ScriptedPeer, message_pdvs
from conftest import TLSPair
from wire import (
    CT,
    INJECTIONS,
    STEADY,
    VERIFICATION,
    MemorySink,
    Plain,
    accepted,
    cells,
    inject,
    on_each_loop,
    play,
    say,
    store_request,
)

STATES = (State.STA5, State.STA6, State.STA7, State.STA11, State.STA13)
ENDINGS = ((State.STA6, "A-ABORT"), (State.STA7, "A-RELEASE-RP"), (State.STA5, "A-ASSOCIATE-RJ"))


async def reach(listener: ScriptedListener, state: State) -> ScriptedPeer:
    """Play the acceptor until the client is in this state."""
    if state is State.STA5:
        peer = await listener.next_connection()
        peer.we_called = False  # type: ignore[attr-defined]
        await peer.expect(AAssociateRQ)
        return peer
    peer, _ = await accepted(listener)
    if state in (State.STA7, State.STA11):
        await peer.expect(AReleaseRQ)
    if state is State.STA11:
        await peer.send(AReleaseRQ())
        await peer.expect(AReleaseRP)
    if state is State.STA13:
        assert await peer.expect(AAbort) == AAbort(0, 0)
    return peer


async def drive(client: Pacs, state: State) -> AiodicomError | None:
    """Have the client do what brings it into this state, and wait for the end: how it ended."""
    try:
        association = await associate(client.peer, [Proposal(VERIFICATION)])
    except AiodicomError as error:
        return error
    match state:
        case State.STA5 | State.STA6:
            await association.wait_over()
        case State.STA7 | State.STA11:
            with suppress(AiodicomError):  # the cell says what `error` must be
                await association.release()
        case State.STA13:
            await association.abort()
    if state is not State.STA5:
        await association.wait_closed()
        assert association.connection.closed
    return association.error


def expected(state: State, name: str) -> type[AiodicomError] | None:
    """What the user is told."""
    if state is State.STA13:
        return AssociationAborted  # by us
    if state is State.STA5 and name == "A-ASSOCIATE-RJ":
        return AssociationRejected
    if state is State.STA11:
        return None  # released already, as far as the user goes
    if name in ("A-RELEASE-RQ", "A-RELEASE-RP") and INJECTIONS[name][0] in (Event.EVT12, Event.EVT13):
        ordered = {("A-RELEASE-RQ", State.STA6), ("A-RELEASE-RQ", State.STA7), ("A-RELEASE-RP", State.STA7)}
        return None if (name, state) in ordered else AssociationAborted
    return ConnectionClosed if name in ("FIN", "RST") else AssociationAborted


async def one(state: State, name: str, tls: TLSPair | None) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await reach(listener, state)
        await inject(peer, state, name)
        if name == "A-ASSOCIATE-AC" and state is State.STA5:
            await peer.reset()  # there the client waits
        await peer.close()

    async def user(client: Pacs) -> None:
        error = await drive(client, state)
        wanted = expected(state, name)
        if name == "A-ASSOCIATE-AC" and state is State.STA5:
            wanted = ConnectionClosed
        assert (type(error) if error is not None else None) is wanted, error
        if isinstance(error, AssociationAborted):
            assert error.by_peer == (name == "A-ABORT" and state is not State.STA13)

    timeouts = replace(STEADY, artim=10)
    secure = {"server_tls": tls.server, "client_tls": tls.client, "host": "localhost"} if tls else {}
    await play(script, user, timeouts=timeouts, **secure)


@pytest.mark.parametrize(("state", "name"), [(s, n) for s, n in cells(*STATES)], ids=str)
@on_each_loop
async def test_a_cell_of_the_table(state: State, name: str) -> None:
    await one(state, name, None)


@pytest.mark.parametrize("state", STATES, ids=str)
@on_each_loop
async def test_a_column_of_the_table_over_tls(state: State, tls_pair: TLSPair) -> None:
    for _, name in cells(state):
        if name == "RST" or (name == "FIN" and state is State.STA5):
            continue  # TLS failures of their own: test_connecting
        await one(state, name, tls_pair)


@pytest.mark.parametrize("state", [State.STA6, State.STA7], ids=str)
@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_vanishing_in_the_middle_of_a_pdu(state: State, how: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await reach(listener, state)
        await peer.send(b"\x04\0\0\0\1\0\0\0\0\xfc\1\3abc")
        await inject(peer, state, how)

    async def user(client: Pacs) -> None:
        error = await drive(client, state)
        assert isinstance(error, ConnectionClosed)

    await play(script, user)


async def test_everything_behind_an_abort_is_dropped() -> None:
    """No PDU glued behind an A-ABORT, an A-RELEASE-RP or a rejection starts anything."""
    for state, first in (
        (State.STA6, "A-ABORT"),
        (State.STA7, "A-RELEASE-RP"),
        (State.STA5, "A-ASSOCIATE-RJ"),
    ):

        async def script(listener: ScriptedListener, state: State = state, first: str = first) -> None:
            peer = await reach(listener, state)
            await peer.send(INJECTIONS[first][1], INJECTIONS["A-ASSOCIATE-AC"][1], b"\xff" * 1000)
            rest, _ = await peer.drain_until_close()
            assert rest == b""

        async def user(client: Pacs, state: State = state) -> None:
            await drive(client, state)

        await asyncio.wait_for(play(script, user), 20)


@pytest.mark.parametrize("kind", ["an object", "half an object", "an echo"])
@on_each_loop
async def test_a_request_of_the_peer_during_our_release(kind: str) -> None:
    """AR-6: it is taken, and cannot be answered any more; the release goes on in order all the same."""
    service = Plain()
    committed = asyncio.Event()

    class Sink(MemorySink):
        async def commit(self) -> StoreOutcome:
            committed.set()
            return await super().commit()

    class Storing:
        def store(self, request: Request) -> MemorySink:
            assert isinstance(request.message, m.CStoreRQ)
            return Sink(service, request.message.affected_sop_instance_uid)

        async def perform(self, request: Request, data: bytes | None) -> None:
            committed.set()
            await request.respond(m.make_response(request.message, 0))

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        if kind == "an echo":
            await say(peer, 1, m.CEchoRQ(message_id=1))
        else:
            pdvs = message_pdvs(3, m.encode_message(store_request()), b"x" * 100, fragment=200)
            await peer.send(*(PDataTF((pdv,)) for pdv in pdvs[: 1 if kind == "half an object" else 2]))
        if kind != "half an object":
            await peer.expect_nothing_until(committed.wait())
        await peer.send(AReleaseRP())
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        proposals = [Proposal(VERIFICATION, scp_role=True), Proposal(CT, scp_role=True)]
        association = await associate(client.peer, proposals, provider=Storing())
        await association.release()
        assert association.error is None

    await play(script, user)
    assert list(service.stored) == (["1.2.3.4"] if kind == "an object" else [])
    assert service.discarded == (["1.2.3.4"] if kind == "half an object" else [])
