"""What a looker-on makes of bytes: whole, byte by byte, in the middle of anything, and of garbage."""

from __future__ import annotations

import itertools
import struct

import pytest
from aiodicom.dimse import messages as m
from aiodicom.dimse.tracing import KEPT_BODY, KEPT_COMMAND, NAMES, Command, Dataset, Lost, Pdu, Seen, Stream
from aiodicom.pdu.types import PduType
from hypothesis import given
from hypothesis import strategies as st

ECHO = m.CEchoRQ(message_id=1)
FIND = m.CFindRQ(message_id=7, affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1")


def pdv(control: int, value: bytes, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context, control) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def read(stream: bytes, step: int | None = None) -> list[Seen]:
    reader = Stream()
    found: list[Seen] = []
    view = memoryview(stream)
    for start in range(0, len(view), step or max(1, len(view))):
        found += reader.feed(view[start : start + (step or len(view))])
    return found


WHOLE = (
    pdu(1, b"r" * 70)
    + data(pdv(3, m.encode_message(ECHO)))
    + data(pdv(1, m.encode_message(FIND)[:20]), pdv(3, m.encode_message(FIND)[20:]))
    + data(pdv(0, b"d" * 100), pdv(0, b""))
    + data(pdv(2, b"d" * 11))
    + data()
    + pdu(5, bytes(4))
    + pdu(0x99, b"")
    + pdu(7, bytes(4))
)
SEEN = [
    Pdu(1, 70, b"r" * 70),
    Pdu(4, len(pdv(3, m.encode_message(ECHO))), None),
    Command(1, ECHO, None),
    Pdu(4, len(m.encode_message(FIND)) + 12, None),
    Command(1, FIND, None),
    Pdu(4, 112, None),
    Pdu(4, 17, None),
    Dataset(1, 111),
    Pdu(4, 0, None),
    Pdu(5, 4, bytes(4)),
    Pdu(0x99, 0, b""),
    Pdu(7, 4, bytes(4)),
]


@pytest.mark.parametrize("step", [None, 1, 2, 3, 5, 7, 64])
def test_the_same_is_seen_in_pieces_of_any_size(step: int | None) -> None:
    assert read(WHOLE, step) == SEEN


@given(cuts=st.lists(st.integers(0, len(WHOLE))))
def test_wherever_it_is_cut(cuts: list[int]) -> None:
    reader, found = Stream(), list[Seen]()
    places = [0, *sorted(cuts), len(WHOLE)]
    for start, end in itertools.pairwise(places):
        found += reader.feed(memoryview(WHOLE)[start:end])
    assert found == SEEN


@given(garbage=st.binary(max_size=300))
def test_nothing_is_raised_for_garbage(garbage: bytes) -> None:
    assert read(garbage, 1) == read(garbage)


@pytest.mark.parametrize(
    "stream",
    [
        data(struct.pack(">IBB", 1, 1, 3)),  # shorter than its own header
        data(struct.pack(">IBB", 0, 1, 3)),
        data(struct.pack(">IBB", 500, 1, 3) + b"x"),  # longer than its PDU
        data(b"12345"),  # no room for a header
        data(pdv(0, b"xy"), b"1"),
    ],
)
def test_framing_that_is_none_ends_it_and_is_told_once(stream: bytes) -> None:
    found = read(stream + WHOLE)
    assert isinstance(found[-1], Lost)
    assert sum(isinstance(one, Lost) for one in found) == 1


def test_a_command_set_that_cannot_be_read_is_told_without_its_words() -> None:
    secret = b"\x00\x00\x20\x01\x08\x00\x00\x00SECRET^X"
    [_, command] = read(data(pdv(3, secret)))
    assert isinstance(command, Command)
    assert command.message is None
    assert command.problem is not None
    assert "SECRET" not in command.problem


def test_what_is_too_long_is_counted_and_not_kept() -> None:
    long = bytes(KEPT_BODY + 1)
    assert read(pdu(2, long)) == [Pdu(2, len(long), None)]
    [_, command, _, after] = read(
        data(pdv(3, bytes(KEPT_COMMAND + 1))) + data(pdv(3, m.encode_message(ECHO)))
    )
    assert isinstance(command, Command)
    assert command.message is None
    assert after == Command(1, ECHO, None)


def test_every_type_of_pdu_has_its_name() -> None:
    assert {PduType(one) for one in NAMES} == set(PduType)
    assert Pdu(0x99, 0, b"").name == "PDU of type 99H"
