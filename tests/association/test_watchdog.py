"""The timer of an association's limits, on both loops; what the limits do is tested over the wire."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiodicom.association.errors import InactivityTimeout
from aiodicom.association.transport import Connection
from aiodicom.association.watchdog import Watch, Watchdog
from wire import on_each_loop


def idle_since(moment: float) -> Connection:
    values: dict[str, Any] = {
        "writing_held": False,
        "reading": SimpleNamespace(held=False),
        "pdu_since": None,
        "message_since": None,
        "message_bytes": 0,
        "last_activity": moment,
    }
    return cast(Connection, SimpleNamespace(**values))


@on_each_loop
async def test_a_limit_that_is_past_may_be_looked_at_again_before_the_timer_runs() -> None:
    """For a moment that is past uvloop gives a handle that does not know when it is due."""
    told: list[InactivityTimeout] = []
    loop = asyncio.get_running_loop()
    connection = idle_since(loop.time() - 10)
    dog = Watchdog(
        Watch(idle=1), connection, invoking=lambda: False, performing=lambda: False, act=told.append
    )
    dog.arm()
    dog.arm()
    await asyncio.sleep(0.01)
    assert len(told) == 1
    assert "idle for 1 s" in str(told[0])


@on_each_loop
async def test_an_earlier_limit_moves_the_timer_and_a_later_one_does_not() -> None:
    loop = asyncio.get_running_loop()
    connection = idle_since(loop.time())
    dog = Watchdog(
        Watch(idle=100), connection, invoking=lambda: False, performing=lambda: False, act=lambda _: None
    )
    dog.arm()
    first, wakes = dog._timer, dog._wakes
    connection.last_activity += 50
    dog.arm()
    assert dog._timer is first
    connection.last_activity -= 80
    dog.arm()
    assert dog._timer is not first
    assert dog._wakes < wakes
    dog.stop()
