"""The scripted peer says what it is told to say, and notices what does not come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    PduType,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
    encode,
)
from aiodicom.testing import (
    Message,
    ScriptedListener,
    ScriptedPeer,
    ScriptError,
    announces_data,
    command_set,
    message_pdvs,
)
from hypothesis import given
from hypothesis import strategies as st

WITH_DATA = command_set({0x0002: "1.2.840.10008.1.1", 0x0100: 1, 0x0110: 7, 0x0800: 1})
WITHOUT_DATA = command_set({0x0002: "1.2.840.10008.1.1", 0x0100: 0x30, 0x0110: 7, 0x0800: 0x0101})

Pair = tuple[ScriptedPeer, ScriptedPeer]


async def joined(listener: ScriptedListener, **how: object) -> Pair:
    caller = await ScriptedPeer.connect(listener.host, listener.port, **how)  # type: ignore[arg-type]
    return caller, await listener.next_connection()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with ScriptedListener() as listener:
        caller, called = await joined(listener)
        async with caller:
            yield caller, called


async def associated(pair: Pair, **how: object) -> Pair:
    caller, called = pair
    await asyncio.gather(caller.associate(), called.accept(**how))  # type: ignore[arg-type]
    return pair


async def test_an_association_is_made_and_released(pair: Pair) -> None:
    caller, called = pair
    answer, request = await asyncio.gather(
        caller.associate(["1.2.3", ("1.2.4", ["1.2.5", "1.2.6"])], called_ae="YOU", calling_ae="ME"),
        called.accept(),
    )
    assert (request.called_ae, request.calling_ae) == ("YOU", "ME")
    assert request.presentation_contexts == (
        PresentationContextRQ(1, "1.2.3", ("1.2.840.10008.1.2",)),
        PresentationContextRQ(3, "1.2.4", ("1.2.5", "1.2.6")),
    )
    assert answer.presentation_contexts == (
        PresentationContextAC(1, 0, "1.2.840.10008.1.2"),
        PresentationContextAC(3, 0, "1.2.5"),
    )
    await asyncio.gather(caller.release(), called.answer_release())


async def test_the_acceptor_decides_on_each_context_and_grants_roles(pair: Pair) -> None:
    caller, called = pair
    roles = (RoleSelection("1.2.3", True, True),)
    answer, _ = await asyncio.gather(
        caller.associate(["1.2.3"], user_information=UserInformation(roles=roles, maximum_length=100)),
        called.accept(lambda context: PresentationContextAC(context.context_id, 3)),
    )
    assert [context.result for context in answer.presentation_contexts] == [3]
    assert answer.user_information.roles == roles
    assert called.peer_maximum_length == 100


async def test_tls_in_both_roles(tls_pair) -> None:
    async with ScriptedListener(ssl=tls_pair.server) as listener:
        # the handshake needs both sides: the connection is handed out once it is done
        caller, called = await joined(listener, ssl=tls_pair.client, server_hostname="localhost")
        async with caller:
            await associated((caller, called))
            with pytest.raises(ScriptError, match="half closed"):
                await caller.half_close()
            await asyncio.gather(caller.release(), called.answer_release())


async def test_tls_that_is_not_trusted_is_an_error_of_the_caller(tls_pair) -> None:
    async with ScriptedListener(ssl=tls_pair.server) as listener:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ScriptedPeer.connect(listener.host, listener.port, ssl=ssl.create_default_context())


@pytest.mark.parametrize("pdvs_per_pdu", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("fragment", [1, 2, 7, 1000])
@pytest.mark.parametrize("data", [b"", b"x", b"0123456789abcdef" * 10])
async def test_messages_arrive_however_they_are_cut(
    pair: Pair, pdvs_per_pdu: int, fragment: int, data: bytes
) -> None:
    caller, called = pair
    for command, content in ((WITH_DATA, data), (WITHOUT_DATA, None), (WITH_DATA, data)):
        await caller.send_message(5, command, content, pdvs_per_pdu=pdvs_per_pdu, fragment=fragment)
        assert await called.receive_message() == Message(5, command, content)


async def test_messages_in_one_pdu_are_told_apart(pair: Pair) -> None:
    caller, called = pair
    both = message_pdvs(1, WITHOUT_DATA, fragment=9) + message_pdvs(3, WITH_DATA, b"ab", fragment=1)
    await caller.send(PDataTF(tuple(both)))
    assert await called.receive_message() == Message(1, WITHOUT_DATA, None)
    assert await called.receive_message() == Message(3, WITH_DATA, b"ab")


async def test_fragments_keep_to_the_maximum_of_the_other_side(pair: Pair) -> None:
    caller, called = pair
    await asyncio.gather(
        caller.associate(), called.accept(user_information=UserInformation(maximum_length=100))
    )
    await caller.send_message(1, WITH_DATA, bytes(1000), pdvs_per_pdu=2)
    left = len(WITH_DATA) + 1000
    while left:
        pdu = await called.expect(PDataTF)
        assert len(encode(pdu)) - 6 <= 100
        left -= sum(len(pdv.data) for pdv in pdu.pdvs)


@given(st.binary(max_size=50), st.none() | st.binary(max_size=50), st.integers(min_value=1, max_value=60))
def test_pdvs_of_a_message_hold_all_of_it_once(command: bytes, data: bytes | None, fragment: int) -> None:
    pdvs = message_pdvs(9, command, data, fragment=fragment)
    assert b"".join(pdv.data for pdv in pdvs if pdv.command) == command
    assert b"".join(pdv.data for pdv in pdvs if not pdv.command) == (data or b"")
    assert all(len(pdv.data) <= fragment and pdv.context_id == 9 for pdv in pdvs)
    assert sum(pdv.last for pdv in pdvs) == (1 if data is None else 2)


async def test_a_fragment_of_another_kind_or_context_is_noticed(pair: Pair) -> None:
    caller, called = pair
    await caller.send(PDataTF((PDV(1, False, True, b"xx"),)))
    with pytest.raises(ScriptError, match="command set awaited"):
        await called.receive_message()
    await caller.send(PDataTF((PDV(1, True, True, WITH_DATA), PDV(3, False, True, b"xx"))))
    with pytest.raises(ScriptError, match="data set on context 1 awaited"):
        await called.receive_message()


@pytest.mark.parametrize("sizes", [[1], [5, 1, 6], [1000]])
async def test_split_bytes_arrive_whole(pair: Pair, sizes: list[int]) -> None:
    caller, called = pair
    await caller.send_split(encode(AAbort(2, 6)) + b"tail", sizes)
    assert await called.expect(PduType.A_ABORT) == AAbort(2, 6)
    assert await called.receive_bytes(4) == b"tail"


async def test_raw_bytes_and_pdus_are_sent_in_order(pair: Pair) -> None:
    caller, called = pair
    await caller.send(AReleaseRQ(), b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06", AReleaseRP())
    assert await called.expect(AReleaseRQ) == AReleaseRQ()
    assert await called.receive() == AAbort(2, 6)
    assert await called.receive_raw() == b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"


async def test_another_pdu_than_expected_is_named(pair: Pair) -> None:
    caller, called = pair
    await caller.send(AAbort(0, 0))
    with pytest.raises(ScriptError, match="AAssociateAC awaited, AAbort"):
        await called.expect(AAssociateAC)


async def test_bytes_that_are_no_pdu_are_shown(pair: Pair) -> None:
    caller, called = pair
    await caller.send(b"\x09\x00\x00\x00\x00\x01?")
    with pytest.raises(ScriptError, match="no PDU"):
        await called.expect(AAbort)


async def test_the_end_is_told_from_a_reset(pair: Pair) -> None:
    caller, called = pair
    await caller.close()
    assert await called.expect_close() == "eof"


async def test_a_reset_is_a_reset(pair: Pair) -> None:
    caller, called = pair
    await caller.reset()
    assert await called.expect_close() == "reset"
    with pytest.raises(ScriptError, match="reset"):
        await called.expect(AAbort)


async def test_a_half_closed_peer_still_reads(pair: Pair) -> None:
    caller, called = pair
    await caller.half_close()
    assert await called.expect_close() == "eof"
    await called.send(AReleaseRP())
    await caller.expect(AReleaseRP)


async def test_bytes_before_the_end_are_an_error_where_the_end_is_expected(pair: Pair) -> None:
    caller, called = pair
    await caller.send(b"late")
    await caller.close()
    with pytest.raises(ScriptError, match="b'late'"):
        await called.expect_close()
    assert await called.drain_until_close() == (b"late", "eof")


async def test_a_pdu_that_is_cut_by_the_end_is_an_error(pair: Pair) -> None:
    caller, called = pair
    await caller.send(encode(AAbort(0, 0))[:-1])
    await caller.close()
    with pytest.raises(ScriptError, match="AAbort awaited: 4 bytes awaited, 3 bytes came"):
        await called.expect(AAbort)


async def test_silence_is_noticed_and_noise_too(pair: Pair) -> None:
    caller, called = pair
    assert await called.expect_nothing_until(asyncio.sleep(0, "done")) == "done"
    never = asyncio.get_running_loop().create_future()
    await caller.send(b"noise")
    with pytest.raises(ScriptError, match="b'noise'"):
        await called.expect_nothing_until(never)
    assert await called.receive_bytes(5) == b"noise"  # what broke the silence can still be read


async def test_a_deadline_ends_every_wait() -> None:
    async with ScriptedListener(deadline=0.01) as listener:
        with pytest.raises(ScriptError, match="connection awaited"):
            await listener.next_connection()
        caller, called = await joined(listener, deadline=0.01)
        async with caller:
            for wait in (
                called.expect(AAbort),
                called.expect_close(),
                called.receive_message(),
                called.drain_until_close(),
                called.expect_nothing_until(asyncio.Event().wait()),
            ):
                with pytest.raises(ScriptError, match="await"):
                    await wait
            with pytest.raises(ScriptError, match="to take what was sent"):
                await caller.send(bytes(50_000_000))  # nobody reads: the kernel's buffers fill up
            await caller.reset()


def test_a_command_set_says_whether_data_follows() -> None:
    assert announces_data(WITH_DATA)
    assert not announces_data(WITHOUT_DATA)
    with pytest.raises(ScriptError, match=r"without \(0000,0800\)"):
        announces_data(WITH_DATA[:-10])


def test_a_command_set_is_read_by_pydicom() -> None:
    from io import BytesIO

    from pydicom.filereader import read_dataset

    dataset = read_dataset(BytesIO(WITH_DATA), is_implicit_VR=True, is_little_endian=True)
    assert dataset.CommandGroupLength == len(WITH_DATA) - 12
    assert dataset.AffectedSOPClassUID == "1.2.840.10008.1.1"
    assert (dataset.CommandField, dataset.MessageID, dataset.CommandDataSetType) == (1, 7, 1)


@pytest.mark.parametrize("number", [-1, 0x10000])
def test_a_number_that_is_no_us_is_not_cut_to_one(number: int) -> None:
    with pytest.raises(ScriptError, match="0110"):
        command_set({0x0100: 0x30, 0x0110: number, 0x0800: 0x0101})
