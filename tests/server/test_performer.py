"""Who decodes identifiers when: an address has its share of the threads, and none of files or queries."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.association.budget import Budgets
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Context
from aiodicom.pdu.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from aiodicom.server import performer
from aiodicom.server.destinations import Destinations
from aiodicom.server.limits import ServerLimits
from aiodicom.server.performer import DECODED_IN_LOOP, Performer
from aiodicom.server.resources import DECODED_PER_ADDRESS, DECODERS, Resources
from aiodicom.server.service import Reply, Service
from aiodicom.server.shares import Shares
from pydicom.dataset import Dataset
from wire import CT, FIND, Plain, calling, hear, identifier, implicit, say, serving

IMPLICIT = "1.2.840.10008.1.2"
LONG = b"\x11\0\x10\0\0\0\0\0" * DECODED_IN_LOOP


class Slowly(Performer):
    """Decodes until it is let go of."""

    def __init__(self, shares: Shares, decoders: Executor) -> None:
        limits = ServerLimits()
        turns = Destinations(limits, 100)
        shared = Resources(Budgets(0, 0), shares, decoders, Shares(1), None, turns)
        super().__init__(Service(), limits, shared, "a")
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def _decoded(self, *ignored: object) -> Any:
        self.begun.release()
        self.go.wait(10)


def of(address: str) -> Any:
    return SimpleNamespace(origin=address, context=SimpleNamespace(transfer_syntax=IMPLICIT))


@pytest.fixture
def decoders() -> Iterator[Executor]:
    with ThreadPoolExecutor(DECODERS) as threads:
        yield threads


async def test_one_address_never_has_all_the_threads_that_decode(decoders: Executor) -> None:
    assert DECODED_PER_ADDRESS < DECODERS
    shares = Shares(DECODED_PER_ADDRESS)
    slow, other = Slowly(shares, decoders), Slowly(shares, decoders)
    other.go.set()
    many = [asyncio.create_task(slow._decode(of("a"), LONG)) for _ in range(8)]
    wait = asyncio.get_running_loop().run_in_executor
    for _ in range(DECODED_PER_ADDRESS):
        assert await wait(None, slow.begun.acquire, True, 10)
    try:
        await asyncio.wait_for(other._decode(of("b"), LONG), 8)
        assert not slow.begun.acquire(blocking=False)
    finally:
        slow.go.set()
        await asyncio.gather(*many)
    assert not shares


async def test_one_that_is_cancelled_before_its_turn_is_not_decoded(decoders: Executor) -> None:
    slow = Slowly(Shares(DECODED_PER_ADDRESS), decoders)
    many = [asyncio.create_task(slow._decode(of("a"), LONG)) for _ in range(DECODED_PER_ADDRESS + 1)]
    for _ in many[1:]:
        assert await asyncio.get_running_loop().run_in_executor(None, slow.begun.acquire, True, 10)
    many[-1].cancel()
    slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await many[-1]
    await asyncio.gather(*many[:-1])
    assert not slow.begun.acquire(blocking=False)


async def test_decoding_waits_for_no_thread_of_files(decoders: Executor) -> None:
    """A disk that stalls holds those: an identifier is decoded all the same."""
    go, files = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(files)
    held = files.submit(go.wait, 20)
    ready = Slowly(Shares(DECODED_PER_ADDRESS), decoders)
    ready.go.set()
    work = asyncio.create_task(ready._decode(of("a"), LONG))
    try:
        await asyncio.wait([work], timeout=10)
        assert work.done()
        assert held.running()
    finally:
        go.set()
        await work


async def test_one_server_keeps_no_other_from_decoding() -> None:
    """They may be of different owners, in one process."""
    empty = b"".join(struct.pack("<HHL", 0x0011, n, 0) for n in range(0x1000, 0x1000 + DECODED_IN_LOOP))
    question = implicit(identifier()) + empty  # too long for the loop
    go = threading.Event()
    async with (
        serving(Plain()) as busy,
        serving(Plain(matches=[])) as other,
        calling(other) as peer,
    ):
        threads = [busy._decoders.submit(go.wait, 20) for _ in range(2 * DECODERS)]
        try:
            await say(peer, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), question)
            assert (await hear(peer)).message.status == 0
        finally:
            go.set()
        assert all(one.result() for one in threads)


class Where(Performer):
    """Notes on which thread it decodes."""

    def __init__(self, decoders: Executor) -> None:
        limits = ServerLimits()
        turns = Destinations(limits, 100)
        shared = Resources(Budgets(0, 0), Shares(DECODED_PER_ADDRESS), decoders, Shares(1), None, turns)
        super().__init__(Service(), limits, shared, "a")
        self.in_loop: list[bool] = []

    def _decoded(self, context: Context, raw: bytes) -> Dataset:
        self.in_loop.append(threading.current_thread() is threading.main_thread())
        return super()._decoded(context, raw)


async def test_small_identifiers_alone_are_decoded_in_the_loop(decoders: Executor) -> None:
    """One that is deflated may be any size."""
    where = Where(decoders)
    for syntax, size, in_loop in (
        (IMPLICIT, DECODED_IN_LOOP, True),
        (IMPLICIT, DECODED_IN_LOOP + 2, False),
        (DEFLATED, 100, False),
    ):
        asked = Dataset()
        asked.StudyComments = "x" * (size - 8)
        raw = encode_dataset(asked, syntax)
        assert syntax == DEFLATED or len(raw) == size
        request: Any = SimpleNamespace(origin="a", context=Context(1, CT, syntax))
        assert await where._decode(request, raw) == asked
        assert where.in_loop.pop() is in_loop


async def test_what_is_answered_is_encoded_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service chooses how large it is: of a query, and of a DIMSE-N request."""
    in_loop: list[bool] = []

    def encode(dataset: Dataset, syntax: str) -> bytes:
        in_loop.append(threading.current_thread() is threading.main_thread())
        return encode_dataset(dataset, syntax)

    class Answering(Plain):
        async def perform(self, request: Any, dataset: Dataset | None) -> Reply:
            return Reply(dataset=identifier(StudyComments="x"))

    monkeypatch.setattr(performer, "encode_dataset", encode)
    async with serving(Answering(matches=[identifier()] * 3)) as server, calling(server) as peer:
        await say(peer, 5, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), identifier())
        statuses = [(await hear(peer)).message.status for _ in range(4)]
        assert statuses == [0xFF00] * 3 + [0]
        request = m.NGetRQ(message_id=2, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2")
        await say(peer, 3, request)
        assert (await hear(peer)).message.status == 0
    assert in_loop == [False] * 4
