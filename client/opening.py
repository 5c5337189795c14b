"""What is asked for while others of ours are open: some peers take one association at a time, and leave the
request for the next unanswered until it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ..association.errors import AssociationRejected
from ..association.tasks import Tasks
from ..pdu.errors import AiodicomError

T = TypeVar("T")

UNANSWERED = 1.0
"""Seconds without an answer after which what is idle of ours is used in its place, or released."""


async def opened(
    opening: Coroutine[Any, Any, T],
    returned: asyncio.Event,
    instead: Callable[[], Awaitable[bool]],
    unwanted: Callable[[T], Awaitable[None]],
) -> T | None:
    """What `opening` gives; None where there was no answer for `UNANSWERED` seconds and `instead` says yes.

    That is asked then, and each time that something is given back (`returned`). `unwanted` gets what
    `opening` gave all the same. Raises what they raise.
    """
    tasks, wanted = Tasks(), False
    task = tasks.start(opening)
    try:
        await asyncio.wait((task,), timeout=UNANSWERED)
        while not task.done():
            returned.clear()
            if await instead():
                return None
            back = tasks.start(returned.wait())
            await asyncio.wait((task, back), return_when=asyncio.FIRST_COMPLETED)
            back.cancel()
        wanted = True
        return task.result()
    finally:
        tasks.end()
        await tasks.wait()
        if not (wanted or task.cancelled() or task.exception()):
            await unwanted(task.result())


def may_pass(error: AiodicomError, *, soon: bool, moving: bool) -> bool:
    """Whether what an association was refused with is worth another request.

    soon: it has not been asked for long. moving: something moves on another of ours, which may be the one
    that the peer takes.
    """
    if isinstance(error, AssociationRejected):
        return error.transient and (soon or moving)
    return moving
