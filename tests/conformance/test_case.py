"""The catalogue: ids for ever, every case judged one way, selection."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiodicom.conformance import Level, Verdict, all_cases, cases, select
from aiodicom.conformance.catalog import count

LOCK = Path(__file__).with_name("cases.lock")


def test_enough_cases_and_none_without_its_parts() -> None:
    assert count() >= 520
    for case in all_cases():
        assert case.clause.startswith("PS3.")
        assert len(case.requirement) > 15
        assert case.accept


def test_no_id_vanishes_or_comes_without_being_written_down() -> None:
    locked = LOCK.read_text(encoding="utf-8").split()
    assert len(locked) == len(set(locked))
    assert sorted(case.id for case in all_cases()) == sorted(locked)


def test_what_shall_be_can_fail() -> None:
    for case in all_cases():
        if case.level in (Level.SHALL, Level.SHOULD):
            assert case.judge("no such outcome at all") is Verdict.FAIL, case.id
            assert case.foils, case.id


@pytest.mark.parametrize(
    ("expression", "some", "none"),
    [
        ("ps3.8/9.3.4", "ps3.8/9.3.4/length", "ps3.8/9.3.3/lengths"),
        ("group:sweep,!ps3.8/9.2.3/sta6-*", "ps3.8/9.2.3/sta2-fresh-fin", "ps3.8/9.2.3/sta6-idle-fin"),
        ("level:robust", "ps3.7/6.3.1/noise", "ps3.8/9.3.4/length"),
        ("!effect:harsh", "ps3.8/9.3.4/length", "ps3.8/9.3.1/request-length-4g"),
    ],
)
def test_selection(expression: str, some: str, none: str) -> None:
    found = {case.id for case in select(cases(), expression)}
    assert some in found
    assert none not in found
