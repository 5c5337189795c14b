"""Who decodes identifiers when: an address has its share of the threads, and none of files or queries."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.association.budget import Budget
from aiodicom.server.limits import ServerLimits
from aiodicom.server.performer import DECODED_IN_LOOP, DECODED_PER_ADDRESS, Performer
from aiodicom.server.service import Service
from aiodicom.server.shares import Shares

IMPLICIT = "1.2.840.10008.1.2"
LONG = b"\x11\0\x10\0\0\0\0\0" * DECODED_IN_LOOP


class Slowly(Performer):
    """Decodes until it is let go of."""

    def __init__(self, shares: Shares) -> None:
        super().__init__(Service(), ServerLimits(), Budget(0), None, shares)
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def _decoded(self, *ignored: object) -> Any:
        self.begun.release()
        self.go.wait(10)


def of(address: str) -> Any:
    return SimpleNamespace(address=address, context=SimpleNamespace(transfer_syntax=IMPLICIT))


async def test_one_address_never_has_all_the_threads_that_decode() -> None:
    shares = Shares(DECODED_PER_ADDRESS)
    slow, other = Slowly(shares), Slowly(shares)
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


async def test_one_that_is_cancelled_before_its_turn_is_not_decoded() -> None:
    slow = Slowly(Shares(DECODED_PER_ADDRESS))
    many = [asyncio.create_task(slow._decode(of("a"), LONG)) for _ in range(DECODED_PER_ADDRESS + 1)]
    for _ in many[1:]:
        assert await asyncio.get_running_loop().run_in_executor(None, slow.begun.acquire, True, 10)
    many[-1].cancel()
    slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await many[-1]
    await asyncio.gather(*many[:-1])
    assert not slow.begun.acquire(blocking=False)


async def test_decoding_waits_for_no_thread_of_files() -> None:
    """A disk that stalls holds those: an identifier is decoded all the same."""
    go, files = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(files)
    held = files.submit(go.wait, 20)
    ready = Slowly(Shares(DECODED_PER_ADDRESS))
    ready.go.set()
    work = asyncio.create_task(ready._decode(of("a"), LONG))
    try:
        await asyncio.wait([work], timeout=10)
        assert work.done()
        assert held.running()
    finally:
        go.set()
        await work
