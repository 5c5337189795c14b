"""Peers that misbehave in each known way: a retrieve ends complete, or says exactly what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.client.connect import connect
from aiodicom.client.listening import Listening
from aiodicom.client.planning import MAX_QUERIES
from aiodicom.client.receiving import ASIDE
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dataset.part10 import read_header
from aiodicom.dimse import messages as m
from aiodicom.pdu.errors import AiodicomError
from archive_objects import files_below
from peers.misbehaving import Misbehaving, Query, Ways
from wire import STEADY, ct, free_port, study

COUNT = 250
FEW = 8
LOST = frozenset({"1.2.3.1.1", "1.2.3.0.4"})


@dataclass(frozen=True)
class Case:
    """A way to misbehave; `lost`: what cannot be had, `queries`: how many the plan may take at most."""

    ways: Ways
    count: int = FEW
    lost: frozenset[str] = frozenset()
    queries: int = 1
    times: Any = None
    capped: bool = False  # and that list is cut short
    known: bool = True  # a list of what is to come can be had


STRANGERS = (
    ct("1.9.1", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", PatientID="P2"),
    ct("1.8.1", StudyInstanceUID="1.8", SeriesInstanceUID="1.8.1"),
)
QUICK = {"inactivity": 0.4}
CASES: dict[str, Case] = {
    "behaves": Case(Ways()),
    "caps at 200": Case(Ways(cap=200), COUNT, queries=4),
    "caps at 200 and drops": Case(Ways(cap=200, drop_after=100), COUNT, queries=4),
    "caps at 100 series by series": Case(Ways(cap=100, drop_after=120), COUNT, queries=4, capped=True),
    "success with failures": Case(Ways(keep_back=LOST, count_kept=True), lost=LOST),
    "success without some": Case(Ways(keep_back=LOST), lost=LOST),
    "success without counters": Case(Ways(keep_back=LOST, counters=False), lost=LOST),
    "warning with a list": Case(Ways(keep_back=LOST, status_kept=0xB000), lost=LOST),
    "success with nothing": Case(Ways(get="nothing")),
    "drops at the first": Case(Ways(drop_after=0)),
    "drops at object 3": Case(Ways(drop_after=3)),
    "drops again and again": Case(Ways(drop_after=1, drops=4)),
    "sends each twice": Case(Ways(twice=True)),
    "sends what was not asked for": Case(Ways(strangers=STRANGERS)),
    "stalls": Case(Ways(stall_after=2), times=QUICK),
    "answers the move first": Case(Ways(get="refuse", move_first=True)),
    "leaves out the originator": Case(Ways(get="refuse", originator=False)),
    "refuses relational queries": Case(Ways(relational="refuse"), queries=4),
    "finds nothing by them": Case(Ways(relational="nothing"), queries=4),
    "aborts on them": Case(Ways(relational="abort"), queries=4, known=False),
    "is silent on them": Case(Ways(relational="silence"), queries=4, times=QUICK, known=False),
    "refuses every query": Case(Ways(relational="refuse", hierarchical="refuse"), queries=3, known=False),
    "answers queries with nothing": Case(
        Ways(relational="nothing", hierarchical="nothing"), queries=3, known=False
    ),
    "rejects every third": Case(Ways(reject=3), times={"busy": 3}),
    "rejects every second": Case(Ways(reject=2), times={"busy": 3}),
    "refuses studies": Case(Ways(deny=frozenset({"STUDY"}))),
    "refuses studies and series": Case(Ways(deny=frozenset({"STUDY", "SERIES"}))),
}


async def retrieved(folder: Path, case: Case, **how: Any) -> tuple[RetrieveResult, Misbehaving]:
    port = free_port()
    here = Listening(host="127.0.0.1", port=port, quiet=0.3)
    times = replace(STEADY, artim=0.1, cancel=0.2, **(case.times or {}))
    async with Misbehaving(study(case.count), case.ways, move_port=port) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=times, lazy=True) as pacs:
            options: dict[str, Any] = {"root": "STUDY", "via": "auto", "listening": here} | how
            get = pacs.get("STUDY", "1.2.3", **({"directory": folder} | options))
            try:
                await get
            except AiodicomError:
                assert not get.result.ok
    return get.result, peer


def judged(folder: Path, result: RetrieveResult, peer: Misbehaving, case: Case) -> None:
    """The report is the truth of the disk and of the script."""
    here = {read_header(folder / name).sop_instance_uid for name in files_below(folder) if ASIDE not in name}
    assert here == {item.sop_instance_uid for item in result.items if item.ok}
    assert len(here) == result.received
    assert len(files_below(folder)) == len(here) + len(result.unasked)
    truth = set(peer.uids)
    assert here <= truth
    if result.missing is not None:
        assert set(result.missing) == set(result.expected or ()) - here
    assert result.ok == (here == truth)
    assert result.found == len(truth)
    assert result.capped == case.capped
    assert len(peer.queries) <= case.queries <= MAX_QUERIES


@pytest.mark.parametrize("name", CASES)
async def test_the_ladder_ends_complete_or_says_what_is_missing(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    result, peer = await retrieved(tmp_path, case)
    judged(tmp_path, result, peer, case)
    assert {uid for uid in peer.uids if peer.sent[uid]} >= set(peer.uids) - case.lost
    if case.lost:
        assert set(result.missing or ()) == case.lost
        assert result.outcome == "partial"
    else:
        assert result.ok, result
    assert (result.expected is not None) == case.known
    assert {one.sop_instance_uid for one in result.unasked} | set(result.turned_away) == {
        str(one.SOPInstanceUID) for one in case.ways.strangers
    }
    if case.ways.strangers:
        assert result.unasked[0].sop_instance_uid == "1.9.1"  # another patient's first
    if not case.ways.twice:
        assert not case.known or case.capped or max(peer.sent.values()) == 1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.ways.relational == "answer"])
@pytest.mark.parametrize("relational", ["answer", "refuse", "nothing", "abort"])
async def test_a_peer_that_grants_no_relational_queries_is_asked_none(
    tmp_path: Path, name: str, relational: Query
) -> None:
    """PS3.4 C.4.1.2.1: so it does not matter what would become of one."""
    case = replace(CASES[name], queries=8)
    case = replace(case, ways=replace(case.ways, grants=False, relational=relational))
    result, peer = await retrieved(tmp_path, case)
    above = {"STUDY": (), "SERIES": ("StudyInstanceUID",), "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID")}
    for level, keys in peer.queries:
        assert all(keys.get(key) for key in above[level]), (level, keys)
    assert peer.queries[0][0] != "IMAGE"
    judged(tmp_path, result, peer, case)
    assert result.ok == (not case.lost), result


@pytest.mark.parametrize(("via", "planned"), [("get", True), ("get", False), ("move", False)])
async def test_a_peer_that_sends_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, via: str, planned: bool
) -> None:
    """Objects of the study that was asked for, each of which might belong to it."""
    monkeypatch.setattr("aiodicom.client.intake.MAX_UNPLANNED", 3)
    more = tuple(ct(f"1.2.3.0.{100 + n}", SeriesInstanceUID="1.2.3.0") for n in range(20))
    ways = (
        Ways(strangers=more) if planned else Ways(strangers=more, relational="refuse", hierarchical="refuse")
    )
    result, _ = await retrieved(tmp_path, Case(ways), via=via)
    assert result.received == (FEW + 3 if planned else 3)
    assert result.error is not None
    assert "without end" in caplog.text
    assert not result.ok


@pytest.mark.parametrize("name", CASES)
async def test_a_plain_get_says_exactly_what_is_missing(tmp_path: Path, name: str) -> None:
    """And asked again, at a peer that does not misbehave any more, it ends complete."""
    case = CASES[name]
    result, peer = await retrieved(tmp_path, case, via="get")
    judged(tmp_path, result, peer, case)
    assert len(peer.asked) <= 1
    async with Misbehaving(study(case.count)) as good:
        async with connect("127.0.0.1", good.port, timeouts=STEADY) as pacs:
            again = await pacs.get("STUDY", "1.2.3", directory=tmp_path, root="STUDY")
    assert again.ok
    assert again.present == result.received
    assert again.received == case.count - result.received


@pytest.mark.parametrize("moves", [False, True], ids=["get", "move"])
@pytest.mark.parametrize("after", [m.CFindRQ, m.CGetRQ, m.CMoveRQ])
async def test_a_retrieve_that_meets_a_connection_just_closed_is_asked_once_more(
    tmp_path: Path, after: type[Any], moves: bool
) -> None:
    """Some servers close after each answer: what is asked on that association by then changes nothing."""
    port = free_port()
    ways = Ways(leaves=frozenset({after}))
    async with Misbehaving(study(FEW), ways, move_port=port) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=STEADY) as pacs:
            for number in range(3):
                where: dict[str, Any] = {"directory": tmp_path / str(number), "root": "STUDY"}
                keys = ["1.2.3.0", "1.2.3.1"]
                if moves:
                    result = await pacs.move(
                        "SERIES", keys, listen_host="127.0.0.1", listen_port=port, **where
                    )
                else:
                    result = await pacs.get("SERIES", keys, **where)
                assert result.ok, result
                assert result.received == FEW
    assert set(peer.sent.values()) == {3}  # each was sent once for each call


async def test_a_move_elsewhere_is_not_asked_twice(tmp_path: Path) -> None:
    """What the destination has of it by then nobody knows."""
    async with Misbehaving(study(FEW), Ways(leaves=frozenset({m.CFindRQ})), move_port=1) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=STEADY) as pacs:
            with pytest.raises(AiodicomError):
                await pacs.move("STUDY", "1.2.3", destination="ELSEWHERE", root="STUDY")
    assert peer.asked == []


async def test_what_a_rejected_association_was_to_ask_for_is_asked_on_another(tmp_path: Path) -> None:
    port = free_port()
    async with Misbehaving(study(FEW), Ways(reject=2), move_port=port) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=replace(STEADY, busy=0)) as pacs:
            here: dict[str, Any] = {"listen_host": "127.0.0.1", "listen_port": port, "associations": 4}
            result = await pacs.move("STUDY", "1.2.3", directory=tmp_path, root="STUDY", **here)
    assert peer.rejected
    assert result.ok, result


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("way", ["get", "move"])
@pytest.mark.parametrize("into", ["files", "sink", "datasets"])
async def test_what_was_not_asked_for_is_never_taken_for_it(
    tmp_path: Path, into: str, way: str, known: bool
) -> None:
    """Whatever brings it, wherever objects go, and whether a list says what is to come."""
    query: Query = "answer" if known else "refuse"
    case = Case(Ways(strangers=STRANGERS, relational=query, hierarchical=query))
    taken: list[str] = []

    def sink(head: aiodicom.Head) -> Taking:
        return Taking(taken, head)

    where: dict[str, Any] = {"files": {}, "sink": {"directory": None, "sink": sink}}.get(
        into, {"directory": None}
    )
    result, peer = await retrieved(tmp_path, case, via=(way,), **where)
    strangers = {str(one.SOPInstanceUID) for one in STRANGERS}
    assert result.ok, result
    assert result.received == result.found == len(peer.uids)
    assert {item.sop_instance_uid for item in result.items} == set(peer.uids)
    assert {item.sop_instance_uid for item in result.unasked} | set(result.turned_away) == strangers
    if into == "sink":
        assert sorted(taken) == sorted(peer.uids)
    if into == "datasets":
        assert {str(one.SOPInstanceUID) for one in result.datasets} == set(peer.uids)


class Taking:
    """A user's sink."""

    def __init__(self, taken: list[str], head: aiodicom.Head) -> None:
        taken.append(head.sop_instance_uid)

    def write(self, data: memoryview, /) -> None: ...

    async def commit(self) -> aiodicom.StoreOutcome:
        return aiodicom.StoreOutcome(0)

    def discard(self) -> None: ...


@pytest.mark.parametrize("way", ["get", "move"])
async def test_what_a_list_that_is_cut_short_does_not_name_is_taken(tmp_path: Path, way: str) -> None:
    """A cap that no sign tells: what comes all the same is of what was asked for."""
    result, peer = await retrieved(tmp_path, Case(Ways(cap=3)), via=(way,))
    assert len(result.expected or ()) == 3
    assert result.ok, result
    assert result.received == len(peer.uids) == FEW
