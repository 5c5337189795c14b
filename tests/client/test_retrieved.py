"""What arrives is accounted for: once, by what was asked for, and beside what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client import intake
from aiodicom.client.connect import connect
from aiodicom.client.progress import Progress
from aiodicom.client.receiving import ASIDE
from aiodicom.client.retrieved import MAX_TURNED_AWAY, Arrived, ReceivedItem, RetrieveResult
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.instance import Instance
from aiodicom.dimse.status import OUT_OF_RESOURCES, SUCCESS, Status
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.listener import serve
from archive_objects import files_below
from pydicom.dataset import Dataset
from wire import CT, IMPLICIT, Plain, ct


def item(uid: str, *, ok: bool = True, patient: str = "P1") -> ReceivedItem:
    status = SUCCESS if ok else Status(OUT_OF_RESOURCES, "C-STORE")
    return ReceivedItem(CT, uid, IMPLICIT, status, bytes=10, patient_id=patient)


def test_an_object_that_comes_twice_counts_once() -> None:
    told: list[Progress] = []
    arrived = Arrived(RetrieveResult(), told.append)
    arrived.result.expect(["1.2", "1.3"])
    for uid in ("1.2", "1.2", "1.3"):
        arrived.add(item(uid))
    assert [one.objects for one in told] == [1, 1, 2]
    assert told[-1].bytes == 20
    assert told[-1].objects_total == 2
    assert arrived.result.missing == []


def test_what_came_again_or_unasked_is_nothing_more_that_the_peer_has() -> None:
    result = RetrieveResult()
    arrived = Arrived(result, None)
    for _ in range(2):  # and once more, by another rung
        result.begin()
        for uid in ("1.2", "1.2", "1.3"):
            arrived.add(item(uid))
        arrived.set_aside(item("1.9", patient="P2"))
        result.status, result.completed = SUCCESS, 4
        assert result.found == 2
        assert result.ok


@pytest.mark.parametrize(
    ("status", "where"), [(0xA900, False), (0x0122, False), (0xA801, True), (0xA702, True)]
)
def test_what_a_move_was_refused_for_has_nothing_to_do_with_our_port(status: int, where: bool) -> None:
    result = RetrieveResult(status=Status(status, "C-MOVE"), service="C-MOVE", unreached=11112)
    assert ("port 11112" in (result.advice or "")) == where


def test_what_is_missing_is_kept_as_objects_come() -> None:
    arrived = Arrived(RetrieveResult(), None)
    arrived.result.expect(["1.2", "1.3"])
    arrived.add(item("1.2", ok=False))
    assert arrived.result.missing == ["1.2", "1.3"]
    assert arrived.result.waiting == 2
    arrived.add(item("1.2"))
    assert arrived.result.waiting == 1
    assert arrived.result.missing == ["1.3"]


def test_without_a_plan_nothing_is_known_to_be_missing() -> None:
    arrived = Arrived(RetrieveResult(), None)
    arrived.result.expect(None)
    arrived.add(item("1.2"))
    assert arrived.result.waiting is None
    assert arrived.result.missing is None


def test_what_was_turned_away_is_named_once_and_counted_beyond() -> None:
    arrived = Arrived(RetrieveResult(), None)
    assert arrived.turn_away("1.0")
    assert not arrived.turn_away("1.0")
    for number in range(1, MAX_TURNED_AWAY + 5):
        assert not arrived.turn_away(f"1.{number}")
    assert len(arrived.result.turned_away) == MAX_TURNED_AWAY
    assert arrived.result.turned_away_unnamed == 5


def test_another_patients_objects_stand_first() -> None:
    arrived = Arrived(RetrieveResult(), None)
    arrived.add(item("1.2"))
    for uid, patient in (("1.3", "P1"), ("1.4", "P2"), ("1.5", "P1"), ("1.6", "P3")):
        arrived.set_aside(item(uid, patient=patient))
    arrived.end()
    assert [one.sop_instance_uid for one in arrived.result.unasked] == ["1.4", "1.6", "1.3", "1.5"]
    assert "P2" not in repr(arrived.result.unasked)


# --- from a peer


class Sends(Plain):
    """Answers a query for `told` alone, and a C-GET with everything it has."""

    def __init__(self, folder: Path, told: list[str], *sent: Dataset) -> None:
        matches = []
        for uid in told:
            match = Dataset()
            match.QueryRetrieveLevel = "IMAGE"
            match.StudyInstanceUID = "1.2.3"
            match.SOPClassUID = CT
            match.SOPInstanceUID = uid
            matches.append(match)
        instances = []
        for number, dataset in enumerate(sent):
            data = encode_dataset(dataset, IMPLICIT)
            (folder / f"{number}").write_bytes(data)
            uid = str(dataset.SOPInstanceUID)
            instances.append(Instance(folder / f"{number}", CT, uid, IMPLICIT, 0, len(data)))
        super().__init__(matches=matches, instances=instances)


async def got(service: Plain, **how: Any) -> RetrieveResult:
    async with serve(service, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        return await pacs.get("STUDY", "1.2.3", **how)


async def test_what_was_not_asked_for_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    stranger = ct("1.9.1", StudyInstanceUID="1.9", PatientID="P2")
    other = ct("1.8.1", StudyInstanceUID="1.8")
    service = Sends(tmp_path / "in", ["1.2.3.1"], ct("1.2.3.1"), other, stranger)
    result = await got(service, directory=tmp_path / "out")
    assert [one.sop_instance_uid for one in result.items] == ["1.2.3.1"]
    assert [one.sop_instance_uid for one in result.unasked] == ["1.9.1", "1.8.1"]
    for one in result.unasked:
        assert one.path is not None
        assert one.path.relative_to(tmp_path / "out").parts[0] == ASIDE
    assert [one["sop_instance_uid"] for one in result.to_dict()["unasked"]] == ["1.9.1", "1.8.1"]
    assert len(files_below(tmp_path / "out")) == 3


async def test_into_memory_it_is_turned_away(tmp_path: Path) -> None:
    service = Sends(tmp_path, ["1.2.3.1"], ct("1.2.3.1"), ct("1.9.1", StudyInstanceUID="1.9"))
    result = await got(service)
    assert [str(one.SOPInstanceUID) for one in result.datasets] == ["1.2.3.1"]
    assert result.turned_away == ["1.9.1"]


@pytest.mark.parametrize("told", [[], ["1.2.3.1"]])
async def test_what_a_plan_does_not_name_and_belongs_to_the_study_is_kept(
    tmp_path: Path, told: list[str]
) -> None:
    """A query may be capped: the objects say themselves what they belong to."""
    (tmp_path / "in").mkdir()
    service = Sends(tmp_path / "in", told, ct("1.2.3.1"), ct("1.2.3.2"), ct("1.2.3.3"))
    result = await got(service, directory=tmp_path / "out")
    assert len(result.files) == 3
    assert result.unasked == []
    assert result.ok


async def test_another_object_of_the_same_uid_is_kept_beside_and_named(tmp_path: Path) -> None:
    for comment, number in (("one", 1), ("another", 2), ("another", 2)):
        folder = tmp_path / comment
        folder.mkdir(exist_ok=True)
        service = Sends(folder, ["1.2.3.1"], ct("1.2.3.1", ImageComments=comment))
        result = await got(service, directory=tmp_path / "out", skip_present=False)
        assert result.ok
        assert len(files_below(tmp_path / "out")) == number
        beside = [one.beside for one in result.items]
        if comment == "one":
            assert beside == [None]
            first = result.files
    [again] = result.items
    assert again.beside is None  # it is the same object as the one beside: nothing new is kept
    assert again.path is not None
    assert again.path.name.endswith("~2.dcm")
    assert first[0].name == "1.2.3.1.dcm"


async def test_a_file_beside_another_is_named_in_the_report(tmp_path: Path) -> None:
    paths = []
    for comment in ("one", "another"):
        folder = tmp_path / comment
        folder.mkdir()
        service = Sends(folder, ["1.2.3.1"], ct("1.2.3.1", ImageComments=comment))
        result = await got(service, directory=tmp_path / "out", skip_present=False)
        paths.append(result.files[0])
    assert [one.path for one in result.beside] == [paths[1]]
    assert result.items[0].beside == paths[0]
    assert result.to_dict()["beside"] == [str(paths[1])]
    assert result.to_dict()["items"][0]["beside"] == str(paths[0])


async def test_a_key_given_twice_is_asked_once(tmp_path: Path) -> None:
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store([ct("1.2.3.1"), ct("1.2.3.2")])).ok
            result = await pacs.get("STUDY", ["1.2.3", "1.2.3"], directory=tmp_path / "out")
    assert result.ok
    assert result.completed == 2
    assert len(result.items) == 2


async def test_what_nobody_asked_for_is_not_taken_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_ASIDE", 2)
    (tmp_path / "in").mkdir()
    strangers = [ct(f"1.9.{n}", StudyInstanceUID="1.9") for n in range(5)]
    service = Sends(tmp_path / "in", ["1.2.3.1"], *strangers, ct("1.2.3.1"))
    result = await got(service, directory=tmp_path / "out")
    assert [one.sop_instance_uid for one in result.unasked] == ["1.9.0", "1.9.1"]
    assert result.turned_away == ["1.9.2", "1.9.3", "1.9.4"]
    assert [one.sop_instance_uid for one in result.items] == ["1.2.3.1"]
    assert len(files_below(tmp_path / "out")) == 3


# --- the peer's own counters


def answered(expected: list[str] | None = None, **said: Any) -> Arrived:
    arrived = Arrived(RetrieveResult(status=Status(0, "C-GET")), None)
    arrived.result.expect(expected)
    for name, value in said.items():
        setattr(arrived.result, name, value)
    return arrived


@pytest.mark.parametrize(("completed", "warning"), [(3, None), (2, 1), (8, 0)])
def test_more_counted_than_listed_and_not_here_is_partial(completed: int, warning: int | None) -> None:
    arrived = answered(["1.2", "1.3"], completed=completed)
    for uid in ("1.2", "1.3"):
        arrived.add(item(uid))
    arrived.result.warning = warning
    assert not arrived.result.ok
    assert arrived.result.outcome == "partial"
    assert arrived.result.unaccounted == completed + (warning or 0) - 2


def test_what_was_set_aside_or_came_twice_or_was_here_is_accounted_for() -> None:
    arrived = answered(["1.2", "1.3", "1.4"], completed=4)
    arrived.result.add(replace(item("1.4"), present=True))
    for uid in ("1.2", "1.3", "1.3"):
        arrived.add(item(uid))
    assert arrived.result.unaccounted == 1
    arrived.set_aside(item("1.9"))
    assert arrived.result.ok


@pytest.mark.parametrize(("failed", "completed", "left"), [(0, 2, 0), (1, 1, 0), (1, 2, 1), (0, 3, 1)])
def test_what_was_turned_away_is_accounted_for_once(failed: int, completed: int, left: int) -> None:
    arrived = answered(["1.2"], completed=completed, failed=failed, failed_uids=["1.9"] * failed)
    arrived.add(item("1.2"))
    arrived.turn_away("1.9")
    assert arrived.result.unaccounted == left
    assert arrived.result.ok is (left == 0)


@pytest.mark.parametrize(
    ("named", "ok"), [(["1.9"], True), (["1.2"], False), ([], False), (["1.9", "1.9"], True)]
)
def test_a_failure_costs_ok_unless_it_is_of_what_we_turned_away(named: list[str], ok: bool) -> None:
    said = {"status": Status(0xB000, "C-GET"), "completed": 1, "failed": 1, "failed_uids": named}
    arrived = answered(["1.2"], **said)
    arrived.add(item("1.2"))
    arrived.turn_away("1.9")
    assert arrived.result.ok is ok
    arrived.result.status = Status(0xA702, "C-GET")
    assert not arrived.result.ok


@pytest.mark.parametrize("loop", [False, True])
async def test_into_memory_what_is_turned_away_costs_no_ok(tmp_path: Path, loop: bool) -> None:
    service = Sends(tmp_path, ["1.2.3.1"], ct("1.9.1", StudyInstanceUID="1.9"), ct("1.2.3.1"))
    async with serve(service, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        retrieve = pacs.get("STUDY", "1.2.3")
        if loop:
            assert [str(one.SOPInstanceUID) async for one in retrieve] == ["1.2.3.1"]
        else:
            await retrieve
        result = retrieve.result
    assert (result.failed, result.turned_away) == (1, ["1.9.1"])
    assert result.ok


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("uid", ["1.2.3.9", "1.2.3.0"])
async def test_another_patients_object_under_the_studys_uid_is_not_taken(
    tmp_path: Path, memory: bool, uid: str
) -> None:
    """It is no part of the list, and what the list names is somebody else's."""
    (tmp_path / "in").mkdir()
    stranger, own = ct(uid, PatientID="P9"), ct("1.2.3.2")
    service = Sends(tmp_path / "in", ["1.2.3.1"], ct("1.2.3.1"), stranger, own)
    result = await got(service, directory=None if memory else tmp_path / "out")
    assert sorted(one.sop_instance_uid for one in result.items) == ["1.2.3.1", "1.2.3.2"]
    away = result.turned_away if memory else [one.sop_instance_uid for one in result.unasked]
    assert away == [uid]
    assert result.ok
