"""What the services hand back: what is ok, what is known, and how it is shown."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import AssociationAborted
from aiodicom.client.results import StoredItem, StoreReport
from aiodicom.client.retrieved import Arrived, ReceivedItem, RetrieveResult
from aiodicom.dimse.status import SUBOPERATIONS_WARNING, SUCCESS, UNABLE_TO_PERFORM, Status
from aiodicom.server.service import Match
from pydicom.dataset import Dataset

UID, OTHER = "1.2.3", "1.2.4"


def item(uid: str = UID, status: Status = SUCCESS) -> ReceivedItem:
    return ReceivedItem("1.2", uid, "1.2.840.10008.1.2", status, path=Path(f"{uid}.dcm"), bytes=10)


def result(*items: ReceivedItem, status: Status | None = SUCCESS, **fields: Any) -> RetrieveResult:
    return RetrieveResult(status=status, items=list(items), **fields)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (result(item(), expected=[UID]), "complete"),
        (result(item(), item(), expected=[UID]), "complete"),  # one object, twice
        (result(item(), completed=1), "complete"),
        (result(received_here=False, completed=1), "complete"),
        (result(), "nothing"),
        (result(completed=0, failed=0, warning=0), "nothing"),
        (result(received_here=False, completed=0), "nothing"),
        (result(expected=[UID]), "failed"),
        (result(completed=1), "failed"),
        (result(status=None), "failed"),
        (result(status=UNABLE_TO_PERFORM), "failed"),
        (result(item(status=UNABLE_TO_PERFORM)), "failed"),
        (result(item(), expected=[UID, OTHER]), "partial"),
        (result(item(), completed=2), "partial"),
        (result(item(), item(OTHER, UNABLE_TO_PERFORM)), "partial"),
        (result(item(), expected=[UID], status=None), "partial"),
        (result(item(), expected=[UID], status=SUBOPERATIONS_WARNING), "partial"),
        (result(item(), completed=1, failed=1), "partial"),
        (result(item(), completed=1, not_found=["1.9"]), "partial"),
        (result(received_here=False, completed=1, failed=1), "partial"),
    ],
)
def test_the_outcome_in_one_word(found: RetrieveResult, outcome: str) -> None:
    assert found.outcome == outcome
    assert found.ok == (outcome == "complete")
    assert found.to_dict()["ok"] == found.ok
    assert found.to_dict()["outcome"] == outcome


def test_an_error_leaves_no_status() -> None:
    ended = result(item())
    ended.ended_by(AssociationAborted("gone", by_peer=True))
    told = ended.to_dict()
    assert (told["status"], told["category"], told["meaning"]) == (None, None, None)
    assert told["error"] == {"type": "AssociationAborted", "message": "gone"}
    assert told["missing"] is None
    assert not ended.ok


def test_what_is_missing_is_unknown_where_nothing_was_promised() -> None:
    assert result(item()).missing is None
    assert result(item(), expected=[UID]).missing == []
    assert result(expected=[UID]).missing == [UID]
    assert result(expected=[UID], received_here=False, completed=1).missing is None


def many() -> list[Any]:
    stored = [StoredItem(Path(f"{n}<b>.dcm"), "1.2", f"1.2.{n}", SUCCESS, bytes=1) for n in range(1000)]
    received = [item(f"1.2.{n}") for n in range(1000)]
    match = Dataset()
    match.PatientName = "SECRET^NAME"
    match.PatientComments = "x" * 5000
    return [StoreReport(items=stored), result(*received), Match(match), match]


@pytest.mark.parametrize("shown", many()[:3], ids=lambda one: type(one).__name__)
def test_what_is_shown_fits_a_screen(shown: Any) -> None:
    assert len(repr(shown)) < 250
    assert len(str(shown)) < 250
    assert "SECRET" not in repr(shown)


@pytest.mark.parametrize("shown", many()[:2], ids=lambda one: type(one).__name__)
def test_a_notebook_shows_a_table_of_the_first(shown: Any) -> None:
    html = shown._repr_html_()
    assert html.count("<tr>") == 1 + 20 + 1
    assert "980 more" in html
    assert "<b>" not in html
    assert RetrieveResult()._repr_html_().count("<table>") == 0


def test_rows_and_dictionaries_are_plain() -> None:
    for one in many()[:2]:
        assert len(one.rows()) == 1000
        assert json.loads(json.dumps(one.to_dict()))["items"] == one.rows()


# --- what is listed, and what is counted


def received(count: int) -> list[ReceivedItem]:
    return [item(f"1.2.{n}", UNABLE_TO_PERFORM if n % 10 == 0 else SUCCESS) for n in range(count)]


def stored(count: int) -> list[StoredItem]:
    statuses = (UNABLE_TO_PERFORM, Status(0xB000, "C-STORE"), *[SUCCESS] * 8)
    return [StoredItem(None, "1.2", f"1.2.{n}", statuses[n % 10], bytes=1) for n in range(count)]


@pytest.mark.parametrize("promised", [True, False])
def test_a_result_counts_what_it_does_not_list(promised: bool) -> None:
    uids = [f"1.2.{n}" for n in range(100)]
    results = []
    told: list[ReceivedItem] = []
    for keep in ("all", "failed", told.append, lambda one: one.sop_instance_uid == "1.2.7"):
        made = RetrieveResult(SUCCESS, expected=uids if promised else None, keep=keep)
        for one in received(100):
            made.add(one)
        results.append(made)
    assert [len(one.items) for one in results] == [100, 10, 0, 1]
    assert len(told) == 100
    for made in results:
        assert (made.received, made.found, made.bytes, made.came) == (90, 100, 900, 100)
        assert made.outcome == "partial"
        assert made.missing == (uids[::10] if promised else None)
        for one in received(100):
            made.add(item(one.sop_instance_uid))
        assert made.ok  # what failed first has come after all


def test_a_report_counts_what_it_does_not_list() -> None:
    told: list[StoredItem] = []
    reports = []
    for keep in ("all", "failed", told.append):
        report = StoreReport(keep=keep)
        for one in stored(100):
            report.add(one)
        reports.append(report)
    assert [len(one.items) for one in reports] == [100, 20, 0]
    assert len(told) == 100
    for report in reports:
        counts = (report.counted, report.stored_count, report.failed_count, report.warning_count)
        assert (*counts, report.bytes, report.answered, report.ok) == (100, 90, 10, 10, 90, 100, False)
        assert report.to_dict()["stored"] == 90


def cost(work: Any, count: int) -> float:
    """CPU seconds an object, the least of three."""
    least = float("inf")
    for _ in range(3):
        items = [item(f"1.2.{n}") for n in range(count)]
        began = time.process_time()
        work(items)
        least = min(least, (time.process_time() - began) / count)
    return least


@pytest.mark.parametrize("keep", ["all", "failed"])
@pytest.mark.parametrize("promised", [True, False])
def test_what_an_object_costs_does_not_grow_with_their_number(keep: Any, promised: bool) -> None:
    """The bound is that of the issue: 20,000 objects under 20 us of CPU each, told of one by one."""

    def work(items: list[ReceivedItem]) -> None:
        made = RetrieveResult(keep=keep)
        arrived = Arrived(made, lambda now: None)
        made.expect([one.sop_instance_uid for one in items] if promised else None)
        for one in items:
            arrived.add(one)
            assert made.waiting is None or made.waiting >= 0
        assert made.received == len(items)

    assert cost(work, 20_000) < 20e-6


def test_only_failures_are_held() -> None:
    """Twenty thousand objects, and nothing of them stays but their count."""
    uids = [f"1.2.{n}" for n in range(20_000)]
    made = RetrieveResult(expected=uids, keep="failed")
    report = StoreReport(keep="failed")
    tracemalloc.start()
    try:
        for uid in uids:
            made.add(ReceivedItem("1.2", uid, "1.2.840.10008.1.2", SUCCESS))
            report.add(StoredItem(None, "1.2", uid, SUCCESS))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 20_000  # a byte an object
    assert (made.received, report.stored_count) == (20_000, 20_000)
