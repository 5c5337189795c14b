"""Relational queries are asked for where query/retrieve models are proposed, beside what the user asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aiodicom import connect
from aiodicom.association.connect import Peer
from aiodicom.client.relational import RELATIONAL, asking, granted
from aiodicom.dimse.contexts import VERIFICATION, Proposal
from aiodicom.dimse.levels import Root, find_model, get_model
from aiodicom.pdu import SOPClassExtendedNegotiation
from aiodicom.server.archive_service import serve_archive

FIND, GET = find_model(Root.STUDY), get_model(Root.STUDY)


def test_each_proposed_model_is_asked_about_and_nothing_else() -> None:
    peer = Peer(host="127.0.0.1", port=104)
    assert asking(peer, [Proposal(VERIFICATION)]) is peer
    asked = asking(peer, [Proposal(VERIFICATION), Proposal(FIND), Proposal(GET), Proposal(GET)])
    assert [one.sop_class_uid for one in asked.extended] == [FIND, GET]
    assert {one.information for one in asked.extended} == {RELATIONAL}


def test_what_the_user_asks_stays() -> None:
    own = SOPClassExtendedNegotiation(FIND, b"\0\1")
    peer = replace(Peer(host="127.0.0.1", port=104), extended=(own,))
    asked = asking(peer, [Proposal(FIND), Proposal(GET)])
    assert asked.extended == (own, SOPClassExtendedNegotiation(GET, RELATIONAL))


async def test_our_archive_grants_it(tmp_path: Path) -> None:
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            async with pacs.association([Proposal(FIND)]) as association:
                assert granted(association, FIND)
                assert not granted(association, VERIFICATION)
