"""The one place that starts work: what follows it is told, however it ended and when it never began."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiodicom.association.tasks import Job, Tasks, on_thread, to_its_end


async def test_then_follows_a_task_however_it_ended() -> None:
    told: list[str] = []
    failed: list[BaseException] = []
    tasks = Tasks(failed=failed.append, changed=lambda: told.append("changed"))

    async def good() -> None:
        told.append("ran")

    async def bad() -> None:
        raise ValueError("no")

    tasks.start(good(), lambda: told.append("after good"))
    tasks.start(bad(), lambda: told.append("after bad"))
    assert len(tasks) == 2
    await tasks.wait()
    assert told == ["ran", "after good", "changed", "after bad", "changed"]
    assert [str(one) for one in failed] == ["no"]
    assert not len(tasks)


async def test_then_follows_a_task_that_never_began() -> None:
    told: list[str] = []
    tasks = Tasks()

    async def work() -> None:
        told.append("ran")

    tasks.start(work(), lambda: told.append("after")).cancel()
    await tasks.wait()
    tasks.end()
    tasks.start(work(), lambda: told.append("after the end"))
    await tasks.wait()
    assert told == ["after", "after the end"]


async def test_work_on_a_thread_is_waited_for_though_cancelled() -> None:
    free, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    unwanted: list[int] = []

    def work() -> int:
        loop.call_soon_threadsafe(begun.set)
        free.wait()
        return 5

    task = asyncio.create_task(on_thread(work, unwanted=unwanted.append))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # again: the thread is still in it
    await asyncio.sleep(0)
    assert not task.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert unwanted == [5]


async def test_work_given_up_before_it_had_a_thread_never_runs() -> None:
    free, ran = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(free.wait)
        unwanted: list[None] = []
        task = asyncio.create_task(
            on_thread(lambda: ran.append("first"), unwanted=unwanted.append, executor=pool)
        )
        dropped = Job(lambda: ran.append("second"), pool)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        told = asyncio.Event()
        dropped.drop(told.set)
        free.set()
        await told.wait()
    assert (ran, unwanted) == ([], [])


async def test_a_job_that_is_dropped_when_done_tells_at_once() -> None:
    job = Job(lambda: 7)
    assert await job.result() == 7
    told: list[str] = []
    job.drop(lambda: told.append("free"))
    assert told == ["free"]


async def test_an_error_on_a_thread_is_raised() -> None:
    def work() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await on_thread(work)


async def test_to_its_end_ends_before_the_cancellation_is_raised() -> None:
    go, ended = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        ended.append(True)

    task = asyncio.create_task(to_its_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_work_that_nobody_wants_any_more_is_told_at_once() -> None:
    begun, hurried = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return hurried.wait(10)

    task = asyncio.create_task(on_thread(work, hurry=hurried.set))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hurried.is_set()
