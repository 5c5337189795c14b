"""The counters of sub-operations and the status they end in (PS3.4 C.4.2.1.4 to C.4.2.1.8, C.4.3)."""

from __future__ import annotations

import pytest
from aiodicom.dimse import CMoveRSP, categorize, decode_message, encode_message
from aiodicom.dimse.status import Category
from aiodicom.dimse.suboperations import MAX_LISTED, SubOperations
from hypothesis import given
from hypothesis import strategies as st
from strategies_dimse import US

STATUSES = st.none() | st.sampled_from([0x0000, 0xB000, 0xB007, 0xA700, 0xC000, 0x0122, 0xFE00]) | US


def counted(done: SubOperations) -> int:
    return done.remaining + done.completed + done.failed + done.warning


@given(st.lists(STATUSES, max_size=30), st.integers(min_value=0, max_value=5), st.booleans())
def test_counters_always_add_up(statuses: list[int | None], left: int, cancelled: bool) -> None:
    done = SubOperations(len(statuses) + left)
    failed = []
    for number, status in enumerate(statuses):
        done.record(f"1.2.{number}", status)
        assert counted(done) == done.total
        counters = done.counters(final=False)
        assert sum(counters.values()) == done.total
        assert "remaining" in counters
        if status is None or categorize(status) not in (Category.SUCCESS, Category.WARNING):
            failed.append(f"1.2.{number}")
    assert done.failed_uids == failed
    assert done.failed == len(failed)
    final = done.counters(final=True)
    assert sum(final.values()) == done.total
    # PS3.4 C.4.2.1.6: in a final response the number remaining has a place only when work was left
    assert ("remaining" in final) == (left > 0)
    status = done.final_status(cancelled=cancelled)
    assert status in (0x0000, 0xB000, 0xA702, 0xFE00)
    assert (status == 0xFE00) == (cancelled and left > 0)
    if status == 0x0000:
        assert done.failed == done.warning == 0
    if status == 0xA702:
        assert done.failed == done.total > 0


@pytest.mark.parametrize(
    ("statuses", "total", "final"),
    [
        ([], 0, 0x0000),
        ([0x0000, 0x0000], 2, 0x0000),
        ([0x0000, 0xB000], 2, 0xB000),
        ([0xB000, 0xB006], 2, 0xB000),
        ([0x0000, 0xA700], 2, 0xB000),
        ([0xB000, None], 2, 0xB000),
        ([0xA700, None], 2, 0xA702),
        ([0x0122], 1, 0xA702),
    ],
)
def test_the_final_status(statuses: list[int | None], total: int, final: int) -> None:
    done = SubOperations(total)
    for status in statuses:
        done.record("1.2.3", status)
    assert done.final_status() == final
    assert done.final_status(cancelled=True) == final  # nothing was left: the cancel came too late


def test_a_cancel_with_work_left() -> None:
    done = SubOperations(3)
    done.record("1.2.1", 0xA700)
    assert done.final_status(cancelled=True) == 0xFE00
    assert done.counters(final=True) == {"completed": 0, "failed": 1, "warning": 0, "remaining": 2}


def test_counters_are_fields_of_the_response() -> None:
    done = SubOperations(4)
    done.record("1.2.1", 0)
    done.record("1.2.2", 0xB000)
    done.record("1.2.3", 0xC000)
    response = CMoveRSP(message_id_being_responded_to=1, status=0xFF00, **done.counters(final=False))
    assert decode_message(encode_message(response), []) == response
    assert (response.remaining, response.completed, response.failed, response.warning) == (1, 1, 1, 1)


def test_more_than_a_counter_can_hold() -> None:
    """It is left out: a number cut to what a US holds would be a wrong one."""
    done = SubOperations(70_000)
    assert done.counters(final=False) == {"completed": 0, "failed": 0, "warning": 0}
    for number in range(65_536):
        assert ("completed" in done.counters(final=False)) == (number <= 0xFFFF)
        done.record(str(number), 0)
    counters = done.counters(final=False)
    assert counters == {"failed": 0, "warning": 0, "remaining": 70_000 - 65_536}
    response = CMoveRSP(message_id_being_responded_to=1, status=0xFF00, **counters)
    decoded = decode_message(encode_message(response), [])
    assert isinstance(decoded, CMoveRSP)
    assert (decoded.completed, decoded.remaining) == (None, 70_000 - 65_536)


def test_a_failed_list_is_bounded() -> None:
    done = SubOperations(MAX_LISTED + 5)
    for number in range(MAX_LISTED + 5):
        done.record(str(number), None)
    assert (len(done.failed_uids), done.failed) == (MAX_LISTED, MAX_LISTED + 5)
    assert done.final_status() == 0xA702
