"""The ladder: by which service, at which level, what is tried next, and what the report says of it."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import ContextNotAccepted
from aiodicom.client.connect import connect
from aiodicom.client.ladder import parse_via
from aiodicom.client.listening import Listening
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dimse.levels import QueryError, Root, find_model, get_model, move_model
from archive_objects import files_below
from peers.misbehaving import Misbehaving, Ways
from wire import STEADY, free_port, study

TIMES = replace(STEADY, artim=0.1, cancel=0.2)


async def retrieved(
    folder: Path,
    ways: Ways,
    *,
    moves: bool = True,
    times: Any = TIMES,
    level: str = "STUDY",
    uid: str = "1.2.3",
    **how: Any,
) -> tuple[RetrieveResult, Misbehaving]:
    port = free_port()
    here = Listening(host="127.0.0.1", port=port, quiet=0.2)
    async with Misbehaving(study(), ways, move_port=port if moves else None) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=times) as pacs:
            asked: dict[str, Any] = {"root": "STUDY", "via": "auto", "listening": here} | how
            result = await pacs.get(level, uid, directory=folder, **asked)
    return result, peer


def climbed(result: RetrieveResult) -> list[str]:
    return [f"{rung.service} {rung.level.value} {rung.received}" for rung in result.rungs]


@pytest.mark.parametrize("get", ["refuse", "reject"])
async def test_where_c_get_is_refused_c_move_brings_it(tmp_path: Path, get: Any) -> None:
    result, peer = await retrieved(tmp_path, Ways(get=get))
    assert result.ok
    assert result.service == "C-MOVE"
    assert climbed(result) == ["C-GET STUDY 0", "C-MOVE STUDY 6"]
    assert result.rungs[0].refused
    assert result.rungs[0].reason
    assert result.rungs[1].reason == ""
    assert result.advice == "C-GET is refused here, C-MOVE was accepted"
    told = result.to_dict()
    assert [one["service"] for one in told["rungs"]] == ["C-GET", "C-MOVE"]
    assert told["advice"] == result.advice
    assert set(peer.sent) == set(peer.uids)
    assert len(files_below(tmp_path)) == 6


async def test_success_with_nothing_is_not_believed(tmp_path: Path) -> None:
    result, _ = await retrieved(tmp_path, Ways(get="nothing"))
    assert result.ok
    assert climbed(result) == ["C-GET STUDY 0", "C-GET SERIES 0", "C-GET IMAGE 0", "C-MOVE STUDY 6"]
    assert result.rungs[0].reason == "answered success, 6 of 6 missing"


async def test_what_is_missing_is_asked_for_at_the_level_below(tmp_path: Path) -> None:
    result, peer = await retrieved(tmp_path, Ways(drop_after=3, drops=2))
    assert result.ok
    assert climbed(result) == ["C-GET STUDY 3", "C-GET SERIES 3"] or result.rungs[-1].service == "C-GET"
    assert max(peer.sent.values()) == 1
    assert all(rung.reason for rung in result.rungs[:-1])


@pytest.mark.parametrize("deny", [{"STUDY"}, {"STUDY", "SERIES"}])
async def test_a_level_that_is_refused_is_gone_below(tmp_path: Path, deny: set[str]) -> None:
    result, peer = await retrieved(tmp_path, Ways(deny=frozenset(deny)))
    assert result.ok
    levels = list(dict.fromkeys(level for _, level, _ in peer.asked))
    assert levels == ["STUDY", "SERIES", "IMAGE"][: len(deny) + 1]
    assert {way for way, _, _ in peer.asked} == {"get"}


async def test_silence_is_left_for_the_next_rung(tmp_path: Path) -> None:
    times = replace(TIMES, inactivity=0.3)
    result, _ = await retrieved(tmp_path, Ways(stall_after=2), times=times)
    assert result.ok
    assert "InactivityTimeout" in result.rungs[0].reason


async def test_what_no_way_brings_is_named(tmp_path: Path) -> None:
    lost = frozenset({"1.2.3.1.1"})
    result, peer = await retrieved(tmp_path, Ways(keep_back=lost, status_kept=0xB000))
    assert result.outcome == "partial"
    assert result.missing == ["1.2.3.1.1"]
    assert {rung.service for rung in result.rungs} == {"C-GET", "C-MOVE"}
    assert len(peer.asked) <= 8  # it is not asked for without end
    assert max(peer.sent.values()) == 1


async def test_nobody_who_connects_is_told_in_words(tmp_path: Path) -> None:
    result, _ = await retrieved(tmp_path, Ways(get="reject"), moves=False)
    assert result.outcome == "failed"
    assert "A801" in result.rungs[-1].reason
    assert result.advice is not None
    assert "nobody connected to port" in result.advice
    assert "is our title registered there?" in result.advice


async def test_the_order_is_the_users(tmp_path: Path) -> None:
    result, _ = await retrieved(tmp_path, Ways(), via=("move", "get"))
    assert climbed(result) == ["C-MOVE STUDY 6"]


async def test_a_plain_get_tries_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ContextNotAccepted):
        await retrieved(tmp_path, Ways(get="reject"), via="get")
    result, peer = await retrieved(tmp_path, Ways(drop_after=3), via="get")
    assert (result.outcome, result.rungs, len(peer.asked)) == ("partial", [], 1)


async def test_without_a_plan_the_next_service_is_tried_for_all(tmp_path: Path) -> None:
    result, peer = await retrieved(
        tmp_path, Ways(relational="refuse", hierarchical="refuse", get="refuse", originator=False)
    )
    assert result.ok
    assert (result.expected, result.stands_on) == (None, "counters")
    assert [way for way, _, _ in peer.asked] == ["get", "move"]


async def test_a_port_that_is_taken_is_a_rung(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        here = Listening(host="127.0.0.1", port=taken.getsockname()[1])
        result, _ = await retrieved(tmp_path, Ways(), via=("move", "get"), listening=here)
    assert result.ok
    assert "cannot listen on port" in result.rungs[0].reason


@pytest.mark.parametrize(
    ("via", "names", "ladder"),
    [
        ("auto", ("get", "move", "web"), True),
        ("get", ("get",), False),
        (("get",), ("get",), True),
        (["move", "get"], ("move", "get"), True),
        ("web", ("web",), False),
        (("get", "web"), ("get", "web"), True),
    ],
)
def test_the_words_of_via(via: Any, names: Any, ladder: bool) -> None:
    assert parse_via(via) == (names, ladder)


@pytest.mark.parametrize("via", ["", "wado", (), ("get", "get"), ("get", "wado"), "GET", ["auto"]])
def test_what_is_no_via(via: Any) -> None:
    with pytest.raises(QueryError, match="via is"):
        parse_via(via)


P, S = Root.PATIENT, Root.STUDY
ROOTS: dict[str, set[str]] = {
    "no C-GET, C-MOVE of patients": {get_model(P), get_model(S), move_model(S)},
    "no C-GET, C-MOVE of studies": {get_model(P), get_model(S), move_model(P)},
    "C-GET of patients, C-MOVE of studies": {get_model(S), move_model(P)},
    "C-GET of studies, C-MOVE of patients": {get_model(P), move_model(S)},
    "queries of patients, retrieves of studies": {find_model(S), get_model(P), move_model(P)},
    "queries of studies, retrieves of patients": {find_model(P), get_model(S), move_model(S)},
}


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize(
    ("level", "uid"), [("PATIENT", "P1"), ("STUDY", "1.2.3"), ("SERIES", "1.2.3.0"), ("IMAGE", "1.2.3.0.2")]
)
async def test_each_service_is_asked_in_the_root_that_it_was_accepted_in(
    tmp_path: Path, name: str, level: str, uid: str
) -> None:
    """And its plan in the one that queries were."""
    ways = Ways(get="nothing", without=frozenset(ROOTS[name]))
    result, peer = await retrieved(tmp_path, ways, level=level, uid=uid, root=None)
    assert result.ok, result
    assert result.stands_on == "list"
    assert result.service == "C-MOVE"
    if move_model(P) in ROOTS[name]:  # it is no unique key of the study root
        assert "PatientID" not in peer.asked[-1][2]
        assert peer.asked[-1][1] != "PATIENT"


async def test_a_root_that_the_user_named_stays(tmp_path: Path) -> None:
    ways = Ways(get="nothing", without=frozenset({move_model(S)}))
    with pytest.raises(ContextNotAccepted):
        await retrieved(tmp_path, ways, root="STUDY")
