"""The form of a UID (PS3.5 9.1), and of what stands in the place of one and is none."""

from __future__ import annotations

import pytest
from aiodicom.pdu.uids import MAX_NEAR_UID, is_near_uid, is_uid


@pytest.mark.parametrize("text", ["1", "1.2.840", "0.0", "1.02", "9" * 64])
def test_a_uid(text: str) -> None:
    assert is_uid(text)
    assert is_near_uid(text)


@pytest.mark.parametrize(
    "text",
    ["LOCALIZER2.16.124.1", "1.2..3", "1.", ".1", "1" * 65, "9" * MAX_NEAR_UID, "a", "1.2-3_b+c:d~e"]
    + ["a/../b", "ser/1", "1 2", "../x", "/etc/passwd", "1.2.840 5", ".", "..", "---", "{a}", "'1'", '"']
    + [f"1{chr(sign)}2" for sign in range(0x20, 0x7F) if chr(sign) not in "*?\\0123456789."],
)
def test_what_is_none_and_can_stand_for_one(text: str) -> None:
    assert not is_uid(text)
    assert is_near_uid(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1.2\\1.3", "1.*", "1.?", "*", '""', "1.2 ", " 1.2"),
        *("1.2\0", "1\0002", "1\t2", "1\x7f2", "1.2\n", "１.2", "é", "9" * 129),
    ],
)
def test_what_would_mean_something_else(text: str) -> None:
    assert not is_uid(text)
    assert not is_near_uid(text)
