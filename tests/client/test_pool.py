"""A pool: never more associations than it says; first come first served; what is idle is released."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.association.association import Association
from aiodicom.association.connect import WINDOW, Peer
from aiodicom.association.observing import EndedEvent, Event, OpenedEvent
from aiodicom.client import associations as module
from aiodicom.client.pool import Pool
from aiodicom.dimse.contexts import Proposal
from aiodicom.pdu.errors import ConnectionClosed
from aiodicom.server.archive_service import ArchiveServer
from wire import ct


class Ledger:
    """The associations that are open at once, as the client opens them."""

    def __init__(self) -> None:
        self.opened = 0
        self.now: list[Association] = []
        self.most = 0

    def note(self, association: Association) -> None:
        self.now = [one for one in self.now if not one.connection.closed and one.error is None]
        self.now = [one for one in self.now if not one.over]
        self.now.append(association)
        self.opened += 1
        self.most = max(self.most, len(self.now))


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    found = Ledger()
    real = module.associate

    async def associate(*arguments: object, **how: object) -> Association:
        association: Association = await real(*arguments, **how)
        found.note(association)
        return association

    monkeypatch.setattr(module, "associate", associate)
    return found


@asynccontextmanager
async def archive(folder: Path, count: int = 12) -> AsyncIterator[ArchiveServer]:
    async with aiodicom.serve_archive(folder, port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            objects = [ct(f"1.2.3.4.{n}", SeriesInstanceUID=f"1.2.3.{n}") for n in range(count)]
            assert (await pacs.store(objects)).ok
        yield server


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_whatever_runs_at_once_there_are_never_more(tmp_path: Path, ledger: Ledger, size: int) -> None:
    async with archive(tmp_path / "archive") as server:
        ledger.opened = ledger.most = 0
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=size) as pool:
            assert ledger.opened == 0

            async def iterate() -> int:
                return len([one async for one in pool.find("SERIES", {"StudyInstanceUID": "1.2.3"})])

            async def kept() -> int:
                async with pool.acquire() as pacs:
                    await pacs.echo()
                    return len(await pacs.find("STUDY"))

            results = await asyncio.gather(
                *(pool.echo() for _ in range(6)),
                *(iterate() for _ in range(6)),
                *(pool.get("SERIES", f"1.2.3.{n}", directory=tmp_path / "out") for n in range(6)),
                pool.get("STUDY", "1.2.3", directory=tmp_path / "all", associations=3),
                pool.get("STUDY", "1.2.3", directory=tmp_path / "again", associations=3),
                *(pool.store(ct(f"1.2.3.5.{n}", SeriesInstanceUID="1.2.3.0")) for n in range(6)),
                *(kept() for _ in range(6)),
            )
            assert ledger.most <= size
            reports = (aiodicom.RetrieveResult, aiodicom.StoreReport, aiodicom.Status)
            assert all(one.ok if isinstance(one, reports) else one for one in results)
        assert [one for one in ledger.now if not one.over] == []


@pytest.mark.parametrize("size", [1, 3])
async def test_a_client_too_can_be_told_how_many(tmp_path: Path, ledger: Ledger, size: int) -> None:
    async with archive(tmp_path / "archive") as server:
        ledger.opened = ledger.most = 0
        where = ("127.0.0.1", server.port)
        async with aiodicom.connect(*where, max_associations=size) as pacs:
            assert pacs.max_associations == size
            results: list[Any] = await asyncio.gather(
                *(pacs.echo() for _ in range(6)),
                *(pacs.get("SERIES", f"1.2.3.{n}", directory=tmp_path / "out") for n in range(6)),
                pacs.get("STUDY", "1.2.3", directory=tmp_path / "all", associations=3),
                pacs.store(
                    [ct(f"1.2.3.6.{n}", SeriesInstanceUID="1.2.3.0") for n in range(40)], associations=4
                ),
            )
        assert all(one.ok for one in results)
        assert ledger.most <= size


async def test_without_being_told_nothing_is_limited(tmp_path: Path) -> None:
    async with archive(tmp_path / "archive") as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            assert pacs.max_associations is None
        with pytest.raises(ValueError, match="at least one association, not 0"):
            aiodicom.connect("127.0.0.1", server.port, max_associations=0)
        with pytest.raises(TypeError, match="max_size"):
            aiodicom.create_pool("127.0.0.1", server.port, max_associations=2)


async def test_the_archive_too_counts_no_more(tmp_path: Path) -> None:
    """A server that takes two associations of one address rejects none of a pool of two."""
    limits = aiodicom.ServerLimits(max_associations_per_address=2)
    async with aiodicom.serve_archive(tmp_path, port=0, limits=limits) as server:
        timeouts = aiodicom.Timeouts(busy=0)
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=2, timeouts=timeouts) as pool:
            results = await asyncio.gather(*(pool.echo() for _ in range(20)))
            assert all(one.ok for one in results)


async def test_idle_associations_are_used_again(tmp_path: Path, ledger: Ledger) -> None:
    async with archive(tmp_path) as server:
        ledger.opened = 0
        async with aiodicom.create_pool("127.0.0.1", server.port) as pool:
            for _ in range(5):
                await pool.echo()
                async with pool.acquire() as pacs:
                    await pacs.echo()
                    await pacs.find("STUDY")
            assert ledger.opened == 1
            assert pool.info.called_ae == "ANY-SCP"
            assert repr(pool).endswith("open, 1 of 4 associations>")


async def test_first_come_first_served_and_a_cancelled_one_costs_nobody_the_turn(tmp_path: Path) -> None:
    order: list[int] = []
    async with archive(tmp_path) as server:
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=1) as pool:

            async def take(number: int) -> None:
                async with pool.acquire() as pacs:
                    order.append(number)
                    await pacs.echo()

            async with pool.acquire() as first:
                tasks = []
                for number in range(6):
                    tasks.append(asyncio.create_task(take(number)))
                    await asyncio.sleep(0)
                tasks[2].cancel()
                await first.echo()
            tasks[0].cancel()  # it has been given the turn, and has not begun
            await asyncio.gather(*tasks, return_exceptions=True)
            await pool.echo()
    assert order == [1, 3, 4, 5]


async def test_one_that_is_cancelled_in_the_step_in_which_its_turn_comes_costs_nobody_anything() -> None:
    """A waiter is cancelled at once, its task is told in the next step: the turn is the next one's."""
    async with aiodicom.create_pool("127.0.0.1", 1, max_size=1) as pool:

        async def take() -> str:
            async with pool.acquire():
                return "had it"

        async with pool.acquire():
            gone, next_one = asyncio.create_task(take()), asyncio.create_task(take())
            await asyncio.sleep(0)
            gone.cancel()
        assert await next_one == "had it"
        assert gone.cancelled()
        assert pool._associations.lent == 0


async def test_an_operation_that_fails_gives_its_turn_back(tmp_path: Path) -> None:
    async with archive(tmp_path) as server:
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=1) as pool:
            for _ in range(3):
                with pytest.raises(RuntimeError):
                    async with pool.acquire() as pacs:
                        await pacs.echo()
                        raise RuntimeError("a user's")
                await pool.echo()


async def test_what_one_association_learned_about_the_peer_the_pool_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that drops what offers a window costs one connection, not one of each that is acquired."""
    asked: list[object] = []
    real = module.associate

    async def associate(peer: Peer, *arguments: object, **how: object) -> Association:
        asked.append(peer.async_operations)
        if peer.async_operations is not None:
            raise ConnectionClosed("by the peer")
        association: Association = await real(peer, *arguments, **how)
        return association

    monkeypatch.setattr(module, "associate", associate)
    async with archive(tmp_path) as server:
        asked.clear()
        async with aiodicom.create_pool("127.0.0.1", server.port) as pool:
            for sop_class in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"):
                async with pool.acquire() as pacs, pacs.association([Proposal(sop_class)]):
                    pass
    assert asked == [WINDOW, None, None]


async def test_what_is_free_is_used_while_another_is_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with archive(tmp_path) as server:
        async with aiodicom.create_pool("127.0.0.1", server.port) as pool:
            await pool.echo()
            opening, never = asyncio.Event(), asyncio.Event()

            async def associate(*arguments: object, **how: object) -> None:
                opening.set()
                await never.wait()

            async def other() -> None:
                async with pool.association([Proposal("1.2.840.10008.5.1.4.1.1.2")]):
                    pass

            monkeypatch.setattr(module, "associate", associate)
            task = asyncio.create_task(other())
            await opening.wait()
            assert await asyncio.wait_for(pool.echo(), 20) == 0
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])


async def test_one_that_is_taken_while_room_is_made_is_not_released(tmp_path: Path) -> None:
    """Several are idle; each is looked at when its turn has come."""
    async with archive(tmp_path) as server:
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=3, max_idle=None) as pool:
            async with pool.acquire() as one, pool.acquire() as two, pool.acquire() as three:
                await asyncio.gather(one.echo(), two.echo(), three.echo())
            associations = pool._associations
            assert len(associations.all) == 3
            releasing = asyncio.create_task(associations.release_idle(0))
            await asyncio.sleep(0)  # the first is on its way
            async with pool.acquire() as pacs:
                await pacs.echo()
                assert not await releasing
                await pacs.echo()


async def test_nobody_there_is_told_to_each_and_the_pool_lives_on(tmp_path: Path) -> None:
    pool = await aiodicom.create_pool("127.0.0.1", 1, max_size=2)
    found = await asyncio.gather(*(pool.echo() for _ in range(6)), return_exceptions=True)
    assert all(isinstance(one, aiodicom.ConnectionRefused) for one in found)
    await pool.close()


async def test_an_association_that_the_peer_dropped_is_replaced(tmp_path: Path, ledger: Ledger) -> None:
    async with archive(tmp_path) as server:
        ledger.opened = 0
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=1) as pool:
            await pool.echo()
            for association in server.server.associations:
                association.abort_now()
            await ledger.now[-1].wait_closed()
            async with pool.acquire() as pacs:
                await pacs.echo()
            await pool.echo()
            assert ledger.opened == 2


async def test_closing_tells_who_waits_and_who_holds(tmp_path: Path) -> None:
    async with archive(tmp_path) as server:
        pool = await aiodicom.create_pool("127.0.0.1", server.port, max_size=1)
        async with pool.acquire() as pacs:
            await pacs.echo()
            waiting = asyncio.create_task(pool.echo())
            await asyncio.sleep(0)
            await pool.close()
            with pytest.raises(aiodicom.AssociationEnded):
                await waiting
        with pytest.raises(aiodicom.AssociationEnded):
            await pacs.echo()  # it has gone back
        with pytest.raises(aiodicom.AssociationEnded):
            await pool.echo()
        with pytest.raises(aiodicom.AssociationEnded):
            async with pool.acquire():
                pass
        for association in server.server.associations:
            await association.wait_closed()


def test_a_pool_may_be_made_before_there_is_a_loop_and_entered_again(tmp_path: Path) -> None:
    pool = aiodicom.create_pool("127.0.0.1", 1)

    async def use() -> None:
        async with pool:
            with pytest.raises(aiodicom.ConnectionRefused):
                await pool.echo()

    asyncio.run(use())
    asyncio.run(use())


async def test_a_client_before_it_is_entered_asks_nothing() -> None:
    pool = aiodicom.create_pool("127.0.0.1", 1)
    with pytest.raises(aiodicom.AssociationEnded):
        await pool.echo()


async def test_what_is_idle_too_long_is_released_and_what_is_used_is_not(tmp_path: Path) -> None:
    events: list[Event] = []
    ended = asyncio.Event()

    def note(event: Event) -> None:
        events.append(event)
        if isinstance(event, EndedEvent):
            ended.set()

    async with archive(tmp_path) as server:
        pool = aiodicom.create_pool("127.0.0.1", server.port, max_idle=0.0, observer=note)
        async with pool, pool.acquire() as pacs:
            await pool.echo()
            await pacs.echo()
            await asyncio.wait_for(ended.wait(), 20)
            assert pool._associations.all == []
            await pacs.echo()
        assert {one.outcome for one in events if isinstance(one, EndedEvent)} == {"released"}
        assert sum(isinstance(one, OpenedEvent) for one in events) == 2


async def test_without_a_limit_of_time_they_stay(tmp_path: Path) -> None:
    async with archive(tmp_path) as server:
        async with aiodicom.create_pool("127.0.0.1", server.port, max_idle=None) as pool:
            await pool.echo()
            assert pool._timer is None


@pytest.mark.parametrize("options", [{"max_size": 0}, {"max_size": -1}, {"max_idle": -1}])
async def test_what_no_pool_can_be_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"pool|max_idle"):
        aiodicom.create_pool("127.0.0.1", 1, **options)


async def test_a_pool_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[nodes.here]\nhost = "127.0.0.1"\nport = 1\ncalled_ae = "PACS"\n')
    monkeypatch.setenv("AIODICOM_CONFIG", str(config))
    pool = aiodicom.create_pool("@here", max_size=2)
    assert isinstance(pool, Pool)
    assert (pool.peer.called_ae, pool.max_size) == ("PACS", 2)
