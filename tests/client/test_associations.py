"""Which associations a client opens: none that is not needed, and again what may pass."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.association.connect import WINDOW
from aiodicom.association.errors import AssociationAborted, AssociationRejected
from aiodicom.association.timeouts import Timeouts
from aiodicom.client import associations as module
from aiodicom.client.connect import connect
from aiodicom.client.holder import Switch
from aiodicom.client.pacs import BASIC_PROPOSALS, Pacs
from aiodicom.client.pool import create_pool
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import VERIFICATION, Proposal
from aiodicom.dimse.sop_classes import TRANSFER_SYNTAXES
from aiodicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRQ,
    AsyncOperationsWindow,
    ContextResult,
    PresentationContextAC,
    UserInformation,
)
from aiodicom.pdu.errors import ConnectionClosed
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.testing import ScriptedListener
from peers.misbehaving import Misbehaving, Query, Ways
from pydicom.dataset import Dataset
from wire import accepted, ct, hear, identifier, play, reply

CLASSES = [f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("2", "4", "20")]  # CT, MR, NM
BUSY = Timeouts(connect=20, association=20, inactivity=20, artim=20, busy=100, cancel=20)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The contexts of each association that is opened."""
    found: list[int] = []
    real = module.associate

    async def associate(peer: object, proposals: list[object], **how: object) -> object:
        found.append(len(proposals))
        return await real(peer, proposals, **how)

    monkeypatch.setattr(module, "associate", associate)
    return found


async def test_ten_gets_of_one_series_each_open_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the queries, one that carries what comes and the next queries too."""
    opened = counted(monkeypatch)
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            objects = [ct(f"1.2.3.4.{n}", SeriesInstanceUID=f"1.2.3.{n}") for n in range(10)]
            assert (await pacs.store(objects)).ok
        opened.clear()
        async with connect("127.0.0.1", server.port) as pacs:
            for number in range(10):
                result = await pacs.get("SERIES", f"1.2.3.{number}", directory=tmp_path / "out")
                assert result.ok
                assert len(result.files) == 1
    assert len(opened) == 2


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
@pytest.mark.parametrize("relational", ["answer", "refuse", "nothing"])
async def test_ten_gets_open_two_whatever_their_plans_come_to(
    tmp_path: Path, level: str, relational: Query
) -> None:
    """What is proposed for objects of unknown classes leaves room for the next plan's query."""
    objects = [ct(f"1.2.3.4.{n}", SeriesInstanceUID=f"1.2.3.{n}") for n in range(10)]
    keys = [f"1.2.3.{n}" if level == "SERIES" else f"1.2.3.4.{n}" for n in range(10)]
    ways = Ways(grants=relational == "answer", relational=relational)
    async with Misbehaving(objects, ways) as peer, connect("127.0.0.1", peer.port, timeouts=BUSY) as pacs:
        for key in keys:
            assert (await pacs.get(level, key, directory=tmp_path)).ok
    assert peer.associations == 2


@pytest.mark.parametrize("count", [2, 3])
async def test_gets_of_several_classes_in_turn_end_up_on_one_association(tmp_path: Path, count: int) -> None:
    """Each new class costs one, for it has a context for each transfer syntax; then none is opened."""
    objects = [
        ct(f"1.2.3.{n}.4", SeriesInstanceUID=f"1.2.3.{n}", SOPClassUID=CLASSES[n % count]) for n in range(12)
    ]
    async with Misbehaving(objects) as peer, connect("127.0.0.1", peer.port, timeouts=BUSY) as pacs:
        for number in range(12):
            assert (await pacs.get("SERIES", f"1.2.3.{number}", directory=tmp_path)).ok
        [association] = pacs._associations.all
        proposed = association.session.request
    assert peer.associations == 1 + count
    assert proposed is not None
    for sop_class in CLASSES[:count]:
        contexts = [one for one in proposed.presentation_contexts if one.abstract_syntax == sop_class]
        assert len(contexts) >= 39  # each transfer syntax that lies in archives has its own
        assert {uid for one in contexts for uid in one.transfer_syntaxes} == set(TRANSFER_SYNTAXES)


@pytest.mark.parametrize("operation", ["store", "find", "get", "echo"])
async def test_a_lazy_client_opens_what_its_operation_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    async with serve_archive(tmp_path, port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(ct("1.2.3.1"))).ok
        opened = counted(monkeypatch)
        async with connect("127.0.0.1", server.port, lazy=True) as pacs:
            assert opened == []
            if operation == "store":
                assert (await pacs.store(ct("1.2.3.2"))).ok
            elif operation == "find":
                assert len(await pacs.find("STUDY")) == 1
            elif operation == "get":
                assert (await pacs.get("STUDY", "1.2.3")).ok
            else:
                await pacs.echo()
    assert len(opened) == (2 if operation == "get" else 1)


async def test_every_association_carries_the_basic_services(tmp_path: Path) -> None:
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store(ct("1.2.3.1"))).ok
        [association] = pacs._associations.all
        assert {one.abstract_syntax for one in BASIC_PROPOSALS} < {
            one.abstract_syntax for one in association.contexts.values()
        }
        assert len(await pacs.find("STUDY")) == 1
        assert pacs._associations.all == [association]


async def test_an_archive_with_one_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still count the association that was just released: it is asked again."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    limits = ServerLimits(max_associations=1)
    async with serve_archive(tmp_path / "archive", port=0, limits=limits) as server:
        async with connect("127.0.0.1", server.port, timeouts=BUSY) as pacs:
            assert (await pacs.store(ct("1.2.3.1"))).ok
            assert (await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out")).ok
            await pacs.echo()


@pytest.mark.parametrize("rejections", [1, 3])
async def test_a_rejection_that_may_pass_is_asked_again(
    rejections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PS3.8 9.3.4, result 2; the waits double."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)

    async def script(listener: ScriptedListener) -> None:
        for _ in range(rejections):
            peer = await listener.next_connection()
            await peer.expect(AAssociateRQ)
            await peer.send(AAssociateRJ(2, 3, 1))
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            pass

    await play(script, user, timeouts=BUSY)
    assert waits == [module.FIRST_WAIT * 2**n for n in range(rejections)]


@pytest.mark.parametrize(("result", "busy", "asked"), [(1, 100.0, 2), (2, 0.0, 1), (2, 0.35, 3)])
async def test_what_does_not_pass_is_told(
    result: int, busy: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        return None

    monkeypatch.setattr(module.asyncio, "sleep", sleep)

    async def script(listener: ScriptedListener) -> None:
        for _ in range(asked):
            peer = await listener.next_connection()
            await peer.expect(AAssociateRQ)
            await peer.send(AAssociateRJ(result, 3, 1))

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationRejected):
            async with client:
                pass

    await play(script, user, timeouts=Timeouts(busy=busy))


async def find(pacs: Pacs) -> None:
    assert len(await pacs.find("STUDY", root="STUDY")) == 1


async def echo(pacs: Pacs) -> None:
    await pacs.echo()


@pytest.mark.parametrize("how", ["close", "abort", "reset"])
@pytest.mark.parametrize("ask", [find, echo])
async def test_a_peer_that_ends_after_each_query_is_asked_on_another_association(
    how: str, ask: Callable[[Pacs], Awaitable[None]]
) -> None:
    """It closed while nothing ran, or as the next request was on its way: that changes nothing there."""
    answered: list[int] = []

    async def script(listener: ScriptedListener) -> None:
        for number in range(3):
            peer, _ = await accepted(listener)
            heard = await hear(peer)
            if isinstance(heard.message, m.CFindRQ):
                await reply(peer, heard, 0xFF00, identifier("STUDY", StudyInstanceUID="1.2.3"))
            await reply(peer, heard, 0)
            answered.append(number)
            if number == 2:
                await peer.answer_release()
                return
            await hear(peer)  # the next, which gets no answer
            if how == "abort":
                await peer.send(AAbort(0, 0))
            await (peer.reset() if how == "reset" else peer.close())

    async def user(client: Pacs) -> None:
        async with client:
            for asked in range(3):
                await ask(client)
                assert answered == list(range(asked + 1))  # each on the association it was answered on

    await play(script, user)
    assert answered == [0, 1, 2]


async def test_a_query_that_was_answered_in_part_is_not_asked_twice() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, identifier("STUDY", StudyInstanceUID="1.2.3"))
        await peer.close()

    async def user(client: Pacs) -> None:
        seen = []
        async with client:
            await client.echo()
            with pytest.raises(Exception, match="closed"):
                async for match in client.find("STUDY", root="STUDY"):
                    seen.append(match)
        assert len(seen) == 1

    await play(script, user)


@pytest.mark.parametrize("how", ["hangs up", "aborts"])
@pytest.mark.parametrize("again", [False, True])
async def test_a_peer_that_drops_what_offers_a_window_is_asked_without(how: str, again: bool) -> None:
    """Once: what it does then is its answer. It is remembered for the next association."""

    async def script(listener: ScriptedListener) -> None:
        for number in range(2):
            peer = await listener.next_connection()
            request = await peer.expect(AAssociateRQ)
            assert request.user_information.async_operations == (WINDOW if number == 0 else None)
            if number == 1 and not again:
                break
            if how == "aborts":
                await peer.send(AAbort(source=2, reason=1))
            await peer.close()
        if again:
            return
        await peer.send(
            AAssociateAC(
                called_ae=request.called_ae,
                calling_ae=request.calling_ae,
                presentation_contexts=tuple(
                    PresentationContextAC(one.context_id, ContextResult.ACCEPTANCE, one.transfer_syntaxes[0])
                    for one in request.presentation_contexts
                ),
                user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2"),
            )
        )
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()
        peer, request = await accepted(listener)
        assert request.user_information.async_operations is None
        await peer.answer_release()

    async def user(pacs: Pacs) -> None:
        if again:
            with pytest.raises((AssociationAborted, ConnectionClosed)):
                async with pacs:
                    pytest.fail("it was opened")
            return
        async with pacs:
            await pacs.echo()
        async with pacs:
            pass

    await play(script, user, async_operations=WINDOW)


async def test_a_window_of_the_users_own_is_not_given_up() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        await peer.expect(AAssociateRQ)
        await peer.close()

    async def user(pacs: Pacs) -> None:
        with pytest.raises((AssociationAborted, ConnectionClosed)):
            async with pacs:
                pytest.fail("it was opened")

    await play(script, user, async_operations=AsyncOperationsWindow(16, 16))


async def test_our_own_ends_agree_on_a_window(tmp_path: Path) -> None:
    async with serve_archive(tmp_path, port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            async with pacs._associations.use([BASIC_PROPOSALS[0]]) as association:
                assert association.session.window == WINDOW
        async with connect("127.0.0.1", server.port, async_operations=None) as pacs:
            async with pacs._associations.use([BASIC_PROPOSALS[0]]) as association:
                assert association.session.window == AsyncOperationsWindow(1, 1)
    async with serve_archive(tmp_path, port=0, async_operations=None) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            async with pacs._associations.use([BASIC_PROPOSALS[0]]) as association:
                assert association.session.window == AsyncOperationsWindow(1, 1)


def three_series(count: int = 4) -> list[Dataset]:
    return [
        ct(f"1.2.3.{n}.{k}", SeriesInstanceUID=f"1.2.3.{n}", SOPClassUID=CLASSES[n])
        for n in range(3)
        for k in range(count)
    ]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("busy", [0.5, 3.0])
async def test_gets_at_once_take_turns_on_the_one_slot_of_a_peer(
    tmp_path: Path, pooled: bool, busy: float
) -> None:
    """Each wants contexts of its own, so that none can use another's association; all keep their word."""
    limits = ServerLimits(max_associations=1)
    times = replace(BUSY, busy=busy)
    async with serve_archive(tmp_path / "archive", port=0, limits=limits) as server:
        async with connect("127.0.0.1", server.port, timeouts=times) as pacs:
            assert (await pacs.store(three_series())).ok
        make: Any = create_pool if pooled else connect
        async with make("127.0.0.1", server.port, timeouts=times) as pacs:
            gets = [pacs.get("SERIES", f"1.2.3.{n}", directory=tmp_path / f"{n}") for n in range(3)]
            results = await asyncio.gather(*gets)
        assert [(one.outcome, one.received, one.error) for one in results] == [("complete", 4, None)] * 3


async def test_who_holds_the_one_slot_and_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    """A loop over answers in which the same client retrieves: it would wait for itself for ever."""
    limits = ServerLimits(max_associations=1)
    async with serve_archive(tmp_path / "archive", port=0, limits=limits) as server:
        async with connect("127.0.0.1", server.port, timeouts=replace(BUSY, busy=0.2)) as pacs:
            assert (await pacs.store(three_series())).ok
            async with aclosing(aiter(pacs.find("SERIES", {"StudyInstanceUID": "1.2.3"}))) as found:
                async for one in found:
                    with pytest.raises(AssociationRejected):
                        await pacs.get("SERIES", str(one.SeriesInstanceUID), directory=tmp_path / "out")
                    break
            assert (await pacs.get("SERIES", "1.2.3.0", directory=tmp_path / "out")).ok


async def test_what_moves_on_the_one_slot_is_waited_for_beyond_the_time_of_a_rejection(
    tmp_path: Path,
) -> None:
    """One get takes ten times as long as `Timeouts.busy`, an object at a time; the other waits for it."""
    limits = ServerLimits(max_associations=1)
    times = replace(BUSY, busy=0.1)
    async with serve_archive(tmp_path / "archive", port=0, limits=limits) as server:
        async with connect("127.0.0.1", server.port, timeouts=times) as pacs:
            assert (await pacs.store(three_series())).ok
            slow_is_on = asyncio.Event()

            async def slow() -> int:
                count = 0
                async with pacs.association([Proposal(VERIFICATION)], provider=Switch()) as association:
                    slow_is_on.set()
                    context = association.find_contexts(VERIFICATION)[0]
                    began = asyncio.get_running_loop().time()
                    while asyncio.get_running_loop().time() - began < 10 * times.busy:
                        operation = await association.invoke(
                            context, lambda n: m.CEchoRQ(message_id=n, affected_sop_class_uid=VERIFICATION)
                        )
                        await operation.next()
                        count += 1
                return count

            slowly = asyncio.create_task(slow())
            await slow_is_on.wait()
            assert (await pacs.get("SERIES", "1.2.3.1", directory=tmp_path / "out")).received == 4
            assert await slowly > 1


async def test_a_context_that_is_not_accepted_tells_which_and_why() -> None:
    class Nothing(aiodicom.Service):
        def supported(self) -> aiodicom.Supported:
            return aiodicom.Supported({"1.2.840.10008.5.1.4.1.2.2.1": ()})

    async with aiodicom.serve(Nothing(), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            with pytest.raises(aiodicom.ContextNotAccepted) as caught:
                await pacs.echo()
        port = server.port
    error: aiodicom.ContextNotAccepted = pickle.loads(pickle.dumps(caught.value))
    assert error.abstract_syntax == "1.2.840.10008.1.1"
    [reason] = error.refused
    assert reason in str(error)
    assert error.peer == f"ANY-SCP@127.0.0.1:{port}"


@pytest.mark.parametrize("limit", ["connect", "association", "total"])
async def test_a_time_that_ran_out_tells_which_and_how_long(limit: str) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        timeouts = aiodicom.Timeouts(**{limit: 0.05, "artim": 0.05})
        tls = aiodicom.client_context(verify=False) if limit == "connect" else None
        with pytest.raises(aiodicom.TimeoutExpired) as caught:
            async with aiodicom.connect("127.0.0.1", port, timeouts=timeouts, tls=tls, lazy=True) as pacs:
                await pacs.echo()
        for one in held:
            one.close()
    assert (caught.value.limit, caught.value.seconds) == (limit, 0.05)


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_leaving_is_content_with_a_peer_that_drops_what_is_released(how: str) -> None:
    """It may have done so while the release was on its way: nothing ran on it, and nothing was lost."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.expect(AReleaseRQ)
        if how == "abort":
            await peer.send(AAbort(0, 0))
        await (peer.reset() if how == "reset" else peer.close())

    async def user(client: Pacs) -> None:
        async with client:
            await client.echo()
            assert not client.info.ended
        (error,) = client.info.ended
        assert isinstance(error, AssociationAborted if how == "abort" else ConnectionClosed)
        assert client.info.to_dict()["ended"] == [{"type": type(error).__name__, "message": str(error)}]

    await play(script, user)
