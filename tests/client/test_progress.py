"""Progress: rate and time left by an injected clock, and the events of a whole transfer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiodicom.client.connect import connect
from aiodicom.client.progress import WINDOW, Meter, Progress, Rate
from aiodicom.server.archive_service import serve_archive
from wire import Clock, ct


def test_a_rate_is_of_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.add(0) is None
    clock.now = 1.0
    assert rate.add(1000) == 1000
    for _ in range(200):
        clock.now += 1
        last = rate.add(round(1000 + 10 * (clock.now - 1)))
    assert last == pytest.approx(10)
    clock.now += 10 * WINDOW
    assert rate.add(3000) == pytest.approx(0, abs=1)


def test_a_rate_is_bounded_in_memory() -> None:
    clock = Clock()
    rate = Rate(clock)
    for number in range(100_000):
        clock.now += 0.001
        rate.add(number)
    assert len(rate._seen) < 100


def test_the_time_left_goes_by_bytes_where_they_are_known_else_by_objects() -> None:
    clock = Clock()
    told: list[Progress] = []
    meter = Meter(told.append, clock)
    for by_bytes in (True, False):
        meter = Meter(told.append, clock)
        for done in range(3):
            clock.now += 1
            total = 1000 if by_bytes else None
            meter.tell("transferring", objects=done, total=10, size=100 * done, size_total=total)
        assert told[-1].rate == 100
        assert told[-1].seconds_left == 8
        assert (told[-1].safe, told[-1].expected) == (2, 10)
    meter.tell("done", objects=10, total=10, size=1000)
    assert told[-1].seconds_left == 0


def test_nobody_listening_costs_nothing() -> None:
    looked: list[int] = []

    def clock() -> float:
        looked.append(1)
        return 0.0

    Meter(None, clock).tell("transferring", objects=1, total=2, size=3)
    assert not looked


async def test_the_events_of_a_store_and_a_retrieve(tmp_path: Path) -> None:
    def told() -> tuple[list[Progress], Callable[[Progress], None]]:
        events: list[Progress] = []
        return events, events.append

    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            events, add = told()
            assert (await pacs.store([ct(f"1.2.3.1.{n}", size=100) for n in range(4)], progress=add)).ok
            assert [one.phase for one in events][:: len(events) - 1] == ["planning", "done"]
            assert (events[-1].safe, events[-1].expected, events[-1].arrived) == (4, 4, 4)
            events, add = told()
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", progress=add)
            phases = list(dict.fromkeys(one.phase for one in events))
            assert phases == ["planning", "transferring", "done"]
            assert events[0].expected is None
            last = events[-1]
            assert (last.safe, last.expected, last.arrived, last.failed) == (4, 4, 4, 0)
            assert last.bytes == result.bytes
            result.files[0].unlink()
            events, add = told()
            await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", progress=add)
            assert (events[-1].safe, events[-1].present, events[-1].arrived) == (4, 3, 1)
