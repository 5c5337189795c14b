"""What a server counts: over real associations, each kind of end, request and limit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.connect import Peer
from aiodicom.association.errors import (
    AssociationAborted,
    AssociationRejected,
    InactivityTimeout,
    TimeoutExpired,
)
from aiodicom.association.performing import Request
from aiodicom.client.pacs import Pacs
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Proposal, Supported
from aiodicom.pdu.errors import ConnectionClosed, RemoteProtocolError
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.server.listener import Server, serve
from aiodicom.server.service import Service
from aiodicom.server.stats import OUTCOMES, ServerStats, Tally, outcome_of
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from wire import CT, EXPLICIT, VERIFICATION


class Slow(Service):
    """Echoes, or stores when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.status = 0

    def supported(self) -> Supported:
        return Supported({VERIFICATION: (), CT: ()})

    async def echo(self, request: Request) -> int:
        return self.status


async def settled(server: Server) -> ServerStats:
    """The numbers once every connection is gone."""
    while len(server.connections):
        await asyncio.sleep(0.001)
    return server.stats()


async def test_requests_are_counted_by_service_and_status_and_ends_by_how() -> None:
    service = Slow()
    async with serve(service, port=0) as server:
        assert server.stats().requests == {}
        async with Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
            await pacs.echo()
            await pacs.echo()
            service.status = 0x0110
            with pytest.raises(Exception, match="0110"):
                await pacs.echo()
            open_now = server.stats()
        over = await settled(server)
    assert open_now.associations == 1
    assert open_now.accepted == open_now.connections == 1
    assert open_now.requests == {("C-ECHO", 0): 2, ("C-ECHO", 0x0110): 1}
    assert open_now.bytes_received > 100
    assert over.associations == over.pending == 0
    assert over.ended == {"released": 1, "rejected": 0, "aborted": 0, "timeout": 0, "failed": 0}
    assert over.bytes_received >= open_now.bytes_received + 10  # its A-RELEASE-RQ
    assert over.bytes_sent >= open_now.bytes_sent + 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        over.accepted = 3  # type: ignore[misc]


async def test_a_request_that_the_session_refuses_is_counted_too() -> None:
    async with serve(Slow(), port=0) as server:
        async with Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
            async with pacs.association([]) as association:
                [context] = association.find_contexts(VERIFICATION)
                operation = await association.invoke(
                    context,
                    lambda n: m.NGetRQ(
                        message_id=n, requested_sop_class_uid=VERIFICATION, requested_sop_instance_uid="1.2"
                    ),
                )
                response, _ = await operation.next()
        assert server.stats().requests == {("N-GET", response.status): 1}


def test_what_peers_make_up_is_one_kind() -> None:
    tally = Tally()
    for field in range(0x0200, 0x0A00):
        tally.answered(field, 0x0211)
    assert tally.requests == {("unknown", 0x0211): 0x0800}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "released"),
        (AssociationRejected(1, 1, 1), "rejected"),
        (AssociationAborted("so", by_peer=True), "aborted"),
        (ConnectionClosed("so"), "aborted"),
        (InactivityTimeout("so", limit="idle", seconds=1), "timeout"),
        (RemoteProtocolError("so"), "failed"),
    ],
)
def test_an_end_is_one_of_the_outcomes(error: Any, outcome: str) -> None:
    assert outcome_of(error) == outcome
    assert outcome in OUTCOMES


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        ({"max_associations": 0}, "max_associations"),
        ({"max_associations_per_address": 0}, "max_associations_per_address"),
        ({"max_associations_per_ae": 0}, "max_associations_per_ae"),
        ({"max_contexts": 1}, "max_contexts"),
        ({"max_negotiation_items": 0}, "max_negotiation_items"),
    ],
)
async def test_a_limit_that_refuses_an_association_is_counted_by_its_name(
    limits: dict[str, int], reached: str
) -> None:
    async with serve(Slow(), port=0, limits=ServerLimits(**limits)) as server:
        peer = Peer(host="127.0.0.1", port=server.port)
        peer = replace(peer, timeouts=replace(peer.timeouts, busy=0))
        with pytest.raises(AssociationRejected):
            async with Pacs(peer) as pacs:
                async with pacs.association([Proposal(CT, scp_role=True)]):
                    pass
        stats = await settled(server)
    assert set(stats.limits) == {reached}
    assert stats.ended["rejected"] >= 1
    assert stats.accepted == 0


@pytest.mark.parametrize("name", ["artim_timeout", "idle_timeout"])
async def test_a_time_that_ran_out_is_counted_by_its_name(name: str) -> None:
    limits = ServerLimits(**{name: 0.05})
    async with serve(Slow(), port=0, limits=limits) as server:
        if name == "artim_timeout":
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stats = await _until(server, name)
            writer.close()
        else:
            pacs = await Pacs(Peer(host="127.0.0.1", port=server.port))
            stats = await _until(server, name)
            with contextlib.suppress(AssociationAborted):  # it may not have come yet
                await pacs.close()
    assert stats.limits == {name: 1}
    assert stats.ended["timeout"] == 1


async def _until(server: Server, name: str) -> ServerStats:
    while name not in (stats := server.stats()).limits:
        await asyncio.sleep(0.001)
    return stats


async def test_connections_beyond_the_limit_of_pending_ones_are_counted() -> None:
    async with serve(Slow(), port=0, limits=ServerLimits(max_pending_connections=2)) as server:
        writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(4)]
        while server.stats().connections < 4:
            await asyncio.sleep(0.001)
        stats = server.stats()
        for writer in writers:
            writer.close()
    assert stats.limits == {"max_pending_connections": 2}
    assert stats.pending == 2


def small(uid: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(CT), UID(uid)
    dataset.PatientID = "1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("1.2"), UID("1.3")
    return dataset


async def test_an_archive_tells_how_many_objects_wait(tmp_path: Path) -> None:
    async with serve_archive(tmp_path / "archive", port=0) as server:
        entered, go = asyncio.Event(), asyncio.Event()
        service = server.server.service
        original = service.store

        def store(request: Request) -> Any:
            sink: Any = original(request)
            inner = sink._sink

            class Held:
                write, discard = inner.write, inner.discard

                async def commit(self) -> StoreOutcome:
                    entered.set()
                    await go.wait()
                    outcome: StoreOutcome = await inner.commit()
                    return outcome

            sink._sink = Held()
            return sink

        service.store = store  # type: ignore[method-assign]
        async with Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
            storing = asyncio.create_task(pacs.store(small("1.2.3")))
            await entered.wait()
            waiting = server.stats()
            go.set()
            assert (await storing).ok
        done = server.stats()
    assert waiting.queue_depth == 1
    assert done.queue_depth == 0
    assert done.requests == {("C-STORE", 0): 1}


def test_a_timeout_says_which_and_how_long() -> None:
    error = InactivityTimeout("nothing moved", limit="pdu", seconds=3.0)
    assert (error.limit, error.seconds) == ("pdu", 3.0)
    assert isinstance(error, TimeoutExpired)
    assert TimeoutExpired("so").limit == ""
