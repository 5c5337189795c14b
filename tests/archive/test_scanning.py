"""Scans of large objects: who had least of the time goes first, and none is forgotten."""

from __future__ import annotations

import threading

import pytest
from aiodicom.archive.scanning import TURN, Scanners
from wire import Clock


def test_the_least_scanned_goes_first():
    clock, begin = Clock(), threading.Event()
    done: list[str] = []

    def first():
        begin.wait(30)  # until all of them wait
        yield

    def work(name, steps, step):
        for _ in range(steps):
            clock.now += step
            yield
        done.append(name)

    scanners = Scanners(1, clock)
    scanners.submit(first())
    scanners.submit(work("endless", 1000, TURN))
    scanners.submit(work("long", 50, TURN / 2))
    for number in range(5):
        scanners.submit(work(f"short {number}", 1, TURN / 10))
    begin.set()
    scanners.close()
    assert done == [f"short {number}" for number in range(5)] + ["long", "endless"]


def test_who_comes_later_waits_for_the_turn_that_runs_alone():
    """However many there are that have had theirs."""
    clock, begin, came = Clock(), threading.Event(), threading.Event()
    turns: list[str] = []

    def first():
        begin.wait(30)
        yield

    def endless(name):
        for step in range(100):
            clock.now += TURN
            turns.append(name)
            if (name, step) == ("a", 50):
                scanners.submit(late())
            yield

    def late():
        turns.append("late")
        came.set()
        yield

    scanners = Scanners(1, clock)
    scanners.submit(first())
    for name in "abcd":
        scanners.submit(endless(name))
    begin.set()
    assert came.wait(30)
    scanners.close()
    at = turns.index("late")
    assert turns[at - 1] == "a"
    assert 4 * 50 <= at < 4 * 51


def test_closing_ends_what_was_begun_and_takes_no_more():
    scanners = Scanners(2)
    done: list[int] = []

    def work(number):
        for _ in range(3):
            yield
        done.append(number)

    for number in range(20):
        scanners.submit(work(number))
    scanners.close()
    scanners.close()
    assert sorted(done) == list(range(20))
    with pytest.raises(RuntimeError, match="closed"):
        scanners.submit(work(21))
