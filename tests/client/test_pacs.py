"""Operations of one `Pacs`: holds, data sets too large to send at once, answers and cancels that cross."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.connect import Peer
from aiodicom.association.errors import InactivityTimeout
from aiodicom.association.performing import Request
from aiodicom.association.sending import PART, with_dataset
from aiodicom.association.timeouts import Timeouts
from aiodicom.client.pacs import Pacs
from aiodicom.client.receiving import make_directories
from aiodicom.client.retrieved import ReceivedItem, RetrieveResult
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import VERIFICATION, Proposal, Supported
from aiodicom.dimse.levels import Level, Root, find_model
from aiodicom.dimse.limits import SessionLimits
from aiodicom.dimse.status import SUCCESS
from aiodicom.pdu import LocalProtocolError
from aiodicom.pdu.types import AsyncOperationsWindow
from aiodicom.server.limits import ServerLimits
from aiodicom.server.listener import Server, serve
from aiodicom.server.service import Match, Reply, Service
from pydicom.dataset import Dataset

PATIENCE = 20.0
COMMITMENT = "1.2.840.10008.1.20.1"


class Many(Service):
    """Answers a query with `count` matches and then, if told, with silence."""

    def __init__(self, count: int, *, hang: bool = False) -> None:
        self.count = count
        self.hang = hang

    def supported(self) -> Supported:
        return Supported({VERIFICATION: (), find_model(Root.PATIENT): (), COMMITMENT: ()})

    async def find(
        self, info: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[Match]:
        for number in range(self.count):
            match = Dataset()
            match.QueryRetrieveLevel = "PATIENT"
            match.PatientID = str(number)
            yield Match(match)
        if self.hang:
            await asyncio.Event().wait()

    async def perform(self, info: Request, dataset: Dataset | None) -> Reply:
        return Reply(dataset=dataset)


def client(server: Server, **options: Any) -> Pacs:
    return Pacs(Peer(host="127.0.0.1", port=server.port, **options))


async def test_a_consumer_that_was_slow_still_gets_the_inactivity_timeout() -> None:
    """The watchdog sleeps while we hold the peer; it must wake when we no longer do."""
    async with await serve(Many(400, hang=True), port=0) as server:
        pacs = client(server, timeouts=Timeouts(inactivity=0.3))
        seen = 0
        with pytest.raises(InactivityTimeout):
            async with asyncio.timeout(PATIENCE), pacs:
                async for _ in pacs.find("PATIENT"):
                    seen += 1
                    if seen == 1:  # until more have come than are queued, and the timer has run out once
                        association = pacs._associations.all[0]
                        while not association.connection.reading.held:
                            await asyncio.sleep(0)
                        await asyncio.sleep(0.7)
        assert seen == 400


@pytest.mark.parametrize("window", [None, AsyncOperationsWindow(2, 1), AsyncOperationsWindow(0, 1)])
async def test_an_operation_inside_a_loop_over_more_matches_than_are_queued(
    window: AsyncOperationsWindow | None,
) -> None:
    granted = AsyncOperationsWindow(1, 0)
    async with await serve(Many(2000), port=0, async_operations=granted) as server:
        async with asyncio.timeout(PATIENCE), client(server, async_operations=window) as pacs:
            found = 0
            async for _ in pacs.find("PATIENT"):
                found += 1
                if found % 500 == 1:
                    await pacs.echo()
            assert found == 2000


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
async def test_a_large_data_set_in_memory_goes_out_in_parts() -> None:
    """One over the write limit was cut off as if the peer did not read."""
    large = Dataset()
    large.PatientComments = "x" * (20 * PART)
    service = Many(0)
    limits = ServerLimits(max_identifier_length=64 * PART)
    async with await serve(service, port=0, limits=limits) as server:
        options = {"identifier_length": 64 * PART, "limits": SessionLimits()}
        async with asyncio.timeout(PATIENCE), client(server, **options) as pacs:
            async with pacs.association([Proposal(COMMITMENT)]) as association:
                (context,) = association.find_contexts(COMMITMENT)
                data = encode_dataset(large, context.transfer_syntax)
                operation = await association.invoke(
                    context,
                    lambda n: m.NActionRQ(  # the data set type is made true, whatever the default says
                        message_id=n,
                        requested_sop_class_uid=COMMITMENT,
                        requested_sop_instance_uid="1.2.3",
                        action_type_id=1,
                    ),
                    data,
                )
                response, answer = await operation.next()
    assert response.status == 0
    assert answer == data


def test_a_message_says_truly_whether_a_data_set_follows() -> None:
    request = m.NCreateRQ(message_id=1, affected_sop_class_uid="1.2")
    assert with_dataset(request, True).has_dataset
    assert with_dataset(request, False) is request
    with pytest.raises(LocalProtocolError, match="needs a data set"):
        with_dataset(m.CFindRQ(message_id=1, affected_sop_class_uid="1.2"), False)


async def test_requests_refused_by_the_hundred_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "aiodicom"):
        async with asyncio.timeout(PATIENCE), await serve(Many(0), port=0) as server, client(server) as pacs:
            async with pacs.association([Proposal(VERIFICATION)]) as association:
                (context,) = association.find_contexts(VERIFICATION)
                for _ in range(300):  # of a class that is not the context's
                    operation = await association.invoke(
                        context, lambda n: m.CFindRQ(message_id=n, affected_sop_class_uid="1.2.3"), b""
                    )
                    response, _ = await operation.next()
                    assert response.status == 0x0122
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(said) == 1


def test_success_without_the_objects_it_counts_is_no_success() -> None:
    result = RetrieveResult(status=0, completed=2)
    assert result.unaccounted == 2
    assert not result.ok
    result.add(ReceivedItem("1.2", "1.2.3", "1.2.840.10008.1.2", SUCCESS))
    assert result.unaccounted == 1
    result.add(result.items[0])  # sent twice, counted twice: nothing else is to come
    assert result.unaccounted == 0
    assert result.ok


@pytest.mark.parametrize("durable", [True, False])
def test_new_folders_are_forced_to_the_disk_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[str] = []
    monkeypatch.setattr("aiodicom.client.receiving.sync_directory", synced.append)
    target = tmp_path / "a" / "b" / "c"
    make_directories(str(target), durable=durable)
    assert target.is_dir()
    assert synced == ([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")] if durable else [])
    synced.clear()
    make_directories(str(target), durable=durable)
    assert synced == []
