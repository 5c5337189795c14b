"""C-FIND of an archive over the wire: what is negotiated and refused, and a C-CANCEL among many answers."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from aiodicom.archive.entry import entry_of
from aiodicom.archive.record import read_record
from aiodicom.dimse import messages as m
from aiodicom.dimse.levels import Root, find_model, get_model
from aiodicom.pdu import UserInformation
from aiodicom.pdu.types import SOPClassExtendedNegotiation
from aiodicom.server.archive_service import serve_archive
from archive_objects import encode, image
from archive_objects import store as put
from wire import PATIENCE, calling, hear, identifier, say

FIND = find_model(Root.STUDY)
GET = get_model(Root.STUDY)
EXPLICIT = "1.2.840.10008.1.2.1"


def asking(sop_class: str, information: bytes) -> UserInformation:
    asked = SOPClassExtendedNegotiation(sop_class, information)
    return UserInformation(implementation_class_uid="1.2", extended=(asked,))


@pytest.mark.parametrize(
    ("sop_class", "asked", "granted"),
    [
        (FIND, b"\1", b"\1"),
        (FIND, b"\0\0", b"\0\0"),
        (FIND, b"\1\1\1\1\1\1\1", b"\1\1\0\0\0\1\1"),
        (FIND, b"\1\1\1\1\1\1\1\1\1", b"\1\1\0\0\0\1\1\0\0"),
        (GET, b"\1\1", b"\1\0"),  # of a retrieve the second is the conversion of multi-frame images
    ],
)
async def test_what_of_an_extended_negotiation_is_granted(
    tmp_path: Path, sop_class: str, asked: bytes, granted: bytes
) -> None:
    """PS3.4 Tables C.5-2 and C.5-4."""
    async with serve_archive(tmp_path, port=0) as server:
        async with calling(server, [sop_class], user_information=asking(sop_class, asked)) as peer:
            [answer] = peer.answer.user_information.extended  # type: ignore[attr-defined]
            assert answer == SOPClassExtendedNegotiation(sop_class, granted)
            await peer.release()


@pytest.mark.parametrize(("asked", "found"), [(b"\1\1", 1), (b"\1\0", 0), (b"\1", 0)])
async def test_dates_with_their_times_where_that_was_negotiated(
    tmp_path: Path, asked: bytes, found: int
) -> None:
    async with serve_archive(tmp_path, port=0) as server:
        put(server.archive, image())  # of 31 January 2024, 10:15
        async with calling(server, [FIND], user_information=asking(FIND, asked)) as peer:
            keys = identifier(StudyDate="20240130-20240201", StudyTime="1200-1300")
            await say(peer, 1, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), keys)
            answers = [await hear(peer, m.CFindRSP)]
            while answers[-1].message.status == 0xFF00:
                answers.append(await hear(peer, m.CFindRSP))
    assert [one.message.status for one in answers] == [0xFF00] * found + [0]


@pytest.mark.parametrize(
    ("asked", "key", "found"),
    [
        (b"\1\1\1\1\1\1\1", "CT\\PT", 0),
        (b"\1\1\1\1\1\1\1", "MR\\CT", 1),
        (b"\1\1\1\1\1\1\0", "CT\\PT", 1),
        (b"\1", "CT\\PT", 1),
    ],
)
async def test_every_value_of_a_key_where_that_was_negotiated(
    tmp_path: Path, asked: bytes, key: str, found: int
) -> None:
    async with serve_archive(tmp_path, port=0) as server:
        put(server.archive, image())
        put(server.archive, image(2, series="1.2.3.9", Modality="MR"))
        async with calling(server, [FIND], user_information=asking(FIND, asked)) as peer:
            keys = identifier(ModalitiesInStudy=key.split("\\"))
            await say(peer, 1, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), keys)
            answers = [await hear(peer, m.CFindRSP)]
            while answers[-1].message.status == 0xFF00:
                answers.append(await hear(peer, m.CFindRSP))
    assert [one.message.status for one in answers] == [0xFF00] * found + [0]


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 3) + b"abc", 0x00280010),
        (struct.pack("<HH2sHL", 0x0010, 0x0010, b"OB", 0, 4) + b"DOE*", 0x00100010),
        (struct.pack("<HH2sH", 0x0008, 0x0020, b"DA", 4) + b"2024", 0x00080020),
    ],
)
async def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, key: bytes, tag: int) -> None:
    level = struct.pack("<HH2sH", 0x0008, 0x0052, b"CS", 6) + b"IMAGE "
    async with serve_archive(tmp_path, port=0) as server:
        put(server.archive, image())
        async with calling(server, [(FIND, [EXPLICIT])]) as peer:
            raw = key + level if key[:4] < level[:4] and tag < 0x00080052 else level + key
            await say(peer, 1, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), raw)
            answer = (await hear(peer, m.CFindRSP)).message
    assert answer.status & 0xF000 == 0xC000
    assert answer.offending_elements == (tag,)


async def test_a_cancel_among_a_hundred_thousand_answers(tmp_path: Path) -> None:
    """What was on its way still comes; the index is not read to its end, and the next query is answered."""
    record = read_record(encode(image()), EXPLICIT)
    one = entry_of(record, "objects/00/00/x.dcm", 0, 1, 1)
    async with serve_archive(tmp_path, port=0) as server:
        rows = (replace(one, sop_instance_uid=f"1.2.3.1.{n}", path=str(n)) for n in range(100_000))
        server.archive._committer.run(lambda: server.archive._index.add(rows, new=True))
        async with calling(server, [FIND]) as peer, asyncio.timeout(PATIENCE):
            keys = identifier("IMAGE", StudyInstanceUID="1.2.3", SOPInstanceUID="", InstanceNumber=None)
            await say(peer, 1, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), keys)
            for _ in range(2_000):
                assert (await hear(peer, m.CFindRSP)).message.status == 0xFF00
            await say(peer, 1, m.CCancelRQ(message_id_being_responded_to=1))
            more = 0
            while (answer := (await hear(peer, m.CFindRSP)).message).status == 0xFF00:
                more += 1
            assert answer.status == 0xFE00
            assert more < 20_000  # what the sockets and one batch hold
            await say(peer, 1, m.CFindRQ(message_id=2, affected_sop_class_uid=FIND), identifier())
            assert (await hear(peer, m.CFindRSP)).message.status == 0xFF00
