"""C-FIND as a user: matches one by one, statuses, and every way to stop early."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from aiodicom.association.errors import AssociationAborted, OperationCancelled, OperationFailed
from aiodicom.association.operations import QUEUE_HIGH
from aiodicom.client.pacs import Pacs
from aiodicom.dimse import messages as m
from aiodicom.dimse.levels import QueryError, Root, find_model
from aiodicom.pdu import PDV, AAbort, PDataTF, encode
from aiodicom.testing import ScriptedListener, ScriptedPeer, message_pdvs
from pydicom.dataset import Dataset
from wire import (
    IMPLICIT,
    PATIENCE,
    STEADY,
    STUDY_FIND,
    Said,
    accept_as,
    accepted,
    hear,
    identifier,
    implicit,
    on_each_loop,
    play,
    reply,
)


def match(number: int) -> Dataset:
    return identifier(StudyInstanceUID=f"1.2.{number}")


async def numbers(found: AsyncIterator[Dataset]) -> list[int]:
    return [int(str(one.StudyInstanceUID).rsplit(".", 1)[1]) async for one in found]


async def cancelled(peer: ScriptedPeer, heard: Said, *, status: int = 0xFE00) -> None:
    """Await the C-CANCEL of a request and end it."""
    cancel = await hear(peer, m.CCancelRQ)
    assert cancel.message.message_id_being_responded_to == heard.message.message_id
    assert cancel.context_id == heard.context_id
    await reply(peer, heard, status)


async def answer(peer: ScriptedPeer, count: int, *, status: int = 0, pending: int = 0xFF00) -> Said:
    """Answer the next query."""
    heard = await hear(peer, m.CFindRQ)
    for number in range(count):
        await reply(peer, heard, pending, match(number))
    await reply(peer, heard, status)
    return heard


# --- what is sent, what is given


@on_each_loop
async def test_matches_in_order() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await answer(peer, 3, pending=0xFF01)
        assert heard.message.affected_sop_class_uid == find_model(Root.STUDY)
        asked = heard.dataset
        assert asked.QueryRetrieveLevel == "STUDY"
        assert asked.PatientName == "A*"
        assert asked.StudyDate == "20240101-20241231"
        assert "StudyInstanceUID" in asked
        assert not asked.StudyDescription
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            dates = (date(2024, 1, 1), date(2024, 12, 31))
            found = client.find("STUDY", {"PatientName": "A*", "StudyDate": dates}, ["StudyDescription"])
            assert await numbers(found) == [0, 1, 2]

    await play(script, user)


@pytest.mark.parametrize(
    ("level", "refused", "taken"),
    [
        ("STUDY", Root.STUDY, Root.PATIENT),
        ("SERIES", Root.PATIENT, Root.STUDY),
        ("SERIES", None, Root.STUDY),
        ("PATIENT", None, Root.PATIENT),
    ],
)
async def test_the_root_is_chosen_by_level_and_by_what_was_accepted(
    level: str, refused: Root | None, taken: Root
) -> None:
    async def script(listener: ScriptedListener) -> None:
        refusing = [] if refused is None else [find_model(refused)]
        peer, _ = await accepted(listener, answer=accept_as(IMPLICIT, refuse=refusing))
        heard = await answer(peer, 1)
        assert heard.message.affected_sop_class_uid == find_model(taken)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert len(await client.find(level)) == 1

    await play(script, user)


async def test_the_study_root_has_a_model_of_its_own() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await answer(peer, 0)
        assert heard.message.affected_sop_class_uid == STUDY_FIND
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("series", {"PatientID": "1"}, root="study")) == []

    await play(script, user)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0xA700, OperationFailed, "out of resources"),
        (0xA900, OperationFailed, "identifier does not match"),
        (0xC001, OperationFailed, "unable to process"),
        (0x0122, OperationFailed, "SOP class not supported"),
        (0xFE00, OperationCancelled, "cancelled"),
        (0xB000, OperationFailed, "warning"),
        (0x1234, OperationFailed, "does not define"),
    ],
    ids=lambda value: f"{value:04X}" if isinstance(value, int) else "",
)
async def test_a_final_status_that_is_no_success_follows_the_matches(
    status: int, kind: type[OperationFailed], words: str
) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await answer(peer, 2, status=status)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            got = []
            with pytest.raises(kind, match=words) as caught:
                async for one in client.find("STUDY"):
                    got.append(one)
            assert len(got) == 2
            assert caught.value.status == status
            assert len(await numbers(client.find("STUDY"))) == 1

    await play(script, user)


@pytest.mark.parametrize(
    ("level", "match", "root", "status", "wanted"),
    [
        ("SERIES", {"Modality": "CT"}, None, 0xA900, "StudyInstanceUID"),
        ("SERIES", {"Modality": "CT"}, None, 0xC000, "StudyInstanceUID"),
        ("IMAGE", {}, "patient", 0xC001, "PatientID and StudyInstanceUID and SeriesInstanceUID"),
        ("IMAGE", {"StudyInstanceUID": "1.2"}, None, 0xA900, "SeriesInstanceUID"),
        ("STUDY", {}, "patient", 0xA900, "PatientID"),
        ("STUDY", {}, None, 0xA900, None),
        ("SERIES", {"StudyInstanceUID": "1.2"}, None, 0xA900, None),
        ("SERIES", {}, None, 0xA700, None),
        ("SERIES", {}, None, 0x0122, None),
    ],
)
async def test_a_query_that_is_refused_for_its_keys_names_those_it_lacks(
    level: str, match: dict[str, object], root: str | None, status: int, wanted: str | None
) -> None:
    """PS3.4 C.4.1.2.1: without relational queries each key above has one value."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, relational=False)
        await answer(peer, 0, status=status)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(OperationFailed) as caught:
                await client.find(level, match, root=root)
            words = f"it takes no relational queries: it may want {wanted}"
            assert caught.value.advice == (words if wanted else None)
            assert (words in str(caught.value)) == bool(wanted)

    await play(script, user)


@pytest.mark.parametrize("status", [0xA700, 0xFE00])
async def test_a_peer_that_stops_at_the_limit_has_given_what_was_asked_for(status: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        for _ in range(2):
            await answer(peer, 3, status=status)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY", limit=3)
            assert len(await finding) == 3
            assert (finding.complete, finding.status) == (False, status)
            assert "after 3 answers" in finding.capped[0]
            with pytest.raises(OperationFailed):
                await client.find("STUDY", limit=4)

    await play(script, user)


async def test_a_final_response_that_carries_a_data_set() -> None:
    """Orthanc's FE00 does."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, match(1))
        await reply(peer, heard, 0, match(2))
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("STUDY")) == [1]

    await play(script, user)


async def test_a_pending_response_without_a_data_set() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00)
        await reply(peer, heard, 0xFF00, match(1))
        await reply(peer, heard, 0xFF01)
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            assert await numbers(finding) == [1]
            assert (finding.empty, finding.status, finding.unsupported) == (2, 0, ())

    await play(script, user)


async def test_an_answer_that_cannot_be_decoded_costs_itself() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, b"\x08\0\x32\x10\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff")
        await reply(peer, heard, 0)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            assert [len(one) for one in await finding] == [0]
            assert finding.undecoded == ("ProcedureCodeSequence",)
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user)


async def test_an_element_that_cannot_be_decoded_costs_itself() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        good = implicit(identifier("STUDY", StudyInstanceUID="1.2.3"))
        bent = struct.pack("<HHL", 0x0028, 0x0010, 3) + b"\1\2\3"  # Rows, a US of three bytes
        await reply(peer, heard, 0xFF00, good + bent)
        await reply(peer, heard, 0xFF00, good)
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            found = await finding
            assert [one.StudyInstanceUID for one in found] == ["1.2.3", "1.2.3"]
            assert "Rows" not in found[0]
            assert finding.undecoded == ("Rows",)
            assert finding.status == 0

    await play(script, user)


@pytest.mark.parametrize("cut", range(1, 5))
async def test_an_answer_that_is_cut_costs_the_element_that_is_cut(cut: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        whole = implicit(identifier("STUDY", StudyInstanceUID="1.2.840.113619.2.5"))
        for one in (whole, whole[:-cut], whole):
            await reply(peer, heard, 0xFF00, one)
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            found = await finding
            assert ["StudyInstanceUID" in one for one in found] == [True, False, True]
            assert [one.QueryRetrieveLevel for one in found] == ["STUDY"] * 3
            assert finding.undecoded == ("StudyInstanceUID",)

    await play(script, user)


# --- stopping early


@pytest.mark.parametrize("way", ["break", "aclose", "limit", "error"])
@on_each_loop
async def test_stopping_early_cancels_drains_and_leaves_the_association_usable(way: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        for number in range(3):
            await reply(peer, heard, 0xFF00, match(number))
        cancel = await hear(peer, m.CCancelRQ)
        assert cancel.message.message_id_being_responded_to == heard.message.message_id
        for number in range(3, 6):  # what was on its way
            await reply(peer, heard, 0xFF00, match(number))
        await reply(peer, heard, 0xFE00)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            if way == "break":
                async for _ in client.find("STUDY"):
                    break
            elif way == "aclose":
                async with aclosing(client.find("STUDY")) as found:  # type: ignore[type-var]
                    await anext(found)
            elif way == "limit":
                assert await numbers(client.find("STUDY", limit=2)) == [0, 1]
            else:
                with pytest.raises(ZeroDivisionError):
                    async for _ in client.find("STUDY"):
                        raise ZeroDivisionError
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user)


async def test_a_limit_that_is_not_reached_cancels_nothing() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await answer(peer, 2)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("STUDY", limit=3)) == [0, 1]

    await play(script, user)


@on_each_loop
async def test_a_task_that_is_cancelled_cancels_its_query() -> None:
    first = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, match(0))
        await cancelled(peer, heard)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async def loop() -> None:
            async for _ in client.find("STUDY"):
                first.set()

        async with client:
            task = asyncio.create_task(loop())
            await first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user)


async def test_a_timeout_of_the_user_cancels_the_query() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await cancelled(peer, await hear(peer, m.CFindRQ))
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await numbers(client.find("STUDY"))
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user)


async def test_a_cancel_that_comes_too_late() -> None:
    """The peer was done already: 0000 is as good as FE00."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, match(0))
        await reply(peer, heard, 0xFF00, match(1))
        await cancelled(peer, heard, status=0)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("STUDY", limit=1)) == [0]
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user)


@on_each_loop
async def test_a_peer_that_ignores_the_cancel_is_aborted_in_bounded_time() -> None:
    """The next query opens an association of its own."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, match(0))
        await reply(peer, heard, 0xFF00, match(1))
        await hear(peer, m.CCancelRQ)
        assert await peer.expect(AAbort) == AAbort(0, 0)
        await peer.close()
        peer, _ = await accepted(listener)
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("STUDY", limit=1)) == [0]
            assert await numbers(client.find("STUDY")) == [0]

    await play(script, user, timeouts=replace(STEADY, cancel=0.1))


@on_each_loop
async def test_a_peer_that_floods_on_after_the_cancel_is_aborted_in_bounded_time() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)

        async def flood() -> None:
            while True:
                await reply(peer, heard, 0xFF00, match(0))
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        try:
            await hear(peer, m.CCancelRQ)
            assert await peer.expect(AAbort) == AAbort(0, 0)
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
        await peer.close()

    async def user(client: Pacs) -> None:
        async with client:
            assert await numbers(client.find("STUDY", limit=1)) == [0]

    await play(script, user, timeouts=replace(STEADY, cancel=0.2))


# --- several at once


@on_each_loop
async def test_a_query_inside_the_loop_over_another() -> None:
    """One association, one operation at a time: the inner waits for the outer's end, which is let run."""
    count = QUEUE_HIGH * 2

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await answer(peer, count)
        for _ in range(count):
            await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            total = 0
            async for _ in client.find("STUDY"):
                total += len(await numbers(client.find("SERIES")))
            assert total == count

    await play(script, user)


@on_each_loop
async def test_a_query_inside_the_loop_over_one_that_came_whole_in_one_read() -> None:
    """The outer is over while we hold the peer for it: the hold must go with it, or nobody lets go."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        responses = [m.make_response(heard.message, 0xFF00, has_dataset=True)] * QUEUE_HIGH
        pdvs = [
            pdv
            for response in responses
            for pdv in message_pdvs(
                heard.context_id, m.encode_message(response), implicit(match(1)), fragment=10000
            )
        ]
        final = m.encode_message(m.make_response(heard.message, 0))
        await peer.send(*(PDataTF((pdv,)) for pdv in (*pdvs, PDV(heard.context_id, True, True, final))))
        await answer(peer, 1)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            async with aclosing(client.find("STUDY")) as found:
                seen = 0
                async for _ in found:
                    seen += 1
                    if seen == 1:
                        assert await numbers(client.find("SERIES")) == [0]
            assert seen == QUEUE_HIGH

    await play(script, user)


async def test_two_queries_at_once() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await answer(peer, 3)
        await answer(peer, 3)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            found = await asyncio.gather(numbers(client.find("STUDY")), numbers(client.find("STUDY")))
            assert found == [[0, 1, 2]] * 2  # type: ignore[comparison-overlap]

    await play(script, user)


async def test_one_of_two_that_gives_up_does_not_disturb_the_other() -> None:
    asked = asyncio.Event()
    given_up = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        asked.set()
        await given_up.wait()
        await reply(peer, heard, 0xFF00, match(0))
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            one = asyncio.create_task(numbers(client.find("STUDY")))
            await asked.wait()
            other = asyncio.create_task(numbers(client.find("STUDY")))
            for _ in range(5):
                await asyncio.sleep(0)
            other.cancel()  # while it waits for its turn
            with pytest.raises(asyncio.CancelledError):
                await other
            given_up.set()
            assert await one == [0]

    await play(script, user)


# --- memory


@on_each_loop
async def test_a_slow_consumer_holds_the_peer() -> None:
    """A peer that could answer for ever is stopped by TCP once `QUEUE_HIGH` matches wait."""
    stuck = asyncio.Event()
    taken = 0

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        peer._writer.transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]
        heard = await hear(peer, m.CFindRQ)
        response = m.encode_message(m.make_response(heard.message, 0xFF00, has_dataset=True))
        data = implicit(identifier(StudyInstanceUID="1.2.1", StudyComments="x" * 10000))
        one = b"".join(
            encode(PDataTF((pdv,))) for pdv in message_pdvs(heard.context_id, response, data, fragment=16000)
        )
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                peer._writer.write(one * 100)
                await peer._writer.drain()
                sent += 100

        flooding = asyncio.create_task(flood())
        before = -1
        while sent != before:  # the kernel's buffers fill, then nothing goes any more
            before = sent
            for _ in range(300):
                await asyncio.sleep(0)
            await asyncio.to_thread(lambda: None)
        stuck.set()
        await hear(peer, m.CCancelRQ)
        flooding.cancel()
        await asyncio.wait([flooding])
        await peer.reset()
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        nonlocal taken
        async with client:
            async for _ in client.find("STUDY"):
                taken += 1
                if taken == 1:
                    await asyncio.wait_for(stuck.wait(), PATIENCE)
                    [operation] = client._associations.all[0]._invoking.operations.values()
                    assert client._associations.all[0].connection.reading.held
                    assert QUEUE_HIGH <= len(operation._queue) + 1 < 4 * QUEUE_HIGH
                    break
            await client.echo()  # asked once more, on another association

    await play(script, user)


# --- before anything is sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"level": "STUDIES"}, "no such level"),
        ({"level": "PATIENT", "root": "STUDY"}, "not in the STUDY root"),
        ({"level": "STUDY", "root": "SERIES"}, "no such root"),
        ({"level": "STUDY", "match": {"PatientNam": "x"}}, "did you mean PatientName"),
        ({"level": "STUDY", "match": {"SOPInstanceUID": "1.2"}}, "below the query's STUDY level"),
        ({"level": "STUDY", "return_keys": ["Modality"]}, "key of the SERIES level"),
        ({"level": "STUDY", "return_keys": ["Bogus!"]}, "unknown keyword"),
        ({"level": "IMAGE", "match": {"Rows": "many"}}, "Rows"),
        ({"level": "STUDY", "match": {"ProcedureCodeSequence": 5}}, "is a sequence"),
    ],
    ids=str,
)
async def test_queries_refused_before_anything_is_sent(arguments: dict[str, Any], words: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(QueryError, match=words):
                async for _ in client.find(**arguments):
                    raise AssertionError("a match")

    await play(script, user)


async def test_a_peer_that_aborts_between_matches() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, match(0))
        await reply(peer, heard, 0xFF00, match(1))
        await peer.send(AAbort(2, 0))
        await peer.expect_close()

    async def user(client: Pacs) -> None:
        got = []
        with pytest.raises(AssociationAborted):
            async with client:
                async for one in client.find("STUDY"):
                    got.append(one)
        assert len(got) == 2  # what came before the end is given

    await play(script, user)


# --- what the peer says of the query


def study(uid: str, **values: Any) -> Dataset:
    return identifier("STUDY", StudyInstanceUID=uid, **values)


@pytest.mark.parametrize(
    "key",
    ["0028,9001", "0029,1001", '(0029,"ACME",01)', "0099,0001"],
    ids=["known", "private", "owned", "none"],
)
@pytest.mark.parametrize("shown", ["absent", "same", "other", "empty"])
@pytest.mark.parametrize("status", [0xFF00, 0xFF01])
async def test_a_key_without_a_keyword_is_told_of_like_any_other(key: str, shown: str, status: int) -> None:
    """By its private creator, in whichever block the answer has it, else by its tag."""

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        answer = study("1.2")
        if shown != "absent":
            value = {"same": "1", "other": "2", "empty": ""}[shown]
            for asked in heard.dataset:
                if asked.tag.is_private_creator:
                    answer.add_new(asked.tag, "LO", asked.value)
                elif asked.tag.group in (0x28, 0x29, 0x99):
                    binary = int(value) if value else None
                    held = {"UL": binary, "UN": value.encode()}.get(asked.VR, value)
                    answer.add_new(asked.tag, asked.VR, held)
        await reply(peer, heard, status, answer)
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY", {key: "1"})
            found = await finding
            name = "DataPointRows" if key == "0028,9001" else key
            judged = shown == "other" and key == "0028,9001"  # what others have is not known to be text
            assert len(found) == (0 if judged else 1)
            assert finding.ignored == ((name,) if judged else ())
            assert finding.unsupported == ((name,) if shown in ("absent", "empty") else ())

    await play(script, user)


async def test_it_is_awaited_for_all_matches_or_kept_for_what_was_said() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, study("1.2", StudyDate="20240101"))
        await reply(peer, heard, 0xFF01, study("1.3"))
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY", {"StudyDate": "20240101"}, ["StudyDescription"])
            assert finding.status is None
            assert "no final status" in repr(finding)
            assert [one.StudyInstanceUID for one in await finding] == ["1.2", "1.3"]
            assert len(await finding) == 2
            assert finding.status == 0
            assert finding.unsupported == ("StudyDate", "StudyDescription")
            for said in ("warned", "unsupported", "ignored", "filtered", "undecoded", "guessed", "emulated"):
                assert getattr(await finding, said) == getattr(finding, said)
            assert finding.warned == 1

    await play(script, user)


async def test_a_failure_is_its_status() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xA700)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            with pytest.raises(OperationFailed):
                await finding
            assert finding.status == 0xA700
            assert finding.status is not None
            assert finding.status.service == "C-FIND"

    await play(script, user)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_loop_that_is_left_cancels_the_query_though_it_is_kept(kept: bool) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00, study("1.2"))
        await hear(peer, m.CCancelRQ)
        await reply(peer, heard, 0xFE00)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            finding = client.find("STUDY")
            async for _ in finding if kept else client.find("STUDY"):
                break
            [operation] = client._associations.all[0]._invoking.operations.values()
            await operation.ended.wait()
            assert finding.status is None

    await play(script, user)
