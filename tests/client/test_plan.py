"""A plan as a value: what is known of what is to come, kept, narrowed to what is missing, and divided."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from aiodicom.association.errors import TimeoutExpired
from aiodicom.client.connect import connect
from aiodicom.client.listening import Listening
from aiodicom.client.plan import LISTED, Plan, Target
from aiodicom.client.quirks import Quirks
from aiodicom.dimse.levels import Level, QueryError, Root
from aiodicom.server.archive_service import serve_archive
from hypothesis import given
from hypothesis import strategies as st
from peers.misbehaving import Misbehaving, Ways
from wire import CT, MR, STEADY, ct

UIDS = tuple(f"1.2.{n}" for n in range(12))
SERIES = tuple(f"1.3.{n % 3}" for n in range(12))
STUDIES = tuple(f"1.4.{n % 3 % 2}" for n in range(12))


def target(**fields: Any) -> Target:
    values: dict[str, Any] = {
        "instances": UIDS,
        "sop_classes": frozenset({CT, MR}),
        "classes": (CT, CT, MR) * 4,
        "series": SERIES,
    }
    return Target("1.4", {"PatientID": "P"}, **values | fields)


def plan(level: Level = Level.STUDY, **fields: Any) -> Plan:
    return Plan(level, Root.PATIENT, [target(**fields)])


def instances(of: Plan) -> list[str]:
    return [uid for one in of.targets for uid in one.instances or ()]


def test_what_is_wanted_whole_is_asked_for_whole() -> None:
    assert plan().only(UIDS).targets == plan().targets
    assert plan().only(()).targets == []
    [series] = plan().only(UIDS[::3]).targets
    assert (series.level, series.uid, series.instances) == (Level.SERIES, "1.3.0", UIDS[::3])
    assert series.parents == {"PatientID": "P", "StudyInstanceUID": "1.4"}
    assert series.sop_classes == {CT}


def test_single_instances_are_named_below_their_series() -> None:
    first, second = plan().only({UIDS[0], UIDS[3], UIDS[1]}).targets
    assert (first.level, first.uid, second.uid) == (Level.IMAGE, "1.2.0\\1.2.3", "1.2.1")
    assert first.parents == {"PatientID": "P", "StudyInstanceUID": "1.4", "SeriesInstanceUID": "1.3.0"}


def test_where_the_series_are_not_known_instances_are_named_below_the_study() -> None:
    [one] = plan(series=()).only({UIDS[0], UIDS[1]}).targets
    assert one.parents == {"PatientID": "P", "StudyInstanceUID": "1.4"}
    mixed = plan(series=("",) * 6 + ("1.3.9",) * 6).only({UIDS[0], *UIDS[6:]}).targets
    assert [(one.level, one.uid) for one in mixed] == [(Level.IMAGE, "1.2.0"), (Level.SERIES, "1.3.9")]


def test_a_patient_falls_to_studies_then_series() -> None:
    whole = plan(Level.PATIENT, studies=STUDIES)
    whole.targets[0] = replace(whole.targets[0], uid="P", parents={})
    wanted = {uid for uid, study in zip(UIDS, STUDIES, strict=True) if study == "1.4.1"} | {"1.2.0"}
    found = [(one.level, one.uid) for one in whole.only(wanted).targets]
    assert found == [(Level.IMAGE, "1.2.0"), (Level.STUDY, "1.4.1")]


def test_a_list_is_no_longer_than_a_request_takes() -> None:
    uids = tuple(f"1.2.{n}" for n in range(2 * LISTED + 2))
    many = Plan(Level.SERIES, Root.STUDY, [Target("1.3", {}, uids)])
    assert [len(one.instances or ()) for one in many.only(uids[1:]).targets] == [LISTED, LISTED, 1]


@given(st.sets(st.sampled_from(UIDS)), st.sampled_from(list(Level)), st.booleans())
def test_narrowing_keeps_what_is_wanted_and_no_more(wanted: set[str], level: Level, known: bool) -> None:
    left = plan(**({} if known else {"series": ()})).only(wanted, level)
    assert sorted(instances(left)) == sorted(wanted)
    assert all((one.level or Level.STUDY) >= level for one in left.targets)
    assert all(part.proposals for part in left.parts())
    assert sorted(instances(left.only(wanted))) == sorted(wanted)


@given(st.integers(1, 9))
def test_dividing_keeps_everything_once(count: int) -> None:
    divided = plan().divided(count)
    assert sorted(instances(divided)) == sorted(UIDS)
    assert len(divided.targets) >= min(count, 3)


def test_series_are_shared_before_instances() -> None:
    assert [one.level for one in plan().divided(3).targets] == [Level.SERIES] * 3
    pieces = plan().divided(4).targets
    assert {one.level for one in pieces} == {Level.IMAGE}
    assert len(pieces) >= 4
    unknown = Plan(Level.STUDY, Root.STUDY, [Target("1.4", {})])
    assert unknown.divided(4) is unknown


# --- what is known, and kept


def test_what_a_plan_stands_on() -> None:
    unknown, counted = Target("1.5", {}), Target("1.6", {}, counted=30)
    assert (plan().stands_on, plan().objects) == ("list", 12)
    some = Plan(Level.STUDY, Root.STUDY, [target(), counted])
    assert (some.stands_on, some.objects, some.expected) == ("counts", 42, None)
    none = Plan(Level.STUDY, Root.STUDY, [target(), counted, unknown])
    assert (none.stands_on, none.objects) == ("counters", None)
    assert plan().sop_classes == {CT: 8, MR: 4}
    assert "12 objects (by list), C-GET over 1 association>" in repr(plan())
    assert "an unknown number" in repr(none)


@given(
    st.sampled_from(list(Level)),
    st.booleans(),
    st.dictionaries(st.sampled_from(UIDS), st.sampled_from(["NEARLINE", "OFFLINE"])),
)
def test_a_plan_is_kept_as_json(level: Level, known: bool, unavailable: dict[str, str]) -> None:
    whole = replace(plan(level, unavailable=unavailable), via=("get",), retrieve_titles=("A",), ladder=known)
    if not known:
        whole.targets.append(Target("1.5", {}, counted=7))
    kept = Plan.from_json(whole.to_json())
    assert kept == whole
    told = json.loads(whole.to_json())
    assert told["objects"] == whole.objects
    assert len(told["contexts"]) == told["associations"] == len(whole.contexts)
    assert [one["abstract_syntax"] for one in told["contexts"][0]] == [
        one.abstract_syntax for one in whole.contexts[0]
    ]
    assert replace(whole, via=("move",)).contexts == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: d.pop("level"),
        lambda d: d.update(format=99),
        lambda d: d.update(via=["wado"]),
        lambda d: d.update(targets=3),
        lambda d: d["targets"][0].update(instances=["../../etc"]),
        lambda d: d["targets"][0].update(series=["1.2"]),
        lambda d: d["targets"][0].update(parents=None),
    ],
)
def test_what_is_no_plan_is_refused(harm: Any) -> None:
    values = plan().to_dict()
    harm(values)
    with pytest.raises(QueryError, match="no plan of a retrieve"):
        Plan.from_dict(values)


def test_what_is_no_json_is_refused() -> None:
    for text in ("", "[]", "{", "3"):
        with pytest.raises(QueryError, match="no plan of a retrieve"):
            Plan.from_json(text)


async def test_a_plan_is_looked_at_kept_and_run(tmp_path: Path) -> None:
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store([ct(f"1.2.3.1.{n}") for n in range(5)])).ok
            found = await pacs.plan("STUDY", "1.2.3")
            assert (found.objects, found.sop_classes, found.stands_on) == (5, {CT: 5}, "list")
            assert not (tmp_path / "out").exists()
            kept = Plan.from_json(found.to_json())
            get = pacs.get(plan=kept, directory=tmp_path / "out")
            assert (await get).ok
            assert get.plan is kept
            assert get.result.expected == found.expected
            with pytest.raises(QueryError, match="plan says itself"):
                pacs.get("STUDY", "1.2.3", plan=kept)
            with pytest.raises(QueryError, match="no level"):
                pacs.get(directory=tmp_path)


async def test_what_is_not_online_is_told_and_waited_for(tmp_path: Path) -> None:
    objects = [ct(f"1.2.3.1.{n}") for n in range(2)]
    times = replace(STEADY, artim=0.1)
    async with Misbehaving(
        objects, Ways(availability="NEARLINE", keep_back=frozenset({"1.2.3.1.1"}))
    ) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=times) as pacs:
            found = await pacs.plan("STUDY", "1.2.3", root="STUDY")
            assert found.unavailable == dict.fromkeys(peer.uids, "NEARLINE")
            assert "2 not online" in repr(found)
            result = await pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path)
            assert result.unavailable == {"1.2.3.1.1": "NEARLINE"}
            assert result.to_dict()["unavailable"] == result.unavailable
            assert result.advice is not None
            assert "1 NEARLINE at the peer" in result.advice
            ladder = await pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path, via=("get",))
            assert "1 of 1 missing, 1 NEARLINE at the peer" in ladder.rungs[0].reason
            assert result.stands_on == "list"
    ways = Ways(availability="OFFLINE", stall_after=0)
    for nearline, code in ((0.4, "0.4"), (None, "")):
        async with Misbehaving(objects, ways) as peer:
            times = replace(times, inactivity=0.1, nearline=nearline, total=None if nearline else 1.0)
            async with connect("127.0.0.1", peer.port, timeouts=times) as pacs:
                with pytest.raises(TimeoutExpired, match=f"nothing moved for {code} s" if code else "longer"):
                    await pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path / "off")


async def test_the_availability_of_a_series_is_its_instances(tmp_path: Path) -> None:
    """Many archives tell it of series and studies alone."""

    class Above(Misbehaving):
        def _matches(self, level: str, keys: Any) -> Any:
            self.ways.availability = "OFFLINE" if level == "SERIES" else ""
            return super()._matches(level, keys)

    ways = Ways(grants=False, relational="refuse")
    async with Above([ct(f"1.2.3.1.{n}") for n in range(2)], ways) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=replace(STEADY, artim=0.1)) as pacs:
            found = await pacs.plan("STUDY", "1.2.3", root="STUDY")
    assert found.unavailable == dict.fromkeys(peer.uids, "OFFLINE")


async def test_counts_stand_in_where_no_list_is_had(tmp_path: Path) -> None:
    class Counts(Misbehaving):
        async def _find(self, peer: Any, heard: Any) -> None:
            how = "refuse" if heard.dataset.QueryRetrieveLevel == "IMAGE" else "answer"
            self.ways.hierarchical = self.ways.relational = how  # type: ignore[assignment]
            await super()._find(peer, heard)

    objects = [ct(f"1.2.3.1.{n}") for n in range(3)]
    ways = Ways(keep_back=frozenset({"1.2.3.1.1"}), counters=False)
    async with Counts(objects, ways) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=replace(STEADY, artim=0.1)) as pacs:
            result = await pacs.get("STUDY", "1.2.3", root="STUDY", directory=tmp_path)
    assert (result.expected, result.expected_count, result.stands_on) == (None, 3, "counts")
    assert (result.found, result.unaccounted, result.outcome) == (3, 1, "partial")


@pytest.mark.parametrize("via", ["get", ("get",), ("move", "get"), "auto"])
@pytest.mark.parametrize("methods", [None, ("get",)])
async def test_a_kept_plan_goes_the_same_way(
    tmp_path: Path, via: Any, methods: tuple[Literal["get"], ...] | None
) -> None:
    """Also where a ladder has one service: whether it goes to lower levels is the plan's."""
    ways = Ways(deny=frozenset({"STUDY"}))
    where = Listening(host="127.0.0.1", port=0, quiet=0.1)
    quirks = Quirks(methods=methods)
    async with Misbehaving([ct(f"1.2.3.1.{n}") for n in range(2)], ways) as peer:
        async with connect("127.0.0.1", peer.port, timeouts=STEADY, quirks=quirks) as pacs:
            how: dict[str, Any] = {"listening": where}
            direct = pacs.get("STUDY", "1.2.3", root="STUDY", via=via, directory=tmp_path / "direct", **how)
            found = await pacs.plan("STUDY", "1.2.3", root="STUDY", via=via)
            kept = Plan.from_json(found.to_json())
            later = pacs.get(plan=kept, directory=tmp_path / "kept", **how)
            for one in (direct, later):
                await one
    assert [rung.to_dict() | {"seconds": 0} for rung in later.result.rungs] == [
        rung.to_dict() | {"seconds": 0} for rung in direct.result.rungs
    ]
    assert later.result.ok == direct.result.ok == (via != "get")
