"""What a peer says beside its status reaches the user, wherever the peer puts it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiodicom.association.answers import words_of
from aiodicom.association.connect import Peer
from aiodicom.association.errors import OperationFailed
from aiodicom.client.pacs import Pacs
from aiodicom.dimse import messages as m
from aiodicom.pdu import AReleaseRP
from aiodicom.testing import ScriptedListener, ScriptError
from wire import IMPLICIT, STEADY, accepted, ct, hear, reply

EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"


def in_a_dataset(syntax: str) -> bytes:
    """(0000,0901), (0000,0902) and (0000,0903), where no data set may have them."""
    order = ">" if syntax == BIG else "<"
    values = (
        (0x0901, b"AT", struct.pack(order + "4H", 0x0010, 0x0020, 0x0008, 0x0052)),
        (0x0902, b"LO", b"no such patient "),
        (0x0903, b"US", struct.pack(order + "H", 77)),
    )
    if syntax == IMPLICIT:
        return b"".join(struct.pack("<HHL", 0, tag, len(raw)) + raw for tag, _, raw in values)
    return b"".join(struct.pack(order + "HH2sH", 0, tag, vr, len(raw)) + raw for tag, vr, raw in values)


WORDS = "no such patient; error ID 77; offending element (0010,0020), (0008,0052)"


def response(**fields: Any) -> m.CFindRSP:
    return m.CFindRSP(message_id_being_responded_to=1, status=0xC000, **fields)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_words_in_the_data_set(syntax: str) -> None:
    assert words_of(response(), in_a_dataset(syntax), syntax) == WORDS


def test_words_in_the_command() -> None:
    assert words_of(response()) is None
    assert words_of(response(error_comment="why")) == "why"
    assert words_of(response(error_id=5)) == "error ID 5"
    said = response(error_comment="why", error_id=5, offending_elements=(0x00100020,))
    assert (
        words_of(said, in_a_dataset(IMPLICIT), IMPLICIT) == "why; error ID 5; offending element (0010,0020)"
    )
    half = response(error_comment="no such patient")
    assert words_of(half, in_a_dataset(IMPLICIT), IMPLICIT) == WORDS  # what it lacks may stand there
    many = words_of(response(offending_elements=tuple(range(0x00100010, 0x00100030))))
    assert many is not None
    assert many.count("(0010,") == 8
    assert many.endswith("...")


@pytest.mark.parametrize("data", [b"", b"\0", b"nonsense", in_a_dataset(IMPLICIT)[:9], b"\xff" * 40])
def test_a_data_set_that_says_nothing(data: bytes) -> None:
    assert words_of(response(), data, IMPLICIT) is None


def odd_sizes() -> bytes:
    values = ((0x0901, b"\x10\0"), (0x0902, b""), (0x0903, b"\1\0\0"))
    return b"".join(struct.pack("<HHL", 0, tag, len(raw)) + raw for tag, raw in values)


def test_values_of_the_wrong_size_say_nothing() -> None:
    assert words_of(response(), odd_sizes(), IMPLICIT) is None


async def failing(listener: ScriptedListener) -> None:
    """Answers every request with a failure whose words are in a data set."""
    while True:
        peer, request = await accepted(listener)
        proposed = {one.context_id: one.transfer_syntaxes for one in request.presentation_contexts}
        with contextlib.suppress(ScriptError):  # a release came in its place
            while True:
                heard = await hear(peer)
                syntax = IMPLICIT if IMPLICIT in proposed[heard.context_id] else EXPLICIT
                await reply(peer, heard, 0xC000, in_a_dataset(syntax))
        await peer.send(AReleaseRP())


async def finding(client: Pacs) -> Any:
    async with Pacs(client.peer) as pacs:
        with pytest.raises(OperationFailed) as caught:
            await pacs.find("PATIENT", {"PatientID": "P1"})
        return caught.value.comment


async def echoing(client: Pacs) -> Any:
    async with Pacs(client.peer) as pacs:
        with pytest.raises(OperationFailed) as caught:
            await pacs.echo()
        return caught.value.comment


async def storing(client: Pacs) -> Any:
    async with Pacs(client.peer) as pacs:
        report = await pacs.store(ct())
        return report.items[0].comment


async def getting(client: Pacs) -> Any:
    async with Pacs(client.peer) as pacs:
        return (await pacs.get("PATIENT", "P1")).comment


@pytest.mark.parametrize("user", [finding, echoing, storing, getting])
async def test_it_is_in_the_error(user: Callable[[Pacs], Awaitable[Any]]) -> None:
    async with ScriptedListener() as listener:
        script = asyncio.create_task(failing(listener))
        try:
            assert await user(Pacs(Peer(host="127.0.0.1", port=listener.port, timeouts=STEADY))) == WORDS
        finally:
            script.cancel()
            await asyncio.wait([script])
