"""A budget is never overdrawn, nor is the one it is a part of."""

from __future__ import annotations

from aiodicom.association.budget import Budget, Budgets
from hypothesis import given
from hypothesis import strategies as st


def test_what_does_not_fit_is_not_taken_anywhere() -> None:
    server = Budget(10)
    one, other = Budget(8, server), Budget(8, server)
    assert one.take(8)
    assert not one.take(1)
    assert not other.take(3)
    assert (one.used, other.used, server.used) == (8, 0, 8)
    assert other.take(2)
    one.give(5)
    assert other.take(5)
    assert (one.used, other.used, server.used) == (3, 7, 10)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12))))
def test_the_whole_is_the_sum_of_its_parts(steps: list[tuple[bool, int]]) -> None:
    server = Budget(20)
    parts = {True: Budget(12, server), False: Budget(15, server)}
    for which, size in steps:
        if not parts[which].take(size):
            parts[which].give(parts[which].used)
        assert server.used == sum(part.used for part in parts.values()) <= server.limit
        assert all(0 <= part.used <= part.limit for part in parts.values())


def test_an_address_has_its_share_for_as_long_as_somebody_uses_it() -> None:
    budgets = Budgets(10, 6)
    one, same, other = budgets.of("a"), budgets.of("a"), budgets.of("b")
    assert one is same
    assert one.take(6)
    assert not same.take(1)
    assert not other.take(5)
    assert other.take(4)
    one.give(6)
    del one, same
    assert list(budgets._of) == ["b"]
    assert budgets.of("a").take(6)
