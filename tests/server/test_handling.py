"""Servers in ten lines: a coroutine takes each object while it arrives, or answers a worklist query."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom import Incoming, StorageService, WorklistService
from aiodicom.archive.keys import Keys
from aiodicom.association.incoming import PARTS
from aiodicom.association.performing import Refused
from aiodicom.association.tasks import on_thread
from aiodicom.client.negotiated import need_context
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from aiodicom.server import handling
from aiodicom.server.handling import MODALITY_WORKLIST, TOGETHER
from archive_objects import stored
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from wire import PATIENCE, STEADY, ct, on_each_loop, random_ct

SIZE = 8_000_000
EXPLICIT = "1.2.840.10008.1.2.1"
TIMES = replace(STEADY, artim=0.1, cancel=0.3)


def explicit(one: Dataset) -> bytes:
    """As the client sends it."""
    return encode_dataset(one, EXPLICIT)


async def sent(handler: Any, objects: list[Dataset], **how: Any) -> aiodicom.StoreReport:
    async with aiodicom.serve(StorageService(handler, **how), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
            return await pacs.store(objects)


@on_each_loop
async def test_an_object_is_read_while_it_arrives() -> None:
    """Its header before its pixels, and never more of it in memory than a little."""
    came: dict[str, bytes] = {}
    early, most = 0, 0

    async def keep(incoming: Incoming) -> None:
        nonlocal early, most
        early += not incoming.whole
        assert incoming.request is not None
        assert incoming.request.calling_ae == "AIODICOM"
        assert incoming.head.dataset.PatientID == "P1"
        parts = []
        async for part in incoming:
            most = max(most, incoming._held)
            parts.append(part)
            await asyncio.sleep(0)
        came[incoming.head.sop_instance_uid] = b"".join(parts)

    objects = [random_ct(n, SIZE) for n in range(3)]
    report = await sent(keep, objects)
    assert report.ok
    assert came == {str(one.SOPInstanceUID): explicit(one) for one in objects}
    assert early == 3
    assert most < 3 * PARTS


async def test_success_is_answered_after_the_handler_has_returned() -> None:
    order: list[str] = []
    go_on = asyncio.Event()

    async def keep(incoming: Incoming) -> None:
        await incoming.read()
        order.append("read")
        await go_on.wait()
        order.append("kept")

    async with aiodicom.serve(StorageService(keep), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
            task = asyncio.create_task(_stored(pacs, order))
            while "read" not in order:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert order == ["read"]
            go_on.set()
            await task
    assert order == ["read", "kept", "answered"]


async def _stored(pacs: aiodicom.Pacs, order: list[str]) -> None:
    assert (await pacs.store([ct("1.2.3.1.1")])).ok
    order.append("answered")


@pytest.mark.parametrize("size", [0, SIZE])
@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        (aiodicom.Refused(0xA900, "not for us"), 0xA900, "not for us"),
        (OSError(28, "No space left on device"), 0xA700, "No space left"),
        (KeyError("SECRET^NAME"), 0x0110, "processing failure"),
    ],
)
@pytest.mark.parametrize("reads", [False, True])
async def test_what_a_handler_fails_with_is_a_failure(
    failure: Exception, status: int, words: str, reads: bool, size: int
) -> None:
    async def fail(incoming: Incoming) -> None:
        if reads:
            await incoming.read()
        raise failure

    report = await sent(fail, [random_ct(1, size), random_ct(2, size)])
    assert [int(item.status or 0) for item in report.items] == [status, status]
    assert words in (report.items[0].comment or "")
    assert "SECRET" not in str(report.to_dict())


async def test_a_handler_may_say_how_it_went_and_read_as_little_as_it_likes() -> None:
    given: list[Any] = [None, 0xB007, aiodicom.StoreOutcome(0xA701, "later")]

    async def glance(incoming: Incoming) -> Any:
        async for _ in incoming:
            break
        return given.pop(0)

    report = await sent(glance, [random_ct(n, SIZE) for n in range(3)])
    assert [int(item.status or 0) for item in report.items] == [0, 0xB007, 0xA701]
    assert report.items[2].comment == "later"


async def test_a_handler_is_cancelled_where_the_object_never_becomes_whole() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def keep(incoming: Incoming) -> None:
        try:
            async for _ in incoming:
                begun.set()
            raise AssertionError("it is not whole")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with aiodicom.serve(StorageService(keep), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
            await asyncio.wait_for(_drop(pacs, begun), PATIENCE)
            assert await asyncio.wait_for(cancelled.wait(), PATIENCE)


async def test_a_handler_that_never_ends_keeps_no_server_from_stopping() -> None:
    """It holds its peer, of whose end nothing is read meanwhile."""
    held, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(incoming: Incoming) -> None:
        held.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with aiodicom.serve(StorageService(forever), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
            await asyncio.wait_for(_drop(pacs, held), PATIENCE)
    assert await asyncio.wait_for(cancelled.wait(), PATIENCE)


async def _quiet(pacs: aiodicom.Pacs) -> None:
    try:
        await pacs.store([random_ct(1, 8 * SIZE)])
    except aiodicom.AiodicomError:
        return


async def _drop(pacs: aiodicom.Pacs, held: asyncio.Event) -> None:
    sending = asyncio.create_task(_quiet(pacs))
    await held.wait()
    for association in pacs._associations.all:
        association.abort_now()
    await sending


async def test_an_object_over_the_limit_is_refused() -> None:
    async def keep(incoming: Incoming) -> None:
        await incoming.read()

    report = await sent(keep, [random_ct(1, SIZE)], max_object_size=SIZE // 2)
    assert int(report.items[0].status or 0) == 0xA700
    assert "over" in (report.items[0].comment or "")


async def test_what_is_offered_is_what_was_given() -> None:
    async def keep(incoming: Incoming) -> None:
        await incoming.read()

    supported = aiodicom.Supported({"1.2.840.10008.5.1.4.1.1.4": ()})  # MR alone
    report = await sent(keep, [ct("1.2.3.1.1")], supported=supported)
    assert not report.ok


async def test_a_file_of_it(tmp_path: Path) -> None:
    files: list[bytes] = []

    async def keep(incoming: Incoming) -> None:
        files.append(b"".join([part async for part in incoming.file()]))

    one = random_ct(1, 10_000)
    assert (await sent(keep, [one])).ok
    read = dcmread(BytesIO(files[0]))
    assert read.SOPInstanceUID == one.SOPInstanceUID
    assert read.file_meta.SourceApplicationEntityTitle == "AIODICOM"
    assert files[0].endswith(explicit(one))


async def test_a_forwarder_in_ten_lines(tmp_path: Path) -> None:
    """What is answered to the sender is what the archive behind answered."""
    async with aiodicom.serve_archive(tmp_path, port=0) as archive:
        async with aiodicom.create_pool("127.0.0.1", archive.port) as onward:

            async def forward(incoming: Incoming) -> int | None:
                with tempfile.TemporaryFile() as file:
                    async for part in incoming.file():
                        file.write(part)
                    file.seek(0)
                    report = await onward.store(file)
                return report.items[0].status

            objects = [random_ct(n, 100_000) for n in range(3)]
            assert (await sent(forward, objects)).ok
            assert stored(tmp_path / "objects") == {str(one.SOPInstanceUID): explicit(one) for one in objects}


# --- the worklist


def scheduled(number: int, modality: str) -> Dataset:
    step, item = Dataset(), Dataset()
    step.Modality = modality
    step.ScheduledProcedureStepStartDate = f"2024010{number}"
    item.PatientName, item.PatientID = f"Patient^{number}", f"P{number}"
    item.ScheduledProcedureStepSequence = [step]
    return item


ITEMS = [scheduled(1, "CT"), scheduled(2, "MR"), scheduled(3, "CT")]


async def listed(identifier: Dataset) -> list[Dataset]:
    return ITEMS


async def one_by_one(identifier: Dataset) -> AsyncIterator[Dataset]:
    for item in ITEMS:
        yield item


def asked_for(modality: str, date: str = "") -> Dataset:
    step, identifier = Dataset(), Dataset()
    step.Modality = modality
    if date:
        step.add(DataElement(0x00400002, "DA", date, validation_mode=IGNORE))
    identifier.PatientID = ""
    identifier.ScheduledProcedureStepSequence = [step]
    return identifier


async def found(
    service: WorklistService, identifier: Dataset, heard: Callable[[], object] = lambda: None
) -> tuple[int, list[Dataset], Any]:
    """The final status, the answers and the final response of a worklist query; `heard` is told of each."""
    async with aiodicom.serve(service, port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
            async with pacs.association([aiodicom.Proposal(MODALITY_WORKLIST)]) as association:
                context = need_context(association, MODALITY_WORKLIST)
                data = encode_dataset(identifier, context.transfer_syntax)
                operation = await association.invoke(
                    context,
                    lambda n: aiodicom.CFindRQ(message_id=n, affected_sop_class_uid=MODALITY_WORKLIST),
                    data,
                )
                answers: list[Dataset] = []
                while True:
                    response, found = await operation.next()
                    if response.status not in (0xFF00, 0xFF01):
                        return response.status, answers, response
                    assert found is not None
                    answers.append(decode_dataset(found, context.transfer_syntax))
                    heard()


@pytest.mark.parametrize("items", [listed, one_by_one])
async def test_a_worklist_from_a_coroutine(items: Any) -> None:
    status, answers, _ = await found(WorklistService(items), asked_for("CT"))
    assert status == 0
    assert [one.PatientID for one in answers] == ["P1", "P3"]
    assert "PatientName" not in answers[0]
    assert [len(one.ScheduledProcedureStepSequence[0]) for one in answers] == [1, 1]
    _, answers, _ = await found(WorklistService(items), asked_for("", "20240102-"))
    assert [one.PatientID for one in answers] == ["P2", "P3"]


async def test_a_generator_of_items_is_closed_when_its_peer_goes_away() -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def forever(identifier: Dataset) -> AsyncIterator[Dataset]:
        try:
            while True:
                yield scheduled(1, "CT")
                begun.set()
                await asyncio.sleep(0)
        finally:
            closed.set()

    asking = asyncio.create_task(found(WorklistService(forever), asked_for("CT")))
    await begun.wait()
    assert not asking.done()
    asking.cancel()
    await asyncio.wait([asking])
    assert await asyncio.wait_for(closed.wait(), PATIENCE)


class Works:
    """What is done on threads for a worklist, and that nothing is encoded anywhere else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(handling, "on_thread", self._on_thread)
        monkeypatch.setattr(handling, "encode_dataset", self._encode)

    async def _on_thread(self, work: Any) -> Any:
        self.count += 1
        return await on_thread(work)

    def _encode(self, dataset: Dataset, syntax: str) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        return encode_dataset(dataset, syntax)


@pytest.mark.parametrize("generated", [True, False])
async def test_many_items_are_few_works(generated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matched and encoded on a thread, as many together as there are."""
    works, many = Works(monkeypatch), [scheduled(n % 9 + 1, "CT") for n in range(5 * TOGETHER)]

    async def generate(identifier: Dataset) -> AsyncIterator[Dataset]:
        for item in many:
            yield item

    async def give(identifier: Dataset) -> list[Dataset]:
        return many

    service = WorklistService(generate if generated else give)
    status, answers, _ = await found(service, asked_for("CT"))
    assert status == 0
    assert [one.PatientID for one in answers] == [one.PatientID for one in many]
    assert works.count == 5 + 1  # and the keys


async def test_items_that_come_slowly_are_answered_as_they_come() -> None:
    """None waits for a later one; what a generator fails with comes behind what it gave."""
    heard = asyncio.Event()

    async def slow(identifier: Dataset) -> AsyncIterator[Dataset]:
        yield ITEMS[0]
        await heard.wait()
        yield ITEMS[2]
        raise Refused(0xA700, "no more")

    status, answers, _ = await found(WorklistService(slow), asked_for("CT"), heard.set)
    assert (status, [one.PatientID for one in answers]) == (0xA700, ["P1", "P3"])


async def test_items_are_taken_so_far_ahead_and_no_farther() -> None:
    taken = 0

    async def endless() -> AsyncIterator[Dataset]:
        nonlocal taken
        while True:
            taken += 1
            yield scheduled(1, "CT")

    batches = handling._as_they_come(endless())
    assert len(await anext(batches)) == TOGETHER
    for _ in range(5):
        await asyncio.sleep(0)
    assert taken == 2 * TOGETHER
    await batches.aclose()


def test_large_answers_go_out_in_several_writes() -> None:
    item = scheduled(1, "CT")
    item.TextValue = "x" * (handling.WRITE_BYTES // 2)
    identifier = asked_for("CT")
    identifier.TextValue = ""
    keys = Keys.of(identifier)
    writes = handling._answers(keys, [item] * 5, EXPLICIT)
    assert [len(answers) for answers in writes] == [2, 2, 1]
    assert handling._answers(keys, [scheduled(1, "MR")], EXPLICIT) == []


async def test_a_data_set_given_twice_is_a_defect_of_the_handlers() -> None:
    """It may have been changed before anybody looked at it."""

    async def same(identifier: Dataset) -> AsyncIterator[Dataset]:
        item = scheduled(1, "CT")
        for number in range(3):
            item.PatientID = str(number)
            yield item

    status, _, _ = await found(WorklistService(same), asked_for("CT"))
    assert status == 0x0110


def test_a_service_may_live_in_one_loop_after_the_other() -> None:
    async def keep(incoming: Incoming) -> None:
        await incoming.read()

    service = StorageService(keep)

    async def once() -> bool:
        async with aiodicom.serve(service, port=0) as server:
            async with aiodicom.connect("127.0.0.1", server.port, timeouts=TIMES) as pacs:
                return (await pacs.store([ct("1.2.3.1.1")])).ok

    assert asyncio.run(once())
    assert asyncio.run(once())


async def test_a_worklist_key_that_cannot_be_used_is_named() -> None:
    status, answers, response = await found(WorklistService(listed), asked_for("CT", "tomorrow"))
    assert (status, answers) == (0xC000, [])
    assert response.offending_elements


async def test_a_worklist_that_fails_is_a_failure() -> None:
    async def broken(identifier: Dataset) -> list[Dataset]:
        raise ValueError("SECRET^NAME")

    status, answers, response = await found(WorklistService(broken), asked_for("CT"))
    assert (status, answers) == (0x0110, [])
    assert "SECRET" not in str(response)
