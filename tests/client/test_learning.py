"""What is found out of peers that behave in every way, and what a client does with it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.association.connect import WINDOW, Peer
from aiodicom.client.learning import Learned, learn
from aiodicom.client.quirks import Quirks
from aiodicom.dimse.levels import find_model, get_model, move_model
from aiodicom.server.service import Match
from peers.misbehaving import Misbehaving, Ways
from pydicom.dataset import Dataset
from wire import STEADY, ct

TIMES = replace(STEADY, artim=0.1, cancel=0.3, inactivity=3.0)
STUDY, PATIENT = aiodicom.Root.STUDY, aiodicom.Root.PATIENT


def words(learned: Learned) -> dict[str, str]:
    return {step.name: step.text for step in learned.steps}


def studies(count: int) -> list[Dataset]:
    return [
        ct(f"1.2.{n}.1", StudyInstanceUID=f"1.2.{n}", StudyDate=f"2024{n // 28 + 1:02}{n % 28 + 1:02}")
        for n in range(count)
    ]


async def learned_of(ways: Ways, count: int = 3, **how: Any) -> Learned:
    async with Misbehaving(studies(count), ways, **how) as peer:
        return await learn(Peer(host="127.0.0.1", port=peer.port, timeouts=TIMES, async_operations=WINDOW))


async def test_the_services_it_offers(tmp_path: Path) -> None:
    learned = await learned_of(Ways())
    assert learned.values()["roots"] == ["STUDY", "PATIENT"]
    assert learned.values()["methods"] == ["get"]  # the move goes nowhere: our title is not known
    assert "our AE title is not known as a destination" in words(learned)["methods"]
    assert "registered there" in next(step.advice for step in learned.steps if step.name == "methods")
    async with aiodicom.serve_archive(tmp_path, port=0) as ours:
        both = await learned_of(Ways(), move_port=ours.port)
        assert both.values()["methods"] == ["get", "move"], words(both)


async def test_a_c_get_that_is_refused(tmp_path: Path) -> None:
    async with aiodicom.serve_archive(tmp_path, port=0) as ours:
        learned = await learned_of(Ways(get="refuse"), move_port=ours.port)
    assert learned.values()["methods"] == ["move"], words(learned)


async def test_neither_service_is_offered() -> None:
    async with aiodicom.serve(Holding(1, None), port=0) as server:
        learned = await learn(Peer(host="127.0.0.1", port=server.port, timeouts=TIMES))
    assert "methods" not in learned.known
    assert learned.values()["methods"] is None
    assert words(learned)["methods"] == (
        "C-GET is refused: no presentation context; C-MOVE is refused: no presentation context"
    )


@pytest.mark.parametrize("grants", [True, False])
async def test_relational_queries(grants: bool) -> None:
    assert (await learned_of(Ways(grants=grants))).values()["relational"] is grants


class Holding(aiodicom.Service):
    """So many studies, a day each; a query is told `cap` of what it matches."""

    def __init__(self, count: int, cap: int | None) -> None:
        self.count, self.cap = count, cap

    def supported(self) -> aiodicom.Supported:
        return aiodicom.Supported({find_model(STUDY): ()})

    async def find(self, request: Any, root: Any, level: Any, identifier: Dataset) -> AsyncIterator[Match]:
        first, dash, last = str(identifier.get("StudyDate", "") or "").partition("-")
        last = last if dash else first
        told = 0
        for number in range(self.count):
            date = (datetime.date(2020, 1, 1) + datetime.timedelta(number)).strftime("%Y%m%d")
            if (first and date < first) or (last and date > last):
                continue
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID, match.StudyDate = f"1.2.{number}", date
            yield Match(match)
            told += 1
            if told == self.cap:
                return


@pytest.mark.parametrize(
    ("count", "cap", "found"),
    [
        (130, 100, 100),
        (130, None, None),
        (130, 97, None),
        (100, None, None),
        (100, 100, None),
        (2500, 500, 500),
    ],
)
async def test_a_number_of_answers_at_which_it_stops(count: int, cap: int | None, found: int | None) -> None:
    """It is one where parts of the query show that there is more; what is as round by chance is none."""
    async with aiodicom.serve(Holding(count, cap), port=0) as server:
        learned = await learn(Peer(host="127.0.0.1", port=server.port, timeouts=TIMES))
    assert learned.values().get("cap") == found, words(learned)
    if count == 100:
        assert "in parts as well" in words(learned)["cap"]


@pytest.mark.parametrize("ways", [Ways(relational=w, hierarchical=w) for w in ("refuse", "abort")])
async def test_a_peer_that_answers_no_queries_is_no_reason_to_fail(ways: Ways) -> None:
    learned = await learned_of(ways)
    assert not {"cancel", "cap"} & learned.known
    assert "methods" in learned.known


class Asked(aiodicom.Service):
    """Answers queries, and does with a C-CANCEL what it is told."""

    def __init__(self, cancelled: str) -> None:
        self.cancelled = cancelled
        self.moved = False

    def supported(self) -> aiodicom.Supported:
        return aiodicom.Supported({find_model(STUDY): (), get_model(PATIENT): (), move_model(STUDY): ()})

    async def find(self, request: Any, root: Any, level: Any, identifier: Dataset) -> AsyncIterator[Match]:
        ended = asyncio.Event()
        if self.cancelled == "abort":
            request.on_cancel = request.association.abort_now
        elif self.cancelled in ("silence", "ended"):
            request.on_cancel = lambda: None
        elif self.cancelled == "success":
            request.on_cancel = ended.set
        for number in range(2):
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID = f"1.2.{number}"
            yield Match(match)
        if self.cancelled != "ended":
            await ended.wait()


@pytest.mark.parametrize(
    ("cancelled", "found"),
    [("honour", True), ("abort", False), ("silence", False), ("success", None), ("ended", None)],
)
async def test_what_becomes_of_a_query_that_is_cancelled(cancelled: str, found: bool | None) -> None:
    async with aiodicom.serve(Asked(cancelled), port=0) as server:
        times = replace(TIMES, inactivity=1.0)
        learned = await learn(Peer(host="127.0.0.1", port=server.port, timeouts=times))
    assert learned.values().get("cancel") is found, words(learned)
    assert learned.values()["roots"] == ["STUDY"]
    assert learned.quirks.cancel is (found is not False)


@pytest.mark.parametrize(("before", "gone"), [(5, True), (30, False), (None, False)])
async def test_a_cap_that_was_learned_and_is_passed_is_outdated(before: int | None, gone: bool) -> None:
    async with aiodicom.serve(Holding(17, None), port=0) as server:
        peer = Peer(host="127.0.0.1", port=server.port, timeouts=TIMES)
        learned = await learn(peer, Quirks(cap=before))
    assert ("cap" in learned.values()) == gone, words(learned)
    assert learned.values().get("cap") is None


async def test_what_negotiation_tells(tmp_path: Path) -> None:
    async with aiodicom.serve_archive(tmp_path, port=0) as server:
        peer = Peer(host="127.0.0.1", port=server.port, timeouts=TIMES, async_operations=WINDOW)
        learned = await learn(peer)
    assert learned.values() == {
        "roots": ["STUDY", "PATIENT"],
        "relational": True,
        "roles": True,
        "window": True,
        "methods": ["get"],
    }
    assert "16 operations at once" in words(learned)["window"]


async def test_an_association_that_does_not_come_about_is_told() -> None:
    with pytest.raises(aiodicom.ConnectFailed):
        await learn(Peer(host="127.0.0.1", port=9, timeouts=TIMES))


# --- used


async def retrieved(
    tmp_path: Path, quirks: Quirks, **how: Any
) -> tuple[aiodicom.RetrieveResult, Misbehaving]:
    async with Misbehaving(studies(2), Ways()) as peer:
        async with aiodicom.connect("127.0.0.1", peer.port, timeouts=TIMES, quirks=quirks) as pacs:
            here = aiodicom.Listening(host="127.0.0.1", port=0, quiet=0.1)
            asked: dict[str, Any] = {"directory": tmp_path, "listening": here, "via": "auto"} | how
            result = await pacs.get("STUDY", "1.2.1", **asked)
    return result, peer


async def test_the_ladder_goes_by_what_is_known(tmp_path: Path) -> None:
    result, _ = await retrieved(tmp_path / "a", Quirks(methods=("move", "get")))
    assert result.rungs[0].service == "C-MOVE"
    assert result.ok
    result, _ = await retrieved(tmp_path / "b", Quirks(methods=("move",)))
    assert {rung.service for rung in result.rungs} == {"C-MOVE"}
    result, _ = await retrieved(tmp_path / "c", Quirks(methods=("move",)), via="get")
    assert result.ok  # what its user says goes before


@pytest.mark.parametrize("relational", [None, False])
async def test_relational_queries_are_left_where_it_is_known(tmp_path: Path, relational: bool | None) -> None:
    _, peer = await retrieved(tmp_path, Quirks(relational=relational), via="get")
    levels = [level for level, _ in peer.queries]
    assert levels == (["IMAGE"] if relational is None else ["SERIES", "IMAGE"])


@pytest.mark.parametrize(("roots", "model"), [((PATIENT,), PATIENT), ((STUDY,), STUDY), (None, STUDY)])
async def test_the_root_is_one_that_is_known(tmp_path: Path, roots: Any, model: aiodicom.Root) -> None:
    result, _ = await retrieved(tmp_path, Quirks(roots=roots), via="get")
    assert result.ok
    async with Misbehaving(studies(1), Ways()) as peer:
        async with aiodicom.connect("127.0.0.1", peer.port, quirks=Quirks(roots=roots)) as pacs:
            assert (await pacs.plan("STUDY", "1.2.0")).root is model
            assert await pacs.find("PATIENT", {"PatientID": "P1"})


@pytest.mark.parametrize("window", [None, False])
async def test_no_window_is_offered_where_it_is_not_borne(window: bool | None) -> None:
    async with Misbehaving(studies(1), Ways()) as peer:
        async with aiodicom.connect("127.0.0.1", peer.port, quirks=Quirks(window=window)) as pacs:
            (association,) = pacs._associations.all
            request = association.session.request
            assert request is not None
            offered = request.user_information.async_operations
    assert offered == (WINDOW if window is None else None)


@pytest.mark.parametrize(
    ("quirks", "web", "ladder"),
    [
        (Quirks(), False, ("get", "move")),
        (Quirks(), True, ("get", "move", "web")),
        (Quirks(roles=False), True, ("move", "get", "web")),
        (Quirks(methods=("move",)), True, ("move", "web")),
        (Quirks(methods=("web", "get")), True, ("web", "get")),
        (Quirks(methods=("web", "get")), False, ("get",)),
        (Quirks(methods=("web",)), False, ("get", "move")),
    ],
)
def test_the_services_of_a_ladder(quirks: Quirks, web: bool, ladder: tuple[str, ...]) -> None:
    assert quirks.ladder(web=web) == ladder


async def test_of_a_window_that_was_not_offered_nothing_is_known() -> None:
    async with Misbehaving([ct("1.2.3.1")], Ways()) as peer:
        learned = await learn(Peer(host="127.0.0.1", port=peer.port, timeouts=TIMES))
    assert "window" not in learned.values()
    assert words(learned)["window"].endswith("none was offered")
