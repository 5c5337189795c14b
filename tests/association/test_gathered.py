"""Fragments of a byte or two are handed on together; large ones as they are, all of them in order."""

from __future__ import annotations

from aiodicom.association.gathered import SMALL, Gathered
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.one_of(st.integers(0, 3), st.integers(SMALL - 1, SMALL + 1), st.none())


@given(st.lists(SIZES, max_size=60))
def test_all_of_it_comes_in_order_and_nothing_twice(sizes: list[int | None]) -> None:
    """None: a read has been dealt with."""
    gathered, written, whole = Gathered(), [], b""
    for number, size in enumerate(sizes):
        if size is None:
            gathered.flush(lambda data: written.append(bytes(data)))
            assert b"".join(written) == whole
        else:
            fragment = bytes([number]) * size
            whole += fragment
            gathered.add(memoryview(fragment), lambda data: written.append(bytes(data)))
    gathered.flush(lambda data: written.append(bytes(data)))
    assert b"".join(written) == whole


def test_many_small_ones_are_one_write_and_a_large_one_is_not_copied() -> None:
    gathered, written = Gathered(), list[memoryview]()
    for _ in range(1000):
        gathered.add(memoryview(b"a"), written.append)
    large = memoryview(bytes(SMALL))
    gathered.add(large, written.append)
    assert [len(one) for one in written] == [1000, SMALL]
    assert written[1] is large


def test_what_nobody_wants_is_not_handed_on() -> None:
    gathered, written = Gathered(), list[memoryview]()
    gathered.add(memoryview(b"a"), written.append)
    gathered.clear()
    gathered.flush(written.append)
    assert written == []
