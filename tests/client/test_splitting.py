"""Queries of which a peer tells no more than so many answers: what is told of it, and asking in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiodicom.association.connect import Peer
from aiodicom.association.errors import OperationCancelled, OperationFailed
from aiodicom.association.performing import Refused, Request
from aiodicom.client import splitting
from aiodicom.client.finding import Finding
from aiodicom.client.pacs import Pacs
from aiodicom.client.quirks import Quirks
from aiodicom.dimse.contexts import Supported
from aiodicom.dimse.levels import Level, Root
from aiodicom.pdu.uids import UNCOMPRESSED
from aiodicom.server.service import Match
from pydicom.dataset import Dataset
from wire import FIND, STEADY, STUDY_FIND, VERIFICATION, Plain, identifier, serving

DAYS = [f"2024{month:02}{day:02}" for month in range(1, 13) for day in range(1, 29)]


@dataclass
class Archive(Plain):
    """Answers for studies as PS3.4 has it, but for what it is told to do otherwise.

    studies: UID, date, time, modalities. cap: answers it gives at most, and then `status`.
    deaf: keys it does not match by; mute: keys it does not return. asked: the identifiers it heard.
    """

    studies: list[tuple[str, str, str, str]] = field(default_factory=list)
    cap: int = 1_000_000
    status: int = 0
    refuses_all: bool = False
    pending: int = 0xFF00
    deaf: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    models: tuple[str, ...] = (FIND, STUDY_FIND)
    asked: list[Dataset] = field(default_factory=list)

    def supported(self) -> Supported:
        return Supported(dict.fromkeys((VERIFICATION, *self.models), UNCOMPRESSED))

    async def find(
        self, info: Request, root: Root, level: Level, identifier: Dataset
    ) -> AsyncIterator[Match]:
        self.asked.append(identifier)
        found = [one for one in self.studies if self.agrees(one, identifier)]
        if self.refuses_all and len(found) > self.cap:
            raise Refused(self.status)
        for one in found[: self.cap]:
            yield Match(self.answer(one, level, identifier), self.pending)
        if len(found) > self.cap and self.status:
            raise Refused(self.status)

    def agrees(self, study: tuple[str, str, str, str], query: Dataset) -> bool:
        _, day, clock, modalities = study
        pairs = (("StudyDate", day), ("StudyTime", clock))
        if not all(key in self.deaf or between(value, str(query.get(key) or "")) for key, value in pairs):
            return False
        wanted = query.get("ModalitiesInStudy")
        return "ModalitiesInStudy" in self.deaf or not wanted or wanted in modalities.split("\\")

    def answer(self, study: tuple[str, str, str, str], level: Level, query: Dataset) -> Dataset:
        uid, day, clock, modalities = study
        held = {"StudyInstanceUID": uid, "StudyDate": day, "StudyTime": clock}
        held |= {"ModalitiesInStudy": modalities, "PatientID": f"P{int(uid.rsplit('.')[-1]) % 7}"}
        asked = {key: value for key, value in held.items() if key in query and key not in self.mute}
        return identifier(level.value, **asked)


def between(value: str, key: str) -> bool:
    """Range matching (PS3.4 C.2.2.2.5); what has no value is in no range."""
    if not key:
        return True
    low, hyphen, high = key.partition("-")
    high = high if hyphen else low
    return bool(value) and (not low or value >= low) and (not high or value <= high.ljust(len(value), "9"))


def spread(count: int, days: Iterable[str] = DAYS) -> list[tuple[str, str, str, str]]:
    """So many studies over these days."""
    known = list(days)
    return [
        (f"1.2.{n}", known[n % len(known)], f"{n % 24:02}{n % 60:02}00", "CT" if n % 3 else "MR\\PT")
        for n in range(count)
    ]


async def find(archive: Archive, level: str = "STUDY", quirks: Quirks | None = None, **how: Any) -> Finding:
    """A query of such an archive, run to its end; `found` are what was given."""
    async with serving(archive) as server:
        peer = Peer(host="127.0.0.1", port=server.port, timeouts=STEADY)
        async with Pacs(peer, quirks=quirks) as pacs:
            finding = pacs.find(level, **how)
            try:
                finding.found = await finding  # type: ignore[attr-defined]
            finally:
                archive.asked = list(archive.asked)
            return finding


def uids(finding: Finding) -> list[str]:
    return [one.StudyInstanceUID for one in finding.found]  # type: ignore[attr-defined]


# --- what is told without splitting


@pytest.mark.parametrize("count", [0, 99, 150, 199, 201])
async def test_an_everyday_count_is_complete(count: int) -> None:
    finding = await find(Archive(studies=spread(count)))
    assert (finding.complete, finding.capped, finding.queries) == (True, (), 1)
    assert len(uids(finding)) == count


@pytest.mark.parametrize("cap", [100, 200, 500, 1000])
async def test_a_count_at_which_archives_stop_is_told(cap: int) -> None:
    finding = await find(Archive(studies=spread(cap + 1), cap=cap))
    assert len(uids(finding)) == cap
    assert not finding.complete
    assert finding.capped == (f"exactly {cap} answers, at which many archives stop",)
    assert not finding.found.complete  # type: ignore[attr-defined]
    assert finding.status == 0


async def test_a_cap_that_is_known_is_told_for_what_it_is() -> None:
    archive = Archive(studies=spread(40), cap=37)
    assert (await find(archive)).complete
    finding = await find(archive, quirks=Quirks(cap=37))
    assert finding.capped == ("exactly 37 answers, at which this peer stops",)


@pytest.mark.parametrize(("status", "kind"), [(0xA700, OperationFailed), (0xFE00, OperationCancelled)])
async def test_a_refusal_for_size_follows_the_answers(status: int, kind: type[OperationFailed]) -> None:
    archive = Archive(studies=spread(40), cap=37, status=status)
    async with serving(archive) as server, Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
        finding = pacs.find("STUDY")
        got = []
        with pytest.raises(kind):
            async for one in finding:
                got.append(one)
    assert len(got) == 37
    assert not finding.complete
    assert f"{status:04X}H" in finding.capped[0]
    assert "after 37 answers" in finding.capped[0]


@pytest.mark.parametrize(("limit", "complete"), [(9, False), (10, True), (11, True)])
async def test_a_limit_asks_for_one_more_to_know(limit: int, complete: bool) -> None:
    finding = await find(Archive(studies=spread(10)), limit=limit)
    assert len(uids(finding)) == min(limit, 10)
    assert finding.complete is complete
    assert finding.capped == (() if complete else ("the limit of 9 was reached, and there is more",))


# --- splitting


@pytest.mark.parametrize(
    "how",
    [{}, {"status": 0xA700}, {"status": 0xFE00}, {"status": 0xA700, "refuses_all": True}],
    ids=["silent", "A700", "FE00", "refused without answers"],
)
@pytest.mark.parametrize("asked", [{}, {"StudyDate": "2024-01-01..2024-12-31"}], ids=["open", "range"])
async def test_every_study_is_found_once_however_the_peer_stops(
    how: dict[str, Any], asked: dict[str, str]
) -> None:
    archive = Archive(studies=spread(1501), cap=200, **how)
    finding = await find(archive, match=asked, split=True)
    assert sorted(uids(finding)) == sorted(one[0] for one in archive.studies)
    undated = "the whole query: answers without a StudyDate are in none of its parts, and there may be such"
    assert finding.capped == (() if asked else (undated,))
    assert finding.complete is bool(asked)
    assert finding.status == 0
    assert finding.queries == len(archive.asked) <= 40


async def test_an_answer_that_is_whole_is_asked_once() -> None:
    assert (await find(Archive(studies=spread(300)), split=True)).queries == 1


async def test_a_suspicion_that_proves_wrong_costs_two_queries() -> None:
    finding = await find(Archive(studies=spread(200)), split=True)
    assert finding.complete
    assert finding.queries == 3
    assert len(uids(finding)) == 200


async def test_a_cap_that_is_no_round_number_is_learnt() -> None:
    """The first window is suspicious by its status, those after it by its count."""
    archive = Archive(studies=spread(500), cap=61, status=0xA700)
    finding = await find(archive, match={"StudyDate": "20240101-"}, split=True)
    assert len(uids(finding)) == 500
    assert finding.complete


async def test_a_day_is_divided_by_time_and_a_second_by_modality() -> None:
    same = [(f"1.2.{n}", "20240101", "101112", "CT" if n % 2 else "MR") for n in range(150)]
    by_time = [(f"1.3.{n}", "20240101", f"{n % 24:02}0000", "CT") for n in range(240)]
    archive = Archive(studies=[*same, *by_time], cap=100)
    finding = await find(archive, match={"StudyDate": "20240101"}, split=True)
    assert sorted(uids(finding)) == sorted(one[0] for one in archive.studies)
    second, day = finding.capped
    assert second.startswith("StudyDate=20240101 StudyTime=101112-101112.999999: answers without a Modal")
    assert day.startswith("the whole query: answers without a StudyTime are in none of its parts")
    times = [one.StudyTime for one in archive.asked if one.get("StudyTime")]
    assert "000000-115959.999999" in times
    assert "101112-101112.999999" in times
    assert {"CT", "MR"} <= {one.get("ModalitiesInStudy") for one in archive.asked}


async def test_the_floor_is_told() -> None:
    """More than a hundred studies of one second and one modality can be asked for by no key."""
    same = [(f"1.2.{n}", "20240101", "101112", "CT") for n in range(150)]
    finding = await find(Archive(studies=same, cap=100), match={"StudyDate": "20240101"}, split=True)
    assert len(uids(finding)) == 100
    assert not finding.complete
    [reason] = finding.capped
    assert "StudyDate=20240101 StudyTime=101112-101112.999999 ModalitiesInStudy=CT" in reason
    assert "at which" in reason


async def test_a_range_of_times_over_midnight_is_cut_there_first() -> None:
    archive = Archive(studies=spread(240, ["20240101"]), deaf=())
    finding = await find(archive, match={"StudyDate": "20240101", "StudyTime": "22:00..01:59"})
    clocks = {one.StudyTime[:2] for one in finding.found}  # type: ignore[attr-defined]
    assert clocks == {"22", "23", "00", "01"}
    assert [one.StudyTime for one in archive.asked] == ["2200-235959.999999", "000000-0159"]
    archive = Archive(studies=spread(2400, ["20240101"]), cap=100)
    finding = await find(archive, match={"StudyDate": "20240101", "StudyTime": "22:00..01:59"}, split=True)
    assert len(uids(finding)) == len(set(uids(finding))) == 400
    assert finding.complete, finding.capped


async def test_studies_without_a_date_are_told_to_be_out_of_reach() -> None:
    undated = [(f"1.3.{n}", "", "", "CT") for n in range(50)]
    archive = Archive(studies=[*undated, *spread(500)], cap=100)
    finding = await find(archive, split=True)
    assert len(set(uids(finding))) == 550
    assert not finding.complete
    assert finding.capped == (
        "50 answers to the whole query are in none of its parts, for want of a StudyDate of their own:"
        " there may be more such",
    )


SECOND = [(f"1.2.{n}", "20240101", "101112", ("CT", "MR", "US")[n % 3]) for n in range(60)]
STRANDED = {
    "no date": (spread(60), ("", "", "CT"), {}, "StudyDate"),
    "no time": (spread(60, DAYS[:1]), ("20240101", "", "CT"), {"StudyDate": "20240101"}, "StudyTime"),
    "no kind": (SECOND, ("20240101", "101112", ""), {"StudyDate": "20240101"}, "ModalitiesInStudy"),
    "another kind": (SECOND, ("20240101", "101112", "ZZ"), {"StudyDate": "20240101"}, "ModalitiesInStudy"),
}


@pytest.mark.parametrize("case", STRANDED)
@pytest.mark.parametrize(
    "how",
    [{"cap": 40}, {"cap": 40, "status": 0xA700}, {"cap": 40, "status": 0xFE00}, {"status": -1}],
    ids=["Quirks.cap", "A700", "FE00", "silent"],
)
@pytest.mark.parametrize("last", [True, False], ids=["listed last", "there are none"])
async def test_what_no_part_can_show_is_told_though_it_was_never_seen(
    case: str, how: dict[str, Any], last: bool
) -> None:
    """It is not among the answers at which the peer stopped."""
    studies, values, match, key = STRANDED[case]
    if how == {"status": -1}:  # nothing tells of the cap but that it is a round number
        studies = [(f"{uid}.{n}", one, two, three) for uid, one, two, three in studies for n in range(2)]
        how = {"cap": 100}
    stranded = [(f"1.9.{n}", *values) for n in range(5)] if last else []
    archive = Archive(studies=[*studies, *stranded], **how)
    quirks = Quirks(cap=40) if how == {"cap": 40} else None
    finding = await find(archive, quirks=quirks, match=match, split=True)
    assert len(uids(finding)) == len(studies)
    assert not finding.complete
    assert any(f"without a {key}" in one for one in finding.capped)


async def test_a_known_cap_is_not_proven_wrong_by_as_many_dated_studies() -> None:
    undated = [(f"1.9.{n}", "", "", "CT") for n in range(5)]
    archive = Archive(studies=[*spread(40), *undated], cap=40)
    assert not (await find(archive, quirks=Quirks(cap=40), split=True)).complete


@pytest.mark.parametrize("key", ["StudyDate", "StudyTime", "ModalitiesInStudy"])
async def test_a_key_the_peer_does_not_go_by_is_given_up(key: str) -> None:
    archive = Archive(studies=spread(240, DAYS[:3]), cap=20, deaf=(key,))
    finding = await find(archive, quirks=Quirks(cap=20), split=True)
    assert len(uids(finding)) == len(set(uids(finding)))
    assert finding.queries < 350
    assert not finding.complete or key == "ModalitiesInStudy"
    if key == "StudyDate":  # without it there are modalities alone
        assert any(key in reason or "at which" in reason for reason in finding.capped)


async def test_a_peer_that_does_not_return_the_date_is_divided_by_kind() -> None:
    archive = Archive(studies=spread(301), cap=100, mute=("StudyDate",))
    finding = await find(archive, split=True)
    assert all(not one.get("StudyDate") for one in archive.asked)
    assert not finding.complete
    assert len(uids(finding)) == len(set(uids(finding))) > 100


async def test_queries_are_bounded_and_what_was_not_asked_is_told() -> None:
    archive = Archive(studies=spread(3000), cap=100)
    finding = await find(archive, split=True, max_queries=10)
    assert finding.queries == len(archive.asked) == 10
    assert not finding.complete
    assert "10 queries were sent" in finding.capped[-1]


async def test_reasons_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "FEW", 2)
    same = [(f"1.2.{d}.{n}", day, "101112", "CT") for d, day in enumerate(DAYS[:5]) for n in range(11)]
    match = {"ModalitiesInStudy": "CT", "StudyDate": f"{DAYS[0]}-{DAYS[4]}", "StudyTime": "101112"}
    finding = await find(Archive(studies=same, cap=10), quirks=Quirks(cap=10), match=match, split=True)
    assert len(finding.capped) == 3
    assert finding.capped[-1] == "3 more such windows"


async def test_a_peer_that_refuses_whatever_is_asked_is_an_error() -> None:
    archive = Archive(studies=spread(300), cap=-1, status=0xA700, refuses_all=True)
    async with serving(archive) as server, Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
        finding = pacs.find("STUDY", split=True)
        with pytest.raises(OperationFailed):
            await finding
    assert finding.queries < 60
    assert not finding.complete


async def test_a_limit_ends_a_split_query() -> None:
    archive = Archive(studies=spread(1500), cap=100)
    finding = await find(archive, split=True, limit=250)
    assert len(uids(finding)) == 250
    assert finding.capped == ("the limit of 250 was reached, and there is more",)
    assert finding.queries < 15


async def test_other_failures_are_raised_from_a_part_too() -> None:
    class Failing(Archive):
        async def find(
            self, info: Request, root: Root, level: Level, identifier: Dataset
        ) -> AsyncIterator[Match]:
            if len(self.asked) > 1:
                raise Refused(0xC001)
            async for one in super().find(info, root, level, identifier):
                yield one

    async with serving(Failing(studies=spread(300), cap=100)) as server:
        async with Pacs(Peer(host="127.0.0.1", port=server.port)) as pacs:
            with pytest.raises(OperationFailed) as caught:
                await pacs.find("STUDY", split=True)
    assert caught.value.status == 0xC001


# --- patients at a peer of the study root alone


async def test_patients_are_found_by_their_studies() -> None:
    archive = Archive(studies=spread(30), models=(STUDY_FIND,))
    finding = await find(archive, "PATIENT", match={"PatientID": "*"})
    found = finding.found  # type: ignore[attr-defined]
    assert finding.emulated
    assert sorted(one.PatientID for one in found) == [f"P{n}" for n in range(7)]
    assert {one.QueryRetrieveLevel for one in found} == {"PATIENT"}
    assert not any("StudyInstanceUID" in one for one in found)
    [asked] = archive.asked
    assert asked.QueryRetrieveLevel == "STUDY"
    assert asked.StudyInstanceUID == ""
    limited = await find(archive, "PATIENT", match={"PatientID": "*"}, limit=3)
    assert [len(limited.found), limited.complete] == [3, False]  # type: ignore[attr-defined]


async def test_patients_are_split_by_the_dates_of_their_studies() -> None:
    archive = Archive(studies=spread(700), cap=100, models=(STUDY_FIND,))
    finding = await find(archive, "PATIENT", split=True)
    assert len(finding.found) == 7  # type: ignore[attr-defined]
    assert ["without a StudyDate" in one for one in finding.capped] == [True]
    assert not any("StudyDate" in one for one in finding.found)  # type: ignore[attr-defined]


@pytest.mark.parametrize("models", [(FIND,), (FIND, STUDY_FIND)])
async def test_the_patient_root_is_taken_where_it_is(models: tuple[str, ...]) -> None:
    finding = await find(Archive(studies=spread(3), models=models), "PATIENT", match={"PatientID": "*"})
    assert not finding.emulated


# --- cancelling


async def test_a_peer_that_does_not_bear_a_cancel_is_left_by_an_abort() -> None:
    class Stuck(Archive):
        async def find(
            self, info: Request, root: Root, level: Level, identifier: Dataset
        ) -> AsyncIterator[Match]:
            async for one in super().find(info, root, level, identifier):
                yield one
            if len(self.asked) == 1:
                await asyncio.Event().wait()

    async with serving(Stuck(studies=spread(9))) as server:
        peer = Peer(host="127.0.0.1", port=server.port, timeouts=replace(STEADY, cancel=None))
        async with Pacs(peer, quirks=Quirks(cancel=False)) as pacs:
            assert len(await pacs.find("STUDY", limit=2)) == 2
            assert len(pacs.ended) == 1
            assert "we aborted" in str(pacs.ended[0])
            assert len(await pacs.find("STUDY")) == 9  # on another association
            assert len(pacs.ended) == 1


# --- keys that are not gone by


async def test_answers_that_were_not_asked_for_are_left_out_and_told() -> None:
    archive = Archive(studies=spread(60), deaf=("StudyDate",))
    finding = await find(archive, match={"StudyDate": DAYS[3]})
    assert uids(finding) == ["1.2.3"]
    assert (finding.ignored, finding.filtered) == (("StudyDate",), 59)
    assert finding.complete
    taken = await find(archive, match={"StudyDate": DAYS[3]}, judged=False)
    assert len(uids(taken)) == 60
    assert (taken.ignored, taken.filtered) == ((), 0)


async def test_a_key_that_answers_lack_is_told_as_unsupported() -> None:
    archive = Archive(studies=spread(5), mute=("ModalitiesInStudy",), deaf=("ModalitiesInStudy",))
    finding = await find(archive, match={"ModalitiesInStudy": "CT"}, return_keys=["StudyTime"])
    assert len(uids(finding)) == 5
    assert finding.unsupported == ("ModalitiesInStudy",)
    warned = await find(
        Archive(studies=spread(5), mute=("StudyTime",), pending=0xFF01), return_keys=["StudyTime"]
    )
    assert (warned.unsupported, warned.warned) == (("StudyTime",), 5)
    unnamed = await find(Archive(studies=spread(5), pending=0xFF01), return_keys=["StudyTime"])
    assert (unnamed.unsupported, unnamed.warned) == ((), 5)
    assert finding.warned == 0


async def test_a_key_that_comes_back_empty_is_told_as_unsupported_and_drops_nothing() -> None:
    studies = [(f"1.2.{n}", "20240101", "101112", "") for n in range(3)]
    archive = Archive(studies=studies, deaf=("ModalitiesInStudy",))
    finding = await find(archive, match={"ModalitiesInStudy": "CT"})
    assert (len(uids(finding)), finding.filtered) == (3, 0)
    assert finding.unsupported == ("ModalitiesInStudy",)


class Forgetful(Archive):
    """Goes by the date only where no time is given."""

    def agrees(self, study: tuple[str, str, str, str], query: Dataset) -> bool:
        self.deaf = ("StudyDate",) if query.get("StudyTime") else ()
        return super().agrees(study, query)


KEYS = ("StudyDate", "StudyTime", "ModalitiesInStudy")


@pytest.mark.parametrize("kind", [Archive, Forgetful])
@pytest.mark.parametrize(
    "deaf", [(), *((key,) for key in KEYS), KEYS], ids=lambda keys: "+".join(keys) or "none"
)
@pytest.mark.parametrize("mute", [(), KEYS[:1], KEYS[1:], KEYS], ids=lambda keys: "+".join(keys) or "none")
async def test_nothing_that_is_missing_is_called_complete(
    kind: type[Archive], deaf: tuple[str, ...], mute: tuple[str, ...]
) -> None:
    """Whatever a peer ignores and leaves out: what was given is each once, and all of it or told."""
    archive = kind(studies=spread(90, DAYS[:2]), cap=20, deaf=deaf, mute=mute)
    finding = await find(archive, quirks=Quirks(cap=20), split=True, max_queries=120)
    found = uids(finding)
    assert len(found) == len(set(found)) >= 20
    assert len(found) == 90 or not finding.complete
