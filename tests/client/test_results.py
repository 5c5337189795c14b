"""What the services hand back: what is ok, what is known, and how it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import AssociationAborted
from aiodicom.client.results import StoredItem, StoreReport
from aiodicom.client.retrieved import ReceivedItem, RetrieveResult
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
