"""Scans of large objects: who had least of the time goes first, and none is forgotten."""

from __future__ import annotations

import threading

import pytest
from aiodicom.archive.scanning import TURN, Scanners


class Clock:
    """Tells the time that was spent; each step says what it takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


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
