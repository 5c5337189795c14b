"""Operations of a client against a peer that answers late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiodicom.association.connect import associate
from aiodicom.association.errors import (
    AssociationAborted,
    AssociationEnded,
    InactivityTimeout,
    OperationCancelled,
    OperationFailed,
    TimeoutExpired,
    TotalTimeout,
)
from aiodicom.client.pacs import Pacs
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Proposal
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    AsyncOperationsWindow,
    ConnectionClosed,
    PDataTF,
    UserInformation,
)
from aiodicom.testing import ScriptedListener, associate_accept, command_set
from conftest import TLSPair
from wire import (
    IMPLICIT,
    PATIENT,
    STEADY,
    VERIFICATION,
    Held,
    Said,
    accept_as,
    accepted,
    echo,
    hear,
    identifier,
    on_each_loop,
    play,
    reply,
    say,
    store_request,
)

SOON = replace(STEADY, artim=0.1)


async def echoing(client: Pacs) -> None:
    async with client:
        await client.echo()


# --- statuses


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0110, "0110H failure: processing failure"),
        (0x0122, "SOP class not supported"),
        (0x0210, "duplicate invocation"),
        (0x0211, "unrecognized operation"),
        (0x0212, "mistyped argument"),
        (0xB000, "B000H warning"),
        (0xFE00, "FE00H cancel"),
        (0xC123, "C123H failure: a status the standard does not define"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value:04X}",
)
async def test_an_echo_that_is_no_success(status: int, words: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), status, error_comment="because")
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(OperationFailed, match=rf"C-ECHO answered .*{words}.* \(because\)") as caught:
                await client.echo()
            assert caught.value.status == status
            await client.echo()  # a status is no reason to end the association

    await play(script, user)


def _pending(heard: Said) -> bytes:
    return m.encode_message(m.CEchoRSP(message_id_being_responded_to=heard.message.message_id, status=0xFF00))


def _no_status(heard: Said) -> bytes:
    return command_set(
        {0x0002: VERIFICATION, 0x0100: 0x8030, 0x0120: heard.message.message_id, 0x0800: 0x0101}
    )


def _wrong_id(heard: Said) -> bytes:
    return m.encode_message(
        m.CEchoRSP(message_id_being_responded_to=heard.message.message_id ^ 0x5555, status=0)
    )


def _no_id(heard: Said) -> bytes:
    return command_set({0x0002: VERIFICATION, 0x0100: 0x8030, 0x0800: 0x0101, 0x0900: 0})


def _other_service(heard: Said) -> bytes:
    return m.encode_message(m.CFindRSP(message_id_being_responded_to=heard.message.message_id, status=0))


def _unknown_response(heard: Said) -> bytes:
    return command_set({0x0100: 0x8FFE, 0x0120: heard.message.message_id, 0x0800: 0x0101, 0x0900: 0})


def _cut(heard: Said) -> bytes:
    return _pending(heard)[:-1]


@pytest.mark.parametrize(
    "make", [_pending, _no_status, _wrong_id, _no_id, _other_service, _unknown_response, _cut]
)
@on_each_loop
async def test_a_response_that_is_none_ends_the_association(make: Callable[[Said], bytes]) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        command = make(await hear(peer))
        await peer.send(PDataTF((PDV(1, True, True, command),)))
        assert await peer.expect(AAbort) == AAbort(2, 6)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match="broke the protocol"):
            await echoing(client)

    await play(script, user)


@pytest.mark.parametrize("context_id", [3, 2, 0, 255])
async def test_a_response_on_another_context(context_id: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, answer=accept_as(IMPLICIT))
        heard = await hear(peer)
        await reply(peer, heard._replace(context_id=context_id), 0)
        assert await peer.expect(AAbort) == AAbort(2, 6)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match="context"):
            await echoing(client)

    await play(script, user)


async def test_a_wrong_group_length_and_an_unknown_element_are_lived_with() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer)
        fields: dict[int, int | str | bytes] = {
            0x0002: VERIFICATION, 0x0100: 0x8030, 0x0120: heard.message.message_id, 0x0800: 0x0101,
            0x0900: 0, 0x5010: b"old!",
        }  # fmt: skip
        command = bytearray(command_set(fields))
        command[8:12] = b"\xff\xff\0\0"
        await peer.send_message(1, bytes(command))
        await peer.answer_release()

    async def user(client: Pacs) -> list[str]:
        async with client:
            await client.echo()
            [association] = client._associations.all
            return [str(one) for one in association.session.deviations]

    assert any("group length" in one for one in await play(script, user))


async def test_a_request_of_the_peer_is_refused_politely() -> None:
    """An acceptor that calls an operation of ours: the role was never given."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CEchoRQ)
        assert await echo(peer, 77) == 0x0122
        await say(peer, 1, store_request(78, sop_class=VERIFICATION), b"1234")
        assert (await hear(peer, m.CStoreRSP)).message.status == 0x0122
        await reply(peer, heard, 0)
        await peer.answer_release()

    await play(script, echoing)


# --- pieces


@pytest.mark.parametrize("sizes", [(1,), (5,), (6, 1), (7, 11)])
@on_each_loop
async def test_responses_in_pieces_of_any_size(sizes: tuple[int, ...]) -> None:
    async def script(listener: ScriptedListener) -> None:
        from aiodicom.pdu import encode

        peer, _ = await accepted(listener)
        heard = await hear(peer)
        command = m.encode_message(m.make_response(heard.message, 0))
        half = len(command) // 2
        pdus = [
            PDataTF(()),  # no PDV at all: lived with
            PDataTF((PDV(1, True, False, command[:half]), PDV(1, True, False, b""))),
            PDataTF((PDV(1, True, False, command[half:]), PDV(1, True, True, b""))),
        ]
        await peer.send_split(b"".join(map(encode, pdus)), sizes)
        await peer.answer_release()

    await play(script, echoing)


# --- how it ends in the middle of an operation

Work = Callable[[Pacs], Awaitable[Any]]


async def find_all(client: Pacs) -> None:
    async with client:
        async for _ in client.find("STUDY", {"PatientID": "1"}):
            pass


@pytest.mark.parametrize("work", [echoing, find_all])
@pytest.mark.parametrize("how", ["abort", "provider abort", "fin", "rst", "release"])
@on_each_loop
async def test_the_peer_ends_it_in_the_middle_of_an_operation(work: Work, how: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer)
        if isinstance(heard.message, m.CFindRQ):
            await reply(peer, heard, 0xFF00, identifier(StudyInstanceUID="1.2"))
        match how:
            case "abort":
                await peer.send(AAbort(0, 0))
                await peer.expect_close()
            case "provider abort":
                await peer.send(AAbort(2, 6))
                await peer.expect_close()
            case "fin":
                await peer.close()
            case "rst":
                await peer.reset()
            case "release":
                await peer.send(AReleaseRQ())
                await peer.drain_until_close()

    async def user(client: Pacs) -> None:
        kinds: dict[str, tuple[type[Exception], str]] = {
            "abort": (AssociationAborted, r"peer aborted the association \(service user\)"),
            "provider abort": (AssociationAborted, "service provider: invalid PDU parameter value"),
            "fin": (ConnectionClosed, "connection closed on an open association"),
            "rst": (ConnectionClosed, "connection closed on an open association"),
            "release": (Exception, "released"),
        }
        kind, words = kinds[how]
        with pytest.raises(kind, match=words):
            await work(client)

    await play(script, user, timeouts=SOON)


@pytest.mark.parametrize("work", [echoing, find_all])
@on_each_loop
async def test_silence_meets_the_inactivity_timeout(work: Work) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(InactivityTimeout, match=r"nothing moved for 0\.1 s") as caught:
            await work(client)
        assert isinstance(caught.value, TimeoutExpired)

    await play(script, user, timeouts=replace(SOON, inactivity=0.1))


async def test_half_a_response_meets_the_inactivity_timeout() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer)
        await peer.send(b"\x04\0\0\0\0\x50\0\0")
        await peer.expect(AAbort)
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        with pytest.raises(InactivityTimeout):
            await echoing(client)

    await play(script, user, timeouts=replace(SOON, inactivity=0.1))


@on_each_loop
async def test_a_peer_that_is_slow_and_alive_meets_the_total_timeout_only() -> None:
    """Pending responses keep the inactivity timeout away for ever; the total one ends it, by C-CANCEL."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer)

        async def trickle() -> None:
            while True:
                await reply(peer, heard, 0xFF00, identifier(StudyInstanceUID="1.2"))
                await asyncio.sleep(0)

        trickling = asyncio.create_task(trickle())
        cancel = await hear(peer, m.CCancelRQ)
        trickling.cancel()
        await asyncio.wait([trickling])
        assert cancel.message.message_id_being_responded_to == heard.message.message_id
        await reply(peer, heard, 0xFE00)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(TotalTimeout, match=r"longer than 0\.2 s") as caught:
                async for _ in client.find("STUDY"):
                    pass
            assert isinstance(caught.value, TimeoutExpired)

    await play(script, user, timeouts=replace(STEADY, total=0.2))


async def test_an_echo_meets_the_total_timeout() -> None:
    """It cannot be cancelled: what is not answered in the time for that is aborted."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer, m.CEchoRQ)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(TotalTimeout):
            await echoing(client)

    await play(script, user, timeouts=replace(STEADY, total=0.1, cancel=0.1))


async def test_an_echo_that_is_given_up_aborts_its_association() -> None:
    """Nothing ends it early and its answer may never come; the next operation opens another association."""
    asked = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer, m.CEchoRQ)
        asked.set()
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.close()
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            task = asyncio.create_task(client.echo())
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.echo()

    await play(script, user)


async def test_a_late_answer_to_what_was_given_up_is_dropped() -> None:
    """Another operation runs beside it, so the association stays."""
    asked, given_up = asyncio.Event(), asyncio.Event()
    window = AsyncOperationsWindow(2, 1)

    async def script(listener: ScriptedListener) -> None:
        info = UserInformation(maximum_length=16384, async_operations=window)
        peer, _ = await accepted(listener, user_information=info)
        heard = [await hear(peer, m.CEchoRQ) for _ in range(2)]
        asked.set()
        await given_up.wait()
        for one in heard:
            await reply(peer, one, 0)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            task, other = (asyncio.create_task(client.echo()) for _ in range(2))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            given_up.set()
            await other
            await client.echo()

    await play(script, user, async_operations=window)


async def test_time_spent_idle_is_no_inactivity() -> None:
    """A client that rested longer than the inactivity timeout has it whole for its next operation."""
    late = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CEchoRQ)
        await late.wait()
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            [association] = client._associations.all
            association.connection.last_activity -= 1000
            task = asyncio.create_task(client.echo())
            for _ in range(20):  # the watchdog would have had its turn
                await asyncio.sleep(0)
            late.set()
            await task

    await play(script, user)


# --- the window


@on_each_loop
async def test_operations_wait_for_each_other_without_a_window() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        for _ in range(5):
            heard = await hear(peer, m.CEchoRQ)
            await peer.expect_nothing_until(asyncio.sleep(0))
            await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await asyncio.gather(*(client.echo() for _ in range(5)))

    await play(script, user)


@pytest.mark.parametrize("granted", [2, 3, 0])
async def test_as_many_operations_as_the_window_lets_overlap(granted: int) -> None:
    window = AsyncOperationsWindow(granted, 1)

    async def script(listener: ScriptedListener) -> None:
        peer, request = await accepted(
            listener, user_information=UserInformation(maximum_length=16384, async_operations=window)
        )
        assert request.user_information.async_operations == AsyncOperationsWindow(0, 0)
        at_once = granted or 6
        heard = [await hear(peer, m.CEchoRQ) for _ in range(at_once)]
        assert len({one.message.message_id for one in heard}) == at_once
        for one in reversed(heard):  # in any order
            await reply(peer, one, 0)
        for _ in range(6 - at_once):
            await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await asyncio.gather(*(client.echo() for _ in range(6)))

    await play(script, user, async_operations=AsyncOperationsWindow(0, 0))


async def test_a_window_that_was_not_asked_for_is_not_used() -> None:
    async def script(listener: ScriptedListener) -> None:
        info = UserInformation(maximum_length=16384, async_operations=AsyncOperationsWindow(8, 8))
        peer, request = await accepted(listener, user_information=info)
        assert request.user_information.async_operations is None
        for _ in range(2):
            heard = await hear(peer, m.CEchoRQ)
            await peer.expect_nothing_until(asyncio.sleep(0))
            await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await asyncio.gather(client.echo(), client.echo())

    await play(script, user)


async def test_message_ids_wrap_and_skip_those_in_use() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        ids = []
        for _ in range(3):
            heard = await hear(peer, m.CEchoRQ)
            ids.append(heard.message.message_id)
            await reply(peer, heard, 0)
        assert ids == [65535, 1, 2]
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            client._associations.all[0]._invoking._last_id = 65534
            for _ in range(3):
                await client.echo()

    await play(script, user)


# --- what comes after the end


async def test_responses_behind_the_end_in_one_read(caplog: pytest.LogCaptureFixture) -> None:
    """A response that makes us abort, and more behind it in the same segment: nothing breaks."""

    async def script(listener: ScriptedListener) -> None:
        from aiodicom.dataset.coding import encode_dataset
        from aiodicom.pdu import encode
        from aiodicom.testing import message_pdvs

        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        pending = m.encode_message(m.make_response(heard.message, 0xFF00, has_dataset=True))
        final = m.encode_message(m.make_response(heard.message, 0))
        large = encode_dataset(identifier(StudyComments="x" * 3000), IMPLICIT)
        pdvs = message_pdvs(heard.context_id, pending, large, fragment=8000) * 3
        pdvs += message_pdvs(heard.context_id, final, fragment=8000)
        await peer.send(b"".join(encode(PDataTF((pdv,))) for pdv in pdvs))
        await peer.expect(AAbort)
        await peer.close()

    async def user(client: Pacs) -> None:
        with pytest.raises(AssociationAborted, match="data set over 1000 bytes"):
            await find_all(client)

    with caplog.at_level(logging.INFO):
        await play(script, user, identifier_length=1000)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize("glued", [True, False])
async def test_an_abort_behind_the_last_response_is_told_and_not_raised(glued: bool) -> None:
    """Nothing ran on it any more, so nothing was lost, be it in the same segment or later."""
    answered = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        from aiodicom.pdu import encode

        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CEchoRQ)
        final = encode(PDataTF((PDV(1, True, True, m.encode_message(m.make_response(heard.message, 0))),)))
        if glued:
            await peer.send(final, AAbort(0, 0))
        else:
            await peer.send(final)
            await answered.wait()
            await peer.send(AAbort(0, 0))
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        async with client:
            await client.echo()
            [association] = client._associations.all
            answered.set()
            await association.wait_over()
        [error] = client.ended
        assert isinstance(error, AssociationAborted)
        assert "the peer aborted" in str(error)
        await client.close()
        assert len(client.ended) == 1  # once

    await play(script, user)


async def test_closing_a_client_ends_what_runs_on_it() -> None:
    held = Held()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        held.reached.set()
        await hear(peer, m.CCancelRQ)
        await reply(peer, heard, 0xFE00)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async def loop() -> None:
            async for _ in client.find("STUDY"):
                pass

        async with client:
            task = asyncio.create_task(loop())
            await held.reached.wait()
        with pytest.raises(AssociationEnded, match="given up"):
            await task

    await play(script, user)


async def test_a_client_that_was_left_opens_nothing_more() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            pass
        with pytest.raises(AssociationEnded, match="was closed"):
            await client.echo()

    await play(script, user)


async def test_a_client_left_while_an_association_is_opened_does_not_keep_it() -> None:
    asked = asyncio.Event()
    left = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        first, _ = await accepted(listener)
        find = await hear(first, m.CFindRQ)
        second = await listener.next_connection()
        request = await second.expect(AAssociateRQ)
        asked.set()
        await hear(first, m.CCancelRQ)
        await reply(first, find, 0xFE00)
        await first.answer_release()
        await left.wait()
        await second.send(associate_accept(request))
        await second.answer_release()

    async def user(client: Pacs) -> None:
        async def query() -> None:
            async for _ in client.find("STUDY"):
                pass

        async def other() -> None:
            async with client.association([Proposal("1.2.840.10008.5.1.4.31")]):
                pass

        async with client:
            tasks = [asyncio.create_task(query()), asyncio.create_task(other())]
            await asked.wait()
        left.set()
        for task in tasks:
            with pytest.raises(AssociationEnded):
                await task

    await play(script, user)


async def test_the_peer_answers_cancelled_of_its_own_accord() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CFindRQ), 0xFE00)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        with pytest.raises(OperationCancelled, match="FE00H cancel"):
            await find_all(client)

    await play(script, user)


# --- a peer that does not read


@on_each_loop
async def test_a_peer_that_never_reads_holds_the_sender_and_is_given_up() -> None:
    """Bytes waiting to be written stay bounded; the inactivity timeout ends it."""
    largest = 0
    done = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        peer._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()

    async def user(client: Pacs) -> None:
        nonlocal largest
        from wire import CT

        association = await associate(client.peer, [Proposal(CT, (IMPLICIT,))])
        [context] = association.contexts.values()

        async def parts() -> Any:
            nonlocal largest
            for _ in range(200):
                yield bytes(1 << 20), False
                largest = max(largest, association.connection.transport.get_write_buffer_size())
            yield b"", True

        with pytest.raises(InactivityTimeout):
            await association.invoke(context, lambda n: store_request(n), parts())
        await association.wait_closed()
        done.set()

    await play(script, user, timeouts=replace(STEADY, inactivity=0.3, artim=0.1))
    assert 0 < largest < 4 << 20


# --- over TLS


@on_each_loop
async def test_a_conversation_over_tls_in_small_records(tls_pair: TLSPair) -> None:
    async def script(listener: ScriptedListener) -> None:
        from aiodicom.pdu import encode
        from aiodicom.testing import message_pdvs

        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        for number in range(50):
            command = m.encode_message(m.make_response(heard.message, 0xFF00, has_dataset=True))
            from wire import implicit

            data = implicit(identifier(StudyInstanceUID=f"1.2.{number}", PatientName=PATIENT))
            pdvs = message_pdvs(heard.context_id, command, data, fragment=50)
            await peer.send_split(b"".join(encode(PDataTF((pdv,))) for pdv in pdvs), (1, 13, 200))
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> list[str]:
        async with client:
            return [str(one.StudyInstanceUID) async for one in client.find("STUDY")]

    found = await play(script, user, server_tls=tls_pair.server, client_tls=tls_pair.client, host="localhost")
    assert found == [f"1.2.{number}" for number in range(50)]


@on_each_loop
async def test_a_request_while_the_release_is_under_way_says_so() -> None:
    """The table has no P-DATA in Sta7: that is no mistake of whoever asks, but the end of the association."""
    asked = asyncio.Event()
    tried = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.expect(AReleaseRQ)
        asked.set()
        await tried.wait()
        await peer.send(AReleaseRP())

    async def user(client: Pacs) -> None:
        association = await associate(client.peer, [Proposal(VERIFICATION)])
        [context] = association.find_contexts(VERIFICATION)
        releasing = asyncio.create_task(association.release())
        await asked.wait()
        with pytest.raises(AssociationEnded, match="being released"):
            await association.invoke(context, lambda n: m.CEchoRQ(message_id=n))
        tried.set()
        await releasing

    await play(script, user)


async def test_who_gives_up_waiting_for_a_cancelled_one_leaves_it_to_who_waits_too() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer)
        await hear(peer, m.CCancelRQ)
        given_up.set()
        await both.wait()
        await reply(peer, heard, 0xFE00)
        await peer.answer_release()

    given_up, both = asyncio.Event(), asyncio.Event()

    async def user(client: Pacs) -> None:
        async with client:
            running = asyncio.ensure_future(collected(client))
            await asyncio.sleep(0)
            while not client._associations.all or not client._associations.all[0].busy:
                await asyncio.sleep(0)
            (association,) = client._associations.all
            settling = asyncio.ensure_future(association.settle())
            await given_up.wait()
            running.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            both.set()
            await asyncio.wait([running])
            await settling
            assert association.error is None

    await play(script, user, timeouts=STEADY)


async def collected(client: Pacs) -> list[Any]:
    return [match async for match in client.find("STUDY")]
