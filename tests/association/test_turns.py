"""Turns: what one peer sends in tiny pieces keeps nobody else waiting, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import Any

import pytest
from aiodicom.association import transport as transport_module
from aiodicom.association.association import Association
from aiodicom.association.turns import MOST_EVENTS, TURN, Turns, turns_of
from aiodicom.dimse import messages as m
from aiodicom.pdu import PDV, AReleaseRQ, PDataTF, PDUReader, encode
from aiodicom.server.archive_service import serve_archive
from aiodicom.testing import message_pdvs
from wire import (
    FIND,
    Plain,
    calling,
    ct,
    echo,
    hear,
    identifier,
    implicit,
    on_each_loop,
    serving,
    store_request,
)


async def test_each_goes_on_in_its_turn() -> None:
    loop = asyncio.get_running_loop()
    turns, said = Turns(loop), []

    def join(name: str, times: int) -> None:
        def go_on() -> None:
            said.append(name)
            if times > 1:
                join(name, times - 1)

        turns.join(go_on)

    for name in "abc":
        join(name, 3)
    rounds = 0
    while len(said) < 9:
        await asyncio.sleep(0)
        rounds += 1
        assert len(said) <= 3 * rounds
    assert "".join(said) == "abcabcabc"


async def test_who_joins_in_a_turn_comes_in_another_round_and_none_twice() -> None:
    """However many join again and again."""
    loop = asyncio.get_running_loop()
    turns, ran = Turns(loop), 0

    def again() -> None:
        nonlocal ran
        ran += 1
        if ran < 400:
            turns.join(again)

    for _ in range(4):
        turns.join(again)
    for number in range(50):
        await asyncio.sleep(0)
        assert ran <= 4 * (number + 1)


async def test_the_time_of_a_round_is_shared() -> None:
    turns = Turns(asyncio.get_running_loop())
    for _ in range(1000):
        turns.spend(0.00001)  # what is little is not counted
    assert not turns.over
    turns.spend(TURN / 2)
    assert not turns.over
    turns.spend(TURN)
    assert turns.over
    await asyncio.sleep(0)
    assert not turns.over


async def test_who_waits_is_put_off_once_where_reads_used_up_the_round() -> None:
    turns, ran = Turns(asyncio.get_running_loop()), []
    for number in range(3):
        turns.spend(2 * TURN)
        turns.join(lambda: ran.append(True))
        turns._next()
        assert len(ran) == number
        turns.spend(2 * TURN)
        turns._next()
        assert len(ran) == number + 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_turn_ends_when_its_time_is_up() -> None:
    turns, ran = Turns(asyncio.get_running_loop()), []

    def long(name: str) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.1 * TURN:
            pass
        ran.append(name)

    for name in "abc":
        turns.join(partial(long, name))
    before = 0
    while len(ran) < 3:
        await asyncio.sleep(0)
        assert len(ran) - before <= 1
        before = len(ran)
    assert "".join(ran) == "abc"


def test_each_loop_has_its_own() -> None:
    found = []

    async def look() -> None:
        loop = asyncio.get_running_loop()
        assert turns_of(loop) is turns_of(loop)
        found.append(turns_of(loop))

    asyncio.run(look())
    asyncio.run(look())
    assert found[0] is not found[1]


def tiny(context: int, command: bytes, data: bytes, size: int = 1, each: int = 2000) -> list[bytes]:
    """A message in PDUs of many PDVs of so many bytes."""
    pdvs = message_pdvs(context, command, None, fragment=4096)
    pdvs += [
        PDV(context, False, at + size >= len(data), data[at : at + size]) for at in range(0, len(data), size)
    ]
    return [encode(PDataTF(tuple(pdvs[at : at + each]))) for at in range(0, len(pdvs), each)]


class Dealt:
    """How many events each association was given in one round of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rounds: list[int] = []
        real = transport_module.Connection._hand_on

        def hand_on(connection: transport_module.Connection) -> None:
            self.rounds.append(0)
            real(connection)

        def on_event(association: Association, event: object) -> None:
            self.rounds[-1] += 1
            told(association, event)

        told = Association.on_event
        monkeypatch.setattr(transport_module.Connection, "_hand_on", hand_on)
        monkeypatch.setattr(Association, "on_event", on_event)


@on_each_loop
@pytest.mark.parametrize("most", [1, 7, MOST_EVENTS])
async def test_a_data_set_of_tiny_fragments_arrives_whole_in_turns(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(transport_module, "MOST_EVENTS", most)
    dealt = Dealt(monkeypatch)
    service = Plain()
    data = implicit(ct(size=4000))
    async with serving(service) as server, calling(server) as peer, calling(server) as other:
        for number in range(3):
            request = store_request(number + 1, uid=f"1.2.3.{number}")
            for pdu in tiny(3, m.encode_message(request), data):
                await peer.send(pdu)
            assert await echo(other, number + 1) == 0
            assert (await hear(peer)).message.status == 0
        await peer.release()
    assert service.stored == {f"1.2.3.{number}": data for number in range(3)}
    assert max(dealt.rounds) <= most


class Headers:
    """How many headers of PDUs and PDVs were read in each turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns: list[int] = []
        hand_on = transport_module.Connection._hand_on
        header = PDUReader._header

        def counted(connection: transport_module.Connection) -> None:
            self.turns.append(0)
            hand_on(connection)

        def read(reader: PDUReader) -> bytes | memoryview | None:
            self.turns[-1] += 1
            return header(reader)

        monkeypatch.setattr(transport_module.Connection, "_hand_on", counted)
        monkeypatch.setattr(PDUReader, "_header", read)


def silent(kind: str) -> list[bytes]:
    """Bytes that give no event, thousands of them; then those that have the server answer."""
    empty, one = PDV(3, False, False, b""), PDV(3, False, False, b"\0")
    data = [encode(PDataTF((PDV(3, False, True, implicit(ct(size=100))),)))]
    store = [encode(PDataTF((PDV(3, True, True, m.encode_message(store_request())),)))]
    misnamed = m.CStoreRQ(message_id=1, affected_sop_class_uid=FIND, affected_sop_instance_uid="1.2.3.4")
    refused = [encode(PDataTF((PDV(3, True, True, m.encode_message(misnamed)),)))]
    command = m.encode_message(store_request())
    match kind:
        case "empty PDVs":
            return [*store, encode(PDataTF((empty,) * 9000)), *data]
        case "empty PDUs":
            return [*store, bytes.fromhex("040000000000") * 9000, *data]
        case "empty PDVs of a command":
            return [encode(PDataTF((PDV(3, True, False, b""),) * 9000)), *store, *data]
        case "bytes of a command":
            pieces = [PDV(3, True, at + 1 == len(command), command[at:][:1]) for at in range(len(command))]
            return [encode(PDataTF(tuple(pieces))), *data]
        case "bytes of a refused data set":
            return [*refused, encode(PDataTF((one,) * 9000)), *data]
        case _:  # nobody listens after it: PDUs that are skipped
            return [bytes.fromhex("040000000000"), bytes.fromhex("040000000000") * 9000]


@on_each_loop
@pytest.mark.parametrize(
    "kind",
    [
        "empty PDVs",
        "empty PDUs",
        "empty PDVs of a command",
        "bytes of a command",
        "bytes of a refused data set",
        "PDUs after the end",
    ],
)
async def test_what_gives_no_event_is_read_in_turns_too(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(transport_module, "MOST_EVENTS", 20)
    ended = kind == "PDUs after the end"
    async with serving(Plain()) as server, calling(server) as peer:
        headers = Headers(monkeypatch)
        if ended:
            await peer.send(encode(AReleaseRQ()) + b"".join(silent(kind)))
            await peer.half_close()
            await peer.drain_until_close()
        else:
            await peer.send(b"".join(silent(kind)))
            assert (await hear(peer)).message.status == (0x0122 if "refused" in kind else 0)
            await peer.release()
        while server.connections.open:
            await asyncio.sleep(0.01)
    assert sum(headers.turns) > (100 if kind == "bytes of a command" else 1000)
    assert max(headers.turns) <= 2 * 20 + 1  # a PDU's and a PDV's


async def test_reads_that_have_to_wait_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of each round is used up before it begins."""
    monkeypatch.setattr(Turns, "over", True)
    held: list[bool] = []
    told = Association.on_event

    def on_event(association: Association, event: Any) -> None:
        held.append(association.connection.reading.held)
        told(association, event)

    monkeypatch.setattr(Association, "on_event", on_event)
    service = Plain()
    data = implicit(ct(size=600_000))
    async with serving(service) as server, calling(server) as peer:
        for number in range(3):
            await peer.send_message(3, m.encode_message(store_request(number + 1, uid=f"1.2.{number}")), data)
            assert (await hear(peer)).message.status == 0
            assert await echo(peer, number + 10) == 0
        await peer.release()
    assert service.stored == {f"1.2.{number}": data for number in range(3)}
    assert all(held)
    assert len(held) > 6


@pytest.mark.parametrize("end", ["abort", "release", "reset"])
async def test_the_end_of_an_association_comes_in_its_turn(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(transport_module, "MOST_EVENTS", 5)
    service = Plain()
    data = implicit(ct(size=1000))
    async with serving(service) as server, calling(server) as peer:
        await peer.send(b"".join(tiny(3, m.encode_message(store_request()), data)))
        if end == "reset":
            await peer.reset()
        elif end == "abort":
            await peer.send(bytes.fromhex("07000000000400000000"))
            await peer.expect_close()
        else:
            assert (await hear(peer)).message.status == 0
            await peer.release()
        while server.connections.open:
            await asyncio.sleep(0.01)
    if end == "release":
        assert service.stored == {"1.2.3.4": data}


async def test_fragments_of_one_byte_cost_few_writes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = implicit(ct(size=20_000))
    writes: list[int] = []
    real = os.write

    def write(descriptor: int, view: memoryview) -> int:
        writes.append(len(view))
        return real(descriptor, view)

    monkeypatch.setattr(os, "write", write)
    async with serve_archive(tmp_path, port=0) as server, calling(server) as peer:
        await peer.send(b"".join(tiny(3, m.encode_message(store_request()), data)))
        assert (await hear(peer)).message.status == 0
    assert sum(writes) >= len(data)
    assert len(writes) < len(data) / 100


async def test_an_identifier_of_tiny_fragments_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MOST_EVENTS", 3)
    service = Plain(matches=[identifier(PatientID="1")])
    async with serving(service) as server, calling(server) as peer:
        request = m.CFindRQ(message_id=1, affected_sop_class_uid=FIND)
        await peer.send(b"".join(tiny(5, m.encode_message(request), implicit(identifier()))))
        assert (await hear(peer)).message.status == 0xFF00
        assert (await hear(peer)).message.status == 0
